/*
 * assent.h - transactions over several PostgreSQL databases, from C.
 *
 *     struct assent_client *client;
 *     assent_open(&client, NULL);                    (ASSENT_URL says where assentd listens)
 *     struct assent *txn = assent_new(client);
 *
 *     int rc = assent_begin(txn, NULL, 0);
 *     if (rc == 0)
 *         rc = assent_exec(txn, "accounts", "update account set balance = balance - 30", 0, NULL,
 *                          NULL, 0);
 *     if (rc == 0)
 *         rc = assent_exec(txn, "ledger", "update account set balance = balance + 30", 0, NULL,
 *                          NULL, 0);
 *     rc = rc == 0 ? assent_commit(txn, ASSENT_APPLIED, 0) : assent_rollback(txn, 0);
 *
 * Every function that asks somebody returns 0 or a negative code below; assent_reason() then has
 * the story. The last parameter is how long to wait at most, in milliseconds; 0 is 10 seconds.
 * Until then a lost connection is dialled again, at the next address if there are several, and the
 * request is sent again: each of them can be heard twice and is carried out once.
 *
 * A client may be used by all threads at once. A transaction belongs to one thread at a time. What
 * a transaction hands out (texts, branches, reasons) is valid until the next call on it; results
 * and lists are the caller's. No function changes a global variable, a signal's handling or the
 * locale. After a fork() only one of the two processes may go on with a client.
 */
#ifndef ASSENT_H
#define ASSENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- what a function returns ---- */

enum {
    ASSENT_OK = 0,
    ASSENT_EABORTED = -1,      /* rolled back everywhere: nothing has happened */
    ASSENT_EUNKNOWN = -2,      /* the outcome is not known yet: ask assent_outcome() */
    ASSENT_EUSAGE = -3,        /* this cannot be asked for now, or not in this way */
    ASSENT_EREFUSED = -4,      /* answered with an error; assent_reason()->code is its word */
    ASSENT_ESQL = -5,          /* PostgreSQL refused the statement; the reason has its SQLSTATE */
    ASSENT_EKEY = -6,          /* the key names a transaction that is live or has committed */
    ASSENT_ENOTKNOWN = -7,     /* the coordinator knows no such transaction */
    ASSENT_EMIXED = -8,        /* committed here and rolled back there, by a DBA's hand */
    ASSENT_ECOMMITTED = -9,    /* too late to roll back: it has committed */
    ASSENT_EUNREACHABLE = -10, /* nobody could be reached in time; nothing was asked */
    ASSENT_ETIMEOUT = -11,     /* no answer in time */
    ASSENT_ENOMEM = -12,
    ASSENT_EAGAIN = -13, /* a non-blocking transaction is at work: see assent_complete() */
};

/* What a code means, in a few words. Never NULL. */
const char *assent_strerror(int code);

/* Why the last call on a transaction did not return 0. Texts are "" when there is nothing to say.
 */
struct assent_reason {
    const char *code;     /* a word of Assent's table of errors, such as "rm_unavailable" */
    const char *rm;       /* the database that refused */
    const char *sqlstate; /* PostgreSQL's code for why */
    const char *message;
    const char *detail;
    const char *hint;
    bool retryable; /* nothing was done: the whole transaction, run again, may well succeed */
};

/* ---- coordinators ---- */

struct assent_client;

/*
 * Say where the coordinator is; connections are made when they are needed, and kept.
 *
 * urls is a comma-separated list, asked in turn until one answers: ipc:///run/assent/bank.sock or
 * tcp://127.0.0.1:7411. NULL takes the environment's ASSENT_URL. Host names are looked up whenever
 * a connection is made, which may block; addresses never do.
 *
 * Returns 0, ASSENT_EUSAGE (no URL, or one that cannot be read) or ASSENT_ENOMEM. The caller ends
 * *out with assent_close().
 */
int assent_open(struct assent_client **out, const char *urls);

/* End all its transactions (assent_free()) first. NULL is allowed. */
void assent_close(struct assent_client *client);

/* ---- the life of a transaction ---- */

struct assent;

/* Room for one transaction, and no more: nobody is asked. NULL when there is no memory. The caller
 * ends it with assent_free(). */
struct assent *assent_new(struct assent_client *client);

/* Asks nobody and waits for nobody: a transaction that has not ended is rolled back when its time
 * has passed. NULL is allowed. */
void assent_free(struct assent *txn);

struct assent_options {
    uint32_t timeout_ms;  /* rolled back when it has not been committed by then; 0: as configured */
    const char *label;    /* for people: what it is for; the program's name is told in any case */
    const char *key;      /* the application's own name for what is done here; NULL: none */
    const char *protocol; /* "3pc": the agents finish it alone if the coordinator is gone; NULL, or
                             "2pc": it waits for the coordinator, and costs less */
};

/*
 * Begin a global transaction. options may be NULL.
 *
 * With a key this is done exactly once, even over a crash of the application: the outcome is kept
 * under the key, and beginning again with a key that is live or has committed returns ASSENT_EKEY,
 * with that transaction in assent_gtrid(), to be asked for with assent_outcome().
 *
 * Returns 0, ASSENT_EKEY, ASSENT_EREFUSED, ASSENT_EUNREACHABLE, ASSENT_ETIMEOUT (call it again: it
 * is begun once, whichever is heard first), or ASSENT_EUSAGE for a txn that has begun already.
 */
int assent_begin(struct assent *txn, const struct assent_options *options, uint32_t timeout_ms);

/* Go on with a transaction that was begun elsewhere, by its name. Asks nobody. Returns 0,
 * ASSENT_EUSAGE or ASSENT_ENOMEM. */
int assent_attach(struct assent *txn, const char *gtrid);

/* "bank.3.2049", or "" before it has begun. */
const char *assent_gtrid(const struct assent *txn);

struct assent_enlistment {
    const char *branch;    /* a further branch on the same database; NULL: the only one */
    const char *role;      /* a section [exec ROLE] of the agent; NULL: the only one */
    const char *isolation; /* "serializable", ...; NULL: the database's default */
    bool read_only;
};

struct assent_branch {
    const char *gid;           /* for PREPARE TRANSACTION on a connection of your own */
    int32_t format_id;         /* the same as an XA xid */
    const char *gtrid, *bqual; /* of the xid */
};

/*
 * Take a database into the transaction, by its name in the coordinator's configuration.
 *
 * Needed for work on a connection of your own, which is prepared under *out (NULL when you do not
 * want to know); assent_exec() enlists by itself. The same again answers the same branch.
 *
 * Returns 0, ASSENT_EREFUSED, ASSENT_ENOTKNOWN, ASSENT_EUNREACHABLE, ASSENT_ETIMEOUT or
 * ASSENT_EUSAGE.
 */
int assent_enlist(struct assent *txn, const char *rm, const struct assent_enlistment *how,
                  struct assent_branch *out, uint32_t timeout_ms);

/*
 * Run one statement in a database, through its agent: "ledger", or "ledger/BRANCH" for a further
 * branch. params are count texts for $1, $2, ...; a NULL among them is SQL's null.
 *
 * *out, if out is not NULL, are the rows; the caller ends them with assent_result_free().
 *
 * Returns 0, ASSENT_ESQL, or as assent_enlist(). After ASSENT_ESQL the transaction can only be
 * rolled back, or back to a savepoint, as in PostgreSQL itself; after ASSENT_ETIMEOUT and
 * ASSENT_EUNREACHABLE, only rolled back.
 */
struct assent_result;
int assent_exec(struct assent *txn, const char *rm, const char *sql, int count,
                const char *const *params, struct assent_result **out, uint32_t timeout_ms);

enum assent_wait { ASSENT_APPLIED = 0, ASSENT_DECIDED };

/*
 * Commit all the work done under this transaction, on every database or none.
 *
 * Waits until every database has applied it; with ASSENT_DECIDED only for the decision, which
 * databases may still be applying. When time runs out after the decision this returns 0 all the
 * same, and assent_applied() is false.
 *
 * Returns 0, or
 *   ASSENT_EABORTED  undone everywhere; assent_reason(txn) says who refused and why
 *   ASSENT_EUNKNOWN  no answer in time, the outcome is one or the other: ask again with
 *                    assent_outcome(), which is safe to repeat for ever
 *   ASSENT_EMIXED    a DBA has finished a branch the other way
 *   ASSENT_EREFUSED  not even tried; see the reason
 *   ASSENT_EUSAGE    it has not begun, or has already ended, or a statement has failed
 */
int assent_commit(struct assent *txn, enum assent_wait wait, uint32_t timeout_ms);

/* After a commit that returned 0: has every database applied it? */
bool assent_applied(const struct assent *txn);

/*
 * Undo all the work done under this transaction.
 *
 * Returns 0, ASSENT_ECOMMITTED when it had been committed before, ASSENT_EUNKNOWN without an answer
 * in time (its work is then undone when its time has passed, unless a commit was asked for), or
 * ASSENT_EMIXED. A transaction that has not begun, or was rolled back, returns 0.
 */
int assent_rollback(struct assent *txn, uint32_t timeout_ms);

enum assent_outcome {
    ASSENT_IN_PROGRESS = 0,
    ASSENT_COMMITTED,
    ASSENT_ROLLED_BACK,
    ASSENT_IS_MIXED,
    ASSENT_FORGOTTEN, /* it ended too long ago to be remembered */
};

/*
 * What has become of this transaction? Safe to ask at any time, and for ever.
 *
 * Returns 0 with *out, ASSENT_ENOTKNOWN (it never began here), ASSENT_EUNREACHABLE,
 * ASSENT_ETIMEOUT, ASSENT_EREFUSED or ASSENT_EUSAGE.
 */
int assent_outcome(struct assent *txn, enum assent_outcome *out, uint32_t timeout_ms);

/*
 * The same, asked until it is final: 0 when it has committed, ASSENT_EABORTED, ASSENT_EMIXED,
 * ASSENT_ENOTKNOWN (or it ended too long ago), ASSENT_EUSAGE; ASSENT_EUNKNOWN when time is up, and
 * then it is called again. Blocks in any case.
 */
int assent_settle(struct assent *txn, uint32_t timeout_ms);

/*
 * The same of a transaction that was begun under this key, on a txn of assent_new(): what an
 * application asks after a crash of its own.
 *
 * ASSENT_ENOTKNOWN means that nothing was committed under this key as far as the coordinator
 * remembers, and nothing is under way: it may be run again, under the same key.
 */
int assent_outcome_of_key(struct assent *txn, const char *key, enum assent_outcome *out,
                          uint32_t timeout_ms);

/* Never NULL. */
const struct assent_reason *assent_reason(const struct assent *txn);

/*
 * Say that a database refused something that was asked of it without libassent, on a connection of
 * the application's own: the reason then has it, and assent_run() knows from the SQLSTATE whether
 * to run the block again. Returns ASSENT_ESQL.
 */
int assent_sql_failed(struct assent *txn, const char *rm, const char *sqlstate,
                      const char *message);

/* ---- the rows of a statement ---- */

int assent_rows(const struct assent_result *result);
int assent_columns(const struct assent_result *result);
/* NULL beyond the last column. */
const char *assent_column_name(const struct assent_result *result, int column);
/* A value as PostgreSQL writes it; NULL for a null, and beyond the last row or column. */
const char *assent_value(const struct assent_result *result, int row, int column);
/* "UPDATE 1" */
const char *assent_command(const struct assent_result *result);
void assent_result_free(struct assent_result *result);

/* ---- run again ---- */

/* Does the work of one transaction on txn, which has begun. Returns 0 to have it committed; a code
 * of Assent's that it was returned, or any number above 0, to have it rolled back. */
typedef int assent_block(struct assent *txn, void *arg);

/*
 * Begin, run the block, commit; and all of that again, a little later each time, as long as it
 * fails for a passing reason (a serialization failure, a database that is restarted) and there is
 * time. The block is run again only when nothing of the last run can have been committed, so it
 * must have no effect outside the transaction.
 *
 * txn is one of assent_new(), and shows the last run afterwards. Returns what assent_commit() does,
 * never before the outcome is known or time is up; the block's own number when that was above 0.
 * timeout_ms is for all of it.
 */
int assent_run(struct assent *txn, const struct assent_options *options, assent_block *block,
               void *arg, uint32_t timeout_ms);

/* ---- lists, and whatever else a coordinator can be asked ---- */

struct assent_listed {
    const char *gtrid;
    const char *state; /* "active", "committing", ... */
    const char *label;
    const char *key;
    uint64_t age_ms;
};

struct assent_list {
    size_t count;
    const struct assent_listed *items;
};

/* The transactions that are not over, or those in one state. txn may be any, it lends its
 * connection; end *out with assent_list_free(). Returns as assent_outcome(). */
int assent_list(struct assent *txn, const char *state, struct assent_list **out,
                uint32_t timeout_ms);
void assent_list_free(struct assent_list *list);

/* Any request of the socket API as JSON, {"op":"agents"}, and its reply as JSON, with the caller to
 * free() it. A reply that is an error is a reply here. txn as in assent_list(). */
int assent_ask(struct assent *txn, const char *request, char **reply, uint32_t timeout_ms);

/* ---- without blocking ---- */

/*
 * From now on the calls on this transaction return ASSENT_EAGAIN instead of waiting. Go on with
 * assent_complete() whenever assent_fd() is ready for assent_events() (of poll()), or
 * assent_wait_ms() have passed: it returns ASSENT_EAGAIN until it returns what the call would have.
 * What the call was given for its results must stay in place until then; its texts need not. Ask
 * for descriptor, events and time again before each wait: they change.
 *
 *     int rc = assent_commit(txn, ASSENT_APPLIED, 5000);
 *     while (rc == ASSENT_EAGAIN) {
 *         struct pollfd poll_fd = {.fd = assent_fd(txn), .events = assent_events(txn)};
 *         poll(&poll_fd, 1, assent_wait_ms(txn));
 *         rc = assent_complete(txn);
 *     }
 *
 * Until it is complete, any other call on the transaction but assent_free() is ASSENT_EUSAGE.
 * assent_run() and assent_settle() block in any case.
 */
void assent_set_nonblocking(struct assent *txn, bool nonblocking);
int assent_complete(struct assent *txn);
/* -1: there is nothing to wait for but time (poll() leaves it alone). */
int assent_fd(const struct assent *txn);
short assent_events(const struct assent *txn);
/* At most so long; 0: at once. */
int assent_wait_ms(const struct assent *txn);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
