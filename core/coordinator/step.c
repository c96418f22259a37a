/*
 * core/coordinator/step.c - the coordinator's one entrance: an event comes in, or something is due
 * by itself.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

static void step_start(struct step *s)
{
    struct coordinator *c = s->c;
    assert(c->incarnation == c->replayed_incarnation);
    /* A start that died before its START was durable may have left other records. */
    if (c->incarnation < s->event->log_incarnation)
        c->incarnation = s->event->log_incarnation;
    if (!MUTANT(INCARNATION_KEPT) || c->incarnation == 0)
        c->incarnation++;
    c->instance = s->event->instance;
    retention_restart(c);
    registry_restart(&c->registry, s->event->recovered_lsn);
    struct record *record = output_record(s, RECORD_START);
    record->incarnation = c->incarnation;
    record->instance = c->instance;
    c->start_ticket = c->records;
    if (s->event->unfence && c->registry.fenced) {
        c->registry.fenced = false;
        c->registry.unfenced = true;
        c->registry.rms[c->registry.fenced_by].state = RM_DOWN;
        output_record(s, RECORD_FENCED);
    }
    /* What earlier starts decided is driven as soon as its agents are back. */
    for (uint32_t i = 0; i < c->live.txns_max; i++) {
        struct txn *txn = &c->live.txns[i];
        if (!MUTANT(RECOVERED_FORGOTTEN) &&
            (txn->state == TXN_COMMITTING || txn->state == TXN_DELEGATED ||
             txn->state == TXN_PRECOMMITTING)) {
            txn->begun_ms = s->event->now_ms;
            txn->resend_ms = c->settings.resend_least_ms;
            txn->resend_at_ms = s->event->now_ms + txn->resend_ms;
            timers_set(&c->live.timers, i, txn->resend_at_ms);
        }
    }
}

static void step_logged_event(struct step *s)
{
    struct coordinator *c = s->c;
    assert(s->event->txn == c->logging_first);
    output_select(s, c->logging_first);
    c->logging_first = s->txn->next_logged;
    if (c->logging_first == NO_ITEM)
        c->logging_last = NO_ITEM;
    coordinator_event(s, TE_LOGGED);
}

static void step_timer_event(struct step *s)
{
    output_select(s, s->event->txn);
    struct txn *txn = s->txn;
    output_answer_waiters(s, WHOSE_TIME_IS_OVER);
    bool undecided = txn->state == TXN_ACTIVE || txn->state == TXN_PREPARING;
    if (s->c->registry.fenced)
        output_set_timer(s);
    else if (undecided && txn->deadline_ms <= s->event->now_ms)
        coordinator_event(s, TE_DEADLINE);
    else if (txn->resend_at_ms <= s->event->now_ms)
        coordinator_event(s, TE_RESEND);
    else
        output_set_timer(s);
}

void coordinator_step(struct coordinator *c, const struct event *event, struct actions *out)
{
    struct step s = {.c = c, .event = event, .at = NO_ITEM, .out = out};
    out->record_count = 0;
    out->order_count = 0;
    out->reply_count = 0;
    retention_time(c, event->now_ms);

    switch (event->type) {
    case EV_START:
        step_start(&s);
        break;
    case EV_REQUEST:
        clients_request(&s);
        break;
    case EV_ANSWER:
        agents_answer(&s);
        break;
    case EV_LOST:
        registry_lost(&c->registry, event->rm);
        break;
    case EV_RESULT:
        agents_result(&s);
        break;
    case EV_LOGGED:
        step_logged_event(&s);
        break;
    case EV_TIMER:
        step_timer_event(&s);
        break;
    case EV_SCAN:
        agents_scan(&s);
        break;
    case EV_DRAIN:
        c->draining = true;
        break;
    case EV_SETTLED:
        dba_settled(&s);
        break;
    case EV_CLOCK:
        retention_clock_event(&s);
        break;
    case EV_HOLE:
    case EVENTS:
        assert(false && "not an event");
    }
}

void coordinator_durable(struct coordinator *c, uint64_t records, uint64_t lsn)
{
    assert(records <= c->records);
    if (records < c->durable_records)
        return;
    /* Each call is about one batch, in which positions are dense. */
    for (uint32_t at = c->logging_first; at != NO_ITEM && c->live.txns[at].ticket <= records;
         at = c->live.txns[at].next_logged)
        if (c->live.txns[at].lsn == 0)
            c->live.txns[at].lsn = lsn - (records - c->live.txns[at].ticket);
    c->durable_records = records;
    c->durable_lsn = lsn;
    c->started = c->start_ticket != 0 && records >= c->start_ticket;
    for (uint32_t i = 0; i < c->registry.count; i++)
        if (c->agent_tickets[i] != 0 && records >= c->agent_tickets[i])
            c->registry.rms[i].durable = true;
}

static bool step_log_is_due(const struct coordinator *c)
{
    return c->logging_first != NO_ITEM && !c->registry.fenced &&
           c->live.txns[c->logging_first].ticket <= c->durable_records;
}

static bool step_act_is_due(const struct coordinator *c)
{
    return c->act_count > 0 && !c->registry.fenced &&
           (c->acts[c->act_first].ticket <= c->durable_records || MUTANT(SETTLE_EARLY));
}

static bool step_scans(const struct coordinator *c, uint32_t rm)
{
    return c->started && !c->registry.fenced && c->registry.rms[rm].state == RM_UP &&
           !MUTANT(SCAN_STOPS);
}

bool coordinator_due(struct coordinator *c, uint64_t now_ms, struct event *out)
{
    memset(out, 0, sizeof *out);
    out->now_ms = now_ms;
    retention_time(c, now_ms);
    if (step_log_is_due(c)) {
        out->type = EV_LOGGED;
        out->txn = c->logging_first;
        return true;
    }
    if (step_act_is_due(c)) {
        out->type = EV_SETTLED;
        return true;
    }
    if (retention_clock_is_due(c)) {
        out->type = EV_CLOCK;
        return true;
    }
    if (timers_due(&c->live.timers, now_ms, &out->txn)) {
        out->type = EV_TIMER;
        return true;
    }
    for (uint32_t i = 0; i < c->registry.count; i++) {
        if (step_scans(c, i) && c->scan_at_ms[i] <= now_ms) {
            out->type = EV_SCAN;
            out->rm = i;
            return true;
        }
    }
    return false;
}

uint64_t coordinator_wake_ms(const struct coordinator *c)
{
    uint64_t when = timers_next_ms(&c->live.timers);
    for (uint32_t i = 0; i < c->registry.count; i++)
        if (step_scans(c, i))
            when = timers_earlier(when, c->scan_at_ms[i]);
    return when;
}
