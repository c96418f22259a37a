/*
 * log/writer.c - the log's one writer: takes what was handed over, writes it, syncs it, tells.
 *
 * The writer's thread stamps the records as it takes them (chain, lsn, and how far the log is
 * known to be on disk), writes them with one pwrite and syncs them with one fdatasync. A batch
 * never straddles two segments, and the next batch begins only when this one is durable; so
 * whatever a crash tears is the last batch and nothing else, and the first record of a batch
 * vouches for all before it.
 *
 * A checkpoint's place is one in what was handed over; the writer, when it gets there, knows the
 * place in the log, and leaves the rest to the keeper.
 *
 * An idle log writes SEAL, which vouches for the last batch too, and a clean end STOP.
 */
#include "log/wal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/logger.h"
#include "common/point.h"
#include "core/message/record.h"
#include "log/keeper.h"
#include "log/reader.h"

enum { SEAL_AFTER_MS = 50, BATCH_BYTES = 1024 * 1024 };

/* Records in the handed-over form. */
struct buffer {
    uint8_t *bytes;
    size_t length;
    size_t room;
    struct snapshot *snapshot; /* of the state after the first snapshot_at bytes, or NULL */
    size_t snapshot_at;
};

struct wal {
    struct log_dir dir;
    char home[HOME_BYTES];
    uint32_t seal_after_ms;
    uint64_t segment_bytes;     /* of segments to come */
    struct file_header segment; /* the one in use */
    int fd;                     /* of it */
    uint64_t offset;            /* where the next batch goes */
    struct chain chain;
    uint64_t durable_lsn;
    uint64_t records; /* handed over and durable */
    struct buffer taken;
    uint8_t *batch;
    wal_durable_fn *durable;
    void *arg;
    struct keeper *keeper;
    bool begun;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* All below under the lock. */
    struct buffer handed;
    uint64_t handed_over; /* records, since wal_begin() */
    bool closing;
    bool clean;
    struct wal_stats stats;
    uint64_t written;       /* bytes of log since the last checkpoint's place */
    uint64_t snapshot_size; /* of that checkpoint */
};

/* Opening: read, judge, repair. */

struct replay {
    wal_each_fn *each;
    void *arg;
    uint64_t records;
};

/* The log's own records are nobody else's business. */
static bool wal_is_own(uint8_t type)
{
    return type == RECORD_SEAL || type == RECORD_STOP;
}

static int wal_replay_one(void *arg, const struct log_place *place, const struct frame *frame,
                          struct error *error)
{
    struct replay *replay = arg;
    if (wal_is_own(frame->type))
        return 0;
    replay->records++;
    struct wal_record record = {
        .lsn = frame->lsn,
        .incarnation = frame->incarnation,
        .type = frame->type,
        .version = frame->version,
        .payload = frame->payload,
        .length = frame->length,
        .archived = place->kind == FILE_OUTCOMES || place->kind == FILE_KEYS,
    };
    return replay->each(replay->arg, &record, error);
}

static int wal_open_segment(const struct log_dir *dir, uint64_t number, struct error *error)
{
    char name[FILE_NAME_BYTES];
    file_name(FILE_SEGMENT, number, name);
    int fd = openat(dir->fd, name, O_RDWR | O_CLOEXEC);
    return fd >= 0 ? fd : fail_errno(error, "open %s/%s", dir->path, name);
}

/* Write again what is there from `from` to `keep`, and zeros to `until`. Read back it may have
 * come from the page cache alone, where a failed or missing sync of the last run left it. */
static int wal_rewrite(const struct log_dir *dir, uint64_t segment, uint64_t from, uint64_t keep,
                       uint64_t until, struct error *error)
{
    int rc = -1;
    int fd = wal_open_segment(dir, segment, error);
    if (fd < 0)
        return -1;
    uint8_t *bytes = calloc(1, until - from + 1);
    if (bytes == NULL || pread(fd, bytes, keep - from, (off_t)from) != (ssize_t)(keep - from) ||
        !write_at(fd, bytes, until - from, from) || fdatasync(fd) != 0)
        fail_errno(error, "make the end of the log in %s durable", dir->path);
    else
        rc = 0;
    free(bytes);
    close(fd);
    return rc;
}

/* Segments above the end hold at most what a crash left of a batch that nobody heard of. */
static int wal_remove_newer(const struct log_dir *dir, const struct log_end *end,
                            struct error *error)
{
    char name[FILE_NAME_BYTES];
    for (uint64_t number = end->newest_segment; number > end->segment; number--) {
        file_name(FILE_SEGMENT, number, name);
        if (unlinkat(dir->fd, name, 0) != 0)
            return fail_errno(error, "remove %s/%s", dir->path, name);
    }
    return end->newest_segment > end->segment ? log_dir_sync(dir, error) : 0;
}

/* After this the log ends at end->offset on the disk too: the last batch, which no later record
 * vouches for, is certain to be there, and nothing that was torn can ever be read again. */
static int wal_settle_end(const struct log_dir *dir, const struct log_end *end, struct error *error)
{
    POINT("log.before-end-settled");
    if (wal_remove_newer(dir, end, error) != 0)
        return -1;
    if (end->batch_segment != 0 && end->batch_segment != end->segment &&
        wal_rewrite(dir, end->batch_segment, end->batch_offset, end->batch_end, end->batch_end,
                    error) != 0)
        return -1;
    uint64_t from = end->batch_segment == end->segment ? end->batch_offset : end->offset;
    uint64_t until = end->dirty_end > end->offset ? end->dirty_end : end->offset;
    return wal_rewrite(dir, end->segment, from, end->offset, until, error);
}

/* The first segment gets its name when it is whole, so a log exists entirely or not at all. */
static int wal_create(const struct log_dir *dir, const char *tm, uint64_t segment_bytes,
                      struct log_end *end, struct error *error)
{
    struct file_header header = {.kind = FILE_SEGMENT, .segment = 1};
    header.bytes = segment_bytes;
    snprintf(header.tm, sizeof header.tm, "%s", tm);
    if (getrandom(header.log.bytes, sizeof header.log.bytes, 0) != sizeof header.log.bytes)
        return fail_errno(error, "draw the identity of a new log");
    POINT("log.before-create");
    int fd = spare_make(dir, &header, error);
    if (fd < 0)
        return -1;
    POINT("log.before-first-segment-is-named");
    close(fd);
    if (log_dir_sync_parent(dir, error) != 0 || spare_adopt(dir, 1, error) != 0)
        return -1;
    *end = (struct log_end){.log = header.log, .segment = 1, .offset = HEADER_BYTES};
    end->newest_segment = end->checkpoint_segment = 1;
    end->checkpoint_offset = HEADER_BYTES;
    end->segment_bytes = header.bytes;
    memcpy(end->tm, header.tm, sizeof end->tm);
    chain_begin(&end->chain, &header.log);
    return 0;
}

/* A copy of an idle log must not be taken for the log itself: it would fence the true TM. */
static int wal_check_home(const struct wal *wal, const struct log_end *end, bool moved,
                          struct error *error)
{
    if (moved || end->home[0] == '\0' || strcmp(end->home, wal->home) == 0)
        return 0;
    fail(error, "the log was last written elsewhere (%.200s); this is %.200s", end->home,
         wal->home);
    return fail_hint(error, "if the log was moved here and nothing uses the other one any more, "
                            "start once with --moved");
}

static void wal_describe(const struct wal *wal, const struct log_end *end, uint64_t records,
                         bool created, struct wal_info *info)
{
    *info = (struct wal_info){
        .log = end->log,
        .created = created,
        .torn = end->torn,
        .clean = end->clean,
        .same_home = end->home[0] == '\0' || strcmp(end->home, wal->home) == 0,
        .recovered_lsn = end->chain.lsn,
        .checkpoint_lsn = end->checkpoint,
        .incarnation = end->chain.incarnation,
        .records = records,
    };
}

static void wal_adopt_end(struct wal *wal, const struct log_end *end)
{
    wal->segment = (struct file_header){
        .kind = FILE_SEGMENT,
        .bytes = end->segment_bytes,
        .log = end->log,
        .segment = end->segment,
    };
    memcpy(wal->segment.tm, end->tm, sizeof wal->segment.tm);
    wal->offset = end->offset;
    wal->chain = end->chain;
    wal->durable_lsn = end->chain.lsn;
    wal->written = (end->segment - end->checkpoint_segment) * end->segment_bytes + end->offset -
                   end->checkpoint_offset;
}

/* Bring the locked directory into the state that wal_begin() goes on from. */
static int wal_recover(struct wal *wal, const struct wal_options *options, struct wal_info *info,
                       struct replay *replay, struct error *error)
{
    struct log_end end;
    if (log_dir_home(&wal->dir, wal->home, error) != 0 ||
        log_read(&wal->dir, options->tm, false, &end, wal_replay_one, replay, error) != 0)
        return -1;
    bool created = end.segment == 0;
    if (created) {
        if (wal_create(&wal->dir, options->tm, wal->segment_bytes, &end, error) != 0)
            return -1;
    } else if (wal_check_home(wal, &end, options->moved, error) != 0 ||
               wal_settle_end(&wal->dir, &end, error) != 0) {
        return -1;
    }
    if (end.damaged_checkpoint != 0)
        log_warning("%s: the checkpoint at lsn %" PRIu64 " is damaged; read from lsn %" PRIu64
                    " instead",
                    wal->dir.path, end.damaged_checkpoint, end.checkpoint);
    POINT("log.after-end-settled");
    wal_describe(wal, &end, replay->records, created, info);
    wal_adopt_end(wal, &end);
    return 0;
}

static void wal_init_threading(struct wal *wal)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&wal->lock, NULL);
    pthread_cond_init(&wal->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

int wal_open(struct wal **out, const struct wal_options *options, struct wal_info *info,
             wal_each_fn *each, void *arg, struct error *error)
{
    struct replay replay = {.each = each, .arg = arg};
    struct wal *wal = calloc(1, sizeof *wal);
    if (wal == NULL || (wal->batch = malloc(BATCH_BYTES)) == NULL) {
        fail_errno(error, "open the log in %s", options->dir);
        goto free_wal;
    }
    wal->segment_bytes = options->segment_bytes != 0 ? options->segment_bytes : WAL_SEGMENT_BYTES;
    assert(wal->segment_bytes >= SEGMENT_BYTES_LEAST && wal->segment_bytes % 8 == 0);
    wal->seal_after_ms = options->seal_after_ms != 0 ? options->seal_after_ms : SEAL_AFTER_MS;
    if (log_dir_make(options->dir, error) != 0 || log_dir_open(&wal->dir, options->dir, error) != 0)
        goto free_wal;
    if (log_dir_lock(&wal->dir, error) != 0 || wal_recover(wal, options, info, &replay, error) != 0)
        goto close_dir;
    wal->fd = wal_open_segment(&wal->dir, wal->segment.segment, error);
    if (wal->fd < 0)
        goto close_dir;
    wal_init_threading(wal);
    *out = wal;
    return 0;

close_dir:
    log_dir_close(&wal->dir);
free_wal:
    if (wal != NULL)
        free(wal->batch);
    free(wal);
    return -1;
}

/* Writing: all of this is the writer's thread. */

static _Noreturn void wal_give_up(const struct wal *wal, const char *what)
{
    struct error error = {0};
    char name[FILE_NAME_BYTES];
    file_name(FILE_SEGMENT, wal->segment.segment, name);
    fail_errno(&error, "%s %s/%s at offset %" PRIu64 " (lsn %" PRIu64 " on)", what, wal->dir.path,
               name, wal->offset, wal->durable_lsn + 1);
    log_give_up(&error);
}

static uint64_t wal_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void wal_next_segment(struct wal *wal)
{
    close(wal->fd);
    wal->fd = keeper_next_segment(wal->keeper);
    wal->segment.segment++;
    wal->segment.bytes = wal->segment_bytes;
    wal->offset = HEADER_BYTES;
}

static void wal_count_batch(struct wal *wal, uint32_t records, size_t length, uint64_t sync_us)
{
    pthread_mutex_lock(&wal->lock);
    wal->stats.records += records;
    wal->stats.batches++;
    wal->stats.syncs++;
    wal->stats.bytes += length;
    wal->written += length;
    wal->stats.durable_lsn = wal->durable_lsn;
    wal->stats.sync_us_sum += sync_us;
    if (wal->stats.sync_us_max < sync_us)
        wal->stats.sync_us_max = sync_us;
    pthread_mutex_unlock(&wal->lock);
}

/* Make length stamped bytes durable; a failure is never tried again. */
static void wal_write_batch(struct wal *wal, uint32_t records, size_t length)
{
    POINT("log.before-write");
    if (!write_at(wal->fd, wal->batch, length, wal->offset))
        wal_give_up(wal, "write");
    POINT("log.before-sync");
    uint64_t started_us = wal_now_us();
    if (fdatasync(wal->fd) != 0)
        wal_give_up(wal, "sync");
    POINT("log.after-sync");
    wal->offset += length;
    wal->durable_lsn = wal->chain.lsn;
    wal_count_batch(wal, records, length, wal_now_us() - started_us);
}

/* Stamp as many of the records as fit into a batch and into the segment, and make them
 * durable. Returns the bytes taken from handed, 0 if the segment has no room for even one. */
static size_t wal_write_some(struct wal *wal, const uint8_t *handed, size_t length,
                             uint32_t *records)
{
    uint64_t left = wal->segment.bytes - wal->offset;
    size_t room = left < BATCH_BYTES ? left : BATCH_BYTES;
    size_t used = 0, taken = 0;
    *records = 0;
    while (taken < length && used + STAMP_BYTES + handed_bytes(handed + taken) <= room) {
        assert(handed_bytes(handed + taken) <= length - taken);
        used += frame_write(&wal->chain, wal->durable_lsn, handed + taken, wal->batch + used);
        taken += handed_bytes(handed + taken);
        ++*records;
    }
    if (taken > 0)
        wal_write_batch(wal, *records, used);
    return taken;
}

/* Make the bytes of what was taken durable, from one place in it to another. */
static void wal_write_part(struct wal *wal, size_t from, size_t until)
{
    uint32_t records;
    for (size_t at = from, taken; at < until; at += taken) {
        taken = wal_write_some(wal, wal->taken.bytes + at, until - at, &records);
        if (taken == 0) {
            assert(wal->offset > HEADER_BYTES);
            wal_next_segment(wal);
            continue;
        }
        wal->records += records;
        wal->durable(wal->arg, wal->records, wal->durable_lsn);
        POINT("log.told-durable");
    }
}

/* The snapshot stands for all that is durable now. */
static void wal_place_checkpoint(struct wal *wal, struct snapshot *snapshot)
{
    snapshot->header.segment = wal->segment.segment;
    snapshot->header.offset = wal->offset;
    snapshot->header.lsn = wal->chain.lsn;
    snapshot->header.checksum = wal->chain.checksum;
    snapshot->header.incarnation = wal->chain.incarnation;
    keeper_checkpoint(wal->keeper, snapshot);
}

static void wal_write_taken(struct wal *wal)
{
    struct buffer *taken = &wal->taken;
    size_t first = taken->snapshot != NULL ? taken->snapshot_at : taken->length;
    wal_write_part(wal, 0, first);
    if (taken->snapshot != NULL)
        wal_place_checkpoint(wal, taken->snapshot);
    taken->snapshot = NULL;
    wal_write_part(wal, first, taken->length);
}

/* SEAL or STOP. */
static void wal_write_own(struct wal *wal, uint8_t type, const char *payload)
{
    uint8_t handed[HANDED_HEADER_BYTES + HOME_BYTES + 8];
    uint32_t records;
    size_t length = handed_write(type, payload, strlen(payload), handed);
    if (wal_write_some(wal, handed, length, &records) == 0) {
        wal_next_segment(wal);
        wal_write_some(wal, handed, length, &records);
    }
}

static bool wal_has_work(const struct wal *wal)
{
    return wal->handed.length > 0 || wal->handed.snapshot != NULL || wal->closing;
}

/* Is there anything to take, or is this the end? Waits until so, or until the log has been
 * idle for long enough to seal it. Called with the lock. */
static bool wal_wait_for_work(struct wal *wal, bool sealed)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)wal->seal_after_ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    int rc = 0;
    while (!wal_has_work(wal) && rc != ETIMEDOUT)
        rc = sealed ? pthread_cond_wait(&wal->work, &wal->lock)
                    : pthread_cond_timedwait(&wal->work, &wal->lock, &until);
    return wal_has_work(wal);
}

/* Swap what was handed over with the empty buffer of the turn before. */
static void wal_take_handed(struct wal *wal)
{
    struct buffer empty = wal->taken;
    empty.length = 0;
    wal->taken = wal->handed;
    wal->handed = empty;
}

static void *wal_writer_main(void *arg)
{
    struct wal *wal = arg;
    pthread_setname_np(pthread_self(), "log-writer");
    /* Says where the log lives from here on, and seals what was recovered. */
    wal_write_own(wal, RECORD_SEAL, wal->home);
    bool sealed = true;
    for (;;) {
        pthread_mutex_lock(&wal->lock);
        bool work = wal_wait_for_work(wal, sealed);
        wal_take_handed(wal);
        bool last = wal->closing;
        pthread_mutex_unlock(&wal->lock);
        bool wrote = wal->taken.length > 0;
        POINT_IF(wrote, "log.taken");
        wal_write_taken(wal);
        if (last)
            break;
        POINT_IF(!work, "log.before-seal");
        if (!work)
            wal_write_own(wal, RECORD_SEAL, "");
        sealed = !wrote && (sealed || !work);
    }
    POINT_IF(wal->clean, "log.before-stop");
    if (wal->clean)
        wal_write_own(wal, RECORD_STOP, "");
    return NULL;
}

/* What the owner calls. */

int wal_begin(struct wal *wal, uint64_t incarnation, wal_durable_fn *durable, void *arg,
              struct error *error)
{
    assert(!wal->begun && incarnation > wal->chain.incarnation);
    struct file_header next = wal->segment;
    next.segment++;
    next.bytes = wal->segment_bytes;
    wal->chain.incarnation = incarnation;
    wal->durable = durable;
    wal->arg = arg;
    wal->stats.durable_lsn = wal->durable_lsn;
    if (keeper_start(&wal->keeper, &wal->dir, &next, error) != 0)
        return -1;
    errno = pthread_create(&wal->thread, NULL, wal_writer_main, wal);
    if (errno != 0) {
        fail_errno(error, "start the log's writer");
        keeper_stop(wal->keeper);
        wal->keeper = NULL;
        return -1;
    }
    wal->begun = true;
    return 0;
}

static _Noreturn void wal_no_memory(size_t bytes)
{
    struct error error = {0};
    fail_errno(&error, "hold %zu bytes for the log", bytes);
    log_give_up(&error);
}

/* Called with the lock. */
static void wal_buffer_add(struct buffer *buffer, const uint8_t *bytes, size_t length)
{
    if (buffer->room - buffer->length < length) {
        size_t room = 2 * buffer->room + length + 4096;
        uint8_t *more = realloc(buffer->bytes, room);
        if (more == NULL)
            wal_no_memory(room);
        buffer->bytes = more;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

void wal_append(struct wal *wal, const uint8_t *bytes, size_t length, uint32_t records)
{
    assert(length % 8 == 0 && (length > 0) == (records > 0));
    if (length == 0)
        return;
    pthread_mutex_lock(&wal->lock);
    bool idle = wal->handed.length == 0;
    wal_buffer_add(&wal->handed, bytes, length);
    wal->handed_over += records;
    pthread_mutex_unlock(&wal->lock);
    if (idle) /* after unlocking: the writer would wake only to wait for the lock */
        pthread_cond_signal(&wal->work);
}

bool wal_wants_checkpoint(struct wal *wal)
{
    assert(wal->begun);
    if (keeper_checkpointing(wal->keeper))
        return false;
    pthread_mutex_lock(&wal->lock);
    bool wants = wal->handed.snapshot == NULL && wal->written >= wal->segment_bytes &&
                 wal->written >= wal->snapshot_size;
    pthread_mutex_unlock(&wal->lock);
    return wants;
}

static uint64_t wal_count_records(const uint8_t *bytes, size_t length)
{
    struct frame record;
    uint64_t count = 0;
    for (size_t at = 0; at < length; at += record.bytes, count++) {
        bool whole = handed_read(bytes + at, length - at, &record);
        assert(whole);
    }
    return count;
}

static void wal_copy_archive(const struct wal_archive *from, struct archive_part *out)
{
    out->newest = from->newest;
    out->oldest = from->oldest;
    if (from->records.length == 0)
        return;
    out->body = malloc(from->records.length);
    if (out->body == NULL)
        wal_no_memory(from->records.length);
    memcpy(out->body, from->records.bytes, from->records.length);
    out->body_bytes = from->records.length;
    out->records = wal_count_records(from->records.bytes, from->records.length);
}

/* The checkpoint opens with where the log lives: the SEAL that said so may be in a segment
 * that goes. */
static struct snapshot *wal_make_snapshot(const struct wal *wal, const struct wal_snapshot *from)
{
    const struct wal_records *state = &from->state;
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    size_t room = HANDED_HEADER_BYTES + HOME_BYTES + 8 + state->length;
    if (snapshot == NULL || (snapshot->body = malloc(room)) == NULL)
        wal_no_memory(room);
    size_t home = handed_write(RECORD_SEAL, wal->home, strlen(wal->home), snapshot->body);
    if (state->length > 0)
        memcpy(snapshot->body + home, state->bytes, state->length);
    snapshot->number = from->number;
    snapshot->header.log = wal->segment.log;
    memcpy(snapshot->header.tm, wal->segment.tm, sizeof snapshot->header.tm);
    snapshot->header.records = 1 + wal_count_records(state->bytes, state->length);
    snapshot->header.body_bytes = home + state->length;
    wal_copy_archive(&from->outcomes, &snapshot->archives[ARCHIVE_OUTCOMES]);
    wal_copy_archive(&from->keys, &snapshot->archives[ARCHIVE_KEYS]);
    return snapshot;
}

uint64_t wal_archived(struct wal *wal)
{
    return keeper_archived(wal->keeper);
}

void wal_checkpoint(struct wal *wal, const struct wal_snapshot *from, uint64_t handed_over)
{
    struct snapshot *snapshot = wal_make_snapshot(wal, from);
    pthread_mutex_lock(&wal->lock);
    assert(wal->begun && wal->handed_over == handed_over);
    snapshot_free(wal->handed.snapshot); /* one not taken yet is outdone by this one */
    wal->handed.snapshot = snapshot;
    wal->handed.snapshot_at = wal->handed.length;
    wal->written = 0;
    wal->snapshot_size = snapshot->header.body_bytes;
    pthread_cond_signal(&wal->work);
    pthread_mutex_unlock(&wal->lock);
}

void wal_stats(struct wal *wal, struct wal_stats *out)
{
    struct keeper_disk disk;
    pthread_mutex_lock(&wal->lock);
    *out = wal->stats;
    pthread_mutex_unlock(&wal->lock);
    keeper_look(wal->keeper, &disk);
    out->disk_free = disk.free;
    out->disk_files = disk.files;
    out->disk_least = disk.least;
}

void wal_close(struct wal *wal, bool clean)
{
    if (wal == NULL)
        return;
    if (wal->begun) {
        pthread_mutex_lock(&wal->lock);
        wal->closing = true;
        wal->clean = clean;
        pthread_cond_signal(&wal->work);
        pthread_mutex_unlock(&wal->lock);
        pthread_join(wal->thread, NULL);
        keeper_stop(wal->keeper);
    }
    close(wal->fd);
    log_dir_close(&wal->dir);
    pthread_cond_destroy(&wal->work);
    pthread_mutex_destroy(&wal->lock);
    free(wal->handed.bytes);
    free(wal->taken.bytes);
    free(wal->batch);
    free(wal);
}
