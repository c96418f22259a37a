/*
 * common/net_link.c - the asking side: one connection, dialled for ever, and the calls over it.
 *
 * A call waits for a connection, a short while, then for its reply. Its number tells whose a reply
 * is: the place of the call, and a count, so that the late reply to one that has given up is not
 * taken for another's. A lost connection ends all calls that were sent over it, and nothing is sent
 * twice.
 *
 * A peer may be silent behind a tunnel whose near end is well, where TCP notices nothing. When a
 * call has had no answer in its time and nothing at all has come for a while, the connection is
 * given up and another one made.
 */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/logger.h"
#include "common/lookup.h"
#include "common/must.h"
#include "common/net.h"
#include "common/stream.h"

enum {
    CALLS_MOST = 4096,
    PLACE_BITS = 12,
    NUMBER_BYTES = 4,
    CONNECT_MS = 500,
    OVERSIZE_ROOM = 64 * 1024,
    RECONNECT_LEAST_MS = 20,
    RECONNECT_MOST_MS = 1000,
    GREETING_MS = 10 * 1000,
    SILENT_MS = 10 * 1000,
};

#define NUMBER_MARK UINT32_C(0x80000000)

enum call_state { CALL_FREE = 0, CALL_UNSENT, CALL_SENT };

struct call {
    enum call_state state;
    uint32_t number;
    uint64_t deadline_ms, connect_by_ms;
    struct call *next_free;
    char *unsent; /* while there is no connection */
    size_t length;
    net_reply_fn *done;
    void *arg;
};

struct net_link {
    struct loop *loop;
    char *url;
    struct stream *stream; /* NULL: none until dial_at_ms, or the host is found */
    struct lookup *lookup; /* of the host's name, or NULL */
    int lookup_failed;     /* why the last one did; 0: it did not */
    uint32_t dials;        /* each takes the host's next address */
    bool connected, closing;
    uint64_t dial_at_ms, greet_by_ms;
    uint64_t heard_ms; /* when something came last */
    uint32_t backoff_ms;
    uint32_t count; /* of calls made */
    struct loop_timer timer;
    uint32_t max_calls;
    struct call *free_calls;
    struct call calls[];
};

static void net_link_lost(void *arg);

/* ---- calls ---- */

static void net_link_wake_by(struct net_link *link, uint64_t at_ms)
{
    if (link->timer.at_ms > at_ms)
        link->timer.at_ms = at_ms;
}

static uint64_t net_call_due_ms(const struct call *call)
{
    return call->state == CALL_UNSENT && call->connect_by_ms < call->deadline_ms
               ? call->connect_by_ms
               : call->deadline_ms;
}

/* Free before it is told, so that the one who is told may call again. */
static void net_call_end(struct net_link *link, struct call *call, enum net_result result,
                         const char *bytes, size_t length)
{
    free(call->unsent);
    call->unsent = NULL;
    call->state = CALL_FREE;
    call->next_free = link->free_calls;
    link->free_calls = call;
    call->done(call->arg, result, bytes, length);
}

static void net_call_send(struct net_link *link, struct call *call, const char *bytes,
                          size_t length)
{
    uint8_t head[NUMBER_BYTES];
    for (int i = 0; i < NUMBER_BYTES; i++)
        head[i] = (uint8_t)(call->number >> 8 * (NUMBER_BYTES - 1 - i));
    call->state = CALL_SENT;
    stream_send(link->stream, head, sizeof head, bytes, length);
}

static void net_call_keep(struct call *call, const char *bytes, size_t length)
{
    call->state = CALL_UNSENT;
    call->unsent = must_copy_bytes(bytes, length, "a call that waits for its connection");
    call->length = length;
}

int net_call(struct net_link *link, const char *bytes, size_t length, uint32_t timeout_ms,
             net_reply_fn *done, void *arg)
{
    struct call *call = link->closing ? NULL : link->free_calls;
    if (call == NULL)
        return -1;
    uint64_t now_ms = loop_now_ms();
    link->free_calls = call->next_free;
    call->number = NUMBER_MARK | link->count++ << PLACE_BITS | (uint32_t)(call - link->calls);
    call->deadline_ms = now_ms + timeout_ms;
    call->connect_by_ms = now_ms + CONNECT_MS;
    call->done = done;
    call->arg = arg;
    if (link->connected)
        net_call_send(link, call, bytes, length);
    else
        net_call_keep(call, bytes, length);
    net_link_wake_by(link, net_call_due_ms(call));
    return 0;
}

/* Calls that end may make room for new ones, which are not yet due. */
static void net_link_end_overdue(struct net_link *link, uint64_t now_ms)
{
    bool silent = false;
    for (uint32_t i = 0; i < link->max_calls; i++) {
        struct call *call = &link->calls[i];
        if (call->state == CALL_FREE)
            continue;
        silent = silent || (call->state == CALL_SENT && net_call_due_ms(call) <= now_ms);
        if (net_call_due_ms(call) <= now_ms)
            net_call_end(link, call, call->state == CALL_SENT ? NET_TIMEOUT : NET_UNREACHABLE, NULL,
                         0);
        else
            net_link_wake_by(link, net_call_due_ms(call));
    }
    if (silent && link->connected && now_ms >= link->heard_ms + SILENT_MS)
        net_link_lost(link);
}

static void net_link_end_sent(struct net_link *link)
{
    for (uint32_t i = 0; i < link->max_calls; i++)
        if (link->calls[i].state == CALL_SENT)
            net_call_end(link, &link->calls[i], NET_UNREACHABLE, NULL, 0);
}

/* ---- the connection ---- */

static void net_link_dial_later(struct net_link *link)
{
    link->dial_at_ms = loop_now_ms() + link->backoff_ms;
    link->backoff_ms =
        link->backoff_ms * 2 < RECONNECT_MOST_MS ? link->backoff_ms * 2 : RECONNECT_MOST_MS;
    net_link_wake_by(link, link->dial_at_ms);
}

static void net_link_lost(void *arg)
{
    struct net_link *link = arg;
    stream_close(link->stream);
    link->stream = NULL;
    link->connected = false;
    net_link_dial_later(link);
    net_link_end_sent(link);
}

static void net_link_greeted(void *arg)
{
    struct net_link *link = arg;
    link->connected = true;
    link->heard_ms = loop_now_ms();
    link->backoff_ms = RECONNECT_LEAST_MS;
    for (uint32_t i = 0; i < link->max_calls; i++) {
        struct call *call = &link->calls[i];
        if (call->state != CALL_UNSENT)
            continue;
        net_call_send(link, call, call->unsent, call->length);
        free(call->unsent);
        call->unsent = NULL;
        net_link_wake_by(link, net_call_due_ms(call));
    }
}

static void net_link_took_message(void *arg, const uint8_t *bytes, size_t length)
{
    struct net_link *link = arg;
    uint32_t number = 0;
    link->heard_ms = loop_now_ms();
    if (length < NUMBER_BYTES) {
        net_link_lost(link);
        return;
    }
    for (int i = 0; i < NUMBER_BYTES; i++)
        number = number << 8 | bytes[i];
    uint32_t place = number & ((1u << PLACE_BITS) - 1);
    struct call *call = &link->calls[place];
    if (place < link->max_calls && call->state == CALL_SENT && call->number == number)
        net_call_end(link, call, NET_OK, (const char *)bytes + NUMBER_BYTES, length - NUMBER_BYTES);
}

static void net_link_dial_at(struct net_link *link, const char *number)
{
    const struct stream_options options = {
        .loop = link->loop,
        .side = STREAM_REQ,
        .local = address_is_local(link->url),
        .message_max = NUMBER_BYTES + REPLY_MAX + OVERSIZE_ROOM,
        .greeted = net_link_greeted,
        .message = net_link_took_message,
        .lost = net_link_lost,
        .arg = link,
    };
    int fd = address_dial(link->url, number);
    if (fd < 0) {
        net_link_dial_later(link);
        return;
    }
    link->stream = stream_open(fd, &options);
    link->greet_by_ms = loop_now_ms() + GREETING_MS;
    net_link_wake_by(link, link->greet_by_ms);
}

static void net_link_found(void *arg, const struct addresses *addresses)
{
    struct net_link *link = arg;
    link->lookup = NULL;
    if (addresses->reason != 0 && addresses->reason != link->lookup_failed)
        log_warning("%s: its host is not found: %s", link->url, gai_strerror(addresses->reason));
    link->lookup_failed = addresses->reason;
    if (addresses->reason != 0)
        net_link_dial_later(link);
    else
        net_link_dial_at(link, addresses->list[link->dials++ % addresses->count]);
}

static void net_link_dial(struct net_link *link)
{
    char host[HOST_BYTES];
    link->dial_at_ms = UINT64_MAX;
    if (address_name(link->url, host))
        link->lookup = lookup_begin(link->loop, host, net_link_found, link);
    else
        net_link_dial_at(link, NULL);
}

static void net_link_due(void *arg, uint64_t now_ms)
{
    struct net_link *link = arg;
    if (link->stream != NULL && !link->connected && now_ms >= link->greet_by_ms)
        net_link_lost(link);
    if (link->stream == NULL && now_ms >= link->dial_at_ms)
        net_link_dial(link);
    else if (link->stream == NULL)
        net_link_wake_by(link, link->dial_at_ms);
    else if (!link->connected)
        net_link_wake_by(link, link->greet_by_ms);
    net_link_end_overdue(link, now_ms);
}

/* ---- from outside ---- */

int net_link_open(struct net_link **out, struct loop *loop, const char *url, uint32_t max_calls,
                  struct error *error)
{
    assert(max_calls > 0 && max_calls <= CALLS_MOST);
    if (address_check(url, error) != 0)
        return -1;
    struct net_link *link =
        must_alloc(sizeof *link + max_calls * sizeof link->calls[0], "a link to a server");
    link->url = must_copy(url, "a link's address");
    link->loop = loop;
    link->max_calls = max_calls;
    link->backoff_ms = RECONNECT_LEAST_MS;
    for (uint32_t i = 0; i < max_calls; i++) {
        link->calls[i].next_free = link->free_calls;
        link->free_calls = &link->calls[i];
    }
    link->timer = (struct loop_timer){.at_ms = UINT64_MAX, .due = net_link_due, .arg = link};
    loop_timer_add(loop, &link->timer);
    net_link_dial(link);
    *out = link;
    return 0;
}

bool net_link_connected(const struct net_link *link)
{
    return link->connected;
}

void net_link_close(struct net_link *link)
{
    lookup_cancel(link->lookup);
    if (link->stream != NULL)
        stream_close(link->stream);
    link->closing = true;
    for (uint32_t i = 0; i < link->max_calls; i++)
        if (link->calls[i].state != CALL_FREE)
            net_call_end(link, &link->calls[i], NET_UNREACHABLE, NULL, 0);
    loop_timer_remove(link->loop, &link->timer);
    free(link->url);
    free(link);
}

/* ---- one call, waited for ---- */

struct waiter {
    bool done;
    enum net_result result;
    char *reply;
    size_t length;
};

static void net_waiter_told(void *arg, enum net_result result, const char *bytes, size_t length)
{
    struct waiter *waiter = arg;
    waiter->done = true;
    waiter->result = result;
    if (result != NET_OK)
        return;
    waiter->reply = must_copy_bytes(bytes, length, "a reply");
    waiter->length = length;
}

enum net_result net_call_wait(struct net_link *link, const char *bytes, size_t length,
                              uint32_t timeout_ms, char **reply, size_t *reply_length)
{
    struct waiter waiter = {.result = NET_UNREACHABLE};
    if (net_call(link, bytes, length, timeout_ms, net_waiter_told, &waiter) == 0)
        while (!waiter.done)
            loop_wait(link->loop, UINT64_MAX);
    *reply = waiter.reply;
    *reply_length = waiter.length;
    return waiter.result;
}
