/*
 * core/coordinator/replay.c - a coordinator's memory, and how the log fills it again at a start.
 *
 * Replay takes the records in the order in which they were written and leaves exactly the live
 * set: decisions that not everybody has been told of. Whatever the log does not know was never
 * decided.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

static struct coordinator *replay_lay_out(struct memory *memory,
                                          const struct coordinator_limits *limits,
                                          const struct coordinator_settings *settings)
{
    struct live live;
    struct outcomes outcomes;
    struct keys keys;
    struct coordinator *coordinator = memory_take(memory, 1, sizeof *coordinator);
    live_init(&live, memory, limits);
    outcomes_init(&outcomes, memory, retention_chunks(limits));
    keys_init(&keys, memory, retention_keys(limits), settings->seed, settings->tm);
    if (coordinator == NULL)
        return NULL;
    coordinator->live = live;
    coordinator->outcomes = outcomes;
    coordinator->keys = keys;
    coordinator->outcome_chunks_max = limits->outcome_chunks_max;
    coordinator->keys_max = limits->keys_max;
    coordinator->settings = *settings;
    coordinator->logging_first = NO_ITEM;
    coordinator->logging_last = NO_ITEM;
    return coordinator;
}

size_t coordinator_bytes(const struct coordinator_limits *limits)
{
    struct memory memory = {.base = NULL};
    replay_lay_out(&memory, limits, &(struct coordinator_settings){.seed = 0});
    return memory.used;
}

struct coordinator *coordinator_init(void *room, const struct coordinator_limits *limits,
                                     const struct coordinator_settings *settings)
{
    struct memory memory = {.base = room};
    struct coordinator *coordinator = replay_lay_out(&memory, limits, settings);
    coordinator->live.seed = settings->seed;
    return coordinator;
}

uint32_t coordinator_configure(struct coordinator *coordinator, const char *rm, const char *url)
{
    uint32_t at = registry_add(&coordinator->registry, rm, url);
    if (at != UINT32_MAX) {
        coordinator->registry.rms[at].configured = true;
        coordinator->registry.rms[at].retired = false;
    }
    return at;
}

void coordinator_trust_host(struct coordinator *coordinator, bool same_host)
{
    coordinator->registry.same_host = same_host;
}

/* The RM of a record, known or new. */
static struct rm *replay_rm_of(struct coordinator *c, const char *name, uint32_t *at)
{
    uint32_t found = registry_find(&c->registry, name);
    if (found == UINT32_MAX)
        found = registry_add(&c->registry, name, "");
    if (at != NULL)
        *at = found;
    return found == UINT32_MAX ? NULL : &c->registry.rms[found];
}

/* The record's branches, which are all at the same point. */
static const char *replay_branches(struct coordinator *c, const struct record *record,
                                   struct txn *txn, enum branch_progress progress)
{
    for (uint32_t i = 0; i < record->branch_count; i++) {
        uint32_t rm;
        if (replay_rm_of(c, record->branches[i].rm, &rm) == NULL)
            return "more resource managers than a coordinator can have";
        struct branch *branch = live_add_branch(&c->live, txn, rm, record->branches[i].branch);
        if (branch == NULL)
            return "more live branches than max_branches allows";
        branch->progress = progress;
        branch->xid = record->branches[i].xid;
    }
    return NULL;
}

/* A branch that was left to its database to decide, and was prepared there instead. */
static const char *replay_taken_back(struct coordinator *c, const struct record *record,
                                     struct txn *txn)
{
    struct branch *only = live_first(&c->live, txn);
    if (record->branch_count != 1 || only == NULL)
        return "a transaction is decided twice";
    txn->state = TXN_COMMITTING;
    txn->lsn = record->lsn;
    only->xid = record->branches[0].xid;
    return retention_replay_commit(c, record, record->key);
}

/* COMMIT and DELEGATED bring a transaction back to life, until its END or OUTCOME. */
static const char *replay_live(struct coordinator *c, const struct record *record,
                               enum txn_state state)
{
    uint32_t at = live_find(&c->live, record->incarnation, record->sequence);
    if (at != NO_ITEM && c->live.txns[at].state == TXN_DELEGATED && state == TXN_COMMITTING)
        return replay_taken_back(c, record, &c->live.txns[at]);
    if (at != NO_ITEM)
        return "a transaction is decided twice";
    at = live_add(&c->live, record->incarnation, record->sequence);
    if (at == NO_ITEM)
        return "more live transactions than max_transactions allows";
    struct txn *txn = &c->live.txns[at];
    txn->state = state;
    txn->recovered = true;
    txn->lsn = record->lsn;
    memcpy(txn->key, record->key, KEY_BYTES);
    memcpy(txn->origin.label, record->label, LABEL_BYTES);
    memcpy(txn->origin.application, record->application, LABEL_BYTES);
    live_enter_key(&c->live, at);
    const char *why = NULL;
    if (state == TXN_COMMITTING)
        why = retention_replay_commit(c, record, record->key);
    return why != NULL ? why : replay_branches(c, record, txn, BR_YES);
}

/* The third phase of a transaction, as far as it is in the log. Ballot 0 is never used again. */
static const char *replay_precommit(struct coordinator *c, const struct record *record)
{
    const char *why = replay_live(c, record, TXN_PRECOMMITTING);
    if (why != NULL)
        return why;
    struct txn *txn = &c->live.txns[live_find(&c->live, record->incarnation, record->sequence)];
    struct precommit *precommit = &txn->precommit;
    txn->protocol = PROTOCOL_3PC;
    precommit->leader.rank = RANK_TM;
    precommit->agent_count = record->roster.count;
    precommit->tm = record->roster.tm;
    precommit->heard = true;
    precommit->row.exists = true;
    precommit->row.value = precommit->tm ? OUTCOME_COMMITTED : OUTCOME_NONE;
    for (uint32_t i = 0; i < record->roster.count; i++) {
        uint32_t rm;
        if (replay_rm_of(c, record->roster.agents[i], &rm) == NULL)
            return "more resource managers than a coordinator can have";
        precommit->agents[i] = (uint8_t)rm;
    }
    return NULL;
}

/* PROMISE and ACCEPT: a vote of our own, which is also the highest ballot we know of. */
static const char *replay_vote(struct coordinator *c, const struct record *record)
{
    uint32_t at = live_find(&c->live, record->incarnation, record->sequence);
    if (at == NO_ITEM || c->live.txns[at].state != TXN_PRECOMMITTING)
        return "a vote in a transaction that is not precommitted";
    struct precommit *precommit = &c->live.txns[at].precommit;
    if (precommit->row.promised < record->ballot)
        precommit->row.promised = record->ballot;
    if (precommit->leader.highest < record->ballot)
        precommit->leader.highest = record->ballot;
    if (record->type == RECORD_ACCEPT) {
        precommit->row.accepted = record->ballot;
        precommit->row.value = record->outcome;
    }
    return NULL;
}

static const char *replay_end(struct coordinator *c, const struct record *record,
                              enum outcome outcome)
{
    uint32_t at = live_find(&c->live, record->incarnation, record->sequence);
    if (at == NO_ITEM)
        return "a transaction ends that was not decided";
    struct txn *txn = &c->live.txns[at];
    /* Decided by its acceptors; it ends when all branches are done. */
    if (record->type == RECORD_OUTCOME && outcome == OUTCOME_COMMITTED &&
        txn->state == TXN_PRECOMMITTING) {
        txn->state = TXN_COMMITTING;
        return retention_replay_commit(c, record, txn->key);
    }
    const char *why = NULL;
    if (outcome == OUTCOME_COMMITTED &&
        outcomes_find(&c->outcomes, txn->incarnation, txn->sequence) != OUTCOME_COMMITTED)
        why = retention_replay_commit(c, record, txn->key);
    live_remove(&c->live, at, outcome, 0);
    return why;
}

static bool branches_left(const struct coordinator *c, const struct txn *txn)
{
    for (const struct branch *b = live_first(&c->live, txn); b != NULL; b = live_after(&c->live, b))
        if (b->progress == BR_YES)
            return true;
    return false;
}

/* A branch ended the other way. Of a committed transaction the rest is still driven; one that
 * was rolled back has no record but this. */
static const char *replay_mixed(struct coordinator *c, const struct record *record)
{
    uint32_t at = live_find(&c->live, record->incarnation, record->sequence);
    if (at == NO_ITEM) {
        at = live_add(&c->live, record->incarnation, record->sequence);
        if (at == NO_ITEM)
            return "more live transactions than max_transactions allows";
        struct txn *txn = &c->live.txns[at];
        txn->recovered = true;
        txn->decision = OUTCOME_ROLLED_BACK;
        txn->state = TXN_MIXED;
        return replay_branches(c, record, txn, BR_HEURISTIC);
    }
    struct txn *txn = &c->live.txns[at];
    for (uint32_t i = 0; i < record->branch_count; i++) {
        uint32_t rm = registry_find(&c->registry, record->branches[i].rm);
        struct branch *branch = live_find_branch(&c->live, txn, rm, record->branches[i].branch);
        if (branch != NULL)
            branch->progress = BR_HEURISTIC;
        else if (txn->state == TXN_MIXED)
            return replay_branches(c, record, txn, BR_HEURISTIC);
    }
    if (txn->state == TXN_COMMITTING && !branches_left(c, txn)) {
        txn->state = TXN_MIXED;
        txn->decision = OUTCOME_COMMITTED;
    }
    return NULL;
}

/* What the log says of an RM. */
static const char *replay_rm(struct coordinator *c, const struct record *record)
{
    struct rm *rm = replay_rm_of(c, record->rm, NULL);
    if (rm == NULL)
        return "more resource managers than a coordinator can have";
    switch (record->type) {
    case RECORD_AGENT:
        if (c->registry.start_count == 0)
            return "an agent before any start";
        registry_add(&c->registry, record->rm, record->url);
        rm->logged = true;
        rm->met = record->met;
        rm->proved = true;
        rm->accepted_start = c->registry.starts[c->registry.start_count - 1];
        rm->durable = true;
        rm->retired = false;
        rm->waived = false;
        break;
    case RECORD_QUARANTINED:
        rm->quarantined = true;
        rm->state = RM_QUARANTINED;
        return NULL;
    default:
        if (rm->beat < record->beat)
            rm->beat = record->beat;
    }
    rm->system_identifier = record->system_identifier;
    rm->timeline = record->timeline;
    return NULL;
}

static const char *replay_fence(struct coordinator *c, const struct record *record)
{
    uint32_t at;
    c->registry.fenced = record->flags != REFUSAL_NONE;
    if (!c->registry.fenced)
        return NULL;
    struct rm *rm = replay_rm_of(c, record->rm, &at);
    if (rm == NULL || record->flags >= REFUSALS)
        return "a fence that cannot be read";
    rm->refusal = (enum refusal)record->flags;
    rm->state = RM_REFUSED;
    c->registry.fenced_by = at;
    return NULL;
}

static const char *replay_known_rm(struct coordinator *c, const struct record *record)
{
    uint32_t at = registry_add(&c->registry, record->rm, record->url);
    if (at == UINT32_MAX)
        return "more resource managers than a coordinator can have";
    struct rm *rm = &c->registry.rms[at];
    rm->logged = (record->flags & FLAG_LOGGED) != 0;
    rm->durable = rm->logged;
    rm->retired = (record->flags & FLAG_RETIRED) != 0;
    rm->waived = (record->flags & FLAG_WAIVED) != 0;
    rm->proved = (record->flags & FLAG_PROVED) != 0;
    rm->quarantined = (record->flags & FLAG_QUARANTINED) != 0;
    if (rm->quarantined)
        rm->state = RM_QUARANTINED;
    rm->offer_lsn = record->offer_lsn;
    rm->accepted_start = (struct start_id){record->incarnation, record->instance};
    rm->beat = record->beat;
    rm->met = record->met;
    rm->system_identifier = record->system_identifier;
    rm->timeline = record->timeline;
    return NULL;
}

bool coordinator_replay(struct coordinator *c, const struct record *record, const char **why)
{
    assert(c->incarnation == c->replayed_incarnation);
    *why = NULL;
    switch (record->type) {
    case RECORD_START:
        if (record->incarnation <= c->replayed_incarnation)
            *why = "a start whose incarnation does not rise";
        retention_restart(c);
        c->replayed_incarnation = record->incarnation;
        c->incarnation = record->incarnation;
        registry_restart(&c->registry, record->lsn - 1);
        registry_ancestor(&c->registry, &(struct start_id){record->incarnation, record->instance});
        break;
    case RECORD_COMMIT:
        *why = replay_live(c, record, TXN_COMMITTING);
        break;
    case RECORD_DELEGATED:
        *why = replay_live(c, record, TXN_DELEGATED);
        break;
    case RECORD_PRECOMMIT:
        *why = replay_precommit(c, record);
        break;
    case RECORD_PROMISE:
    case RECORD_ACCEPT:
        *why = replay_vote(c, record);
        break;
    case RECORD_END:
        *why = replay_end(c, record, OUTCOME_COMMITTED);
        break;
    case RECORD_OUTCOME:
        *why = replay_end(c, record, record->outcome);
        break;
    case RECORD_MIXED:
        *why = replay_mixed(c, record);
        break;
    case RECORD_AGENT:
    case RECORD_BEAT:
    case RECORD_QUARANTINED:
        *why = replay_rm(c, record);
        break;
    case RECORD_RETIRED:
    case RECORD_WAIVED:
    case RECORD_RELEASED:
    case RECORD_PAUSED:
    case RECORD_RESOLVED:
        if (!MUTANT(RESOLUTION_NOT_KEPT) || record->type != RECORD_RESOLVED)
            *why = dba_replay(c, record);
        break;
    case RECORD_HORIZON:
        outcomes_set_horizon(&c->outcomes, record->incarnation, record->sequence);
        break;
    case RECORD_ESTABLISHED:
        c->registry.established = true;
        break;
    case RECORD_FENCED:
        *why = replay_fence(c, record);
        break;
    case RECORD_ANCESTOR:
        registry_ancestor(&c->registry, &(struct start_id){record->incarnation, record->instance});
        break;
    case RECORD_RM:
        *why = replay_known_rm(c, record);
        break;
    case RECORD_CHUNK:
        *why = retention_replay_chunk(c, record);
        break;
    case RECORD_KEY:
    case RECORD_HASHED_KEY:
        *why = retention_replay_key(c, record);
        break;
    case RECORD_CLOCK:
        retention_replay_clock(c, record);
        break;
    case RECORD_NONE:
    case RECORD_SEAL:
    case RECORD_STOP:
    case RECORD_TYPES:
        break;
    }
    return *why == NULL;
}
