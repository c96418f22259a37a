/*
 * common/net.c - request and reply between processes: all of nng is behind this.
 *
 * Every request under way is one nng context with one aio, and belongs to one party at a time:
 * to nng while it is received or sent, to the handler's side while it is worked on. It changes
 * hands under the server's mutex, where `closing` is looked at too: so nothing is ever started
 * on a closed socket, and closing waits for nothing but nng's own callbacks. A link's calls are
 * made the same way.
 *
 * Nothing is sent twice: with NNG_OPT_REQ_RESENDTIME infinite nng ends a call with "connection
 * reset" when its connection is lost, and a call that was not handed over in time is taken back.
 */
#include "common/net.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/util/platform.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    WAITING_DEFAULT = 1024,
    SPARE_CONTEXTS = 16, /* that carry `busy` replies to slow readers */
    OVERSIZE_ROOM = 64 * 1024,
    REPLY_SEND_MS = 10000, /* for a client that does not read its reply */
    CONNECT_MS = 500,
    QUIET_MS = 20,
    CLOSE_S = 2,
    RECONNECT_LEAST_MS = 20,
    RECONNECT_MOST_MS = 1000,
    IPC_PATH_MAX = sizeof((struct sockaddr_un *)0)->sun_path - 1,
    SOCKET_MODE_DEFAULT = 0660,
    SOCKET_MODE_PRIVATE = 0600,
};

enum request_state {
    REQUEST_FREE = 0,
    REQUEST_RECEIVING, /* nng's */
    REQUEST_WORKING,   /* the handler's side's, until net_reply() */
    REQUEST_SENDING,   /* nng's */
};

struct net_request {
    struct net_server *server;
    struct net_request *next; /* of all of the server's */
    struct net_request *next_free;
    nng_ctx context;
    nng_aio *aio;
    enum request_state state;
    bool counted; /* in server->waiting: not one that was answered `busy` */
};

struct net_server {
    pthread_mutex_t mutex; /* guards all below but waiting's reading */
    nng_socket socket;
    bool local; /* ipc: peers have a uid */
    bool closing;
    bool swept; /* closed; whoever answers last frees the server */
    uint32_t orphans;
    uint32_t max_waiting;
    uint32_t request_count;
    uint32_t receiving;
    _Atomic uint32_t waiting;
    struct net_request *requests;
    struct net_request *free_requests;
    net_request_fn *handler;
    net_request_fn *busy;
    void *arg;
};

struct call {
    struct net_link *link;
    struct call *next_free;
    nng_ctx context;
    nng_aio *aio;
    bool sending; /* else receiving */
    nng_time deadline;
    net_reply_fn *done;
    void *arg;
};

struct net_link {
    pthread_mutex_t mutex; /* guards closing and free_calls */
    nng_socket socket;
    bool closing;
    _Atomic int pipes; /* connections that are up: one or none */
    uint32_t max_calls;
    struct call *free_calls;
    struct call calls[];
};

/* ---- what nng is told of a peer that is gone ----
 *
 * nng before 1.10 is sound as long as the reading side of a connection is the first to learn that
 * the peer is gone. If a write learns it first, two things break for good:
 *  - in the handshake, nng takes EPIPE for "the listener is closed" and never accepts again: one
 *    client that connects and closes at once makes a server deaf;
 *  - later, it closes a connection of which a message has been read by half, and waits for ever
 *    for the other half. The one thread that waits is the one that ends all connections, so none
 *    is ever ended, or dialled again: one client killed among many calls is enough.
 * So nng's calls of these two functions are bound to ours: what is written to a peer that is gone
 * counts as written, and an error or hang-up of a connection is news for who reads and writes.
 * For all other callers they are the system's own. */

static bool called_by_nng(const void *caller)
{
    Dl_info of_caller, of_nng;
    return dladdr(caller, &of_caller) != 0 && dladdr((const void *)nng_close, &of_nng) != 0 &&
           of_caller.dli_fbase == of_nng.dli_fbase;
}

static void *system_function(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL)
        abort();
    return function;
}

static ssize_t length_of(const struct msghdr *message)
{
    size_t length = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        length += message->msg_iov[i].iov_len;
    return (ssize_t)length;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static ssize_t (*_Atomic system_sendmsg)(int, const struct msghdr *, int);
    if (system_sendmsg == NULL)
        system_sendmsg = system_function("sendmsg");
    ssize_t sent = system_sendmsg(fd, message, flags);
    int reason = errno;
    if (sent < 0 && (reason == EPIPE || reason == ECONNRESET) &&
        called_by_nng(__builtin_return_address(0)))
        return length_of(message);
    errno = reason;
    return sent;
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
    static int (*_Atomic system_epoll_wait)(int, struct epoll_event *, int, int);
    const uint32_t gone = EPOLLERR | EPOLLHUP;
    if (system_epoll_wait == NULL)
        system_epoll_wait = system_function("epoll_wait");
    int count = system_epoll_wait(fd, events, most, timeout_ms);
    for (int i = 0; i < count; i++) {
        if ((events[i].events & gone) == 0)
            continue;
        if (!called_by_nng(__builtin_return_address(0)))
            break;
        events[i].events = (events[i].events & ~gone) | EPOLLIN | EPOLLOUT;
    }
    return count;
}

/* ---- closing ---- */

struct closing {
    pthread_mutex_t mutex;
    pthread_cond_t told;
    nng_socket socket;
    bool done;
    bool abandoned; /* nobody waits any more */
};

static void closing_free(struct closing *closing)
{
    pthread_cond_destroy(&closing->told);
    pthread_mutex_destroy(&closing->mutex);
    free(closing);
}

static void *closing_run(void *arg)
{
    struct closing *closing = arg;
    nng_close(closing->socket);
    pthread_mutex_lock(&closing->mutex);
    closing->done = true;
    bool abandoned = closing->abandoned;
    pthread_cond_signal(&closing->told);
    pthread_mutex_unlock(&closing->mutex);
    if (abandoned)
        closing_free(closing);
    return NULL;
}

static bool closing_wait(struct closing *closing)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CLOSE_S;
    pthread_mutex_lock(&closing->mutex);
    while (!closing->done && pthread_cond_timedwait(&closing->told, &closing->mutex, &until) == 0)
        continue;
    bool done = closing->done;
    closing->abandoned = !done;
    pthread_mutex_unlock(&closing->mutex);
    return done;
}

/* Our own closing, too, may interrupt nng within a message, and then nng_close() never returns. A
 * moment without a reader lets the messages that are under way come to their end; if that was
 * not enough the caller goes on all the same. False: nng keeps the socket and all that it was
 * given, for ever. */
static bool close_socket(nng_socket socket)
{
    nng_msleep(QUIET_MS);
    struct closing *closing = calloc(1, sizeof *closing);
    if (closing == NULL)
        abort();
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&closing->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&closing->mutex, NULL);
    closing->socket = socket;

    pthread_t thread;
    if (pthread_create(&thread, NULL, closing_run, closing) != 0) {
        closing_free(closing);
        nng_close(socket);
        return true;
    }
    pthread_detach(thread);
    bool done = closing_wait(closing);
    if (done)
        closing_free(closing);
    return done;
}

/* ---- common to both sides ---- */

static int fail_nng(struct error *error, int result, const char *what, const char *url)
{
    return fail(error, "%s %s: %s", what, url, nng_strerror(result));
}

/* Out of memory: the process ends and recovery takes over, as everywhere. */
static nng_msg *message_of(const char *bytes, size_t length)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, 0) != 0 || nng_msg_append(message, bytes, length) != 0)
        abort();
    return message;
}

/* Never NULL, not even for an empty message. */
static const char *body_of(nng_msg *message)
{
    return nng_msg_len(message) > 0 ? nng_msg_body(message) : "";
}

/* nng leaves the message with the aio when it could not be sent. */
static void discard_unsent(nng_aio *aio)
{
    nng_msg *message = nng_aio_get_msg(aio);
    nng_aio_set_msg(aio, NULL);
    if (message != NULL)
        nng_msg_free(message);
}

static const char *behind(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* The path of an ipc URL, NULL for another kind. */
static const char *ipc_path(const char *url)
{
    return behind(url, "ipc://");
}

static int check_path_length(const char *path, struct error *error)
{
    if (path[0] != '/')
        return fail(error, "socket %s: expected ipc:// and an absolute path", path);
    if (strlen(path) > IPC_PATH_MAX) {
        fail(error, "socket %s: the path is %zu bytes long, the system allows %d", path,
             strlen(path), (int)IPC_PATH_MAX);
        return -1;
    }
    return 0;
}

/* ---- the server's socket ---- */

/* Asks the kernel whether a socket file is served without disturbing whoever serves it: a
 * datagram socket cannot connect to a listening stream, but learns that there is one. */
static int check_unserved(const char *path, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
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

/* nng would delete whatever file is in its way. Only a socket that nobody serves may go. */
static int clear_path(const char *path, struct error *error)
{
    struct stat status;
    if (check_path_length(path, error) != 0)
        return -1;
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? 0 : fail_errno(error, "look at %s", path);
    if (!S_ISSOCK(status.st_mode))
        return fail(error, "%s is in the way: it exists and is not a socket", path);
    if (check_unserved(path, error) != 0)
        return -1;
    if (unlink(path) != 0 && errno != ENOENT)
        return fail_errno(error, "remove the stale socket %s", path);
    return 0;
}

static int find_group(const char *name, gid_t *out, struct error *error)
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
static int open_to_others(const char *path, const struct net_server_options *options,
                          struct error *error)
{
    mode_t mode = options->mode != 0 ? options->mode : SOCKET_MODE_DEFAULT;
    gid_t group = (gid_t)-1;
    if (options->group != NULL && options->group[0] != '\0' &&
        find_group(options->group, &group, error) != 0)
        return -1;
    if (group != (gid_t)-1 && chown(path, (uid_t)-1, group) != 0)
        return fail_errno(error, "give %s to group %s", path, options->group);
    if (chmod(path, mode) != 0)
        return fail_errno(error, "set the mode of %s", path);
    return 0;
}

static int listen_ipc(nng_socket socket, const char *path, const struct net_server_options *options,
                      struct error *error)
{
    nng_listener listener;
    if (clear_path(path, error) != 0)
        return -1;
    int result = nng_listener_create(&listener, socket, options->url);
    if (result == 0)
        result = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, SOCKET_MODE_PRIVATE);
    if (result == 0)
        result = nng_listener_start(listener, 0);
    if (result != 0)
        return fail_nng(error, result, "listen on", options->url);
    return open_to_others(path, options, error);
}

static bool is_loopback(const char *address)
{
    char host[64];
    struct in_addr number;
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        return false;
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &number) == 1 && ntohl(number.s_addr) >> 24 == 127;
}

static int listen_tcp(nng_socket socket, const char *url, struct error *error)
{
    if (!is_loopback(behind(url, "tcp://"))) {
        fail(error, "listen on %s: tcp is served on loopback only", url);
        return fail_hint(error, "Use tcp://127.0.0.1:PORT, or ipc:// and a path.");
    }
    int result = nng_listen(socket, url, NULL, 0);
    return result == 0 ? 0 : fail_nng(error, result, "listen on", url);
}

static int listen_on(nng_socket socket, const struct net_server_options *options,
                     struct error *error)
{
    const char *path = ipc_path(options->url);
    if (path != NULL)
        return listen_ipc(socket, path, options, error);
    if (behind(options->url, "tcp://") != NULL)
        return listen_tcp(socket, options->url, error);
    return fail(error, "listen on %s: expected ipc:///path or tcp://127.0.0.1:port", options->url);
}

/* ---- the server's requests ---- */

static void request_turn(void *arg);

static struct net_request *request_create(struct net_server *server)
{
    struct net_request *request = calloc(1, sizeof *request);
    if (request == NULL)
        return NULL;
    if (nng_aio_alloc(&request->aio, request_turn, request) != 0)
        goto free_request;
    if (nng_ctx_open(&request->context, server->socket) != 0)
        goto free_aio;
    request->server = server;
    request->next = server->requests;
    server->requests = request;
    server->request_count++;
    return request;

free_aio:
    nng_aio_free(request->aio);
free_request:
    free(request);
    return NULL;
}

/* See to it that one context receives. Mutex held. */
static void keep_receiving(struct net_server *server)
{
    if (server->closing || server->receiving > 0)
        return;
    struct net_request *request = server->free_requests;
    if (request != NULL)
        server->free_requests = request->next_free;
    else if (server->request_count < server->max_waiting + SPARE_CONTEXTS)
        request = request_create(server);
    if (request == NULL)
        return; /* all are under way: the next that ends will receive */
    request->state = REQUEST_RECEIVING;
    server->receiving++;
    nng_ctx_recv(request->context, request->aio);
}

/* Mutex held. */
static void request_release(struct net_request *request)
{
    request->state = REQUEST_FREE;
    request->next_free = request->server->free_requests;
    request->server->free_requests = request;
}

static struct net_peer peer_of(const struct net_server *server, nng_msg *message)
{
    uint64_t uid;
    struct net_peer peer = {.local = false};
    if (server->local &&
        nng_pipe_get_uint64(nng_msg_get_pipe(message), NNG_OPT_IPC_PEER_UID, &uid) == 0) {
        peer.local = true;
        peer.uid = (uint32_t)uid;
    }
    return peer;
}

/* Hand a received request to its handler; before that another context receives. */
static void request_work(struct net_request *request, nng_msg *message)
{
    struct net_server *server = request->server;
    pthread_mutex_lock(&server->mutex);
    server->receiving--;
    if (message == NULL || server->closing) {
        request_release(request);
        keep_receiving(server);
        pthread_mutex_unlock(&server->mutex);
        return;
    }
    request->state = REQUEST_WORKING;
    request->counted = server->waiting < server->max_waiting;
    if (request->counted)
        server->waiting++;
    net_request_fn *handler = request->counted ? server->handler : server->busy;
    keep_receiving(server);
    pthread_mutex_unlock(&server->mutex);

    struct net_peer peer = peer_of(server, message);
    size_t length = nng_msg_len(message);
    handler(server->arg, request, &peer, length <= MESSAGE_MAX ? body_of(message) : NULL, length);
}

static void request_sent(struct net_request *request)
{
    struct net_server *server = request->server;
    pthread_mutex_lock(&server->mutex);
    if (request->counted)
        server->waiting--;
    request_release(request);
    keep_receiving(server);
    pthread_mutex_unlock(&server->mutex);
}

/* nng is done with what was asked of it. */
static void request_turn(void *arg)
{
    struct net_request *request = arg;
    int result = nng_aio_result(request->aio);
    if (request->state == REQUEST_SENDING) {
        if (result != 0)
            discard_unsent(request->aio);
        request_sent(request);
        return;
    }
    nng_msg *message = result == 0 ? nng_aio_get_msg(request->aio) : NULL;
    request_work(request, message);
    if (message != NULL)
        nng_msg_free(message);
}

static void server_free(struct net_server *server)
{
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

/* A reply to a server that is closed, or closing. Unlocks the mutex. */
static void reply_to_nobody(struct net_request *request)
{
    struct net_server *server = request->server;
    bool swept = server->swept;
    request->state = REQUEST_FREE;
    bool last = swept && --server->orphans == 0;
    pthread_mutex_unlock(&server->mutex);
    if (swept)
        free(request); /* else the sweep does */
    if (last)
        server_free(server);
}

void net_reply(struct net_request *request, const char *bytes, size_t length)
{
    struct net_server *server = request->server;
    nng_msg *message = message_of(bytes, length);
    pthread_mutex_lock(&server->mutex);
    assert(request->state == REQUEST_WORKING);
    if (server->closing) {
        reply_to_nobody(request);
        nng_msg_free(message);
        return;
    }
    request->state = REQUEST_SENDING;
    nng_aio_set_msg(request->aio, message);
    nng_aio_set_timeout(request->aio, REPLY_SEND_MS);
    nng_ctx_send(request->context, request->aio);
    pthread_mutex_unlock(&server->mutex);
}

int net_listen(struct net_server **out, const struct net_server_options *options,
               struct error *error)
{
    int rc = -1;
    struct net_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return fail_errno(error, "listen on %s", options->url);
    assert(options->handler != NULL && options->busy != NULL);
    pthread_mutex_init(&server->mutex, NULL);
    server->local = ipc_path(options->url) != NULL;
    server->max_waiting = options->max_waiting != 0 ? options->max_waiting : WAITING_DEFAULT;
    server->handler = options->handler;
    server->busy = options->busy;
    server->arg = options->arg;

    int result = nng_rep0_open(&server->socket);
    if (result != 0) {
        fail_nng(error, result, "open a socket for", options->url);
        goto free_server;
    }
    result = nng_socket_set_size(server->socket, NNG_OPT_RECVMAXSZ, MESSAGE_MAX + OVERSIZE_ROOM);
    assert(result == 0);
    if (listen_on(server->socket, options, error) != 0)
        goto close_socket;
    *out = server;
    pthread_mutex_lock(&server->mutex);
    keep_receiving(server);
    rc = server->receiving > 0 ? 0 : fail(error, "listen on %s: out of memory", options->url);
    pthread_mutex_unlock(&server->mutex);
    if (rc == 0)
        return 0;

close_socket:
    nng_close(server->socket);
free_server:
    server_free(server);
    return rc;
}

/* Frees what nng has given back; what is being worked on is freed by its reply. */
static void sweep_requests(struct net_server *server)
{
    for (struct net_request *request = server->requests, *next; request != NULL; request = next) {
        next = request->next;
        nng_aio_free(request->aio);
        if (request->state == REQUEST_WORKING)
            server->orphans++;
        else
            free(request);
    }
    server->swept = true;
}

void net_server_close(struct net_server *server)
{
    pthread_mutex_lock(&server->mutex);
    server->closing = true;
    pthread_mutex_unlock(&server->mutex);

    for (struct net_request *request = server->requests; request != NULL; request = request->next)
        nng_aio_stop(request->aio); /* its last callback, and handler, have run */
    bool closed = close_socket(server->socket);

    pthread_mutex_lock(&server->mutex);
    if (closed)
        sweep_requests(server);
    bool last = closed && server->orphans == 0;
    pthread_mutex_unlock(&server->mutex);
    if (last)
        server_free(server);
}

uint32_t net_server_waiting(const struct net_server *server)
{
    return server->waiting;
}

/* ---- links ---- */

static void call_end(struct call *call, enum net_result result, nng_msg *reply)
{
    struct net_link *link = call->link;
    net_reply_fn *done = call->done;
    void *arg = call->arg;
    /* Free before it is told, so that the one who is told may call again. */
    pthread_mutex_lock(&link->mutex);
    call->next_free = link->free_calls;
    link->free_calls = call;
    pthread_mutex_unlock(&link->mutex);

    if (reply == NULL) {
        done(arg, result, NULL, 0);
        return;
    }
    done(arg, result, body_of(reply), nng_msg_len(reply));
    nng_msg_free(reply);
}

static nng_duration time_left(nng_time deadline)
{
    nng_time now = nng_clock();
    return deadline > now ? (nng_duration)(deadline - now) : 1;
}

/* The request is on its way: wait for the reply. False if the link is closing. */
static bool call_receive(struct call *call)
{
    struct net_link *link = call->link;
    pthread_mutex_lock(&link->mutex);
    bool closing = link->closing;
    if (!closing) {
        call->sending = false;
        nng_aio_set_timeout(call->aio, time_left(call->deadline));
        nng_ctx_recv(call->context, call->aio);
    }
    pthread_mutex_unlock(&link->mutex);
    return !closing;
}

static void call_turn(void *arg)
{
    struct call *call = arg;
    int result = nng_aio_result(call->aio);
    if (call->sending) {
        if (result != 0)
            discard_unsent(call->aio);
        else if (call_receive(call))
            return;
        call_end(call, NET_UNREACHABLE, NULL);
        return;
    }
    if (result == 0)
        call_end(call, NET_OK, nng_aio_get_msg(call->aio));
    else
        call_end(call, result == NNG_ETIMEDOUT ? NET_TIMEOUT : NET_UNREACHABLE, NULL);
}

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct net_link *link = arg;
    (void)pipe;
    link->pipes += event == NNG_PIPE_EV_ADD_POST ? 1 : -1;
}

static int link_configure(struct net_link *link)
{
    nng_socket socket = link->socket;
    int result = nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, RECONNECT_LEAST_MS);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, RECONNECT_MOST_MS);
    if (result == 0)
        result = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, REPLY_MAX + OVERSIZE_ROOM);
    if (result == 0)
        result = nng_pipe_notify(socket, NNG_PIPE_EV_ADD_POST, pipe_changed, link);
    if (result == 0)
        result = nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, pipe_changed, link);
    for (uint32_t i = 0; i < link->max_calls && result == 0; i++) {
        struct call *call = &link->calls[i];
        result = nng_aio_alloc(&call->aio, call_turn, call);
        if (result == 0)
            result = nng_ctx_open(&call->context, socket);
        call->link = link;
        call->next_free = link->free_calls;
        link->free_calls = call;
    }
    return result;
}

static void link_free(struct net_link *link)
{
    for (uint32_t i = 0; i < link->max_calls; i++)
        if (link->calls[i].aio != NULL)
            nng_aio_free(link->calls[i].aio);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}

int net_link_open(struct net_link **out, const char *url, uint32_t max_calls, struct error *error)
{
    assert(max_calls > 0);
    const char *path = ipc_path(url);
    if (path != NULL && check_path_length(path, error) != 0)
        return -1;
    struct net_link *link = calloc(1, sizeof *link + max_calls * sizeof link->calls[0]);
    if (link == NULL)
        return fail_errno(error, "dial %s", url);
    pthread_mutex_init(&link->mutex, NULL);
    link->max_calls = max_calls;

    int result = nng_req0_open(&link->socket);
    if (result != 0)
        goto free_link;
    result = link_configure(link);
    if (result == 0)
        result = nng_dial(link->socket, url, NULL, NNG_FLAG_NONBLOCK);
    if (result != 0)
        goto close_socket;
    *out = link;
    return 0;

close_socket:
    nng_close(link->socket);
free_link:
    link_free(link);
    return fail_nng(error, result, "dial", url);
}

int net_call(struct net_link *link, const char *bytes, size_t length, uint32_t timeout_ms,
             net_reply_fn *done, void *arg)
{
    nng_duration timeout = timeout_ms < INT32_MAX ? (nng_duration)timeout_ms : INT32_MAX;
    nng_duration connect = timeout < CONNECT_MS ? timeout : CONNECT_MS;
    nng_msg *message = message_of(bytes, length);
    pthread_mutex_lock(&link->mutex);
    struct call *call = link->closing ? NULL : link->free_calls;
    if (call != NULL) {
        link->free_calls = call->next_free;
        call->done = done;
        call->arg = arg;
        call->deadline = nng_clock() + (nng_time)timeout;
        call->sending = true;
        nng_aio_set_msg(call->aio, message);
        nng_aio_set_timeout(call->aio, link->pipes > 0 ? timeout : connect);
        nng_ctx_send(call->context, call->aio);
    }
    pthread_mutex_unlock(&link->mutex);
    if (call == NULL)
        nng_msg_free(message);
    return call != NULL ? 0 : -1;
}

bool net_link_connected(const struct net_link *link)
{
    return link->pipes > 0;
}

void net_link_close(struct net_link *link)
{
    pthread_mutex_lock(&link->mutex);
    link->closing = true;
    pthread_mutex_unlock(&link->mutex);

    for (uint32_t i = 0; i < link->max_calls; i++)
        nng_aio_stop(link->calls[i].aio); /* its last callback has run */
    if (close_socket(link->socket))
        link_free(link);
}

/* ---- one call, waited for ---- */

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t told;
    bool done;
    enum net_result result;
    char *reply;
    size_t length;
};

static void waiter_told(void *arg, enum net_result result, const char *bytes, size_t length)
{
    struct waiter *waiter = arg;
    pthread_mutex_lock(&waiter->mutex);
    waiter->result = result;
    if (result == NET_OK) {
        waiter->reply = malloc(length + 1);
        if (waiter->reply == NULL)
            abort(); /* as message_of() */
        memcpy(waiter->reply, bytes, length);
        waiter->reply[length] = '\0';
        waiter->length = length;
    }
    waiter->done = true;
    pthread_cond_signal(&waiter->told);
    pthread_mutex_unlock(&waiter->mutex);
}

enum net_result net_call_wait(struct net_link *link, const char *bytes, size_t length,
                              uint32_t timeout_ms, char **reply, size_t *reply_length)
{
    struct waiter waiter = {
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .told = PTHREAD_COND_INITIALIZER,
        .result = NET_UNREACHABLE,
    };
    if (net_call(link, bytes, length, timeout_ms, waiter_told, &waiter) == 0) {
        pthread_mutex_lock(&waiter.mutex);
        while (!waiter.done)
            pthread_cond_wait(&waiter.told, &waiter.mutex);
        pthread_mutex_unlock(&waiter.mutex);
    }
    *reply = waiter.reply;
    *reply_length = waiter.length;
    pthread_cond_destroy(&waiter.told);
    pthread_mutex_destroy(&waiter.mutex);
    return waiter.result;
}
