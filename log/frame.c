/*
 * log/frame.c - the bytes of the log: a record with its stamp, and the header of a file.
 *
 * The chain is what makes a tail that was torn, zeroed and written over safe: a record of
 * before the crash may still be found whole, but it names a predecessor that is gone.
 */
#include "log/frame.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/mutant.h"
#include "core/message/record.h"

/* Where the fields of a stamp are. */
enum { AT_CHECKSUM = 0, AT_PREVIOUS = 8, AT_INCARNATION = 16, AT_LSN = 24, AT_DURABLE = 32 };

/* Where the fields of a file's header are. */
enum {
    AT_MAGIC = 0,
    AT_FORMAT = 8,        /* u32 */
    AT_LEAST_READER = 12, /* u32: the lowest format version whose reader understands this */
    AT_HEADER_CHECKSUM = 16,
    AT_LOG = 24,
    AT_TM = 40,
    AT_NUMBERS = 72, /* from here on, in the order of struct file_header */
};

static const char *const magics[] = {
    [FILE_SEGMENT] = "ASSENTWL",
    [FILE_CHECKPOINT] = "ASSENTCP",
    [FILE_OUTCOMES] = "ASSENTOC",
    [FILE_KEYS] = "ASSENTKY",
};

static uint64_t frame_get_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static void frame_put_u64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static uint32_t frame_get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static void frame_put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static size_t round_up_8(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

void chain_begin(struct chain *chain, const struct uuid *log)
{
    uint64_t seed = XXH3_64bits(log->bytes, sizeof log->bytes);
    *chain = (struct chain){.seed = seed, .checksum = seed};
}

bool chain_follows(const struct chain *chain, const struct frame *frame)
{
    return frame->previous == chain->checksum && frame->lsn == chain->lsn + 1 &&
           frame->incarnation >= chain->incarnation;
}

void chain_advance(struct chain *chain, const struct frame *frame)
{
    chain->checksum = frame->checksum;
    chain->lsn = frame->lsn;
    chain->incarnation = frame->incarnation;
}

size_t handed_bytes(const uint8_t *handed)
{
    return HANDED_HEADER_BYTES + round_up_8(frame_get_u32(handed));
}

bool handed_read(const uint8_t *handed, size_t room, struct frame *out)
{
    if (room < HANDED_HEADER_BYTES || frame_get_u32(handed) > RECORD_PAYLOAD_MAX ||
        handed[4] == 0 || handed_bytes(handed) > room)
        return false;
    *out = (struct frame){
        .length = frame_get_u32(handed),
        .type = handed[4],
        .version = handed[5],
        .payload = handed + HANDED_HEADER_BYTES,
        .bytes = handed_bytes(handed),
    };
    return true;
}

size_t handed_write(uint8_t type, const void *payload, size_t length, uint8_t *out)
{
    size_t bytes = HANDED_HEADER_BYTES + round_up_8(length);
    memset(out, 0, bytes);
    frame_put_u32(out, (uint32_t)length);
    out[4] = type;
    out[5] = 1; /* version */
    if (length > 0)
        memcpy(out + HANDED_HEADER_BYTES, payload, length);
    return bytes;
}

size_t frame_write(struct chain *chain, uint64_t durable_lsn, const uint8_t *handed, uint8_t *out)
{
    size_t length = handed_bytes(handed);
    size_t bytes = STAMP_BYTES + length;
    memcpy(out + STAMP_BYTES, handed, length);
    frame_put_u64(out + AT_PREVIOUS, chain->checksum);
    frame_put_u64(out + AT_INCARNATION, chain->incarnation);
    frame_put_u64(out + AT_LSN, ++chain->lsn);
    frame_put_u64(out + AT_DURABLE, durable_lsn);
    chain->checksum = XXH3_64bits_withSeed(out + AT_PREVIOUS, bytes - AT_PREVIOUS, chain->seed);
    frame_put_u64(out + AT_CHECKSUM, chain->checksum);
    return bytes;
}

bool frame_peek(const uint8_t *bytes, size_t room, struct frame *out)
{
    if (room < STAMP_BYTES || !handed_read(bytes + STAMP_BYTES, room - STAMP_BYTES, out))
        return false;
    out->checksum = frame_get_u64(bytes + AT_CHECKSUM);
    out->previous = frame_get_u64(bytes + AT_PREVIOUS);
    out->incarnation = frame_get_u64(bytes + AT_INCARNATION);
    out->lsn = frame_get_u64(bytes + AT_LSN);
    out->durable_lsn = frame_get_u64(bytes + AT_DURABLE);
    out->bytes += STAMP_BYTES;
    return true;
}

bool frame_read(const uint8_t *bytes, size_t room, uint64_t seed, struct frame *out)
{
    return frame_peek(bytes, room, out) &&
           (MUTANT(LOG_UNCHECKED) ||
            out->checksum ==
                XXH3_64bits_withSeed(bytes + AT_PREVIOUS, out->bytes - AT_PREVIOUS, seed));
}

/* The checksum of a header is that of its page with the checksum's own place zero. */
static uint64_t header_checksum(const uint8_t page[HEADER_BYTES])
{
    XXH3_state_t state;
    static const uint8_t zero[8];
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, page, AT_HEADER_CHECKSUM);
    XXH3_64bits_update(&state, zero, sizeof zero);
    XXH3_64bits_update(&state, page + AT_LOG, HEADER_BYTES - AT_LOG);
    return XXH3_64bits_digest(&state);
}

void header_write(const struct file_header *header, uint8_t out[HEADER_BYTES])
{
    const struct archive_run *runs = header->archives;
    const uint64_t numbers[] = {
        header->bytes,
        header->segment,
        header->offset,
        header->lsn,
        header->checksum,
        header->incarnation,
        header->records,
        header->body_bytes,
        header->body_checksum,
        runs[ARCHIVE_OUTCOMES].first,
        runs[ARCHIVE_OUTCOMES].last,
        runs[ARCHIVE_KEYS].first,
        runs[ARCHIVE_KEYS].last,
        header->newest,
    };
    uint32_t version = header->kind == FILE_SEGMENT ? 1 : FORMAT_VERSION;
    memset(out, 0, HEADER_BYTES);
    memcpy(out + AT_MAGIC, magics[header->kind], 8);
    frame_put_u32(out + AT_FORMAT, version);
    frame_put_u32(out + AT_LEAST_READER, version);
    memcpy(out + AT_LOG, header->log.bytes, sizeof header->log.bytes);
    memcpy(out + AT_TM, header->tm, sizeof header->tm);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        frame_put_u64(out + AT_NUMBERS + 8 * i, numbers[i]);
    frame_put_u64(out + AT_HEADER_CHECKSUM, header_checksum(out));
}

enum header_read header_read(const uint8_t in[HEADER_BYTES], struct file_header *out)
{
    *out = (struct file_header){0};
    for (enum file_kind kind = FILE_SEGMENT; kind <= FILE_KEYS; kind++)
        if (memcmp(in + AT_MAGIC, magics[kind], 8) == 0)
            out->kind = kind;
    if (out->kind == 0)
        return HEADER_DAMAGED;
    if (frame_get_u64(in + AT_HEADER_CHECKSUM) != header_checksum(in))
        return HEADER_DAMAGED;
    if (frame_get_u32(in + AT_LEAST_READER) > FORMAT_VERSION)
        return HEADER_TOO_NEW;

    struct archive_run *runs = out->archives;
    uint64_t *numbers[] = {
        &out->bytes,
        &out->segment,
        &out->offset,
        &out->lsn,
        &out->checksum,
        &out->incarnation,
        &out->records,
        &out->body_bytes,
        &out->body_checksum,
        &runs[ARCHIVE_OUTCOMES].first,
        &runs[ARCHIVE_OUTCOMES].last,
        &runs[ARCHIVE_KEYS].first,
        &runs[ARCHIVE_KEYS].last,
        &out->newest,
    };
    memcpy(out->log.bytes, in + AT_LOG, sizeof out->log.bytes);
    memcpy(out->tm, in + AT_TM, sizeof out->tm - 1);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i] = frame_get_u64(in + AT_NUMBERS + 8 * i);
    return HEADER_OK;
}

uint64_t body_checksum(const struct uuid *log, const uint8_t *body, size_t length)
{
    uint64_t seed = XXH3_64bits(log->bytes, sizeof log->bytes);
    return XXH3_64bits_withSeed(body, length, seed);
}

bool all_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}
