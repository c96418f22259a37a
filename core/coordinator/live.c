/*
 * core/coordinator/live.c - the transactions that are under way, and those that ended a short while
 * ago.
 */
#include "core/coordinator/live.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

void live_init(struct live *live, struct memory *memory, const struct coordinator_limits *limits)
{
    memset(live, 0, sizeof *live);
    live->txns_max = limits->transactions_max;
    live->txns = memory_take(memory, limits->transactions_max, sizeof *live->txns);
    slots_init(&live->txn_slots, memory, limits->transactions_max);
    live->branches = memory_take(memory, limits->branches_max, sizeof *live->branches);
    slots_init(&live->branch_slots, memory, limits->branches_max);
    live->waiters = memory_take(memory, limits->waiters_max, sizeof *live->waiters);
    slots_init(&live->waiter_slots, memory, limits->waiters_max);
    table_init(&live->by_id, memory, limits->transactions_max);
    table_init(&live->by_key, memory, limits->transactions_max);
    table_init(&live->by_request, memory, limits->transactions_max);
    timers_init(&live->timers, memory, limits->transactions_max);
    live->ended_max = limits->ended_max;
    live->ended = memory_take(memory, limits->ended_max, sizeof *live->ended);
    table_init(&live->ended_by_id, memory, limits->ended_max);
    table_init(&live->ended_by_request, memory, limits->ended_max);
}

/* Eight transactions that follow each other share a line of the processor's cache: what is under
 * way is young, and most of it is asked for again and again. */
static uint64_t id_hash(uint64_t incarnation, uint64_t sequence)
{
    uint64_t eight[2] = {incarnation, sequence / 8};
    return hash_bytes(eight, sizeof eight, 0) * 8 + sequence % 8;
}

static uint64_t key_hash(const struct live *live, const char *key)
{
    return hash_bytes(key, text_length(key, KEY_BYTES), live->seed);
}

static uint64_t request_hash(const struct live *live, uint64_t caller, const char *request_id)
{
    return hash_bytes(request_id, text_length(request_id, REQUEST_ID_BYTES), live->seed ^ caller);
}

uint32_t live_add(struct live *live, uint64_t incarnation, uint64_t sequence)
{
    uint32_t at = slots_take(&live->txn_slots);
    if (at == NO_ITEM)
        return NO_ITEM;
    struct txn *txn = &live->txns[at];
    memset(txn, 0, sizeof *txn);
    txn->incarnation = incarnation;
    txn->sequence = sequence;
    txn->first_branch = NO_ITEM;
    txn->first_waiter = NO_ITEM;
    txn->next_logged = NO_ITEM;
    txn->resend_at_ms = TIMER_NEVER;
    table_put(&live->by_id, id_hash(incarnation, sequence), at);
    return at;
}

void live_enter_key(struct live *live, uint32_t at)
{
    struct txn *txn = &live->txns[at];
    if (txn->key[0] == '\0' || txn->keyed)
        return;
    table_put(&live->by_key, key_hash(live, txn->key), at);
    txn->keyed = true;
}

void live_release_key(struct live *live, uint32_t at)
{
    struct txn *txn = &live->txns[at];
    if (!txn->keyed)
        return;
    table_remove(&live->by_key, key_hash(live, txn->key), at);
    txn->keyed = false;
}

void live_enter_request(struct live *live, uint32_t at)
{
    const struct txn *txn = &live->txns[at];
    if (txn->request_id[0] != '\0')
        table_put(&live->by_request, request_hash(live, txn->caller, txn->request_id), at);
}

static void forget_ended(struct live *live, uint32_t at)
{
    const struct ended *ended = &live->ended[at];
    if (ended->incarnation == 0)
        return;
    table_remove(&live->ended_by_id, id_hash(ended->incarnation, ended->sequence), at);
    if (ended->request_id[0] != '\0')
        table_remove(&live->ended_by_request, request_hash(live, ended->caller, ended->request_id),
                     at);
}

static uint32_t live_name_hash(const char *name)
{
    return (uint32_t)hash_bytes(name, text_length(name, BRANCH_NAME_BYTES), 0);
}

static void keep_branch(struct ended *ended, const struct branch *branch)
{
    uint32_t at = ended->branch_count++;
    ended->branches[at].rm = (uint8_t)branch->rm;
    ended->branches[at].name = live_name_hash(branch->name);
    ended->branches[at].xid = branch->xid;
}

uint64_t live_ended_xid(const struct ended *ended, uint32_t rm, const char *name)
{
    for (uint32_t i = 0; i < ended->branch_count; i++)
        if (ended->branches[i].rm == rm && ended->branches[i].name == live_name_hash(name))
            return ended->branches[i].xid;
    return 0;
}

static uint32_t after(uint64_t begun_ms, uint64_t then_ms)
{
    return then_ms == 0 ? NOT_YET : (uint32_t)(then_ms - begun_ms);
}

void live_times(const struct live *live, const struct txn *txn, struct txn_times *out)
{
    uint64_t voted_ms = 0, done_ms = 0;
    out->last_voter = NOT_YET;
    out->last_applier = NOT_YET;
    for (const struct branch *b = live_first(live, txn); b != NULL; b = live_after(live, b)) {
        if (b->answered_ms > voted_ms) {
            voted_ms = b->answered_ms;
            out->last_voter = b->rm;
        }
        if (b->done_ms > done_ms) {
            done_ms = b->done_ms;
            out->last_applier = b->rm;
        }
    }
    out->asked_ms = after(txn->begun_ms, txn->asked_ms);
    out->voted_ms = after(txn->begun_ms, voted_ms);
    out->decided_ms = after(txn->begun_ms, txn->decided_ms);
    out->ended_ms = after(txn->begun_ms, txn->ended_ms);
}

static struct ended *keep_ended(struct live *live, const struct txn *txn, enum outcome outcome,
                                uint64_t scan)
{
    uint32_t at = live->ended_next;
    struct ended *ended = &live->ended[at];
    live->ended_next = (at + 1) % live->ended_max;
    forget_ended(live, at);

    memset(ended, 0, offsetof(struct ended, branches));
    ended->incarnation = txn->incarnation;
    ended->sequence = txn->sequence;
    ended->protocol = txn->protocol;
    ended->outcome = outcome;
    ended->scan = scan;
    live_times(live, txn, &ended->times);
    live->ended_total++;
    ended->has_reason = txn->has_reason;
    if (txn->has_reason)
        ended->reason = txn->reason;
    memcpy(ended->key, txn->key, sizeof ended->key);
    ended->origin = txn->origin;
    memcpy(ended->request_id, txn->request_id, sizeof ended->request_id);
    ended->caller = txn->caller;
    ended->request_hash = txn->request_hash;
    for (const struct branch *b = live_first(live, txn); b != NULL; b = live_after(live, b))
        keep_branch(ended, b);

    table_put(&live->ended_by_id, id_hash(txn->incarnation, txn->sequence), at);
    if (ended->request_id[0] != '\0')
        table_put(&live->ended_by_request, request_hash(live, ended->caller, ended->request_id),
                  at);
    return ended;
}

struct ended *live_remove(struct live *live, uint32_t at, enum outcome outcome, uint64_t scan)
{
    struct txn *txn = &live->txns[at];
    struct ended *ended = keep_ended(live, txn, outcome, scan);
    while (txn->first_waiter != NO_ITEM)
        live_drop_waiter(live, txn, &txn->first_waiter);
    while (txn->first_branch != NO_ITEM) {
        uint32_t branch = txn->first_branch;
        txn->first_branch = live->branches[branch].next;
        slots_give(&live->branch_slots, branch);
    }
    live_release_key(live, at);
    if (txn->request_id[0] != '\0')
        table_remove(&live->by_request, request_hash(live, txn->caller, txn->request_id), at);
    table_remove(&live->by_id, id_hash(txn->incarnation, txn->sequence), at);
    timers_set(&live->timers, at, TIMER_NEVER);
    txn->state = TXN_NONE;
    slots_give(&live->txn_slots, at);
    return ended;
}

uint32_t live_find(const struct live *live, uint64_t incarnation, uint64_t sequence)
{
    struct probe probe;
    for (uint32_t i = table_first(&live->by_id, id_hash(incarnation, sequence), &probe);
         i != NO_ITEM; i = table_next(&live->by_id, &probe))
        if (live->txns[i].incarnation == incarnation && live->txns[i].sequence == sequence)
            return i;
    return NO_ITEM;
}

uint32_t live_find_key(const struct live *live, const char *key)
{
    struct probe probe;
    for (uint32_t i = table_first(&live->by_key, key_hash(live, key), &probe); i != NO_ITEM;
         i = table_next(&live->by_key, &probe))
        if (text_equal(live->txns[i].key, key, KEY_BYTES))
            return i;
    return NO_ITEM;
}

uint32_t live_find_request(const struct live *live, uint64_t caller, const char *request_id)
{
    struct probe probe;
    uint64_t hash = request_hash(live, caller, request_id);
    for (uint32_t i = table_first(&live->by_request, hash, &probe); i != NO_ITEM;
         i = table_next(&live->by_request, &probe))
        if (live->txns[i].caller == caller &&
            text_equal(live->txns[i].request_id, request_id, REQUEST_ID_BYTES))
            return i;
    return NO_ITEM;
}

const struct ended *live_find_ended(const struct live *live, uint64_t incarnation,
                                    uint64_t sequence)
{
    struct probe probe;
    for (uint32_t i = table_first(&live->ended_by_id, id_hash(incarnation, sequence), &probe);
         i != NO_ITEM; i = table_next(&live->ended_by_id, &probe))
        if (live->ended[i].incarnation == incarnation && live->ended[i].sequence == sequence)
            return &live->ended[i];
    return NULL;
}

const struct ended *live_find_ended_request(const struct live *live, uint64_t caller,
                                            const char *request_id)
{
    struct probe probe;
    uint64_t hash = request_hash(live, caller, request_id);
    for (uint32_t i = table_first(&live->ended_by_request, hash, &probe); i != NO_ITEM;
         i = table_next(&live->ended_by_request, &probe))
        if (live->ended[i].caller == caller &&
            text_equal(live->ended[i].request_id, request_id, REQUEST_ID_BYTES))
            return &live->ended[i];
    return NULL;
}

struct branch *live_add_branch(struct live *live, struct txn *txn, uint32_t rm, const char *name)
{
    uint32_t at = slots_take(&live->branch_slots);
    if (at == NO_ITEM)
        return NULL;
    struct branch *branch = &live->branches[at];
    memset(branch, 0, sizeof *branch);
    branch->next = NO_ITEM;
    branch->rm = rm;
    text_copy(branch->name, BRANCH_NAME_BYTES, name, text_length(name, BRANCH_NAME_BYTES));

    uint32_t *link = &txn->first_branch;
    while (*link != NO_ITEM)
        link = &live->branches[*link].next;
    *link = at;
    txn->branch_count++;
    return branch;
}

struct branch *live_find_branch(const struct live *live, const struct txn *txn, uint32_t rm,
                                const char *name)
{
    for (struct branch *b = live_first(live, txn); b != NULL; b = live_after(live, b))
        if (b->rm == rm && text_equal(b->name, name, BRANCH_NAME_BYTES))
            return b;
    return NULL;
}

struct waiter *live_add_waiter(struct live *live, struct txn *txn)
{
    uint32_t at = txn->waiter_count == WAITERS_A_TXN ? NO_ITEM : slots_take(&live->waiter_slots);
    if (at == NO_ITEM)
        return NULL;
    struct waiter *waiter = &live->waiters[at];
    memset(waiter, 0, sizeof *waiter);
    waiter->next = txn->first_waiter;
    txn->first_waiter = at;
    txn->waiter_count++;
    return waiter;
}

void live_drop_waiter(struct live *live, struct txn *txn, uint32_t *link)
{
    uint32_t at = *link;
    *link = live->waiters[at].next;
    slots_give(&live->waiter_slots, at);
    txn->waiter_count--;
}
