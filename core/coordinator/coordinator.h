/*
 * core/coordinator/coordinator.h - decides the outcome of global transactions.
 *
 * The coordinator takes one event at a time and fills a bounded list of actions: records for
 * the log, orders for agents, replies for clients. Its user hands the records to the log
 * before it sends anything, and tells it how far the log is durable; whatever depends on a
 * record is only ever an action of the step that follows its durability.
 */
#ifndef ASSENT_CORE_COORDINATOR_COORDINATOR_H
#define ASSENT_CORE_COORDINATOR_COORDINATOR_H

#include "core/ballot/acceptor.h"
#include "core/ballot/leader.h"
#include "core/coordinator/outcomes.h"
#include "core/coordinator/registry.h"
#include "core/message/message.h"
#include "core/message/record.h"

/* Where a transaction is. */
enum txn_state {
    TXN_NONE = 0,      /* not live: over, or never begun */
    TXN_ACTIVE,        /* branches join and work */
    TXN_PREPARING,     /* the branch list is frozen; votes come in */
    TXN_LOGGING,       /* all yes; the COMMIT record is with the log */
    TXN_COMMITTING,    /* committed: the record is durable; until all is applied */
    TXN_ABORTING,      /* rolled back: until every reachable branch has heard */
    TXN_DELEGATING,    /* one branch: the DELEGATED record is with the log */
    TXN_DELEGATED,     /* the only branch's database decides */
    TXN_MIXED,         /* over, but a branch ended the other way: kept for the DBA */
    TXN_RESOLVED,      /* a DBA has decided: what is found of it follows, until it is forgotten */
    TXN_PRELOGGING,    /* 3pc, all yes; the PRECOMMIT record is with the log */
    TXN_PRECOMMITTING, /* a majority of the acceptors decides */
    TXN_PROMISING,     /* the same; a vote of our own is with the log */
    TXN_STATES
};

/* Where a branch is. */
enum branch_progress {
    BR_ACTIVE = 0, /* enlisted */
    BR_ASKED,      /* to prepare */
    BR_YES,        /* prepared; xid */
    BR_LEFT,       /* read-only: it needs no outcome */
    BR_NO,         /* refused */
    BR_DONE,       /* the outcome is applied */
    BR_HEURISTIC,  /* somebody else ended it, the other way */
    BR_UNSURE,     /* gone without evidence: for the DBA */
};

/* What can happen to a transaction. */
enum txn_event {
    TE_HOLE = 0,
    TE_ENLIST, /* client */
    TE_COMMIT,
    TE_ROLLBACK,
    TE_OPENED, /* agent: a branch runs SQL through it */
    TE_YES,
    TE_READ_ONLY,
    TE_NO,
    TE_DONE,
    TE_HEURISTIC, /* agent: the branch ended otherwise, by another's hand */
    TE_UNSURE,    /* agent: the branch is gone and nothing says how */
    TE_FOUND,     /* agent's scan: it is prepared there */
    TE_SESSION,   /* agent's scan: it has a session there */
    TE_LOGGED,    /* its record is durable */
    TE_DEADLINE,  /* its time is over */
    TE_RESEND,    /* somebody has not answered */
    TE_POLLED,    /* agent: an acceptor's answer to our ballot */
    TE_ASKED,     /* agent: leads a ballot, and asks our log */
    TE_DECIDED,   /* agent: it knows the outcome */
    TXN_EVENTS
};

struct coordinator_limits {
    uint32_t transactions_max;   /* live at once */
    uint32_t branches_max;       /* of them all */
    uint32_t waiters_max;        /* clients waiting for an outcome */
    uint32_t ended_max;          /* remembered with their reason, for show */
    uint32_t outcome_chunks_max; /* of CHUNK_SEQUENCES transactions each: begin is refused above */
    uint32_t keys_max;           /* of committed transactions: the same, with a key */
};

struct coordinator_settings {
    char tm[TM_NAME_BYTES];
    uint32_t transaction_timeout_ms; /* when begin names none */
    uint32_t resend_least_ms;        /* first repetition of an unanswered order */
    uint32_t resend_most_ms;         /* it doubles up to this */
    uint32_t scan_ms;                /* between two scans of an agent */
    uint64_t retention_ms;           /* outcomes are remembered for this long, in running time */
    uint64_t key_retention_ms;       /* the same of keys */
    uint64_t seed;                   /* of the hash tables; random in the daemon */
};

enum event_type {
    EV_HOLE = 0,
    EV_START,   /* after replay, once: instance; the START record goes to the log */
    EV_REQUEST, /* a client's */
    EV_ANSWER,  /* an agent's, to an offer; rm */
    EV_LOST,    /* the connection to an agent; rm */
    EV_RESULT,  /* an agent's; rm */
    EV_LOGGED,  /* from coordinator_due(): a transaction's or an agent's record is durable */
    EV_TIMER,   /* from coordinator_due() */
    EV_SCAN,    /* from coordinator_due(): ask rm what is prepared there */
    EV_DRAIN,   /* begin no more */
    EV_SETTLED, /* from coordinator_due(): a DBA's decision is durable */
    EV_CLOCK,   /* from coordinator_due(): running time goes to the log */
    EVENTS
};

struct event {
    enum event_type type;
    uint64_t now_ms; /* monotonic; never compared across starts */
    uint32_t rm;     /* index in the registry */
    uint32_t txn;    /* LOGGED, TIMER: from coordinator_due() */
    struct uuid instance;
    uint64_t log_incarnation; /* START: the highest that stamped a record, START or not */
    uint64_t recovered_lsn;   /* START: the end of the log */
    bool unfence; /* START: an operator says that this log is the newest, whoever refused it */
    const struct request *request;
    const struct answer *answer;
    const struct result *result;
};

enum {
    STEP_RECORDS_MAX = 4,
    STEP_ORDERS_MAX = BRANCHES_MAX + ACCEPTORS_MAX + 2,
    WAITERS_A_TXN = 8,
    STEP_REPLIES_MAX = WAITERS_A_TXN + 1
};

struct addressed_order {
    uint32_t rm;
    struct order order;
};

struct actions {
    uint32_t record_count;
    struct record records[STEP_RECORDS_MAX];
    uint32_t order_count;
    struct addressed_order orders[STEP_ORDERS_MAX];
    uint32_t reply_count;
    struct reply replies[STEP_REPLIES_MAX];
};

struct coordinator;

size_t coordinator_bytes(const struct coordinator_limits *limits);
/* In zeroed room for coordinator_bytes(), aligned as malloc's. */
struct coordinator *coordinator_init(void *room, const struct coordinator_limits *limits,
                                     const struct coordinator_settings *settings);

/* ---- before EV_START, in this order ---- */

/* Take one record of the log, oldest first. False: it contradicts what came before (or a limit
 * is too small), *why says how; the log must then be refused. */
bool coordinator_replay(struct coordinator *coordinator, const struct record *record,
                        const char **why);
/* An RM of the configuration; its index, UINT32_MAX when there are too many. */
uint32_t coordinator_configure(struct coordinator *coordinator, const char *rm, const char *url);

/* Its user vouches that this disk is never rolled back, and the log has not moved since it was
 * written: abort may be presumed without asking the agents. */
void coordinator_trust_host(struct coordinator *coordinator, bool same_host);

/* ---- running ---- */

/* One event; replaces *out. */
void coordinator_step(struct coordinator *coordinator, const struct event *event,
                      struct actions *out);
/* So many of the records handed out since EV_START are durable; lsn is the newest's. What
 * follows comes out of coordinator_due(). */
void coordinator_durable(struct coordinator *coordinator, uint64_t records, uint64_t lsn);
/* The next thing that is due by itself, as an event to be stepped at once; false when nothing is.
 */
bool coordinator_due(struct coordinator *coordinator, uint64_t now_ms, struct event *out);
/* When the next will be, UINT64_MAX never; what the log makes due is not counted. */
uint64_t coordinator_wake_ms(const struct coordinator *coordinator);

/* ---- snapshots ---- */

/* A snapshot begins; its number. What one tells of outcomes and keys (CHUNK, HASHED_KEY) its user
 * may put into archives, which are read before the snapshot (record.archived is set then): once
 * coordinator_archived() says that those of a snapshot are durable, later ones leave out what has
 * not changed since. The record CLOCK belongs at the beginning of each archive too. */
uint64_t coordinator_snapshot_begin(struct coordinator *coordinator);
void coordinator_archived(struct coordinator *coordinator, uint64_t snapshot);
/* Of archives, what is older than these dates is not remembered any more. */
void coordinator_oldest(const struct coordinator *coordinator, uint64_t *outcomes, uint64_t *keys);
/* A snapshot of everything that has been handed to the log so far, as records which, replayed
 * alone, bring a coordinator to this state. Start with *position 0 and take records until it
 * returns false; nothing may be stepped in between. */
bool coordinator_snapshot(const struct coordinator *coordinator, uint64_t *position,
                          struct record *out);

/* ---- for its user and for people ---- */

/* True once START is durable and the TM is not fenced: it may register and begin. */
bool coordinator_ready(const struct coordinator *coordinator);
bool coordinator_started(const struct coordinator *coordinator);
bool coordinator_draining(const struct coordinator *coordinator);
uint64_t coordinator_incarnation(const struct coordinator *coordinator);
/* What this start offers to the agent of an RM: all but the log's uuid and the secret. Call once
 * started. */
void coordinator_offer(const struct coordinator *coordinator, uint32_t rm, struct offer *out);
const struct registry *coordinator_registry(const struct coordinator *coordinator);

struct coordinator_counts {
    uint32_t live;
    uint32_t branches;          /* of these */
    uint32_t waiters;           /* clients that wait for an outcome */
    uint32_t in_doubt;          /* decided or maybe decided, and not applied everywhere */
    uint64_t in_doubt_since_ms; /* when the oldest of these was begun, or recovered */
    uint32_t undecided;
    uint32_t mixed_live; /* ended differently by another's hand, and not yet forgotten */
    uint64_t begun, committed, rolled_back, mixed; /* in this start */
    uint64_t alarms;  /* messages about transactions that this TM cannot have begun */
    uint64_t refused; /* messages of agents that do not fit what they are about */
    uint64_t remembered_since_incarnation, remembered_since_sequence; /* the horizon */
    uint64_t outcomes, outcomes_max; /* room for so many is in use */
    uint32_t keys, keys_max;
    uint64_t outcomes_ms, keys_ms; /* for how long what has committed is remembered, at least */
};
void coordinator_counts(const struct coordinator *coordinator, struct coordinator_counts *out);

/* What a DBA's decision about a transaction would mean. */
enum judgement {
    JUDGED_AGREES = 0,   /* with the log and with all that is known */
    JUDGED_UNKNOWABLE,   /* nothing says that it is right or wrong: needs force */
    JUDGED_CONTRADICTED, /* the log or the evidence says otherwise: needs force */
    JUDGED_IMPOSSIBLE,   /* not to be had by force either */
};

struct resolution_view {
    enum judgement judgement;
    const char *why; /* a sentence for people */
    bool live;       /* false: its branches are those that the agents find prepared */
    bool mixed;      /* branches would end differently, or may have */
    uint32_t branch_count;
    struct resolution_branch {
        char rm[RM_NAME_BYTES];
        char branch[BRANCH_NAME_BYTES];
        const char *state;
        const char *plan; /* "commit", "rollback", "count as committed", ..., "nothing" */
        uint64_t xid;
    } branches[BRANCHES_MAX];
};

#define NOT_YET UINT32_MAX

/* Milliseconds after begin. */
struct txn_times {
    uint32_t asked_ms;   /* the branches were asked to prepare; NOT_YET, here and below */
    uint32_t voted_ms;   /* the last of them had voted */
    uint32_t decided_ms; /* the decision was on the disk */
    uint32_t ended_ms;   /* it was applied everywhere */
    uint32_t last_voter, last_applier; /* index of an RM; NOT_YET: none */
};

struct branch_view {
    char rm[RM_NAME_BYTES];
    char branch[BRANCH_NAME_BYTES];
    enum branch_progress progress;
    const char *state;    /* "active", "prepared", ... */
    uint64_t xid;         /* 0: none yet */
    uint32_t answered_ms; /* after begin; NOT_YET, also of ended ones */
    uint32_t done_ms;
};

/* How a 3pc transaction stands with its acceptors, as far as this coordinator has heard. */
struct ballot_view {
    struct roster roster;    /* count 0: 2pc, or its list of branches may still grow */
    uint32_t reachable;      /* as rank_bit()s: who can answer at this moment */
    struct acceptor_row row; /* our own vote, if we are an acceptor */
    enum leader_state phase; /* of the ballot that we lead; IDLE: none yet, or over */
    uint64_t number;
    uint32_t answered;  /* as rank_bit()s */
    enum outcome value; /* PROPOSING: what it proposes */
    uint64_t highest;   /* ballot that we have heard of */
};

struct txn_view {
    struct gtrid gtrid;
    enum shown_state state;
    enum protocol protocol;
    struct ballot_view ballot; /* live ones */
    char key[KEY_BYTES];
    struct origin origin;
    uint64_t age_ms;  /* of this start's transactions; others count from the start */
    uint32_t left_ms; /* undecided ones */
    bool resolved;    /* by a DBA; kept until it is forgotten */
    struct txn_times times;
    bool has_reason;
    struct reason reason;
    uint32_t branch_count;
    struct branch_view branches[BRANCHES_MAX];
};

/* One transaction, live or ended a short while ago; false if it is neither. */
bool coordinator_show(const struct coordinator *coordinator, const struct gtrid *gtrid,
                      uint64_t now_ms, struct txn_view *out);
/* The live transaction at or after `from`, and its position in *from; false: no more. */
bool coordinator_list(const struct coordinator *coordinator, uint32_t *from, uint64_t now_ms,
                      struct txn_view *out);
/* What a resolve or forget would do; changes nothing. */
void coordinator_judge(const struct coordinator *coordinator, const struct request *request,
                       struct resolution_view *out);
/* Live transactions that still have work at this RM. */
uint32_t coordinator_running_at(const struct coordinator *coordinator, uint32_t rm);
/* The next transaction that has ended in this start, of those still remembered, and took longer
 * than least_ms; *position begins with 0. False: no more so far. */
bool coordinator_ended(const struct coordinator *coordinator, uint64_t *position, uint32_t least_ms,
                       struct txn_view *out);
/* What is known of the outcome, as a client is told. ERR_NONE or ERR_UNKNOWN_TRANSACTION. */
enum error_code coordinator_outcome(const struct coordinator *coordinator,
                                    const struct gtrid *gtrid, enum outcome *out);

/* What is known of a transaction's outcome, for whoever has to judge a branch that is in doubt. */
enum txn_known {
    KNOWN_NOTHING = 0,  /* no coordinator could be asked */
    KNOWN_STRANGE,      /* another coordinator's, or never given out by this log */
    KNOWN_UNDECIDED,    /* votes may still come */
    KNOWN_LOGGING,      /* its decision is on its way to the disk */
    KNOWN_DELEGATED,    /* its only branch's database decides */
    KNOWN_PRECOMMITTED, /* a majority of its acceptors decides */
    KNOWN_COMMITTED,
    KNOWN_ABORTED,   /* rolled back, or never decided by a start that is over */
    KNOWN_UNPROVEN,  /* never decided, but an agent that could know better has not registered */
    KNOWN_FORGOTTEN, /* below the horizon: whatever committed has been applied everywhere */
    KNOWN_MIXED,     /* a branch ended otherwise than was decided */
    KNOWNS
};

struct txn_knowledge {
    enum txn_known known;
    bool live;           /* not over */
    uint64_t lsn;        /* where the log has the decision; 0 not known */
    uint32_t waits_for;  /* UNPROVEN: index of an RM */
    bool enlisted;       /* the branch that was asked about is one of it */
    uint64_t voted;      /* the xid that this branch has voted for; 0 none, or not known */
    bool released;       /* its database has lost data since, and was released */
    struct txn_view txn; /* of one that is live, or ended a short while ago; else all zero */
};

void coordinator_know(const struct coordinator *coordinator, const struct branch_id *branch,
                      uint64_t now_ms, struct txn_knowledge *out);

const char *txn_state_word(enum txn_state state);
const char *txn_event_word(enum txn_event event);

/* For tests: asserts that what it remembers is consistent, its lists, counts and timers. */
void coordinator_check(const struct coordinator *c, uint64_t now_ms);

#endif
