/*
 * bench/many.c - a coordinator that remembers many outcomes, and one with many transactions live.
 *
 * Both are real ones whose agents are stubs. What is remembered should cost nothing: the one that
 * has decided many before takes turns with one that is new, in the same slices as all modes. What
 * is live costs memory: a process's own before and after, since it touches no page before it needs
 * it.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "bench/bench.h"

enum { LIVE_CLIENTS = 8, LIVE_TIMEOUT_MS = 60 * 60 * 1000 };

void many_remember(struct bench *bench)
{
    struct figures deciding = {
        .mode = mode_find("decide-remembering"),
        .clients = bench->clients_most,
        .databases = bench->options.databases.values[0],
    };
    run_transactions(bench, &deciding, bench->options.remembered);
    free(deciding.samples_us);
}

/* ---- live ones ---- */

static void begun(struct client *client, uint32_t which, const cJSON *reply)
{
    (void)which;
    client_done(client, (uint32_t)cJSON_GetArraySize(decide_batch(client, reply)));
}

/* They are begun and never committed, and not given up while we count. */
static void live_start(struct client *client)
{
    decide_begin(client, LIVE_TIMEOUT_MS, begun);
}

void many_live(struct bench *bench, struct live *out)
{
    static const struct mode live = {"live", SITE_LIVE, live_start, "2pc", NULL, NULL};
    struct coordinator_site *site = &bench->coordinators[SITE_LIVE];
    struct figures beginning = {
        .mode = &live,
        .clients = bench->clients_most < LIVE_CLIENTS ? bench->clients_most : LIVE_CLIENTS,
        .databases = bench->options.databases.values[0],
    };
    double before_bytes = memory_bytes(site->pid);
    run_transactions(bench, &beginning, bench->options.live);
    free(beginning.samples_us);
    cJSON *status = ask_status(site);
    *out = (struct live){
        .transactions = ask_number(status, NULL, "live"),
        .before_bytes = before_bytes,
        .bytes = memory_bytes(site->pid),
    };
    cJSON_Delete(status);
    if (out->transactions < bench->options.live)
        stop("live: the coordinator has only %" PRIu64, out->transactions);
}
