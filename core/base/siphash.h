/*
 * core/base/siphash.h - SipHash-2-4 with 128 bits of result.
 *
 * J.-P. Aumasson, D. J. Bernstein: "SipHash: a fast short-input PRF", INDOCRYPT 2012; the long
 * result as in the authors' reference code (https://github.com/veorq/SipHash, HASH_128).
 */
#ifndef ASSENT_CORE_BASE_SIPHASH_H
#define ASSENT_CORE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash {
    uint64_t low, high;
};

struct siphash siphash_128(const uint8_t key[16], const void *bytes, size_t length);

#endif
