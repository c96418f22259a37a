/*
 * tm/peers.c - what the coordinator tells its agents of each other.
 */
#include "tm/peers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/ticket.h"

enum { PATH_BYTES = 320 };

static int peers_read_key(const char *path, uint8_t key[SECRET_BYTES], struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, "open %s", path);
    ssize_t length = read(fd, key, SECRET_BYTES);
    close(fd);
    if (length == SECRET_BYTES)
        return 0;
    fail(error, "%s: not a key of %d bytes", path, SECRET_BYTES);
    return fail_hint(error, "remove it: a new one is drawn, and told to the agents");
}

/* Aside first, so that no crash leaves half a key. */
static int peers_write_key(const char *dir, const char *path, const uint8_t key[SECRET_BYTES],
                           struct error *error)
{
    char aside[PATH_BYTES + 8];
    snprintf(aside, sizeof aside, "%s.tmp", path);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, "create %s", aside);
    bool written = write(fd, key, SECRET_BYTES) == SECRET_BYTES && fsync(fd) == 0;
    close(fd);
    if (!written || rename(aside, path) != 0)
        return fail_errno(error, "write %s", path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, "open %s", dir);
    int rc = fsync(fd) == 0 ? 0 : fail_errno(error, "sync %s", dir);
    close(fd);
    return rc;
}

int peers_key(const char *dir, uint8_t key[SECRET_BYTES], struct error *error)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/peer-key", dir);
    if (access(path, F_OK) == 0)
        return peers_read_key(path, key, error);
    if (errno != ENOENT)
        return fail_errno(error, "look for %s", path);
    random_bytes(key, SECRET_BYTES);
    return peers_write_key(dir, path, key, error);
}

void peers_list(const struct registry *registry, struct peers *out)
{
    out->count = 0;
    for (uint32_t i = 0; i < registry->count; i++) {
        const struct rm *rm = &registry->rms[i];
        if (!rm->accepted || rm->retired)
            continue;
        struct peer *peer = &out->list[out->count++];
        memcpy(peer->rm, rm->name, sizeof peer->rm);
        memcpy(peer->url, rm->peer_url[0] != '\0' ? rm->peer_url : rm->url, sizeof peer->url);
    }
}
