/*
 * core/coordinator/ending.c - how a transaction is decided, and how it ends.
 *
 * Whoever has found out what is to become of it (the moves, the acceptors, a DBA) says so here:
 * the record, the orders and the answers that belong to a commit or an abort are written once.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

static void ending_write_branch(const struct step *s, const struct branch *branch,
                                struct record_branch *out)
{
    memcpy(out->rm, s->c->registry.rms[branch->rm].name, RM_NAME_BYTES);
    memcpy(out->branch, branch->name, BRANCH_NAME_BYTES);
    out->xid = branch->xid;
}

struct record *ending_write_branches(struct step *s, enum record_type type)
{
    struct record *record = output_record(s, type);
    memcpy(record->key, MUTANT(KEY_NOT_LOGGED) ? (char[KEY_BYTES]){""} : s->txn->key, KEY_BYTES);
    memcpy(record->label, s->txn->origin.label, LABEL_BYTES);
    memcpy(record->application, s->txn->origin.application, LABEL_BYTES);
    record->branch_count = 0;
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress != BR_LEFT)
            ending_write_branch(s, b, &record->branches[record->branch_count++]);
    return record;
}

void ending_await_log(struct step *s, enum txn_state state)
{
    s->txn->state = state;
    s->txn->resend_at_ms = TIMER_NEVER;
    s->txn->ticket = s->c->records;
    s->txn->next_logged = NO_ITEM;
    if (s->c->logging_last == NO_ITEM)
        s->c->logging_first = s->at;
    else
        s->c->live.txns[s->c->logging_last].next_logged = s->at;
    s->c->logging_last = s->at;
}

/* ---- over ---- */

void ending_note_commit(struct step *s)
{
    if (MUTANT(FORGET_OUTCOME))
        return;
    retention_commit(s);
    s->c->committed++;
}

/* Nothing is left to do: answer, and keep only the memory of it. */
void ending_over(struct step *s, enum outcome outcome)
{
    output_answer_waiters(s, EVERYBODY);
    s->txn->ended_ms = s->event->now_ms;
    live_remove(&s->c->live, s->at, outcome, s->c->scans);
    s->txn = NULL;
}

static bool ending_any_heuristic(const struct step *s)
{
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress == BR_HEURISTIC || b->counted)
            return true;
    return false;
}

/* If every branch has answered, it is over. */
void ending_if_applied(struct step *s)
{
    struct txn *txn = s->txn;
    for (const struct branch *b = live_first(&s->c->live, txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (facts_is_pending(txn->state, b) && !MUTANT(END_EARLY))
            return;
    if (ending_any_heuristic(s)) {
        txn->decision = facts_decided(txn);
        txn->state = TXN_MIXED;
        txn->resend_at_ms = TIMER_NEVER;
        s->c->mixed++;
        output_answer_waiters(s, EVERYBODY);
        return;
    }
    bool committed = txn->state == TXN_COMMITTING;
    if (committed)
        output_record(s, RECORD_END);
    ending_over(s, committed ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK);
}

/* ---- rolled back ---- */

/* It is rolled back, which nothing changes any more: whoever waits for the agents to have done so
 * too waits no longer than the transaction's own time, and is then told who has not. An agent may
 * be frozen for as long as it likes. */
void ending_limit_waiting(struct step *s)
{
    uint64_t limit_ms =
        s->txn->deadline_ms > s->event->now_ms ? s->txn->deadline_ms : s->event->now_ms;
    limit_ms += ROLLBACK_WAIT_MS;
    for (uint32_t i = s->txn->first_waiter; i != NO_ITEM; i = s->c->live.waiters[i].next)
        s->c->live.waiters[i].limit_ms = timers_earlier(s->c->live.waiters[i].limit_ms, limit_ms);
}

static void ending_give_reason(struct txn *txn, const char *rm, const char *sqlstate,
                               const char *message)
{
    memset(&txn->reason, 0, sizeof txn->reason);
    text_copy(txn->reason.rm, RM_NAME_BYTES, rm, text_length(rm, RM_NAME_BYTES));
    text_copy(txn->reason.sqlstate, SQLSTATE_BYTES, sqlstate,
              text_length(sqlstate, SQLSTATE_BYTES));
    text_copy(txn->reason.message, REASON_BYTES, message, text_length(message, REASON_BYTES));
    txn->has_reason = true;
}

/* In the words of the agent, or of its database. */
void ending_give_reason_of(struct step *s, const struct result *result)
{
    struct reason *reason = &s->txn->reason;
    ending_give_reason(s->txn, s->c->registry.rms[s->branch->rm].name, result->sqlstate,
                       result->message);
    memcpy(reason->detail, result->detail, sizeof reason->detail);
    memcpy(reason->hint, result->hint, sizeof reason->hint);
}

void ending_order_rollbacks(struct step *s)
{
    for (struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b)) {
        if (!facts_is_pending(TXN_ABORTING, b))
            continue;
        output_order_branch(s, ORDER_ROLLBACK, b);
        if (!facts_reachable(s, b->rm))
            b->progress = BR_DONE;
    }
}

/* The transaction aborts here, whatever the reason; the reason is set by the caller. */
void ending_abort(struct step *s)
{
    struct txn *txn = s->txn;
    txn->state = TXN_ABORTING;
    txn->decided_ms = s->event->now_ms;
    live_release_key(&s->c->live, s->at);
    s->c->rolled_back++;
    retention_rollback(s);
    ending_order_rollbacks(s);
    output_resend_soon(s);
    ending_limit_waiting(s);
    output_answer_waiters(s, WHO_WANTS_DECISION);
    ending_if_applied(s);
}

void ending_abort_because(struct step *s, const char *message)
{
    ending_give_reason(s->txn, "", "", message);
    ending_abort(s);
}

void ending_abort_lost(struct step *s)
{
    ending_give_reason(
        s->txn, s->c->registry.rms[s->txn->lost_at].name, "",
        "this database is in quarantine, for it has lost durable data: whatever had work "
        "there and was not decided is rolled back");
    ending_abort(s);
}

/* ---- committed ---- */

/* As was decided, unless a DBA has spoken. What its database may have lost is driven only once it
 * is found there. */
void ending_drive(struct step *s, const struct branch *branch)
{
    if (facts_may_be_lost(s->c, s->txn, branch))
        return;
    output_order_branch(
        s, facts_wanted(s->txn, branch) == OUTCOME_COMMITTED ? ORDER_COMMIT : ORDER_ROLLBACK,
        branch);
}

void ending_drive_all(struct step *s)
{
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress == BR_YES || b->progress == BR_UNSURE)
            ending_drive(s, b);
}

void ending_commit(struct step *s)
{
    s->txn->state = TXN_COMMITTING;
    s->txn->decided_ms = s->event->now_ms;
    ending_note_commit(s);
    ending_drive_all(s);
    output_resend_soon(s);
    output_answer_waiters(s, WHO_WANTS_DECISION);
}

void ending_call_heuristic(struct step *s, struct branch *branch, enum outcome actual,
                           const char *message)
{
    branch->progress = BR_HEURISTIC;
    s->c->alarms++;
    struct record *record = output_record(s, RECORD_MIXED);
    record->outcome = actual;
    record->branch_count = 1;
    ending_write_branch(s, branch, &record->branches[0]);
    ending_give_reason(s->txn, s->c->registry.rms[branch->rm].name, "", message);
}
