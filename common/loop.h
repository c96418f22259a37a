/*
 * common/loop.h - the one loop of a daemon: an inbox that any thread posts to, file
 * descriptors, timers, signals and the monotonic clock.
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

/* The loop belongs to the thread that waits in it. */
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

/* Something to be done once before the loop waits again, however often it is asked for: what a turn
 * has gathered is sent in one piece. The memory is the user's. */
struct loop_job {
    struct loop_job *next;
    bool asked;
    void (*run)(void *arg);
    void *arg;
};

void loop_soon(struct loop *loop, struct loop_job *job);
/* Takes it back; nothing happens if it was not asked for. */
void loop_not_now(struct loop *loop, struct loop_job *job);

/* Any thread. The job is done in the loop's thread while it waits, or when it is freed. */
void loop_hand_over(struct loop *loop, struct loop_job *job);

/* Between loop_timer_add() and loop_timer_remove() at_ms may be set at any time, UINT64_MAX for
 * never. When loop_now_ms() has reached it, it is set to UINT64_MAX and due() is called. */
struct loop_timer {
    struct loop_timer *next;
    uint64_t at_ms;
    void (*due)(void *arg, uint64_t now_ms);
    void *arg;
};

void loop_timer_add(struct loop *loop, struct loop_timer *timer);
void loop_timer_remove(struct loop *loop, struct loop_timer *timer);

/* Block these signals in the calling thread (call before any other thread is made) and
 * have them delivered as loop_signal(). The list ends with 0. */
int loop_signals(struct loop *loop, const int *signals, struct error *error);
/* The next signal that has arrived, or 0. */
int loop_signal(struct loop *loop);

/* Wait until something is posted, a descriptor is ready or a timer due (their functions are called
 * in here), a signal comes, or loop_now_ms() reaches until_ms (UINT64_MAX: no limit). */
void loop_wait(struct loop *loop, uint64_t until_ms);

/* CLOCK_MONOTONIC in milliseconds, and in microseconds. */
uint64_t loop_now_ms(void);
uint64_t loop_now_us(void);

#endif
