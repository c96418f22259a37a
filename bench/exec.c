/*
 * bench/exec.c - the work through the agents: begin, one exec a database, commit.
 */
#include <inttypes.h>
#include <stdio.h>

#include "bench/bench.h"

static void committed(struct client *client)
{
    client_done(client, 1);
}

static void executed(struct client *client, uint32_t which, const cJSON *reply)
{
    (void)which;
    (void)reply;
    if (--client->waiting == 0)
        ask_commit(client, committed);
}

static void begun(struct client *client)
{
    struct bench *bench = client->bench;
    char text[1024];
    uint64_t row = client->number * ROWS_A_CLIENT + client->transactions % ROWS_A_CLIENT + 1;
    client->waiting = bench->figures->databases;
    for (uint32_t i = 0; i < bench->figures->databases; i++) {
        int length = snprintf(text, sizeof text,
                              "{\"op\":\"exec\",\"gid\":\"%s\",\"session\":\"%s\",\"n\":\"1\","
                              "\"sql\":\"UPDATE assent_bench SET balance = balance + 1"
                              " WHERE id = $1\",\"params\":[\"%" PRIu64 "\"]}",
                              client->branches[i].gid, client->branches[i].session, row);
        ask(client, bench->databases[i].agent, text, (size_t)length, i, executed);
    }
}

void exec_start(struct client *client)
{
    ask_begin(client, begun);
}
