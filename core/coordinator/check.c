/*
 * core/coordinator/check.c - is what a coordinator remembers in itself consistent?
 *
 * For tests: the simulator asks after each step. It looks at what is live alone, so it costs about
 * as much as a step does.
 */
#include <assert.h>

#include "core/coordinator/coordinator_state.h"

static bool check_waits_for_log(enum txn_state state)
{
    return state == TXN_LOGGING || state == TXN_DELEGATING || state == TXN_PRELOGGING ||
           state == TXN_PROMISING;
}

/* The heap is one, and each item knows its place in it. */
static void check_timers(const struct timers *timers)
{
    for (uint32_t place = 0; place < timers->count; place++) {
        uint32_t item = timers->heap[place];
        assert(timers->place[item] == place);
        assert(timers->when[item] != TIMER_NEVER);
        assert(timers->when[timers->heap[place == 0 ? 0 : (place - 1) / 2]] <= timers->when[item]);
    }
}

static uint32_t check_branches(const struct coordinator *c, const struct txn *txn)
{
    uint32_t count = 0;
    for (const struct branch *b = live_first(&c->live, txn); b != NULL;
         b = live_after(&c->live, b)) {
        assert(b->rm < c->registry.count);
        assert(count < BRANCHES_MAX);
        count++;
    }
    assert(count == txn->branch_count);
    return count;
}

static uint32_t check_waiters(const struct coordinator *c, const struct txn *txn)
{
    uint32_t count = 0;
    for (uint32_t i = txn->first_waiter; i != NO_ITEM; i = c->live.waiters[i].next) {
        assert(count < WAITERS_A_TXN);
        count++;
    }
    assert(count == txn->waiter_count);
    return count;
}

/* Nothing that is due is slept through: the one timer is no later than what it is for, or it is
 * due itself, as when a quarantine hurries what had its time already. */
static void check_timer_of(const struct coordinator *c, uint32_t at, uint64_t now_ms)
{
    const struct txn *txn = &c->live.txns[at];
    uint64_t when_ms = c->live.timers.when[at];
    if (c->start_ticket == 0 || c->registry.fenced || when_ms <= now_ms)
        return;
    assert(when_ms <= txn->resend_at_ms);
    if (txn->state == TXN_ACTIVE || txn->state == TXN_PREPARING)
        assert(when_ms <= txn->deadline_ms);
    for (uint32_t i = txn->first_waiter; i != NO_ITEM; i = c->live.waiters[i].next)
        assert(when_ms <= c->live.waiters[i].limit_ms);
}

/* Those that wait for the log stand in a row, in the order of their records. */
static void check_log_row(const struct coordinator *c, uint32_t waiting)
{
    uint32_t count = 0, last = NO_ITEM;
    uint64_t ticket = 0;
    for (uint32_t i = c->logging_first; i != NO_ITEM; i = c->live.txns[i].next_logged) {
        const struct txn *txn = &c->live.txns[i];
        assert(check_waits_for_log(txn->state));
        assert(txn->ticket > ticket && txn->ticket <= c->records);
        assert(count < waiting);
        ticket = txn->ticket;
        last = i;
        count++;
    }
    assert(count == waiting);
    assert(last == c->logging_last);
}

static void check_acts(const struct coordinator *c)
{
    uint64_t ticket = 0;
    assert(c->act_count <= ACTS_MAX && c->act_first < ACTS_MAX);
    for (uint32_t i = 0; i < c->act_count; i++) {
        const struct act *act = &c->acts[(c->act_first + i) % ACTS_MAX];
        assert(act->ticket > ticket && act->ticket <= c->records);
        ticket = act->ticket;
    }
}

void coordinator_check(const struct coordinator *c, uint64_t now_ms)
{
    const struct live *live = &c->live;
    uint32_t txns = 0, branches = 0, waiters = 0, waiting = 0;
    assert(c->durable_records <= c->records);
    assert(c->incarnation == 0 || c->incarnation >= c->replayed_incarnation);
    for (uint32_t i = 0; i < live->txn_slots.touched; i++) {
        const struct txn *txn = &live->txns[i];
        if (txn->state == TXN_NONE) {
            assert(live->timers.when[i] == TIMER_NEVER);
            continue;
        }
        assert(txn->state < TXN_STATES);
        assert(live_find(live, txn->incarnation, txn->sequence) == i);
        assert(!txn->keyed || live_find_key(live, txn->key) == i);
        txns++;
        branches += check_branches(c, txn);
        waiters += check_waiters(c, txn);
        waiting += check_waits_for_log(txn->state);
        check_timer_of(c, i, now_ms);
    }
    assert(txns == slots_used(&live->txn_slots));
    assert(branches == slots_used(&live->branch_slots));
    assert(waiters == slots_used(&live->waiter_slots));
    check_timers(&live->timers);
    check_log_row(c, waiting);
    check_acts(c);
}
