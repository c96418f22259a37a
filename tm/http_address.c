/*
 * tm/http_address.c - where HTTP is served: on this host only.
 */
#include "tm/http.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/ids.h"

enum { BACKLOG = 256 };

static int http_refuse_url(const char *url, struct error *error)
{
    return fail(error,
                "%s: expected http://127.0.0.1:PORT or http://[::1]:PORT, as there are no "
                "tokens yet",
                url);
}

/* The address of a URL that has no name in it. */
static int http_parse_url(const char *url, struct sockaddr_storage *out, socklen_t *length,
                          struct error *error)
{
    char host[32];
    uint64_t port;
    const char *start = url + strlen("http://");
    const char *colon = strrchr(url, ':');
    memset(out, 0, sizeof *out);
    if (strncmp(url, "http://", strlen("http://")) != 0 || colon < start ||
        (size_t)(colon - start) >= sizeof host || !u64_parse(colon + 1, strlen(colon + 1), &port) ||
        port < 1 || port > 65535)
        return http_refuse_url(url, error);
    memcpy(host, start, (size_t)(colon - start));
    host[colon - start] = '\0';
    if (strcmp(host, "[::1]") == 0) {
        *(struct sockaddr_in6 *)out = (struct sockaddr_in6){
            .sin6_family = AF_INET6,
            .sin6_port = htons((uint16_t)port),
            .sin6_addr = IN6ADDR_LOOPBACK_INIT,
        };
        *length = sizeof(struct sockaddr_in6);
        return 0;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
        ntohl(address.sin_addr.s_addr) >> 24 != 127)
        return http_refuse_url(url, error);
    memcpy(out, &address, sizeof address);
    *length = sizeof address;
    return 0;
}

int http_check_url(const char *url, struct error *error)
{
    struct sockaddr_storage address;
    socklen_t length;
    return http_parse_url(url, &address, &length, error);
}

int http_open_socket(const char *url, struct error *error)
{
    struct sockaddr_storage address;
    socklen_t length;
    int on = 1;
    if (http_parse_url(url, &address, &length, error) != 0)
        return -1;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    fail_errno(error, "listen on %s", url);
    if (fd >= 0)
        close(fd);
    return -1;
}
