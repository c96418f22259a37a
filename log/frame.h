/*
 * log/frame.h - the bytes of the log: a record with its stamp, and the header of a file.
 *
 * On disk a record is what core/message/record.h hands over, behind a stamp of 40 bytes:
 *
 *   0 checksum   XXH3-64 of all that follows, padding included, seeded by the log's uuid
 *   8 previous   the checksum of the record before it: the chain
 *  16 incarnation of the TM that wrote it
 *  24 lsn        the previous one's plus one
 *  32 durable    the highest lsn known to be on disk when it was written
 *  40 length, type, version, zero, payload, zeros to a multiple of 8: as handed over
 *
 * All numbers are little-endian. Nothing here does I/O.
 */
#ifndef ASSENT_LOG_FRAME_H
#define ASSENT_LOG_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/ids.h"

enum {
    STAMP_BYTES = 40,
    HANDED_HEADER_BYTES = 8,
    FRAME_HEADER_BYTES = STAMP_BYTES + HANDED_HEADER_BYTES,
    HEADER_BYTES = 4096, /* a page of its own: no later write touches it */
    FORMAT_VERSION = 2,  /* of what may refer to archives, and of them; of segments 1 */
};

/* A record in place; payload points into the bytes that it was read from. */
struct frame {
    uint64_t checksum;
    uint64_t previous;
    uint64_t incarnation;
    uint64_t lsn;
    uint64_t durable_lsn;
    uint32_t length;
    uint8_t type;
    uint8_t version;
    const uint8_t *payload;
    size_t bytes; /* on disk; of a handed-over one, there */
};

/* Where the log ends: what the next record has to continue. */
struct chain {
    uint64_t seed;     /* of this log's checksums */
    uint64_t checksum; /* of the last record; the seed if there is none */
    uint64_t lsn;
    uint64_t incarnation;
};

/* The chain of an empty log. */
void chain_begin(struct chain *chain, const struct uuid *log);
/* Is the frame the next one? */
bool chain_follows(const struct chain *chain, const struct frame *frame);
void chain_advance(struct chain *chain, const struct frame *frame);

/* Bytes of a record in its handed-over form. */
size_t handed_bytes(const uint8_t *handed);
/* False unless one whole, sane record begins at handed; else sets all of *out but the stamp. */
bool handed_read(const uint8_t *handed, size_t room, struct frame *out);
/* Write a record without payload, or with length bytes of it, in the handed-over form; room
 * for HANDED_HEADER_BYTES + length + 7. Returns its bytes. */
size_t handed_write(uint8_t type, const void *payload, size_t length, uint8_t *out);

/* Stamp one handed-over record as the chain's next, into STAMP_BYTES + handed_bytes() bytes
 * at out, and advance the chain. Returns the bytes written. */
size_t frame_write(struct chain *chain, uint64_t durable_lsn, const uint8_t *handed, uint8_t *out);
/* False unless a record with a right checksum begins at bytes, within room. */
bool frame_read(const uint8_t *bytes, size_t room, uint64_t seed, struct frame *out);
/* What an undamaged record at bytes would say of itself, cheaply: the checksum is not looked
 * at. False if it cannot be a record. */
bool frame_peek(const uint8_t *bytes, size_t room, struct frame *out);

enum file_kind { FILE_SEGMENT = 1, FILE_CHECKPOINT = 2, FILE_OUTCOMES = 3, FILE_KEYS = 4 };

/* What a checkpoint does not hold itself but refers to: outcomes and keys, of each a run of files.
 */
enum archive { ARCHIVE_OUTCOMES, ARCHIVE_KEYS, ARCHIVES };

static inline enum file_kind archive_kind(int archive)
{
    return archive == ARCHIVE_OUTCOMES ? FILE_OUTCOMES : FILE_KEYS;
}

/* Both inclusive; 0, 0: none. */
struct archive_run {
    uint64_t first, last;
};

/* The header of a segment, a checkpoint or an archive (which has no place in the log). */
struct file_header {
    enum file_kind kind;
    uint64_t bytes; /* of the whole file */
    struct uuid log;
    char tm[TM_NAME_BYTES];
    uint64_t segment; /* this one's number, or an archive's; of a checkpoint's place in the log */
    /* Of a checkpoint: the place in the log that it stands for, and what follows. */
    uint64_t offset;        /* just behind the last record that it covers */
    uint64_t lsn;           /* of that record */
    uint64_t checksum;      /* of that record */
    uint64_t incarnation;   /* of that record */
    uint64_t records;       /* in the snapshot */
    uint64_t body_bytes;    /* of the snapshot, in the handed-over form */
    uint64_t body_checksum; /* XXH3-64, seeded by the log's uuid */
    struct archive_run archives[ARCHIVES];
    uint64_t newest; /* of an archive: the newest date in it */
};

enum header_read { HEADER_OK = 0, HEADER_DAMAGED, HEADER_TOO_NEW };

void header_write(const struct file_header *header, uint8_t out[HEADER_BYTES]);
enum header_read header_read(const uint8_t in[HEADER_BYTES], struct file_header *out);

/* The checksum of a checkpoint's body. */
uint64_t body_checksum(const struct uuid *log, const uint8_t *body, size_t length);

bool all_zero(const uint8_t *bytes, size_t length);

#endif
