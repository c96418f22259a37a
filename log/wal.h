/*
 * log/wal.h - the coordinator's durable log, as narrow as its user needs it.
 *
 * One thread (the loop) hands over batches of records and never waits; one
 * writer thread of the log's own takes all that has been handed over, writes it
 * with one pwrite, syncs it with one fdatasync and reports how far the log is
 * durable. Whatever is handed over while the disk works is the next batch, so
 * group commit needs no code of its own.
 *
 * A write or sync that fails ends the process: the records may or may not be on
 * disk, so neither outcome may be claimed, and a second fsync proves nothing.
 */
#ifndef ASSENT_LOG_WAL_H
#define ASSENT_LOG_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "core/base/ids.h"

struct wal;

/* What a reader is given of each record, oldest first. The payload is only valid
 * during the call. */
struct wal_record {
    uint64_t lsn;         /* dense; that of the checkpoint for all records of a snapshot */
    uint64_t incarnation; /* of the TM that wrote it, or the checkpoint */
    uint8_t type;
    uint8_t version;
    const uint8_t *payload;
    size_t length;
    bool archived; /* it comes from an archive, and need not be put into one again */
};

/* Return 0, or negative with *error set: the log is then refused. */
typedef int wal_each_fn(void *arg, const struct wal_record *record, struct error *error);

/* Called in the writer's thread when `records` of the records handed over since
 * wal_begin() (counted from 1) and all before them are durable; durable_lsn is the
 * lsn of the newest durable record. */
typedef void wal_durable_fn(void *arg, uint64_t records, uint64_t durable_lsn);

/* How large segments may be set to be. The least holds the longest record; a reader has a whole
 * segment in memory. */
enum {
    WAL_SEGMENT_BYTES = 16 * 1024 * 1024, /* unless set */
    WAL_SEGMENT_BYTES_LEAST = 128 * 1024,
    WAL_SEGMENT_BYTES_MOST = 256 * 1024 * 1024,
};

struct wal_options {
    const char *dir; /* made, with its parents' durability, if missing */
    const char *tm;  /* a log of another TM is refused */
    bool moved;      /* accept a log that was written on another host or in another directory */
    uint32_t seal_after_ms; /* idle time after which SEAL is written; 0: the default, 50 ms */
    uint32_t segment_bytes; /* of segments that are made from now on; 0: the default */
};

struct wal_info {
    struct uuid log;         /* drawn when the log was created */
    bool created;            /* just now */
    bool torn;               /* a torn tail was found and zeroed */
    bool clean;              /* the last record is STOP */
    bool same_home;          /* on the host and in the directory where it was written last */
    uint64_t recovered_lsn;  /* of the newest record found, 0 none */
    uint64_t checkpoint_lsn; /* up to here a snapshot stood for the records; 0: for none */
    uint64_t incarnation;    /* the highest in the log, 0 none */
    uint64_t records;        /* replayed */
};

/*
 * Lock the directory against a second daemon, read the log, and call each() for every
 * record that its owner wrote (SEAL and STOP are the log's own). A torn tail (what a crash may
 * leave) is zeroed durably; anything else that is not right is corruption: refused, with file,
 * offset and lsn named.
 *
 * Returns 0 with *out and *info set; the caller ends it with wal_close(). Negative
 * with *error set: nothing is held.
 */
int wal_open(struct wal **out, const struct wal_options *options, struct wal_info *info,
             wal_each_fn *each, void *arg, struct error *error);

/* Start the writer. All records from here on are of this incarnation, which must
 * exceed wal_info.incarnation. */
int wal_begin(struct wal *wal, uint64_t incarnation, wal_durable_fn *durable, void *arg,
              struct error *error);

/* Hand over whole records in the form of record_append(), bytes a multiple of 8. The
 * bytes are copied; never waits for the disk. `records` is how many there are. */
void wal_append(struct wal *wal, const uint8_t *bytes, size_t length, uint32_t records);

/*
 * Bounded disk: when wal_wants_checkpoint() says so (about once a segment), the owner hands
 * over a snapshot: records which, replayed alone, rebuild the state after everything handed
 * over so far. It is written beside the log by a thread of its own; wal_open() then replays the
 * newest checkpoint and what was handed over after it, and older segments are used again.
 */
bool wal_wants_checkpoint(struct wal *wal);
/* Records in the form of record_append(). */
struct wal_records {
    const uint8_t *bytes;
    size_t length;
};

/* A snapshot need not tell again what changes no more: outcomes and keys may be put into archives,
 * files of their own that this snapshot and later ones refer to. wal_open() replays the archives
 * before the snapshot. They go when all in them is older than what is remembered. */
struct wal_snapshot {
    struct wal_records state;
    struct wal_archive {
        struct wal_records records; /* that are in no archive yet; length 0: none */
        uint64_t newest;            /* date in it */
        uint64_t oldest;            /* date of all that is still remembered */
    } outcomes, keys;
    uint64_t number; /* the owner's, rising, not 0: see wal_archived() */
};

/* The bytes are copied; never waits for the disk. handed_over is how many records were handed over
 * since wal_begin(): owner and log have to mean the same moment. */
void wal_checkpoint(struct wal *wal, const struct wal_snapshot *snapshot, uint64_t handed_over);
/* The number of the newest snapshot that is durable, its archives too; 0 none so far. One may be
 * left out, when there is no room for it or a newer one comes. */
uint64_t wal_archived(struct wal *wal);

/* For `status`: counters since wal_begin(). Any thread. */
struct wal_stats {
    uint64_t records, batches, syncs, bytes;
    uint64_t durable_lsn;
    uint64_t sync_us_max, sync_us_sum;
    /* Of a few seconds ago. A disk with less than the least, in bytes, is nearly full. */
    uint64_t disk_free, disk_files, disk_least;
};
void wal_stats(struct wal *wal, struct wal_stats *out);

/* Make all that was handed over durable, write STOP if `clean`, release the lock, free.
 * wal may be NULL. */
void wal_close(struct wal *wal, bool clean);

#endif
