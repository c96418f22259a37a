/*
 * rm-agent/postgres/opening.c - a branch's first statement: connect, enter the gid, BEGIN.
 *
 * A branch has one session and never a second one: half of the work would be gone. So its gid is
 * entered in assent.session before BEGIN, and whoever finds it there, or prepared, opens nothing.
 */
#include "rm-agent/postgres/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/point.h"
#include "common/ticket.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/talk/book.h"
#include "rm-agent/talk/mail.h"

enum { OPENING = 2 }; /* statements before the first one of the application */

static void begun(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    struct session *session = line->session;
    POINT("agent.begun");
    const struct pg_reply *wrong = &replies[replies[0].sqlstate[0] != '\0' ? 0 : OPENING - 1];
    if (!replies[count - 1].alive)
        return; /* down() follows */
    if (wrong->sqlstate[0] != '\0') {
        pg_drop(line->pg, wrong->message);
        return;
    }
    const char *xid = pg_value(&replies[OPENING - 1], 0, 0);
    if (!session->read_only)
        text_copy(session->xid, sizeof session->xid, xid, strlen(xid));
    if (count > OPENING) {
        session_ran(line, &replies[OPENING]);
        return;
    }
    session->state = SESSION_IDLE;
    session_go_on(session);
}

/* No clock of the server's ends a transaction that has one of its own. */
#define NO_TIMEOUT "pg_catalog.set_config('transaction_timeout', '0', true)"

/* The branch's first statement after BEGIN: read-only branches have no xid. */
static const char *first_statement(const struct session *session)
{
    bool has_timeout = pg_server_is(session->line->pg, 170000);
    if (session->read_only)
        return has_timeout ? "SELECT " NO_TIMEOUT : "SELECT 1";
    return has_timeout ? "SELECT pg_catalog.pg_current_xact_id(), " NO_TIMEOUT
                       : "SELECT pg_catalog.pg_current_xact_id()";
}

/* The xid comes before any beat that a vote will rest on. A read-only branch is to get none;
 * after one SELECT PostgreSQL refuses to make it READ WRITE. The application's statement travels
 * with them, and is not run if they fail. */
static void opening_begin(struct session *session)
{
    char sql[64];
    const char *isolation = isolation_word(session->isolation);
    snprintf(sql, sizeof sql, "BEGIN%s%s%s", isolation[0] == '\0' ? "" : " ISOLATION LEVEL ",
             isolation, session->read_only ? " READ ONLY" : "");
    struct pg_statement statements[OPENING] = {
        {.sql = sql, .more = true},
        {.sql = first_statement(session)},
    };
    POINT("agent.before-begin");
    if (session->exec != NULL && session->wish == WISH_NONE) {
        statements[OPENING - 1].more = true;
        session_run(session, statements, OPENING, begun);
        return;
    }
    session->state = SESSION_BEGINNING;
    pg_run(session->line->pg, statements, OPENING, begun, session->line);
}

static void never_opened(struct session *session, enum error_code code, const char *message)
{
    line_return(session->line);
    session->line = NULL;
    session_drop(session, code, message);
}

/* Meanwhile the branch may have been voted on without us, or its coordinator started again. */
static bool may_open(struct session *session)
{
    struct tm_link *tm = book_find(session->agent, session->branch.gtrid.tm);
    return tm != NULL && tm->incarnation == session->branch.gtrid.incarnation &&
           !closed_has(tm->closed, session->branch.gtrid.sequence) &&
           participant_state(session->agent->participant, &session->branch) == BRANCH_NONE;
}

/* An only branch that is worked here may be left to its database to decide. */
static void tell_opened(const struct session *session)
{
    struct result result = {.type = RESULT_OPENED, .branch = session->branch};
    mail_post(session->agent, session->branch.gtrid.tm, &result);
}

static void gid_entered(void *arg, const struct pg_reply *reply)
{
    struct session *session = arg;
    bool entered = strcmp(pg_value(reply, 0, 0), "t") == 0;
    bool prepared = strcmp(pg_value(reply, 0, 1), "t") == 0;
    bool used = strcmp(pg_value(reply, 0, 2), "t") == 0;
    POINT("agent.gid-entered");
    session->asks--;
    if (session->state != SESSION_ENTERING) {
        if (entered)
            used_delete(session->agent, session->gid);
        session_release(session);
    } else if (prepared) {
        never_opened(session, ERR_BRANCH_PREPARED, "the branch's gid is prepared already");
    } else if (!entered && used) {
        never_opened(session, ERR_BRANCH_LOST, "SQL has been run in this branch before");
    } else if (!entered) {
        never_opened(session, ERR_RM_UNAVAILABLE,
                     "the session's gid could not be entered in assent.session");
    } else if (!may_open(session)) {
        used_delete(session->agent, session->gid);
        never_opened(session, ERR_BRANCH_LOST, "the branch is over");
    } else if (!participant_has_room(session->agent->participant)) {
        used_delete(session->agent, session->gid);
        never_opened(session, ERR_BUSY,
                     "the agent has as many branches under way as max_branches allows; try again "
                     "later");
    } else {
        session->opened = true;
        opening_begin(session);
        agent_event(session->agent, (struct participant_event){.type = PE_OPENED,
                                                               .branch = session->branch,
                                                               .timeout_ms = session->allowed_ms});
        tell_opened(session);
    }
}

static void draw_secret(char out[2 * MARK_SECRET_BYTES + 1])
{
    uint8_t bytes[MARK_SECRET_BYTES];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        sprintf(out + 2 * i, "%02x", bytes[i]);
}

void session_enter(struct session *session)
{
    char pid[NUMBER_BYTES], start[NUMBER_BYTES], gtrid[GTRID_BYTES];
    struct backend backend = session->line->backend;
    draw_secret(session->secret);
    gtrid_format(&session->branch.gtrid, gtrid);
    used_settle(session->agent, session->gid);
    snprintf(pid, sizeof pid, "%d", backend.pid);
    snprintf(start, sizeof start, "%" PRId64, backend.start_us);
    POINT("agent.before-gid-entered");
    session->state = SESSION_ENTERING;
    session->asks++;
    /* It may run twice: what the first run entered counts. That the control connection sees this
     * backend is known since the line was entered. A marker that asked for no proof when it was
     * written cannot be true of a transaction that has yet to begin. */
    control_ask(session->agent, gid_entered, session,
                "WITH prepared AS (SELECT FROM pg_prepared_xacts WHERE gid = $3),"
                " forged AS (DELETE FROM assent.marker WHERE gtrid = $5 AND xid IS NULL),"
                " entered AS (INSERT INTO assent.session (pid, backend_start, gid, secret)"
                " SELECT $1::int, 'epoch'::timestamptz + $2::bigint * interval '1 microsecond', $3,"
                " $4::text WHERE NOT EXISTS (SELECT FROM prepared)"
                " ON CONFLICT DO NOTHING RETURNING 1)"
                " SELECT EXISTS (SELECT FROM entered) OR EXISTS (SELECT FROM assent.session"
                " WHERE gid = $3 AND pid = $1::int AND " BACKEND_START_US
                " = $2::bigint), EXISTS (SELECT FROM prepared),"
                " EXISTS (SELECT FROM assent.session WHERE gid = $3)",
                5, pid, start, session->gid, session->secret, gtrid);
}

void session_open(struct session *session)
{
    session->agent->sessions->open++;
    session->state = SESSION_CONNECTING;
    if (line_take(session))
        session_enter(session);
}
