/*
 * bench/bench-core.c - how fast the coordinator thinks.
 *
 *     bench-core [SECONDS]
 *
 * The real core/ with nothing around it: so many transactions of two branches at a time are begun,
 * committed, voted for, found durable and done, each step one event. Prints steps a second, and
 * the CPU of a step and of a transaction.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/coordinator/coordinator.h"

enum { AT_ONCE_MAX = 4096 };

static const char *const rms[] = {"accounts", "ledger"};
static struct coordinator *coordinator;
static struct actions actions;
static uint64_t steps, handed_over;

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void step(const struct event *event)
{
    coordinator_step(coordinator, event, &actions);
    handed_over += actions.record_count;
    steps++;
}

/* The log has everything; what waited for it is taken. */
static void log_is_durable(void)
{
    struct event event;
    coordinator_durable(coordinator, handed_over, handed_over);
    while (coordinator_due(coordinator, 1, &event))
        step(&event);
}

static void start(void)
{
    static const struct coordinator_limits limits = {
        .transactions_max = AT_ONCE_MAX,
        .branches_max = 2 * AT_ONCE_MAX,
        .waiters_max = AT_ONCE_MAX,
        .ended_max = 1024,
        .outcome_chunks_max = 8192,
        .keys_max = 16,
    };
    static const struct coordinator_settings settings = {
        .tm = "bank",
        .transaction_timeout_ms = 3600000,
        .resend_least_ms = 3600000,
        .resend_most_ms = 3600000,
        .scan_ms = 3600000,
        .retention_ms = 86400000,
        .key_retention_ms = 86400000,
    };
    struct event event = {.type = EV_START, .now_ms = 1};
    handed_over = 0;
    coordinator = coordinator_init(calloc(1, coordinator_bytes(&limits)), &limits, &settings);
    for (uint32_t rm = 0; rm < 2; rm++)
        coordinator_configure(coordinator, rms[rm], "ipc:///nobody");
    step(&event);
    log_is_durable();
    for (uint32_t rm = 0; rm < 2; rm++) {
        struct answer answer = {.agent_incarnation = 1};
        memcpy(answer.rm, rms[rm], strlen(rms[rm]));
        event = (struct event){.type = EV_ANSWER, .now_ms = 1, .rm = rm, .answer = &answer};
        step(&event);
        log_is_durable();
    }
}

/* ---- a transaction's steps ---- */

static struct gtrid begin(void)
{
    static struct request request = {.op = OP_BEGIN, .rm_count = 2};
    struct event event = {.type = EV_REQUEST, .now_ms = 1, .request = &request};
    for (uint32_t rm = 0; rm < 2; rm++)
        memcpy(request.rms[rm], rms[rm], strlen(rms[rm]));
    step(&event);
    if (actions.reply_count != 1 || actions.replies[0].error != ERR_NONE) {
        fprintf(stderr, "error: begin was refused\n");
        exit(1);
    }
    return actions.replies[0].gtrid;
}

static void commit(const struct gtrid *gtrid)
{
    static struct request request = {.op = OP_COMMIT, .has_gtrid = true, .wait_ms = 3600000};
    struct event event = {.type = EV_REQUEST, .now_ms = 1, .request = &request};
    request.gtrid = *gtrid;
    step(&event);
}

static void agents_say(enum result_type type, const struct gtrid *gtrid)
{
    for (uint32_t rm = 0; rm < 2; rm++) {
        struct result result = {.type = type, .agent_incarnation = 1, .xid = 700};
        struct event event = {.type = EV_RESULT, .now_ms = 1, .rm = rm, .result = &result};
        result.branch.gtrid = *gtrid;
        memcpy(result.branch.rm, rms[rm], strlen(rms[rm]));
        step(&event);
    }
}

static void run_transactions(uint32_t at_once)
{
    static struct gtrid gtrids[AT_ONCE_MAX];
    for (uint32_t i = 0; i < at_once; i++)
        gtrids[i] = begin();
    for (uint32_t i = 0; i < at_once; i++)
        commit(&gtrids[i]);
    for (uint32_t i = 0; i < at_once; i++)
        agents_say(RESULT_READY, &gtrids[i]);
    log_is_durable();
    for (uint32_t i = 0; i < at_once; i++)
        agents_say(RESULT_DONE, &gtrids[i]);
    log_is_durable();
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    printf("%10s %12s %10s %16s\n", "in flight", "steps/s", "ns a step", "us a transaction");
    for (uint32_t at_once = 1; at_once <= AT_ONCE_MAX; at_once *= 64) {
        uint64_t transactions = 0;
        start();
        steps = 0;
        double from = cpu_s(), took;
        do {
            run_transactions(at_once);
            transactions += at_once;
            took = cpu_s() - from;
        } while (took < seconds);
        struct coordinator_counts counts;
        coordinator_counts(coordinator, &counts);
        if (counts.committed != transactions || counts.live != 0) {
            fprintf(stderr, "error: %" PRIu64 " of %" PRIu64 " committed\n", counts.committed,
                    transactions);
            return 1;
        }
        printf("%10" PRIu32 " %12.0f %10.0f %16.2f\n", at_once, (double)steps / took,
               took / (double)steps * 1e9, took / (double)transactions * 1e6);
        free(coordinator);
    }
    return 0;
}
