/*
 * core/participant/participant_state.h - what a participant consists of: for its own files only.
 */
#ifndef ASSENT_CORE_PARTICIPANT_PARTICIPANT_STATE_H
#define ASSENT_CORE_PARTICIPANT_PARTICIPANT_STATE_H

#include "core/base/slots.h"
#include "core/base/table.h"
#include "core/base/timers.h"
#include "core/participant/participant.h"

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
    struct slots places;
    uint32_t spare_count, spare_first, spare_last;
    struct slot *slots;
    struct table table;
    struct timers timers;
};

/* One event on its way through the moves. */
struct branch_step {
    struct participant *participant;
    uint32_t at;       /* number of slot */
    struct slot *slot; /* what is remembered of the branch */
    const struct participant_event *event;
    struct participant_actions *out;
};

/* ---- branches.c: which branches are remembered ---- */

uint32_t branches_find(const struct participant *participant, const struct branch_id *id);
/* It is over, and remembered only to be said again: it may make room for others. */
void branches_spare(struct participant *participant, uint32_t at);
void branches_unspare(struct participant *participant, uint32_t at);
/* Room for a branch, at the cost of the answer that has been remembered for the longest time. */
uint32_t branches_make_room(struct participant *participant, const struct participant_event *event,
                            struct participant_actions *out);
void branches_forget(struct participant *participant, uint32_t at);

/* ---- moves.c: what they do; participant.c has the table ---- */

/* Remember the session. */
void move_open(struct branch_step *s);
/* A later PREPARE is answered no: the session is lost, or was rolled back. */
void move_lose(struct branch_step *s, const char *why);
void move_prepare(struct branch_step *s);
void move_verify(struct branch_step *s);
void move_doom(struct branch_step *s);
void move_hurry(struct branch_step *s);
void move_vote_yes(struct branch_step *s);
void move_vote_seen(struct branch_step *s);
void move_vote_read_only(struct branch_step *s);
void move_vote_no(struct branch_step *s);
void move_vote_no_lost(struct branch_step *s);
void move_vote_no_absent(struct branch_step *s);
void move_say_yes(struct branch_step *s);
void move_say_no(struct branch_step *s);
void move_say_read_only(struct branch_step *s);
/* No room for a new branch. */
void move_say_busy(const struct participant_event *event, struct participant_actions *out);
void move_seek(struct branch_step *s);
void move_seek_again(struct branch_step *s);
void move_commit(struct branch_step *s);
void move_commit_seen(struct branch_step *s);
void move_tell_evidence(struct branch_step *s);
void move_clear(struct branch_step *s);
void move_clear_again(struct branch_step *s);
void move_clear_refused(struct branch_step *s);
void move_undo(struct branch_step *s);
void move_undo_seen(struct branch_step *s);
void move_tell_absent(struct branch_step *s);
void move_absent_doomed(struct branch_step *s);
void move_close(struct branch_step *s, bool asked);
void move_ask(struct branch_step *s);
void move_closed(struct branch_step *s);
void move_one_phase(struct branch_step *s);
void move_find_marker(struct branch_step *s);
void move_doubt(struct branch_step *s);
void move_tell_marked(struct branch_step *s);
void move_tell_unmarked(struct branch_step *s);
void move_tell_done(struct branch_step *s);
void move_forget(struct branch_step *s);

#endif
