/*
 * rm-agent/finish.c - the pool: COMMIT PREPARED and ROLLBACK PREPARED.
 *
 * Only the owner of a prepared transaction may finish it, so a member of the owner becomes it
 * for one command: becoming it and the command travel together, and every answer is read. We become
 * the owner only if the gid is still the very transaction that is meant: it can have been finished
 * by hand, and its name used again. Else the command runs as the login role and is refused: no harm
 * done. A login role that would not be refused looks before it acts.
 *
 * They share one Sync. Becoming the owner is a transaction of its own, since a command must not be
 * inside of one; if it fails nothing behind it is run, so no command runs as whoever we were
 * before. For the same reason we may remain who we are until the next trip.
 *
 * The connections are apart from those that may wait for a row lock, and opened as they are
 * needed: several commits at once share one flush of the server's.
 *
 * Commands that wait for a connection share a trip when one owner prepared what they finish, for
 * one coordinator: we become the owner once, and only if every gid of the group is the transaction
 * that is meant. If one is not, all are refused, and each is tried alone.
 *
 * How many share one is a matter of the disk, for their commands are flushed one after the other:
 * where that is fast, many, since a trip has its own price; where it is slow, few, so that the
 * flushes of several connections are one.
 *
 * The transaction in which we become the owner also raises the coordinator's log position. It
 * waits for no disk: a COMMIT PREPARED behind it takes it there.
 */
#include "rm-agent/finish.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/point.h"
#include "rm-agent/control.h"
#include "rm-agent/positions.h"
#include "rm-agent/sessions.h"
#include "rm-agent/verdict.h"

enum {
    BECOMING = 3, /* statements before the commands */
    GROUP_MAX = PG_STATEMENTS_MAX - BECOMING,
    COMMAND_BYTES = QUOTED_BYTES + 32,
    WORKING_LEAST = 2,
    TRIP_US = 4000, /* that are worth one more connection at work */
    TRIPS_MEASURED = 64,
};

struct finish {
    struct finish *next;
    struct agent *agent;
    struct branch_id branch;
    char gid[GID_BYTES];
    enum command command;
    uint64_t xid; /* the transaction that is meant */
    uint64_t lsn; /* of the order */
    char owner[ROLE_NAME_BYTES];
    bool found; /* the gid is that transaction */
    bool alone; /* its group was refused */
    char message[REASON_BYTES];
};

struct worker {
    struct worker *next;
    struct agent *agent;
    struct pg *pg;
    struct backend backend; /* entered in assent.session; pid 0: not yet */
    uint32_t entering;      /* entries asked for: only the last is for this connection */
    struct finish *group;   /* under way, in the order of their commands */
    uint64_t sent_us;
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

static void queue(struct finish *finish)
{
    struct pool *pool = finish->agent->pool;
    finish->next = NULL;
    *pool->last = finish;
    pool->last = &finish->next;
    pool->waiting++;
}

static void finish_end(struct finish *finish, enum participant_event_type type,
                       const char *sqlstate, const char *message)
{
    struct agent *agent = finish->agent;
    struct participant_event event = {
        .type = type,
        .branch = finish->branch,
        .beat = tms_flushed_beat(agent, finish->branch.gtrid.tm),
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

/* ---- one command on one connection ---- */

static void answer_was_lost(void *arg)
{
    finish_end(arg, PE_UNKNOWN, "", "");
}

/* Makes their owner the role of the next commands, if each gid is the transaction that is meant.
 * The position is the login role's to raise; PostgreSQL takes a list's expressions in order. */
static const char become_owner[] =
    "SELECT count(*), min(owner), set_config('synchronous_commit', 'off', true),"
    " set_config('role', 'none', false), " RAISE_POSITION(
        "$4", "$5") ","
                    " set_config('role', CASE WHEN count(*) = cardinality($1::text[])"
                    " AND min(owner) = max(owner) THEN min(owner) ELSE 'none' END, false)"
                    " FROM (SELECT " PREPARED_OWNER
                    " AS owner FROM unnest($1::text[], $2::xid[]) meant (gid, xid)"
                    " JOIN pg_catalog.pg_prepared_xact() p ON p.gid = meant.gid AND p.transaction "
                    "= meant.xid"
                    " WHERE p.dbid = $3::oid) found";

/* As arrays' texts: gids have no character that would need quoting. */
struct meant {
    char gids[GROUP_MAX * (GID_BYTES + 1) + 2];
    char xids[GROUP_MAX * NUMBER_BYTES + 2];
};

static void write_meant(const struct finish *group, struct meant *out)
{
    char *gids = out->gids, *xids = out->xids;
    for (const struct finish *finish = group; finish != NULL; finish = finish->next) {
        char before = finish == group ? '{' : ',';
        gids += sprintf(gids, "%c%s", before, finish->gid);
        xids += sprintf(xids, "%c%" PRIu32, before, (uint32_t)finish->xid);
    }
    strcpy(gids, "}");
    strcpy(xids, "}");
}

static uint32_t group_size(const struct finish *group)
{
    uint32_t count = 0;
    for (; group != NULL; group = group->next)
        count++;
    return count;
}

static void became(struct finish *group, const struct pg_reply *reply)
{
    unsigned long found = strtoul(pg_value(reply, 0, 0), NULL, 10);
    const char *owner = pg_value(reply, 0, 1);
    unsigned long count = group_size(group);
    for (struct finish *finish = group; finish != NULL; finish = finish->next) {
        finish->found = found == count;
        if (finish->found)
            text_copy(finish->owner, sizeof finish->owner, owner, strlen(owner));
    }
}

/* What it was refused for; where it was not allowed, in the words of whoever can put it right. */
static const char *why(struct finish *finish, const struct pg_reply *reply)
{
    if (strcmp(reply->sqlstate, "42501") != 0)
        return reply->message;
    if (finish->found && finish->owner[0] == '\0')
        return "the owner of the prepared transaction was dropped; only a superuser can finish it";
    if (finish->owner[0] == '\0')
        return reply->message;
    snprintf(finish->message, sizeof finish->message,
             "the agent may not finish it: GRANT \"%s\" TO \"%s\"", finish->owner,
             finish->agent->identity.login);
    return finish->message;
}

/* grouped: others were looked for with it. */
static void finished(struct worker *worker, struct finish *finish, const struct pg_reply *reply,
                     bool grouped)
{
    struct agent *agent = worker->agent;
    POINT_IF(finish->command == COMMAND_COMMIT_PREPARED, "agent.commit-prepared-done");
    POINT_IF(finish->command == COMMAND_ROLLBACK_PREPARED, "agent.rollback-prepared-done");
    enum participant_event_type type =
        verdict(finish->command, reply->tag, reply->sqlstate, reply->alive);
    if (type == PE_UNKNOWN) {
        struct backend backend = pg_backend(worker->pg);
        pg_drop(worker->pg, reply->message);
        control_end_backend(agent, backend, answer_was_lost, finish);
        return;
    }
    /* Refused for a neighbour's sake. */
    if (type != PE_FINISHED && grouped && (reply->skipped || !finish->found)) {
        finish->alone = !finish->found;
        queue(finish);
        return;
    }
    if (type == PE_RETRY && !finish->found)
        type = PE_GONE; /* what is there is not what was meant */
    finish_end(finish, type, reply->sqlstate, why(finish, reply));
}

/* The answers to the group's commands. */
static void all_finished(struct worker *worker, const struct pg_reply *reply)
{
    struct finish *group = worker->group;
    bool grouped = group->next != NULL;
    worker->group = NULL;
    while (group != NULL) {
        struct finish *finish = group;
        group = finish->next;
        finished(worker, finish, reply++, grouped);
    }
}

/* We could not become the owner, and no command was run. */
static void none_finished(struct worker *worker, const struct pg_reply *reply)
{
    struct finish *group = worker->group;
    bool grouped = group->next != NULL;
    worker->group = NULL;
    while (group != NULL) {
        struct finish *finish = group;
        group = finish->next;
        finish->found = false;
        finish->alone = true;
        if (grouped)
            queue(finish);
        else
            finish_end(finish, PE_RETRY, reply->sqlstate, why(finish, reply));
    }
}

static void stepped_back(void *arg, const struct pg_reply *replies, int count)
{
    struct worker *worker = arg;
    (void)count;
    if (replies->alive && pg_transaction(worker->pg) != PQTRANS_IDLE)
        pg_drop(worker->pg, "it is still in a transaction");
}

static void measure(struct worker *worker)
{
    struct pace *pace = &worker->agent->pool->pace;
    uint64_t share_us = (loop_now_us() - worker->sent_us) / group_size(worker->group);
    if (pace->trips == 0 || share_us < pace->so_far_us)
        pace->so_far_us = share_us;
    if (++pace->trips < TRIPS_MEASURED)
        return;
    pace->least_us = pace->so_far_us;
    pace->trips = 0;
}

static void done_together(void *arg, const struct pg_reply *replies, int count)
{
    static const struct pg_statement rollback = {.sql = "ROLLBACK"};
    struct worker *worker = arg;
    const struct pg_reply *reply = replies;
    (void)count;
    while (reply < &replies[BECOMING] && reply->sqlstate[0] == '\0')
        reply++;
    if (reply < &replies[BECOMING] && reply->alive) {
        pg_run(worker->pg, &rollback, 1, stepped_back, worker);
        none_finished(worker, reply);
        return;
    }
    measure(worker);
    became(worker->group, &replies[1]);
    all_finished(worker, &replies[BECOMING]);
}

static void done_alone(void *arg, const struct pg_reply *replies, int count)
{
    (void)count;
    all_finished(arg, replies);
}

static void write_command(const struct worker *worker, const struct finish *finish,
                          char out[COMMAND_BYTES])
{
    char gid[QUOTED_BYTES];
    pg_literal(worker->pg, finish->gid, gid, sizeof gid);
    snprintf(out, COMMAND_BYTES, "%s %s",
             finish->command == COMMAND_COMMIT_PREPARED ? "COMMIT PREPARED" : "ROLLBACK PREPARED",
             gid);
}

static void looked_first(void *arg, const struct pg_reply *replies, int count)
{
    struct worker *worker = arg;
    struct finish *finish = worker->group;
    char command[COMMAND_BYTES];
    (void)count;
    became(finish, replies);
    if (finish->found) {
        write_command(worker, finish, command);
        const struct pg_statement statement = {.sql = command};
        pg_run(worker->pg, &statement, 1, done_alone, worker);
        return;
    }
    worker->group = NULL;
    bool refused = !replies->alive || replies->sqlstate[0] != '\0';
    finish_end(finish, refused ? PE_RETRY : PE_GONE, replies->sqlstate,
               refused ? replies->message : "");
}

/* Would PostgreSQL let the login role finish what is not meant? */
static bool would_not_be_refused(const struct finish *finish)
{
    const struct identity *identity = &finish->agent->identity;
    return identity->superuser || finish->owner[0] == '\0' ||
           strcmp(finish->owner, identity->login) == 0;
}

/* As text; NULL: it need not be raised. */
static const char *position_of(const struct finish *group, char out[NUMBER_BYTES])
{
    struct tm_link *tm = tms_known(group->agent, group->branch.gtrid.tm);
    bool commits = false;
    for (const struct finish *finish = group; finish != NULL; finish = finish->next) {
        if (finish->command != COMMAND_COMMIT_PREPARED)
            continue;
        commits = true;
        positions_move(tm, finish->lsn);
    }
    if (!commits)
        return NULL;
    u64_format(tm->position, out);
    return out;
}

static void run(struct worker *worker, struct finish *group)
{
    char commands[GROUP_MAX][COMMAND_BYTES];
    char sequence[SEQUENCE_BYTES], position[NUMBER_BYTES];
    struct meant texts;
    write_meant(group, &texts);
    positions_sequence(group->branch.gtrid.tm, sequence);
    const char *const meant[] = {texts.gids, texts.xids, pg_database(worker->pg), sequence,
                                 position_of(group, position)};
    const struct pg_statement look = {
        .sql = become_owner, .count = 5, .values = meant, .keep = true};
    struct pg_statement statements[PG_STATEMENTS_MAX] = {
        {.sql = "BEGIN", .keep = true, .more = true},
        look,
        {.sql = "COMMIT", .keep = true},
    };
    int count = BECOMING;
    statements[1].more = true;
    for (const struct finish *finish = group; finish != NULL; finish = finish->next) {
        char *command = commands[count - BECOMING];
        write_command(worker, finish, command);
        statements[count - 1].more = true;
        statements[count++] = (struct pg_statement){.sql = command};
        POINT_IF(finish->command == COMMAND_COMMIT_PREPARED, "agent.before-commit-prepared");
        POINT_IF(finish->command == COMMAND_ROLLBACK_PREPARED, "agent.before-rollback-prepared");
    }
    worker->group = group;
    worker->sent_us = loop_now_us();
    if (would_not_be_refused(group))
        pg_run(worker->pg, &look, 1, looked_first, worker);
    else
        pg_run(worker->pg, statements, count, done_together, worker);
    POINT_IF(group->command == COMMAND_COMMIT_PREPARED, "agent.commit-prepared-sent");
    POINT_IF(group->command == COMMAND_ROLLBACK_PREPARED, "agent.rollback-prepared-sent");
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

static void backend_is_gone(void *arg)
{
    (void)arg;
}

static void worker_down(void *arg, const char *why)
{
    struct worker *worker = arg;
    agent_note(worker->agent, why);
    control_end_backend(worker->agent, worker->backend, backend_is_gone, NULL);
    worker->backend = (struct backend){0};
}

static void add_worker(struct agent *agent)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        abort();
    struct pg_options options = {
        .conninfo = agent->options->conninfo,
        .settings = "-c synchronous_commit=on -c lock_timeout=10s -c statement_timeout=0"
                    " -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=10s"
                    " -c client_connection_check_interval=2s" PG_PLAN_ONCE,
        .retry = true,
        .up = worker_up,
        .down = worker_down,
        .arg = worker,
    };
    struct error error;
    worker->agent = agent;
    if (pg_open(&worker->pg, agent->set, &options, &error) != 0)
        abort();
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
        control_end_backend(agent, worker->backend, backend_is_gone, NULL);
        free(worker);
    }
}

static bool may_share(const struct finish *first, const struct finish *other)
{
    return !first->alone && !other->alone && !would_not_be_refused(first) &&
           strcmp(first->owner, other->owner) == 0 &&
           strcmp(first->branch.gtrid.tm, other->branch.gtrid.tm) == 0;
}

/* How many commands are worth one more connection. */
static uint32_t full_group(const struct pool *pool)
{
    uint64_t count = TRIP_US / (pool->pace.least_us + 1);
    return count < 1 ? 1 : count > GROUP_MAX ? GROUP_MAX : (uint32_t)count;
}

/* The first that waits, and as many behind it as are its share of all that wait. */
static struct finish *take_group(struct agent *agent)
{
    struct pool *pool = agent->pool;
    uint32_t full = full_group(pool);
    uint32_t share = (pool->waiting + agent->options->pool_size - 1) / agent->options->pool_size;
    uint32_t most = share < full ? full : share > GROUP_MAX ? GROUP_MAX : share;
    struct finish *group = pool->first, *last = group;
    uint32_t count = 1;
    while (count < most && last->next != NULL && may_share(group, last->next)) {
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

void finish_feed(struct agent *agent)
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
        run(worker, take_group(agent));
        working++;
    }
    if (worth_a_worker(pool, working) && on_their_way == 0 &&
        pool->worker_count < agent->options->pool_size)
        add_worker(agent);
    close_surplus(agent);
}

/* ---- the queue ---- */

void finish_branch(struct agent *agent, const struct participant_action *action)
{
    struct finish *finish = calloc(1, sizeof *finish);
    if (finish == NULL)
        abort();
    finish->agent = agent;
    finish->branch = action->branch;
    finish->xid = action->xid;
    gid_format(&action->branch, finish->gid);
    finish->command =
        action->type == PA_COMMIT ? COMMAND_COMMIT_PREPARED : COMMAND_ROLLBACK_PREPARED;
    finish->lsn = action->lsn;
    sessions_owner(agent, finish->gid, finish->owner);
    agent->pool->busy++;
    queue(finish);
}

/* ---- the pool ---- */

int finish_create(struct agent *agent, struct error *error)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return fail_errno(error, "make room for the pool");
    pool->last = &pool->first;
    pool->pace.least_us = TRIP_US; /* not known yet */
    agent->pool = pool;
    return 0;
}

void finish_reconfigure(struct agent *agent)
{
    for (struct worker *worker = agent->pool->workers; worker != NULL; worker = worker->next)
        pg_set_conninfo(worker->pg, agent->options->conninfo);
}

uint32_t finish_busy(const struct agent *agent)
{
    return agent->pool->busy;
}

bool finish_under_way(const struct agent *agent)
{
    return agent->pool->busy > agent->pool->waiting;
}
