/*
 * common/reply.c - answers of a server to the request that asked.
 */
#include "common/reply.h"

#include <stdlib.h>

void reply_object(struct net_request *request, cJSON *object)
{
    size_t length;
    char *text = wire_print(object, &length);
    net_reply(request, text, length);
    free(text);
}

void reply_failure(struct net_request *request, const struct failure *failure)
{
    size_t length;
    char *text = wire_write_failure(failure, &length);
    net_reply(request, text, length);
    free(text);
}

void reply_busy(void *arg, struct net_request *request, const struct net_peer *peer,
                const char *bytes, size_t length)
{
    struct failure failure = {0};
    (void)arg;
    (void)peer;
    (void)bytes;
    (void)length;
    refuse(&failure, ERR_BUSY, "as many requests are under way as are taken at once");
    reply_failure(request, &failure);
}
