/*
 * tests/unit/test_logger.c - messages whose reader has stopped, and what is said at an end.
 *
 * The logger is a child's, since it is one for each process; its stderr is a pipe of ours.
 */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/logger.h"
#include "common/loop.h"
#include "log/directory.h"

#include <check.h>

enum { LINES = 20000, PIPE_ROOM = 64 * 1024, SOON_MS = 2000, END_MS = 5000 };

static int story, ready;
static pid_t child;

static void begin_child(void (*run)(void))
{
    int says[2], ticks[2];
    fflush(NULL);
    ck_assert(pipe(says) == 0 && pipe(ticks) == 0);
    child = fork();
    if (child == 0) {
        dup2(says[1], STDERR_FILENO);
        close(says[0]);
        close(says[1]);
        ready = ticks[1];
        logger_start();
        run();
        exit(0);
    }
    close(says[1]);
    close(ticks[1]);
    story = says[0];
    ready = ticks[0];
}

static void tell_ready(void)
{
    if (write(ready, "x", 1) != 1)
        _exit(3);
}

static void wait_until_ready(void)
{
    char tick;
    ck_assert_int_eq(read(ready, &tick, 1), 1);
}

static int status_within(uint64_t ms)
{
    int status;
    for (uint64_t until_ms = loop_now_ms() + ms; loop_now_ms() < until_ms; usleep(10 * 1000))
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    ck_abort_msg("it has not ended");
}

/* All that it says until it ends; the caller frees it. */
static char *read_story(void)
{
    size_t length = 0, room = 8 * 1024 * 1024;
    char *text = malloc(room);
    for (ssize_t n; (n = read(story, text + length, room - 1 - length)) > 0;)
        length += (size_t)n;
    text[length] = '\0';
    return text;
}

static void say_many(void)
{
    uint64_t started_ms = loop_now_ms();
    for (int i = 0; i < LINES; i++)
        log_notice("line %d of many, with some words behind it, so that it has the usual length",
                   i);
    if (loop_now_ms() - started_ms > SOON_MS)
        _exit(4);
    tell_ready();
    logger_flush(END_MS);
    log_notice("and the last one");
}

START_TEST(lines_that_nobody_reads_are_dropped_and_counted_where_they_are_missing)
{
    begin_child(say_many);
    wait_until_ready(); /* it has not waited for us */
    char *text = read_story();
    ck_assert_int_eq(status_within(END_MS), 0);
    int lines = 0, missing = 0, expected = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        int number, count;
        const char *words = strstr(line, "line ");
        if (words != NULL && sscanf(words, "line %d of", &number) == 1) {
            ck_assert_int_eq(number, expected);
            expected = number + 1;
            lines++;
        } else if ((words = strstr(line, "WARNING: ")) != NULL &&
                   sscanf(words, "WARNING: %d lines are missing", &count) == 1) {
            missing += count;
            expected += count;
        } else {
            ck_assert_ptr_nonnull(strstr(line, "and the last one"));
        }
    }
    ck_assert_int_gt(missing, 0);
    ck_assert_int_eq(lines + missing, LINES);
    free(text);
}
END_TEST

static void say_few(void)
{
    for (int i = 0; i < 100; i++)
        log_notice("line %d", i);
}

START_TEST(an_end_in_order_says_all)
{
    begin_child(say_few);
    char *text = read_story();
    ck_assert_ptr_nonnull(strstr(text, "line 99\n"));
    ck_assert_int_eq(status_within(END_MS), 0);
    free(text);
}
END_TEST

static void fail_an_assertion(void)
{
    log_notice("before it");
    assert(child != 0);
}

START_TEST(a_failed_assertion_is_said_and_ends_it)
{
    begin_child(fail_an_assertion);
    char *text = read_story();
    ck_assert_ptr_nonnull(strstr(text, "before it\n"));
    ck_assert_ptr_nonnull(strstr(text, "Assertion `child != 0' failed"));
    ck_assert_int_eq(WTERMSIG(status_within(END_MS)), SIGABRT);
    free(text);
}
END_TEST

static void fill_the_pipe(void)
{
    for (int i = 0; i < 2 * PIPE_ROOM / 64; i++)
        log_notice("line %d: nobody reads it, and the pipe is full before long", i);
}

static void fail_an_assertion_unread(void)
{
    fill_the_pipe();
    assert(child != 0);
}

static void give_up_unread(void)
{
    struct error error = {.message = "the disk has failed"};
    fill_the_pipe();
    log_give_up(&error);
}

START_TEST(a_reader_that_has_stopped_keeps_nobody_from_his_end)
{
    begin_child(_i == 0 ? fail_an_assertion_unread : give_up_unread);
    int status = status_within(END_MS);
    ck_assert(_i == 0 ? WTERMSIG(status) == SIGABRT : WEXITSTATUS(status) == 1);
}
END_TEST

static void lose_the_reader(void)
{
    signal(SIGPIPE, SIG_DFL);
    tell_ready();
    usleep(200 * 1000); /* the pipe has no reader then */
    log_notice("to nobody");
    logger_flush(SOON_MS);
}

START_TEST(a_reader_that_is_gone_ends_nobody)
{
    begin_child(lose_the_reader);
    wait_until_ready();
    close(story);
    ck_assert_int_eq(status_within(END_MS), 0);
}
END_TEST

static Suite *logger_suite(void)
{
    Suite *suite = suite_create("logger");
    TCase *tests = tcase_create("logger");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, lines_that_nobody_reads_are_dropped_and_counted_where_they_are_missing);
    tcase_add_test(tests, an_end_in_order_says_all);
    tcase_add_test(tests, a_failed_assertion_is_said_and_ends_it);
    tcase_add_loop_test(tests, a_reader_that_has_stopped_keeps_nobody_from_his_end, 0, 2);
    tcase_add_test(tests, a_reader_that_is_gone_ends_nobody);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(logger_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
