/*
 * common/address.c - where a socket is: ipc:///path or tcp://host:port.
 */
#include "common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/host_port.h"
#include "common/lookup.h"
#include "common/tcp.h"

enum {
    PATH_MOST = sizeof((struct sockaddr_un *)0)->sun_path - 1,
    MODE_DEFAULT = 0660,
    MODE_PRIVATE = 0600,
    KIND = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
};

static const char *address_behind(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

static const char *address_path(const char *url)
{
    return address_behind(url, "ipc://");
}

bool address_is_local(const char *url)
{
    return address_path(url) != NULL;
}

static int address_check_path(const char *path, struct error *error)
{
    if (path[0] != '/')
        return fail(error, "socket %s: expected ipc:// and an absolute path", path);
    if (strlen(path) > PATH_MOST)
        return fail(error, "socket %s: the path is %zu bytes long, the system allows %d", path,
                    strlen(path), (int)PATH_MOST);
    return 0;
}

int address_check(const char *url, struct error *error)
{
    char host[HOST_BYTES];
    const char *port, *path = address_path(url), *address = address_behind(url, "tcp://");
    if (path != NULL)
        return address_check_path(path, error);
    if (address != NULL && host_port_split(address, host, &port))
        return 0;
    return fail(error, "address %s: expected ipc:///path or tcp://host:port", url);
}

static struct sockaddr_un address_of_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

/* ---- listening on a path ---- */

/* Asks the kernel whether a socket file is served without disturbing whoever serves it: a
 * datagram socket cannot connect to a listening stream, but learns that there is one. */
static int address_check_unserved(const char *path, struct error *error)
{
    struct sockaddr_un address = address_of_path(path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(error, "make a socket");
    int rc = connect(fd, (const struct sockaddr *)&address, sizeof address);
    int reason = errno;
    close(fd);
    if (rc == 0 || reason == EPROTOTYPE)
        return fail(error, "socket %s is served by another process", path);
    errno = reason;
    return reason == ECONNREFUSED ? 0 : fail_errno(error, "look whether %s is served", path);
}

/* Only a socket that nobody serves may go. */
static int address_clear_path(const char *path, struct error *error)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? 0 : fail_errno(error, "look at %s", path);
    if (!S_ISSOCK(status.st_mode))
        return fail(error, "%s is in the way: it exists and is not a socket", path);
    if (address_check_unserved(path, error) != 0)
        return -1;
    if (unlink(path) != 0 && errno != ENOENT)
        return fail_errno(error, "remove the stale socket %s", path);
    return 0;
}

static int address_find_group(const char *name, gid_t *out, struct error *error)
{
    char room[16 * 1024];
    struct group group, *found = NULL;
    int reason = getgrnam_r(name, &group, room, sizeof room, &found);
    if (found == NULL) {
        errno = reason;
        return reason == 0 ? fail(error, "socket_group %s: there is no such group", name)
                           : fail_errno(error, "socket_group %s", name);
    }
    *out = group.gr_gid;
    return 0;
}

/* The group first: the file is the owner's alone until it is the right group's. */
static int address_open_to_others(const char *path, uint32_t mode, const char *name,
                                  struct error *error)
{
    gid_t group = (gid_t)-1;
    if (name != NULL && name[0] != '\0' && address_find_group(name, &group, error) != 0)
        return -1;
    if (group != (gid_t)-1 && chown(path, (uid_t)-1, group) != 0)
        return fail_errno(error, "give %s to group %s", path, name);
    if (chmod(path, mode != 0 ? (mode_t)mode : MODE_DEFAULT) != 0)
        return fail_errno(error, "set the mode of %s", path);
    return 0;
}

/* The file gets the mode of its descriptor: it is never open to others, not for a moment. */
static int address_listen_local(int fd, const char *path, uint32_t mode, const char *group,
                                struct error *error)
{
    struct sockaddr_un address = address_of_path(path);
    if (address_clear_path(path, error) != 0)
        return -1;
    if (fchmod(fd, MODE_PRIVATE) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return fail_errno(error, "listen on ipc://%s", path);
    if (address_open_to_others(path, mode, group, error) == 0) {
        if (listen(fd, SOMAXCONN) == 0)
            return 0;
        fail_errno(error, "listen on ipc://%s", path);
    }
    unlink(path);
    return -1;
}

/* ---- listening on a port ---- */

/* The loopback address that a host's name or number stands for; false for any other. */
static bool address_loopback(const char *host, uint16_t port, struct sockaddr_storage *out,
                             socklen_t *length)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (strcmp(host, "::1") == 0) {
        memcpy(out, &six, sizeof six);
        *length = sizeof six;
        return true;
    }
    const char *number = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (inet_pton(AF_INET, number, &four.sin_addr) != 1 ||
        ntohl(four.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
        return false;
    memcpy(out, &four, sizeof four);
    *length = sizeof four;
    return true;
}

static bool address_loopback_of(const char *text, struct sockaddr_storage *out, socklen_t *length)
{
    char host[HOST_BYTES];
    const char *port;
    unsigned long number = host_port_split(text, host, &port) ? strtoul(port, NULL, 10) : 0;
    return number > 0 && number <= UINT16_MAX &&
           address_loopback(host, (uint16_t)number, out, length);
}

static int address_listen_tcp(int fd, const char *url, const struct sockaddr_storage *address,
                              socklen_t length, struct error *error)
{
    int on = 1;
    tcp_set_up(fd);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)address, length) != 0 || listen(fd, SOMAXCONN) != 0)
        return fail_errno(error, "listen on %s", url);
    return 0;
}

int address_listen(const char *url, uint32_t mode, const char *group, struct error *error)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    socklen_t length = 0;
    const char *path = address_path(url), *host = address_behind(url, "tcp://");
    if (path == NULL && host == NULL)
        return fail(error, "listen on %s: expected ipc:///path or tcp://127.0.0.1:port", url);
    if (path != NULL && address_check_path(path, error) != 0)
        return -1;
    if (host != NULL && !address_loopback_of(host, &address, &length)) {
        fail(error, "listen on %s: tcp is served on loopback only", url);
        return fail_hint(error, "Use tcp://127.0.0.1:PORT, or ipc:// and a path.");
    }
    int fd = socket(address.ss_family, KIND, 0);
    if (fd < 0)
        return fail_errno(error, "make a socket for %s", url);
    int rc = path != NULL ? address_listen_local(fd, path, mode, group, error)
                          : address_listen_tcp(fd, url, &address, length, error);
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

void address_close(const char *url, int fd)
{
    const char *path = address_path(url);
    if (path != NULL)
        unlink(path);
    close(fd);
}

/* ---- dialling ---- */

static int address_connect(const struct sockaddr *address, socklen_t length)
{
    int fd = socket(address->sa_family, KIND, 0);
    if (fd < 0)
        return -1;
    if (address->sa_family != AF_UNIX)
        tcp_set_up(fd);
    if (connect(fd, address, length) == 0 || errno == EINPROGRESS)
        return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

bool address_name(const char *url, char host[HOST_BYTES])
{
    const char *port, *address = address_behind(url, "tcp://");
    return address != NULL && host_port_split(address, host, &port) && lookup_is_name(host);
}

static int address_dial_tcp(const char *text, const char *number)
{
    char host[HOST_BYTES];
    const char *port;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    struct addrinfo *found;
    errno = EADDRNOTAVAIL;
    if (!host_port_split(text, host, &port) ||
        getaddrinfo(number != NULL ? number : host, port, &hints, &found) != 0)
        return -1;
    int fd = address_connect(found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return fd;
}

int address_dial(const char *url, const char *number)
{
    const char *path = address_path(url);
    if (path == NULL)
        return address_dial_tcp(address_behind(url, "tcp://"), number);
    struct sockaddr_un address = address_of_path(path);
    return address_connect((const struct sockaddr *)&address, sizeof address);
}
