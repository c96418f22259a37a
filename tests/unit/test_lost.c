/*
 * tests/unit/test_lost.c - the coordinator's log is lost: what is proved, and what the new one
 * says.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/coordinator/coordinator.h"
#include "core/coordinator/lost.h"

static uint32_t recalled[RECALLS];

static enum lost_verdict when_recalled(enum recall one, enum recall other)
{
    memset(recalled, 0, sizeof recalled);
    recalled[one]++;
    recalled[other]++;
    return lost_judge(5, 5, recalled);
}

START_TEST(one_branch_that_was_told_to_commit_decides_for_all)
{
    ck_assert_int_eq((int)when_recalled(RECALL_COMMIT, RECALL_VOTED), LOST_COMMIT);
}
END_TEST

START_TEST(one_branch_that_has_not_voted_decides_for_all)
{
    ck_assert_int_eq((int)when_recalled(RECALL_NOT_VOTED, RECALL_VOTED), LOST_ROLL_BACK);
    ck_assert_int_eq((int)when_recalled(RECALL_ROLLBACK, RECALL_VOTED), LOST_ROLL_BACK);
}
END_TEST

START_TEST(votes_alone_prove_nothing)
{
    ck_assert_int_eq((int)when_recalled(RECALL_VOTED, RECALL_VOTED), LOST_ASK);
    ck_assert_int_eq((int)when_recalled(RECALL_NOTHING, RECALL_NOTHING), LOST_ASK);
}
END_TEST

START_TEST(agents_that_contradict_each_other_prove_nothing)
{
    ck_assert_int_eq((int)when_recalled(RECALL_COMMIT, RECALL_ROLLBACK), LOST_CONTRADICT);
    ck_assert_int_eq((int)when_recalled(RECALL_COMMIT, RECALL_NOT_VOTED), LOST_CONTRADICT);
}
END_TEST

START_TEST(what_is_not_on_the_lists_yet_is_waited_for)
{
    ck_assert_int_eq((int)when_recalled(RECALL_VOTING, RECALL_VOTED), LOST_WAIT);
    ck_assert_int_eq((int)when_recalled(RECALL_VOTING, RECALL_COMMIT), LOST_WAIT);
    ck_assert_int_eq((int)when_recalled(RECALL_VOTING, RECALL_ACCEPTOR), LOST_WAIT);
    ck_assert_int_eq((int)when_recalled(RECALL_VOTING, RECALL_ROLLBACK), LOST_ROLL_BACK);
}
END_TEST

START_TEST(what_acceptors_decide_is_theirs_until_one_knows)
{
    ck_assert_int_eq((int)when_recalled(RECALL_ACCEPTOR, RECALL_VOTED), LOST_ACCEPTORS);
    ck_assert_int_eq((int)when_recalled(RECALL_ACCEPTOR, RECALL_COMMIT), LOST_COMMIT);
}
END_TEST

START_TEST(who_has_a_branch_and_no_row_has_not_voted_in_three_phases)
{
    ck_assert_int_eq((int)when_recalled(RECALL_ACCEPTOR, RECALL_NO_ROW), LOST_ROLL_BACK);
    ck_assert_int_eq((int)when_recalled(RECALL_COMMIT, RECALL_NO_ROW), LOST_COMMIT);
    ck_assert_int_eq((int)when_recalled(RECALL_VOTED, RECALL_NO_ROW), LOST_ASK);
}
END_TEST

START_TEST(who_has_no_branch_needs_no_row)
{
    struct lost_txn txns[1];
    struct lost lost = {.tm = "bank",
                        .highest = 5,
                        .agent_count = 2,
                        .room = 1,
                        .txns = txns,
                        .agents = {{.rm = "accounts"}, {.rm = "ledger"}}};
    const struct branch_id branch = {.gtrid = {.tm = "bank", .incarnation = 5, .sequence = 1},
                                     .rm = "accounts"};
    ck_assert_int_eq((int)lost_take_prepared(&lost, 0, &branch, 700, NULL), LOST_TAKEN);
    lost_recall(&txns[0], 1, RECALL_NO_ROW);
    lost_recall(&txns[0], 0, RECALL_ACCEPTOR);
    lost_judge_all(&lost);
    ck_assert_int_eq((int)txns[0].verdict, LOST_ACCEPTORS);
}
END_TEST

START_TEST(a_block_that_was_run_again_is_not_committed_in_the_place_of_the_first)
{
    struct lost_txn txns[1];
    struct lost lost = {.tm = "bank",
                        .highest = 5,
                        .agent_count = 1,
                        .room = 1,
                        .txns = txns,
                        .agents = {{.rm = "accounts", .answered = true}}};
    const struct branch_id branch = {.gtrid = {.tm = "bank", .incarnation = 5, .sequence = 1},
                                     .rm = "accounts"};
    const struct start_id start = {.incarnation = 6};
    static struct record record;
    uint32_t position = 0;
    lost_take_prepared(&lost, 0, &branch, 777, NULL);
    lost_recall_xid(&txns[0], 0, &branch, RECALL_VOTED, 0);
    ck_assert(!lost_is_another(&txns[0].branches[0]));
    lost_recall_xid(&txns[0], 0, &branch, RECALL_VOTED, 777);
    lost_recall_xid(&txns[0], 0, &branch, RECALL_COMMIT, 700);
    lost_recall_xid(&txns[0], 0, &branch, RECALL_VOTED, 777);
    lost_recall(&txns[0], 0, RECALL_COMMIT);
    lost_judge_all(&lost);
    ck_assert(lost_is_another(&txns[0].branches[0]));
    while (lost_record(&lost, &start, &position, &record) && record.type != RECORD_COMMIT)
        ;
    ck_assert_int_eq((int)record.type, RECORD_COMMIT);
    ck_assert_uint_eq(record.branches[0].xid, 700);
}
END_TEST

START_TEST(a_later_start_than_any_agent_has_accepted_is_not_ours)
{
    memset(recalled, 0, sizeof recalled);
    recalled[RECALL_COMMIT] = 1;
    ck_assert_int_eq((int)lost_judge(6, 5, recalled), LOST_NOT_OURS);
}
END_TEST

START_TEST(every_recollection_has_a_word_of_its_own)
{
    for (enum recall recall = RECALL_NOTHING; recall < RECALLS; recall++)
        ck_assert_int_eq((int)recall_from_word(recall_word(recall)), (int)recall);
    ck_assert_int_eq((int)recall_from_word("perhaps"), RECALL_NOTHING);
}
END_TEST

/* ---- the new log ---- */

static struct coordinator *replayed(const struct record *records, uint32_t count)
{
    const struct coordinator_limits limits = {.transactions_max = 4,
                                              .branches_max = 4,
                                              .waiters_max = 1,
                                              .ended_max = 4,
                                              .outcome_chunks_max = 4,
                                              .keys_max = 4};
    const struct coordinator_settings settings = {.tm = "bank", .transaction_timeout_ms = 1000};
    struct coordinator *coordinator =
        coordinator_init(calloc(1, coordinator_bytes(&limits)), &limits, &settings);
    for (uint32_t i = 0; i < count; i++) {
        const char *why;
        ck_assert_msg(coordinator_replay(coordinator, &records[i], &why), "%s", why);
    }
    return coordinator;
}

static enum outcome outcome_of(struct coordinator *coordinator, uint64_t incarnation)
{
    const struct gtrid gtrid = {.tm = "bank", .incarnation = incarnation, .sequence = 3};
    enum outcome outcome = OUTCOME_NONE;
    coordinator_outcome(coordinator, &gtrid, &outcome);
    return outcome;
}

START_TEST(what_was_before_the_new_log_is_forgotten_but_what_it_commits)
{
    static struct record log[LOST_OPENING + 2];
    const struct start_id start = {.incarnation = 8, .instance = {{7}}};
    lost_opening(&start, log);
    log[LOST_OPENING] = (struct record){.type = RECORD_RESOLVED,
                                        .incarnation = 6,
                                        .sequence = 3,
                                        .outcome = OUTCOME_COMMITTED,
                                        .flags = RESOLVED_HEURISTIC};
    log[LOST_OPENING + 1] = (struct record){.type = RECORD_COMMIT,
                                            .incarnation = 6,
                                            .sequence = 3,
                                            .branch_count = 1,
                                            .branches = {{.rm = "accounts", .xid = 4711}}};
    struct coordinator *coordinator = replayed(log, LOST_OPENING + 2);
    coordinator_trust_host(coordinator, true); /* and so it may tell at once */
    ck_assert_int_eq((int)outcome_of(coordinator, 7), OUTCOME_FORGOTTEN);
    ck_assert_int_eq((int)outcome_of(coordinator, 6), OUTCOME_COMMITTED);
    ck_assert(coordinator_registry(coordinator)->established);
    free(coordinator);
}
END_TEST

/* ---- whom an agent follows ---- */

static enum adopted adopted(const struct tm_row *stored)
{
    const struct adoption adoption = {
        .tm = "bank", .from = {{1}}, .log = {{2}}, .incarnation = 8, .instance = {{3}}};
    return registry_adopt(stored, &adoption);
}

START_TEST(an_agent_adopts_the_new_log_in_place_of_the_one_it_was_seen_to_follow)
{
    ck_assert_int_eq((int)adopted(&(struct tm_row){true, {{1}}, 7, {{9}}, 100}), ADOPT_NOW);
    ck_assert_int_eq((int)adopted(&(struct tm_row){true, {{5}}, 7, {{9}}, 100}), ADOPT_OTHER);
    ck_assert_int_eq((int)adopted(&(struct tm_row){true, {{2}}, 9, {{9}}, 100}), ADOPT_NEEDLESS);
    ck_assert_int_eq((int)adopted(&(struct tm_row){.exists = false}), ADOPT_NEEDLESS);
}
END_TEST

START_TEST(an_agent_that_knows_as_late_a_start_of_the_lost_log_does_not_adopt)
{
    ck_assert_int_eq((int)adopted(&(struct tm_row){true, {{1}}, 8, {{9}}, 100}), ADOPT_LATER);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lost");
    TCase *rules = tcase_create("rules");
    tcase_add_test(rules, one_branch_that_was_told_to_commit_decides_for_all);
    tcase_add_test(rules, one_branch_that_has_not_voted_decides_for_all);
    tcase_add_test(rules, votes_alone_prove_nothing);
    tcase_add_test(rules, agents_that_contradict_each_other_prove_nothing);
    tcase_add_test(rules, what_is_not_on_the_lists_yet_is_waited_for);
    tcase_add_test(rules, what_acceptors_decide_is_theirs_until_one_knows);
    tcase_add_test(rules, who_has_a_branch_and_no_row_has_not_voted_in_three_phases);
    tcase_add_test(rules, who_has_no_branch_needs_no_row);
    tcase_add_test(rules, a_block_that_was_run_again_is_not_committed_in_the_place_of_the_first);
    tcase_add_test(rules, a_later_start_than_any_agent_has_accepted_is_not_ours);
    tcase_add_test(rules, every_recollection_has_a_word_of_its_own);
    tcase_add_test(rules, what_was_before_the_new_log_is_forgotten_but_what_it_commits);
    tcase_add_test(rules, an_agent_adopts_the_new_log_in_place_of_the_one_it_was_seen_to_follow);
    tcase_add_test(rules, an_agent_that_knows_as_late_a_start_of_the_lost_log_does_not_adopt);
    suite_add_tcase(suite, rules);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
