/*
 * lib/sp.c - one connection that asks and is answered, as nng's REQ sockets do, without nng.
 *
 * Greeting and first request leave together: the other side reads eight bytes and then messages,
 * so a call on a new connection costs no round trip more than on an old one. What comes in is a row
 * of parts of known length - its greeting, then head and body of each message - and each part is
 * read to its end before it is looked at, however small the pieces are that it comes in.
 */
#include "lib/sp.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/host_port.h"
#include "common/tcp.h"

enum {
    GREETING_BYTES = 8,
    IPC_HEAD_BYTES = 1 + 8,
    TCP_HEAD_BYTES = 8,
    NUMBER_BYTES = 4,
};

#define NUMBER_MARK UINT32_C(0x80000000)

static const uint8_t my_greeting[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
static const uint8_t its_greeting[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};

enum part { PART_GREETING = 0, PART_HEAD, PART_BODY, PART_WHOLE };

struct assent_sp {
    int fd;
    bool local; /* unix socket: a message has one byte more */
    bool connecting;
    uint32_t number; /* of the request */

    uint8_t *out; /* what is still to be written, from out_done on */
    size_t out_length, out_done;
    bool began;

    enum part part; /* what is being read, until part_done reaches part_length */
    size_t part_length, part_done;
    uint8_t head[IPC_HEAD_BYTES]; /* a greeting or a message's head */
    uint8_t *body;                /* of part_length and one more */
};

/* ---- words ---- */

static int fail(char why[ASSENT_SP_WHY_BYTES], const char *what, const char *on, const char *reason)
{
    snprintf(why, ASSENT_SP_WHY_BYTES, "%s%s%s: %s", what, on[0] != '\0' ? " " : "", on, reason);
    return -1;
}

static int fail_errno(char why[ASSENT_SP_WHY_BYTES], const char *what, const char *on)
{
    char text[128];
    return fail(why, what, on, strerror_r(errno, text, sizeof text));
}

/* ---- addresses ---- */

static const char *behind(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

bool assent_sp_url_is_good(const char *url)
{
    char host[HOST_BYTES];
    const char *port, *path = behind(url, "ipc://"), *address = behind(url, "tcp://");
    if (path != NULL)
        return path[0] == '/' && strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path;
    return address != NULL && host_port_split(address, host, &port);
}

/* ---- connecting ---- */

static int start_connecting(struct assent_sp *sp, const struct sockaddr *address, socklen_t length,
                            const char *url, char why[ASSENT_SP_WHY_BYTES])
{
    sp->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sp->fd < 0)
        return fail_errno(why, "make a socket", "");
    if (address->sa_family != AF_UNIX)
        tcp_set_up(sp->fd);
    if (connect(sp->fd, address, length) == 0)
        return 0;
    sp->connecting = errno == EINPROGRESS;
    return sp->connecting ? 0 : fail_errno(why, "connect to", url);
}

static int connect_local(struct assent_sp *sp, const char *path, const char *url,
                         char why[ASSENT_SP_WHY_BYTES])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    sp->local = true;
    return start_connecting(sp, (const struct sockaddr *)&address, sizeof address, url, why);
}

static int connect_tcp(struct assent_sp *sp, const char *address, const char *url,
                       char why[ASSENT_SP_WHY_BYTES])
{
    char host[HOST_BYTES];
    const char *port;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    if (!host_port_split(address, host, &port))
        return fail(why, "connect to", url, "expected tcp://HOST:PORT");
    int result = getaddrinfo(host, port, &hints, &found);
    if (result != 0)
        return fail(why, "connect to", url, gai_strerror(result));
    int rc = start_connecting(sp, found->ai_addr, found->ai_addrlen, url, why);
    freeaddrinfo(found);
    return rc;
}

int assent_sp_open(struct assent_sp **out, const char *url, char why[ASSENT_SP_WHY_BYTES])
{
    struct assent_sp *sp = calloc(1, sizeof *sp);
    if (sp == NULL)
        return fail_errno(why, "connect to", url);
    sp->fd = -1;
    sp->part_length = GREETING_BYTES;
    const char *path = behind(url, "ipc://"), *address = behind(url, "tcp://");
    int rc = -1;
    if (!assent_sp_url_is_good(url))
        fail(why, "connect to", url, "expected ipc:///PATH or tcp://HOST:PORT");
    else if (path != NULL)
        rc = connect_local(sp, path, url, why);
    else
        rc = connect_tcp(sp, address, url, why);
    if (rc != 0) {
        assent_sp_close(sp);
        return -1;
    }
    *out = sp;
    return 0;
}

void assent_sp_close(struct assent_sp *sp)
{
    if (sp == NULL)
        return;
    if (sp->fd >= 0)
        close(sp->fd);
    free(sp->out);
    free(sp->body);
    free(sp);
}

/* ---- asking ---- */

static uint8_t *put_number(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        *at++ = (uint8_t)(value >> (8 * i));
    return at;
}

static uint64_t get_number(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

int assent_sp_ask(struct assent_sp *sp, const char *bytes, size_t length)
{
    uint8_t *out = malloc(GREETING_BYTES + IPC_HEAD_BYTES + NUMBER_BYTES + length);
    if (out == NULL)
        return -1;
    uint8_t *at = out;
    if (sp->number == 0) {
        memcpy(at, my_greeting, GREETING_BYTES);
        at += GREETING_BYTES;
    }
    sp->number = (sp->number + 1) | NUMBER_MARK;
    if (sp->local)
        *at++ = 1;
    at = put_number(at, NUMBER_BYTES + length, 8);
    at = put_number(at, sp->number, NUMBER_BYTES);
    memcpy(at, bytes, length);
    free(sp->out);
    sp->out = out;
    sp->out_length = (size_t)(at - out) + length;
    sp->out_done = 0;
    sp->began = false;
    return 0;
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Returns 0 when there is nothing left to do for now. */
static int write_out(struct assent_sp *sp, char why[ASSENT_SP_WHY_BYTES])
{
    while (sp->out_done < sp->out_length) {
        ssize_t count =
            send(sp->fd, sp->out + sp->out_done, sp->out_length - sp->out_done, MSG_NOSIGNAL);
        if (count < 0)
            return would_block() ? 0 : fail_errno(why, "send", "");
        sp->out_done += (size_t)count;
        sp->began = true;
    }
    return 0;
}

/* ---- being answered ---- */

static void expect(struct assent_sp *sp, enum part part, size_t length)
{
    sp->part = part;
    sp->part_length = length;
    sp->part_done = 0;
}

static void expect_head(struct assent_sp *sp)
{
    expect(sp, PART_HEAD, sp->local ? IPC_HEAD_BYTES : TCP_HEAD_BYTES);
}

static int take_head(struct assent_sp *sp, char why[ASSENT_SP_WHY_BYTES])
{
    uint64_t length = get_number(sp->head + (sp->local ? 1 : 0), 8);
    if ((sp->local && sp->head[0] != 1) || length < NUMBER_BYTES || length > ASSENT_SP_REPLY_MAX)
        return fail(why, "read", "", "that is no reply of Assent's");
    free(sp->body);
    sp->body = malloc((size_t)length + 1);
    if (sp->body == NULL)
        return fail_errno(why, "read", "");
    expect(sp, PART_BODY, (size_t)length);
    return 0;
}

static int take_part(struct assent_sp *sp, char why[ASSENT_SP_WHY_BYTES])
{
    switch (sp->part) {
    case PART_GREETING:
        if (memcmp(sp->head, its_greeting, GREETING_BYTES) != 0)
            return fail(why, "read", "", "there is no socket of Assent's at the other end");
        expect_head(sp);
        return 0;
    case PART_HEAD:
        return take_head(sp, why);
    default:
        /* An answer to another question would be one to an earlier one: nobody waits for it. */
        if (get_number(sp->body, NUMBER_BYTES) == sp->number)
            sp->part = PART_WHOLE;
        else
            expect_head(sp);
        return 0;
    }
}

static int read_in(struct assent_sp *sp, char why[ASSENT_SP_WHY_BYTES])
{
    while (sp->part != PART_WHOLE) {
        uint8_t *into = sp->part == PART_BODY ? sp->body : sp->head;
        ssize_t count = recv(sp->fd, into + sp->part_done, sp->part_length - sp->part_done, 0);
        if (count < 0)
            return would_block() ? 0 : fail_errno(why, "read", "");
        if (count == 0)
            return fail(why, "read", "", "the connection was closed");
        sp->part_done += (size_t)count;
        if (sp->part_done == sp->part_length && take_part(sp, why) != 0)
            return -1;
    }
    return 0;
}

/* ---- going on ---- */

static int finish_connecting(struct assent_sp *sp, char why[ASSENT_SP_WHY_BYTES])
{
    struct pollfd poll_fd = {.fd = sp->fd, .events = POLLOUT};
    int result = 0;
    socklen_t length = sizeof result;
    if (poll(&poll_fd, 1, 0) == 0)
        return 0;
    if (getsockopt(sp->fd, SOL_SOCKET, SO_ERROR, &result, &length) == 0 && result == 0) {
        sp->connecting = false;
        return 0;
    }
    errno = result != 0 ? result : errno;
    return fail_errno(why, "connect", "");
}

enum assent_sp_progress assent_sp_step(struct assent_sp *sp, char why[ASSENT_SP_WHY_BYTES])
{
    if (sp->connecting && finish_connecting(sp, why) != 0)
        return ASSENT_SP_FAILED;
    if (sp->connecting)
        return ASSENT_SP_WAITS;
    if (write_out(sp, why) != 0 || read_in(sp, why) != 0)
        return ASSENT_SP_FAILED;
    return sp->part == PART_WHOLE ? ASSENT_SP_ANSWERED : ASSENT_SP_WAITS;
}

char *assent_sp_take(struct assent_sp *sp, size_t *length)
{
    char *reply = (char *)sp->body;
    *length = sp->part_length - NUMBER_BYTES;
    memmove(reply, reply + NUMBER_BYTES, *length);
    reply[*length] = '\0';
    sp->body = NULL;
    expect_head(sp);
    return reply;
}

int assent_sp_fd(const struct assent_sp *sp)
{
    return sp->fd;
}

short assent_sp_events(const struct assent_sp *sp)
{
    bool writes = sp->connecting || sp->out_done < sp->out_length;
    return (short)(writes ? POLLIN | POLLOUT : POLLIN);
}

bool assent_sp_began(const struct assent_sp *sp)
{
    return sp->began;
}
