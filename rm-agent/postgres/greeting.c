/*
 * rm-agent/postgres/greeting.c - what is said to PostgreSQL at each control connection, before
 * anything else.
 *
 * At its start an agent enters itself, raises its incarnation durably, and ends every
 * backend that its predecessor had entered. Only then nothing of the predecessor can still
 * prepare a branch, and what is prepared can be looked at. At each reconnection it makes
 * sure that it is still the newest agent, that its own last connection is gone, and that
 * the database is the one it knew. The table at the end says it step by step.
 */
#include "rm-agent/postgres/greeting.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/sessions.h"
#include "rm-agent/state_file.h"
#include "rm-agent/talk/book.h"
#include "rm-agent/talk/peers.h"
#include "rm-agent/votes/acceptors.h"

enum { GREETING_VALUES_MAX = 2 };

struct greeting {
    struct agent *agent;
    void (*over)(struct agent *agent); /* when the first one is */
    size_t at;                         /* the step */
    struct backend previous;           /* our last connection that was greeted; pid 0: none */
    uint32_t timeline;                 /* of that, 0 none */
    bool kept;                         /* the database says that there is a state file */
    bool noted;                        /* at the start: a loss that it tells of is stored */
    char lost[512];                    /* why everything begins anew */
};

/* What follows a step: the next one, itself once more, or nothing that the table says. */
enum after { GO_ON, AGAIN, HALT };

static bool greeting_is_first(const struct greeting *greeting)
{
    return greeting->agent->participant == NULL;
}

static void greeting_run(struct greeting *greeting, pg_done_fn *done, const char *sql, int count,
                         const char *const *values)
{
    struct pg_statement statement = {.sql = sql, .count = count, .values = values};
    pg_run(control_connection(greeting->agent), &statement, 1, done, greeting);
}

static void greeting_ask(struct greeting *greeting);

/* A step that PostgreSQL refused. At the start somebody has to put it right; later we try
 * again, since it had been right before. */
static bool greeting_refused(struct greeting *greeting, const struct pg_reply *reply,
                             const char *what, const char *hint)
{
    struct agent *agent = greeting->agent;
    if (!reply->alive)
        return true; /* down() follows */
    if (reply->sqlstate[0] == '\0')
        return false;
    if (greeting_is_first(greeting))
        agent_stop(agent, "%s: %s: %s%s%s", what, reply->sqlstate, reply->message,
                   hint[0] == '\0' ? "" : "; hint: ", hint);
    else
        pg_drop(control_connection(agent), reply->message);
    return true;
}

/* ---- what begins anew ---- */

/* Whatever we said before was said in a lower incarnation than the next, and no coordinator has
 * accepted the database as it is: that is known from here on. Where there is no schema, nothing of
 * a coordinator is left either. */
static void greeting_remembered(void *arg, const struct pg_reply *replies, int count)
{
    struct greeting *greeting = arg;
    bool no_schema = strcmp(replies->sqlstate, "42P01") == 0 || /* no such table, column, schema */
                     strcmp(replies->sqlstate, "42703") == 0 ||
                     strcmp(replies->sqlstate, "3F000") == 0;
    (void)count;
    if (!replies->alive)
        return; /* it is found again at the next connection */
    if (replies->sqlstate[0] != '\0' && !no_schema) {
        pg_drop(control_connection(greeting->agent), replies->message);
        return;
    }
    agent_start_over(greeting->agent, "%s; the agent starts over, and the coordinators judge it",
                     greeting->lost);
}

/* The database is another, or has lost what it had confirmed. */
static void greeting_start_over(struct greeting *greeting, const char *format, ...)
{
    char incarnation[NUMBER_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(greeting->lost, sizeof greeting->lost, format, args);
    va_end(args);
    u64_format(greeting->agent->incarnation, incarnation);
    greeting_run(greeting, greeting_remembered,
                 "WITH suspect AS (" BOOK_SUSPECT_SQL ")"
                 " UPDATE assent.agent SET incarnation = $1::bigint WHERE incarnation < $1::bigint",
                 1, (const char *const[]){incarnation});
}

static void greeting_noted(void *arg, const struct pg_reply *replies, int count)
{
    struct greeting *greeting = arg;
    (void)count;
    if (greeting_refused(greeting, replies,
                         "store that every coordinator has to accept the database", ""))
        return;
    greeting->agent->incarnation = pg_number(replies, 0, 0);
    greeting->noted = true;
    greeting_ask(greeting); /* the coordinators once more */
}

/* While we were away it may have been set back: what we had kept outside of it says so. Then no
 * coordinator has accepted it as it is, and that is stored before anything else is. */
static bool greeting_finds_it_whole(struct greeting *greeting, const struct pg_reply *tms)
{
    struct agent *agent = greeting->agent;
    char incarnation[NUMBER_BYTES];
    if (!greeting_is_first(greeting))
        return true;
    if (greeting->noted) {
        state_file_believe(agent, tms);
        return true;
    }
    if (!state_file_tells_of_loss(agent, tms, greeting->kept, greeting->lost,
                                  sizeof greeting->lost))
        return true;
    log_error("database %s may have lost durable data while the agent was down: %s",
              agent->identity.database, greeting->lost);
    u64_format(state_file_incarnation(agent), incarnation);
    greeting_run(greeting, greeting_noted,
                 "WITH suspect AS (" BOOK_SUSPECT_SQL ")"
                 " UPDATE assent.agent SET incarnation = greatest(incarnation, $1::bigint + 1)"
                 " RETURNING incarnation",
                 1, (const char *const[]){incarnation});
    return false;
}

/* ---- the steps' answers ---- */

/* Is it still the database that we knew? What it says now, the coordinators have to judge, and they
 * do at registration; a new timeline with its beats in order is a clean switchover to them. */
static bool greeting_same_database(struct greeting *greeting, const struct identity *found)
{
    const struct agent *agent = greeting->agent;
    const struct identity *known = &agent->identity;
    if (agent->participant == NULL)
        return true;
    if (found->system_identifier != known->system_identifier ||
        strcmp(found->database, known->database) != 0) {
        greeting_start_over(
            greeting,
            "this is another database than before: %s in the cluster of system identifier "
            "%" PRIu64 " instead of %s in %" PRIu64,
            found->database, found->system_identifier, known->database, known->system_identifier);
        return false;
    }
    return true;
}

static enum after greeting_took_identity(struct greeting *greeting, const struct pg_reply *replies)
{
    struct agent *agent = greeting->agent;
    if (strcmp(pg_value(replies, 0, 0), "t") == 0) {
        pg_drop(control_connection(agent), "the server is a standby");
        return HALT;
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
    found.grants_have_options = pg_server_is(control_connection(agent), 160000);
    pg_server_version(control_connection(agent), found.server_version, sizeof found.server_version);
    if (!greeting_same_database(greeting, &found))
        return HALT;
    agent->identity = found;
    agent->health.slots_max = (uint32_t)strtoul(pg_value(replies, 0, 5), NULL, 10);
    return GO_ON;
}

static enum after greeting_took_version(struct greeting *greeting, const struct pg_reply *replies)
{
    int version = atoi(pg_value(replies, 0, 0));
    if (version >= SCHEMA_VERSION && version <= SCHEMA_VERSION + 1)
        return GO_ON;
    agent_stop(greeting->agent, "schema assent is of version %d, I need %d%s", version,
               SCHEMA_VERSION,
               version < SCHEMA_VERSION ? "; hint: a DBA upgrades it by: assent-agent -c FILE "
                                          "--install-schema --conninfo ADMIN"
                                        : "");
    return HALT;
}

static enum after greeting_took_entry(struct greeting *greeting, const struct pg_reply *replies)
{
    (void)greeting, (void)replies;
    POINT("agent.before-incarnation-raised");
    return GO_ON;
}

static enum after greeting_took_incarnation(struct greeting *greeting,
                                            const struct pg_reply *replies)
{
    struct agent *agent = greeting->agent;
    POINT("agent.incarnation-raised");
    uint64_t stored = pg_number(replies, 0, 0);
    if (greeting_is_first(greeting)) {
        if (pg_rows(replies) != 1) {
            agent_stop(agent,
                       "the schema in database %s belongs to another resource manager than %s",
                       agent->identity.database, agent->options->rm);
            return HALT;
        }
        agent->incarnation = stored;
        greeting->kept = strcmp(pg_value(replies, 0, 1), "t") == 0;
    } else if (stored < agent->incarnation) {
        greeting_start_over(
            greeting,
            "database %s has lost durable data: it knows of the agent's incarnation %" PRIu64
            ", this is %" PRIu64,
            agent->identity.database, stored, agent->incarnation);
        return HALT;
    } else if (stored != agent->incarnation) {
        agent_stop(agent,
                   "another agent serves database %s: incarnation %" PRIu64 ", mine is %" PRIu64,
                   agent->identity.database, stored, agent->incarnation);
        return HALT;
    }
    return GO_ON;
}

static enum after greeting_took_ended(struct greeting *greeting, const struct pg_reply *replies)
{
    (void)greeting;
    if (strcmp(pg_value(replies, 0, 0), "0") != 0)
        return AGAIN;
    POINT("agent.predecessor-evicted");
    return GO_ON;
}

static enum after greeting_took_tms(struct greeting *greeting, const struct pg_reply *replies)
{
    struct agent *agent = greeting->agent;
    uint64_t beat;
    const struct tm_link *tm = book_forgotten(agent, replies, &beat);
    if (tm != NULL) {
        greeting_start_over(greeting,
                            "database %s has lost durable data: beat %" PRIu64
                            " of %s is older than what it had confirmed, %" PRIu64,
                            agent->identity.database, beat, tm->name, tm->flushed_beat);
        return HALT;
    }
    if (greeting->timeline != 0 && agent->identity.timeline != greeting->timeline) {
        greeting_start_over(greeting, "database %s is on timeline %" PRIu32 " now, was on %" PRIu32,
                            agent->identity.database, agent->identity.timeline, greeting->timeline);
        return HALT;
    }
    if (agent->participant != NULL && agent->identity.wal < agent->wal_flushed) {
        greeting_start_over(greeting,
                            "database %s has lost durable data: its WAL ends at byte %" PRIu64
                            ", and %" PRIu64 " were on its disk",
                            agent->identity.database, agent->identity.wal, agent->wal_flushed);
        return HALT;
    }
    if (!greeting_finds_it_whole(greeting, replies))
        return HALT;
    book_load(agent, replies);
    acceptors_doubt(agent);
    return GO_ON;
}

static enum after greeting_took_gids(struct greeting *greeting, const struct pg_reply *replies)
{
    for (int i = 0; i < pg_rows(replies); i++)
        sessions_remember_used(greeting->agent, pg_value(replies, i, 0));
    return GO_ON;
}

static enum after greeting_took_peers(struct greeting *greeting, const struct pg_reply *replies)
{
    peers_load(greeting->agent, replies);
    return GO_ON;
}

/* ---- the steps ---- */

enum value { VALUE_NONE, VALUE_RM, VALUE_PREVIOUS_PID, VALUE_PREVIOUS_START };

#define IDENTITY_SQL                                                                               \
    "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),"             \
    " CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_lsn()) END,"       \
    " current_database(), session_user, current_setting('max_prepared_transactions'),"             \
    " current_setting('is_superuser'),"                                                            \
    " CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_insert_lsn() - '0/0' END"

#define ENTER_SQL                                                                                  \
    "INSERT INTO assent.session (pid, backend_start) SELECT pid, backend_start"                    \
    " FROM pg_stat_activity WHERE pid = pg_backend_pid()"

static const struct step {
    const char *what; /* for people, if it fails */
    const char *hint;
    struct said {
        const char *sql; /* NULL: nothing, this time */
        enum value values[GREETING_VALUES_MAX];
    } first, again;
    enum after (*took)(struct greeting *greeting, const struct pg_reply *replies); /* or NULL */
} steps[] = {
    {.what = "read the server's identity",
     .first = {.sql = IDENTITY_SQL},
     .again = {.sql = IDENTITY_SQL},
     .took = greeting_took_identity},
    {.what = "read assent.version",
     .hint = "a DBA runs once: assent-agent -c FILE --install-schema --conninfo ADMIN",
     .first = {.sql = "SELECT max(version) FROM assent.version"},
     .again = {.sql = "SELECT max(version) FROM assent.version"},
     .took = greeting_took_version},
    {.what = "enter my connection in assent.session",
     .first = {.sql = ENTER_SQL},
     .again = {.sql = ENTER_SQL},
     .took = greeting_took_entry},
    {.what = "raise the agent's incarnation",
     .first = {.sql =
                   "UPDATE assent.agent SET incarnation = incarnation + 1, rm = $1, secrets = true"
                   " WHERE coalesce(rm, $1) = $1 RETURNING incarnation, state_file",
               .values = {VALUE_RM}},
     .again = {.sql = "SELECT incarnation FROM assent.agent"},
     .took = greeting_took_incarnation},
    /* The first time all that were entered before us; later only our own last connection, which
     * may still be waiting to set a sequence. */
    {.what = "end the connections of my predecessor",
     .hint = "the agent's role must be a member of the roles of its [exec ROLE] sections, or "
             "of pg_signal_backend and pg_read_all_stats",
     .first = {.sql = "SELECT count(pg_terminate_backend(a.pid, 100)) FROM pg_stat_activity a"
                      " WHERE a.pid <> pg_backend_pid() AND " IN_THIS_DATABASE
                      " AND EXISTS (SELECT FROM assent.session s"
                      " WHERE s.pid = a.pid AND s.backend_start = a.backend_start)"},
     .again = {.sql = "SELECT count(pg_terminate_backend(pid, 100)) FROM pg_stat_activity"
                      " WHERE pid = $1::int AND " BACKEND_START_US
                      " = $2::bigint AND " IN_THIS_DATABASE,
               .values = {VALUE_PREVIOUS_PID, VALUE_PREVIOUS_START}},
     .took = greeting_took_ended},
    {.what = "clean assent.session",
     .first =
         {.sql =
              "DELETE FROM assent.session s WHERE gid IS NULL AND NOT EXISTS (SELECT"
              " FROM pg_stat_activity a WHERE a.pid = s.pid AND a.backend_start = s.backend_start"
              " AND " IN_THIS_DATABASE ")"}},
    {.what = "read assent.tm",
     .first = {.sql = BOOK_STORED_SQL},
     .again = {.sql = BOOK_STORED_SQL},
     .took = greeting_took_tms},
    {.what = "read assent.session",
     .first = {.sql = "SELECT gid FROM assent.session WHERE gid IS NOT NULL"},
     .took = greeting_took_gids},
    {.what = "read assent.peer", .first = {.sql = PEERS_STORED_SQL}, .took = greeting_took_peers},
};
enum { STEPS = sizeof steps / sizeof *steps };

static const char *greeting_value(const struct greeting *greeting, enum value value,
                                  char number[NUMBER_BYTES])
{
    switch (value) {
    case VALUE_RM:
        return greeting->agent->options->rm;
    case VALUE_PREVIOUS_PID:
        snprintf(number, NUMBER_BYTES, "%d", greeting->previous.pid);
        return number;
    case VALUE_PREVIOUS_START:
        snprintf(number, NUMBER_BYTES, "%" PRId64, greeting->previous.start_us);
        return number;
    default:
        return NULL;
    }
}

static void greeting_end(struct greeting *greeting)
{
    struct agent *agent = greeting->agent;
    struct backend previous = greeting->previous;
    bool first = greeting_is_first(greeting);
    POINT("agent.before-greeted");
    greeting->timeline = agent->identity.timeline;
    greeting->previous = pg_backend(control_connection(agent));
    control_greeted(agent);
    if (first) {
        greeting->over(agent);
    } else {
        control_leave(agent, previous);
        log_notice("connected to database %s again", agent->identity.database);
    }
}

static void greeting_answered(void *arg, const struct pg_reply *replies, int count)
{
    struct greeting *greeting = arg;
    const struct step *step = &steps[greeting->at];
    (void)count;
    if (greeting_refused(greeting, replies, step->what, step->hint == NULL ? "" : step->hint))
        return;
    enum after after = step->took == NULL ? GO_ON : step->took(greeting, replies);
    if (after == HALT)
        return;
    greeting->at += after == GO_ON;
    greeting_ask(greeting);
}

/* The step that greeting->at says, or the next that there is this time. */
static void greeting_ask(struct greeting *greeting)
{
    bool first = greeting_is_first(greeting);
    char numbers[GREETING_VALUES_MAX][NUMBER_BYTES];
    const char *values[GREETING_VALUES_MAX];
    const struct said *said = NULL;
    int count = 0;
    for (; greeting->at < STEPS; greeting->at++) {
        said = first ? &steps[greeting->at].first : &steps[greeting->at].again;
        if (said->sql != NULL)
            break;
    }
    if (greeting->at == STEPS) {
        greeting_end(greeting);
        return;
    }
    for (; count < GREETING_VALUES_MAX && said->values[count] != VALUE_NONE; count++)
        values[count] = greeting_value(greeting, said->values[count], numbers[count]);
    greeting_run(greeting, greeting_answered, said->sql, count, values);
}

void greeting_create(struct agent *agent, void (*over)(struct agent *agent))
{
    agent->greeting = must_alloc(sizeof *agent->greeting, "the greeting");
    agent->greeting->agent = agent;
    agent->greeting->over = over;
}

void greeting_begin(struct agent *agent)
{
    agent->greeting->at = 0;
    greeting_ask(agent->greeting);
}
