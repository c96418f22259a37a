/*
 * core/message/message.h - what the parties say to each other.
 *
 * An application sends requests and gets replies. The TM gives an agent orders
 * and gets results. Both sides may say anything twice and in any order; every
 * handler is written so that this does no harm. These are plain values: how they
 * look on the wire is common/wire*.c's matter.
 */
#ifndef ASSENT_CORE_MESSAGE_MESSAGE_H
#define ASSENT_CORE_MESSAGE_MESSAGE_H

#include "core/base/errors.h"
#include "core/base/ids.h"
#include "core/message/ballot.h"

enum {
    RMS_MAX = 64, /* of one TM */
    SQLSTATE_BYTES = 6,
    REASON_BYTES = 256,    /* a database's message, cut to fit; here and below */
    DETAIL_BYTES = 192,    /* its detail */
    HINT_BYTES = 128,      /* its hint */
    REQUEST_ID_BYTES = 65, /* 16 to 64 bytes of the application's choice */
    SECRET_BYTES = 32,     /* the key of session tickets */
    WIRE_VERSION = 1,
};

/* Operations that a client may ask of the TM. */
enum op {
    OP_NONE = 0,
    OP_BEGIN,
    OP_ENLIST,
    OP_COMMIT,
    OP_ROLLBACK,
    OP_OUTCOME,
    OP_SHOW,
    OP_LIST,
    OP_AGENTS,
    OP_STATUS,
    OP_IN_DOUBT,
    OP_CHECK,
    /* A DBA's: */
    OP_RESOLVE, /* settle a transaction, or one branch of it, by a person's word */
    OP_FORGET,  /* a heuristic outcome has been dealt with */
    OP_WAIVE,   /* do not wait for this RM to register */
    OP_RELEASE, /* this RM's quarantine is over */
    OP_RETIRE,  /* this RM takes part no more */
    OP_PAUSE,   /* no new branches at this RM */
    OP_RESUME,
    OPS
};

enum protocol { PROTOCOL_2PC = 0, PROTOCOL_3PC };
enum wait { WAIT_APPLIED = 0, WAIT_DECIDED };
enum isolation { ISOLATION_DEFAULT = 0, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE };

/* What a person sees of a transaction's progress. */
enum shown_state {
    SHOWN_ANY = 0,
    SHOWN_ACTIVE,
    SHOWN_PREPARING,
    SHOWN_PRECOMMITTING,
    SHOWN_COMMITTING,
    SHOWN_ROLLING_BACK,
    SHOWN_COMMITTED,
    SHOWN_ROLLED_BACK,
    SHOWN_MIXED
};

/* Who began a transaction, and what for: for people, shown and never looked at. */
struct origin {
    char label[LABEL_BYTES]; /* "" none, as all of these */
    char application[LABEL_BYTES];
    char traceparent[TRACE_BYTES];
};

struct request {
    enum op op;
    uint64_t client; /* whom to answer: the receiver's own token */
    uint64_t caller; /* who asks (uid of the peer): request_id is scoped to it */
    bool has_gtrid;
    struct gtrid gtrid;
    char key[KEY_BYTES]; /* "" none, here and below */
    struct origin origin;
    char request_id[REQUEST_ID_BYTES];
    uint32_t timeout_ms; /* begin; 0: the TM's default */
    uint32_t wait_ms;    /* commit */
    enum wait wait;
    enum protocol protocol;
    char rm[RM_NAME_BYTES]; /* enlist; resolve: of one branch; all that is about an RM */
    char branch[BRANCH_NAME_BYTES];
    char role[ROLE_BYTES];
    bool read_only;
    enum isolation isolation;
    uint32_t rm_count; /* begin: enlist these at once */
    char rms[BRANCHES_MAX][RM_NAME_BYTES];
    enum shown_state state; /* list: only these */
    enum outcome wanted;    /* resolve */
    bool force, dry_run;
    char who[LABEL_BYTES]; /* the DBA, as the receiver knows him */
    char why[REASON_BYTES];
};

/* Why a transaction was rolled back, or a request refused: for people. */
struct reason {
    char rm[RM_NAME_BYTES]; /* "" when it was not a resource manager */
    char sqlstate[SQLSTATE_BYTES];
    char message[REASON_BYTES];
    char detail[DETAIL_BYTES];
    char hint[HINT_BYTES];
};

struct enlisted {
    char rm[RM_NAME_BYTES];
    char branch[BRANCH_NAME_BYTES];
    char role[ROLE_BYTES];
    uint64_t agent_incarnation; /* what the session ticket is bound to */
    uint32_t left_ms;           /* of the transaction's time */
    bool read_only;
    enum isolation isolation;
};

/* The core's answer to begin, enlist, commit, rollback and outcome. */
struct reply {
    enum op op;
    uint64_t client;
    enum error_code error; /* ERR_NONE: the fields below hold */
    struct gtrid gtrid;    /* also with ERR_KEY_IN_USE, with its outcome */
    uint32_t left_ms;      /* begin: until the deadline */
    enum outcome outcome;
    bool applied;     /* every branch has carried the outcome out */
    uint32_t running; /* pause: transactions that still have work at the RM */
    bool has_reason;
    struct reason reason;
    bool has_remembered;    /* with ERR_UNKNOWN_TRANSACTION for a key: */
    uint64_t remembered_ms; /* keys that have committed since so long ago are remembered */
    uint64_t
        remembered_since_s; /* the same as a time, in seconds of 1970, by whoever has a clock */
    uint32_t pending_count; /* branches that have not, by their RM */
    char pending[BRANCHES_MAX][RM_NAME_BYTES];
    uint32_t branch_count; /* begin, enlist */
    struct enlisted branches[BRANCHES_MAX];
};

enum order_type {
    ORDER_NONE = 0,
    ORDER_PREPARE,          /* branch, agent_incarnation of its enlist, timeout_ms */
    ORDER_COMMIT,           /* branch, xid that was voted for, lsn known to be on the TM's disk */
    ORDER_ROLLBACK,         /* branch, xid if a vote was received, else 0 */
    ORDER_COMMIT_ONE_PHASE, /* branch, agent_incarnation, lsn, or_prepare */
    ORDER_SETTLE,           /* branch: did the one-phase commit happen? by its marker alone */
    ORDER_RECOVER,          /* number: report all that is prepared, and open, for this TM; begun */
    ORDER_BALLOT,           /* 3pc: ballot, lsn */
    ORDER_FORGET,           /* 3pc: rows up to here, but those of the live, may go */
    ORDERS
};

/* No row of a transaction at or below this is needed any more, unless it is one of the live. */
struct forget {
    struct txn_number upto;
    uint32_t live_count;
    struct txn_number live[FORGET_LIVE_MAX];
};

/* TM to agent. */
struct order {
    enum order_type type;
    struct branch_id branch;
    uint64_t number; /* RECOVER: repeated in the results */
    uint64_t agent_incarnation;
    uint64_t xid;
    uint64_t lsn;
    uint64_t begun; /* RECOVER: the newest sequence that this start has given out */
    struct txn_number
        released;        /* RECOVER: up to here the database may have lost what it promised */
    uint32_t timeout_ms; /* PREPARE: how long the vote still counts */
    bool or_prepare;     /* COMMIT_ONE_PHASE: READY is understood too */
    union {
        struct ballot ballot; /* BALLOT; PREPARE: the roster alone, empty for 2pc */
        struct forget forget; /* FORGET */
    };
};

enum result_type {
    RESULT_NONE = 0,
    RESULT_READY,     /* prepared and flushed; xid, beat */
    RESULT_READ_ONLY, /* committed at PREPARE time: nothing to decide */
    RESULT_NO,        /* final; reason */
    RESULT_DONE,      /* the order's outcome is applied; beat */
    RESULT_HEURISTIC, /* somebody else finished it, the other way: actual */
    RESULT_UNKNOWN,   /* the branch is gone and no evidence says how: for the DBA */
    RESULT_LOST,      /* evidence says the database lost durable data: quarantine */
    RESULT_OPENED,    /* exec was used in this branch: its session is open */
    RESULT_FOUND,     /* scan: this branch is prepared here; xid */
    RESULT_SESSION,   /* scan: this branch has an open, unprepared session */
    RESULT_SCANNED,   /* scan number is complete */
    RESULT_BALLOT,    /* 3pc: an acceptor's answer, or a leader's question to the TM's log */
    RESULTS
};

/* Agent to TM. */
struct result {
    enum result_type type;
    struct branch_id branch; /* SCANNED: only its rm is set */
    uint64_t agent_incarnation;
    uint64_t number; /* of the scan */
    uint64_t xid;
    uint64_t beat;       /* a beat that is already on the database's disk; 0 none */
    enum outcome actual; /* HEURISTIC, DONE: how it ended here */
    char sqlstate[SQLSTATE_BYTES];
    char message[REASON_BYTES];
    char detail[DETAIL_BYTES];
    char hint[HINT_BYTES];
    struct ballot ballot; /* BALLOT */
};

/* As many earlier starts as an offer names. An agent that was away for longer than these is known
 * by the one that it accepted last. */
enum { ANCESTORS_MAX = 33 };

/* A TM presents itself to an agent, at its start and at every reconnection. */
struct offer {
    char tm[TM_NAME_BYTES];
    char rm[RM_NAME_BYTES];       /* whose agent it means to reach; "" not said */
    struct uuid log;              /* drawn when the log was created */
    uint64_t incarnation;         /* grows by one, durably, at each start */
    struct uuid instance;         /* drawn at each start */
    uint64_t recovered_lsn;       /* end of the log as recovered at this start */
    uint8_t secret[SECRET_BYTES]; /* session tickets are made under it */
    uint32_t wire_least, wire_most;
    bool unfenced; /* an operator vouches that this log is the newest, whatever its ancestors */
    uint32_t ancestor_count;
    struct start_id ancestors[ANCESTORS_MAX]; /* earlier starts of this same log */
};

/* A person to an agent: follow this log from here on, in place of one that is lost. */
struct adoption {
    char tm[TM_NAME_BYTES];
    struct uuid from; /* the log that the agent has been seen to follow */
    struct uuid log;
    uint64_t incarnation; /* the new log's newest start */
    struct uuid instance;
};

enum refusal {
    REFUSAL_NONE = 0,
    REFUSAL_OTHER_LOG,   /* the agent is registered under another log */
    REFUSAL_INCARNATION, /* a later start of this TM is registered */
    REFUSAL_INSTANCE,    /* another copy of this log has been started */
    REFUSAL_POSITION,    /* the agent has seen later records than the log holds: an old log */
    REFUSAL_OTHER_RM,    /* the agent serves another RM than the TM's configuration says */
    REFUSAL_WIRE,        /* no common wire version */
    REFUSALS
};

/* The agent's answer to an offer. */
struct answer {
    enum refusal refusal;
    char rm[RM_NAME_BYTES];
    uint64_t agent_incarnation;
    uint64_t beat; /* of this TM, as found in the database */
    uint64_t system_identifier;
    uint32_t timeline;
    char database[64];
    char server_version[32];
    /* what the agent has stored, for the words of a refusal */
    uint64_t stored_incarnation;
    uint64_t stored_lsn;
    bool newcomer;            /* nothing was stored about this TM */
    uint64_t met;             /* drawn when it was first stored; 0 once a scan has shown that the TM
                                 has accepted that, or not known */
    bool witness;             /* it holds no data, and is an acceptor of every 3pc transaction */
    char peer_url[URL_BYTES]; /* where other agents reach it; "" where the TM does */
};

/* What a TM tells each agent of the others, so that they find each other without it. */
struct peers {
    uint8_t key[SECRET_BYTES]; /* of their messages; the same for all, and at every start */
    uint32_t count;
    struct peer {
        char rm[RM_NAME_BYTES];
        char url[URL_BYTES];
    } list[RMS_MAX];
};

#endif
