/*
 * rm-agent/postgres/ending.c - how a branch's session ends: PREPARE TRANSACTION, COMMIT, ROLLBACK.
 *
 * The transaction's xid was taken right behind BEGIN and is compared right before PREPARE. The
 * comparison travels with the PREPARE under one Sync: if it fails, PREPARE is not run. So does the
 * command that makes the connection ready for the next session. What three-phase commit stores of
 * the vote is in the database before it, and durable by its flush.
 */
#include "rm-agent/postgres/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/point.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/membership.h"
#include "rm-agent/postgres/positions.h"
#include "rm-agent/postgres/verdict.h"
#include "rm-agent/votes/acceptors.h"
#include "rm-agent/votes/ballots.h"

struct loss {
    struct agent *agent;
    struct branch_id branch;
    enum participant_event_type type;
    const char *why;
};

static void backend_of_branch_is_gone(void *arg)
{
    struct loss loss = *(struct loss *)arg;
    free(arg);
    agent_tell(loss.agent, &loss.branch, loss.type, NULL, loss.why);
}

void session_tell_when_gone(struct agent *agent, const struct branch_id *branch,
                            struct backend backend, enum participant_event_type type,
                            const char *why)
{
    struct loss *loss = must_alloc(sizeof *loss, "a lost session");
    *loss = (struct loss){agent, *branch, type, why};
    control_end_backend(agent, backend, backend_of_branch_is_gone, loss);
}

/* What the gate before a PREPARE fails with, where the agent could not finish the branch: that of
 * the square root of a negative number. */
#define SQLSTATE_NOT_A_MEMBER "2201F"

static void explain_grant(const struct session *session, struct failure *out)
{
    const struct agent *agent = session->agent;
    const char *login = session->line->login;
    refuse(out, ERR_SQL_ERROR, "the agent could not finish what a session of role \"%s\" prepares",
           login);
    strcpy(out->sqlstate, "42501");
    membership_grant(agent, login, out->hint, sizeof out->hint);
}

/* Why PostgreSQL said no. A failed transaction is answered ROLLBACK, with no error: then the
 * first error before it is the reason to tell. */
static void ending_explain(const struct session *session, const struct pg_reply *replies, int last,
                           struct failure *out)
{
    const struct pg_reply *first = replies;
    while (first < &replies[last] && first->sqlstate[0] == '\0')
        first++;
    sql_failure(first, out);
    if (strcmp(first->sqlstate, "25P02") == 0 && session->failed.sqlstate[0] != '\0')
        *out = session->failed;
    else if (first == replies && strcmp(first->sqlstate, SQLSTATE_NOT_A_MEMBER) == 0)
        explain_grant(session, out);
    else if (first == replies && strcmp(first->sqlstate, "22012") == 0)
        refuse(out, ERR_BRANCH_LOST,
               "branch_lost: the branch's transaction was ended inside its session");
    else if (out->message[0] == '\0' && session->barred)
        refuse(out, ERR_WRONG_STATE, "an agent has begun to end this transaction");
    else if (out->message[0] == '\0')
        refuse(out, ERR_SQL_ERROR, "the transaction had failed");
}

/* command: what replies[last] answers; the gate before it has read xid and owner. reset: of the
 * line, behind it, or NULL. */
static void ending_ended(struct line *line, enum command command, const struct pg_reply *replies,
                         int last, const struct pg_reply *reset)
{
    struct session *session = line->session;
    struct agent *agent = session->agent;
    const struct pg_reply *reply = &replies[last];
    struct participant_event event = {
        .type = verdict(command, reply->tag, reply->sqlstate, reply->alive),
        .branch = session->branch,
        .beat = session->beat,
    };
    struct failure why = {0};
    if (event.type == PE_UNKNOWN) {
        struct backend backend = pg_backend(line->pg);
        session_over(session);
        pg_drop(line->pg, reply->message);
        session_tell_when_gone(agent, &event.branch, backend, PE_UNKNOWN, NULL);
        return;
    }
    if (event.type == PE_REFUSAL) {
        ending_explain(session, replies, last, &why);
    } else {
        event.xid = strtoull(pg_value(&replies[0], 0, 0), NULL, 10);
        text_copy(session->owner, sizeof session->owner, pg_value(&replies[0], 0, 1),
                  strlen(pg_value(&replies[0], 0, 1)));
        if (command != COMMAND_COMMIT_READ_ONLY) /* which flushes nothing */
            positions_flushed(agent, event.branch.gtrid.tm, session->beat);
    }
    event.sqlstate = why.sqlstate;
    event.message = why.message;
    event.detail = why.detail;
    event.hint = why.hint;
    session_over(session);
    line_give_back(line, reset);
    agent_event(agent, event);
}

static void prepared(void *arg, const struct pg_reply *replies, int count)
{
    (void)count;
    POINT("agent.prepare-done");
    ending_ended(arg, COMMAND_PREPARE, replies, 1, &replies[2]);
}

static void barred(void *arg, const struct pg_reply *replies, int count)
{
    (void)count;
    ending_ended(arg, COMMAND_PREPARE, replies, 0, NULL);
}

static void committed_read_only(void *arg, const struct pg_reply *replies, int count)
{
    POINT("agent.read-only-done");
    ending_ended(arg, COMMAND_COMMIT_READ_ONLY, replies, count - 1, NULL);
}

/* Fails, and the transaction with it, unless it is the one that began here. What is
 * committed must also have reached the standby that the server waits for. */
#define GATE                                                                                       \
    "SELECT pg_catalog.pg_current_xact_id_if_assigned(), current_user,"                            \
    " 1 OPERATOR(pg_catalog./) coalesce((pg_catalog.pg_current_xact_id_if_assigned()"              \
    " OPERATOR(pg_catalog.=) $1::pg_catalog.xid8)::pg_catalog.int4, 0),"                           \
    " pg_catalog.set_config('synchronous_commit', 'on', true)"

/* One that was opened READ ONLY has no xid that it could be compared with. */
#define XID_OF_READER "SELECT pg_catalog.pg_current_xact_id(), current_user, $1::pg_catalog.text"

/* Fails in a way of its own unless the agent may finish what is prepared now: a grant may have been
 * taken away since the session was opened, and the application may have become another role. */
#define MAY_FINISH                                                                                 \
    ", pg_catalog.sqrt(CASE WHEN pg_catalog.pg_has_role($2::pg_catalog.name, current_user,"        \
    " $3::pg_catalog.text) THEN 0 ELSE -1 END)"

static void send_prepare(struct session *session)
{
    const struct agent *agent = session->agent;
    char gid[QUOTED_BYTES], sql[QUOTED_BYTES + 32];
    const char *const values[] = {session->read_only ? NULL : session->xid, agent->identity.login,
                                  membership_word(agent)};
    pg_literal(session->line->pg, session->gid, gid, sizeof gid);
    snprintf(sql, sizeof sql, "PREPARE TRANSACTION %s", gid);
    const struct pg_statement statements[] = {
        {.sql = session->read_only ? XID_OF_READER MAY_FINISH : GATE MAY_FINISH,
         .count = 3,
         .values = values,
         .more = true},
        {.sql = sql, .more = true},
        LINE_RESET,
    };
    POINT("agent.before-prepare");
    pg_run(session->line->pg, statements, 3, prepared, session->line);
    POINT("agent.prepare-sent");
}

/* ---- the vote of three-phase commit, before its PREPARE ---- */

static void ending_go_on(struct session *session)
{
    static const struct pg_statement commit[] = {{.sql = "SELECT 0, current_user", .more = true},
                                                 {.sql = "COMMIT"}};
    if (session->leaves)
        pg_run(session->line->pg, commit, 2, committed_read_only, session->line);
    else
        send_prepare(session);
}

static void joined(void *arg, const struct row_answer *answer)
{
    static const struct pg_statement rollback = {.sql = "ROLLBACK"};
    struct session *session = arg;
    session->asks--;
    if (session->state != SESSION_ENDING) {
        session_release(session);
    } else if (answer->failed) {
        pg_drop(session->line->pg, "the agent's vote could not be stored");
    } else if (answer->barred) { /* its tag says that nothing was prepared */
        session->barred = true;
        pg_run(session->line->pg, &rollback, 1, barred, session->line);
    } else {
        ending_go_on(session);
    }
}

static void vote(struct session *session, const char *xid)
{
    const struct roster *roster = ballots_roster(session->agent, &session->branch.gtrid);
    if (roster == NULL) {
        ending_go_on(session);
        return;
    }
    session->asks++;
    acceptors_join(session->agent, &session->branch, strtoull(xid, NULL, 10), roster, false, joined,
                   session);
}

/* ---- read-only branches ---- */

static void took_xid(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    (void)count;
    if (replies->alive) /* else down() follows */
        vote(line->session, pg_value(replies, 0, 0));
}

/* A branch that was opened READ ONLY and still is, with no xid, has nothing to decide.
 * Anything else is prepared: no xid alone does not mean no effect. */
static void judged_read_only(void *arg, const struct pg_reply *replies, int count)
{
    static const struct pg_statement take_xid = {.sql = "SELECT pg_catalog.pg_current_xact_id()"};
    struct line *line = arg;
    (void)count;
    if (!replies->alive)
        return; /* down() follows: nothing was sent that could prepare anything */
    line->session->leaves = strcmp(pg_value(replies, 0, 0), "t") == 0;
    if (line->session->leaves)
        vote(line->session, "0");
    else
        pg_run(line->pg, &take_xid, 1, took_xid, line);
}

static void prepare_read_only(struct session *session)
{
    static const struct pg_statement judge = {
        .sql = "SELECT pg_catalog.current_setting('transaction_read_only')"
               " OPERATOR(pg_catalog.=) 'on'"
               " AND pg_catalog.pg_current_xact_id_if_assigned() IS NULL"
               " AND pg_catalog.current_setting('transaction_isolation')"
               " OPERATOR(pg_catalog.<>) 'serializable'"};
    POINT("agent.before-read-only");
    pg_run(session->line->pg, &judge, 1, judged_read_only, session->line);
}

/* ---- one phase ---- */

enum { MARKED = 2, ONE_PHASE_STATEMENTS = 4 }; /* which of them writes the marker */

static void ending_stepped_back(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    if (replies->sqlstate[0] == '\0' && replies->alive)
        send_prepare(line->session);
    else
        ending_ended(line, COMMAND_COMMIT_ONE_PHASE, replies, count - 1, NULL);
}

/* The application's role, after SET ROLE perhaps, may not write the marker; or the transaction is
 * read-only by now; or anything else that would have kept no second branch from committing. */
static bool is_unmarked_alone(const struct session *session, const struct pg_reply *replies)
{
    return session->or_prepare && replies[ONE_PHASE_STATEMENTS - 1].alive &&
           replies[MARKED - 1].sqlstate[0] == '\0' && replies[MARKED].sqlstate[0] != '\0' &&
           pg_transaction(session->line->pg) == PQTRANS_INERROR;
}

static void committed_one_phase(void *arg, const struct pg_reply *replies, int count)
{
    static const struct pg_statement step_back = {.sql = "ROLLBACK TO SAVEPOINT assent_marker"};
    struct line *line = arg;
    POINT("agent.one-phase-done");
    if (is_unmarked_alone(line->session, replies))
        pg_run(line->pg, &step_back, 1, ending_stepped_back, line);
    else
        ending_ended(line, COMMAND_COMMIT_ONE_PHASE, replies, count - 1, NULL);
}

/* Behind a savepoint, so that the work can be prepared, as with two branches, where the marker
 * cannot be written. */
static void commit_one_phase(struct session *session)
{
    const char *const xid[] = {session->xid};
    const char *const marker[] = {session->gid, session->secret};
    const struct pg_statement statements[ONE_PHASE_STATEMENTS] = {
        {.sql = GATE, .count = 1, .values = xid, .more = true},
        {.sql = "SAVEPOINT assent_marker", .more = true},
        [MARKED] = {.sql = "SELECT assent.mark($1, $2)",
                    .count = 2,
                    .values = marker,
                    .more = true},
        {.sql = "COMMIT"},
    };
    POINT("agent.before-one-phase");
    pg_run(session->line->pg, statements, ONE_PHASE_STATEMENTS, committed_one_phase, session->line);
    POINT("agent.one-phase-sent");
}

/* The beat is set; the flush of what we send now makes it durable. */
static void ending_raised(void *arg, uint64_t beat)
{
    struct session *session = arg;
    session->asks--;
    if (session->state != SESSION_ENDING) {
        session_release(
            session); /* its connection was lost meanwhile, and the branch has been told */
        return;
    }
    session->beat = beat;
    if (beat == 0)
        pg_drop(session->line->pg, "the agent's positions could not be set");
    else if (session->wish == WISH_COMMIT)
        commit_one_phase(session);
    else if (session->read_only)
        prepare_read_only(session);
    else
        vote(session, session->xid);
}

static void rolled_back(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    struct agent *agent = line->agent;
    struct branch_id branch = line->session->branch;
    (void)count;
    POINT("agent.rollback-done");
    enum participant_event_type type =
        verdict(COMMAND_ROLLBACK, replies->tag, replies->sqlstate, replies->alive);
    session_over(line->session);
    if (type == PE_FINISHED) {
        line_give_back(line, NULL);
        agent_tell(agent, &branch, PE_FINISHED, NULL, NULL);
        return;
    }
    struct backend backend = pg_backend(line->pg);
    pg_drop(line->pg, replies->message);
    /* Nothing was ever prepared: with the backend its work is gone. */
    session_tell_when_gone(agent, &branch, backend, PE_FINISHED, NULL);
}

void session_end(struct session *session)
{
    static const struct pg_statement rollback = {.sql = "ROLLBACK"};
    session->state = SESSION_ENDING;
    if (session->wish == WISH_ROLLBACK) {
        POINT("agent.before-rollback");
        pg_run(session->line->pg, &rollback, 1, rolled_back, session->line);
        POINT("agent.rollback-sent");
        return;
    }
    /* A statement ran meanwhile, and its coordinator may have been turned away (adopt.c). */
    struct tm_link *tm = book_find(session->agent, session->branch.gtrid.tm);
    if (tm == NULL) {
        pg_drop(session->line->pg, "its coordinator is not registered any more");
        return;
    }
    session->asks++;
    positions_raise(session->agent, tm, session->lsn, false, ending_raised, session);
}
