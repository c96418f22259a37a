/*
 * bench/decide.c - the coordinator alone: its agents are stubs that say yes at once.
 *
 * A client has a batch of transactions under way: one message begins them all, one commits them
 * all. That is how an application's server would use one connection for its many threads.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

/* A growing text. */
struct text {
    char *bytes;
    size_t length, room;
};

static void add(struct text *text, const char *piece)
{
    size_t length = strlen(piece);
    if (text->room - text->length <= length) {
        text->room = 2 * (text->room + length + 1);
        text->bytes = realloc(text->bytes, text->room);
        if (text->bytes == NULL)
            stop("out of memory");
    }
    memcpy(text->bytes + text->length, piece, length + 1);
    text->length += length;
}

static void ask_batch(struct client *client, struct text *text, ask_fn *then)
{
    add(text, "]}");
    ask(client, client->bench->coordinators[client->bench->mode->site].calls, text->bytes,
        text->length, 0, then);
    free(text->bytes);
}

const cJSON *decide_batch(const struct client *client, const cJSON *reply)
{
    const cJSON *batch = cJSON_GetObjectItemCaseSensitive(reply, "batch");
    if (cJSON_GetArraySize(batch) != (int)client->bench->options.batch)
        stop("decide: expected %u replies, got %d", client->bench->options.batch,
             cJSON_GetArraySize(batch));
    return batch;
}

static const char *text_in(const cJSON *item, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, name));
    if (text == NULL) {
        char *whole = cJSON_PrintUnformatted(item);
        stop("decide: no %s in %s", name, whole);
    }
    return text;
}

static void decided(struct client *client, uint32_t which, const cJSON *reply)
{
    const cJSON *item;
    (void)which;
    cJSON_ArrayForEach(item, decide_batch(client, reply))
    {
        if (strcmp(text_in(item, "outcome"), "committed") != 0)
            stop("decide: a transaction ended as %s", text_in(item, "outcome"));
    }
    client_done(client, client->bench->options.batch);
}

static void begun(struct client *client, uint32_t which, const cJSON *reply)
{
    struct text text = {0};
    const cJSON *item;
    const char *open = "{\"batch\":[";
    (void)which;
    cJSON_ArrayForEach(item, decide_batch(client, reply))
    {
        char piece[256];
        snprintf(piece, sizeof piece, "%s{\"op\":\"commit\",\"gtrid\":\"%s\",\"wait\":\"%s\"}",
                 open, text_in(item, "gtrid"), client->bench->options.wait);
        add(&text, piece);
        open = ",";
    }
    ask_batch(client, &text, decided);
}

void decide_begin(struct client *client, uint32_t timeout_ms, ask_fn *then)
{
    struct text text = {0};
    add(&text, "{\"batch\":[");
    for (uint32_t i = 0; i < client->bench->options.batch; i++) {
        char piece[256];
        snprintf(piece, sizeof piece,
                 "%s{\"op\":\"begin\",\"request_id\":\"%08x%08" PRIx64 "\",\"rms\":[",
                 i == 0 ? "" : ",", client->number, client->transactions + i);
        add(&text, piece);
        for (uint32_t j = 0; j < client->bench->figures->databases; j++) {
            snprintf(piece, sizeof piece, "%s\"stub%u\"", j == 0 ? "" : ",", j + 1);
            add(&text, piece);
        }
        snprintf(piece, sizeof piece, timeout_ms == 0 ? "]}" : "],\"timeout\":%" PRIu32 "}",
                 timeout_ms);
        add(&text, piece);
    }
    ask_batch(client, &text, then);
}

void decide_start(struct client *client)
{
    decide_begin(client, 0, begun);
}
