/*
 * tm/http.h - the coordinator over HTTP, for every language that has no nng.
 *
 * A thread of its own turns libmicrohttpd; a request becomes the very one that the socket takes,
 * and its reply goes back with a fitting status. What is served is in tm/routes.c.
 */
#ifndef ASSENT_TM_HTTP_H
#define ASSENT_TM_HTTP_H

#include "common/error.h"

struct http;
struct server;

/* Is url one that can be served: http://127.0.0.1:PORT or http://[::1]:PORT? Returns 0 or -1. */
int http_check_url(const char *url, struct error *error);

int http_listen(struct http **out, const char *url, struct server *server, struct error *error);
/* Whoever still waits for a reply is told so. In the server's thread, which answers no call any
 * more. http may be NULL. */
void http_close(struct http *http);

#endif
