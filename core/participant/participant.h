/*
 * core/participant/participant.h - what an agent knows of each branch, and what it does next.
 *
 * PostgreSQL keeps the truth about a branch; this remembers what was asked of it in this
 * incarnation of the agent, and what has been promised to the TM. The agent feeds it the
 * TM's orders and PostgreSQL's answers, and carries out its actions. All durable facts are
 * in the database: a participant that starts empty is right about everything, only slower.
 *
 * What the agent must guarantee:
 *  - PE_UNKNOWN is given only once the backend that ran the command is known to be gone, so
 *    that nothing it was told can still happen;
 *  - PE_SEEN in answer to a look that asked for `flush` is given only once the beat has been
 *    raised in a transaction with synchronous_commit = on after the gid was seen;
 *  - PE_ABSENT says what pg_xact_status() says of the xid that the look carried.
 */
#ifndef ASSENT_CORE_PARTICIPANT_PARTICIPANT_H
#define ASSENT_CORE_PARTICIPANT_PARTICIPANT_H

#include "core/message/message.h"

enum branch_state {
    BRANCH_NONE = 0,   /* nothing remembered: it may be prepared in PostgreSQL all the same */
    BRANCH_OPEN,       /* its session runs the application's SQL */
    BRANCH_PREPARING,  /* PREPARE TRANSACTION is under way in its session */
    BRANCH_DOOMED,     /* the same, and the TM has meanwhile said to roll back */
    BRANCH_VERIFYING,  /* worked on the application's own connection: looking for its gid */
    BRANCH_READY,      /* voted yes: only the TM's word ends it */
    BRANCH_REFUSED,    /* voted no: stays no */
    BRANCH_LEFT,       /* voted read-only: it is over */
    BRANCH_SEEKING,    /* told to commit what is not remembered: looking */
    BRANCH_COMMITTING, /* COMMIT PREPARED is under way */
    BRANCH_CLEARING,   /* told to roll back what is not remembered: looking */
    BRANCH_UNDOING,    /* ROLLBACK PREPARED is under way */
    BRANCH_EVICTING,   /* ROLLBACK PREPARED of another transaction under a committed gid */
    BRANCH_CLOSING,    /* its unprepared session is being rolled back */
    BRANCH_ONE_PHASE,  /* marker and COMMIT are under way in its session */
    BRANCH_SETTLING,   /* looking for the marker of a one-phase commit */
    BRANCH_STATES
};

/* PE_HOLE keeps 0 free, so that a forgotten event is found. */
enum participant_event_type {
    PE_HOLE = 0,
    PE_OPENED,       /* the first exec: a session is open; timeout_ms */
    PE_SESSION_LOST, /* an unprepared session is gone: connection, deadline, client's COMMIT */
    PE_PREPARE,      /* orders of the TM */
    PE_COMMIT,
    PE_ROLLBACK,
    PE_COMMIT_ONE_PHASE,
    PE_SETTLE,
    PE_PREPARED,  /* tag PREPARE TRANSACTION; xid, beat */
    PE_READ_ONLY, /* a branch opened READ ONLY was committed instead */
    PE_REFUSAL,   /* PREPARE, one-phase COMMIT: PostgreSQL said no, finally; in its words */
    PE_FINISHED,  /* COMMIT/ROLLBACK PREPARED, session's ROLLBACK or one-phase COMMIT is done; beat
                   */
    PE_UNKNOWN,   /* the answer was lost, and the backend is gone */
    PE_RETRY,     /* it did nothing and may work later: busy, standby, no privilege; message */
    PE_GONE,      /* 42704: no such prepared transaction */
    PE_SEEN,      /* look: the gid is prepared; xid; `actable` may this agent finish it */
    PE_ABSENT,    /* look: it is not; status of the look's xid. Marker: outcome */
    PE_TICK,      /* the branch's own deadline has come */
    PE_TYPES
};

enum xid_status {
    XID_UNKNOWN = 0, /* not asked, NULL, or in progress */
    XID_COMMITTED,
    XID_ABORTED,
    XID_FUTURE, /* the database has not reached this xid: it lost durable data */
};

struct participant_event {
    enum participant_event_type type;
    uint64_t now_ms;
    struct branch_id branch;
    const struct order *order; /* the TM's orders */
    uint32_t timeout_ms;       /* OPENED */
    uint64_t xid;              /* PREPARED, SEEN */
    uint64_t beat;             /* PREPARED, SEEN, FINISHED, ABSENT: already flushed */
    bool actable;              /* SEEN */
    enum xid_status status;    /* ABSENT */
    const char *sqlstate;      /* REFUSAL, RETRY, SEEN that is not actable */
    const char *message;
    const char *detail; /* REFUSAL: what PostgreSQL said besides */
    const char *hint;
};

enum participant_action_type {
    PA_NONE = 0,
    PA_PREPARE,        /* in the branch's session: its checks, then PREPARE TRANSACTION */
    PA_COMMIT_SESSION, /* in the branch's session: its marker, then COMMIT; where no marker can be
                          written and or_prepare is set, PREPARE TRANSACTION, answered PREPARED */
    PA_INTERRUPT,   /* its session's end is waited for no longer: if PREPARE or COMMIT was not sent
                       yet, end the session and answer REFUSAL; at_once: if PREPARE was sent, give
                       the connection up; nothing if there is no session */
    PA_END_SESSION, /* roll its session back and release it; answer FINISHED, or UNKNOWN */
    PA_LOOK,        /* for the gid; xid: also its status; flush: raise the beat if seen */
    PA_LOOK_MARKER, /* for the marker of a one-phase commit: FINISHED if there, ABSENT if not */
    PA_COMMIT,      /* COMMIT PREPARED; lsn goes into the stored position first */
    PA_ROLLBACK,    /* ROLLBACK PREPARED */
    PA_TELL,        /* result to the TM of the branch */
};

struct participant_action {
    enum participant_action_type type;
    struct branch_id branch;
    uint64_t xid;
    uint64_t lsn;
    bool at_once; /* INTERRUPT */
    bool flush;
    bool or_prepare;
    bool votes; /* LOOK: to vote yes if it is there; of 3pc, enter its row before */
    bool late;  /* LOOK: enlisted under an earlier incarnation of the agent; if that one ran exec in
                   it, the work is lost and the answer is ABSENT with a message */
    struct result result; /* TELL; agent_incarnation and number are the agent's to fill in */
};

enum { PARTICIPANT_ACTIONS_MAX = 4 };

struct participant_actions {
    uint32_t count;
    struct participant_action list[PARTICIPANT_ACTIONS_MAX];
    /* Nothing is remembered of this branch any more, and its transaction is over here: no session
     * may ever be opened in it again (closed.h). */
    bool forgot;
    struct branch_id forgotten;
};

struct participant;

/* Bytes of memory for so many branches at once, and its initialisation in such memory, aligned as
 * malloc's and zeroed. agent_incarnation: of this start, in every PREPARE's judgement. */
size_t participant_bytes(uint32_t branches_max);
struct participant *participant_init(void *memory, uint32_t branches_max,
                                     uint64_t agent_incarnation);

/* One event; replaces *out. Final answers that are remembered make room for others, the oldest
 * first. A table that is full all the same answers PREPARE with NO, and leaves the other orders
 * unanswered (the TM sends them again); of OPENED it has to be asked before. */
void participant_step(struct participant *participant, const struct participant_event *event,
                      struct participant_actions *out);

/* Is there room for one more branch to work in? Some is kept for what ends branches. */
bool participant_has_room(const struct participant *participant);

/* The next branch whose deadline has come, once (an unprepared session's end, a refusal that need
 * no longer be remembered), as an event to be stepped; false if none is due. */
bool participant_due(struct participant *participant, uint64_t now_ms,
                     struct participant_event *out);
/* When the next will be, UINT64_MAX never. */
uint64_t participant_wake_ms(const struct participant *participant);

/* A TM has registered with a new incarnation: what older ones left unprepared is over, and what
 * is prepared the scan finds. Fills events (SESSION_LOST and the like) one a call, to be
 * stepped; false when there are no more. */
bool participant_fence(struct participant *participant, const char *tm, uint64_t incarnation,
                       struct participant_event *out);

/* Another log of this TM is followed: what was ordered of it carries a position of the old one,
 * which must not be stored any more. */
void participant_unplace(struct participant *participant, const char *tm);

enum branch_state participant_state(const struct participant *participant,
                                    const struct branch_id *branch);
/* That it has voted for, or was told to commit; 0: not known. */
uint64_t participant_xid(const struct participant *participant, const struct branch_id *branch);
uint32_t participant_count(const struct participant *participant);
/* Those that need their place in the table: without the answers that are only remembered. */
uint32_t participant_held(const struct participant *participant);
/* Calls for each live branch are by index: 0 .. participant_count is not dense; next index whose
 * branch is live at or after `from`, or UINT32_MAX. */
uint32_t participant_next(const struct participant *participant, uint32_t from,
                          struct branch_id *branch, enum branch_state *state);
/* From index *at on, a branch of the transaction that is prepared here or may still be, as far as
 * is remembered; false: no more. */
bool participant_under_way(const struct participant *participant, const struct gtrid *gtrid,
                           uint32_t *at, struct branch_id *branch);

const char *branch_state_word(enum branch_state state);
const char *participant_event_word(enum participant_event_type type);

#endif
