/*
 * tests/sim/disk.c - the coordinator's log on a disk that tears writes.
 *
 * The frames and their chain are the daemon's own (log/frame.c); the reading rule is that of
 * log/reader.c in small. A batch is one write and one sync. A process that dies leaves what it
 * had written; a host that loses power leaves any subset of the sectors that were not synced.
 */
#include <string.h>

#include "tests/sim/sim.h"

enum { SECTOR = 512 };

static bool visit_pile(const struct disk *disk, const uint8_t *bytes, size_t length,
                       disk_visit_fn *visit, void *arg)
{
    struct frame frame;
    for (size_t done = 0; done < length; done += frame.bytes) {
        if (!handed_read(bytes + done, length - done, &frame))
            return false;
        frame.lsn = disk->checkpoint_lsn;
        if (!visit(arg, &frame))
            return false;
    }
    return true;
}

bool disk_open(struct sim *sim, struct disk *disk, struct writer *writer, disk_visit_fn *visit,
               void *arg)
{
    struct frame frame;
    size_t at = 0;
    memset(writer, 0, offsetof(struct writer, batch));
    writer->checkpoint_lsn = 0;
    writer->archived = 0;
    chain_begin(&writer->chain, &disk->log);
    if (disk->checkpoint_lsn > 0) {
        writer->reads_archive = true;
        bool read = visit_pile(disk, disk->archive, disk->archive_length, visit, arg);
        writer->reads_archive = false;
        if (!read || !visit_pile(disk, disk->checkpoint.bytes, disk->checkpoint.length, visit, arg))
            return false;
    }
    while (frame_read(disk->bytes + at, DISK_BYTES - at, writer->chain.seed, &frame) &&
           chain_follows(&writer->chain, &frame)) {
        if (frame.lsn > disk->checkpoint_lsn && !visit(arg, &frame))
            return false;
        chain_advance(&writer->chain, &frame);
        at += frame.bytes;
    }
    if (at < disk->end && !all_zero(disk->bytes + at, disk->end - at))
        note(sim, "disk", "torn tail of %zu bytes behind lsn %llu", disk->end - at,
             (unsigned long long)writer->chain.lsn);
    memset(disk->bytes + at, 0, DISK_BYTES - at);
    disk->end = at;
    writer->at = at;
    writer->durable_lsn = writer->chain.lsn;
    writer->handed_length = 0;
    writer->handed_records = 0;
    return true;
}

void disk_begin(struct writer *writer, uint64_t incarnation)
{
    writer->chain.incarnation = incarnation;
}

void disk_hand_over(struct writer *writer, const uint8_t *bytes, size_t length, uint32_t records)
{
    if (writer->handed_length + length > sizeof writer->handed)
        __builtin_trap(); /* a night is not that long */
    memcpy(writer->handed + writer->handed_length, bytes, length);
    writer->handed_length += length;
    writer->handed_records += records;
}

bool disk_write(struct writer *writer)
{
    if (writer->writing || writer->handed_records == 0)
        return false;
    writer->batch_length = 0;
    for (size_t at = 0; at < writer->handed_length; at += handed_bytes(writer->handed + at))
        writer->batch_length +=
            frame_write(&writer->chain, writer->durable_lsn, writer->handed + at,
                        writer->batch + writer->batch_length);
    writer->batch_records = writer->handed_records;
    writer->handed_length = 0;
    writer->handed_records = 0;
    writer->writing = true;
    return true;
}

static void copy_pile(struct pile *to, const struct pile *from)
{
    to->length = from->length;
    memcpy(to->bytes, from->bytes, from->length);
}

void disk_checkpoint(const struct disk *disk, struct writer *writer, uint64_t number,
                     const struct pile *state, const struct pile *archive)
{
    if (disk->archive_length + archive->length > sizeof disk->archive)
        return;
    writer->checkpoint_lsn = writer->chain.lsn + writer->handed_records;
    writer->checkpoint_number = number;
    copy_pile(&writer->checkpoint, state);
    copy_pile(&writer->archive, archive);
}

static void put(struct disk *disk, size_t at, const uint8_t *bytes, size_t length)
{
    if (at + length > DISK_BYTES)
        __builtin_trap(); /* the same */
    memcpy(disk->bytes + at, bytes, length);
    if (disk->end < at + length)
        disk->end = at + length;
}

void disk_synced(struct disk *disk, struct writer *writer)
{
    put(disk, writer->at, writer->batch, writer->batch_length);
    writer->at += writer->batch_length;
    writer->records += writer->batch_records;
    writer->durable_lsn = writer->chain.lsn;
    writer->writing = false;
    if (writer->checkpoint_lsn == 0 || writer->checkpoint_lsn > writer->durable_lsn)
        return;
    disk->checkpoint_lsn = writer->checkpoint_lsn;
    copy_pile(&disk->checkpoint, &writer->checkpoint);
    memcpy(disk->archive + disk->archive_length, writer->archive.bytes, writer->archive.length);
    disk->archive_length += writer->archive.length;
    writer->archived = writer->checkpoint_number;
    writer->checkpoint_lsn = 0;
}

void disk_crash(struct sim *sim, struct disk *disk, struct writer *writer, bool power_lost)
{
    if (!writer->writing)
        return;
    size_t end = writer->at + writer->batch_length;
    for (size_t at = writer->at; at < end;) {
        size_t sector_end = (at / SECTOR + 1) * SECTOR;
        size_t stop = sector_end < end ? sector_end : end;
        if (!power_lost || choice(sim, 5000))
            put(disk, at, writer->batch + (at - writer->at), stop - at);
        at = stop;
    }
    writer->writing = false;
}
