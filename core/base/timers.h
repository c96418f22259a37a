/*
 * core/base/timers.h - which item is due first: a binary heap in memory given to it.
 *
 * Each item has at most one timer. (Williams, Heapsort, CACM 7(6), 1964.)
 */
#ifndef ASSENT_CORE_BASE_TIMERS_H
#define ASSENT_CORE_BASE_TIMERS_H

#include <stdbool.h>

#include "core/base/memory.h"

#define TIMER_NEVER UINT64_MAX

struct timers {
    uint64_t *when;  /* by item; TIMER_NEVER: not in the heap */
    uint32_t *heap;  /* items, the earliest first */
    uint32_t *place; /* by item: where it stands in the heap */
    uint32_t count;
};

void timers_init(struct timers *timers, struct memory *memory, uint32_t items_max);
/* Sets, moves, or with TIMER_NEVER removes the item's timer. */
void timers_set(struct timers *timers, uint32_t item, uint64_t when_ms);
/* The earliest item whose time has come; false if there is none. It stays until it is set anew. */
bool timers_due(const struct timers *timers, uint64_t now_ms, uint32_t *item);
/* When the earliest is due, TIMER_NEVER if there is none. */
uint64_t timers_next_ms(const struct timers *timers);

static inline uint64_t timers_earlier(uint64_t a_ms, uint64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

#endif
