/*
 * core/coordinator/horizon.c - what agents need no longer remember.
 *
 * An acceptor's row, and a marker, outlive their transaction: a late message must not find a blank
 * page. Below the horizon nothing is late any more, except for what is still live there. An agent
 * that has forgotten says so, and that is taken for an abort; so it may forget only what no start
 * of ours will ever ask about again, which is what ended *on our disk*.
 */
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* Enter it among the first `most` in their order; those behind fall out. */
static void horizon_insert(struct txn_number *list, uint32_t *count, uint32_t most,
                           const struct txn_number *number)
{
    uint32_t at = *count < most ? (*count)++ : most;
    if (at == most) {
        if (txn_not_after(&list[most - 1], number))
            return;
        at = most - 1;
    }
    for (; at > 0 && txn_not_after(number, &list[at - 1]); at--)
        list[at] = list[at - 1];
    list[at] = *number;
}

/* The oldest live ones are excepted; where there are too many, it stops short of the next. */
static void horizon_compute(const struct coordinator *c, struct forget *out)
{
    struct txn_number oldest[FORGET_LIVE_MAX + 1];
    uint32_t count = 0;
    memset(out, 0, sizeof *out);
    out->upto.incarnation = c->outcomes.horizon_incarnation;
    out->upto.sequence = c->outcomes.horizon_sequence;
    for (uint32_t i = 0; i < c->live.txns_max; i++) {
        const struct txn *txn = &c->live.txns[i];
        struct txn_number number = {txn->incarnation, txn->sequence};
        if (txn->state != TXN_NONE && txn_not_after(&number, &out->upto))
            horizon_insert(oldest, &count, FORGET_LIVE_MAX + 1, &number);
    }
    if (count > FORGET_LIVE_MAX) {
        count = FORGET_LIVE_MAX;
        out->upto = oldest[FORGET_LIVE_MAX];
        out->upto.sequence--;
    }
    out->live_count = MUTANT(FORGOTTEN_EARLY) ? 0 : count;
    memcpy(out->live, oldest, count * sizeof *oldest);
}

/* Two steps: compute, and once all that this rested on is on the disk, say it. */
static void horizon_refresh(struct coordinator *c)
{
    if (c->forget_ticket != 0 && c->durable_records >= c->forget_ticket) {
        c->forget = c->forget_next;
        c->forget_ticket = 0;
    }
    if (c->forget_ticket != 0 || c->outcomes.horizon_incarnation == 0)
        return;
    horizon_compute(c, &c->forget_next);
    c->forget_ticket = c->records;
}

void horizon_forget(struct step *s)
{
    struct coordinator *c = s->c;
    uint32_t rm = s->event->rm;
    /* A log that was turned back does not know what is live. */
    if (!registry_may_presume(&c->registry, NULL))
        return;
    horizon_refresh(c);
    uint64_t hash = hash_bytes(&c->forget, sizeof c->forget, 1);
    if (c->forget.upto.incarnation == 0 || c->forget_sent[rm] == hash)
        return;
    c->forget_sent[rm] = hash;
    struct order *order = output_order(s, ORDER_FORGET, rm);
    order->forget = c->forget;
}
