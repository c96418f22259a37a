/*
 * log/keeper.c - keeps the next segment ready, writes checkpoints, uses segments again.
 *
 * A segment is filled and synced under the name spare.tmp, which no reader opens; it gets its
 * number only when the writer asks for it. A full disk is no failure yet: the segment in use
 * still has room, so the keeper warns and tries again until it is asked for. That no file can be
 * opened says nothing of the disk: it is tried again also while the writer waits, for a while.
 *
 * Every few seconds, and after each file, it looks at how much room the disk has: who asks reads
 * what it has found, and never waits for the disk himself.
 *
 * A segment may go once it is wholly below the older of the two checkpoints that are kept. It
 * loses its name before the first zero is written into it.
 */
#include "log/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/logger.h"
#include "common/point.h"

enum {
    RETRY_S = 1,
    TRIES_MOST = 30, /* for a descriptor, while the writer waits */
    LOOK_S = 5,
    CHECKPOINTS_KEPT = 2,
    DISK_PERCENT = 5,
};

static const uint64_t disk_percent_most = UINT64_C(1) << 30; /* bytes; of a large disk enough */

/* A checkpoint on the disk, and the first segment that has to be read after it. */
struct kept {
    uint64_t lsn;
    uint64_t segment;
    struct archive_run archives[ARCHIVES];
};

/* An archive on the disk. */
struct archived {
    uint64_t number;
    uint64_t newest; /* date */
};

/* All of one kind, their numbers rising. */
struct shelf {
    struct archived *files; /* malloc'ed */
    size_t count, room;
};

struct keeper {
    const struct log_dir *dir;
    pthread_t thread;
    /* The keeper's thread's own. */
    struct kept kept[CHECKPOINTS_KEPT]; /* ascending; an lsn of 0: none */
    uint64_t oldest;                    /* segment that has a name */
    struct shelf shelves[ARCHIVES];
    uint64_t checkpoint_bytes; /* of the newest one */
    bool warned;               /* that there is no next segment */
    uint32_t tries;            /* for a descriptor, while the writer waits */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* All below under the lock. */
    struct file_header next;   /* of the segment after the newest one */
    int spare_fd;              /* ready, or -1 */
    bool wanted;               /* the writer waits for it */
    struct snapshot *snapshot; /* to be written */
    bool writing;              /* one at this moment */
    uint64_t archived;         /* number of the newest snapshot that was written whole */
    bool stopping;
    struct keeper_disk disk;
};

static int shelf_add(struct shelf *shelf, uint64_t number, uint64_t newest, struct error *error)
{
    if (shelf->count == shelf->room) {
        size_t room = 2 * shelf->room + 64;
        struct archived *more = realloc(shelf->files, room * sizeof *more);
        if (more == NULL)
            return fail_errno(error, "list %zu archives of the log", room);
        shelf->files = more;
        shelf->room = room;
    }
    shelf->files[shelf->count++] = (struct archived){number, newest};
    return 0;
}

static struct kept keeper_kept(const struct file_header *header)
{
    struct kept kept = {.lsn = header->lsn, .segment = header->segment};
    memcpy(kept.archives, header->archives, sizeof kept.archives);
    return kept;
}

/* What no checkpoint refers to is what a crash left of one that was not finished: all in it is told
 * by the log too, and is archived anew. */
static int keeper_fill_shelf(struct keeper *keeper, int archive, struct error *error)
{
    uint64_t *numbers;
    size_t count;
    enum file_kind kind = archive_kind(archive);
    if (file_list(keeper->dir, kind, &numbers, &count, error) != 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct file_header header;
        struct error unreadable;
        if (numbers[i] > keeper->kept[0].archives[archive].last &&
            numbers[i] > keeper->kept[1].archives[archive].last) {
            rc = snapshot_remove(keeper->dir, kind, numbers[i], error);
            continue;
        }
        /* All that is needed has just been read: this is not. */
        if (file_header(keeper->dir, kind, numbers[i], &header, &unreadable) != 0)
            header.newest = 0;
        rc = shelf_add(&keeper->shelves[archive], numbers[i], header.newest, error);
    }
    free(numbers);
    return rc;
}

/* What is there when the keeper starts. A checkpoint that cannot be read keeps nothing. */
static int keeper_look_around(struct keeper *keeper, struct error *error)
{
    uint64_t *segments, *checkpoints;
    size_t segment_count, checkpoint_count;
    if (file_list(keeper->dir, FILE_SEGMENT, &segments, &segment_count, error) != 0)
        return -1;
    keeper->oldest = segments[0];
    free(segments);
    if (file_list(keeper->dir, FILE_CHECKPOINT, &checkpoints, &checkpoint_count, error) != 0)
        return -1;
    for (size_t i = 0; i < checkpoint_count; i++) {
        struct file_header header;
        uint8_t *body;
        if (snapshot_read(keeper->dir, FILE_CHECKPOINT, checkpoints[i], &header, &body, error) != 0)
            continue;
        keeper->kept[0] = keeper->kept[1];
        keeper->kept[1] = keeper_kept(&header);
        keeper->checkpoint_bytes = header.bytes;
        free(body);
    }
    free(checkpoints);
    for (int archive = 0; archive < ARCHIVES; archive++)
        if (keeper_fill_shelf(keeper, archive, error) != 0)
            return -1;
    return 0;
}

/* The lowest segment that may still have to be read. With one checkpoint, its fallback is the
 * beginning of the log. */
static uint64_t keeper_lowest_needed(const struct keeper *keeper)
{
    return keeper->kept[0].lsn != 0 ? keeper->kept[0].segment : keeper->oldest;
}

/* Remove the checkpoints below the two that are kept, durably: from here on, segments that
 * they would need may go. */
static int keeper_remove_old_checkpoints(const struct keeper *keeper, struct error *error)
{
    uint64_t *lsns;
    size_t count;
    int rc = file_list(keeper->dir, FILE_CHECKPOINT, &lsns, &count, error);
    for (size_t i = 0; rc == 0 && i < count && lsns[i] < keeper->kept[0].lsn; i++)
        rc = snapshot_remove(keeper->dir, FILE_CHECKPOINT, lsns[i], error);
    POINT("log.old-checkpoints-removed");
    free(lsns);
    return rc == 0 ? log_dir_sync(keeper->dir, error) : rc;
}

/* Remove the archives that neither of the two checkpoints refers to. */
static int keeper_remove_old_archives(struct keeper *keeper, int archive, struct error *error)
{
    struct shelf *shelf = &keeper->shelves[archive];
    size_t gone = 0;
    for (; gone < shelf->count; gone++) {
        bool needed = keeper->kept[0].lsn == 0;
        for (int i = 0; i < CHECKPOINTS_KEPT; i++) {
            const struct archive_run *run = &keeper->kept[i].archives[archive];
            needed |= run->last != 0 && run->first <= shelf->files[gone].number;
        }
        if (needed)
            break;
        if (snapshot_remove(keeper->dir, archive_kind(archive), shelf->files[gone].number, error) !=
            0)
            return -1;
        POINT("log.old-archive-removed");
    }
    if (gone == 0)
        return 0;
    shelf->count -= gone;
    memmove(shelf->files, shelf->files + gone, shelf->count * sizeof *shelf->files);
    return 0;
}

/* Remove what nobody will read, but for one segment that is to become the next spare. Going
 * upwards, a crash leaves a gap only where nobody looks. */
static int keeper_remove_superfluous(struct keeper *keeper, struct error *error)
{
    char name[FILE_NAME_BYTES];
    for (int archive = 0; archive < ARCHIVES; archive++)
        if (keeper_remove_old_archives(keeper, archive, error) != 0)
            return -1;
    for (; keeper->oldest + 1 < keeper_lowest_needed(keeper); keeper->oldest++) {
        file_name(FILE_SEGMENT, keeper->oldest, name);
        if (unlinkat(keeper->dir->fd, name, 0) != 0 && errno != ENOENT)
            return fail_errno(error, "remove %s/%s", keeper->dir->path, name);
    }
    return log_dir_sync(keeper->dir, error);
}

/* Take the name from the oldest segment, durably, if it is not needed any more: its blocks
 * become the next segment's. */
static int keeper_reuse_oldest(struct keeper *keeper, struct error *error)
{
    char name[FILE_NAME_BYTES];
    if (keeper->oldest >= keeper_lowest_needed(keeper))
        return 0;
    file_name(FILE_SEGMENT, keeper->oldest, name);
    POINT("log.before-oldest-loses-its-name");
    if (renameat(keeper->dir->fd, name, keeper->dir->fd, "spare.tmp") != 0)
        return fail_errno(error, "rename %s/%s to spare.tmp", keeper->dir->path, name);
    keeper->oldest++;
    POINT("log.oldest-lost-its-name");
    return log_dir_sync(keeper->dir, error);
}

static bool keeper_is_disk_full(int reason)
{
    return reason == ENOSPC || reason == EDQUOT;
}

/* Too many files are open, here or on the whole host: nothing was tried with the disk. */
static bool keeper_is_no_descriptor(int reason)
{
    return reason == EMFILE || reason == ENFILE;
}

/* Until something changes, or for so long. Called with the lock. */
static void keeper_wait(struct keeper *keeper, int seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until);
}

/* A disk that cannot be looked at is told by what is written to it. Called and returns with the
 * lock held, released meanwhile. */
static void keeper_look_at_disk(struct keeper *keeper)
{
    struct statvfs status;
    uint64_t needed = 2 * keeper->next.bytes + keeper->checkpoint_bytes;
    pthread_mutex_unlock(&keeper->lock);
    bool seen = fstatvfs(keeper->dir->fd, &status) == 0;
    pthread_mutex_lock(&keeper->lock);
    if (!seen)
        return;
    uint64_t part = (uint64_t)status.f_blocks * status.f_frsize / 100 * DISK_PERCENT;
    if (part > disk_percent_most)
        part = disk_percent_most;
    keeper->disk.files = status.f_favail != 0 || status.f_files != 0 ? status.f_favail : UINT64_MAX;
    keeper->disk.free = (uint64_t)status.f_bavail * status.f_frsize;
    keeper->disk.least = part > needed ? part : needed;
}

/* There is no next segment yet. Called with the lock. */
static void keeper_spare_failed(struct keeper *keeper, int reason, const struct error *error)
{
    bool patient = keeper_is_no_descriptor(reason) && keeper->tries < TRIES_MOST;
    if (!patient &&
        (keeper->wanted || !(keeper_is_disk_full(reason) || keeper_is_no_descriptor(reason))))
        log_give_up(error);
    if (!keeper->warned)
        log_warning("%s; it is tried again, and the log ends the daemon when the segment in use is "
                    "full",
                    error->message);
    keeper->warned = true;
    keeper->tries += keeper->wanted;
    keeper_wait(keeper, RETRY_S);
}

/* Called and returns with the lock held, released meanwhile. */
static void keeper_make_spare(struct keeper *keeper)
{
    struct error error;
    struct file_header header = keeper->next;
    pthread_mutex_unlock(&keeper->lock);
    if (keeper_reuse_oldest(keeper, &error) != 0)
        log_give_up(&error);
    int fd = spare_make(keeper->dir, &header, &error);
    int reason = fd < 0 ? errno : 0;
    pthread_mutex_lock(&keeper->lock);
    if (fd >= 0) {
        if (keeper->warned)
            log_notice("%s: the log has its next segment again", keeper->dir->path);
        keeper->warned = false;
        keeper->tries = 0;
        keeper->spare_fd = fd;
        pthread_cond_broadcast(&keeper->changed);
        keeper_look_at_disk(keeper);
        return;
    }
    keeper_spare_failed(keeper, reason, &error);
}

/* What is new goes into a file of its own. The checkpoint refers to all from the first one that may
 * hold something that is still remembered. */
static int keeper_write_archive(struct keeper *keeper, int archive, struct snapshot *snapshot,
                                struct error *error)
{
    const struct archive_part *part = &snapshot->archives[archive];
    struct archive_run *run = &snapshot->header.archives[archive];
    struct shelf *shelf = &keeper->shelves[archive];
    if (part->body != NULL) {
        uint64_t number = shelf->count > 0 ? shelf->files[shelf->count - 1].number + 1 : 1;
        const struct archive_run *last = &keeper->kept[1].archives[archive];
        if (number <= last->last)
            number = last->last + 1; /* never a number that was referred to */
        if (archive_write(keeper->dir, snapshot, (enum archive)archive, number, error) != 0 ||
            shelf_add(shelf, number, part->newest, error) != 0)
            return -1;
    }
    *run = (struct archive_run){0, 0};
    for (size_t i = 0; i < shelf->count; i++) {
        if (run->first == 0 && shelf->files[i].newest < part->oldest)
            continue;
        if (run->first == 0)
            run->first = shelf->files[i].number;
        run->last = shelf->files[i].number;
    }
    return 0;
}

/* What is left behind a checkpoint that is kept has to go before a segment that it needs does. */
static void keeper_remove_left(struct keeper *keeper)
{
    struct error error;
    const struct timespec a_second = {.tv_sec = RETRY_S};
    for (int tries = 0; keeper_remove_old_checkpoints(keeper, &error) != 0; tries++) {
        if (!keeper_is_no_descriptor(errno) || tries == TRIES_MOST)
            log_give_up(&error);
        log_warning("%s; it is tried again", error.message);
        nanosleep(&a_second, NULL);
    }
    if (keeper_remove_superfluous(keeper, &error) != 0)
        log_give_up(&error);
}

/* A checkpoint for which there is no room, or no descriptor, is given up: the log is complete
 * without it. */
static void keeper_write_checkpoint(struct keeper *keeper, struct snapshot *snapshot)
{
    struct error error;
    int rc = 0;
    if (snapshot->header.lsn == keeper->kept[1].lsn)
        return;
    for (int archive = 0; rc == 0 && archive < ARCHIVES; archive++)
        rc = keeper_write_archive(keeper, archive, snapshot, &error);
    if (rc != 0 || checkpoint_write(keeper->dir, snapshot, &error) != 0) {
        if (!keeper_is_disk_full(errno) && !keeper_is_no_descriptor(errno))
            log_give_up(&error);
        log_warning("%s; the log goes on without this checkpoint", error.message);
        return;
    }
    keeper->kept[0] = keeper->kept[1];
    keeper->kept[1] = keeper_kept(&snapshot->header);
    keeper->checkpoint_bytes = HEADER_BYTES + snapshot->header.body_bytes;
    pthread_mutex_lock(&keeper->lock);
    keeper->archived = snapshot->number;
    pthread_mutex_unlock(&keeper->lock);
    POINT("log.checkpoint-kept");
    keeper_remove_left(keeper);
}

/* Called and returns with the lock held, released meanwhile. */
static void keeper_take_snapshot(struct keeper *keeper)
{
    struct snapshot *snapshot = keeper->snapshot;
    keeper->snapshot = NULL;
    keeper->writing = true;
    pthread_mutex_unlock(&keeper->lock);
    keeper_write_checkpoint(keeper, snapshot);
    snapshot_free(snapshot);
    pthread_mutex_lock(&keeper->lock);
    keeper->writing = false;
    keeper_look_at_disk(keeper);
}

/* What came while it looked is not waited for. */
static void keeper_look_and_wait(struct keeper *keeper)
{
    keeper_look_at_disk(keeper);
    if (keeper->snapshot == NULL && !keeper->stopping && keeper->spare_fd >= 0)
        keeper_wait(keeper, LOOK_S);
}

static void *keeper_main(void *arg)
{
    struct keeper *keeper = arg;
    pthread_setname_np(pthread_self(), "log-keeper");
    pthread_mutex_lock(&keeper->lock);
    for (;;) {
        /* A checkpoint first, even if the writer waits: it sets a segment free, and the log
         * cannot outrun its checkpoints. */
        if (keeper->snapshot != NULL)
            keeper_take_snapshot(keeper);
        else if (keeper->stopping)
            break;
        else if (keeper->spare_fd < 0)
            keeper_make_spare(keeper);
        else
            keeper_look_and_wait(keeper);
    }
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

static void keeper_init_threading(struct keeper *keeper)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&keeper->lock, NULL);
    pthread_cond_init(&keeper->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void keeper_destroy(struct keeper *keeper)
{
    for (int archive = 0; archive < ARCHIVES; archive++)
        free(keeper->shelves[archive].files);
    pthread_cond_destroy(&keeper->changed);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}

int keeper_start(struct keeper **out, const struct log_dir *dir, const struct file_header *next,
                 struct error *error)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL)
        return fail_errno(error, "start the log's keeper");
    keeper_init_threading(keeper);
    keeper->dir = dir;
    keeper->next = *next;
    keeper->spare_fd = -1;
    if (keeper_look_around(keeper, error) != 0)
        goto destroy_keeper;
    errno = pthread_create(&keeper->thread, NULL, keeper_main, keeper);
    if (errno != 0) {
        fail_errno(error, "start the log's keeper");
        goto destroy_keeper;
    }
    *out = keeper;
    return 0;

destroy_keeper:
    keeper_destroy(keeper);
    return -1;
}

int keeper_next_segment(struct keeper *keeper)
{
    struct error error;
    pthread_mutex_lock(&keeper->lock);
    keeper->wanted = true;
    pthread_cond_broadcast(&keeper->changed);
    while (keeper->spare_fd < 0)
        pthread_cond_wait(&keeper->changed, &keeper->lock);
    int fd = keeper->spare_fd;
    if (spare_adopt(keeper->dir, keeper->next.segment, &error) != 0)
        log_give_up(&error);
    keeper->next.segment++;
    keeper->spare_fd = -1;
    keeper->wanted = false;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->lock);
    return fd;
}

void keeper_checkpoint(struct keeper *keeper, struct snapshot *snapshot)
{
    pthread_mutex_lock(&keeper->lock);
    snapshot_free(keeper->snapshot); /* one that still waits is outdone by this one */
    keeper->snapshot = snapshot;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->lock);
}

bool keeper_checkpointing(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    bool checkpointing = keeper->snapshot != NULL || keeper->writing;
    pthread_mutex_unlock(&keeper->lock);
    return checkpointing;
}

uint64_t keeper_archived(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    uint64_t archived = keeper->archived;
    pthread_mutex_unlock(&keeper->lock);
    return archived;
}

void keeper_look(struct keeper *keeper, struct keeper_disk *out)
{
    pthread_mutex_lock(&keeper->lock);
    *out = keeper->disk;
    pthread_mutex_unlock(&keeper->lock);
}

void keeper_stop(struct keeper *keeper)
{
    if (keeper == NULL)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    if (keeper->spare_fd >= 0)
        close(keeper->spare_fd);
    snapshot_free(keeper->snapshot);
    keeper_destroy(keeper);
}
