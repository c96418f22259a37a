/*
 * core/base/table.c - a hash table of item numbers, in memory given to it.
 */
#include "core/base/table.h"

#include <assert.h>

void table_init(struct table *table, struct memory *memory, uint32_t items_max)
{
    uint32_t cells = 4;
    while (cells < 2 * (uint64_t)items_max) {
        assert(cells <= UINT32_MAX / 2);
        cells *= 2;
    }
    table->mask = cells - 1;
    table->cells = memory_take(memory, cells, sizeof *table->cells);
    if (table->cells == NULL)
        return;
    for (uint32_t i = 0; i < cells; i++)
        table->cells[i].item = NO_ITEM;
}

static uint32_t fold(uint64_t hash)
{
    return (uint32_t)(hash ^ (hash >> 32));
}

void table_put(struct table *table, uint64_t hash, uint32_t item)
{
    uint32_t at = fold(hash) & table->mask;
    while (table->cells[at].item != NO_ITEM)
        at = (at + 1) & table->mask;
    table->cells[at] = (struct table_cell){.hash = fold(hash), .item = item};
}

void table_remove(struct table *table, uint64_t hash, uint32_t item)
{
    uint32_t hole = fold(hash) & table->mask;
    while (table->cells[hole].item != item) {
        assert(table->cells[hole].item != NO_ITEM);
        hole = (hole + 1) & table->mask;
    }
    /* Shift back whatever would no longer be found behind the hole. */
    for (uint32_t at = (hole + 1) & table->mask; table->cells[at].item != NO_ITEM;
         at = (at + 1) & table->mask) {
        uint32_t home = table->cells[at].hash & table->mask;
        uint32_t from_home = (at - home) & table->mask;
        uint32_t from_hole = (at - hole) & table->mask;
        if (from_home >= from_hole) {
            table->cells[hole] = table->cells[at];
            hole = at;
        }
    }
    table->cells[hole].item = NO_ITEM;
}

uint32_t table_next(const struct table *table, struct probe *probe)
{
    for (;;) {
        const struct table_cell *cell = &table->cells[probe->at];
        if (cell->item == NO_ITEM)
            return NO_ITEM;
        probe->at = (probe->at + 1) & table->mask;
        if (cell->hash == probe->hash)
            return cell->item;
    }
}

uint32_t table_first(const struct table *table, uint64_t hash, struct probe *probe)
{
    probe->hash = fold(hash);
    probe->at = probe->hash & table->mask;
    return table_next(table, probe);
}

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed)
{
    const uint8_t *byte = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}
