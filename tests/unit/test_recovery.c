/*
 * tests/unit/test_recovery.c - what a start makes of the log, and of the snapshot that stands for
 * it.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/coordinator_harness.h"

/* ---- the log of an earlier start ---- */

enum { COMMITTED = 7 };

#define HEAD                                                                                       \
    {.type = RECORD_START, .lsn = 1, .incarnation = 1},                                            \
        {.type = RECORD_AGENT,                                                                     \
         .lsn = 2,                                                                                 \
         .rm = "accounts",                                                                         \
         .url = "ipc:///a",                                                                        \
         .system_identifier = 1},                                                                  \
        {.type = RECORD_AGENT,                                                                     \
         .lsn = 3,                                                                                 \
         .rm = "ledger",                                                                           \
         .url = "ipc:///l",                                                                        \
         .system_identifier = 1},                                                                  \
    {                                                                                              \
        .type = RECORD_ESTABLISHED, .lsn = 4                                                       \
    }

#define AT_BOTH                                                                                    \
    .branch_count = 2, .branches = {                                                               \
                           {.rm = "accounts", .xid = 71},                                          \
                           {.rm = "ledger", .xid = 72},                                            \
    }

#define COMMIT                                                                                     \
    {                                                                                              \
        .type = RECORD_COMMIT, .lsn = 5, .incarnation = 1, .sequence = COMMITTED, AT_BOTH          \
    }

static struct record about(enum record_type type, enum outcome outcome)
{
    return (struct record){
        .type = type, .lsn = 9, .incarnation = 1, .sequence = COMMITTED, .outcome = outcome};
}

static struct record of_branch(enum record_type type, enum outcome outcome, const char *rm)
{
    struct record record = about(type, outcome);
    record.branch_count = 1;
    strcpy(record.branches[0].rm, rm);
    return record;
}

static void both_accept(void)
{
    agent_accepts("accounts");
    agent_accepts("ledger");
}

static enum outcome outcome_then(void)
{
    return outcome_of(gtrid_of_start(1, COMMITTED));
}

static struct result found_then(const char *rm, uint64_t xid)
{
    struct result found = result_about(RESULT_FOUND, COMMITTED, rm);
    found.branch.gtrid = gtrid_of_start(1, COMMITTED);
    found.xid = xid;
    return found;
}

/* ---- logs that are refused ---- */

/* What is wrong with the last of these, in words; NULL: nothing. */
static const char *refused(const struct record *records, uint32_t count)
{
    const char *why = NULL;
    given_empty_tm();
    for (uint32_t i = 0; i < count; i++) {
        bool taken = coordinator_replay(tm, &records[i], &why);
        ck_assert_msg(taken || i + 1 == count, "record %u: %s", i, why);
        ck_assert(taken == (why == NULL));
    }
    return why;
}

START_TEST(a_start_that_does_not_rise_is_refused)
{
    const struct record log[] = {HEAD, {.type = RECORD_START, .lsn = 5, .incarnation = 1}};
    ck_assert_str_eq(refused(log, 5), "a start whose incarnation does not rise");
}
END_TEST

START_TEST(an_agent_before_any_start_is_refused)
{
    const struct record log[] = {{.type = RECORD_AGENT, .lsn = 1, .rm = "accounts"}};
    ck_assert_str_eq(refused(log, 1), "an agent before any start");
}
END_TEST

START_TEST(a_second_decision_is_refused)
{
    const struct record log[] = {HEAD, COMMIT, COMMIT};
    ck_assert_str_eq(refused(log, 6), "a transaction is decided twice");
}
END_TEST

START_TEST(an_end_without_a_decision_is_refused)
{
    const struct record log[] = {HEAD, about(RECORD_END, OUTCOME_NONE)};
    ck_assert_str_eq(refused(log, 5), "a transaction ends that was not decided");
}
END_TEST

START_TEST(a_vote_without_a_precommit_is_refused)
{
    const struct record never[] = {HEAD, about(RECORD_PROMISE, OUTCOME_NONE)};
    ck_assert_str_eq(refused(never, 5), "a vote in a transaction that is not precommitted");
    const struct record two_phase[] = {HEAD, COMMIT, about(RECORD_ACCEPT, OUTCOME_COMMITTED)};
    ck_assert_str_eq(refused(two_phase, 6), "a vote in a transaction that is not precommitted");
}
END_TEST

START_TEST(a_fence_by_no_known_refusal_is_refused)
{
    const struct record log[] = {
        HEAD, {.type = RECORD_FENCED, .lsn = 5, .rm = "ledger", .flags = REFUSALS}};
    ck_assert_str_eq(refused(log, 5), "a fence that cannot be read");
}
END_TEST

START_TEST(more_live_transactions_than_there_is_room_for_are_refused)
{
    static struct record log[4 + 9] = {HEAD};
    for (uint32_t i = 0; i <= limits.transactions_max; i++)
        log[4 + i] = (struct record){.type = RECORD_COMMIT,
                                     .lsn = 5 + i,
                                     .incarnation = 1,
                                     .sequence = 1 + i,
                                     .branch_count = 1,
                                     .branches = {{.rm = "accounts"}}};
    ck_assert_str_eq(refused(log, 5 + limits.transactions_max),
                     "more live transactions than max_transactions allows");
    log[4 + limits.transactions_max].type = RECORD_PRECOMMIT;
    ck_assert_str_eq(refused(log, 5 + limits.transactions_max),
                     "more live transactions than max_transactions allows");
    log[4 + limits.transactions_max].type = RECORD_MIXED;
    ck_assert_str_eq(refused(log, 5 + limits.transactions_max),
                     "more live transactions than max_transactions allows");
}
END_TEST

START_TEST(more_branches_than_there_is_room_for_are_refused)
{
    struct record log[] = {HEAD, COMMIT};
    log[4].branch_count = limits.branches_max + 1;
    for (uint32_t i = 0; i < log[4].branch_count; i++) {
        strcpy(log[4].branches[i].rm, "accounts");
        snprintf(log[4].branches[i].branch, BRANCH_NAME_BYTES, "b%u", i);
    }
    ck_assert_str_eq(refused(log, 5), "more live branches than max_branches allows");
}
END_TEST

START_TEST(more_resource_managers_than_there_is_room_for_are_refused)
{
    static const enum record_type types[] = {RECORD_AGENT,    RECORD_BEAT,     RECORD_QUARANTINED,
                                             RECORD_RM,       RECORD_PAUSED,   RECORD_WAIVED,
                                             RECORD_RELEASED, RECORD_PRECOMMIT};
    static struct record log[1 + RMS_MAX] = {{.type = RECORD_START, .lsn = 1, .incarnation = 1}};
    for (uint32_t i = 1; i < RMS_MAX; i++) { /* accounts and ledger are two of them */
        log[i] = (struct record){.type = RECORD_AGENT, .lsn = 1 + i};
        snprintf(log[i].rm, RM_NAME_BYTES, "r%u", i);
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct record *last = &log[RMS_MAX - 1];
        *last = (struct record){.type = types[i], .lsn = RMS_MAX, .rm = "one-too-many"};
        last->roster.count = 1;
        strcpy(last->roster.agents[0], "one-too-many");
        ck_assert_str_eq(refused(log, RMS_MAX),
                         "more resource managers than a coordinator can have");
    }
}
END_TEST

START_TEST(a_decision_of_what_was_taken_back_from_its_database_is_one_of_that_branch)
{
    struct record log[] = {HEAD, COMMIT, COMMIT};
    log[4].type = RECORD_DELEGATED;
    log[4].branch_count = 1;
    ck_assert_str_eq(refused(log, 6), "a transaction is decided twice");
    log[5].branch_count = 1;
    ck_assert_ptr_null(refused(log, 6));
    log[5].type = RECORD_DELEGATED;
    ck_assert_str_eq(refused(log, 6), "a transaction is decided twice");
}
END_TEST

START_TEST(more_databases_of_a_commit_than_there_is_room_for_are_refused)
{
    static struct record log[1 + RMS_MAX] = {{.type = RECORD_START, .lsn = 1, .incarnation = 1}};
    for (uint32_t i = 1; i < RMS_MAX - 1; i++) {
        log[i] = (struct record){.type = RECORD_AGENT, .lsn = 1 + i};
        snprintf(log[i].rm, RM_NAME_BYTES, "r%u", i);
    }
    log[RMS_MAX - 1] = (struct record)COMMIT;
    strcpy(log[RMS_MAX - 1].branches[1].rm, "one-too-many");
    ck_assert_str_eq(refused(log, RMS_MAX), "more resource managers than a coordinator can have");
}
END_TEST

/* Of so many starts that each has a page of its own. */
START_TEST(more_outcomes_than_there_is_room_for_are_refused)
{
    static struct record log[500];
    const char *why = NULL;
    uint32_t count = 0;
    while (count < 500 && why == NULL) {
        log[count] = (struct record){.type = RECORD_START, .lsn = 1 + count, .incarnation = 1};
        log[count].incarnation += count;
        count++;
        log[count] = (struct record){
            .type = RECORD_CHUNK, .lsn = 1 + count, .incarnation = count, .bits = {2}};
        count++;
        why = refused(log, count);
    }
    ck_assert_str_eq(why, "more outcomes than max_outcomes allows are still remembered: raise it "
                          "to what it was");
    ck_assert_uint_ge(count / 2, limits.outcome_chunks_max);
}
END_TEST

START_TEST(more_keys_than_there_is_room_for_are_refused)
{
    static const char too_many[] =
        "more keys than max_keys allows are still remembered: raise it to what it was";
    static struct record log[500] = {{.type = RECORD_START, .lsn = 1, .incarnation = 1}};
    const char *why = NULL;
    uint32_t count = 1;
    while (count < 499 && why == NULL) {
        log[count] = (struct record){.type = RECORD_HASHED_KEY,
                                     .lsn = 1 + count,
                                     .incarnation = 1,
                                     .sequence = count,
                                     .hash = {count, 1}};
        count++;
        why = refused(log, count);
    }
    ck_assert_str_eq(why, too_many);
    ck_assert_uint_ge(count, limits.keys_max);
    log[count - 1] = (struct record)COMMIT;
    ck_assert_str_eq(refused(log, count), too_many);
}
END_TEST

/* ---- what is live again ---- */

START_TEST(a_branch_that_was_ended_by_hand_before_the_crash_stays_mixed)
{
    const struct record log[] = {HEAD, COMMIT,
                                 of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "ledger")};
    given_log(log, 6);
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_null(strstr(all, "commit ledger\n"));
    struct result done = found_then("accounts", 71);
    done.type = RESULT_DONE;
    hear(done);
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);
}
END_TEST

START_TEST(all_branches_ended_by_hand_before_the_crash_are_mixed_at_once)
{
    const struct record log[] = {HEAD, COMMIT,
                                 of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "ledger"),
                                 of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "accounts")};
    given_log(log, 7);
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);
    both_accept();
    ck_assert_ptr_null(strstr(did(), "commit"));
}
END_TEST

START_TEST(commits_by_hand_of_what_was_rolled_back_are_its_only_record)
{
    const struct record log[] = {HEAD, of_branch(RECORD_MIXED, OUTCOME_COMMITTED, "ledger"),
                                 of_branch(RECORD_MIXED, OUTCOME_COMMITTED, "accounts")};
    struct txn_view view;
    struct gtrid gtrid = gtrid_of_start(1, COMMITTED);
    given_log(log, 6);
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);
    ck_assert(coordinator_show(tm, &gtrid, now_ms, &view));
    ck_assert_uint_eq(view.branch_count, 2);
    ck_assert_int_eq((int)view.branches[1].progress, BR_HEURISTIC);
}
END_TEST

START_TEST(what_its_only_database_has_committed_is_committed_after_the_crash)
{
    struct record log[] = {HEAD, COMMIT, about(RECORD_OUTCOME, OUTCOME_COMMITTED)};
    log[4].type = RECORD_DELEGATED;
    log[4].branch_count = 1;
    strcpy(log[4].key, "order-7");
    given_log(log, 6);
    both_accept();
    did();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_COMMITTED);
    ask((struct request){.op = OP_BEGIN, .key = "order-7"});
    ck_assert_str_eq(did(), "refuse key_in_use\n");
}
END_TEST

START_TEST(a_key_that_an_older_version_has_written_is_in_use)
{
    const struct record log[] = {
        HEAD,
        {.type = RECORD_KEY, .lsn = 5, .incarnation = 1, .sequence = COMMITTED, .key = "order-7"}};
    given_log(log, 5);
    both_accept();
    did();
    ask((struct request){.op = OP_BEGIN, .key = "order-7"});
    ck_assert_str_eq(did(), "refuse key_in_use\n");
    ck_assert_uint_eq(actions.replies[0].gtrid.sequence, COMMITTED);
    ask((struct request){.op = OP_BEGIN, .key = "order-8"});
    ck_assert_str_eq(did(), "reply 1\n");
}
END_TEST

START_TEST(a_fence_that_a_person_has_lifted_is_none_after_the_crash)
{
    const struct record log[] = {
        HEAD,
        {.type = RECORD_FENCED, .lsn = 5, .rm = "ledger", .flags = REFUSAL_POSITION},
        {.type = RECORD_FENCED, .lsn = 6}};
    given_log(log, 5);
    ask((struct request){.op = OP_BEGIN});
    ck_assert_str_eq(did(), "refuse fenced\n");
    given_log(log, 6);
    both_accept();
    did();
    ask((struct request){.op = OP_BEGIN});
    ck_assert_str_eq(did(), "reply 1\n");
}
END_TEST

/* Records of several starts may say a beat twice, and not in its order. */
START_TEST(the_highest_beat_that_was_logged_counts)
{
    const struct record log[] = {
        HEAD,
        {.type = RECORD_BEAT, .lsn = 5, .rm = "ledger", .beat = 9, .system_identifier = 1},
        {.type = RECORD_BEAT, .lsn = 6, .rm = "ledger", .beat = 7, .system_identifier = 1}};
    given_log(log, 6);
    agent_answers("ledger", (struct answer){.beat = 8});
    ck_assert_str_eq(rm_is("ledger"), "quarantined");
}
END_TEST

START_TEST(what_marks_the_log_itself_changes_nothing)
{
    const struct record log[] = {
        HEAD, COMMIT, {.type = RECORD_STOP, .lsn = 6}, {.type = RECORD_SEAL, .lsn = 7}};
    given_log(log, 7);
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_nonnull(strstr(all, "commit ledger\n"));
}
END_TEST

START_TEST(an_ending_by_hand_of_a_branch_that_is_not_one_of_it_changes_nothing)
{
    const struct record log[] = {HEAD, COMMIT,
                                 of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "stock")};
    given_log(log, 6);
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_nonnull(strstr(all, "commit ledger\n"));
}
END_TEST

START_TEST(a_forced_rollback_is_delivered_after_the_crash)
{
    struct record log[] = {HEAD, COMMIT, about(RECORD_RESOLVED, OUTCOME_ROLLED_BACK)};
    log[5].flags = RESOLVED_HEURISTIC;
    given_log(log, 6);
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "rollback accounts\n"));
    ck_assert_ptr_nonnull(strstr(all, "rollback ledger\n"));
}
END_TEST

/* It was asked for while nothing was decided, and came second. */
START_TEST(a_rollback_that_came_too_late_is_too_late_after_the_crash)
{
    const struct record log[] = {HEAD, COMMIT, about(RECORD_RESOLVED, OUTCOME_ROLLED_BACK)};
    given_log(log, 6);
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_nonnull(strstr(all, "commit ledger\n"));
}
END_TEST

START_TEST(a_branch_that_counts_as_committed_is_not_driven_after_the_crash)
{
    struct record log[] = {HEAD, COMMIT, of_branch(RECORD_RESOLVED, OUTCOME_COMMITTED, "ledger")};
    log[5].flags = RESOLVED_HEURISTIC;
    given_log(log, 6);
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_null(strstr(all, "commit ledger\n"));
}
END_TEST

START_TEST(a_delegated_transaction_that_a_dba_has_resolved_is_not_settled_by_its_database)
{
    struct record log[] = {HEAD, of_branch(RECORD_DELEGATED, OUTCOME_NONE, "accounts"),
                           about(RECORD_RESOLVED, OUTCOME_COMMITTED)};
    log[5].flags = RESOLVED_HEURISTIC;
    given_log(log, 6);
    both_accept();
    ck_assert_ptr_null(strstr(did(), "settle"));
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);
}
END_TEST

START_TEST(what_a_dba_has_forgotten_is_over_after_the_crash)
{
    const struct record log[] = {HEAD, COMMIT,
                                 of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "ledger"),
                                 of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "accounts"),
                                 about(RECORD_RESOLVED, OUTCOME_FORGOTTEN)};
    struct coordinator_counts counts;
    given_log(log, 8);
    coordinator_counts(tm, &counts);
    ck_assert_uint_eq(counts.live, 0);
    ck_assert_int_eq((int)outcome_then(), OUTCOME_COMMITTED);
}
END_TEST

/* Of what is not live there is nothing to forget; the log may say so all the same. */
START_TEST(a_word_of_a_dba_that_came_too_late_changes_nothing)
{
    const struct record log[] = {HEAD, COMMIT, about(RECORD_RESOLVED, OUTCOME_FORGOTTEN),
                                 about(RECORD_END, OUTCOME_NONE),
                                 about(RECORD_RESOLVED, OUTCOME_ROLLED_BACK)};
    struct coordinator_counts counts;
    given_log(log, 8);
    coordinator_counts(tm, &counts);
    ck_assert_uint_eq(counts.live, 0);
    both_accept();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_COMMITTED);
}
END_TEST

/* ---- snapshots ---- */

START_TEST(a_snapshot_keeps_what_a_dba_has_resolved)
{
    struct record log[] = {HEAD, about(RECORD_RESOLVED, OUTCOME_COMMITTED)};
    log[4].flags = RESOLVED_STRAY | RESOLVED_HEURISTIC;
    strcpy(log[4].who, "root");
    strcpy(log[4].why, "ticket 4711");
    given_log(log, 5);
    given_snapshot();
    both_accept();
    did();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);
    hear(found_then("ledger", 72));
    ck_assert_str_eq(did(), "commit ledger\n");
    struct txn_view view;
    struct gtrid gtrid = gtrid_of_start(1, COMMITTED);
    ck_assert(coordinator_show(tm, &gtrid, now_ms, &view));
    ck_assert_str_eq(view.reason.message, "root: ticket 4711");
}
END_TEST

/* It agreed with the log, and is no heuristic after the snapshot either. */
START_TEST(a_snapshot_keeps_that_a_dba_only_said_what_was_so)
{
    struct record log[] = {HEAD, about(RECORD_RESOLVED, OUTCOME_ROLLED_BACK)};
    log[4].flags = RESOLVED_STRAY;
    given_log(log, 5);
    given_snapshot();
    both_accept();
    did();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_ROLLED_BACK);
    hear(found_then("ledger", 72));
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

static void is_scanned(const char *rm, uint64_t number)
{
    struct result scanned = found_then(rm, 0);
    scanned.type = RESULT_SCANNED;
    scanned.number = number;
    hear(scanned);
}

static bool is_live(void)
{
    struct coordinator_counts counts;
    coordinator_counts(tm, &counts);
    return counts.live > 0;
}

/* Below the new log's horizon nothing would be presumed of it. */
START_TEST(what_a_recovery_rolls_back_is_undone_wherever_it_is_found_and_then_over)
{
    struct record log[] = {HEAD, about(RECORD_RESOLVED, OUTCOME_ROLLED_BACK)};
    log[4].flags = RESOLVED_STRAY | RESOLVED_RECOVERED;
    given_log(log, 5);
    given_snapshot();
    both_accept();
    did();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_ROLLED_BACK);
    is_scanned("accounts", 900);
    hear(found_then("ledger", 72));
    ck_assert_str_eq(did(), "rollback ledger\n");
    ck_assert(is_live());
    is_scanned("ledger", 901);
    ck_assert(!is_live());
    ck_assert_int_eq((int)outcome_then(), OUTCOME_ROLLED_BACK);
}
END_TEST

/* By a person's word alone: it is not told as what was decided. */
START_TEST(what_a_recovery_rolls_back_waits_for_an_agent_that_is_away)
{
    struct record log[] = {HEAD,
                           about(RECORD_RESOLVED, OUTCOME_ROLLED_BACK),
                           {.type = RECORD_HORIZON, .incarnation = 1, .sequence = 1000}};
    log[4].flags = RESOLVED_STRAY | RESOLVED_RECOVERED | RESOLVED_HEURISTIC;
    given_log(log, 6);
    agent_accepts("ledger");
    is_scanned("ledger", 900);
    ck_assert(is_live());
    agent_accepts("accounts");
    ck_assert(is_live());
    ck_assert_int_eq((int)outcome_then(), OUTCOME_FORGOTTEN);
    is_scanned("accounts", 901);
    ck_assert(!is_live());
    ck_assert_int_eq((int)outcome_then(), OUTCOME_FORGOTTEN);
}
END_TEST

START_TEST(a_snapshot_keeps_what_a_dba_has_said_of_branches)
{
    struct record log[] = {HEAD, COMMIT, of_branch(RECORD_RESOLVED, OUTCOME_COMMITTED, "ledger")};
    log[5].flags = RESOLVED_HEURISTIC;
    given_log(log, 6);
    given_snapshot();
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_null(strstr(all, "commit ledger\n"));
    struct result done = found_then("accounts", 71);
    done.type = RESULT_DONE;
    hear(done);
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);

    log[5] = about(RECORD_RESOLVED, OUTCOME_ROLLED_BACK);
    log[5].flags = RESOLVED_HEURISTIC;
    given_log(log, 6);
    given_snapshot();
    both_accept();
    all = did();
    ck_assert_ptr_nonnull(strstr(all, "rollback accounts\n"));
    ck_assert_ptr_nonnull(strstr(all, "rollback ledger\n"));
}
END_TEST

START_TEST(a_snapshot_keeps_which_branches_went_astray)
{
    const struct record astray[] = {HEAD, COMMIT,
                                    of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "ledger")};
    given_log(astray, 6);
    given_snapshot();
    both_accept();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_null(strstr(all, "commit ledger\n"));

    const struct record over[] = {HEAD, COMMIT,
                                  of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "ledger"),
                                  of_branch(RECORD_MIXED, OUTCOME_ROLLED_BACK, "accounts")};
    given_log(over, 7);
    given_snapshot();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);

    const struct record undone[] = {HEAD, of_branch(RECORD_MIXED, OUTCOME_COMMITTED, "ledger")};
    given_log(undone, 5);
    given_snapshot();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_MIXED);
    dba_asks(OP_RESOLVE, 1, OUTCOME_COMMITTED, true);
    ck_assert_ptr_null(strstr(did(), "commit"));
}
END_TEST

START_TEST(a_snapshot_keeps_a_delegation)
{
    const struct record log[] = {HEAD, of_branch(RECORD_DELEGATED, OUTCOME_NONE, "accounts")};
    given_log(log, 5);
    given_snapshot();
    both_accept();
    ck_assert_ptr_nonnull(strstr(did(), "settle accounts\n"));
}
END_TEST

START_TEST(a_snapshot_keeps_what_a_released_database_may_have_lost)
{
    struct record log[] = {HEAD,
                           COMMIT,
                           {.type = RECORD_QUARANTINED, .lsn = 6, .rm = "ledger"},
                           {.type = RECORD_RELEASED,
                            .lsn = 7,
                            .rm = "ledger",
                            .beat = 4,
                            .system_identifier = 3,
                            .incarnation = 1,
                            .sequence = COMMITTED}};
    given_log(log, 7);
    given_snapshot();
    agent_accepts("accounts");
    agent_answers("ledger", (struct answer){.system_identifier = 3, .beat = 4});
    log_is_durable();
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_null(strstr(all, "commit ledger\n"));
    hear(found_then("ledger", 72));
    ck_assert_str_eq(did(), "commit ledger\n");
}
END_TEST

START_TEST(a_snapshot_keeps_a_quarantine)
{
    const struct record log[] = {HEAD, {.type = RECORD_QUARANTINED, .lsn = 5, .rm = "ledger"}};
    given_log(log, 5);
    given_snapshot();
    agent_accepts("ledger");
    ck_assert_int_eq((int)coordinator_registry(tm)->rms[rm_number("ledger")].state, RM_QUARANTINED);
}
END_TEST

START_TEST(a_snapshot_keeps_a_fence_and_who_raised_it)
{
    given_tm();
    agent_answers("ledger", (struct answer){.refusal = REFUSAL_POSITION});
    log_is_durable();
    given_snapshot();
    ask((struct request){.op = OP_BEGIN});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_FENCED);
    const struct registry *registry = coordinator_registry(tm);
    ck_assert_str_eq(registry->rms[registry->fenced_by].name, "ledger");
    ck_assert_int_eq((int)registry->rms[registry->fenced_by].refusal, REFUSAL_POSITION);
}
END_TEST

/* Whatever is written after the snapshot is durable after the record: it counts as decided. */
START_TEST(a_snapshot_keeps_a_precommit_that_is_on_its_way_to_the_disk)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_ptr_nonnull(strstr(did(), "log PRECOMMIT\n"));
    given_snapshot();
    both_accept();
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "ask-promise accounts\nask-promise ledger\n");
    ck_assert_uint_eq(actions.orders[0].order.ballot.roster.count, 2);
    ck_assert(actions.orders[0].order.ballot.roster.tm);
}
END_TEST

static void given_voting_for(uint64_t number, enum outcome value)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    did();
    acceptor_says("accounts", gtrid_number(1),
                  (struct ballot){.type = BALLOT_ASK_ACCEPT, .number = number, .value = value});
    ck_assert_str_eq(did(), "log ACCEPT\n");
}

/* The next start leads above what was promised, and our own row says what was accepted: with
 * ledger, which has heard of ballot 0 alone, that is what has to be proposed. */
static void the_vote_is_known(void)
{
    given_snapshot();
    both_accept();
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "ask-promise accounts\nask-promise ledger\n");
    uint64_t number = actions.orders[0].order.ballot.number;
    ck_assert_uint_eq(number, 6 * BALLOT_ROUND + RANK_TM);
    acceptor_says(
        "ledger", gtrid_of_start(1, 1),
        (struct ballot){.type = BALLOT_PROMISED, .number = number, .value = OUTCOME_COMMITTED});
    log_is_durable();
    ck_assert_str_eq(did(), "log ACCEPT\n"
                            "ask-accept rolled-back accounts\nask-accept rolled-back ledger\n");
}

START_TEST(a_snapshot_keeps_our_own_vote)
{
    given_voting_for(5 * BALLOT_ROUND, OUTCOME_ROLLED_BACK);
    log_is_durable();
    ck_assert_str_eq(did(), "accepted accounts\n");
    the_vote_is_known();
}
END_TEST

START_TEST(a_snapshot_keeps_a_vote_that_is_on_its_way_to_the_disk)
{
    given_voting_for(5 * BALLOT_ROUND, OUTCOME_ROLLED_BACK);
    the_vote_is_known();
}
END_TEST

START_TEST(a_snapshot_keeps_who_is_paused_waived_and_retired)
{
    const struct record log[] = {HEAD,
                                 {.type = RECORD_PAUSED, .lsn = 5, .rm = "ledger", .flags = 1},
                                 {.type = RECORD_AGENT, .lsn = 6, .rm = "old"},
                                 {.type = RECORD_RETIRED, .lsn = 7, .rm = "old"},
                                 {.type = RECORD_AGENT, .lsn = 8, .rm = "away"},
                                 {.type = RECORD_WAIVED, .lsn = 9, .rm = "away"}};
    given_log(log, 9);
    given_snapshot();
    both_accept();
    did();
    ask((struct request){.op = OP_BEGIN, .rms = {"ledger"}, .rm_count = 1});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_RM_PAUSED);
    ask((struct request){.op = OP_BEGIN, .rms = {"old"}, .rm_count = 1});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_UNKNOWN_RM);
    ck_assert(registry_may_presume(coordinator_registry(tm), NULL));
}
END_TEST

START_TEST(a_snapshot_keeps_a_dbas_word_that_is_on_its_way_to_the_disk)
{
    given_committing();
    agent_says(RESULT_DONE, 1, "accounts");
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, true);
    dba_asks_about(OP_PAUSE, "accounts");
    given_snapshot();
    both_accept();
    ck_assert_ptr_nonnull(strstr(did(), "rollback ledger\n"));
    ask((struct request){.op = OP_BEGIN, .rms = {"accounts"}, .rm_count = 1});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_RM_PAUSED);
}
END_TEST

START_TEST(a_snapshot_keeps_how_far_is_forgotten)
{
    const struct record log[] = {
        HEAD, {.type = RECORD_HORIZON, .lsn = 5, .incarnation = 1, .sequence = COMMITTED}};
    given_log(log, 5);
    given_snapshot();
    both_accept();
    ck_assert_int_eq((int)outcome_then(), OUTCOME_FORGOTTEN);
    ck_assert_int_eq((int)outcome_of(gtrid_of_start(1, COMMITTED + 1)), OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(what_has_no_record_of_its_own_is_in_no_snapshot)
{
    struct coordinator_counts counts;
    given_preparing();
    given_begun("accounts", NULL);
    given_snapshot();
    coordinator_counts(tm, &counts);
    ck_assert_uint_eq(counts.live, 0);
}
END_TEST

/* ---- starts ---- */

START_TEST(who_vouches_for_the_disk_need_not_wait_for_every_agent)
{
    const struct record log[] = {HEAD};
    given_log(log, 4);
    coordinator_trust_host(tm, true);
    agent_accepts("ledger");
    did();
    hear(found_then("ledger", 72));
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

START_TEST(the_last_agent_that_is_waited_for_lets_all_be_scanned_again)
{
    const struct record log[] = {HEAD};
    given_log(log, 4);
    agent_accepts("ledger");
    did();
    hear(found_then("ledger", 72));
    ck_assert_str_eq(did(), "");
    dba_asks_about(OP_RETIRE, "accounts");
    log_is_durable();
    ck_assert_str_eq(did(), "log RETIRED\nreply , not yet applied\nrecover ledger\n");
    hear(found_then("ledger", 72));
    ck_assert_str_eq(did(), "rollback ledger\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery");
    TCase *refusals = tcase_create("refused");
    tcase_add_test(refusals, a_start_that_does_not_rise_is_refused);
    tcase_add_test(refusals, an_agent_before_any_start_is_refused);
    tcase_add_test(refusals, a_second_decision_is_refused);
    tcase_add_test(refusals, an_end_without_a_decision_is_refused);
    tcase_add_test(refusals, a_vote_without_a_precommit_is_refused);
    tcase_add_test(refusals, a_fence_by_no_known_refusal_is_refused);
    tcase_add_test(refusals, more_live_transactions_than_there_is_room_for_are_refused);
    tcase_add_test(refusals, more_branches_than_there_is_room_for_are_refused);
    tcase_add_test(refusals, more_resource_managers_than_there_is_room_for_are_refused);
    tcase_add_test(refusals,
                   a_decision_of_what_was_taken_back_from_its_database_is_one_of_that_branch);
    tcase_add_test(refusals, more_databases_of_a_commit_than_there_is_room_for_are_refused);
    tcase_add_test(refusals, more_outcomes_than_there_is_room_for_are_refused);
    tcase_add_test(refusals, more_keys_than_there_is_room_for_are_refused);
    suite_add_tcase(suite, refusals);

    TCase *live = tcase_create("live again");
    tcase_add_test(live, a_branch_that_was_ended_by_hand_before_the_crash_stays_mixed);
    tcase_add_test(live, all_branches_ended_by_hand_before_the_crash_are_mixed_at_once);
    tcase_add_test(live, commits_by_hand_of_what_was_rolled_back_are_its_only_record);
    tcase_add_test(live, what_its_only_database_has_committed_is_committed_after_the_crash);
    tcase_add_test(live, a_key_that_an_older_version_has_written_is_in_use);
    tcase_add_test(live, a_fence_that_a_person_has_lifted_is_none_after_the_crash);
    tcase_add_test(live, the_highest_beat_that_was_logged_counts);
    tcase_add_test(live, what_marks_the_log_itself_changes_nothing);
    tcase_add_test(live, an_ending_by_hand_of_a_branch_that_is_not_one_of_it_changes_nothing);
    tcase_add_test(live, a_forced_rollback_is_delivered_after_the_crash);
    tcase_add_test(live, a_rollback_that_came_too_late_is_too_late_after_the_crash);
    tcase_add_test(live, a_branch_that_counts_as_committed_is_not_driven_after_the_crash);
    tcase_add_test(live,
                   a_delegated_transaction_that_a_dba_has_resolved_is_not_settled_by_its_database);
    tcase_add_test(live, what_a_dba_has_forgotten_is_over_after_the_crash);
    tcase_add_test(live, a_word_of_a_dba_that_came_too_late_changes_nothing);
    suite_add_tcase(suite, live);

    TCase *snapshots = tcase_create("snapshot");
    tcase_add_test(snapshots, a_snapshot_keeps_what_a_dba_has_resolved);
    tcase_add_test(snapshots, a_snapshot_keeps_that_a_dba_only_said_what_was_so);
    tcase_add_test(snapshots,
                   what_a_recovery_rolls_back_is_undone_wherever_it_is_found_and_then_over);
    tcase_add_test(snapshots, what_a_recovery_rolls_back_waits_for_an_agent_that_is_away);
    tcase_add_test(snapshots, a_snapshot_keeps_what_a_dba_has_said_of_branches);
    tcase_add_test(snapshots, a_snapshot_keeps_which_branches_went_astray);
    tcase_add_test(snapshots, a_snapshot_keeps_a_delegation);
    tcase_add_test(snapshots, a_snapshot_keeps_what_a_released_database_may_have_lost);
    tcase_add_test(snapshots, a_snapshot_keeps_a_quarantine);
    tcase_add_test(snapshots, a_snapshot_keeps_a_fence_and_who_raised_it);
    tcase_add_test(snapshots, a_snapshot_keeps_a_precommit_that_is_on_its_way_to_the_disk);
    tcase_add_test(snapshots, a_snapshot_keeps_our_own_vote);
    tcase_add_test(snapshots, a_snapshot_keeps_a_vote_that_is_on_its_way_to_the_disk);
    tcase_add_test(snapshots, a_snapshot_keeps_who_is_paused_waived_and_retired);
    tcase_add_test(snapshots, a_snapshot_keeps_a_dbas_word_that_is_on_its_way_to_the_disk);
    tcase_add_test(snapshots, a_snapshot_keeps_how_far_is_forgotten);
    tcase_add_test(snapshots, what_has_no_record_of_its_own_is_in_no_snapshot);
    suite_add_tcase(suite, snapshots);

    TCase *starts = tcase_create("start");
    tcase_add_test(starts, who_vouches_for_the_disk_need_not_wait_for_every_agent);
    tcase_add_test(starts, the_last_agent_that_is_waited_for_lets_all_be_scanned_again);
    suite_add_tcase(suite, starts);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
