/*
 * common/loop.c - the one loop of a daemon: an inbox that any thread posts to, file
 * descriptors, signals and the monotonic clock.
 *
 * The inbox is two lists. Posters add to the shared one under a mutex that is never held for
 * longer than two assignments; the loop takes that whole list at once and then serves itself
 * without a lock. Only the post that finds the shared list empty wakes the loop: one write to
 * the eventfd for a burst, not for each.
 */
#include "common/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_A_WAIT = 64 };

struct watch {
    int fd; /* -1: ended; freed once no event of this wait can point to it */
    loop_ready_fn *ready;
    void *arg;
    struct watch *next;
};

struct loop {
    int epoll_fd;
    int wake_fd;
    int signal_fd; /* -1: none asked for */
    struct watch *watches;
    struct watch *ended;
    struct post *taken; /* the loop's own, oldest first */
    pthread_mutex_t mutex;
    struct post *posted; /* under the mutex, as is the next */
    struct post **posted_end;
};

static int add_own(struct loop *loop, int fd, void *marker, struct error *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = marker};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return fail_errno(error, "watch the loop's own descriptor");
    return 0;
}

int loop_create(struct loop **out, struct error *error)
{
    int rc = -1;
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return fail_errno(error, "make a loop");
    loop->signal_fd = -1;
    loop->posted_end = &loop->posted;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        rc = fail_errno(error, "make an epoll descriptor");
        goto free_loop;
    }
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        rc = fail_errno(error, "make an eventfd");
        goto close_epoll;
    }
    if (add_own(loop, loop->wake_fd, &loop->wake_fd, error) != 0)
        goto close_wake;
    pthread_mutex_init(&loop->mutex, NULL);
    *out = loop;
    return 0;

close_wake:
    close(loop->wake_fd);
close_epoll:
    close(loop->epoll_fd);
free_loop:
    free(loop);
    return rc;
}

static void free_watches(struct watch *watch)
{
    while (watch != NULL) {
        struct watch *next = watch->next;
        free(watch);
        watch = next;
    }
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    free_watches(loop->watches);
    free_watches(loop->ended);
    if (loop->signal_fd >= 0)
        close(loop->signal_fd);
    close(loop->wake_fd);
    close(loop->epoll_fd);
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

/* ---- the inbox ---- */

void loop_post(struct loop *loop, struct post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&loop->mutex);
    bool first = loop->posted == NULL;
    *loop->posted_end = post;
    loop->posted_end = &post->next;
    pthread_mutex_unlock(&loop->mutex);
    if (first) {
        /* It fails only when the counter is full, and then the loop is awake anyway. */
        uint64_t one = 1;
        ssize_t ignored = write(loop->wake_fd, &one, sizeof one);
        (void)ignored;
    }
}

struct post *loop_take(struct loop *loop)
{
    if (loop->taken == NULL) {
        pthread_mutex_lock(&loop->mutex);
        loop->taken = loop->posted;
        loop->posted = NULL;
        loop->posted_end = &loop->posted;
        pthread_mutex_unlock(&loop->mutex);
    }
    struct post *post = loop->taken;
    if (post != NULL)
        loop->taken = post->next;
    return post;
}

static bool has_posts(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    bool any = loop->posted != NULL || loop->taken != NULL;
    pthread_mutex_unlock(&loop->mutex);
    return any;
}

/* ---- file descriptors ---- */

static struct watch **find_watch(struct loop *loop, int fd)
{
    struct watch **at = &loop->watches;
    while (*at != NULL && (*at)->fd != fd)
        at = &(*at)->next;
    return at;
}

/* The events of the present wait may still point to it: it is freed before the next one. */
static void end_watch(struct loop *loop, struct watch **at)
{
    struct watch *watch = *at;
    *at = watch->next;
    watch->fd = -1;
    watch->next = loop->ended;
    loop->ended = watch;
}

int loop_watch(struct loop *loop, int fd, uint32_t events, loop_ready_fn *ready, void *arg,
               struct error *error)
{
    struct watch **at = find_watch(loop, fd);
    bool known = *at != NULL;
    if (events == 0) {
        if (known) {
            end_watch(loop, at);
            if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) != 0)
                return fail_errno(error, "stop watching descriptor %d", fd);
        }
        return 0;
    }

    struct watch *watch = known ? *at : calloc(1, sizeof *watch);
    if (watch == NULL)
        return fail_errno(error, "watch descriptor %d", fd);
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0) {
        int rc = fail_errno(error, "watch descriptor %d", fd);
        if (!known)
            free(watch);
        return rc;
    }
    watch->fd = fd;
    watch->ready = ready;
    watch->arg = arg;
    if (!known) {
        watch->next = loop->watches;
        loop->watches = watch;
    }
    return 0;
}

/* ---- signals ---- */

int loop_signals(struct loop *loop, const int *signals, struct error *error)
{
    sigset_t set;
    sigemptyset(&set);
    for (; *signals != 0; signals++)
        sigaddset(&set, *signals);
    int rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (rc != 0) {
        errno = rc;
        return fail_errno(error, "block signals");
    }
    bool known = loop->signal_fd >= 0;
    int fd = signalfd(loop->signal_fd, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, "make a signalfd");
    loop->signal_fd = fd;
    return known ? 0 : add_own(loop, fd, &loop->signal_fd, error);
}

int loop_signal(struct loop *loop)
{
    struct signalfd_siginfo info;
    if (loop->signal_fd < 0 || read(loop->signal_fd, &info, sizeof info) != sizeof info)
        return 0;
    return (int)info.ssi_signo;
}

/* ---- waiting ---- */

/* The wait in epoll's terms: rounded up to whole milliseconds as they are, -1 for ever. */
static int timeout_until(struct loop *loop, uint64_t until_ms)
{
    if (has_posts(loop))
        return 0;
    if (until_ms == UINT64_MAX)
        return -1;
    uint64_t now_ms = loop_now_ms();
    if (until_ms <= now_ms)
        return 0;
    uint64_t left_ms = until_ms - now_ms;
    return left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
}

void loop_wait(struct loop *loop, uint64_t until_ms)
{
    free_watches(loop->ended);
    loop->ended = NULL;

    struct epoll_event events[EVENTS_A_WAIT];
    int timeout = timeout_until(loop, until_ms);
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_A_WAIT, timeout);
    assert(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == &loop->wake_fd) {
            uint64_t ignored;
            ssize_t ignored_too = read(loop->wake_fd, &ignored, sizeof ignored);
            (void)ignored_too;
        } else if (events[i].data.ptr != &loop->signal_fd) {
            struct watch *watch = events[i].data.ptr;
            /* One that was ready before it may have ended this one. */
            if (watch->fd >= 0)
                watch->ready(watch->arg, events[i].events);
        }
    }
}

uint64_t loop_now_ms(void)
{
    return loop_now_us() / 1000;
}

uint64_t loop_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
