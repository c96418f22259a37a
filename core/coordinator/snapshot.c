/*
 * core/coordinator/snapshot.c - the whole state of a coordinator as records of its own log.
 *
 * What replay reads is what a snapshot writes, so there is one way only to rebuild a
 * coordinator. The order is: the start, the RMs, the outcomes that are remembered, and then
 * what is live. A transaction whose record was handed to the log counts as decided: the
 * snapshot becomes valid only when all that was handed over before it is durable.
 */
#include <assert.h>
#include <string.h>

#include "core/coordinator/coordinator_state.h"

/* Each part has its own range of positions. */
enum part {
    PART_CLOCK,
    PART_ANCESTORS,
    PART_START,
    PART_ESTABLISHED,
    PART_RMS,
    PART_FENCE,
    PART_CHUNKS,
    PART_KEYS,
    PART_HORIZON,
    PART_LIVE,
    PART_RELEASES,
    PART_PAUSES,
    PART_ACTS,
    PARTS
};

enum { PART_SHIFT = 40 };

/* Of a live transaction: its decision, of 3pc in two records; then what a DBA has said of each
 * branch, a MIXED record for each that went astray, in the third phase our own promise and vote,
 * and what a DBA has said of the whole. */
enum {
    AT_DECISION = 0,
    AT_OUTCOME,
    AT_BRANCHES,
    AT_PROMISE = AT_BRANCHES + 2 * BRANCHES_MAX,
    AT_ACCEPT,
    AT_RESOLVED,
    RECORDS_A_TXN
};

static void snapshot_rm(const struct rm *rm, struct record *out)
{
    out->type = RECORD_RM;
    memcpy(out->rm, rm->name, RM_NAME_BYTES);
    memcpy(out->url, rm->url, URL_BYTES);
    out->system_identifier = rm->system_identifier;
    out->timeline = rm->timeline;
    out->beat = rm->beat;
    out->offer_lsn = rm->offer_lsn;
    out->met = rm->met;
    out->incarnation = rm->accepted_start.incarnation;
    out->instance = rm->accepted_start.instance;
    out->flags = (rm->logged ? FLAG_LOGGED : 0u) | (rm->retired ? FLAG_RETIRED : 0u) |
                 (rm->waived ? FLAG_WAIVED : 0u) | (rm->accepted ? FLAG_PROVED : 0u) |
                 (rm->quarantined ? FLAG_QUARANTINED : 0u);
}

static void snapshot_fence(const struct registry *registry, struct record *out)
{
    const struct rm *rm = &registry->rms[registry->fenced_by];
    out->type = RECORD_FENCED;
    memcpy(out->rm, rm->name, RM_NAME_BYTES);
    out->flags = rm->refusal;
}

/* What no mark has dated yet is no older than this moment. */
static uint64_t dated(const struct coordinator *c, uint64_t date)
{
    return is_dated(date) ? date : c->running.ms;
}

/* What an archive has already is not told again. */
static bool snapshot_chunk(const struct coordinator *c, const struct outcome_chunk *chunk,
                           struct record *out)
{
    const uint64_t *words = c->outcomes.bits[chunk->bits].words;
    static_assert(sizeof out->bits * 8 == CHUNK_SEQUENCES, "a chunk fits its record");
    if (!outcomes_changed(&c->outcomes, chunk))
        return false;
    out->type = RECORD_CHUNK;
    out->incarnation = chunk->incarnation;
    out->sequence = chunk->number;
    out->date = dated(c, chunk->date);
    for (uint32_t i = 0; i < sizeof out->bits; i++)
        out->bits[i] = (uint8_t)(words[i / 8] >> i % 8 * 8);
    return true;
}

static bool snapshot_key(const struct coordinator *c, const struct committed_key *key,
                         struct record *out)
{
    if (key->incarnation == 0)
        return false;
    out->type = RECORD_HASHED_KEY;
    out->incarnation = key->incarnation;
    out->sequence = key->sequence;
    out->hash = key->hash;
    out->date = dated(c, key->date);
    return true;
}

static void snapshot_add_branch(const struct coordinator *c, const struct branch *branch,
                                struct record *out)
{
    struct record_branch *written = &out->branches[out->branch_count++];
    memcpy(written->rm, c->registry.rms[branch->rm].name, RM_NAME_BYTES);
    memcpy(written->branch, branch->name, BRANCH_NAME_BYTES);
    written->xid = branch->xid;
}

static void snapshot_reason(const struct txn *txn, struct record *out)
{
    out->type = RECORD_RESOLVED;
    out->incarnation = txn->incarnation;
    out->sequence = txn->sequence;
    memcpy(out->why, txn->reason.message, REASON_BYTES);
}

/* What a DBA has said of one branch. Of one that counts as committed by his word, the decision
 * would be delivered again without it. */
static bool snapshot_verdict(const struct coordinator *c, const struct txn *txn,
                             const struct branch *branch, struct record *out)
{
    if (branch->verdict == OUTCOME_NONE)
        return false;
    snapshot_reason(txn, out);
    out->outcome = branch->verdict;
    out->flags = branch->counted || branch->verdict == OUTCOME_ROLLED_BACK ? RESOLVED_HEURISTIC : 0;
    snapshot_add_branch(c, branch, out);
    return true;
}

static bool snapshot_resolved(const struct txn *txn, struct record *out)
{
    if (txn->state != TXN_RESOLVED)
        return false;
    snapshot_reason(txn, out);
    out->outcome = txn->decision;
    out->flags = (txn->stray ? RESOLVED_STRAY : 0u) | (txn->heuristic ? RESOLVED_HEURISTIC : 0u) |
                 (txn->passing ? RESOLVED_RECOVERED : 0u);
    return true;
}

static bool is_committed(const struct txn *txn)
{
    return txn->state == TXN_COMMITTING ||
           (txn->state == TXN_MIXED && txn->decision == OUTCOME_COMMITTED);
}

/* The record that made it what it is; NONE if there is none. */
static enum record_type snapshot_decision_of(const struct txn *txn)
{
    bool three_phases = txn->protocol == PROTOCOL_3PC;
    switch (txn->state) {
    case TXN_LOGGING:
    case TXN_COMMITTING:
    case TXN_MIXED:
        if (txn->state == TXN_MIXED && !is_committed(txn))
            return RECORD_NONE;
        return three_phases ? RECORD_PRECOMMIT : RECORD_COMMIT;
    case TXN_DELEGATING:
    case TXN_DELEGATED:
        return RECORD_DELEGATED;
    case TXN_RESOLVED:
        if (txn->stray)
            return RECORD_NONE;
        return three_phases ? RECORD_PRECOMMIT : RECORD_DELEGATED;
    case TXN_PRELOGGING:
    case TXN_PRECOMMITTING:
    case TXN_PROMISING:
        return txn->precommit.withdrawn ? RECORD_NONE : RECORD_PRECOMMIT;
    default:
        return RECORD_NONE;
    }
}

static bool snapshot_decision(const struct coordinator *c, const struct txn *txn,
                              struct record *out)
{
    enum record_type type = snapshot_decision_of(txn);
    if (type == RECORD_NONE)
        return false;
    out->type = type;
    if (type == RECORD_PRECOMMIT)
        facts_roster(c, txn, &out->roster);
    out->incarnation = txn->incarnation;
    out->sequence = txn->sequence;
    memcpy(out->key, txn->key, KEY_BYTES);
    memcpy(out->label, txn->origin.label, LABEL_BYTES);
    memcpy(out->application, txn->origin.application, LABEL_BYTES);
    for (const struct branch *b = live_first(&c->live, txn); b != NULL; b = live_after(&c->live, b))
        if (b->progress != BR_LEFT)
            snapshot_add_branch(c, b, out);
    return true;
}

static bool snapshot_branch(const struct coordinator *c, const struct txn *txn, uint32_t number,
                            struct record *out)
{
    bool astray = number >= BRANCHES_MAX;
    if (txn->state == TXN_RESOLVED)
        return false; /* whatever is found of it follows */
    const struct branch *branch = live_first(&c->live, txn);
    for (uint32_t i = 0; i < number % BRANCHES_MAX && branch != NULL; i++)
        branch = live_after(&c->live, branch);
    if (branch == NULL)
        return false;
    if (!astray)
        return snapshot_verdict(c, txn, branch, out);
    if (branch->progress != BR_HEURISTIC)
        return false;
    out->type = RECORD_MIXED;
    out->incarnation = txn->incarnation;
    out->sequence = txn->sequence;
    out->outcome = is_committed(txn) ? OUTCOME_ROLLED_BACK : OUTCOME_COMMITTED;
    snapshot_add_branch(c, branch, out);
    return true;
}

static void snapshot_release(const struct rm *rm, struct record *out)
{
    out->type = RECORD_RELEASED;
    memcpy(out->rm, rm->name, RM_NAME_BYTES);
    out->beat = rm->beat;
    out->system_identifier = rm->system_identifier;
    out->timeline = rm->timeline;
    out->met = rm->met;
    out->incarnation = rm->released_incarnation;
    out->sequence = rm->released_sequence;
}

/* What a DBA has said of an RM and its RM record cannot tell. */
static bool snapshot_dba(const struct coordinator *c, enum part part, uint64_t index,
                         struct record *out)
{
    const struct rm *rm = &c->registry.rms[index];
    if (part == PART_RELEASES && rm->released_incarnation != 0 && !rm->quarantined) {
        snapshot_release(rm, out);
        return true;
    }
    if (part == PART_PAUSES && rm->paused) {
        out->type = RECORD_PAUSED;
        memcpy(out->rm, rm->name, RM_NAME_BYTES);
        out->flags = 1;
        return true;
    }
    return false;
}

/* What was handed to the log counts here too. */
static bool snapshot_vote(const struct txn *txn, enum record_type type, struct record *out)
{
    bool on_its_way = txn->state == TXN_PROMISING;
    const struct acceptor_row *row = on_its_way ? &txn->precommit.next_row : &txn->precommit.row;
    if ((!on_its_way && txn->state != TXN_PRECOMMITTING) || txn->precommit.withdrawn)
        return false;
    if (type == RECORD_ACCEPT && row->value == OUTCOME_NONE)
        return false;
    out->type = type;
    out->incarnation = txn->incarnation;
    out->sequence = txn->sequence;
    out->ballot = type == RECORD_PROMISE ? row->promised : row->accepted;
    out->outcome = type == RECORD_PROMISE ? OUTCOME_NONE : row->value;
    return true;
}

/* Of 3pc, what its acceptors have decided. */
static bool snapshot_outcome(const struct txn *txn, struct record *out)
{
    if (!is_committed(txn) || snapshot_decision_of(txn) != RECORD_PRECOMMIT)
        return false;
    out->type = RECORD_OUTCOME;
    out->incarnation = txn->incarnation;
    out->sequence = txn->sequence;
    out->outcome = OUTCOME_COMMITTED;
    return true;
}

static bool snapshot_live(const struct coordinator *c, uint64_t index, struct record *out)
{
    const struct txn *txn = &c->live.txns[index / RECORDS_A_TXN];
    uint32_t number = (uint32_t)(index % RECORDS_A_TXN);
    switch (number) {
    case AT_DECISION:
        return snapshot_decision(c, txn, out);
    case AT_OUTCOME:
        return snapshot_outcome(txn, out);
    case AT_PROMISE:
        return snapshot_vote(txn, RECORD_PROMISE, out);
    case AT_ACCEPT:
        return snapshot_vote(txn, RECORD_ACCEPT, out);
    case AT_RESOLVED:
        return snapshot_resolved(txn, out);
    default:
        return snapshot_branch(c, txn, number - AT_BRANCHES, out);
    }
}

static uint64_t part_size(const struct coordinator *c, enum part part)
{
    switch (part) {
    case PART_CLOCK:
    case PART_START:
    case PART_HORIZON:
        return 1;
    case PART_ANCESTORS:
        return c->registry.start_count;
    case PART_ESTABLISHED:
        return c->registry.established ? 1 : 0;
    case PART_RMS:
    case PART_RELEASES:
    case PART_PAUSES:
        return c->registry.count;
    case PART_ACTS:
        return c->act_count;
    case PART_FENCE:
        return c->registry.fenced ? 1 : 0;
    case PART_CHUNKS:
        return c->outcomes.count;
    case PART_KEYS:
        return c->keys.removed + c->keys.count - c->keys.archived;
    case PART_LIVE:
        return (uint64_t)c->live.txns_max * RECORDS_A_TXN;
    case PARTS:
        break;
    }
    return 0;
}

/* Of the slots for live transactions most are free, and there are many: they are passed over. */
static uint64_t next_place(const struct coordinator *c, enum part part, uint64_t index)
{
    uint64_t slot = index / RECORDS_A_TXN;
    if (part != PART_LIVE || slot >= c->live.txns_max || c->live.txns[slot].state != TXN_NONE)
        return index;
    while (slot < c->live.txns_max && c->live.txns[slot].state == TXN_NONE)
        slot++;
    return slot * RECORDS_A_TXN;
}

/* The record at this place of this part; false if there is nothing to say there, and *out is as
 * it was. */
static bool snapshot_at(const struct coordinator *c, enum part part, uint64_t index,
                        struct record *out)
{
    const struct outcomes *outcomes = &c->outcomes;

    switch (part) {
    case PART_CLOCK:
        retention_snapshot_clock(c, out);
        return true;
    case PART_ANCESTORS:
        out->type = RECORD_ANCESTOR;
        out->incarnation = c->registry.starts[index].incarnation;
        out->instance = c->registry.starts[index].instance;
        return true;
    case PART_START:
        out->type = RECORD_START;
        out->incarnation = c->incarnation;
        out->instance = c->instance;
        return true;
    case PART_ESTABLISHED:
        out->type = RECORD_ESTABLISHED;
        return true;
    case PART_RMS:
        snapshot_rm(&c->registry.rms[index], out);
        return true;
    case PART_FENCE:
        snapshot_fence(&c->registry, out);
        return true;
    case PART_CHUNKS:
        return snapshot_chunk(c, outcomes_at(outcomes, (uint32_t)index), out);
    case PART_KEYS:
        return snapshot_key(c, keys_at(&c->keys, c->keys.archived + index), out);
    case PART_HORIZON:
        out->type = RECORD_HORIZON;
        out->incarnation = outcomes->horizon_incarnation;
        out->sequence = outcomes->horizon_sequence;
        return true;
    case PART_LIVE:
        return snapshot_live(c, index, out);
    case PART_RELEASES:
    case PART_PAUSES:
        return snapshot_dba(c, part, index, out);
    case PART_ACTS:
        /* Handed to the log, and not in effect yet. */
        *out = c->acts[(c->act_first + index) % ACTS_MAX].record;
        return true;
    case PARTS:
        break;
    }
    return false;
}

bool coordinator_snapshot(const struct coordinator *c, uint64_t *position, struct record *out)
{
    enum part part = (enum part)(*position >> PART_SHIFT);
    uint64_t index = *position & ((UINT64_C(1) << PART_SHIFT) - 1);
    memset(out, 0, sizeof *out);
    while (part < PARTS) {
        index = next_place(c, part, index);
        if (index >= part_size(c, part)) {
            part++;
            index = 0;
            continue;
        }
        bool said = snapshot_at(c, part, index++, out);
        *position = (uint64_t)part << PART_SHIFT | index;
        if (said)
            return true;
    }
    return false;
}

uint64_t coordinator_snapshot_begin(struct coordinator *c)
{
    c->snapshot = c->outcomes.generation++;
    c->keys_in_snapshot = c->keys.removed + c->keys.count;
    return c->snapshot;
}

/* Of an older one it is not known any more what was in it. */
void coordinator_archived(struct coordinator *c, uint64_t snapshot)
{
    if (snapshot == 0 || snapshot != c->snapshot)
        return;
    c->outcomes.archived = snapshot;
    if (c->keys.archived < c->keys_in_snapshot)
        c->keys.archived = c->keys_in_snapshot;
}

void coordinator_oldest(const struct coordinator *c, uint64_t *outcomes, uint64_t *keys)
{
    *outcomes = outcomes_oldest(&c->outcomes, c->running.ms);
    *keys = keys_oldest(&c->keys, c->running.ms);
}
