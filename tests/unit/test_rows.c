/*
 * tests/unit/test_rows.c - an acceptor's row comes back from its JSON as it went, and its votes
 * hold.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "rm-agent/votes/rows.h"

static struct row sample(void)
{
    struct row row = {
        .gtrid = {.incarnation = 3, .sequence = INT64_MAX},
        .roster = {.count = 2, .tm = true, .agents = {"accounts", "ledger"}},
        .acceptor = {.exists = true,
                     .promised = 511,
                     .accepted = 0,
                     .value = OUTCOME_COMMITTED,
                     .outcome = OUTCOME_NONE},
    };
    ck_assert(row_vote(&row, "", 4711));
    ck_assert(row_vote(&row, "second", UINT64_C(1) << 40));
    return row;
}

START_TEST(a_row_comes_back_as_it_went)
{
    static struct row back;
    const struct row row = sample();
    size_t length;
    char *text = wire_print(row_write(&row), &length);
    memset(&back, 0, sizeof back);
    ck_assert(row_read(text, &back));
    ck_assert(gtrid_equal(&back.gtrid, &row.gtrid));
    ck_assert_mem_eq(&back.roster, &row.roster, sizeof row.roster);
    ck_assert(back.acceptor.exists);
    ck_assert_uint_eq(back.acceptor.promised, 511);
    ck_assert_uint_eq(back.acceptor.accepted, 0);
    ck_assert_int_eq(back.acceptor.value, OUTCOME_COMMITTED);
    ck_assert_int_eq(back.acceptor.outcome, OUTCOME_NONE);
    ck_assert_uint_eq(row_xid(&back, ""), 4711);
    ck_assert_uint_eq(row_xid(&back, "second"), UINT64_C(1) << 40);
    ck_assert_uint_eq(row_xid(&back, "third"), 0);
    free(text);
}
END_TEST

START_TEST(what_is_no_row_is_not_read)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"xids\":[]}",
        "{\"xids\":[],\"incarnation\":\"1\",\"sequence\":\"x\"}",
        "{\"xids\":[],\"incarnation\":\"1\",\"sequence\":\"2\",\"promised\":-1}",
        "{\"xids\":[],\"incarnation\":\"1\",\"sequence\":\"2\",\"promised\":\"0\"}",
        "{\"XIDS\":[],\"incarnation\":\"1\",\"sequence\":\"2\",\"promised\":\"0\","
        "\"accepted\":\"0\"}",
        "{\"xids\":7,\"incarnation\":\"1\",\"sequence\":\"2\",\"promised\":\"0\","
        "\"accepted\":\"0\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        static struct row row;
        memset(&row, 0, sizeof row);
        ck_assert_msg(!row_read(texts[i], &row), "%s", texts[i]);
    }
}
END_TEST

/* Whatever wrote it: more acceptors than there can be, what is no text, lists of two lengths. */
START_TEST(of_a_row_only_what_has_a_meaning_is_read)
{
    static struct row row;
    char text[1000] = "{\"incarnation\":\"1\",\"sequence\":\"2\",\"promised\":\"0\","
                      "\"accepted\":\"0\",\"value\":null,\"outcome\":\"committed\","
                      "\"branches\":[\"\",7,\"second\",\"third\"],\"xids\":[\"4711\",\"8\",9],"
                      "\"agents\":[7";
    for (int i = 0; i <= ACCEPTORS_MAX; i++)
        sprintf(text + strlen(text), ",\"rm%d\"", i);
    strcat(text, "]}");
    ck_assert(row_read(text, &row));
    ck_assert_uint_eq(row.roster.count, ACCEPTORS_MAX);
    ck_assert_str_eq(row.roster.agents[0], "rm0");
    ck_assert_uint_eq(row.vote_count, 1);
    ck_assert_uint_eq(row_xid(&row, ""), 4711);
    ck_assert_int_eq((int)row.acceptor.value, OUTCOME_NONE);
    ck_assert_int_eq((int)row.acceptor.outcome, OUTCOME_COMMITTED);
}
END_TEST

START_TEST(a_ballot_whose_numbers_no_row_can_hold_does_not_fit)
{
    const uint64_t too_much = (uint64_t)INT64_MAX + 1;
    struct ballot ballot = {.gtrid = {.incarnation = 1, .sequence = 2}, .number = INT64_MAX};
    ck_assert(ballot_fits(&ballot));
    ballot.number = too_much;
    ck_assert(!ballot_fits(&ballot));
    ballot.number = 0;
    ballot.gtrid.sequence = too_much;
    ck_assert(!ballot_fits(&ballot));
    ballot.gtrid.sequence = 2;
    ballot.gtrid.incarnation = too_much;
    ck_assert(!ballot_fits(&ballot));
}
END_TEST

START_TEST(a_branch_is_voted_for_under_one_xid_only)
{
    struct row row = sample();
    ck_assert(row_vote(&row, "second", UINT64_C(1) << 40));
    ck_assert(!row_vote(&row, "second", 1));
    ck_assert_uint_eq(row_xid(&row, "second"), UINT64_C(1) << 40);
    for (int i = 0; row.vote_count < BRANCHES_MAX; i++) {
        char name[BRANCH_NAME_BYTES];
        snprintf(name, sizeof name, "b%d", i);
        ck_assert(row_vote(&row, name, 7));
    }
    ck_assert(!row_vote(&row, "one-more", 7));
}
END_TEST

START_TEST(the_oldest_rows_are_let_go_of)
{
    struct known_rows known = {NULL};
    struct gtrid gtrid = {.tm = "bank", .incarnation = 1};
    for (gtrid.sequence = 1; gtrid.sequence <= 5; gtrid.sequence++)
        known_add(&known, &gtrid);
    known_keep(&known, 2);
    gtrid.sequence = 3;
    ck_assert_ptr_null(known_find(&known, &gtrid));
    gtrid.sequence = 4;
    ck_assert_ptr_nonnull(known_find(&known, &gtrid));
    known_keep(&known, 0);
    ck_assert_ptr_null(known_find(&known, &gtrid));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows");
    TCase *cases = tcase_create("rows");
    tcase_add_test(cases, a_row_comes_back_as_it_went);
    tcase_add_test(cases, what_is_no_row_is_not_read);
    tcase_add_test(cases, of_a_row_only_what_has_a_meaning_is_read);
    tcase_add_test(cases, a_ballot_whose_numbers_no_row_can_hold_does_not_fit);
    tcase_add_test(cases, a_branch_is_voted_for_under_one_xid_only);
    tcase_add_test(cases, the_oldest_rows_are_let_go_of);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
