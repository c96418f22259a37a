/*
 * transfer-tx.c - moves money between two PostgreSQL databases, by the X/Open TX interface.
 *
 *     cc transfer-tx.c $(pkg-config --cflags --libs assent-tx) -o transfer-tx
 *     ASSENT_URL=ipc:///run/assent/bank.sock ./transfer-tx 30
 */
#include <assent.h>
#include <stdio.h>
#include <tx.h>

static int transfer(const char *amount)
{
    const char *const params[] = {amount};
    struct assent *txn = tx_assent();
    int rc = assent_exec(txn, "accounts", "update account set balance = balance - $1 where id = 1",
                         1, params, NULL, 0);
    if (rc == 0)
        rc = assent_exec(txn, "ledger", "update account set balance = balance + $1 where id = 1", 1,
                         params, NULL, 0);
    return rc;
}

int main(int argc, char **argv)
{
    TXINFO info;
    if (argc < 2 || tx_open() != TX_OK) {
        fputs("usage: ASSENT_URL=... transfer-tx AMOUNT\n", stderr);
        return 2;
    }
    if (tx_begin() != TX_OK) {
        fputs("no transaction could be begun\n", stderr);
        return 2;
    }
    tx_info(&info);
    int code = transfer(argv[1]) == 0 ? tx_commit() : (tx_rollback(), TX_ROLLBACK);
    switch (code) {
    case TX_OK:
        puts("committed");
        break;
    case TX_ROLLBACK:
        fputs("rolled back\n", stderr);
        break;
    default:
        /* It has committed or it has not. To run it again now could do it twice. */
        fprintf(stderr, "not known yet: ask `assentctl outcome %.*s`\n", (int)info.xid.gtrid_length,
                info.xid.data);
    }
    tx_close();
    return code == TX_OK ? 0 : 1;
}
