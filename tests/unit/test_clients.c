/*
 * tests/unit/test_clients.c - what clients ask of the coordinator a second time, too late, or of
 * nobody who could answer; told as short stories.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/coordinator_harness.h"

static struct request begin_as(const char *request_id)
{
    struct request request = {.op = OP_BEGIN};
    strcpy(request.request_id, request_id);
    return request;
}

static struct request about(enum op op, const char *rm, const char *branch)
{
    struct request request = {.op = op, .has_gtrid = true, .gtrid = gtrid_number(1)};
    strcpy(request.rm, rm);
    strcpy(request.branch, branch);
    return request;
}

static void begin_and_end(const char *request_id)
{
    ask(begin_as(request_id));
    struct gtrid begun = actions.replies[0].gtrid;
    ask_about(OP_COMMIT, begun.sequence, "");
    did();
}

/* ---- begin ---- */

START_TEST(a_begin_that_is_sent_again_after_its_transaction_has_ended_begins_no_second_one)
{
    given_tm();
    begin_and_end("once");
    ask(begin_as("once"));
    ck_assert_str_eq(did(), "reply 1\n");
    struct request other = begin_as("once");
    other.protocol = PROTOCOL_3PC;
    ask(other);
    ck_assert_str_eq(did(), "refuse request_id_reused\n");
    struct request of_another_caller = begin_as("once");
    of_another_caller.caller = 7;
    ask(of_another_caller);
    ck_assert_str_eq(did(), "reply 2\n");
}
END_TEST

START_TEST(the_request_ids_of_the_newest_that_have_ended_are_remembered)
{
    char request_id[16];
    given_tm();
    for (uint32_t i = 0; i <= limits.ended_max; i++) {
        snprintf(request_id, sizeof request_id, "id-%u", i);
        begin_and_end(request_id);
    }
    ask(begin_as("id-1"));
    ck_assert_str_eq(did(), "reply 2\n");
    ask(begin_as("id-0"));
    ck_assert_str_eq(did(), "reply 6\n");
}
END_TEST

START_TEST(a_begin_with_a_key_waits_for_every_agent_of_an_older_log)
{
    const struct record log[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .lsn = 2, .rm = "accounts", .url = "ipc:///a"},
        {.type = RECORD_AGENT, .lsn = 3, .rm = "ledger", .url = "ipc:///l"},
        {.type = RECORD_ESTABLISHED, .lsn = 4},
    };
    given_log(log, 4);
    agent_accepts("accounts");
    did();
    ask((struct request){.op = OP_BEGIN, .key = "order-1"});
    ck_assert_str_eq(did(), "refuse not_ready\n");
    ask((struct request){.op = OP_OUTCOME, .key = "order-1"});
    ck_assert_str_eq(did(), "refuse not_ready\n");
    agent_accepts("ledger");
    did();
    ask((struct request){.op = OP_BEGIN, .key = "order-1"});
    ck_assert_str_eq(did(), "reply 1\n");
}
END_TEST

START_TEST(a_begin_is_refused_as_a_whole_when_one_of_its_databases_takes_no_part)
{
    given_tm();
    agent_is_lost("ledger");
    ask((struct request){.op = OP_BEGIN, .rm_count = 2, .rms = {"accounts", "ledger"}});
    ck_assert_str_eq(did(), "refuse rm_unavailable\n");
    ask((struct request){.op = OP_BEGIN, .rm_count = 2, .rms = {"accounts", "stock"}});
    ck_assert_str_eq(did(), "refuse unknown_rm\n");
    ck_assert_str_eq(actions.replies[0].reason.rm, "stock");
    ask(begin_as(""));
    ck_assert_str_eq(did(), "reply 1\n");
}
END_TEST

/* ---- enlist ---- */

START_TEST(no_branch_is_enlisted_at_an_agent_that_cannot_be_reached)
{
    given_tm();
    given_begun("accounts", NULL);
    agent_is_lost("ledger");
    ask(about(OP_ENLIST, "ledger", ""));
    ck_assert_str_eq(did(), "refuse rm_unavailable\n");
    ask(about(OP_ENLIST, "accounts", ""));
    ck_assert_str_eq(did(), "reply 1\n");
    agent_accepts("ledger");
    ask(about(OP_ENLIST, "ledger", ""));
    ck_assert(strstr(did(), "reply 1\n") != NULL);
}
END_TEST

START_TEST(all_transactions_together_have_at_most_so_many_branches)
{
    char branch[BRANCH_NAME_BYTES];
    given_tm();
    given_begun("accounts", NULL);
    given_begun("accounts", NULL);
    for (uint32_t i = 2; i < limits.branches_max; i++) {
        snprintf(branch, sizeof branch, "b%u", i);
        ask(about(OP_ENLIST, i % 2 == 0 ? "accounts" : "ledger", branch));
        ck_assert_str_eq(did(), "reply 1\n");
    }
    ask(about(OP_ENLIST, "ledger", "one-more"));
    ck_assert_str_eq(did(), "refuse busy\n");
    ask_about(OP_ROLLBACK, 2, "");
    agent_says(RESULT_DONE, 2, "accounts");
    did();
    ask(about(OP_ENLIST, "ledger", "one-more"));
    ck_assert_str_eq(did(), "reply 1\n");
}
END_TEST

/* ---- commit and its orders ---- */

START_TEST(who_has_not_voted_is_asked_again)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    time_passes(500);
    ck_assert_str_eq(did(), "prepare ledger\n");
    time_passes(999);
    ck_assert_str_eq(did(), "");
    time_passes(1);
    ck_assert_str_eq(did(), "prepare ledger\n");
}
END_TEST

START_TEST(an_order_is_repeated_every_so_often_at_least)
{
    uint32_t times = 0;
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    time_passes(60 * 1000);
    did();
    for (int i = 0; i < 10; i++) {
        time_passes(settings.resend_most_ms);
        times += strstr(did(), "commit ledger\n") != NULL;
    }
    ck_assert_uint_ge(times, 9);
}
END_TEST

START_TEST(a_branch_that_is_done_twice_is_done)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(too_many_clients_that_wait_for_one_transaction_are_told_busy)
{
    given_preparing();
    for (int i = 1; i < WAITERS_A_TXN; i++)
        ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "");
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "refuse busy\n");
    ask_about(OP_ROLLBACK, 1, "");
    ck_assert_str_eq(did(), "refuse busy\n");
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
}
END_TEST

START_TEST(what_is_durable_once_stays_so)
{
    given_logging();
    log_is_durable();
    coordinator_durable(tm, 0, 0);
    ck_assert_str_eq(did(), "commit accounts\ncommit ledger\n");
}
END_TEST

/* ---- what agents say at the wrong moment ---- */

START_TEST(an_agent_is_scanned_no_more_once_it_is_lost)
{
    given_tm();
    agent_is_lost("ledger");
    time_passes(settings.scan_ms);
    ck_assert_str_eq(did(), "recover accounts\n");
    ck_assert_uint_eq(coordinator_wake_ms(tm), now_ms + settings.scan_ms);
}
END_TEST

START_TEST(a_retired_agent_that_answers_after_all_is_not_heard)
{
    given_tm();
    agent_is_lost("ledger");
    dba_asks_about(OP_RETIRE, "ledger");
    ck_assert_str_eq(did(), "log RETIRED\n");
    log_is_durable();
    did();
    agent_accepts("ledger");
    ck_assert_str_eq(did(), "");
    ask((struct request){.op = OP_BEGIN, .rm_count = 1, .rms = {"ledger"}});
    ck_assert_str_eq(did(), "refuse unknown_rm\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clients");
    TCase *begins = tcase_create("begin");
    tcase_add_test(begins,
                   a_begin_that_is_sent_again_after_its_transaction_has_ended_begins_no_second_one);
    tcase_add_test(begins, the_request_ids_of_the_newest_that_have_ended_are_remembered);
    tcase_add_test(begins, a_begin_with_a_key_waits_for_every_agent_of_an_older_log);
    tcase_add_test(begins, a_begin_is_refused_as_a_whole_when_one_of_its_databases_takes_no_part);
    suite_add_tcase(suite, begins);

    TCase *enlists = tcase_create("enlist");
    tcase_add_test(enlists, no_branch_is_enlisted_at_an_agent_that_cannot_be_reached);
    tcase_add_test(enlists, all_transactions_together_have_at_most_so_many_branches);
    suite_add_tcase(suite, enlists);

    TCase *commits = tcase_create("commit");
    tcase_add_test(commits, who_has_not_voted_is_asked_again);
    tcase_add_test(commits, an_order_is_repeated_every_so_often_at_least);
    tcase_add_test(commits, a_branch_that_is_done_twice_is_done);
    tcase_add_test(commits, too_many_clients_that_wait_for_one_transaction_are_told_busy);
    tcase_add_test(commits, what_is_durable_once_stays_so);
    suite_add_tcase(suite, commits);

    TCase *agents = tcase_create("agents");
    tcase_add_test(agents, an_agent_is_scanned_no_more_once_it_is_lost);
    tcase_add_test(agents, a_retired_agent_that_answers_after_all_is_not_heard);
    suite_add_tcase(suite, agents);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
