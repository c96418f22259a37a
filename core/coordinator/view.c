/*
 * core/coordinator/view.c - a coordinator as people and its daemon see it. Changes nothing.
 */
#include <string.h>

#include "core/coordinator/coordinator_state.h"

bool coordinator_started(const struct coordinator *c)
{
    return c->started;
}

bool coordinator_ready(const struct coordinator *c)
{
    return c->started && !c->registry.fenced && !c->draining;
}

bool coordinator_draining(const struct coordinator *c)
{
    return c->draining;
}

uint64_t coordinator_incarnation(const struct coordinator *c)
{
    return c->incarnation;
}

void coordinator_offer(const struct coordinator *c, uint32_t rm, struct offer *out)
{
    memcpy(out->tm, c->settings.tm, sizeof out->tm);
    memcpy(out->rm, c->registry.rms[rm].name, sizeof out->rm);
    out->incarnation = c->incarnation;
    out->instance = c->instance;
    out->wire_least = WIRE_VERSION;
    out->wire_most = WIRE_VERSION;
    registry_offer(&c->registry, rm, out);
}

const struct registry *coordinator_registry(const struct coordinator *c)
{
    return &c->registry;
}

const char *txn_state_word(enum txn_state state)
{
    static const char *const words[TXN_STATES] = {
        "none",       "active",        "preparing", "logging", "committing",
        "aborting",   "delegating",    "delegated", "mixed",   "resolved",
        "prelogging", "precommitting", "promising",
    };
    return words[state];
}

const char *txn_event_word(enum txn_event event)
{
    static const char *const words[TXN_EVENTS] = {
        "hole",     "enlist", "commit",    "rollback", "opened",  "yes",     "read-only",
        "no",       "done",   "heuristic", "unsure",   "found",   "session", "logged",
        "deadline", "resend", "polled",    "asked",    "decided",
    };
    return words[event];
}

void coordinator_counts(const struct coordinator *c, struct coordinator_counts *out)
{
    memset(out, 0, sizeof *out);
    out->in_doubt_since_ms = UINT64_MAX;
    /* The slots in use are mostly the first ones of many. */
    uint32_t in_use = slots_used(&c->live.txn_slots);
    for (uint32_t i = 0; i < c->live.txns_max && out->live < in_use; i++) {
        const struct txn *txn = &c->live.txns[i];
        enum txn_state state = txn->state;
        out->live += state != TXN_NONE;
        out->undecided += state == TXN_ACTIVE || state == TXN_PREPARING;
        out->mixed_live += state == TXN_MIXED;
        if (state != TXN_COMMITTING && state != TXN_DELEGATED && state != TXN_PRECOMMITTING &&
            state != TXN_PROMISING)
            continue;
        out->in_doubt++;
        if (txn->begun_ms < out->in_doubt_since_ms)
            out->in_doubt_since_ms = txn->begun_ms;
    }
    out->branches = slots_used(&c->live.branch_slots);
    out->waiters = slots_used(&c->live.waiter_slots);
    out->begun = c->begun;
    out->committed = c->committed;
    out->rolled_back = c->rolled_back;
    out->mixed = c->mixed;
    out->alarms = c->alarms;
    out->remembered_since_incarnation = c->outcomes.horizon_incarnation;
    out->remembered_since_sequence = c->outcomes.horizon_sequence;
    out->outcomes = (uint64_t)c->outcomes.count * CHUNK_SEQUENCES;
    out->outcomes_max = (uint64_t)c->outcome_chunks_max * CHUNK_SEQUENCES;
    out->keys = c->keys.count;
    out->keys_max = c->keys_max;
    out->outcomes_ms = retention_outcomes_ms(c);
    out->keys_ms = retention_keys_ms(c);
}

static enum shown_state shown(enum txn_state state)
{
    static const enum shown_state states[TXN_STATES] = {
        [TXN_ACTIVE] = SHOWN_ACTIVE,
        [TXN_PREPARING] = SHOWN_PREPARING,
        [TXN_LOGGING] = SHOWN_PREPARING,
        [TXN_COMMITTING] = SHOWN_COMMITTING,
        [TXN_ABORTING] = SHOWN_ROLLING_BACK,
        [TXN_DELEGATING] = SHOWN_PREPARING,
        [TXN_DELEGATED] = SHOWN_PREPARING,
        [TXN_MIXED] = SHOWN_MIXED,
        [TXN_RESOLVED] = SHOWN_COMMITTED,
        [TXN_PRELOGGING] = SHOWN_PRECOMMITTING,
        [TXN_PRECOMMITTING] = SHOWN_PRECOMMITTING,
        [TXN_PROMISING] = SHOWN_PRECOMMITTING,
    };
    return states[state];
}

const char *view_progress_word(enum branch_progress progress)
{
    static const char *const words[] = {
        [BR_ACTIVE] = "active",       [BR_ASKED] = "preparing", [BR_YES] = "prepared",
        [BR_LEFT] = "read-only",      [BR_NO] = "refused",      [BR_DONE] = "done",
        [BR_HEURISTIC] = "heuristic", [BR_UNSURE] = "in-doubt",
    };
    return words[progress];
}

static void view_ballot(const struct coordinator *c, const struct txn *txn, struct ballot_view *out)
{
    const struct precommit *precommit = &txn->precommit;
    memset(out, 0, sizeof *out);
    facts_roster(c, txn, &out->roster);
    for (uint32_t i = 0; i < precommit->agent_count; i++)
        if (c->registry.rms[precommit->agents[i]].state == RM_UP)
            out->reachable |= rank_bit(i);
    if (facts_may_vote(c, txn))
        out->reachable |= rank_bit(RANK_TM);
    out->row = precommit->row;
    out->highest = precommit->leader.highest;
    if (txn->state != TXN_PRECOMMITTING && txn->state != TXN_PROMISING)
        return;
    out->phase = precommit->leader.state;
    out->number = precommit->leader.number;
    out->answered = roster_all(&out->roster) & ~leader_silent(&precommit->leader, &out->roster);
    if (out->phase == LEADER_PROPOSING)
        out->value = precommit->leader.value;
}

static void view_live(const struct coordinator *c, const struct txn *txn, uint64_t now_ms,
                      struct txn_view *out)
{
    memcpy(out->gtrid.tm, c->settings.tm, TM_NAME_BYTES);
    out->gtrid.incarnation = txn->incarnation;
    out->gtrid.sequence = txn->sequence;
    out->state = shown(txn->state);
    if (txn->state == TXN_RESOLVED && txn->decision == OUTCOME_ROLLED_BACK)
        out->state = SHOWN_ROLLED_BACK;
    if (txn->state == TXN_RESOLVED && txn->heuristic && !txn->passing)
        out->state = SHOWN_MIXED;
    out->protocol = txn->protocol;
    view_ballot(c, txn, &out->ballot);
    memcpy(out->key, txn->key, KEY_BYTES);
    out->origin = txn->origin;
    out->age_ms = now_ms - txn->begun_ms;
    out->left_ms = 0;
    if ((txn->state == TXN_ACTIVE || txn->state == TXN_PREPARING) && txn->deadline_ms > now_ms)
        out->left_ms = (uint32_t)(txn->deadline_ms - now_ms);
    out->resolved = txn->state == TXN_RESOLVED;
    live_times(&c->live, txn, &out->times);
    out->has_reason = txn->has_reason;
    out->reason = txn->reason;
    out->branch_count = 0;
    for (const struct branch *b = live_first(&c->live, txn); b != NULL;
         b = live_after(&c->live, b)) {
        struct branch_view *view = &out->branches[out->branch_count++];
        memcpy(view->rm, c->registry.rms[b->rm].name, RM_NAME_BYTES);
        memcpy(view->branch, b->name, BRANCH_NAME_BYTES);
        view->progress = b->progress;
        view->state = view_progress_word(b->progress);
        view->answered_ms =
            b->answered_ms == 0 ? NOT_YET : (uint32_t)(b->answered_ms - txn->begun_ms);
        view->done_ms = b->done_ms == 0 ? NOT_YET : (uint32_t)(b->done_ms - txn->begun_ms);
        view->xid = b->xid;
    }
}

static void view_ended(const struct coordinator *c, const struct ended *ended, struct txn_view *out)
{
    bool committed = ended->outcome == OUTCOME_COMMITTED;
    memset(out, 0, sizeof *out);
    memcpy(out->gtrid.tm, c->settings.tm, TM_NAME_BYTES);
    out->gtrid.incarnation = ended->incarnation;
    out->gtrid.sequence = ended->sequence;
    out->state = committed ? SHOWN_COMMITTED : SHOWN_ROLLED_BACK;
    out->protocol = ended->protocol;
    memcpy(out->key, ended->key, KEY_BYTES);
    out->origin = ended->origin;
    out->times = ended->times;
    out->has_reason = ended->has_reason;
    if (ended->has_reason)
        out->reason = ended->reason;
    out->branch_count = ended->branch_count;
    for (uint32_t i = 0; i < ended->branch_count; i++) {
        memcpy(out->branches[i].rm, c->registry.rms[ended->branches[i].rm].name, RM_NAME_BYTES);
        out->branches[i].xid = ended->branches[i].xid;
        out->branches[i].progress = BR_DONE;
        out->branches[i].answered_ms = NOT_YET;
        out->branches[i].done_ms = NOT_YET;
        out->branches[i].state = committed ? "committed" : "rolled-back";
    }
}

bool coordinator_show(const struct coordinator *c, const struct gtrid *gtrid, uint64_t now_ms,
                      struct txn_view *out)
{
    if (!text_equal(gtrid->tm, c->settings.tm, TM_NAME_BYTES))
        return false;
    uint32_t at = live_find(&c->live, gtrid->incarnation, gtrid->sequence);
    if (at != NO_ITEM) {
        view_live(c, &c->live.txns[at], now_ms, out);
        return true;
    }
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    if (ended == NULL)
        return false;
    view_ended(c, ended, out);
    return true;
}

bool coordinator_list(const struct coordinator *c, uint32_t *from, uint64_t now_ms,
                      struct txn_view *out)
{
    for (; *from < c->live.txns_max; ++*from) {
        if (c->live.txns[*from].state == TXN_NONE)
            continue;
        view_live(c, &c->live.txns[*from], now_ms, out);
        return true;
    }
    return false;
}

bool coordinator_ended(const struct coordinator *c, uint64_t *position, uint32_t least_ms,
                       struct txn_view *out)
{
    const struct live *live = &c->live;
    if (live->ended_total > live->ended_max && *position < live->ended_total - live->ended_max)
        *position = live->ended_total - live->ended_max;
    while (*position < live->ended_total) {
        uint64_t back = live->ended_total - (*position)++;
        const struct ended *ended =
            &live->ended[(live->ended_next + live->ended_max - back) % live->ended_max];
        if (ended->times.ended_ms < least_ms || ended->times.ended_ms == NOT_YET)
            continue;
        view_ended(c, ended, out);
        return true;
    }
    return false;
}

static enum txn_known known_of_live(const struct txn *txn)
{
    bool rolled_back = txn->decision == OUTCOME_ROLLED_BACK;
    static const enum txn_known knowns[TXN_STATES] = {
        [TXN_ACTIVE] = KNOWN_UNDECIDED,       [TXN_PREPARING] = KNOWN_UNDECIDED,
        [TXN_LOGGING] = KNOWN_LOGGING,        [TXN_DELEGATING] = KNOWN_LOGGING,
        [TXN_COMMITTING] = KNOWN_COMMITTED,   [TXN_ABORTING] = KNOWN_ABORTED,
        [TXN_DELEGATED] = KNOWN_DELEGATED,    [TXN_MIXED] = KNOWN_MIXED,
        [TXN_PRELOGGING] = KNOWN_LOGGING,     [TXN_PRECOMMITTING] = KNOWN_PRECOMMITTED,
        [TXN_PROMISING] = KNOWN_PRECOMMITTED,
    };
    if (txn->state == TXN_RESOLVED)
        return rolled_back ? KNOWN_ABORTED : KNOWN_COMMITTED;
    return knowns[txn->state];
}

static enum txn_known known_of_past(enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_COMMITTED:
        return KNOWN_COMMITTED;
    case OUTCOME_ROLLED_BACK:
        return KNOWN_ABORTED;
    case OUTCOME_FORGOTTEN:
        return KNOWN_FORGOTTEN;
    case OUTCOME_MIXED:
        return KNOWN_MIXED;
    case OUTCOME_IN_PROGRESS: /* as clients are told */
    case OUTCOME_NONE:
        return KNOWN_UNPROVEN;
    }
    return KNOWN_NOTHING;
}

static void know_live(const struct coordinator *c, const struct txn *txn,
                      const struct branch_id *branch, uint64_t now_ms, struct txn_knowledge *out)
{
    out->live = true;
    out->known = known_of_live(txn);
    out->lsn = txn->lsn;
    view_live(c, txn, now_ms, &out->txn);
    for (const struct branch *b = live_first(&c->live, txn); b != NULL;
         b = live_after(&c->live, b)) {
        if (!text_equal(c->registry.rms[b->rm].name, branch->rm, RM_NAME_BYTES) ||
            !text_equal(b->name, branch->branch, BRANCH_NAME_BYTES))
            continue;
        out->enlisted = true;
        out->voted = b->xid;
    }
}

void coordinator_know(const struct coordinator *c, const struct branch_id *branch, uint64_t now_ms,
                      struct txn_knowledge *out)
{
    const struct gtrid *gtrid = &branch->gtrid;
    enum outcome outcome;
    memset(out, 0, sizeof *out);
    if (coordinator_outcome(c, gtrid, &outcome) != ERR_NONE) {
        out->known = KNOWN_STRANGE;
        return;
    }
    uint32_t at = live_find(&c->live, gtrid->incarnation, gtrid->sequence);
    if (at != NO_ITEM) {
        know_live(c, &c->live.txns[at], branch, now_ms, out);
        return;
    }
    out->known = known_of_past(outcome);
    if (out->known == KNOWN_UNPROVEN)
        registry_may_presume(&c->registry, &out->waits_for);
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    uint32_t rm = registry_find(&c->registry, branch->rm);
    out->released = rm != UINT32_MAX && facts_released_since(c, rm, gtrid);
    if (ended == NULL)
        return;
    view_ended(c, ended, &out->txn);
    out->voted = live_ended_xid(ended, rm, branch->branch);
    out->enlisted = out->voted != 0;
}
