/*
 * core/coordinator/resolve.c - what a DBA decides about a transaction: resolve and forget.
 *
 * A decision that agrees with the log only says again what holds. One against the log, or where
 * nobody can know, is taken when it is forced, and is a heuristic outcome from then on: the
 * transaction is called mixed, whatever its branches then do, and kept until it is forgotten.
 *
 * One of 3pc that has been precommitted is its acceptors' to decide: what the coordinator does not
 * know yet, those it cannot reach may have decided. If it is forced, all acceptors are told, and
 * those that are asked from then on say so: who has not decided otherwise by then follows.
 *
 * Of a transaction that is live as committed, branches get a verdict of their own. One that the
 * log does not know, or that is over, becomes live as RESOLVED: whatever the agents find prepared
 * under its name follows the DBA's word.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* ---- judging ---- */

static void resolve_judge_as(struct resolution_view *out, enum judgement judgement, const char *why)
{
    out->judgement = judgement;
    out->why = why;
}

/* It is gone, or may be, and nothing says how it ended. */
static bool resolve_is_unsure(const struct coordinator *c, const struct txn *txn,
                              const struct branch *branch)
{
    return branch->progress == BR_UNSURE ||
           (branch->progress == BR_YES && facts_may_be_lost(c, txn, branch));
}

static void resolve_judge_branch(const struct coordinator *c, const struct txn *txn,
                                 const struct branch *branch, enum outcome outcome,
                                 struct resolution_view *out)
{
    enum branch_progress ended =
        outcome == OUTCOME_COMMITTED ? BR_DONE : BR_HEURISTIC; /* as is asked for */
    if (branch->progress == BR_DONE || branch->progress == BR_HEURISTIC ||
        branch->progress == BR_LEFT) {
        resolve_judge_as(out, branch->progress == ended ? JUDGED_AGREES : JUDGED_IMPOSSIBLE,
                         "this branch has ended already");
    } else if (outcome == OUTCOME_ROLLED_BACK) {
        resolve_judge_as(out, JUDGED_CONTRADICTED,
                         "the log says that the transaction is committed");
    } else if (resolve_is_unsure(c, txn, branch)) {
        resolve_judge_as(out, JUDGED_AGREES, "the log says that the transaction is committed");
    } else {
        resolve_judge_as(
            out, JUDGED_UNKNOWABLE,
            "the branch is prepared, and is committed as soon as its agent can be reached");
    }
}

static void resolve_judge_committing(const struct coordinator *c, const struct txn *txn,
                                     const struct request *request, struct resolution_view *out)
{
    if (request->rm[0] != '\0') {
        uint32_t rm = registry_find(&c->registry, request->rm);
        const struct branch *branch = live_find_branch(&c->live, txn, rm, request->branch);
        if (branch == NULL)
            resolve_judge_as(out, JUDGED_IMPOSSIBLE, "the transaction has no such branch");
        else
            resolve_judge_branch(c, txn, branch, request->wanted, out);
    } else if (request->wanted == OUTCOME_COMMITTED) {
        resolve_judge_as(out, JUDGED_AGREES, "the log says that the transaction is committed");
    } else {
        resolve_judge_as(out, JUDGED_CONTRADICTED,
                         "the log says that the transaction is committed");
    }
}

static void resolve_judge_live(const struct coordinator *c, const struct txn *txn,
                               const struct request *request, struct resolution_view *out)
{
    bool commit = request->wanted == OUTCOME_COMMITTED;
    if (request->rm[0] != '\0' && txn->state != TXN_COMMITTING) {
        resolve_judge_as(
            out, JUDGED_IMPOSSIBLE,
            "one branch alone can be settled only of a transaction that is committing");
        return;
    }
    switch (txn->state) {
    case TXN_ACTIVE:
    case TXN_PREPARING:
        resolve_judge_as(out, commit ? JUDGED_IMPOSSIBLE : JUDGED_AGREES,
                         commit ? "it is not decided, and not every branch is prepared"
                                : "it is not decided: nothing is committed anywhere");
        break;
    case TXN_COMMITTING:
        resolve_judge_committing(c, txn, request, out);
        break;
    case TXN_ABORTING:
        resolve_judge_as(out, commit ? JUDGED_IMPOSSIBLE : JUDGED_AGREES,
                         "it is being rolled back");
        break;
    case TXN_DELEGATED:
        resolve_judge_as(out, JUDGED_UNKNOWABLE,
                         "its only database decides, and says what it did once it can be asked");
        break;
    case TXN_PRECOMMITTING:
        resolve_judge_as(
            out, JUDGED_UNKNOWABLE,
            "a majority of its acceptors decides, and may have decided otherwise: it is "
            "settled as soon as enough of them can be reached");
        break;
    case TXN_RESOLVED:
        resolve_judge_as(out, txn->decision == request->wanted ? JUDGED_AGREES : JUDGED_IMPOSSIBLE,
                         "a DBA has resolved it");
        break;
    case TXN_MIXED:
        resolve_judge_as(out, JUDGED_IMPOSSIBLE,
                         "it is over, with branches that ended differently");
        break;
    default:
        resolve_judge_as(out, JUDGED_IMPOSSIBLE, "it is being decided at this moment: ask again");
    }
}

/* Over, or of another start, or never begun. */
static void resolve_judge_stray(const struct coordinator *c, const struct request *request,
                                struct resolution_view *out)
{
    enum outcome outcome;
    if (coordinator_outcome(c, &request->gtrid, &outcome) != ERR_NONE) {
        resolve_judge_as(out, JUDGED_IMPOSSIBLE,
                         "this coordinator has not reached that number: it may give it out yet");
    } else if (request->rm[0] != '\0') {
        resolve_judge_as(out, JUDGED_IMPOSSIBLE,
                         "it is not live: only what is found of it as a whole can be settled");
    } else if (outcome == OUTCOME_COMMITTED && request->wanted == outcome) {
        /* A second branch under its gid, which nobody voted for, must not be committed. */
        const struct ended *ended =
            live_find_ended(&c->live, request->gtrid.incarnation, request->gtrid.sequence);
        bool told_apart = ended != NULL && !ended->unsure;
        resolve_judge_as(out, told_apart ? JUDGED_IMPOSSIBLE : JUDGED_UNKNOWABLE,
                         told_apart
                             ? "it is over: what is found of it is told apart by its xid"
                             : "every branch of it was committed: what is prepared under its name "
                               "may be a second one, or have come back");
    } else if (outcome == request->wanted) {
        resolve_judge_as(out, JUDGED_AGREES, "the log says the same");
    } else if (outcome == OUTCOME_COMMITTED) {
        resolve_judge_as(out, JUDGED_CONTRADICTED,
                         "the log says that the transaction was committed");
    } else if (outcome == OUTCOME_ROLLED_BACK) {
        resolve_judge_as(out, JUDGED_CONTRADICTED,
                         "the log has no record of it: the transaction was rolled back");
    } else if (outcome == OUTCOME_FORGOTTEN) {
        resolve_judge_as(out, JUDGED_UNKNOWABLE, "its outcome is no longer remembered");
    } else {
        resolve_judge_as(
            out, JUDGED_UNKNOWABLE,
            "not every agent has registered: one that is silent may have committed it");
    }
}

/* May the agent of this RM still show a branch that a DBA has counted as committed, for it has not
 * been asked since? What it shows later would be told apart by nothing. */
static bool resolve_may_still_show(const struct coordinator *c, const struct txn *txn, uint32_t rm)
{
    const struct rm *known = &c->registry.rms[rm];
    bool asked = known->state == RM_UP && c->scanned[rm] > txn->settled_scan;
    if (known->retired || asked || !(known->configured || known->logged))
        return false;
    if (txn->state == TXN_RESOLVED)
        return txn->decision == OUTCOME_COMMITTED;
    for (const struct branch *b = live_first(&c->live, txn); b != NULL; b = live_after(&c->live, b))
        if (b->rm == rm && b->counted)
            return true;
    return false;
}

/* Has every agent shown all that it has prepared, and nothing of this, since it was settled? */
static bool resolve_was_asked_of_all(const struct coordinator *c, const struct txn *txn)
{
    for (uint32_t i = 0; i < c->registry.count; i++) {
        const struct rm *rm = &c->registry.rms[i];
        bool owes = !rm->retired && (rm->configured || rm->logged);
        if (owes && (rm->state != RM_UP || c->scanned[i] <= txn->settled_scan))
            return false;
    }
    return true;
}

/* What a new log says of the transactions of the lost one: their branches are rolled back wherever
 * they are found, and the last agent that has none of them ends it. A person's word for it
 * proves nothing, and nobody is told that it ended so. */
void resolve_end_recovered(struct step *s)
{
    struct coordinator *c = s->c;
    for (uint32_t i = 0; i < c->live.txn_slots.touched; i++) {
        const struct txn *txn = &c->live.txns[i];
        if (txn->state == TXN_RESOLVED && txn->passing && resolve_was_asked_of_all(c, txn))
            live_remove(&c->live, i, txn->heuristic ? OUTCOME_FORGOTTEN : txn->decision, c->scans);
    }
}

static void resolve_judge_forget(const struct coordinator *c, const struct txn *txn,
                                 struct resolution_view *out)
{
    if (txn == NULL || (txn->state != TXN_MIXED && txn->state != TXN_RESOLVED)) {
        resolve_judge_as(
            out, JUDGED_IMPOSSIBLE,
            "only a transaction that is mixed, or that a DBA has resolved, is kept until it "
            "is forgotten");
        return;
    }
    resolve_judge_as(out, JUDGED_AGREES, "it is kept for a DBA alone");
    for (uint32_t i = 0; i < c->registry.count; i++)
        if (resolve_may_still_show(c, txn, i))
            resolve_judge_as(
                out, JUDGED_CONTRADICTED,
                "not every agent has been asked since it was resolved: one that comes back may "
                "show a branch of it that is still prepared");
    for (const struct branch *b = live_first(&c->live, txn); b != NULL; b = live_after(&c->live, b))
        if (facts_is_pending(txn->state, b))
            resolve_judge_as(out, JUDGED_CONTRADICTED, "a branch of it is still prepared");
}

static const char *resolve_plan_for(const struct coordinator *c, const struct txn *txn,
                                    const struct branch *branch, const struct request *request)
{
    bool named = request->rm[0] != '\0';
    bool meant =
        !named || (text_equal(c->registry.rms[branch->rm].name, request->rm, RM_NAME_BYTES) &&
                   text_equal(branch->name, request->branch, BRANCH_NAME_BYTES));
    bool pending = facts_is_pending(txn->state, branch) || txn->state == TXN_ACTIVE ||
                   txn->state == TXN_PREPARING || txn->state == TXN_DELEGATED;
    if (!meant || !pending || request->op == OP_FORGET)
        return "nothing";
    bool gone = resolve_is_unsure(c, txn, branch) || txn->state == TXN_DELEGATED ||
                (named && c->registry.rms[branch->rm].state != RM_UP);
    if (request->wanted == OUTCOME_COMMITTED)
        return gone || named ? "count as committed" : "commit";
    return gone ? "count as rolled back" : "roll back";
}

static void resolve_view_branches(const struct coordinator *c, const struct txn *txn,
                                  const struct request *request, struct resolution_view *out)
{
    bool committed = false, undone = false;
    for (const struct branch *b = live_first(&c->live, txn); b != NULL;
         b = live_after(&c->live, b)) {
        struct resolution_branch *view = &out->branches[out->branch_count++];
        memcpy(view->rm, c->registry.rms[b->rm].name, RM_NAME_BYTES);
        memcpy(view->branch, b->name, BRANCH_NAME_BYTES);
        view->state = view_progress_word(b->progress);
        view->plan = resolve_plan_for(c, txn, b, request);
        view->xid = b->xid;
        bool meant = view->plan[0] != 'n'; /* not "nothing" */
        enum outcome ends = meant ? request->wanted : facts_wanted(txn, b);
        if (b->progress == BR_HEURISTIC)
            ends =
                facts_wanted(txn, b) == OUTCOME_COMMITTED ? OUTCOME_ROLLED_BACK : OUTCOME_COMMITTED;
        committed |= ends == OUTCOME_COMMITTED && b->progress != BR_LEFT;
        undone |= ends == OUTCOME_ROLLED_BACK && b->progress != BR_LEFT;
    }
    out->mixed |= committed && undone;
}

void coordinator_judge(const struct coordinator *c, const struct request *request,
                       struct resolution_view *out)
{
    memset(out, 0, sizeof *out);
    uint32_t at = live_find(&c->live, request->gtrid.incarnation, request->gtrid.sequence);
    const struct txn *txn = at == NO_ITEM ? NULL : &c->live.txns[at];
    out->live = txn != NULL;
    if (request->op == OP_FORGET)
        resolve_judge_forget(c, txn, out);
    else if (txn != NULL)
        resolve_judge_live(c, txn, request, out);
    else
        resolve_judge_stray(c, request, out);
    out->mixed = out->judgement == JUDGED_CONTRADICTED && request->op == OP_RESOLVE;
    if (txn != NULL)
        resolve_view_branches(c, txn, request, out);
}

/* ---- asking ---- */

static void resolve_refuse_judged(struct step *s, const struct resolution_view *view)
{
    output_refuse_because(
        s, view->judgement == JUDGED_IMPOSSIBLE ? ERR_WRONG_STATE : ERR_CONTRADICTED, view->why);
}

void resolve_request(struct step *s)
{
    struct resolution_view view;
    const struct request *request = s->event->request;
    if (facts_is_being_resolved(s->c, request->gtrid.incarnation, request->gtrid.sequence)) {
        output_refuse(s, ERR_BUSY);
        return;
    }
    coordinator_judge(s->c, request, &view);
    bool forced = view.judgement != JUDGED_AGREES;
    if (view.judgement == JUDGED_IMPOSSIBLE ||
        (forced && !request->force && !MUTANT(FORCE_UNASKED))) {
        resolve_refuse_judged(s, &view);
        return;
    }
    struct record *record = act_begin(s, RECORD_RESOLVED);
    record->incarnation = request->gtrid.incarnation;
    record->sequence = request->gtrid.sequence;
    record->outcome = request->op == OP_FORGET ? OUTCOME_FORGOTTEN : request->wanted;
    record->flags = (forced && !MUTANT(FORCED_IS_PLAIN) ? RESOLVED_HEURISTIC : 0u) |
                    (view.live ? 0u : RESOLVED_STRAY);
    if (request->rm[0] != '\0') {
        record->branch_count = 1;
        memset(&record->branches[0], 0, sizeof record->branches[0]);
        memcpy(record->branches[0].rm, request->rm, RM_NAME_BYTES);
        memcpy(record->branches[0].branch, request->branch, BRANCH_NAME_BYTES);
    }
    act_end(s, record);
}

/* ---- taking effect, now or when the log is read back ---- */

/* "root: the disk is gone for good" */
static void resolve_give_reason(struct txn *txn, const struct record *record)
{
    struct reason *reason = &txn->reason;
    size_t length = text_length(record->who, LABEL_BYTES);
    memset(reason, 0, sizeof *reason);
    txn->has_reason = true;
    if (length > 0) {
        memcpy(reason->message, record->who, length);
        memcpy(reason->message + length, ": ", 2);
        length += 2;
    }
    text_copy(reason->message + length, REASON_BYTES - length, record->why,
              text_length(record->why, REASON_BYTES - length));
}

static void resolve_become_resolved(struct coordinator *c, uint32_t at, const struct record *record)
{
    struct txn *txn = &c->live.txns[at];
    txn->state = TXN_RESOLVED;
    txn->resend_at_ms = TIMER_NEVER;
    txn->decision = record->outcome;
    txn->passing = (record->flags & RESOLVED_RECOVERED) != 0;
    txn->heuristic = (record->flags & RESOLVED_HEURISTIC) != 0;
    txn->settled_scan = c->scans;
    resolve_give_reason(txn, record);
    live_release_key(&c->live, at);
    for (struct branch *b = live_first(&c->live, txn); b != NULL; b = live_after(&c->live, b))
        b->progress = BR_DONE; /* until it is found */
}

static bool resolve_is_meant(const struct coordinator *c, const struct branch *branch,
                             const struct record *record)
{
    return record->branch_count == 0 ||
           (text_equal(c->registry.rms[branch->rm].name, record->branches[0].rm, RM_NAME_BYTES) &&
            text_equal(branch->name, record->branches[0].branch, BRANCH_NAME_BYTES));
}

/* The branches that it is about hear the DBA's word from here on. A single one that is forced to
 * count as committed is over at once: nobody may ever be able to ask its database. */
static void resolve_give_verdict(struct coordinator *c, struct txn *txn,
                                 const struct record *record)
{
    bool at_once = record->branch_count == 1 && record->outcome == OUTCOME_COMMITTED &&
                   (record->flags & RESOLVED_HEURISTIC) != 0;
    resolve_give_reason(txn, record);
    for (struct branch *b = live_first(&c->live, txn); b != NULL; b = live_after(&c->live, b)) {
        if (!resolve_is_meant(c, b, record) || !facts_is_pending(TXN_COMMITTING, b))
            continue;
        b->verdict = record->outcome;
        if (at_once) {
            b->progress = BR_DONE;
            b->counted = true;
            txn->settled_scan = c->scans;
        }
    }
}

static void resolve_forget(struct coordinator *c, uint32_t at, uint64_t lsn)
{
    const struct txn *txn = &c->live.txns[at];
    enum outcome known = outcomes_find(&c->outcomes, txn->incarnation, txn->sequence);
    enum outcome outcome = txn->decision;
    if (known == OUTCOME_COMMITTED)
        outcome = OUTCOME_COMMITTED;
    else if (outcome == OUTCOME_COMMITTED && known != OUTCOME_FORGOTTEN)
        retention_resolved(c, txn, lsn);
    live_remove(&c->live, at, outcome, c->scans)->unsure = true;
}

static void resolve_add_stray(struct coordinator *c, const struct record *record)
{
    uint32_t at = live_add(&c->live, record->incarnation, record->sequence);
    if (at == NO_ITEM)
        return;
    c->live.txns[at].recovered = true;
    c->live.txns[at].stray = true;
    resolve_become_resolved(c, at, record);
}

/* It was asked for while nothing was decided; a decision since then goes before it. */
static bool resolve_was_undecided(const struct record *record)
{
    return record->outcome == OUTCOME_ROLLED_BACK && (record->flags & RESOLVED_HEURISTIC) == 0;
}

const char *resolve_replay(struct coordinator *c, const struct record *record)
{
    uint32_t at = live_find(&c->live, record->incarnation, record->sequence);
    enum txn_state state = at == NO_ITEM ? TXN_NONE : c->live.txns[at].state;
    bool too_late = resolve_was_undecided(record);
    if (record->outcome == OUTCOME_FORGOTTEN) {
        if (state == TXN_MIXED || state == TXN_RESOLVED)
            resolve_forget(c, at, record->lsn);
    } else if (state == TXN_NONE) {
        if ((record->flags & RESOLVED_STRAY) != 0)
            resolve_add_stray(c, record);
    } else if ((state == TXN_DELEGATED || state == TXN_PRECOMMITTING) && !too_late) {
        resolve_become_resolved(c, at, record);
    } else if (state == TXN_COMMITTING && !too_late) {
        resolve_give_verdict(c, &c->live.txns[at], record);
    }
    return NULL;
}

/* What a DBA says of a branch that cannot be asked is all that will ever be known of it. */
static void resolve_take_the_word(struct step *s, const struct record *record)
{
    struct branch *next;
    for (struct branch *b = live_first(&s->c->live, s->txn); b != NULL && s->txn != NULL;
         b = next) {
        next = live_after(&s->c->live, b);
        bool silent = resolve_is_unsure(s->c, s->txn, b) ||
                      (record->branch_count == 1 && !facts_reachable(s, b->rm));
        if (b->verdict == OUTCOME_NONE || !resolve_is_meant(s->c, b, record) ||
            !facts_is_pending(TXN_COMMITTING, b) || !silent)
            continue;
        if (b->verdict == OUTCOME_COMMITTED)
            b->progress = BR_DONE;
        else
            ending_call_heuristic(s, b, OUTCOME_ROLLED_BACK,
                                  "heuristic: a DBA counts this branch as rolled back");
    }
}

static void resolve_live(struct step *s, const struct record *record)
{
    struct txn *txn = s->txn;
    if (txn->state == TXN_ACTIVE || txn->state == TXN_PREPARING) {
        ending_abort_because(s, "rolled back by a DBA");
    } else if (txn->state == TXN_COMMITTING && !resolve_was_undecided(record)) {
        resolve_take_the_word(s, record);
        txn->resend_at_ms = s->event->now_ms;
        ending_if_applied(s);
    } else if (txn->state == TXN_RESOLVED) {
        precommit_tell_all(s, txn->decision);
        output_answer_waiters(s, EVERYBODY);
    }
    if (s->txn != NULL)
        output_set_timer(s);
}

void resolve_settled(struct step *s, const struct act *act)
{
    struct coordinator *c = s->c;
    struct record record = act->record;
    uint64_t client = act->client;
    enum op op = act->op;
    struct gtrid gtrid;
    bool was_live = live_find(&c->live, record.incarnation, record.sequence) != NO_ITEM;
    facts_gtrid(c, record.incarnation, record.sequence, &gtrid);
    /* It may have ended since it was asked for. */
    if (was_live || (record.flags & RESOLVED_STRAY) != 0)
        resolve_replay(c, &record);
    output_select(s, live_find(&c->live, record.incarnation, record.sequence));
    if (s->txn != NULL && op == OP_RESOLVE)
        resolve_live(s, &record);
    output_scan_all_soon(s);

    struct reply *reply = output_reply_to(s, op, client);
    reply->gtrid = gtrid;
    if (s->txn != NULL)
        output_tell_progress(s, reply);
    else
        coordinator_outcome(c, &gtrid, &reply->outcome);
}
