/*
 * tests/sim/sim.h - a world that crashes everything, from one number.
 *
 * The coordinator, the participants, the registry, the record bytes, the frames of the log,
 * the JSON codec and the agent's table of verdicts are the daemons' own code. Everything
 * around them is played: clock, network, disk, PostgreSQL, applications. All chance comes
 * from one 64-bit seed, so that any night can be lived through again, word by word.
 *
 * Rules that keep it so: no decision looks at an address, no two draws stand in one
 * expression (their order would be the compiler's), nothing is left uninitialised.
 */
#ifndef ASSENT_TESTS_SIM_H
#define ASSENT_TESTS_SIM_H

#include <stdarg.h>

#include "core/ballot/acceptor.h"
#include "core/coordinator/lost.h"
#include "core/coordinator/turn.h"
#include "core/participant/closed.h"
#include "core/participant/participant.h"
#include "core/participant/terminator.h"
#include "log/frame.h"
#include "rm-agent/postgres/verdict.h"

enum {
    HOSTS = 2, /* a coordinator may run on: its own, and one that gets a copy of the log */
    RMS = 5,
    APPS = 3,
    NODES = HOSTS + RMS + APPS,
    APP_TXNS = 10, /* that one application runs, one after the other */
    TXNS = 240,
    TXN_BRANCHES = 5,
    DISK_BYTES = 128 * 1024,
    CHECKPOINT_BYTES = 48 * 1024,
    ARCHIVE_BYTES = 256 * 1024,
    WAL_ENTRIES = 4096,
    XIDS = 4096,
    PREPARED_MAX = 64,
    BACKENDS = 96,
    COMMANDS_MAX = 512,
    SESSIONS = 32,
    VOTES = TXN_BRANCHES,
    CLIENTS = 512,
    RECALLED_MAX = 64,
    INBOX = 256,
    OUTBOX = 64,
    /* Two logs of one name may each be behind at some agent: no start of either is accepted. */
    MENDS_MAX = 12,
};

#define MS     UINT64_C(1000) /* the world's clock counts microseconds */
#define SECOND (1000 * MS)

static const char tm_name[TM_NAME_BYTES] = "bank";

struct sim;

/* ---- chance: random.c ---- */

struct random {
    uint64_t state[4];
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_u64(struct random *random);
/* From least to most, both included. */
uint64_t random_between(struct random *random, uint64_t least, uint64_t most);

/* ---- what happens when: events.c ---- */

enum happening_type {
    HAPPENS_DELIVERY, /* of a message */
    HAPPENS_TURN,     /* of a coordinator's loop */
    HAPPENS_SYNCED,   /* a batch of the log */
    HAPPENS_TM_START,
    HAPPENS_LINK, /* a coordinator looks after its connection to an agent */
    HAPPENS_AGENT_START,
    HAPPENS_AGENT_SERVES,
    HAPPENS_AGENT_TIMER,
    HAPPENS_RECONNECT, /* an agent to its database */
    HAPPENS_EXECUTION, /* a backend runs a command */
    HAPPENS_ANSWER,    /* the agent or application hears of it, or that it never will */
    HAPPENS_GONE,      /* the agent has made sure that the backend is gone */
    HAPPENS_NOTICE,    /* a backend sees that its client is dead */
    HAPPENS_DATABASE_START,
    HAPPENS_APPLICATION,
    HAPPENS_APPLICATION_START,
    HAPPENS_FAULT,
    HAPPENS_BY_HAND,
    HAPPENS_AGENT_DIES,
    HAPPENS_COPY,
    HAPPENS_OLD_LOG,
    HAPPENS_TM_GONE,
    HAPPENS_AT_PRECOMMIT,
    HAPPENS_PUT_BACK,
    HAPPENS_REWIND,
    HAPPENS_DBA,         /* who recovers what is lost */
    HAPPENS_DBA_TIMEOUT, /* of his command: no answer, or its log is written */
};

struct message;

struct happening {
    uint64_t at_us;
    uint64_t order; /* of scheduling: settles ties */
    enum happening_type type;
    uint32_t who;   /* host, rm, application or command */
    uint32_t which; /* a part of it */
    uint64_t life;  /* of the process that it is for; others are deaf to it */
    struct message *message;
};

struct queue {
    struct happening *heap;
    uint32_t count, room;
    uint64_t order;
};

void schedule(struct sim *sim, uint64_t after_us, struct happening what);
bool next_happening(struct sim *sim, struct happening *out);
void forget_happenings(struct sim *sim);

/* ---- the network: net.c ---- */

enum message_type {
    MESSAGE_REQUEST, /* application to TM */
    MESSAGE_REPLY,
    MESSAGE_OFFER, /* TM to agent */
    MESSAGE_ANSWER,
    MESSAGE_ORDERS,
    MESSAGE_POLL,
    MESSAGE_RESULTS,
    MESSAGE_UNKNOWN_TM, /* an agent's word to one that is not, or no longer, registered */
    MESSAGE_EXEC,       /* application to agent */
    MESSAGE_EXEC_REPLY,
    MESSAGE_BALLOTS, /* agent to agent */
    MESSAGE_OF_DBA,  /* assentctl recover to an agent */
    MESSAGE_TO_DBA,
};

/* SQL through an agent. The real codec of exec belongs to the agent's own tests. */
struct exec_body {
    struct branch_id branch;
    uint64_t ticket; /* incarnation of the agent */
    uint32_t allowed_ms;
    bool read_only;
    uint32_t n;
    enum error_code error; /* of the reply */
};

enum dba_question { DBA_LIST, DBA_RECALL, DBA_ADOPT };

struct message {
    enum message_type type;
    uint32_t from, to;           /* nodes */
    uint64_t from_life, to_life; /* to_life 0: whoever listens there */
    uint64_t serial;             /* of the request that it is or answers */
    uint32_t copies;             /* still under way */
    struct exec_body exec;
    enum dba_question question;
    size_t length;
    char *text; /* JSON */
};

static inline uint32_t host_node(uint32_t host)
{
    return host;
}
static inline uint32_t agent_node(uint32_t rm)
{
    return HOSTS + rm;
}
static inline uint32_t app_node(uint32_t app)
{
    return HOSTS + RMS + app;
}

/* Takes text, which was malloc'ed, over. */
void send_text(struct sim *sim, const struct message *envelope, char *text, size_t length);
void deliver(struct sim *sim, struct message *message);
void release_message(struct message *message);

/* ---- the coordinator's disk: disk.c ---- */

/* Records in the handed-over form. */
struct pile {
    size_t length;
    uint8_t bytes[CHECKPOINT_BYTES];
};

struct disk {
    struct uuid log;
    uint8_t bytes[DISK_BYTES]; /* what survives */
    size_t end;                /* behind the last byte that may be other than zero */
    /* A snapshot that stands for all records up to its lsn, in the handed-over form; 0 none. */
    uint64_t checkpoint_lsn;
    size_t archive_length; /* of what all checkpoints have put aside, one behind the other */
    struct pile checkpoint;
    uint8_t archive[ARCHIVE_BYTES];
};

/* A log that is open for writing. */
struct writer {
    struct chain chain;
    uint64_t records; /* handed over and durable, since the start */
    uint64_t durable_lsn;
    size_t at; /* where the next batch goes */
    bool writing;
    uint32_t batch_records;
    size_t batch_length;
    uint8_t batch[DISK_BYTES];
    uint64_t checkpoint_lsn; /* is written aside, and valid once the log is durable up to here */
    uint64_t checkpoint_number;
    struct pile checkpoint, archive;
    uint64_t archived;       /* the number of the newest one that became valid */
    bool reads_archive;      /* while the log is opened */
    uint32_t handed_records; /* wait for the next batch */
    size_t handed_length;
    uint8_t handed[DISK_BYTES];
};

typedef bool disk_visit_fn(void *arg, const struct frame *frame);

/* Read the log to its end, zero what is behind, make the writer ready to go on. False if
 * visit() refused a record. */
bool disk_open(struct sim *sim, struct disk *disk, struct writer *writer, disk_visit_fn *visit,
               void *arg);
void disk_begin(struct writer *writer, uint64_t incarnation);
void disk_hand_over(struct writer *writer, const uint8_t *bytes, size_t length, uint32_t records);
/* A snapshot of all that has been handed over so far, and what of it goes into an archive: both are
 * valid at one moment, or never, for what no checkpoint refers to is not read. */
void disk_checkpoint(const struct disk *disk, struct writer *writer, uint64_t number,
                     const struct pile *state, const struct pile *archive);
/* Stamp what has been handed over as one batch; false if there is nothing or one is under way. */
bool disk_write(struct writer *writer);
void disk_synced(struct disk *disk, struct writer *writer);
/* The process dies; with power_lost, each sector of an unsynced batch is on the disk or not. */
void disk_crash(struct sim *sim, struct disk *disk, struct writer *writer, bool power_lost);

/* ---- a coordinator: tm.c ---- */

enum link_state { LINK_DOWN = 0, LINK_OFFERED, LINK_UP };

struct link {
    enum link_state state;
    uint64_t serial; /* of the offer */
    uint64_t agent_incarnation;
    uint64_t heard_us;
    uint64_t generation; /* of its timer */
};

struct client {
    uint64_t token;
    uint32_t node;
    uint64_t life, serial;
};

/* What waits for the next turn: a message, or the loss of a connection. */
struct arrival {
    struct message *message;
    uint32_t lost_rm;
};

struct host {
    uint32_t index;
    bool up;
    uint64_t up_since_us, ran_us; /* before that */
    bool gone;                    /* for good: the copy was taken off */
    bool held;                    /* stopped by a DBA */
    bool unfence;                 /* the operator says that this log is the true one */
    bool presumed;                /* was once in a position to presume aborts */
    uint64_t life;
    uint64_t clock_ms; /* added to the world's time: no two starts agree about it */
    uint64_t recovered_lsn;
    struct uuid instance;
    bool quarantined[RMS]; /* at the records of its turn that the checker has seen */
    struct disk disk;
    struct writer writer;
    void *room; /* the coordinator's memory */
    struct coordinator *coordinator;
    struct link links[RMS];
    uint32_t index_of[RMS]; /* an RM's number in the coordinator's registry */
    uint64_t token_next;
    struct client clients[CLIENTS];
    uint32_t inbox_count;
    struct arrival inbox[INBOX];
    uint64_t turn_us; /* the next one is scheduled for, UINT64_MAX none */
};

void tm_start(struct sim *sim, uint32_t host);
void tm_crash(struct sim *sim, uint32_t host, bool power_lost);
/* What a start on this log would know, without one. */
struct dry_log {
    struct coordinator *coordinator;
    struct start_id newest;
};
void tm_dry_start(struct sim *sim, struct dry_log *out);
/* Does it hold at least what a new log opens with? */
bool tm_log_is_opened(struct sim *sim);
/* Every one of them, for ever: only agents are left. */
void tm_is_gone(struct sim *sim);
void tm_turn(struct sim *sim, uint32_t host);
/* For how long the coordinator has been running, all its starts together. */
uint64_t tm_ran_us(const struct sim *sim);
void tm_synced(struct sim *sim, uint32_t host);
void tm_link(struct sim *sim, uint32_t host, uint32_t rm);
void tm_receive(struct sim *sim, uint32_t host, struct message *message);

/* ---- a database: postgres.c ---- */

enum wal_type {
    WAL_XID, /* an xid was used for something that matters to nobody here */
    WAL_BEAT,
    WAL_POSITION,
    WAL_REGISTER,
    WAL_INCARNATION,
    WAL_PREPARE,
    WAL_COMMIT_PREPARED,
    WAL_ROLLBACK_PREPARED,
    WAL_COMMIT, /* of a session, with its marker if it has one */
    WAL_ROW,
    WAL_FORGET,
    WAL_IDENTITY,
};

/* assent.acceptor */
struct row {
    bool used;
    struct gtrid gtrid;
    struct acceptor_row acceptor;
    struct roster roster;
    uint32_t vote_count;
    struct {
        char branch[BRANCH_NAME_BYTES];
        uint64_t xid;
    } votes[VOTES];
};

struct wal_entry {
    enum wal_type type;
    uint64_t xid;
    uint64_t value;
    struct branch_id branch;
    uint32_t statements;
    uint32_t timeline;
    bool marked;
    bool through_agent;
    uint64_t met;
    struct uuid log, instance;
    union {
        struct row row;
        struct forget forget;
        struct txn_number votes_after;
    };
};

struct prepared {
    bool used;
    struct branch_id branch;
    uint64_t xid;
    uint32_t statements;
    bool through_agent;
    bool foreign_owner; /* the agent may not act for it */
};

enum xid_state { XID_FREE = 0, XID_RUNNING, XID_DID_COMMIT, XID_DID_ABORT };

struct backend {
    bool used;
    uint64_t serial;
    bool of_application;
    uint32_t app;
    uint64_t client_life;
    bool client_dead;
    bool entered;            /* in assent.session */
    struct branch_id branch; /* of a session */
    bool in_transaction;
    bool failed; /* 25P02: only ROLLBACK comes out of it */
    bool read_only;
    uint64_t xid;
    uint32_t statements;
    uint32_t pending;       /* commands that it has not run yet */
    uint64_t busy_until_us; /* it runs one after the other */
};

/* A row of the UNLOGGED table: outlives the backend, not a crash of the server. */
struct session_row {
    bool used;
    struct branch_id branch;
    uint64_t agent_incarnation;
};

struct database {
    uint32_t rm;
    bool up;
    uint64_t run; /* counts starts */
    uint64_t system_identifier;
    uint32_t timeline;
    bool lost_something;    /* it was put back behind what was durable */
    bool agent_alone_knows; /* that it was, once it looks: until then it must not die */
    bool released;          /* by a DBA, since */
    uint32_t wal_count, wal_flushed;
    struct wal_entry wal[WAL_ENTRIES];
    /* what the log says */
    uint64_t next_xid;
    uint64_t agent_incarnation;
    struct tm_row row;
    uint64_t beat;
    struct prepared prepared[PREPARED_MAX];
    enum xid_state xids[XIDS];
    uint32_t marker_count;
    struct gtrid markers[TXNS];
    uint32_t first_identity;       /* the timeline in which it first heard of the TM */
    uint32_t identity;             /* the timeline that the TM has accepted since, 0 none */
    uint64_t met;                  /* drawn when it first heard of the TM */
    struct txn_number votes_after; /* what was begun up to there it may have forgotten */
    struct forget forgotten;
    struct row rows[TXNS];
    /* what a crash takes */
    struct backend backends[BACKENDS];
    struct session_row sessions[SESSIONS * 2];
};

/* The first six are the agent's commands, by the names of its table of verdicts. */
enum sql {
    SQL_EXEC = COMMANDS,
    SQL_LOOK,
    SQL_LOOK_MARKER,
    SQL_SCAN,
    SQL_OWN_PREPARE, /* an application's, on its own connection */
    SQL_BALLOT,
};

struct statement {
    bool used;
    uint64_t serial;
    uint32_t type; /* enum command or enum sql */
    uint32_t rm;
    bool of_application;
    uint32_t app;
    uint64_t client_life;
    uint32_t backend; /* UINT32_MAX: the control connection */
    uint64_t backend_serial;
    uint64_t run; /* of the database */
    struct branch_id branch;
    uint64_t xid;
    uint64_t number; /* scan's, or exec's n */
    bool flush, late;
    bool joins;                   /* LOOK: enter its row, and vote only if that goes */
    bool barred;                  /* a leader has asked already: no */
    struct ballot ballot, answer; /* BALLOT, and who asked; LOOK: the roster */
    uint32_t asker;               /* number of an RM, RMS: the TM, or nobody */
    bool lazy;                    /* BALLOT: not flushed */
    bool unsent;                  /* it has not been run, for sure */
    bool or_prepare;              /* COMMIT_ONE_PHASE: PREPARE where no marker can be written */
    uint64_t reply_serial;        /* exec: of the request */
    uint32_t reply_node;
    uint64_t reply_life;
    uint32_t waits; /* happenings that are still to come for it */
    bool answered;  /* or going to be */
    uint64_t beat;
    /* the answer */
    char tag[24];
    char sqlstate[SQLSTATE_BYTES];
    bool alive;
    bool seen;
    bool foreign_owner;
    bool had_session;
    enum xid_status status;
    uint64_t found_xid;
};

void database_init(struct sim *sim, uint32_t rm);
void database_start(struct sim *sim, uint32_t rm);
/* The server dies. What was flushed survives; of the rest, a part. */
void database_crash(struct sim *sim, uint32_t rm);
/* It comes back from a backup, or fails over to a replica that lagged: what was behind is gone.
 * With nothing lost it is a clean switchover. */
void database_rewind(struct sim *sim, uint32_t rm, uint32_t entries_lost);
/* The same from a backup, where it may stay on its timeline. */
void database_put_back(struct sim *sim, uint32_t rm, uint32_t entries_lost, bool new_timeline);
/* How many entries it has to lose so that a beat that was confirmed is among them; 0: none was. */
uint32_t database_to_lose_a_beat(const struct sim *sim, uint32_t rm);
/* As many, for it to show less than this beat, or this incarnation of its agent, whatever is
 * written to it until that agent looks; more than there are if it has neither. */
uint32_t database_to_lose(const struct sim *sim, uint32_t rm, uint64_t beat, uint64_t incarnation);
/* Somebody else than the branch's own session calls assent.mark(). */
void database_forge_marker(struct sim *sim, uint32_t rm, const struct gtrid *gtrid);
uint32_t backend_open(struct sim *sim, uint32_t rm, bool of_application, uint32_t app,
                      uint64_t client_life);
/* BEGIN, and the xid at once unless it is read-only. */
void backend_begin(struct sim *sim, uint32_t rm, uint32_t backend, bool read_only);
/* Ends it and rolls back what it had not prepared. */
void backend_end(struct sim *sim, uint32_t rm, uint32_t backend);
/* Their client has died; they notice when they next look. */
void backends_orphan(struct sim *sim, uint32_t rm, uint64_t client_life);
void backend_notices(struct sim *sim, uint32_t rm, uint32_t backend, uint64_t serial);
/* A new command; the caller fills in the rest and calls command_send(). */
uint32_t command_new(struct sim *sim, uint32_t rm, uint32_t type, const struct branch_id *branch);
void command_send(struct sim *sim, uint32_t command);
void command_execute(struct sim *sim, uint32_t command);
/* Schedule something for it; each is followed by one command_release(). */
void command_await(struct sim *sim, uint32_t command, enum happening_type what, uint64_t after_us);
void command_release(struct sim *sim, uint32_t command);
uint64_t database_setval_beat(struct sim *sim, uint32_t rm);
void database_setval_position(struct sim *sim, uint32_t rm, uint64_t lsn);
void database_register(struct sim *sim, uint32_t rm, const struct offer *offer, uint64_t met);
/* By one, and above that. */
void database_raise_incarnation(struct sim *sim, uint32_t rm, uint64_t above);
struct prepared *database_find(struct database *database, const struct branch_id *branch);
/* The acceptor's row of a branch that is about to be prepared; false: it must not be. */
bool database_join(struct sim *sim, uint32_t rm, const struct branch_id *branch, uint64_t xid,
                   const struct roster *roster);
const struct row *database_row(const struct database *database, const struct gtrid *gtrid);
void database_forget(struct sim *sim, uint32_t rm, const struct forget *forget);
/* A TM that knows this database has accepted it. */
void database_identify(struct sim *sim, uint32_t rm, const struct order *recover);
/* Its agent has seen that it lost data. */
void database_suspect(struct sim *sim, uint32_t rm);
/* Another log is followed from here on. */
void database_adopt(struct sim *sim, uint32_t rm, const struct adoption *adoption);
/* A DBA ends a branch as its transaction has ended. */
void database_ended_by_word(struct sim *sim, uint32_t rm, const struct branch_id *branch,
                            bool commit);
/* By a DBA's hand, behind everybody's back. */
void database_by_hand(struct sim *sim, uint32_t rm);

/* ---- an agent: agent.c ---- */

struct session {
    bool used;
    struct branch_id branch;
    uint32_t backend;
    uint64_t backend_serial;
    uint32_t n; /* the last statement that was begun */
    bool busy;
    bool failed; /* a statement was refused */
    bool read_only;
};

struct agent {
    uint32_t rm;
    bool up, serving, connected;
    uint64_t life;
    uint64_t run; /* of the database that it is connected to */
    uint64_t incarnation;
    uint64_t system_identifier;
    uint32_t timeline;
    uint64_t flushed_beat;
    uint64_t clock_ms;
    void *room;
    struct participant *participant;
    struct closed closed;
    uint64_t closed_incarnation; /* whose transactions those are */
    bool registered;             /* a TM, in this life */
    uint32_t tm_node;            /* whom the results go to */
    uint64_t tm_life;
    uint32_t outbox_count;
    struct result outbox[OUTBOX];
    struct session sessions[SESSIONS];
    uint64_t timer_us;
    void *terminator_room;
    struct terminator *terminator;
    bool suspect;      /* its database may have lost what it promised */
    uint64_t heard_ms; /* from this start of the TM, by its own clock */
    uint64_t heard_incarnation;
    uint64_t look_ms; /* for what is prepared here and not watched */
    /* Its state file: what was on the database's disk, at most a second ago. */
    struct {
        uint64_t at_us, incarnation, beat;
        uint32_t wal;
    } kept;
    uint64_t able_us; /* since when it has its database */
    /* What it recalls of branches that are over: a ring. */
    uint32_t recalled_count, recalled_next;
    struct {
        struct branch_id branch;
        uint32_t recall;
        uint64_t xid;
    } recalled[RECALLED_MAX];
};

void agent_start(struct sim *sim, uint32_t rm);
void agent_serves(struct sim *sim, uint32_t rm);
void agent_crash(struct sim *sim, uint32_t rm);
void agent_timer(struct sim *sim, uint32_t rm);
void agent_reconnects(struct sim *sim, uint32_t rm);
void agent_receive(struct sim *sim, uint32_t rm, struct message *message);
void agent_answer(struct sim *sim, uint32_t command);
void agent_backend_gone(struct sim *sim, uint32_t command);
void agent_database_down(struct sim *sim, uint32_t rm);
/* Somebody terminates the backend of a session that is idle. */
void agent_lose_session(struct sim *sim, uint32_t rm, uint32_t session);

/* Of its own: a TELL's, a command's, an event's way. */
uint64_t agent_ms(const struct sim *sim, const struct agent *agent);
void agent_tell(struct sim *sim, struct agent *agent, const struct result *result);
uint32_t agent_command(struct sim *sim, struct agent *agent, uint32_t type,
                       const struct branch_id *branch);
void agent_step(struct sim *sim, struct agent *agent, struct participant_event *event);
void agent_set_timer(struct sim *sim, struct agent *agent);

/* ---- an agent's part in 3pc: ballots.c ---- */

void ballots_start(struct sim *sim, struct agent *agent);
/* A PREPARE of 3pc; false: it cannot be taken now. */
bool ballots_watch(struct sim *sim, struct agent *agent, const struct order *order);
void ballots_committed(struct sim *sim, struct agent *agent, const struct order *order);
void ballots_told(struct sim *sim, struct agent *agent, const struct result *result);
void ballots_order(struct sim *sim, struct agent *agent, const struct order *order);
void ballots_heard(struct sim *sim, struct agent *agent, uint64_t incarnation);
void ballots_from_peer(struct sim *sim, struct agent *agent, const struct message *message);
void ballots_answer(struct sim *sim, struct agent *agent, const struct statement *command);
void ballots_timer(struct sim *sim, struct agent *agent);
/* An event that the tables ignore. */
void ballots_noise(struct sim *sim, struct agent *agent, const struct gtrid *gtrid);

/* ---- applications: application.c ---- */

enum app_step { APP_BEGIN, APP_ENLIST, APP_WORK, APP_END, APP_ASK, APP_REST };

struct app_branch {
    uint32_t rm;
    char name[BRANCH_NAME_BYTES];
    bool own_connection;
    bool read_only;
    uint32_t statements; /* to run */
    bool enlisted;
    uint64_t ticket;
    uint32_t allowed_ms;
    uint32_t done; /* statements that were acknowledged */
    bool worked;
    uint32_t backend;
    uint64_t backend_serial;
};

struct application {
    uint32_t index;
    bool up;
    uint64_t life;
    uint32_t txn; /* which of its transactions */
    enum app_step step;
    uint32_t tries;
    uint64_t serial; /* of the request that it waits for */
    uint64_t generation;
    uint32_t branch;
    uint32_t branch_count;
    struct app_branch branches[TXN_BRANCHES];
    bool has_gtrid;
    struct gtrid gtrid;
    bool keyed, at_once, commit, decided;
    bool three_phase;
    char key[KEY_BYTES];
    char request_id[REQUEST_ID_BYTES];
    uint32_t asks;
    bool impatient; /* sends rollback behind its commit */
    bool again;     /* nobody knows its key: it runs once more under the same */
};

void application_start(struct sim *sim, uint32_t app);
void application_timer(struct sim *sim, uint32_t app);
void application_crash(struct sim *sim, uint32_t app);
void application_receive(struct sim *sim, uint32_t app, struct message *message);
void application_answer(struct sim *sim, uint32_t command);

/* ---- what must never be: checker.c ---- */

struct fate_branch {
    struct branch_id id;
    bool in_record;
    bool by_hand;
    bool heuristic;    /* a DBA's decision about this branch alone: see struct fate */
    uint64_t lost_xid; /* was prepared durably, and its database was put back to before */
    bool lost_end;     /* its database was put back to before it was committed or rolled back */
    bool left;         /* read-only */
    bool by_word;      /* ended by a DBA as its transaction had ended, its log being lost */
    uint64_t voted_xid;
    uint64_t beat;         /* that went with its vote */
    uint32_t acknowledged; /* statements that the application was told are done */
    uint32_t commits;
    uint64_t committed_xid;
    uint32_t committed_statements;
    bool rolled_back; /* the transaction that was voted for */
    bool own_prepared;
    bool shown;     /* as prepared, to a coordinator, since a DBA has said something about it */
    bool misjudged; /* called done on an xid's evidence, in a database that had lost it */
    /* 3pc: the row of this prepared transaction decides it, as its agent of this life has seen. */
    uint64_t due_life, due_xid, due_us;
    uint64_t late_life, late_ms; /* 3pc: when its PREPARE's time is over, by that agent's clock */
};

/* What acceptors have on their disks. */
struct poll {
    uint64_t number;
    enum outcome value;
    uint32_t accepted; /* rank_bit()s */
};

enum { POLLS = 64 };

struct fate {
    struct gtrid gtrid;
    bool begun;
    struct uuid begun_by; /* the start that gave the gtrid out */
    uint64_t known_us;    /* tm_ran_us() when it was begun, or committed */
    bool three_phase;
    bool precommit_durable;
    bool abort_decided; /* by a majority; a commit is commit_durable */
    struct roster roster;
    uint32_t poll_count;
    struct poll polls[POLLS];
    bool commit_handed, commit_durable, delegated_durable;
    bool ended;           /* END is durable */
    bool asked_to_commit; /* the application has sent commit */
    bool told_committed, told_rolled_back;
    char key[KEY_BYTES];
    bool excused;      /* of a log that was put away, or given out twice: nobody can know of it */
    bool forced;       /* a DBA has asked to settle it against all evidence */
    bool heuristic;    /* and the log has it so: its branches may differ, and it has to be said */
    bool forgotten;    /* a DBA has dealt with it */
    bool worded;       /* a DBA has said how it ended, or that it is mended */
    bool lost;         /* its log was */
    bool was_decided;  /* to commit, in that log */
    enum outcome said; /* by a DBA, or proved, since */
    enum outcome audited; /* as the log that is there has it */
    bool kept;            /* forced when it was live no more: mixed until it is forgotten */
    uint32_t branch_count;
    struct fate_branch branches[TXN_BRANCHES * 2];
};

struct checker {
    uint32_t count;
    struct fate fates[TXNS];
    bool forked; /* a log was put back or copied */
};

struct fate *checker_fate(struct sim *sim, const struct gtrid *gtrid);
struct fate_branch *checker_branch(struct sim *sim, const struct branch_id *branch);
void checker_worked(struct sim *sim, const struct branch_id *branch, uint32_t statements,
                    bool own_connection);
void checker_asked_to_commit(struct sim *sim, const struct gtrid *gtrid, const char *key);
/* A turn begins, in which records are written. */
void checker_turn(struct sim *sim, struct host *host);
void checker_record(struct sim *sim, uint32_t host, const struct record *record, bool durable);
void checker_committed(struct sim *sim, const struct branch_id *branch, uint64_t xid,
                       uint32_t statements, bool prepared, bool by_hand);
void checker_undone(struct sim *sim, const struct branch_id *branch, uint64_t xid, bool by_hand);
/* A TM has an agent's word that it is prepared; and an agent has been accepted, its beat so high.
 */
void checker_voted(struct sim *sim, const struct result *result);
void checker_accepted(struct sim *sim, uint32_t rm, uint64_t beat);
/* An agent has said what became of a branch. */
void checker_ended(struct sim *sim, const struct result *result);
/* An acceptor has this on its disk. */
void checker_poll(struct sim *sim, const struct gtrid *gtrid, uint32_t rank, uint64_t number,
                  enum outcome value, const struct roster *roster);
/* An agent begins to lead. */
void checker_leads(struct sim *sim, const struct agent *agent, const struct gtrid *gtrid);
void checker_left(struct sim *sim, const struct branch_id *branch);
void checker_told(struct sim *sim, const struct reply *reply, const struct uuid *instance);

/* The last transaction that is decided or delegated in a log, and that no log has ended. */
bool checker_unfinished(struct sim *sim, struct gtrid *out);
void checker_log_swapped(struct sim *sim, const struct disk *from, const struct disk *to);
/* The log is gone, and what it alone knew with it; and a new one says how it all ends. */
void checker_log_lost(struct sim *sim);
void checker_recovered(struct sim *sim, const struct lost *lost);
/* It was put back: so many entries of its WAL were durable. */
void checker_rewound(struct sim *sim, uint32_t rm, uint32_t durable);
/* What rows have decided is carried out soon. */
void checker_how_soon(struct sim *sim);
/* Is everything settled? Says what is not when `complain`. */
bool checker_settled(struct sim *sim, bool complain);
void checker_final(struct sim *sim);
/* No majority of its acceptors may vote any more. */
bool checker_is_stuck(struct sim *sim, const struct gtrid *gtrid);

/* ---- faults: faults.c ---- */

enum fault {
    FAULT_TM_DIES,
    FAULT_TM_LOSES_POWER,
    FAULT_AGENT_DIES,
    FAULT_DATABASE_CRASHES,
    FAULT_APPLICATION_DIES,
    FAULT_PARTITION,
    FAULT_ONE_WAY,
    FAULT_BACKEND_KILLED,
    FAULT_CLOCK_JUMPS,
    FAULT_OLD_LOG,
    FAULT_COPIED_LOG,
    FAULT_REWIND,
    FAULT_BY_HAND,
    FAULT_DBA,
    FAULT_RESTORED,
    FAULT_LOST_LOG,
    FAULTS,
};

/* In ten thousandths, or as said. Drawn from the seed. */
struct plan {
    uint32_t rms, apps, txns;
    uint32_t loss, repeat, delay; /* of messages */
    uint64_t delay_most_us;
    uint32_t sync_stall;     /* of the log's disk */
    uint32_t connection_cut; /* of a command's connection, answer lost */
    uint32_t lands_late;     /* of those: the command runs later all the same */
    uint32_t refusal;        /* of PREPARE */
    uint32_t unmarked;       /* a commit in one phase whose marker cannot be written */
    uint32_t busy;           /* of COMMIT PREPARED and ROLLBACK PREPARED */
    uint32_t statement_fails;
    uint32_t no_evidence;    /* pg_xact_status() knows nothing any more */
    uint32_t crash_in_turn;  /* of the coordinator, at each step of a turn */
    uint32_t crash_at_work;  /* of an agent or a database, as a command runs */
    uint32_t noise;          /* events that must do nothing */
    uint32_t unsent;         /* a command never leaves the agent; a look is refused */
    uint32_t copy_at_commit; /* the log is copied just before a decision is on it */
    uint32_t old_at_commit;  /* an old log is put back just after */
    uint32_t by_hand;        /* a DBA, just when a branch has been prepared */
    uint64_t fault_every_us;
    uint32_t fault_weight[16];
    uint64_t quiet_us; /* when all faults end */
    uint32_t own_connection, read_only, one_branch, rollback, abandon, duplicate, keyed;
    uint32_t careless;  /* goes on after a refused statement */
    uint32_t impatient; /* sends rollback behind its commit */
    uint32_t lock_wait; /* a command waits for a lock */
    uint32_t run_again; /* an own connection's block, after the commit was asked for */
    uint32_t checkpoint;
    uint32_t read_only_all;
    bool dba;              /* settles things */
    bool log_may_fork;     /* it may be put back or copied */
    uint32_t three_phase;  /* of transactions */
    uint32_t data_rms;     /* the rest are witnesses */
    uint64_t gone_us;      /* when the coordinator dies for ever; 0 never */
    uint32_t at_precommit; /* something happens just then */
    bool may_rewind;       /* a database loses what it has just promised */
    uint32_t scan_ms;
    bool may_go;           /* and that may be the coordinator's end */
    uint64_t down_most_us; /* until it is started again */
    uint64_t retention_ms;
    uint32_t silence_ms; /* of the coordinator, before an agent leads */
    /* What themes alone have, nothing in other nights. */
    uint32_t answer_loss;           /* of the answers to registrations */
    uint32_t restored_to_nothing;   /* of the databases that are put back: as they were created */
    uint32_t restored_at_precommit; /* of what happens just then */
    uint32_t alone_at_precommit;    /* the same, of one that has heard alone */
    bool no_state_file;             /* the agents have none */
    uint32_t lost_at_vote;          /* a database loses what it has voted for */
    uint32_t agent_branches;        /* that an agent has room for; 0: as many as it needs */
    uint32_t hasty;                 /* commit is asked for while a statement runs */
    uint32_t forged_markers;        /* by somebody who may log in */
    uint32_t recovery_killed;       /* assentctl recover, at each of its steps */
    uint32_t carried_out_ms;        /* within which an agent does what its row has decided */
};

/* A DBA does something, right or wrong; and once all is quiet, what is left to be done. */
void dba_strikes(struct sim *sim);
void dba_tidies(struct sim *sim);

void plan_draw(struct sim *sim);
/* A database is put back to a backup. */
void fault_restored(struct sim *sim);
/* One acceptor alone hears of a PRECOMMIT; then the coordinator dies, and that one is put back. */
void fault_alone(struct sim *sim);
void fault_alone_is_put_back(struct sim *sim, uint32_t rm);
/* This night's theme, if it has one of those in themes.c; their numbers count from 1, and 0 is none
 * of them. */
void theme_draw(struct sim *sim);
enum { THEME_ORDINARY = UINT32_MAX }; /* none of them, whatever the seed says: "ordinary" */
uint32_t theme_find(const char *name);
const char *theme_name(uint32_t theme);
void fault_strikes(struct sim *sim);
/* Somebody starts a second coordinator on a copy of the log. */
void fault_copies_log(struct sim *sim);
/* Somebody takes a backup of the log, or puts the one that was taken in its place. */
void fault_old_log(struct sim *sim);
/* A PRECOMMIT record is handed over, or durable. */
void fault_at_precommit(struct sim *sim);
/* All is healed and started again. */
void faults_end(struct sim *sim);
/* In the quiet: a coordinator that stands fenced gets the other log back. */
void faults_mend(struct sim *sim);

/* ---- a DBA whose coordinator's log is lost: recovery.c ---- */

enum recovery_step {
    RECOVERY_NONE, /* no command runs */
    RECOVERY_LISTS,
    RECOVERY_RECALLS,
    RECOVERY_LOOKS, /* for what was voted for and not listed */
    RECOVERY_WRITES,
    RECOVERY_ADOPTS,
};

struct recovery {
    uint32_t losses;
    bool written;    /* the log in its place is one that the command wrote, or began to */
    bool nobodys;    /* or is empty, or not known to be whole: no agent follows it */
    bool one_adopts; /* the command is --adopt, and not --lost-log */
    uint32_t adopter;
    enum recovery_step step;
    uint64_t life;   /* of who runs it again */
    uint64_t serial; /* of what the command waits for */
    uint32_t rm;     /* who is asked */
    bool without[RMS];
    uint32_t silent[RMS]; /* in a row */
    uint32_t listed_count[RMS];
    struct {
        struct branch_id branch;
        uint64_t xid;
    } listed[RMS][PREPARED_MAX];
    uint32_t unlisted_count;
    struct branch_id unlisted[PREPARED_MAX * 2];
    struct start_id start;
    struct lost lost;
    struct lost_txn txns[TXNS];
};

/* Does an agent follow another log than the one that is there? */
bool recovery_needed(const struct sim *sim);
void fault_lost_log(struct sim *sim);
void recovery_comes(struct sim *sim);
void recovery_timeout(struct sim *sim);
void recovery_receive(struct sim *sim, struct message *message);
/* An agent's part: it is asked by the command, and it has said something. */
void recovery_asked(struct sim *sim, struct agent *agent, const struct message *message);
void recovery_noted(struct agent *agent, const struct result *result);

/* ---- the world: world.c ---- */

struct sim {
    uint64_t seed;
    uint32_t theme; /* of every night; 0: as the seed says */
    struct random random;
    uint64_t now_us;
    struct queue queue;
    struct plan plan;
    bool quiet;
    bool verbose;
    uint64_t digest;
    uint64_t happenings;
    uint64_t crashes;
    uint64_t next_life;
    uint64_t next_serial;
    uint64_t until_us[NODES][NODES]; /* no message passes from one to the other before this */
    struct host hosts[HOSTS];
    struct disk shelf; /* a log that was put away, or a backup */
    bool shelf_used;
    bool on_old_log;
    bool tm_gone; /* for ever */
    uint32_t mended;
    uint64_t jumped_ms; /* of clocks of coordinators, as far as one can be taken in by it */
    struct database databases[RMS];
    struct agent agents[RMS];
    struct application apps[APPS];
    struct statement commands[COMMANDS_MAX];
    struct checker checker;
    struct recovery recovery;
    struct turn turn;
    bool violated;
    char violation[1024];
};

/* Live through the seed's night. True if nothing happened that must not. */
bool sim_run(struct sim *sim, uint64_t seed, bool verbose);

/* In ten thousandths. Never when all is quiet. */
bool chance(struct sim *sim, uint32_t per_ten_thousand);
/* The same, in the quiet too. */
bool choice(struct sim *sim, uint32_t per_ten_thousand);
uint64_t between(struct sim *sim, uint64_t least, uint64_t most);
void draw_uuid(struct sim *sim, struct uuid *out);
void mix(struct sim *sim, uint64_t value);
void mix_bytes(struct sim *sim, const void *bytes, size_t length);

/* A line of the transcript. */
void note(struct sim *sim, const char *who, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void violation(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *rm_word(uint32_t rm);
uint32_t rm_number(const char *name);
/* In one of a few buffers that are used in turn. */
const char *gtrid_word(const struct gtrid *gtrid);
const char *branch_word(const struct branch_id *branch);

#endif
