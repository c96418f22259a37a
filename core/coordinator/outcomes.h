/*
 * core/coordinator/outcomes.h - what became of transactions that are over.
 *
 * A bit a transaction, set if it committed, in chunks of consecutive sequence numbers of one
 * incarnation; a chunk exists once something in it has committed. A transaction without a set
 * bit above the horizon was rolled back; below the horizon it is forgotten. A chunk is as old as
 * what ended in it last. When its time is over, and that of all with lower numbers, it goes and the
 * horizon moves past it.
 *
 * The places of the chunks are kept in the order of their numbers; the bits lie wherever there was
 * room, so that of the memory only as much is touched as is used.
 */
#ifndef ASSENT_CORE_COORDINATOR_OUTCOMES_H
#define ASSENT_CORE_COORDINATOR_OUTCOMES_H

#include "core/base/dates.h"
#include "core/base/memory.h"
#include "core/message/message.h"

enum { CHUNK_SEQUENCES = 8192 };

struct outcome_bits {
    uint64_t newest; /* the highest sequence in it that committed */
    uint64_t words[CHUNK_SEQUENCES / 64];
};

struct outcome_chunk {
    uint64_t incarnation;
    uint64_t number; /* covers sequences number * CHUNK_SEQUENCES and on */
    uint64_t date;
    uint64_t changed; /* in which generation; 0: not since it was read from an archive */
    uint32_t bits;
};

struct outcomes {
    uint64_t horizon_incarnation, horizon_sequence; /* 0, 0: nothing is forgotten */
    struct outcome_chunk *ring;
    struct outcome_bits *bits;
    uint32_t *free; /* bits that were used and are not any more */
    uint32_t room, first, count, bits_used, free_count;
    uint64_t generation; /* rises with each snapshot; from 1 */
    uint64_t archived;   /* what changed in this generation or before need not be written again */
    uint32_t undated;
    uint64_t since_ms; /* what ended later is remembered */
};

void outcomes_init(struct outcomes *outcomes, struct memory *memory, uint32_t chunks_max);

/* Remember that it committed. Again does no harm. False if there is no room. */
bool outcomes_commit(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                     uint64_t date);
/* Something else ended there: what is known of it is kept as long. */
void outcomes_touch(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                    uint64_t date);
/* The newest chunk of an incarnation that is over: what was under way ended with it. */
void outcomes_touch_newest(struct outcomes *outcomes, uint64_t incarnation, uint64_t date);

/* A whole chunk, as a snapshot of the log has it: bits as CHUNK_SEQUENCES / 8 bytes, lowest first.
 * False if there is no room. */
bool outcomes_add_chunk(struct outcomes *outcomes, uint64_t incarnation, uint64_t number,
                        const uint8_t *bits, uint64_t date, bool archived);
/* The one at this place from the lowest number on. */
const struct outcome_chunk *outcomes_at(const struct outcomes *outcomes, uint32_t place);
/* Has it changed since it was last archived? */
bool outcomes_changed(const struct outcomes *outcomes, const struct outcome_chunk *chunk);

/* COMMITTED, ROLLED_BACK or FORGOTTEN, of a transaction that is known to be over. */
enum outcome outcomes_find(const struct outcomes *outcomes, uint64_t incarnation,
                           uint64_t sequence);

/* The undated ones that the log knew at this lsn are dated. */
void outcomes_date(struct outcomes *outcomes, uint64_t running_ms, uint64_t lsn);
/* Is there a chunk to be forgotten, the lowest? */
bool outcomes_expired(const struct outcomes *outcomes, uint64_t running_ms, uint64_t retention_ms);
/* Forget what is older than retention_ms, but nothing that `live`, the lowest number that is still
 * undecided, may end in or before; incarnation 0: none. True if the horizon moved. */
bool outcomes_expire(struct outcomes *outcomes, uint64_t running_ms, uint64_t retention_ms,
                     const struct txn_number *live);
/* The log says that the horizon was there: never move it back. */
void outcomes_set_horizon(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence);
/* The oldest date of all chunks; running_ms if there is none. */
uint64_t outcomes_oldest(const struct outcomes *outcomes, uint64_t running_ms);

#endif
