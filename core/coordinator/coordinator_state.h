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

/* How long clients wait for agents to carry out a rollback after the transaction's time is over. */
enum { ROLLBACK_WAIT_MS = 1000 };

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

/* ---- facts.c: questions that change nothing ---- */

void facts_gtrid(const struct coordinator *c, uint64_t incarnation, uint64_t sequence,
                 struct gtrid *out);
bool facts_reachable(const struct step *s, uint32_t rm);
/* Is it on the disk that this agent has accepted this start? Only then may it be told positions
 * beyond what was recovered. */
bool facts_acceptance_is_durable(const struct coordinator *c, uint32_t rm);
/* The position that an order to this RM may carry. */
uint64_t facts_safe_lsn(const struct coordinator *c, uint32_t rm);
/* Is this RM able to take part at this moment? Its AGENT record comes before its first branch. */
bool facts_may_enlist(const struct rm *rm);
/* Has this branch still to hear the outcome, or to say that it has? */
bool facts_is_pending(enum txn_state state, const struct branch *branch);
enum outcome facts_decided(const struct txn *txn);
/* How a branch of a decided transaction is to end: as a DBA says, else as was decided. */
enum outcome facts_wanted(const struct txn *txn, const struct branch *branch);
/* The branch's database may have lost it, and it has not been seen there since. */
bool facts_may_be_lost(const struct coordinator *c, const struct txn *txn,
                       const struct branch *branch);
/* The same of a transaction that is not live. */
bool facts_released_since(const struct coordinator *c, uint32_t rm, const struct gtrid *gtrid);
/* Is a DBA's word about this transaction on its way to the disk? */
bool facts_is_being_resolved(const struct coordinator *c, uint64_t incarnation, uint64_t sequence);
/* Is it above all that this log has given out? */
bool facts_is_beyond(const struct coordinator *c, const struct gtrid *gtrid);
/* May this be said of a transaction that is not live: to an agent, or to a client? */
bool facts_may_tell(const struct coordinator *c, uint64_t incarnation, enum outcome outcome);
/* Who decides it, in the order of their ranks. */
void facts_roster(const struct coordinator *c, const struct txn *txn, struct roster *out);
/* This RM's agent among them, or RANK_NONE. */
uint32_t facts_rank(const struct txn *txn, uint32_t rm);
/* Is our log one of them, and does its vote count at this moment? */
bool facts_may_vote(const struct coordinator *c, const struct txn *txn);

/* ---- output.c: what a step puts out ---- */

/* at may be NO_ITEM: a transaction that is not live. */
void output_select(struct step *s, uint32_t at);
/* A record about the step's transaction, if it has one; its branches are not cleared. */
struct record *output_record(struct step *s, enum record_type type);
struct order *output_order(struct step *s, enum order_type type, uint32_t rm);
/* An order about one branch of the step's transaction, if its agent can be reached. */
void output_order_branch(struct step *s, enum order_type type, const struct branch *branch);
/* The same about each branch that is as far as that. */
void output_order_those(struct step *s, enum order_type type, enum branch_progress progress);
struct reply *output_reply_to(struct step *s, enum op op, uint64_t client);
/* The reply to the step's request. */
struct reply *output_answer(struct step *s);
void output_refuse(struct step *s, enum error_code error);
void output_refuse_because(struct step *s, enum error_code error, const char *message);
/* This RM cannot take part at the moment: say why. */
void output_refuse_rm(struct step *s, const struct rm *rm);
void output_show_branch(const struct step *s, const struct branch *branch, struct reply *reply);
/* What a client is told of a live transaction. */
void output_tell_progress(const struct step *s, struct reply *reply);

/* Answer every waiting client that `who` selects: those that wait for the decision only, those
 * whose patience is over, or all. */
enum waiting { WHO_WANTS_DECISION, WHOSE_TIME_IS_OVER, EVERYBODY };
void output_answer_waiters(struct step *s, enum waiting who);

/* Set the transaction's one timer to whatever comes first. */
void output_set_timer(struct step *s);
void output_resend_soon(struct step *s);
void output_resend_later(struct step *s);
/* Abort may be presumed now, and could not before: what scans found then could not be judged. */
void output_scan_all_soon(struct step *s);

/* ---- ending.c: a transaction is decided, and ends ---- */

/* A record with the branches that have a part in the outcome. */
struct record *ending_write_branches(struct step *s, enum record_type type);
/* The step's transaction goes on with TE_LOGGED once the record just written is durable. */
void ending_await_log(struct step *s, enum txn_state state);
/* It has committed: count and remember it. */
void ending_note_commit(struct step *s);
/* Nothing is left to do: answer, and keep only the memory of it. */
void ending_over(struct step *s, enum outcome outcome);
/* If every branch has answered, it is over. */
void ending_if_applied(struct step *s);
/* Whoever waits for the rollback to be carried out waits no longer than its own time. */
void ending_limit_waiting(struct step *s);
/* Why it aborts, in the words of the agent or of its database. */
void ending_give_reason_of(struct step *s, const struct result *result);
/* It aborts here and now, whatever the reason, which the caller has given. */
/* Those of an aborting transaction that have not answered. Nobody waits for an agent that cannot be
 * reached: its scan will tell us what is left. */
void ending_order_rollbacks(struct step *s);
void ending_abort(struct step *s);
/* The same; the message says why. */
void ending_abort_because(struct step *s, const char *message);
/* The same, since a database in which it worked has lost data. */
void ending_abort_lost(struct step *s);
/* It is committed: tell everybody. */
void ending_commit(struct step *s);
/* Tell one branch, or all that have yet to hear it, how it is decided. */
void ending_drive(struct step *s, const struct branch *branch);
void ending_drive_all(struct step *s);
/* A branch has ended the other way. */
void ending_call_heuristic(struct step *s, struct branch *branch, enum outcome actual,
                           const char *message);

/* ---- quarantine.c ---- */

/* The agent's database lost durable data: nothing it says counts until a DBA releases it, and
 * nothing that has work there is committed any more. */
void quarantine_begin(struct step *s);

/* ---- precommit.c: the third phase ---- */

/* The list of branches is final: this fixes the acceptors. */
void precommit_freeze(struct step *s);
/* Tell the acceptors without a branch that they are. */
void precommit_join(struct step *s);
void precommit_log(struct step *s);
void precommit_propose(struct step *s);
void precommit_voted(struct step *s);
void precommit_again(struct step *s);
void precommit_polled(struct step *s);
void precommit_asked(struct step *s);
void precommit_asked_stray(struct step *s);
void precommit_learn(struct step *s);
/* A DBA has decided it. */
void precommit_tell_all(struct step *s, enum outcome outcome);

/* ---- prepare.c: moves of the first phase ---- */

/* The client of the step's request waits for the outcome; false: no room, and it was told. */
bool prepare_add_waiter(struct step *s);
/* A new branch of the step's transaction, as its request says; NULL when there is no room. */
struct branch *prepare_enlist(struct step *s, uint32_t rm, const char *name);
void prepare_enlist_asked(struct step *s, bool frozen);
void prepare_all(struct step *s);
void prepare_count_vote(struct step *s, enum branch_progress vote);
void prepare_count_no(struct step *s);

/* ---- apply.c: moves of the second phase ---- */

void apply_again(struct step *s);
void apply_one(struct step *s);
void apply_count_done(struct step *s);
void apply_note_heuristic(struct step *s);
void apply_note_unsure(struct step *s);
void apply_undo_again(struct step *s);
void apply_undo_one(struct step *s);
void apply_undo_other(struct step *s);
void apply_delegate(struct step *s);
void apply_end_delegated(struct step *s, enum outcome outcome);
void apply_take_back(struct step *s);
void apply_follow(struct step *s);
void apply_count_followed(struct step *s);

/* ---- stray.c: transactions that are not live ---- */

/* An agent has something of one, prepared or with a session only. */
void stray_judge(struct step *s, bool prepared);
/* What is known of the outcome at this moment, live or over. */
void stray_say_what_is_known(struct step *s, const struct gtrid *gtrid);
void stray_say_over(struct step *s, const struct gtrid *gtrid);

/* ---- coordinator.c: the table ---- */

void coordinator_event(struct step *s, enum txn_event event);

/* ---- acts.c: a DBA's decisions on their way to the disk ---- */

/* The record of the request's decision, to be filled in; then it is an act that waits for the log.
 * There must be room among the acts. */
struct record *act_begin(struct step *s, enum record_type type);
void act_end(struct step *s, const struct record *record);

/* ---- resolve.c: about a transaction ---- */

void resolve_request(struct step *s);
/* A scan is through: what a recovery has rolled back is over once all agents have been asked. */
void resolve_end_recovered(struct step *s);
void resolve_settled(struct step *s, const struct act *act);
const char *resolve_replay(struct coordinator *c, const struct record *record);

/* ---- dba.c: about RMs, and all of them ---- */

bool dba_is_request(enum op op);
void dba_request(struct step *s);
/* The record of the oldest act is durable: it takes effect, and the DBA is answered. */
void dba_settled(struct step *s);
/* A DBA's record, read back. Returns why the log must be refused, or NULL. */
const char *dba_replay(struct coordinator *c, const struct record *record);

/* ---- retention.c: for how long what is over is remembered ---- */

/* Of memory, for what the limits allow and a little more. */
uint32_t retention_chunks(const struct coordinator_limits *limits);
uint32_t retention_keys(const struct coordinator_limits *limits);
/* The host's clock says so now. */
void retention_time(struct coordinator *c, uint64_t now_ms);
/* The step's transaction has committed, or is rolled back. */
void retention_commit(struct step *s);
void retention_rollback(struct step *s);
/* A DBA has said so; lsn: of his word, while the log is read back. */
void retention_resolved(struct coordinator *c, const struct txn *txn, uint64_t lsn);
/* Read back: why the log must be refused, or NULL. */
const char *retention_replay_commit(struct coordinator *c, const struct record *record,
                                    const char *key);
const char *retention_replay_chunk(struct coordinator *c, const struct record *record);
const char *retention_replay_key(struct coordinator *c, const struct record *record);
void retention_replay_clock(struct coordinator *c, const struct record *record);
/* A start ends what the one before it had under way. */
void retention_restart(struct coordinator *c);
bool retention_find_key(const struct coordinator *c, const char *key, uint64_t *incarnation,
                        uint64_t *sequence);
/* Would a begin, with or without a key, risk what has been promised? Then why; else ERR_NONE. */
enum error_code retention_full(struct coordinator *c, bool keyed);
/* For how long keys are remembered, at least. */
uint64_t retention_keys_ms(const struct coordinator *c);
uint64_t retention_outcomes_ms(const struct coordinator *c);
/* Forget what is over, and tell the log. */
void retention_forget(struct step *s);
bool retention_clock_is_due(const struct coordinator *c);
void retention_clock_event(struct step *s);
void retention_snapshot_clock(const struct coordinator *c, struct record *out);

/* ---- horizon.c: what agents need no longer remember ---- */

/* With every scan of an agent. */
void horizon_forget(struct step *s);

/* ---- clients.c and agents.c ---- */

void clients_request(struct step *s);
void agents_answer(struct step *s);
void agents_result(struct step *s);
void agents_scan(struct step *s);

/* ---- view.c ---- */

/* "prepared", ...: a branch, for people. */
const char *view_progress_word(enum branch_progress progress);

#endif
