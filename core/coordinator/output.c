/*
 * core/coordinator/output.c - what a coordinator's step puts out: records, orders, replies, and
 * timers.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

void output_select(struct step *s, uint32_t at)
{
    s->at = at;
    s->txn = at == NO_ITEM ? NULL : &s->c->live.txns[at];
}

struct record *output_record(struct step *s, enum record_type type)
{
    assert(s->out->record_count < STEP_RECORDS_MAX);
    struct record *record = &s->out->records[s->out->record_count++];
    memset(record, 0, offsetof(struct record, bits));
    record->type = type;
    if (s->txn != NULL) {
        record->incarnation = s->txn->incarnation;
        record->sequence = s->txn->sequence;
    }
    s->c->records++;
    return record;
}

struct order *output_order(struct step *s, enum order_type type, uint32_t rm)
{
    assert(s->out->order_count < STEP_ORDERS_MAX);
    struct addressed_order *addressed = &s->out->orders[s->out->order_count++];
    memset(addressed, 0, sizeof *addressed);
    addressed->rm = rm;
    addressed->order.type = type;
    addressed->order.branch.gtrid.incarnation = s->c->incarnation;
    memcpy(addressed->order.branch.gtrid.tm, s->c->settings.tm, TM_NAME_BYTES);
    memcpy(addressed->order.branch.rm, s->c->registry.rms[rm].name, RM_NAME_BYTES);
    return &addressed->order;
}

void output_order_branch(struct step *s, enum order_type type, const struct branch *branch)
{
    if (!facts_reachable(s, branch->rm))
        return;
    struct order *order = output_order(s, type, branch->rm);
    order->branch.gtrid.incarnation = s->txn->incarnation;
    order->branch.gtrid.sequence = s->txn->sequence;
    memcpy(order->branch.branch, branch->name, BRANCH_NAME_BYTES);
    order->agent_incarnation = branch->agent_incarnation;
    /* Where the database may have lost it, its xid may be another's. */
    order->xid = facts_may_be_lost(s->c, s->txn, branch) ? 0 : branch->xid;
    order->lsn = facts_safe_lsn(s->c, branch->rm);
    if (MUTANT(LSN_NEWEST))
        order->lsn += s->c->records - s->c->durable_records;
    if (MUTANT(LSN_NONE))
        order->lsn = 0;
    order->or_prepare = type == ORDER_COMMIT_ONE_PHASE;
    if (type != ORDER_PREPARE)
        return;
    if (s->txn->deadline_ms > s->event->now_ms)
        order->timeout_ms = (uint32_t)(s->txn->deadline_ms - s->event->now_ms);
    facts_roster(s->c, s->txn, &order->ballot.roster);
}

void output_order_those(struct step *s, enum order_type type, enum branch_progress progress)
{
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress == progress)
            output_order_branch(s, type, b);
}

struct reply *output_reply_to(struct step *s, enum op op, uint64_t client)
{
    assert(s->out->reply_count < STEP_REPLIES_MAX);
    struct reply *reply = &s->out->replies[s->out->reply_count++];
    memset(reply, 0, offsetof(struct reply, pending));
    reply->branch_count = 0;
    reply->op = op;
    reply->client = client;
    return reply;
}

struct reply *output_answer(struct step *s)
{
    return output_reply_to(s, s->event->request->op, s->event->request->client);
}

void output_refuse(struct step *s, enum error_code error)
{
    output_answer(s)->error = error;
}

void output_refuse_because(struct step *s, enum error_code error, const char *message)
{
    struct reply *reply = output_answer(s);
    reply->error = error;
    reply->has_reason = true;
    text_copy(reply->reason.message, REASON_BYTES, message, text_length(message, REASON_BYTES));
}

void output_refuse_rm(struct step *s, const struct rm *rm)
{
    static const enum error_code errors[] = {
        [RM_DOWN] = ERR_RM_UNAVAILABLE,
        [RM_UP] = ERR_RM_UNAVAILABLE, /* its AGENT record is not durable yet */
        [RM_REFUSED] = ERR_RM_REFUSED,
        [RM_QUARANTINED] = ERR_RM_QUARANTINED,
    };
    struct reply *reply = output_answer(s);
    reply->error = rm->witness ? ERR_RM_IS_WITNESS : rm->paused ? ERR_RM_PAUSED : errors[rm->state];
    reply->has_reason = true;
    memcpy(reply->reason.rm, rm->name, RM_NAME_BYTES);
}

void output_show_branch(const struct step *s, const struct branch *branch, struct reply *reply)
{
    struct enlisted *shown = &reply->branches[reply->branch_count++];
    memset(shown, 0, sizeof *shown);
    memcpy(shown->rm, s->c->registry.rms[branch->rm].name, RM_NAME_BYTES);
    memcpy(shown->branch, branch->name, BRANCH_NAME_BYTES);
    memcpy(shown->role, branch->role, ROLE_BYTES);
    shown->agent_incarnation = branch->agent_incarnation;
    shown->read_only = branch->read_only;
    shown->isolation = branch->isolation;
    if (s->txn->deadline_ms > s->event->now_ms)
        shown->left_ms = (uint32_t)(s->txn->deadline_ms - s->event->now_ms);
}

/* What a client is told of a live transaction. */
void output_tell_progress(const struct step *s, struct reply *reply)
{
    const struct txn *txn = s->txn;
    facts_gtrid(s->c, txn->incarnation, txn->sequence, &reply->gtrid);
    reply->outcome = facts_decided(txn);
    if (txn->has_reason && reply->outcome != OUTCOME_COMMITTED) {
        reply->has_reason = true;
        reply->reason = txn->reason;
    }
    if (reply->outcome == OUTCOME_IN_PROGRESS)
        return;
    for (const struct branch *b = live_first(&s->c->live, txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (facts_is_pending(txn->state, b))
            memcpy(reply->pending[reply->pending_count++], s->c->registry.rms[b->rm].name,
                   RM_NAME_BYTES);
    reply->applied = reply->pending_count == 0;
}

void output_answer_waiters(struct step *s, enum waiting who)
{
    uint32_t *link = &s->txn->first_waiter;
    while (*link != NO_ITEM) {
        struct waiter *waiter = &s->c->live.waiters[*link];
        bool now = who == EVERYBODY ||
                   (who == WHO_WANTS_DECISION && waiter->wait == WAIT_DECIDED) ||
                   (who == WHOSE_TIME_IS_OVER && waiter->limit_ms <= s->event->now_ms);
        if (!now) {
            link = &waiter->next;
            continue;
        }
        output_tell_progress(s, output_reply_to(s, waiter->op, waiter->client));
        live_drop_waiter(&s->c->live, s->txn, link);
    }
}

/* ---- time ---- */

/* Set the transaction's one timer to whatever comes first. */
void output_set_timer(struct step *s)
{
    const struct txn *txn = s->txn;
    uint64_t when = TIMER_NEVER;
    if (!s->c->registry.fenced) {
        when = txn->resend_at_ms;
        if (txn->state == TXN_ACTIVE || txn->state == TXN_PREPARING)
            when = timers_earlier(when, txn->deadline_ms);
    }
    for (uint32_t i = txn->first_waiter; i != NO_ITEM; i = s->c->live.waiters[i].next)
        when = timers_earlier(when, s->c->live.waiters[i].limit_ms);
    timers_set(&s->c->live.timers, s->at, when);
}

void output_resend_soon(struct step *s)
{
    s->txn->resend_ms = s->c->settings.resend_least_ms;
    s->txn->resend_at_ms = s->event->now_ms + s->txn->resend_ms;
}

void output_resend_later(struct step *s)
{
    s->txn->resend_ms = s->txn->resend_ms * 2;
    if (MUTANT(RESEND_STOPS)) {
        s->txn->resend_at_ms = TIMER_NEVER;
        return;
    }
    if (s->txn->resend_ms > s->c->settings.resend_most_ms)
        s->txn->resend_ms = s->c->settings.resend_most_ms;
    s->txn->resend_at_ms = s->event->now_ms + s->txn->resend_ms;
}

void output_scan_all_soon(struct step *s)
{
    for (uint32_t i = 0; i < s->c->registry.count; i++)
        s->c->scan_at_ms[i] = s->event->now_ms;
}
