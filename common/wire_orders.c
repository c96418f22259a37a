/*
 * common/wire_orders.c - what a coordinator orders of an agent, and what comes of it.
 *
 * What each kind of order or result cannot do without is a table that serves its reader and its
 * writer.
 */
#include <assert.h>
#include <string.h>

#include "common/wire_fields.h"

/* What an order or a result cannot do without. Any other field is written when it is set. */
enum needs {
    NEEDS_GID = 1,
    NEEDS_NUMBER = 2,
    NEEDS_AGENT = 4,
    NEEDS_XID = 8,
    NEEDS_LSN = 16,
    NEEDS_TIMEOUT = 32,
    NEEDS_ACTUAL = 64,
    NEEDS_BALLOT = 128,
    NEEDS_FORGET = 256,
    TAKES_ACCEPTORS = 512, /* 3pc: who decides */
};

static const char *const order_words[ORDERS] = {
    [ORDER_NONE] = "",
    [ORDER_PREPARE] = "prepare",
    [ORDER_COMMIT] = "commit",
    [ORDER_ROLLBACK] = "rollback",
    [ORDER_COMMIT_ONE_PHASE] = "commit-one-phase",
    [ORDER_SETTLE] = "settle",
    [ORDER_RECOVER] = "recover",
    [ORDER_BALLOT] = "ballot",
    [ORDER_FORGET] = "forget",
};

static const unsigned order_needs[ORDERS] = {
    [ORDER_PREPARE] = NEEDS_GID | NEEDS_AGENT | NEEDS_TIMEOUT | TAKES_ACCEPTORS,
    [ORDER_COMMIT] = NEEDS_GID | NEEDS_XID | NEEDS_LSN,
    [ORDER_ROLLBACK] = NEEDS_GID | NEEDS_XID,
    [ORDER_COMMIT_ONE_PHASE] = NEEDS_GID | NEEDS_AGENT | NEEDS_LSN,
    [ORDER_SETTLE] = NEEDS_GID,
    [ORDER_RECOVER] = NEEDS_NUMBER,
    [ORDER_BALLOT] = NEEDS_BALLOT | NEEDS_LSN,
    [ORDER_FORGET] = NEEDS_FORGET,
};

static const char *const result_words[RESULTS] = {
    [RESULT_NONE] = "",           [RESULT_READY] = "ready",     [RESULT_READ_ONLY] = "read-only",
    [RESULT_NO] = "no",           [RESULT_DONE] = "done",       [RESULT_HEURISTIC] = "heuristic",
    [RESULT_UNKNOWN] = "unknown", [RESULT_LOST] = "lost",       [RESULT_OPENED] = "opened",
    [RESULT_FOUND] = "found",     [RESULT_SESSION] = "session", [RESULT_SCANNED] = "scanned",
    [RESULT_BALLOT] = "ballot",
};

static const unsigned result_needs[RESULTS] = {
    [RESULT_READY] = NEEDS_GID | NEEDS_XID,
    [RESULT_READ_ONLY] = NEEDS_GID,
    [RESULT_NO] = NEEDS_GID,
    [RESULT_DONE] = NEEDS_GID,
    [RESULT_HEURISTIC] = NEEDS_GID | NEEDS_ACTUAL,
    [RESULT_UNKNOWN] = NEEDS_GID,
    [RESULT_LOST] = NEEDS_GID,
    [RESULT_OPENED] = NEEDS_GID,
    [RESULT_FOUND] = NEEDS_GID | NEEDS_XID,
    [RESULT_SESSION] = NEEDS_GID,
    [RESULT_SCANNED] = NEEDS_NUMBER,
    [RESULT_BALLOT] = NEEDS_BALLOT,
};

/* ---- who speaks, and of what ---- */

void wire_write_sender(struct json *json, const struct sender *sender)
{
    json_put_text(json, "tm", sender->tm);
    json_put_u64(json, "incarnation", sender->incarnation);
    json_put_hex(json, "instance", sender->instance.bytes, sizeof sender->instance.bytes);
    json_put_u64(json, "agent", sender->agent_incarnation);
}

int wire_read_sender(const cJSON *object, struct sender *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (field_tm(object, "tm", out->tm, failure) != 0 ||
        field_u64(object, "incarnation", true, &out->incarnation, failure) != 0 ||
        field_hex(object, "instance", out->instance.bytes, sizeof out->instance.bytes, failure) !=
            0)
        return -1;
    return field_u64(object, "agent", true, &out->agent_incarnation, failure);
}

/* A branch by its gid; what concerns a whole resource manager, by its name. */
static void wire_write_whom(struct json *json, unsigned needs, const struct branch_id *branch)
{
    if (needs & NEEDS_GID)
        json_put_gid(json, "gid", branch);
    else
        json_put_text_if_set(json, "rm", branch->rm);
}

static int wire_read_whom(const cJSON *item, unsigned needs, struct branch_id *out,
                          struct failure *failure)
{
    if (needs & NEEDS_GID)
        return field_gid(item, "gid", true, out, failure);
    return field_rm(item, "rm", false, out->rm, failure);
}

/* ---- orders ---- */

static void wire_write_txn_number(struct json *json, const struct txn_number *number)
{
    json_put_u64(json, "incarnation", number->incarnation);
    json_put_u64(json, "sequence", number->sequence);
}

static int wire_read_txn_number(const cJSON *object, struct txn_number *out,
                                struct failure *failure)
{
    if (field_u64(object, "incarnation", true, &out->incarnation, failure) != 0)
        return -1;
    return field_u64(object, "sequence", true, &out->sequence, failure);
}

static void wire_write_forget(struct json *json, const struct forget *forget)
{
    wire_write_txn_number(json, &forget->upto);
    json_open_list(json, "live");
    for (uint32_t i = 0; i < forget->live_count; i++) {
        json_open_element(json);
        wire_write_txn_number(json, &forget->live[i]);
        json_close_object(json);
    }
    json_close_list(json);
}

static int wire_read_forget(const cJSON *item, struct forget *out, struct failure *failure)
{
    const cJSON *live;
    if (wire_read_txn_number(item, &out->upto, failure) != 0 ||
        field_list(item, "live", true, FORGET_LIVE_MAX, &live, failure) != 0)
        return -1;
    for (out->live_count = 0; live != NULL; live = live->next, out->live_count++)
        if (wire_read_txn_number(live, &out->live[out->live_count], failure) != 0)
            return wire_refuse_within(failure, "live", out->live_count);
    return 0;
}

static void wire_write_order(struct json *json, const struct order *order)
{
    assert(order->type > ORDER_NONE && order->type < ORDERS);
    unsigned needs = order_needs[order->type];
    json_put_text(json, "do", order_words[order->type]);
    wire_write_whom(json, needs, &order->branch);
    json_put_u64_if(json, "number", needs & NEEDS_NUMBER, order->number);
    json_put_u64_if(json, "agent", needs & NEEDS_AGENT, order->agent_incarnation);
    json_put_u64_if(json, "xid", needs & NEEDS_XID, order->xid);
    json_put_u64_if(json, "lsn", needs & NEEDS_LSN, order->lsn);
    json_put_u64_if(json, "begun", false, order->begun);
    json_put_u64_if(json, "released_incarnation", false, order->released.incarnation);
    json_put_u64_if(json, "released_sequence", false, order->released.sequence);
    if ((needs & NEEDS_TIMEOUT) || order->timeout_ms != 0)
        json_put_u32(json, "timeout_ms", order->timeout_ms);
    if (order->or_prepare)
        json_put_bool(json, "or_prepare", true);
    if ((needs & TAKES_ACCEPTORS) && order->ballot.roster.count > 0)
        wire_write_roster(json, &order->ballot.roster);
    if (needs & NEEDS_BALLOT)
        wire_write_named_ballot(json, "ballot", &order->ballot);
    if (needs & NEEDS_FORGET)
        wire_write_forget(json, &order->forget);
}

static int wire_read_order(const cJSON *item, struct order *out, struct failure *failure)
{
    int type;
    memset(out, 0, sizeof *out);
    if (field_word(item, "do", true, order_words, ORDERS, &type, failure) != 0)
        return -1;
    unsigned needs = order_needs[type];
    out->type = (enum order_type)type;
    if (wire_read_whom(item, needs, &out->branch, failure) != 0 ||
        field_u64(item, "number", needs & NEEDS_NUMBER, &out->number, failure) != 0 ||
        field_u64(item, "agent", needs & NEEDS_AGENT, &out->agent_incarnation, failure) != 0 ||
        field_u64(item, "xid", needs & NEEDS_XID, &out->xid, failure) != 0 ||
        field_u64(item, "lsn", needs & NEEDS_LSN, &out->lsn, failure) != 0 ||
        field_u64(item, "begun", false, &out->begun, failure) != 0 ||
        field_bool(item, "or_prepare", &out->or_prepare, failure) != 0)
        return -1;
    if (field_u64(item, "released_incarnation", false, &out->released.incarnation, failure) != 0 ||
        field_u64(item, "released_sequence", false, &out->released.sequence, failure) != 0)
        return -1;
    if (field_u32(item, "timeout_ms", needs & NEEDS_TIMEOUT, &out->timeout_ms, failure) != 0)
        return -1;
    if (needs & NEEDS_BALLOT)
        return field_ballot(item, &out->ballot, failure);
    if (needs & NEEDS_FORGET)
        return wire_read_forget(item, &out->forget, failure);
    return needs & TAKES_ACCEPTORS ? wire_read_roster(item, false, &out->ballot.roster, failure)
                                   : 0;
}

char *wire_write_orders(const struct sender *sender, const struct order *orders, uint32_t count,
                        size_t *length)
{
    assert(count <= ORDERS_MAX);
    struct json json;
    wire_begin_request(&json, "orders");
    wire_write_sender(&json, sender);
    json_open_list(&json, "orders");
    for (uint32_t i = 0; i < count; i++) {
        json_open_element(&json);
        wire_write_order(&json, &orders[i]);
        json_close_object(&json);
    }
    json_close_list(&json);
    json_put_u32(&json, "wait_ms", ORDERS_WAIT_MS);
    return json_end(&json, length);
}

static uint32_t wire_count_list(const cJSON *object, const char *name, int most)
{
    int count = cJSON_GetArraySize(field_find(object, name));
    return (uint32_t)(count < most ? count : most);
}

uint32_t wire_count_orders(const cJSON *object)
{
    return wire_count_list(object, "orders", ORDERS_MAX);
}

int wire_read_orders(const cJSON *object, struct order *out, uint32_t *count,
                     struct failure *failure)
{
    const cJSON *item;
    *count = 0;
    if (field_list(object, "orders", true, ORDERS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, (*count)++)
        if (wire_read_order(item, &out[*count], failure) != 0)
            return wire_refuse_within(failure, "orders", *count);
    return 0;
}

char *wire_write_poll(const struct sender *sender, uint32_t wait_ms, size_t *length)
{
    struct json json;
    wire_begin_request(&json, "results");
    wire_write_sender(&json, sender);
    json_put_u32(&json, "wait_ms", wait_ms);
    return json_end(&json, length);
}

/* ---- results ---- */

uint32_t wire_count_results(const cJSON *object)
{
    return wire_count_list(object, "results", RESULTS_MAX);
}

static void wire_write_result(struct json *json, const struct result *result)
{
    assert(result->type > RESULT_NONE && result->type < RESULTS);
    unsigned needs = result_needs[result->type];
    json_put_text(json, "is", result_words[result->type]);
    wire_write_whom(json, needs, &result->branch);
    json_put_u64_if(json, "number", needs & NEEDS_NUMBER, result->number);
    json_put_u64_if(json, "xid", needs & NEEDS_XID, result->xid);
    json_put_u64_if(json, "beat", false, result->beat);
    json_put_text_if_set(json, "actual", outcome_word(result->actual));
    json_put_text_if_set(json, "sqlstate", result->sqlstate);
    json_put_message_if_set(json, "message", result->message);
    json_put_message_if_set(json, "detail", result->detail);
    json_put_message_if_set(json, "hint", result->hint);
    if (needs & NEEDS_BALLOT)
        wire_write_named_ballot(json, "ballot", &result->ballot);
}

static int wire_read_result(const cJSON *item, struct result *out, struct failure *failure)
{
    int type;
    memset(out, 0, sizeof *out);
    if (field_word(item, "is", true, result_words, RESULTS, &type, failure) != 0)
        return -1;
    unsigned needs = result_needs[type];
    out->type = (enum result_type)type;
    field_message(item, "message", out->message, sizeof out->message);
    field_message(item, "detail", out->detail, sizeof out->detail);
    field_message(item, "hint", out->hint, sizeof out->hint);
    if (wire_read_whom(item, needs, &out->branch, failure) != 0 ||
        field_u64(item, "number", needs & NEEDS_NUMBER, &out->number, failure) != 0 ||
        field_u64(item, "xid", needs & NEEDS_XID, &out->xid, failure) != 0 ||
        field_u64(item, "beat", false, &out->beat, failure) != 0 ||
        field_outcome(item, "actual", needs & NEEDS_ACTUAL, &out->actual, failure) != 0)
        return -1;
    if ((needs & NEEDS_BALLOT) && field_ballot(item, &out->ballot, failure) != 0)
        return -1;
    return field_sqlstate(item, "sqlstate", out->sqlstate, failure);
}

static void wire_write_health(struct json *json, const struct agent_health *health)
{
    json_open_object(json, "health");
    json_put_u32(json, "prepared", health->prepared);
    json_put_u32(json, "oldest_s", health->oldest_s);
    json_put_u32(json, "slots_max", health->slots_max);
    json_put_u32(json, "sessions", health->sessions);
    json_put_u32(json, "sessions_max", health->sessions_max);
    json_put_u32(json, "branches", health->branches);
    json_put_u32(json, "branches_max", health->branches_max);
    json_put_u32(json, "connections", health->connections);
    json_put_u32(json, "connections_max", health->connections_max);
    json_put_message_if_set(json, "last_error", health->last_error);
    json_close_object(json);
}

static int wire_read_health(const cJSON *object, struct agent_health *out, struct failure *failure)
{
    const cJSON *item = field_find(object, "health");
    memset(out, 0, sizeof *out);
    if (item == NULL)
        return 0;
    field_message(item, "last_error", out->last_error, sizeof out->last_error);
    if (field_u32(item, "prepared", false, &out->prepared, failure) != 0 ||
        field_u32(item, "oldest_s", false, &out->oldest_s, failure) != 0 ||
        field_u32(item, "slots_max", false, &out->slots_max, failure) != 0 ||
        field_u32(item, "branches", false, &out->branches, failure) != 0 ||
        field_u32(item, "branches_max", false, &out->branches_max, failure) != 0 ||
        field_u32(item, "sessions_max", false, &out->sessions_max, failure) != 0 ||
        field_u32(item, "connections", false, &out->connections, failure) != 0 ||
        field_u32(item, "connections_max", false, &out->connections_max, failure) != 0)
        return -1;
    return field_u32(item, "sessions", false, &out->sessions, failure);
}

char *wire_write_results(const struct result *results, uint32_t count, uint64_t agent_incarnation,
                         const struct agent_health *health, size_t *length)
{
    assert(count <= RESULTS_MAX);
    struct json json;
    wire_begin_ok(&json);
    json_put_u64(&json, "agent", agent_incarnation);
    json_open_list(&json, "results");
    for (uint32_t i = 0; i < count; i++) {
        json_open_element(&json);
        wire_write_result(&json, &results[i]);
        json_close_object(&json);
    }
    json_close_list(&json);
    if (health != NULL)
        wire_write_health(&json, health);
    return json_end(&json, length);
}

static int read_results(const cJSON *object, struct result *out, uint32_t *count,
                        struct failure *failure)
{
    const cJSON *item;
    uint64_t agent;
    if (field_u64(object, "agent", true, &agent, failure) != 0 ||
        field_list(object, "results", true, RESULTS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, (*count)++) {
        if (wire_read_result(item, &out[*count], failure) != 0)
            return wire_refuse_within(failure, "results", *count);
        out[*count].agent_incarnation = agent;
    }
    return 0;
}

int wire_read_results(const cJSON *object, struct result *out, uint32_t *count,
                      struct agent_health *health, struct failure *failure)
{
    *count = 0;
    if (wire_read_failure(object, failure) != 0)
        return -1;
    if (read_results(object, out, count, failure) != 0 ||
        wire_read_health(object, health, failure) != 0)
        return wire_refuse_reply(failure);
    return 0;
}
