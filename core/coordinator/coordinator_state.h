/*
 * core/coordinator/coordinator_state.h - what a coordinator consists of: for its own files only.
 */
#ifndef ASSENT_CORE_COORDINATOR_COORDINATOR_STATE_H
#define ASSENT_CORE_COORDINATOR_COORDINATOR_STATE_H

#include "core/coordinator/keys.h"
#include "core/coordinator/live.h"

/* A DBA's decision: with the log, and not yet known to be on its disk. */
struct act {
    uint64_t ticket;
    enum op op;
    uint64_t client;
    struct record record;
};

enum { ACTS_MAX = 8 };

/* Running time (core/base/dates.h). */
struct running {
    uint64_t ms;
    uint64_t seen_ms;   /* on the host's clock, when it was so */
    uint64_t marked_ms; /* when the log was last told */
    bool unmarked;      /* something has committed since then */
    uint32_t unmarked_keys;
};

struct coordinator {
    struct coordinator_settings settings;
    struct registry registry;
    struct live live;
    struct outcomes outcomes;
    struct keys keys;
    uint32_t outcome_chunks_max, keys_max; /* there is room for more: see retention.c */
    struct running running;
    uint64_t snapshot;         /* the number of the newest */
    uint64_t keys_in_snapshot; /* the number behind its last one */

    uint64_t replayed_incarnation; /* the highest in the log */
    uint64_t incarnation;          /* of this start, once EV_START has been */
    struct uuid instance;
    uint64_t sequence; /* the last one given out */
    bool started;      /* START is durable: gtrids may be given out */
    bool draining;

    /* Records are counted as they are handed out; the log says how many are durable. */
    uint64_t records;
    uint64_t start_ticket;
    uint64_t agent_tickets[RMS_MAX]; /* of the AGENT record, 0 none in this start */
    uint64_t durable_records;
    uint64_t durable_lsn;
    uint32_t logging_first, logging_last; /* transactions waiting for the log, oldest first */

    uint32_t act_first, act_count;
    struct act acts[ACTS_MAX];

    /* What may be forgotten, as soon as all that was handed over before it is durable. */
    struct forget forget, forget_next;
    uint64_t forget_ticket;        /* of forget_next, 0 none */
    uint64_t forget_sent[RMS_MAX]; /* hash of the last one that the agent was told */

    uint64_t scan_at_ms[RMS_MAX];
    uint64_t scans;
    uint64_t scanned[RMS_MAX]; /* the last scan that an agent has answered, of this start */
    uint64_t begun, committed, rolled_back, mixed;
    uint64_t alarms, refused;
};

/* One event on its way through the moves. */
struct step {
    struct coordinator *c;
    const struct event *event;
    struct txn *txn;
    uint32_t at;           /* number of txn */
    struct branch *branch; /* an agent's result: whose, or NULL if it is not enlisted */
    struct actions *out;
};

/* ---- output.c: what a step puts out ---- */

/* at may be NO_ITEM: a transaction that is not live. */
void select_txn(struct step *s, uint32_t at);
/* A record about the step's transaction, if it has one; its branches are not cleared. */
struct record *write_record(struct step *s, enum record_type type);
void gtrid_of(const struct coordinator *c, uint64_t incarnation, uint64_t sequence,
              struct gtrid *out);
struct order *give_order(struct step *s, enum order_type type, uint32_t rm);
bool reachable(const struct step *s, uint32_t rm);
/* The position that an order to this RM may carry. */
uint64_t safe_lsn(const struct coordinator *c, uint32_t rm);
/* An order about one branch of the step's transaction, if its agent can be reached. */
void order_branch(struct step *s, enum order_type type, const struct branch *branch);
struct reply *reply_to(struct step *s, enum op op, uint64_t client);
/* The reply to the step's request. */
struct reply *answer(struct step *s);
void refuse_request(struct step *s, enum error_code error);
/* This RM cannot take part at the moment: say why. */
void refuse_rm(struct step *s, const struct rm *rm);
void show_branch(const struct step *s, const struct branch *branch, struct reply *reply);
/* Has this branch still to hear the outcome, or to say that it has? */
bool is_pending(enum txn_state state, const struct branch *branch);
enum outcome decided(const struct txn *txn);
/* What a client is told of a live transaction. */
void tell_progress(const struct step *s, struct reply *reply);

/* Answer every waiting client that `who` selects: those that wait for the decision only, those
 * whose patience is over, or all. */
enum waiting { WHO_WANTS_DECISION, WHOSE_TIME_IS_OVER, EVERYBODY };
void answer_waiters(struct step *s, enum waiting who);

/* Set the transaction's one timer to whatever comes first. */
void set_timer(struct step *s);
void resend_soon(struct step *s);
void resend_later(struct step *s);

/* "prepared", ...: a branch, for people. */
const char *progress_word(enum branch_progress progress);

/* Is it on the disk that this agent has accepted this start? Only then may it be told positions
 * beyond what was recovered. */
bool acceptance_is_durable(const struct coordinator *c, uint32_t rm);

/* ---- coordinator.c: decides ---- */

void transaction_event(struct step *s, enum txn_event event);
/* Is this RM able to take part at this moment? Its AGENT record comes before its first branch. */
bool may_enlist(const struct rm *rm);
/* A new branch of the step's transaction, as its request says; NULL when there is no room. */
struct branch *enlist(struct step *s, uint32_t rm, const char *name);
/* What is known of the outcome at this moment, live or over. */
void say_what_is_known(struct step *s, const struct gtrid *gtrid);
/* It aborts here and now; the message says why. */
void abort_because(struct step *s, const char *message);
/* The same, since a database in which it worked has lost data. */
void abort_lost(struct step *s);
/* If every branch has answered, it is over. */
void end_if_applied(struct step *s);
/* A branch has ended the other way. */
void call_heuristic(struct step *s, struct branch *branch, enum outcome actual,
                    const char *message);
/* May this be said of a transaction that is not live: to an agent, or to a client? */
bool coordinator_may_tell(const struct coordinator *c, uint64_t incarnation, enum outcome outcome);

/* ---- dba.c and settle.c: what a DBA decides ---- */

bool is_settling(enum op op);
void settle_request(struct step *s);
void refuse_because(struct step *s, enum error_code error, const char *message);
/* The record of the request's decision, to be filled in; then it is an act that waits for the log.
 * There must be room among the acts. */
struct record *begin_act(struct step *s, enum record_type type);
void end_act(struct step *s, const struct record *record);
void resolve_request(struct step *s);
void resolve_settled(struct step *s, const struct act *act);
const char *resolve_replay(struct coordinator *c, const struct record *record);
/* The record of the oldest act is durable: it takes effect, and the DBA is answered. */
void settled_event(struct step *s);
/* A DBA's record, read back. Returns why the log must be refused, or NULL. */
const char *settle_replay(struct coordinator *c, const struct record *record);
/* Is a DBA's word about this transaction on its way to the disk? */
bool is_being_settled(const struct coordinator *c, uint64_t incarnation, uint64_t sequence);
/* The branch's database may have lost it, and it has not been seen there since. */
bool may_be_lost(const struct coordinator *c, const struct txn *txn, const struct branch *branch);
/* The same of a transaction that is not live. */
bool released_since(const struct coordinator *c, uint32_t rm, const struct gtrid *gtrid);
/* How a branch of a decided transaction is to end: as a DBA says, else as was decided. */
enum outcome wanted(const struct txn *txn, const struct branch *branch);

/* A record with the branches that have a part in the outcome. */
struct record *write_branches(struct step *s, enum record_type type);
/* The step's transaction goes on with TE_LOGGED once the record just written is durable. */
void await_log(struct step *s, enum txn_state state);
/* It is committed, it aborts: tell everybody. */
void commit(struct step *s);
void abort_because(struct step *s, const char *message);

/* ---- precommit.c: the third phase ---- */

/* The list of branches is final: this fixes the acceptors. */
void precommit_freeze(struct step *s);
void precommit_roster(const struct coordinator *c, const struct txn *txn, struct roster *out);
/* Is our log one of them, and does its vote count at this moment? */
bool precommit_may_vote(const struct coordinator *c, const struct txn *txn);
/* Tell the acceptors without a branch that they are. */
void precommit_join(struct step *s);
void precommit_log(struct step *s);
void precommit_propose(struct step *s);
void precommit_voted(struct step *s);
void precommit_again(struct step *s);
void precommit_polled(struct step *s);
void precommit_asked(struct step *s);
void end_recovered(struct step *s);
void precommit_asked_stray(struct step *s);
void precommit_learn(struct step *s);
/* A DBA has decided it. */
void precommit_tell_all(struct step *s, enum outcome outcome);
/* The vote of this RM's agent does not count any more. */
void precommit_unheard(struct txn *txn, uint32_t rm);

/* ---- quarantine.c ---- */

/* The agent's database lost durable data: nothing it says counts until a DBA releases it, and
 * nothing that has work there is committed any more. */
void quarantine(struct step *s);

/* ---- retention.c: for how long what is over is remembered ---- */

/* Of memory, for what the limits allow and a little more. */
uint32_t retention_chunks(const struct coordinator_limits *limits);
uint32_t retention_keys(const struct coordinator_limits *limits);
/* The host's clock says so now. */
void running_time(struct coordinator *c, uint64_t now_ms);
/* The step's transaction has committed, or is rolled back. */
void remember_commit(struct step *s);
void remember_rollback(struct step *s);
/* A DBA has said so; lsn: of his word, while the log is read back. */
void remember_resolved(struct coordinator *c, const struct txn *txn, uint64_t lsn);
/* Read back: why the log must be refused, or NULL. */
const char *replay_commit(struct coordinator *c, const struct record *record, const char *key);
const char *replay_chunk(struct coordinator *c, const struct record *record);
const char *replay_key(struct coordinator *c, const struct record *record);
void replay_clock(struct coordinator *c, const struct record *record);
/* A start ends what the one before it had under way. */
void retention_restart(struct coordinator *c);
bool find_key(const struct coordinator *c, const char *key, uint64_t *incarnation,
              uint64_t *sequence);
/* Would a begin, with or without a key, risk what has been promised? Then why; else ERR_NONE. */
enum error_code retention_full(struct coordinator *c, bool keyed);
/* For how long keys are remembered, at least. */
uint64_t keys_remembered_ms(const struct coordinator *c);
uint64_t outcomes_remembered_ms(const struct coordinator *c);
/* Forget what is over, and tell the log. */
void forget_what_is_over(struct step *s);
bool clock_is_due(const struct coordinator *c);
void clock_event(struct step *s);
void snapshot_clock(const struct coordinator *c, struct record *out);

/* ---- horizon.c: what agents need no longer remember ---- */

/* With every scan of an agent. */
void forget_below_horizon(struct step *s);

/* ---- clients.c and agents.c ---- */

void request_event(struct step *s);
void answer_event(struct step *s);
void result_event(struct step *s);
void scan(struct step *s);
/* Abort may be presumed now, and could not before: what scans found then could not be judged. */
void scan_all_soon(struct step *s);

#endif
