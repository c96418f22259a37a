/*
 * common/descriptors.c - how many files and connections the process may have open, and who gets
 * them.
 */
#include "common/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { RAISED_MOST = 65536, CONNECTIONS_LEAST = 16 };

static uint32_t descriptors_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > RAISED_MOST)
        return RAISED_MOST;
    return (uint32_t)limit.rlim_cur;
}

/* We wait with epoll, and have no need for low numbers, for which select() keeps the limit low. */
uint32_t descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < RAISED_MOST) {
        limit.rlim_cur = limit.rlim_max < RAISED_MOST ? limit.rlim_max : RAISED_MOST;
        setrlimit(RLIMIT_NOFILE, &limit); /* refused: it stays as it is */
    }
    return descriptors_limit();
}

/* The lowest number that is free: before connections come and go, that many are open. */
static uint32_t descriptors_open(uint32_t limit)
{
    int fd = open("/", O_PATH | O_CLOEXEC);
    if (fd < 0)
        return limit;
    close(fd);
    return (uint32_t)fd;
}

int descriptors_plan(struct descriptors *out, uint32_t kept, struct error *error)
{
    uint32_t limit = descriptors_limit(), used = descriptors_open(limit);
    if (limit < used + kept + CONNECTIONS_LEAST)
        return fail(error,
                    "at most %u files may be open (RLIMIT_NOFILE, LimitNOFILE in systemd); %u are "
                    "needed, and %d for those who connect",
                    limit, used + kept, CONNECTIONS_LEAST);
    *out = (struct descriptors){.limit = limit, .bound = limit - kept, .room = limit - kept - used};
    return 0;
}
