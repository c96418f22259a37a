/*
 * common/lookup.c - where a host is, by its name, without waiting for whoever knows.
 *
 * A look-up belongs to the loop's thread, and hangs at its name while that is being resolved. Then
 * its own copy of the result is handed over to the loop. One that is not wanted any more leaves its
 * name, or, if it is on its way already, arrives and tells nobody.
 */
#include "common/lookup.h"

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "common/must.h"

LIST_HEAD(lookups, lookup);

struct lookup {
    LIST_ENTRY(lookup) link; /* of its name's */
    struct loop *loop;
    struct loop_job arrival;
    bool under_way; /* under the lock: its name is being resolved */
    bool unwanted;  /* the loop's thread's own */
    lookup_fn *done;
    void *arg;
    struct addresses found;
};

/* Being resolved. */
struct name {
    LIST_ENTRY(name) link;
    struct lookups lookups;
    char *host;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, name) names = LIST_HEAD_INITIALIZER(names);

bool lookup_is_name(const char *host)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return true;
    freeaddrinfo(found);
    return false;
}

/* ---- in the name's thread ---- */

static void lookup_resolve(const char *host, struct addresses *out)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    out->count = 0;
    out->reason = getaddrinfo(host, NULL, &hints, &found);
    for (struct addrinfo *at = found; at != NULL && out->count < ADDRESSES_MOST; at = at->ai_next)
        if (getnameinfo(at->ai_addr, at->ai_addrlen, out->list[out->count], ADDRESS_BYTES, NULL, 0,
                        NI_NUMERICHOST) == 0)
            out->count++;
    if (out->reason == 0 && out->count == 0)
        out->reason = EAI_NONAME;
    if (found != NULL)
        freeaddrinfo(found);
}

static void lookup_arrive(void *arg)
{
    struct lookup *lookup = arg;
    if (!lookup->unwanted)
        lookup->done(lookup->arg, &lookup->found);
    free(lookup);
}

/* Its name has been resolved. Called with the lock. */
static void lookup_hand_over(struct lookup *lookup, const struct addresses *found)
{
    lookup->found = *found;
    lookup->under_way = false;
    loop_hand_over(lookup->loop, &lookup->arrival);
}

static void *lookup_resolve_name(void *arg)
{
    struct name *name = arg;
    struct addresses found;
    pthread_setname_np(pthread_self(), "lookup");
    lookup_resolve(name->host, &found);
    pthread_mutex_lock(&lock);
    LIST_REMOVE(name, link);
    for (struct lookup *at = LIST_FIRST(&name->lookups), *next; at != NULL; at = next) {
        next = LIST_NEXT(at, link);
        lookup_hand_over(at, &found);
    }
    pthread_mutex_unlock(&lock);
    free(name->host);
    free(name);
    return NULL;
}

/* ---- in the loop's ---- */

static struct name *lookup_find_name(const char *host)
{
    struct name *name;
    LIST_FOREACH(name, &names, link)
    if (strcmp(name->host, host) == 0)
        return name;
    return NULL;
}

/* Called with the lock. */
static struct name *lookup_begin_name(const char *host)
{
    pthread_t thread;
    struct name *name = must_alloc(sizeof *name, "a name to look up");
    name->host = must_copy(host, "a host's name");
    LIST_INIT(&name->lookups);
    LIST_INSERT_HEAD(&names, name, link);
    if (pthread_create(&thread, NULL, lookup_resolve_name, name) == 0) {
        pthread_detach(thread);
        return name;
    }
    LIST_REMOVE(name, link);
    free(name->host);
    free(name);
    return NULL;
}

struct lookup *lookup_begin(struct loop *loop, const char *host, lookup_fn *done, void *arg)
{
    struct lookup *lookup = must_alloc(sizeof *lookup, "the look-up of a name");
    lookup->loop = loop;
    lookup->arrival.run = lookup_arrive;
    lookup->arrival.arg = lookup;
    lookup->done = done;
    lookup->arg = arg;
    pthread_mutex_lock(&lock);
    struct name *name = lookup_find_name(host);
    if (name == NULL)
        name = lookup_begin_name(host);
    if (name != NULL) {
        lookup->under_way = true;
        LIST_INSERT_HEAD(&name->lookups, lookup, link);
    } else {
        lookup_hand_over(lookup,
                         &(struct addresses){.reason = EAI_AGAIN}); /* no thread can be had now */
    }
    pthread_mutex_unlock(&lock);
    return lookup;
}

void lookup_cancel(struct lookup *lookup)
{
    if (lookup == NULL)
        return;
    pthread_mutex_lock(&lock);
    bool under_way = lookup->under_way;
    if (under_way)
        LIST_REMOVE(lookup, link);
    pthread_mutex_unlock(&lock);
    lookup->unwanted = true;
    if (under_way)
        free(lookup);
}
