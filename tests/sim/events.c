/*
 * tests/sim/events.c - what happens next: a binary heap by time, and by order of scheduling
 * where times are equal.
 */
#include <stdlib.h>

#include "tests/sim/sim.h"

static bool before(const struct happening *a, const struct happening *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void schedule(struct sim *sim, uint64_t after_us, struct happening what)
{
    struct queue *queue = &sim->queue;
    if (queue->count == queue->room) {
        queue->room = queue->room == 0 ? 256 : queue->room * 2;
        queue->heap = realloc(queue->heap, queue->room * sizeof *queue->heap);
        if (queue->heap == NULL)
            abort();
    }
    what.at_us = sim->now_us + after_us;
    what.order = queue->order++;

    uint32_t at = queue->count++;
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (!before(&what, &queue->heap[parent]))
            break;
        queue->heap[at] = queue->heap[parent];
        at = parent;
    }
    queue->heap[at] = what;
}

bool next_happening(struct sim *sim, struct happening *out)
{
    struct queue *queue = &sim->queue;
    if (queue->count == 0)
        return false;
    *out = queue->heap[0];
    struct happening last = queue->heap[--queue->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= queue->count)
            break;
        if (child + 1 < queue->count && before(&queue->heap[child + 1], &queue->heap[child]))
            child++;
        if (!before(&queue->heap[child], &last))
            break;
        queue->heap[at] = queue->heap[child];
        at = child;
    }
    queue->heap[at] = last;
    return true;
}

void forget_happenings(struct sim *sim)
{
    struct happening left;
    while (next_happening(sim, &left))
        if (left.message != NULL)
            release_message(left.message);
}
