/*
 * lib/pq.c - transactions over several databases on libpq connections of the application's own.
 *
 * Nothing here decides anything: a branch that was prepared and is not committed, whatever became
 * of us, is rolled back by the coordinator. So after a failure it is enough to bring our own
 * connections out of their transactions.
 *
 * Each step is sent to all connections before the first answer is read: they work side by side, and
 * a transaction waits for the slowest, not for the sum.
 */
#include <assent_pq.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIMEOUT_DEFAULT_MS = 10000, LEAVE_MS = 2000, STATEMENT_BYTES = ASSENT_GID_BYTES + 32 };

static const char connection_failure[] = "08006";

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t deadline_of(uint32_t timeout_ms)
{
    return now_ms() + (timeout_ms != 0 ? timeout_ms : TIMEOUT_DEFAULT_MS);
}

static uint32_t left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - now_ms();
    return left > 0 ? (uint32_t)left : 1;
}

/* ---- why ---- */

static int connection_failed(struct assent *txn, const struct assent_pq *member)
{
    return assent_sql_failed(txn, member->rm, connection_failure, PQerrorMessage(member->conn));
}

int assent_pq_check(struct assent *txn, const struct assent_pq *member, const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (result == NULL)
        return connection_failed(txn, member);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY)
        return 0;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    return assent_sql_failed(txn, member->rm, sqlstate != NULL ? sqlstate : connection_failure,
                             message != NULL ? message : PQresultErrorMessage(result));
}

/* ---- one statement on all connections ---- */

/* What is asked of a connection, and the tag that says that it was done. */
struct step {
    const char *(*statement)(const struct assent_pq *member, char room[STATEMENT_BYTES]);
    const char *tag;
};

/* The next result within the deadline; *late when there is none yet. */
static PGresult *next_result(PGconn *conn, int64_t deadline_ms, bool *late)
{
    *late = false;
    while (PQisBusy(conn)) {
        int64_t left = deadline_ms - now_ms();
        struct pollfd poll_fd = {.fd = PQsocket(conn), .events = POLLIN};
        if (left <= 0) {
            *late = true;
            return NULL;
        }
        poll(&poll_fd, 1, (int)left);
        if (PQconsumeInput(conn) == 0)
            return NULL;
    }
    return PQgetResult(conn);
}

/* PREPARE in a transaction that has failed succeeds, and says ROLLBACK. */
static int check_done(struct assent *txn, const struct assent_pq *member, const PGresult *result,
                      const char *tag)
{
    int rc = assent_pq_check(txn, member, result);
    if (rc == 0 && strcmp(PQcmdStatus((PGresult *)result), tag) != 0)
        rc = assent_sql_failed(txn, member->rm, "25P02",
                               "a statement of the transaction has failed: it was rolled back");
    return rc;
}

static int finish_step(struct assent *txn, const struct assent_pq *member, const char *tag,
                       int64_t deadline_ms)
{
    bool late;
    PGresult *result = next_result(member->conn, deadline_ms, &late);
    if (late) {
        assent_sql_failed(txn, member->rm, "57014", "no answer from the database in time");
        return ASSENT_ETIMEOUT;
    }
    int rc = check_done(txn, member, result, tag);
    while (result != NULL && !late) {
        PQclear(result);
        result = next_result(member->conn, deadline_ms, &late);
    }
    return rc;
}

/* Returns the first failure; what the others still answer is left to assent_pq_leave(). */
static int step_all(struct assent *txn, struct assent_pq *members, int count,
                    const struct step *step, int64_t deadline_ms)
{
    char room[STATEMENT_BYTES];
    int rc = 0, sent = 0;
    for (; sent < count && rc == 0; sent++)
        if (PQsendQuery(members[sent].conn, step->statement(&members[sent], room)) == 0)
            rc = connection_failed(txn, &members[sent]);
    for (int i = 0; i < sent && rc == 0; i++)
        rc = finish_step(txn, &members[i], step->tag, deadline_ms);
    return rc;
}

/* ---- begin ---- */

static const char *begin_statement(const struct assent_pq *member, char room[STATEMENT_BYTES])
{
    (void)room;
    return member->begin != NULL ? member->begin : "BEGIN";
}

/* It becomes a part of a statement, and it came from outside. */
static bool gid_is_good(const char *gid)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789+/=_";
    size_t length = strlen(gid);
    return length > 0 && length < ASSENT_GID_BYTES && strspn(gid, letters) == length;
}

static int enlist(struct assent *txn, struct assent_pq *member, int64_t deadline_ms)
{
    struct assent_branch branch;
    if (PQstatus(member->conn) == CONNECTION_BAD)
        PQreset(member->conn);
    if (PQstatus(member->conn) == CONNECTION_BAD)
        return connection_failed(txn, member);
    if (PQtransactionStatus(member->conn) != PQTRANS_IDLE) {
        assent_sql_failed(txn, member->rm, "25001", "the connection is inside a transaction");
        return ASSENT_EUSAGE;
    }
    int rc = assent_enlist(txn, member->rm, NULL, &branch, left_ms(deadline_ms));
    if (rc != 0)
        return rc;
    if (!gid_is_good(branch.gid)) {
        assent_sql_failed(txn, member->rm, "", "the coordinator's gid is none");
        return ASSENT_EREFUSED;
    }
    strcpy(member->gid, branch.gid);
    return 0;
}

int assent_pq_begin(struct assent *txn, struct assent_pq *members, int count, uint32_t timeout_ms)
{
    static const struct step begin = {begin_statement, "BEGIN"};
    int64_t deadline_ms = deadline_of(timeout_ms);
    int rc = 0;
    for (int i = 0; i < count && rc == 0; i++)
        rc = enlist(txn, &members[i], deadline_ms);
    if (rc != 0)
        return rc;
    rc = step_all(txn, members, count, &begin, deadline_ms);
    if (rc != 0)
        assent_pq_leave(members, count);
    return rc;
}

/* ---- prepare ---- */

static const char *prepare_statement(const struct assent_pq *member, char room[STATEMENT_BYTES])
{
    snprintf(room, STATEMENT_BYTES, "PREPARE TRANSACTION '%s'", member->gid);
    return room;
}

int assent_pq_prepare(struct assent *txn, struct assent_pq *members, int count, uint32_t timeout_ms)
{
    static const struct step prepare = {prepare_statement, "PREPARE TRANSACTION"};
    int rc = step_all(txn, members, count, &prepare, deadline_of(timeout_ms));
    if (rc != 0)
        assent_pq_leave(members, count);
    return rc;
}

/* ---- leave ---- */

static void cancel(PGconn *conn)
{
    char words[256];
    PGcancel *request = PQgetCancel(conn);
    if (request == NULL)
        return;
    PQcancel(request, words, sizeof words);
    PQfreeCancel(request);
}

/* Reads all that is still to come. False: not in time. */
static bool drain(PGconn *conn, int64_t deadline_ms)
{
    bool late;
    for (PGresult *result; (result = next_result(conn, deadline_ms, &late)) != NULL;)
        PQclear(result);
    return !late;
}

static void leave(PGconn *conn)
{
    int64_t deadline_ms = now_ms() + LEAVE_MS;
    if (PQtransactionStatus(conn) == PQTRANS_ACTIVE) {
        cancel(conn);
        if (!drain(conn, deadline_ms)) {
            /* The server ends its transaction when it notices. */
            PQreset(conn);
            return;
        }
    }
    PGTransactionStatusType status = PQtransactionStatus(conn);
    if ((status == PQTRANS_INTRANS || status == PQTRANS_INERROR) &&
        PQsendQuery(conn, "ROLLBACK") != 0 && !drain(conn, deadline_ms))
        PQreset(conn);
}

void assent_pq_leave(struct assent_pq *members, int count)
{
    for (int i = 0; i < count; i++)
        leave(members[i].conn);
}

/* ---- all of it ---- */

struct run {
    struct assent_pq *members;
    int count;
    assent_pq_block *block;
    void *arg;
    int64_t deadline_ms;
};

static int run_block(struct assent *txn, void *arg)
{
    const struct run *run = arg;
    int rc = assent_pq_begin(txn, run->members, run->count, left_ms(run->deadline_ms));
    if (rc != 0)
        return rc;
    rc = run->block(txn, run->members, run->arg);
    if (rc != 0)
        assent_pq_leave(run->members, run->count);
    else
        rc = assent_pq_prepare(txn, run->members, run->count, left_ms(run->deadline_ms));
    return rc;
}

int assent_pq_run(struct assent *txn, const struct assent_options *options,
                  struct assent_pq *members, int count, assent_pq_block *block, void *arg,
                  uint32_t timeout_ms)
{
    struct run run = {members, count, block, arg, deadline_of(timeout_ms)};
    return assent_run(txn, options, run_block, &run, left_ms(run.deadline_ms));
}
