/*
 * core/coordinator/outcomes.c - what became of transactions that are over.
 */
#include "core/coordinator/outcomes.h"

#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"

void outcomes_init(struct outcomes *outcomes, struct memory *memory, uint32_t chunks_max)
{
    memset(outcomes, 0, sizeof *outcomes);
    outcomes->room = chunks_max;
    outcomes->generation = 1;
    outcomes->ring = memory_take(memory, chunks_max, sizeof *outcomes->ring);
    outcomes->bits = memory_take(memory, chunks_max, sizeof *outcomes->bits);
    outcomes->free = memory_take(memory, chunks_max, sizeof *outcomes->free);
}

static struct outcome_chunk *at(const struct outcomes *outcomes, uint32_t place)
{
    return &outcomes->ring[(outcomes->first + place) % outcomes->room];
}

const struct outcome_chunk *outcomes_at(const struct outcomes *outcomes, uint32_t place)
{
    assert(place < outcomes->count);
    return at(outcomes, place);
}

bool outcomes_changed(const struct outcomes *outcomes, const struct outcome_chunk *chunk)
{
    return chunk->changed > outcomes->archived;
}

static bool is_before(const struct outcome_chunk *chunk, uint64_t incarnation, uint64_t number)
{
    return chunk->incarnation != incarnation ? chunk->incarnation < incarnation
                                             : chunk->number < number;
}

/* The place of this chunk, or where it would stand. Most questions are about the newest ones. */
static uint32_t find_place(const struct outcomes *outcomes, uint64_t incarnation, uint64_t number)
{
    uint32_t low = 0, high = outcomes->count;
    if (high > 0 && is_before(at(outcomes, high - 1), incarnation, number))
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (is_before(at(outcomes, middle), incarnation, number))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct outcome_chunk *find_chunk(const struct outcomes *outcomes, uint64_t incarnation,
                                        uint64_t number)
{
    uint32_t place = find_place(outcomes, incarnation, number);
    if (place == outcomes->count)
        return NULL;
    struct outcome_chunk *chunk = at(outcomes, place);
    return chunk->incarnation == incarnation && chunk->number == number ? chunk : NULL;
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

static void drop_lowest(struct outcomes *outcomes)
{
    const struct outcome_chunk *chunk = at(outcomes, 0);
    outcomes_set_horizon(outcomes, chunk->incarnation, outcomes->bits[chunk->bits].newest);
    if (outcomes->since_ms < chunk->date)
        outcomes->since_ms = chunk->date;
    outcomes->free[outcomes->free_count++] = chunk->bits;
    outcomes->first = (outcomes->first + 1) % outcomes->room;
    outcomes->count--;
}

static uint32_t take_bits(struct outcomes *outcomes)
{
    uint32_t bits =
        outcomes->free_count > 0 ? outcomes->free[--outcomes->free_count] : outcomes->bits_used++;
    memset(&outcomes->bits[bits], 0, sizeof outcomes->bits[bits]);
    return bits;
}

/* The chunk, found or new; NULL if there is no room. Nearly always a new one is the highest. */
static struct outcome_chunk *have_chunk(struct outcomes *outcomes, uint64_t incarnation,
                                        uint64_t number)
{
    struct outcome_chunk *found = find_chunk(outcomes, incarnation, number);
    if (found != NULL || outcomes->count == outcomes->room)
        return found;
    uint32_t place = find_place(outcomes, incarnation, number);
    for (uint32_t i = outcomes->count++; i > place; i--)
        *at(outcomes, i) = *at(outcomes, i - 1);
    struct outcome_chunk *chunk = at(outcomes, place);
    *chunk = (struct outcome_chunk){
        .incarnation = incarnation, .number = number, .bits = take_bits(outcomes)};
    return chunk;
}

/* As old as what ended last; and what is not dated yet is younger than all that is. */
static void set_date(struct outcomes *outcomes, struct outcome_chunk *chunk, uint64_t date)
{
    if (date <= chunk->date || (MUTANT(CHUNK_DATED_BY_FIRST) && chunk->date != 0))
        return;
    outcomes->undated += is_dated(chunk->date) && !is_dated(date);
    chunk->date = date;
    chunk->changed = outcomes->generation;
}

bool outcomes_commit(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                     uint64_t date)
{
    struct outcome_chunk *chunk = have_chunk(outcomes, incarnation, sequence / CHUNK_SEQUENCES);
    if (chunk == NULL)
        return false;
    struct outcome_bits *bits = &outcomes->bits[chunk->bits];
    bits->words[sequence % CHUNK_SEQUENCES / 64] |= UINT64_C(1) << (sequence % 64);
    if (bits->newest < sequence)
        bits->newest = sequence;
    chunk->changed = outcomes->generation;
    set_date(outcomes, chunk, date);
    return true;
}

void outcomes_touch(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                    uint64_t date)
{
    struct outcome_chunk *chunk = find_chunk(outcomes, incarnation, sequence / CHUNK_SEQUENCES);
    if (chunk != NULL)
        set_date(outcomes, chunk, date);
}

void outcomes_touch_newest(struct outcomes *outcomes, uint64_t incarnation, uint64_t date)
{
    uint32_t place = find_place(outcomes, incarnation, UINT64_MAX);
    if (place > 0 && at(outcomes, place - 1)->incarnation == incarnation)
        set_date(outcomes, at(outcomes, place - 1), date);
}

bool outcomes_add_chunk(struct outcomes *outcomes, uint64_t incarnation, uint64_t number,
                        const uint8_t *bits, uint64_t date, bool archived)
{
    struct outcome_chunk *chunk = have_chunk(outcomes, incarnation, number);
    if (chunk == NULL)
        return false;
    struct outcome_bits *known = &outcomes->bits[chunk->bits];
    for (uint32_t i = 0; i < CHUNK_SEQUENCES / 8; i++)
        known->words[i / 8] |= (uint64_t)bits[i] << i % 8 * 8;
    for (uint32_t i = CHUNK_SEQUENCES; i > 0; i--)
        if (known->words[(i - 1) / 64] >> (i - 1) % 64 & 1) {
            known->newest = number * CHUNK_SEQUENCES + i - 1;
            break;
        }
    uint64_t changed = chunk->changed;
    set_date(outcomes, chunk, date);
    chunk->changed = archived ? changed : outcomes->generation;
    return true;
}

enum outcome outcomes_find(const struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence)
{
    const struct outcome_chunk *chunk =
        find_chunk(outcomes, incarnation, sequence / CHUNK_SEQUENCES);
    if (chunk != NULL) {
        uint64_t word = outcomes->bits[chunk->bits].words[sequence % CHUNK_SEQUENCES / 64];
        if (word >> (sequence % 64) & 1)
            return OUTCOME_COMMITTED;
    }
    return below_horizon(outcomes, incarnation, sequence) ? OUTCOME_FORGOTTEN : OUTCOME_ROLLED_BACK;
}

void outcomes_date(struct outcomes *outcomes, uint64_t running_ms, uint64_t lsn)
{
    /* They are mostly the highest. */
    for (uint32_t i = outcomes->count, left = outcomes->undated; i > 0 && left > 0; i--) {
        struct outcome_chunk *chunk = at(outcomes, i - 1);
        if (is_dated(chunk->date))
            continue;
        left--;
        if (!is_dated_by(chunk->date, lsn))
            continue;
        chunk->date = running_ms;
        chunk->changed = outcomes->generation;
        outcomes->undated--;
    }
}

bool outcomes_expired(const struct outcomes *outcomes, uint64_t running_ms, uint64_t retention_ms)
{
    return outcomes->count > 0 && time_is_over(at(outcomes, 0)->date, running_ms, retention_ms);
}

bool outcomes_expire(struct outcomes *outcomes, uint64_t running_ms, uint64_t retention_ms,
                     const struct txn_number *live)
{
    bool moved = false;
    while (outcomes_expired(outcomes, running_ms, retention_ms)) {
        const struct outcome_chunk *lowest = at(outcomes, 0);
        uint64_t newest = outcomes->bits[lowest->bits].newest;
        if (live->incarnation != 0 &&
            (lowest->incarnation != live->incarnation ? live->incarnation < lowest->incarnation
                                                      : live->sequence <= newest))
            break;
        drop_lowest(outcomes);
        moved = true;
    }
    return moved;
}

uint64_t outcomes_oldest(const struct outcomes *outcomes, uint64_t running_ms)
{
    uint64_t oldest = running_ms;
    for (uint32_t i = 0; i < outcomes->count; i++)
        if (at(outcomes, i)->date < oldest)
            oldest = at(outcomes, i)->date;
    return oldest;
}
