/*
 * tm/http_headers.h - the headers of a request over HTTP, as far as they matter here.
 *
 * They are noted as libmicrohttpd tells them; texts are its own and valid as long as the request.
 */
#ifndef ASSENT_TM_HTTP_HEADERS_H
#define ASSENT_TM_HTTP_HEADERS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct headers {
    size_t bytes;
    bool malformed;
    uint32_t lengths, encodings, hosts, keys, traces, queries;
    const char *length, *encoding, *host, *key, *trace, *query;
    const char *type;
    const char *query_name; /* the parameter that is looked for */
    bool origin;
};

/* For MHD_get_connection_values_n(): each header; each parameter. arg is a struct headers. */
enum MHD_Result headers_note(void *arg, enum MHD_ValueKind kind, const char *name,
                             size_t name_length, const char *value, size_t value_length);
enum MHD_Result headers_note_parameter(void *arg, enum MHD_ValueKind kind, const char *name,
                                       size_t name_length, const char *value, size_t value_length);
/* The length of the body that they announce; all of it digits, or UINT64_MAX. */
uint64_t headers_announced_length(const struct headers *headers);
/* Is this Host, with its port or without, a name or number of the host itself? */
bool headers_is_loopback(const char *host);

#endif
