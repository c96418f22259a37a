/*
 * lib/tx.c - the X/Open TX interface as a thin layer over libassent.
 *
 * The specification's state table is the one below: a call may be made where a state follows it.
 * All else is a translation of codes.
 */
#include <tx.h>

#include <assent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MS = 3000,         /* for an answer to begin and rollback */
    COMMIT_WAIT_MS = 30000, /* for the outcome of a commit */
    FORMAT_ID = 0x41534E54,
    GTRID_MAX = 64,
};

enum state {
    NOT = 0, /* TX_PROTOCOL_ERROR, and nothing changes */
    S0,      /* closed */
    S1,      /* open, no transaction, unchained */
    S2,      /* open, no transaction, chained */
    S3,      /* in a transaction, unchained */
    S4,      /* in a transaction, chained */
    STATES
};

enum call {
    OPEN,
    CLOSE,
    BEGIN,
    END,          /* commit or rollback */
    END_NO_BEGIN, /* the next one of the chain could not begin */
    ASK,          /* info, and to set what is no part of the state */
    CHAIN,
    UNCHAIN,
    CALLS
};

/* clang-format off */
static const enum state after[CALLS][STATES] = {
    /*                  NOT  S0   S1   S2   S3   S4 */
    [OPEN]           = {NOT, S1,  S1,  S2,  S3,  S4},
    [CLOSE]          = {NOT, S0,  S0,  S0,  NOT, NOT},
    [BEGIN]          = {NOT, NOT, S3,  S4,  NOT, NOT},
    [END]            = {NOT, NOT, NOT, NOT, S1,  S4},
    [END_NO_BEGIN]   = {NOT, NOT, NOT, NOT, NOT, S2},
    [ASK]            = {NOT, NOT, S1,  S2,  S3,  S4},
    [CHAIN]          = {NOT, NOT, S2,  S2,  S4,  S4},
    [UNCHAIN]        = {NOT, NOT, S1,  S1,  S3,  S3},
};
/* clang-format on */

/* The specification's "thread of control" is a thread. */
static _Thread_local struct {
    enum state state; /* 0: S0, and nothing was ever opened */
    struct assent_client *client;
    struct assent *txn;
    COMMIT_RETURN when_return;
    TRANSACTION_TIMEOUT timeout_s;
} tx;

static enum state state_now(void)
{
    return tx.state == NOT ? S0 : tx.state;
}

static bool allowed(enum call call)
{
    return after[call][state_now()] != NOT;
}

static int done(enum call call, int code)
{
    tx.state = after[call][state_now()];
    return code;
}

/* ---- open, close ---- */

int tx_open(void)
{
    char *status;
    if (state_now() != S0)
        return done(OPEN, TX_OK);
    if (assent_open(&tx.client, NULL) != 0)
        return TX_ERROR;
    tx.txn = assent_new(tx.client);
    if (tx.txn == NULL || assent_ask(tx.txn, "{\"op\":\"status\"}", &status, WAIT_MS) != 0) {
        assent_free(tx.txn);
        assent_close(tx.client);
        tx.txn = NULL;
        tx.client = NULL;
        return TX_ERROR;
    }
    free(status);
    tx.when_return = TX_COMMIT_COMPLETED;
    tx.timeout_s = 0;
    return done(OPEN, TX_OK);
}

int tx_close(void)
{
    if (!allowed(CLOSE))
        return TX_PROTOCOL_ERROR;
    assent_free(tx.txn);
    assent_close(tx.client);
    tx.txn = NULL;
    tx.client = NULL;
    return done(CLOSE, TX_OK);
}

/* ---- begin, commit, rollback ---- */

static int begin(void)
{
    const struct assent_options options = {.timeout_ms = (uint32_t)tx.timeout_s * 1000};
    struct assent *txn = assent_new(tx.client);
    if (txn == NULL || assent_begin(txn, &options, WAIT_MS) != 0) {
        assent_free(txn);
        return TX_ERROR;
    }
    assent_free(tx.txn);
    tx.txn = txn;
    return TX_OK;
}

int tx_begin(void)
{
    if (!allowed(BEGIN))
        return TX_PROTOCOL_ERROR;
    int code = begin();
    return code == TX_OK ? done(BEGIN, code) : code;
}

/* A transaction has ended with code; in a chain the next one begins. */
static int end(int code)
{
    if (state_now() != S4 || begin() == TX_OK)
        return done(END, code);
    return done(END_NO_BEGIN, code + TX_NO_BEGIN);
}

static int code_of_outcome(enum assent_outcome outcome)
{
    switch (outcome) {
    case ASSENT_COMMITTED:
        return TX_OK;
    case ASSENT_ROLLED_BACK:
        return TX_ROLLBACK;
    case ASSENT_IS_MIXED:
        return TX_MIXED;
    default:
        return TX_HAZARD;
    }
}

static int rollback(void)
{
    switch (assent_rollback(tx.txn, WAIT_MS)) {
    case ASSENT_OK:
    case ASSENT_ENOTKNOWN: /* a coordinator that was restarted: rolled back */
        return TX_OK;
    case ASSENT_ECOMMITTED:
        return TX_COMMITTED;
    case ASSENT_EMIXED:
        return TX_MIXED;
    default:
        return TX_HAZARD;
    }
}

static int commit(void)
{
    enum assent_outcome outcome = ASSENT_IN_PROGRESS;
    bool decided = tx.when_return == TX_COMMIT_DECISION_LOGGED;
    int rc = assent_commit(tx.txn, decided ? ASSENT_DECIDED : ASSENT_APPLIED, COMMIT_WAIT_MS);
    switch (rc) {
    case ASSENT_OK:
        return TX_OK;
    case ASSENT_EABORTED:
    case ASSENT_ENOTKNOWN:
        return TX_ROLLBACK;
    case ASSENT_EMIXED:
        return TX_MIXED;
    case ASSENT_EUNKNOWN:
        assent_outcome(tx.txn, &outcome, WAIT_MS);
        return code_of_outcome(outcome);
    default: /* it cannot be committed any more */
        rc = rollback();
        return rc == TX_OK ? TX_ROLLBACK : rc;
    }
}

int tx_commit(void)
{
    return allowed(END) ? end(commit()) : TX_PROTOCOL_ERROR;
}

int tx_rollback(void)
{
    return allowed(END) ? end(rollback()) : TX_PROTOCOL_ERROR;
}

/* ---- characteristics ---- */

int tx_set_commit_return(COMMIT_RETURN when_return)
{
    if (!allowed(ASK))
        return TX_PROTOCOL_ERROR;
    if (when_return != TX_COMMIT_COMPLETED && when_return != TX_COMMIT_DECISION_LOGGED)
        return TX_EINVAL;
    tx.when_return = when_return;
    return TX_OK;
}

int tx_set_transaction_control(TRANSACTION_CONTROL control)
{
    if (!allowed(ASK))
        return TX_PROTOCOL_ERROR;
    if (control != TX_CHAINED && control != TX_UNCHAINED)
        return TX_EINVAL;
    return done(control == TX_CHAINED ? CHAIN : UNCHAIN, TX_OK);
}

int tx_set_transaction_timeout(TRANSACTION_TIMEOUT timeout)
{
    if (!allowed(ASK))
        return TX_PROTOCOL_ERROR;
    if (timeout < 0 || timeout > (TRANSACTION_TIMEOUT)(UINT32_MAX / 1000))
        return TX_EINVAL;
    tx.timeout_s = timeout;
    return TX_OK;
}

static bool in_transaction(void)
{
    return state_now() == S3 || state_now() == S4;
}

static void fill_xid(XID *xid)
{
    memset(xid, 0, sizeof *xid);
    xid->formatID = -1;
    if (!in_transaction())
        return;
    const char *gtrid = assent_gtrid(tx.txn);
    xid->formatID = FORMAT_ID;
    xid->gtrid_length = (long)strnlen(gtrid, GTRID_MAX);
    memcpy(xid->data, gtrid, (size_t)xid->gtrid_length);
}

/* What the coordinator has rolled back on its own is so because time was up, or an agent was lost;
 * it is the application's until it says so itself. */
static TRANSACTION_STATE transaction_state(void)
{
    enum assent_outcome outcome = ASSENT_IN_PROGRESS;
    if (!in_transaction() || assent_outcome(tx.txn, &outcome, WAIT_MS) != 0)
        return TX_ACTIVE;
    return outcome == ASSENT_ROLLED_BACK ? TX_TIMEOUT_ROLLBACK_ONLY : TX_ACTIVE;
}

int tx_info(TXINFO *info)
{
    if (!allowed(ASK))
        return TX_PROTOCOL_ERROR;
    if (info != NULL) {
        bool chained = state_now() == S2 || state_now() == S4;
        fill_xid(&info->xid);
        info->when_return = tx.when_return;
        info->transaction_control = chained ? TX_CHAINED : TX_UNCHAINED;
        info->transaction_timeout = tx.timeout_s;
        info->transaction_state = transaction_state();
    }
    return in_transaction();
}

struct assent *tx_assent(void)
{
    return in_transaction() ? tx.txn : NULL;
}
