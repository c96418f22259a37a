/*
 * tests/unit/test_resolve.c - how a DBA's decision is judged, by what is known at that moment, and
 * what a DBA may do to a resource manager. The table is the one of doc/protocol.md.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/coordinator_harness.h"

/* ---- judging ---- */

static struct resolution_view judged(enum op op, struct gtrid gtrid, const char *rm,
                                     enum outcome wanted)
{
    struct resolution_view view;
    struct request request = {.op = op, .has_gtrid = true, .gtrid = gtrid, .wanted = wanted};
    strcpy(request.rm, rm);
    coordinator_judge(tm, &request, &view);
    return view;
}

static const char *judgement_word(struct resolution_view view)
{
    static const char *const words[] = {"agrees", "unknowable", "contradicted", "impossible"};
    ck_assert(view.why != NULL && view.why[0] != '\0');
    return words[view.judgement];
}

/* "commit agrees, rollback impossible": of the whole, or of the branch at rm. */
static const char *verdict_on(struct gtrid gtrid, const char *rm)
{
    static char text[64];
    snprintf(text, sizeof text, "commit %s, rollback %s",
             judgement_word(judged(OP_RESOLVE, gtrid, rm, OUTCOME_COMMITTED)),
             judgement_word(judged(OP_RESOLVE, gtrid, rm, OUTCOME_ROLLED_BACK)));
    return text;
}

static const char *verdict(void)
{
    return verdict_on(gtrid_number(1), "");
}

/* What would become of the branch at accounts, and of the one at ledger. */
static const char *plan(const char *rm, enum outcome wanted)
{
    static char text[64];
    struct resolution_view view = judged(OP_RESOLVE, gtrid_number(1), rm, wanted);
    ck_assert_uint_eq(view.branch_count, 2);
    snprintf(text, sizeof text, "%s, %s", view.branches[0].plan, view.branches[1].plan);
    return text;
}

static void given_committed(void)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
}

START_TEST(what_is_not_decided_can_only_be_rolled_back)
{
    given_tm();
    given_begun("accounts", "ledger");
    ck_assert_str_eq(verdict(), "commit impossible, rollback agrees");
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    ck_assert_str_eq(verdict(), "commit impossible, rollback agrees");
    ck_assert_str_eq(plan("", OUTCOME_ROLLED_BACK), "roll back, roll back");
    ck_assert_str_eq(verdict_on(gtrid_number(1), "ledger"),
                     "commit impossible, rollback impossible");
}
END_TEST

START_TEST(what_is_being_decided_has_to_be_asked_again)
{
    given_logging();
    ck_assert_str_eq(verdict(), "commit impossible, rollback impossible");
}
END_TEST

START_TEST(what_is_committed_and_not_applied_agrees_with_a_commit)
{
    given_committing();
    ck_assert_str_eq(verdict(), "commit agrees, rollback contradicted");
    ck_assert_str_eq(plan("", OUTCOME_COMMITTED), "commit, commit");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    ck_assert_str_eq(plan("", OUTCOME_COMMITTED), "nothing, count as committed");
    ck_assert_str_eq(plan("", OUTCOME_ROLLED_BACK), "nothing, count as rolled back");
    ck_assert(judged(OP_RESOLVE, gtrid_number(1), "", OUTCOME_ROLLED_BACK).mixed);
    ck_assert(!judged(OP_RESOLVE, gtrid_number(1), "", OUTCOME_COMMITTED).mixed);
}
END_TEST

START_TEST(one_branch_is_judged_by_where_it_is)
{
    given_committing();
    struct gtrid gtrid = gtrid_number(1);
    ck_assert_str_eq(verdict_on(gtrid, "ledger"), "commit unknowable, rollback contradicted");
    ck_assert_str_eq(plan("ledger", OUTCOME_COMMITTED), "nothing, count as committed");
    ck_assert_str_eq(plan("ledger", OUTCOME_ROLLED_BACK), "nothing, roll back");
    agent_is_lost("ledger");
    ck_assert_str_eq(plan("ledger", OUTCOME_ROLLED_BACK), "nothing, count as rolled back");
    agent_accepts("ledger");
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    ck_assert_str_eq(verdict_on(gtrid, "ledger"), "commit agrees, rollback contradicted");
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(verdict_on(gtrid, "accounts"), "commit agrees, rollback impossible");
    ck_assert_str_eq(verdict_on(gtrid, "nowhere"), "commit impossible, rollback impossible");
}
END_TEST

START_TEST(one_branch_that_was_undone_by_hand_agrees_with_a_rollback)
{
    given_committing();
    struct result result = result_about(RESULT_HEURISTIC, 1, "ledger");
    result.actual = OUTCOME_ROLLED_BACK;
    hear(result);
    ck_assert_str_eq(verdict_on(gtrid_number(1), "ledger"), "commit impossible, rollback agrees");
    ck_assert(judged(OP_RESOLVE, gtrid_number(1), "", OUTCOME_COMMITTED).mixed);
}
END_TEST

START_TEST(one_branch_that_only_read_has_ended)
{
    given_preparing();
    agent_says(RESULT_READ_ONLY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    did();
    ck_assert_str_eq(verdict_on(gtrid_number(1), "accounts"),
                     "commit impossible, rollback impossible");
    ck_assert(!judged(OP_RESOLVE, gtrid_number(1), "", OUTCOME_COMMITTED).mixed);
}
END_TEST

START_TEST(what_is_being_rolled_back_can_only_be_rolled_back)
{
    given_preparing();
    agent_says(RESULT_NO, 1, "ledger");
    ck_assert_str_eq(verdict(), "commit impossible, rollback agrees");
}
END_TEST

START_TEST(of_what_its_only_database_decides_nothing_can_be_known)
{
    given_tm();
    given_begun("accounts", NULL);
    agent_says(RESULT_OPENED, 1, "accounts");
    ask_about(OP_COMMIT, 1, "");
    did();
    ck_assert_str_eq(verdict(), "commit impossible, rollback impossible");
    log_is_durable();
    did();
    ck_assert_str_eq(verdict(), "commit unknowable, rollback unknowable");
    struct resolution_view view = judged(OP_RESOLVE, gtrid_number(1), "", OUTCOME_COMMITTED);
    ck_assert_str_eq(view.branches[0].plan, "count as committed");
}
END_TEST

START_TEST(of_what_its_acceptors_decide_nothing_can_be_known)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(verdict(), "commit impossible, rollback impossible");
    log_is_durable();
    did();
    ck_assert_str_eq(verdict(), "commit unknowable, rollback unknowable");
}
END_TEST

START_TEST(what_is_mixed_can_only_be_forgotten)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(judgement_word(judged(OP_FORGET, gtrid_number(1), "", OUTCOME_NONE)),
                     "impossible");
    struct result result = result_about(RESULT_HEURISTIC, 1, "ledger");
    result.actual = OUTCOME_ROLLED_BACK;
    hear(result);
    ck_assert_str_eq(verdict(), "commit impossible, rollback impossible");
    struct resolution_view view = judged(OP_FORGET, gtrid_number(1), "", OUTCOME_NONE);
    ck_assert_str_eq(judgement_word(view), "agrees");
    ck_assert_str_eq(view.branches[0].plan, "nothing");
}
END_TEST

START_TEST(what_is_over_and_was_committed_is_told_apart_by_its_xids)
{
    given_committed();
    ck_assert_str_eq(verdict(), "commit impossible, rollback contradicted");
    ck_assert_str_eq(verdict_on(gtrid_number(1), "ledger"),
                     "commit impossible, rollback impossible");
    ck_assert_str_eq(judgement_word(judged(OP_FORGET, gtrid_number(1), "", OUTCOME_NONE)),
                     "impossible");
}
END_TEST

START_TEST(what_is_over_and_was_rolled_back_agrees_with_a_rollback)
{
    given_preparing();
    ask_about(OP_ROLLBACK, 1, "");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    ck_assert_str_eq(verdict(), "commit contradicted, rollback agrees");
}
END_TEST

START_TEST(what_was_committed_under_xids_that_are_not_remembered_cannot_be_known)
{
    given_committed();
    given_snapshot();
    agent_accepts("accounts");
    agent_accepts("ledger");
    ck_assert_str_eq(verdict_on(gtrid_of_start(1, 1), ""),
                     "commit unknowable, rollback contradicted");
}
END_TEST

START_TEST(of_an_earlier_start_nothing_can_be_known_before_every_agent_has_registered)
{
    given_committed();
    given_snapshot();
    agent_accepts("accounts");
    ck_assert_str_eq(verdict_on(gtrid_of_start(1, 2), ""),
                     "commit unknowable, rollback unknowable");
    agent_accepts("ledger");
    ck_assert_str_eq(verdict_on(gtrid_of_start(1, 2), ""), "commit contradicted, rollback agrees");
}
END_TEST

START_TEST(what_was_never_given_out_may_be_given_out_yet)
{
    given_tm();
    ck_assert_str_eq(verdict(), "commit impossible, rollback impossible");
    ck_assert_str_eq(verdict_on(gtrid_of_start(2, 1), ""),
                     "commit impossible, rollback impossible");
}
END_TEST

START_TEST(what_is_resolved_is_not_resolved_the_other_way)
{
    given_preparing();
    ask_about(OP_ROLLBACK, 1, "");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, false);
    log_is_durable();
    did();
    ck_assert_str_eq(verdict(), "commit impossible, rollback agrees");
    ck_assert_str_eq(judgement_word(judged(OP_FORGET, gtrid_number(1), "", OUTCOME_NONE)),
                     "agrees");
    /* A late branch of it is on its way to be undone. */
    agent_says(RESULT_FOUND, 1, "ledger");
    ck_assert_str_eq(did(), "rollback ledger\n");
    ck_assert_str_eq(judgement_word(judged(OP_FORGET, gtrid_number(1), "", OUTCOME_NONE)),
                     "contradicted");
}
END_TEST

/* ---- asking ---- */

START_TEST(what_is_on_its_way_to_the_disk_is_not_judged_again)
{
    given_preparing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, false);
    did();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, false);
    ck_assert_int_eq((int)actions.replies[0].error, ERR_BUSY);
}
END_TEST

START_TEST(what_is_impossible_is_not_to_be_had_by_force)
{
    given_preparing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_COMMITTED, true);
    ck_assert_int_eq((int)actions.replies[0].error, ERR_WRONG_STATE);
    ck_assert_str_ne(actions.replies[0].reason.message, "");
}
END_TEST

START_TEST(only_so_many_decisions_of_dbas_are_under_way_at_once)
{
    given_tm();
    for (int i = 0; i < 8; i++) {
        dba_asks_about(OP_PAUSE, "ledger");
        ck_assert_str_eq(did(), "log PAUSED\n");
    }
    dba_asks_about(OP_PAUSE, "ledger");
    ck_assert_int_eq((int)actions.replies[0].error, ERR_BUSY);
    log_is_durable();
    did();
    dba_asks_about(OP_RESUME, "ledger");
    ck_assert_int_eq((int)actions.reply_count, 0);
}
END_TEST

/* It was being committed when the DBA asked, and was over when the disk had his word. */
START_TEST(a_word_that_comes_when_all_is_over_changes_nothing)
{
    given_committing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_COMMITTED, false);
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "reply committed, not yet applied\nrecover accounts\nrecover ledger\n");
    ck_assert_int_eq((int)outcome_of(gtrid_number(1)), OUTCOME_COMMITTED);
}
END_TEST

START_TEST(a_branch_that_cannot_be_asked_is_what_the_dba_says)
{
    struct request request = {.op = OP_RESOLVE,
                              .has_gtrid = true,
                              .rm = "ledger",
                              .wanted = OUTCOME_ROLLED_BACK,
                              .force = true,
                              .who = "root",
                              .why = "ledger burned down"};
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_is_lost("ledger");
    request.gtrid = gtrid_number(1);
    ask(request);
    log_is_durable();
    ck_assert_ptr_nonnull(strstr(did(), "log RESOLVED\nlog MIXED\nreply mixed\n"));
    ck_assert_int_eq((int)outcome_of(gtrid_number(1)), OUTCOME_MIXED);
}
END_TEST

/* ---- resource managers ---- */

static const char *why_not(enum op op, const char *rm)
{
    did();
    dba_asks_about(op, rm);
    ck_assert_uint_eq(actions.reply_count, 1);
    ck_assert(actions.replies[0].error != ERR_NONE);
    return actions.replies[0].reason.message;
}

START_TEST(an_agent_that_has_refused_is_not_silent)
{
    given_tm();
    coordinator_configure(tm, "stock", "ipc:///s");
    agent_answers("stock", (struct answer){.refusal = REFUSAL_OTHER_RM});
    ck_assert_str_eq(why_not(OP_WAIVE, "stock"), "its agent has refused this coordinator: that is "
                                                 "no silence that could be waived");
}
END_TEST

START_TEST(a_quarantined_database_is_released_not_waived)
{
    given_tm();
    agent_says(RESULT_LOST, 1, "ledger");
    ck_assert_str_eq(why_not(OP_WAIVE, "ledger"), "its database has lost durable data: it has to "
                                                  "be released, not waived");
}
END_TEST

START_TEST(only_what_is_quarantined_is_released)
{
    given_tm();
    ck_assert_str_eq(why_not(OP_RELEASE, "ledger"), "it is not quarantined");
}
END_TEST

START_TEST(nobody_is_released_before_its_agent_has_said_what_it_holds)
{
    const struct record log[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .lsn = 2, .rm = "ledger", .system_identifier = 1},
        {.type = RECORD_QUARANTINED, .lsn = 3, .rm = "ledger"},
    };
    given_log(log, 3);
    ck_assert_str_eq(why_not(OP_RELEASE, "ledger"), "its agent has not registered yet, so nobody "
                                                    "knows what its database holds");
}
END_TEST

START_TEST(who_still_has_work_is_retired_by_force_alone)
{
    given_committing();
    ck_assert_str_eq(why_not(OP_RETIRE, "ledger"), "transactions still have work there, or a "
                                                   "decision to be delivered; settle them first");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    dba_asks_about(OP_RETIRE, "ledger");
    log_is_durable();
    ck_assert_str_eq(did(), "log RETIRED\nreply , not yet applied\n");
    ck_assert_str_eq(why_not(OP_RETIRE, "ledger"), "");
    ck_assert_int_eq((int)actions.replies[0].error, ERR_UNKNOWN_RM);
    ck_assert_str_eq(why_not(OP_RETIRE, "nowhere"), "");

    struct request request = {.op = OP_RETIRE, .rm = "accounts", .force = true};
    ask(request);
    log_is_durable();
    did();
    ck_assert_uint_eq(actions.replies[0].running, 1);
    agent_accepts("accounts");
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(work_is_counted_until_it_is_done)
{
    uint32_t ledger;
    given_tm();
    ledger = rm_number("ledger");
    given_begun("accounts", "ledger");
    ck_assert_uint_eq(coordinator_running_at(tm, ledger), 1);
    given_preparing();
    agent_says(RESULT_READ_ONLY, 1, "ledger");
    ck_assert_uint_eq(coordinator_running_at(tm, ledger), 0);
    given_committing();
    ck_assert_uint_eq(coordinator_running_at(tm, ledger), 1);
    struct result result = result_about(RESULT_HEURISTIC, 1, "ledger");
    result.actual = OUTCOME_ROLLED_BACK;
    hear(result);
    ck_assert_uint_eq(coordinator_running_at(tm, ledger), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve");
    TCase *judging = tcase_create("judging");
    tcase_add_test(judging, what_is_not_decided_can_only_be_rolled_back);
    tcase_add_test(judging, what_is_being_decided_has_to_be_asked_again);
    tcase_add_test(judging, what_is_committed_and_not_applied_agrees_with_a_commit);
    tcase_add_test(judging, one_branch_is_judged_by_where_it_is);
    tcase_add_test(judging, one_branch_that_was_undone_by_hand_agrees_with_a_rollback);
    tcase_add_test(judging, one_branch_that_only_read_has_ended);
    tcase_add_test(judging, what_is_being_rolled_back_can_only_be_rolled_back);
    tcase_add_test(judging, of_what_its_only_database_decides_nothing_can_be_known);
    tcase_add_test(judging, of_what_its_acceptors_decide_nothing_can_be_known);
    tcase_add_test(judging, what_is_mixed_can_only_be_forgotten);
    tcase_add_test(judging, what_is_over_and_was_committed_is_told_apart_by_its_xids);
    tcase_add_test(judging, what_is_over_and_was_rolled_back_agrees_with_a_rollback);
    tcase_add_test(judging, what_was_committed_under_xids_that_are_not_remembered_cannot_be_known);
    tcase_add_test(judging,
                   of_an_earlier_start_nothing_can_be_known_before_every_agent_has_registered);
    tcase_add_test(judging, what_was_never_given_out_may_be_given_out_yet);
    tcase_add_test(judging, what_is_resolved_is_not_resolved_the_other_way);
    suite_add_tcase(suite, judging);

    TCase *asking = tcase_create("asking");
    tcase_add_test(asking, what_is_on_its_way_to_the_disk_is_not_judged_again);
    tcase_add_test(asking, what_is_impossible_is_not_to_be_had_by_force);
    tcase_add_test(asking, only_so_many_decisions_of_dbas_are_under_way_at_once);
    tcase_add_test(asking, a_word_that_comes_when_all_is_over_changes_nothing);
    tcase_add_test(asking, a_branch_that_cannot_be_asked_is_what_the_dba_says);
    suite_add_tcase(suite, asking);

    TCase *rms = tcase_create("resource managers");
    tcase_add_test(rms, an_agent_that_has_refused_is_not_silent);
    tcase_add_test(rms, a_quarantined_database_is_released_not_waived);
    tcase_add_test(rms, only_what_is_quarantined_is_released);
    tcase_add_test(rms, nobody_is_released_before_its_agent_has_said_what_it_holds);
    tcase_add_test(rms, who_still_has_work_is_retired_by_force_alone);
    tcase_add_test(rms, work_is_counted_until_it_is_done);
    suite_add_tcase(suite, rms);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
