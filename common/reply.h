/*
 * common/reply.h - answers of a server to the request that asked.
 */
#ifndef ASSENT_COMMON_REPLY_H
#define ASSENT_COMMON_REPLY_H

#include "common/net.h"
#include "common/wire.h"

/* Answers the request, which is over then, and deletes the object. */
void reply_object(struct net_request *request, cJSON *object);
void reply_failure(struct net_request *request, const struct failure *failure);

/* For a server's `busy`: says that it is. */
net_request_fn reply_busy;

#endif
