/*
 * core/outcomes.c - what became of transactions that are over.
 */
#include "core/outcomes.h"

#include <assert.h>
#include <string.h>

void outcomes_init(struct outcomes *outcomes, struct memory *memory, uint32_t chunks_max,
                   uint32_t keys_max)
{
    memset(outcomes, 0, sizeof *outcomes);
    outcomes->chunks_max = chunks_max;
    outcomes->chunks = memory_take(memory, chunks_max, sizeof *outcomes->chunks);
    table_init(&outcomes->chunk_table, memory, chunks_max);
    outcomes->keys_max = keys_max;
    outcomes->keys = memory_take(memory, keys_max, sizeof *outcomes->keys);
    table_init(&outcomes->key_table, memory, keys_max);
}

static uint64_t chunk_hash(uint64_t incarnation, uint64_t number)
{
    uint64_t name[2] = {incarnation, number};
    return hash_bytes(name, sizeof name, 0);
}

static uint64_t key_hash(const struct outcomes *outcomes, const char *key)
{
    return hash_bytes(key, text_length(key, KEY_BYTES), outcomes->seed);
}

static uint32_t find_chunk(const struct outcomes *outcomes, uint64_t incarnation, uint64_t number)
{
    struct probe probe;
    uint64_t hash = chunk_hash(incarnation, number);
    for (uint32_t i = table_first(&outcomes->chunk_table, hash, &probe); i != NO_ITEM;
         i = table_next(&outcomes->chunk_table, &probe))
        if (outcomes->chunks[i].incarnation == incarnation && outcomes->chunks[i].number == number)
            return i;
    return NO_ITEM;
}

static uint32_t find_key(const struct outcomes *outcomes, const char *key)
{
    struct probe probe;
    for (uint32_t i = table_first(&outcomes->key_table, key_hash(outcomes, key), &probe);
         i != NO_ITEM; i = table_next(&outcomes->key_table, &probe))
        if (text_equal(outcomes->keys[i].key, key, KEY_BYTES))
            return i;
    return NO_ITEM;
}

static bool below_horizon(const struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence)
{
    if (incarnation != outcomes->horizon_incarnation)
        return incarnation < outcomes->horizon_incarnation;
    return sequence <= outcomes->horizon_sequence;
}

void outcomes_set_horizon(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence)
{
    if (below_horizon(outcomes, incarnation, sequence))
        return;
    outcomes->horizon_incarnation = incarnation;
    outcomes->horizon_sequence = sequence;
}

static void drop_oldest_chunk(struct outcomes *outcomes)
{
    uint32_t at = outcomes->chunk_first;
    const struct outcome_chunk *chunk = &outcomes->chunks[at];
    table_remove(&outcomes->chunk_table, chunk_hash(chunk->incarnation, chunk->number), at);
    outcomes_set_horizon(outcomes, chunk->incarnation, chunk->newest);
    outcomes->chunk_first = (at + 1) % outcomes->chunks_max;
    outcomes->chunk_count--;
}

/* The horizon speaks for keys too: a name that is no longer remembered belongs to a
 * transaction that is forgotten. */
static void drop_oldest_key(struct outcomes *outcomes)
{
    uint32_t at = outcomes->key_first;
    const struct outcome_key *key = &outcomes->keys[at];
    table_remove(&outcomes->key_table, key_hash(outcomes, key->key), at);
    outcomes_set_horizon(outcomes, key->incarnation, key->sequence);
    outcomes->key_first = (at + 1) % outcomes->keys_max;
    outcomes->key_count--;
}

static uint32_t add_chunk(struct outcomes *outcomes, uint64_t incarnation, uint64_t number,
                          uint64_t now_ms)
{
    if (outcomes->chunk_count == outcomes->chunks_max)
        drop_oldest_chunk(outcomes);
    uint32_t at = (outcomes->chunk_first + outcomes->chunk_count++) % outcomes->chunks_max;
    memset(&outcomes->chunks[at], 0, sizeof outcomes->chunks[at]);
    outcomes->chunks[at].incarnation = incarnation;
    outcomes->chunks[at].number = number;
    outcomes->chunks[at].born_ms = now_ms;
    table_put(&outcomes->chunk_table, chunk_hash(incarnation, number), at);
    return at;
}

void outcomes_add_key(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                      const char *key)
{
    if (find_key(outcomes, key) != NO_ITEM)
        return;
    if (outcomes->key_count == outcomes->keys_max)
        drop_oldest_key(outcomes);
    uint32_t at = (outcomes->key_first + outcomes->key_count++) % outcomes->keys_max;
    outcomes->keys[at].incarnation = incarnation;
    outcomes->keys[at].sequence = sequence;
    text_copy(outcomes->keys[at].key, KEY_BYTES, key, text_length(key, KEY_BYTES));
    table_put(&outcomes->key_table, key_hash(outcomes, key), at);
}

void outcomes_commit(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                     const char *key, uint64_t now_ms)
{
    uint64_t number = sequence / CHUNK_SEQUENCES;
    uint32_t at = find_chunk(outcomes, incarnation, number);
    if (at == NO_ITEM)
        at = add_chunk(outcomes, incarnation, number, now_ms);
    struct outcome_chunk *chunk = &outcomes->chunks[at];
    chunk->bits[sequence % CHUNK_SEQUENCES / 64] |= UINT64_C(1) << (sequence % 64);
    if (chunk->newest < sequence)
        chunk->newest = sequence;
    if (key[0] != '\0')
        outcomes_add_key(outcomes, incarnation, sequence, key);
}

void outcomes_add_chunk(struct outcomes *outcomes, uint64_t incarnation, uint64_t number,
                        const uint8_t *bits)
{
    for (uint32_t i = 0; i < CHUNK_SEQUENCES; i++)
        if (bits[i / 8] >> i % 8 & 1)
            outcomes_commit(outcomes, incarnation, number * CHUNK_SEQUENCES + i, "", 0);
}

enum outcome outcomes_find(const struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence)
{
    if (below_horizon(outcomes, incarnation, sequence))
        return OUTCOME_FORGOTTEN;
    uint32_t at = find_chunk(outcomes, incarnation, sequence / CHUNK_SEQUENCES);
    if (at == NO_ITEM)
        return OUTCOME_ROLLED_BACK;
    uint64_t word = outcomes->chunks[at].bits[sequence % CHUNK_SEQUENCES / 64];
    return word >> (sequence % 64) & 1 ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
}

bool outcomes_find_key(const struct outcomes *outcomes, const char *key, uint64_t *incarnation,
                       uint64_t *sequence)
{
    uint32_t at = find_key(outcomes, key);
    if (at == NO_ITEM)
        return false;
    *incarnation = outcomes->keys[at].incarnation;
    *sequence = outcomes->keys[at].sequence;
    return true;
}

bool outcomes_expire(struct outcomes *outcomes, uint64_t born_ms)
{
    bool moved = false;
    while (outcomes->chunk_count > 0 && outcomes->chunks[outcomes->chunk_first].born_ms < born_ms) {
        drop_oldest_chunk(outcomes);
        moved = true;
    }
    while (outcomes->key_count > 0) {
        const struct outcome_key *key = &outcomes->keys[outcomes->key_first];
        if (!below_horizon(outcomes, key->incarnation, key->sequence))
            break;
        drop_oldest_key(outcomes);
    }
    return moved;
}
