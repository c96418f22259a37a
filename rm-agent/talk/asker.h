/*
 * rm-agent/talk/asker.h - who sent a request, and how it is answered.
 */
#ifndef ASSENT_RM_AGENT_TALK_ASKER_H
#define ASSENT_RM_AGENT_TALK_ASKER_H

#include <cjson/cJSON.h>

#include "common/loop.h"
#include "common/net.h"
#include "common/wire.h"

struct asker {
    struct post post;
    struct loop *loop;
    struct net_request *request;
    struct net_peer peer;
    bool batch;
    cJSON *next;   /* what is still to be served: one request, or the array of them */
    char *replies; /* of a batch, so far */
    size_t length;
};

/* Takes next over: one request, or the array of a batch. */
struct asker *asker_create(struct loop *loop, struct net_request *request,
                           const struct net_peer *peer, cJSON *next, bool batch);
/* Without an answer: somebody else has the request. */
void asker_free(struct asker *asker);

/* Whoever asked is answered exactly once, by one of these. The bytes are copied; the object is
 * taken over. */
void asker_reply(struct asker *asker, const char *bytes, size_t length);
void asker_object(struct asker *asker, cJSON *object);
void asker_failure(struct asker *asker, const struct failure *failure);

#endif
