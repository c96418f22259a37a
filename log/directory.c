/*
 * log/directory.c - the files of a log: their names, the lock, and what makes them durable.
 *
 * A file is written under a name that no reader opens, synced, renamed, and the directory
 * synced. So a complete name always stands for a complete file, and one that is short or has
 * a bad header was damaged later: that is corruption, never the trace of a crash.
 */
#include "log/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/logger.h"
#include "common/point.h"

enum { LAST_WORDS_MS = 1000 };

static const struct {
    const char *prefix;
    int digits;
} names[] = {
    [FILE_SEGMENT] = {"wal-", 10},
    [FILE_CHECKPOINT] = {"checkpoint-", 20},
    [FILE_OUTCOMES] = {"outcomes-", 10},
    [FILE_KEYS] = {"keys-", 10},
};

static int log_dir_sync_parent_of(const char *path, struct error *error)
{
    char parent[PATH_MAX + 4];
    snprintf(parent, sizeof parent, "%s/..", path);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, "open %s", parent);
    int rc = fsync(fd) == 0 ? 0 : fail_errno(error, "sync %s", parent);
    close(fd);
    return rc;
}

/* A directory that exists is left alone. */
static int log_dir_make_one(const char *path, struct error *error)
{
    if (mkdir(path, 0700) != 0)
        return errno == EEXIST ? 0 : fail_errno(error, "make log directory %s", path);
    return log_dir_sync_parent_of(path, error);
}

int log_dir_make(const char *path, struct error *error)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return fail(error, "log directory: a path of %zu bytes", length);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (log_dir_make_one(part, error) != 0)
            return -1;
    }
    return 0;
}

int log_dir_open(struct log_dir *dir, const char *path, struct error *error)
{
    dir->lock_fd = -1;
    dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->fd < 0)
        return fail_errno(error, "open log directory %s", path);
    if (realpath(path, dir->path) == NULL) {
        fail_errno(error, "resolve log directory %s", path);
        close(dir->fd);
        return -1;
    }
    return 0;
}

static struct flock log_dir_whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

/* Who wrote LOCK: "pid 4711 on db1". Only the holder writes it. */
static void log_dir_read_holder(int fd, char *out, size_t room)
{
    ssize_t length = pread(fd, out, room - 1, 0);
    out[length > 0 ? length : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (out[0] == '\0')
        snprintf(out, room, "another process");
}

static int log_dir_write_holder(const struct log_dir *dir, struct error *error)
{
    char host[HOST_NAME_MAX + 1] = "", holder[HOST_NAME_MAX + 64];
    gethostname(host, sizeof host - 1);
    int length = snprintf(holder, sizeof holder, "pid %d on %s\n", (int)getpid(), host);
    if (ftruncate(dir->lock_fd, 0) != 0 || !write_at(dir->lock_fd, holder, (size_t)length, 0))
        return fail_errno(error, "write %s/LOCK", dir->path);
    return 0;
}

int log_dir_lock(struct log_dir *dir, struct error *error)
{
    int fd = openat(dir->fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, "open %s/LOCK", dir->path);
    struct flock lock = log_dir_whole_file();
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        char holder[HOST_NAME_MAX + 64];
        if (errno == EAGAIN || errno == EACCES) {
            log_dir_read_holder(fd, holder, sizeof holder);
            fail(error, "the log in %s is in use by %s", dir->path, holder);
            fail_hint(error, "a second assentd on one log would lose decisions: give each its "
                             "own name and data_dir");
        } else {
            fail_errno(error, "lock %s/LOCK", dir->path);
        }
        close(fd);
        return -1;
    }
    dir->lock_fd = fd;
    return log_dir_write_holder(dir, error);
}

bool log_dir_in_use(const struct log_dir *dir)
{
    struct flock lock = log_dir_whole_file();
    int fd = openat(dir->fd, "LOCK", O_RDONLY | O_CLOEXEC);
    bool in_use = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    if (fd >= 0)
        close(fd);
    return in_use;
}

int log_dir_sync(const struct log_dir *dir, struct error *error)
{
    if (fsync(dir->fd) != 0)
        return fail_errno(error, "sync log directory %s", dir->path);
    return 0;
}

int log_dir_sync_parent(const struct log_dir *dir, struct error *error)
{
    return log_dir_sync_parent_of(dir->path, error);
}

void log_dir_close(struct log_dir *dir)
{
    if (dir->lock_fd >= 0)
        close(dir->lock_fd);
    close(dir->fd);
}

static void log_dir_machine_id(char *out, size_t room)
{
    FILE *file = fopen("/etc/machine-id", "re");
    out[0] = '\0';
    if (file != NULL) {
        if (fgets(out, (int)room, file) == NULL)
            out[0] = '\0';
        out[strcspn(out, "\n")] = '\0';
        fclose(file);
    }
    if (out[0] == '\0')
        gethostname(out, room - 1);
}

int log_dir_home(const struct log_dir *dir, char out[HOME_BYTES], struct error *error)
{
    struct stat status;
    char machine[65] = "";
    if (fstat(dir->fd, &status) != 0)
        return fail_errno(error, "look at log directory %s", dir->path);
    log_dir_machine_id(machine, sizeof machine);
    snprintf(out, HOME_BYTES, "machine %s, inode %ju, directory %s", machine,
             (uintmax_t)status.st_ino, dir->path);
    return 0;
}

void file_name(enum file_kind kind, uint64_t number, char out[FILE_NAME_BYTES])
{
    snprintf(out, FILE_NAME_BYTES, "%s%0*" PRIu64, names[kind].prefix, names[kind].digits, number);
}

/* Only a name that file_name() would write. */
static bool file_parse_name(enum file_kind kind, const char *name, uint64_t *number)
{
    char again[FILE_NAME_BYTES];
    size_t prefix = strlen(names[kind].prefix);
    if (strncmp(name, names[kind].prefix, prefix) != 0)
        return false;
    *number = strtoull(name + prefix, NULL, 10);
    file_name(kind, *number, again);
    return strcmp(name, again) == 0;
}

static int file_by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

int file_list(const struct log_dir *dir, enum file_kind kind, uint64_t **out, size_t *count,
              struct error *error)
{
    size_t room = 0;
    uint64_t number;
    *out = NULL;
    *count = 0;
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        fail_errno(error, "list log directory %s", dir->path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    errno = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL; errno = 0) {
        if (!file_parse_name(kind, entry->d_name, &number))
            continue;
        if (*count == room) {
            room = room * 2 + 16;
            uint64_t *more = realloc(*out, room * sizeof *more);
            if (more == NULL)
                break;
            *out = more;
        }
        (*out)[(*count)++] = number;
    }
    int rc = errno == 0 ? 0 : fail_errno(error, "list log directory %s", dir->path);
    closedir(stream);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    } else if (*count > 1) {
        qsort(*out, *count, sizeof **out, file_by_number);
    }
    return rc;
}

static bool file_read_all(int fd, uint8_t *bytes, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t n = pread(fd, bytes + done, length - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* it became shorter while we read */
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* A file with a complete name was complete: whatever is wrong with it is damage. */
static int file_check_header(const char *path, const char *name, enum file_kind kind,
                             uint64_t number, const uint8_t *bytes, uint64_t length,
                             struct file_header *header, struct error *error)
{
    enum header_read result = length < HEADER_BYTES ? HEADER_DAMAGED : header_read(bytes, header);
    if (result == HEADER_TOO_NEW) {
        fail(error, "%s/%s was written by a later version of Assent", path, name);
        return fail_hint(error, "start the version that wrote it, or a later one");
    }
    if (result == HEADER_DAMAGED)
        return fail(error, "%s/%s is corrupt at offset 0: its header is damaged", path, name);
    uint64_t named = kind == FILE_CHECKPOINT ? header->lsn : header->segment;
    if (header->kind != kind || named != number)
        return fail(error, "%s/%s is corrupt at offset 0: its header is that of another file", path,
                    name);
    if (header->bytes != length)
        return fail(
            error,
            "%s/%s is corrupt at offset %" PRIu64 ": it has %" PRIu64 " bytes instead of %" PRIu64,
            path, name, length < header->bytes ? length : header->bytes, length, header->bytes);
    return 0;
}

int file_read(const struct log_dir *dir, enum file_kind kind, uint64_t number, uint8_t **bytes,
              struct file_header *header, struct error *error)
{
    char name[FILE_NAME_BYTES];
    struct stat status;
    int rc = -1;
    file_name(kind, number, name);
    *bytes = NULL;
    int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, "open %s/%s", dir->path, name);
    if (fstat(fd, &status) != 0) {
        fail_errno(error, "look at %s/%s", dir->path, name);
        goto close_file;
    }
    size_t length = (size_t)status.st_size;
    *bytes = malloc(length + 1); /* never 0 bytes */
    if (*bytes == NULL || !file_read_all(fd, *bytes, length)) {
        fail_errno(error, "read %s/%s", dir->path, name);
        goto close_file;
    }
    rc = file_check_header(dir->path, name, kind, number, *bytes, length, header, error);

close_file:
    close(fd);
    if (rc != 0) {
        free(*bytes);
        *bytes = NULL;
    }
    return rc;
}

int file_header(const struct log_dir *dir, enum file_kind kind, uint64_t number,
                struct file_header *header, struct error *error)
{
    char name[FILE_NAME_BYTES];
    uint8_t page[HEADER_BYTES];
    struct stat status;
    int rc = -1;
    file_name(kind, number, name);
    int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, "open %s/%s", dir->path, name);
    if (fstat(fd, &status) != 0 || !file_read_all(fd, page, sizeof page))
        fail_errno(error, "read %s/%s", dir->path, name);
    else
        rc = file_check_header(dir->path, name, kind, number, page, (uint64_t)status.st_size,
                               header, error);
    close(fd);
    return rc;
}

bool write_at(int fd, const void *bytes, size_t length, uint64_t offset)
{
    const uint8_t *from = bytes;
    while (length > 0) {
        ssize_t n = pwrite(fd, from, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return false;
        from += n;
        length -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

static bool spare_fill(int fd, const struct file_header *header)
{
    static const uint8_t zeros[256 * 1024];
    uint8_t page[HEADER_BYTES];
    for (uint64_t at = 0; at < header->bytes; at += sizeof zeros) {
        uint64_t left = header->bytes - at;
        if (!write_at(fd, zeros, left < sizeof zeros ? left : sizeof zeros, at))
            return false;
    }
    POINT("log.spare-zeroed");
    header_write(header, page);
    return write_at(fd, page, sizeof page, 0) && ftruncate(fd, (off_t)header->bytes) == 0 &&
           fsync(fd) == 0;
}

int spare_make(const struct log_dir *dir, const struct file_header *header, struct error *error)
{
    int fd = openat(dir->fd, "spare.tmp", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, "create %s/spare.tmp", dir->path);
    if (!spare_fill(fd, header)) {
        int reason = errno;
        fail_errno(error, "fill %s/spare.tmp, the log's next segment", dir->path);
        close(fd);
        errno = reason;
        return -1;
    }
    POINT("log.spare-made");
    return fd;
}

int spare_adopt(const struct log_dir *dir, uint64_t number, struct error *error)
{
    char name[FILE_NAME_BYTES];
    file_name(FILE_SEGMENT, number, name);
    POINT("log.before-spare-is-named");
    if (renameat(dir->fd, "spare.tmp", dir->fd, name) != 0)
        return fail_errno(error, "rename %s/spare.tmp to %s", dir->path, name);
    POINT("log.spare-named");
    return log_dir_sync(dir, error);
}

void log_give_up(const struct error *error)
{
    log_error("%s; ending at once, the next start finds out what is on the disk%s%s",
              error->message, error->hint[0] != '\0' ? ". " : "", error->hint);
    logger_flush(LAST_WORDS_MS);
    _exit(1);
}
