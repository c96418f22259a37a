/*
 * tests/unit/test_limits.c - a coordinator that is asked for more than it has room for, and what it
 * knows of transactions for whoever has to judge a branch.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/coordinator_harness.h"

static enum error_code refused(void)
{
    ck_assert_uint_eq(actions.reply_count, 1);
    return actions.replies[0].error;
}

static void enlist_named(uint64_t sequence, uint32_t number)
{
    struct request request = {
        .op = OP_ENLIST, .has_gtrid = true, .gtrid = gtrid_number(sequence), .rm = "accounts"};
    snprintf(request.branch, BRANCH_NAME_BYTES, "b%u", number);
    ask(request);
}

/* ---- room ---- */

START_TEST(so_many_clients_wait_for_one_outcome)
{
    given_preparing();
    for (int i = 1; i < WAITERS_A_TXN; i++) {
        ask_about(OP_COMMIT, 1, "");
        ck_assert_str_eq(did(), "");
    }
    ask_about(OP_COMMIT, 1, "");
    ck_assert_int_eq((int)refused(), ERR_BUSY);
    /* Those that wait hear all the same. */
    did();
    agent_says(RESULT_NO, 1, "accounts");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_uint_eq(actions.reply_count, WAITERS_A_TXN);
}
END_TEST

/* Nothing has happened to it: it can be tried again. */
START_TEST(a_commit_that_nobody_could_be_told_of_is_not_begun)
{
    given_tm();
    for (int i = 0; i < 3; i++)
        given_begun("accounts", NULL);
    for (uint32_t i = 0; i < limits.waiters_max; i++)
        ask_about(OP_COMMIT, 1 + i / WAITERS_A_TXN, "");
    did();
    ask_about(OP_COMMIT, 3, "");
    ck_assert_int_eq((int)refused(), ERR_BUSY);
    ask_about(OP_ROLLBACK, 3, "");
    ck_assert_int_eq((int)refused(), ERR_BUSY);
    ck_assert_int_eq((int)outcome_of(gtrid_number(3)), OUTCOME_IN_PROGRESS);
    enlist_named(3, 1);
    ck_assert_int_eq((int)refused(), ERR_NONE);
}
END_TEST

START_TEST(branches_beyond_the_room_for_all_are_busy)
{
    given_tm();
    given_begun("accounts", NULL);
    for (uint32_t i = 1; i < limits.branches_max; i++) {
        enlist_named(1, i);
        ck_assert_int_eq((int)refused(), ERR_NONE);
    }
    enlist_named(1, limits.branches_max);
    ck_assert_int_eq((int)refused(), ERR_BUSY);
    ask((struct request){.op = OP_BEGIN, .rms = {"ledger"}, .rm_count = 1});
    ck_assert_int_eq((int)refused(), ERR_BUSY);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)refused(), ERR_NONE);
}
END_TEST

/* ---- who comes late ---- */

START_TEST(who_waits_for_the_decision_alone_hears_it_at_once_when_it_is_there)
{
    given_preparing();
    ask_about(OP_ROLLBACK, 1, "");
    did();
    ask((struct request){.op = OP_COMMIT,
                         .has_gtrid = true,
                         .gtrid = gtrid_number(1),
                         .wait = WAIT_DECIDED,
                         .wait_ms = 10000});
    ck_assert_str_eq(did(), "reply rolled-back, not yet applied\n");
}
END_TEST

START_TEST(no_branch_joins_once_the_list_is_frozen_or_all_is_over)
{
    given_preparing();
    enlist_named(1, 1);
    ck_assert_int_eq((int)refused(), ERR_WRONG_STATE);
    agent_says(RESULT_NO, 1, "accounts");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    enlist_named(1, 1);
    ck_assert_int_eq((int)refused(), ERR_WRONG_STATE);
    enlist_named(99, 1);
    ck_assert_int_eq((int)refused(), ERR_UNKNOWN_TRANSACTION);
}
END_TEST

START_TEST(what_only_reads_votes_although_it_is_alone)
{
    struct request request = {.op = OP_ENLIST, .has_gtrid = true, .rm = "accounts"};
    given_tm();
    ask((struct request){.op = OP_BEGIN});
    request.gtrid = gtrid_number(1);
    request.read_only = true;
    ask(request);
    agent_says(RESULT_OPENED, 1, "accounts");
    did();
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "prepare accounts\n");
}
END_TEST

START_TEST(a_no_after_the_vote_changes_nothing)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_NO, 1, "accounts");
    ck_assert_str_eq(did(), "");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
}
END_TEST

/* ---- what is known ---- */

static struct txn_knowledge known_of(struct gtrid gtrid)
{
    struct txn_knowledge known;
    struct branch_id branch = {.gtrid = gtrid, .rm = "ledger"};
    memset(&known, 0, sizeof known);
    coordinator_know(tm, &branch, now_ms, &known);
    return known;
}

START_TEST(what_is_known_of_a_branch_follows_its_transaction)
{
    given_preparing();
    ck_assert_int_eq((int)known_of(gtrid_number(1)).known, KNOWN_UNDECIDED);
    ck_assert_int_eq((int)known_of(gtrid_number(99)).known, KNOWN_STRANGE);
    given_committing();
    struct txn_knowledge known = known_of(gtrid_number(1));
    ck_assert_int_eq((int)known.known, KNOWN_COMMITTED);
    ck_assert(known.live && known.enlisted);
    ck_assert_uint_eq(known.voted, 701);
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    known = known_of(gtrid_number(1));
    ck_assert_int_eq((int)known.known, KNOWN_COMMITTED);
    ck_assert(!known.live);
    ck_assert_uint_eq(known.voted, 701);
}
END_TEST

START_TEST(of_an_earlier_start_it_is_known_whom_it_waits_for)
{
    given_preparing();
    given_snapshot();
    agent_accepts("accounts");
    struct txn_knowledge known = known_of(gtrid_of_start(1, 1));
    ck_assert_int_eq((int)known.known, KNOWN_UNPROVEN);
    ck_assert_uint_eq(known.waits_for, rm_number("ledger"));
    agent_accepts("ledger");
    ck_assert_int_eq((int)known_of(gtrid_of_start(1, 1)).known, KNOWN_ABORTED);
}
END_TEST

START_TEST(what_a_dba_has_resolved_is_known_as_he_said)
{
    static const enum outcome said_so[] = {OUTCOME_COMMITTED, OUTCOME_ROLLED_BACK};
    static const enum txn_known then[] = {KNOWN_COMMITTED, KNOWN_ABORTED};
    for (int i = 0; i < 2; i++) {
        const struct record log[] = {{.type = RECORD_START, .lsn = 1, .incarnation = 1},
                                     {.type = RECORD_RESOLVED,
                                      .lsn = 2,
                                      .incarnation = 1,
                                      .sequence = 5,
                                      .outcome = said_so[i],
                                      .flags = RESOLVED_STRAY}};
        given_log(log, 2);
        ck_assert_int_eq((int)known_of(gtrid_of_start(1, 5)).known, (int)then[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("limits");
    TCase *room = tcase_create("room");
    tcase_add_test(room, so_many_clients_wait_for_one_outcome);
    tcase_add_test(room, a_commit_that_nobody_could_be_told_of_is_not_begun);
    tcase_add_test(room, branches_beyond_the_room_for_all_are_busy);
    suite_add_tcase(suite, room);

    TCase *late = tcase_create("late");
    tcase_add_test(late, who_waits_for_the_decision_alone_hears_it_at_once_when_it_is_there);
    tcase_add_test(late, no_branch_joins_once_the_list_is_frozen_or_all_is_over);
    tcase_add_test(late, what_only_reads_votes_although_it_is_alone);
    tcase_add_test(late, a_no_after_the_vote_changes_nothing);
    suite_add_tcase(suite, late);

    TCase *known = tcase_create("known");
    tcase_add_test(known, what_is_known_of_a_branch_follows_its_transaction);
    tcase_add_test(known, of_an_earlier_start_it_is_known_whom_it_waits_for);
    tcase_add_test(known, what_a_dba_has_resolved_is_known_as_he_said);
    suite_add_tcase(suite, known);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
