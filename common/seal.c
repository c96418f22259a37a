/*
 * common/seal.c - messages between agents: nobody else can have written them.
 *
 * The parts that a MAC covers hold no zero byte, so one between them keeps them apart.
 */
#include "common/seal.h"

#include <stdlib.h>
#include <string.h>

#include <nettle/hmac.h>

#include "common/must.h"

void seal_mac_write(const uint8_t secret[SECRET_BYTES], const void *covered, size_t length,
                    char out[MAC_TEXT_BYTES])
{
    uint8_t mac[MAC_BYTES];
    struct hmac_sha256_ctx context;
    hmac_sha256_set_key(&context, SECRET_BYTES, secret);
    hmac_sha256_update(&context, length, covered);
    hmac_sha256_digest(&context, sizeof mac, mac);
    hex_write(mac, sizeof mac, out);
}

bool seal_mac_equal(const char *a, const char *b)
{
    unsigned char difference = 0;
    if (strnlen(a, MAC_TEXT_BYTES) != MAC_TEXT_BYTES - 1 ||
        strnlen(b, MAC_TEXT_BYTES) != MAC_TEXT_BYTES - 1)
        return false;
    for (size_t i = 0; i < MAC_TEXT_BYTES - 1; i++)
        difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
}

static void seal_write_mac(const char *tm, const char *to, const char *body,
                           const uint8_t key[SECRET_BYTES], char out[MAC_TEXT_BYTES])
{
    size_t tm_bytes = strlen(tm) + 1, to_bytes = strlen(to) + 1, body_length = strlen(body);
    char *covered = must_grow(NULL, tm_bytes + to_bytes + body_length, "what a seal covers");
    memcpy(covered, tm, tm_bytes);
    memcpy(covered + tm_bytes, to, to_bytes);
    memcpy(covered + tm_bytes + to_bytes, body, body_length);
    seal_mac_write(key, covered, tm_bytes + to_bytes + body_length, out);
    free(covered);
}

char *seal_write(const char *op, const char *tm, const char *to, const char *body,
                 const uint8_t key[SECRET_BYTES], size_t *length)
{
    char mac[MAC_TEXT_BYTES];
    cJSON *object = cJSON_CreateObject();
    seal_write_mac(tm, to, body, key, mac);
    cJSON_AddStringToObject(object, "op", op);
    cJSON_AddStringToObject(object, "tm", tm);
    cJSON_AddStringToObject(object, "to", to);
    cJSON_AddStringToObject(object, "body", body);
    cJSON_AddStringToObject(object, "mac", mac);
    return wire_print(object, length);
}

cJSON *seal_open(const cJSON *object, const char *to, const uint8_t key[SECRET_BYTES],
                 struct failure *failure)
{
    char mac[MAC_TEXT_BYTES];
    const char *tm = member_text(object, "tm"), *body = member_text(object, "body");
    seal_write_mac(tm, member_text(object, "to"), body, key, mac);
    if (!seal_mac_equal(mac, member_text(object, "mac"))) {
        refuse(failure, ERR_NOT_PERMITTED, "the message is not sealed with coordinator %.31s's key",
               tm);
        return NULL;
    }
    if (strcmp(member_text(object, "to"), to) != 0) {
        refuse(failure, ERR_UNKNOWN_RM, "the message is for %.31s, I serve %s",
               member_text(object, "to"), to);
        return NULL;
    }
    return wire_parse(body, strlen(body), failure);
}
