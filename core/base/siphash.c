/*
 * core/base/siphash.c - SipHash-2-4 with 128 bits of result.
 */
#include "core/base/siphash.h"

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

/* Up to eight bytes as a little-endian number. */
static uint64_t siphash_load(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static void siphash_turn(struct state *s, int rounds)
{
    while (rounds-- > 0) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

static void siphash_take(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    siphash_turn(s, 2);
    s->v0 ^= word;
}

static uint64_t give(struct state *s)
{
    siphash_turn(s, 4);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

struct siphash siphash_128(const uint8_t key[16], const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    uint64_t k0 = siphash_load(key, 8), k1 = siphash_load(key + 8, 8);
    struct state s = {
        .v0 = UINT64_C(0x736f6d6570736575) ^ k0,
        .v1 = UINT64_C(0x646f72616e646f6d) ^ k1 ^ 0xee,
        .v2 = UINT64_C(0x6c7967656e657261) ^ k0,
        .v3 = UINT64_C(0x7465646279746573) ^ k1,
    };
    size_t whole = length / 8;
    for (size_t i = 0; i < whole; i++)
        siphash_take(&s, siphash_load(at + 8 * i, 8));
    siphash_take(&s, (uint64_t)length << 56 | siphash_load(at + 8 * whole, length % 8));
    struct siphash hash;
    s.v2 ^= 0xee;
    hash.low = give(&s);
    s.v1 ^= 0xdd;
    hash.high = give(&s);
    return hash;
}
