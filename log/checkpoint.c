/*
 * log/checkpoint.c - a snapshot that stands for all records up to one place in the log.
 *
 * Two are kept, and every segment since the older one: if the newer rots, the log is read from
 * the older and nothing is lost but time.
 *
 * What is remembered of outcomes and keys is not told anew by each: it is in archives, each of
 * which has what was new at one checkpoint. An archive is durable before the checkpoint that is the
 * first to refer to it, and is never changed.
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

static bool checkpoint_write_file(int fd, struct file_header *header, const uint8_t *body)
{
    uint8_t page[HEADER_BYTES];
    header->bytes = HEADER_BYTES + header->body_bytes;
    header->body_checksum = body_checksum(&header->log, body, header->body_bytes);
    header_write(header, page);
    return write_at(fd, page, sizeof page, 0) &&
           write_at(fd, body, header->body_bytes, HEADER_BYTES) && fsync(fd) == 0;
}

/* Everything but its name. */
static int checkpoint_write_aside(const struct log_dir *dir, struct file_header *header,
                                  const uint8_t *body, struct error *error)
{
    int fd = openat(dir->fd, aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, "create %s/%s", dir->path, aside);
    if (!checkpoint_write_file(fd, header, body)) {
        int reason = errno;
        fail_errno(error, "write %s/%s", dir->path, aside);
        close(fd);
        unlinkat(dir->fd, aside, 0);
        errno = reason;
        return -1;
    }
    close(fd);
    return 0;
}

static int checkpoint_give_name(const struct log_dir *dir, enum file_kind kind, uint64_t number,
                                struct error *error)
{
    char name[FILE_NAME_BYTES];
    file_name(kind, number, name);
    if (renameat(dir->fd, aside, dir->fd, name) != 0)
        return fail_errno(error, "rename %s/%s to %s", dir->path, aside, name);
    return 0;
}

int checkpoint_write(const struct log_dir *dir, const struct snapshot *snapshot,
                     struct error *error)
{
    struct file_header header = snapshot->header;
    header.kind = FILE_CHECKPOINT;
    if (checkpoint_write_aside(dir, &header, snapshot->body, error) != 0)
        return -1;
    POINT("log.checkpoint-written");
    if (checkpoint_give_name(dir, FILE_CHECKPOINT, header.lsn, error) != 0)
        return -1;
    POINT("log.checkpoint-named");
    return log_dir_sync(dir, error);
}

int archive_write(const struct log_dir *dir, const struct snapshot *snapshot, enum archive archive,
                  uint64_t number, struct error *error)
{
    const struct archive_part *part = &snapshot->archives[archive];
    struct file_header header = snapshot->header;
    header.kind = archive_kind((int)archive);
    header.segment = number;
    header.offset = 0;
    header.records = part->records;
    header.body_bytes = part->body_bytes;
    header.newest = part->newest;
    if (checkpoint_write_aside(dir, &header, part->body, error) != 0)
        return -1;
    POINT("log.archive-written");
    if (checkpoint_give_name(dir, header.kind, number, error) != 0)
        return -1;
    POINT("log.archive-named");
    return log_dir_sync(dir, error);
}

int snapshot_read(const struct log_dir *dir, enum file_kind kind, uint64_t number,
                  struct file_header *header, uint8_t **body, struct error *error)
{
    uint8_t *bytes;
    if (file_read(dir, kind, number, &bytes, header, error) != 0)
        return -1;
    if (header->body_bytes != header->bytes - HEADER_BYTES ||
        body_checksum(&header->log, bytes + HEADER_BYTES, header->body_bytes) !=
            header->body_checksum) {
        char name[FILE_NAME_BYTES];
        file_name(kind, number, name);
        free(bytes);
        return fail(error, "%s/%s is corrupt: its checksum is wrong", dir->path, name);
    }
    memmove(bytes, bytes + HEADER_BYTES, header->body_bytes);
    *body = bytes;
    return 0;
}

int snapshot_remove(const struct log_dir *dir, enum file_kind kind, uint64_t number,
                    struct error *error)
{
    char name[FILE_NAME_BYTES];
    file_name(kind, number, name);
    if (unlinkat(dir->fd, name, 0) != 0)
        return fail_errno(error, "remove %s/%s", dir->path, name);
    return 0;
}

void snapshot_free(struct snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    for (int archive = 0; archive < ARCHIVES; archive++)
        free(snapshot->archives[archive].body);
    free(snapshot->body);
    free(snapshot);
}
