/*
 * common/loop.c - the one loop of a daemon: an inbox that any thread posts to, file
 * descriptors, timers, signals and the monotonic clock.
 *
 * The inbox is two lists. Posters add to the shared one under a mutex that is never held for
 * longer than two assignments; the loop takes that whole list at once and then serves itself
 * without a lock. Only the post that finds the shared list empty wakes the loop: one write to
 * the eventfd for a burst, not for each, and none in the loop's own thread.
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
    uint32_t events;
    loop_ready_fn *ready;
    void *arg;
    struct watch *next; /* ended */
};

struct loop {
    int epoll_fd;
    int wake_fd;
    int signal_fd;          /* -1: none asked for */
    struct watch **watches; /* by descriptor */
    int watch_room;
    struct watch *ended;
    struct loop_job *jobs, **jobs_end;
    struct loop_timer *timers;
    struct post *taken; /* the loop's own, oldest first */
    pthread_mutex_t mutex;
    struct post *posted; /* under the mutex, as are the next */
    struct post **posted_end;
    struct loop_job *handed; /* the newest first */
    pthread_t owner;         /* who waits, or will */
};

static int loop_add_own(struct loop *loop, int fd, void *marker, struct error *error)
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
    loop->owner = pthread_self();
    loop->posted_end = &loop->posted;
    loop->jobs_end = &loop->jobs;
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
    if (loop_add_own(loop, loop->wake_fd, &loop->wake_fd, error) != 0)
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

static void loop_run_handed(struct loop *loop);

static void loop_free_ended(struct loop *loop)
{
    while (loop->ended != NULL) {
        struct watch *next = loop->ended->next;
        free(loop->ended);
        loop->ended = next;
    }
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    loop_run_handed(loop);
    for (int fd = 0; fd < loop->watch_room; fd++)
        free(loop->watches[fd]);
    free(loop->watches);
    loop_free_ended(loop);
    if (loop->signal_fd >= 0)
        close(loop->signal_fd);
    close(loop->wake_fd);
    close(loop->epoll_fd);
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

/* ---- the inbox ---- */

/* It fails only when the counter is full, and then the loop is awake anyway. */
static void loop_wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t ignored = write(loop->wake_fd, &one, sizeof one);
    (void)ignored;
}

void loop_post(struct loop *loop, struct post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&loop->mutex);
    bool waker = loop->posted == NULL && !pthread_equal(loop->owner, pthread_self());
    *loop->posted_end = post;
    loop->posted_end = &post->next;
    pthread_mutex_unlock(&loop->mutex);
    if (waker)
        loop_wake(loop);
}

void loop_hand_over(struct loop *loop, struct loop_job *job)
{
    pthread_mutex_lock(&loop->mutex);
    job->next = loop->handed;
    loop->handed = job;
    pthread_mutex_unlock(&loop->mutex);
    loop_wake(loop);
}

static struct loop_job *loop_take_handed(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    struct loop_job *handed = loop->handed;
    loop->handed = NULL;
    pthread_mutex_unlock(&loop->mutex);
    return handed;
}

/* A job may free itself, and its loop's other users. */
static void loop_run_handed(struct loop *loop)
{
    for (struct loop_job *job = loop_take_handed(loop), *next; job != NULL; job = next) {
        next = job->next;
        job->run(job->arg);
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

/* Whoever waits is the owner from now on: what others post wakes it. */
static bool loop_has_posts(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    loop->owner = pthread_self();
    bool any = loop->posted != NULL || loop->taken != NULL;
    pthread_mutex_unlock(&loop->mutex);
    return any;
}

/* ---- file descriptors ---- */

static struct watch *loop_find_watch(const struct loop *loop, int fd)
{
    return fd >= 0 && fd < loop->watch_room ? loop->watches[fd] : NULL;
}

/* The events of the present wait may still point to it: it is freed before the next one. */
static int loop_end_watch(struct loop *loop, int fd, struct error *error)
{
    struct watch *watch = loop_find_watch(loop, fd);
    if (watch == NULL)
        return 0;
    loop->watches[fd] = NULL;
    watch->fd = -1;
    watch->next = loop->ended;
    loop->ended = watch;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) != 0)
        return fail_errno(error, "stop watching descriptor %d", fd);
    return 0;
}

static int loop_make_room(struct loop *loop, int fd, struct error *error)
{
    if (fd < loop->watch_room)
        return 0; /* and a negative one the kernel refuses */
    int room = 2 * fd + 16;
    struct watch **watches = realloc(loop->watches, (size_t)room * sizeof *watches);
    if (watches == NULL)
        return fail_errno(error, "watch descriptor %d", fd);
    memset(watches + loop->watch_room, 0, (size_t)(room - loop->watch_room) * sizeof *watches);
    loop->watches = watches;
    loop->watch_room = room;
    return 0;
}

static int loop_begin_watch(struct loop *loop, int fd, uint32_t events, struct error *error)
{
    struct watch *watch = loop_make_room(loop, fd, error) == 0 ? calloc(1, sizeof *watch) : NULL;
    if (watch == NULL)
        return fail_errno(error, "watch descriptor %d", fd);
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        fail_errno(error, "watch descriptor %d", fd);
        free(watch);
        return -1;
    }
    watch->fd = fd;
    watch->events = events;
    loop->watches[fd] = watch;
    return 0;
}

int loop_watch(struct loop *loop, int fd, uint32_t events, loop_ready_fn *ready, void *arg,
               struct error *error)
{
    if (events == 0)
        return loop_end_watch(loop, fd, error);
    if (loop_find_watch(loop, fd) == NULL && loop_begin_watch(loop, fd, events, error) != 0)
        return -1;
    struct watch *watch = loop->watches[fd];
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (watch->events != events && epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0)
        return fail_errno(error, "watch descriptor %d", fd);
    watch->events = events;
    watch->ready = ready;
    watch->arg = arg;
    return 0;
}

/* ---- before the next wait ---- */

void loop_soon(struct loop *loop, struct loop_job *job)
{
    if (job->asked)
        return;
    job->asked = true;
    job->next = NULL;
    *loop->jobs_end = job;
    loop->jobs_end = &job->next;
}

static void loop_take_job(struct loop *loop, struct loop_job **at)
{
    struct loop_job *job = *at;
    *at = job->next;
    if (*at == NULL)
        loop->jobs_end = at;
    job->asked = false;
}

void loop_not_now(struct loop *loop, struct loop_job *job)
{
    struct loop_job **at = &loop->jobs;
    if (!job->asked)
        return;
    while (*at != job)
        at = &(*at)->next;
    loop_take_job(loop, at);
}

static void loop_run_jobs(struct loop *loop)
{
    while (loop->jobs != NULL) {
        struct loop_job *job = loop->jobs;
        loop_take_job(loop, &loop->jobs);
        job->run(job->arg);
    }
}

/* ---- timers ---- */

void loop_timer_add(struct loop *loop, struct loop_timer *timer)
{
    timer->next = loop->timers;
    loop->timers = timer;
}

void loop_timer_remove(struct loop *loop, struct loop_timer *timer)
{
    struct loop_timer **at = &loop->timers;
    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
}

static uint64_t loop_earliest(const struct loop *loop, uint64_t until_ms)
{
    for (const struct loop_timer *timer = loop->timers; timer != NULL; timer = timer->next)
        if (timer->at_ms < until_ms)
            until_ms = timer->at_ms;
    return until_ms;
}

/* One that is due may remove itself or another: the search begins anew behind each. */
static void loop_run_timers(struct loop *loop)
{
    uint64_t now_ms = loop_now_ms();
    struct loop_timer *timer = loop->timers;
    while (timer != NULL) {
        if (timer->at_ms > now_ms) {
            timer = timer->next;
            continue;
        }
        timer->at_ms = UINT64_MAX;
        timer->due(timer->arg, now_ms);
        timer = loop->timers;
    }
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
    return known ? 0 : loop_add_own(loop, fd, &loop->signal_fd, error);
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
static int loop_timeout_until(struct loop *loop, uint64_t until_ms)
{
    if (loop_has_posts(loop))
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
    loop_run_jobs(loop);
    loop_free_ended(loop);

    struct epoll_event events[EVENTS_A_WAIT];
    int timeout = loop_timeout_until(loop, loop_earliest(loop, until_ms));
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
    loop_run_timers(loop);
    loop_run_handed(loop);
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
