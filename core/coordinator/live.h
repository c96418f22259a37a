/*
 * core/coordinator/live.h - the transactions that are under way, and those that ended a short while
 * ago.
 *
 * Only storage and look-up: what they mean is coordinator.c's matter. All of it lies in memory
 * given at initialisation; transactions, branches and waiting clients are known by number.
 */
#ifndef ASSENT_CORE_COORDINATOR_LIVE_H
#define ASSENT_CORE_COORDINATOR_LIVE_H

#include "core/base/slots.h"
#include "core/base/table.h"
#include "core/base/timers.h"
#include "core/coordinator/coordinator.h"

struct branch {
    uint32_t next; /* of the transaction, NO_ITEM ends */
    uint32_t rm;   /* index in the registry */
    char name[BRANCH_NAME_BYTES];
    char role[ROLE_BYTES];
    enum branch_progress progress;
    enum isolation isolation;
    bool read_only;
    bool opened;                /* the agent has said that exec was used */
    uint64_t agent_incarnation; /* at its first enlist */
    uint64_t xid;               /* that was voted for */
    enum outcome verdict;       /* a DBA's about this branch, NONE without one */
    bool counted;               /* as committed, by a DBA's force: nobody has seen it happen */
    bool refound;         /* it is newer than what its database has lost, or was found there */
    uint64_t answered_ms; /* when it voted, 0 not yet, here and below */
    uint64_t done_ms;     /* when the outcome was applied */
};

struct waiter {
    uint32_t next;
    enum op op;
    enum wait wait;
    uint64_t client;
    uint64_t limit_ms;
};

/* The third phase of a 3pc transaction, once its list of branches is frozen. */
struct precommit {
    uint32_t agent_count;
    uint8_t agents[ACCEPTORS_MAX]; /* index in the registry; the order is the roster's */
    bool tm;                       /* our log is an acceptor too */
    bool heard;     /* somebody may know that we are for it: what we propose, or our own vote */
    bool withdrawn; /* nobody did, and it is rolled back: that is with the log */
    struct leader leader;
    struct acceptor_row row; /* our own vote, as it is on the disk */
    /* PROMISING: what is on its way there, and who waits for it. */
    struct acceptor_row next_row;
    struct ballot_answer {
        enum ballot_type type;
        uint64_t number, accepted;
        enum outcome value;
    } answer;
    uint32_t asked_by; /* index in the registry, NO_ITEM: ourselves */
};

struct txn {
    uint64_t incarnation, sequence;
    enum protocol protocol;
    struct precommit precommit;
    enum txn_state state;
    bool recovered;  /* by replay: begun by an earlier start */
    bool lost;       /* a database in which it worked has lost data since: quarantine.c */
    uint8_t lost_at; /* that one's index in the registry */
    uint32_t first_branch;
    uint32_t branch_count;
    uint32_t first_waiter;
    uint32_t waiter_count;
    uint64_t begun_ms;
    uint64_t deadline_ms;
    uint64_t asked_ms;   /* when the branches were asked to prepare; 0 not yet, here and below */
    uint64_t decided_ms; /* when the decision was on the disk, or to roll back was decided */
    uint64_t ended_ms;
    uint64_t resend_at_ms; /* TIMER_NEVER: nobody is being waited for */
    uint32_t resend_ms;    /* the present distance */
    uint64_t ticket;       /* LOGGING, DELEGATING: number of its record since START */
    uint64_t lsn;          /* where the log has its decision; 0: not yet on the disk */
    uint32_t next_logged;
    bool has_reason;
    bool keyed;            /* the key is in the table of live keys */
    enum outcome decision; /* MIXED: what the TM had decided; RESOLVED: what a DBA has */
    bool heuristic;        /* RESOLVED: against the log, or without evidence */
    bool stray;            /* RESOLVED: it was not live: what belongs to it nobody knows */
    bool passing;          /* RESOLVED: it is over once every agent has been asked since */
    uint64_t settled_scan; /* the last scan that had been ordered when a DBA spoke; of this start */
    struct reason reason;
    char key[KEY_BYTES];
    struct origin origin;
    char request_id[REQUEST_ID_BYTES];
    uint64_t caller;
    uint64_t request_hash; /* of begin's other fields */
};

/* What is kept of an ended transaction, for show and for questions that are repeated. */
struct ended {
    uint64_t incarnation, sequence;
    enum protocol protocol;
    enum outcome outcome;
    bool has_reason;
    char key[KEY_BYTES];
    struct origin origin;
    char request_id[REQUEST_ID_BYTES];
    uint64_t caller;
    uint64_t request_hash;
    bool unsure;   /* a DBA has ended it: how its branches did is not known */
    uint64_t scan; /* the last one that had been ordered when it ended */
    struct txn_times times;
    uint32_t branch_count;
    struct {           /* so many of them are set; the rest is what an older one left there */
        uint64_t xid;  /* that was voted for, 0 none */
        uint32_t name; /* hash of the branch's name */
        uint8_t rm;
    } branches[BRANCHES_MAX];
    struct reason reason; /* likewise, unless has_reason */
};

struct live {
    uint64_t seed; /* of hashes: clients choose some of the keys */
    struct txn *txns;
    struct slots txn_slots;
    uint32_t txns_max;
    struct branch *branches;
    struct slots branch_slots;
    struct waiter *waiters;
    struct slots waiter_slots;
    struct table by_id, by_key, by_request;
    struct timers timers;
    struct ended *ended;
    uint32_t ended_max, ended_next;
    uint64_t ended_total; /* in this start */
    struct table ended_by_id, ended_by_request;
};

void live_init(struct live *live, struct memory *memory, const struct coordinator_limits *limits);

/* A new transaction, its key and request_id not yet entered; NO_ITEM when there is no room. */
uint32_t live_add(struct live *live, uint64_t incarnation, uint64_t sequence);
/* Enter what the transaction's fields say into the look-up tables. */
void live_enter_key(struct live *live, uint32_t at);
void live_enter_request(struct live *live, uint32_t at);
/* Its key may be used again. */
void live_release_key(struct live *live, uint32_t at);
/* Frees it, its branches and its waiters; kept among the ended ones, as what it returns. scan: the
 * last one that was ordered. */
struct ended *live_remove(struct live *live, uint32_t at, enum outcome outcome, uint64_t scan);

uint32_t live_find(const struct live *live, uint64_t incarnation, uint64_t sequence);
uint32_t live_find_key(const struct live *live, const char *key);
uint32_t live_find_request(const struct live *live, uint64_t caller, const char *request_id);
const struct ended *live_find_ended(const struct live *live, uint64_t incarnation,
                                    uint64_t sequence);
const struct ended *live_find_ended_request(const struct live *live, uint64_t caller,
                                            const char *request_id);

/* How long it took to get where it is. */
void live_times(const struct live *live, const struct txn *txn, struct txn_times *out);
/* The xid that was voted for in this branch of an ended transaction; 0: none, or no such branch. */
uint64_t live_ended_xid(const struct ended *ended, uint32_t rm, const char *name);

/* Appends a branch; NULL when there is no room. */
struct branch *live_add_branch(struct live *live, struct txn *txn, uint32_t rm, const char *name);
struct branch *live_find_branch(const struct live *live, const struct txn *txn, uint32_t rm,
                                const char *name);
/* NULL when there is no room, or too many wait for this transaction already. */
struct waiter *live_add_waiter(struct live *live, struct txn *txn);
/* Takes the waiter at *link (of the chain that begins at txn->first_waiter) off. */
void live_drop_waiter(struct live *live, struct txn *txn, uint32_t *link);

/* for (struct branch *b = live_first(live, txn); b != NULL; b = live_after(live, b)) */
static inline struct branch *live_first(const struct live *live, const struct txn *txn)
{
    return txn->first_branch == NO_ITEM ? NULL : &live->branches[txn->first_branch];
}

static inline struct branch *live_after(const struct live *live, const struct branch *branch)
{
    return branch->next == NO_ITEM ? NULL : &live->branches[branch->next];
}

#endif
