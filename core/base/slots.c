/*
 * core/base/slots.c - which places of an array are in use, in memory given to it.
 */
#include "core/base/slots.h"

#include <assert.h>

void slots_init(struct slots *slots, struct memory *memory, uint32_t max)
{
    slots->max = max;
    slots->touched = 0;
    slots->returned_count = 0;
    slots->returned = memory_take(memory, max, sizeof *slots->returned);
}

uint32_t slots_take(struct slots *slots)
{
    if (slots->returned_count > 0)
        return slots->returned[--slots->returned_count];
    return slots->touched < slots->max ? slots->touched++ : NO_ITEM;
}

void slots_give(struct slots *slots, uint32_t at)
{
    assert(at < slots->touched && slots->returned_count < slots->touched);
    slots->returned[slots->returned_count++] = at;
}

uint32_t slots_used(const struct slots *slots)
{
    return slots->touched - slots->returned_count;
}

uint32_t slots_free(const struct slots *slots)
{
    return slots->max - slots_used(slots);
}
