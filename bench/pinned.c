/*
 * bench/pinned.c - what a prepared transaction that nobody finishes costs those that follow it.
 *
 * It holds back VACUUM, so that every row that is updated again and again drags its dead versions
 * along. The benchmark's own rows do that too, in every mode: what is ours to answer for is how a
 * mode has slowed more than `raw`, which does the same work. So the modes run before, then with one
 * transaction pending in each database, and the last quarter of that time is compared.
 */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

#define PIN_GID "assent-bench-pin"

void pinned_begin(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->databases_most; i++)
        work_do(&bench->databases[i],
                "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION '" PIN_GID "'");
}

void pinned_end(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->databases_most; i++)
        work_do(&bench->databases[i], "ROLLBACK PREPARED '" PIN_GID "'");
}

static double mean(const double *rates, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += rates[i];
    return count == 0 ? 0 : sum / count;
}

/* The share of its rate that a mode has kept at the end. */
static double kept(const struct figures *before, const struct figures *pinned)
{
    uint32_t late = pinned->rounds < 4 ? pinned->rounds : pinned->rounds / 4;
    double was = mean(before->rates, before->rounds);
    return was > 0 ? mean(pinned->rates + pinned->rounds - late, late) / was : 0;
}

/* 0 when raw was not run. */
static double kept_against_raw(const struct bench *bench, const struct results *results,
                               uint32_t at)
{
    for (uint32_t i = 0; i < bench->options.mode_count; i++)
        if (strcmp(results->all[i].mode->name, "raw") == 0) {
            double raw = kept(&results->all[i], &results->pinned[i]);
            return raw > 0 ? kept(&results->all[at], &results->pinned[at]) / raw : 0;
        }
    return 0;
}

void pinned_print(const struct bench *bench, const struct results *results)
{
    printf("\nwith a prepared transaction pending in each database for %.0f s\n"
           "%-18s %9s %9s %8s %8s\n%-18s %9s %9s %8s %8s\n",
           bench->options.pinned_s, "", "tx/s", "tx/s", "", "against", "mode", "before", "at last",
           "kept", "raw");
    for (uint32_t i = 0; i < bench->options.mode_count; i++) {
        const struct figures *before = &results->all[i];
        double share = kept(before, &results->pinned[i]), was = mean(before->rates, before->rounds);
        double against_raw = kept_against_raw(bench, results, i);
        printf("%-18s %9.0f %9.0f %8.2f", before->mode->name, was, was * share, share);
        if (against_raw > 0)
            printf(" %8.2f", against_raw);
        putchar('\n');
    }
}

cJSON *pinned_object(const struct bench *bench, const struct results *results)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "seconds", bench->options.pinned_s);
    cJSON *array = cJSON_AddArrayToObject(object, "modes");
    for (uint32_t i = 0; i < bench->options.mode_count; i++) {
        const struct figures *before = &results->all[i];
        double share = kept(before, &results->pinned[i]), was = mean(before->rates, before->rounds);
        double against_raw = kept_against_raw(bench, results, i);
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "mode", before->mode->name);
        cJSON_AddNumberToObject(item, "before_tx_per_s", was);
        cJSON_AddNumberToObject(item, "tx_per_s", was * share);
        cJSON_AddNumberToObject(item, "kept", share);
        if (against_raw > 0)
            cJSON_AddNumberToObject(item, "kept_against_raw", against_raw);
        cJSON_AddItemToArray(array, item);
    }
    return object;
}
