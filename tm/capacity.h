/*
 * tm/capacity.h - how many may be connected, and how many of them wait: so that neither takes what
 * the coordinator itself or somebody else needs.
 */
#ifndef ASSENT_TM_CAPACITY_H
#define ASSENT_TM_CAPACITY_H

#include "common/descriptors.h"
#include "tm/server_state.h"

/* Divides the descriptors: the log and the connections to agents come first, HTTP has a part of its
 * own, the rest is for the socket. Call it when all is open but those two. */
int capacity_plan(struct server *server, struct error *error);

/* How it is at this moment. */
struct capacity_view {
    uint32_t connections, connections_max; /* over the socket */
    uint64_t refused;                      /* in all: connections closed for want of room */
    uint32_t http_connections, http_connections_max;
    uint32_t http_waiting,
        http_waiting_max; /* requests over HTTP whose answer others have to give */
};
void capacity_show(const struct server *server, struct capacity_view *out);

#endif
