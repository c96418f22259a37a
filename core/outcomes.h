/*
 * core/outcomes.h - what became of transactions that are over.
 *
 * A bit a transaction, set if it committed, in chunks of consecutive sequence numbers of one
 * incarnation; a chunk exists once something in it has committed. A transaction without a set
 * bit above the horizon was rolled back; below the horizon it is forgotten. When a chunk's
 * time is over, or room is needed, the oldest goes and the horizon moves past it.
 *
 * The application's own names (keys) of committed transactions go the same way.
 */
#ifndef ASSENT_CORE_OUTCOMES_H
#define ASSENT_CORE_OUTCOMES_H

#include "core/message.h"
#include "core/table.h"

enum { CHUNK_SEQUENCES = 8192 };

struct outcome_chunk {
    uint64_t incarnation;
    uint64_t number; /* covers sequences number * CHUNK_SEQUENCES and on */
    uint64_t born_ms;
    uint64_t newest; /* the highest sequence in it that committed */
    uint64_t bits[CHUNK_SEQUENCES / 64];
};

struct outcome_key {
    uint64_t incarnation, sequence;
    char key[KEY_BYTES];
};

/* Two rings, oldest at first; NULL-free, in memory given at initialisation. */
struct outcomes {
    uint64_t seed;
    uint64_t horizon_incarnation, horizon_sequence; /* 0, 0: nothing is forgotten */
    struct outcome_chunk *chunks;
    uint32_t chunks_max, chunk_first, chunk_count;
    struct table chunk_table;
    struct outcome_key *keys;
    uint32_t keys_max, key_first, key_count;
    struct table key_table;
};

void outcomes_init(struct outcomes *outcomes, struct memory *memory, uint32_t chunks_max,
                   uint32_t keys_max);

/* Remember that it committed; key may be "". Again does no harm. May move the horizon. */
void outcomes_commit(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                     const char *key, uint64_t now_ms);

/* A whole chunk, as a snapshot of the log has it: bits as CHUNK_SEQUENCES / 8 bytes, lowest first.
 */
void outcomes_add_chunk(struct outcomes *outcomes, uint64_t incarnation, uint64_t number,
                        const uint8_t *bits);
void outcomes_add_key(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence,
                      const char *key);

/* COMMITTED, ROLLED_BACK or FORGOTTEN, of a transaction that is known to be over. */
enum outcome outcomes_find(const struct outcomes *outcomes, uint64_t incarnation,
                           uint64_t sequence);
/* False if no committed transaction with this key is remembered. */
bool outcomes_find_key(const struct outcomes *outcomes, const char *key, uint64_t *incarnation,
                       uint64_t *sequence);

/* Forget what was born before born_ms; true if the horizon moved. */
bool outcomes_expire(struct outcomes *outcomes, uint64_t born_ms);
/* The log says that the horizon was there: never move it back. */
void outcomes_set_horizon(struct outcomes *outcomes, uint64_t incarnation, uint64_t sequence);

#endif
