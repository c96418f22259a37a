/*
 * common/seal.h - messages between agents: nobody else can have written them.
 *
 *     {"op":"ballots","tm":"bank","to":"ledger","body":"{...}","mac":"<hex>"}
 *
 * The body is the text of a whole message; the MAC covers whose key it is, who is meant and the
 * body as it stands (HMAC-SHA-256 of Nettle, in hex). One that is heard twice does no harm: so are
 * all messages between the parties made.
 */
#ifndef ASSENT_COMMON_SEAL_H
#define ASSENT_COMMON_SEAL_H

#include "common/wire.h"

enum { MAC_BYTES = 32, MAC_TEXT_BYTES = 2 * MAC_BYTES + 1 };

void seal_mac_write(const uint8_t secret[SECRET_BYTES], const void *covered, size_t length,
                    char out[MAC_TEXT_BYTES]);
/* In a time that tells a guesser nothing about how far he is right. Reads no further than both are
 * long as they should be. */
bool seal_mac_equal(const char *a, const char *b);

/* malloc'ed; the body is the caller's. */
char *seal_write(const char *op, const char *tm, const char *to, const char *body,
                 const uint8_t key[SECRET_BYTES], size_t *length);
/* The body, to be ended with cJSON_Delete; NULL with *failure unless it was sealed under this key
 * and is for `to`. */
cJSON *seal_open(const cJSON *object, const char *to, const uint8_t key[SECRET_BYTES],
                 struct failure *failure);

#endif
