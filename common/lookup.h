/*
 * common/lookup.h - where a host is, by its name, without waiting for whoever knows.
 *
 * The system's resolver may take half a minute when a name server does not answer. Each name is
 * looked up by a thread of its own, and the result comes in the loop's thread. Nothing is kept: a
 * look-up that begins while one for the same name is under way shares that one, and no other.
 */
#ifndef ASSENT_COMMON_LOOKUP_H
#define ASSENT_COMMON_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"

enum { ADDRESSES_MOST = 16, ADDRESS_BYTES = 64 };

struct addresses {
    int reason;     /* 0, or getaddrinfo()'s: gai_strerror() has words for it */
    uint32_t count; /* at least 1 if reason is 0 */
    char list[ADDRESSES_MOST][ADDRESS_BYTES]; /* numeric, in the resolver's order */
};

struct lookup;
/* The look-up is over and freed. */
typedef void lookup_fn(void *arg, const struct addresses *found);

/* Is this a name, that has to be looked up, and no address? */
bool lookup_is_name(const char *host);
/* done is called once, while the loop waits, and never before this returns. Ends the process if
 * there is no memory. */
struct lookup *lookup_begin(struct loop *loop, const char *host, lookup_fn *done, void *arg);
/* done is not called any more. Before the loop is freed. lookup may be NULL. */
void lookup_cancel(struct lookup *lookup);

#endif
