/*
 * rm-agent/postgres/sessions.c - SQL in a branch: which sessions there are, and what is asked of
 * them.
 *
 * A branch has one session from its first statement to its PREPARE. Statements come one after
 * the other; how it is to end is a wish that waits for the one that runs.
 */
#include "rm-agent/postgres/sessions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/session.h"
#include "rm-agent/talk/asker.h"
#include "rm-agent/talk/book.h"

/* ---- sessions ---- */

struct session *session_find(struct agent *agent, const char *gid)
{
    struct session *session;
    HASH_FIND_STR(agent->sessions->by_gid, gid, session);
    return session;
}

struct session *session_find_branch(struct agent *agent, const struct branch_id *branch)
{
    char gid[GID_BYTES];
    gid_format(branch, gid);
    return session_find(agent, gid);
}

struct session *session_add(struct agent *agent, const char *gid, const struct branch_id *branch)
{
    struct session *session = must_alloc(sizeof *session, "a session");
    session->agent = agent;
    session->branch = *branch;
    session->state = SESSION_OVER;
    text_copy(session->gid, sizeof session->gid, gid, strlen(gid));
    HASH_ADD_STR(agent->sessions->by_gid, gid, session);
    return session;
}

void session_release(struct session *session)
{
    if (session->asks > 0 || !session->forgotten)
        return;
    free(session->last_reply);
    free(session);
}

void session_refuse_exec(struct session *session, enum error_code code, const char *message)
{
    struct failure failure = {0};
    if (session->exec == NULL)
        return;
    refuse(&failure, code, "%s", message);
    asker_failure(session->exec->asker, &failure);
    exec_free(session->exec);
    session->exec = NULL;
}

void session_over(struct session *session)
{
    if (session->state == SESSION_OVER)
        return;
    session_refuse_exec(session, ERR_BRANCH_LOST, "the branch's session has ended");
    session->state = SESSION_OVER;
    session->agent->sessions->open--;
    free(session->last_reply);
    session->last_reply = NULL;
    if (session->line != NULL)
        session->line->session = NULL;
    session->line = NULL;
}

void session_drop(struct session *session, enum error_code code, const char *why)
{
    struct agent *agent = session->agent;
    session_refuse_exec(session, code, why);
    session_over(session);
    HASH_DEL(agent->sessions->by_gid, session);
    session->forgotten = true;
    session_release(session);
}

/* Its transaction is gone, or will be once the backend notices: nothing was prepared, since
 * a PREPARE that was under way has been answered already. */
void session_lost(struct session *session, const char *why)
{
    struct agent *agent = session->agent;
    struct branch_id branch = session->branch;
    enum wish wish = session->wish;
    if (!session->opened) {
        session_drop(session, ERR_RM_UNAVAILABLE, why);
        return;
    }
    session_over(session);
    if (wish == WISH_ROLLBACK)
        agent_tell(agent, &branch, PE_FINISHED, NULL, NULL);
    else if (wish != WISH_NONE)
        agent_tell(agent, &branch, PE_REFUSAL, NULL, why);
    else
        agent_tell(agent, &branch, PE_SESSION_LOST, NULL, why);
}

/* ---- statements ---- */

static void row(void *arg, const PGresult *result)
{
    struct line *line = arg;
    rows_add(&line->rows, result);
}

static void keep_reply(struct session *session, char *text, size_t length)
{
    free(session->last_reply);
    session->last_reply = NULL;
    if (session->exec->n > 0) {
        session->last_reply = text;
        session->last_length = length;
    } else {
        free(text);
    }
}

void session_ran(struct line *line, const struct pg_reply *reply)
{
    struct session *session = line->session;
    size_t length;
    char *text = rows_reply(&line->rows, reply, session->n, &length);
    if (!reply->alive) {
        free(text);
        return; /* down() follows, and refuses the exec */
    }
    session->state = SESSION_IDLE;
    if (pg_transaction(line->pg) == PQTRANS_IDLE) {
        free(text);
        log_warning("%s: a statement ended the branch's transaction", session->gid);
        session_refuse_exec(session, ERR_BRANCH_LOST,
                            "the statement ended the branch's transaction");
        pg_drop(line->pg, "the branch's transaction was ended by a statement");
        return;
    }
    /* Behind the first error PostgreSQL only says that there was one. */
    if (reply->sqlstate[0] != '\0' && strcmp(reply->sqlstate, "25P02") != 0)
        sql_failure(reply, &session->failed);
    POINT("agent.exec-done");
    asker_reply(session->exec->asker, text, length);
    POINT("agent.exec-answered");
    keep_reply(session, text, length);
    exec_free(session->exec);
    session->exec = NULL;
    session_go_on(session);
}

static void ran(void *arg, const struct pg_reply *replies, int count)
{
    session_ran(arg, &replies[count - 1]);
}

void session_run(struct session *session, const struct pg_statement *before, int count,
                 pg_done_fn *done)
{
    session->state = SESSION_RUNNING;
    session->n++;
    rows_begin(&session->line->rows);
    POINT("agent.before-exec");
    exec_send(session->exec, session->line->pg, before, count, session->agent->options->max_row,
              row, done, session->line);
    POINT("agent.exec-sent");
}

/* In what encoding texts go between agent and server is the agent's matter: requests and replies
 * are UTF-8. A statement before may have changed it. */
static const struct pg_statement in_utf8 = {.sql = "SET client_encoding = 'UTF8'", .more = true};

void session_go_on(struct session *session)
{
    if (session->state != SESSION_IDLE)
        return;
    if (session->wish != WISH_NONE)
        session_end(session);
    else if (session->exec != NULL && pg_in_utf8(session->line->pg))
        session_run(session, NULL, 0, ran);
    else if (session->exec != NULL)
        session_run(session, &in_utf8, 1, ran);
}

static void wish(struct agent *agent, const struct branch_id *branch, enum wish what, uint64_t lsn,
                 bool or_prepare)
{
    struct session *session = session_find_branch(agent, branch);
    if (session == NULL || session->state == SESSION_OVER) {
        agent_tell(agent, branch, PE_REFUSAL, NULL, "branch_lost: its session is gone");
        return;
    }
    session->wish = what;
    session->lsn = lsn;
    session->or_prepare = or_prepare;
    /* A statement that has not begun comes too late; one that runs is waited for. */
    if (session->state != SESSION_RUNNING)
        session_refuse_exec(session, ERR_BRANCH_PREPARED, "the branch is being prepared");
    session_go_on(session);
}

void sessions_prepare(struct agent *agent, const struct branch_id *branch)
{
    wish(agent, branch, WISH_PREPARE, 0, false);
}

void sessions_commit(struct agent *agent, const struct branch_id *branch, uint64_t lsn,
                     bool or_prepare)
{
    wish(agent, branch, WISH_COMMIT, lsn, or_prepare);
}

void sessions_end(struct agent *agent, const struct branch_id *branch)
{
    struct session *session = session_find_branch(agent, branch);
    if (session == NULL || session->state == SESSION_OVER) {
        agent_tell(agent, branch, PE_FINISHED, NULL, NULL);
        return;
    }
    session->wish = WISH_ROLLBACK;
    if (session->state == SESSION_IDLE) {
        session_go_on(session);
        return;
    }
    /* It is connecting, or a statement runs: do not wait for it. */
    struct line *line = session->line;
    session_refuse_exec(session, ERR_BRANCH_LOST, "the branch was rolled back");
    session_over(session);
    session_tell_when_gone(agent, branch, line_close(line), PE_FINISHED, NULL);
}

void sessions_interrupt(struct agent *agent, const struct branch_id *branch, bool at_once)
{
    static const char why[] = "a statement of the branch was still running when its time was over";
    struct session *session = session_find_branch(agent, branch);
    if (session == NULL || session->state == SESSION_OVER)
        return;
    if (session->state == SESSION_ENDING) {
        if (at_once)
            pg_drop(session->line->pg, "the branch's time is over");
        return;
    }
    struct line *line = session->line;
    session_refuse_exec(session, ERR_BRANCH_LOST, why);
    session_over(session);
    session_tell_when_gone(agent, branch, line_close(line), PE_REFUSAL, why);
}

/* ---- exec ---- */

static const char branches_full[] =
    "the agent has %u branches under way, and max_branches allows no more; try again later";

/* A branch that is not open here: may this statement open it? */
static int check_new(struct agent *agent, const struct session *session,
                     const struct branch_id *branch, uint64_t n, struct failure *failure)
{
    switch (participant_state(agent->participant, branch)) {
    case BRANCH_NONE:
        break;
    case BRANCH_PREPARING:
    case BRANCH_VERIFYING:
    case BRANCH_READY:
    case BRANCH_SEEKING:
    case BRANCH_COMMITTING:
        return refuse(failure, ERR_BRANCH_PREPARED, "the branch is prepared already");
    default:
        return refuse(failure, ERR_BRANCH_LOST, "the branch's session has ended");
    }
    if (session != NULL || n > 1)
        return refuse(failure, ERR_BRANCH_LOST, "the branch's session is gone");
    if (book_has_closed(agent, &branch->gtrid))
        return refuse(
            failure, ERR_WRONG_STATE,
            "the branch is over: its transaction has ended here, and no session is opened "
            "in it again");
    if (!participant_has_room(agent->participant))
        return refuse(failure, ERR_BUSY, branches_full, agent->options->max_branches);
    if (agent->draining)
        return refuse(failure, ERR_NOT_READY, "the agent is stopping");
    if (!control_ready(agent))
        return refuse(failure, ERR_RM_UNAVAILABLE, "no connection to the database: %s",
                      agent->health.last_error);
    if (agent->sessions->open >= agent->options->max_sessions)
        return refuse(failure, ERR_BUSY, "all %u sessions that max_sessions allows are in use",
                      agent->options->max_sessions);
    return 0;
}

/* One statement after the other. True: the last one was asked for again and is answered. */
static int check_sequence(struct session *session, uint64_t n, bool *repeated,
                          struct failure *failure)
{
    *repeated = false;
    if (session->exec != NULL || session->wish != WISH_NONE)
        return session->wish != WISH_NONE
                   ? refuse(failure, ERR_BRANCH_PREPARED, "the branch is being prepared")
                   : refuse(failure, ERR_BUSY, "a statement of this branch is running");
    if (n == 0 || n == session->n + 1)
        return 0;
    if (n == session->n && session->last_reply != NULL) {
        *repeated = true;
        return 0;
    }
    return refuse(failure, ERR_OUT_OF_SEQUENCE, "n is %" PRIu64 ", the next is %" PRIu64, n,
                  session->n + 1);
}

void sessions_exec(struct agent *agent, struct asker *asker, cJSON *object)
{
    struct failure failure = {0};
    bool repeated = false;
    struct exec *exec = must_alloc(sizeof *exec, "a statement");
    exec->asker = asker;
    exec->object = object;
    if (exec_read(agent, exec, &failure) != 0)
        goto refused;

    struct session *session = session_find(agent, exec->gid);
    bool fresh = session == NULL || session->state == SESSION_OVER;
    if (fresh ? check_new(agent, session, &exec->branch, exec->n, &failure) != 0
              : check_sequence(session, exec->n, &repeated, &failure) != 0)
        goto refused;
    if (repeated) {
        asker_reply(asker, session->last_reply, session->last_length);
        exec_free(exec);
        return;
    }
    if (!fresh) {
        session->exec = exec;
        session_go_on(session);
        return;
    }
    session = session_add(agent, exec->gid, &exec->branch);
    session->role = exec->role;
    session->read_only = exec->ticket.read_only;
    session->isolation = exec->ticket.isolation;
    session->allowed_ms = exec->ticket.allowed_ms;
    session->exec = exec;
    session_open(session);
    return;

refused:
    asker_failure(asker, &failure);
    exec_free(exec);
}

/* ---- all of them ---- */

void sessions_create(struct agent *agent)
{
    agent->sessions = must_alloc(sizeof *agent->sessions, "the sessions");
}

uint32_t sessions_open(const struct agent *agent)
{
    return agent->sessions->open;
}

uint32_t sessions_busy(const struct agent *agent)
{
    const struct session *session;
    uint32_t busy = 0;
    for (session = agent->sessions->by_gid; session != NULL; session = session->hh.next)
        busy += session->state == SESSION_ENDING ||
                (session->state != SESSION_OVER && session->wish != WISH_NONE);
    return busy;
}
