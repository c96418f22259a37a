/*
 * common/net.h - request and reply between processes, as nng's REQ and REP sockets speak it.
 *
 * A server works on up to max_waiting requests at once and answers `busy` beyond. When there are no
 * more descriptors for connections, a newcomer takes the place of one that has nothing under way:
 * of one that has never asked for anything, if there is one, else of the one that has been silent
 * for longest. Where all are at work, the newcomer is closed. A link sends each
 * call once: a lost connection or a timeout ends the call with an error, and the caller decides
 * whether to call again.
 *
 * Everything belongs to one loop, and happens in its thread: functions of the user are called while
 * it waits. What is sent in a turn leaves in one piece when the loop waits again.
 */
#ifndef ASSENT_COMMON_NET_H
#define ASSENT_COMMON_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/loop.h"

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

/* bytes are valid during the call only. The request must be answered with net_reply(), now or
 * later. Requests longer than MESSAGE_MAX come with bytes NULL and their length. */
typedef void net_request_fn(void *arg, struct net_request *request, const struct net_peer *peer,
                            const char *bytes, size_t length);

struct net_server_options {
    const char *url;      /* ipc:///path (at most 107 bytes of path) or tcp://127.0.0.1:port */
    uint32_t mode;        /* of the socket file; 0: 0660 */
    const char *group;    /* of the socket file, or NULL or "" */
    uint32_t max_waiting; /* requests under way at once; 0: 1024 */
    uint32_t descriptors; /* connections have numbers below this one; 0: no bound */
    net_request_fn *handler;
    void *arg;
    net_request_fn *busy; /* answers a request beyond max_waiting, at once */
};

/* Refuses what address_listen() does. */
int net_listen(struct net_server **out, struct loop *loop, const struct net_server_options *options,
               struct error *error);
/* Copies the bytes and frees the request. */
void net_reply(struct net_request *request, const char *bytes, size_t length);
/* Replies that can leave without waiting do. Unanswered requests stay valid but go nowhere. Not to
 * be called in a handler. */
void net_server_close(struct net_server *server);
/* How many requests are under way. */
uint32_t net_server_waiting(const struct net_server *server);

struct net_server_counts {
    uint32_t connections; /* at this moment */
    uint64_t refused;     /* in all: connections that were closed because there were too many */
};
void net_server_counts(const struct net_server *server, struct net_server_counts *out);
/* Sets net_server_options.descriptors anew, for connections to come. */
void net_server_bound(struct net_server *server, uint32_t descriptors);

enum net_result { NET_OK = 0, NET_TIMEOUT, NET_UNREACHABLE };

/* bytes are the reply if result is NET_OK, valid during the call only. */
typedef void net_reply_fn(void *arg, enum net_result result, const char *bytes, size_t length);

/* Dials in the background, for ever (backing off to 1 s); calls made while there is no
 * connection end with NET_UNREACHABLE after 500 ms, or their own timeout if it is shorter.
 * max_calls: calls under way at once, 4096 at most. */
int net_link_open(struct net_link **out, struct loop *loop, const char *url, uint32_t max_calls,
                  struct error *error);
/* Returns 0, or -1 if max_calls are under way or the link is closing (done is then not called). The
 * bytes are copied. done is never called before this returns; it may call again: its own call is
 * over. */
int net_call(struct net_link *link, const char *bytes, size_t length, uint32_t timeout_ms,
             net_reply_fn *done, void *arg);
/* Is a connection up at this moment? */
bool net_link_connected(const struct net_link *link);
/* Ends all calls with NET_UNREACHABLE before it returns. Not to be called in a reply's function. */
void net_link_close(struct net_link *link);

/* For command lines: one call, for which the link's loop is run until it is over. *reply is
 * malloc'ed, zero-terminated, the caller's. */
enum net_result net_call_wait(struct net_link *link, const char *bytes, size_t length,
                              uint32_t timeout_ms, char **reply, size_t *reply_length);

#endif
