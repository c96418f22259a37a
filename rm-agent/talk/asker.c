/*
 * rm-agent/talk/asker.c - who sent a request, and how it is answered.
 *
 * A batch is answered once, when the last of its requests has been; each begins when the one
 * before it has been answered.
 */
#include "rm-agent/talk/asker.h"

#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/reply.h"

struct asker *asker_create(struct loop *loop, struct net_request *request,
                           const struct net_peer *peer, cJSON *next, bool batch)
{
    struct asker *asker = must_alloc(sizeof *asker, "a request");
    asker->loop = loop;
    asker->request = request;
    asker->peer = *peer;
    asker->batch = batch;
    asker->next = next;
    return asker;
}

void asker_free(struct asker *asker)
{
    cJSON_Delete(asker->next);
    free(asker->replies);
    free(asker);
}

static void asker_add_bytes(struct asker *asker, const char *bytes, size_t length)
{
    asker->replies = must_grow(asker->replies, asker->length + length, "the replies");
    memcpy(asker->replies + asker->length, bytes, length);
    asker->length += length;
}

static void asker_add_reply(struct asker *asker, const char *bytes, size_t length)
{
    static const char begin[] = "{\"batch\":[";
    if (asker->length == 0)
        asker_add_bytes(asker, begin, strlen(begin));
    else
        asker_add_bytes(asker, ",", 1);
    asker_add_bytes(asker, bytes, length);
}

static void asker_batch_goes_on(struct asker *asker)
{
    if (cJSON_GetArraySize(asker->next) > 0) {
        loop_post(asker->loop, &asker->post);
        return;
    }
    asker_add_bytes(asker, "]}", 2);
    net_reply(asker->request, asker->replies, asker->length);
    asker_free(asker);
}

void asker_reply(struct asker *asker, const char *bytes, size_t length)
{
    if (!asker->batch) {
        net_reply(asker->request, bytes, length);
        asker_free(asker);
    } else if (asker->length + length > MESSAGE_MAX) {
        struct failure failure = {0};
        refuse(&failure, ERR_RESULT_TOO_LARGE,
               "the request was served, but its reply does not fit into the batch's message");
        char *text = wire_write_failure(&failure, &length);
        asker_add_reply(asker, text, length);
        free(text);
        asker_batch_goes_on(asker);
    } else {
        asker_add_reply(asker, bytes, length);
        asker_batch_goes_on(asker);
    }
}

void asker_object(struct asker *asker, cJSON *object)
{
    size_t length;
    char *text = wire_print(object, &length);
    asker_reply(asker, text, length);
    free(text);
}

void asker_failure(struct asker *asker, const struct failure *failure)
{
    size_t length;
    char *text = wire_write_failure(failure, &length);
    asker_reply(asker, text, length);
    free(text);
}
