/*
 * core/coordinator/keys.c - the application's own names (keys) of committed transactions.
 */
#include "core/coordinator/keys.h"

#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/base/table.h"

void keys_init(struct keys *keys, struct memory *memory, uint32_t room, uint64_t seed,
               const char *tm)
{
    uint64_t cells = 4;
    while (cells * 3 < (uint64_t)room * 4)
        cells *= 2;
    assert(room > 0 && cells <= UINT32_MAX);
    memset(keys, 0, sizeof *keys);
    keys->room = room;
    keys->mask = (uint32_t)(cells - 1);
    keys->seed = seed;
    keys->ring = memory_take(memory, room, sizeof *keys->ring);
    keys->index = memory_take(memory, cells, sizeof *keys->index);
    /* No secret is needed: who may begin could as well use the very key of another. */
    for (size_t i = 0; i < TM_NAME_BYTES && tm[i] != '\0'; i++)
        keys->secret[i % sizeof keys->secret] ^= (uint8_t)tm[i];
}

struct siphash keys_hash(const struct keys *keys, const char *key)
{
    return siphash_128(keys->secret, key, text_length(key, KEY_BYTES));
}

static uint32_t home_of(const struct keys *keys, const struct siphash *hash)
{
    return (uint32_t)hash_bytes(hash, sizeof *hash, keys->seed) & keys->mask;
}

static bool keys_same(const struct siphash *a, const struct siphash *b)
{
    return a->low == b->low && a->high == b->high;
}

/* The cell that the hash is in, or the free one where it would be. */
static uint32_t find_cell(const struct keys *keys, const struct siphash *hash)
{
    uint32_t at = home_of(keys, hash);
    while (keys->index[at] != 0 && !keys_same(&keys->ring[keys->index[at] - 1].hash, hash))
        at = (at + 1) & keys->mask;
    return at;
}

/* Shift back whatever would no longer be found behind the hole. */
static void clear_cell(struct keys *keys, uint32_t hole)
{
    for (uint32_t at = (hole + 1) & keys->mask; keys->index[at] != 0; at = (at + 1) & keys->mask) {
        uint32_t home = home_of(keys, &keys->ring[keys->index[at] - 1].hash);
        if (((at - home) & keys->mask) < ((at - hole) & keys->mask))
            continue;
        keys->index[hole] = keys->index[at];
        hole = at;
    }
    keys->index[hole] = 0;
}

static uint32_t place_of(const struct keys *keys, uint64_t number)
{
    return (uint32_t)((keys->first + (number - keys->removed)) % keys->room);
}

const struct committed_key *keys_at(const struct keys *keys, uint64_t number)
{
    assert(number >= keys->removed && number - keys->removed < keys->count);
    return &keys->ring[place_of(keys, number)];
}

static void drop_oldest(struct keys *keys)
{
    struct committed_key *oldest = &keys->ring[keys->first];
    if (oldest->incarnation != 0)
        clear_cell(keys, find_cell(keys, &oldest->hash));
    if (is_dated(oldest->date) && keys->since_ms < oldest->date)
        keys->since_ms = oldest->date;
    keys->first = (keys->first + 1) % keys->room;
    keys->count--;
    keys->removed++;
    if (keys->archived < keys->removed)
        keys->archived = keys->removed;
}

/* Never before that of its predecessor: so the oldest is always the first. */
static uint64_t date_in_order(const struct keys *keys, uint64_t date)
{
    if (keys->count == 0)
        return date;
    uint64_t before = keys_at(keys, keys->removed + keys->count - 1)->date;
    return before > date ? before : date;
}

bool keys_add(struct keys *keys, const struct siphash *hash, uint64_t incarnation,
              uint64_t sequence, uint64_t date)
{
    uint32_t cell = find_cell(keys, hash);
    if (keys->index[cell] != 0) {
        struct committed_key *older = &keys->ring[keys->index[cell] - 1];
        if (older->incarnation == incarnation && older->sequence == sequence)
            return true;
    }
    if (keys->count == keys->room)
        return false;
    if (keys->index[cell] != 0)
        keys->ring[keys->index[cell] - 1].incarnation = 0;
    date = date_in_order(keys, date);
    uint32_t at = place_of(keys, keys->removed + keys->count);
    keys->ring[at] = (struct committed_key){*hash, incarnation, sequence, date};
    keys->index[cell] = at + 1;
    keys->count++;
    keys->undated += !is_dated(date);
    return true;
}

bool keys_find(const struct keys *keys, const struct siphash *hash, uint64_t *incarnation,
               uint64_t *sequence)
{
    uint32_t cell = find_cell(keys, hash);
    if (keys->index[cell] == 0)
        return false;
    *incarnation = keys->ring[keys->index[cell] - 1].incarnation;
    *sequence = keys->ring[keys->index[cell] - 1].sequence;
    return true;
}

void keys_date(struct keys *keys, uint64_t running_ms, uint64_t lsn)
{
    while (keys->undated > 0) {
        uint64_t number = keys->removed + keys->count - keys->undated;
        struct committed_key *key = &keys->ring[place_of(keys, number)];
        if (!is_dated_by(key->date, lsn))
            break;
        key->date = running_ms;
        keys->undated--;
    }
}

void keys_expire(struct keys *keys, uint64_t running_ms, uint64_t retention_ms, uint32_t most)
{
    while (most-- > 0 && keys->count > 0 &&
           time_is_over(keys->ring[keys->first].date, running_ms, retention_ms))
        drop_oldest(keys);
}

void keys_forget_until(struct keys *keys, uint64_t date)
{
    /* 0: nothing was forgotten yet. What committed before the first mark has that date, too. */
    while (date > 0 && keys->count > 0 && is_dated(keys->ring[keys->first].date) &&
           keys->ring[keys->first].date <= date)
        drop_oldest(keys);
    if (keys->since_ms < date)
        keys->since_ms = date;
}

uint64_t keys_oldest(const struct keys *keys, uint64_t running_ms)
{
    return keys->count > 0 && is_dated(keys->ring[keys->first].date) ? keys->ring[keys->first].date
                                                                     : running_ms;
}
