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

/* A block for each speaker. _ is ignored, X impossible; a cell that no block sets is a HOLE. */
/* clang-format off */
static const enum move moves[TXN_STATES][TXN_EVENTS] = {
#define _ IGNORE
#define X IMPOSSIBLE

#define CLIENT(state, a, b, c) \
    [state][TE_ENLIST] = a, [state][TE_COMMIT] = b, [state][TE_ROLLBACK] = c
    /* What clients ask. */
    /*                        ENLIST      COMMIT       ROLLBACK */
    CLIENT(TXN_NONE,          SAY_OVER,   SAY_OUTCOME, SAY_OUTCOME),
    CLIENT(TXN_ACTIVE,        ENLIST,     PREPARE,     ABORT),
    CLIENT(TXN_PREPARING,     SAY_FROZEN, WAIT_TOO,    ABORT),
    CLIENT(TXN_LOGGING,       SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
    CLIENT(TXN_COMMITTING,    SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
    CLIENT(TXN_ABORTING,      SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
    CLIENT(TXN_DELEGATING,    SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
    CLIENT(TXN_DELEGATED,     SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
    CLIENT(TXN_MIXED,         SAY_FROZEN, SAY_OUTCOME, SAY_OUTCOME),
    CLIENT(TXN_RESOLVED,      SAY_OVER,   SAY_OUTCOME, SAY_OUTCOME),
    CLIENT(TXN_PRELOGGING,    SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
    CLIENT(TXN_PRECOMMITTING, SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
    CLIENT(TXN_PROMISING,     SAY_FROZEN, WAIT_TOO,    WAIT_TOO),
#undef CLIENT

#define VOTE(state, a, b, c, d) \
    [state][TE_OPENED] = a, [state][TE_YES] = b, [state][TE_READ_ONLY] = c, \
    [state][TE_NO] = d
    /* What agents say before the decision. */
    /*                      OPENED       YES          READ_ONLY   NO */
    VOTE(TXN_NONE,          _,           JUDGE_STRAY, _,          _),
    VOTE(TXN_ACTIVE,        NOTE_OPENED, REFUSE,      REFUSE,     REFUSE),
    VOTE(TXN_PREPARING,     NOTE_OPENED, COUNT_YES,   COUNT_LEFT, COUNT_NO),
    VOTE(TXN_LOGGING,       _,           _,           REFUSE,     REFUSE),
    VOTE(TXN_COMMITTING,    _,           _,           REFUSE,     REFUSE),
    VOTE(TXN_ABORTING,      _,           UNDO_ONE,    COUNT_DONE, _),
    VOTE(TXN_DELEGATING,    _,           REFUSE,      REFUSE,     REFUSE),
    VOTE(TXN_DELEGATED,     _,           TAKE_BACK,   REFUSE,     DELEGATE_NO),
    VOTE(TXN_MIXED,         _,           _,           _,          _),
    VOTE(TXN_RESOLVED,      _,           _,           _,          _),
    VOTE(TXN_PRELOGGING,    _,           _,           REFUSE,     REFUSE),
    VOTE(TXN_PRECOMMITTING, _,           _,           REFUSE,     REFUSE),
    VOTE(TXN_PROMISING,     _,           _,           REFUSE,     REFUSE),
#undef VOTE

#define END(state, a, b, c, d, e) \
    [state][TE_DONE] = a, [state][TE_HEURISTIC] = b, [state][TE_UNSURE] = c, \
    [state][TE_FOUND] = d, [state][TE_SESSION] = e
    /* What they say of the end, and what their scans find. */
    /*                     DONE            HEURISTIC       UNSURE       FOUND        SESSION */
    END(TXN_NONE,          _,              _,              _,           JUDGE_STRAY, END_STRAY),
    END(TXN_ACTIVE,        _,              REFUSE,         REFUSE,      _,           _),
    END(TXN_PREPARING,     _,              REFUSE,         REFUSE,      _,           _),
    END(TXN_LOGGING,       REFUSE,         REFUSE,         REFUSE,      _,           _),
    END(TXN_COMMITTING,    COUNT_DONE,     NOTE_HEURISTIC, NOTE_UNSURE, DRIVE_ONE,   _),
    END(TXN_ABORTING,      COUNT_DONE,     NOTE_HEURISTIC, _,           UNDO_ONE,    UNDO_ONE),
    END(TXN_DELEGATING,    REFUSE,         REFUSE,         REFUSE,      _,           _),
    END(TXN_DELEGATED,     DELEGATE_DONE,  REFUSE,         REFUSE,      _,           _),
    END(TXN_MIXED,         _,              _,              _,           UNDO_OTHER,  _),
    END(TXN_RESOLVED,      COUNT_FOLLOWED, COUNT_FOLLOWED, _,           FOLLOW,      _),
    END(TXN_PRELOGGING,    REFUSE,         REFUSE,         REFUSE,      _,           _),
    END(TXN_PRECOMMITTING, _,              _,              _,           _,           _),
    END(TXN_PROMISING,     _,              _,              _,           _,           _),
#undef END

#define SELF(state, a, b, c) \
    [state][TE_LOGGED] = a, [state][TE_DEADLINE] = b, [state][TE_RESEND] = c
    /* What comes from ourselves: our log and our timers. */
    /*                      LOGGED    DEADLINE    RESEND */
    SELF(TXN_NONE,          X,        X,          X),
    SELF(TXN_ACTIVE,        X,        ABORT_LATE, X),
    SELF(TXN_PREPARING,     X,        ABORT_LATE, ASK_AGAIN),
    SELF(TXN_LOGGING,       COMMIT,   X,          X),
    SELF(TXN_COMMITTING,    X,        X,          DRIVE_AGAIN),
    SELF(TXN_ABORTING,      X,        X,          UNDO_AGAIN),
    SELF(TXN_DELEGATING,    DELEGATE, X,          X),
    SELF(TXN_DELEGATED,     X,        X,          DELEGATE_AGAIN),
    SELF(TXN_MIXED,         X,        X,          X),
    SELF(TXN_RESOLVED,      X,        X,          X),
    SELF(TXN_PRELOGGING,    PROPOSE,  X,          X),
    SELF(TXN_PRECOMMITTING, X,        X,          LEAD_AGAIN),
    SELF(TXN_PROMISING,     VOTED,    X,          X),
#undef SELF

#define BALLOT(state, a, b, c) \
    [state][TE_POLLED] = a, [state][TE_ASKED] = b, [state][TE_DECIDED] = c
    /* What agents say as acceptors, of 3pc transactions. */
    /*                        POLLED        ASKED      DECIDED */
    BALLOT(TXN_NONE,          _,            SAY_STRAY, _),
    BALLOT(TXN_ACTIVE,        _,            REFUSE,    REFUSE),
    BALLOT(TXN_PREPARING,     _,            SAY_VOTE,  LEARN),
    BALLOT(TXN_LOGGING,       _,            REFUSE,    REFUSE),
    BALLOT(TXN_COMMITTING,    _,            SAY_VOTE,  _),
    BALLOT(TXN_ABORTING,      _,            SAY_VOTE,  _),
    BALLOT(TXN_DELEGATING,    _,            REFUSE,    REFUSE),
    BALLOT(TXN_DELEGATED,     _,            REFUSE,    REFUSE),
    BALLOT(TXN_MIXED,         _,            SAY_VOTE,  _),
    BALLOT(TXN_RESOLVED,      _,            SAY_VOTE,  _),
    BALLOT(TXN_PRELOGGING,    _,            _,         _),
    BALLOT(TXN_PRECOMMITTING, COUNT_POLLED, SAY_VOTE,  LEARN),
    BALLOT(TXN_PROMISING,     _,            _,         _),
#undef BALLOT
#undef X
#undef _
};
/* clang-format on */

/* ---- the table ---- */

static void coordinator_carry_out(struct step *s, enum move move)
{
    const struct event *event = s->event;

    switch (move) {
    case ENLIST:
        prepare_enlist_asked(s, false);
        break;
    case SAY_FROZEN:
        prepare_enlist_asked(s, true);
        break;
    case SAY_OVER:
        stray_say_over(s, &event->request->gtrid);
        break;
    case SAY_OUTCOME:
        stray_say_what_is_known(s, &event->request->gtrid);
        break;
    case PREPARE:
        prepare_all(s);
        break;
    case WAIT_TOO:
        prepare_add_waiter(s);
        if (MUTANT(ABORT_WHILE_LOGGING) && event->request->op == OP_ROLLBACK &&
            s->txn->state == TXN_LOGGING)
            ending_abort_because(s, "a planted mistake");
        if (MUTANT(ABORT_PRECOMMITTED) && event->request->op == OP_ROLLBACK &&
            s->txn->state == TXN_PRECOMMITTING)
            ending_abort_because(s, "a planted mistake");
        break;
    case ABORT:
        if (prepare_add_waiter(s))
            ending_abort_because(s, "rolled back by the application");
        break;
    case ABORT_LATE:
        if (s->txn->lost)
            ending_abort_lost(s);
        else
            ending_abort_because(s, "the transaction's timeout has passed");
        break;
    case NOTE_OPENED:
        s->branch->opened = true;
        break;
    case COUNT_YES:
        prepare_count_vote(s, BR_YES);
        break;
    case COUNT_LEFT:
        prepare_count_vote(s, BR_LEFT);
        break;
    case COUNT_NO:
        prepare_count_no(s);
        break;
    case ASK_AGAIN:
        output_order_those(s, ORDER_PREPARE, BR_ASKED);
        output_resend_later(s);
        break;
    case COMMIT:
        ending_commit(s);
        break;
    case DRIVE_ONE:
        apply_one(s);
        break;
    case DRIVE_AGAIN:
        apply_again(s);
        break;
    case COUNT_DONE:
        apply_count_done(s);
        break;
    case NOTE_HEURISTIC:
        apply_note_heuristic(s);
        break;
    case NOTE_UNSURE:
        apply_note_unsure(s);
        break;
    case UNDO_ONE:
        apply_undo_one(s);
        break;
    case UNDO_AGAIN:
        apply_undo_again(s);
        break;
    case UNDO_OTHER:
        apply_undo_other(s);
        break;
    case DELEGATE:
        apply_delegate(s);
        output_resend_soon(s);
        break;
    case DELEGATE_AGAIN:
        apply_delegate(s);
        output_resend_later(s);
        break;
    case DELEGATE_DONE:
        apply_end_delegated(s, OUTCOME_COMMITTED);
        break;
    case DELEGATE_NO:
        apply_end_delegated(s, OUTCOME_ROLLED_BACK);
        break;
    case TAKE_BACK:
        apply_take_back(s);
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
        stray_judge(s, true);
        break;
    case END_STRAY:
        stray_judge(s, false);
        break;
    case FOLLOW:
        apply_follow(s);
        break;
    case COUNT_FOLLOWED:
        apply_count_followed(s);
        break;
    case REFUSE:
        s->c->refused++;
        break;
    case IGNORE:
        if (MUTANT(NO_WAIT) && s->branch != NULL && s->txn->state == TXN_PREPARING &&
            event->result->type == RESULT_FOUND)
            output_order_branch(s, ORDER_ROLLBACK, s->branch);
        break;
    case HOLE:
    case IMPOSSIBLE:
        assert(false && "an event that cannot happen in this state");
    }
}

void coordinator_event(struct step *s, enum txn_event event)
{
    enum txn_state state = s->txn == NULL ? TXN_NONE : s->txn->state;
    COVER(COORDINATOR, state, event);
    coordinator_carry_out(s, moves[state][event]);
    if (s->txn != NULL)
        output_set_timer(s);
}
