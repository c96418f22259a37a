/*
 * tests/unit/test_error.c - errors that climb with their story, and the wire's words for them.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "common/error.h"

static struct error error;

START_TEST(a_failure_says_what_was_tried)
{
    ck_assert_int_eq(fail(&error, "open %s", "LOCK"), -1);
    ck_assert_str_eq(error.message, "open LOCK");
    ck_assert_str_eq(error.hint, "");
}
END_TEST

START_TEST(errno_is_put_into_words_and_left_as_it_was)
{
    errno = ENOENT;
    ck_assert_int_eq(fail_errno(&error, "open %s", "LOCK"), -1);
    ck_assert_str_eq(error.message, "open LOCK: No such file or directory");
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(a_story_can_be_continued)
{
    fail(&error, "open LOCK");
    fail(&error, "start the log: %s", error.message);
    ck_assert_str_eq(error.message, "start the log: open LOCK");
}
END_TEST

START_TEST(a_hint_belongs_to_one_failure)
{
    fail(&error, "open LOCK");
    ck_assert_int_eq(fail_hint(&error, "stop the other %s", "assentd"), -1);
    ck_assert_str_eq(error.message, "open LOCK");
    ck_assert_str_eq(error.hint, "stop the other assentd");
    fail(&error, "open wal");
    ck_assert_str_eq(error.hint, "");
}
END_TEST

START_TEST(what_is_too_long_is_cut)
{
    char text[1024];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    errno = ENOENT;
    fail_errno(&error, "%s", text);
    ck_assert_uint_eq(strlen(error.message), sizeof error.message - 1);
    fail_hint(&error, "%s", text);
    ck_assert_uint_eq(strlen(error.hint), sizeof error.hint - 1);
}
END_TEST

START_TEST(who_does_not_ask_is_not_told)
{
    ck_assert_int_eq(fail(NULL, "open LOCK"), -1);
    ck_assert_int_eq(fail_errno(NULL, "open LOCK"), -1);
    ck_assert_int_eq(fail_hint(NULL, "stop it"), -1);
}
END_TEST

START_TEST(every_code_has_one_word)
{
    for (int code = ERR_NONE + 1; code < ERR_CODES; code++) {
        const char *word = error_word((enum error_code)code);
        ck_assert_uint_gt(strlen(word), 0);
        ck_assert_uint_eq(strspn(word, "abcdefghijklmnopqrstuvwxyz_"), strlen(word));
        ck_assert_int_eq(error_from_word(word), code);
        ck_assert_int_ge(error_http_status((enum error_code)code), 400);
        ck_assert_uint_gt(strlen(error_meaning((enum error_code)code)), 0);
    }
    ck_assert_int_eq(error_from_word("no_such_word"), ERR_NONE);
    ck_assert_int_eq(error_from_word(""), ERR_NONE);
}
END_TEST

START_TEST(a_busy_coordinator_may_be_asked_again)
{
    ck_assert(error_retryable(ERR_BUSY));
    ck_assert(!error_retryable(ERR_INVALID_REQUEST));
    ck_assert_int_eq(error_http_status(ERR_UNKNOWN_TRANSACTION), 404);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("error");
    TCase *rules = tcase_create("rules");
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, a_failure_says_what_was_tried);
    tcase_add_test(rules, errno_is_put_into_words_and_left_as_it_was);
    tcase_add_test(rules, a_story_can_be_continued);
    tcase_add_test(rules, a_hint_belongs_to_one_failure);
    tcase_add_test(rules, what_is_too_long_is_cut);
    tcase_add_test(rules, who_does_not_ask_is_not_told);
    tcase_add_test(rules, every_code_has_one_word);
    tcase_add_test(rules, a_busy_coordinator_may_be_asked_again);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
