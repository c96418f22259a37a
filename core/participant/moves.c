/*
 * core/participant/moves.c - what the moves of a branch do.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/participant/participant_state.h"

/* ---- what comes out ---- */

static struct participant_action *moves_act(struct participant_actions *out,
                                            const struct slot *slot,
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

static struct result *moves_tell(struct participant_actions *out, const struct slot *slot,
                                 enum result_type type)
{
    struct result *result = &moves_act(out, slot, PA_TELL)->result;
    result->type = type;
    result->branch = slot->id;
    result->xid = slot->xid;
    return result;
}

static void moves_tell_no(struct participant_actions *out, const struct slot *slot)
{
    struct result *result = moves_tell(out, slot, RESULT_NO);
    memcpy(result->sqlstate, slot->sqlstate, sizeof result->sqlstate);
    memcpy(result->message, slot->message, sizeof result->message);
    memcpy(result->detail, slot->detail, sizeof result->detail);
    memcpy(result->hint, slot->hint, sizeof result->hint);
}

/* A final answer, kept until no order can still depend on it, or until others need its room: asked
 * again we would then look for what is there, and find nothing. Where something may be found,
 * because a PREPARE may still land or be the application's own, no stays no. */
static void moves_end_as(struct branch_step *s, enum branch_state state)
{
    s->slot->state = state;
    timers_set(&s->participant->timers, s->at, s->slot->ended_ms + REMEMBER_MS);
    if (!s->slot->spare && (state == BRANCH_LEFT || s->slot->clean))
        branches_spare(s->participant, s->at);
}

static void moves_keep_words(char *out, size_t room, const char *words)
{
    words = words == NULL ? "" : words;
    text_copy(out, room, words, text_length(words, room));
}

static void moves_say_why(struct slot *slot, const char *sqlstate, const char *message)
{
    moves_keep_words(slot->sqlstate, sizeof slot->sqlstate, sqlstate);
    moves_keep_words(slot->message, sizeof slot->message, message);
    slot->detail[0] = '\0';
    slot->hint[0] = '\0';
}

/* In the words of the database. */
static void moves_say_as(struct slot *slot, const struct participant_event *event)
{
    moves_say_why(slot, event->sqlstate, event->message);
    moves_keep_words(slot->detail, sizeof slot->detail, event->detail);
    moves_keep_words(slot->hint, sizeof slot->hint, event->hint);
}

static void moves_end_with_no(struct branch_step *s)
{
    moves_tell_no(s->out, s->slot);
    moves_end_as(s, BRANCH_REFUSED);
}

static void moves_vote_no(struct branch_step *s, const char *sqlstate, const char *message)
{
    moves_say_why(s->slot, sqlstate, message);
    moves_end_with_no(s);
}

static struct participant_action *moves_look(struct branch_step *s, enum branch_state state)
{
    struct participant_action *action = moves_act(s->out, s->slot, PA_LOOK);
    s->slot->state = state;
    /* Before we say READY or DONE of something that we only saw, it must be on disk. */
    action->flush = state != BRANCH_CLEARING;
    return action;
}

static void moves_commit_xid(struct branch_step *s, uint64_t prepared_xid)
{
    bool voted_for = s->slot->xid == prepared_xid || MUTANT(ANY_XID);
    s->slot->state = voted_for ? BRANCH_COMMITTING : BRANCH_EVICTING;
    moves_act(s->out, s->slot, voted_for ? PA_COMMIT : PA_ROLLBACK)->xid = prepared_xid;
}

static void moves_undo_xid(struct branch_step *s, uint64_t prepared_xid)
{
    s->slot->state = BRANCH_UNDOING;
    moves_act(s->out, s->slot, PA_ROLLBACK)->xid = prepared_xid;
}

static void moves_take_order(struct branch_step *s)
{
    s->slot->xid = s->event->order->xid;
    s->slot->lsn = s->event->order->lsn;
}

static void moves_keep_until(struct slot *slot, uint64_t when_ms)
{
    if (slot->ended_ms < when_ms)
        slot->ended_ms = when_ms;
}

static void moves_wake_at(struct branch_step *s, uint64_t when_ms)
{
    timers_set(&s->participant->timers, s->at, when_ms);
}

/* If it is not heard, the TM asks again, and it is looked for again. */
static struct result *moves_tell_and_forget(struct branch_step *s, enum result_type type)
{
    struct result *result = moves_tell(s->out, s->slot, type);
    branches_forget(s->participant, s->at);
    return result;
}

/* ---- sessions ---- */

void move_open(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_NONE);
    s->slot->state = BRANCH_OPEN;
    moves_keep_until(s->slot, s->event->now_ms + s->event->timeout_ms);
    moves_wake_at(s, s->slot->ended_ms);
}

void move_lose(struct branch_step *s, const char *why)
{
    assert(s->slot->state == BRANCH_OPEN || s->slot->state == BRANCH_CLOSING);
    moves_say_why(s->slot, NULL, why);
    s->slot->clean = true;
    moves_end_as(s, BRANCH_REFUSED);
}

void move_close(struct branch_step *s, bool asked)
{
    assert(s->slot->state == BRANCH_OPEN);
    s->slot->state = BRANCH_CLOSING;
    s->slot->asked = asked;
    moves_wake_at(s, TIMER_NEVER);
    moves_act(s->out, s->slot, PA_END_SESSION);
}

void move_ask(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_CLOSING);
    s->slot->asked = true;
}

void move_closed(struct branch_step *s)
{
    if (s->slot->asked)
        moves_tell_and_forget(s, RESULT_DONE);
    else
        move_lose(s, "the session was rolled back");
}

/* ---- the first phase ---- */

void move_prepare(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_OPEN);
    s->slot->state = BRANCH_PREPARING;
    moves_keep_until(s->slot, s->event->now_ms + s->event->order->timeout_ms);
    moves_wake_at(s, s->event->now_ms + s->event->order->timeout_ms);
    moves_act(s->out, s->slot, PA_PREPARE);
}

void move_verify(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_NONE);
    moves_keep_until(s->slot, s->event->now_ms + s->event->order->timeout_ms);
    struct participant_action *action = moves_look(s, BRANCH_VERIFYING);
    action->votes = true;
    action->late = s->event->order->agent_incarnation != s->participant->agent_incarnation;
}

void move_doom(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_PREPARING || s->slot->state == BRANCH_VERIFYING);
    if (s->slot->state == BRANCH_PREPARING)
        moves_act(s->out, s->slot, PA_INTERRUPT);
    s->slot->state = BRANCH_DOOMED;
    moves_take_order(s);
    moves_wake_at(s, s->event->now_ms + DOOMED_MS);
}

void move_hurry(struct branch_step *s)
{
    moves_wake_at(s, TIMER_NEVER);
    /* A COMMIT that was sent is waited for, whatever it takes: nobody else can decide. */
    moves_act(s->out, s->slot, PA_INTERRUPT)->at_once = s->slot->state != BRANCH_ONE_PHASE;
}

void move_vote_yes(struct branch_step *s)
{
    s->slot->state = BRANCH_READY;
    moves_wake_at(s, TIMER_NEVER);
    s->slot->xid = s->event->xid;
    s->slot->beat = s->event->beat;
    move_say_yes(s);
}

void move_vote_seen(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_VERIFYING);
    if (s->event->actable) {
        move_vote_yes(s);
        return;
    }
    moves_say_as(s->slot, s->event);
    moves_end_with_no(s);
}

void move_vote_read_only(struct branch_step *s)
{
    moves_tell(s->out, s->slot, RESULT_READ_ONLY);
    moves_end_as(s, BRANCH_LEFT);
}

void move_vote_no(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_PREPARING);
    s->slot->clean = true;
    moves_say_as(s->slot, s->event);
    moves_end_with_no(s);
}

void move_vote_no_lost(struct branch_step *s)
{
    moves_vote_no(s, s->event->sqlstate, "the connection was lost during PREPARE");
}

void move_vote_no_absent(struct branch_step *s)
{
    if (MUTANT(BELIEVE_APPLICATION)) {
        s->slot->state = BRANCH_READY;
        moves_tell(s->out, s->slot, RESULT_READY);
        return;
    }
    moves_vote_no(s, s->event->sqlstate,
                  s->event->message != NULL ? s->event->message
                                            : "branch_not_prepared: its gid is not prepared here");
}

void move_say_yes(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_READY);
    moves_tell(s->out, s->slot, RESULT_READY)->beat = s->slot->beat;
}

void move_say_no(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_REFUSED);
    moves_keep_until(s->slot, s->event->now_ms + s->event->order->timeout_ms);
    moves_end_as(s, BRANCH_REFUSED);
    moves_tell_no(s->out, s->slot);
}

void move_say_read_only(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_LEFT);
    moves_tell(s->out, s->slot, RESULT_READ_ONLY);
}

void move_say_busy(const struct participant_event *event, struct participant_actions *out)
{
    struct slot nobody = {.id = event->branch};
    moves_say_why(&nobody, NULL, "busy: the agent has as many branches under way as it can hold");
    moves_tell_no(out, &nobody);
}

/* ---- told to commit ---- */

void move_seek(struct branch_step *s)
{
    moves_take_order(s);
    moves_wake_at(s, TIMER_NEVER);
    moves_look(s, BRANCH_SEEKING);
}

void move_seek_again(struct branch_step *s)
{
    if ((MUTANT(GONE_IS_DONE) && s->event->type == PE_GONE) ||
        (MUTANT(UNKNOWN_IS_DONE) && s->event->type == PE_UNKNOWN))
        moves_tell_and_forget(s, RESULT_DONE);
    else
        moves_look(s, BRANCH_SEEKING);
}

void move_commit(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_READY);
    uint64_t voted_for = s->slot->xid;
    moves_take_order(s);
    moves_commit_xid(s, voted_for);
}

void move_commit_seen(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_SEEKING);
    moves_commit_xid(s, s->event->xid);
}

/* What is not prepared here: what became of it? */
void move_tell_evidence(struct branch_step *s)
{
    static const enum result_type meaning[] = {
        [XID_UNKNOWN] = RESULT_UNKNOWN,
        [XID_COMMITTED] = RESULT_DONE,
        [XID_ABORTED] = RESULT_HEURISTIC,
        [XID_FUTURE] = RESULT_LOST,
    };
    assert(s->slot->state == BRANCH_SEEKING);
    struct result *result = moves_tell_and_forget(s, meaning[s->event->status]);
    result->beat = s->event->beat;
    if (s->event->status == XID_ABORTED)
        result->actual = OUTCOME_ROLLED_BACK;
    if (s->event->status == XID_COMMITTED)
        result->actual = OUTCOME_COMMITTED;
}

void move_tell_done(struct branch_step *s)
{
    bool committed = s->slot->state == BRANCH_COMMITTING;
    struct result *result = moves_tell_and_forget(s, RESULT_DONE);
    result->beat = s->event->beat;
    if (committed)
        result->actual = OUTCOME_COMMITTED;
}

/* ---- told to roll back ---- */

void move_clear(struct branch_step *s)
{
    moves_take_order(s);
    moves_wake_at(s, TIMER_NEVER);
    moves_look(s, BRANCH_CLEARING);
}

void move_clear_again(struct branch_step *s)
{
    moves_look(s, BRANCH_CLEARING);
}

void move_clear_refused(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_REFUSED);
    if (s->slot->clean)
        moves_tell_and_forget(s, RESULT_DONE);
    else
        move_clear(s);
}

void move_undo(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_READY || s->slot->state == BRANCH_DOOMED);
    moves_undo_xid(s, s->event->type == PE_PREPARED ? s->event->xid : s->slot->xid);
}

void move_undo_seen(struct branch_step *s)
{
    moves_undo_xid(s, s->event->xid);
}

/* Gone is what was wanted, unless the very transaction that was voted for turns out to be
 * committed. */
void move_tell_absent(struct branch_step *s)
{
    bool committed = s->event->status == XID_COMMITTED;
    struct result *result = moves_tell_and_forget(s, committed ? RESULT_HEURISTIC : RESULT_DONE);
    if (committed)
        result->actual = OUTCOME_COMMITTED;
}

/* This look carried no xid; if a vote was ever given, ask what became of that. */
void move_absent_doomed(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_DOOMED);
    if (s->slot->xid != 0)
        moves_look(s, BRANCH_CLEARING);
    else
        move_tell_absent(s);
}

/* ---- one phase ---- */

void move_one_phase(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_OPEN);
    s->slot->state = BRANCH_ONE_PHASE;
    moves_take_order(s);
    moves_wake_at(s, s->slot->ended_ms);
    moves_act(s->out, s->slot, PA_COMMIT_SESSION)->or_prepare = s->event->order->or_prepare;
}

void move_find_marker(struct branch_step *s)
{
    if (MUTANT(ONE_PHASE_UNMARKED) && s->slot->state == BRANCH_ONE_PHASE) {
        moves_vote_no(s, "", "a planted mistake");
        return;
    }
    s->slot->state = BRANCH_SETTLING;
    moves_wake_at(s, TIMER_NEVER);
    moves_act(s->out, s->slot, PA_LOOK_MARKER);
}

void move_doubt(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_ONE_PHASE);
    moves_say_as(s->slot, s->event);
    move_find_marker(s);
}

void move_tell_marked(struct branch_step *s)
{
    struct result *result = moves_tell_and_forget(s, RESULT_DONE);
    result->beat = s->event->beat;
    result->actual = OUTCOME_COMMITTED;
}

/* Remembered: a new session under this gid could be told to commit by a late order. It may be
 * prepared instead, with its answer lost: what is to be rolled back is looked for. */
void move_tell_unmarked(struct branch_step *s)
{
    assert(s->slot->state == BRANCH_SETTLING);
    if (s->slot->message[0] == '\0')
        moves_say_why(s->slot, NULL, "the session was gone before it was told to commit");
    moves_tell_no(s->out, s->slot);
    moves_end_as(s, BRANCH_REFUSED);
}

void move_forget(struct branch_step *s)
{
    branches_forget(s->participant, s->at);
}
