/*
 * tx.h - the X/Open TX interface (CAE specification C504), on Assent.
 *
 * For programs that were written for another transaction manager. Each thread has a state of its
 * own; ASSENT_URL says where assentd listens. The databases' work is done through tx_assent(), by
 * assent_exec() or <assent_pq.h>.
 */
#ifndef TX_H
#define TX_H

#define TX_H_VERSION 0

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- a transaction's name, as in XA ---- */

#ifndef XIDDATASIZE
#define XIDDATASIZE 128
struct xid_t {
    long formatID; /* -1: there is none */
    long gtrid_length;
    long bqual_length;
    char data[XIDDATASIZE];
};
typedef struct xid_t XID;
#endif

/* ---- characteristics ---- */

typedef long COMMIT_RETURN;
#define TX_COMMIT_COMPLETED       0 /* tx_commit() returns when all is applied */
#define TX_COMMIT_DECISION_LOGGED 1 /* ... when it is decided, and on disk */

typedef long TRANSACTION_CONTROL;
#define TX_UNCHAINED 0
#define TX_CHAINED   1 /* one transaction's end is the next one's begin */

typedef long TRANSACTION_TIMEOUT; /* seconds; 0: as the coordinator is configured */

typedef long TRANSACTION_STATE;
#define TX_ACTIVE                0
#define TX_TIMEOUT_ROLLBACK_ONLY 1
#define TX_ROLLBACK_ONLY         2

struct tx_info_t {
    XID xid;
    COMMIT_RETURN when_return;
    TRANSACTION_CONTROL transaction_control;
    TRANSACTION_TIMEOUT transaction_timeout;
    TRANSACTION_STATE transaction_state;
};
typedef struct tx_info_t TXINFO;

/* ---- functions ---- */

extern int tx_begin(void);
extern int tx_close(void);
/* TX_HAZARD: no answer, and the outcome is one or the other; `assentctl outcome` tells it later. */
extern int tx_commit(void);
/* 1 inside a transaction, 0 outside, or an error. info may be NULL. */
extern int tx_info(TXINFO *info);
extern int tx_open(void);
extern int tx_rollback(void);
extern int tx_set_commit_return(COMMIT_RETURN when_return);
extern int tx_set_transaction_control(TRANSACTION_CONTROL control);
extern int tx_set_transaction_timeout(TRANSACTION_TIMEOUT timeout);

/* Assent's own: this thread's transaction, NULL outside of one. */
struct assent;
extern struct assent *tx_assent(void);

/* ---- what they return ---- */

#define TX_NOT_SUPPORTED  1
#define TX_OK             0
#define TX_OUTSIDE        (-1) /* inside a transaction of a resource manager's own */
#define TX_ROLLBACK       (-2) /* rolled back */
#define TX_MIXED          (-3) /* partly committed, partly rolled back */
#define TX_HAZARD         (-4) /* perhaps so; or no answer yet */
#define TX_PROTOCOL_ERROR (-5) /* called out of order */
#define TX_ERROR          (-6) /* a passing fault */
#define TX_FAIL           (-7) /* a lasting one */
#define TX_EINVAL         (-8)
#define TX_COMMITTED      (-9) /* committed, against the wish */

#define TX_NO_BEGIN           (-100) /* committed; the next one of the chain could not begin */
#define TX_ROLLBACK_NO_BEGIN  (TX_ROLLBACK + TX_NO_BEGIN)
#define TX_MIXED_NO_BEGIN     (TX_MIXED + TX_NO_BEGIN)
#define TX_HAZARD_NO_BEGIN    (TX_HAZARD + TX_NO_BEGIN)
#define TX_COMMITTED_NO_BEGIN (TX_COMMITTED + TX_NO_BEGIN)

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
