/*
 * tests/unit/test_coordinator.c - what the coordinator does, told as short stories.
 *
 * The coordinator's own file is included, so that its table can be looked at cell by cell.
 */
#include "core/coordinator/coordinator.c" /* NOLINT: the table is private */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/coordinator_harness.h"

/* ---- the table ---- */

START_TEST(no_cell_of_the_table_is_empty)
{
    for (int state = 0; state < TXN_STATES; state++)
        for (int event = 1; event < TXN_EVENTS; event++)
            ck_assert_msg(moves[state][event] != HOLE, "%s x %s is a hole",
                          txn_state_word((enum txn_state)state),
                          txn_event_word((enum txn_event)event));
}
END_TEST

static struct txn *live_number(uint64_t sequence)
{
    uint32_t at = live_find(&tm->live, coordinator_incarnation(tm), sequence);
    return at == NO_ITEM ? NULL : &tm->live.txns[at];
}

static void given_active(void)
{
    given_tm();
    given_begun("accounts", "ledger");
}

static void given_aborting(void)
{
    given_preparing();
    ask_about(OP_ROLLBACK, 1, "");
}

static void given_delegating(void)
{
    given_tm();
    given_begun("accounts", NULL);
    agent_says(RESULT_OPENED, 1, "accounts");
    ask_about(OP_COMMIT, 1, "");
}

static void given_delegated(void)
{
    given_delegating();
    log_is_durable();
    did();
}

static void given_mixed(void)
{
    given_committing();
    struct result heuristic = result_about(RESULT_HEURISTIC, 1, "accounts");
    heuristic.actual = OUTCOME_ROLLED_BACK;
    agent_says(RESULT_DONE, 1, "ledger");
    hear(heuristic);
}

static void given_resolved(void)
{
    given_delegated();
    ask((struct request){.op = OP_RESOLVE,
                         .has_gtrid = true,
                         .gtrid = gtrid_number(1),
                         .wanted = OUTCOME_COMMITTED,
                         .force = true});
    log_is_durable();
    did();
}

static void given_prelogging(void)
{
    struct request begin = {.op = OP_BEGIN, .protocol = PROTOCOL_3PC, .rm_count = 2};
    strcpy(begin.rms[0], "accounts");
    strcpy(begin.rms[1], "ledger");
    given_tm();
    ask(begin);
    ask_about(OP_COMMIT, 1, "");
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
}

static void given_precommitting(void)
{
    given_prelogging();
    log_is_durable();
    did();
}

/* An agent has promised more than we have asked for: we lead a ballot above that. */
static void given_promising(void)
{
    given_precommitting();
    acceptor_says("accounts", gtrid_number(1),
                  (struct ballot){.type = BALLOT_OUTBID, .promised = BALLOT_ROUND});
    time_passes(30000);
    did();
}

/* Every result, of every kind of ballot, of a live transaction and of none, in every state leaves a
 * coordinator that goes on. */
START_TEST(every_possible_result_in_every_state_is_survived)
{
    static void (*const givens[TXN_STATES])(void) = {
        [TXN_NONE] = given_tm,
        [TXN_ACTIVE] = given_active,
        [TXN_PREPARING] = given_preparing,
        [TXN_LOGGING] = given_logging,
        [TXN_COMMITTING] = given_committing,
        [TXN_ABORTING] = given_aborting,
        [TXN_DELEGATING] = given_delegating,
        [TXN_DELEGATED] = given_delegated,
        [TXN_MIXED] = given_mixed,
        [TXN_RESOLVED] = given_resolved,
        [TXN_PRELOGGING] = given_prelogging,
        [TXN_PRECOMMITTING] = given_precommitting,
        [TXN_PROMISING] = given_promising,
    };
    for (int state = 0; state < TXN_STATES; state++)
        for (int type = RESULT_READY; type < RESULTS; type++)
            for (int ballot = 0; ballot < (type == RESULT_BALLOT ? BALLOTS : 1); ballot++) {
                givens[state]();
                ck_assert_int_eq((int)(live_number(1) ? live_number(1)->state : TXN_NONE), state);
                for (uint64_t sequence = 1; sequence <= 99; sequence += 98) {
                    struct result result =
                        result_about((enum result_type)type, sequence, "accounts");
                    result.ballot.type = (enum ballot_type)ballot;
                    result.ballot.gtrid = result.branch.gtrid;
                    result.ballot.number = 2 * BALLOT_ROUND;
                    result.ballot.value = OUTCOME_COMMITTED;
                    hear(result);
                }
                log_is_durable();
                did();
                given_begun("ledger", NULL);
            }
}
END_TEST

/* ---- committing ---- */

START_TEST(commit_is_announced_only_once_the_record_is_durable)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    ck_assert_str_eq(did(), "");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
    log_is_durable();
    ck_assert_str_eq(did(), "commit accounts\ncommit ledger\n");
}
END_TEST

START_TEST(a_client_that_waits_for_applied_hears_once_all_are_done)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "");
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(a_client_that_waits_for_decided_hears_at_the_decision)
{
    given_tm();
    given_begun("accounts", "ledger");
    ask((struct request){.op = OP_COMMIT,
                         .has_gtrid = true,
                         .gtrid = gtrid_number(1),
                         .wait = WAIT_DECIDED,
                         .wait_ms = 10000});
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "commit accounts\ncommit ledger\nreply committed, not yet applied\n");
}
END_TEST

START_TEST(a_vote_that_is_repeated_counts_once)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "accounts");
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(the_decision_is_bound_to_the_xid_that_was_voted_for)
{
    given_logging();
    ck_assert_uint_eq(actions.records[0].branches[0].xid, 701);
    log_is_durable();
    struct event event;
    ck_assert(coordinator_due(tm, now_ms, &event));
    step(&event);
    ck_assert_uint_eq(actions.orders[1].order.xid, 701);
}
END_TEST

START_TEST(nothing_ends_a_transaction_after_its_record_is_handed_over)
{
    given_logging();
    time_passes(60000);
    ask_about(OP_ROLLBACK, 1, "");
    /* The client that asked for commit has lost patience; no outcome may be claimed. */
    ck_assert_str_eq(did(), "reply in-progress\nrecover accounts\nrecover ledger\n");
    log_is_durable();
    ck_assert_str_eq(did(), "commit accounts\ncommit ledger\n");
}
END_TEST

START_TEST(commit_is_sent_again_for_ever)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    time_passes(500);
    ck_assert_str_eq(did(), "commit ledger\n");
    time_passes(1000);
    ck_assert_str_eq(did(), "commit ledger\n");
    time_passes(100000);
    ck_assert_str_eq(did(), "commit ledger\nreply committed, not yet applied\n"
                            "recover accounts\nrecover ledger\n");
}
END_TEST

START_TEST(a_late_second_commit_hears_the_outcome)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "reply committed\n");
    ask_about(OP_ROLLBACK, 1, "");
    ck_assert_str_eq(did(), "reply committed\n");
}
END_TEST

START_TEST(a_transaction_without_branches_commits_at_once_and_logs_nothing)
{
    given_tm();
    ask((struct request){.op = OP_BEGIN});
    did();
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "reply committed\n");
}
END_TEST

START_TEST(a_read_only_branch_needs_no_outcome)
{
    given_preparing();
    agent_says(RESULT_READ_ONLY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
    log_is_durable();
    ck_assert_str_eq(did(), "commit ledger\n");
}
END_TEST

/* ---- aborting ---- */

START_TEST(a_no_undoes_every_branch_and_logs_nothing)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_NO, 1, "ledger");
    ck_assert_str_eq(did(), "rollback accounts\nrollback ledger\n");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\n");
    ck_assert(actions.replies[0].has_reason);
    ck_assert_str_eq(actions.replies[0].reason.rm, "ledger");
}
END_TEST

START_TEST(a_deadline_undoes)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    agent_is_lost("accounts");
    agent_is_lost("ledger");
    time_passes(30000);
    /* Neither can be reached: nobody waits for them, their scans will settle it. */
    ck_assert_str_eq(did(), "reply in-progress\n");
    ask_about(OP_OUTCOME, 1, "");
    ck_assert_str_eq(did(), "reply rolled-back\n");
}
END_TEST

START_TEST(a_client_waits_for_no_frozen_agent_beyond_the_transactions_time)
{
    given_tm();
    given_begun("accounts", "ledger");
    ask((struct request){
        .op = OP_COMMIT, .has_gtrid = true, .gtrid = gtrid_number(1), .wait_ms = 300000});
    agent_says(RESULT_READY, 1, "accounts");
    did();
    time_passes(30000);
    ck_assert_ptr_nonnull(strstr(did(), "rollback accounts\nrollback ledger\n"));
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "");
    time_passes(ROLLBACK_WAIT_MS);
    ck_assert_ptr_nonnull(strstr(did(), "reply rolled-back, not yet applied\n"));
    /* Nor does one who asks later. */
    ask((struct request){
        .op = OP_ROLLBACK, .has_gtrid = true, .gtrid = gtrid_number(1), .wait_ms = 300000});
    ck_assert_ptr_null(strstr(did(), "reply"));
    time_passes(ROLLBACK_WAIT_MS);
    ck_assert_ptr_nonnull(strstr(did(), "reply rolled-back, not yet applied\n"));
    agent_says(RESULT_DONE, 1, "ledger");
    ask_about(OP_OUTCOME, 1, "");
    ck_assert_str_eq(did(), "reply rolled-back\n");
}
END_TEST

START_TEST(a_no_is_waited_for_everywhere_within_the_transactions_time)
{
    given_tm();
    given_begun("accounts", "ledger");
    ask((struct request){
        .op = OP_COMMIT, .has_gtrid = true, .gtrid = gtrid_number(1), .wait_ms = 300000});
    agent_says(RESULT_NO, 1, "accounts");
    agent_says(RESULT_DONE, 1, "accounts");
    did();
    time_passes(29000);
    ck_assert_ptr_null(strstr(did(), "reply"));
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\n");
}
END_TEST

START_TEST(a_branch_is_enlisted_again_only_as_it_is)
{
    given_tm();
    given_begun("accounts", NULL);
    struct request again = {.op = OP_ENLIST, .has_gtrid = true, .gtrid = gtrid_number(1)};
    strcpy(again.rm, "accounts");
    ask(again);
    ck_assert_str_eq(did(), "reply 1\n");
    struct request others[3] = {again, again, again};
    others[0].read_only = true;
    others[1].isolation = SERIALIZABLE;
    strcpy(others[2].role, "app");
    for (size_t i = 0; i < 3; i++) {
        ask(others[i]);
        ck_assert_str_eq(did(), "refuse branch_differs\n");
    }
    strcpy(others[2].branch, "2");
    ask(others[2]);
    ask(others[2]);
    others[2].role[0] = '\0'; /* what is left out is as it is */
    ask(others[2]);
    ck_assert_str_eq(did(), "reply 1\nreply 1\nreply 1\n");
}
END_TEST

START_TEST(an_idle_transaction_ends_at_its_timeout)
{
    given_tm();
    given_begun("accounts", NULL);
    time_passes(30000);
    ck_assert_str_eq(did(), "rollback accounts\nrecover accounts\nrecover ledger\n");
}
END_TEST

START_TEST(a_branch_found_prepared_after_the_abort_is_undone)
{
    given_preparing();
    agent_is_lost("ledger");
    agent_says(RESULT_NO, 1, "accounts");
    ck_assert_str_eq(did(), "rollback accounts\n");
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "reply rolled-back\n");
    agent_accepts("ledger");
    did();
    agent_says(RESULT_FOUND, 1, "ledger");
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

START_TEST(a_scan_that_finds_an_undecided_branch_changes_nothing)
{
    given_preparing();
    agent_says(RESULT_FOUND, 1, "ledger");
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(a_gtrid_above_ours_is_refused_with_an_alarm)
{
    struct coordinator_counts counts;
    given_tm();
    agent_says(RESULT_FOUND, 12, "ledger");
    ck_assert_str_eq(did(), "");
    coordinator_counts(tm, &counts);
    ck_assert_uint_eq(counts.alarms, 1);
}
END_TEST

/* ---- heuristic ends ---- */

START_TEST(a_branch_undone_by_hand_makes_it_mixed_and_is_never_hidden)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    struct result result = result_about(RESULT_HEURISTIC, 1, "ledger");
    result.actual = OUTCOME_ROLLED_BACK;
    hear(result);
    ck_assert_str_eq(did(), "log MIXED\nreply mixed\n");
    ask_about(OP_OUTCOME, 1, "");
    ck_assert_str_eq(did(), "reply mixed\n");
}
END_TEST

START_TEST(a_second_transaction_under_a_mixed_gid_is_undone)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    struct result result = result_about(RESULT_HEURISTIC, 1, "ledger");
    result.actual = OUTCOME_ROLLED_BACK;
    hear(result);
    did();
    agent_says(RESULT_FOUND, 1, "ledger");
    ck_assert_str_eq(did(), "");
    result = result_about(RESULT_FOUND, 1, "ledger");
    result.xid = 999;
    hear(result);
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

START_TEST(a_branch_that_was_out_of_reach_when_it_became_mixed_is_undone_later)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "ledger");
    agent_is_lost("ledger");
    ask_about(OP_ROLLBACK, 1, "");
    did();
    struct result result = result_about(RESULT_HEURISTIC, 1, "accounts");
    result.actual = OUTCOME_COMMITTED;
    hear(result);
    ck_assert_str_eq(did(), "log MIXED\nreply mixed\nreply mixed\n");
    agent_accepts("ledger");
    did();
    agent_says(RESULT_FOUND, 1, "ledger");
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

START_TEST(a_branch_gone_without_evidence_stays_in_doubt)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_UNKNOWN, 1, "ledger");
    ck_assert_str_eq(did(), "");
    time_passes(500);
    ck_assert_str_eq(did(), "commit ledger\n");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

/* ---- one phase ---- */

static void given_one_opened(void)
{
    given_tm();
    given_begun("accounts", NULL);
    agent_says(RESULT_OPENED, 1, "accounts");
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "log DELEGATED\n");
}

START_TEST(one_branch_is_delegated_only_behind_the_record)
{
    given_one_opened();
    log_is_durable();
    ck_assert_str_eq(did(), "commit-one-phase accounts\n");
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "log OUTCOME\nreply committed\n");
}
END_TEST

START_TEST(a_delegated_branch_that_could_not_commit_is_rolled_back)
{
    given_one_opened();
    log_is_durable();
    did();
    agent_says(RESULT_NO, 1, "accounts");
    ck_assert_str_eq(did(), "log OUTCOME\nreply rolled-back\n");
}
END_TEST

START_TEST(a_delegated_branch_that_was_prepared_instead_is_decided_behind_a_record)
{
    given_one_opened();
    log_is_durable();
    did();
    agent_says(RESULT_READY, 1, "accounts");
    ck_assert_str_eq(did(), "log COMMIT\n");
    agent_says(RESULT_NO, 1, "accounts");
    agent_says(RESULT_READY, 1, "accounts");
    ck_assert_str_eq(did(), "");
    log_is_durable();
    ck_assert_str_eq(did(), "commit accounts\n");
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(a_start_drives_what_was_delegated_prepared_instead_and_decided)
{
    const struct record log[] = {
        {.type = RECORD_START, .incarnation = 1},
        {.type = RECORD_AGENT, .rm = "accounts", .url = "ipc:///a"},
        {.type = RECORD_DELEGATED,
         .incarnation = 1,
         .sequence = 5,
         .branch_count = 1,
         .branches = {{.rm = "accounts"}}},
        {.type = RECORD_COMMIT,
         .incarnation = 1,
         .sequence = 5,
         .branch_count = 1,
         .branches = {{.rm = "accounts", .xid = 71}}},
    };
    given_log(log, 4);
    agent_accepts("accounts");
    ck_assert_str_eq(did(), "log AGENT\ncommit accounts\nrecover accounts\n");
}
END_TEST

START_TEST(one_branch_on_the_applications_own_connection_is_prepared)
{
    given_tm();
    given_begun("accounts", NULL);
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "prepare accounts\n");
}
END_TEST

START_TEST(a_delegated_transaction_of_an_earlier_start_is_settled_by_its_marker)
{
    const struct record log[] = {
        {.type = RECORD_START, .incarnation = 1},
        {.type = RECORD_AGENT, .rm = "accounts", .url = "ipc:///a"},
        {.type = RECORD_DELEGATED,
         .incarnation = 1,
         .sequence = 5,
         .branch_count = 1,
         .branches = {{.rm = "accounts"}}},
    };
    given_log(log, 3);
    agent_accepts("accounts");
    ck_assert_str_eq(did(), "log AGENT\nsettle accounts\nrecover accounts\n");
}
END_TEST

/* ---- starts ---- */

static const struct record decided_log[] = {
    {.type = RECORD_START, .incarnation = 1},
    {.type = RECORD_AGENT, .rm = "accounts", .url = "ipc:///a"},
    {.type = RECORD_AGENT, .rm = "ledger", .url = "ipc:///l"},
    {.type = RECORD_ESTABLISHED},
    {.type = RECORD_COMMIT,
     .incarnation = 1,
     .sequence = 7,
     .key = "order-7",
     .branch_count = 2,
     .branches = {{.rm = "accounts", .xid = 71}, {.rm = "ledger", .xid = 72}}},
};

static struct result found_of_old(uint64_t sequence, const char *rm)
{
    struct result result = result_about(RESULT_FOUND, sequence, rm);
    result.branch.gtrid.incarnation = 1;
    return result;
}

START_TEST(what_was_decided_is_driven_as_soon_as_its_agent_is_back)
{
    given_log(decided_log, 5);
    agent_accepts("accounts");
    ck_assert_str_eq(did(), "log AGENT\ncommit accounts\nrecover accounts\n");
}
END_TEST

START_TEST(nothing_of_an_earlier_start_is_presumed_before_every_agent_has_accepted)
{
    given_log(decided_log, 5);
    agent_accepts("accounts");
    did();
    hear(found_of_old(8, "accounts"));
    ck_assert_str_eq(did(), "");
    ask((struct request){.op = OP_OUTCOME,
                         .has_gtrid = true,
                         .gtrid = {.tm = "bank", .incarnation = 1, .sequence = 8}});
    ck_assert_str_eq(did(), "reply in-progress\n");

    agent_accepts("ledger");
    did();
    hear(found_of_old(8, "accounts"));
    ck_assert_str_eq(did(), "rollback accounts\n");
}
END_TEST

START_TEST(a_key_is_not_called_unknown_while_the_log_may_be_an_old_one)
{
    given_log(decided_log, 5);
    ask((struct request){.op = OP_OUTCOME, .key = "order-8"});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NOT_READY);
    ask((struct request){.op = OP_BEGIN, .key = "order-8"});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NOT_READY);
    ask((struct request){.op = OP_OUTCOME, .key = "order-7"});
    ck_assert_int_eq((int)actions.replies[0].outcome, OUTCOME_COMMITTED);
}
END_TEST

START_TEST(a_start_hands_out_no_gtrid_before_its_record_is_durable)
{
    given_empty_tm();
    struct event event = {.type = EV_START};
    step(&event);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NOT_READY);
}
END_TEST

START_TEST(a_start_goes_above_one_that_left_no_start_record)
{
    given_empty_tm();
    struct event event = {.type = EV_START, .log_incarnation = 4};
    step(&event);
    ck_assert_uint_eq(coordinator_incarnation(tm), 5);
}
END_TEST

START_TEST(an_agent_takes_no_branch_before_its_record_is_durable)
{
    given_empty_tm();
    start_tm();
    agent_answers("accounts", (struct answer){.system_identifier = 1});
    ask((struct request){.op = OP_BEGIN, .rm_count = 1, .rms = {"accounts"}});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_RM_UNAVAILABLE);
    log_is_durable();
    ask((struct request){.op = OP_BEGIN, .rm_count = 1, .rms = {"accounts"}});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NONE);
}
END_TEST

START_TEST(a_start_that_an_agent_refuses_decides_nothing)
{
    given_log(decided_log, 5);
    agent_accepts("accounts");
    did();
    agent_answers("ledger", (struct answer){.refusal = REFUSAL_POSITION});
    time_passes(10000);
    ck_assert_str_eq(did(), "log FENCED\n");
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_FENCED);
}
END_TEST

START_TEST(a_fence_outlasts_a_restart_until_a_person_takes_it_back)
{
    const struct record log[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .rm = "accounts", .url = "ipc:///a"},
        {.type = RECORD_START, .lsn = 3, .incarnation = 2},
        {.type = RECORD_FENCED, .rm = "accounts", .flags = REFUSAL_INSTANCE},
    };
    given_log(log, 4);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_FENCED);

    const char *why;
    struct event event = {.type = EV_START, .unfence = true};
    given_empty_tm();
    for (int i = 0; i < 4; i++)
        coordinator_replay(tm, &log[i], &why);
    step(&event);
    log_is_durable();
    ck_assert_str_eq(did(), "log START\nlog FENCED\n");
    agent_accepts("accounts");
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NONE);
}
END_TEST

START_TEST(nothing_is_begun_before_an_agent_has_accepted_this_start)
{
    const struct record log[] = {{.type = RECORD_START, .lsn = 1, .incarnation = 1}};
    given_log(log, 1);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NOT_READY);
    agent_accepts("accounts");
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NONE);
}
END_TEST

/* Transaction 1 has committed and is over. */
static void given_committed(void)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}

static void ledger_is_found_prepared(uint64_t scan, uint64_t xid)
{
    struct result found = result_about(RESULT_FOUND, 1, "ledger");
    found.number = scan;
    found.xid = xid;
    hear(found);
}

START_TEST(a_second_transaction_under_a_committed_gid_is_undone)
{
    given_committed();
    ledger_is_found_prepared(100, 999);
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

START_TEST(a_committed_branch_that_comes_back_is_never_undone)
{
    given_committed();
    /* Looked at before the end: old news. */
    ledger_is_found_prepared(1, 701);
    ck_assert_int_eq((int)coordinator_registry(tm)->rms[1].state, RM_UP);
    ledger_is_found_prepared(100, 701);
    ck_assert_str_eq(did(), "log QUARANTINED\n");
    ck_assert_int_eq((int)coordinator_registry(tm)->rms[1].state, RM_QUARANTINED);
}
END_TEST

START_TEST(a_record_that_became_durable_after_the_fence_is_told_to_nobody)
{
    given_logging();
    agent_answers("ledger", (struct answer){.refusal = REFUSAL_INCARNATION});
    log_is_durable();
    ck_assert_str_eq(did(), "log FENCED\n");
}
END_TEST

START_TEST(a_newcomer_of_another_log_is_left_out_alone)
{
    given_log(decided_log, 5);
    coordinator_configure(tm, "stock", "ipc:///s");
    agent_answers("stock", (struct answer){.refusal = REFUSAL_OTHER_LOG});
    agent_accepts("accounts");
    agent_accepts("ledger");
    ck_assert(registry_may_presume(coordinator_registry(tm), NULL));
    ck_assert(!coordinator_registry(tm)->fenced);
}
END_TEST

/* Read from the log, before the start is durable: a client may ask at once. */
START_TEST(a_fenced_log_says_so_before_its_start_is_durable)
{
    static const struct record log[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .rm = "accounts", .url = "ipc:///a"},
        {.type = RECORD_FENCED, .rm = "accounts", .flags = REFUSAL_INSTANCE},
    };
    given_replayed(log, 3);
    struct event start = {.type = EV_START};
    step(&start);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_FENCED);
}
END_TEST

START_TEST(a_new_log_that_any_agent_refuses_is_fenced)
{
    given_empty_tm();
    start_tm();
    agent_accepts("accounts");
    agent_answers("ledger", (struct answer){.refusal = REFUSAL_OTHER_LOG});
    ck_assert(coordinator_registry(tm)->fenced);
}
END_TEST

START_TEST(a_database_below_its_beat_is_quarantined)
{
    given_preparing();
    struct result vote = result_about(RESULT_READY, 1, "accounts");
    vote.beat = 9;
    hear(vote);
    ck_assert_str_eq(did(), "log BEAT\n");
    agent_answers("accounts",
                  (struct answer){.system_identifier = 1, .beat = 8, .agent_incarnation = 2});
    ck_assert_int_eq((int)coordinator_registry(tm)->rms[0].state, RM_QUARANTINED);
}
END_TEST

START_TEST(results_of_an_earlier_incarnation_of_the_agent_are_not_heard)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    struct result vote = result_about(RESULT_READY, 1, "ledger");
    vote.agent_incarnation = 7;
    hear(vote);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(a_snapshot_brings_back_all_that_the_log_had_said)
{
    static struct record before[SNAPSHOT_MAX], after[SNAPSHOT_MAX];
    struct result heuristic;

    given_tm();
    for (int i = 0; i < 3; i++)
        given_begun("accounts", "ledger");
    ask((struct request){.op = OP_BEGIN, .key = "order-4"});
    for (uint64_t i = 1; i <= 4; i++)
        ask_about(OP_COMMIT, i, "");
    for (uint64_t i = 1; i <= 3; i++) {
        agent_says(RESULT_READY, i, "accounts");
        agent_says(RESULT_READY, i, "ledger");
    }
    log_is_durable();
    did();
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    agent_says(RESULT_DONE, 2, "accounts");
    heuristic = result_about(RESULT_HEURISTIC, 2, "ledger");
    heuristic.actual = OUTCOME_ROLLED_BACK;
    hear(heuristic);
    did();

    const char *why;
    uint32_t count = take_snapshot(before);
    given_empty_tm();
    for (uint32_t i = 0; i < count; i++)
        ck_assert_msg(coordinator_replay(tm, &before[i], &why), "%s", why);
    /* The next start knows what was over, what was live, and the key. */
    start_tm();
    ck_assert_uint_eq(coordinator_incarnation(tm), 2);
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
    enum outcome outcome;
    struct gtrid gtrid = {.tm = "bank", .incarnation = 1, .sequence = 1};
    coordinator_outcome(tm, &gtrid, &outcome);
    ck_assert_int_eq((int)outcome, OUTCOME_COMMITTED);
    struct coordinator_counts counts;
    coordinator_counts(tm, &counts);
    ck_assert_uint_eq(counts.live, 2);
    ask((struct request){.op = OP_OUTCOME, .key = "order-4"});
    ck_assert_int_eq((int)actions.replies[0].outcome, OUTCOME_COMMITTED);
    ck_assert_uint_ge(take_snapshot(after), count);
}
END_TEST

/* ---- clients ---- */

START_TEST(begin_with_the_same_request_id_is_the_same_transaction)
{
    struct request request = {.op = OP_BEGIN, .request_id = "0123456789abcdef"};
    given_tm();
    ask(request);
    ask(request);
    ck_assert_str_eq(did(), "reply 1\nreply 1\n");
    strcpy(request.origin.label, "other");
    ask(request);
    ck_assert_int_eq((int)actions.replies[0].error, ERR_REQUEST_ID_REUSED);
}
END_TEST

START_TEST(a_key_is_in_use_while_live_and_once_committed)
{
    struct request request = {.op = OP_BEGIN, .key = "order-1"};
    given_tm();
    ask(request);
    ask(request);
    ck_assert_int_eq((int)actions.replies[0].error, ERR_KEY_IN_USE);
    ck_assert_int_eq((int)actions.replies[0].outcome, OUTCOME_IN_PROGRESS);
    ask_about(OP_ROLLBACK, 1, "");
    ask(request);
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NONE);
    ask_about(OP_COMMIT, 2, "");
    ask(request);
    ck_assert_int_eq((int)actions.replies[0].error, ERR_KEY_IN_USE);
    ck_assert_int_eq((int)actions.replies[0].outcome, OUTCOME_COMMITTED);
    ck_assert_uint_eq(actions.replies[0].gtrid.sequence, 2);
}
END_TEST

START_TEST(enlist_is_repeatable_and_ends_with_commit)
{
    given_tm();
    given_begun("accounts", NULL);
    ask_about(OP_ENLIST, 1, "ledger");
    ask_about(OP_ENLIST, 1, "ledger");
    ck_assert_str_eq(did(), "reply 1\nreply 1\n");
    ask_about(OP_COMMIT, 1, "");
    did();
    ask_about(OP_ENLIST, 1, "ledger");
    ck_assert_str_eq(did(), "reply 1\n");
    ask_about(OP_ENLIST, 1, "nobody");
    ck_assert_int_eq((int)actions.replies[0].error, ERR_UNKNOWN_RM);
}
END_TEST

START_TEST(limits_are_answered_busy)
{
    given_tm();
    for (uint32_t i = 0; i < limits.transactions_max; i++)
        given_begun("accounts", NULL);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_BUSY);
}
END_TEST

static enum error_code error_about(enum op op, struct gtrid gtrid)
{
    ask((struct request){.op = op, .has_gtrid = true, .gtrid = gtrid});
    return actions.replies[0].error;
}

/* An old log, or an empty one in place of one that is lost, has given out less than it seems. */
START_TEST(what_a_log_has_not_reached_is_not_unknown_before_every_agent_has_spoken)
{
    given_empty_tm();
    start_tm();
    const struct gtrid ahead[] = {gtrid_of_start(9, 1), gtrid_number(1)};
    agent_accepts("accounts");
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq((int)error_about(OP_OUTCOME, ahead[i]), ERR_NOT_READY);
        ck_assert_int_eq((int)error_about(OP_COMMIT, ahead[i]), ERR_NOT_READY);
        ck_assert_int_eq((int)error_about(OP_ROLLBACK, ahead[i]), ERR_NOT_READY);
    }
    agent_accepts("ledger");
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq((int)error_about(OP_OUTCOME, ahead[i]), ERR_UNKNOWN_TRANSACTION);
        ck_assert_int_eq((int)error_about(OP_COMMIT, ahead[i]), ERR_UNKNOWN_TRANSACTION);
    }
}
END_TEST

START_TEST(what_this_coordinator_never_began_is_unknown)
{
    given_tm();
    ask_about(OP_COMMIT, 1, "");
    ck_assert_int_eq((int)actions.replies[0].error, ERR_UNKNOWN_TRANSACTION);
    ask((struct request){.op = OP_OUTCOME,
                         .has_gtrid = true,
                         .gtrid = {.tm = "other", .incarnation = 1, .sequence = 1}});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_UNKNOWN_TRANSACTION);
}
END_TEST

START_TEST(a_draining_coordinator_begins_nothing_and_finishes_the_rest)
{
    given_preparing();
    struct event event = {.type = EV_DRAIN};
    step(&event);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NOT_READY);
    said[0] = '\0';
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
}
END_TEST

/* ---- a DBA ---- */

START_TEST(a_dbas_decision_takes_effect_only_once_it_is_durable)
{
    given_preparing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, false);
    ck_assert_str_eq(did(), "log RESOLVED\n");
    log_is_durable();
    ck_assert_str_eq(did(), "rollback accounts\nrollback ledger\n"
                            "reply rolled-back, not yet applied\n"
                            "recover accounts\nrecover ledger\n");
}
END_TEST

START_TEST(what_the_log_contradicts_has_to_be_forced_and_is_mixed)
{
    given_committing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, false);
    ck_assert_str_eq(did(), "refuse contradicted\n");
    agent_says(RESULT_DONE, 1, "accounts");
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, true);
    log_is_durable();
    ck_assert_ptr_nonnull(strstr(did(), "rollback ledger\n"));
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "log MIXED\nreply mixed\n");
    dba_asks(OP_FORGET, 1, OUTCOME_NONE, false);
    log_is_durable();
    did();
    ask_about(OP_OUTCOME, 1, "");
    ck_assert_str_eq(did(), "reply committed\n");
}
END_TEST

START_TEST(a_commit_that_won_the_race_with_a_forced_rollback_is_no_heuristic)
{
    given_committing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, true);
    log_is_durable();
    did();
    for (int i = 0; i < 2; i++) {
        struct result done = result_about(RESULT_DONE, 1, i == 0 ? "accounts" : "ledger");
        done.actual = OUTCOME_COMMITTED;
        hear(done);
    }
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(an_undecided_transaction_that_is_decided_meanwhile_is_left_alone)
{
    given_preparing();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, false);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "commit accounts\ncommit ledger\nreply committed, not yet applied\n"
                            "recover accounts\nrecover ledger\n");
}
END_TEST

START_TEST(a_paused_rm_takes_no_branch_and_finishes_what_it_has)
{
    given_preparing();
    dba_asks_about(OP_PAUSE, "ledger");
    log_is_durable();
    ck_assert_str_eq(did(), "log PAUSED\nreply , not yet applied\n");
    ck_assert_uint_eq(coordinator_running_at(tm, rm_number("ledger")), 1);
    struct request request = {.op = OP_BEGIN, .rms = {"ledger"}, .rm_count = 1};
    ask(request);
    ck_assert_str_eq(did(), "refuse rm_paused\n");
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
}
END_TEST

START_TEST(an_agent_that_has_registered_cannot_be_waived)
{
    given_tm();
    dba_asks_about(OP_WAIVE, "ledger");
    ck_assert_str_eq(did(), "refuse wrong_state\n");
}
END_TEST

START_TEST(what_a_released_database_may_have_lost_is_driven_once_it_is_found)
{
    given_committing();
    agent_says(RESULT_LOST, 1, "ledger");
    ck_assert_str_eq(did(), "log QUARANTINED\n");
    dba_asks_about(OP_RELEASE, "ledger");
    log_is_durable();
    did();
    agent_accepts("ledger");
    did();
    time_passes(60000);
    ck_assert_ptr_null(strstr(did(), "commit ledger"));
    agent_says(RESULT_LOST, 1, "ledger");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "");
    agent_says(RESULT_FOUND, 1, "ledger");
    ck_assert_str_eq(did(), "commit ledger\n");
}
END_TEST

START_TEST(a_quarantine_outlasts_a_restart)
{
    const struct record records[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .lsn = 2, .rm = "ledger", .system_identifier = 1},
        {.type = RECORD_QUARANTINED, .lsn = 3, .rm = "ledger"},
    };
    given_log(records, 3);
    agent_accepts("ledger");
    ck_assert_int_eq(coordinator_registry(tm)->rms[rm_number("ledger")].state, RM_QUARANTINED);
}
END_TEST

START_TEST(what_is_found_of_a_resolved_transaction_follows_the_dba)
{
    const struct record records[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .lsn = 2, .rm = "ledger", .system_identifier = 1},
        {.type = RECORD_RESOLVED,
         .lsn = 3,
         .incarnation = 1,
         .sequence = 5,
         .outcome = OUTCOME_COMMITTED,
         .flags = RESOLVED_STRAY | RESOLVED_HEURISTIC,
         .who = "root",
         .why = "ledger is gone"},
    };
    given_log(records, 3);
    agent_accepts("ledger");
    did();
    struct result found = result_about(RESULT_FOUND, 5, "ledger");
    found.branch.gtrid.incarnation = 1;
    hear(found);
    ck_assert_str_eq(did(), "commit ledger\n");
    struct txn_view view;
    struct gtrid gtrid = {.tm = "bank", .incarnation = 1, .sequence = 5};
    ck_assert(coordinator_show(tm, &gtrid, now_ms, &view));
    ck_assert_int_eq(view.state, SHOWN_MIXED);
    ck_assert_str_eq(view.reason.message, "root: ledger is gone");
}
END_TEST

/* ---- three phases ---- */

/* Its acceptors are the agents of its branches, and a ballot's rank has room for 15. */
START_TEST(a_3pc_transaction_has_at_most_15_resource_managers)
{
    struct request request = {.op = OP_BEGIN, .protocol = PROTOCOL_3PC};
    given_rms(ACCEPTORS_MAX + 1);
    for (uint32_t i = 0; i < ACCEPTORS_MAX + 1; i++)
        snprintf(request.rms[request.rm_count++], RM_NAME_BYTES, "r%u", i + 1);
    ask(request);
    ck_assert_int_eq((int)actions.replies[0].error, ERR_TOO_MANY_BRANCHES);
    request.rm_count = ACCEPTORS_MAX;
    ask(request);
    did();
    ask_about(OP_ENLIST, 1, "r16");
    ck_assert_int_eq((int)actions.replies[0].error, ERR_TOO_MANY_BRANCHES);
    ask_about(OP_ENLIST, 1, "r15");
    ck_assert_int_eq((int)actions.replies[0].error, ERR_NONE);
}
END_TEST

START_TEST(who_decides_and_who_has_answered_is_shown)
{
    struct txn_view view;
    struct gtrid gtrid;
    given_rms(3);
    struct request begin = {.op = OP_BEGIN, .protocol = PROTOCOL_3PC, .rm_count = 3};
    for (uint32_t i = 0; i < 3; i++)
        snprintf(begin.rms[i], RM_NAME_BYTES, "r%u", i + 1);
    ask(begin);
    ask_about(OP_COMMIT, 1, "");
    for (uint32_t i = 0; i < 3; i++)
        agent_says(RESULT_READY, 1, begin.rms[i]);
    log_is_durable();
    did();
    agent_is_lost("r3");
    gtrid = gtrid_number(1);
    acceptor_says("r2", gtrid, (struct ballot){.type = BALLOT_ACCEPTED});

    ck_assert(coordinator_show(tm, &gtrid, now_ms, &view));
    ck_assert_int_eq((int)view.state, SHOWN_PRECOMMITTING);
    ck_assert_int_eq((int)view.protocol, PROTOCOL_3PC);
    ck_assert_uint_eq(view.ballot.roster.count, 3);
    ck_assert(!view.ballot.roster.tm);
    ck_assert_int_eq((int)view.ballot.phase, LEADER_PROPOSING);
    ck_assert_uint_eq(view.ballot.answered, rank_bit(1));
    ck_assert_uint_eq(view.ballot.reachable, rank_bit(0) | rank_bit(1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("coordinator");
    TCase *table = tcase_create("table");
    tcase_add_test(table, no_cell_of_the_table_is_empty);
    tcase_add_test(table, every_possible_result_in_every_state_is_survived);
    suite_add_tcase(suite, table);

    TCase *commits = tcase_create("commit");
    tcase_add_test(commits, commit_is_announced_only_once_the_record_is_durable);
    tcase_add_test(commits, a_client_that_waits_for_applied_hears_once_all_are_done);
    tcase_add_test(commits, a_client_that_waits_for_decided_hears_at_the_decision);
    tcase_add_test(commits, a_vote_that_is_repeated_counts_once);
    tcase_add_test(commits, the_decision_is_bound_to_the_xid_that_was_voted_for);
    tcase_add_test(commits, nothing_ends_a_transaction_after_its_record_is_handed_over);
    tcase_add_test(commits, commit_is_sent_again_for_ever);
    tcase_add_test(commits, a_late_second_commit_hears_the_outcome);
    tcase_add_test(commits, a_transaction_without_branches_commits_at_once_and_logs_nothing);
    tcase_add_test(commits, a_read_only_branch_needs_no_outcome);
    suite_add_tcase(suite, commits);

    TCase *aborts = tcase_create("abort");
    tcase_add_test(aborts, a_no_undoes_every_branch_and_logs_nothing);
    tcase_add_test(aborts, a_deadline_undoes);
    tcase_add_test(aborts, a_client_waits_for_no_frozen_agent_beyond_the_transactions_time);
    tcase_add_test(aborts, a_no_is_waited_for_everywhere_within_the_transactions_time);
    tcase_add_test(aborts, a_branch_is_enlisted_again_only_as_it_is);
    tcase_add_test(aborts, an_idle_transaction_ends_at_its_timeout);
    tcase_add_test(aborts, a_branch_found_prepared_after_the_abort_is_undone);
    tcase_add_test(aborts, a_scan_that_finds_an_undecided_branch_changes_nothing);
    tcase_add_test(aborts, a_gtrid_above_ours_is_refused_with_an_alarm);
    tcase_add_test(aborts, a_branch_undone_by_hand_makes_it_mixed_and_is_never_hidden);
    tcase_add_test(aborts, a_second_transaction_under_a_mixed_gid_is_undone);
    tcase_add_test(aborts, a_branch_that_was_out_of_reach_when_it_became_mixed_is_undone_later);
    tcase_add_test(aborts, a_branch_gone_without_evidence_stays_in_doubt);
    suite_add_tcase(suite, aborts);

    TCase *one_phase = tcase_create("one phase");
    tcase_add_test(one_phase, one_branch_is_delegated_only_behind_the_record);
    tcase_add_test(one_phase, a_delegated_branch_that_could_not_commit_is_rolled_back);
    tcase_add_test(one_phase,
                   a_delegated_branch_that_was_prepared_instead_is_decided_behind_a_record);
    tcase_add_test(one_phase, a_start_drives_what_was_delegated_prepared_instead_and_decided);
    tcase_add_test(one_phase, one_branch_on_the_applications_own_connection_is_prepared);
    tcase_add_test(one_phase, a_delegated_transaction_of_an_earlier_start_is_settled_by_its_marker);
    suite_add_tcase(suite, one_phase);

    TCase *three_phases = tcase_create("three phases");
    tcase_add_test(three_phases, a_3pc_transaction_has_at_most_15_resource_managers);
    tcase_add_test(three_phases, who_decides_and_who_has_answered_is_shown);
    suite_add_tcase(suite, three_phases);

    TCase *dba = tcase_create("dba");
    tcase_add_test(dba, a_dbas_decision_takes_effect_only_once_it_is_durable);
    tcase_add_test(dba, what_the_log_contradicts_has_to_be_forced_and_is_mixed);
    tcase_add_test(dba, a_commit_that_won_the_race_with_a_forced_rollback_is_no_heuristic);
    tcase_add_test(dba, an_undecided_transaction_that_is_decided_meanwhile_is_left_alone);
    tcase_add_test(dba, a_paused_rm_takes_no_branch_and_finishes_what_it_has);
    tcase_add_test(dba, an_agent_that_has_registered_cannot_be_waived);
    tcase_add_test(dba, what_a_released_database_may_have_lost_is_driven_once_it_is_found);
    tcase_add_test(dba, a_quarantine_outlasts_a_restart);
    tcase_add_test(dba, what_is_found_of_a_resolved_transaction_follows_the_dba);
    suite_add_tcase(suite, dba);

    TCase *starts = tcase_create("start");
    tcase_add_test(starts, what_was_decided_is_driven_as_soon_as_its_agent_is_back);
    tcase_add_test(starts, nothing_of_an_earlier_start_is_presumed_before_every_agent_has_accepted);
    tcase_add_test(starts, a_key_is_not_called_unknown_while_the_log_may_be_an_old_one);
    tcase_add_test(starts, a_start_hands_out_no_gtrid_before_its_record_is_durable);
    tcase_add_test(starts, a_start_goes_above_one_that_left_no_start_record);
    tcase_add_test(starts, an_agent_takes_no_branch_before_its_record_is_durable);
    tcase_add_test(starts, a_start_that_an_agent_refuses_decides_nothing);
    tcase_add_test(starts, a_fence_outlasts_a_restart_until_a_person_takes_it_back);
    tcase_add_test(starts, nothing_is_begun_before_an_agent_has_accepted_this_start);
    tcase_add_test(starts, a_second_transaction_under_a_committed_gid_is_undone);
    tcase_add_test(starts, a_committed_branch_that_comes_back_is_never_undone);
    tcase_add_test(starts, a_record_that_became_durable_after_the_fence_is_told_to_nobody);
    tcase_add_test(starts, a_snapshot_brings_back_all_that_the_log_had_said);
    tcase_add_test(starts, a_newcomer_of_another_log_is_left_out_alone);
    tcase_add_test(starts, a_fenced_log_says_so_before_its_start_is_durable);
    tcase_add_test(starts, a_new_log_that_any_agent_refuses_is_fenced);
    tcase_add_test(starts, a_database_below_its_beat_is_quarantined);
    tcase_add_test(starts, results_of_an_earlier_incarnation_of_the_agent_are_not_heard);
    suite_add_tcase(suite, starts);

    TCase *clients = tcase_create("clients");
    tcase_add_test(clients, begin_with_the_same_request_id_is_the_same_transaction);
    tcase_add_test(clients, a_key_is_in_use_while_live_and_once_committed);
    tcase_add_test(clients, enlist_is_repeatable_and_ends_with_commit);
    tcase_add_test(clients, limits_are_answered_busy);
    tcase_add_test(clients,
                   what_a_log_has_not_reached_is_not_unknown_before_every_agent_has_spoken);
    tcase_add_test(clients, what_this_coordinator_never_began_is_unknown);
    tcase_add_test(clients, a_draining_coordinator_begins_nothing_and_finishes_the_rest);
    suite_add_tcase(suite, clients);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
