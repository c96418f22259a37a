/*
 * rm-agent/agent.h - what the parts of the agent share: one loop, one database.
 *
 * Everything here belongs to the loop's thread. participant.c decides about branches; the
 * parts carry its actions out and give it PostgreSQL's answers through agent_event():
 *
 *     event.c      what they all tell it
 *     requests.c   what comes in at the socket
 *     asker.c      who sent it, and how it is answered
 *     control.c    the one connection that sees and ends backends
 *     greeting.c   what is said on it first, at the start and at each reconnection
 *     book.c       what is known of each coordinator
 *     tms.c        their registration
 *     mail.c       what they have still to be told
 *     positions.c  the beat and the log position that the database remembers
 *     sessions.c   SQL in a branch: exec, PREPARE TRANSACTION (more in session.h)
 *     ballots.c    three-phase commit: what the other acceptors say, and when to lead
 *     acceptors.c  the same: this agent's own votes
 *     peers.c      the other agents: where they are, and their messages
 *     outcome.c    how a 3pc transaction has ended
 *     pool.c       the connections that finish branches, and what waits for them
 *     trip.c       the same: COMMIT PREPARED, ROLLBACK PREPARED
 *     indoubt.c    what is prepared here, and the evidence
 *     listing.c    the same for people
 *     recall.c     the same from memory, for when a coordinator's log is lost
 *     adopt.c      and which log is followed in its place
 *     preflight.c  what stands in the agent's way
 *     state_file.c what it knows of its database, kept outside of it
 *     reload.c     SIGHUP
 */
#ifndef ASSENT_RM_AGENT_AGENT_H
#define ASSENT_RM_AGENT_AGENT_H

#include "common/descriptors.h"
#include "common/reply.h"
#include "core/participant/participant.h"
#include "rm-agent/postgres/pg.h"

enum {
    CONNINFO_BYTES = 1024,
    NUMBER_BYTES = 24, /* any 64-bit number as text */
    EXEC_ROLES_MAX = 16,
    ROLE_NAME_BYTES = 64, /* PostgreSQL's own limit */
    STATE_FILE_BYTES = 256,
    QUOTED_BYTES = 2 * GID_BYTES + 4,
};

struct exec_role {
    char name[ROLE_BYTES]; /* of the section [exec NAME] */
    char conninfo[CONNINFO_BYTES];
};

struct agent_options {
    char rm[RM_NAME_BYTES];
    char listen[URL_BYTES];
    char peer_url[URL_BYTES]; /* where other agents reach us; "" where the coordinator does */
    bool witness;             /* no data here: an acceptor of every 3pc transaction */
    char state_file[STATE_FILE_BYTES]; /* "" none */
    uint32_t termination_timeout_ms;
    char conninfo[CONNINFO_BYTES];
    uint32_t pool_size;
    uint32_t max_sessions;
    uint32_t session_lifetime_ms; /* how old a kept one may be when it is used again */
    uint32_t max_branches;
    uint32_t max_row; /* bytes */
    uint32_t socket_mode;
    char socket_group[ROLE_NAME_BYTES];
    uint32_t role_count;
    struct exec_role roles[EXEC_ROLES_MAX];
};

/* What database this is, as found when the control connection was made. */
struct identity {
    uint64_t system_identifier;
    uint32_t timeline;
    uint64_t wal; /* where its WAL ended */
    char database[64];
    char server_version[32];
    char login[ROLE_NAME_BYTES];
    bool superuser;
    bool grants_have_options; /* PostgreSQL 16 or later */
};

enum { AGENT_LIMITS = 4 };

struct asker; /* whoever sent a request (asker.h) */
struct control;
struct greeting;
struct book;
struct sessions;
struct pool;
struct looks;
struct acceptors;
struct ballots;
struct peers_known;
struct recollection;
struct state_file;

struct agent {
    const char *path; /* of its configuration */
    struct agent_options *options;
    struct loop *loop;
    struct pg_set *set;
    struct net_server *server;
    struct control *control;
    struct greeting *greeting;
    struct book *book;
    struct sessions *sessions;
    struct pool *pool;
    struct looks *looks;
    struct acceptors *acceptors;
    struct ballots *ballots;
    struct peers_known *peers;
    struct recollection *recollection; /* NULL: nothing has ended yet */
    struct state_file *state_file;     /* NULL: not configured */
    void (*carry_out)(struct agent *agent, const struct participant_action *action);
    struct participant *participant; /* NULL until the incarnation is known */
    uint64_t incarnation;            /* of this start, durable in the database; 0: not yet */
    struct identity identity;
    struct agent_health health;
    uint32_t prepared_elsewhere; /* of those counted in health: in other databases of the server */
    uint64_t wal_flushed;        /* so much of the WAL was on the disk, at most a second ago */
    uint64_t health_ms;          /* when to ask for it again */
    bool limits_warned[AGENT_LIMITS]; /* preflight.c */
    bool checking;                    /* `check` is under way */
    bool draining;
    bool over; /* the loop is to end */
    int exit_status;
};

/* Besides EXIT_SUCCESS and EXIT_FAILURE: nothing that it remembers holds any more, and a new start
 * of the program has to go on. */
enum { EXIT_START_OVER = -1 };

/* Runs until SIGTERM or until it must not go on; returns the exit status. SIGHUP has path read
 * again. */
int agent_run(const char *path, struct agent_options *options);

/* ---- for the parts ---- */

/* The control connection is ready for the first time: serve. */
void agent_serve(struct agent *agent);
/* It must not go on: say why and end. */
void agent_stop(struct agent *agent, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The database is not the one that it was, or not all of it: say why, and begin anew. */
void agent_start_over(struct agent *agent, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* One event of a branch, and all that follows from it. now_ms is filled in. */
void agent_event(struct agent *agent, struct participant_event event);
/* The same, for an answer: message and sqlstate may be NULL. */
void agent_tell(struct agent *agent, const struct branch_id *branch,
                enum participant_event_type type, const char *sqlstate, const char *message);
/* For `status`: what went wrong last. */
void agent_note(struct agent *agent, const char *message);

#endif
