/*
 * core/base/memory.h - the core is given its memory once, at initialisation.
 *
 * The same code counts the bytes (with base NULL) and hands them out, so the two
 * cannot differ. What is given is zero already and is not touched: of the room for many, only
 * what is used costs memory, and a start costs no time for it.
 */
#ifndef ASSENT_CORE_BASE_MEMORY_H
#define ASSENT_CORE_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct memory {
    uint8_t *base; /* NULL: only count */
    size_t used;
};

/* Room for count items of size bytes, aligned for any type, as zero as the base. */
static inline void *memory_take(struct memory *memory, size_t count, size_t size)
{
    size_t at = memory->used;
    memory->used += (count * size + 15) & ~(size_t)15;
    if (memory->base == NULL)
        return NULL;
    return memory->base + at;
}

#endif
