/*
 * core/base/timers.c - which item is due first: a binary heap in memory given to it.
 */
#include "core/base/timers.h"

void timers_init(struct timers *timers, struct memory *memory, uint32_t items_max)
{
    timers->count = 0;
    timers->when = memory_take(memory, items_max, sizeof *timers->when);
    timers->heap = memory_take(memory, items_max, sizeof *timers->heap);
    timers->place = memory_take(memory, items_max, sizeof *timers->place);
    if (timers->when == NULL)
        return;
    for (uint32_t i = 0; i < items_max; i++)
        timers->when[i] = TIMER_NEVER;
}

static void timers_put(struct timers *timers, uint32_t place, uint32_t item)
{
    timers->heap[place] = item;
    timers->place[item] = place;
}

/* Moves the item up, or else down, to where its time belongs. */
static void timers_settle(struct timers *timers, uint32_t place)
{
    uint32_t item = timers->heap[place];
    uint64_t when = timers->when[item];

    while (place > 0) {
        uint32_t parent = (place - 1) / 2;
        if (timers->when[timers->heap[parent]] <= when)
            break;
        timers_put(timers, place, timers->heap[parent]);
        place = parent;
    }
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= timers->count)
            break;
        if (child + 1 < timers->count &&
            timers->when[timers->heap[child + 1]] < timers->when[timers->heap[child]])
            child++;
        if (timers->when[timers->heap[child]] >= when)
            break;
        timers_put(timers, place, timers->heap[child]);
        place = child;
    }
    timers_put(timers, place, item);
}

void timers_set(struct timers *timers, uint32_t item, uint64_t when_ms)
{
    bool was = timers->when[item] != TIMER_NEVER;
    timers->when[item] = when_ms;
    if (when_ms != TIMER_NEVER) {
        if (!was)
            timers_put(timers, timers->count++, item);
        timers_settle(timers, timers->place[item]);
    } else if (was) {
        uint32_t place = timers->place[item];
        timers->count--;
        if (place == timers->count)
            return;
        timers_put(timers, place, timers->heap[timers->count]);
        timers_settle(timers, place);
    }
}

uint64_t timers_next_ms(const struct timers *timers)
{
    return timers->count == 0 ? TIMER_NEVER : timers->when[timers->heap[0]];
}

bool timers_due(const struct timers *timers, uint64_t now_ms, uint32_t *item)
{
    if (timers_next_ms(timers) > now_ms)
        return false;
    *item = timers->heap[0];
    return true;
}
