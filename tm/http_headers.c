/*
 * tm/http_headers.c - the headers of a request over HTTP, as far as they matter here.
 */
#include "tm/http_headers.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "core/base/ids.h"

static bool headers_is_token(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) &&
            (text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text[i]) == NULL))
            return false;
    return length > 0;
}

/* A line that continues a header: libmicrohttpd 0.9.75 adds it to the name, so that `Tran: chunked`
 * continued by `sfer-Encoding` has a meaning for us that it has for nobody else. Both texts lie
 * where they came in, and so it shows: nothing but the colon and blanks is between them. */
static bool headers_is_one_line(const char *name, size_t name_length, const char *value)
{
    const char *between = name + name_length;
    while (between < value && (*between == '\0' || *between == ' ' || *between == '\t'))
        between++;
    return between == value && value > name + name_length;
}

static bool headers_has_control(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
            return true;
    return false;
}

static bool headers_note_if(const char *name, const char *wanted, const char *value,
                            uint32_t *count, const char **out)
{
    if (strcasecmp(name, wanted) != 0)
        return false;
    ++*count;
    *out = value;
    return true;
}

enum MHD_Result headers_note(void *arg, enum MHD_ValueKind kind, const char *name,
                             size_t name_length, const char *value, size_t value_length)
{
    struct headers *headers = arg;
    uint32_t types = 0;
    (void)kind;
    headers->bytes += name_length + value_length + strlen(": \r\n");
    if (!headers_is_token(name, name_length) || headers_has_control(value, value_length) ||
        !headers_is_one_line(name, name_length, value)) {
        headers->malformed = true;
        return MHD_YES;
    }
    headers->origin = headers->origin || strcasecmp(name, "Origin") == 0;
    (void)(headers_note_if(name, "Content-Length", value, &headers->lengths, &headers->length) ||
           headers_note_if(name, "Transfer-Encoding", value, &headers->encodings,
                           &headers->encoding) ||
           headers_note_if(name, "Host", value, &headers->hosts, &headers->host) ||
           headers_note_if(name, "Idempotency-Key", value, &headers->keys, &headers->key) ||
           headers_note_if(name, "traceparent", value, &headers->traces, &headers->trace) ||
           headers_note_if(name, "Content-Type", value, &types, &headers->type));
    return MHD_YES;
}

enum MHD_Result headers_note_parameter(void *arg, enum MHD_ValueKind kind, const char *name,
                                       size_t name_length, const char *value, size_t value_length)
{
    struct headers *headers = arg;
    (void)kind;
    (void)name_length;
    (void)value_length;
    if (headers->query_name == NULL || strcmp(name, headers->query_name) != 0)
        return MHD_YES;
    headers->queries++;
    headers->query = value != NULL ? value : "";
    return MHD_YES;
}

uint64_t headers_announced_length(const struct headers *headers)
{
    uint64_t length;
    if (headers->lengths == 0)
        return 0;
    return u64_parse(headers->length, strlen(headers->length), &length) ? length : UINT64_MAX;
}

bool headers_is_loopback(const char *host)
{
    char name[64];
    struct in_addr number;
    size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (length >= sizeof name)
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    return strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, &number) == 1 && ntohl(number.s_addr) >> 24 == 127);
}
