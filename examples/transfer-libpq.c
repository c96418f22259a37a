/*
 * transfer-libpq.c - moves money between two PostgreSQL databases on connections of its own.
 *
 *     cc transfer-libpq.c $(pkg-config --cflags --libs assent-pq) -o transfer-libpq
 *     ASSENT_URL=ipc:///run/assent/bank.sock ACCOUNTS=dbname=accounts LEDGER=dbname=ledger \
 *         ./transfer-libpq 30 payment-4711
 *
 * The second argument is the name of this payment: run again with it, after whatever crash, the
 * money moves once.
 */
#include <assent_pq.h>
#include <stdio.h>
#include <stdlib.h>

/* Between BEGIN and PREPARE TRANSACTION, on both connections. It may be run more than once. */
static int transfer(struct assent *txn, struct assent_pq *members, void *arg)
{
    static const char *const statements[] = {
        "update account set balance = balance - $1 where id = 1",
        "update account set balance = balance + $1 where id = 1",
    };
    const char *const params[] = {arg};
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        PGresult *result =
            PQexecParams(members[i].conn, statements[i], 1, NULL, params, NULL, NULL, 0);
        rc = assent_pq_check(txn, &members[i], result);
        PQclear(result);
    }
    return rc;
}

static PGconn *connect_to(const char *variable)
{
    PGconn *conn = PQconnectdb(getenv(variable) != NULL ? getenv(variable) : "");
    if (PQstatus(conn) != CONNECTION_OK) {
        fprintf(stderr, "%s: %s", variable, PQerrorMessage(conn));
        exit(2);
    }
    return conn;
}

int main(int argc, char **argv)
{
    struct assent_client *client;
    if (argc != 3 || assent_open(&client, NULL) != 0) {
        fputs("usage: ASSENT_URL=... ACCOUNTS=... LEDGER=... transfer-libpq AMOUNT PAYMENT\n",
              stderr);
        return 2;
    }
    struct assent_pq members[] = {{.conn = connect_to("ACCOUNTS"), .rm = "accounts"},
                                  {.conn = connect_to("LEDGER"), .rm = "ledger"}};
    struct assent *txn = assent_new(client);
    const struct assent_options options = {.label = "transfer", .key = argv[2]};
    int rc = assent_pq_run(txn, &options, members, 2, transfer, argv[1], 20000);
    /* No answer in time, or an earlier run of ours did it: ask until the answer is final. To run it
     * again now could do it twice; to ask never harms. */
    while (rc == ASSENT_EUNKNOWN || rc == ASSENT_EKEY) {
        fprintf(stderr, "%s: asking for the outcome\n", assent_strerror(rc));
        rc = assent_settle(txn, 10000);
    }

    if (rc == 0)
        puts("committed");
    else
        fprintf(stderr, "rolled back: %s: %s\n", assent_strerror(rc), assent_reason(txn)->message);
    for (int i = 0; i < 2; i++)
        PQfinish(members[i].conn);
    assent_free(txn);
    assent_close(client);
    return rc == 0 ? 0 : 1;
}
