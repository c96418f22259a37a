/*
 * tests/fuzz/fuzz_net.c - what comes in at a socket, before anything of it is a message.
 *
 * However a peer's bytes are cut into pieces, the same messages come out of them, and the
 * connection ends at the same nonsense. The first byte says how they are cut, and on what kind of
 * socket.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/stream.h"

enum { MESSAGE_MOST = 2048, BYTES_MOST = 8192 };

struct heard {
    struct stream *stream;
    bool greeted, lost;
    uint32_t messages;
    size_t length;
    uint8_t bytes[BYTES_MOST]; /* of all messages, one behind the other */
};

static void greeted(void *arg)
{
    struct heard *heard = arg;
    assert(!heard->greeted);
    heard->greeted = true;
}

static void took_message(void *arg, const uint8_t *bytes, size_t length)
{
    struct heard *heard = arg;
    assert(heard->greeted && !heard->lost && length <= MESSAGE_MOST);
    memcpy(heard->bytes + heard->length, bytes, length);
    heard->length += length;
    heard->messages++;
    stream_send(heard->stream, "head", 4, bytes, length);
}

static void lost(void *arg)
{
    struct heard *heard = arg;
    assert(!heard->lost);
    heard->lost = true;
    stream_close(heard->stream);
}

/* All that was written is read before the next piece comes, and what is answered goes away. */
static void turn(struct loop *loop, int peer)
{
    char ignored[BYTES_MOST];
    for (int i = 0; i < 3; i++)
        loop_wait(loop, 0);
    while (recv(peer, ignored, sizeof ignored, 0) > 0)
        continue;
}

static void hear(struct loop *loop, const uint8_t *data, size_t size, size_t piece, bool local,
                 struct heard *out)
{
    int ends[2];
    memset(out, 0, sizeof *out);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        abort();
    const struct stream_options options = {
        .loop = loop,
        .side = STREAM_REP,
        .local = local,
        .message_max = MESSAGE_MOST,
        .greeted = greeted,
        .message = took_message,
        .lost = lost,
        .arg = out,
    };
    out->stream = stream_open(ends[0], &options);
    for (size_t at = 0; at < size && !out->lost; at += piece) {
        size_t length = size - at < piece ? size - at : piece;
        if (send(ends[1], data + at, length, MSG_NOSIGNAL) != (ssize_t)length)
            break;
        turn(loop, ends[1]);
    }
    if (!out->lost)
        stream_close(out->stream);
    close(ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    static struct heard whole, cut;
    struct error error;
    if (size < 1 || size > BYTES_MOST)
        return 0;
    if (loop == NULL && loop_create(&loop, &error) != 0)
        abort();
    bool local = (data[0] & 1) != 0;
    size_t piece = 1 + (data[0] >> 1);
    hear(loop, data + 1, size - 1, size, local, &whole);
    hear(loop, data + 1, size - 1, piece, local, &cut);
    assert(whole.greeted == cut.greeted && whole.lost == cut.lost);
    assert(whole.messages == cut.messages && whole.length == cut.length);
    assert(memcmp(whole.bytes, cut.bytes, whole.length) == 0);
    return 0;
}
