/*
 * core/base/table.h - a hash table of item numbers, in memory given to it.
 *
 * Open addressing with linear probing; a removal shifts its successors back, so there are
 * no tombstones (Knuth, The Art of Computer Programming 3, section 6.4, algorithm R). The
 * table knows hashes and item numbers only; its user compares the keys:
 *
 *     struct probe probe;
 *     for (uint32_t i = table_first(&t, hash, &probe); i != NO_ITEM; i = table_next(&t, &probe))
 *         if (key_of(i) is mine) return i;
 */
#ifndef ASSENT_CORE_BASE_TABLE_H
#define ASSENT_CORE_BASE_TABLE_H

#include "core/base/memory.h"

#define NO_ITEM UINT32_MAX

struct table_cell {
    uint32_t hash;
    uint32_t item; /* NO_ITEM: free */
};

struct table {
    struct table_cell *cells;
    uint32_t mask;
};

struct probe {
    uint32_t hash;
    uint32_t at;
};

/* Room for items_max items at a load of at most one half. */
void table_init(struct table *table, struct memory *memory, uint32_t items_max);
void table_put(struct table *table, uint64_t hash, uint32_t item);
/* The item must be there, under that hash. */
void table_remove(struct table *table, uint64_t hash, uint32_t item);
uint32_t table_first(const struct table *table, uint64_t hash, struct probe *probe);
uint32_t table_next(const struct table *table, struct probe *probe);

/* FNV-1a, finished by a multiplication and a shift so that high bits count too. */
uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed);

#endif
