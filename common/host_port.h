/*
 * common/host_port.h - "127.0.0.1:7411" and "[::1]:7411" into their two parts.
 *
 * Here for the daemons and the client library alike, which share no object.
 */
#ifndef ASSENT_COMMON_HOST_PORT_H
#define ASSENT_COMMON_HOST_PORT_H

#include <stdbool.h>
#include <string.h>

enum { HOST_BYTES = 256 };

/* *port then points into text: digits to its end. Returns false if there are no such parts. */
static inline bool host_port_split(const char *text, char host[HOST_BYTES], const char **port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    size_t length = (size_t)(colon - text);
    if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= HOST_BYTES)
        return false;
    memcpy(host, text, length);
    host[length] = '\0';
    *port = colon + 1;
    return true;
}

#endif
