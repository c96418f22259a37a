/*
 * common/stream.c - one connection that carries messages, as nng's REQ and REP sockets do.
 *
 * What goes over the wire is SP, "scalability protocols", version 0, as nanomsg and nng speak it:
 * each side greets with eight bytes that name its protocol, and then sends messages, each behind
 * its length in eight bytes, big end first; over a unix socket a byte 1 comes before that.
 * (nanomsg's RFCs: sp-tcp-mapping-01 and sp-ipc-mapping-01.)
 *
 * Nobody waits for a peer: what does not leave at once stays, and the owner sees how much and for
 * how long.
 */
#include "common/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/must.h"

enum {
    GREETING_BYTES = 8,
    LENGTH_BYTES = 8,
    LOCAL_MARK = 1,
    READ_ROOM = 16 * 1024,
    KEPT_ROOM = 64 * 1024, /* of an empty buffer */
};

struct buffer {
    uint8_t *bytes;
    size_t begin, end; /* of what is in it */
    size_t room;
};

struct stream {
    struct stream_options options;
    int fd;
    bool connecting, greeted, paused, closed;
    int depth; /* callbacks under way */
    uint64_t progress_ms;
    struct loop_job flush;
    struct buffer in, out;
};

/* ---- buffers ---- */

static size_t buffer_held(const struct buffer *buffer)
{
    return buffer->end - buffer->begin;
}

/* Room for more bytes behind what is held. Out of memory: the process ends and recovery takes over,
 * as everywhere. */
static uint8_t *buffer_make_room(struct buffer *buffer, size_t more)
{
    if (buffer->begin > 0) {
        if (buffer_held(buffer) > 0)
            memmove(buffer->bytes, buffer->bytes + buffer->begin, buffer_held(buffer));
        buffer->end -= buffer->begin;
        buffer->begin = 0;
    }
    if (buffer->room - buffer->end < more) {
        size_t least = buffer->end + more, twice = 2 * buffer->room;
        buffer->room = least > twice ? least : twice;
        buffer->bytes = must_grow(buffer->bytes, buffer->room, "what a connection carries");
    }
    return buffer->bytes + buffer->end;
}

static void buffer_put(struct buffer *buffer, const void *bytes, size_t length)
{
    if (buffer->room - buffer->end < length)
        buffer_make_room(buffer, length);
    if (length > 0)
        memcpy(buffer->bytes + buffer->end, bytes, length);
    buffer->end += length;
}

/* An idle connection keeps no large buffer. */
static void buffer_take(struct buffer *buffer, size_t length)
{
    buffer->begin += length;
    if (buffer->begin < buffer->end)
        return;
    buffer->begin = buffer->end = 0;
    if (buffer->room > KEPT_ROOM) {
        free(buffer->bytes);
        *buffer = (struct buffer){0};
    }
}

/* ---- the socket ---- */

static void stream_ready(void *arg, uint32_t events);

static void stream_watch(struct stream *stream)
{
    struct error
        ignored; /* out of memory in the kernel: the connection is stuck, and then given up */
    uint32_t events = stream->paused ? 0 : EPOLLIN;
    if (stream->connecting || buffer_held(&stream->out) > 0)
        events |= EPOLLOUT;
    /* Errors and hang-ups are always told; a watch of nothing else would be none at all. */
    loop_watch(stream->options.loop, stream->fd, events != 0 ? events : EPOLLRDHUP, stream_ready,
               stream, &ignored);
}

static void stream_release(struct stream *stream)
{
    if (stream->depth > 0 || !stream->closed)
        return;
    free(stream->in.bytes);
    free(stream->out.bytes);
    free(stream);
}

/* Returns false if the connection has failed. */
static bool stream_send_out(struct stream *stream)
{
    struct buffer *out = &stream->out;
    while (buffer_held(out) > 0) {
        ssize_t sent = send(stream->fd, out->bytes + out->begin, buffer_held(out), MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        stream->progress_ms = loop_now_ms();
        buffer_take(out, (size_t)sent);
    }
    return true;
}

static void stream_flush(void *arg)
{
    struct stream *stream = arg;
    if (stream->connecting)
        return;
    stream->depth++;
    bool good = stream_send_out(stream);
    if (good && buffer_held(&stream->out) == 0 && stream->options.drained != NULL)
        stream->options.drained(stream->options.arg);
    if (!stream->closed && !good)
        stream->options.lost(stream->options.arg);
    if (!stream->closed)
        stream_watch(stream);
    stream->depth--;
    stream_release(stream);
}

void stream_send(struct stream *stream, const void *head, size_t head_length, const void *bytes,
                 size_t length)
{
    uint8_t frame[1 + LENGTH_BYTES] = {LOCAL_MARK};
    uint64_t whole = head_length + length;
    for (int i = 0; i < LENGTH_BYTES; i++)
        frame[LENGTH_BYTES - i] = (uint8_t)(whole >> 8 * i);
    if (buffer_held(&stream->out) == 0)
        stream->progress_ms = loop_now_ms();
    if (stream->options.local)
        buffer_put(&stream->out, frame, sizeof frame);
    else
        buffer_put(&stream->out, frame + 1, LENGTH_BYTES);
    buffer_put(&stream->out, head, head_length);
    buffer_put(&stream->out, bytes, length);
    loop_soon(stream->options.loop, &stream->flush);
}

/* ---- what comes in ---- */

static bool stream_is_greeting(const struct stream *stream, const uint8_t *bytes)
{
    const uint8_t peer = stream->options.side == STREAM_REQ ? STREAM_REP : STREAM_REQ;
    const uint8_t greeting[GREETING_BYTES] = {0, 'S', 'P', 0, 0, peer, 0, 0};
    return memcmp(bytes, greeting, GREETING_BYTES) == 0;
}

static bool stream_take_greeting(struct stream *stream)
{
    struct buffer *in = &stream->in;
    if (buffer_held(in) < GREETING_BYTES)
        return true;
    if (!stream_is_greeting(stream, in->bytes + in->begin))
        return false;
    buffer_take(in, GREETING_BYTES);
    stream->greeted = true;
    if (stream->options.greeted != NULL)
        stream->options.greeted(stream->options.arg);
    return true;
}

static uint64_t stream_length_at(const uint8_t *bytes)
{
    uint64_t length = 0;
    for (int i = 0; i < LENGTH_BYTES; i++)
        length = length << 8 | bytes[i];
    return length;
}

/* Hands on every message that is whole. Returns false if it is nonsense. */
static bool stream_take_messages(struct stream *stream)
{
    struct buffer *in = &stream->in;
    const size_t mark = stream->options.local ? 1 : 0;
    while (!stream->closed && buffer_held(in) >= mark + LENGTH_BYTES) {
        const uint8_t *frame = in->bytes + in->begin;
        uint64_t length = stream_length_at(frame + mark);
        if ((mark > 0 && frame[0] != LOCAL_MARK) || length > stream->options.message_max)
            return false;
        size_t whole = mark + LENGTH_BYTES + (size_t)length;
        if (buffer_held(in) < whole)
            return true;
        stream->options.message(stream->options.arg, frame + mark + LENGTH_BYTES, (size_t)length);
        buffer_take(in, whole);
    }
    return true;
}

/* Returns false if the connection has ended, or carries nonsense. */
static bool stream_receive(struct stream *stream)
{
    uint8_t *room = buffer_make_room(&stream->in, READ_ROOM);
    ssize_t length = recv(stream->fd, room, stream->in.room - stream->in.end, 0);
    if (length < 0)
        return errno == EAGAIN || errno == EINTR;
    if (length == 0)
        return false;
    stream->in.end += (size_t)length;
    if (!stream->greeted && !stream_take_greeting(stream))
        return false;
    return !stream->greeted || stream_take_messages(stream);
}

static bool stream_has_connected(struct stream *stream)
{
    int reason = 0;
    socklen_t length = sizeof reason;
    stream->connecting = false;
    return getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &reason, &length) == 0 && reason == 0;
}

static void stream_ready(void *arg, uint32_t events)
{
    struct stream *stream = arg;
    stream->depth++;
    bool good = !stream->connecting || stream_has_connected(stream);
    if (good && (events & EPOLLOUT) != 0)
        loop_soon(stream->options.loop, &stream->flush);
    if (good && (events & ~(uint32_t)EPOLLOUT) != 0)
        good = stream->paused ? (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) == 0
                              : stream_receive(stream);
    if (!good && !stream->closed)
        stream->options.lost(stream->options.arg);
    stream->depth--;
    stream_release(stream);
}

/* ---- from outside ---- */

struct stream *stream_open(int fd, const struct stream_options *options)
{
    const uint8_t greeting[GREETING_BYTES] = {0, 'S', 'P', 0, 0, (uint8_t)options->side, 0, 0};
    struct stream *stream = must_alloc(sizeof *stream, "a connection");
    stream->options = *options;
    stream->fd = fd;
    stream->connecting = true;
    stream->progress_ms = loop_now_ms();
    stream->flush.run = stream_flush;
    stream->flush.arg = stream;
    buffer_put(&stream->out, greeting, sizeof greeting);
    stream_watch(stream);
    return stream;
}

size_t stream_unsent(const struct stream *stream)
{
    return buffer_held(&stream->out);
}

uint64_t stream_stuck_since_ms(const struct stream *stream)
{
    return stream->greeted && buffer_held(&stream->out) == 0 ? UINT64_MAX : stream->progress_ms;
}

void stream_pause(struct stream *stream, bool paused)
{
    stream->paused = paused;
    stream_watch(stream);
}

void stream_close(struct stream *stream)
{
    struct error ignored;
    if (!stream->connecting)
        stream_send_out(stream);
    loop_not_now(stream->options.loop, &stream->flush);
    loop_watch(stream->options.loop, stream->fd, 0, NULL, NULL, &ignored);
    close(stream->fd);
    stream->closed = true;
    stream_release(stream);
}
