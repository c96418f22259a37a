/*
 * assent_pq.h - transactions over several databases on libpq connections of your own.
 *
 *     struct assent_pq members[] = {{.conn = accounts, .rm = "accounts"},
 *                                   {.conn = ledger, .rm = "ledger"}};
 *     rc = assent_pq_run(txn, NULL, members, 2, transfer, NULL, 0);
 *
 * runs transfer() between BEGIN and PREPARE TRANSACTION on both, and commits. Whatever fails, the
 * connections are afterwards outside a transaction and fit for the next one; one that could not be
 * brought there is made again (PQreset()).
 *
 * Connections are in blocking mode, not in pipeline mode, and this thread's alone meanwhile. The
 * functions return what assent.h says, with the story in assent_reason().
 */
#ifndef ASSENT_PQ_H
#define ASSENT_PQ_H

#include <assent.h>
#include <libpq-fe.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum { ASSENT_GID_BYTES = 201 };

/* One database. The caller fills the first three. */
struct assent_pq {
    PGconn *conn;
    const char *rm;    /* its name in the coordinator's configuration */
    const char *begin; /* "BEGIN ISOLATION LEVEL SERIALIZABLE", ...; NULL: "BEGIN" */
    char gid[ASSENT_GID_BYTES];
};

/*
 * Take the databases into txn, which has begun, and BEGIN on each connection, on all at once.
 *
 * Returns 0; ASSENT_EUSAGE when a connection is inside a transaction already; ASSENT_ESQL when one
 * could not begin; or as assent_enlist().
 */
int assent_pq_begin(struct assent *txn, struct assent_pq *members, int count, uint32_t timeout_ms);

/*
 * PREPARE TRANSACTION on each connection, on all at once. From then on the branches are the
 * databases' and the connections are free; assent_commit() or assent_rollback() ends them.
 *
 * Returns 0 or, with nothing committed and the connections cleaned up, ASSENT_ESQL or
 * ASSENT_ETIMEOUT: call assent_rollback().
 */
int assent_pq_prepare(struct assent *txn, struct assent_pq *members, int count,
                      uint32_t timeout_ms);

/* Leave whatever transaction the connections are inside of, after a failure. */
void assent_pq_leave(struct assent_pq *members, int count);

/* Is this what was wanted of a statement? Returns 0, or ASSENT_ESQL with the reason set. NULL is a
 * failure of the connection. */
int assent_pq_check(struct assent *txn, const struct assent_pq *member, const PGresult *result);

/* As assent_block, with the connections. */
typedef int assent_pq_block(struct assent *txn, struct assent_pq *members, void *arg);

/* assent_run() with the three above around the block. */
int assent_pq_run(struct assent *txn, const struct assent_options *options,
                  struct assent_pq *members, int count, assent_pq_block *block, void *arg,
                  uint32_t timeout_ms);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
