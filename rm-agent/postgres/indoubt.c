/*
 * rm-agent/postgres/indoubt.c - what is prepared here, and the evidence of what became of the rest.
 *
 * gids are unique in the cluster, but a branch can only be finished in its own database:
 * everything looks at this database alone. A gid is a name that may be used again; the xid
 * is the prepared transaction itself, and for one that was prepared pg_xact_status() proves
 * what became of it.
 */
#include "rm-agent/postgres/indoubt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/point.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/membership.h"
#include "rm-agent/postgres/positions.h"
#include "rm-agent/postgres/preflight.h"
#include "rm-agent/postgres/sessions.h"
#include "rm-agent/postgres/verdict.h"
#include "rm-agent/state_file.h"
#include "rm-agent/talk/mail.h"
#include "rm-agent/votes/acceptors.h"
#include "rm-agent/votes/ballots.h"

enum { LOOKS_A_QUERY = 64 };

uint64_t xid_widen(uint32_t xid, uint64_t near)
{
    /* PostgreSQL keeps all living xids within 2^31 of each other. The xid may be a little
     * ahead of a snapshot that was taken just before it was assigned. */
    int32_t distance = (int32_t)(xid - (uint32_t)near);
    return (uint64_t)((int64_t)near + distance);
}

static uint64_t xid_of(const char *xid, const char *near)
{
    return xid_widen((uint32_t)strtoul(xid, NULL, 10), strtoull(near, NULL, 10));
}

/* ---- looking for branches ---- */

struct look {
    struct look *next;
    struct agent *agent;
    struct branch_id branch;
    char gid[GID_BYTES];
    uint64_t xid; /* whose status is asked if the gid is not there */
    bool flush;
    bool votes;
    bool late;
    struct participant_event event; /* the answer so far; its texts are below */
    char sqlstate[SQLSTATE_BYTES];
    char message[REASON_BYTES];
    char hint[REASON_BYTES];
};

/* Looks that share one query, and the beat behind it. */
struct batch {
    struct agent *agent;
    struct look *looks;
    bool flush; /* the beat is on its way, and ends the batch */
};

/* Whoever wants to look while a query is under way shares the next one. */
struct looks {
    struct look *first, **last;
    bool looking;
};

void indoubt_create(struct agent *agent)
{
    struct looks *looks = must_alloc(sizeof *looks, "the looks at branches");
    looks->last = &looks->first;
    agent->looks = looks;
}

static struct look *look_begin(struct agent *agent, const struct participant_action *action)
{
    struct look *look = must_alloc(sizeof *look, "a look at a branch");
    look->agent = agent;
    look->branch = action->branch;
    gid_format(&action->branch, look->gid);
    look->xid = action->xid;
    look->flush = action->flush;
    look->votes = action->votes;
    look->late = action->late;
    look->event.branch = action->branch;
    return look;
}

static void look_end(struct look *look)
{
    look->event.sqlstate = look->sqlstate;
    look->event.message = look->message[0] == '\0' ? NULL : look->message;
    look->event.hint = look->hint;
    agent_event(look->agent, look->event);
    free(look);
}

static void look_failed(struct look *look, const char *message)
{
    look->event.type = PE_RETRY;
    text_copy(look->message, sizeof look->message, message, strlen(message));
    look_end(look);
}

static void look_joined(void *arg, const struct row_answer *answer)
{
    struct look *look = arg;
    if (answer->failed) {
        look_failed(look, "the agent's vote could not be stored");
        return;
    }
    if (answer->barred) {
        look->event.actable = false;
        strcpy(look->message, "an agent has begun to end this transaction");
    }
    look_end(look);
}

/* What is prepared and will be voted for by three-phase commit, is entered before. */
static void look_over(struct look *look)
{
    const struct roster *roster =
        look->votes ? ballots_roster(look->agent, &look->branch.gtrid) : NULL;
    if (roster != NULL && look->event.type == PE_SEEN && look->event.actable)
        acceptors_join(look->agent, &look->branch, look->event.xid, roster, true, look_joined,
                       look);
    else
        look_end(look);
}

static void flushed(void *arg, uint64_t beat)
{
    struct look *look = arg;
    POINT("agent.look-flushed");
    if (beat == 0) {
        look_failed(look, look->agent->health.last_error);
        return;
    }
    look->event.beat = beat;
    look_over(look);
}

/* What was only seen may not have reached a standby: what is said of it must be on disk. */
static void look_answer(struct look *look)
{
    struct tm_link *tm = book_known(look->agent, look->branch.gtrid.tm);
    if (!look->flush || tm == NULL)
        look_over(look);
    else
        positions_raise(look->agent, tm, 0, true, flushed, look);
}

static void took_status(void *arg, const struct pg_reply *reply)
{
    struct look *look = arg;
    POINT("agent.took-status");
    look->event.status = xid_status_of(pg_value(reply, 0, 0), reply->sqlstate);
    look_answer(look);
}

/* The first row tells of the server, each other one of a gid that is prepared. */
static const char look_sql[] =
    "SELECT NULL, NULL, NULL, NULL, pg_snapshot_xmax(pg_current_snapshot()), pg_is_in_recovery()"
    " UNION ALL SELECT p.gid, p.transaction, " PREPARED_OWNER ", pg_has_role(p.ownerid, " SETS_ROLE
    "),"
    " NULL, NULL FROM unnest($1::text[]) asked (gid) JOIN pg_prepared_xact() p USING (gid)"
    " WHERE p.dbid = $2::oid";

/* The row of a gid, 0: it is not prepared. */
static int row_of(const struct pg_reply *reply, const char *gid)
{
    for (int row = pg_rows(reply) - 1; row > 0; row--)
        if (strcmp(pg_value(reply, row, 0), gid) == 0)
            return row;
    return 0;
}

static void seen(struct look *look, const struct pg_reply *reply, int row)
{
    const char *owner = pg_value(reply, row, 2);
    look->event.type = PE_SEEN;
    look->event.xid = xid_of(pg_value(reply, row, 1), pg_value(reply, 0, 4));
    look->event.actable = strcmp(pg_value(reply, row, 3), "t") == 0;
    if (look->late && sessions_used(look->agent, &look->branch)) {
        look->event.type = PE_ABSENT;
        snprintf(look->message, sizeof look->message,
                 "branch_lost: SQL was run through an earlier start of the agent, and its work "
                 "is lost");
    } else if (!look->event.actable && owner[0] == '\0') {
        strcpy(look->sqlstate, "42704");
        snprintf(look->message, sizeof look->message,
                 "the owner of the prepared transaction was dropped; only a superuser can "
                 "finish it");
    } else if (!look->event.actable) {
        strcpy(look->sqlstate, "42501");
        snprintf(look->message, sizeof look->message,
                 "the agent could not finish what role \"%s\" has prepared", owner);
        membership_grant(look->agent, owner, look->hint, sizeof look->hint);
    } else if (owner[0] != '\0') {
        sessions_remember_owner(look->agent, &look->branch, owner);
    }
}

/* True: the answer is complete but for the beat that it may have to wait for. */
static bool indoubt_judge(struct look *look, const struct pg_reply *reply)
{
    int row = row_of(reply, look->gid);
    if (row > 0) {
        seen(look, reply, row);
        return true;
    }
    look->event.type = PE_ABSENT;
    if (look->late && sessions_used(look->agent, &look->branch))
        snprintf(look->message, sizeof look->message,
                 "branch_lost: its session ended with an earlier start of the agent");
    if (look->xid == 0)
        return true;
    char xid[NUMBER_BYTES];
    snprintf(xid, sizeof xid, "%" PRIu64, look->xid);
    control_ask(look->agent, took_status, look, "SELECT pg_xact_status($1::xid8)", 1, xid);
    return false;
}

static void look_next(struct agent *agent);

/* The query and the beat are both answered, the beat last: what was seen was on the disk's way
 * before it. */
static void batch_flushed(void *arg, uint64_t beat)
{
    struct batch batch = *(struct batch *)arg;
    free(arg);
    while (batch.looks != NULL) {
        struct look *look = batch.looks;
        batch.looks = look->next;
        flushed(look, beat);
    }
}

static void looked(void *arg, const struct pg_reply *reply)
{
    struct batch *batch = arg;
    struct agent *agent = batch->agent;
    struct look *look = batch->looks;
    bool standby = strcmp(pg_value(reply, 0, 5), "t") == 0;
    bool failed = reply->sqlstate[0] != '\0' || standby;
    struct look *ready = NULL, **last = batch->flush ? &batch->looks : &ready;
    POINT("agent.looked");
    agent->looks->looking = false;
    while (look != NULL) {
        struct look *next = look->next;
        look->next = NULL;
        if (failed) {
            look_failed(look, standby ? "the server is a standby" : reply->message);
        } else if (indoubt_judge(look, reply)) {
            *last = look;
            last = &look->next;
        }
        look = next;
    }
    *last = NULL;
    if (!batch->flush)
        free(batch);
    while (ready != NULL) {
        look = ready;
        ready = look->next;
        look_over(look);
    }
    look_next(agent);
}

/* As the array's text: gids have no character that would need quoting. */
static char *gids_of(const struct look *look)
{
    char *text = must_alloc(LOOKS_A_QUERY * (GID_BYTES + 1) + 3, "the gids of a question");
    char *at = text;
    *at++ = '{';
    for (; look != NULL; look = look->next)
        at += sprintf(at, "%s%s", look->gid, look->next == NULL ? "" : ",");
    strcpy(at, "}");
    return text;
}

/* Looks for one coordinator that are alike in what follows them. */
static struct batch *indoubt_gather_batch(struct agent *agent)
{
    struct looks *looks = agent->looks;
    struct batch *batch = must_alloc(sizeof *batch, "a batch of looks");
    struct look **at = &looks->first, **last = &batch->looks;
    const struct look *first = looks->first;
    int count = 0;
    batch->agent = agent;
    while (*at != NULL && count < LOOKS_A_QUERY) {
        struct look *look = *at;
        if (look->flush != first->flush ||
            strcmp(look->branch.gtrid.tm, first->branch.gtrid.tm) != 0) {
            at = &look->next;
            continue;
        }
        *at = look->next;
        look->next = NULL;
        *last = look;
        last = &look->next;
        count++;
    }
    looks->last = &looks->first;
    while (*looks->last != NULL)
        looks->last = &(*looks->last)->next;
    return batch;
}

static void look_next(struct agent *agent)
{
    if (agent->looks->looking || agent->looks->first == NULL)
        return;
    struct batch *batch = indoubt_gather_batch(agent);
    struct tm_link *tm = book_known(agent, batch->looks->branch.gtrid.tm);
    char *gids = gids_of(batch->looks);
    batch->flush = batch->looks->flush && tm != NULL;
    agent->looks->looking = true;
    POINT("agent.before-look");
    control_ask(agent, looked, batch, look_sql, 2, gids, control_database(agent));
    free(gids);
    if (batch->flush)
        positions_raise(agent, tm, 0, true, batch_flushed, batch);
}

void indoubt_look(struct agent *agent, const struct participant_action *action)
{
    struct look *look = look_begin(agent, action);
    *agent->looks->last = look;
    agent->looks->last = &look->next;
    look_next(agent);
}

static void looked_for_marker(void *arg, const struct pg_reply *reply)
{
    struct look *look = arg;
    if (reply->sqlstate[0] != '\0') {
        look_failed(look, reply->message);
        return;
    }
    POINT("agent.marker-looked-for");
    look->event.type = strcmp(pg_value(reply, 0, 0), "t") == 0 ? PE_FINISHED : PE_ABSENT;
    look->flush = true;
    look_answer(look);
}

void indoubt_look_marker(struct agent *agent, const struct participant_action *action)
{
    char gtrid[GTRID_BYTES];
    gtrid_format(&action->branch.gtrid, gtrid);
    POINT("agent.before-marker-looked-for");
    control_ask(agent, looked_for_marker, look_begin(agent, action),
                "SELECT EXISTS (SELECT FROM assent.marker WHERE gtrid = $1)", 1, gtrid);
}

/* ---- the scan ---- */

struct scan {
    struct agent *agent;
    char tm[TM_NAME_BYTES];
    uint64_t number;
};

static void post(const struct scan *scan, enum result_type type, const struct branch_id *branch,
                 uint64_t xid)
{
    struct result result = {.type = type, .number = scan->number, .xid = xid};
    if (branch != NULL)
        result.branch = *branch;
    else
        memcpy(result.branch.rm, scan->agent->options->rm, sizeof result.branch.rm);
    mail_post(scan->agent, scan->tm, &result);
}

static void scanned(void *arg, const struct pg_reply *reply)
{
    struct scan scan = *(struct scan *)arg;
    struct agent *agent = scan.agent;
    struct branch_id branch;
    enum branch_state state;
    free(arg);
    if (reply->sqlstate[0] != '\0')
        return;
    for (int i = 0; i < pg_rows(reply); i++) {
        const char *gid = pg_value(reply, i, 0);
        if (gid_parse(gid, strlen(gid), &branch) && strcmp(branch.gtrid.tm, scan.tm) == 0 &&
            strcmp(branch.rm, agent->options->rm) == 0)
            post(&scan, RESULT_FOUND, &branch,
                 xid_of(pg_value(reply, i, 1), pg_value(reply, i, 2)));
    }
    for (uint32_t at = participant_next(agent->participant, 0, &branch, &state); at != UINT32_MAX;
         at = participant_next(agent->participant, at + 1, &branch, &state))
        if (state == BRANCH_OPEN && strcmp(branch.gtrid.tm, scan.tm) == 0)
            post(&scan, RESULT_SESSION, &branch, 0);
    POINT("agent.scanned");
    post(&scan, RESULT_SCANNED, NULL, 0);
}

void indoubt_scan(struct agent *agent, const char *tm, uint64_t number)
{
    struct scan *scan = must_alloc(sizeof *scan, "a scan");
    scan->agent = agent;
    scan->number = number;
    text_copy(scan->tm, sizeof scan->tm, tm, strlen(tm));
    POINT("agent.before-scan");
    control_ask(agent, scanned, scan,
                "SELECT gid, transaction, pg_snapshot_xmax(pg_current_snapshot())"
                " FROM pg_prepared_xacts WHERE database = current_database()",
                0);
}

/* ---- how many ---- */

/* What others take of the agent itself, and how much there is. */
static void take_limits(struct agent *agent)
{
    struct net_server_counts connected;
    net_server_counts(agent->server, &connected);
    agent->health.sessions = sessions_open(agent);
    agent->health.sessions_max = agent->options->max_sessions;
    agent->health.branches = participant_held(agent->participant);
    agent->health.branches_max = agent->options->max_branches;
    agent->health.connections = connected.connections;
}

static void took_health(void *arg, const struct pg_reply *reply)
{
    struct agent *agent = arg;
    if (reply->sqlstate[0] != '\0')
        return;
    agent->health.prepared = (uint32_t)strtoul(pg_value(reply, 0, 0), NULL, 10);
    agent->health.oldest_s = (uint32_t)strtoul(pg_value(reply, 0, 1), NULL, 10);
    agent->prepared_elsewhere = (uint32_t)strtoul(pg_value(reply, 0, 2), NULL, 10);
    take_limits(agent);
    preflight_limits(agent);
    agent->wal_flushed = strtoull(pg_value(reply, 0, 3), NULL, 10);
    state_file_tick(agent, agent->wal_flushed);
}

void indoubt_refresh_health(struct agent *agent)
{
    control_ask(agent, took_health, agent,
                "SELECT count(*), greatest(0, coalesce(extract(epoch FROM now() -"
                " min(prepared)), 0)::bigint),"
                " count(*) FILTER (WHERE database <> current_database()),"
                " pg_current_wal_flush_lsn() - '0/0' FROM pg_prepared_xacts",
                0);
}
