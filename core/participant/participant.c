/*
 * core/participant/participant.c - what an agent knows of each branch, and what it does next.
 *
 * A branch is finished by the TM's word alone, and only if it is the very prepared
 * transaction that was voted for: the gid is a name, the xid is the thing. Whatever is not
 * remembered is looked for in PostgreSQL first. An answer that was lost is never guessed:
 * once the backend is gone the database is asked what became of it.
 */
#include "core/participant/participant.h"

#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/participant/participant_state.h"

/* HOLE is no move: a cell left empty. REFUSE is a peer's mistake, IMPOSSIBLE our own. */
enum move {
    HOLE = 0,
    IGNORE,
    REFUSE,
    IMPOSSIBLE,
    OPEN,           /* remember the session */
    LOSE,           /* its work is gone: a later PREPARE is answered no */
    PREPARE,        /* in the branch's own session */
    VERIFY,         /* look whether the application has prepared it */
    DOOM,           /* roll back as soon as we know what there is */
    HURRY,          /* its time is over: a statement that still runs is not waited for */
    VOTE_YES,       /* prepared and flushed */
    VOTE_SEEN,      /* the application prepared it: yes, if we could finish it */
    VOTE_READ_ONLY, /* nothing to decide */
    VOTE_NO,        /* PostgreSQL refused */
    VOTE_NO_LOST,   /* the answer was lost */
    VOTE_NO_ABSENT, /* it is not prepared */
    SAY_YES,        /* once more */
    SAY_NO,
    SAY_READ_ONLY,
    SEEK,       /* look for what the TM says is committed */
    SEEK_AGAIN, /* the same, with the order that is remembered */
    COMMIT,     /* COMMIT PREPARED, if it is what was voted for */
    COMMIT_SEEN,
    TELL_EVIDENCE, /* told to commit, not there: what became of it? */
    CLEAR,         /* look for what is to be rolled back */
    CLEAR_AGAIN,
    CLEAR_REFUSED, /* the same, unless the refusal proves that there is nothing */
    UNDO,          /* ROLLBACK PREPARED */
    UNDO_SEEN,
    TELL_ABSENT, /* told to roll back, not there */
    ABSENT_DOOMED,
    CLOSE,       /* roll the session back; the TM will ask again */
    CLOSE_ASKED, /* the same, and tell it */
    ASK,         /* tell it when the session is closed */
    CLOSED,
    ONE_PHASE, /* marker and COMMIT, or PREPARE */
    FIND_MARKER,
    DOUBT,         /* one phase was refused: because it was done before? the marker knows */
    TELL_MARKED,   /* the one-phase commit happened */
    TELL_UNMARKED, /* it did not, and cannot any more */
    TELL_DONE,
    FORGET, /* the TM will ask again */
};

/* A block for each speaker. _ is ignored, X impossible; a cell that no block sets is a HOLE. */
/* clang-format off */
static const enum move moves[BRANCH_STATES][PE_TYPES] = {
#define _ IGNORE
#define X IMPOSSIBLE

#define AGENT(state, a, b, c) \
    [state][PE_OPENED] = a, [state][PE_SESSION_LOST] = b, [state][PE_TICK] = c
    /* What the agent itself notices: its sessions, and the time. */
    /*                       OPENED  SESSION_LOST  TICK */
    AGENT(BRANCH_NONE,       OPEN,   _,            _),
    AGENT(BRANCH_OPEN,       _,      LOSE,         CLOSE),
    AGENT(BRANCH_PREPARING,  X,      _,            HURRY),
    AGENT(BRANCH_DOOMED,     X,      _,            HURRY),
    AGENT(BRANCH_VERIFYING,  X,      _,            _),
    AGENT(BRANCH_READY,      X,      _,            _),
    AGENT(BRANCH_REFUSED,    X,      _,            FORGET),
    AGENT(BRANCH_LEFT,       X,      _,            FORGET),
    AGENT(BRANCH_SEEKING,    X,      _,            _),
    AGENT(BRANCH_COMMITTING, X,      _,            _),
    AGENT(BRANCH_CLEARING,   X,      _,            _),
    AGENT(BRANCH_UNDOING,    X,      _,            _),
    AGENT(BRANCH_EVICTING,   X,      _,            _),
    AGENT(BRANCH_CLOSING,    X,      _,            _),
    AGENT(BRANCH_ONE_PHASE,  X,      _,            HURRY),
    AGENT(BRANCH_SETTLING,   X,      _,            _),
#undef AGENT

#define ORDER(state, a, b, c, d, e) \
    [state][PE_PREPARE] = a, [state][PE_COMMIT] = b, [state][PE_ROLLBACK] = c, \
    [state][PE_COMMIT_ONE_PHASE] = d, [state][PE_SETTLE] = e
    /* The TM's orders. */
    /*                       PREPARE        COMMIT  ROLLBACK       ONE_PHASE    SETTLE */
    ORDER(BRANCH_NONE,       VERIFY,        SEEK,   CLEAR,         FIND_MARKER, FIND_MARKER),
    ORDER(BRANCH_OPEN,       PREPARE,       CLOSE,  CLOSE_ASKED,   ONE_PHASE,   CLOSE),
    ORDER(BRANCH_PREPARING,  _,             _,      DOOM,          REFUSE,      _),
    ORDER(BRANCH_DOOMED,     _,             _,      _,             _,           _),
    ORDER(BRANCH_VERIFYING,  _,             _,      DOOM,          REFUSE,      _),
    ORDER(BRANCH_READY,      SAY_YES,       COMMIT, UNDO,          SAY_YES,     SAY_YES),
    ORDER(BRANCH_REFUSED,    SAY_NO,        SEEK,   CLEAR_REFUSED, FIND_MARKER, FIND_MARKER),
    ORDER(BRANCH_LEFT,       SAY_READ_ONLY, REFUSE, TELL_DONE,     REFUSE,      REFUSE),
    ORDER(BRANCH_SEEKING,    _,             _,      REFUSE,        REFUSE,      _),
    ORDER(BRANCH_COMMITTING, _,             _,      REFUSE,        REFUSE,      _),
    ORDER(BRANCH_CLEARING,   _,             REFUSE, _,             REFUSE,      _),
    ORDER(BRANCH_UNDOING,    _,             REFUSE, _,             REFUSE,      _),
    ORDER(BRANCH_EVICTING,   _,             _,      REFUSE,        REFUSE,      _),
    ORDER(BRANCH_CLOSING,    _,             _,      ASK,           _,           _),
    ORDER(BRANCH_ONE_PHASE,  REFUSE,        REFUSE, _,             _,           _),
    ORDER(BRANCH_SETTLING,   _,             _,      _,             _,           _),
#undef ORDER

#define ANSWER(state, a, b, c, d) \
    [state][PE_PREPARED] = a, [state][PE_READ_ONLY] = b, [state][PE_REFUSAL] = c, \
    [state][PE_FINISHED] = d
    /* PostgreSQL's answers to what was asked for. */
    /*                        PREPARED  READ_ONLY       REFUSAL    FINISHED */
    ANSWER(BRANCH_NONE,       X,        X,              X,         X),
    ANSWER(BRANCH_OPEN,       X,        X,              X,         X),
    ANSWER(BRANCH_PREPARING,  VOTE_YES, VOTE_READ_ONLY, VOTE_NO,   X),
    ANSWER(BRANCH_DOOMED,     UNDO,     TELL_DONE,      TELL_DONE, X),
    ANSWER(BRANCH_VERIFYING,  X,        X,              X,         X),
    ANSWER(BRANCH_READY,      X,        X,              X,         X),
    ANSWER(BRANCH_REFUSED,    X,        X,              X,         X),
    ANSWER(BRANCH_LEFT,       X,        X,              X,         X),
    ANSWER(BRANCH_SEEKING,    X,        X,              X,         X),
    ANSWER(BRANCH_COMMITTING, X,        X,              X,         TELL_DONE),
    ANSWER(BRANCH_CLEARING,   X,        X,              X,         X),
    ANSWER(BRANCH_UNDOING,    X,        X,              X,         TELL_DONE),
    ANSWER(BRANCH_EVICTING,   X,        X,              X,         SEEK_AGAIN),
    ANSWER(BRANCH_CLOSING,    X,        X,              X,         CLOSED),
    ANSWER(BRANCH_ONE_PHASE,  VOTE_YES, X,              DOUBT,     TELL_MARKED),
    ANSWER(BRANCH_SETTLING,   X,        X,              X,         TELL_MARKED),
#undef ANSWER

#define FAILURE(state, a, b, c) \
    [state][PE_UNKNOWN] = a, [state][PE_RETRY] = b, [state][PE_GONE] = c
    /* No answer, or none that ends it. */
    /*                         UNKNOWN       RETRY        GONE */
    FAILURE(BRANCH_NONE,       X,            X,           X),
    FAILURE(BRANCH_OPEN,       X,            X,           X),
    FAILURE(BRANCH_PREPARING,  VOTE_NO_LOST, VOTE_NO,     X),
    FAILURE(BRANCH_DOOMED,     CLEAR_AGAIN,  CLEAR_AGAIN, X),
    FAILURE(BRANCH_VERIFYING,  FORGET,       FORGET,      X),
    FAILURE(BRANCH_READY,      X,            X,           X),
    FAILURE(BRANCH_REFUSED,    X,            X,           X),
    FAILURE(BRANCH_LEFT,       X,            X,           X),
    FAILURE(BRANCH_SEEKING,    FORGET,       FORGET,      X),
    FAILURE(BRANCH_COMMITTING, SEEK_AGAIN,   FORGET,      SEEK_AGAIN),
    FAILURE(BRANCH_CLEARING,   FORGET,       FORGET,      X),
    FAILURE(BRANCH_UNDOING,    CLEAR_AGAIN,  FORGET,      CLEAR_AGAIN),
    FAILURE(BRANCH_EVICTING,   SEEK_AGAIN,   FORGET,      SEEK_AGAIN),
    FAILURE(BRANCH_CLOSING,    CLOSED,       CLOSED,      X),
    FAILURE(BRANCH_ONE_PHASE,  FIND_MARKER,  FIND_MARKER, X),
    FAILURE(BRANCH_SETTLING,   FORGET,       FORGET,      X),
#undef FAILURE

#define LOOK(state, a, b) \
    [state][PE_SEEN] = a, [state][PE_ABSENT] = b
    /* What a look has found, of the gid or of the marker. */
    /*                      SEEN         ABSENT */
    LOOK(BRANCH_NONE,       X,           X),
    LOOK(BRANCH_OPEN,       X,           X),
    LOOK(BRANCH_PREPARING,  X,           X),
    LOOK(BRANCH_DOOMED,     UNDO_SEEN,   ABSENT_DOOMED),
    LOOK(BRANCH_VERIFYING,  VOTE_SEEN,   VOTE_NO_ABSENT),
    LOOK(BRANCH_READY,      X,           X),
    LOOK(BRANCH_REFUSED,    X,           X),
    LOOK(BRANCH_LEFT,       X,           X),
    LOOK(BRANCH_SEEKING,    COMMIT_SEEN, TELL_EVIDENCE),
    LOOK(BRANCH_COMMITTING, X,           X),
    LOOK(BRANCH_CLEARING,   UNDO_SEEN,   TELL_ABSENT),
    LOOK(BRANCH_UNDOING,    X,           X),
    LOOK(BRANCH_EVICTING,   X,           X),
    LOOK(BRANCH_CLOSING,    X,           X),
    LOOK(BRANCH_ONE_PHASE,  X,           X),
    LOOK(BRANCH_SETTLING,   X,           TELL_UNMARKED),
#undef LOOK
#undef X
#undef _
};
/* clang-format on */

const char *branch_state_word(enum branch_state state)
{
    static const char *const words[BRANCH_STATES] = {
        "none",     "open",    "preparing", "doomed",     "verifying", "ready",
        "refused",  "left",    "seeking",   "committing", "clearing",  "undoing",
        "evicting", "closing", "one-phase", "settling",
    };
    assert(state < BRANCH_STATES);
    return words[state];
}

const char *participant_event_word(enum participant_event_type type)
{
    static const char *const words[PE_TYPES] = {
        "hole",      "opened", "session-lost", "prepare",   "commit",  "rollback",
        "one-phase", "settle", "prepared",     "read-only", "refusal", "finished",
        "unknown",   "retry",  "gone",         "seen",      "absent",  "tick",
    };
    assert(type < PE_TYPES);
    return words[type];
}

static void participant_carry_out(struct branch_step *s, enum move move)
{
    switch (move) {
    case OPEN:
        move_open(s);
        break;
    case LOSE:
        move_lose(s, "the session was lost, and its work with it");
        break;
    case CLOSE:
        move_close(s, false);
        break;
    case CLOSE_ASKED:
        move_close(s, true);
        break;
    case ASK:
        move_ask(s);
        break;
    case CLOSED:
        move_closed(s);
        break;
    case PREPARE:
        move_prepare(s);
        break;
    case VERIFY:
        move_verify(s);
        break;
    case DOOM:
        move_doom(s);
        break;
    case HURRY:
        move_hurry(s);
        break;
    case VOTE_YES:
        move_vote_yes(s);
        break;
    case VOTE_SEEN:
        move_vote_seen(s);
        break;
    case VOTE_READ_ONLY:
        move_vote_read_only(s);
        break;
    case VOTE_NO:
        move_vote_no(s);
        break;
    case VOTE_NO_LOST:
        move_vote_no_lost(s);
        break;
    case VOTE_NO_ABSENT:
        move_vote_no_absent(s);
        break;
    case SAY_YES:
        move_say_yes(s);
        break;
    case SAY_NO:
        move_say_no(s);
        break;
    case SAY_READ_ONLY:
        move_say_read_only(s);
        break;
    case SEEK:
        move_seek(s);
        break;
    case SEEK_AGAIN:
        move_seek_again(s);
        break;
    case COMMIT:
        move_commit(s);
        break;
    case COMMIT_SEEN:
        move_commit_seen(s);
        break;
    case TELL_EVIDENCE:
        move_tell_evidence(s);
        break;
    case TELL_DONE:
        move_tell_done(s);
        break;
    case CLEAR:
        move_clear(s);
        break;
    case CLEAR_AGAIN:
        move_clear_again(s);
        break;
    case CLEAR_REFUSED:
        move_clear_refused(s);
        break;
    case UNDO:
        move_undo(s);
        break;
    case UNDO_SEEN:
        move_undo_seen(s);
        break;
    case TELL_ABSENT:
        move_tell_absent(s);
        break;
    case ABSENT_DOOMED:
        move_absent_doomed(s);
        break;
    case ONE_PHASE:
        move_one_phase(s);
        break;
    case FIND_MARKER:
        move_find_marker(s);
        break;
    case DOUBT:
        move_doubt(s);
        break;
    case TELL_MARKED:
        move_tell_marked(s);
        break;
    case TELL_UNMARKED:
        move_tell_unmarked(s);
        break;
    case FORGET:
        move_forget(s);
        break;
    case IGNORE:
    case REFUSE:
        break;
    case HOLE:
    case IMPOSSIBLE:
        assert(false && "an event that cannot happen in this state");
    }
}

void participant_step(struct participant *participant, const struct participant_event *event,
                      struct participant_actions *out)
{
    assert(event->type > PE_HOLE && event->type < PE_TYPES);
    out->count = 0;
    out->forgot = false;

    uint32_t at = branches_find(participant, &event->branch);
    enum branch_state state = at == NO_ITEM ? BRANCH_NONE : participant->slots[at].state;
    enum move move = moves[state][event->type];
    COVER(PARTICIPANT, state, event->type);
    if (move == IGNORE || move == REFUSE)
        return;

    if (at == NO_ITEM) {
        at = branches_make_room(participant, event, out);
        if (at == NO_ITEM) {
            assert(event->type != PE_OPENED); /* it was asked whether there is room */
            if (event->type != PE_PREPARE)
                return;
            move_say_busy(event, out);
            return;
        }
        /* An answer is remembered for a while even when no time was ever given. */
        participant->slots[at].ended_ms = event->now_ms;
    }
    branches_unspare(participant, at);
    participant_carry_out(&(struct branch_step){.participant = participant,
                                                .at = at,
                                                .slot = &participant->slots[at],
                                                .event = event,
                                                .out = out},
                          move);
    if (participant->slots[at].state == BRANCH_NONE) {
        out->forgot = true;
        out->forgotten = event->branch;
    }
}

bool participant_due(struct participant *participant, uint64_t now_ms,
                     struct participant_event *out)
{
    uint32_t at;
    if (!timers_due(&participant->timers, now_ms, &at))
        return false;
    timers_set(&participant->timers, at, TIMER_NEVER);
    memset(out, 0, sizeof *out);
    out->type = PE_TICK;
    out->now_ms = now_ms;
    out->branch = participant->slots[at].id;
    return true;
}

uint64_t participant_wake_ms(const struct participant *participant)
{
    return timers_next_ms(&participant->timers);
}
