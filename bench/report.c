/*
 * bench/report.c - the figures, for people and for programs.
 *
 * A ratio is the median over the rounds of the quotients within a round: the two slices of a
 * round were seconds apart, so what the machine did to one it did to the other.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of samples that report() has sorted. */
double percentile_ms(const struct figures *figures, double share)
{
    if (figures->sample_count == 0)
        return 0;
    size_t at = (size_t)(share * (double)(figures->sample_count - 1) + 0.5);
    return figures->samples_us[at] / 1000.0;
}

static double rate(const struct figures *figures)
{
    return figures->wall_s > 0 ? (double)figures->transactions / figures->wall_s : 0;
}

static double each(const struct figures *figures, double total)
{
    return figures->transactions > 0 ? total / (double)figures->transactions : 0;
}

/* 0 when the baseline was not run. */
static double ratio_to(const struct figures *all, uint32_t count, const struct figures *figures,
                       const char *baseline)
{
    double ratios[ROUNDS_MAX];
    for (const struct figures *base = all; base < all + count; base++) {
        if (strcmp(base->mode->name, baseline) != 0 || base->clients != figures->clients ||
            base->databases != figures->databases)
            continue;
        for (uint32_t i = 0; i < figures->rounds; i++)
            ratios[i] = base->rates[i] > 0 ? figures->rates[i] / base->rates[i] : 0;
        qsort(ratios, figures->rounds, sizeof *ratios, by_value);
        return (ratios[(figures->rounds - 1) / 2] + ratios[figures->rounds / 2]) / 2;
    }
    return 0;
}

/* 0 when it did not do the same work either. */
static double ratio_to_raw(const struct figures *all, uint32_t count, const struct figures *figures,
                           const char *raw)
{
    return figures->mode->site == SITE_DATABASES ? ratio_to(all, count, figures, raw) : 0;
}

/* 0 when it is no variety of another mode either. */
static double ratio_to_plain(const struct figures *all, uint32_t count,
                             const struct figures *figures)
{
    const char *plain = figures->mode->plain;
    return plain == NULL ? 0 : ratio_to(all, count, figures, plain);
}

static void print_ratio(double ratio)
{
    if (ratio > 0)
        printf(" %8.2f", ratio);
    else
        printf(" %8s", "");
}

static void print_row(const struct figures *all, uint32_t count, const struct figures *figures)
{
    printf("%-18s %9u %7u %9.0f", figures->mode->name, figures->databases, figures->clients,
           rate(figures));
    print_ratio(ratio_to_raw(all, count, figures, "raw"));
    print_ratio(ratio_to_raw(all, count, figures, "raw-pipelined"));
    print_ratio(ratio_to_plain(all, count, figures));
    printf(" %8.2f %8.2f %8.2f %8.2f", percentile_ms(figures, 0.5), percentile_ms(figures, 0.95),
           percentile_ms(figures, 0.99), percentile_ms(figures, 1));
    for (int i = 0; i < PARTIES; i++)
        printf(" %7.0f", each(figures, figures->cpu_us[i]));
    printf(" %6.2f %6.2f %6.3f %6.0f\n", each(figures, (double)figures->messages),
           each(figures, (double)figures->orders), each(figures, (double)figures->syncs),
           each(figures, (double)figures->log_bytes));
}

static double live_bytes_each(const struct live *live)
{
    return (live->bytes - live->before_bytes) / (double)live->transactions;
}

static void print_live(const struct live *live)
{
    printf("\n%" PRIu64 " live transactions: %.1f MB more than %.1f, %.0f bytes each\n",
           live->transactions, (live->bytes - live->before_bytes) / 1e6, live->before_bytes / 1e6,
           live_bytes_each(live));
}

static void print_table(const struct bench *bench, const struct figures *all, uint32_t count)
{
    printf("wait %s, %u slices of %g s a mode", bench->options.wait, all[0].rounds,
           bench->options.slice_s);
    if (bench->coordinators[SITE_STUBS].pid != 0)
        printf(", decide in batches of %u", bench->options.batch);
    if (bench->coordinators[SITE_REMEMBERING].pid != 0)
        printf(", %u decided before", bench->options.remembered);
    printf("\n\n%-18s %9s %7s %9s %8s %8s %8s %35s %31s %13s %6s %6s\n", "", "", "", "", "ratio to",
           "raw-", "its", "latency, ms", "CPU, us a transaction", "messages a tx", "syncs", "log");
    printf("%-18s %9s %7s %9s %8s %8s %8s %8s %8s %8s %8s %7s %7s %7s %7s %6s %6s %6s %6s\n",
           "mode", "databases", "clients", "tx/s", "raw", "piped", "plain", "p50", "p95", "p99",
           "max", "client", "tm", "agents", "pg", "client", "tm", "a tx", "bytes");
    for (const struct figures *figures = all; figures < all + count; figures++)
        print_row(all, count, figures);
}

static void add_ratio(cJSON *object, const char *name, double ratio)
{
    if (ratio > 0)
        cJSON_AddNumberToObject(object, name, ratio);
}

static cJSON *mode_object(const struct figures *all, uint32_t count, const struct figures *figures)
{
    static const char *const parties[PARTIES] = {"client", "tm", "agents", "postgresql"};
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "mode", figures->mode->name);
    cJSON_AddNumberToObject(object, "databases", figures->databases);
    cJSON_AddNumberToObject(object, "clients", figures->clients);
    cJSON_AddNumberToObject(object, "transactions", (double)figures->transactions);
    cJSON_AddNumberToObject(object, "tx_per_s", rate(figures));
    cJSON_AddNumberToObject(object, "p50_ms", percentile_ms(figures, 0.5));
    cJSON_AddNumberToObject(object, "p95_ms", percentile_ms(figures, 0.95));
    cJSON_AddNumberToObject(object, "p99_ms", percentile_ms(figures, 0.99));
    cJSON_AddNumberToObject(object, "max_ms", percentile_ms(figures, 1));
    add_ratio(object, "ratio_to_raw", ratio_to_raw(all, count, figures, "raw"));
    add_ratio(object, "ratio_to_raw_pipelined", ratio_to_raw(all, count, figures, "raw-pipelined"));
    add_ratio(object, figures->mode->ratio, ratio_to_plain(all, count, figures));
    cJSON *cpu = cJSON_AddObjectToObject(object, "cpu_us");
    for (int i = 0; i < PARTIES; i++)
        cJSON_AddNumberToObject(cpu, parties[i], each(figures, figures->cpu_us[i]));
    cJSON_AddNumberToObject(object, "client_messages", each(figures, (double)figures->messages));
    cJSON_AddNumberToObject(object, "tm_messages", each(figures, (double)figures->orders));
    cJSON_AddNumberToObject(object, "syncs", each(figures, (double)figures->syncs));
    cJSON_AddNumberToObject(object, "log_bytes", each(figures, (double)figures->log_bytes));
    return object;
}

static cJSON *live_object(const struct live *live)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "transactions", (double)live->transactions);
    cJSON_AddNumberToObject(object, "before_bytes", live->before_bytes);
    cJSON_AddNumberToObject(object, "bytes", live->bytes);
    cJSON_AddNumberToObject(object, "bytes_each", live_bytes_each(live));
    return object;
}

static void print_json(const struct bench *bench, const struct results *results)
{
    const struct options *options = &bench->options;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "wait", options->wait);
    cJSON_AddNumberToObject(object, "batch", options->batch);
    cJSON_AddNumberToObject(object, "slice_s", options->slice_s);
    cJSON_AddNumberToObject(object, "slices", results->all[0].rounds);
    if (bench->coordinators[SITE_REMEMBERING].pid != 0)
        cJSON_AddNumberToObject(object, "remembered", options->remembered);
    cJSON *array = cJSON_AddArrayToObject(object, "modes");
    for (uint32_t i = 0; i < results->count; i++)
        cJSON_AddItemToArray(array, mode_object(results->all, results->count, &results->all[i]));
    if (options->pinned_s > 0)
        cJSON_AddItemToObject(object, "pinned", pinned_object(bench, results));
    if (options->live > 0)
        cJSON_AddItemToObject(object, "live", live_object(&results->live));
    char *text = cJSON_PrintUnformatted(object);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(object);
}

void report(const struct bench *bench, struct results *results)
{
    for (uint32_t i = 0; i < results->count; i++)
        qsort(results->all[i].samples_us, results->all[i].sample_count,
              sizeof *results->all[i].samples_us, by_size);
    if (bench->options.json) {
        print_json(bench, results);
        return;
    }
    print_table(bench, results->all, results->count);
    if (bench->options.pinned_s > 0)
        pinned_print(bench, results);
    if (bench->options.live > 0)
        print_live(&results->live);
}
