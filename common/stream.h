/*
 * common/stream.h - one connection that carries messages, as nng's REQ and REP sockets do.
 *
 * Messages that come in are handed on as they are whole; what is sent is gathered, and leaves in
 * one piece before the loop waits again. Everything happens in the loop's thread.
 */
#ifndef ASSENT_COMMON_STREAM_H
#define ASSENT_COMMON_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"

struct stream;

enum stream_side { STREAM_REQ = 0x30, STREAM_REP = 0x31 }; /* SP's numbers of the protocols */

struct stream_options {
    struct loop *loop;
    enum stream_side side; /* ours; the peer must be the other */
    bool local;            /* a unix socket: a message has one byte more */
    size_t message_max;    /* a longer one ends the connection */
    /* The peer has said that it speaks the other side of the protocol. May be NULL. */
    void (*greeted)(void *arg);
    /* A message. bytes are valid during the call only. */
    void (*message)(void *arg, const uint8_t *bytes, size_t length);
    /* All that was sent has left. May be NULL. */
    void (*drained)(void *arg);
    /* The connection has ended, or the peer spoke nonsense: to be answered by stream_close(). */
    void (*lost)(void *arg);
    void *arg;
};

/* fd connects, or is connected, and is the stream's from now on. Never calls back by itself. */
struct stream *stream_open(int fd, const struct stream_options *options);
/* Copies: head and bytes are one message. */
void stream_send(struct stream *stream, const void *head, size_t head_length, const void *bytes,
                 size_t length);
/* How many bytes have not left yet. */
size_t stream_unsent(const struct stream *stream);
/* Since when the peer owes us something, its greeting or its reading of what was sent, without any
 * progress; UINT64_MAX: it owes nothing. */
uint64_t stream_stuck_since_ms(const struct stream *stream);
/* Reads nothing more until told otherwise. */
void stream_pause(struct stream *stream, bool paused);
/* What can be sent without waiting, is. No function is called any more. */
void stream_close(struct stream *stream);

#endif
