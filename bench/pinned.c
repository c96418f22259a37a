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

/* What a mode has kept of its rate at the end; against_raw: of that what raw has kept, 0 when raw
 * was not run. */
struct kept {
    double before, late, share, against_raw;
};

static struct kept kept_at(const struct results *results, uint32_t at)
{
    const struct figures *before = &results->all[at], *pinned = &results->pinned[at];
    uint32_t late = pinned->rounds < 4 ? pinned->rounds : pinned->rounds / 4;
    struct kept kept = {
        .before = mean(before->rates, before->rounds),
        .late = mean(pinned->rates + pinned->rounds - late, late),
    };
    kept.share = kept.before > 0 ? kept.late / kept.before : 0;
    return kept;
}

static struct kept kept_beside_raw(const struct results *results, uint32_t at)
{
    struct kept kept = kept_at(results, at);
    for (uint32_t i = 0; i < results->count; i++) {
        double raw = strcmp(results->all[i].mode->name, "raw") == 0 ? kept_at(results, i).share : 0;
        if (raw > 0)
            kept.against_raw = kept.share / raw;
    }
    return kept;
}

void pinned_print(const struct bench *bench, const struct results *results)
{
    printf("\nwith a prepared transaction pending in each database for %.0f s\n"
           "%-18s %9s %9s %8s %8s\n%-18s %9s %9s %8s %8s\n",
           bench->options.pinned_s, "", "tx/s", "tx/s", "", "against", "mode", "before", "at last",
           "kept", "raw");
    for (uint32_t i = 0; i < results->count; i++) {
        struct kept kept = kept_beside_raw(results, i);
        printf("%-18s %9.0f %9.0f %8.2f", results->all[i].mode->name, kept.before, kept.late,
               kept.share);
        if (kept.against_raw > 0)
            printf(" %8.2f", kept.against_raw);
        putchar('\n');
    }
}

cJSON *pinned_object(const struct bench *bench, const struct results *results)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "seconds", bench->options.pinned_s);
    cJSON *array = cJSON_AddArrayToObject(object, "modes");
    for (uint32_t i = 0; i < results->count; i++) {
        struct kept kept = kept_beside_raw(results, i);
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "mode", results->all[i].mode->name);
        cJSON_AddNumberToObject(item, "before_tx_per_s", kept.before);
        cJSON_AddNumberToObject(item, "tx_per_s", kept.late);
        cJSON_AddNumberToObject(item, "kept", kept.share);
        if (kept.against_raw > 0)
            cJSON_AddNumberToObject(item, "kept_against_raw", kept.against_raw);
        cJSON_AddItemToArray(array, item);
    }
    return object;
}
