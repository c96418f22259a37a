/*
 * core/base/slots.h - which places of an array are in use, in memory given to it.
 *
 * The place that was given back last is handed out first, and before there is one, low numbers
 * first: so of a large array only what has been used is ever touched.
 */
#ifndef ASSENT_CORE_BASE_SLOTS_H
#define ASSENT_CORE_BASE_SLOTS_H

#include "core/base/table.h"

struct slots {
    uint32_t max;
    uint32_t touched; /* the places from here on have never been handed out */
    uint32_t returned_count;
    uint32_t *returned; /* a stack */
};

void slots_init(struct slots *slots, struct memory *memory, uint32_t max);
/* NO_ITEM: all are in use. */
uint32_t slots_take(struct slots *slots);
/* It must be in use. */
void slots_give(struct slots *slots, uint32_t at);
uint32_t slots_used(const struct slots *slots);
uint32_t slots_free(const struct slots *slots);

#endif
