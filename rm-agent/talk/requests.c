/*
 * rm-agent/talk/requests.c - what comes in at the agent's socket.
 *
 * What comes in is only read, and posted: the turn that follows serves it. The requests of a batch
 * are served one after the other: each begins when the one before it has been answered, so that
 * statements of one branch may travel together.
 */
#include "rm-agent/talk/requests.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "common/reply.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/indoubt.h"
#include "rm-agent/postgres/listing.h"
#include "rm-agent/postgres/preflight.h"
#include "rm-agent/postgres/sessions.h"
#include "rm-agent/talk/adopt.h"
#include "rm-agent/talk/asker.h"
#include "rm-agent/talk/mail.h"
#include "rm-agent/talk/outcome.h"
#include "rm-agent/talk/peers.h"
#include "rm-agent/talk/recall.h"
#include "rm-agent/talk/tms.h"
#include "rm-agent/votes/acceptors.h"
#include "rm-agent/votes/ballots.h"

enum { WAIT_MS_MOST = 60 * 1000 };

/* ---- coordinators ---- */

static void take_order(struct agent *agent, struct tm_link *tm, const struct order *order)
{
    static const enum participant_event_type events[ORDERS] = {
        [ORDER_PREPARE] = PE_PREPARE,   [ORDER_COMMIT] = PE_COMMIT,
        [ORDER_ROLLBACK] = PE_ROLLBACK, [ORDER_COMMIT_ONE_PHASE] = PE_COMMIT_ONE_PHASE,
        [ORDER_SETTLE] = PE_SETTLE,
    };
    POINT_IF(order->type == ORDER_PREPARE, "agent.take-prepare");
    POINT_IF(order->type == ORDER_COMMIT, "agent.take-commit");
    POINT_IF(order->type == ORDER_ROLLBACK, "agent.take-rollback");
    POINT_IF(order->type == ORDER_COMMIT_ONE_PHASE, "agent.take-one-phase");
    POINT_IF(order->type == ORDER_SETTLE, "agent.take-settle");
    POINT_IF(order->type == ORDER_RECOVER, "agent.take-recover");
    switch (order->type) {
    case ORDER_RECOVER:
        tms_accepted(agent, tm, order);
        indoubt_scan(agent, tm->name, order->number);
        return;
    case ORDER_BALLOT:
        ballots_order(agent, order);
        return;
    case ORDER_FORGET:
        acceptors_forget(agent, tm->name, &order->forget);
        sessions_forget_ended(agent, tm->name, &order->forget);
        return;
    case ORDER_PREPARE:
        if (!ballots_watch(agent, order))
            return;
        break;
    case ORDER_COMMIT:
        ballots_committed(agent, &order->branch.gtrid);
        break;
    default:
        break;
    }
    agent_event(agent, (struct participant_event){
                           .type = events[order->type], .branch = order->branch, .order = order});
}

/* Orders are for branches of the sender's own, at this resource manager. */
static int check_orders(const struct agent *agent, const struct tm_link *tm,
                        const struct order *orders, uint32_t count, struct failure *failure)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct branch_id *branch = &orders[i].branch;
        bool ballot = orders[i].type == ORDER_BALLOT;
        const struct gtrid *gtrid = ballot ? &orders[i].ballot.gtrid : &branch->gtrid;
        if (orders[i].type == ORDER_RECOVER || orders[i].type == ORDER_FORGET)
            continue;
        if (strcmp(gtrid->tm, tm->name) != 0)
            return refuse(failure, ERR_INVALID_REQUEST,
                          "orders[%u]: the branch belongs to coordinator %s", i, gtrid->tm);
        if (ballot)
            continue;
        if (strcmp(branch->rm, agent->options->rm) != 0)
            return refuse(failure, ERR_UNKNOWN_RM, "orders[%u]: the branch is of %s, I serve %s", i,
                          branch->rm, agent->options->rm);
        if (branch->gtrid.incarnation > tm->incarnation)
            return refuse(failure, ERR_INVALID_REQUEST,
                          "orders[%u]: the branch is of a later start than its sender", i);
    }
    return 0;
}

static uint32_t at_most(uint32_t wait_ms)
{
    return wait_ms < WAIT_MS_MOST ? wait_ms : WAIT_MS_MOST;
}

static void serve_orders(struct agent *agent, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    struct order *orders = must_alloc((wire_count_orders(object) + (size_t)1) * sizeof *orders,
                                      "the orders of a message");
    uint32_t count = 0, wait_ms = 0;
    struct tm_link *tm = tms_sender(agent, object, &failure);
    if (tm == NULL || wire_read_orders(object, orders, &count, &failure) != 0 ||
        field_ms(object, "wait_ms", &wait_ms, &failure) != 0 ||
        check_orders(agent, tm, orders, count, &failure) != 0) {
        reply_failure(request, &failure);
    } else {
        for (uint32_t i = 0; i < count; i++)
            take_order(agent, tm, &orders[i]);
        POINT("agent.orders-taken");
        mail_keep_orders(agent, tm, request, at_most(wait_ms));
    }
    free(orders);
}

static void serve_results(struct agent *agent, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    uint32_t wait_ms = 0;
    struct tm_link *tm = tms_sender(agent, object, &failure);
    if (tm == NULL || field_ms(object, "wait_ms", &wait_ms, &failure) != 0)
        reply_failure(request, &failure);
    else
        mail_keep_poll(agent, tm, request, at_most(wait_ms));
}

static void serve_peers(struct agent *agent, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    struct tm_link *tm = tms_sender(agent, object, &failure);
    if (tm == NULL)
        reply_failure(request, &failure);
    else
        peers_serve(agent, tm, request, object);
}

/* ---- anybody ---- */

static void serve_status(struct agent *agent, struct asker *asker, cJSON **object)
{
    (void)object;
    char number[NUMBER_BYTES];
    struct net_server_counts connected;
    struct logger_counts messages;
    net_server_counts(agent->server, &connected);
    logger_counts(&messages);
    cJSON *answer = wire_ok();
    cJSON_AddStringToObject(answer, "rm", agent->options->rm);
    cJSON_AddStringToObject(answer, "state",
                            agent->draining              ? "stopping"
                            : agent->participant == NULL ? "starting"
                            : control_ready(agent)       ? "up"
                                                         : "down");
    u64_format(agent->incarnation, number);
    cJSON_AddStringToObject(answer, "incarnation", number);
    cJSON_AddStringToObject(answer, "database", agent->identity.database);
    cJSON_AddStringToObject(answer, "server_version", agent->identity.server_version);
    u64_format(agent->identity.system_identifier, number);
    cJSON_AddStringToObject(answer, "system_identifier", number);
    cJSON_AddNumberToObject(answer, "timeline", agent->identity.timeline);
    cJSON_AddNumberToObject(answer, "branches",
                            agent->participant == NULL ? 0 : participant_count(agent->participant));
    cJSON_AddNumberToObject(answer, "branches_held",
                            agent->participant == NULL ? 0 : participant_held(agent->participant));
    cJSON_AddNumberToObject(answer, "branches_max", agent->options->max_branches);
    cJSON_AddNumberToObject(answer, "sessions", sessions_open(agent));
    cJSON_AddNumberToObject(answer, "sessions_max", agent->options->max_sessions);
    cJSON_AddNumberToObject(answer, "prepared", agent->health.prepared);
    cJSON_AddNumberToObject(answer, "prepared_elsewhere", agent->prepared_elsewhere);
    cJSON_AddNumberToObject(answer, "oldest_prepared_s", agent->health.oldest_s);
    cJSON_AddNumberToObject(answer, "slots_max", agent->health.slots_max);
    cJSON_AddNumberToObject(answer, "connections", connected.connections);
    cJSON_AddNumberToObject(answer, "connections_max", agent->health.connections_max);
    u64_format(connected.refused, number);
    cJSON_AddStringToObject(answer, "connections_refused", number);
    u64_format(messages.dropped, number);
    cJSON_AddStringToObject(answer, "messages_dropped", number);
    cJSON_AddStringToObject(answer, "last_error", agent->health.last_error);
    tms_list(agent, cJSON_AddArrayToObject(answer, "coordinators"));
    asker_object(asker, answer);
}

/* By socket file the agent's own user or root. */
static bool is_own(const struct net_peer *peer)
{
    return !peer->local || peer->uid == 0 || peer->uid == geteuid();
}

static void serve_check(struct agent *agent, struct asker *asker, cJSON **object)
{
    (void)object;
    preflight_check(agent, asker);
}

static void serve_prepared(struct agent *agent, struct asker *asker, cJSON **object)
{
    listing_answer(agent, asker, *object, is_own(&asker->peer));
}

static void serve_ballots(struct agent *agent, struct asker *asker, cJSON **object)
{
    ballots_from_peer(agent, asker, *object);
}

static void serve_outcome(struct agent *agent, struct asker *asker, cJSON **object)
{
    outcome_answer(agent, asker, *object);
}

static void serve_recall(struct agent *agent, struct asker *asker, cJSON **object)
{
    recall_answer(agent, asker, *object);
}

static void serve_adopt(struct agent *agent, struct asker *asker, cJSON **object)
{
    struct failure failure = {0};
    if (is_own(&asker->peer)) {
        adopt_answer(agent, asker, *object);
        return;
    }
    refuse(&failure, ERR_NOT_PERMITTED, "adopt is for the agent's own user and root");
    asker_failure(asker, &failure);
}

static void serve_exec(struct agent *agent, struct asker *asker, cJSON **object)
{
    cJSON *taken = *object;
    *object = NULL;
    POINT("agent.take-exec");
    sessions_exec(agent, asker, taken);
}

/* ---- which is which ---- */

static const struct {
    const char *op;
    bool needs_database;
    void (*serve)(struct agent *agent, struct asker *asker, cJSON **object);
} operations[] = {
    {"exec", true, serve_exec},       {"ballots", true, serve_ballots},
    {"outcome", true, serve_outcome}, {"prepared", true, serve_prepared},
    {"recall", true, serve_recall},   {"adopt", true, serve_adopt},
    {"status", false, serve_status},  {"check", false, serve_check},
};

static const struct {
    const char *op;
    void (*serve)(struct agent *agent, struct net_request *request, const cJSON *object);
} private_operations[] = {
    {"register", tms_register},
    {"peers", serve_peers},
    {"orders", serve_orders},
    {"results", serve_results},
};

static int check_database(const struct agent *agent, struct failure *failure)
{
    const char *why = agent->health.last_error;
    if (agent->participant != NULL)
        return 0;
    return refuse(failure, ERR_RM_UNAVAILABLE,
                  "the agent of %s has no connection to its database%s%s", agent->options->rm,
                  why[0] == '\0' ? "" : ": ", why);
}

/* What only a coordinator may ask. */
static int check_private(const struct agent *agent, const struct asker *asker, const char *op,
                         struct failure *failure)
{
    if (asker->batch)
        return refuse(failure, ERR_INVALID_REQUEST, "%s is not served in a batch", op);
    if (!is_own(&asker->peer))
        return refuse(failure, ERR_NOT_PERMITTED, "%s is for the agent's own user and root", op);
    return check_database(agent, failure);
}

static void serve(struct agent *agent, struct asker *asker, cJSON **object)
{
    struct failure failure = {0};
    const char *op = wire_op_text(*object);
    if (op == NULL) {
        refuse(&failure, ERR_INVALID_REQUEST, "op is missing or no text");
        asker_failure(asker, &failure);
        return;
    }
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(operations[i].op, op) != 0)
            continue;
        if (operations[i].needs_database && check_database(agent, &failure) != 0)
            asker_failure(asker, &failure);
        else
            operations[i].serve(agent, asker, object);
        return;
    }
    for (size_t i = 0; i < sizeof private_operations / sizeof *private_operations; i++) {
        if (strcmp(private_operations[i].op, op) != 0)
            continue;
        if (check_private(agent, asker, op, &failure) != 0) {
            asker_failure(asker, &failure);
        } else {
            private_operations[i].serve(agent, asker->request, *object);
            asker_free(asker);
        }
        return;
    }
    refuse(&failure, ERR_UNKNOWN_OPERATION, "an agent has no operation \"%.64s\"", op);
    asker_failure(asker, &failure);
}

void requests_serve(struct agent *agent)
{
    for (struct post *post = loop_take(agent->loop); post != NULL; post = loop_take(agent->loop)) {
        struct asker *asker = (struct asker *)post;
        cJSON *object = asker->batch ? cJSON_DetachItemFromArray(asker->next, 0) : asker->next;
        if (!asker->batch)
            asker->next = NULL;
        serve(agent, asker, &object);
        cJSON_Delete(object);
    }
}

/* ---- requests, as they come ---- */

static cJSON *detach_batch(cJSON *message, struct failure *failure)
{
    cJSON *batch = cJSON_DetachItemFromObjectCaseSensitive(message, "batch");
    int count = cJSON_IsArray(batch) ? cJSON_GetArraySize(batch) : 0;
    cJSON_Delete(message);
    if (count >= 1 && count <= BATCH_MAX)
        return batch;
    cJSON_Delete(batch);
    refuse(failure, ERR_INVALID_REQUEST, "batch: an array of 1 to %d requests", BATCH_MAX);
    return NULL;
}

void requests_receive(void *arg, struct net_request *request, const struct net_peer *peer,
                      const char *bytes, size_t length)
{
    struct agent *agent = arg;
    struct failure failure = {0};
    if (bytes == NULL) {
        refuse(&failure, ERR_INVALID_REQUEST, "the request is longer than %d bytes", MESSAGE_MAX);
        reply_failure(request, &failure);
        return;
    }
    cJSON *message = wire_parse(bytes, length, &failure);
    if (message != NULL)
        wire_keep_numbers(message, bytes, length); /* params are passed on as they are written */
    bool batch = cJSON_HasObjectItem(message, "batch");
    if (batch)
        message = detach_batch(message, &failure);
    if (message == NULL) {
        reply_failure(request, &failure);
        return;
    }
    struct asker *asker = asker_create(agent->loop, request, peer, message, batch);
    loop_post(agent->loop, &asker->post);
    POINT("agent.request-posted");
}
