/*
 * tm/capacity.c - how many may be connected, and how many of them wait.
 */
#include "tm/capacity.h"

#include "core/coordinator/coordinator.h"

enum {
    LOG_FILES = 8,      /* the log's next segment, a checkpoint, a list of its folder */
    LOOKUP_FILES = 8,   /* a name is looked up */
    HTTP_PART = 4,      /* of what is left, at most one in so many */
    HTTP_OTHERS = 128,  /* connections over HTTP beside those that wait */
    HTTP_WAIT_PART = 3, /* if they are few: two of three may wait */
};

static void capacity_plan_http(struct server *server)
{
    uint32_t waiting = server->settings->http_max_waiting;
    uint32_t wanted = waiting + HTTP_OTHERS;
    uint32_t part = (server->descriptors.room - HTTP_LEAVING) / HTTP_PART;
    server->http_connections_max = wanted < part ? wanted : part;
    if (wanted > part)
        waiting = part - part / HTTP_WAIT_PART;
    server->http_waiting_max =
        waiting < server->settings->http_max_waiting ? waiting : server->settings->http_max_waiting;
    server->descriptors.bound -= server->http_connections_max + HTTP_LEAVING;
    server->descriptors.room -= server->http_connections_max + HTTP_LEAVING;
}

int capacity_plan(struct server *server, struct error *error)
{
    uint32_t agents = coordinator_registry(server->coordinator)->count;
    if (descriptors_plan(&server->descriptors, LOG_FILES + LOOKUP_FILES + agents, error) != 0)
        return fail_hint(error, "Raise LimitNOFILE of its service, or `ulimit -n`.");
    if (server->settings->http_listen[0] != '\0')
        capacity_plan_http(server);
    return 0;
}

void capacity_show(const struct server *server, struct capacity_view *out)
{
    struct net_server_counts counts;
    net_server_counts(server->net, &counts);
    *out = (struct capacity_view){
        .connections = counts.connections,
        .connections_max = server->descriptors.room,
        .refused = counts.refused,
        .http_connections_max = server->http_connections_max,
        .http_waiting_max = server->http_waiting_max,
    };
    if (server->http != NULL)
        http_counts(server->http, &out->http_connections, &out->http_waiting);
}
