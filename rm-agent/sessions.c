/*
 * rm-agent/sessions.c - SQL in a branch: exec, and its PREPARE TRANSACTION.
 *
 * A branch has one session from its first statement to its PREPARE, and never a second one:
 * half of the work would be gone. So a gid that was once worked here is remembered until the
 * branch is settled, in assent.session also over our own restart.
 *
 * The transaction's xid is taken right behind BEGIN and compared right before PREPARE. The
 * comparison travels with the PREPARE: if it fails it fails the transaction, and PREPARE is
 * answered ROLLBACK. Afterwards the connection is reset by DISCARD ALL and used again.
 */
#include "rm-agent/sessions.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/point.h"
#include "rm-agent/control.h"
#include "rm-agent/exec.h"
#include "rm-agent/positions.h"
#include "rm-agent/result.h"
#include "rm-agent/verdict.h"

enum { NUMBER_BYTES = 24 };

enum session_state {
    SESSION_CONNECTING, /* waits for its line */
    SESSION_ENTERING,   /* its gid goes into assent.session */
    SESSION_BEGINNING,
    SESSION_IDLE,
    SESSION_RUNNING, /* a statement */
    SESSION_ENDING,  /* the wish is being fulfilled */
    SESSION_OVER,    /* only the gid is remembered, and who owns what it prepared */
};

/* How it is to end, once the statement that runs is done. */
enum wish { WISH_NONE, WISH_PREPARE, WISH_COMMIT, WISH_ROLLBACK };

struct session {
    struct agent *agent;
    struct branch_id branch;
    char gid[GID_BYTES];
    enum session_state state;
    enum wish wish;
    uint32_t role; /* index into the options' roles */
    bool read_only;
    enum isolation isolation;
    uint32_t allowed_ms; /* from its opening */
    bool opened;         /* the participant knows of it */
    bool own;            /* no session: the application prepared it itself */
    struct line *line;
    char xid[NUMBER_BYTES]; /* of the transaction that began */
    char owner[ROLE_NAME_BYTES];
    uint64_t lsn;      /* WISH_COMMIT */
    uint64_t beat;     /* on disk once its PREPARE or COMMIT is */
    struct exec *exec; /* waiting or running */
    uint64_t n;        /* statements begun */
    char *last_reply;  /* to statement n, if it was numbered */
    size_t last_length;
    char failed_sqlstate[SQLSTATE_BYTES]; /* why its transaction can no longer commit */
    char failed_message[REASON_BYTES];
    uint32_t asks;  /* answers under way that still point here */
    bool forgotten; /* freed with the last of them */
    UT_hash_handle hh;
};

/* A connection for sessions. */
struct line {
    struct line *next;
    struct agent *agent;
    struct pg *pg;
    uint32_t role;
    struct backend backend; /* entered; pid 0: not yet */
    struct session *session;
    struct rows rows;
    bool idle; /* reset, and free for any session of its role */
    bool entering;
    bool closed;
};

struct sessions {
    struct session *by_gid;
    struct line *lines;
    uint32_t line_count;
    uint32_t open;     /* sessions that are not over */
    uint32_t deleting; /* questions under way that take gids out of assent.session */
    char *to_delete;   /* those that wait for it */
    size_t to_delete_length, to_delete_room;
};

static void go_on(struct session *session);

/* ---- sessions ---- */

static struct session *find(struct agent *agent, const char *gid)
{
    struct session *session;
    HASH_FIND_STR(agent->sessions->by_gid, gid, session);
    return session;
}

static struct session *find_branch(struct agent *agent, const struct branch_id *branch)
{
    char gid[GID_BYTES];
    gid_format(branch, gid);
    return find(agent, gid);
}

static struct session *add(struct agent *agent, const char *gid, const struct branch_id *branch)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        abort();
    session->agent = agent;
    session->branch = *branch;
    session->state = SESSION_OVER;
    text_copy(session->gid, sizeof session->gid, gid, strlen(gid));
    HASH_ADD_STR(agent->sessions->by_gid, gid, session);
    return session;
}

static void release(struct session *session)
{
    if (session->asks > 0 || !session->forgotten)
        return;
    free(session->last_reply);
    free(session);
}

static void exec_refuse(struct session *session, enum error_code code, const char *message)
{
    struct failure failure = {0};
    if (session->exec == NULL)
        return;
    refuse(&failure, code, "%s", message);
    reply_failure(session->exec->request, &failure);
    exec_free(session->exec);
    session->exec = NULL;
}

/* From here on only the gid counts, and who owns what was prepared. */
static void session_over(struct session *session)
{
    if (session->state == SESSION_OVER)
        return;
    exec_refuse(session, ERR_BRANCH_LOST, "the branch's session has ended");
    session->state = SESSION_OVER;
    session->agent->sessions->open--;
    free(session->last_reply);
    session->last_reply = NULL;
    if (session->line != NULL)
        session->line->session = NULL;
    session->line = NULL;
}

/* ---- lines ---- */

static void backend_is_gone(void *arg)
{
    (void)arg;
}

static void line_free(struct line *line)
{
    if (!line->entering)
        free(line);
}

/* Its backend may still be at work: it is ended, and then left out of assent.session. */
static struct backend line_close(struct line *line)
{
    struct sessions *sessions = line->agent->sessions;
    struct backend backend = pg_backend(line->pg);
    struct line **at = &sessions->lines;
    while (*at != line)
        at = &(*at)->next;
    *at = line->next;
    sessions->line_count--;
    if (line->session != NULL)
        line->session->line = NULL;
    line->closed = true;
    pg_close(line->pg);
    line_free(line);
    return backend;
}

static void line_reset(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    (void)count;
    if (!replies->alive)
        return; /* down() follows */
    if (strcmp(replies->tag, "DISCARD ALL") == 0 && pg_transaction(line->pg) == PQTRANS_IDLE)
        line->idle = true;
    else
        pg_drop(line->pg, "it could not be reset");
}

/* The session is done with it: nothing that it set may reach the next one. */
static void line_give_back(struct line *line)
{
    static const struct pg_statement reset = {.sql = "DISCARD ALL"};
    line->session = NULL;
    if (pg_idle(line->pg) && pg_transaction(line->pg) == PQTRANS_IDLE)
        pg_run(line->pg, &reset, 1, line_reset, line);
    else
        pg_drop(line->pg, "it is still in a transaction");
}

static void enter_gid(struct session *session);

static const char cannot_see[] =
    "the agent cannot see the session's backend; is its role a member of the session's role?";

static void line_entered(void *arg, bool entered)
{
    struct line *line = arg;
    POINT("agent.session-entered");
    line->entering = false;
    if (line->closed) {
        line_free(line);
        return;
    }
    if (!entered) {
        log_warning("role \"%s\" does not see the backend of a session: it must be a member of the "
                    "session's role, and both conninfos name the same server",
                    line->agent->identity.login);
        pg_drop(line->pg, cannot_see);
        return;
    }
    line->backend = pg_backend(line->pg);
    if (line->session != NULL)
        enter_gid(line->session);
    else
        line->idle = true;
}

static void line_up(void *arg)
{
    struct line *line = arg;
    POINT("agent.session-connected");
    line->entering = true;
    control_enter(line->agent, pg_backend(line->pg), line_entered, line);
}

/* Nothing was done in it: it need not be remembered, and may be tried again. */
static void session_drop(struct session *session, enum error_code code, const char *why)
{
    struct agent *agent = session->agent;
    exec_refuse(session, code, why);
    session_over(session);
    HASH_DEL(agent->sessions->by_gid, session);
    session->forgotten = true;
    release(session);
}

/* Its transaction is gone, or will be once the backend notices: nothing was prepared, since
 * a PREPARE that was under way has been answered already. */
static void session_lost(struct session *session, const char *why)
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

static void line_down(void *arg, const char *why)
{
    struct line *line = arg;
    struct agent *agent = line->agent;
    struct session *session = line->session;
    char kept[REASON_BYTES];
    text_copy(kept, sizeof kept, why, strlen(why));
    agent_note(agent, why);
    struct backend backend = line_close(line);
    control_end_backend(agent, backend, backend_is_gone, NULL);
    if (session != NULL)
        session_lost(session, kept);
}

static struct line *idle_line(struct sessions *sessions, uint32_t role)
{
    for (struct line *line = sessions->lines; line != NULL; line = line->next)
        if (line->idle && line->role == role)
            return line;
    return NULL;
}

/* Connections are as many as sessions may be: one that idles for another role makes room. */
static void make_room(struct agent *agent)
{
    struct sessions *sessions = agent->sessions;
    if (sessions->line_count < agent->options->max_sessions)
        return;
    for (struct line *line = sessions->lines; line != NULL; line = line->next)
        if (line->idle) {
            control_end_backend(agent, line_close(line), backend_is_gone, NULL);
            return;
        }
}

static struct line *line_open(struct agent *agent, uint32_t role)
{
    struct line *line = calloc(1, sizeof *line);
    if (line == NULL)
        abort();
    struct pg_options options = {
        .conninfo = agent->options->roles[role].conninfo,
        .settings = "-c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"
                    " -c lock_timeout=10s -c client_connection_check_interval=2s"
                    " -c datestyle=ISO",
        .up = line_up,
        .down = line_down,
        .arg = line,
    };
    struct error error;
    make_room(agent);
    line->agent = agent;
    line->role = role;
    if (pg_open(&line->pg, agent->set, &options, &error) != 0)
        abort();
    line->next = agent->sessions->lines;
    agent->sessions->lines = line;
    agent->sessions->line_count++;
    return line;
}

/* ---- opening: connect, enter, BEGIN ---- */

static void begun(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    struct session *session = line->session;
    const struct pg_reply *last = &replies[count - 1];
    POINT("agent.begun");
    const struct pg_reply *wrong = replies[0].sqlstate[0] != '\0' ? &replies[0] : last;
    if (!last->alive)
        return; /* down() follows */
    if (wrong->sqlstate[0] != '\0') {
        pg_drop(line->pg, wrong->message);
        return;
    }
    if (!session->read_only)
        text_copy(session->xid, sizeof session->xid, pg_value(last, 0, 0),
                  strlen(pg_value(last, 0, 0)));
    session->state = SESSION_IDLE;
    go_on(session);
}

/* The xid comes before any beat that a vote will rest on. A read-only branch is to get none;
 * after one SELECT PostgreSQL refuses to make it READ WRITE. */
static void begin(struct session *session)
{
    char sql[64];
    const char *isolation = isolation_word(session->isolation);
    snprintf(sql, sizeof sql, "BEGIN%s%s%s", isolation[0] == '\0' ? "" : " ISOLATION LEVEL ",
             isolation, session->read_only ? " READ ONLY" : "");
    const struct pg_statement statements[] = {
        {.sql = sql},
        {.sql = session->read_only ? "SELECT 1" : "SELECT pg_catalog.pg_current_xact_id()"},
    };
    session->state = SESSION_BEGINNING;
    POINT("agent.before-begin");
    pg_run(session->line->pg, statements, 2, begun, session->line);
}

static void never_opened(struct session *session, enum error_code code, const char *message)
{
    struct line *line = session->line;
    line->session = NULL;
    line->idle = true;
    session->line = NULL;
    session_drop(session, code, message);
}

static void delete_next(struct agent *agent);

static void deleted(void *arg, const struct pg_reply *reply)
{
    struct agent *agent = arg;
    (void)reply;
    agent->sessions->deleting--;
    delete_next(agent);
}

static void delete_waiting(struct agent *agent)
{
    struct sessions *sessions = agent->sessions;
    sessions->deleting++;
    sessions->to_delete[sessions->to_delete_length - 1] = '}';
    control_ask(agent, deleted, agent, "DELETE FROM assent.session WHERE gid = ANY ($1::text[])", 1,
                sessions->to_delete);
    sessions->to_delete_length = 0;
}

static void delete_next(struct agent *agent)
{
    if (agent->sessions->deleting == 0 && agent->sessions->to_delete_length > 0)
        delete_waiting(agent);
}

/* What is to go while others go, goes together after them. */
static void delete_gid(struct agent *agent, const char *gid)
{
    struct sessions *sessions = agent->sessions;
    size_t at = sessions->to_delete_length;
    size_t needed = at + strlen(gid) + 3;
    if (needed > sessions->to_delete_room) {
        sessions->to_delete_room = 2 * needed;
        sessions->to_delete = realloc(sessions->to_delete, sessions->to_delete_room);
        if (sessions->to_delete == NULL)
            abort();
    }
    /* An array's text, its last comma to become the brace. gids need no quoting. */
    at += (size_t)sprintf(sessions->to_delete + at, "%s%s,", at == 0 ? "{" : "", gid);
    sessions->to_delete_length = at;
    delete_next(agent);
}

/* Meanwhile the branch may have been voted on without us, or its coordinator started again. */
static bool may_open(struct session *session)
{
    struct tm_link *tm = tms_find(session->agent, session->branch.gtrid.tm);
    return tm != NULL && tm->incarnation == session->branch.gtrid.incarnation &&
           participant_state(session->agent->participant, &session->branch) == BRANCH_NONE;
}

/* An only branch that is worked here may be left to its database to decide. */
static void tell_opened(const struct session *session)
{
    struct result result = {.type = RESULT_OPENED, .branch = session->branch};
    tms_post(session->agent, session->branch.gtrid.tm, &result);
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
            delete_gid(session->agent, session->gid);
        release(session);
    } else if (prepared) {
        never_opened(session, ERR_BRANCH_PREPARED, "the branch's gid is prepared already");
    } else if (!entered && used) {
        never_opened(session, ERR_BRANCH_LOST, "SQL has been run in this branch before");
    } else if (!entered) {
        never_opened(session, ERR_RM_UNAVAILABLE, cannot_see);
    } else if (!may_open(session)) {
        delete_gid(session->agent, session->gid);
        never_opened(session, ERR_BRANCH_LOST, "the branch is over");
    } else {
        session->opened = true;
        begin(session);
        agent_event(session->agent, (struct participant_event){.type = PE_OPENED,
                                                               .branch = session->branch,
                                                               .timeout_ms = session->allowed_ms});
        tell_opened(session);
    }
}

static void enter_gid(struct session *session)
{
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    struct backend backend = session->line->backend;
    struct sessions *sessions = session->agent->sessions;
    /* What is entered now must not be taken out by a wish from before. */
    if (sessions->to_delete_length > 0 && strstr(sessions->to_delete, session->gid) != NULL)
        delete_waiting(session->agent);
    snprintf(pid, sizeof pid, "%d", backend.pid);
    snprintf(start, sizeof start, "%" PRId64, backend.start_us);
    POINT("agent.before-gid-entered");
    session->state = SESSION_ENTERING;
    session->asks++;
    /* It may run twice: what the first run entered counts. That the control connection sees this
     * backend is known since the line was entered. */
    control_ask(session->agent, gid_entered, session,
                "WITH prepared AS (SELECT FROM pg_prepared_xacts WHERE gid = $3),"
                " entered AS (INSERT INTO assent.session (pid, backend_start, gid)"
                " SELECT $1::int, 'epoch'::timestamptz + $2::bigint * interval '1 microsecond', $3"
                " WHERE NOT EXISTS (SELECT FROM prepared)"
                " ON CONFLICT DO NOTHING RETURNING 1)"
                " SELECT EXISTS (SELECT FROM entered) OR EXISTS (SELECT FROM assent.session"
                " WHERE gid = $3 AND pid = $1::int AND " BACKEND_START_US
                " = $2::bigint), EXISTS (SELECT FROM prepared),"
                " EXISTS (SELECT FROM assent.session WHERE gid = $3)",
                3, pid, start, session->gid);
}

static void open_session(struct session *session)
{
    struct agent *agent = session->agent;
    struct line *line = idle_line(agent->sessions, session->role);
    agent->sessions->open++;
    session->state = SESSION_CONNECTING;
    if (line != NULL) {
        line->idle = false;
        line->session = session;
        session->line = line;
        enter_gid(session);
        return;
    }
    line = line_open(agent, session->role);
    line->session = session;
    session->line = line;
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

/* Message, detail and hint in one line, as far as it has room. */
static void all_words(const struct pg_reply *reply, char out[REASON_BYTES])
{
    snprintf(out, REASON_BYTES, "%s%s%s%s%s", reply->message,
             reply->detail[0] == '\0' ? "" : "; detail: ", reply->detail,
             reply->hint[0] == '\0' ? "" : "; hint: ", reply->hint);
}

static void ran(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    struct session *session = line->session;
    size_t length;
    (void)count;
    char *text = rows_reply(&line->rows, replies, session->n, &length);
    if (!replies->alive) {
        free(text);
        return; /* down() follows, and refuses the exec */
    }
    session->state = SESSION_IDLE;
    if (pg_transaction(line->pg) == PQTRANS_IDLE) {
        free(text);
        log_warning("%s: a statement ended the branch's transaction", session->gid);
        exec_refuse(session, ERR_BRANCH_LOST, "the statement ended the branch's transaction");
        pg_drop(line->pg, "the branch's transaction was ended by a statement");
        return;
    }
    if (replies->sqlstate[0] != '\0') {
        memcpy(session->failed_sqlstate, replies->sqlstate, sizeof session->failed_sqlstate);
        all_words(replies, session->failed_message);
    }
    POINT("agent.exec-done");
    net_reply(session->exec->request, text, length);
    POINT("agent.exec-answered");
    keep_reply(session, text, length);
    exec_free(session->exec);
    session->exec = NULL;
    go_on(session);
}

static void run(struct session *session)
{
    session->state = SESSION_RUNNING;
    session->n++;
    rows_begin(&session->line->rows);
    POINT("agent.before-exec");
    exec_send(session->exec, session->line->pg, row, ran, session->line);
    POINT("agent.exec-sent");
}

/* ---- the end: PREPARE, COMMIT, ROLLBACK ---- */

struct loss {
    struct agent *agent;
    struct branch_id branch;
    enum participant_event_type type;
};

static void backend_of_branch_is_gone(void *arg)
{
    struct loss loss = *(struct loss *)arg;
    free(arg);
    agent_tell(loss.agent, &loss.branch, loss.type, NULL, NULL);
}

/* The event is told once the backend can do nothing any more. */
static void tell_when_gone(struct agent *agent, const struct branch_id *branch,
                           struct backend backend, enum participant_event_type type)
{
    struct loss *loss = malloc(sizeof *loss);
    if (loss == NULL)
        abort();
    *loss = (struct loss){agent, *branch, type};
    control_end_backend(agent, backend, backend_of_branch_is_gone, loss);
}

/* Why PostgreSQL said no. A failed transaction is answered ROLLBACK, with no error: then the
 * first error before it is the reason to tell. */
static void explain(const struct session *session, const struct pg_reply *replies, int last,
                    char words[REASON_BYTES], struct participant_event *event)
{
    const struct pg_reply *first = replies;
    while (first < &replies[last] && first->sqlstate[0] == '\0')
        first++;
    all_words(first, words);
    event->sqlstate = first->sqlstate;
    event->message = words[0] != '\0' ? words : "the transaction had failed";
    if (strcmp(first->sqlstate, "25P02") == 0 && session->failed_sqlstate[0] != '\0') {
        event->sqlstate = session->failed_sqlstate;
        event->message = session->failed_message;
    } else if (first == replies && strcmp(first->sqlstate, "22012") == 0) {
        event->message = "branch_lost: the branch's transaction was ended inside its session";
    }
}

/* command: what replies[last] answers; the gate before it has read xid and owner. */
static void ended(struct line *line, enum command command, const struct pg_reply *replies, int last)
{
    struct session *session = line->session;
    struct agent *agent = session->agent;
    const struct pg_reply *reply = &replies[last];
    struct participant_event event = {
        .type = verdict(command, reply->tag, reply->sqlstate, reply->alive),
        .branch = session->branch,
        .beat = session->beat,
    };
    char sqlstate[SQLSTATE_BYTES] = "", message[REASON_BYTES] = "";
    if (event.type == PE_UNKNOWN) {
        struct backend backend = pg_backend(line->pg);
        session_over(session);
        pg_drop(line->pg, reply->message);
        tell_when_gone(agent, &event.branch, backend, PE_UNKNOWN);
        return;
    }
    if (event.type == PE_REFUSAL) {
        char words[REASON_BYTES];
        explain(session, replies, last, words, &event);
        text_copy(sqlstate, sizeof sqlstate, event.sqlstate, strlen(event.sqlstate));
        text_copy(message, sizeof message, event.message, strlen(event.message));
    } else {
        event.xid = strtoull(pg_value(&replies[0], 0, 0), NULL, 10);
        text_copy(session->owner, sizeof session->owner, pg_value(&replies[0], 0, 1),
                  strlen(pg_value(&replies[0], 0, 1)));
        if (command != COMMAND_COMMIT_READ_ONLY) /* which flushes nothing */
            positions_flushed(agent, event.branch.gtrid.tm, session->beat);
    }
    event.sqlstate = sqlstate;
    event.message = message;
    session_over(session);
    line_give_back(line);
    agent_event(agent, event);
}

static void prepared(void *arg, const struct pg_reply *replies, int count)
{
    POINT("agent.prepare-done");
    ended(arg, COMMAND_PREPARE, replies, count - 1);
}

static void committed_read_only(void *arg, const struct pg_reply *replies, int count)
{
    POINT("agent.read-only-done");
    ended(arg, COMMAND_COMMIT_READ_ONLY, replies, count - 1);
}

static void committed_one_phase(void *arg, const struct pg_reply *replies, int count)
{
    POINT("agent.one-phase-done");
    ended(arg, COMMAND_COMMIT_ONE_PHASE, replies, count - 1);
}

/* Fails, and the transaction with it, unless it is the one that began here. What is
 * committed must also have reached the standby that the server waits for. */
#define GATE                                                                                       \
    "SELECT pg_catalog.pg_current_xact_id_if_assigned(), current_user,"                            \
    " 1 / coalesce((pg_catalog.pg_current_xact_id_if_assigned()"                                   \
    " OPERATOR(pg_catalog.=) $1::pg_catalog.xid8)::pg_catalog.int4, 0),"                           \
    " pg_catalog.set_config('synchronous_commit', 'on', true)"

static void send_prepare(struct session *session, const char *first, bool gated)
{
    char gid[QUOTED_BYTES], sql[QUOTED_BYTES + 32];
    const char *const values[] = {session->xid};
    pg_literal(session->line->pg, session->gid, gid, sizeof gid);
    snprintf(sql, sizeof sql, "PREPARE TRANSACTION %s", gid);
    const struct pg_statement statements[] = {
        {.sql = first, .count = gated ? 1 : 0, .values = values}, {.sql = sql}};
    POINT("agent.before-prepare");
    pg_run(session->line->pg, statements, 2, prepared, session->line);
    POINT("agent.prepare-sent");
}

/* A branch that was opened READ ONLY and still is, with no xid, has nothing to decide.
 * Anything else is prepared: no xid alone does not mean no effect. */
static void judged_read_only(void *arg, const struct pg_reply *replies, int count)
{
    static const struct pg_statement commit[] = {{.sql = "SELECT 0, current_user"},
                                                 {.sql = "COMMIT"}};
    struct line *line = arg;
    (void)count;
    if (!replies->alive)
        return; /* down() follows: nothing was sent that could prepare anything */
    if (strcmp(pg_value(replies, 0, 0), "t") == 0)
        pg_run(line->pg, commit, 2, committed_read_only, line);
    else
        send_prepare(line->session, "SELECT pg_catalog.pg_current_xact_id(), current_user", false);
}

static void prepare_read_only(struct session *session)
{
    static const struct pg_statement judge = {
        .sql = "SELECT pg_catalog.current_setting('transaction_read_only') = 'on'"
               " AND pg_catalog.pg_current_xact_id_if_assigned() IS NULL"
               " AND pg_catalog.current_setting('transaction_isolation') <> 'serializable'"};
    POINT("agent.before-read-only");
    pg_run(session->line->pg, &judge, 1, judged_read_only, session->line);
}

static void commit_one_phase(struct session *session)
{
    char gtrid[GTRID_BYTES];
    gtrid_format(&session->branch.gtrid, gtrid);
    const char *const xid[] = {session->xid};
    const char *const marker[] = {gtrid};
    const struct pg_statement statements[] = {
        {.sql = GATE, .count = 1, .values = xid},
        {.sql = "SELECT assent.mark($1)", .count = 1, .values = marker},
        {.sql = "COMMIT"},
    };
    POINT("agent.before-one-phase");
    pg_run(session->line->pg, statements, 3, committed_one_phase, session->line);
    POINT("agent.one-phase-sent");
}

/* The beat is set; the flush of what we send now makes it durable. */
static void raised(void *arg, uint64_t beat)
{
    struct session *session = arg;
    session->asks--;
    if (session->state != SESSION_ENDING) {
        release(session); /* its connection was lost meanwhile, and the branch has been told */
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
        send_prepare(session, GATE, true);
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
        line_give_back(line);
        agent_tell(agent, &branch, PE_FINISHED, NULL, NULL);
        return;
    }
    struct backend backend = pg_backend(line->pg);
    pg_drop(line->pg, replies->message);
    /* Nothing was ever prepared: with the backend its work is gone. */
    tell_when_gone(agent, &branch, backend, PE_FINISHED);
}

static void fulfil(struct session *session)
{
    static const struct pg_statement rollback = {.sql = "ROLLBACK"};
    session->state = SESSION_ENDING;
    if (session->wish == WISH_ROLLBACK) {
        POINT("agent.before-rollback");
        pg_run(session->line->pg, &rollback, 1, rolled_back, session->line);
        POINT("agent.rollback-sent");
        return;
    }
    struct tm_link *tm = tms_find(session->agent, session->branch.gtrid.tm);
    session->asks++;
    positions_raise(session->agent, tm, session->lsn, false, raised, session);
}

/* What comes next in an idle session. */
static void go_on(struct session *session)
{
    if (session->state != SESSION_IDLE)
        return;
    if (session->wish != WISH_NONE)
        fulfil(session);
    else if (session->exec != NULL)
        run(session);
}

static void wish(struct agent *agent, const struct branch_id *branch, enum wish what, uint64_t lsn)
{
    struct session *session = find_branch(agent, branch);
    if (session == NULL || session->state == SESSION_OVER) {
        agent_tell(agent, branch, PE_REFUSAL, NULL, "branch_lost: its session is gone");
        return;
    }
    session->wish = what;
    session->lsn = lsn;
    /* A statement that has not begun comes too late; one that runs is waited for. */
    if (session->state != SESSION_RUNNING)
        exec_refuse(session, ERR_BRANCH_PREPARED, "the branch is being prepared");
    go_on(session);
}

void sessions_prepare(struct agent *agent, const struct branch_id *branch)
{
    wish(agent, branch, WISH_PREPARE, 0);
}

void sessions_commit(struct agent *agent, const struct branch_id *branch, uint64_t lsn)
{
    wish(agent, branch, WISH_COMMIT, lsn);
}

void sessions_end(struct agent *agent, const struct branch_id *branch)
{
    struct session *session = find_branch(agent, branch);
    if (session == NULL || session->state == SESSION_OVER) {
        agent_tell(agent, branch, PE_FINISHED, NULL, NULL);
        return;
    }
    session->wish = WISH_ROLLBACK;
    if (session->state == SESSION_IDLE) {
        go_on(session);
        return;
    }
    /* It is connecting, or a statement runs: do not wait for it. */
    struct line *line = session->line;
    exec_refuse(session, ERR_BRANCH_LOST, "the branch was rolled back");
    session_over(session);
    tell_when_gone(agent, branch, line_close(line), PE_FINISHED);
}

/* ---- exec ---- */

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
    if (agent->draining)
        return refuse(failure, ERR_NOT_READY, "the agent is stopping");
    if (!control_ready(agent))
        return refuse(failure, ERR_RM_UNAVAILABLE, "no connection to the database: %s",
                      agent->health.last_error);
    if (agent->sessions->open >= agent->options->max_sessions)
        return refuse(failure, ERR_BUSY, "all %u sessions are in use",
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

void sessions_exec(struct agent *agent, struct net_request *request, cJSON *object)
{
    struct failure failure = {0};
    bool repeated = false;
    struct exec *exec = calloc(1, sizeof *exec);
    if (exec == NULL)
        abort();
    exec->request = request;
    exec->object = object;
    if (exec_read(agent, exec, &failure) != 0)
        goto refused;

    struct session *session = find(agent, exec->gid);
    bool fresh = session == NULL || session->state == SESSION_OVER;
    if (fresh ? check_new(agent, session, &exec->branch, exec->n, &failure) != 0
              : check_sequence(session, exec->n, &repeated, &failure) != 0)
        goto refused;
    if (repeated) {
        net_reply(request, session->last_reply, session->last_length);
        exec_free(exec);
        return;
    }
    if (!fresh) {
        session->exec = exec;
        go_on(session);
        return;
    }
    session = add(agent, exec->gid, &exec->branch);
    session->role = exec->role;
    session->read_only = exec->ticket.read_only;
    session->isolation = exec->ticket.isolation;
    session->allowed_ms = exec->ticket.allowed_ms;
    session->exec = exec;
    open_session(session);
    return;

refused:
    reply_failure(request, &failure);
    exec_free(exec);
}

/* ---- what is remembered of sessions that are over ---- */

bool sessions_owner(struct agent *agent, const char *gid, char out[ROLE_NAME_BYTES])
{
    const struct session *session = find(agent, gid);
    if (session == NULL || session->owner[0] == '\0')
        return false;
    memcpy(out, session->owner, ROLE_NAME_BYTES);
    return true;
}

void sessions_remember_owner(struct agent *agent, const struct branch_id *branch, const char *owner)
{
    struct session *session = find_branch(agent, branch);
    if (session == NULL) {
        char gid[GID_BYTES];
        gid_format(branch, gid);
        session = add(agent, gid, branch);
        session->own = true;
    }
    text_copy(session->owner, sizeof session->owner, owner, strlen(owner));
}

void sessions_remember_used(struct agent *agent, const char *gid)
{
    struct branch_id branch;
    if (gid_parse(gid, strlen(gid), &branch) && find(agent, gid) == NULL)
        add(agent, gid, &branch);
}

static void forget(struct session *session)
{
    struct agent *agent = session->agent;
    POINT("agent.before-gid-left");
    if (!session->own)
        delete_gid(agent, session->gid);
    HASH_DEL(agent->sessions->by_gid, session);
    session->forgotten = true;
    release(session);
}

void sessions_forget(struct agent *agent, const struct branch_id *branch)
{
    struct session *session = find_branch(agent, branch);
    if (session != NULL && session->state == SESSION_OVER)
        forget(session);
}

void sessions_forget_older(struct agent *agent, const char *tm, uint64_t incarnation)
{
    struct session *session, *next;
    for (session = agent->sessions->by_gid; session != NULL; session = next) {
        next = session->hh.next;
        if (session->state == SESSION_OVER && strcmp(session->branch.gtrid.tm, tm) == 0 &&
            session->branch.gtrid.incarnation < incarnation)
            forget(session);
    }
}

/* ---- all of them ---- */

int sessions_create(struct agent *agent, struct error *error)
{
    agent->sessions = calloc(1, sizeof *agent->sessions);
    if (agent->sessions == NULL)
        return fail_errno(error, "make room for sessions");
    return 0;
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
