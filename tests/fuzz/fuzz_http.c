/*
 * tests/fuzz/fuzz_http.c - what libmicrohttpd hands to us of a request, hostile.
 *
 * A line each: the method, the path, and, "-" for none, the query's value and the headers
 * Idempotency-Key and traceparent; the rest is the body. Whatever is let pass is a request that the
 * socket's reader judges as well, and whatever is refused has a code and makes a page.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tm/routes.h"

static void refused(const struct failure *failure)
{
    struct page page = {.status = 0};
    assert(failure->code != ERR_NONE);
    page_write_failure(error_http_status(failure->code), failure, &page);
    assert(page.status >= 400 && page.text != NULL && page.length == strlen(page.text));
    free(page.text);
}

/* The next line as a text, and what is behind it. */
static char *take_line(const char **bytes, size_t *length)
{
    const char *end = memchr(*bytes, '\n', *length);
    size_t here = end == NULL ? *length : (size_t)(end - *bytes);
    char *line = strndup(*bytes, here);
    here += end != NULL;
    *bytes += here;
    *length -= here;
    return line;
}

static const char *given(const char *line)
{
    return strcmp(line, "-") == 0 ? NULL : line;
}

static void read_request(const cJSON *object)
{
    static struct request request;
    struct failure failure = {.code = ERR_NONE};
    memset(&request, 0, sizeof request);
    if (wire_read_request(object, &request, &failure) != 0)
        refused(&failure);
}

static void ask(const struct route *route, const char *path, const char *query, const char *key,
                const char *trace, const char *body, size_t length)
{
    struct failure failure = {.code = ERR_NONE};
    if (route->query == NULL)
        query = NULL;
    cJSON *request = route_request(route, path, query, key, trace, &failure);
    if (request == NULL) {
        refused(&failure);
        return;
    }
    if (length > 0 && route_add_body(request, body, length, &failure) != 0)
        refused(&failure);
    else
        read_request(request);
    cJSON_Delete(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    const char *bytes = (const char *)data;
    char allow[ALLOW_BYTES];
    char *method = take_line(&bytes, &length);
    char *path = take_line(&bytes, &length);
    char *query = take_line(&bytes, &length);
    char *key = take_line(&bytes, &length);
    char *trace = take_line(&bytes, &length);
    const struct route *route = route_find(method, path, allow);
    assert(memchr(allow, '\0', sizeof allow) != NULL);
    if (route != NULL)
        ask(route, path, given(query), given(key), given(trace), bytes, length);
    free(method);
    free(path);
    free(query);
    free(key);
    free(trace);
    return 0;
}
