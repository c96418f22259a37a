/*
 * tm/http.c - the coordinator over HTTP: connections, and what may come in by them.
 *
 * One thread turns libmicrohttpd and is the only one to call it. A request that is complete is
 * handed to the server and its connection suspended; the reply comes back as a post. So a commit
 * that waits costs memory and no thread, and nobody waits for a client.
 *
 * A connection has a limited time for each of its steps: for a request to begin, to be complete,
 * and for its reply to be read. Those that take their time are kept in a queue by the age of
 * their last step. When there are too many, the oldest of them makes room: clients that say
 * nothing shut nobody out. The time in which we work on a request is ours and not limited here.
 *
 * A request whose answer others have to give, a commit above all, keeps its connection until they
 * have. Only so many may; the rest of the connections is for what is answered at once, so that
 * health, status and outcomes can be had however many wait.
 *
 * What a proxy in front of us might read otherwise than libmicrohttpd does is refused before
 * either acts on it, and the connection ended: see http_check_framing().
 */
#include "tm/http.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/must.h"
#include "tm/http_headers.h"
#include "tm/routes.h"
#include "tm/server_state.h"

enum {
    STEP_MS = 30 * 1000,
    MEMORY_A_CONNECTION = 32 * 1024, /* for its headers; bodies are kept by us */
    HEADERS_MAX = 16 * 1024,
    TARGET_MAX = 2048,
    BODY_FIRST = 4096,
    BODIES_MAX = 64 * 1024 * 1024,   /* of all connections together */
    SWALLOWED_MAX = 8 * 1024 * 1024, /* of a refused body, so that its sender reads why */
};

#define RETRY_AFTER_S "1"

enum post_kind { POST_ANSWER = 1, POST_STOP };

TAILQ_HEAD(clients, client);

/* A connection and its request: there is one at a time. */
struct client {
    struct post post; /* brings the answer */
    TAILQ_ENTRY(client) link;
    struct http *http;
    struct MHD_Connection *connection;
    int fd;
    uint64_t step_ms; /* when its last step was taken */
    enum { ENDING = 0, SLOW, WORKING } queue;

    bool taken;      /* its headers have been looked at */
    bool bad_target; /* see http_take_target() */
    bool last;       /* nothing more is read from this connection */
    bool waits;      /* see http_waits_for_others() */
    int status;      /* 0, or what it is refused with, and why: */
    struct failure failure;
    char allow[ALLOW_BYTES];
    const struct route *route;
    cJSON *request; /* but for the body */
    char *body;
    size_t length, room;
    uint64_t swallowed;
    bool answered;
    char *answer;
    size_t answer_length;
};

struct http {
    struct server *server;
    struct loop *loop;
    struct MHD_Daemon *daemon;
    pthread_t thread;
    bool running;
    bool stopping;
    int listen_fd; /* until libmicrohttpd owns it, else -1 */
    struct http_limits limits;
    _Atomic uint32_t connections; /* changed by its own thread alone */
    _Atomic uint32_t waits;       /* requests whose answer others have to give */
    size_t bodies;                /* bytes */
    struct clients slow;          /* the oldest step first */
    struct clients waiting;
};

/* ---- the queues ---- */

static void http_leave_queue(struct client *client)
{
    if (client->queue == SLOW)
        TAILQ_REMOVE(&client->http->slow, client, link);
    if (client->queue == WORKING) {
        TAILQ_REMOVE(&client->http->waiting, client, link);
        client->http->waits -= client->waits;
    }
    client->queue = ENDING;
}

static void http_take_step(struct client *client)
{
    http_leave_queue(client);
    client->step_ms = loop_now_ms();
    client->queue = SLOW;
    TAILQ_INSERT_TAIL(&client->http->slow, client, link);
}

static void http_begin_work(struct client *client)
{
    http_leave_queue(client);
    client->queue = WORKING;
    client->http->waits += client->waits;
    TAILQ_INSERT_TAIL(&client->http->waiting, client, link);
}

/* libmicrohttpd then reads the end of the connection and closes it. */
static void http_cut_off(struct client *client)
{
    http_leave_queue(client);
    shutdown(client->fd, SHUT_RDWR);
}

/* Returns when to look again. */
static uint64_t http_cut_off_late_clients(struct http *http)
{
    struct client *oldest;
    uint64_t now = loop_now_ms();
    while ((oldest = TAILQ_FIRST(&http->slow)) != NULL) {
        if (now - oldest->step_ms < STEP_MS)
            return oldest->step_ms + STEP_MS;
        http_cut_off(oldest);
    }
    return UINT64_MAX;
}

/* ---- refusals ---- */

/* With the status of the code, or one that HTTP has for it alone. The first word counts. */
__attribute__((format(printf, 4, 5))) static void
http_refuse_client(struct client *client, int status, enum error_code code, const char *format, ...)
{
    char text[REASON_BYTES];
    va_list arguments;
    if (client->status != 0)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    client->status = status;
    refuse(&client->failure, code, "%s", text);
}

static void http_refuse_as_read(struct client *client, const struct failure *failure)
{
    if (client->status != 0)
        return;
    client->failure = *failure;
    client->status = error_http_status(failure->code);
}

static void http_refuse_large_body(struct client *client)
{
    http_refuse_client(client, MHD_HTTP_CONTENT_TOO_LARGE, ERR_INVALID_REQUEST,
                       "the body is longer than %d bytes", MESSAGE_MAX);
}

/* ---- headers ---- */

/* Whoever reads where a body ends otherwise than we do takes the rest of it for the next request,
 * or the other way round. So there has to be exactly one way to read it. */
static void http_check_framing(struct client *client, const char *version,
                               const struct headers *headers)
{
    if (strcmp(version, MHD_HTTP_VERSION_1_1) != 0 && strcmp(version, MHD_HTTP_VERSION_1_0) != 0)
        http_refuse_client(client, MHD_HTTP_HTTP_VERSION_NOT_SUPPORTED, ERR_INVALID_REQUEST,
                           "HTTP/1.1 is spoken here");
    if (client->bad_target)
        http_refuse_client(client, MHD_HTTP_URI_TOO_LONG, ERR_INVALID_REQUEST,
                           "the path is longer than %d bytes", TARGET_MAX);
    if (headers->bytes > HEADERS_MAX)
        http_refuse_client(client, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, ERR_INVALID_REQUEST,
                           "the headers are longer than %d bytes", HEADERS_MAX);
    if (headers->malformed)
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST, "a malformed header");
    if (headers->hosts > 1)
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST,
                           "Host is given twice");
    if (headers->lengths > 1)
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST,
                           "Content-Length is given twice");
    if (headers->lengths > 0 && headers->encodings > 0)
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST,
                           "both Content-Length and Transfer-Encoding are given");
    if (headers_announced_length(headers) == UINT64_MAX)
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST,
                           "Content-Length: expected a decimal number");
    if (headers->encodings > 1 ||
        (headers->encodings == 1 && (strcasecmp(headers->encoding, "chunked") != 0 ||
                                     strcmp(version, MHD_HTTP_VERSION_1_1) != 0)))
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST,
                           "Transfer-Encoding: expected `chunked` and nothing else");
    client->last = client->status != 0;
}

/* A browser on this host lends its hands to every page that it shows: it sends along who wrote
 * the page, or has been told that a foreign name means this address. */
static void http_check_sender(struct client *client, const struct headers *headers)
{
    if (headers->origin || (headers->host != NULL && !headers_is_loopback(headers->host)))
        http_refuse_client(client, MHD_HTTP_FORBIDDEN, ERR_NOT_PERMITTED,
                           "served to programs on this host, not to pages in its browsers");
}

static void http_check_body(struct client *client, const struct headers *headers)
{
    if (headers_announced_length(headers) == 0 && headers->encodings == 0)
        return;
    size_t length = strlen("application/json");
    const char *type = headers->type != NULL ? headers->type : "";
    if (strncasecmp(type, "application/json", length) != 0 ||
        (type[length] != '\0' && strchr("; \t", type[length]) == NULL))
        http_refuse_client(client, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, ERR_INVALID_REQUEST,
                           "the body has to be of Content-Type application/json");
    if (headers_announced_length(headers) > MESSAGE_MAX)
        http_refuse_large_body(client);
    /* Whoever waits to be asked for the body need not send it. */
    const char *expect = MHD_lookup_connection_value(client->connection, MHD_HEADER_KIND, "Expect");
    client->last = client->last || headers_announced_length(headers) > SWALLOWED_MAX ||
                   (client->status != 0 && expect != NULL);
}

static void http_find_route(struct client *client, const char *method, const char *path,
                            struct headers *headers)
{
    struct failure failure;
    client->route = route_find(method, path, client->allow);
    if (client->route == NULL && client->allow[0] == '\0')
        http_refuse_client(client, MHD_HTTP_NOT_FOUND, ERR_UNKNOWN_OPERATION,
                           "nothing is served under this path");
    if (client->route == NULL) {
        http_refuse_client(client, MHD_HTTP_METHOD_NOT_ALLOWED, ERR_UNKNOWN_OPERATION,
                           "this path takes %s", client->allow);
        return;
    }
    headers->query_name = client->route->query;
    MHD_get_connection_values_n(client->connection, MHD_GET_ARGUMENT_KIND, headers_note_parameter,
                                headers);
    if (headers->queries > 1 || headers->keys > 1)
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST, "%s is given twice",
                           headers->keys > 1 ? "Idempotency-Key" : client->route->query);
    if (client->status != 0 || client->route->op == OP_NONE)
        return;
    client->request = route_request(client->route, path, headers->query, headers->key,
                                    headers->traces == 1 ? headers->trace : NULL, &failure);
    if (client->request == NULL)
        http_refuse_as_read(client, &failure);
}

static void http_take_headers(struct client *client, const char *method, const char *path,
                              const char *version)
{
    struct headers headers = {.bytes = 0};
    MHD_get_connection_values_n(client->connection, MHD_HEADER_KIND, headers_note, &headers);
    http_check_framing(client, version, &headers);
    http_check_sender(client, &headers);
    http_find_route(client, method, path, &headers);
    http_check_body(client, &headers);
}

/* ---- bodies ---- */

static void http_drop_body(struct client *client)
{
    client->http->bodies -= client->room;
    free(client->body);
    client->body = NULL;
    client->length = client->room = 0;
}

static bool http_make_room(struct client *client, size_t length)
{
    struct http *http = client->http;
    size_t room = client->room == 0 ? BODY_FIRST : client->room;
    while (room < client->length + length)
        room *= 2;
    if (room == client->room)
        return true;
    if (http->bodies - client->room + room > BODIES_MAX)
        return false;
    char *larger = realloc(client->body, room);
    if (larger == NULL)
        return false;
    http->bodies += room - client->room;
    client->body = larger;
    client->room = room;
    return true;
}

static enum MHD_Result http_take_body(struct client *client, const char *bytes, size_t length)
{
    if (client->length + length > MESSAGE_MAX)
        http_refuse_large_body(client);
    else if (client->status == 0 && !http_make_room(client, length))
        http_refuse_client(client, error_http_status(ERR_BUSY), ERR_BUSY,
                           "too many bodies are being received");
    if (client->status != 0) {
        http_drop_body(client);
        client->swallowed += length;
        return client->swallowed > SWALLOWED_MAX ? MHD_NO : MHD_YES;
    }
    memcpy(client->body + client->length, bytes, length);
    client->length += length;
    return MHD_YES;
}

/* ---- answers ---- */

static enum MHD_Result http_send_page(struct client *client, const struct page *page)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(page->length, page->text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(page->text);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", page->type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (page->location[0] != '\0')
        MHD_add_response_header(response, "Location", page->location);
    if (page->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", client->allow);
    if (page->status == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(response, "Retry-After", RETRY_AFTER_S);
    if (client->last)
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result =
        MHD_queue_response(client->connection, (unsigned)page->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result http_send_refusal(struct client *client)
{
    struct page page = {.status = 0};
    page_write_failure(client->status, &client->failure, &page);
    return http_send_page(client, &page);
}

static enum MHD_Result http_send_answer(struct client *client)
{
    struct page page = {.status = 0};
    client->route->write(cJSON_ParseWithLength(client->answer, client->answer_length), &page);
    return http_send_page(client, &page);
}

/* In whichever thread has the answer. */
static void http_post_answer(void *origin, char *text, size_t length)
{
    struct client *client = origin;
    client->answer = text;
    client->answer_length = length;
    loop_post(client->http->loop, &client->post);
}

/* ---- what libmicrohttpd calls ---- */

/* Is this answered only when a database, an agent or the disk has answered? What is not is answered
 * within a turn of the server's loop. */
static bool http_waits_for_others(enum op op)
{
    switch (op) {
    case OP_NONE:
    case OP_BEGIN:
    case OP_ENLIST:
    case OP_OUTCOME:
    case OP_SHOW:
    case OP_LIST:
    case OP_AGENTS:
    case OP_STATUS:
        return false;
    default:
        return true;
    }
}

/* The headers and the body are complete: hand the request over. */
static enum MHD_Result http_ask(struct client *client)
{
    struct http *http = client->http;
    struct failure failure;
    if (client->length > 0) {
        if (strcmp(client->route->method, "POST") != 0)
            http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST,
                               "%s takes no body", client->route->method);
        else if (route_add_body(client->request, client->body, client->length, &failure) != 0)
            http_refuse_as_read(client, &failure);
    }
    http_drop_body(client);
    client->waits = client->status == 0 && http_waits_for_others(client->route->op);
    if (client->waits && http->waits >= http->limits.waiting)
        http_refuse_client(client, error_http_status(ERR_BUSY), ERR_BUSY,
                           "%" PRIu32 " requests wait for their end over HTTP, and no more may "
                           "(http_max_waiting)",
                           http->limits.waiting);
    if (client->status != 0)
        return http_send_refusal(client);
    if (client->route->op == OP_NONE)
        return http_send_answer(client);
    http_begin_work(client);
    MHD_suspend_connection(client->connection);
    server_call(http->server, client->request, CALLER_HTTP, http_post_answer, client);
    return MHD_YES;
}

/* Called with the headers, with each piece of the body, when that is complete, and again when the
 * connection is resumed. */
static enum MHD_Result http_take_request(void *arg, struct MHD_Connection *connection,
                                         const char *path, const char *method, const char *version,
                                         const char *bytes, size_t *length, void **context)
{
    struct client *client = *context;
    (void)arg;
    (void)connection;
    if (client == NULL)
        return MHD_NO;
    if (!client->taken) {
        client->taken = true;
        http_take_headers(client, method, path, version);
        return client->last ? http_send_refusal(client) : MHD_YES;
    }
    if (*length > 0) {
        size_t taken = *length;
        *length = 0;
        return http_take_body(client, bytes, taken);
    }
    if (client->answered)
        return client->status != 0 ? http_send_refusal(client) : http_send_answer(client);
    return http_ask(client);
}

static void http_forget_request(struct client *client)
{
    http_drop_body(client);
    cJSON_Delete(client->request);
    free(client->answer);
    client->request = NULL;
    client->answer = NULL;
    client->taken = client->answered = client->last = false;
    client->status = 0;
    client->swallowed = 0;
}

static struct client *http_client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* The request line is here. A path that is cut short by a NUL would be another path. */
static void *http_take_target(void *arg, const char *target, struct MHD_Connection *connection)
{
    struct client *client = http_client_of(connection);
    (void)arg;
    if (client == NULL)
        return NULL;
    http_forget_request(client);
    client->bad_target = strlen(target) > TARGET_MAX;
    if (strstr(target, "%00") != NULL)
        http_refuse_client(client, MHD_HTTP_BAD_REQUEST, ERR_INVALID_REQUEST, "a NUL in the path");
    http_take_step(client);
    return client;
}

static void http_end_request(void *arg, struct MHD_Connection *connection, void **context,
                             enum MHD_RequestTerminationCode why)
{
    struct client *client = *context;
    (void)arg;
    (void)connection;
    if (client == NULL)
        return;
    http_forget_request(client);
    if (why == MHD_REQUEST_TERMINATED_COMPLETED_OK && client->queue != ENDING)
        http_take_step(client);
}

static void http_open_client(struct http *http, struct MHD_Connection *connection, void **context)
{
    struct client *client = calloc(1, sizeof *client);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *context = client;
    if (client == NULL)
        return;
    client->post.kind = POST_ANSWER;
    client->http = http;
    client->connection = connection;
    client->fd = info->connect_fd;
    http->connections++;
    if (http->connections > http->limits.connections && !TAILQ_EMPTY(&http->slow))
        http_cut_off(TAILQ_FIRST(&http->slow));
    http_take_step(client);
}

static void http_close_client(struct http *http, struct client *client)
{
    if (client == NULL)
        return;
    http_leave_queue(client);
    http_forget_request(client);
    http->connections--;
    free(client);
}

static void http_note_connection(void *arg, struct MHD_Connection *connection, void **context,
                                 enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        http_open_client(arg, connection, context);
    else
        http_close_client(arg, *context);
}

/* ---- the thread ---- */

static void http_resume(struct client *client)
{
    client->answered = true;
    http_take_step(client);
    MHD_resume_connection(client->connection);
}

static void http_take_posts(struct http *http)
{
    struct post *post;
    while ((post = loop_take(http->loop)) != NULL) {
        if (post->kind == POST_STOP)
            http->stopping = true;
        else
            http_resume((struct client *)post);
    }
}

/* The last words to those who wait; what they asked for may yet happen. */
static void http_take_leave(struct http *http)
{
    struct client *client;
    while ((client = TAILQ_FIRST(&http->waiting)) != NULL) {
        http_refuse_client(client, error_http_status(ERR_TIMEOUT), ERR_TIMEOUT,
                           "the coordinator has stopped; ask it for the outcome when it is back");
        http_resume(client);
    }
    MHD_run(http->daemon);
    MHD_run(http->daemon);
}

static bool http_is_full(const struct http *http)
{
    return http->connections >= http->limits.connections + HTTP_LEAVING;
}

/* When it is full libmicrohttpd stops listening as a run begins, and listens again only as the
 * next one does: it must not be waited for then, for nobody would wake us. */
static void http_run(struct http *http)
{
    bool was_full;
    do {
        was_full = http_is_full(http);
        MHD_run(http->daemon);
    } while (was_full && !http_is_full(http));
}

static void *http_serve(void *arg)
{
    struct http *http = arg;
    while (!http->stopping) {
        MHD_UNSIGNED_LONG_LONG left_ms;
        http_take_posts(http);
        http_run(http);
        uint64_t wake_ms = http_cut_off_late_clients(http);
        if (MHD_get_timeout(http->daemon, &left_ms) == MHD_YES && loop_now_ms() + left_ms < wake_ms)
            wake_ms = loop_now_ms() + left_ms;
        if (!http->stopping)
            loop_wait(http->loop, wake_ms);
    }
    http_take_leave(http);
    return NULL;
}

/* What is ready is for MHD_run() to find. */
static void http_ignore_ready(void *arg, uint32_t events)
{
    (void)arg;
    (void)events;
}

/* ---- the start and the end ---- */

static int http_start_daemon(struct http *http, const char *url, struct error *error)
{
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, http_take_request, http,
        MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(http->limits.connections + HTTP_LEAVING),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_A_CONNECTION,
        MHD_OPTION_URI_LOG_CALLBACK, http_take_target, http, MHD_OPTION_NOTIFY_COMPLETED,
        http_end_request, http, MHD_OPTION_NOTIFY_CONNECTION, http_note_connection, http,
        MHD_OPTION_END);
    if (http->daemon == NULL)
        return fail(error, "listen on %s: libmicrohttpd does not start", url);
    http->listen_fd = -1;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return loop_watch(http->loop, info->epoll_fd, EPOLLIN, http_ignore_ready, http, error);
}

void http_counts(const struct http *http, uint32_t *connections, uint32_t *waiting)
{
    *connections = http->connections;
    *waiting = http->waits;
}

int http_listen(struct http **out, const char *url, const struct http_limits *limits,
                struct server *server, struct error *error)
{
    struct http *http = must_alloc(sizeof *http, "the HTTP interface");
    http->server = server;
    http->limits = *limits;
    http->listen_fd = -1;
    TAILQ_INIT(&http->slow);
    TAILQ_INIT(&http->waiting);
    if (loop_create(&http->loop, error) != 0 ||
        (http->listen_fd = http_open_socket(url, error)) < 0 ||
        http_start_daemon(http, url, error) != 0)
        goto close_http;
    errno = pthread_create(&http->thread, NULL, http_serve, http);
    if (errno != 0) {
        fail_errno(error, "start a thread for %s", url);
        goto close_http;
    }
    http->running = true;
    *out = http;
    return 0;

close_http:
    http_close(http);
    return -1;
}

void http_close(struct http *http)
{
    if (http == NULL)
        return;
    if (http->running) {
        struct post stop = {.kind = POST_STOP};
        loop_post(http->loop, &stop);
        pthread_join(http->thread, NULL);
    }
    if (http->daemon != NULL)
        MHD_stop_daemon(http->daemon);
    if (http->listen_fd >= 0)
        close(http->listen_fd);
    loop_free(http->loop);
    free(http);
}
