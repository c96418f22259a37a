/*
 * bench/ask.c - calls of the coordinator and the agents.
 *
 * Anything but a commit that went well ends the run: figures with failures in them compare nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "common/wire.h"

enum { ASK_MS = 60 * 1000, LOOK_MS = 5000 };

struct asked {
    struct client *client;
    uint32_t which;
    ask_fn *then;
};

static void replied(void *arg, enum net_result result, const char *bytes, size_t length)
{
    struct asked asked = *(struct asked *)arg;
    const char *mode = asked.client->bench->mode->name;
    struct failure failure = {0};
    free(arg);
    if (result != NET_OK)
        stop("%s: %s", mode,
             result == NET_TIMEOUT ? "no answer in time" : "the other side is not reachable");
    cJSON *object = wire_parse(bytes, length, &failure);
    /* A batch says ok for each of its own. */
    if (object == NULL ||
        (!cJSON_HasObjectItem(object, "batch") && wire_read_failure(object, &failure) != 0))
        stop("%s: refused: %s", mode, failure.message);
    asked.then(asked.client, asked.which, object);
    cJSON_Delete(object);
}

void ask(struct client *client, struct net_link *link, const char *text, size_t length,
         uint32_t which, ask_fn *then)
{
    struct asked *asked = malloc(sizeof *asked);
    if (asked == NULL)
        stop("out of memory");
    *asked = (struct asked){client, which, then};
    client->bench->figures->messages++;
    if (net_call(link, text, length, ASK_MS, replied, asked) != 0)
        stop("%s: too many calls under way", client->bench->mode->name);
}

/* ---- begin, commit ---- */

/* The client's own function follows when the coordinator has answered. */
static void copy(char *out, size_t room, const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    if (text == NULL || strlen(text) >= room)
        stop("a reply has no usable %s", name);
    memcpy(out, text, strlen(text) + 1);
}

static void begun(struct client *client, uint32_t which, const cJSON *reply)
{
    const cJSON *branch, *branches = cJSON_GetObjectItemCaseSensitive(reply, "branches");
    uint32_t i = 0;
    (void)which;
    copy(client->gtrid, sizeof client->gtrid, reply, "gtrid");
    cJSON_ArrayForEach(branch, branches)
    {
        if (i == client->bench->figures->databases)
            break;
        copy(client->branches[i].gid, sizeof client->branches[i].gid, branch, "gid");
        copy(client->branches[i].session, sizeof client->branches[i].session, branch, "session");
        i++;
    }
    if (i != client->bench->figures->databases)
        stop("begin: %u branches instead of %u", i, client->bench->figures->databases);
    client->then(client);
}

void ask_begin(struct client *client, client_fn *then)
{
    struct bench *bench = client->bench;
    char text[160 + DATABASES_MAX * (RM_NAME_BYTES + 3)];
    /* Nobody else's begin has this name, so it could be asked for twice, as a library would. */
    int length = snprintf(text, sizeof text,
                          "{\"op\":\"begin\",\"request_id\":\"%08x%08" PRIx64
                          "\",\"protocol\":\"%s\",\"rms\":[",
                          client->number, client->transactions, bench->mode->protocol);
    for (uint32_t i = 0; i < bench->figures->databases; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s\"%s\"",
                           i == 0 ? "" : ",", bench->databases[i].rm);
    length += snprintf(text + length, sizeof text - (size_t)length, "]}");
    client->then = then;
    ask(client, bench->coordinators[SITE_DATABASES].calls, text, (size_t)length, 0, begun);
}

static void committed(struct client *client, uint32_t which, const cJSON *reply)
{
    (void)which;
    const char *outcome = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, "outcome"));
    if (outcome == NULL || strcmp(outcome, "committed") != 0) {
        char *whole = cJSON_PrintUnformatted(reply);
        stop("%s: commit: %s", client->bench->mode->name, whole);
    }
    client->then(client);
}

void ask_commit(struct client *client, client_fn *then)
{
    char text[GTRID_BYTES + 64];
    int length = snprintf(text, sizeof text, "{\"op\":\"commit\",\"gtrid\":\"%s\",\"wait\":\"%s\"}",
                          client->gtrid, client->bench->options.wait);
    client->then = then;
    ask(client, client->bench->coordinators[SITE_DATABASES].calls, text, (size_t)length, 0,
        committed);
}

/* ---- between slices ---- */

void ask_open(struct coordinator_site *site, struct loop *loop, uint32_t calls)
{
    struct error error;
    if (net_link_open(&site->calls, loop, site->url, calls, &error) != 0 ||
        net_link_open(&site->looks, loop, site->url, 1, &error) != 0)
        stop_error(&error);
}

cJSON *ask_status(struct coordinator_site *site)
{
    static const char text[] = "{\"op\":\"status\"}";
    struct failure failure;
    char *reply = NULL;
    size_t length;
    if (net_call_wait(site->looks, text, sizeof text - 1, LOOK_MS, &reply, &length) != NET_OK)
        return NULL;
    cJSON *object = wire_parse(reply, length, &failure);
    free(reply);
    return object;
}

/* 64-bit numbers travel as texts. */
uint64_t ask_number(const cJSON *object, const char *group, const char *name)
{
    const cJSON *in = group == NULL ? object : cJSON_GetObjectItemCaseSensitive(object, group);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, name);
    if (cJSON_IsNumber(item))
        return (uint64_t)item->valuedouble;
    return cJSON_IsString(item) ? strtoull(item->valuestring, NULL, 10) : 0;
}
