/*
 * tm/routes.h - what HTTP serves: which path is which request, and how its reply looks.
 *
 * Knows nothing of connections: text in, text out.
 */
#ifndef ASSENT_TM_ROUTES_H
#define ASSENT_TM_ROUTES_H

#include "common/wire.h"

/* What goes back. */
struct page {
    int status;
    const char *type;
    char *text; /* malloc'ed */
    size_t length;
    char location[GTRID_BYTES + 32]; /* of what was made, or "" */
};

typedef void page_fn(cJSON *reply, struct page *out);

struct route {
    const char *method; /* GET serves HEAD too */
    const char *path;   /* {gtrid} stands for one segment */
    enum op op;         /* OP_NONE: the page needs no reply */
    const char *query;  /* the parameter that is a field of the request, or NULL */
    page_fn *write;     /* makes the page of a reply, and deletes the reply */
};

extern const struct route routes[]; /* ends with a NULL method */

/* The route, or NULL: then allow is "" when there is nothing at this path, else what may be done
 * there ("GET, HEAD"). */
enum { ALLOW_BYTES = 32 };
const struct route *route_find(const char *method, const char *path, char allow[ALLOW_BYTES]);

/* The request as far as it is said outside of the body: in the path, the query and the header
 * Idempotency-Key (NULL: neither). Returns it or NULL with *failure. */
cJSON *route_request(const struct route *route, const char *path, const char *query,
                     const char *idempotency_key, const char *traceparent, struct failure *failure);
/* Adds what the body says, which may say nothing twice. Returns 0 or -1 with *failure. */
int route_add_body(cJSON *request, const char *body, size_t length, struct failure *failure);

void page_write_failure(int status, const struct failure *failure, struct page *out);

#endif
