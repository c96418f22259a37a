/*
 * rm-agent/postgres/pool.c - the connections that finish branches, and what waits for them.
 *
 * The connections are apart from those that may wait for a row lock, and opened as they are
 * needed: several commits at once share one flush of the server's.
 *
 * What waits shares a trip (trip.c). How many do is a matter of the disk, for their commands are
 * flushed one after the other: where that is fast, many, since a trip has its own price; where it
 * is slow, few, so that the flushes of several connections are one.
 */
#include "rm-agent/postgres/pool.h"

#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "rm-agent/postgres/sessions.h"
#include "rm-agent/postgres/trip.h"
#include "rm-agent/talk/book.h"

enum {
    WORKING_LEAST = 2,
    TRIP_US = 4000, /* that are worth one more connection at work */
    TRIPS_MEASURED = 64,
};

/* A command's share of its trip, where that is least. On average it tells how busy the processors
 * are, and more trips would be the wrong answer to that; at best it tells how fast the disk is. */
struct pace {
    uint64_t least_us; /* of the last TRIPS_MEASURED */
    uint64_t so_far_us;
    uint32_t trips;
};

struct pool {
    struct worker *workers;
    uint32_t worker_count;
    struct finish *first, **last; /* waiting for a worker */
    uint32_t waiting;
    uint32_t busy; /* waiting or under way */
    struct pace pace;
};

void pool_again(struct finish *finish)
{
    struct pool *pool = finish->agent->pool;
    finish->next = NULL;
    *pool->last = finish;
    pool->last = &finish->next;
    pool->waiting++;
}

void pool_over(struct finish *finish, enum participant_event_type type, const char *sqlstate,
               const char *message)
{
    struct agent *agent = finish->agent;
    struct participant_event event = {
        .type = type,
        .branch = finish->branch,
        .beat = book_flushed_beat(agent, finish->branch.gtrid.tm),
        .sqlstate = sqlstate,
        .message = message,
    };
    if (type == PE_RETRY) {
        log_warning("%s: %s %s: %s", finish->gid,
                    finish->command == COMMAND_COMMIT_PREPARED ? "COMMIT PREPARED"
                                                               : "ROLLBACK PREPARED",
                    sqlstate, message);
        agent_note(agent, message);
    }
    POINT("agent.finish-over");
    agent->pool->busy--;
    agent_event(agent, event);
    free(finish);
}

void pool_measure(struct worker *worker)
{
    struct pace *pace = &worker->agent->pool->pace;
    uint64_t share_us = (loop_now_us() - worker->sent_us) / trip_size(worker->group);
    if (pace->trips == 0 || share_us < pace->so_far_us)
        pace->so_far_us = share_us;
    if (++pace->trips < TRIPS_MEASURED)
        return;
    pace->least_us = pace->so_far_us;
    pace->trips = 0;
}

/* ---- workers ---- */

static void worker_entered(void *arg, bool entered)
{
    struct worker *worker = arg;
    if (--worker->entering > 0 || !pg_connected(worker->pg))
        return;
    if (!entered) {
        pg_drop(worker->pg, "the control connection does not see this connection's backend");
        return;
    }
    POINT("agent.worker-entered");
    worker->backend = pg_backend(worker->pg);
}

static void worker_up(void *arg)
{
    struct worker *worker = arg;
    POINT("agent.worker-connected");
    worker->entering++;
    control_enter(worker->agent, pg_backend(worker->pg), worker_entered, worker);
}

static void pool_backend_is_gone(void *arg)
{
    (void)arg;
}

static void worker_down(void *arg, const char *why)
{
    struct worker *worker = arg;
    agent_note(worker->agent, why);
    control_end_backend(worker->agent, worker->backend, pool_backend_is_gone, NULL);
    worker->backend = (struct backend){0};
}

static void add_worker(struct agent *agent)
{
    struct worker *worker = must_alloc(sizeof *worker, "a connection of the pool");
    struct pg_options options = {
        .conninfo = agent->options->conninfo,
        .settings = settings_of_workers,
        .retry = true,
        .up = worker_up,
        .down = worker_down,
        .arg = worker,
    };
    worker->agent = agent;
    worker->pg = pg_open(agent->set, &options);
    worker->next = agent->pool->workers;
    agent->pool->workers = worker;
    agent->pool->worker_count++;
}

/* The pool may have become smaller: what is at work ends later. */
static void close_surplus(struct agent *agent)
{
    struct pool *pool = agent->pool;
    struct worker **at = &pool->workers;
    while (*at != NULL && pool->worker_count > agent->options->pool_size) {
        struct worker *worker = *at;
        if (worker->group != NULL || worker->entering > 0) {
            at = &worker->next;
            continue;
        }
        *at = worker->next;
        pool->worker_count--;
        pg_close(worker->pg);
        control_end_backend(agent, worker->backend, pool_backend_is_gone, NULL);
        free(worker);
    }
}

/* ---- groups ---- */

/* How many commands are worth one more connection. */
static uint32_t full_group(const struct pool *pool)
{
    uint64_t count = TRIP_US / (pool->pace.least_us + 1);
    return count < 1 ? 1 : count > TRIP_MAX ? TRIP_MAX : (uint32_t)count;
}

/* The first that waits, and as many behind it as are its share of all that wait. */
static struct finish *take_group(struct agent *agent)
{
    struct pool *pool = agent->pool;
    uint32_t full = full_group(pool);
    uint32_t share = (pool->waiting + agent->options->pool_size - 1) / agent->options->pool_size;
    uint32_t most = share < full ? full : share > TRIP_MAX ? TRIP_MAX : share;
    struct finish *group = pool->first, *last = group;
    uint32_t count = 1;
    while (count < most && last->next != NULL && trip_may_share(group, last->next)) {
        last = last->next;
        count++;
    }
    pool->first = last->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    pool->waiting -= count;
    last->next = NULL;
    return group;
}

/* Two connections are used at once, so that none waits for one that hangs; more only for full
 * groups: what comes while these are under way shares the next trip. */
static bool worth_a_worker(const struct pool *pool, uint32_t working)
{
    return pool->waiting >= (working < WORKING_LEAST ? 1 : full_group(pool));
}

void pool_feed(struct agent *agent)
{
    struct pool *pool = agent->pool;
    uint32_t on_their_way = 0, working = 0;
    for (const struct worker *worker = pool->workers; worker != NULL; worker = worker->next) {
        on_their_way += worker->backend.pid == 0;
        working += worker->group != NULL;
    }
    for (struct worker *worker = pool->workers; worker != NULL && worth_a_worker(pool, working);
         worker = worker->next) {
        if (worker->backend.pid == 0 || !pg_idle(worker->pg) || worker->group != NULL)
            continue;
        trip_run(worker, take_group(agent));
        working++;
    }
    if (worth_a_worker(pool, working) && on_their_way == 0 &&
        pool->worker_count < agent->options->pool_size)
        add_worker(agent);
    close_surplus(agent);
}

/* ---- the queue ---- */

void pool_finish(struct agent *agent, const struct participant_action *action)
{
    struct finish *finish = must_alloc(sizeof *finish, "the end of a branch");
    finish->agent = agent;
    finish->branch = action->branch;
    finish->xid = action->xid;
    gid_format(&action->branch, finish->gid);
    finish->command =
        action->type == PA_COMMIT ? COMMAND_COMMIT_PREPARED : COMMAND_ROLLBACK_PREPARED;
    finish->lsn = action->lsn;
    sessions_owner(agent, finish->gid, finish->owner);
    agent->pool->busy++;
    pool_again(finish);
}

/* ---- the pool ---- */

void pool_create(struct agent *agent)
{
    struct pool *pool = must_alloc(sizeof *pool, "the pool");
    pool->last = &pool->first;
    pool->pace.least_us = TRIP_US; /* not known yet */
    agent->pool = pool;
}

void pool_reconfigure(struct agent *agent)
{
    for (struct worker *worker = agent->pool->workers; worker != NULL; worker = worker->next)
        pg_set_conninfo(worker->pg, agent->options->conninfo);
}

uint32_t pool_busy(const struct agent *agent)
{
    return agent->pool->busy;
}

bool pool_under_way(const struct agent *agent)
{
    return agent->pool->busy > agent->pool->waiting;
}
