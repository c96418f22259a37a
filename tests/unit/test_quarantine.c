/*
 * tests/unit/test_quarantine.c - a database has lost what it promised: nothing is decided on that.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/coordinator_harness.h"

/* ---- what happens ---- */

/* Its database is found behind what it had confirmed. */
static void accounts_is_set_back(void)
{
    agent_is_lost("accounts");
    agent_answers("accounts", (struct answer){.beat = 8, .agent_incarnation = 2});
    ck_assert_str_eq(rm_is("accounts"), "quarantined");
}

static void accounts_has_confirmed_a_beat(void)
{
    struct result result = result_about(RESULT_SESSION, 1, "accounts");
    result.beat = 9;
    hear(result);
    did();
}

static void accounts_is_released(void)
{
    dba_asks_about(OP_RELEASE, "accounts");
    log_is_durable();
    did();
    agent_answers("accounts", (struct answer){.beat = 8, .agent_incarnation = 2});
    log_is_durable();
    did();
    ck_assert_str_eq(rm_is("accounts"), "up");
}

static void given_preparing_after_a_beat(enum protocol protocol)
{
    given_preparing_by(protocol);
    accounts_has_confirmed_a_beat();
}

static void given_prelogging(void)
{
    given_preparing_after_a_beat(PROTOCOL_3PC);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log PRECOMMIT\n");
}

static const char *reason(void)
{
    ck_assert_uint_eq(actions.reply_count, 1);
    ck_assert(actions.replies[0].has_reason);
    ck_assert_str_eq(actions.replies[0].reason.rm, "accounts");
    return actions.replies[0].reason.message;
}

static void acceptor_accepts(const char *rm, uint64_t number)
{
    acceptor_says(rm, gtrid_number(1), (struct ballot){.type = BALLOT_ACCEPTED, .number = number});
}

/* ---- what is not decided yet ---- */

START_TEST(nothing_commits_on_the_vote_of_a_database_in_quarantine)
{
    given_preparing_after_a_beat(PROTOCOL_2PC);
    agent_says(RESULT_READY, 1, "accounts");
    accounts_is_set_back();
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log QUARANTINED\nrollback ledger\n");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\n");
    ck_assert_msg(strstr(reason(), "quarantine") != NULL, "%s", reason());
}
END_TEST

START_TEST(what_has_not_voted_when_its_database_is_quarantined_ends_at_once)
{
    given_preparing_after_a_beat(PROTOCOL_2PC);
    accounts_is_set_back();
    ck_assert_str_eq(did(), "log QUARANTINED\nrollback ledger\n");
}
END_TEST

START_TEST(what_works_in_a_quarantined_database_does_not_commit_after_its_release)
{
    given_tm();
    accounts_has_confirmed_a_beat();
    given_begun("accounts", "ledger");
    accounts_is_set_back();
    /* All before the transaction's own timer has had its turn. */
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "log QUARANTINED\nrollback ledger\n");
}
END_TEST

/* Begun before the release, and at work there only after it: the database has lost nothing of it.
 */
START_TEST(what_begins_to_work_after_the_release_ends_like_any_other)
{
    given_tm();
    accounts_has_confirmed_a_beat();
    accounts_is_set_back();
    given_begun("ledger", NULL);
    accounts_is_released();
    struct request enlist = {.op = OP_ENLIST, .has_gtrid = true, .gtrid = gtrid_number(1)};
    strcpy(enlist.rm, "accounts");
    ask(enlist);
    ask_about(OP_COMMIT, 1, "");
    did();
    struct result result = result_about(RESULT_READY, 1, "accounts");
    result.agent_incarnation = 2;
    hear(result);
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    did();
    agent_says(RESULT_DONE, 1, "ledger");
    result.type = RESULT_DONE;
    hear(result);
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(a_read_only_branch_has_read_what_was_lost)
{
    given_preparing_after_a_beat(PROTOCOL_2PC);
    agent_says(RESULT_READ_ONLY, 1, "accounts");
    accounts_is_set_back();
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log QUARANTINED\nrollback ledger\n");
}
END_TEST

START_TEST(a_transaction_elsewhere_goes_on)
{
    given_tm();
    accounts_has_confirmed_a_beat();
    given_begun("ledger", NULL);
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "prepare ledger\n");
    accounts_is_set_back();
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log QUARANTINED\nlog COMMIT\n");
}
END_TEST

START_TEST(lost_durable_data_that_an_agent_reports_is_a_quarantine_too)
{
    given_preparing_after_a_beat(PROTOCOL_2PC);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_LOST, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log QUARANTINED\nrollback ledger\n");
}
END_TEST

/* ---- what is on its way ---- */

START_TEST(a_commit_that_is_with_the_log_goes_on_and_waits_for_the_dba)
{
    given_preparing_after_a_beat(PROTOCOL_2PC);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
    accounts_is_set_back();
    ck_assert_str_eq(did(), "log QUARANTINED\n");
    log_is_durable();
    ck_assert_str_eq(did(), "commit ledger\n");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "");
    ck_assert_int_eq((int)outcome_of(gtrid_number(1)), OUTCOME_COMMITTED);
    /* Only what is found there counts. */
    accounts_is_released();
    time_passes(10000);
    ck_assert_ptr_null(strstr(did(), "commit accounts"));
}
END_TEST

START_TEST(a_delegated_commit_asks_the_database_once_it_is_released)
{
    given_tm();
    accounts_has_confirmed_a_beat();
    given_begun("accounts", NULL);
    agent_says(RESULT_OPENED, 1, "accounts");
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "log DELEGATED\n");
    accounts_is_set_back();
    log_is_durable();
    ck_assert_str_eq(did(), "log QUARANTINED\n");
    accounts_is_released();
    time_passes(5000);
    ck_assert_ptr_nonnull(strstr(did(), "commit-one-phase accounts"));
}
END_TEST

/* ---- three phases ---- */

START_TEST(a_precommit_that_nobody_has_heard_of_is_withdrawn_behind_the_log)
{
    given_prelogging();
    accounts_is_set_back();
    ck_assert_str_eq(did(), "log QUARANTINED\n");
    log_is_durable();
    ck_assert_str_eq(did(), "log OUTCOME\n");
    /* Whoever leads in between is told nothing: the next start could still propose to commit. */
    acceptor_says("ledger", gtrid_number(1),
                  (struct ballot){.type = BALLOT_ASK_PROMISE, .number = 257});
    ck_assert_str_eq(did(), "");
    log_is_durable();
    ck_assert_str_eq(did(), "tell rolled-back ledger\nrollback ledger\n");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\n");
    ck_assert_msg(strstr(reason(), "quarantine") != NULL, "%s", reason());
}
END_TEST

START_TEST(a_withdrawn_precommit_is_over_for_the_next_start_and_in_a_snapshot)
{
    static struct record kept[SNAPSHOT_MAX];
    given_prelogging();
    accounts_is_set_back();
    log_is_durable();
    did();
    uint32_t count = take_snapshot(kept);
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_ne((int)kept[i].type, RECORD_PRECOMMIT);
    given_log(kept, count);
    agent_accepts("ledger");
    ck_assert_int_ne((int)outcome_of(gtrid_of_start(1, 1)), OUTCOME_COMMITTED);
}
END_TEST

START_TEST(a_proposal_that_reached_nobody_is_withdrawn)
{
    given_prelogging();
    agent_is_lost("ledger");
    agent_is_lost("accounts");
    log_is_durable();
    ck_assert_str_eq(did(), "");
    accounts_is_set_back();
    ck_assert_str_eq(did(), "log QUARANTINED\nlog OUTCOME\n");
    agent_accepts("ledger");
    ck_assert_str_eq(did(), "tell rolled-back ledger\nrollback ledger\nrecover ledger\n");
}
END_TEST

/* Both are back before the transaction's own timer has had its turn. */
START_TEST(a_leader_that_asks_about_what_reached_nobody_is_not_voted_for)
{
    given_prelogging();
    agent_is_lost("ledger");
    agent_is_lost("accounts");
    log_is_durable();
    ck_assert_str_eq(did(), "");
    agent_answers("ledger", (struct answer){0});
    agent_answers("accounts", (struct answer){.beat = 8, .agent_incarnation = 2});
    acceptor_says("ledger", gtrid_number(1),
                  (struct ballot){.type = BALLOT_ASK_PROMISE, .number = 257});
    ck_assert_str_eq(did(), "log QUARANTINED\nlog OUTCOME\nrecover ledger\n");
    log_is_durable();
    ck_assert_str_eq(did(), "tell rolled-back ledger\nrollback ledger\n");
}
END_TEST

/* It is on its way to a higher ballot, of which nobody has heard either. */
START_TEST(a_promise_to_itself_is_withdrawn_with_a_proposal_that_reached_nobody)
{
    given_prelogging();
    agent_is_lost("ledger");
    agent_is_lost("accounts");
    log_is_durable();
    ck_assert_str_eq(did(), "");
    agent_answers("ledger", (struct answer){0});
    acceptor_says("ledger", gtrid_number(1),
                  (struct ballot){.type = BALLOT_OUTBID, .promised = 3 * BALLOT_ROUND});
    agent_is_lost("ledger");
    ck_assert_str_eq(did(), "");
    time_passes(5000);
    ck_assert_str_eq(did(), "log PROMISE\n");
    accounts_is_set_back();
    log_is_durable();
    ck_assert_str_eq(did(), "log QUARANTINED\nlog OUTCOME\n");
}
END_TEST

START_TEST(a_proposal_that_is_out_is_its_acceptors_to_decide)
{
    given_prelogging();
    log_is_durable();
    ck_assert_str_eq(did(), "ask-accept committed accounts\nask-accept committed ledger\n");
    accounts_is_set_back();
    ck_assert_str_eq(did(), "log QUARANTINED\n");
    acceptor_accepts("ledger", 0);
    ck_assert_str_eq(did(), "log OUTCOME\ncommit ledger\n");
}
END_TEST

START_TEST(the_vote_of_an_acceptor_that_was_quarantined_since_does_not_count)
{
    struct record records[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .lsn = 2, .rm = "accounts", .system_identifier = 1},
        {.type = RECORD_AGENT, .lsn = 3, .rm = "ledger", .system_identifier = 1},
        {.type = RECORD_AGENT, .lsn = 4, .rm = "stock", .system_identifier = 1},
        {.type = RECORD_BEAT, .lsn = 5, .rm = "accounts", .beat = 9, .system_identifier = 1},
        {.type = RECORD_PRECOMMIT,
         .lsn = 6,
         .incarnation = 1,
         .sequence = 1,
         .branch_count = 3,
         .branches = {{.rm = "accounts", .xid = 7}, {.rm = "ledger", .xid = 8}, {.rm = "stock"}},
         .roster = {.count = 3, .agents = {"accounts", "ledger", "stock"}}},
    };
    struct gtrid gtrid = gtrid_of_start(1, 1);
    struct ballot promised = {.type = BALLOT_PROMISED, .number = 511, .value = OUTCOME_COMMITTED};
    struct ballot accepted = {.type = BALLOT_ACCEPTED, .number = 511};
    given_log(records, sizeof records / sizeof *records);
    agent_answers("accounts", (struct answer){.beat = 9});
    agent_accepts("ledger");
    agent_accepts("stock");
    time_passes(500);
    did();
    log_is_durable();
    did();
    acceptor_says("accounts", gtrid, promised);
    acceptor_says("ledger", gtrid, promised);
    ck_assert_ptr_nonnull(strstr(did(), "ask-accept committed ledger\n"));
    acceptor_says("accounts", gtrid, accepted);
    accounts_is_set_back();
    acceptor_says("ledger", gtrid, accepted);
    ck_assert_str_eq(did(), "log QUARANTINED\n");
    acceptor_says("stock", gtrid, accepted);
    ck_assert_str_eq(did(), "log OUTCOME\ncommit ledger\ncommit stock\n");
}
END_TEST

/* ---- newcomers ---- */

static void accounts_registers(struct answer answer, const char *state)
{
    agent_is_lost("accounts");
    agent_answers("accounts", answer);
    log_is_durable();
    ck_assert_str_eq(rm_is("accounts"), state);
}

START_TEST(a_database_that_has_forgotten_us_is_noticed_though_its_first_answer_is_lost)
{
    given_tm();
    /* It was set back to before it knew us; what it said then, with newcomer, nobody has heard. */
    accounts_registers((struct answer){.beat = 1, .met = 5}, "quarantined");
}
END_TEST

START_TEST(a_true_newcomer_may_say_again_what_it_drew)
{
    given_empty_tm();
    start_tm();
    accounts_registers((struct answer){.newcomer = true, .met = 5}, "up");
    accounts_registers((struct answer){.beat = 1, .met = 5}, "up");
    given_snapshot();
    accounts_registers((struct answer){.beat = 2, .met = 5}, "up");
    accounts_registers((struct answer){.beat = 3}, "up");
    accounts_registers((struct answer){.beat = 1, .met = 6}, "quarantined");
}
END_TEST

START_TEST(what_a_newcomer_drew_is_known_once_it_is_released)
{
    given_tm();
    accounts_registers((struct answer){.beat = 1, .met = 5}, "quarantined");
    dba_asks_about(OP_RELEASE, "accounts");
    log_is_durable();
    did();
    accounts_registers((struct answer){.beat = 1, .met = 5}, "up");
    given_snapshot();
    accounts_registers((struct answer){.beat = 1, .met = 5}, "up");
}
END_TEST

START_TEST(a_released_database_is_told_what_it_may_have_lost)
{
    given_preparing_after_a_beat(PROTOCOL_3PC);
    accounts_is_set_back();
    dba_asks_about(OP_RELEASE, "accounts");
    log_is_durable();
    did();
    agent_answers("accounts", (struct answer){.beat = 8, .agent_incarnation = 2});
    struct event event;
    while (coordinator_due(tm, now_ms, &event) && event.type != EV_SCAN)
        step(&event);
    step(&event);
    ck_assert_int_eq((int)actions.orders[0].order.type, ORDER_RECOVER);
    ck_assert_uint_eq(actions.orders[0].order.released.incarnation, 1);
    ck_assert_uint_eq(actions.orders[0].order.released.sequence, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quarantine");
    TCase *undecided = tcase_create("undecided");
    tcase_add_test(undecided, nothing_commits_on_the_vote_of_a_database_in_quarantine);
    tcase_add_test(undecided, what_has_not_voted_when_its_database_is_quarantined_ends_at_once);
    tcase_add_test(undecided,
                   what_works_in_a_quarantined_database_does_not_commit_after_its_release);
    tcase_add_test(undecided, what_begins_to_work_after_the_release_ends_like_any_other);
    tcase_add_test(undecided, a_read_only_branch_has_read_what_was_lost);
    tcase_add_test(undecided, a_transaction_elsewhere_goes_on);
    tcase_add_test(undecided, lost_durable_data_that_an_agent_reports_is_a_quarantine_too);
    suite_add_tcase(suite, undecided);

    TCase *handed = tcase_create("handed over");
    tcase_add_test(handed, a_commit_that_is_with_the_log_goes_on_and_waits_for_the_dba);
    tcase_add_test(handed, a_delegated_commit_asks_the_database_once_it_is_released);
    suite_add_tcase(suite, handed);

    TCase *three = tcase_create("three phases");
    tcase_add_test(three, a_precommit_that_nobody_has_heard_of_is_withdrawn_behind_the_log);
    tcase_add_test(three, a_withdrawn_precommit_is_over_for_the_next_start_and_in_a_snapshot);
    tcase_add_test(three, a_proposal_that_reached_nobody_is_withdrawn);
    tcase_add_test(three, a_leader_that_asks_about_what_reached_nobody_is_not_voted_for);
    tcase_add_test(three, a_promise_to_itself_is_withdrawn_with_a_proposal_that_reached_nobody);
    tcase_add_test(three, a_proposal_that_is_out_is_its_acceptors_to_decide);
    tcase_add_test(three, the_vote_of_an_acceptor_that_was_quarantined_since_does_not_count);
    suite_add_tcase(suite, three);

    TCase *newcomers = tcase_create("newcomers");
    tcase_add_test(newcomers,
                   a_database_that_has_forgotten_us_is_noticed_though_its_first_answer_is_lost);
    tcase_add_test(newcomers, a_true_newcomer_may_say_again_what_it_drew);
    tcase_add_test(newcomers, what_a_newcomer_drew_is_known_once_it_is_released);
    tcase_add_test(newcomers, a_released_database_is_told_what_it_may_have_lost);
    suite_add_tcase(suite, newcomers);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
