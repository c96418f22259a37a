/*
 * rm-agent/finish.c - the pool: COMMIT PREPARED and ROLLBACK PREPARED.
 *
 * Only the owner of a prepared transaction may finish it, so a member of the owner becomes it
 * for one command: SET ROLE, the command and RESET ROLE travel together, and every answer is
 * read. If SET ROLE fails the command runs as the login role and is refused: no harm done.
 *
 * The connections are apart from those that may wait for a row lock, and opened as they are
 * needed: several commits at once share one flush of the server's.
 */
#include "rm-agent/finish.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "rm-agent/control.h"
#include "rm-agent/positions.h"
#include "rm-agent/sessions.h"
#include "rm-agent/verdict.h"

struct finish {
    struct finish *next;
    struct agent *agent;
    struct branch_id branch;
    char gid[GID_BYTES];
    enum command command;
    uint64_t beat; /* on disk once the command is */
    char owner[ROLE_NAME_BYTES];
    char message[REASON_BYTES];
};

struct worker {
    struct worker *next;
    struct agent *agent;
    struct pg *pg;
    struct backend backend; /* entered in assent.session; pid 0: not yet */
    uint32_t entering;      /* entries asked for: only the last is for this connection */
    struct finish *finish;  /* under way */
};

struct pool {
    struct worker *workers;
    uint32_t worker_count;
    struct finish *first, **last; /* waiting for a worker */
    uint32_t busy;
};

static void feed(struct agent *agent);

static void finish_end(struct finish *finish, enum participant_event_type type,
                       const char *sqlstate, const char *message)
{
    struct agent *agent = finish->agent;
    struct participant_event event = {
        .type = type,
        .branch = finish->branch,
        .beat = finish->beat,
        .sqlstate = sqlstate,
        .message = message,
    };
    if (type == PE_FINISHED)
        positions_flushed(agent, finish->branch.gtrid.tm, finish->beat);
    if (type == PE_RETRY) {
        log_warning("%s: %s %s: %s", finish->gid,
                    finish->command == COMMAND_COMMIT_PREPARED ? "COMMIT PREPARED"
                                                               : "ROLLBACK PREPARED",
                    sqlstate, message);
        agent_note(agent, message);
    }
    agent->pool->busy--;
    agent_event(agent, event);
    free(finish);
}

/* ---- one command on one connection ---- */

static void answer_was_lost(void *arg)
{
    finish_end(arg, PE_UNKNOWN, "", "");
}

static void done(void *arg, const struct pg_reply *replies, int count)
{
    struct worker *worker = arg;
    struct agent *agent = worker->agent;
    struct finish *finish = worker->finish;
    const struct pg_reply *reply = &replies[count == 1 ? 0 : 1];
    const struct pg_reply *reset = &replies[count - 1];
    enum participant_event_type type =
        verdict(finish->command, reply->tag, reply->sqlstate, reply->alive);
    worker->finish = NULL;
    if (type == PE_UNKNOWN) {
        struct backend backend = pg_backend(worker->pg);
        pg_drop(worker->pg, reply->message);
        control_end_backend(agent, backend, answer_was_lost, finish);
        return;
    }
    const char *message = reply->message;
    if (strcmp(reply->sqlstate, "42501") == 0 && finish->owner[0] != '\0') {
        snprintf(finish->message, sizeof finish->message,
                 "the agent may not finish it: GRANT \"%s\" TO \"%s\"", finish->owner,
                 agent->identity.login);
        message = finish->message;
    }
    /* Whoever it is now, it is not for the next command. */
    if (count > 1 && reset->alive && reset->sqlstate[0] != '\0')
        pg_drop(worker->pg, reset->message);
    finish_end(finish, type, reply->sqlstate, message);
    feed(agent);
}

static void run(struct worker *worker, struct finish *finish)
{
    char gid[QUOTED_BYTES], owner[2 * ROLE_NAME_BYTES + 4];
    char command[QUOTED_BYTES + 32], role[sizeof owner + 16];
    pg_literal(worker->pg, finish->gid, gid, sizeof gid);
    pg_identifier(worker->pg, finish->owner, owner, sizeof owner);
    snprintf(command, sizeof command, "%s %s",
             finish->command == COMMAND_COMMIT_PREPARED ? "COMMIT PREPARED" : "ROLLBACK PREPARED",
             gid);
    snprintf(role, sizeof role, "SET ROLE %s", owner);
    const struct pg_statement statements[] = {
        {.sql = role}, {.sql = command}, {.sql = "RESET ROLE"}};
    bool as_owner =
        finish->owner[0] != '\0' && strcmp(finish->owner, worker->agent->identity.login) != 0;
    worker->finish = finish;
    if (as_owner)
        pg_run(worker->pg, statements, 3, done, worker);
    else
        pg_run(worker->pg, &statements[1], 1, done, worker);
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
    worker->backend = pg_backend(worker->pg);
    feed(worker->agent);
}

static void worker_up(void *arg)
{
    struct worker *worker = arg;
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
                    " -c idle_session_timeout=0 -c client_connection_check_interval=2s",
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

static void feed(struct agent *agent)
{
    struct pool *pool = agent->pool;
    uint32_t on_their_way = 0;
    for (struct worker *worker = pool->workers; worker != NULL; worker = worker->next) {
        if (worker->backend.pid == 0)
            on_their_way++;
        if (pool->first == NULL || worker->backend.pid == 0 || !pg_idle(worker->pg) ||
            worker->finish != NULL)
            continue;
        struct finish *finish = pool->first;
        pool->first = finish->next;
        if (pool->first == NULL)
            pool->last = &pool->first;
        run(worker, finish);
    }
    if (pool->first != NULL && on_their_way == 0 && pool->worker_count < agent->options->pool_size)
        add_worker(agent);
}

/* ---- from the order to the queue: position, owner, worker ---- */

static void queue(struct finish *finish)
{
    struct pool *pool = finish->agent->pool;
    *pool->last = finish;
    pool->last = &finish->next;
    feed(finish->agent);
}

static void took_owner(void *arg, const struct pg_reply *reply)
{
    struct finish *finish = arg;
    if (reply->sqlstate[0] != '\0') {
        finish_end(finish, PE_RETRY, reply->sqlstate, reply->message);
        return;
    }
    if (pg_rows(reply) == 0) {
        finish_end(finish, PE_GONE, "42704", "");
        return;
    }
    /* NULL: it was dropped. A superuser can still finish it, anybody else is refused. */
    const char *owner = pg_value(reply, 0, 0);
    text_copy(finish->owner, sizeof finish->owner, owner, strlen(owner));
    queue(finish);
}

static void raised(void *arg, uint64_t beat)
{
    struct finish *finish = arg;
    if (beat == 0) {
        finish_end(finish, PE_RETRY, "", finish->agent->health.last_error);
        return;
    }
    finish->beat = beat;
    if (sessions_owner(finish->agent, finish->gid, finish->owner))
        queue(finish);
    else
        control_ask(finish->agent, took_owner, finish,
                    "SELECT owner FROM pg_prepared_xacts"
                    " WHERE gid = $1 AND database = current_database()",
                    1, finish->gid);
}

void finish_branch(struct agent *agent, const struct participant_action *action)
{
    struct finish *finish = calloc(1, sizeof *finish);
    if (finish == NULL)
        abort();
    finish->agent = agent;
    finish->branch = action->branch;
    gid_format(&action->branch, finish->gid);
    finish->command =
        action->type == PA_COMMIT ? COMMAND_COMMIT_PREPARED : COMMAND_ROLLBACK_PREPARED;
    agent->pool->busy++;
    struct tm_link *tm = tms_find(agent, action->branch.gtrid.tm);
    uint64_t lsn = action->type == PA_COMMIT ? action->lsn : 0;
    positions_raise(agent, tm, lsn, false, raised, finish);
}

/* ---- the pool ---- */

int finish_create(struct agent *agent, struct error *error)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return fail_errno(error, "make room for the pool");
    pool->last = &pool->first;
    agent->pool = pool;
    return 0;
}

uint32_t finish_busy(const struct agent *agent)
{
    return agent->pool->busy;
}
