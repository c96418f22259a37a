/*
 * tests/unit/test_loop.c - the loop takes posts, descriptors, signals and time as they come.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "common/loop.h"

enum { POSTERS = 4, POSTS_EACH = 10000, NEVER_MS = 10000 };

struct numbered {
    struct post post; /* kind is the poster */
    int number;
};

static struct loop *loop;
static struct error error;
static int ends[2]; /* of a pipe */
static int calls;

static void make_loop(void)
{
    ck_assert_int_eq(loop_create(&loop, &error), 0);
    ck_assert_int_eq(pipe(ends), 0);
    calls = 0;
}

static void free_loop(void)
{
    loop_free(loop);
    close(ends[0]);
    close(ends[1]);
}

static void post_number(int poster, int number)
{
    struct numbered *numbered = calloc(1, sizeof *numbered);
    ck_assert_ptr_nonnull(numbered);
    numbered->post.kind = poster;
    numbered->number = number;
    loop_post(loop, &numbered->post);
}

static void *post_many(void *poster)
{
    for (int i = 0; i < POSTS_EACH; i++)
        post_number(*(int *)poster, i);
    return NULL;
}

static void *post_later(void *unused)
{
    (void)unused;
    usleep(20000);
    post_number(0, 1);
    return NULL;
}

static void count_call(void *arg, uint32_t events)
{
    ck_assert_ptr_eq(arg, &calls);
    ck_assert_uint_ne(events & EPOLLIN, 0);
    calls++;
}

static void take_byte(void *arg, uint32_t events)
{
    char byte;
    count_call(arg, events);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
}

static void end_other_watch(void *arg, uint32_t events)
{
    (void)events;
    calls++;
    ck_assert_int_eq(loop_watch(loop, *(int *)arg, 0, NULL, NULL, &error), 0);
}

START_TEST(posts_of_many_threads_arrive_once_and_in_each_threads_order)
{
    pthread_t threads[POSTERS];
    int posters[POSTERS];
    int next[POSTERS] = {0};
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    for (int taken = 0; taken < POSTERS * POSTS_EACH;) {
        loop_wait(loop, loop_now_ms() + NEVER_MS);
        for (struct post *post; (post = loop_take(loop)) != NULL; taken++) {
            struct numbered *numbered = (struct numbered *)post;
            ck_assert_int_eq(numbered->number, next[post->kind]);
            next[post->kind]++;
            free(numbered);
        }
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_ptr_null(loop_take(loop));
}
END_TEST

START_TEST(a_post_wakes_a_loop_that_waits_for_ever)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, post_later, NULL), 0);
    struct post *post;
    while ((post = loop_take(loop)) == NULL)
        loop_wait(loop, UINT64_MAX);
    free(post);
    pthread_join(thread, NULL);
}
END_TEST

START_TEST(a_post_that_was_not_taken_keeps_the_loop_awake)
{
    post_number(0, 1);
    post_number(0, 2);
    loop_wait(loop, UINT64_MAX);
    free(loop_take(loop));
    loop_wait(loop, UINT64_MAX);
    free(loop_take(loop));
    ck_assert_ptr_null(loop_take(loop));
}
END_TEST

START_TEST(a_wait_ends_at_its_time_and_not_before)
{
    uint64_t until_ms = loop_now_ms() + 30;
    loop_wait(loop, until_ms);
    ck_assert_uint_ge(loop_now_ms(), until_ms);
    loop_wait(loop, 0); /* long past: at once */
}
END_TEST

START_TEST(a_ready_descriptor_is_told_until_it_is_served)
{
    ck_assert_int_eq(loop_watch(loop, ends[0], EPOLLIN, count_call, &calls, &error), 0);
    loop_wait(loop, 0);
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    loop_wait(loop, UINT64_MAX);
    loop_wait(loop, UINT64_MAX);
    ck_assert_int_eq(calls, 2);
    /* Watching again replaces the function. */
    ck_assert_int_eq(loop_watch(loop, ends[0], EPOLLIN, take_byte, &calls, &error), 0);
    loop_wait(loop, UINT64_MAX);
    loop_wait(loop, 0);
    ck_assert_int_eq(calls, 3);
}
END_TEST

START_TEST(a_watch_that_has_ended_is_not_told)
{
    ck_assert_int_eq(loop_watch(loop, ends[0], EPOLLIN, count_call, &calls, &error), 0);
    ck_assert_int_eq(loop_watch(loop, ends[0], 0, NULL, NULL, &error), 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    loop_wait(loop, 0);
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(loop_watch(loop, ends[0], 0, NULL, NULL, &error), 0); /* again: no harm */
}
END_TEST

START_TEST(one_descriptor_may_end_the_watch_of_another_that_is_ready_too)
{
    int others[2];
    ck_assert_int_eq(pipe(others), 0);
    ck_assert_int_eq(loop_watch(loop, ends[0], EPOLLIN, end_other_watch, &others[0], &error), 0);
    ck_assert_int_eq(loop_watch(loop, others[0], EPOLLIN, end_other_watch, &ends[0], &error), 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    ck_assert_int_eq(write(others[1], "x", 1), 1);
    loop_wait(loop, UINT64_MAX);
    ck_assert_int_eq(calls, 1);
    close(others[0]);
    close(others[1]);
}
END_TEST

START_TEST(a_descriptor_that_cannot_be_watched_is_an_error)
{
    ck_assert_int_eq(loop_watch(loop, -1, EPOLLIN, count_call, &calls, &error), -1);
    ck_assert_str_eq(error.message, "watch descriptor -1: Bad file descriptor");
}
END_TEST

/* Writes down in which order they came. */
static char order[16];

static void note_job(void *arg)
{
    strcat(order, arg);
}

static void note_timer(void *arg, uint64_t now_ms)
{
    ck_assert_uint_le(now_ms, loop_now_ms());
    strcat(order, arg);
}

START_TEST(a_job_is_done_once_before_the_next_wait)
{
    struct loop_job a = {.run = note_job, .arg = "a"}, b = {.run = note_job, .arg = "b"},
                    c = {.run = note_job, .arg = "c"};
    loop_soon(loop, &a);
    loop_soon(loop, &b);
    loop_soon(loop, &c);
    loop_soon(loop, &a);
    loop_not_now(loop, &c);
    loop_not_now(loop, &c);
    ck_assert_str_eq(order, "");
    loop_wait(loop, 0);
    ck_assert_str_eq(order, "ab");
    loop_wait(loop, 0);
    ck_assert_str_eq(order, "ab");
    loop_soon(loop, &a);
    loop_wait(loop, 0);
    ck_assert_str_eq(order, "aba");
}
END_TEST

static void remove_other(void *arg, uint64_t now_ms)
{
    (void)now_ms;
    strcat(order, "r");
    loop_timer_remove(loop, arg);
}

START_TEST(a_timer_is_due_once_each_time_it_is_set)
{
    uint64_t begun_ms = loop_now_ms();
    struct loop_timer soon = {.at_ms = begun_ms + 20, .due = note_timer, .arg = "s"};
    struct loop_timer never = {.at_ms = UINT64_MAX, .due = note_timer, .arg = "n"};
    loop_timer_add(loop, &soon);
    loop_timer_add(loop, &never);
    while (order[0] == '\0')
        loop_wait(loop, UINT64_MAX);
    ck_assert_uint_ge(loop_now_ms(), begun_ms + 20);
    loop_wait(loop, loop_now_ms() + 10);
    ck_assert_str_eq(order, "s");
    soon.at_ms = loop_now_ms();
    loop_wait(loop, UINT64_MAX);
    ck_assert_str_eq(order, "ss");

    struct loop_timer other = {.at_ms = 0, .due = note_timer, .arg = "o"};
    struct loop_timer remover = {.at_ms = 0, .due = remove_other, .arg = &other};
    loop_timer_add(loop, &other);
    loop_timer_add(loop, &remover);
    loop_wait(loop, UINT64_MAX);
    ck_assert_str_eq(order, "ssr");
}
END_TEST

START_TEST(signals_come_one_by_one)
{
    static const int signals[] = {SIGTERM, SIGHUP, 0};
    ck_assert_int_eq(loop_signal(loop), 0);
    ck_assert_int_eq(loop_signals(loop, signals, &error), 0);
    ck_assert_int_eq(loop_signal(loop), 0);
    kill(getpid(), SIGTERM);
    loop_wait(loop, UINT64_MAX);
    ck_assert_int_eq(loop_signal(loop), SIGTERM);
    kill(getpid(), SIGHUP);
    loop_wait(loop, UINT64_MAX);
    ck_assert_int_eq(loop_signal(loop), SIGHUP);
    ck_assert_int_eq(loop_signal(loop), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, make_loop, free_loop);
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, posts_of_many_threads_arrive_once_and_in_each_threads_order);
    tcase_add_test(rules, a_post_wakes_a_loop_that_waits_for_ever);
    tcase_add_test(rules, a_post_that_was_not_taken_keeps_the_loop_awake);
    tcase_add_test(rules, a_wait_ends_at_its_time_and_not_before);
    tcase_add_test(rules, a_ready_descriptor_is_told_until_it_is_served);
    tcase_add_test(rules, a_watch_that_has_ended_is_not_told);
    tcase_add_test(rules, one_descriptor_may_end_the_watch_of_another_that_is_ready_too);
    tcase_add_test(rules, a_descriptor_that_cannot_be_watched_is_an_error);
    tcase_add_test(rules, a_job_is_done_once_before_the_next_wait);
    tcase_add_test(rules, a_timer_is_due_once_each_time_it_is_set);
    tcase_add_test(rules, signals_come_one_by_one);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
