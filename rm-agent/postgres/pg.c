/*
 * rm-agent/postgres/pg.c - connections to PostgreSQL that never block: moves bytes to and from
 * libpq.
 *
 * A statement's result is known from its result alone. When a connection fails, whatever had
 * not been answered is handed back as not alive, and nobody here guesses what became of it.
 */
#include "rm-agent/postgres/pg.h"

#include <assert.h>
#include <malloc.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/tcp.h"
#include "common/ticket.h"
#include "rm-agent/postgres/targets.h"

enum { CONNECT_MS = 10 * 1000, RETRY_LEAST_MS = 100, RETRY_MOST_MS = 5 * 1000 };
/* What else a job of rows may make the heap grow by: the reply that they become. */
enum { REPLY_ROOM = 3 * 1024 * 1024 };
enum { KEPT_MAX = 32, NOT_PARSED = -1, SETTINGS_BYTES = 1024 };

enum state {
    PG_CLOSED,     /* waits for retry_ms, or for ever */
    PG_LOOKING,    /* its host's name up, until connect_by_ms */
    PG_CONNECTING, /* until connect_by_ms */
    PG_GREETING,   /* asks which backend it got */
    PG_UP,
};

struct job {
    bool active;
    bool pipelined;
    int count;
    int at;                        /* the statement whose answer comes next */
    int answered;                  /* statements whose Sync has come */
    int parsed[PG_STATEMENTS_MAX]; /* which of those kept it parses first, or NOT_PARSED */
    struct pg_reply *replies;      /* count of them */
    pg_row_fn *row;                /* for the last one's */
    uint32_t row_most;
    int64_t grown; /* by how much it made the heap grow, so far, with a row that is not complete */
    pg_done_fn *done;
    void *arg;
};

struct pg {
    struct pg *next, **link; /* in the set */
    struct pg_set *set;
    struct pg_options options;
    char *conninfo;
    char *startup; /* the conninfo's own options, and ours */
    enum state state;
    PGconn *conn;
    int watched_fd;
    uint32_t watched_events;
    struct targets *targets;    /* to be tried; NULL while there is no attempt */
    struct lookup *lookup;      /* or NULL */
    char failure[REASON_BYTES]; /* of the first target; "": none has failed yet */
    uint64_t attempt_by_ms;
    uint64_t connect_by_ms; /* to this target; 0: it has failed already */
    uint64_t retry_ms;
    uint32_t backoff_ms;
    struct backend backend;
    char database[16];          /* its oid */
    const char *kept[KEPT_MAX]; /* parsed in this backend, as "0", "1", ...; NULL: free */
    struct job job;
    bool swollen, burst;
    int depth;   /* callbacks under way */
    bool doomed; /* to be freed when they are over */
};

struct pg_set {
    struct loop *loop;
    struct pg *first;
};

static void pump(struct pg *pg);

/* ---- watching the socket ---- */

static void ready(void *arg, uint32_t events);

static void unwatch(struct pg *pg)
{
    if (pg->watched_fd >= 0)
        loop_watch(pg->set->loop, pg->watched_fd, 0, NULL, NULL, NULL);
    pg->watched_fd = -1;
    pg->watched_events = 0;
}

static void watch(struct pg *pg, uint32_t events)
{
    int fd = PQsocket(pg->conn);
    if (fd == pg->watched_fd && events == pg->watched_events)
        return;
    struct error error;
    if (fd < 0 || loop_watch(pg->set->loop, fd, events, ready, pg, &error) != 0)
        return;
    pg->watched_fd = fd;
    pg->watched_events = events;
}

/* ---- the end of a connection ---- */

static void release(struct pg *pg)
{
    if (pg->depth > 0 || !pg->doomed)
        return;
    free(pg->conninfo);
    free(pg->startup);
    free(pg);
}

static void drop_connection(struct pg *pg)
{
    unwatch(pg);
    PQfinish(pg->conn);
    pg->conn = NULL;
}

static void pg_hang_up(struct pg *pg)
{
    drop_connection(pg);
    lookup_cancel(pg->lookup);
    pg->lookup = NULL;
    targets_free(pg->targets);
    pg->targets = NULL;
    pg->state = PG_CLOSED;
}

static void free_replies(struct job *job)
{
    for (int i = 0; i < job->count; i++)
        PQclear(job->replies[i].result);
    free(job->replies);
}

/* The job is over: its callback may already run the next one. */
static void pg_answer(struct pg *pg)
{
    struct job over = pg->job;
    pg->job.active = false;
    over.done(over.arg, over.replies, over.count);
    free_replies(&over);
}

static void first_line(char *out, size_t room, const char *text)
{
    size_t length = text == NULL ? 0 : strcspn(text, "\n");
    text_copy(out, room, text == NULL ? "" : text, length);
}

static void lost(struct pg *pg, const char *words)
{
    char why[REASON_BYTES];
    first_line(why, sizeof why, words);
    pg->depth++;
    pg_hang_up(pg);
    if (pg->options.retry) {
        uint32_t jitter;
        random_bytes(&jitter, sizeof jitter);
        pg->backoff_ms = pg->backoff_ms * 2 < RETRY_LEAST_MS ? RETRY_LEAST_MS : pg->backoff_ms * 2;
        if (pg->backoff_ms > RETRY_MOST_MS)
            pg->backoff_ms = RETRY_MOST_MS;
        pg->retry_ms = loop_now_ms() + pg->backoff_ms / 2 + jitter % pg->backoff_ms;
    }
    if (pg->job.active) {
        for (int i = pg->job.answered; i < pg->job.count; i++) {
            struct pg_reply *reply = &pg->job.replies[i];
            reply->alive = false;
            if (reply->message[0] == '\0')
                text_copy(reply->message, sizeof reply->message, why, strlen(why));
        }
        pg_answer(pg);
    }
    if (!pg->doomed)
        pg->options.down(pg->options.arg, why);
    pg->depth--;
    release(pg);
}

/* ---- connecting ---- */

static void take_notice(void *arg, const PGresult *result)
{
    (void)arg;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    /* "canceling wait for synchronous replication": "The transaction has already committed
     * locally, but might not have been replicated to the standby." */
    if (sqlstate != NULL && strcmp(sqlstate, "01000") == 0 && message != NULL && detail != NULL)
        log_warning("postgresql: %s: %s", message, detail);
}

/* The conninfo's own `options` are kept, ours come behind them. */
static char *join_startup(const char *conninfo, const char *startup)
{
    char *joined = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);
    const char *own = "";
    for (PQconninfoOption *option = parsed; option != NULL && option->keyword != NULL; option++)
        if (strcmp(option->keyword, "options") == 0 && option->val != NULL)
            own = option->val;
    if (asprintf(&joined, "%s %s", own, startup) < 0)
        joined = NULL;
    PQconninfoFree(parsed);
    return joined;
}

static void connect_to(struct pg *pg, const struct target *target)
{
    /* A later keyword overrides the conninfo's. Of several hosts we want the one that writes. */
    /* clang-format off */
    const char *const settings[][2] = {
        {"target_session_attrs", "primary"},
        {"tcp_user_timeout", TCP_SILENT_TEXT},
        {"keepalives_idle", TCP_PROBE_AFTER_TEXT},
        {"keepalives_interval", TCP_PROBE_EACH_TEXT},
        {"keepalives_count", TCP_PROBES_TEXT},
        {"dbname", pg->conninfo},
        {"client_encoding", "UTF8"},
        {"options", pg->startup},
        {"fallback_application_name", "assent-agent"},
        {"host", target->host},
        {"hostaddr", target->hostaddr},
        {"port", target->port},
    };
    /* clang-format on */
    enum { SETTINGS = sizeof settings / sizeof *settings };
    const char *keywords[SETTINGS + 1], *values[SETTINGS + 1];
    for (int i = 0; i < SETTINGS; i++) {
        keywords[i] = settings[i][0];
        values[i] = settings[i][1];
    }
    keywords[SETTINGS] = values[SETTINGS] = NULL;
    pg->conn = PQconnectStartParams(keywords, values, 1);
    pg->state = PG_CONNECTING;
    pg->swollen = pg->burst = false;
    memset(pg->kept, 0, sizeof pg->kept);
    must_have(pg->conn, "a connection to PostgreSQL");
    PQsetNoticeReceiver(pg->conn, take_notice, pg);
    /* Failures are told from the loop, so that pg_open() never calls back. */
    if (PQstatus(pg->conn) == CONNECTION_BAD)
        pg->connect_by_ms = 0;
    else
        watch(pg, EPOLLOUT);
}

/* ---- which of the hosts ---- */

/* The first one's failure is told: it is the one that should have been there. */
static void note_failure(struct pg *pg, const char *words)
{
    if (pg->failure[0] == '\0')
        first_line(pg->failure, sizeof pg->failure, words);
}

static void next_target(struct pg *pg);

static void looked_up(void *arg, const struct addresses *found)
{
    struct pg *pg = arg;
    char words[REASON_BYTES];
    pg->lookup = NULL;
    if (found->reason == 0) {
        targets_found(pg->targets, found);
    } else {
        snprintf(words, sizeof words, "could not translate host name \"%.200s\" to address: %s",
                 targets_name(pg->targets), gai_strerror(found->reason));
        note_failure(pg, words);
        targets_skip(pg->targets);
    }
    next_target(pg);
}

/* Goes on to the next target, which has its share of what is left of the time. */
static void next_target(struct pg *pg)
{
    struct target target;
    uint64_t now_ms = loop_now_ms();
    uint32_t left = targets_left(pg->targets);
    if (left == 0 || now_ms >= pg->attempt_by_ms) {
        lost(pg, pg->failure);
        return;
    }
    pg->connect_by_ms = now_ms + (pg->attempt_by_ms - now_ms) / left;
    const char *name = targets_name(pg->targets);
    if (name != NULL) {
        pg->state = PG_LOOKING;
        pg->lookup = lookup_begin(pg->set->loop, name, looked_up, pg);
        return;
    }
    targets_take(pg->targets, &target);
    connect_to(pg, &target);
}

/* It cannot be had, or not in time. */
static void target_failed(struct pg *pg, const char *words)
{
    char why[REASON_BYTES];
    bool looking = pg->state == PG_LOOKING;
    snprintf(why, sizeof why, "the host name \"%.200s\" is not found in time",
             looking ? targets_name(pg->targets) : "");
    note_failure(pg, looking ? why : words);
    lookup_cancel(pg->lookup);
    pg->lookup = NULL;
    drop_connection(pg);
    if (looking)
        targets_skip(pg->targets);
    next_target(pg);
}

static void connect_begin(struct pg *pg)
{
    pg->failure[0] = '\0';
    pg->attempt_by_ms = loop_now_ms() + CONNECT_MS;
    pg->targets = targets_read(pg->conninfo);
    next_target(pg);
}

/* ---- the greeting: which backend is it, and has it the settings that we need? ---- */

/* Names are qualified, operators too: nobody has said yet where they are looked for, and in an
 * application's session it is for the application to say. */
static const struct pg_statement who = {
    .sql = "SELECT (extract(epoch FROM backend_start) OPERATOR(pg_catalog.*) 1000000)::bigint,"
           " pid, datid FROM pg_catalog.pg_stat_activity"
           " WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"};
static const struct pg_statement take_path = {.sql = "SET search_path = pg_catalog, pg_temp",
                                              .more = true};
/* What is not known to this server is left out. */
static const char take_settings[] = "SELECT name, value, set_config(name, value, false)"
                                    " FROM unnest($1::text[], $2::text[]) AS wanted (name, value)"
                                    " WHERE current_setting(name, true) IS NOT NULL";

/* As arrays' texts: neither names nor values have a quote or a backslash. */
static void write_settings(const struct pg_setting *settings, char names[SETTINGS_BYTES],
                           char values[SETTINGS_BYTES])
{
    size_t name_at = 0, value_at = 0;
    const char *before = "{";
    for (; settings->name != NULL; settings++) {
        name_at += (size_t)snprintf(names + name_at, SETTINGS_BYTES - name_at, "%s\"%s\"", before,
                                    settings->name);
        value_at += (size_t)snprintf(values + value_at, SETTINGS_BYTES - value_at, "%s\"%s\"",
                                     before, settings->value);
        before = ",";
        assert(name_at < SETTINGS_BYTES - 1 && value_at < SETTINGS_BYTES - 1);
    }
    strcpy(names + name_at, "}");
    strcpy(values + value_at, "}");
}

/* Returns whether each setting is what it should be; else why not. */
static bool settings_taken(const struct pg_reply *reply, char why[REASON_BYTES])
{
    if (reply->sqlstate[0] != '\0') {
        snprintf(why, REASON_BYTES, "its settings cannot be made: %s", reply->message);
        return false;
    }
    for (int i = 0; i < pg_rows(reply); i++)
        if (strcmp(pg_value(reply, i, 1), pg_value(reply, i, 2)) != 0) {
            snprintf(why, REASON_BYTES, "its setting %s is %s and not %s, as it has to be",
                     pg_value(reply, i, 0), pg_value(reply, i, 2), pg_value(reply, i, 1));
            return false;
        }
    return true;
}

static void greeted(void *arg, const struct pg_reply *replies, int count)
{
    struct pg *pg = arg;
    const struct pg_reply *reply = &replies[count - 1];
    char why[REASON_BYTES];
    if (!reply->alive)
        return; /* lost() goes on to tell */
    if (count > 1 && !settings_taken(&replies[1], why)) {
        lost(pg, why);
        return;
    }
    if (pg_rows(reply) != 1) {
        lost(pg, reply->message[0] != '\0' ? reply->message : "no row in pg_stat_activity");
        return;
    }
    pg->backend.pid = PQbackendPID(pg->conn);
    pg->backend.start_us = strtoll(pg_value(reply, 0, 0), NULL, 10);
    text_copy(pg->database, sizeof pg->database, pg_value(reply, 0, 2),
              strlen(pg_value(reply, 0, 2)));
    if (pg->backend.pid != atoi(pg_value(reply, 0, 1))) {
        lost(pg, "a connection pooler stands between: connect to the server itself");
        return;
    }
    pg->state = PG_UP;
    pg->backoff_ms = 0;
    pg->options.up(pg->options.arg);
}

static void start_job(struct pg *pg, const struct pg_statement *statements, int count,
                      uint32_t row_most, pg_row_fn *row, pg_done_fn *done, void *arg);

static void greet(struct pg *pg)
{
    char names[SETTINGS_BYTES], values[SETTINGS_BYTES];
    const char *const lists[] = {names, values};
    const struct pg_statement statements[] = {
        take_path, {.sql = take_settings, .count = 2, .values = lists, .more = true}, who};
    if (PQsetnonblocking(pg->conn, 1) != 0) {
        lost(pg, PQerrorMessage(pg->conn));
        return;
    }
    pg->state = PG_GREETING;
    if (pg->options.settings == NULL) {
        start_job(pg, &who, 1, 0, NULL, greeted, pg);
        return;
    }
    write_settings(pg->options.settings, names, values);
    start_job(pg, statements, 3, 0, NULL, greeted, pg);
}

static void connect_go_on(struct pg *pg)
{
    /* libpq may close this socket and open another with the same number. */
    unwatch(pg);
    switch (PQconnectPoll(pg->conn)) {
    case PGRES_POLLING_OK:
        greet(pg);
        break;
    case PGRES_POLLING_READING:
        watch(pg, EPOLLIN);
        break;
    case PGRES_POLLING_WRITING:
        watch(pg, EPOLLOUT);
        break;
    default:
        target_failed(pg, PQerrorMessage(pg->conn));
    }
}

static void ready(void *arg, uint32_t events)
{
    struct pg *pg = arg;
    (void)events;
    pg->depth++;
    if (pg->state == PG_CONNECTING)
        connect_go_on(pg);
    else
        pump(pg);
    pg->depth--;
    release(pg);
}

/* ---- jobs ---- */

/* Hand libpq's buffer to the socket, and watch what we wait for. */
static void flush_out(struct pg *pg)
{
    int left = PQflush(pg->conn);
    /* A failure shows as soon as the socket is read. */
    watch(pg, left == 1 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Where a statement is kept, or could be. */
static int keeping_place(const struct pg *pg, const char *sql)
{
    int place = 0;
    while (place < KEPT_MAX && pg->kept[place] != sql && pg->kept[place] != NULL)
        place++;
    return place;
}

static bool send_kept(struct pg *pg, const struct pg_statement *statement, int at, int place)
{
    char name[16];
    snprintf(name, sizeof name, "%d", place);
    if (pg->kept[place] == NULL) {
        if (PQsendPrepare(pg->conn, name, statement->sql, statement->count, NULL) != 1)
            return false;
        pg->kept[place] = statement->sql;
        pg->job.parsed[at] = place;
    }
    return PQsendQueryPrepared(pg->conn, name, statement->count, statement->values, NULL, NULL,
                               0) == 1;
}

static bool send_statement(struct pg *pg, const struct pg_statement *statement, int at)
{
    int place = statement->keep ? keeping_place(pg, statement->sql) : KEPT_MAX;
    if (place < KEPT_MAX)
        return send_kept(pg, statement, at, place);
    return PQsendQueryParams(pg->conn, statement->sql, statement->count, NULL, statement->values,
                             NULL, NULL, 0) == 1;
}

static bool send_all(struct pg *pg, const struct pg_statement *statements)
{
    if (!pg->job.pipelined) {
        if (!send_statement(pg, statements, 0))
            return false;
        return pg->job.row == NULL || PQsetSingleRowMode(pg->conn) == 1;
    }
    if (PQenterPipelineMode(pg->conn) != 1)
        return false;
    for (int i = 0; i < pg->job.count; i++)
        if (!send_statement(pg, &statements[i], i) ||
            (!statements[i].more && PQpipelineSync(pg->conn) != 1))
            return false;
    return true;
}

static void start_job(struct pg *pg, const struct pg_statement *statements, int count,
                      uint32_t row_most, pg_row_fn *row, pg_done_fn *done, void *arg)
{
    assert(count >= 1 && count <= PG_STATEMENTS_MAX && !pg->job.active);
    assert(!statements[count - 1].more);
    memset(&pg->job, 0, sizeof pg->job);
    pg->job.active = true;
    pg->job.pipelined = count > 1 || statements->keep;
    pg->job.count = count;
    pg->job.row = row;
    pg->job.row_most = row_most;
    pg->job.done = done;
    pg->job.arg = arg;
    pg->job.replies = must_alloc((size_t)count * sizeof *pg->job.replies, "the replies");
    for (int i = 0; i < count; i++) {
        pg->job.replies[i].alive = true;
        pg->job.parsed[i] = NOT_PARSED;
    }
    if (send_all(pg, statements)) {
        flush_out(pg);
        return;
    }
    /* Told from the loop, as every answer is: the caller is not ready for it yet. */
    first_line(pg->job.replies[0].message, REASON_BYTES, PQerrorMessage(pg->conn));
    unwatch(pg);
    pg->connect_by_ms = 0;
    pg->state = PG_CONNECTING;
}

static void field(char *out, size_t room, const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);
    text_copy(out, room, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

static void take_error(struct pg_reply *reply, const PGresult *result)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    field(reply->sqlstate, sizeof reply->sqlstate, result, PG_DIAG_SQLSTATE);
    field(reply->message, sizeof reply->message, result, PG_DIAG_MESSAGE_PRIMARY);
    field(reply->detail, sizeof reply->detail, result, PG_DIAG_MESSAGE_DETAIL);
    field(reply->hint, sizeof reply->hint, result, PG_DIAG_MESSAGE_HINT);
    if (reply->message[0] == '\0')
        first_line(reply->message, sizeof reply->message, PQresultErrorMessage(result));
    /* libpq's own words for a lost connection come with no severity. */
    if (severity == NULL || strcmp(severity, "ERROR") != 0)
        reply->alive = false;
}

/* Are the rows of the present statement handed over? */
static bool hands_over(const struct job *job)
{
    return job->row != NULL && job->at == job->count - 1;
}

/* libpq 15 leaves single-row mode on for the first statement of a pipeline that follows one
 * with pg_run_rows(): such statements of ours have one row, which comes alone then. */
static void keep_row(struct job *job, struct pg_reply *reply, PGresult *result)
{
    if (!hands_over(job) && reply->result == NULL) {
        reply->result = result;
        return;
    }
    if (hands_over(job))
        job->row(job->arg, result);
    PQclear(result);
}

/* The answer to its parsing, not yet to itself. */
static void take_parsed(struct job *job, const char **kept, PGresult *result)
{
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        *kept = NULL;
        if (PQresultStatus(result) == PGRES_FATAL_ERROR)
            take_error(&job->replies[job->at], result);
    }
    PQclear(result);
}

static void take_skipped(struct pg_reply *reply)
{
    if (reply->sqlstate[0] != '\0')
        return; /* its own parsing failed, and has said why */
    reply->skipped = true;
    strcpy(reply->sqlstate, "25P02");
    strcpy(reply->message, "not run: a statement before it has failed");
}

/* Whose the next result is. Behind all of the last one's only its Sync can come, or the word that
 * it could not be committed, or that the connection has failed: that is the last one's too. */
static int present(const struct job *job)
{
    return job->at < job->count ? job->at : job->count - 1;
}

/* Takes the result over. False: the connection is of no more use. */
static bool take_result(struct pg *pg, PGresult *result)
{
    struct job *job = &pg->job;
    int at = present(job);
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        job->answered = job->at;
        PQclear(result);
        return true;
    }
    struct pg_reply *reply = &job->replies[at];
    if (job->parsed[at] != NOT_PARSED) {
        take_parsed(job, &pg->kept[job->parsed[at]], result);
        return reply->alive;
    }
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_ABORTED:
        take_skipped(reply);
        PQclear(result);
        return true;
    case PGRES_SINGLE_TUPLE:
        keep_row(job, reply, result);
        return true;
    case PGRES_EMPTY_QUERY:
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK: {
        const char *tag = PQcmdStatus(result);
        text_copy(reply->tag, sizeof reply->tag, tag, strlen(tag));
        if (hands_over(job))
            job->row(job->arg, result);
        if (reply->result == NULL)
            reply->result = result;
        else
            PQclear(result);
        return true;
    }
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        first_line(reply->message, sizeof reply->message, "COPY to or from the client");
        reply->alive = false;
        PQclear(result);
        return false;
    default:
        take_error(reply, result);
        PQclear(result);
        return reply->alive;
    }
}

/* A NULL stands behind all results of a statement, and behind those of its parsing. */
static bool end_of_results(struct pg *pg)
{
    struct job *job = &pg->job;
    if (job->parsed[job->at] != NOT_PARSED)
        job->parsed[job->at] = NOT_PARSED;
    else
        job->at++;
    return !hands_over(job) || PQsetSingleRowMode(pg->conn) == 1 ||
           PQpipelineStatus(pg->conn) == PQ_PIPELINE_ABORTED;
}

static bool finish_job(struct pg *pg)
{
    if (pg->job.pipelined && PQexitPipelineMode(pg->conn) != 1)
        return false;
    pg->job.answered = pg->job.count;
    pg_answer(pg);
    return true;
}

/* All answers that have arrived. False: the connection is of no more use. */
static bool take_answers(struct pg *pg)
{
    struct job *job = &pg->job;
    while (pg->conn != NULL && !pg->doomed && job->active && !PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);
        if (result != NULL) {
            if (!take_result(pg, result))
                return false;
            if (job->pipelined && job->answered == job->count && !finish_job(pg))
                return false;
        } else if (!job->pipelined) {
            if (!finish_job(pg))
                return false;
        } else if (job->at < job->count) {
            if (!end_of_results(pg))
                return false;
        } else {
            break; /* only its last Sync is missing */
        }
    }
    return true;
}

/* libpq has no limit for the length of a row, nor does it tell how much it has read of one. But it
 * takes room for all of it as soon as it has seen its length: then the heap has grown. */
static int64_t heap_bytes(void)
{
    struct mallinfo2 heap = mallinfo2();
    return (int64_t)heap.uordblks + (int64_t)heap.hblkhd;
}

/* Is the row that comes in too large, by what reading some of it has made the heap grow? */
static bool bursts(struct pg *pg, int64_t grown)
{
    struct job *job = &pg->job;
    job->grown += grown;
    pg->swollen |= job->grown > REPLY_ROOM;
    /* The room is doubled until a row fits. */
    pg->burst = job->grown > 2 * (int64_t)job->row_most + REPLY_ROOM;
    return pg->burst;
}

static void pump(struct pg *pg)
{
    bool rows = pg->job.active && pg->job.row != NULL;
    int64_t before = rows ? heap_bytes() : 0;
    bool read = PQconsumeInput(pg->conn) == 1;
    bool good = take_answers(pg);
    if (pg->conn == NULL || pg->doomed)
        return;
    if (rows && pg->job.active && bursts(pg, heap_bytes() - before)) {
        lost(pg, "a row was too large");
        return;
    }
    if (!good || !read || PQstatus(pg->conn) == CONNECTION_BAD) {
        lost(pg, PQerrorMessage(pg->conn));
        return;
    }
    if (pg->state == PG_UP || pg->state == PG_GREETING)
        flush_out(pg);
}

/* ---- what the others call ---- */

struct pg_set *pg_set_create(struct loop *loop)
{
    struct pg_set *set = must_alloc(sizeof *set, "the connections to PostgreSQL");
    set->loop = loop;
    return set;
}

void pg_set_hang_up(struct pg_set *set)
{
    for (struct pg *pg = set->first; pg != NULL; pg = pg->next)
        pg_hang_up(pg);
}

static uint64_t due_ms(const struct pg *pg)
{
    if (pg->state == PG_LOOKING || pg->state == PG_CONNECTING || pg->state == PG_GREETING)
        return pg->connect_by_ms;
    return pg->state == PG_CLOSED && pg->options.retry ? pg->retry_ms : UINT64_MAX;
}

static struct pg *next_due(struct pg_set *set, uint64_t now_ms)
{
    for (struct pg *pg = set->first; pg != NULL; pg = pg->next)
        if (due_ms(pg) <= now_ms)
            return pg;
    return NULL;
}

void pg_set_tick(struct pg_set *set, uint64_t now_ms)
{
    /* From the start each time: a callback may have closed any of them. */
    for (struct pg *pg = next_due(set, now_ms); pg != NULL; pg = next_due(set, now_ms)) {
        const char *words =
            pg->connect_by_ms == 0 ? PQerrorMessage(pg->conn) : "no connection in time";
        if (pg->state == PG_CLOSED)
            connect_begin(pg);
        else if (pg->state == PG_GREETING || pg->job.active)
            lost(pg, words);
        else
            target_failed(pg, words);
    }
}

uint64_t pg_set_wake_ms(const struct pg_set *set)
{
    uint64_t wake_ms = UINT64_MAX;
    for (const struct pg *pg = set->first; pg != NULL; pg = pg->next)
        if (due_ms(pg) < wake_ms)
            wake_ms = due_ms(pg);
    return wake_ms;
}

void pg_set_conninfo(struct pg *pg, const char *conninfo)
{
    free(pg->conninfo);
    free(pg->startup);
    pg->conninfo = must_copy(conninfo, "a conninfo");
    pg->startup =
        must_have(join_startup(conninfo, pg->options.startup == NULL ? "" : pg->options.startup),
                  "the options of a conninfo");
}

struct pg *pg_open(struct pg_set *set, const struct pg_options *options)
{
    struct pg *pg = must_alloc(sizeof *pg, "a connection to PostgreSQL");
    pg->set = set;
    pg->options = *options;
    pg->watched_fd = -1;
    pg_set_conninfo(pg, options->conninfo);
    pg->next = set->first;
    pg->link = &set->first;
    if (pg->next != NULL)
        pg->next->link = &pg->next;
    set->first = pg;
    connect_begin(pg);
    return pg;
}

void pg_close(struct pg *pg)
{
    if (pg == NULL)
        return;
    pg_hang_up(pg);
    if (pg->job.active)
        free_replies(&pg->job);
    pg->job.active = false;
    pg->options.retry = false;
    *pg->link = pg->next;
    if (pg->next != NULL)
        pg->next->link = pg->link;
    pg->doomed = true;
    release(pg);
}

void pg_drop(struct pg *pg, const char *why)
{
    if (pg->state != PG_CLOSED)
        lost(pg, why);
}

bool pg_connected(const struct pg *pg)
{
    return pg != NULL && pg->state == PG_UP;
}

bool pg_burst(const struct pg *pg)
{
    return pg->burst;
}

bool pg_swollen(const struct pg *pg)
{
    return pg->swollen;
}

bool pg_idle(const struct pg *pg)
{
    return pg_connected(pg) && !pg->job.active;
}

struct backend pg_backend(const struct pg *pg)
{
    return pg->backend;
}

const char *pg_database(const struct pg *pg)
{
    return pg->database;
}

PGTransactionStatusType pg_transaction(const struct pg *pg)
{
    return pg->conn == NULL ? PQTRANS_UNKNOWN : PQtransactionStatus(pg->conn);
}

bool pg_server_is(const struct pg *pg, int version_number)
{
    return PQserverVersion(pg->conn) >= version_number;
}

bool pg_in_utf8(const struct pg *pg)
{
    const char *encoding = PQparameterStatus(pg->conn, "client_encoding");
    return encoding != NULL && strcmp(encoding, "UTF8") == 0;
}

void pg_server_version(const struct pg *pg, char *out, size_t room)
{
    const char *version = PQparameterStatus(pg->conn, "server_version");
    text_copy(out, room, version == NULL ? "" : version,
              version == NULL ? 0 : strcspn(version, " "));
}

static void quoted(char *out, size_t room, char *text)
{
    /* Only names of bounded length come here; there is no connection without memory. */
    if (text == NULL || strlen(text) >= room)
        abort();
    memcpy(out, text, strlen(text) + 1);
    PQfreemem(text);
}

void pg_literal(const struct pg *pg, const char *text, char *out, size_t room)
{
    quoted(out, room, PQescapeLiteral(pg->conn, text, strlen(text)));
}

void pg_identifier(const struct pg *pg, const char *text, char *out, size_t room)
{
    quoted(out, room, PQescapeIdentifier(pg->conn, text, strlen(text)));
}

void pg_run(struct pg *pg, const struct pg_statement *statements, int count, pg_done_fn *done,
            void *arg)
{
    assert(pg_idle(pg));
    start_job(pg, statements, count, 0, NULL, done, arg);
}

void pg_run_rows(struct pg *pg, const struct pg_statement *statements, int count, uint32_t row_most,
                 pg_row_fn *row, pg_done_fn *done, void *arg)
{
    assert(pg_idle(pg));
    start_job(pg, statements, count, row_most, row, done, arg);
}

int pg_rows(const struct pg_reply *reply)
{
    return reply->result == NULL ? 0 : PQntuples(reply->result);
}

const char *pg_value(const struct pg_reply *reply, int row, int column)
{
    if (row >= pg_rows(reply) || column >= PQnfields(reply->result))
        return "";
    return PQgetvalue(reply->result, row, column);
}

uint64_t pg_number(const struct pg_reply *reply, int row, int column)
{
    return strtoull(pg_value(reply, row, column), NULL, 10);
}
