/*
 * core/coordinator/keys.h - the application's own names (keys) of committed transactions.
 *
 * Of a key its hash is kept, 128 bits by SipHash: two keys of ten million have the same one with a
 * probability of 10^-25, so it is taken for the key. A ring, the oldest first, each with the date
 * of its commit in running time; and an index by hash, with linear probing (Knuth, The Art of
 * Computer Programming 3, section 6.4, algorithm R), that is at most three quarters full. The
 * memory is given at initialisation, must be zero, and is touched only where a key is.
 */
#ifndef ASSENT_CORE_COORDINATOR_KEYS_H
#define ASSENT_CORE_COORDINATOR_KEYS_H

#include "core/base/dates.h"
#include "core/base/ids.h"
#include "core/base/memory.h"
#include "core/base/siphash.h"

struct committed_key {
    struct siphash hash;
    uint64_t incarnation, sequence; /* 0: its key has been used again since */
    uint64_t date;
};

struct keys {
    uint8_t secret[16]; /* of the hash: the same whenever this log is read */
    uint64_t seed;      /* of the places in the index */
    struct committed_key *ring;
    uint32_t room, first, count;
    uint32_t *index; /* a place in the ring plus 1; 0 free */
    uint32_t mask;
    uint64_t removed;  /* from the front, ever: the number of the oldest one that is kept */
    uint64_t archived; /* all below this number need not be written again */
    uint32_t undated;  /* at the end */
    uint64_t since_ms; /* what committed later is remembered */
};

/* tm: whose log it is. */
void keys_init(struct keys *keys, struct memory *memory, uint32_t room, uint64_t seed,
               const char *tm);
struct siphash keys_hash(const struct keys *keys, const char *key);

/* False if there is no room. The same key again names the newer transaction. */
bool keys_add(struct keys *keys, const struct siphash *hash, uint64_t incarnation,
              uint64_t sequence, uint64_t date);
bool keys_find(const struct keys *keys, const struct siphash *hash, uint64_t *incarnation,
               uint64_t *sequence);
/* The undated ones that the log knew at this lsn are dated. */
void keys_date(struct keys *keys, uint64_t running_ms, uint64_t lsn);
/* Forget, the oldest first and at most so many, what is older than retention_ms. */
void keys_expire(struct keys *keys, uint64_t running_ms, uint64_t retention_ms, uint32_t most);
/* Nothing of this date or before is remembered any more: the log says so. */
void keys_forget_until(struct keys *keys, uint64_t date);
/* The key of this number, from `removed` to removed + count - 1. */
const struct committed_key *keys_at(const struct keys *keys, uint64_t number);
/* The date of the oldest one that is kept; running_ms if there is none. */
uint64_t keys_oldest(const struct keys *keys, uint64_t running_ms);

#endif
