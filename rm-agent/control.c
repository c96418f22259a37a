/*
 * rm-agent/control.c - the one connection that starts the agent, sees and ends backends.
 *
 * At its start an agent enters itself, raises its incarnation durably, and ends every
 * backend that its predecessor had entered. Only then nothing of the predecessor can still
 * prepare a branch, and what is prepared can be looked at. At each reconnection it makes
 * sure that it is still the newest agent, that its own last connection is gone, and that
 * the database is the one it knew.
 */
#include "rm-agent/control.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/point.h"
#include "rm-agent/acceptors.h"
#include "rm-agent/book.h"
#include "rm-agent/peers.h"
#include "rm-agent/sessions.h"
#include "rm-agent/state_file.h"

enum { VALUES_MAX = 8 };

struct question {
    struct question *next;
    control_done_fn *done;
    void *arg;
    const char *sql;
    bool lazy; /* what it writes need not be on disk yet */
    int count;
    const char *values[VALUES_MAX];
    char text[]; /* the values */
};

struct control {
    struct agent *agent;
    struct pg *pg;
    bool ready; /* the greeting is over */
    int asked;  /* questions under way */
    int alone;  /* of the first ones: shared a trip that has failed */
    bool answering;
    struct backend previous; /* our last connection; pid 0: none */
    struct question *first, **last;
    struct ending *stuck; /* backends that we were not allowed to end, so far */
    uint32_t timeline;    /* of the last connection that was greeted, 0 none */
    bool kept;            /* the database says that there is a state file */
    bool noted;           /* at the start: a loss that it tells of is stored */
    char lost[512];       /* why everything begins anew */
    bool complained;      /* once for each time the database cannot be reached */
};

/* ---- questions ---- */

static void answered(void *arg, const struct pg_reply *replies, int count);

/* All that wait travel together, in their order, under one Sync and so in one transaction, which
 * waits for the disk if one of them has to. */
static void ask_next(struct control *control)
{
    static const struct pg_statement be_lazy = {
        .sql = "SELECT set_config('synchronous_commit', 'off', true)", .keep = true, .more = true};
    struct pg_statement statements[PG_STATEMENTS_MAX] = {be_lazy};
    int most = control->alone > 0 ? 1 : PG_STATEMENTS_MAX - 1, count = 0;
    bool lazy = true;
    if (control->asked > 0 || control->answering || !control->ready || !pg_idle(control->pg))
        return;
    for (const struct question *question = control->first; question != NULL && count < most;
         question = question->next) {
        statements[++count] = (struct pg_statement){question->sql, question->count,
                                                    question->values, .keep = true, .more = true};
        lazy &= question->lazy;
    }
    if (count == 0)
        return;
    statements[count].more = false;
    POINT("agent.before-question");
    control->asked = count;
    if (lazy)
        pg_run(control->pg, statements, count + 1, answered, control);
    else
        pg_run(control->pg, statements + 1, count, answered, control);
}

static void take_answer(struct control *control, const struct pg_reply *reply)
{
    struct question *question = control->first;
    control->first = question->next;
    if (control->first == NULL)
        control->last = &control->first;
    if (reply->sqlstate[0] != '\0') {
        log_warning("control connection: %s: %s", reply->sqlstate, reply->message);
        agent_note(control->agent, reply->message);
    }
    if (question->done != NULL)
        question->done(question->arg, reply);
    free(question);
}

static bool one_has_failed(const struct pg_reply *replies, int count)
{
    for (int i = 0; i < count; i++)
        if (replies[i].sqlstate[0] != '\0')
            return true;
    return false;
}

/* What was not answered is asked again, when we are connected again if need be. Of questions that
 * were asked together all are undone if one fails: then each is asked alone. */
static void answered(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    int asked = control->asked;
    POINT("agent.question-answered");
    control->asked = 0;
    replies += count - asked;
    if (replies[asked - 1].alive) {
        if (asked > 1 && one_has_failed(replies, asked)) {
            control->alone = asked;
        } else {
            control->answering = true;
            control->alone -= control->alone > 0;
            for (int i = 0; i < asked; i++)
                take_answer(control, &replies[i]);
            control->answering = false;
        }
    }
    ask_next(control);
}

static void ask(struct agent *agent, control_done_fn *done, void *arg, bool lazy, const char *sql,
                int count, va_list values)
{
    struct control *control = agent->control;
    assert(count <= VALUES_MAX);
    va_list again;
    size_t bytes = 0;
    va_copy(again, values);
    for (int i = 0; i < count; i++)
        bytes += strlen(va_arg(again, const char *)) + 1;
    va_end(again);

    struct question *question = calloc(1, sizeof *question + bytes);
    if (question == NULL)
        abort();
    question->done = done;
    question->arg = arg;
    question->lazy = lazy;
    question->sql = sql;
    question->count = count;
    char *at = question->text;
    for (int i = 0; i < count; i++) {
        const char *value = va_arg(values, const char *);
        size_t length = strlen(value) + 1;
        question->values[i] = memcpy(at, value, length);
        at += length;
    }
    *control->last = question;
    control->last = &question->next;
    ask_next(control);
}

void control_ask(struct agent *agent, control_done_fn *done, void *arg, const char *sql, int count,
                 ...)
{
    va_list values;
    va_start(values, count);
    ask(agent, done, arg, false, sql, count, values);
    va_end(values);
}

void control_ask_lazily(struct agent *agent, control_done_fn *done, void *arg, const char *sql,
                        int count, ...)
{
    va_list values;
    va_start(values, count);
    ask(agent, done, arg, true, sql, count, values);
    va_end(values);
}

/* ---- backends ---- */

struct ending {
    struct ending *next; /* stuck */
    struct agent *agent;
    struct backend backend;
    control_gone_fn *gone;
    void *arg;
};

static void end_once_more(struct ending *ending);

static void ended(void *arg, const struct pg_reply *reply)
{
    struct ending *ending = arg;
    /* Never guess that it has gone. */
    if (reply->sqlstate[0] != '\0') {
        ending->next = ending->agent->control->stuck;
        ending->agent->control->stuck = ending;
        return;
    }
    if (strcmp(pg_value(reply, 0, 0), "0") != 0) {
        end_once_more(ending);
        return;
    }
    struct ending over = *ending;
    free(ending);
    control_leave(over.agent, over.backend);
    over.gone(over.arg);
}

static void end_once_more(struct ending *ending)
{
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    snprintf(pid, sizeof pid, "%d", ending->backend.pid);
    snprintf(start, sizeof start, "%" PRId64, ending->backend.start_us);
    control_ask(ending->agent, ended, ending,
                "SELECT count(pg_terminate_backend(pid, 100)) FROM pg_stat_activity"
                " WHERE pid = $1::int AND " BACKEND_START_US " = $2::bigint AND " IN_THIS_DATABASE,
                2, pid, start);
}

void control_end_backend(struct agent *agent, struct backend backend, control_gone_fn *gone,
                         void *arg)
{
    if (backend.pid == 0) {
        gone(arg);
        return;
    }
    struct ending *ending = malloc(sizeof *ending);
    if (ending == NULL)
        abort();
    *ending = (struct ending){NULL, agent, backend, gone, arg};
    end_once_more(ending);
}

void control_tick(struct agent *agent)
{
    while (agent->control->stuck != NULL) {
        struct ending *ending = agent->control->stuck;
        agent->control->stuck = ending->next;
        end_once_more(ending);
    }
}

struct entry {
    control_entered_fn *done;
    void *arg;
};

static void entered(void *arg, const struct pg_reply *reply)
{
    struct entry entry = *(struct entry *)arg;
    free(arg);
    entry.done(entry.arg, strcmp(pg_value(reply, 0, 0), "t") == 0);
}

void control_enter(struct agent *agent, struct backend backend, control_entered_fn *done, void *arg)
{
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    snprintf(pid, sizeof pid, "%d", backend.pid);
    snprintf(start, sizeof start, "%" PRId64, backend.start_us);
    struct entry *entry = malloc(sizeof *entry);
    if (entry == NULL)
        abort();
    *entry = (struct entry){done, arg};
    control_ask(agent, entered, entry,
                "WITH entered AS (INSERT INTO assent.session (pid, backend_start)"
                " SELECT pid, backend_start FROM pg_stat_activity"
                " WHERE pid = $1::int AND " BACKEND_START_US " = $2::bigint AND " IN_THIS_DATABASE
                " RETURNING 1)"
                " SELECT EXISTS (SELECT FROM entered)",
                2, pid, start);
}

void control_leave(struct agent *agent, struct backend backend)
{
    if (backend.pid == 0)
        return;
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    snprintf(pid, sizeof pid, "%d", backend.pid);
    snprintf(start, sizeof start, "%" PRId64, backend.start_us);
    control_ask(
        agent, NULL, NULL,
        "DELETE FROM assent.session WHERE gid IS NULL AND pid = $1::int AND " BACKEND_START_US
        " = $2::bigint",
        2, pid, start);
}

/* ---- the greeting: what happens at each connection before anything is asked ---- */

static void greet(struct control *control, pg_done_fn *done, const char *sql, const char *a,
                  const char *b)
{
    const char *const values[] = {a, b};
    struct pg_statement statement = {.sql = sql,
                                     .count = a == NULL   ? 0
                                              : b == NULL ? 1
                                                          : 2,
                                     .values = values};
    pg_run(control->pg, &statement, 1, done, control);
}

/* A step that PostgreSQL refused. At the start somebody has to put it right; later we try
 * again, since it had been right before. */
static bool refused(struct control *control, const struct pg_reply *reply, const char *what,
                    const char *hint)
{
    struct agent *agent = control->agent;
    if (!reply->alive)
        return true; /* down() follows */
    if (reply->sqlstate[0] == '\0')
        return false;
    if (agent->participant == NULL)
        agent_stop(agent, "%s: %s: %s%s%s", what, reply->sqlstate, reply->message,
                   hint[0] == '\0' ? "" : "; hint: ", hint);
    else
        pg_drop(control->pg, reply->message);
    return true;
}

static void greeted(struct control *control)
{
    struct agent *agent = control->agent;
    struct backend previous = control->previous;
    POINT("agent.before-greeted");
    control->ready = true;
    control->complained = false;
    control->timeline = agent->identity.timeline;
    control->previous = pg_backend(control->pg);
    if (agent->participant == NULL) {
        agent_serve(agent);
    } else {
        control_leave(agent, previous);
        log_notice("connected to database %s again", agent->identity.database);
    }
    ask_next(control);
}

static void took_peers(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "read assent.peer", ""))
        return;
    peers_load(control->agent, replies);
    greeted(control);
}

static void took_gids(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "read assent.session", ""))
        return;
    for (int i = 0; i < pg_rows(replies); i++)
        sessions_remember_used(control->agent, pg_value(replies, i, 0));
    greet(control, took_peers, peers_stored_sql, NULL, NULL);
}

/* Whatever we said before was said in a higher incarnation than the next, and no coordinator has
 * accepted the database as it is: that is known from here on. Where there is no schema, nothing of
 * a coordinator is left either. */
static void remembered(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    bool no_schema = strcmp(replies->sqlstate, "42P01") == 0 || /* no such table, column, schema */
                     strcmp(replies->sqlstate, "42703") == 0 ||
                     strcmp(replies->sqlstate, "3F000") == 0;
    (void)count;
    if (!replies->alive)
        return; /* it is found again at the next connection */
    if (replies->sqlstate[0] != '\0' && !no_schema) {
        pg_drop(control->pg, replies->message);
        return;
    }
    agent_start_over(control->agent, "%s; the agent starts over, and the coordinators judge it",
                     control->lost);
}

/* The database is another, or has lost what it had confirmed. */
static void start_over(struct control *control, const char *format, ...)
{
    char incarnation[NUMBER_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(control->lost, sizeof control->lost, format, args);
    va_end(args);
    u64_format(control->agent->incarnation, incarnation);
    greet(control, remembered,
          "WITH suspect AS (" BOOK_SUSPECT_SQL ")"
          " UPDATE assent.agent SET incarnation = $1::bigint WHERE incarnation < $1::bigint",
          incarnation, NULL);
}

static void took_tms(void *arg, const struct pg_reply *replies, int count);

static void noted(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "store that every coordinator has to accept the database", ""))
        return;
    control->agent->incarnation = strtoull(pg_value(replies, 0, 0), NULL, 10);
    control->noted = true;
    greet(control, took_tms, book_stored_sql, NULL, NULL);
}

/* While we were away it may have been set back: what we had kept outside of it says so. Then no
 * coordinator has accepted it as it is, and that is stored before anything else is. */
static bool is_whole(struct control *control, const struct pg_reply *tms)
{
    struct agent *agent = control->agent;
    char incarnation[NUMBER_BYTES];
    if (agent->participant != NULL)
        return true;
    if (control->noted) {
        state_file_believe(agent, tms);
        return true;
    }
    if (!state_file_tells_of_loss(agent, tms, control->kept, control->lost, sizeof control->lost))
        return true;
    log_error("database %s may have lost durable data while the agent was down: %s",
              agent->identity.database, control->lost);
    u64_format(state_file_incarnation(agent), incarnation);
    greet(control, noted,
          "WITH suspect AS (" BOOK_SUSPECT_SQL ")"
          " UPDATE assent.agent SET incarnation = greatest(incarnation, $1::bigint + 1)"
          " RETURNING incarnation",
          incarnation, NULL);
    return false;
}

static void took_tms(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "read assent.tm", ""))
        return;
    uint64_t beat;
    const struct tm_link *tm = book_forgotten(control->agent, replies, &beat);
    if (tm != NULL) {
        start_over(control,
                   "database %s has lost durable data: beat %" PRIu64
                   " of %s is older than what it had confirmed, %" PRIu64,
                   control->agent->identity.database, beat, tm->name, tm->flushed_beat);
        return;
    }
    if (control->timeline != 0 && control->agent->identity.timeline != control->timeline) {
        start_over(control, "database %s is on timeline %" PRIu32 " now, was on %" PRIu32,
                   control->agent->identity.database, control->agent->identity.timeline,
                   control->timeline);
        return;
    }
    if (control->agent->participant != NULL &&
        control->agent->identity.wal < control->agent->wal_flushed) {
        start_over(control,
                   "database %s has lost durable data: its WAL ends at byte %" PRIu64
                   ", and %" PRIu64 " were on its disk",
                   control->agent->identity.database, control->agent->identity.wal,
                   control->agent->wal_flushed);
        return;
    }
    if (!is_whole(control, replies))
        return;
    book_load(control->agent, replies);
    acceptors_doubt(control->agent);
    if (control->agent->participant == NULL)
        greet(control, took_gids, "SELECT gid FROM assent.session WHERE gid IS NOT NULL", NULL,
              NULL);
    else
        greeted(control);
}

static void cleaned(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "clean assent.session", ""))
        return;
    greet(control, took_tms, book_stored_sql, NULL, NULL);
}

static void evict(struct control *control);

static void evicted(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "end the connections of my predecessor",
                "the agent's role must be a member of the roles of its [exec ROLE] sections, or "
                "of pg_signal_backend and pg_read_all_stats"))
        return;
    if (strcmp(pg_value(replies, 0, 0), "0") != 0) {
        evict(control);
        return;
    }
    POINT("agent.predecessor-evicted");
    if (control->agent->participant == NULL)
        greet(control, cleaned,
              "DELETE FROM assent.session s WHERE gid IS NULL AND NOT EXISTS (SELECT"
              " FROM pg_stat_activity a WHERE a.pid = s.pid AND a.backend_start = s.backend_start"
              " AND " IN_THIS_DATABASE ")",
              NULL, NULL);
    else
        cleaned(control, replies, count);
}

/* The first time all that were entered before us; later only our own last connection, which
 * may still be waiting to set a sequence. */
static void evict(struct control *control)
{
    if (control->agent->participant == NULL) {
        greet(control, evicted,
              "SELECT count(pg_terminate_backend(a.pid, 100)) FROM pg_stat_activity a"
              " WHERE a.pid <> pg_backend_pid() AND " IN_THIS_DATABASE
              " AND EXISTS (SELECT FROM assent.session s"
              " WHERE s.pid = a.pid AND s.backend_start = a.backend_start)",
              NULL, NULL);
        return;
    }
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    snprintf(pid, sizeof pid, "%d", control->previous.pid);
    snprintf(start, sizeof start, "%" PRId64, control->previous.start_us);
    greet(control, evicted,
          "SELECT count(pg_terminate_backend(pid, 100)) FROM pg_stat_activity"
          " WHERE pid = $1::int AND " BACKEND_START_US " = $2::bigint AND " IN_THIS_DATABASE,
          pid, start);
}

static void took_incarnation(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    struct agent *agent = control->agent;
    (void)count;
    if (refused(control, replies, "raise the agent's incarnation", ""))
        return;
    POINT("agent.incarnation-raised");
    uint64_t stored = strtoull(pg_value(replies, 0, 0), NULL, 10);
    if (agent->participant == NULL) {
        if (pg_rows(replies) != 1) {
            agent_stop(agent,
                       "the schema in database %s belongs to another resource manager than %s",
                       agent->identity.database, agent->options->rm);
            return;
        }
        agent->incarnation = stored;
        control->kept = strcmp(pg_value(replies, 0, 1), "t") == 0;
    } else if (stored < agent->incarnation) {
        start_over(control,
                   "database %s has lost durable data: it knows of the agent's incarnation %" PRIu64
                   ", this is %" PRIu64,
                   agent->identity.database, stored, agent->incarnation);
        return;
    } else if (stored != agent->incarnation) {
        agent_stop(agent,
                   "another agent serves database %s: incarnation %" PRIu64 ", mine is %" PRIu64,
                   agent->identity.database, stored, agent->incarnation);
        return;
    }
    evict(control);
}

static void took_own_entry(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "enter my connection in assent.session", ""))
        return;
    POINT("agent.before-incarnation-raised");
    if (control->agent->participant == NULL)
        greet(control, took_incarnation,
              "UPDATE assent.agent SET incarnation = incarnation + 1, rm = $1, secrets = true"
              " WHERE coalesce(rm, $1) = $1 RETURNING incarnation, state_file",
              control->agent->options->rm, NULL);
    else
        greet(control, took_incarnation, "SELECT incarnation FROM assent.agent", NULL, NULL);
}

static void took_version(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    (void)count;
    if (refused(control, replies, "read assent.version",
                "a DBA runs once: assent-agent -c FILE --install-schema --conninfo ADMIN"))
        return;
    int version = atoi(pg_value(replies, 0, 0));
    if (version < SCHEMA_VERSION || version > SCHEMA_VERSION + 1) {
        agent_stop(control->agent, "schema assent is of version %d, I need %d%s", version,
                   SCHEMA_VERSION,
                   version < SCHEMA_VERSION ? "; hint: a DBA upgrades it by: assent-agent -c FILE "
                                              "--install-schema --conninfo ADMIN"
                                            : "");
        return;
    }
    greet(control, took_own_entry,
          "INSERT INTO assent.session (pid, backend_start) SELECT pid, backend_start"
          " FROM pg_stat_activity WHERE pid = pg_backend_pid()",
          NULL, NULL);
}

/* Is it still the database that we knew? What it says now, the coordinators have to judge, and they
 * do at registration; a new timeline with its beats in order is a clean switchover to them. */
static bool same_database(struct control *control, const struct identity *found)
{
    const struct agent *agent = control->agent;
    const struct identity *known = &agent->identity;
    if (agent->participant == NULL)
        return true;
    if (found->system_identifier != known->system_identifier ||
        strcmp(found->database, known->database) != 0) {
        start_over(control,
                   "this is another database than before: %s in the cluster of system identifier "
                   "%" PRIu64 " instead of %s in %" PRIu64,
                   found->database, found->system_identifier, known->database,
                   known->system_identifier);
        return false;
    }
    return true;
}

static void took_identity(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    struct agent *agent = control->agent;
    (void)count;
    if (refused(control, replies, "read the server's identity", ""))
        return;
    if (strcmp(pg_value(replies, 0, 0), "t") == 0) {
        pg_drop(control->pg, "the server is a standby");
        return;
    }
    struct identity found = {0};
    const char *segment = pg_value(replies, 0, 2);
    char timeline[9] = "";
    text_copy(timeline, sizeof timeline, segment, strlen(segment));
    found.system_identifier = strtoull(pg_value(replies, 0, 1), NULL, 10);
    found.timeline = (uint32_t)strtoul(timeline, NULL, 16);
    text_copy(found.database, sizeof found.database, pg_value(replies, 0, 3),
              strlen(pg_value(replies, 0, 3)));
    text_copy(found.login, sizeof found.login, pg_value(replies, 0, 4),
              strlen(pg_value(replies, 0, 4)));
    found.wal = strtoull(pg_value(replies, 0, 7), NULL, 10);
    found.superuser = strcmp(pg_value(replies, 0, 6), "on") == 0;
    found.grants_have_options = pg_server_is(control->pg, 160000);
    pg_server_version(control->pg, found.server_version, sizeof found.server_version);
    if (!same_database(control, &found))
        return;
    agent->identity = found;
    agent->health.slots_max = (uint32_t)strtoul(pg_value(replies, 0, 5), NULL, 10);
    greet(control, took_version, "SELECT max(version) FROM assent.version", NULL, NULL);
}

static void up(void *arg)
{
    struct control *control = arg;
    POINT("agent.control-connected");
    greet(control, took_identity,
          "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),"
          " CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_lsn()) END,"
          " current_database(), session_user, current_setting('max_prepared_transactions'),"
          " current_setting('is_superuser'),"
          " CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_insert_lsn() - '0/0' END",
          NULL, NULL);
}

static void down(void *arg, const char *why)
{
    struct control *control = arg;
    control->ready = false;
    agent_note(control->agent, why);
    if (!control->complained)
        log_warning("no connection to the database, trying again: %s", why);
    control->complained = true;
}

void control_open(struct agent *agent)
{
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL)
        abort();
    control->agent = agent;
    control->last = &control->first;
    agent->control = control;
    struct pg_options options = {
        .conninfo = agent->options->conninfo,
        .settings = settings_of_control,
        .retry = true,
        .up = up,
        .down = down,
        .arg = control,
    };
    control->pg = pg_open(agent->set, &options);
}

void control_reconfigure(struct agent *agent)
{
    pg_set_conninfo(agent->control->pg, agent->options->conninfo);
}

bool control_ready(const struct agent *agent)
{
    return agent->control->ready;
}

const char *control_database(const struct agent *agent)
{
    return pg_database(agent->control->pg);
}
