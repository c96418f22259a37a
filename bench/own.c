/*
 * bench/own.c - the work on the client's own connections, the decision the coordinator's.
 *
 * Step by step as `raw` does it, or pipelined as `raw-pipelined` does; only what comes after the
 * votes is different, and a `begin` that names the branches.
 */
#include "bench/bench.h"

static void committed(struct client *client)
{
    client_done(client, 1);
}

static void prepared(struct client *client)
{
    ask_commit(client, committed);
}

static void begun(struct client *client)
{
    work_prepare(client, false, prepared);
}

static void begun_pipelined(struct client *client)
{
    work_prepare(client, true, prepared);
}

void own_start(struct client *client)
{
    ask_begin(client, begun);
}

void own_pipelined_start(struct client *client)
{
    ask_begin(client, begun_pipelined);
}
