/*
 * common/net.h - request and reply between processes: all of nng is behind this.
 *
 * A server keeps one receiving context free, adds contexts up to max_waiting requests
 * being worked on at once, and answers `busy` beyond. A link sends each call once: a lost
 * connection or a timeout ends the call with an error and the caller decides whether to
 * call again (nng's own resending is off).
 *
 * nng before 1.10 loses its listener, and the thread that ends connections, to clients that
 * vanish at the wrong moment. net.c keeps it from noticing: see sendmsg() and epoll_wait() there.
 */
#ifndef ASSENT_COMMON_NET_H
#define ASSENT_COMMON_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum {
    MESSAGE_MAX = 1024 * 1024,   /* bytes; a longer request is answered invalid_request */
    REPLY_MAX = 4 * 1024 * 1024, /* bytes; a longer reply would cost the client its connection */
};

struct net_server;
struct net_request; /* one request that has to be answered exactly once */
struct net_link;

struct net_peer {
    bool local;   /* came over ipc:// with a known uid */
    uint32_t uid; /* of the peer process, if local */
};

/* In one of nng's threads: must not block. bytes are valid during the call only. The request
 * must be answered with net_reply(), now or later, from any thread. Requests longer than
 * MESSAGE_MAX come with bytes NULL and their length. */
typedef void net_request_fn(void *arg, struct net_request *request, const struct net_peer *peer,
                            const char *bytes, size_t length);

struct net_server_options {
    const char *url;      /* ipc:///path (at most 107 bytes of path) or tcp://127.0.0.1:port */
    uint32_t mode;        /* of the socket file; 0: 0660 */
    const char *group;    /* of the socket file, or NULL or "" */
    uint32_t max_waiting; /* requests under way at once; 0: 1024 */
    net_request_fn *handler;
    void *arg;
    net_request_fn *busy; /* answers a request beyond max_waiting, at once, in the same thread */
};

/* Refuses: an ipc path that is too long or is not a socket (a regular file is never deleted), a
 * socket that another process still serves, tcp on other than loopback. */
int net_listen(struct net_server **out, const struct net_server_options *options,
               struct error *error);
/* Copies the bytes and frees the request. */
void net_reply(struct net_request *request, const char *bytes, size_t length);
/* Waits for handlers that run, and none runs after it; unanswered requests stay valid but go
 * nowhere. Not to be called in one of nng's threads. */
void net_server_close(struct net_server *server);
/* How many requests are under way. */
uint32_t net_server_waiting(const struct net_server *server);

enum net_result { NET_OK = 0, NET_TIMEOUT, NET_UNREACHABLE };

/* In one of nng's threads. bytes are the reply if result is NET_OK. */
typedef void net_reply_fn(void *arg, enum net_result result, const char *bytes, size_t length);

/* Dials in the background, for ever (backing off to 1 s); calls made while there is no
 * connection end with NET_UNREACHABLE after 500 ms, or their own timeout if it is shorter.
 * max_calls: calls under way at once. */
int net_link_open(struct net_link **out, const char *url, uint32_t max_calls, struct error *error);
/* Returns 0, or -1 if max_calls are under way (done is then not called). The bytes are copied.
 * done may call again: its own call is over. */
int net_call(struct net_link *link, const char *bytes, size_t length, uint32_t timeout_ms,
             net_reply_fn *done, void *arg);
/* Is a connection up at this moment? */
bool net_link_connected(const struct net_link *link);
/* Ends all calls with NET_UNREACHABLE before it returns. Not to be called in one of nng's
 * threads. */
void net_link_close(struct net_link *link);

/* For command lines: one call, waited for. *reply is malloc'ed, zero-terminated, the caller's. */
enum net_result net_call_wait(struct net_link *link, const char *bytes, size_t length,
                              uint32_t timeout_ms, char **reply, size_t *reply_length);

#endif
