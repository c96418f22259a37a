/*
 * tests/unit/test_verdict.c - what an answer of PostgreSQL means: every cell of the table.
 */
#include <check.h>
#include <stdlib.h>

#include "rm-agent/postgres/verdict.h"

enum { ALIVE = true, DEAD = false };

#define MEANS(expected, command, tag, sqlstate, alive)                                             \
    ck_assert_str_eq(participant_event_word(expected),                                             \
                     participant_event_word(verdict(command, tag, sqlstate, alive)))

START_TEST(a_vote_is_yes_only_when_the_command_tag_says_so)
{
    MEANS(PE_PREPARED, COMMAND_PREPARE, "PREPARE TRANSACTION", "", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_PREPARE, "ROLLBACK", "", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_PREPARE, "PREPARE", "", ALIVE);
}
END_TEST

START_TEST(every_error_at_prepare_is_a_final_no)
{
    static const char *const refusals[] = {"55000", "53200", "22023", "42710", "0A000",
                                           "23503", "40001", "57014", "42704", "25P02"};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        MEANS(PE_REFUSAL, COMMAND_PREPARE, "", refusals[i], ALIVE);
}
END_TEST

START_TEST(a_lost_answer_is_never_guessed)
{
    static const char *const losses[] = {"", "08000", "08006", "08P01", "57P01", "57P02", "57P03"};
    for (int command = 0; command < COMMANDS; command++)
        for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
            MEANS(PE_UNKNOWN, (enum command)command, "", losses[i], ALIVE);
            MEANS(PE_UNKNOWN, (enum command)command, "", losses[i], DEAD);
        }
}
END_TEST

START_TEST(an_error_that_took_the_connection_along_proves_nothing)
{
    for (int command = 0; command < COMMANDS; command++) {
        MEANS(PE_UNKNOWN, (enum command)command, "", "40001", DEAD);
        MEANS(PE_UNKNOWN, (enum command)command, "", "42704", DEAD);
    }
}
END_TEST

START_TEST(a_tag_that_has_arrived_holds_though_the_connection_fails_after_it)
{
    MEANS(PE_PREPARED, COMMAND_PREPARE, "PREPARE TRANSACTION", "", DEAD);
    MEANS(PE_FINISHED, COMMAND_COMMIT_PREPARED, "COMMIT PREPARED", "", DEAD);
}
END_TEST

START_TEST(a_branch_that_is_not_there_is_neither_committed_nor_rolled_back)
{
    MEANS(PE_GONE, COMMAND_COMMIT_PREPARED, "", "42704", ALIVE);
    MEANS(PE_GONE, COMMAND_ROLLBACK_PREPARED, "", "42704", ALIVE);
}
END_TEST

START_TEST(finishing_that_is_refused_is_tried_again)
{
    static const char *const passing[] = {"55000", "25006", "57014", "42501",
                                          "0A000", "25001", "40001", "53200"};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        MEANS(PE_RETRY, COMMAND_COMMIT_PREPARED, "", passing[i], ALIVE);
        MEANS(PE_RETRY, COMMAND_ROLLBACK_PREPARED, "", passing[i], ALIVE);
    }
    MEANS(PE_FINISHED, COMMAND_COMMIT_PREPARED, "COMMIT PREPARED", "", ALIVE);
    MEANS(PE_FINISHED, COMMAND_ROLLBACK_PREPARED, "ROLLBACK PREPARED", "", ALIVE);
    MEANS(PE_UNKNOWN, COMMAND_COMMIT_PREPARED, "ROLLBACK PREPARED", "", ALIVE);
    MEANS(PE_UNKNOWN, COMMAND_ROLLBACK_PREPARED, "COMMIT PREPARED", "", ALIVE);
}
END_TEST

START_TEST(a_commit_that_rolled_back_is_a_no)
{
    MEANS(PE_READ_ONLY, COMMAND_COMMIT_READ_ONLY, "COMMIT", "", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_COMMIT_READ_ONLY, "ROLLBACK", "", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_COMMIT_READ_ONLY, "", "40001", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_COMMIT_READ_ONLY, "", "42704", ALIVE);
    MEANS(PE_FINISHED, COMMAND_COMMIT_ONE_PHASE, "COMMIT", "", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_COMMIT_ONE_PHASE, "ROLLBACK", "", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_COMMIT_ONE_PHASE, "", "23503", ALIVE);
    MEANS(PE_REFUSAL, COMMAND_COMMIT_ONE_PHASE, "", "42704", ALIVE);
}
END_TEST

START_TEST(only_a_rollback_that_was_answered_is_one)
{
    MEANS(PE_FINISHED, COMMAND_ROLLBACK, "ROLLBACK", "", ALIVE);
    MEANS(PE_UNKNOWN, COMMAND_ROLLBACK, "COMMIT", "", ALIVE);
    MEANS(PE_UNKNOWN, COMMAND_ROLLBACK, "", "XX000", ALIVE);
    MEANS(PE_UNKNOWN, COMMAND_ROLLBACK, "", "42704", ALIVE);
}
END_TEST

START_TEST(only_a_clear_word_about_an_xid_is_evidence)
{
    ck_assert_int_eq(XID_COMMITTED, xid_status_of("committed", ""));
    ck_assert_int_eq(XID_ABORTED, xid_status_of("aborted", ""));
    ck_assert_int_eq(XID_UNKNOWN, xid_status_of("in progress", ""));
    ck_assert_int_eq(XID_UNKNOWN, xid_status_of("", ""));
    ck_assert_int_eq(XID_UNKNOWN, xid_status_of("", "57014"));
    ck_assert_int_eq(XID_FUTURE, xid_status_of("", "22023"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verdict");
    TCase *rules = tcase_create("rules");
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, a_vote_is_yes_only_when_the_command_tag_says_so);
    tcase_add_test(rules, every_error_at_prepare_is_a_final_no);
    tcase_add_test(rules, a_lost_answer_is_never_guessed);
    tcase_add_test(rules, an_error_that_took_the_connection_along_proves_nothing);
    tcase_add_test(rules, a_tag_that_has_arrived_holds_though_the_connection_fails_after_it);
    tcase_add_test(rules, a_branch_that_is_not_there_is_neither_committed_nor_rolled_back);
    tcase_add_test(rules, finishing_that_is_refused_is_tried_again);
    tcase_add_test(rules, a_commit_that_rolled_back_is_a_no);
    tcase_add_test(rules, only_a_rollback_that_was_answered_is_one);
    tcase_add_test(rules, only_a_clear_word_about_an_xid_is_evidence);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
