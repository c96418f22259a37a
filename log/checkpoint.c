/*
 * log/checkpoint.c - a snapshot that stands for all records up to one place in the log.
 *
 * Two are kept, and every segment since the older one: if the newer rots, the log is read from
 * the older and nothing is lost but time.
 */
#include "log/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/point.h"

static const char aside[] = "checkpoint.tmp";

static bool write_file(int fd, const struct snapshot *snapshot)
{
    uint8_t page[HEADER_BYTES];
    struct file_header header = snapshot->header;
    header.kind = FILE_CHECKPOINT;
    header.bytes = HEADER_BYTES + header.body_bytes;
    header.body_checksum = body_checksum(&header.log, snapshot->body, header.body_bytes);
    header_write(&header, page);
    return write_at(fd, page, sizeof page, 0) &&
           write_at(fd, snapshot->body, header.body_bytes, HEADER_BYTES) && fsync(fd) == 0;
}

int checkpoint_write(const struct log_dir *dir, const struct snapshot *snapshot,
                     struct error *error)
{
    char name[FILE_NAME_BYTES];
    int fd = openat(dir->fd, aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, "create %s/%s", dir->path, aside);
    if (!write_file(fd, snapshot)) {
        int reason = errno;
        fail_errno(error, "write %s/%s", dir->path, aside);
        close(fd);
        unlinkat(dir->fd, aside, 0);
        errno = reason;
        return -1;
    }
    close(fd);
    POINT("log.checkpoint-written");
    file_name(FILE_CHECKPOINT, snapshot->header.lsn, name);
    if (renameat(dir->fd, aside, dir->fd, name) != 0)
        return fail_errno(error, "rename %s/%s to %s", dir->path, aside, name);
    POINT("log.checkpoint-named");
    return log_dir_sync(dir, error);
}

int checkpoint_read(const struct log_dir *dir, uint64_t lsn, struct snapshot *out,
                    struct error *error)
{
    uint8_t *bytes;
    if (file_read(dir, FILE_CHECKPOINT, lsn, &bytes, &out->header, error) != 0)
        return -1;
    if (out->header.body_bytes != out->header.bytes - HEADER_BYTES ||
        body_checksum(&out->header.log, bytes + HEADER_BYTES, out->header.body_bytes) !=
            out->header.body_checksum) {
        char name[FILE_NAME_BYTES];
        file_name(FILE_CHECKPOINT, lsn, name);
        free(bytes);
        return fail(error, "%s/%s is corrupt: its checksum is wrong", dir->path, name);
    }
    memmove(bytes, bytes + HEADER_BYTES, out->header.body_bytes);
    out->body = bytes;
    return 0;
}

int checkpoint_remove(const struct log_dir *dir, uint64_t lsn, struct error *error)
{
    char name[FILE_NAME_BYTES];
    file_name(FILE_CHECKPOINT, lsn, name);
    if (unlinkat(dir->fd, name, 0) != 0)
        return fail_errno(error, "remove %s/%s", dir->path, name);
    return 0;
}

void snapshot_free(struct snapshot *snapshot)
{
    if (snapshot != NULL)
        free(snapshot->body);
    free(snapshot);
}
