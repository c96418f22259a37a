/*
 * lib/client.h - where the coordinator listens, and the connections that wait to be used again.
 */
#ifndef ASSENT_LIB_CLIENT_H
#define ASSENT_LIB_CLIENT_H

#include <assent.h>

#include "lib/sp.h"

/* How many addresses there are, and the one to try after that many have failed. */
size_t assent_client_urls(const struct assent_client *client);
const char *assent_client_url(struct assent_client *client, size_t failed);
/* That one answers: begin with it from now on. */
void assent_client_prefer(struct assent_client *client, const char *url);

/* An open connection to url that nobody uses, or NULL. It is the caller's until it is kept. */
struct assent_sp *assent_client_borrow(struct assent_client *client, const char *url);
void assent_client_keep(struct assent_client *client, const char *url, struct assent_sp *sp);

#endif
