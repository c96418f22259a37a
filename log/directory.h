/*
 * log/directory.h - the files of a log: their names, the lock, and what makes them durable.
 *
 *   LOCK                   held while a daemon uses the log; says by whom
 *   wal-<number>           segments: 10 digits, numbers dense
 *   checkpoint-<lsn>       snapshots: 20 digits
 *   outcomes-<number>      archives that snapshots refer to: 10 digits, numbers dense
 *   keys-<number>          the same, of the keys of committed transactions
 *   spare.tmp              the next segment, being made or ready
 *   checkpoint.tmp         a snapshot or an archive being written
 *
 * A reader opens nothing but complete names of these kinds, so what a crash leaves of the others is
 * never believed.
 */
#ifndef ASSENT_LOG_DIRECTORY_H
#define ASSENT_LOG_DIRECTORY_H

#include <limits.h>
#include <sys/types.h>

#include "common/error.h"
#include "log/frame.h"

enum {
    FILE_NAME_BYTES = 40,
    HOME_BYTES = PATH_MAX + 128,
    SEGMENT_BYTES_LEAST = 4 * HEADER_BYTES, /* for tests: the longest records do not fit */
};

struct log_dir {
    int fd;
    int lock_fd; /* -1 while we do not hold the lock */
    char path[PATH_MAX];
};

/* Make the directory and the parents that are missing, durably. */
int log_dir_make(const char *path, struct error *error);
/* Open it; ended by log_dir_close(), which also gives the lock back. */
int log_dir_open(struct log_dir *dir, const char *path, struct error *error);
/* Take LOCK, or name the process that has it. */
int log_dir_lock(struct log_dir *dir, struct error *error);
/* Does another process hold LOCK? */
bool log_dir_in_use(const struct log_dir *dir);
/* Make names that were added, changed or removed outlive a power cut. */
int log_dir_sync(const struct log_dir *dir, struct error *error);
/* The same for the directory's own name. */
int log_dir_sync_parent(const struct log_dir *dir, struct error *error);
void log_dir_close(struct log_dir *dir);

/* Where this log lives, in words that are the same again only on the same host in the same
 * directory: a copy differs. The path alone would be the same on a standby host, the inode
 * alone on another file system; a host's name changes too easily, so its machine-id counts. */
int log_dir_home(const struct log_dir *dir, char out[HOME_BYTES], struct error *error);

void file_name(enum file_kind kind, uint64_t number, char out[FILE_NAME_BYTES]);
/* The numbers of all files of this kind, ascending; *out is malloc'ed, the caller's. */
int file_list(const struct log_dir *dir, enum file_kind kind, uint64_t **out, size_t *count,
              struct error *error);
/* The whole file and its header, checked: name, kind, size and checksum. *bytes is malloc'ed,
 * the caller's. */
int file_read(const struct log_dir *dir, enum file_kind kind, uint64_t number, uint8_t **bytes,
              struct file_header *header, struct error *error);

/* The header alone, checked as far as that can be. */
int file_header(const struct log_dir *dir, enum file_kind kind, uint64_t number,
                struct file_header *header, struct error *error);

/* Write all of it; false with errno. */
bool write_at(int fd, const void *bytes, size_t length, uint64_t offset);

/* Make spare.tmp a zero-filled segment with this header, on the disk: writing into it later
 * changes no metadata, so that fdatasync writes nothing but data. Returns its descriptor, or
 * negative with *error and errno. */
int spare_make(const struct log_dir *dir, const struct file_header *header, struct error *error);
/* Give spare.tmp its number, durably. */
int spare_adopt(const struct log_dir *dir, uint64_t number, struct error *error);

/* A write or sync of the log has failed: say so and end the process at once. What was handed
 * over may be on the disk or not, so nothing may be claimed of it; and a second fsync after a
 * failed one succeeds without having written anything. */
_Noreturn void log_give_up(const struct error *error);

#endif
