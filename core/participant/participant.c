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
#include "core/base/table.h"
#include "core/base/timers.h"

/* A final answer is remembered for this long after the branch's time is over, so that an
 * order that was delayed on its way does not find a blank page. */
enum { REMEMBER_MS = 60 * 1000 };
/* A PREPARE that was sent has this long to be answered once its branch is to be rolled back. */
enum { DOOMED_MS = 2000 };
/* One part of so many of the table is kept for what ends branches: new work cannot keep a decision
 * from being carried out. */
enum { RESERVED_PART = 16 };

struct slot {
    struct branch_id id;
    enum branch_state state;
    uint64_t xid;  /* READY: that was voted for. SEEKING, CLEARING, EVICTING: that was ordered */
    uint64_t beat; /* that went with the vote */
    uint64_t lsn;  /* of the COMMIT order */
    uint64_t ended_ms;      /* when the branch's time is over */
    bool asked;             /* CLOSING: the TM waits to hear that it is rolled back */
    bool clean;             /* REFUSED: PostgreSQL's own no, nothing can be prepared */
    bool spare;             /* among those that make room for others */
    uint32_t before, after; /* spare: its neighbours, the oldest first */
    char sqlstate[SQLSTATE_BYTES];
    char message[REASON_BYTES];
    char detail[DETAIL_BYTES];
    char hint[HINT_BYTES];
};

struct participant {
    uint64_t agent_incarnation;
    uint32_t slots_max;
    uint32_t count;
    uint32_t free_count;
    uint32_t spare_count, spare_first, spare_last;
    struct slot *slots;
    uint32_t *free_list;
    struct table table;
    struct timers timers;
};

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

/* clang-format off */
static const enum move moves[BRANCH_STATES][PE_TYPES] = {
#define ROW(...) {HOLE, __VA_ARGS__}
#define X__ IMPOSSIBLE
    /*                        the agent:           the TM's orders:                                        PostgreSQL's answers:
     *                        OPENED  SESSION_LOST PREPARE  COMMIT  ROLLBACK       ONE_PHASE    SETTLE       PREPARED  READ_ONLY       REFUSAL  FINISHED     UNKNOWN       RETRY    GONE         SEEN         ABSENT          TICK */
    [BRANCH_NONE]       = ROW(OPEN,   IGNORE,      VERIFY,  SEEK,   CLEAR,         FIND_MARKER, FIND_MARKER, X__,      X__,            X__,     X__,         X__,          X__,     X__,         X__,         X__,            IGNORE),
    [BRANCH_OPEN]       = ROW(IGNORE, LOSE,        PREPARE, CLOSE,  CLOSE_ASKED,   ONE_PHASE,   CLOSE,       X__,      X__,            X__,     X__,         X__,          X__,     X__,         X__,         X__,            CLOSE),
    [BRANCH_PREPARING]  = ROW(X__,    IGNORE,      IGNORE,  IGNORE, DOOM,          REFUSE,      IGNORE,      VOTE_YES, VOTE_READ_ONLY, VOTE_NO, X__,         VOTE_NO_LOST, VOTE_NO, X__,         X__,         X__,            HURRY),
    [BRANCH_DOOMED]     = ROW(X__,    IGNORE,      IGNORE,  IGNORE, IGNORE,        IGNORE,      IGNORE,      UNDO,     TELL_DONE,      TELL_DONE, X__,       CLEAR_AGAIN,  CLEAR_AGAIN, X__,     UNDO_SEEN,   ABSENT_DOOMED,  HURRY),
    [BRANCH_VERIFYING]  = ROW(X__,    IGNORE,      IGNORE,  IGNORE, DOOM,          REFUSE,      IGNORE,      X__,      X__,            X__,     X__,         FORGET,       FORGET,  X__,         VOTE_SEEN,   VOTE_NO_ABSENT, IGNORE),
    [BRANCH_READY]      = ROW(X__,    IGNORE,      SAY_YES, COMMIT, UNDO,          SAY_YES,     SAY_YES,     X__,      X__,            X__,     X__,         X__,          X__,     X__,         X__,         X__,            IGNORE),
    [BRANCH_REFUSED]    = ROW(X__,    IGNORE,      SAY_NO,  SEEK,   CLEAR_REFUSED, FIND_MARKER, FIND_MARKER, X__,      X__,            X__,     X__,         X__,          X__,     X__,         X__,         X__,            FORGET),
    [BRANCH_LEFT]       = ROW(X__,    IGNORE,      SAY_READ_ONLY, REFUSE, TELL_DONE, REFUSE,    REFUSE,      X__,      X__,            X__,     X__,         X__,          X__,     X__,         X__,         X__,            FORGET),
    [BRANCH_SEEKING]    = ROW(X__,    IGNORE,      IGNORE,  IGNORE, REFUSE,        REFUSE,      IGNORE,      X__,      X__,            X__,     X__,         FORGET,       FORGET,  X__,         COMMIT_SEEN, TELL_EVIDENCE,  IGNORE),
    [BRANCH_COMMITTING] = ROW(X__,    IGNORE,      IGNORE,  IGNORE, REFUSE,        REFUSE,      IGNORE,      X__,      X__,            X__,     TELL_DONE,   SEEK_AGAIN,   FORGET,  SEEK_AGAIN,  X__,         X__,            IGNORE),
    [BRANCH_CLEARING]   = ROW(X__,    IGNORE,      IGNORE,  REFUSE, IGNORE,        REFUSE,      IGNORE,      X__,      X__,            X__,     X__,         FORGET,       FORGET,  X__,         UNDO_SEEN,   TELL_ABSENT,    IGNORE),
    [BRANCH_UNDOING]    = ROW(X__,    IGNORE,      IGNORE,  REFUSE, IGNORE,        REFUSE,      IGNORE,      X__,      X__,            X__,     TELL_DONE,   CLEAR_AGAIN,  FORGET,  CLEAR_AGAIN, X__,         X__,            IGNORE),
    [BRANCH_EVICTING]   = ROW(X__,    IGNORE,      IGNORE,  IGNORE, REFUSE,        REFUSE,      IGNORE,      X__,      X__,            X__,     SEEK_AGAIN,  SEEK_AGAIN,   FORGET,  SEEK_AGAIN,  X__,         X__,            IGNORE),
    [BRANCH_CLOSING]    = ROW(X__,    IGNORE,      IGNORE,  IGNORE, ASK,           IGNORE,      IGNORE,      X__,      X__,            X__,     CLOSED,      CLOSED,       CLOSED,  X__,         X__,         X__,            IGNORE),
    [BRANCH_ONE_PHASE]  = ROW(X__,    IGNORE,      REFUSE,  REFUSE, IGNORE,        IGNORE,      IGNORE,      VOTE_YES, X__,            DOUBT,   TELL_MARKED, FIND_MARKER,  FIND_MARKER, X__,     X__,         X__,            HURRY),
    [BRANCH_SETTLING]   = ROW(X__,    IGNORE,      IGNORE,  IGNORE, IGNORE,        IGNORE,      IGNORE,      X__,      X__,            X__,     TELL_MARKED, FORGET,       FORGET,  X__,         X__,         TELL_UNMARKED,  IGNORE),
#undef X__
#undef ROW
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

/* ---- memory ---- */

static struct participant *lay_out(struct memory *memory, uint32_t branches_max)
{
    struct table table;
    struct timers timers;
    struct participant *participant = memory_take(memory, 1, sizeof *participant);
    struct slot *slots = memory_take(memory, branches_max, sizeof *slots);
    uint32_t *free_list = memory_take(memory, branches_max, sizeof *free_list);
    table_init(&table, memory, branches_max);
    timers_init(&timers, memory, branches_max);
    if (participant == NULL)
        return NULL;
    participant->slots_max = branches_max;
    participant->slots = slots;
    participant->free_list = free_list;
    participant->table = table;
    participant->timers = timers;
    return participant;
}

size_t participant_bytes(uint32_t branches_max)
{
    struct memory memory = {.base = NULL};
    lay_out(&memory, branches_max);
    return memory.used;
}

struct participant *participant_init(void *room, uint32_t branches_max, uint64_t agent_incarnation)
{
    struct memory memory = {.base = room};
    struct participant *participant = lay_out(&memory, branches_max);
    participant->agent_incarnation = agent_incarnation;
    participant->spare_first = participant->spare_last = NO_ITEM;
    /* Handed out from the end: low numbers first. */
    while (participant->free_count < branches_max) {
        participant->free_list[participant->free_count] =
            branches_max - 1 - participant->free_count;
        participant->free_count++;
    }
    return participant;
}

static uint64_t branch_hash(const struct branch_id *id)
{
    uint64_t hash = hash_bytes(id->gtrid.tm, text_length(id->gtrid.tm, TM_NAME_BYTES),
                               id->gtrid.sequence * 31 + id->gtrid.incarnation);
    return hash_bytes(id->branch, text_length(id->branch, BRANCH_NAME_BYTES), hash);
}

static uint32_t find(const struct participant *participant, const struct branch_id *id)
{
    struct probe probe;
    for (uint32_t i = table_first(&participant->table, branch_hash(id), &probe); i != NO_ITEM;
         i = table_next(&participant->table, &probe))
        if (branch_equal(&participant->slots[i].id, id))
            return i;
    return NO_ITEM;
}

/* What is over, and remembered only to be said again. */
static void spare(struct participant *participant, uint32_t at)
{
    struct slot *slot = &participant->slots[at];
    slot->spare = true;
    slot->before = participant->spare_last;
    slot->after = NO_ITEM;
    if (slot->before == NO_ITEM)
        participant->spare_first = at;
    else
        participant->slots[slot->before].after = at;
    participant->spare_last = at;
    participant->spare_count++;
}

static void unspare(struct participant *participant, uint32_t at)
{
    struct slot *slot = &participant->slots[at];
    if (!slot->spare)
        return;
    slot->spare = false;
    if (slot->before == NO_ITEM)
        participant->spare_first = slot->after;
    else
        participant->slots[slot->before].after = slot->after;
    if (slot->after == NO_ITEM)
        participant->spare_last = slot->before;
    else
        participant->slots[slot->after].before = slot->before;
    participant->spare_count--;
}

static uint32_t remember(struct participant *participant, const struct branch_id *id)
{
    if (participant->free_count == 0)
        return NO_ITEM;
    uint32_t at = participant->free_list[--participant->free_count];
    memset(&participant->slots[at], 0, sizeof participant->slots[at]);
    participant->slots[at].id = *id;
    table_put(&participant->table, branch_hash(id), at);
    participant->count++;
    return at;
}

static void forget(struct participant *participant, uint32_t at)
{
    struct slot *slot = &participant->slots[at];
    unspare(participant, at);
    table_remove(&participant->table, branch_hash(&slot->id), at);
    timers_set(&participant->timers, at, TIMER_NEVER);
    slot->state = BRANCH_NONE;
    participant->free_list[participant->free_count++] = at;
    participant->count--;
}

/* ---- actions ---- */

static struct participant_action *act(struct participant_actions *out, const struct slot *slot,
                                      enum participant_action_type type)
{
    assert(out->count < PARTICIPANT_ACTIONS_MAX);
    struct participant_action *action = &out->list[out->count++];
    memset(action, 0, sizeof *action);
    action->type = type;
    action->branch = slot->id;
    action->xid = slot->xid;
    action->lsn = slot->lsn;
    return action;
}

static struct result *tell(struct participant_actions *out, const struct slot *slot,
                           enum result_type type)
{
    struct result *result = &act(out, slot, PA_TELL)->result;
    result->type = type;
    result->branch = slot->id;
    result->xid = slot->xid;
    return result;
}

static void tell_no(struct participant_actions *out, const struct slot *slot)
{
    struct result *result = tell(out, slot, RESULT_NO);
    memcpy(result->sqlstate, slot->sqlstate, sizeof result->sqlstate);
    memcpy(result->message, slot->message, sizeof result->message);
    memcpy(result->detail, slot->detail, sizeof result->detail);
    memcpy(result->hint, slot->hint, sizeof result->hint);
}

/* A final answer, kept until no order can still depend on it, or until others need its room: asked
 * again we would then look for what is there, and find nothing. Where something may be found,
 * because a PREPARE may still land or be the application's own, no stays no. */
static void end_as(struct participant *participant, uint32_t at, enum branch_state state)
{
    struct slot *slot = &participant->slots[at];
    slot->state = state;
    timers_set(&participant->timers, at, slot->ended_ms + REMEMBER_MS);
    if (!slot->spare && (state == BRANCH_LEFT || slot->clean))
        spare(participant, at);
}

static void keep_words(char *out, size_t room, const char *words)
{
    words = words == NULL ? "" : words;
    text_copy(out, room, words, text_length(words, room));
}

static void say_why(struct slot *slot, const char *sqlstate, const char *message)
{
    keep_words(slot->sqlstate, sizeof slot->sqlstate, sqlstate);
    keep_words(slot->message, sizeof slot->message, message);
    slot->detail[0] = '\0';
    slot->hint[0] = '\0';
}

/* In the words of the database. */
static void say_as(struct slot *slot, const struct participant_event *event)
{
    say_why(slot, event->sqlstate, event->message);
    keep_words(slot->detail, sizeof slot->detail, event->detail);
    keep_words(slot->hint, sizeof slot->hint, event->hint);
}

static void end_with_no(struct participant *participant, uint32_t at,
                        struct participant_actions *out)
{
    tell_no(out, &participant->slots[at]);
    end_as(participant, at, BRANCH_REFUSED);
}

static void vote_no(struct participant *participant, uint32_t at, const char *sqlstate,
                    const char *message, struct participant_actions *out)
{
    say_why(&participant->slots[at], sqlstate, message);
    end_with_no(participant, at, out);
}

static void look(struct slot *slot, enum branch_state state, struct participant_actions *out)
{
    slot->state = state;
    /* Before we say READY or DONE of something that we only saw, it must be on disk. */
    act(out, slot, PA_LOOK)->flush = state != BRANCH_CLEARING;
}

static void close_session(struct participant *participant, uint32_t at, bool asked,
                          struct participant_actions *out)
{
    struct slot *slot = &participant->slots[at];
    slot->state = BRANCH_CLOSING;
    slot->asked = asked;
    timers_set(&participant->timers, at, TIMER_NEVER);
    act(out, slot, PA_END_SESSION);
}

/* Told to commit something that is not prepared here: what became of it? */
static void tell_evidence(struct participant *participant, uint32_t at,
                          const struct participant_event *event, struct participant_actions *out)
{
    static const enum result_type meaning[] = {
        [XID_UNKNOWN] = RESULT_UNKNOWN,
        [XID_COMMITTED] = RESULT_DONE,
        [XID_ABORTED] = RESULT_HEURISTIC,
        [XID_FUTURE] = RESULT_LOST,
    };
    struct result *result = tell(out, &participant->slots[at], meaning[event->status]);
    result->beat = event->beat;
    if (event->status == XID_ABORTED)
        result->actual = OUTCOME_ROLLED_BACK;
    if (event->status == XID_COMMITTED)
        result->actual = OUTCOME_COMMITTED;
    forget(participant, at);
}

/* Told to roll back something that is not prepared here. Gone is what was wanted, unless the
 * very transaction that was voted for turns out to be committed. */
static void tell_absent(struct participant *participant, uint32_t at,
                        const struct participant_event *event, struct participant_actions *out)
{
    bool committed = event->status == XID_COMMITTED;
    struct result *result =
        tell(out, &participant->slots[at], committed ? RESULT_HEURISTIC : RESULT_DONE);
    if (committed)
        result->actual = OUTCOME_COMMITTED;
    forget(participant, at);
}

static void commit(struct slot *slot, uint64_t prepared_xid, struct participant_actions *out)
{
    bool voted_for = slot->xid == prepared_xid || MUTANT(ANY_XID);
    slot->state = voted_for ? BRANCH_COMMITTING : BRANCH_EVICTING;
    struct participant_action *action = act(out, slot, voted_for ? PA_COMMIT : PA_ROLLBACK);
    action->xid = prepared_xid;
}

static void undo(struct slot *slot, uint64_t prepared_xid, struct participant_actions *out)
{
    slot->state = BRANCH_UNDOING;
    act(out, slot, PA_ROLLBACK)->xid = prepared_xid;
}

static void take_order(struct slot *slot, const struct participant_event *event)
{
    slot->xid = event->order->xid;
    slot->lsn = event->order->lsn;
}

static void keep_until(struct slot *slot, uint64_t when_ms)
{
    if (slot->ended_ms < when_ms)
        slot->ended_ms = when_ms;
}

static void carry_out(struct participant *participant, uint32_t at, enum move move,
                      const struct participant_event *event, struct participant_actions *out)
{
    struct slot *slot = &participant->slots[at];

    switch (move) {
    case OPEN:
        slot->state = BRANCH_OPEN;
        keep_until(slot, event->now_ms + event->timeout_ms);
        timers_set(&participant->timers, at, slot->ended_ms);
        break;
    case LOSE:
        say_why(slot, NULL, "the session was lost, and its work with it");
        slot->clean = true;
        end_as(participant, at, BRANCH_REFUSED);
        break;
    case PREPARE:
        slot->state = BRANCH_PREPARING;
        keep_until(slot, event->now_ms + event->order->timeout_ms);
        timers_set(&participant->timers, at, event->now_ms + event->order->timeout_ms);
        act(out, slot, PA_PREPARE);
        break;
    case VERIFY:
        keep_until(slot, event->now_ms + event->order->timeout_ms);
        look(slot, BRANCH_VERIFYING, out);
        out->list[out->count - 1].votes = true;
        out->list[out->count - 1].late =
            event->order->agent_incarnation != participant->agent_incarnation;
        break;
    case DOOM:
        if (slot->state == BRANCH_PREPARING)
            act(out, slot, PA_INTERRUPT);
        slot->state = BRANCH_DOOMED;
        take_order(slot, event);
        timers_set(&participant->timers, at, event->now_ms + DOOMED_MS);
        break;
    case HURRY:
        timers_set(&participant->timers, at, TIMER_NEVER);
        /* A COMMIT that was sent is waited for, whatever it takes: nobody else can decide. */
        act(out, slot, PA_INTERRUPT)->at_once = slot->state != BRANCH_ONE_PHASE;
        break;
    case VOTE_YES:
    case VOTE_SEEN:
        if (move == VOTE_SEEN && !event->actable) {
            say_as(slot, event);
            end_with_no(participant, at, out);
            break;
        }
        slot->state = BRANCH_READY;
        timers_set(&participant->timers, at, TIMER_NEVER);
        slot->xid = event->xid;
        slot->beat = event->beat;
        tell(out, slot, RESULT_READY)->beat = slot->beat;
        break;
    case VOTE_READ_ONLY:
        tell(out, slot, RESULT_READ_ONLY);
        end_as(participant, at, BRANCH_LEFT);
        break;
    case VOTE_NO:
        slot->clean = true;
        say_as(slot, event);
        end_with_no(participant, at, out);
        break;
    case VOTE_NO_LOST:
        vote_no(participant, at, event->sqlstate, "the connection was lost during PREPARE", out);
        break;
    case VOTE_NO_ABSENT:
        if (MUTANT(BELIEVE_APPLICATION)) {
            slot->state = BRANCH_READY;
            tell(out, slot, RESULT_READY);
            break;
        }
        vote_no(participant, at, event->sqlstate,
                event->message != NULL ? event->message
                                       : "branch_not_prepared: its gid is not prepared here",
                out);
        break;
    case SAY_YES:
        tell(out, slot, RESULT_READY)->beat = slot->beat;
        break;
    case SAY_NO:
        keep_until(slot, event->now_ms + event->order->timeout_ms);
        end_as(participant, at, BRANCH_REFUSED);
        tell_no(out, slot);
        break;
    case SAY_READ_ONLY:
        tell(out, slot, RESULT_READ_ONLY);
        break;
    case SEEK:
        take_order(slot, event);
        timers_set(&participant->timers, at, TIMER_NEVER);
        look(slot, BRANCH_SEEKING, out);
        break;
    case SEEK_AGAIN:
        if ((MUTANT(GONE_IS_DONE) && event->type == PE_GONE) ||
            (MUTANT(UNKNOWN_IS_DONE) && event->type == PE_UNKNOWN)) {
            tell(out, slot, RESULT_DONE);
            forget(participant, at);
            break;
        }
        look(slot, BRANCH_SEEKING, out);
        break;
    case COMMIT: {
        uint64_t voted_for = slot->xid;
        take_order(slot, event);
        commit(slot, voted_for, out);
        break;
    }
    case COMMIT_SEEN:
        commit(slot, event->xid, out);
        break;
    case TELL_EVIDENCE:
        tell_evidence(participant, at, event, out);
        break;
    case CLEAR_REFUSED:
        if (slot->clean) {
            tell(out, slot, RESULT_DONE);
            forget(participant, at);
            break;
        }
        /* fall through */
    case CLEAR:
        take_order(slot, event);
        timers_set(&participant->timers, at, TIMER_NEVER);
        look(slot, BRANCH_CLEARING, out);
        break;
    case CLEAR_AGAIN:
        look(slot, BRANCH_CLEARING, out);
        break;
    case UNDO: {
        uint64_t prepared = event->type == PE_PREPARED ? event->xid : slot->xid;
        undo(slot, prepared, out);
        break;
    }
    case UNDO_SEEN:
        undo(slot, event->xid, out);
        break;
    case ABSENT_DOOMED:
        /* This look carried no xid; if a vote was ever given, ask what became of that. */
        if (slot->xid != 0) {
            look(slot, BRANCH_CLEARING, out);
            break;
        }
        /* fall through */
    case TELL_ABSENT:
        tell_absent(participant, at, event, out);
        break;
    case CLOSE:
        close_session(participant, at, false, out);
        break;
    case CLOSE_ASKED:
        close_session(participant, at, true, out);
        break;
    case ASK:
        slot->asked = true;
        break;
    case CLOSED:
        if (slot->asked) {
            tell(out, slot, RESULT_DONE);
            forget(participant, at);
            break;
        }
        say_why(slot, NULL, "the session was rolled back");
        slot->clean = true;
        end_as(participant, at, BRANCH_REFUSED);
        break;
    case ONE_PHASE:
        slot->state = BRANCH_ONE_PHASE;
        take_order(slot, event);
        timers_set(&participant->timers, at, slot->ended_ms);
        act(out, slot, PA_COMMIT_SESSION)->or_prepare = event->order->or_prepare;
        break;
    case DOUBT:
        say_as(slot, event);
        /* fall through */
    case FIND_MARKER:
        if (MUTANT(ONE_PHASE_UNMARKED) && slot->state == BRANCH_ONE_PHASE) {
            vote_no(participant, at, "", "a planted mistake", out);
            break;
        }
        slot->state = BRANCH_SETTLING;
        timers_set(&participant->timers, at, TIMER_NEVER);
        act(out, slot, PA_LOOK_MARKER);
        break;
    case TELL_MARKED: {
        struct result *result = tell(out, slot, RESULT_DONE);
        result->beat = event->beat;
        result->actual = OUTCOME_COMMITTED;
        forget(participant, at);
        break;
    }
    case TELL_UNMARKED:
        if (slot->message[0] == '\0')
            say_why(slot, NULL, "the session was gone before it was told to commit");
        tell_no(out, slot);
        /* Remembered: a new session under this gid could be told to commit by a late order. It may
         * be prepared instead, with its answer lost: what is to be rolled back is looked for. */
        end_as(participant, at, BRANCH_REFUSED);
        break;
    case TELL_DONE: {
        struct result *result = tell(out, slot, RESULT_DONE);
        result->beat = event->beat;
        if (slot->state == BRANCH_COMMITTING)
            result->actual = OUTCOME_COMMITTED;
        forget(participant, at);
        break;
    }
    case FORGET:
        forget(participant, at);
        break;
    case IGNORE:
    case REFUSE:
        break;
    case HOLE:
    case IMPOSSIBLE:
        assert(false && "an event that cannot happen in this state");
    }
}

static bool is_new_work(enum participant_event_type type)
{
    return type == PE_OPENED || type == PE_PREPARE;
}

static uint32_t reserved(const struct participant *participant)
{
    uint32_t part = participant->slots_max / RESERVED_PART;
    return part > 0 ? part : 1;
}

bool participant_has_room(const struct participant *participant)
{
    return participant->free_count + participant->spare_count > reserved(participant);
}

/* Room for a branch, at the cost of the answer that has been remembered for the longest time. */
static uint32_t make_room(struct participant *participant, const struct participant_event *event,
                          struct participant_actions *out)
{
    if (is_new_work(event->type) && !participant_has_room(participant))
        return NO_ITEM;
    if (participant->free_count == 0 && participant->spare_count == 0 && MUTANT(FULL_FORGETS))
        forget(participant, 0);
    if (participant->free_count == 0 && participant->spare_count > 0) {
        out->forgot = true;
        out->forgotten = participant->slots[participant->spare_first].id;
        forget(participant, participant->spare_first);
    }
    return remember(participant, &event->branch);
}

void participant_step(struct participant *participant, const struct participant_event *event,
                      struct participant_actions *out)
{
    assert(event->type > PE_HOLE && event->type < PE_TYPES);
    out->count = 0;
    out->forgot = false;

    uint32_t at = find(participant, &event->branch);
    enum branch_state state = at == NO_ITEM ? BRANCH_NONE : participant->slots[at].state;
    enum move move = moves[state][event->type];
    COVER(PARTICIPANT, state, event->type);
    if (move == IGNORE || move == REFUSE)
        return;

    if (at == NO_ITEM) {
        at = make_room(participant, event, out);
        if (at == NO_ITEM) {
            assert(event->type != PE_OPENED); /* it was asked whether there is room */
            if (event->type != PE_PREPARE)
                return;
            struct slot nobody = {.id = event->branch};
            say_why(&nobody, NULL, "busy: the agent has as many branches under way as it can hold");
            tell_no(out, &nobody);
            return;
        }
        /* An answer is remembered for a while even when no time was ever given. */
        participant->slots[at].ended_ms = event->now_ms;
    }
    unspare(participant, at);
    carry_out(participant, at, move, event, out);
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

bool participant_fence(struct participant *participant, const char *tm, uint64_t incarnation,
                       struct participant_event *out)
{
    for (uint32_t i = 0; i < participant->slots_max; i++) {
        const struct slot *slot = &participant->slots[i];
        if (slot->state != BRANCH_OPEN || slot->id.gtrid.incarnation >= incarnation ||
            !text_equal(slot->id.gtrid.tm, tm, TM_NAME_BYTES))
            continue;
        memset(out, 0, sizeof *out);
        out->type = PE_TICK;
        out->branch = slot->id;
        return true;
    }
    return false;
}

void participant_unplace(struct participant *participant, const char *tm)
{
    for (uint32_t i = 0; i < participant->slots_max; i++)
        if (text_equal(participant->slots[i].id.gtrid.tm, tm, TM_NAME_BYTES))
            participant->slots[i].lsn = 0;
}

enum branch_state participant_state(const struct participant *participant,
                                    const struct branch_id *branch)
{
    uint32_t at = find(participant, branch);
    return at == NO_ITEM ? BRANCH_NONE : participant->slots[at].state;
}

uint64_t participant_xid(const struct participant *participant, const struct branch_id *branch)
{
    uint32_t at = find(participant, branch);
    return at == NO_ITEM ? 0 : participant->slots[at].xid;
}

uint32_t participant_count(const struct participant *participant)
{
    return participant->count;
}

uint32_t participant_held(const struct participant *participant)
{
    return participant->count - participant->spare_count;
}

uint32_t participant_next(const struct participant *participant, uint32_t from,
                          struct branch_id *branch, enum branch_state *state)
{
    for (uint32_t i = from; i < participant->slots_max; i++) {
        if (participant->slots[i].state == BRANCH_NONE)
            continue;
        *branch = participant->slots[i].id;
        *state = participant->slots[i].state;
        return i;
    }
    return NO_ITEM;
}

bool participant_under_way(const struct participant *participant, const struct gtrid *gtrid,
                           uint32_t *at, struct branch_id *branch)
{
    enum branch_state state;
    while ((*at = participant_next(participant, *at, branch, &state)) != NO_ITEM) {
        if (gtrid_equal(&branch->gtrid, gtrid) && state != BRANCH_REFUSED && state != BRANCH_LEFT)
            return true;
        ++*at;
    }
    return false;
}
