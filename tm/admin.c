/*
 * tm/admin.c - what the coordinator says about itself: show, list, agents, status.
 *
 * Reads the core and changes nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/logger.h"
#include "common/third_phase.h"
#include "config.h"
#include "tm/alarms.h"
#include "tm/capacity.h"
#include "tm/timeline.h"

enum { LIST_MAX = 1000 };

static void admin_add_u64(cJSON *object, const char *name, uint64_t value)
{
    char text[24];
    u64_format(value, text);
    cJSON_AddStringToObject(object, name, text);
}

static void admin_add_text(cJSON *object, const char *name, const char *text)
{
    if (text[0] != '\0')
        cJSON_AddStringToObject(object, name, text);
}

static cJSON *admin_branch_object(const struct txn_view *view, const struct branch_view *branch)
{
    struct branch_id id = {.gtrid = view->gtrid};
    char gid[GID_BYTES];
    cJSON *object = cJSON_CreateObject();
    memcpy(id.rm, branch->rm, sizeof id.rm);
    memcpy(id.branch, branch->branch, sizeof id.branch);
    gid_format(&id, gid);
    cJSON_AddStringToObject(object, "rm", branch->rm);
    admin_add_text(object, "branch", branch->branch);
    cJSON_AddStringToObject(object, "state", branch->state);
    cJSON_AddStringToObject(object, "gid", gid);
    if (branch->xid != 0)
        admin_add_u64(object, "xid", branch->xid);
    return object;
}

/* An agent leads where it has outbid us. */
static const char *admin_leader(const struct ballot_view *ballot)
{
    uint32_t rank = (uint32_t)(ballot->highest % BALLOT_ROUND);
    bool ours = ballot->phase != LEADER_YIELDING || rank >= ballot->roster.count;
    return ours ? "this coordinator" : ballot->roster.agents[rank];
}

/* The third phase of a 3pc transaction: who decides it, and who has said what. */
static void admin_add_third_phase(cJSON *object, const struct ballot_view *ballot)
{
    struct third_phase third;
    char words[THIRD_PHASE_BYTES];
    if (ballot->roster.count == 0)
        return;
    third_phase_begin(&third, ballot, true);
    cJSON_AddItemToObject(object, "acceptors", third_phase_list(&third));
    if (ballot->phase == LEADER_IDLE)
        return;
    third_phase_words(&third, words);
    cJSON_AddStringToObject(object, "majority", words);
    cJSON *led = cJSON_AddObjectToObject(object, "ballot");
    bool yields = ballot->phase == LEADER_YIELDING;
    admin_add_u64(led, "number", yields ? ballot->highest : ballot->number);
    cJSON_AddStringToObject(led, "leader", admin_leader(ballot));
    cJSON_AddStringToObject(led, "phase", leader_state_word(ballot->phase));
    if (ballot->value != OUTCOME_NONE)
        cJSON_AddStringToObject(led, "proposes", outcome_word(ballot->value));
}

static cJSON *admin_transaction_object(const struct txn_view *view)
{
    char gtrid[GTRID_BYTES];
    cJSON *object = cJSON_CreateObject();
    gtrid_format(&view->gtrid, gtrid);
    cJSON_AddStringToObject(object, "gtrid", gtrid);
    cJSON_AddStringToObject(object, "state", state_word(view->state));
    cJSON_AddStringToObject(object, "protocol", protocol_word(view->protocol));
    admin_add_text(object, "label", view->origin.label);
    admin_add_text(object, "application", view->origin.application);
    admin_add_text(object, "traceparent", view->origin.traceparent);
    admin_add_text(object, "key", view->key);
    if (view->state != SHOWN_COMMITTED && view->state != SHOWN_ROLLED_BACK)
        cJSON_AddNumberToObject(object, "age_ms", (double)view->age_ms);
    if (view->left_ms != 0)
        cJSON_AddNumberToObject(object, "left_ms", view->left_ms);
    cJSON *branches = cJSON_AddArrayToObject(object, "branches");
    for (uint32_t i = 0; i < view->branch_count; i++)
        cJSON_AddItemToArray(branches, admin_branch_object(view, &view->branches[i]));
    admin_add_third_phase(object, &view->ballot);
    if (view->has_reason) {
        cJSON *reason = cJSON_AddObjectToObject(object, "reason");
        admin_add_text(reason, "rm", view->reason.rm);
        admin_add_text(reason, "sqlstate", view->reason.sqlstate);
        cJSON_AddStringToObject(reason, "message", view->reason.message);
        admin_add_text(reason, "detail", view->reason.detail);
        admin_add_text(reason, "hint", view->reason.hint);
    }
    return object;
}

static cJSON *admin_refusal(enum error_code code, const char *message)
{
    struct failure failure = {.code = code};
    snprintf(failure.message, sizeof failure.message, "%s", message);
    return wire_failure_tree(&failure);
}

static cJSON *admin_show(const struct server *server, const struct request *request)
{
    struct txn_view view;
    enum outcome outcome;
    if (coordinator_show(server->coordinator, &request->gtrid, server->now_ms, &view)) {
        cJSON *reply = wire_ok();
        cJSON *object = admin_transaction_object(&view);
        timeline_add(server, &view, object);
        cJSON_AddItemToObject(reply, "transaction", object);
        return reply;
    }
    enum error_code error = coordinator_outcome(server->coordinator, &request->gtrid, &outcome);
    if (error == ERR_NOT_READY)
        return admin_refusal(error, "this log has not reached it, and may be an old one as long as "
                                    "not every agent has accepted it");
    if (error != ERR_NONE)
        return admin_refusal(error, "this coordinator never began it");
    /* Long over: only its outcome is remembered. */
    char gtrid[GTRID_BYTES];
    gtrid_format(&request->gtrid, gtrid);
    cJSON *reply = wire_ok();
    cJSON *object = cJSON_AddObjectToObject(reply, "transaction");
    cJSON_AddStringToObject(object, "gtrid", gtrid);
    cJSON_AddStringToObject(object, "state", outcome_word(outcome));
    cJSON_AddArrayToObject(object, "branches");
    return reply;
}

static cJSON *admin_list(const struct server *server, const struct request *request)
{
    struct txn_view view;
    cJSON *reply = wire_ok();
    cJSON *transactions = cJSON_AddArrayToObject(reply, "transactions");
    uint32_t listed = 0;
    for (uint32_t at = 0; coordinator_list(server->coordinator, &at, server->now_ms, &view); at++) {
        if (request->state != SHOWN_ANY && request->state != view.state)
            continue;
        if (listed++ < LIST_MAX)
            cJSON_AddItemToArray(transactions, admin_transaction_object(&view));
    }
    cJSON_AddNumberToObject(reply, "total", listed);
    if (listed > LIST_MAX)
        cJSON_AddBoolToObject(reply, "truncated", true);
    return reply;
}

/* Nobody may work there before its acceptance is on the disk. */
static const char *admin_agent_state(const struct rm *rm)
{
    bool of_use = rm->state != RM_UP || rm->durable;
    return rm_state_word(of_use ? rm->state : RM_DOWN);
}

static cJSON *admin_agent_object(const struct server *server, uint32_t at)
{
    const struct rm *rm = &coordinator_registry(server->coordinator)->rms[at];
    struct link_view link;
    links_show(server->links, at, &link);

    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "rm", rm->name);
    cJSON_AddStringToObject(object, "state", admin_agent_state(rm));
    cJSON_AddStringToObject(object, "url", link.url);
    admin_add_u64(object, "incarnation", rm->agent_incarnation);
    cJSON_AddStringToObject(object, "database", rm->database);
    cJSON_AddStringToObject(object, "server_version", rm->server_version);
    cJSON_AddNumberToObject(object, "prepared", link.health.prepared);
    cJSON_AddNumberToObject(object, "oldest_prepared_s", link.health.oldest_s);
    cJSON_AddNumberToObject(object, "slots_used", link.health.prepared);
    cJSON_AddNumberToObject(object, "slots_max", link.health.slots_max);
    cJSON_AddNumberToObject(object, "sessions", link.health.sessions);
    cJSON_AddNumberToObject(object, "sessions_max", link.health.sessions_max);
    cJSON_AddNumberToObject(object, "branches", link.health.branches);
    cJSON_AddNumberToObject(object, "branches_max", link.health.branches_max);
    cJSON_AddNumberToObject(object, "connections", link.health.connections);
    cJSON_AddNumberToObject(object, "connections_max", link.health.connections_max);
    cJSON_AddBoolToObject(object, "accepted", rm->accepted);
    cJSON_AddBoolToObject(object, "paused", rm->paused);
    cJSON_AddBoolToObject(object, "waived", rm->waived);
    cJSON_AddBoolToObject(object, "retired", rm->retired);
    cJSON_AddBoolToObject(object, "witness", rm->witness);
    admin_add_text(object, "peer_url", rm->peer_url);
    cJSON_AddNumberToObject(object, "running", coordinator_running_at(server->coordinator, at));
    if (rm->refusal != REFUSAL_NONE)
        cJSON_AddStringToObject(object, "refusal", refusal_word(rm->refusal));
    cJSON_AddStringToObject(object, "last_error", link.last_error);
    return object;
}

static cJSON *admin_agents(const struct server *server)
{
    cJSON *reply = wire_ok();
    cJSON *array = cJSON_AddArrayToObject(reply, "agents");
    for (uint32_t i = 0; i < coordinator_registry(server->coordinator)->count; i++)
        cJSON_AddItemToArray(array, admin_agent_object(server, i));
    return reply;
}

void admin_fence_sentence(const struct registry *registry, char out[FENCE_BYTES])
{
    const struct rm *rm = &registry->rms[registry->fenced_by];
    bool other_log = rm->refusal == REFUSAL_OTHER_LOG;
    snprintf(out, FENCE_BYTES,
             "the agent of %s refused this coordinator (%s): %s. It begins and decides nothing. "
             "Start the newest copy of the log; if %s",
             rm->name, refusal_word(rm->refusal), refusal_meaning(rm->refusal),
             other_log ? "that is gone for good, move this one aside and run `assentctl recover "
                         "--lost-log`"
                       : "this is it, start it with --unfence");
}

static void admin_add_state(cJSON *reply, const struct coordinator *coordinator)
{
    const struct registry *registry = coordinator_registry(coordinator);
    char reason[FENCE_BYTES];
    uint32_t waits_for;
    if (registry->fenced) {
        admin_fence_sentence(registry, reason);
        cJSON_AddStringToObject(reply, "state", "fenced");
        cJSON_AddStringToObject(reply, "reason", reason);
    } else if (!coordinator_started(coordinator)) {
        cJSON_AddStringToObject(reply, "state", "starting");
    } else if (coordinator_draining(coordinator)) {
        cJSON_AddStringToObject(reply, "state", "draining");
    } else {
        cJSON_AddStringToObject(reply, "state", "ready");
        if (!registry_may_presume(registry, &waits_for)) {
            snprintf(reason, sizeof reason,
                     "waits for %s to register before it presumes that what earlier starts left "
                     "undecided was rolled back",
                     registry->rms[waits_for].name);
            cJSON_AddStringToObject(reply, "reason", reason);
        }
    }
}

static void admin_add_capacity(cJSON *reply, const struct server *server)
{
    struct capacity_view view;
    struct logger_counts messages;
    capacity_show(server, &view);
    logger_counts(&messages);
    cJSON_AddNumberToObject(reply, "connections", view.connections);
    cJSON_AddNumberToObject(reply, "connections_max", view.connections_max);
    admin_add_u64(reply, "connections_refused", view.refused);
    admin_add_u64(reply, "messages_dropped", messages.dropped);
    if (server->http == NULL)
        return;
    cJSON *http = cJSON_AddObjectToObject(reply, "http");
    cJSON_AddNumberToObject(http, "connections", view.http_connections);
    cJSON_AddNumberToObject(http, "connections_max", view.http_connections_max);
    cJSON_AddNumberToObject(http, "waiting", view.http_waiting);
    cJSON_AddNumberToObject(http, "waiting_max", view.http_waiting_max);
}

static cJSON *admin_status(const struct server *server)
{
    const struct registry *registry = coordinator_registry(server->coordinator);
    struct coordinator_counts counts;
    struct wal_stats stats;
    char log[2 * sizeof server->wal_info.log.bytes + 1];
    coordinator_counts(server->coordinator, &counts);
    wal_stats(server->wal, &stats);
    hex_write(server->wal_info.log.bytes, sizeof server->wal_info.log.bytes, log);

    cJSON *reply = wire_ok();
    cJSON_AddStringToObject(reply, "tm", server->settings->tm);
    cJSON_AddStringToObject(reply, "version", PACKAGE_VERSION);
    admin_add_state(reply, server->coordinator);
    admin_add_u64(reply, "incarnation", coordinator_incarnation(server->coordinator));
    cJSON_AddStringToObject(reply, "log", log);
    cJSON_AddNumberToObject(reply, "uptime_s",
                            (double)((server->now_ms - server->started_ms) / 1000));
    cJSON_AddNumberToObject(reply, "live", counts.live);
    cJSON_AddNumberToObject(reply, "in_doubt", counts.in_doubt);
    admin_add_u64(reply, "begun", counts.begun);
    admin_add_u64(reply, "committed", counts.committed);
    admin_add_u64(reply, "rolled_back", counts.rolled_back);
    admin_add_u64(reply, "mixed", counts.mixed);
    admin_add_u64(reply, "alarms_total", counts.alarms);
    admin_add_u64(reply, "messages_refused", counts.refused);
    cJSON *remembered = cJSON_AddObjectToObject(reply, "remembered");
    admin_add_u64(remembered, "keys", counts.keys);
    admin_add_u64(remembered, "max_keys", counts.keys_max);
    admin_add_u64(remembered, "keys_s", counts.keys_ms / 1000);
    admin_add_u64(remembered, "outcomes", counts.outcomes);
    admin_add_u64(remembered, "max_outcomes", counts.outcomes_max);
    admin_add_u64(remembered, "outcomes_s", counts.outcomes_ms / 1000);
    cJSON_AddItemToObject(reply, "alarms", alarms_list(server));
    cJSON *rms = cJSON_AddArrayToObject(reply, "rms");
    for (uint32_t i = 0; i < registry->count; i++) {
        cJSON *rm = cJSON_CreateObject();
        cJSON_AddStringToObject(rm, "rm", registry->rms[i].name);
        cJSON_AddStringToObject(rm, "state", admin_agent_state(&registry->rms[i]));
        cJSON_AddItemToArray(rms, rm);
    }
    cJSON *log_stats = cJSON_AddObjectToObject(reply, "log_stats");
    admin_add_u64(log_stats, "records", stats.records);
    admin_add_u64(log_stats, "syncs", stats.syncs);
    admin_add_u64(log_stats, "bytes", stats.bytes);
    admin_add_u64(log_stats, "durable_lsn", stats.durable_lsn);
    admin_add_u64(log_stats, "sync_us_max", stats.sync_us_max);
    admin_add_u64(log_stats, "disk_free_bytes", stats.disk_free);
    admin_add_u64(reply, "agent_calls", links_calls(server->links));
    admin_add_capacity(reply, server);
    return reply;
}

cJSON *admin_answer(const struct server *server, const struct request *request)
{
    switch (request->op) {
    case OP_SHOW:
        return admin_show(server, request);
    case OP_LIST:
        return admin_list(server, request);
    case OP_AGENTS:
        return admin_agents(server);
    default:
        return admin_status(server);
    }
}
