/*
 * core/coordinator/facts.c - what a coordinator knows: questions that change nothing.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

void facts_gtrid(const struct coordinator *c, uint64_t incarnation, uint64_t sequence,
                 struct gtrid *out)
{
    memcpy(out->tm, c->settings.tm, sizeof out->tm);
    out->incarnation = incarnation;
    out->sequence = sequence;
}

bool facts_reachable(const struct step *s, uint32_t rm)
{
    return s->c->registry.rms[rm].state == RM_UP;
}

bool facts_acceptance_is_durable(const struct coordinator *c, uint32_t rm)
{
    return c->agent_tickets[rm] != 0 && c->durable_records >= c->agent_tickets[rm];
}

/* A position that no crash takes back and every later offer reaches: a torn tail must not fence
 * us. Until the agent's AGENT record of this start is on disk, the next offer may be no more than
 * this one's; whatever concerns that agent and was recovered lies below it. */
uint64_t facts_safe_lsn(const struct coordinator *c, uint32_t rm)
{
    return facts_acceptance_is_durable(c, rm) ? c->durable_lsn : c->registry.rms[rm].offer_lsn;
}

/* ---- of a transaction and its branches ---- */

/* Has this branch still to hear the outcome, or to say that it has? */
bool facts_is_pending(enum txn_state state, const struct branch *branch)
{
    switch (branch->progress) {
    case BR_ACTIVE:
    case BR_ASKED:
    case BR_NO:
        return state == TXN_ABORTING;
    case BR_YES:
        return true;
    case BR_UNSURE:
        return state == TXN_COMMITTING && !MUTANT(END_ON_UNSURE);
    case BR_LEFT:
    case BR_DONE:
    case BR_HEURISTIC:
        return false;
    }
    return false;
}

enum outcome facts_decided(const struct txn *txn)
{
    switch (txn->state) {
    case TXN_COMMITTING:
        return OUTCOME_COMMITTED;
    case TXN_ABORTING:
        return OUTCOME_ROLLED_BACK;
    case TXN_MIXED:
        return OUTCOME_MIXED;
    case TXN_RESOLVED:
        if (txn->heuristic) /* a person's word for what was in a lost log proves nothing */
            return txn->passing ? OUTCOME_FORGOTTEN : OUTCOME_MIXED;
        return txn->decision;
    case TXN_LOGGING:
        return MUTANT(TELL_EARLY) ? OUTCOME_COMMITTED : OUTCOME_IN_PROGRESS;
    case TXN_DELEGATED:
        return MUTANT(DELEGATED_ABORTS) && txn->recovered ? OUTCOME_ROLLED_BACK
                                                          : OUTCOME_IN_PROGRESS;
    default:
        return OUTCOME_IN_PROGRESS;
    }
}

enum outcome facts_wanted(const struct txn *txn, const struct branch *branch)
{
    if (branch->verdict != OUTCOME_NONE)
        return branch->verdict;
    if (txn->state == TXN_RESOLVED)
        return txn->decision;
    return txn->state == TXN_COMMITTING ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
}

bool facts_released_since(const struct coordinator *c, uint32_t rm, const struct gtrid *gtrid)
{
    const struct rm *known = &c->registry.rms[rm];
    if (MUTANT(RELEASED_IS_WHOLE))
        return false;
    if (gtrid->incarnation != known->released_incarnation)
        return gtrid->incarnation < known->released_incarnation;
    return gtrid->sequence <= known->released_sequence;
}

bool facts_may_be_lost(const struct coordinator *c, const struct txn *txn,
                       const struct branch *branch)
{
    struct gtrid gtrid = {.incarnation = txn->incarnation, .sequence = txn->sequence};
    return !branch->refound && facts_released_since(c, branch->rm, &gtrid);
}

/* What a DBA has said of it is not in effect yet: it could not be judged by that. */
bool facts_is_being_resolved(const struct coordinator *c, uint64_t incarnation, uint64_t sequence)
{
    for (uint32_t i = 0; i < c->act_count; i++) {
        const struct record *record = &c->acts[(c->act_first + i) % ACTS_MAX].record;
        if (record->type == RECORD_RESOLVED && record->incarnation == incarnation &&
            record->sequence == sequence)
            return true;
    }
    return false;
}

/* Is this RM able to take part at this moment? Its AGENT record comes before its first branch. */
bool facts_may_enlist(const struct rm *rm)
{
    return rm->state == RM_UP && rm->durable && !rm->retired && !rm->paused && !rm->witness;
}

/* Does this branch still need its RM, to be decided or to hear the decision? */
static bool facts_needs_rm(const struct txn *txn, const struct branch *branch)
{
    bool undecided = txn->state == TXN_ACTIVE || txn->state == TXN_PREPARING ||
                     txn->state == TXN_DELEGATING || txn->state == TXN_DELEGATED;
    bool over = branch->progress == BR_LEFT || branch->progress == BR_DONE ||
                branch->progress == BR_HEURISTIC;
    return (undecided || facts_is_pending(txn->state, branch)) && !over;
}

uint32_t coordinator_running_at(const struct coordinator *c, uint32_t rm)
{
    uint32_t running = 0;
    for (uint32_t i = 0; i < c->live.txns_max; i++) {
        const struct txn *txn = &c->live.txns[i];
        if (txn->state == TXN_NONE)
            continue;
        const struct branch *b = live_first(&c->live, txn);
        while (b != NULL && (b->rm != rm || !facts_needs_rm(txn, b)))
            b = live_after(&c->live, b);
        running += b != NULL;
    }
    return running;
}

/* ---- of its acceptors ---- */

void facts_roster(const struct coordinator *c, const struct txn *txn, struct roster *out)
{
    const struct precommit *precommit = &txn->precommit;
    out->count = precommit->agent_count;
    out->tm = precommit->tm;
    for (uint32_t i = 0; i < precommit->agent_count; i++)
        memcpy(out->agents[i], c->registry.rms[precommit->agents[i]].name, RM_NAME_BYTES);
}

uint32_t facts_rank(const struct txn *txn, uint32_t rm)
{
    for (uint32_t i = 0; i < txn->precommit.agent_count; i++)
        if (txn->precommit.agents[i] == rm)
            return i;
    return RANK_NONE;
}

/* A log that was turned back has forgotten what it promised: about an earlier start it votes only
 * once it is known to be the newest. */
bool facts_may_vote(const struct coordinator *c, const struct txn *txn)
{
    return txn->precommit.tm &&
           (txn->incarnation == c->incarnation || registry_may_presume(&c->registry, NULL));
}

/* ---- of one that may not be live ---- */

bool facts_may_tell(const struct coordinator *c, uint64_t incarnation, enum outcome outcome)
{
    return outcome == OUTCOME_COMMITTED || incarnation == c->incarnation ||
           MUTANT(PRESUME_AT_ONCE) || registry_may_presume(&c->registry, NULL);
}

bool facts_is_beyond(const struct coordinator *c, const struct gtrid *gtrid)
{
    return gtrid->incarnation > c->incarnation ||
           (gtrid->incarnation == c->incarnation && gtrid->sequence > c->sequence);
}

enum error_code coordinator_outcome(const struct coordinator *c, const struct gtrid *gtrid,
                                    enum outcome *out)
{
    if (!text_equal(gtrid->tm, c->settings.tm, TM_NAME_BYTES))
        return ERR_UNKNOWN_TRANSACTION;
    /* An old log, or an empty one in the place of one that is lost, has not reached what was begun
     * and may have committed: until every agent has spoken it cannot say that it never was. */
    if (facts_is_beyond(c, gtrid))
        return registry_may_presume(&c->registry, NULL) ? ERR_UNKNOWN_TRANSACTION : ERR_NOT_READY;
    uint32_t at = live_find(&c->live, gtrid->incarnation, gtrid->sequence);
    if (at != NO_ITEM) {
        *out = facts_decided(&c->live.txns[at]);
        return ERR_NONE;
    }
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    *out = ended != NULL ? ended->outcome
                         : outcomes_find(&c->outcomes, gtrid->incarnation, gtrid->sequence);
    if (!facts_may_tell(c, gtrid->incarnation, *out))
        *out = OUTCOME_IN_PROGRESS;
    return ERR_NONE;
}
