/*
 * bench/raw.c - the baselines: a client that commits in all databases by itself.
 *
 * It writes no decision down, so a crash between two COMMIT PREPARED leaves the databases
 * different from each other. It is what anything safe has to be compared with.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/bench.h"

static void committed(struct client *client)
{
    client_done(client, 1);
}

static void prepared(struct client *client)
{
    work_commit_prepared(client, committed);
}

/* As long as the coordinator's gids are. */
static void name_branches(struct client *client)
{
    for (uint32_t i = 0; i < client->bench->figures->databases; i++)
        snprintf(client->branches[i].gid, GID_BYTES, "assent-bench_%08d_%04" PRIu32 "_%012" PRIu64,
                 (int)getpid(), client->number, client->transactions);
}

void raw_start(struct client *client)
{
    name_branches(client);
    work_prepare(client, false, prepared);
}

void raw_pipelined_start(struct client *client)
{
    name_branches(client);
    work_prepare(client, true, prepared);
}
