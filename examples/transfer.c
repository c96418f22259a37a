/*
 * transfer.c - moves money between two PostgreSQL databases: in both or in neither.
 *
 *     cc transfer.c $(pkg-config --cflags --libs assent) -o transfer
 *     ASSENT_URL=ipc:///run/assent/bank.sock ./transfer 30 payment-4711
 *
 * The SQL runs through Assent's agents: this program has no connection to a database. The second
 * argument is the name of this payment: run again with it, after whatever crash, the money moves
 * once.
 */
#include <assent.h>
#include <stdio.h>

/* One transaction's work. It may be run more than once, and is committed once. */
static int transfer(struct assent *txn, void *arg)
{
    const char *const params[] = {arg};
    int rc = assent_exec(txn, "accounts", "update account set balance = balance - $1 where id = 1",
                         1, params, NULL, 0);
    if (rc == 0)
        rc = assent_exec(txn, "ledger", "update account set balance = balance + $1 where id = 1", 1,
                         params, NULL, 0);
    return rc;
}

int main(int argc, char **argv)
{
    struct assent_client *client;
    if (argc != 3 || assent_open(&client, NULL) != 0) {
        fputs("usage: ASSENT_URL=... transfer AMOUNT PAYMENT\n", stderr);
        return 2;
    }
    struct assent *txn = assent_new(client);
    const struct assent_options options = {.label = "transfer", .key = argv[2]};
    int rc = assent_run(txn, &options, transfer, argv[1], 20000);
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
    assent_free(txn);
    assent_close(client);
    return rc == 0 ? 0 : 1;
}
