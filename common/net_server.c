/*
 * common/net_server.c - the answering side: connections that ask, and their requests.
 *
 * A request's head, which its reply has to bear, is a row of numbers of four bytes, of which the
 * last has its highest bit set: the asker's own number, behind those of the devices that it came
 * through (nanomsg's RFC sp-request-reply-01).
 *
 * A client that does not read is not read from: what it is owed is bounded, and after a while it is
 * given up. A request outlives its connection, and the server too, until it is answered.
 *
 * A connection is in one of three queues, by what it does; in two of them the head is who has been
 * there for longest, and makes room when there are too many.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/logger.h"
#include "common/must.h"
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
    SAY_AGAIN_MS = 60 * 1000,  /* that there is none */
};

TAILQ_HEAD(connections, connection);

/* What a connection does: has it never asked, does it wait for an answer, or has it none to get? */
enum doing { UNASKED, AT_WORK, QUIET, DOINGS };

struct connection {
    TAILQ_ENTRY(connection) link; /* in the queue of what it does */
    enum doing doing;
    uint32_t requests; /* under way */
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
    struct connections connections[DOINGS];
    struct net_server_counts counts;
    uint64_t say_again_ms; /* that there is no room */
    struct net_request *requests;
    struct loop_timer look;
};

/* ---- what a connection does ---- */

static void net_connection_does(struct connection *connection, enum doing doing)
{
    struct net_server *server = connection->server;
    TAILQ_REMOVE(&server->connections[connection->doing], connection, link);
    connection->doing = doing;
    TAILQ_INSERT_TAIL(&server->connections[doing], connection, link);
}

/* ---- requests ---- */

static void net_request_free(struct net_request *request)
{
    if (request->server != NULL) {
        *request->link = request->next;
        if (request->next != NULL)
            request->next->link = request->link;
        request->server->waiting -= request->counted;
    }
    free(request);
}

static struct net_request *net_request_add(struct connection *connection, const uint8_t *head,
                                           size_t length)
{
    struct net_server *server = connection->server;
    struct net_request *request = must_alloc(sizeof *request, "a client's request");
    request->server = server;
    request->connection = connection;
    request->head_length = (uint32_t)length;
    memcpy(request->head, head, length);
    if (connection->requests++ == 0)
        net_connection_does(connection, AT_WORK);
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
static size_t net_request_head(const uint8_t *bytes, size_t length)
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
        if (--connection->requests == 0)
            net_connection_does(connection, QUIET);
    }
    net_request_free(request);
}

/* ---- connections ---- */

static void net_connection_close(struct connection *connection)
{
    struct net_request *request = connection->server->requests;
    for (; request != NULL; request = request->next)
        if (request->connection == connection)
            request->connection = NULL;
    TAILQ_REMOVE(&connection->server->connections[connection->doing], connection, link);
    connection->server->counts.connections--;
    stream_close(connection->stream);
    free(connection);
}

static void net_connection_lost(void *arg)
{
    net_connection_close(arg);
}

static void net_connection_drained(void *arg)
{
    struct connection *connection = arg;
    stream_pause(connection->stream, false);
}

static void net_connection_took_message(void *arg, const uint8_t *bytes, size_t length)
{
    struct connection *connection = arg;
    const struct net_server_options *options = &connection->server->options;
    size_t head = net_request_head(bytes, length);
    if (head == 0) {
        net_connection_close(connection);
        return;
    }
    struct net_request *request = net_request_add(connection, bytes, head);
    net_request_fn *handler = request->counted ? options->handler : options->busy;
    length -= head;
    handler(options->arg, request, &connection->peer,
            length <= MESSAGE_MAX ? (const char *)bytes + head : NULL, length);
}

static struct net_peer net_peer_of(const struct net_server *server, int fd)
{
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (!server->local || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return (struct net_peer){.local = false};
    return (struct net_peer){.local = true, .uid = credentials.uid};
}

static void net_connection_open(struct net_server *server, int fd)
{
    struct connection *connection = must_alloc(sizeof *connection, "a client's connection");
    const struct stream_options options = {
        .loop = server->loop,
        .side = STREAM_REP,
        .local = server->local,
        .message_max = HEAD_MOST + MESSAGE_MAX + OVERSIZE_ROOM,
        .message = net_connection_took_message,
        .drained = net_connection_drained,
        .lost = net_connection_lost,
        .arg = connection,
    };
    connection->server = server;
    connection->peer = net_peer_of(server, fd);
    connection->stream = stream_open(fd, &options);
    TAILQ_INSERT_TAIL(&server->connections[UNASKED], connection, link);
    server->counts.connections++;
}

/* ---- the server ---- */

static void net_server_look_within(struct net_server *server, uint64_t ms)
{
    uint64_t at_ms = loop_now_ms() + ms;
    if (server->look.at_ms > at_ms)
        server->look.at_ms = at_ms;
}

static void net_server_accept_all(void *arg, uint32_t events);

static void net_server_accept_again(struct net_server *server, bool accepting)
{
    struct error ignored; /* it is looked at again */
    server->accepting = accepting && loop_watch(server->loop, server->fd, EPOLLIN,
                                                net_server_accept_all, server, &ignored) == 0;
    if (!accepting)
        loop_watch(server->loop, server->fd, 0, NULL, NULL, &ignored);
}

/* Once in a while, however many come. */
static void net_server_say_no_room(struct net_server *server, const char *why)
{
    uint64_t now_ms = loop_now_ms();
    if (now_ms < server->say_again_ms)
        return;
    server->say_again_ms = now_ms + SAY_AGAIN_MS;
    log_warning("%s: no room for another connection: %u are open, and %s", server->url,
                server->counts.connections, why);
}

/* A newcomer that has a number above the bound gets one below it, in another's place. Returns it,
 * or -1: nobody can make room, and it is closed. */
static int net_server_make_room(struct net_server *server, int fd)
{
    uint32_t bound = server->options.descriptors;
    while (bound != 0 && (uint32_t)fd >= bound) {
        struct connection *idle = TAILQ_FIRST(&server->connections[UNASKED]);
        if (idle == NULL)
            idle = TAILQ_FIRST(&server->connections[QUIET]);
        server->counts.refused++;
        net_server_say_no_room(
            server, idle != NULL
                        ? "more files may not be open (RLIMIT_NOFILE): those that ask for "
                          "nothing are closed"
                        : "more files may not be open (RLIMIT_NOFILE): all are at work, and "
                          "newcomers are closed");
        if (idle != NULL)
            net_connection_close(idle);
        int lower = idle != NULL ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
        close(fd);
        if (lower < 0)
            return -1;
        fd = lower;
    }
    return fd;
}

/* A connection that cannot be taken now stays with the kernel. */
static void net_server_no_room(struct net_server *server)
{
    net_server_say_no_room(server, strerror(errno));
    net_server_accept_again(server, false);
    net_server_look_within(server, NO_ROOM_MS);
}

static void net_server_accept_all(void *arg, uint32_t events)
{
    struct net_server *server = arg;
    (void)events;
    for (;;) {
        int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (fd >= 0) {
            fd = net_server_make_room(server, fd);
            if (fd >= 0)
                net_connection_open(server, fd);
            net_server_look_within(server, LOOK_MS);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            net_server_no_room(server);
            return;
        }
    }
}

static void net_server_give_up_stuck(const struct connections *connections, uint64_t now_ms)
{
    for (struct connection *at = TAILQ_FIRST(connections), *next; at != NULL; at = next) {
        next = TAILQ_NEXT(at, link);
        uint64_t since_ms = stream_stuck_since_ms(at->stream);
        if (since_ms != UINT64_MAX && now_ms >= since_ms + PATIENCE_MS)
            net_connection_close(at);
    }
}

static void net_server_look(void *arg, uint64_t now_ms)
{
    struct net_server *server = arg;
    if (!server->accepting)
        net_server_accept_again(server, true);
    if (!server->accepting)
        net_server_look_within(server, NO_ROOM_MS);
    for (int doing = 0; doing < DOINGS; doing++)
        net_server_give_up_stuck(&server->connections[doing], now_ms);
    if (server->counts.connections > 0)
        net_server_look_within(server, LOOK_MS);
}

int net_listen(struct net_server **out, struct loop *loop, const struct net_server_options *options,
               struct error *error)
{
    int fd = address_listen(options->url, options->mode, options->group, error);
    if (fd < 0)
        return -1;
    struct net_server *server = must_alloc(sizeof *server, "a server");
    server->url = must_copy(options->url, "a server's address");
    server->loop = loop;
    server->options = *options;
    server->fd = fd;
    server->local = address_is_local(options->url);
    if (server->options.max_waiting == 0)
        server->options.max_waiting = WAITING_DEFAULT;
    for (int doing = 0; doing < DOINGS; doing++)
        TAILQ_INIT(&server->connections[doing]);
    server->look = (struct loop_timer){.at_ms = UINT64_MAX, .due = net_server_look, .arg = server};
    loop_timer_add(loop, &server->look);
    if (loop_watch(loop, fd, EPOLLIN, net_server_accept_all, server, error) != 0) {
        net_server_close(server);
        return -1;
    }
    server->accepting = true;
    *out = server;
    return 0;
}

void net_server_close(struct net_server *server)
{
    net_server_accept_again(server, false);
    for (int doing = 0; doing < DOINGS; doing++)
        while (!TAILQ_EMPTY(&server->connections[doing]))
            net_connection_close(TAILQ_FIRST(&server->connections[doing]));
    for (struct net_request *request = server->requests; request != NULL; request = request->next)
        request->server = NULL;
    address_close(server->url, server->fd);
    loop_timer_remove(server->loop, &server->look);
    free(server->url);
    free(server);
}

void net_server_counts(const struct net_server *server, struct net_server_counts *out)
{
    *out = server->counts;
}

void net_server_bound(struct net_server *server, uint32_t descriptors)
{
    server->options.descriptors = descriptors;
}

uint32_t net_server_waiting(const struct net_server *server)
{
    return server->waiting;
}
