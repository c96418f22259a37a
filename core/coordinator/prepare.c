/*
 * core/coordinator/prepare.c - moves of the first phase: branches join, and vote.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

bool prepare_add_waiter(struct step *s)
{
    const struct request *request = s->event->request;
    struct waiter *waiter = live_add_waiter(&s->c->live, s->txn);
    if (waiter == NULL) {
        output_refuse(s, ERR_BUSY);
        return false;
    }
    waiter->op = request->op;
    waiter->client = request->client;
    waiter->wait = request->wait;
    waiter->limit_ms = s->event->now_ms + request->wait_ms;
    if (s->txn->state == TXN_ABORTING)
        ending_limit_waiting(s);
    if (s->txn->state == TXN_COMMITTING || s->txn->state == TXN_ABORTING)
        output_answer_waiters(s, WHO_WANTS_DECISION);
    return true;
}

struct branch *prepare_enlist(struct step *s, uint32_t rm, const char *name)
{
    struct branch *branch = live_add_branch(&s->c->live, s->txn, rm, name);
    if (branch == NULL)
        return NULL;
    const struct request *request = s->event->request;
    branch->agent_incarnation = s->c->registry.rms[rm].agent_incarnation;
    branch->refound = true; /* what it does from now on its database has not lost yet */
    if (request->op == OP_ENLIST) {
        branch->read_only = request->read_only;
        branch->isolation = request->isolation;
        memcpy(branch->role, request->role, ROLE_BYTES);
    }
    return branch;
}

/* The agents of a 3pc transaction are its acceptors, and those are limited. */
static bool prepare_has_too_many_acceptors(const struct step *s, uint32_t newcomer)
{
    uint64_t agents = 0, count = 0;
    if (s->txn->protocol != PROTOCOL_3PC)
        return false;
    static_assert(RMS_MAX <= 64, "a bit for each");
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        agents |= UINT64_C(1) << b->rm;
    for (agents |= UINT64_C(1) << newcomer; agents != 0; agents &= agents - 1)
        count++;
    return count > ACCEPTORS_MAX;
}

/* Does it ask for another branch than the one of that name? What it leaves out is as it is. */
static bool prepare_differs(const struct branch *branch, const struct request *request)
{
    return (request->read_only && !branch->read_only) ||
           (request->isolation != ISOLATION_DEFAULT && branch->isolation != request->isolation) ||
           (request->role[0] != '\0' && !text_equal(branch->role, request->role, ROLE_BYTES));
}

/* A client's enlist; the same again gets the same answer, as long as anybody may ask. */
void prepare_enlist_asked(struct step *s, bool frozen)
{
    const struct request *request = s->event->request;
    uint32_t rm = registry_find(&s->c->registry, request->rm);
    if (rm == UINT32_MAX || s->c->registry.rms[rm].retired) {
        output_refuse(s, ERR_UNKNOWN_RM);
        return;
    }
    struct branch *branch = live_find_branch(&s->c->live, s->txn, rm, request->branch);
    if (branch != NULL && prepare_differs(branch, request)) {
        output_refuse(s, ERR_BRANCH_DIFFERS);
        return;
    }
    if (branch == NULL) {
        if (frozen) {
            output_refuse(s, ERR_WRONG_STATE);
            return;
        }
        if (!facts_may_enlist(&s->c->registry.rms[rm])) {
            output_refuse_rm(s, &s->c->registry.rms[rm]);
            return;
        }
        if (s->txn->branch_count == BRANCHES_MAX || prepare_has_too_many_acceptors(s, rm)) {
            output_refuse(s, ERR_TOO_MANY_BRANCHES);
            return;
        }
        branch = prepare_enlist(s, rm, request->branch);
        if (branch == NULL) {
            output_refuse(s, ERR_BUSY);
            return;
        }
    }
    struct reply *reply = output_answer(s);
    facts_gtrid(s->c, s->txn->incarnation, s->txn->sequence, &reply->gtrid);
    output_show_branch(s, branch, reply);
}

/* ---- voting ---- */

/* Every branch has voted yes or left: ask for the record, and tell nobody. Every message that
 * depends on the decision waits in TE_LOGGED, behind the disk. */
static void prepare_decide_if_unanimous(struct step *s)
{
    uint32_t yes = 0;
    if (s->txn->lost)
        return; /* its time is over, and its timer due */
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b)) {
        if (b->progress == BR_YES)
            yes++;
        else if (b->progress != BR_LEFT && !(MUTANT(DECIDE_EARLY) && yes > 0))
            return;
    }
    if (yes > 0 && s->txn->protocol == PROTOCOL_3PC) {
        precommit_log(s);
        return;
    }
    if (yes > 0) {
        ending_write_branches(s, RECORD_COMMIT);
        ending_await_log(s, TXN_LOGGING);
        return;
    }
    /* All read-only: there is nothing that could be lost, so nothing is logged. */
    s->txn->state = TXN_COMMITTING;
    ending_note_commit(s);
    ending_over(s, OUTCOME_COMMITTED);
}

/* One branch, known to work through its agent: its database may decide alone. */
static bool prepare_may_delegate(const struct step *s)
{
    const struct branch *only = live_first(&s->c->live, s->txn);
    return s->txn->branch_count == 1 && only->opened && !only->read_only &&
           facts_reachable(s, only->rm);
}

void prepare_all(struct step *s)
{
    struct txn *txn = s->txn;
    if (!prepare_add_waiter(s))
        return;
    if (txn->lost) {
        ending_abort_lost(s);
        return;
    }
    txn->asked_ms = s->event->now_ms;
    if (prepare_may_delegate(s)) {
        ending_write_branches(s, RECORD_DELEGATED);
        ending_await_log(s, TXN_DELEGATING);
        if (MUTANT(DELEGATE_UNLOGGED))
            output_order_branch(s, ORDER_COMMIT_ONE_PHASE, live_first(&s->c->live, txn));
        return;
    }
    txn->state = TXN_PREPARING;
    if (txn->protocol == PROTOCOL_3PC) {
        precommit_freeze(s);
        precommit_join(s);
    }
    for (struct branch *b = live_first(&s->c->live, txn); b != NULL;
         b = live_after(&s->c->live, b)) {
        b->progress = BR_ASKED;
        output_order_branch(s, ORDER_PREPARE, b);
    }
    output_resend_soon(s);
    prepare_decide_if_unanimous(s);
}

void prepare_count_vote(struct step *s, enum branch_progress vote)
{
    if (s->branch->progress != BR_ASKED)
        return;
    s->branch->progress = vote;
    s->branch->answered_ms = s->event->now_ms;
    if (vote == BR_YES)
        s->branch->xid = s->event->result->xid;
    prepare_decide_if_unanimous(s);
    if (MUTANT(SEND_EARLY) && s->txn != NULL && s->txn->state == TXN_LOGGING)
        output_order_those(s, ORDER_COMMIT, BR_YES);
}

void prepare_count_no(struct step *s)
{
    if (s->branch->progress != BR_ASKED)
        return;
    s->branch->progress = BR_NO;
    s->branch->answered_ms = s->event->now_ms;
    ending_give_reason_of(s, s->event->result);
    ending_abort(s);
}
