/*
 * bench/bench.h - assent-bench: what it costs to commit in several databases, side by side.
 *
 * A client is a state machine with one transaction under way; one loop turns them all. A mode is
 * a way of doing that transaction. The modes of a run take turns in short slices, so that what
 * changes on the machine meanwhile meets them all alike, and only their ratios are the result.
 *
 *     options.c  what it was asked to do
 *     main.c     the order of things
 *     run.c      slices: what was done in them, and what it cost
 *     work.c     a branch on a connection of the client's own
 *     ask.c      calls of the coordinator and the agents
 *     raw.c own.c exec.c decide.c    the modes
 *     pinned.c many.c    what they keep beside a pending transaction, and beside a great many
 *     stub.c     agents that say yes at once
 *     site.c     throw-away clusters and daemons
 *     processes.c  how much CPU time the parties have used
 *     report.c plot.c    the figures for people, for programs, and as a picture
 */
#ifndef ASSENT_BENCH_BENCH_H
#define ASSENT_BENCH_BENCH_H

#include <cjson/cJSON.h>
#include <libpq-fe.h>
#include <sys/types.h>

#include "common/loop.h"
#include "common/net.h"
#include "common/ticket.h"

enum {
    DATABASES_MAX = 16,
    CLIENTS_MAX = 1024,
    LIVE_MAX = 200000,
    LIVE_SPARE = 65536, /* those that are under way when it is reached */
    COUNTS_MAX = 16,    /* of numbers of clients, or of databases */
    MODES_MAX = 10,
    ROUNDS_MAX = 4096,
    BATCH_LARGEST = 64,
    ROWS_A_CLIENT = 16, /* each its own: nobody waits for another's lock */
    PATH_BYTES = 512,
};

enum party { PARTY_CLIENT, PARTY_TM, PARTY_AGENTS, PARTY_POSTGRESQL, PARTIES };

struct bench;
struct client;

/* Where a mode works: in databases, or in a coordinator whose agents are stubs. Each has a
 * coordinator of its own. */
enum site {
    SITE_DATABASES,
    SITE_STUBS,
    SITE_REMEMBERING, /* it has decided many transactions before */
    SITE_LIVE,        /* it has many transactions under way */
    SITES,
};

struct mode {
    const char *name;
    enum site site;
    void (*start)(struct client *client);
    const char *protocol; /* NULL: no coordinator is asked */
    const char *plain;    /* the mode that it is a variety of; else NULL */
    const char *ratio;    /* to that one, by name */
};
extern const struct mode modes[];
const struct mode *mode_find(const char *name);
/* The variety of a mode by 3pc; NULL when it has none. */
const struct mode *mode_by_three(const struct mode *mode);

typedef void client_fn(struct client *client);
/* The reply, ok:true, to a call; which: of the calls that are under way together. */
typedef void ask_fn(struct client *client, uint32_t which, const cJSON *reply);

/* A client's own connection to one database (work.c). */
struct line {
    struct client *client;
    uint32_t database;
    PGconn *conn;
    bool pipelined;
    uint32_t statement;  /* that is under way, step by step */
    uint32_t last;       /* of those to be done now */
    uint32_t syncs_left; /* pipelined */
};

struct client {
    struct bench *bench;
    uint32_t number;
    uint64_t began_us;
    uint64_t transactions;
    uint32_t waiting; /* for as many databases, or agents */
    client_fn *then;  /* once they have all answered */
    struct line lines[DATABASES_MAX];
    struct {
        char gid[GID_BYTES];
        char session[TICKET_BYTES];
    } branches[DATABASES_MAX];
    char gtrid[GTRID_BYTES];
};

/* One coordinator, and how it is reached. */
struct coordinator_site {
    char url[URL_BYTES];
    pid_t pid;              /* 0: not ours, its CPU time is not known */
    struct net_link *calls; /* of the clients */
    struct net_link *looks; /* between slices: status */
};

struct database_site {
    char rm[RM_NAME_BYTES];
    char conninfo[PATH_BYTES];
    char agent_url[URL_BYTES];
    pid_t agent_pid, server_pid; /* 0: not ours */
    struct net_link *agent;
};

struct counts {
    uint32_t values[COUNTS_MAX];
    uint32_t count;
};

struct options {
    const struct mode *modes[MODES_MAX];
    uint32_t mode_count;
    struct counts clients, databases; /* one of the two has but one value */
    uint32_t batch;                   /* decide: requests a message */
    uint32_t pool;                    /* the agents' connections for COMMIT PREPARED */
    double seconds;                   /* for each mode */
    double slice_s;
    double pinned_s;     /* again for so long, all modes together, with xmin held; 0: no */
    uint32_t remembered; /* decide-remembering: transactions decided before */
    uint32_t live;       /* transactions whose memory is measured; 0: none */
    const char *wait;    /* "applied", "decided" */
    const char *url;     /* of a coordinator that runs */
    const char *folder;
    const char *plot;
    bool self_contained;
    bool json;
};

/* What a mode did with so many clients and databases, over all of its slices. */
struct figures {
    const struct mode *mode;
    uint32_t clients, databases;
    uint64_t transactions;
    double wall_s;
    double cpu_us[PARTIES];
    uint64_t messages; /* of the clients, replies not counted */
    uint64_t orders;   /* the coordinator's to its agents */
    uint64_t syncs, log_bytes;
    uint32_t rounds;
    double rates[ROUNDS_MAX]; /* transactions/s of each slice */
    uint32_t *samples_us;
    size_t sample_count, sample_room;
};

/* What so many live transactions take of a coordinator's memory. */
struct live {
    uint64_t transactions;
    double before_bytes, bytes;
};

struct bench {
    struct options options;
    struct loop *loop;
    struct coordinator_site coordinators[SITES]; /* those that are wanted */
    struct database_site databases[DATABASES_MAX];
    struct client *clients;
    uint32_t clients_most, databases_most;
    enum site opening;
    /* what runs */
    const struct mode *mode;
    struct figures *figures;
    uint64_t until_us;
    uint64_t until_transactions;
    uint32_t busy;
};

/* What a run has found. */
struct results {
    struct figures all[COUNTS_MAX * MODES_MAX];
    uint32_t count;
    struct figures pinned[MODES_MAX]; /* as many as there are modes, when it was asked for */
    struct live live;
};

/* Says why on stderr and ends the program, with all that it started. */
_Noreturn void stop(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void stop_error(const struct error *error);

/* options.c */
void read_options(struct bench *bench, int argc, char **argv);

/* run.c */
void run(struct bench *bench, struct figures *figures, double seconds);
/* A mode alone, until it has done so many transactions, or a few more; nothing is measured. */
void run_transactions(struct bench *bench, struct figures *figures, uint64_t transactions);
/* A client's transaction is over, committed; count: of them, when it did several at once. */
void client_done(struct client *client, uint32_t count);
/* Turn the loop until `over` says so, or stop the program. */
void run_until(struct bench *bench, bool (*over)(struct bench *bench), double limit_s,
               const char *what);

/* work.c */
void work_open(struct bench *bench);
void work_close(struct bench *bench);
/* Statements on a connection of their own. */
void work_do(const struct database_site *site, const char *sql);
/* BEGIN, UPDATE and PREPARE TRANSACTION under the branches' gids, in all databases. */
void work_prepare(struct client *client, bool pipelined, client_fn *then);
void work_commit_prepared(struct client *client, client_fn *then);

/* ask.c */
void ask(struct client *client, struct net_link *link, const char *text, size_t length,
         uint32_t which, ask_fn *then);
/* The coordinator's own account of itself; the caller deletes it. NULL: it does not answer. */
cJSON *ask_status(struct coordinator_site *site);
uint64_t ask_number(const cJSON *object, const char *group, const char *name);
void ask_open(struct coordinator_site *site, struct loop *loop, uint32_t calls);
/* begin, with branches in all databases: their gids and sessions are the client's then. */
void ask_begin(struct client *client, client_fn *then);
void ask_commit(struct client *client, client_fn *then);

/* The modes' first steps. */
void raw_start(struct client *client);
void raw_pipelined_start(struct client *client);
void own_start(struct client *client);
void own_pipelined_start(struct client *client);
void exec_start(struct client *client);
void decide_start(struct client *client);
/* decide's first half: a batch of begins, rolled back after so long (0: as usual). */
void decide_begin(struct client *client, uint32_t timeout_ms, ask_fn *then);
/* Checks that a batch was answered as a whole. */
const cJSON *decide_batch(const struct client *client, const cJSON *reply);

/* stub.c */
void stub_listen(struct loop *loop, const char *url, const char *rm);
/* Answer the calls that have been parked long enough. */
void stub_tick(void);
void stub_close(void);

/* site.c */
void site_databases(struct bench *bench);           /* clusters, agents and the coordinator */
void site_stubs(struct bench *bench, enum site at); /* a coordinator with agents that are stubs */
void site_close(void);

/* processes.c: microseconds of CPU time, of a process and all of its children; memory in use. */
double cpu_self_us(void);
double cpu_process_us(pid_t pid);
double cpu_family_us(pid_t pid);
double memory_bytes(pid_t pid);

/* pinned.c: one prepared transaction in each database, and what the modes kept beside it. */
void pinned_begin(struct bench *bench);
void pinned_end(struct bench *bench);
void pinned_print(const struct bench *bench, const struct results *results);
cJSON *pinned_object(const struct bench *bench, const struct results *results);

/* many.c: a coordinator that remembers many outcomes, and one with many transactions under way. */
void many_remember(struct bench *bench);
void many_live(struct bench *bench, struct live *out);

/* report.c, plot.c */
double percentile_ms(const struct figures *figures, double share);
void report(const struct bench *bench, struct results *results);
void plot(const char *path, const struct figures *all, uint32_t count);

#endif
