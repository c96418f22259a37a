/*
 * core/coordinator/stray.c - what is said of transactions that are not live.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* Every branch of a committed transaction that is over was done. Found prepared all the same, it
 * is either a second one under the same gid, which nobody voted for, or the very one that we
 * know is committed, come back because its database lost what it had done. Its xid tells; where
 * we do not remember that, it is left to the DBA. */
static bool stray_was_never_voted_for(struct step *s)
{
    const struct result *result = s->event->result;
    const struct gtrid *gtrid = &result->branch.gtrid;
    const struct ended *ended = live_find_ended(&s->c->live, gtrid->incarnation, gtrid->sequence);
    if (ended == NULL) {
        s->c->alarms++;
        return false;
    }
    /* What was looked at before it ended is old news. */
    if (result->type != RESULT_FOUND || result->number <= ended->scan)
        return false;
    if (live_ended_xid(ended, s->event->rm, result->branch.branch) != result->xid)
        return true;
    quarantine_begin(s);
    return false;
}

/* Prepared in a database that had lost data: come back from before that, it follows a commit whose
 * xids are known. Under another xid, or where they are not remembered, it may be a second block of
 * that name, whose first one was committed and is not lost: that is left to the DBA. */
static void stray_follow_known_commit(struct step *s)
{
    const struct result *result = s->event->result;
    const struct gtrid *gtrid = &result->branch.gtrid;
    const struct ended *ended = live_find_ended(&s->c->live, gtrid->incarnation, gtrid->sequence);
    if (ended == NULL || ended->outcome != OUTCOME_COMMITTED || result->type != RESULT_FOUND ||
        live_ended_xid(ended, s->event->rm, result->branch.branch) != result->xid) {
        s->c->alarms++;
        return;
    }
    struct order *order = output_order(s, ORDER_COMMIT, s->event->rm);
    order->branch.gtrid = *gtrid;
    memcpy(order->branch.branch, result->branch.branch, BRANCH_NAME_BYTES);
    order->xid = result->xid;
    order->lsn = facts_safe_lsn(s->c, s->event->rm);
}

/* A DBA had it committed, and nobody has seen what became of its branches: one that is there all
 * the same is his to settle. Once it is no longer remembered that he did, its xid is not either. */
static bool stray_was_ended_by_dba(const struct coordinator *c, const struct gtrid *gtrid)
{
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    return ended != NULL && ended->unsure && ended->outcome == OUTCOME_COMMITTED;
}

/* As the log remembers it; below the horizon as this start has ended it, if it has. */
static enum outcome stray_remembered(const struct coordinator *c, const struct gtrid *gtrid)
{
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    enum outcome outcome = outcomes_find(&c->outcomes, gtrid->incarnation, gtrid->sequence);
    bool known = ended != NULL &&
                 (ended->outcome == OUTCOME_COMMITTED || ended->outcome == OUTCOME_ROLLED_BACK);
    return outcome == OUTCOME_FORGOTTEN && known ? ended->outcome : outcome;
}

/* An agent has something of a transaction that is over, or that we do not know: abort, in every
 * case in which we may speak at all. Below the horizon we may not: a branch that was committed
 * everywhere comes back with a database that has lost the COMMIT PREPARED, and nothing is
 * remembered by which it would be told from one that was never decided. */
void stray_judge(struct step *s, bool prepared)
{
    const struct branch_id *id = &s->event->result->branch;
    const struct gtrid *gtrid = &id->gtrid;
    if (facts_is_beyond(s->c, gtrid)) {
        s->c->alarms++;
        return;
    }
    enum outcome outcome = stray_remembered(s->c, gtrid);
    if (prepared && !facts_may_tell(s->c, gtrid->incarnation, outcome))
        return;
    bool forgotten = outcome == OUTCOME_FORGOTTEN && !MUTANT(FORGOTTEN_IS_UNDONE);
    if (prepared && (forgotten || stray_was_ended_by_dba(s->c, gtrid))) {
        s->c->alarms++;
        return;
    }
    if (prepared && facts_released_since(s->c, s->event->rm, gtrid) &&
        outcome != OUTCOME_ROLLED_BACK) {
        stray_follow_known_commit(s);
        return;
    }
    if (prepared && outcome == OUTCOME_COMMITTED && !stray_was_never_voted_for(s))
        return;
    struct order *order = output_order(s, ORDER_ROLLBACK, s->event->rm);
    order->branch.gtrid = *gtrid;
    memcpy(order->branch.branch, id->branch, BRANCH_NAME_BYTES);
}

/* What is known of the outcome at this moment, live or over. */
void stray_say_what_is_known(struct step *s, const struct gtrid *gtrid)
{
    struct reply *reply = output_answer(s);
    reply->gtrid = *gtrid;
    output_select(s, live_find(&s->c->live, gtrid->incarnation, gtrid->sequence));
    if (s->txn != NULL) {
        output_tell_progress(s, reply);
        return;
    }
    reply->error = coordinator_outcome(s->c, gtrid, &reply->outcome);
    if (reply->error != ERR_NONE)
        return;
    reply->applied = reply->outcome == OUTCOME_COMMITTED || reply->outcome == OUTCOME_ROLLED_BACK;
    const struct ended *ended = live_find_ended(&s->c->live, gtrid->incarnation, gtrid->sequence);
    if (ended != NULL && ended->has_reason) {
        reply->has_reason = true;
        reply->reason = ended->reason;
    }
}

void stray_say_over(struct step *s, const struct gtrid *gtrid)
{
    enum outcome outcome;
    enum error_code error = coordinator_outcome(s->c, gtrid, &outcome);
    output_refuse(s, error == ERR_NONE ? ERR_WRONG_STATE : error);
}
