/*
 * tests/shim/failio.c - a disk that fails at the n-th call, for programs that must survive it.
 *
 * Put before libc, by LD_PRELOAD or by linking it into a test, it passes every call on until
 * ASSENT_FAILIO says otherwise, for example "fdatasync 3 EIO":
 *
 *   a call   pwrite fdatasync fsync ftruncate renameat unlinkat openat, or any of these
 *            (openat counts when it may create a file)
 *   n        from 1: the call that fails; "n+" every call from the n-th on
 *   how      EIO ENOSPC EROFS ...; SHORT (pwrite writes half);
 *            KILL (the process dies by SIGKILL before the call) or DONE (just after it);
 *            SLOW (it takes five seconds)
 *
 * EIO on a sync is told without syncing, as the kernel would.
 */
#include "tests/shim/failio.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum fate { PASS, FAIL, SHORT, DIE_AFTER };

static struct {
    char call[16]; /* "" nothing fails */
    long nth;
    bool and_on;
    char how[16];
} plan;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_long calls;

static const struct {
    const char *name;
    int number;
} reasons[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EROFS", EROFS},   {"EDQUOT", EDQUOT},
    {"EACCES", EACCES}, {"EMFILE", EMFILE}, {"ENFILE", ENFILE},
};

void failio_set(const char *text)
{
    char nth[16] = "";
    if (sscanf(text, "%15s %15s %15s", plan.call, nth, plan.how) != 3) {
        fprintf(stderr, "ASSENT_FAILIO: cannot read \"%s\"\n", text);
        abort();
    }
    plan.nth = strtol(nth, NULL, 10);
    plan.and_on = strchr(nth, '+') != NULL;
    atomic_store(&calls, 0);
}

static void read_environment(void)
{
    const char *text = getenv("ASSENT_FAILIO");
    if (text != NULL)
        failio_set(text);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    pause();
}

/* What becomes of this call; FAIL with errno set. */
static enum fate fate_of(const char *call)
{
    pthread_once(&once, read_environment);
    if (strcmp(plan.call, call) != 0 && strcmp(plan.call, "any") != 0)
        return PASS;
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (n != plan.nth && !(plan.and_on && n > plan.nth))
        return PASS;
    if (strcmp(plan.how, "KILL") == 0)
        die();
    if (strcmp(plan.how, "DONE") == 0)
        return DIE_AFTER;
    if (strcmp(plan.how, "SLOW") == 0) {
        sleep(5);
        return PASS;
    }
    if (strcmp(plan.how, "SHORT") == 0)
        return SHORT;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (strcmp(plan.how, reasons[i].name) == 0)
            errno = reasons[i].number;
    }
    return FAIL;
}

/* The next definition of a call: libc's. */
static void *libc_call(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

/* Pass the call on, unless it is to fail; result is -1 then. */
#define PASS_ON(name, call)                                                                        \
    do {                                                                                           \
        enum fate fate = fate_of(name);                                                            \
        if (fate == FAIL)                                                                          \
            return -1;                                                                             \
        int result = (call);                                                                       \
        if (fate == DIE_AFTER)                                                                     \
            die();                                                                                 \
        return result;                                                                             \
    } while (0)

static ssize_t pass_pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off_t);
    *(void **)&next = libc_call("pwrite64");
    enum fate fate = fate_of("pwrite");
    if (fate == FAIL)
        return -1;
    ssize_t result = next(fd, bytes, fate == SHORT ? (length + 1) / 2 : length, offset);
    if (fate == DIE_AFTER)
        die();
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    return pass_pwrite(fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    return pass_pwrite(fd, bytes, length, offset);
}

int fdatasync(int fd)
{
    int (*next)(int);
    *(void **)&next = libc_call("fdatasync");
    PASS_ON("fdatasync", next(fd));
}

int fsync(int fd)
{
    int (*next)(int);
    *(void **)&next = libc_call("fsync");
    PASS_ON("fsync", next(fd));
}

int ftruncate(int fd, off_t length)
{
    int (*next)(int, off_t);
    *(void **)&next = libc_call("ftruncate");
    PASS_ON("ftruncate", next(fd, length));
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    int (*next)(int, const char *, int, const char *);
    *(void **)&next = libc_call("renameat");
    PASS_ON("renameat", next(from_fd, from, to_fd, to));
}

int unlinkat(int fd, const char *path, int flags)
{
    int (*next)(int, const char *, int);
    *(void **)&next = libc_call("unlinkat");
    PASS_ON("unlinkat", next(fd, path, flags));
}

int openat(int fd, const char *path, int flags, ...)
{
    int (*next)(int, const char *, int, mode_t);
    *(void **)&next = libc_call("openat");
    mode_t mode = 0;
    if ((flags & O_CREAT) == 0)
        return next(fd, path, flags, mode);
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
    PASS_ON("openat", next(fd, path, flags, mode));
}
