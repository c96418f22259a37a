/*
 * bench/run.c - slices: what was done in them, and what it cost.
 *
 * In a slice every client begins its next transaction as soon as the last one is over. When the
 * time is up none is begun any more, those under way are waited for, and all of them count: so
 * nothing is cut in half, and what a mode leaves behind is not charged to the next one.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"

enum { TICK_MS = 100, SETTLE_MS = 20, CLIENT_STUCK_S = 60, COUNTED_MOST_S = 3600 };

#define WARM_UP_S 0.3

struct snapshot {
    double cpu_us[PARTIES];
    uint64_t syncs, log_bytes, orders;
};

/* clang-format off */
const struct mode modes[] = {
    {"raw",           SITE_DATABASES, raw_start,           NULL,  NULL, NULL},
    {"raw-pipelined", SITE_DATABASES, raw_pipelined_start, NULL,  NULL, NULL},
    {"own",           SITE_DATABASES, own_start,           "2pc", NULL, NULL},
    {"own-pipelined", SITE_DATABASES, own_pipelined_start, "2pc", NULL, NULL},
    {"exec",          SITE_DATABASES, exec_start,          "2pc", NULL, NULL},
    {"decide",        SITE_STUBS,     decide_start,        "2pc", NULL, NULL},
    {"own-3pc",           SITE_DATABASES, own_start,           "3pc", "own",           "ratio_to_2pc"},
    {"own-pipelined-3pc", SITE_DATABASES, own_pipelined_start, "3pc", "own-pipelined", "ratio_to_2pc"},
    {"exec-3pc",          SITE_DATABASES, exec_start,          "3pc", "exec",          "ratio_to_2pc"},
    {"decide-remembering", SITE_REMEMBERING, decide_start, "2pc", "decide", "ratio_to_decide"},
    {NULL, SITE_DATABASES, NULL, NULL, NULL, NULL},
};
/* clang-format on */

const struct mode *mode_find(const char *name)
{
    for (const struct mode *mode = modes; mode->name != NULL; mode++)
        if (strcmp(mode->name, name) == 0)
            return mode;
    return NULL;
}

const struct mode *mode_by_three(const struct mode *plain)
{
    for (const struct mode *mode = modes; mode->name != NULL; mode++)
        if (mode->plain != NULL && strcmp(mode->plain, plain->name) == 0 &&
            strcmp(mode->protocol, "3pc") == 0)
            return mode;
    return NULL;
}

void run_until(struct bench *bench, bool (*over)(struct bench *bench), double limit_s,
               const char *what)
{
    uint64_t limit_ms = loop_now_ms() + (uint64_t)(limit_s * 1000);
    for (;;) {
        stub_tick();
        if (over(bench))
            return;
        if (loop_signal(bench->loop) != 0)
            stop("interrupted");
        if (loop_now_ms() > limit_ms)
            stop("no end after %.0f s: %s", limit_s, what);
        loop_wait(bench->loop, loop_now_ms() + TICK_MS);
    }
}

static void sample(struct figures *figures, uint64_t took_us)
{
    if (figures->sample_count == figures->sample_room) {
        figures->sample_room = 2 * figures->sample_room + 1024;
        figures->samples_us =
            realloc(figures->samples_us, figures->sample_room * sizeof *figures->samples_us);
        if (figures->samples_us == NULL)
            stop("out of memory");
    }
    figures->samples_us[figures->sample_count++] = (uint32_t)took_us;
}

static void client_start(struct client *client)
{
    client->began_us = loop_now_us();
    client->bench->mode->start(client);
}

void client_done(struct client *client, uint32_t count)
{
    struct bench *bench = client->bench;
    uint64_t now_us = loop_now_us();
    bench->figures->transactions += count;
    client->transactions += count;
    sample(bench->figures, now_us - client->began_us);
    if (now_us < bench->until_us && bench->figures->transactions < bench->until_transactions)
        client_start(client);
    else
        bench->busy--;
}

static void look(struct bench *bench, struct snapshot *out)
{
    const struct mode *mode = bench->mode;
    memset(out, 0, sizeof *out);
    out->cpu_us[PARTY_CLIENT] = cpu_self_us();
    for (uint32_t i = 0; mode->site == SITE_DATABASES && i < bench->figures->databases; i++) {
        out->cpu_us[PARTY_AGENTS] += cpu_process_us(bench->databases[i].agent_pid);
        out->cpu_us[PARTY_POSTGRESQL] += cpu_family_us(bench->databases[i].server_pid);
    }
    if (mode->protocol == NULL)
        return;
    struct coordinator_site *site = &bench->coordinators[mode->site];
    out->cpu_us[PARTY_TM] = cpu_process_us(site->pid);
    cJSON *status = ask_status(site);
    if (status == NULL)
        stop("%s: the coordinator does not answer", mode->name);
    out->syncs = ask_number(status, "log_stats", "syncs");
    out->log_bytes = ask_number(status, "log_stats", "bytes");
    out->orders = ask_number(status, NULL, "agent_calls");
    cJSON_Delete(status);
}

static bool nobody_is_busy(struct bench *bench)
{
    return bench->busy == 0;
}

/* For so long, or until there are so many, whatever comes first. */
static void turn_clients(struct bench *bench, double seconds, uint64_t transactions)
{
    bench->until_us = loop_now_us() + (uint64_t)(seconds * 1e6);
    bench->until_transactions = transactions;
    bench->busy = bench->figures->clients;
    for (uint32_t i = 0; i < bench->figures->clients; i++)
        client_start(&bench->clients[i]);
    run_until(bench, nobody_is_busy, seconds + CLIENT_STUCK_S, bench->mode->name);
}

static void run_slice(struct bench *bench, struct figures *figures, double slice_s)
{
    struct snapshot before, after;
    uint64_t already = figures->transactions;
    bench->mode = figures->mode;
    bench->figures = figures;
    look(bench, &before);
    uint64_t began_us = loop_now_us();
    turn_clients(bench, slice_s, UINT64_MAX);
    double wall_s = (double)(loop_now_us() - began_us) / 1e6;
    look(bench, &after);

    figures->wall_s += wall_s;
    figures->rates[figures->rounds++] = (double)(figures->transactions - already) / wall_s;
    figures->syncs += after.syncs - before.syncs;
    figures->log_bytes += after.log_bytes - before.log_bytes;
    figures->orders += after.orders - before.orders;
    for (int i = 0; i < PARTIES; i++)
        figures->cpu_us[i] += after.cpu_us[i] - before.cpu_us[i];
    usleep(SETTLE_MS * 1000);
}

/* Connections, plans and caches are made; nothing of it counts. */
static void warm_up(struct bench *bench, struct figures *figures)
{
    struct figures cold = *figures;
    run_slice(bench, figures,
              bench->options.seconds < WARM_UP_S ? bench->options.seconds : WARM_UP_S);
    free(figures->samples_us);
    *figures = cold;
}

void run_transactions(struct bench *bench, struct figures *figures, uint64_t transactions)
{
    bench->mode = figures->mode;
    bench->figures = figures;
    turn_clients(bench, COUNTED_MOST_S, transactions);
    if (figures->transactions < transactions)
        stop("%s: only %" PRIu64 " transactions in %d s", figures->mode->name,
             figures->transactions, COUNTED_MOST_S);
}

void run(struct bench *bench, struct figures *figures, double seconds)
{
    const struct options *options = &bench->options;
    uint32_t rounds = (uint32_t)(seconds / options->slice_s + 0.5);
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    for (uint32_t i = 0; i < options->mode_count; i++)
        warm_up(bench, &figures[i]);
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < options->mode_count; i++)
            run_slice(bench, &figures[i], options->slice_s);
}
