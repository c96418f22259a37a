/*
 * rm-agent/postgres/pg.h - connections to PostgreSQL that never block: moves bytes to and from
 * libpq.
 *
 * A connection runs one job at a time: one statement, or several that travel together. A statement
 * is followed by a Sync of its own, or shares that of the one behind it: then an error of the first
 * keeps the second from being run, and what no command of theirs begins or ends is one transaction.
 * Each Sync costs both sides a system call, and often a wake-up. All calls and callbacks belong to
 * the loop's thread. What an answer means is verdict.c's matter.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_PG_H
#define ASSENT_RM_AGENT_POSTGRES_PG_H

#include <libpq-fe.h>

#include "common/loop.h"
#include "core/message/message.h"
#include "rm-agent/postgres/settings.h"

/* SQL: a backend_start as the agent compares it. */
#define BACKEND_START_US "(extract(epoch FROM backend_start) * 1000000)::bigint"
/* SQL: of a backend, in the database that this one is. A pid and a start do not tell: what a dump
 * of assent.session says of them may be true in another database of the same server. */
#define IN_THIS_DATABASE                                                                           \
    "datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
/* SQL: the owner of a row p of pg_prepared_xact(), NULL once he was dropped. The view
 * pg_prepared_xacts would look owner and database up for every row before it finds ours. */
#define PREPARED_OWNER                                                                             \
    "nullif(pg_catalog.pg_get_userbyid(p.ownerid)::pg_catalog.text, 'unknown (OID=' || p.ownerid " \
    "|| ')')"

enum { PG_STATEMENTS_MAX = 32 };

struct pg_set; /* all connections of one loop */
struct pg;

/* Which server process runs our commands: the pid may be given out again, the pair is not. */
struct backend {
    int pid; /* 0: none */
    int64_t start_us;
};

struct pg_statement {
    const char *sql;
    int count; /* of values, which are texts or NULL; they need only live during the call */
    const char *const *values;
    bool keep; /* sql is a literal: parsed once for each connection, known by its address */
    bool more; /* shares the Sync of the next one */
};

/* The answer to one statement. Texts are "" when there are none. */
struct pg_reply {
    bool alive;   /* false: the connection failed with it, or before its Sync was answered */
    bool skipped; /* not run: one before it under the same Sync has failed */
    char tag[64]; /* the command tag: "COMMIT PREPARED", "INSERT 0 1" */
    char sqlstate[SQLSTATE_BYTES];
    char message[REASON_BYTES];
    char detail[REASON_BYTES];
    char hint[REASON_BYTES];
    PGresult *result; /* rows, or NULL; valid during the callback */
};

/* Exactly once for each job, unless the connection is closed by pg_close() before. */
typedef void pg_done_fn(void *arg, const struct pg_reply *replies, int count);
/* One row at a time; result has one row, or none but the columns at the end. */
typedef void pg_row_fn(void *arg, const PGresult *result);
typedef void pg_up_fn(void *arg);
/* It was lost, or could not be made; a job that ran has been answered before. */
typedef void pg_down_fn(void *arg, const char *why);

struct pg_options {
    const char *conninfo;
    const char *startup; /* "-c name=value ...", behind the conninfo's own options; "" for none */
    const struct pg_setting *settings; /* set and compared before up(); NULL: as the role's are */
    bool retry;                        /* connect again for ever, backing off with jitter */
    pg_up_fn *up;
    pg_down_fn *down;
    void *arg;
};

struct pg_set *pg_set_create(struct loop *loop);
/* The process ends: say good-bye on every connection, with no callbacks. */
void pg_set_hang_up(struct pg_set *set);
/* Reconnect what is due, give up what takes too long; and when to call that again. */
void pg_set_tick(struct pg_set *set, uint64_t now_ms);
uint64_t pg_set_wake_ms(const struct pg_set *set);

/* Begins to connect; up() or down() follows from the loop. */
struct pg *pg_open(struct pg_set *set, const struct pg_options *options);
/* Of the connections that it makes from now on. */
void pg_set_conninfo(struct pg *pg, const char *conninfo);
/* No callback comes after it. Allowed in a callback of the same connection. */
void pg_close(struct pg *pg);
/* Drop the connection as if it had been lost, with its callbacks. */
void pg_drop(struct pg *pg, const char *why);

/* It was dropped, since a row was too large; and: it has kept so much for large rows, and does
 * until it is closed, that it is better not used again. */
bool pg_burst(const struct pg *pg);
bool pg_swollen(const struct pg *pg);

bool pg_idle(const struct pg *pg); /* connected and without a job */
bool pg_connected(const struct pg *pg);
/* The present backend, or when there is none the last one. */
struct backend pg_backend(const struct pg *pg);
/* The oid of the database that it is in, or was last; "" before it was ever connected. */
const char *pg_database(const struct pg *pg);
/* PQTRANS_IDLE and so on; read it only when no job runs. */
PGTransactionStatusType pg_transaction(const struct pg *pg);
/* Is the server of this version, as server_version_num says it, or a later one? */
bool pg_server_is(const struct pg *pg, int version_number);
/* What it takes and sends text in is UTF-8, as it was at first: the session may have changed it. */
bool pg_in_utf8(const struct pg *pg);
/* The whole version, "15.6 (Debian ...)" cut at the blank. */
void pg_server_version(const struct pg *pg, char *out, size_t room);
/* A gid or another name as a literal or identifier, quotes included. */
void pg_literal(const struct pg *pg, const char *text, char *out, size_t room);
void pg_identifier(const struct pg *pg, const char *text, char *out, size_t room);

/* Only when idle. More than one statement travel in pipeline mode. */
void pg_run(struct pg *pg, const struct pg_statement *statements, int count, pg_done_fn *done,
            void *arg);
/* The same; the last one's rows are handed over as they come and kept by nobody. One of up to
 * row_most bytes is always taken; with one that is several times larger the connection is dropped.
 */
void pg_run_rows(struct pg *pg, const struct pg_statement *statements, int count, uint32_t row_most,
                 pg_row_fn *row, pg_done_fn *done, void *arg);

int pg_rows(const struct pg_reply *reply);
/* "" for NULL, and for what is not there. */
const char *pg_value(const struct pg_reply *reply, int row, int column);
/* The same as a number, 0 if it is none. */
uint64_t pg_number(const struct pg_reply *reply, int row, int column);

#endif
