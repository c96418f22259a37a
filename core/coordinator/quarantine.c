/*
 * core/coordinator/quarantine.c - a database has lost what it promised: what that means for what is
 * under way.
 *
 * Whatever has work there, voted for or not, and is not decided is rolled back: each at its own
 * timer, since a step puts out no more than a few orders, and nothing of it commits before that.
 * What is with the log, or with its acceptors, is decided as it would have been; the branch waits
 * for the DBA.
 */
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* Has it any branch there? Each is in doubt from now on, until it is found. */
static bool quarantine_doubt(const struct live *live, const struct txn *txn, uint32_t rm)
{
    bool any = false;
    for (struct branch *b = live_first(live, txn); b != NULL; b = live_after(live, b)) {
        if (b->rm != rm)
            continue;
        b->refound = false;
        any = true;
    }
    return any;
}

static void quarantine_hurry(struct step *s, uint32_t at)
{
    struct txn *txn = &s->c->live.txns[at];
    switch (txn->state) {
    case TXN_ACTIVE:
    case TXN_PREPARING:
        txn->deadline_ms = s->event->now_ms;
        break;
    case TXN_PRECOMMITTING:
        if (txn->precommit.heard)
            return;
        txn->resend_at_ms = s->event->now_ms;
        break;
    default:
        return; /* it finds out when the log has answered, or is decided */
    }
    timers_set(&s->c->live.timers, at, s->event->now_ms);
}

/* Its vote does not count any more. */
static void quarantine_unheard(struct txn *txn, uint32_t rm)
{
    uint32_t rank = facts_rank(txn, rm);
    if (rank != RANK_NONE)
        leader_unheard(&txn->precommit.leader, rank);
}

void quarantine_begin(struct step *s)
{
    uint32_t at = s->event->rm;
    struct rm *rm = &s->c->registry.rms[at];
    struct live *live = &s->c->live;
    rm->state = RM_QUARANTINED;
    s->c->alarms++;
    if (rm->quarantined)
        return;
    /* What it has lost would be hidden from the next start by what it writes until then. */
    rm->quarantined = true;
    memcpy(output_record(s, RECORD_QUARANTINED)->rm, rm->name, RM_NAME_BYTES);
    for (uint32_t i = 0; i < live->txns_max; i++) {
        struct txn *txn = &live->txns[i];
        if (txn->state == TXN_NONE)
            continue;
        quarantine_unheard(txn, at);
        if (!quarantine_doubt(live, txn, at) || txn->lost || MUTANT(QUARANTINED_COUNTS))
            continue;
        txn->lost = true;
        txn->lost_at = (uint8_t)at;
        quarantine_hurry(s, i);
    }
}
