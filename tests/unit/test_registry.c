/*
 * tests/unit/test_registry.c - who may speak, rule by rule.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/coordinator/registry.h"

static const struct uuid log_a = {.bytes = {1}}, log_b = {.bytes = {2}};
static struct registry book;
static const struct uuid run_a = {.bytes = {3}}, run_b = {.bytes = {4}};

/* The agent knows log a in its incarnation 5, started as run a, and has seen position 100. The log
 * that is offered has an incarnation 5 too, started as `ancestor`. */
static struct uuid ancestor;
static bool unfenced;

static enum refusal judged(struct uuid log, uint64_t incarnation, struct uuid instance,
                           uint64_t recovered_lsn)
{
    const struct tm_row stored = {
        .exists = true, .log = log_a, .incarnation = 5, .instance = run_a, .lsn = 100};
    const struct offer offer = {
        .log = log,
        .incarnation = incarnation,
        .instance = instance,
        .recovered_lsn = recovered_lsn,
        .wire_least = WIRE_VERSION,
        .wire_most = WIRE_VERSION,
        .unfenced = unfenced,
        .ancestor_count = 2,
        .ancestors = {{4, run_b}, {5, ancestor}},
    };
    return registry_judge(&stored, &offer);
}

START_TEST(a_tm_that_is_new_to_the_agent_is_accepted)
{
    const struct tm_row nothing = {.exists = false};
    const struct offer offer = {.wire_least = 1, .wire_most = 1};
    ck_assert_int_eq((int)registry_judge(&nothing, &offer), REFUSAL_NONE);
}
END_TEST

START_TEST(a_later_start_of_the_same_log_is_accepted)
{
    ancestor = run_a;
    ck_assert_int_eq((int)judged(log_a, 6, run_b, 100), REFUSAL_NONE);
}
END_TEST

START_TEST(the_instance_already_stored_is_always_accepted_again)
{
    /* Its recovered end stays behind what it has written itself since. */
    ck_assert_int_eq((int)judged(log_a, 5, run_a, 40), REFUSAL_NONE);
}
END_TEST

START_TEST(another_log_is_refused)
{
    ck_assert_int_eq((int)judged(log_b, 9, run_b, 1000), REFUSAL_OTHER_LOG);
}
END_TEST

START_TEST(an_earlier_start_is_refused)
{
    ck_assert_int_eq((int)judged(log_a, 4, run_b, 1000), REFUSAL_INCARNATION);
}
END_TEST

START_TEST(a_copied_log_is_refused)
{
    ck_assert_int_eq((int)judged(log_a, 5, run_b, 1000), REFUSAL_INSTANCE);
}
END_TEST

START_TEST(a_copy_that_went_on_from_another_start_is_refused)
{
    ancestor = run_b;
    ck_assert_int_eq((int)judged(log_a, 6, run_b, 100), REFUSAL_INSTANCE);
    /* Unless a person vouches for it; of an older incarnation it stays refused. */
    unfenced = true;
    ck_assert_int_eq((int)judged(log_a, 6, run_b, 100), REFUSAL_NONE);
    ck_assert_int_eq((int)judged(log_a, 4, run_b, 100), REFUSAL_INCARNATION);
}
END_TEST

START_TEST(an_agent_that_was_away_for_long_is_offered_the_start_that_it_knows)
{
    struct offer offer = {.wire_least = WIRE_VERSION, .wire_most = WIRE_VERSION};
    const struct start_id known = {1, run_a};
    memset(&book, 0, sizeof book);
    registry_add(&book, "accounts", "ipc:///a");
    book.rms[0].accepted_start = known;
    for (uint64_t i = 1; i <= 100; i++)
        registry_ancestor(&book, &(struct start_id){i, i == 1 ? run_a : run_b});
    registry_offer(&book, 0, &offer);
    ck_assert_uint_eq(offer.ancestor_count, ANCESTORS_MAX);
    ck_assert_uint_eq(offer.ancestors[ANCESTORS_MAX - 2].incarnation, 100);
    ck_assert_uint_eq(offer.ancestors[ANCESTORS_MAX - 1].incarnation, 1);
}
END_TEST

START_TEST(an_old_log_is_refused)
{
    ancestor = run_a;
    ck_assert_int_eq((int)judged(log_a, 6, run_b, 99), REFUSAL_POSITION);
}
END_TEST

START_TEST(no_common_wire_version_is_refused)
{
    const struct tm_row nothing = {.exists = false};
    const struct offer offer = {.wire_least = WIRE_VERSION + 1, .wire_most = WIRE_VERSION + 1};
    ck_assert_int_eq((int)registry_judge(&nothing, &offer), REFUSAL_WIRE);
}
END_TEST

/* ---- the TM's side ---- */

static void given_book(bool established)
{
    memset(&book, 0, sizeof book);
    registry_add(&book, "accounts", "ipc:///a");
    registry_add(&book, "ledger", "ipc:///l");
    for (uint32_t i = 0; i < 2; i++) {
        book.rms[i].configured = true;
        book.rms[i].logged = established;
        book.rms[i].system_identifier = established ? 7 : 0;
    }
    book.established = established;
}

static enum registration answered(uint32_t rm, enum refusal refusal)
{
    const struct answer answer = {.refusal = refusal, .system_identifier = 7, .beat = 10};
    return registry_register(&book, rm, &answer);
}

START_TEST(abort_is_presumed_only_once_every_agent_has_accepted)
{
    uint32_t waits_for = 9;
    given_book(true);
    ck_assert_int_eq((int)answered(0, REFUSAL_NONE), REGISTRATION_ACCEPTED);
    ck_assert(!registry_may_presume(&book, &waits_for));
    ck_assert_uint_eq(waits_for, 1);
    ck_assert_int_eq((int)answered(1, REFUSAL_NONE), REGISTRATION_ACCEPTED);
    ck_assert(registry_may_presume(&book, NULL));
    /* Down now, but it has accepted this start. */
    registry_lost(&book, 1);
    ck_assert(registry_may_presume(&book, NULL));
}
END_TEST

START_TEST(a_waived_or_retired_agent_is_not_waited_for)
{
    given_book(true);
    answered(0, REFUSAL_NONE);
    book.rms[1].waived = true;
    ck_assert(registry_may_presume(&book, NULL));
    book.rms[1].waived = false;
    book.rms[1].retired = true;
    ck_assert(registry_may_presume(&book, NULL));
}
END_TEST

START_TEST(an_agent_that_only_the_log_knows_is_waited_for)
{
    given_book(true);
    book.rms[1].configured = false;
    answered(0, REFUSAL_NONE);
    ck_assert(!registry_may_presume(&book, NULL));
}
END_TEST

START_TEST(any_refusal_of_our_log_fences)
{
    static const enum refusal refusals[] = {REFUSAL_INCARNATION, REFUSAL_INSTANCE, REFUSAL_POSITION,
                                            REFUSAL_OTHER_LOG};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        given_book(true);
        ck_assert_int_eq((int)answered(1, refusals[i]), REGISTRATION_FENCED);
        ck_assert(book.fenced);
        /* An acceptance afterwards does not mend it: only another start does. */
        answered(1, REFUSAL_NONE);
        ck_assert(!registry_may_presume(&book, NULL));
    }
}
END_TEST

START_TEST(a_refusal_that_says_nothing_about_our_log_does_not_fence)
{
    given_book(true);
    ck_assert_int_eq((int)answered(1, REFUSAL_OTHER_RM), REGISTRATION_LEFT_OUT);
    ck_assert(!book.fenced);
    answered(0, REFUSAL_NONE);
    ck_assert(!registry_may_presume(&book, NULL));
}
END_TEST

START_TEST(only_an_established_log_may_leave_a_newcomer_out)
{
    given_book(true);
    uint32_t stock = registry_add(&book, "stock", "ipc:///s");
    book.rms[stock].configured = true;
    ck_assert_int_eq((int)answered(stock, REFUSAL_OTHER_LOG), REGISTRATION_LEFT_OUT);
    answered(0, REFUSAL_NONE);
    answered(1, REFUSAL_NONE);
    ck_assert(registry_may_presume(&book, NULL));

    given_book(false);
    answered(0, REFUSAL_NONE);
    book.rms[0].logged = true;
    ck_assert_int_eq((int)answered(1, REFUSAL_OTHER_LOG), REGISTRATION_FENCED);
}
END_TEST

START_TEST(a_database_that_lost_data_is_quarantined_until_released)
{
    given_book(true);
    book.rms[0].beat = 11;
    ck_assert_int_eq((int)answered(0, REFUSAL_NONE), REGISTRATION_QUARANTINED);
    book.rms[0].beat = 5;
    ck_assert_int_eq((int)answered(0, REFUSAL_NONE), REGISTRATION_QUARANTINED);
    ck_assert(!registry_may_presume(&book, NULL));
}
END_TEST

START_TEST(another_cluster_under_the_same_name_is_quarantined)
{
    given_book(true);
    book.rms[0].system_identifier = 8;
    ck_assert_int_eq((int)answered(0, REFUSAL_NONE), REGISTRATION_QUARANTINED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry");
    TCase *cases = tcase_create("registry");
    tcase_add_test(cases, a_tm_that_is_new_to_the_agent_is_accepted);
    tcase_add_test(cases, a_later_start_of_the_same_log_is_accepted);
    tcase_add_test(cases, the_instance_already_stored_is_always_accepted_again);
    tcase_add_test(cases, another_log_is_refused);
    tcase_add_test(cases, an_earlier_start_is_refused);
    tcase_add_test(cases, a_copied_log_is_refused);
    tcase_add_test(cases, a_copy_that_went_on_from_another_start_is_refused);
    tcase_add_test(cases, an_agent_that_was_away_for_long_is_offered_the_start_that_it_knows);
    tcase_add_test(cases, an_old_log_is_refused);
    tcase_add_test(cases, no_common_wire_version_is_refused);
    tcase_add_test(cases, abort_is_presumed_only_once_every_agent_has_accepted);
    tcase_add_test(cases, a_waived_or_retired_agent_is_not_waited_for);
    tcase_add_test(cases, an_agent_that_only_the_log_knows_is_waited_for);
    tcase_add_test(cases, any_refusal_of_our_log_fences);
    tcase_add_test(cases, a_refusal_that_says_nothing_about_our_log_does_not_fence);
    tcase_add_test(cases, only_an_established_log_may_leave_a_newcomer_out);
    tcase_add_test(cases, a_database_that_lost_data_is_quarantined_until_released);
    tcase_add_test(cases, another_cluster_under_the_same_name_is_quarantined);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
