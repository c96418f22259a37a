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
    for (uint32_t i = 0; i < bench->options.databases; i++)
        work_do(&bench->databases[i],
                "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION '" PIN_GID "'");
}

void pinned_end(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->options.databases; i++)
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

static double kept_by_raw(const struct figures *before, const struct figures *pinned,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(before[i].mode->name, "raw") == 0)
            return kept(&before[i], &pinned[i]);
    return 0;
}

void pinned_report(const struct bench *bench, const struct figures *before,
                   const struct figures *pinned, uint32_t count)
{
    double raw = kept_by_raw(before, pinned, count);
    printf("\nwith a prepared transaction pending in each database for %.0f s\n"
           "%-14s %9s %9s %8s %8s\n%-14s %9s %9s %8s %8s\n",
           bench->options.pinned_s, "", "tx/s", "tx/s", "", "against", "mode", "before", "at last",
           "kept", "raw");
    for (uint32_t i = 0; i < count; i++) {
        double share = kept(&before[i], &pinned[i]), was = mean(before[i].rates, before[i].rounds);
        printf("%-14s %9.0f %9.0f %8.2f", before[i].mode->name, was, was * share, share);
        if (raw > 0)
            printf(" %8.2f", share / raw);
        putchar('\n');
    }
}
