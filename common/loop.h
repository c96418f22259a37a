/*
 * common/loop.h - the one loop of a daemon: an inbox that any thread posts to, file
 * descriptors, signals and the monotonic clock.
 */
#ifndef ASSENT_COMMON_LOOP_H
#define ASSENT_COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct loop;

/* First member of whatever is posted; the receiver casts back and owns it. */
struct post {
    struct post *next;
    int kind; /* the user's own enum */
};

/* epoll events, in the loop's thread. */
typedef void loop_ready_fn(void *arg, uint32_t events);

int loop_create(struct loop **out, struct error *error);
void loop_free(struct loop *loop);

/* Any thread. Posts of one thread are taken in their order. */
void loop_post(struct loop *loop, struct post *post);
/* The next post or NULL. Loop's thread only. */
struct post *loop_take(struct loop *loop);

/* Watch fd for EPOLLIN/EPOLLOUT, level-triggered; again for the same fd changes it; events
 * 0 ends it (do so before close). Returns 0 or -1 with *error. */
int loop_watch(struct loop *loop, int fd, uint32_t events, loop_ready_fn *ready, void *arg,
               struct error *error);

/* Block these signals in the calling thread (call before any other thread is made) and
 * have them delivered as loop_signal(). The list ends with 0. */
int loop_signals(struct loop *loop, const int *signals, struct error *error);
/* The next signal that has arrived, or 0. */
int loop_signal(struct loop *loop);

/* Wait until something is posted, a descriptor is ready (its function is called in here), a
 * signal comes, or loop_now_ms() reaches until_ms (UINT64_MAX: no limit). */
void loop_wait(struct loop *loop, uint64_t until_ms);

/* CLOCK_MONOTONIC in milliseconds, and in microseconds. */
uint64_t loop_now_ms(void);
uint64_t loop_now_us(void);

#endif
