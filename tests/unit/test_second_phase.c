/*
 * tests/unit/test_second_phase.c - what becomes of branches once it is decided: those that are
 * slow, gone, found again, or were never voted for.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/coordinator_harness.h"

/* ---- given, when ---- */

static void given_committed(void)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}

/* Both were asked to prepare, and the client has thought better of it. */
static void given_aborting(void)
{
    given_preparing();
    ask_about(OP_ROLLBACK, 1, "");
    ck_assert_str_eq(did(), "rollback accounts\nrollback ledger\n");
}

static void agent_finds(const char *rm, uint64_t sequence, uint64_t xid)
{
    struct result found = result_about(RESULT_FOUND, sequence, rm);
    found.number = 100;
    found.xid = xid;
    hear(found);
}

static void agent_finds_branch(enum result_type type, const char *rm, const char *branch)
{
    struct result found = result_about(type, 1, rm);
    strcpy(found.branch.branch, branch);
    hear(found);
}

static void it_ended(const char *rm, enum result_type type, enum outcome actual)
{
    struct result result = result_about(type, 1, rm);
    result.actual = actual;
    hear(result);
}

/* ---- branches that nobody has voted for ---- */

START_TEST(a_branch_that_was_never_enlisted_is_undone_while_the_others_commit)
{
    given_committing();
    agent_finds_branch(RESULT_FOUND, "accounts", "stranger");
    ck_assert_str_eq(did(), "rollback accounts\n");
    ck_assert_str_eq(actions.orders[0].order.branch.branch, "stranger");
    ck_assert_uint_eq(actions.orders[0].order.xid, 0);
}
END_TEST

START_TEST(a_branch_that_was_never_enlisted_is_undone_with_the_others)
{
    given_aborting();
    agent_finds_branch(RESULT_FOUND, "accounts", "stranger");
    ck_assert_str_eq(did(), "rollback accounts\n");
    ck_assert_str_eq(actions.orders[0].order.branch.branch, "stranger");
    agent_finds_branch(RESULT_SESSION, "ledger", "stranger");
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

START_TEST(a_branch_that_was_never_enlisted_waits_while_nothing_is_decided)
{
    given_preparing();
    agent_finds_branch(RESULT_FOUND, "accounts", "stranger");
    ck_assert_str_eq(did(), "");
}
END_TEST

/* The application has prepared it on its own, after it was committed as one that only read. */
START_TEST(a_read_only_branch_that_is_found_prepared_is_undone)
{
    given_preparing();
    agent_says(RESULT_READ_ONLY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    did();
    agent_finds("accounts", 1, 999);
    ck_assert_str_eq(did(), "rollback accounts\n");
}
END_TEST

START_TEST(a_vote_that_comes_after_the_abort_is_undone_under_its_xid)
{
    given_aborting();
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "rollback ledger\n");
    ck_assert_uint_eq(actions.orders[0].order.xid, 701);
}
END_TEST

START_TEST(the_open_session_of_a_transaction_that_is_over_is_ended)
{
    given_committed();
    agent_says(RESULT_SESSION, 1, "accounts");
    ck_assert_str_eq(did(), "rollback accounts\n");
}
END_TEST

START_TEST(what_an_agent_says_of_another_coordinators_branch_is_refused)
{
    given_preparing();
    struct result other = result_about(RESULT_READY, 1, "accounts");
    strcpy(other.branch.gtrid.tm, "other");
    hear(other);
    other = result_about(RESULT_READY, 1, "ledger");
    struct event event = {.type = EV_RESULT, .rm = rm_number("accounts"), .result = &other};
    step(&event);
    agent_finds_branch(RESULT_READY, "accounts", "stranger");
    agent_says(RESULT_READY, 1, "accounts");
    ck_assert_str_eq(did(), "");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
}
END_TEST

/* ---- rollbacks that are slow ---- */

START_TEST(a_rollback_is_sent_again_to_who_has_not_answered)
{
    given_aborting();
    agent_says(RESULT_DONE, 1, "accounts");
    time_passes(500);
    ck_assert_str_eq(did(), "rollback ledger\n");
    time_passes(1000);
    ck_assert_str_eq(did(), "rollback ledger\n");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\nreply rolled-back\n");
}
END_TEST

/* Its scan will show what is left there. */
START_TEST(nobody_waits_for_a_rollback_at_an_agent_that_has_gone)
{
    given_aborting();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_is_lost("ledger");
    time_passes(500);
    ck_assert_str_eq(did(), "reply rolled-back\nreply rolled-back\n");
}
END_TEST

/* ---- branches that are gone ---- */

START_TEST(a_branch_that_is_gone_counts_as_a_dba_says_of_the_whole)
{
    given_committing();
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    ck_assert_uint_eq(alarms(), 1);
    dba_asks(OP_RESOLVE, 1, OUTCOME_COMMITTED, false);
    log_is_durable();
    did();
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(a_branch_that_goes_after_a_dba_has_agreed_counts_as_committed)
{
    given_committing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_COMMITTED, false);
    log_is_durable();
    agent_says(RESULT_DONE, 1, "accounts");
    did();
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(a_branch_that_goes_after_a_dba_has_forced_a_rollback_is_mixed)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, true);
    log_is_durable();
    did();
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    ck_assert_str_eq(did(), "log MIXED\nreply mixed\n");
}
END_TEST

START_TEST(a_branch_is_called_gone_once)
{
    given_committing();
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    ck_assert_uint_eq(alarms(), 1);
}
END_TEST

/* ---- branches that were ended by hand ---- */

START_TEST(an_ending_by_hand_is_reported_once)
{
    given_committing();
    it_ended("ledger", RESULT_HEURISTIC, OUTCOME_ROLLED_BACK);
    it_ended("ledger", RESULT_HEURISTIC, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(did(), "log MIXED\n");
    ck_assert_uint_eq(alarms(), 1);
}
END_TEST

START_TEST(an_ending_by_hand_that_agrees_is_no_news)
{
    given_committing();
    it_ended("ledger", RESULT_HEURISTIC, OUTCOME_COMMITTED);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(a_commit_by_hand_of_what_is_rolled_back_is_mixed)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_NO, 1, "ledger");
    did();
    agent_says(RESULT_DONE, 1, "ledger");
    it_ended("accounts", RESULT_HEURISTIC, OUTCOME_COMMITTED);
    ck_assert_str_eq(did(), "log MIXED\nreply mixed\n");
}
END_TEST

/* Its database could not be asked, and a DBA has said that it counts as committed. */
START_TEST(a_branch_that_counts_as_committed_is_committed_when_it_is_found_after_all)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    ask((struct request){.op = OP_RESOLVE,
                         .has_gtrid = true,
                         .gtrid = gtrid_number(1),
                         .rm = "ledger",
                         .wanted = OUTCOME_COMMITTED,
                         .force = true,
                         .who = "root",
                         .why = "ledger burned down"});
    log_is_durable();
    ck_assert_ptr_nonnull(strstr(did(), "reply mixed"));
    agent_finds("ledger", 1, 701);
    ck_assert_str_eq(did(), "commit ledger\n");
    agent_finds("ledger", 1, 999);
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

/* ---- committed, over, and prepared all the same ---- */

static const struct record committed_log[] = {
    {.type = RECORD_START, .lsn = 1, .incarnation = 1},
    {.type = RECORD_AGENT, .lsn = 2, .rm = "accounts", .url = "ipc:///a", .system_identifier = 1},
    {.type = RECORD_AGENT, .lsn = 3, .rm = "ledger", .url = "ipc:///l", .system_identifier = 1},
    {.type = RECORD_ESTABLISHED, .lsn = 4},
    {.type = RECORD_COMMIT,
     .lsn = 5,
     .incarnation = 1,
     .sequence = 7,
     .branch_count = 2,
     .branches = {{.rm = "accounts", .xid = 71}, {.rm = "ledger", .xid = 72}}},
    {.type = RECORD_END, .lsn = 6, .incarnation = 1, .sequence = 7},
};
enum { COMMITTED_LOG = sizeof committed_log / sizeof *committed_log };

static struct result found_of_first_start(uint64_t sequence, const char *rm, uint64_t xid)
{
    struct result found = result_about(RESULT_FOUND, sequence, rm);
    found.branch.gtrid.incarnation = 1;
    found.number = 100;
    found.xid = xid;
    return found;
}

/* A snapshot says that it committed, and not as which xids. */
START_TEST(a_branch_of_a_commit_whose_xids_are_not_remembered_is_left_to_a_dba)
{
    given_log(committed_log, COMMITTED_LOG);
    given_snapshot();
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
    hear(found_of_first_start(7, "ledger", 72));
    ck_assert_str_eq(did(), "");
    ck_assert_uint_eq(alarms(), 1);
    ck_assert_int_eq((int)coordinator_registry(tm)->rms[rm_number("ledger")].state, RM_UP);
}
END_TEST

/* ---- databases that have lost data, and were released ---- */

static void ledger_is_released(void)
{
    dba_asks_about(OP_RELEASE, "ledger");
    log_is_durable();
    ck_assert_ptr_nonnull(strstr(did(), "log RELEASED\n"));
    agent_accepts("ledger");
    did();
}

/* ledger has been released after transaction 1 had committed everywhere. */
static void given_released(void)
{
    given_committed();
    agent_says(RESULT_LOST, 1, "ledger");
    ledger_is_released();
}

START_TEST(what_comes_back_from_before_a_loss_follows_the_commit_that_is_known)
{
    given_released();
    agent_finds("ledger", 1, 701);
    ck_assert_str_eq(did(), "commit ledger\n");
    ck_assert_uint_eq(actions.orders[0].order.xid, 701);
}
END_TEST

START_TEST(what_comes_back_from_before_a_loss_as_another_xid_is_left_to_a_dba)
{
    given_released();
    uint64_t before = alarms();
    agent_finds("ledger", 1, 999);
    ck_assert_str_eq(did(), "");
    ck_assert_uint_eq(alarms(), before + 1);
    /* So nobody is told that it will be rolled back. */
    struct txn_knowledge known;
    struct result found = result_about(RESULT_FOUND, 1, "ledger");
    coordinator_know(tm, &found.branch, now_ms, &known);
    ck_assert(known.released && known.voted == 701);
}
END_TEST

START_TEST(what_comes_back_from_before_a_loss_and_never_committed_is_undone)
{
    given_aborting();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    agent_says(RESULT_LOST, 1, "ledger");
    ledger_is_released();
    agent_finds("ledger", 1, 701);
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

START_TEST(what_comes_back_from_before_a_loss_and_is_forgotten_is_left_to_a_dba)
{
    struct record log[COMMITTED_LOG + 2];
    memcpy(log, committed_log, sizeof committed_log);
    log[COMMITTED_LOG] =
        (struct record){.type = RECORD_HORIZON, .lsn = 7, .incarnation = 1, .sequence = 9};
    log[COMMITTED_LOG + 1] = (struct record){.type = RECORD_RELEASED,
                                             .lsn = 8,
                                             .rm = "ledger",
                                             .system_identifier = 1,
                                             .incarnation = 1,
                                             .sequence = 9};
    given_log(log, COMMITTED_LOG + 2);
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
    hear(found_of_first_start(8, "ledger", 72));
    ck_assert_str_eq(did(), "");
    ck_assert_uint_eq(alarms(), 1);
}
END_TEST

/* Its own block may be committed, and whole: then this is a second one under its name. */
START_TEST(what_comes_back_from_before_a_loss_and_whose_xid_is_not_remembered_is_left_to_a_dba)
{
    struct record log[COMMITTED_LOG + 1];
    memcpy(log, committed_log, sizeof committed_log);
    log[COMMITTED_LOG] = (struct record){.type = RECORD_RELEASED,
                                         .lsn = 7,
                                         .rm = "ledger",
                                         .system_identifier = 1,
                                         .incarnation = 1,
                                         .sequence = 9};
    given_log(log, COMMITTED_LOG + 1);
    given_snapshot();
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
    ck_assert_int_eq((int)outcome_of(gtrid_of_start(1, 7)), OUTCOME_COMMITTED);
    hear(found_of_first_start(7, "ledger", 72));
    ck_assert_str_eq(did(), "");
    ck_assert_uint_eq(alarms(), 1);
}
END_TEST

START_TEST(what_is_undecided_when_its_database_is_released_is_rolled_back)
{
    given_tm();
    given_begun("accounts", "ledger");
    given_begun("accounts", NULL);
    agent_says(RESULT_LOST, 9, "ledger");
    dba_asks_about(OP_RELEASE, "ledger");
    log_is_durable();
    ck_assert_ptr_nonnull(strstr(did(), "rollback accounts\n"));
    ck_assert_int_eq((int)outcome_of(gtrid_number(1)), OUTCOME_ROLLED_BACK);
    ck_assert_int_eq((int)outcome_of(gtrid_number(2)), OUTCOME_IN_PROGRESS);
}
END_TEST

START_TEST(a_branch_that_may_be_lost_and_is_gone_is_unsure_until_it_is_found)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    agent_says(RESULT_LOST, 1, "ledger");
    ledger_is_released();
    it_ended("ledger", RESULT_HEURISTIC, OUTCOME_ROLLED_BACK);
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    agent_finds("ledger", 1, 999); /* another transaction, under its gid */
    ck_assert_str_eq(did(), "");
    agent_finds("ledger", 1, 701);
    ck_assert_str_eq(did(), "commit ledger\n");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

/* ---- resolved by a DBA ---- */

static void given_resolved(enum outcome outcome)
{
    const struct record resolved[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .lsn = 2, .rm = "ledger", .system_identifier = 1},
        {.type = RECORD_RESOLVED,
         .lsn = 3,
         .incarnation = 1,
         .sequence = 5,
         .outcome = outcome,
         .flags = RESOLVED_STRAY,
         .who = "root",
         .why = "ticket 4711"},
    };
    given_log(resolved, 3);
    agent_accepts("ledger");
    did();
}

static const char *branch_state(void)
{
    static struct txn_view view;
    struct gtrid gtrid = gtrid_of_start(1, 5);
    ck_assert(coordinator_show(tm, &gtrid, now_ms, &view));
    ck_assert_uint_eq(view.branch_count, 1);
    return view.branches[0].state;
}

static void it_followed(enum result_type type, enum outcome actual)
{
    struct result result = result_about(type, 5, "ledger");
    result.branch.gtrid.incarnation = 1;
    result.actual = actual;
    hear(result);
}

START_TEST(what_has_followed_a_dba_is_shown_as_applied)
{
    given_resolved(OUTCOME_COMMITTED);
    hear(found_of_first_start(5, "ledger", 55));
    ck_assert_str_eq(did(), "commit ledger\n");
    ck_assert_str_eq(branch_state(), "prepared");
    it_followed(RESULT_DONE, OUTCOME_COMMITTED);
    ck_assert_str_eq(branch_state(), "done");
    /* A second one under its name follows too. */
    hear(found_of_first_start(5, "ledger", 56));
    ck_assert_str_eq(did(), "commit ledger\n");
}
END_TEST

START_TEST(what_went_the_other_way_before_it_could_follow_a_dba_is_shown)
{
    given_resolved(OUTCOME_ROLLED_BACK);
    hear(found_of_first_start(5, "ledger", 55));
    ck_assert_str_eq(did(), "rollback ledger\n");
    it_followed(RESULT_HEURISTIC, OUTCOME_COMMITTED);
    ck_assert_str_eq(branch_state(), "heuristic");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("second phase");
    TCase *strangers = tcase_create("strangers");
    tcase_add_test(strangers, a_branch_that_was_never_enlisted_is_undone_while_the_others_commit);
    tcase_add_test(strangers, a_branch_that_was_never_enlisted_is_undone_with_the_others);
    tcase_add_test(strangers, a_branch_that_was_never_enlisted_waits_while_nothing_is_decided);
    tcase_add_test(strangers, a_read_only_branch_that_is_found_prepared_is_undone);
    tcase_add_test(strangers, a_vote_that_comes_after_the_abort_is_undone_under_its_xid);
    tcase_add_test(strangers, the_open_session_of_a_transaction_that_is_over_is_ended);
    tcase_add_test(strangers, what_an_agent_says_of_another_coordinators_branch_is_refused);
    suite_add_tcase(suite, strangers);

    TCase *slow = tcase_create("slow");
    tcase_add_test(slow, a_rollback_is_sent_again_to_who_has_not_answered);
    tcase_add_test(slow, nobody_waits_for_a_rollback_at_an_agent_that_has_gone);
    suite_add_tcase(suite, slow);

    TCase *gone = tcase_create("gone");
    tcase_add_test(gone, a_branch_that_is_gone_counts_as_a_dba_says_of_the_whole);
    tcase_add_test(gone, a_branch_that_goes_after_a_dba_has_agreed_counts_as_committed);
    tcase_add_test(gone, a_branch_that_goes_after_a_dba_has_forced_a_rollback_is_mixed);
    tcase_add_test(gone, a_branch_is_called_gone_once);
    suite_add_tcase(suite, gone);

    TCase *by_hand = tcase_create("by hand");
    tcase_add_test(by_hand, an_ending_by_hand_is_reported_once);
    tcase_add_test(by_hand, an_ending_by_hand_that_agrees_is_no_news);
    tcase_add_test(by_hand, a_commit_by_hand_of_what_is_rolled_back_is_mixed);
    tcase_add_test(by_hand,
                   a_branch_that_counts_as_committed_is_committed_when_it_is_found_after_all);
    suite_add_tcase(suite, by_hand);

    TCase *lost = tcase_create("lost");
    tcase_add_test(lost, a_branch_of_a_commit_whose_xids_are_not_remembered_is_left_to_a_dba);
    tcase_add_test(lost, what_comes_back_from_before_a_loss_follows_the_commit_that_is_known);
    tcase_add_test(lost, what_comes_back_from_before_a_loss_as_another_xid_is_left_to_a_dba);
    tcase_add_test(lost, what_comes_back_from_before_a_loss_and_never_committed_is_undone);
    tcase_add_test(lost, what_comes_back_from_before_a_loss_and_is_forgotten_is_left_to_a_dba);
    tcase_add_test(
        lost, what_comes_back_from_before_a_loss_and_whose_xid_is_not_remembered_is_left_to_a_dba);
    tcase_add_test(lost, what_is_undecided_when_its_database_is_released_is_rolled_back);
    tcase_add_test(lost, a_branch_that_may_be_lost_and_is_gone_is_unsure_until_it_is_found);
    suite_add_tcase(suite, lost);

    TCase *resolved = tcase_create("resolved");
    tcase_add_test(resolved, what_has_followed_a_dba_is_shown_as_applied);
    tcase_add_test(resolved, what_went_the_other_way_before_it_could_follow_a_dba_is_shown);
    suite_add_tcase(suite, resolved);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
