/*
 * tm/http.h - the coordinator over HTTP, for every language that has no nng.
 *
 * A thread of its own turns libmicrohttpd; a request becomes the very one that the socket takes,
 * and its reply goes back with a fitting status. What is served is in tm/routes.c.
 */
#ifndef ASSENT_TM_HTTP_H
#define ASSENT_TM_HTTP_H

#include <stdint.h>

#include "common/error.h"

struct http;
struct server;

/* Descriptors of connections that have to make room, until they are gone. */
enum { HTTP_LEAVING = 8 };

/* Is url one that can be served: http://127.0.0.1:PORT or http://[::1]:PORT? Returns 0 or -1. */
int http_check_url(const char *url, struct error *error);
/* A socket that listens at such a URL, the caller's to close; -1 with *error. */
int http_open_socket(const char *url, struct error *error);

/* How many of each, at the same time. */
struct http_limits {
    uint32_t connections; /* the one that has been silent for longest makes room for more */
    uint32_t waiting;     /* requests whose answer others have to give; more are `busy` */
};

int http_listen(struct http **out, const char *url, const struct http_limits *limits,
                struct server *server, struct error *error);
/* Of this moment; in any thread. */
void http_counts(const struct http *http, uint32_t *connections, uint32_t *waiting);
/* Whoever still waits for a reply is told so. In the server's thread, which answers no call any
 * more. http may be NULL. */
void http_close(struct http *http);

#endif
