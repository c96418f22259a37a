/*
 * tests/unit/test_must.c - what a process says that ends for want of memory.
 *
 * It ends by abort(): each story is a child's, whose stderr is a pipe of ours.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/logger.h"
#include "common/must.h"

#include <check.h>

enum { STORY_BYTES = 4096 };

/* A sanitizer asks these what to do; its allocator would end the process itself. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* More than there is; volatile, or the compiler would say so itself. */
static volatile size_t too_many = PTRDIFF_MAX;

static void allocate_too_many(void)
{
    must_alloc(too_many, "a request from a peer");
}

static void grow_too_much(void)
{
    must_grow(NULL, too_many, "the queue to an agent");
}

static void miss_a_tree(void)
{
    must_have(NULL, "a reply");
}

static void miss_a_tree_with_the_logger_started(void)
{
    logger_start();
    must_have(NULL, "a reply");
}

/* The child's last words, which must be by abort(). */
static void hear_end(void (*run)(void), char story[STORY_BYTES])
{
    int says[2], status;
    size_t length = 0;
    ck_assert_int_eq(pipe(says), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(says[1], STDERR_FILENO);
        close(says[0]);
        close(says[1]);
        run();
        _exit(0);
    }
    close(says[1]);
    for (ssize_t got = 1; got > 0; length += (size_t)got)
        got = read(says[0], story + length, STORY_BYTES - 1 - length);
    story[length] = '\0';
    close(says[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}

static void expect_end(void (*run)(void), const char *words)
{
    char story[STORY_BYTES];
    hear_end(run, story);
    ck_assert_msg(strstr(story, words) != NULL, "%s", story);
}

START_TEST(it_says_how_many_bytes_it_wanted_for_what)
{
    expect_end(allocate_too_many, "out of memory: 9223372036854775807 bytes for a request from");
    expect_end(grow_too_much, "out of memory: 9223372036854775807 bytes for the queue to an agent");
}
END_TEST

START_TEST(what_a_library_could_not_have_is_said_too)
{
    expect_end(miss_a_tree, "out of memory for a reply");
}
END_TEST

START_TEST(the_last_words_are_written_when_lines_are_queued)
{
    expect_end(miss_a_tree_with_the_logger_started, "out of memory for a reply");
}
END_TEST

START_TEST(what_is_had_is_zero_and_what_is_copied_is_whole)
{
    char *zero = must_alloc(100, "a test");
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(zero[i], 0);
    zero = must_grow(zero, 200, "a test");
    ck_assert_int_eq(zero[99], 0);
    char *copy = must_copy("bank", "a test");
    ck_assert_str_eq(copy, "bank");
    char *part = must_copy_bytes("bank", 2, "a test");
    ck_assert_str_eq(part, "ba");
    char *none = must_copy_bytes(NULL, 0, "a test");
    ck_assert_str_eq(none, "");
    ck_assert_ptr_eq(must_have(copy, "a test"), copy);
    free(zero);
    free(copy);
    free(part);
    free(none);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("must");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, it_says_how_many_bytes_it_wanted_for_what);
    tcase_add_test(tcase, what_a_library_could_not_have_is_said_too);
    tcase_add_test(tcase, the_last_words_are_written_when_lines_are_queued);
    tcase_add_test(tcase, what_is_had_is_zero_and_what_is_copied_is_whole);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
