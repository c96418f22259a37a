/*
 * core/coordinator/apply.c - moves of the second phase: every branch follows the decision.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

void apply_again(struct step *s)
{
    ending_drive_all(s);
    output_resend_later(s);
    /* Of what was read back, a DBA may have settled the last branch. */
    ending_if_applied(s);
}

void apply_count_done(struct step *s)
{
    if (!facts_is_pending(s->txn->state, s->branch))
        return;
    /* A branch that a DBA wants rolled back may have been committed just before he said so. */
    if (s->txn->state == TXN_COMMITTING && s->branch->verdict == OUTCOME_ROLLED_BACK &&
        s->event->result->actual != OUTCOME_COMMITTED && !MUTANT(HEURISTIC_IS_DONE))
        ending_call_heuristic(
            s, s->branch, OUTCOME_ROLLED_BACK,
            "heuristic: a DBA had this branch rolled back though it was committed");
    else
        s->branch->progress = BR_DONE;
    s->branch->done_ms = s->event->now_ms;
    ending_if_applied(s);
}

void apply_note_heuristic(struct step *s)
{
    const struct result *result = s->event->result;
    enum outcome other = s->txn->state == TXN_COMMITTING ? OUTCOME_ROLLED_BACK : OUTCOME_COMMITTED;
    if (!facts_is_pending(s->txn->state, s->branch))
        return;
    if (result->actual != other || MUTANT(HEURISTIC_IS_DONE)) {
        if (s->branch->verdict != OUTCOME_NONE || MUTANT(HEURISTIC_IS_DONE))
            apply_count_done(s);
        return;
    }
    ending_call_heuristic(
        s, s->branch, other,
        other == OUTCOME_COMMITTED
            ? "heuristic: this branch was committed by hand though it was rolled back"
            : "heuristic: this branch was rolled back by hand though it was committed");
    ending_if_applied(s);
}

/* Gone, and nothing says how: unless a DBA has, it is kept for him. */
void apply_note_unsure(struct step *s)
{
    if (s->branch->progress != BR_YES)
        return;
    s->branch->progress = BR_UNSURE;
    s->c->alarms++;
    if (s->branch->verdict == OUTCOME_COMMITTED)
        s->branch->progress = BR_DONE;
    else if (s->branch->verdict == OUTCOME_ROLLED_BACK)
        ending_call_heuristic(s, s->branch, OUTCOME_ROLLED_BACK,
                              "heuristic: a DBA counts this branch as rolled back");
    if (s->branch->verdict != OUTCOME_NONE)
        ending_if_applied(s);
}

void apply_undo_again(struct step *s)
{
    ending_order_rollbacks(s);
    output_resend_later(s);
    ending_if_applied(s);
}

/* Prepared under a gid of a decided transaction, and never voted for. */
static void apply_undo_stranger(struct step *s)
{
    struct branch stranger = {.rm = s->event->rm};
    memcpy(stranger.name, s->event->result->branch.branch, BRANCH_NAME_BYTES);
    output_order_branch(s, ORDER_ROLLBACK, &stranger);
}

/* A prepared branch of ours whose outcome it has yet to hear. It may be a second transaction
 * prepared under the gid of one that is done; the agent tells them apart by the xid. */
void apply_one(struct step *s)
{
    if (s->branch == NULL) {
        apply_undo_stranger(s);
        return;
    }
    if (s->branch->progress == BR_LEFT)
        output_order_branch(s, ORDER_ROLLBACK, s->branch);
    else
        ending_drive(s, s->branch);
}

void apply_undo_one(struct step *s)
{
    if (s->event->type == EV_RESULT && s->event->result->type == RESULT_READY && s->branch != NULL)
        s->branch->xid = s->event->result->xid;
    if (s->branch != NULL)
        output_order_branch(s, ORDER_ROLLBACK, s->branch);
    else
        apply_undo_stranger(s);
}

/* Whatever became of the branch that was voted for: another under its gid never was. If it is that
 * one, a DBA has spoken without having seen it, and it follows his word; or it could not be reached
 * while the others were undone, and is undone now. */
void apply_undo_other(struct step *s)
{
    if (s->branch == NULL || s->branch->xid != s->event->result->xid)
        apply_undo_stranger(s);
    else if (s->branch->counted)
        output_order_branch(s, ORDER_COMMIT, s->branch);
    else if (s->branch->verdict == OUTCOME_ROLLED_BACK ||
             (s->txn->decision == OUTCOME_ROLLED_BACK && s->branch->progress != BR_HEURISTIC))
        output_order_branch(s, ORDER_ROLLBACK, s->branch);
}

/* ---- one phase ---- */

/* Only the start that wrote DELEGATED may ask for the commit; a later one asks what became of it.
 */
void apply_delegate(struct step *s)
{
    s->txn->state = TXN_DELEGATED;
    output_order_branch(s, s->txn->recovered ? ORDER_SETTLE : ORDER_COMMIT_ONE_PHASE,
                        live_first(&s->c->live, s->txn));
}

void apply_end_delegated(struct step *s, enum outcome outcome)
{
    output_record(s, RECORD_OUTCOME)->outcome = outcome;
    if (outcome == OUTCOME_COMMITTED) {
        s->txn->state = TXN_COMMITTING;
        s->branch->progress = BR_DONE;
        ending_note_commit(s);
    } else {
        ending_give_reason_of(s, s->event->result);
        s->txn->state = TXN_ABORTING;
        s->branch->progress = BR_DONE;
        s->c->rolled_back++;
    }
    ending_over(s, outcome);
}

/* The database could not write a marker, and so has prepared the branch: it waits for us, as with
 * two. Nobody else can have decided meanwhile, for a prepared branch is finished by our word alone;
 * the record is the decision, and until then it is still delegated to whoever reads the log. */
void apply_take_back(struct step *s)
{
    if (facts_is_being_resolved(s->c, s->txn->incarnation, s->txn->sequence))
        return; /* a DBA's word comes first; the agent says it again */
    s->branch->progress = BR_YES;
    s->branch->xid = s->event->result->xid;
    s->branch->answered_ms = s->event->now_ms;
    if (MUTANT(PREPARED_IS_DONE)) {
        apply_end_delegated(s, OUTCOME_COMMITTED);
        return;
    }
    ending_write_branches(s, RECORD_COMMIT);
    ending_await_log(s, TXN_LOGGING);
    if (MUTANT(TAKEN_BACK_UNLOGGED))
        output_order_those(s, ORDER_COMMIT, BR_YES);
}

/* ---- resolved by a DBA ---- */

/* Found prepared: the DBA's word is about whatever carries this name. */
void apply_follow(struct step *s)
{
    const struct result *result = s->event->result;
    if (s->branch == NULL)
        s->branch =
            live_add_branch(&s->c->live, s->txn, s->event->rm, s->event->result->branch.branch);
    if (s->branch == NULL)
        return;
    s->branch->progress = BR_YES;
    s->branch->refound = true;
    s->branch->xid = result->xid;
    if (s->txn->passing)
        s->txn->settled_scan = s->c->scans; /* it has to be asked once more */
    ending_drive(s, s->branch);
}

void apply_count_followed(struct step *s)
{
    enum outcome actual = s->event->result->actual;
    bool otherwise = actual != OUTCOME_NONE && actual != facts_wanted(s->txn, s->branch);
    if (s->branch->progress == BR_YES)
        s->branch->progress = otherwise ? BR_HEURISTIC : BR_DONE;
}
