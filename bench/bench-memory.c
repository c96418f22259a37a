/*
 * bench/bench-memory.c - what a coordinator's memory costs, one by one.
 *
 *     bench-memory
 *
 * A coordinator takes all its memory at its start, by the limits of its configuration; so the
 * price of one more is the difference of two limits, exactly, hash tables included.
 */
#include <stdio.h>

#include "core/coordinator/coordinator.h"

enum { MANY = 1 << 20 }; /* a power of two: the hash tables are as full as they may be */

static size_t bytes(const struct coordinator_limits *limits)
{
    return coordinator_bytes(limits);
}

static void tell(const char *what, double each)
{
    printf("%-52s %10.2f bytes\n", what, each);
}

int main(void)
{
    struct coordinator_limits none = {1, 1, 1, 1, 1, 1};
    struct coordinator_limits limits = none;
    double least = (double)bytes(&none);

    limits.outcome_chunks_max = MANY / 64;
    tell("an outcome remembered", ((double)bytes(&limits) - least) / (MANY / 64) / CHUNK_SEQUENCES);
    limits = none;
    limits.keys_max = MANY;
    tell("a key remembered", ((double)bytes(&limits) - least) / MANY);
    limits = none;
    limits.transactions_max = MANY;
    tell("a live transaction, no branches", ((double)bytes(&limits) - least) / MANY);
    limits = none;
    limits.branches_max = MANY;
    tell("a live branch", ((double)bytes(&limits) - least) / MANY);
    limits = none;
    limits.waiters_max = MANY;
    tell("a client that waits", ((double)bytes(&limits) - least) / MANY);
    limits = none;
    limits.ended_max = MANY;
    tell("an ended transaction kept whole, for show", ((double)bytes(&limits) - least) / MANY);
    return 0;
}
