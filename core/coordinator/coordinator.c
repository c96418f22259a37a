/*
 * core/coordinator/coordinator.c - decides the outcome of global transactions.
 *
 * A transaction commits at one moment: when its COMMIT record is on the disk. We learn of that
 * moment as TE_LOGGED. Until the record is handed to the log any failure aborts; from then on
 * nothing does. An abort needs no record: a transaction that the log does not know is an
 * aborted one, provided that the log is the newest there is, which core/coordinator/registry.c
 * judges.
 *
 * Nothing here reads a clock, a file, a socket or the heap. The same events always give the
 * same actions, so tests/sim replays any night from its seed.
 */
#include "core/coordinator/coordinator.h"

#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* How long clients wait for agents to carry out a rollback after the transaction's time is over. */
enum { ROLLBACK_WAIT_MS = 1000 };

/* What an event does to a transaction. HOLE is a cell left empty by accident; REFUSE a peer's
 * mistake, counted; IMPOSSIBLE our own. */
enum move {
    HOLE = 0,
    IGNORE,
    REFUSE,
    IMPOSSIBLE,
    ENLIST,         /* a branch joins */
    SAY_FROZEN,     /* the branch list is frozen; a known branch is answered again */
    SAY_OVER,       /* it is over, or was never begun */
    SAY_OUTCOME,    /* of what is over */
    PREPARE,        /* freeze the list and ask every branch */
    WAIT_TOO,       /* one more client waits for the outcome */
    ABORT,          /* by the client's wish */
    ABORT_LATE,     /* its time is over */
    NOTE_OPENED,    /* a branch works through its agent */
    COUNT_YES,      /* the last one asks for the COMMIT record and tells nobody */
    COUNT_LEFT,     /* read-only: no outcome needed */
    COUNT_NO,       /* abort, with its reason */
    ASK_AGAIN,      /* PREPARE, those that have not voted */
    COMMIT,         /* the record is durable: tell everybody */
    DRIVE_ONE,      /* COMMIT, this branch */
    DRIVE_AGAIN,    /* COMMIT, those that have not answered */
    COUNT_DONE,     /* the last one ends it */
    NOTE_HEURISTIC, /* ended the other way: an alarm, and kept */
    NOTE_UNSURE,    /* kept for the DBA; asked again */
    UNDO_ONE,       /* ROLLBACK, this branch */
    UNDO_AGAIN,     /* ROLLBACK, those that have not answered and can be reached */
    UNDO_OTHER,     /* ROLLBACK, if it was never voted for, or is left over of a rollback */
    DELEGATE,       /* the record is durable: COMMIT-ONE-PHASE */
    DELEGATE_AGAIN,
    DELEGATE_DONE, /* the database has committed */
    DELEGATE_NO,   /* it has not, and cannot any more */
    TAKE_BACK,     /* it has prepared, and leaves the decision to us: COMMIT record */
    JUDGE_STRAY,   /* prepared under a gtrid that is not live */
    END_STRAY,     /* a session of one that is not live */
    FOLLOW,        /* COMMIT or ROLLBACK what is found, as a DBA has resolved */
    COUNT_FOLLOWED,
    PROPOSE,      /* 3pc, PRECOMMIT is durable: ask the acceptors */
    VOTED,        /* a vote of our own is durable */
    LEAD_AGAIN,   /* ask those that have not answered, or lead a higher ballot */
    COUNT_POLLED, /* an acceptor's answer; the majority decides */
    SAY_VOTE,     /* to an agent that leads: what our log promises, or the outcome */
    SAY_STRAY,    /* the same, of one that is not live */
    LEARN,        /* it was decided by others */
};

/* clang-format off */
static const enum move moves[TXN_STATES][TXN_EVENTS] = {
#define ROW(...) {HOLE, __VA_ARGS__}
#define X__ IMPOSSIBLE
    /*                        clients:                              agents:                                                                                                                ourselves:                            agents, 3pc:
     *                        ENLIST      COMMIT       ROLLBACK     OPENED       YES          READ_ONLY   NO           DONE           HEURISTIC       UNSURE       FOUND        SESSION    LOGGED    DEADLINE    RESEND          POLLED        ASKED      DECIDED */
    [TXN_NONE]          = ROW(SAY_OVER,   SAY_OUTCOME, SAY_OUTCOME, IGNORE,      JUDGE_STRAY, IGNORE,     IGNORE,      IGNORE,        IGNORE,         IGNORE,      JUDGE_STRAY, END_STRAY, X__,      X__,        X__,            IGNORE,       SAY_STRAY, IGNORE),
    [TXN_ACTIVE]        = ROW(ENLIST,     PREPARE,     ABORT,       NOTE_OPENED, REFUSE,      REFUSE,     REFUSE,      IGNORE,        REFUSE,         REFUSE,      IGNORE,      IGNORE,    X__,      ABORT_LATE, X__,            IGNORE,       REFUSE,    REFUSE),
    [TXN_PREPARING]     = ROW(SAY_FROZEN, WAIT_TOO,    ABORT,       NOTE_OPENED, COUNT_YES,   COUNT_LEFT, COUNT_NO,    IGNORE,        REFUSE,         REFUSE,      IGNORE,      IGNORE,    X__,      ABORT_LATE, ASK_AGAIN,      IGNORE,       SAY_VOTE,  LEARN),
    [TXN_LOGGING]       = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      IGNORE,      REFUSE,     REFUSE,      REFUSE,        REFUSE,         REFUSE,      IGNORE,      IGNORE,    COMMIT,   X__,        X__,            IGNORE,       REFUSE,    REFUSE),
    [TXN_COMMITTING]    = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      IGNORE,      REFUSE,     REFUSE,      COUNT_DONE,    NOTE_HEURISTIC, NOTE_UNSURE, DRIVE_ONE,   IGNORE,    X__,      X__,        DRIVE_AGAIN,    IGNORE,       SAY_VOTE,  IGNORE),
    [TXN_ABORTING]      = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      UNDO_ONE,    COUNT_DONE, IGNORE,      COUNT_DONE,    NOTE_HEURISTIC, IGNORE,      UNDO_ONE,    UNDO_ONE,  X__,      X__,        UNDO_AGAIN,     IGNORE,       SAY_VOTE,  IGNORE),
    [TXN_DELEGATING]    = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      REFUSE,      REFUSE,     REFUSE,      REFUSE,        REFUSE,         REFUSE,      IGNORE,      IGNORE,    DELEGATE, X__,        X__,            IGNORE,       REFUSE,    REFUSE),
    [TXN_DELEGATED]     = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      TAKE_BACK,   REFUSE,     DELEGATE_NO, DELEGATE_DONE, REFUSE,         REFUSE,      IGNORE,      IGNORE,    X__,      X__,        DELEGATE_AGAIN, IGNORE,       REFUSE,    REFUSE),
    [TXN_MIXED]         = ROW(SAY_FROZEN, SAY_OUTCOME, SAY_OUTCOME, IGNORE,      IGNORE,      IGNORE,     IGNORE,      IGNORE,        IGNORE,         IGNORE,      UNDO_OTHER,  IGNORE,    X__,      X__,        X__,            IGNORE,       SAY_VOTE,  IGNORE),
    [TXN_RESOLVED]      = ROW(SAY_OVER,   SAY_OUTCOME, SAY_OUTCOME, IGNORE,      IGNORE,      IGNORE,     IGNORE,      COUNT_FOLLOWED, COUNT_FOLLOWED, IGNORE,      FOLLOW,      IGNORE,    X__,      X__,        X__,            IGNORE,       SAY_VOTE,  IGNORE),
    [TXN_PRELOGGING]    = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      IGNORE,      REFUSE,     REFUSE,      REFUSE,        REFUSE,         REFUSE,      IGNORE,      IGNORE,    PROPOSE,  X__,        X__,            IGNORE,       IGNORE,    IGNORE),
    [TXN_PRECOMMITTING] = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      IGNORE,      REFUSE,     REFUSE,      IGNORE,        IGNORE,         IGNORE,      IGNORE,      IGNORE,    X__,      X__,        LEAD_AGAIN,     COUNT_POLLED, SAY_VOTE,  LEARN),
    [TXN_PROMISING]     = ROW(SAY_FROZEN, WAIT_TOO,    WAIT_TOO,    IGNORE,      IGNORE,      REFUSE,     REFUSE,      IGNORE,        IGNORE,         IGNORE,      IGNORE,      IGNORE,    VOTED,    X__,        X__,            IGNORE,       IGNORE,    IGNORE),
#undef X__
#undef ROW
};
/* clang-format on */

/* ---- endings ---- */

static void write_branch(const struct step *s, const struct branch *branch,
                         struct record_branch *out)
{
    memcpy(out->rm, s->c->registry.rms[branch->rm].name, RM_NAME_BYTES);
    memcpy(out->branch, branch->name, BRANCH_NAME_BYTES);
    out->xid = branch->xid;
}

struct record *write_branches(struct step *s, enum record_type type)
{
    struct record *record = write_record(s, type);
    memcpy(record->key, MUTANT(KEY_NOT_LOGGED) ? (char[KEY_BYTES]){""} : s->txn->key, KEY_BYTES);
    memcpy(record->label, s->txn->origin.label, LABEL_BYTES);
    memcpy(record->application, s->txn->origin.application, LABEL_BYTES);
    record->branch_count = 0;
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress != BR_LEFT)
            write_branch(s, b, &record->branches[record->branch_count++]);
    return record;
}

void await_log(struct step *s, enum txn_state state)
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

static void note_commit(struct step *s)
{
    if (MUTANT(FORGET_OUTCOME))
        return;
    remember_commit(s);
    s->c->committed++;
}

/* Nothing is left to do: answer, and keep only the memory of it. */
static void end(struct step *s, enum outcome outcome)
{
    answer_waiters(s, EVERYBODY);
    s->txn->ended_ms = s->event->now_ms;
    live_remove(&s->c->live, s->at, outcome, s->c->scans);
    s->txn = NULL;
}

static bool any_heuristic(const struct step *s)
{
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress == BR_HEURISTIC || b->counted)
            return true;
    return false;
}

/* If every branch has answered, it is over. */
void end_if_applied(struct step *s)
{
    struct txn *txn = s->txn;
    for (const struct branch *b = live_first(&s->c->live, txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (is_pending(txn->state, b) && !MUTANT(END_EARLY))
            return;
    if (any_heuristic(s)) {
        txn->decision = decided(txn);
        txn->state = TXN_MIXED;
        txn->resend_at_ms = TIMER_NEVER;
        s->c->mixed++;
        answer_waiters(s, EVERYBODY);
        return;
    }
    bool committed = txn->state == TXN_COMMITTING;
    if (committed)
        write_record(s, RECORD_END);
    end(s, committed ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK);
}

/* ---- moves of the first phase ---- */

/* It is rolled back, which nothing changes any more: whoever waits for the agents to have done so
 * too waits no longer than the transaction's own time, and is then told who has not. An agent may
 * be frozen for as long as it likes. */
static void limit_waiting(struct step *s)
{
    uint64_t limit_ms =
        s->txn->deadline_ms > s->event->now_ms ? s->txn->deadline_ms : s->event->now_ms;
    limit_ms += ROLLBACK_WAIT_MS;
    for (uint32_t i = s->txn->first_waiter; i != NO_ITEM; i = s->c->live.waiters[i].next)
        s->c->live.waiters[i].limit_ms = earlier(s->c->live.waiters[i].limit_ms, limit_ms);
}

static bool add_waiter(struct step *s)
{
    const struct request *request = s->event->request;
    struct waiter *waiter = live_add_waiter(&s->c->live, s->txn);
    if (waiter == NULL) {
        refuse_request(s, ERR_BUSY);
        return false;
    }
    waiter->op = request->op;
    waiter->client = request->client;
    waiter->wait = request->wait;
    waiter->limit_ms = s->event->now_ms + request->wait_ms;
    if (s->txn->state == TXN_ABORTING)
        limit_waiting(s);
    if (s->txn->state == TXN_COMMITTING || s->txn->state == TXN_ABORTING)
        answer_waiters(s, WHO_WANTS_DECISION);
    return true;
}

/* Is this RM able to take part at this moment? Its AGENT record comes before its first branch. */
bool may_enlist(const struct rm *rm)
{
    return rm->state == RM_UP && rm->durable && !rm->retired && !rm->paused && !rm->witness;
}

struct branch *enlist(struct step *s, uint32_t rm, const char *name)
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
static bool has_too_many_acceptors(const struct step *s, uint32_t newcomer)
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
static bool differs(const struct branch *branch, const struct request *request)
{
    return (request->read_only && !branch->read_only) ||
           (request->isolation != ISOLATION_DEFAULT && branch->isolation != request->isolation) ||
           (request->role[0] != '\0' && !text_equal(branch->role, request->role, ROLE_BYTES));
}

/* A client's enlist; the same again gets the same answer, as long as anybody may ask. */
static void do_enlist(struct step *s, bool frozen)
{
    const struct request *request = s->event->request;
    uint32_t rm = registry_find(&s->c->registry, request->rm);
    if (rm == UINT32_MAX || s->c->registry.rms[rm].retired) {
        refuse_request(s, ERR_UNKNOWN_RM);
        return;
    }
    struct branch *branch = live_find_branch(&s->c->live, s->txn, rm, request->branch);
    if (branch != NULL && differs(branch, request)) {
        refuse_request(s, ERR_BRANCH_DIFFERS);
        return;
    }
    if (branch == NULL) {
        if (frozen) {
            refuse_request(s, ERR_WRONG_STATE);
            return;
        }
        if (!may_enlist(&s->c->registry.rms[rm])) {
            refuse_rm(s, &s->c->registry.rms[rm]);
            return;
        }
        if (s->txn->branch_count == BRANCHES_MAX || has_too_many_acceptors(s, rm)) {
            refuse_request(s, ERR_TOO_MANY_BRANCHES);
            return;
        }
        branch = enlist(s, rm, request->branch);
        if (branch == NULL) {
            refuse_request(s, ERR_BUSY);
            return;
        }
    }
    struct reply *reply = answer(s);
    gtrid_of(s->c, s->txn->incarnation, s->txn->sequence, &reply->gtrid);
    show_branch(s, branch, reply);
}

/* The transaction aborts here, whatever the reason; the reason is set by the caller. */
static void abort_txn(struct step *s)
{
    struct txn *txn = s->txn;
    txn->state = TXN_ABORTING;
    txn->decided_ms = s->event->now_ms;
    live_release_key(&s->c->live, s->at);
    s->c->rolled_back++;
    remember_rollback(s);
    for (struct branch *b = live_first(&s->c->live, txn); b != NULL;
         b = live_after(&s->c->live, b)) {
        if (!is_pending(TXN_ABORTING, b))
            continue;
        order_branch(s, ORDER_ROLLBACK, b);
        /* Nobody waits for an agent that cannot be reached: its scan will tell us what is left. */
        if (!reachable(s, b->rm))
            b->progress = BR_DONE;
    }
    resend_soon(s);
    limit_waiting(s);
    answer_waiters(s, WHO_WANTS_DECISION);
    end_if_applied(s);
}

static void give_reason(struct txn *txn, const char *rm, const char *sqlstate, const char *message)
{
    memset(&txn->reason, 0, sizeof txn->reason);
    text_copy(txn->reason.rm, RM_NAME_BYTES, rm, text_length(rm, RM_NAME_BYTES));
    text_copy(txn->reason.sqlstate, SQLSTATE_BYTES, sqlstate,
              text_length(sqlstate, SQLSTATE_BYTES));
    text_copy(txn->reason.message, REASON_BYTES, message, text_length(message, REASON_BYTES));
    txn->has_reason = true;
}

/* In the words of the agent, or of its database. */
static void give_reason_of(struct step *s, const struct result *result)
{
    struct reason *reason = &s->txn->reason;
    give_reason(s->txn, s->c->registry.rms[s->branch->rm].name, result->sqlstate, result->message);
    memcpy(reason->detail, result->detail, sizeof reason->detail);
    memcpy(reason->hint, result->hint, sizeof reason->hint);
}

void abort_because(struct step *s, const char *message)
{
    give_reason(s->txn, "", "", message);
    abort_txn(s);
}

void abort_lost(struct step *s)
{
    give_reason(s->txn, s->c->registry.rms[s->txn->lost_at].name, "",
                "this database is in quarantine, for it has lost durable data: whatever had work "
                "there and was not decided is rolled back");
    abort_txn(s);
}

/* Every branch has voted yes or left: ask for the record, and tell nobody. Every message that
 * depends on the decision waits in TE_LOGGED, behind the disk. */
static void decide_if_unanimous(struct step *s)
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
        write_branches(s, RECORD_COMMIT);
        await_log(s, TXN_LOGGING);
        return;
    }
    /* All read-only: there is nothing that could be lost, so nothing is logged. */
    s->txn->state = TXN_COMMITTING;
    note_commit(s);
    end(s, OUTCOME_COMMITTED);
}

/* One branch, known to work through its agent: its database may decide alone. */
static bool may_delegate(const struct step *s)
{
    const struct branch *only = live_first(&s->c->live, s->txn);
    return s->txn->branch_count == 1 && only->opened && !only->read_only && reachable(s, only->rm);
}

static void prepare(struct step *s)
{
    struct txn *txn = s->txn;
    if (!add_waiter(s))
        return;
    if (txn->lost) {
        abort_lost(s);
        return;
    }
    txn->asked_ms = s->event->now_ms;
    if (may_delegate(s)) {
        write_branches(s, RECORD_DELEGATED);
        await_log(s, TXN_DELEGATING);
        if (MUTANT(DELEGATE_UNLOGGED))
            order_branch(s, ORDER_COMMIT_ONE_PHASE, live_first(&s->c->live, txn));
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
        order_branch(s, ORDER_PREPARE, b);
    }
    resend_soon(s);
    decide_if_unanimous(s);
}

static void order_those(struct step *s, enum order_type type, enum branch_progress progress)
{
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress == progress)
            order_branch(s, type, b);
}

static void count_vote(struct step *s, enum branch_progress vote)
{
    if (s->branch->progress != BR_ASKED)
        return;
    s->branch->progress = vote;
    s->branch->answered_ms = s->event->now_ms;
    if (vote == BR_YES)
        s->branch->xid = s->event->result->xid;
    decide_if_unanimous(s);
    if (MUTANT(SEND_EARLY) && s->txn != NULL && s->txn->state == TXN_LOGGING)
        order_those(s, ORDER_COMMIT, BR_YES);
}

static void count_no(struct step *s)
{
    if (s->branch->progress != BR_ASKED)
        return;
    s->branch->progress = BR_NO;
    s->branch->answered_ms = s->event->now_ms;
    give_reason_of(s, s->event->result);
    abort_txn(s);
}

/* ---- moves of the second phase ---- */

/* As was decided, unless a DBA has spoken. What its database may have lost is driven only once it
 * is found there. */
static void drive(struct step *s, const struct branch *branch)
{
    if (may_be_lost(s->c, s->txn, branch))
        return;
    order_branch(s, wanted(s->txn, branch) == OUTCOME_COMMITTED ? ORDER_COMMIT : ORDER_ROLLBACK,
                 branch);
}

static void drive_all(struct step *s)
{
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->progress == BR_YES || b->progress == BR_UNSURE)
            drive(s, b);
}

void commit(struct step *s)
{
    s->txn->state = TXN_COMMITTING;
    s->txn->decided_ms = s->event->now_ms;
    note_commit(s);
    drive_all(s);
    resend_soon(s);
    answer_waiters(s, WHO_WANTS_DECISION);
}

static void drive_again(struct step *s)
{
    drive_all(s);
    resend_later(s);
    /* Of what was read back, a DBA may have settled the last branch. */
    end_if_applied(s);
}

static void count_done(struct step *s)
{
    if (!is_pending(s->txn->state, s->branch))
        return;
    /* A branch that a DBA wants rolled back may have been committed just before he said so. */
    if (s->txn->state == TXN_COMMITTING && s->branch->verdict == OUTCOME_ROLLED_BACK &&
        s->event->result->actual != OUTCOME_COMMITTED && !MUTANT(HEURISTIC_IS_DONE))
        call_heuristic(s, s->branch, OUTCOME_ROLLED_BACK,
                       "heuristic: a DBA had this branch rolled back though it was committed");
    else
        s->branch->progress = BR_DONE;
    s->branch->done_ms = s->event->now_ms;
    end_if_applied(s);
}

void call_heuristic(struct step *s, struct branch *branch, enum outcome actual, const char *message)
{
    branch->progress = BR_HEURISTIC;
    s->c->alarms++;
    struct record *record = write_record(s, RECORD_MIXED);
    record->outcome = actual;
    record->branch_count = 1;
    write_branch(s, branch, &record->branches[0]);
    give_reason(s->txn, s->c->registry.rms[branch->rm].name, "", message);
}

static void note_heuristic(struct step *s)
{
    const struct result *result = s->event->result;
    enum outcome other = s->txn->state == TXN_COMMITTING ? OUTCOME_ROLLED_BACK : OUTCOME_COMMITTED;
    if (!is_pending(s->txn->state, s->branch))
        return;
    if (result->actual != other || MUTANT(HEURISTIC_IS_DONE)) {
        if (s->branch->verdict != OUTCOME_NONE || MUTANT(HEURISTIC_IS_DONE))
            count_done(s);
        return;
    }
    call_heuristic(s, s->branch, other,
                   other == OUTCOME_COMMITTED
                       ? "heuristic: this branch was committed by hand though it was rolled back"
                       : "heuristic: this branch was rolled back by hand though it was committed");
    end_if_applied(s);
}

/* Gone, and nothing says how: unless a DBA has, it is kept for him. */
static void note_unsure(struct step *s)
{
    if (s->branch->progress != BR_YES)
        return;
    s->branch->progress = BR_UNSURE;
    s->c->alarms++;
    if (s->branch->verdict == OUTCOME_COMMITTED)
        s->branch->progress = BR_DONE;
    else if (s->branch->verdict == OUTCOME_ROLLED_BACK)
        call_heuristic(s, s->branch, OUTCOME_ROLLED_BACK,
                       "heuristic: a DBA counts this branch as rolled back");
    if (s->branch->verdict != OUTCOME_NONE)
        end_if_applied(s);
}

static void undo_again(struct step *s)
{
    for (struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b)) {
        if (!is_pending(TXN_ABORTING, b))
            continue;
        order_branch(s, ORDER_ROLLBACK, b);
        if (!reachable(s, b->rm))
            b->progress = BR_DONE;
    }
    resend_later(s);
    end_if_applied(s);
}

/* Prepared under a gid of a decided transaction, and never voted for. */
static void undo_stranger(struct step *s)
{
    struct branch stranger = {.rm = s->event->rm};
    memcpy(stranger.name, s->event->result->branch.branch, BRANCH_NAME_BYTES);
    order_branch(s, ORDER_ROLLBACK, &stranger);
}

/* A prepared branch of ours whose outcome it has yet to hear. It may be a second transaction
 * prepared under the gid of one that is done; the agent tells them apart by the xid. */
static void drive_one(struct step *s)
{
    if (s->branch == NULL) {
        undo_stranger(s);
        return;
    }
    if (s->branch->progress == BR_LEFT)
        order_branch(s, ORDER_ROLLBACK, s->branch);
    else
        drive(s, s->branch);
}

static void undo_one(struct step *s)
{
    if (s->event->type == EV_RESULT && s->event->result->type == RESULT_READY && s->branch != NULL)
        s->branch->xid = s->event->result->xid;
    if (s->branch != NULL)
        order_branch(s, ORDER_ROLLBACK, s->branch);
    else
        undo_stranger(s);
}

/* Whatever became of the branch that was voted for: another under its gid never was. If it is that
 * one, a DBA has spoken without having seen it, and it follows his word; or it could not be reached
 * while the others were undone, and is undone now. */
static void undo_other(struct step *s)
{
    if (s->branch == NULL || s->branch->xid != s->event->result->xid)
        undo_stranger(s);
    else if (s->branch->counted)
        order_branch(s, ORDER_COMMIT, s->branch);
    else if (s->branch->verdict == OUTCOME_ROLLED_BACK ||
             (s->txn->decision == OUTCOME_ROLLED_BACK && s->branch->progress != BR_HEURISTIC))
        order_branch(s, ORDER_ROLLBACK, s->branch);
}

/* ---- one phase ---- */

/* Only the start that wrote DELEGATED may ask for the commit; a later one asks what became of it.
 */
static void delegate(struct step *s)
{
    s->txn->state = TXN_DELEGATED;
    order_branch(s, s->txn->recovered ? ORDER_SETTLE : ORDER_COMMIT_ONE_PHASE,
                 live_first(&s->c->live, s->txn));
}

static void end_delegated(struct step *s, enum outcome outcome)
{
    write_record(s, RECORD_OUTCOME)->outcome = outcome;
    if (outcome == OUTCOME_COMMITTED) {
        s->txn->state = TXN_COMMITTING;
        s->branch->progress = BR_DONE;
        note_commit(s);
    } else {
        give_reason_of(s, s->event->result);
        s->txn->state = TXN_ABORTING;
        s->branch->progress = BR_DONE;
        s->c->rolled_back++;
    }
    end(s, outcome);
}

/* The database could not write a marker, and so has prepared the branch: it waits for us, as with
 * two. Nobody else can have decided meanwhile, for a prepared branch is finished by our word alone;
 * the record is the decision, and until then it is still delegated to whoever reads the log. */
static void take_back(struct step *s)
{
    if (is_being_settled(s->c, s->txn->incarnation, s->txn->sequence))
        return; /* a DBA's word comes first; the agent says it again */
    s->branch->progress = BR_YES;
    s->branch->xid = s->event->result->xid;
    s->branch->answered_ms = s->event->now_ms;
    if (MUTANT(PREPARED_IS_DONE)) {
        end_delegated(s, OUTCOME_COMMITTED);
        return;
    }
    write_branches(s, RECORD_COMMIT);
    await_log(s, TXN_LOGGING);
    if (MUTANT(TAKEN_BACK_UNLOGGED))
        order_those(s, ORDER_COMMIT, BR_YES);
}

/* ---- resolved by a DBA ---- */

/* Found prepared: the DBA's word is about whatever carries this name. */
static void follow(struct step *s)
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
    drive(s, s->branch);
}

static void count_followed(struct step *s)
{
    enum outcome actual = s->event->result->actual;
    bool otherwise = actual != OUTCOME_NONE && actual != wanted(s->txn, s->branch);
    if (s->branch->progress == BR_YES)
        s->branch->progress = otherwise ? BR_HEURISTIC : BR_DONE;
}

/* ---- transactions that are not live ---- */

bool coordinator_may_tell(const struct coordinator *c, uint64_t incarnation, enum outcome outcome)
{
    return outcome == OUTCOME_COMMITTED || incarnation == c->incarnation ||
           MUTANT(PRESUME_AT_ONCE) || registry_may_presume(&c->registry, NULL);
}

/* Every branch of a committed transaction that is over was done. Found prepared all the same, it
 * is either a second one under the same gid, which nobody voted for, or the very one that we
 * know is committed, come back because its database lost what it had done. Its xid tells; where
 * we do not remember that, it is left to the DBA. */
static bool was_never_voted_for(struct step *s)
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
    quarantine(s);
    return false;
}

/* Prepared in a database that had lost data: come back from before that, it follows a commit whose
 * xids are known. Under another xid, or where they are not remembered, it may be a second block of
 * that name, whose first one was committed and is not lost: that is left to the DBA. */
static void follow_known_commit(struct step *s)
{
    const struct result *result = s->event->result;
    const struct gtrid *gtrid = &result->branch.gtrid;
    const struct ended *ended = live_find_ended(&s->c->live, gtrid->incarnation, gtrid->sequence);
    if (ended == NULL || ended->outcome != OUTCOME_COMMITTED || result->type != RESULT_FOUND ||
        live_ended_xid(ended, s->event->rm, result->branch.branch) != result->xid) {
        s->c->alarms++;
        return;
    }
    struct order *order = give_order(s, ORDER_COMMIT, s->event->rm);
    order->branch.gtrid = *gtrid;
    memcpy(order->branch.branch, result->branch.branch, BRANCH_NAME_BYTES);
    order->xid = result->xid;
    order->lsn = safe_lsn(s->c, s->event->rm);
}

/* A DBA had it committed, and nobody has seen what became of its branches: one that is there all
 * the same is his to settle. Once it is no longer remembered that he did, its xid is not either. */
static bool was_ended_by_dba(const struct coordinator *c, const struct gtrid *gtrid)
{
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    return ended != NULL && ended->unsure && ended->outcome == OUTCOME_COMMITTED;
}

/* As the log remembers it; below the horizon as this start has ended it, if it has. */
static enum outcome remembered_outcome(const struct coordinator *c, const struct gtrid *gtrid)
{
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    enum outcome outcome = outcomes_find(&c->outcomes, gtrid->incarnation, gtrid->sequence);
    bool known = ended != NULL &&
                 (ended->outcome == OUTCOME_COMMITTED || ended->outcome == OUTCOME_ROLLED_BACK);
    return outcome == OUTCOME_FORGOTTEN && known ? ended->outcome : outcome;
}

/* Above all that this log has given out. */
static bool is_beyond(const struct coordinator *c, const struct gtrid *gtrid)
{
    return gtrid->incarnation > c->incarnation ||
           (gtrid->incarnation == c->incarnation && gtrid->sequence > c->sequence);
}

/* An agent has something of a transaction that is over, or that we do not know: abort, in every
 * case in which we may speak at all. Below the horizon we may not: a branch that was committed
 * everywhere comes back with a database that has lost the COMMIT PREPARED, and nothing is
 * remembered by which it would be told from one that was never decided. */
static void judge_stray(struct step *s, bool prepared)
{
    const struct branch_id *id = &s->event->result->branch;
    const struct gtrid *gtrid = &id->gtrid;
    if (is_beyond(s->c, gtrid)) {
        s->c->alarms++;
        return;
    }
    enum outcome outcome = remembered_outcome(s->c, gtrid);
    if (prepared && !coordinator_may_tell(s->c, gtrid->incarnation, outcome))
        return;
    bool forgotten = outcome == OUTCOME_FORGOTTEN && !MUTANT(FORGOTTEN_IS_UNDONE);
    if (prepared && (forgotten || was_ended_by_dba(s->c, gtrid))) {
        s->c->alarms++;
        return;
    }
    if (prepared && released_since(s->c, s->event->rm, gtrid) && outcome != OUTCOME_ROLLED_BACK) {
        follow_known_commit(s);
        return;
    }
    if (prepared && outcome == OUTCOME_COMMITTED && !was_never_voted_for(s))
        return;
    struct order *order = give_order(s, ORDER_ROLLBACK, s->event->rm);
    order->branch.gtrid = *gtrid;
    memcpy(order->branch.branch, id->branch, BRANCH_NAME_BYTES);
}

enum error_code coordinator_outcome(const struct coordinator *c, const struct gtrid *gtrid,
                                    enum outcome *out)
{
    if (!text_equal(gtrid->tm, c->settings.tm, TM_NAME_BYTES))
        return ERR_UNKNOWN_TRANSACTION;
    /* An old log, or an empty one in the place of one that is lost, has not reached what was begun
     * and may have committed: until every agent has spoken it cannot say that it never was. */
    if (is_beyond(c, gtrid))
        return registry_may_presume(&c->registry, NULL) ? ERR_UNKNOWN_TRANSACTION : ERR_NOT_READY;
    uint32_t at = live_find(&c->live, gtrid->incarnation, gtrid->sequence);
    if (at != NO_ITEM) {
        *out = decided(&c->live.txns[at]);
        return ERR_NONE;
    }
    const struct ended *ended = live_find_ended(&c->live, gtrid->incarnation, gtrid->sequence);
    *out = ended != NULL ? ended->outcome
                         : outcomes_find(&c->outcomes, gtrid->incarnation, gtrid->sequence);
    if (!coordinator_may_tell(c, gtrid->incarnation, *out))
        *out = OUTCOME_IN_PROGRESS;
    return ERR_NONE;
}

/* What is known of the outcome at this moment, live or over. */
void say_what_is_known(struct step *s, const struct gtrid *gtrid)
{
    struct reply *reply = answer(s);
    reply->gtrid = *gtrid;
    select_txn(s, live_find(&s->c->live, gtrid->incarnation, gtrid->sequence));
    if (s->txn != NULL) {
        tell_progress(s, reply);
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

static void say_over(struct step *s, const struct gtrid *gtrid)
{
    enum outcome outcome;
    enum error_code error = coordinator_outcome(s->c, gtrid, &outcome);
    refuse_request(s, error == ERR_NONE ? ERR_WRONG_STATE : error);
}

/* ---- the table ---- */

static void carry_out(struct step *s, enum move move)
{
    const struct event *event = s->event;

    switch (move) {
    case ENLIST:
        do_enlist(s, false);
        break;
    case SAY_FROZEN:
        do_enlist(s, true);
        break;
    case SAY_OVER:
        say_over(s, &event->request->gtrid);
        break;
    case SAY_OUTCOME:
        say_what_is_known(s, &event->request->gtrid);
        break;
    case PREPARE:
        prepare(s);
        break;
    case WAIT_TOO:
        add_waiter(s);
        if (MUTANT(ABORT_WHILE_LOGGING) && event->request->op == OP_ROLLBACK &&
            s->txn->state == TXN_LOGGING)
            abort_because(s, "a planted mistake");
        if (MUTANT(ABORT_PRECOMMITTED) && event->request->op == OP_ROLLBACK &&
            s->txn->state == TXN_PRECOMMITTING)
            abort_because(s, "a planted mistake");
        break;
    case ABORT:
        if (add_waiter(s))
            abort_because(s, "rolled back by the application");
        break;
    case ABORT_LATE:
        if (s->txn->lost)
            abort_lost(s);
        else
            abort_because(s, "the transaction's timeout has passed");
        break;
    case NOTE_OPENED:
        s->branch->opened = true;
        break;
    case COUNT_YES:
        count_vote(s, BR_YES);
        break;
    case COUNT_LEFT:
        count_vote(s, BR_LEFT);
        break;
    case COUNT_NO:
        count_no(s);
        break;
    case ASK_AGAIN:
        order_those(s, ORDER_PREPARE, BR_ASKED);
        resend_later(s);
        break;
    case COMMIT:
        commit(s);
        break;
    case DRIVE_ONE:
        drive_one(s);
        break;
    case DRIVE_AGAIN:
        drive_again(s);
        break;
    case COUNT_DONE:
        count_done(s);
        break;
    case NOTE_HEURISTIC:
        note_heuristic(s);
        break;
    case NOTE_UNSURE:
        note_unsure(s);
        break;
    case UNDO_ONE:
        undo_one(s);
        break;
    case UNDO_AGAIN:
        undo_again(s);
        break;
    case UNDO_OTHER:
        undo_other(s);
        break;
    case DELEGATE:
        delegate(s);
        resend_soon(s);
        break;
    case DELEGATE_AGAIN:
        delegate(s);
        resend_later(s);
        break;
    case DELEGATE_DONE:
        end_delegated(s, OUTCOME_COMMITTED);
        break;
    case DELEGATE_NO:
        end_delegated(s, OUTCOME_ROLLED_BACK);
        break;
    case TAKE_BACK:
        take_back(s);
        break;
    case PROPOSE:
        precommit_propose(s);
        break;
    case VOTED:
        precommit_voted(s);
        break;
    case LEAD_AGAIN:
        precommit_again(s);
        break;
    case COUNT_POLLED:
        precommit_polled(s);
        break;
    case SAY_VOTE:
        precommit_asked(s);
        break;
    case SAY_STRAY:
        precommit_asked_stray(s);
        break;
    case LEARN:
        precommit_learn(s);
        break;
    case JUDGE_STRAY:
        judge_stray(s, true);
        break;
    case END_STRAY:
        judge_stray(s, false);
        break;
    case FOLLOW:
        follow(s);
        break;
    case COUNT_FOLLOWED:
        count_followed(s);
        break;
    case REFUSE:
        s->c->refused++;
        break;
    case IGNORE:
        if (MUTANT(NO_WAIT) && s->branch != NULL && s->txn->state == TXN_PREPARING &&
            event->result->type == RESULT_FOUND)
            order_branch(s, ORDER_ROLLBACK, s->branch);
        break;
    case HOLE:
    case IMPOSSIBLE:
        assert(false && "an event that cannot happen in this state");
    }
}

void transaction_event(struct step *s, enum txn_event event)
{
    enum txn_state state = s->txn == NULL ? TXN_NONE : s->txn->state;
    COVER(COORDINATOR, state, event);
    carry_out(s, moves[state][event]);
    if (s->txn != NULL)
        set_timer(s);
}
