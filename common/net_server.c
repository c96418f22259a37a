/*
 * common/net_server.c - the answering side: connections that ask, and their requests.
 *
 * A request's head, which its reply has to bear, is a row of numbers of four bytes, of which the
 * last has its highest bit set: the asker's own number, behind those of the devices that it came
 * through (nanomsg's RFC sp-request-reply-01).
 *
 * A client that does not read is not read from: what it is owed is bounded, and after a while it is
 * given up. A request outlives its connection, and the server too, until it is answered.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/logger.h"
#include "common/net.h"
#include "common/stream.h"

enum {
    WAITING_DEFAULT = 1024,
    OVERSIZE_ROOM = 64 * 1024,
    NUMBER_BYTES = 4,
    HEAD_MOST = 16 * NUMBER_BYTES,
    UNSENT_MOST = 1024 * 1024, /* bytes a connection is owed before it is not read from */
    PATIENCE_MS = 10 * 1000,   /* with a client that neither greets nor reads */
    LOOK_MS = 1000,            /* at whom we have been patient with */
    NO_ROOM_MS = 100,          /* for another connection: until it is tried again */
};

struct connection {
    struct connection *next, **link;
    struct net_server *server;
    struct stream *stream;
    struct net_peer peer;
};

struct net_request {
    struct net_request *next, **link; /* of all of the server's */
    struct net_server *server;        /* NULL: closed */
    struct connection *connection;    /* NULL: lost */
    bool counted;                     /* in server->waiting: not one that was answered `busy` */
    uint32_t head_length;
    uint8_t head[HEAD_MOST];
};

struct net_server {
    struct loop *loop;
    struct net_server_options options;
    char *url;
    int fd;
    bool accepting;
    bool local; /* ipc: peers have a uid */
    uint32_t waiting;
    struct connection *connections;
    struct net_request *requests;
    struct loop_timer look;
};

/* ---- requests ---- */

static void request_free(struct net_request *request)
{
    if (request->server != NULL) {
        *request->link = request->next;
        if (request->next != NULL)
            request->next->link = request->link;
        request->server->waiting -= request->counted;
    }
    free(request);
}

static struct net_request *request_add(struct connection *connection, const uint8_t *head,
                                       size_t length)
{
    struct net_server *server = connection->server;
    struct net_request *request = calloc(1, sizeof *request);
    if (request == NULL)
        abort(); /* the process ends and recovery takes over, as everywhere */
    request->server = server;
    request->connection = connection;
    request->head_length = (uint32_t)length;
    memcpy(request->head, head, length);
    request->counted = server->waiting < server->options.max_waiting;
    server->waiting += request->counted;
    request->next = server->requests;
    request->link = &server->requests;
    if (request->next != NULL)
        request->next->link = &request->next;
    server->requests = request;
    return request;
}

/* The length of a request's head; 0 if it has none. */
static size_t head_of(const uint8_t *bytes, size_t length)
{
    for (size_t end = NUMBER_BYTES; end <= length && end <= HEAD_MOST; end += NUMBER_BYTES)
        if ((bytes[end - NUMBER_BYTES] & 0x80) != 0)
            return end;
    return 0;
}

void net_reply(struct net_request *request, const char *bytes, size_t length)
{
    struct connection *connection = request->connection;
    if (connection != NULL) {
        stream_send(connection->stream, request->head, request->head_length, bytes, length);
        if (stream_unsent(connection->stream) > UNSENT_MOST)
            stream_pause(connection->stream, true);
    }
    request_free(request);
}

/* ---- connections ---- */

static void connection_close(struct connection *connection)
{
    struct net_request *request = connection->server->requests;
    for (; request != NULL; request = request->next)
        if (request->connection == connection)
            request->connection = NULL;
    *connection->link = connection->next;
    if (connection->next != NULL)
        connection->next->link = connection->link;
    stream_close(connection->stream);
    free(connection);
}

static void lost(void *arg)
{
    connection_close(arg);
}

static void drained(void *arg)
{
    struct connection *connection = arg;
    stream_pause(connection->stream, false);
}

static void took_message(void *arg, const uint8_t *bytes, size_t length)
{
    struct connection *connection = arg;
    const struct net_server_options *options = &connection->server->options;
    size_t head = head_of(bytes, length);
    if (head == 0) {
        connection_close(connection);
        return;
    }
    struct net_request *request = request_add(connection, bytes, head);
    net_request_fn *handler = request->counted ? options->handler : options->busy;
    length -= head;
    handler(options->arg, request, &connection->peer,
            length <= MESSAGE_MAX ? (const char *)bytes + head : NULL, length);
}

static struct net_peer peer_of(const struct net_server *server, int fd)
{
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (!server->local || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return (struct net_peer){.local = false};
    return (struct net_peer){.local = true, .uid = credentials.uid};
}

static void connection_open(struct net_server *server, int fd)
{
    int on = 1;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        abort();
    const struct stream_options options = {
        .loop = server->loop,
        .side = STREAM_REP,
        .local = server->local,
        .message_max = HEAD_MOST + MESSAGE_MAX + OVERSIZE_ROOM,
        .message = took_message,
        .drained = drained,
        .lost = lost,
        .arg = connection,
    };
    if (!server->local)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->server = server;
    connection->peer = peer_of(server, fd);
    connection->stream = stream_open(fd, &options);
    connection->next = server->connections;
    connection->link = &server->connections;
    if (connection->next != NULL)
        connection->next->link = &connection->next;
    server->connections = connection;
}

/* ---- the server ---- */

static void look_within(struct net_server *server, uint64_t ms)
{
    uint64_t at_ms = loop_now_ms() + ms;
    if (server->look.at_ms > at_ms)
        server->look.at_ms = at_ms;
}

static void accept_all(void *arg, uint32_t events);

static void accept_again(struct net_server *server, bool accepting)
{
    struct error ignored; /* it is looked at again */
    server->accepting = accepting && loop_watch(server->loop, server->fd, EPOLLIN, accept_all,
                                                server, &ignored) == 0;
    if (!accepting)
        loop_watch(server->loop, server->fd, 0, NULL, NULL, &ignored);
}

/* A connection that cannot be taken now stays with the kernel. */
static void no_room(struct net_server *server)
{
    log_warning("%s: no room for another connection: %s", server->url, strerror(errno));
    accept_again(server, false);
    look_within(server, NO_ROOM_MS);
}

static void accept_all(void *arg, uint32_t events)
{
    struct net_server *server = arg;
    (void)events;
    for (;;) {
        int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (fd >= 0) {
            connection_open(server, fd);
            look_within(server, LOOK_MS);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            no_room(server);
            return;
        }
    }
}

static void look(void *arg, uint64_t now_ms)
{
    struct net_server *server = arg;
    if (!server->accepting)
        accept_again(server, true);
    if (!server->accepting)
        look_within(server, NO_ROOM_MS);
    for (struct connection *at = server->connections, *next; at != NULL; at = next) {
        next = at->next;
        uint64_t since_ms = stream_stuck_since_ms(at->stream);
        if (since_ms != UINT64_MAX && now_ms >= since_ms + PATIENCE_MS)
            connection_close(at);
    }
    if (server->connections != NULL)
        look_within(server, LOOK_MS);
}

int net_listen(struct net_server **out, struct loop *loop, const struct net_server_options *options,
               struct error *error)
{
    int fd = address_listen(options->url, options->mode, options->group, error);
    if (fd < 0)
        return -1;
    struct net_server *server = calloc(1, sizeof *server);
    if (server == NULL || (server->url = strdup(options->url)) == NULL)
        abort();
    server->loop = loop;
    server->options = *options;
    server->fd = fd;
    server->local = address_is_local(options->url);
    if (server->options.max_waiting == 0)
        server->options.max_waiting = WAITING_DEFAULT;
    server->look = (struct loop_timer){.at_ms = UINT64_MAX, .due = look, .arg = server};
    loop_timer_add(loop, &server->look);
    if (loop_watch(loop, fd, EPOLLIN, accept_all, server, error) != 0) {
        net_server_close(server);
        return -1;
    }
    server->accepting = true;
    *out = server;
    return 0;
}

void net_server_close(struct net_server *server)
{
    accept_again(server, false);
    while (server->connections != NULL)
        connection_close(server->connections);
    for (struct net_request *request = server->requests; request != NULL; request = request->next)
        request->server = NULL;
    address_close(server->url, server->fd);
    loop_timer_remove(server->loop, &server->look);
    free(server->url);
    free(server);
}

uint32_t net_server_waiting(const struct net_server *server)
{
    return server->waiting;
}
