/*
 * tm/alarms.c - what a person should look at.
 *
 * Once a second every condition is looked at anew, for the coordinator and for each RM. Nothing is
 * remembered but since when: an alarm ends when its condition does, and cannot be forgotten.
 */
#include "tm/alarms.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "tm/capacity.h"

enum { LOOK_MS = 1000, DOWN_PATIENCE_MS = 10 * 1000, NEARLY_ALL_PERCENT = 90, NEAR_PERCENT = 80 };

/* The worst first. */
enum alarm_kind {
    ALARM_FENCED,
    ALARM_QUARANTINED,
    ALARM_REFUSED,
    ALARM_MIXED,
    ALARM_IN_DOUBT,
    ALARM_DOWN,
    ALARM_SLOTS,
    ALARM_KEYS,
    ALARM_OUTCOMES,
    ALARM_TRANSACTIONS,
    ALARM_BRANCHES,
    ALARM_SESSIONS,
    ALARM_WAITING,
    ALARM_DISK,
    ALARM_CONNECTIONS,
    ALARM_HTTP,
    ALARM_MESSAGES,
    ALARM_KINDS
};

static const char *const kind_words[ALARM_KINDS] = {
    [ALARM_FENCED] = "fenced",
    [ALARM_QUARANTINED] = "quarantined",
    [ALARM_REFUSED] = "refused",
    [ALARM_MIXED] = "mixed",
    [ALARM_IN_DOUBT] = "in-doubt",
    [ALARM_DOWN] = "down",
    [ALARM_SLOTS] = "slots",
    [ALARM_KEYS] = "keys",
    [ALARM_OUTCOMES] = "outcomes",
    [ALARM_TRANSACTIONS] = "transactions",
    [ALARM_BRANCHES] = "branches",
    [ALARM_SESSIONS] = "sessions",
    [ALARM_WAITING] = "waiting",
    [ALARM_DISK] = "disk",
    [ALARM_CONNECTIONS] = "connections",
    [ALARM_HTTP] = "http",
    [ALARM_MESSAGES] = "messages",
};

/* The coordinator's own alarms stand behind those of the last RM. */
enum { COORDINATOR = RMS_MAX, PLACES };

struct alarm {
    uint64_t since_ms; /* 0: its condition does not hold */
    bool told;
    char what[FENCE_BYTES];
    char advice[REASON_BYTES];
};

struct alarms {
    uint64_t look_at_ms;
    /* As they were at the last look, for all conditions: counting walks the transactions. */
    struct coordinator_counts counts;
    struct capacity_view view;
    struct alarm list[ALARM_KINDS][PLACES];
};

struct alarms *alarms_create(void)
{
    return must_alloc(sizeof(struct alarms), "the alarms");
}

void alarms_free(struct alarms *alarms)
{
    free(alarms);
}

/* ---- conditions: each says what it is, if it holds ---- */

static void alarm_describe(struct alarm *alarm, const char *what, const char *advice)
{
    snprintf(alarm->what, sizeof alarm->what, "%s", what);
    snprintf(alarm->advice, sizeof alarm->advice, "%s", advice);
}

static bool alarm_is_mixed(const struct server *server, struct alarm *alarm)
{
    const struct coordinator_counts *counts = &server->alarms->counts;
    if (counts->mixed_live == 0)
        return false;
    alarm_describe(alarm, "", "assentctl list --state mixed");
    snprintf(alarm->what, sizeof alarm->what,
             "%" PRIu32 " transaction%s ended differently in one database than in the others, by "
             "another's hand",
             counts->mixed_live, counts->mixed_live == 1 ? "" : "s");
    return true;
}

static bool alarm_is_old_in_doubt(const struct server *server, struct alarm *alarm)
{
    const struct coordinator_counts *counts = &server->alarms->counts;
    uint32_t limit_ms = server->settings->in_doubt_alarm_ms;
    if (limit_ms == 0 || counts->in_doubt == 0 ||
        server->now_ms - counts->in_doubt_since_ms < limit_ms)
        return false;
    alarm_describe(alarm, "", "assentctl in-doubt");
    snprintf(alarm->what, sizeof alarm->what,
             "a transaction has been decided, or may have been, for longer than %" PRIu32
             " s and is not applied everywhere",
             limit_ms / 1000);
    return true;
}

static bool alarm_is_old_prepared(const struct server *server, const struct rm *rm,
                                  const struct link_view *link, struct alarm *alarm)
{
    uint32_t limit_ms = server->settings->in_doubt_alarm_ms;
    if (limit_ms == 0 || rm->state != RM_UP || link->health.prepared == 0 ||
        link->health.oldest_s < limit_ms / 1000)
        return false;
    alarm_describe(alarm, "", "assentctl in-doubt");
    snprintf(alarm->what, sizeof alarm->what,
             "%s has a transaction that has been prepared for longer than %" PRIu32 " s", rm->name,
             limit_ms / 1000);
    return true;
}

/* ---- limits: beyond them somebody is refused ---- */

struct limit {
    uint64_t used, most; /* most 0: there is none, or an older agent does not say */
    uint32_t near_percent;
    const char *what;   /* "branches that max_branches allows are under way" */
    const char *beyond; /* "new ones are refused" */
    const char *advice;
};

/* rm: of whose agent; NULL: of the coordinator. */
static bool alarm_is_near(const struct limit *limit, const char *rm, struct alarm *alarm)
{
    if (limit->most == 0 || limit->used * 100 < limit->most * limit->near_percent)
        return false;
    alarm_describe(alarm, "", limit->advice);
    snprintf(alarm->what, sizeof alarm->what, "%s%s%" PRIu64 " of the %" PRIu64 " %s; beyond, %s",
             rm == NULL ? "" : rm, rm == NULL ? "" : ": ", limit->used, limit->most, limit->what,
             limit->beyond);
    return true;
}

static bool alarm_is_near_at(enum alarm_kind kind, const struct rm *rm,
                             const struct link_view *link, struct alarm *alarm)
{
    const struct agent_health *health = &link->health;
    const struct limit limits[ALARM_KINDS] = {
        [ALARM_SLOTS] = {health->prepared, health->slots_max, NEARLY_ALL_PERCENT,
                         "prepared transactions that max_prepared_transactions allows are in use",
                         "every branch is refused",
                         "raise max_prepared_transactions, on the standbys first"},
        [ALARM_BRANCHES] = {health->branches, health->branches_max, NEAR_PERCENT,
                            "branches that max_branches of its agent allows are under way",
                            "new ones are refused",
                            "assentctl in-doubt; else raise max_branches in [agent] and restart "
                            "it"},
        [ALARM_SESSIONS] = {health->sessions, health->sessions_max, NEAR_PERCENT,
                            "sessions that max_sessions of its agent allows are in use",
                            "exec is refused in new transactions",
                            "raise max_sessions in [agent], and max_connections and "
                            "max_prepared_transactions with it"},
        [ALARM_CONNECTIONS] = {health->connections, health->connections_max, NEAR_PERCENT,
                               "connections to its agent that the limit of open files allows are "
                               "open",
                               "those that ask for nothing are closed",
                               "find out who connects, or raise LimitNOFILE of its service"},
    };
    return rm->state == RM_UP && alarm_is_near(&limits[kind], rm->name, alarm);
}

static bool alarm_is_down(const struct rm *rm, const struct link_view *link, struct alarm *alarm)
{
    if (rm->state != RM_DOWN || rm->retired)
        return false;
    alarm_describe(alarm, "", "start it: assent-agent -c FILE");
    snprintf(alarm->what, sizeof alarm->what, "the agent of %s, at %s, is not connected: %s",
             rm->name, link->url,
             link->last_error[0] != '\0' ? link->last_error : "it has not answered yet");
    return true;
}

static bool alarm_is_refused(const struct rm *rm, struct alarm *alarm)
{
    if (rm->state != RM_REFUSED)
        return false;
    alarm_describe(alarm, "", "assentctl agents");
    snprintf(alarm->what, sizeof alarm->what, "the agent of %s refuses this coordinator (%s): %s",
             rm->name, refusal_word(rm->refusal), refusal_meaning(rm->refusal));
    if (rm->refusal == REFUSAL_OTHER_LOG)
        snprintf(alarm->advice, sizeof alarm->advice,
                 "was it away when the log was lost? Then: assentctl recover --adopt %s", rm->name);
    return true;
}

static bool alarm_is_quarantined(const struct rm *rm, struct alarm *alarm)
{
    if (rm->state != RM_QUARANTINED)
        return false;
    alarm_describe(alarm, "", "");
    snprintf(alarm->what, sizeof alarm->what,
             "%s is quarantined: its database has lost durable data or is another one (the beat "
             "to expect is %" PRIu64 ")",
             rm->name, rm->beat);
    snprintf(alarm->advice, sizeof alarm->advice,
             "compare its data, then: assentctl agents release %s --reason TEXT", rm->name);
    return true;
}

static bool alarm_is_fenced(const struct registry *registry, struct alarm *alarm)
{
    if (!registry->fenced)
        return false;
    alarm_describe(alarm, "", "assentctl status");
    admin_fence_sentence(registry, alarm->what);
    return true;
}

/* ---- what the coordinator itself runs out of ---- */

enum { MEBIBYTE = 1024 * 1024, UNREAD_MS = 3000 };

static bool alarm_is_disk_full(const struct server *server, struct alarm *alarm)
{
    struct wal_stats stats;
    wal_stats(server->wal, &stats);
    if (stats.disk_free >= stats.disk_least)
        return false;
    alarm_describe(alarm, "",
                   "make room, or move [tm] data_dir: the coordinator ends when it is full");
    snprintf(alarm->what, sizeof alarm->what,
             "the disk of %s, the log, has %" PRIu64 " MiB free, and should have %" PRIu64,
             server->settings->data_dir, stats.disk_free / MEBIBYTE,
             stats.disk_least / MEBIBYTE + 1);
    return true;
}

static bool alarm_is_unread(struct alarm *alarm)
{
    struct logger_counts counts;
    logger_counts(&counts);
    if (counts.stuck_ms < UNREAD_MS)
        return false;
    alarm_describe(alarm, "",
                   "see whoever reads standard error, or the disk that it is written to");
    snprintf(alarm->what, sizeof alarm->what,
             "the daemon's messages have not been taken for %" PRIu64 " s; %" PRIu64
             " lines have been dropped in all",
             counts.stuck_ms / 1000, counts.dropped);
    return true;
}

static bool alarm_is_near_here(const struct server *server, enum alarm_kind kind,
                               struct alarm *alarm)
{
    const struct coordinator_counts *counts = &server->alarms->counts;
    const struct capacity_view *view = &server->alarms->view;
    const struct settings *settings = server->settings;
    uint32_t over_socket = net_server_waiting(server->net);
    uint32_t waiting = over_socket > counts->waiters ? over_socket : counts->waiters;
    const struct limit limits[ALARM_KINDS] = {
        [ALARM_TRANSACTIONS] = {counts->live, settings->max_transactions, NEAR_PERCENT,
                                "transactions that max_transactions allows are under way",
                                "begin is refused",
                                "assentctl list; or raise [tm] max_transactions and restart"},
        [ALARM_BRANCHES] = {counts->branches, settings->max_branches, NEAR_PERCENT,
                            "branches that max_branches allows are under way",
                            "begin and enlist are refused",
                            "assentctl list; or raise [tm] max_branches and restart"},
        [ALARM_WAITING] = {waiting, settings->max_waiting, NEAR_PERCENT,
                           "requests that max_waiting allows are under way",
                           "they are answered `busy`",
                           "assentctl in-doubt; or raise [tm] max_waiting and restart"},
        /* Above these two no more is begun: what is remembered keeps its time. */
        [ALARM_KEYS] = {counts->keys, counts->keys_max, NEAR_PERCENT,
                        "keys that max_keys allows are remembered", "a begin with a key is refused",
                        "raise max_keys and restart; see assentd(8)"},
        [ALARM_OUTCOMES] = {counts->outcomes, counts->outcomes_max, NEAR_PERCENT,
                            "outcomes that max_outcomes allows are remembered", "begin is refused",
                            "raise max_outcomes and restart; see assentd(8)"},
        [ALARM_CONNECTIONS] = {view->connections, view->connections_max, NEAR_PERCENT,
                               "connections that the limit of open files allows are open",
                               "those that ask for nothing are closed",
                               "find out who connects, or raise LimitNOFILE of its service"},
        [ALARM_HTTP] = {view->http_waiting, view->http_waiting_max, NEAR_PERCENT,
                        "requests over HTTP that http_max_waiting allows wait for their end",
                        "they are answered `busy`",
                        "assentctl in-doubt; or raise [tm] http_max_waiting"},
    };
    return alarm_is_near(&limits[kind], NULL, alarm);
}

static bool alarm_holds_here(const struct server *server, enum alarm_kind kind, struct alarm *alarm)
{
    switch (kind) {
    case ALARM_FENCED:
        return alarm_is_fenced(coordinator_registry(server->coordinator), alarm);
    case ALARM_MIXED:
        return alarm_is_mixed(server, alarm);
    case ALARM_IN_DOUBT:
        return alarm_is_old_in_doubt(server, alarm);
    case ALARM_DISK:
        return alarm_is_disk_full(server, alarm);
    case ALARM_MESSAGES:
        return alarm_is_unread(alarm);
    case ALARM_TRANSACTIONS:
    case ALARM_BRANCHES:
    case ALARM_WAITING:
    case ALARM_KEYS:
    case ALARM_OUTCOMES:
    case ALARM_CONNECTIONS:
    case ALARM_HTTP:
        return alarm_is_near_here(server, kind, alarm);
    default:
        return false;
    }
}

/* Does this condition hold at this place? */
static bool alarm_holds(const struct server *server, enum alarm_kind kind, uint32_t place,
                        struct alarm *alarm)
{
    const struct registry *registry = coordinator_registry(server->coordinator);
    struct link_view link;
    if (place == COORDINATOR)
        return alarm_holds_here(server, kind, alarm);
    if (place >= registry->count)
        return false;
    const struct rm *rm = &registry->rms[place];
    links_show(server->links, place, &link);
    switch (kind) {
    case ALARM_QUARANTINED:
        return alarm_is_quarantined(rm, alarm);
    case ALARM_REFUSED:
        return alarm_is_refused(rm, alarm);
    case ALARM_DOWN:
        return alarm_is_down(rm, &link, alarm);
    case ALARM_SLOTS:
    case ALARM_BRANCHES:
    case ALARM_SESSIONS:
    case ALARM_CONNECTIONS:
        return alarm_is_near_at(kind, rm, &link, alarm);
    case ALARM_IN_DOUBT:
        return alarm_is_old_prepared(server, rm, &link, alarm);
    default:
        return false;
    }
}

/* ---- since when ---- */

/* An agent that starts again has some seconds before anybody is told. */
static bool alarm_is_ripe(enum alarm_kind kind, const struct alarm *alarm, uint64_t now_ms)
{
    return alarm->since_ms != 0 &&
           (kind != ALARM_DOWN || now_ms - alarm->since_ms >= DOWN_PATIENCE_MS);
}

static void alarm_look(struct server *server, enum alarm_kind kind, uint32_t place)
{
    struct alarm *alarm = &server->alarms->list[kind][place];
    if (!alarm_holds(server, kind, place, alarm)) {
        if (alarm->told)
            log_notice("alarm over (%s): %s", kind_words[kind], alarm->what);
        *alarm = (struct alarm){.since_ms = 0};
        return;
    }
    if (alarm->since_ms == 0)
        alarm->since_ms = server->now_ms;
    if (alarm->told || !alarm_is_ripe(kind, alarm, server->now_ms))
        return;
    alarm->told = true;
    log_error("alarm (%s): %s; to do: %s", kind_words[kind], alarm->what, alarm->advice);
}

uint64_t alarms_tend(struct server *server)
{
    struct alarms *alarms = server->alarms;
    if (server->now_ms < alarms->look_at_ms)
        return alarms->look_at_ms;
    alarms->look_at_ms = server->now_ms + LOOK_MS;
    coordinator_counts(server->coordinator, &alarms->counts);
    capacity_show(server, &alarms->view);
    for (enum alarm_kind kind = 0; kind < ALARM_KINDS; kind++)
        for (uint32_t place = 0; place < PLACES; place++)
            alarm_look(server, kind, place);
    return alarms->look_at_ms;
}

cJSON *alarms_list(const struct server *server)
{
    const struct registry *registry = coordinator_registry(server->coordinator);
    cJSON *array = cJSON_CreateArray();
    for (enum alarm_kind kind = 0; kind < ALARM_KINDS; kind++)
        for (uint32_t place = 0; place < PLACES; place++) {
            const struct alarm *alarm = &server->alarms->list[kind][place];
            if (!alarm->told)
                continue;
            cJSON *item = cJSON_CreateObject();
            cJSON_AddStringToObject(item, "alarm", kind_words[kind]);
            if (place != COORDINATOR)
                cJSON_AddStringToObject(item, "rm", registry->rms[place].name);
            cJSON_AddStringToObject(item, "what", alarm->what);
            cJSON_AddStringToObject(item, "advice", alarm->advice);
            cJSON_AddNumberToObject(item, "for_s",
                                    (double)((server->now_ms - alarm->since_ms) / 1000));
            cJSON_AddItemToArray(array, item);
        }
    return array;
}
