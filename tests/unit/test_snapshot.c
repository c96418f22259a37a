/*
 * tests/unit/test_snapshot.c - a coordinator that is rebuilt from its snapshot is the same one.
 *
 * A snapshot is made in every state in which a transaction can be, and replayed: the snapshot of
 * what comes out says the same, and a client is told the same.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/coordinator/coordinator_state.h"
#include "core/message/record.h"
#include "tests/unit/coordinator_harness.h"

static struct record first[SNAPSHOT_MAX], second[SNAPSHOT_MAX];
static struct gtrid gtrid;

/* ---- every state ---- */

static void hear_of(enum result_type type, const char *rm)
{
    hear(result_of(type, gtrid, rm));
}

static void heuristic_at(const char *rm, enum outcome actual)
{
    struct result result = result_of(RESULT_HEURISTIC, gtrid, rm);
    result.actual = actual;
    hear(result);
}

static void preparing(enum protocol protocol)
{
    given_preparing_by(protocol);
    gtrid = gtrid_number(1);
}

static void both_vote(void)
{
    hear_of(RESULT_READY, "accounts");
    hear_of(RESULT_READY, "ledger");
    did();
}

static void logging(void)
{
    preparing(PROTOCOL_2PC);
    both_vote();
}

static void committing(void)
{
    logging();
    log_is_durable();
    did();
}

static void settle(struct request request)
{
    request.has_gtrid = true;
    request.gtrid = gtrid;
    request.force = true;
    strcpy(request.who, "root");
    ask(request);
    log_is_durable();
    did();
}

static void committing_but_one_branch(void)
{
    committing();
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_ROLLED_BACK, .rm = "ledger"});
}

static void committing_with_one_counted(void)
{
    committing();
    agent_is_lost("ledger");
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_COMMITTED, .rm = "ledger"});
}

static void committing_with_one_astray(void)
{
    committing();
    heuristic_at("ledger", OUTCOME_ROLLED_BACK);
}

static void mixed_committed(void)
{
    committing();
    heuristic_at("ledger", OUTCOME_ROLLED_BACK);
    heuristic_at("accounts", OUTCOME_ROLLED_BACK);
    did();
}

static void mixed_rolled_back(void)
{
    preparing(PROTOCOL_2PC);
    ask_about(OP_ROLLBACK, 1, "");
    heuristic_at("ledger", OUTCOME_COMMITTED);
    hear_of(RESULT_DONE, "accounts");
    did();
}

static void delegating(void)
{
    given_tm();
    given_begun("accounts", NULL);
    gtrid = gtrid_number(1);
    hear_of(RESULT_OPENED, "accounts");
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "log DELEGATED\n");
}

static void delegated(void)
{
    delegating();
    log_is_durable();
    did();
}

static void resolved_delegated(void)
{
    delegated();
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_COMMITTED});
}

static void resolved_stray(void)
{
    preparing(PROTOCOL_2PC);
    ask_about(OP_ROLLBACK, 1, "");
    hear_of(RESULT_DONE, "accounts");
    hear_of(RESULT_DONE, "ledger");
    did();
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_COMMITTED});
}

static void prelogging(void)
{
    preparing(PROTOCOL_3PC);
    both_vote();
}

static void precommitting(void)
{
    prelogging();
    log_is_durable();
    did();
}

static void withdrawn(void)
{
    prelogging();
    hear_of(RESULT_LOST, "accounts");
    log_is_durable();
    ck_assert_str_eq(did(), "log QUARANTINED\nlog OUTCOME\n");
}

static void leader_asks(struct ballot ballot)
{
    acceptor_says("ledger", gtrid, ballot);
    ck_assert_ptr_nonnull(strstr(did(), "log "));
}

static void promising(void)
{
    precommitting();
    leader_asks((struct ballot){.type = BALLOT_ASK_PROMISE, .number = 257});
}

static void promised(void)
{
    promising();
    log_is_durable();
    did();
}

static void accepting(void)
{
    promised();
    leader_asks(
        (struct ballot){.type = BALLOT_ASK_ACCEPT, .number = 257, .value = OUTCOME_ROLLED_BACK});
}

static void accepted(void)
{
    accepting();
    log_is_durable();
    did();
}

static void resolved_precommitted(void)
{
    precommitting();
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_ROLLED_BACK});
}

static void decided_by_acceptors(void)
{
    precommitting();
    acceptor_says("ledger", gtrid, (struct ballot){.type = BALLOT_ACCEPTED});
    ck_assert_str_eq(did(), "log OUTCOME\ncommit accounts\ncommit ledger\n");
}

static void mixed_of_3pc(void)
{
    decided_by_acceptors();
    heuristic_at("ledger", OUTCOME_ROLLED_BACK);
    heuristic_at("accounts", OUTCOME_ROLLED_BACK);
    did();
}

static void quarantined(void)
{
    committing();
    hear_of(RESULT_LOST, "accounts");
    did();
}

static void released(void)
{
    quarantined();
    dba_asks_about(OP_RELEASE, "accounts");
    log_is_durable();
    did();
}

static void paused(void)
{
    committing();
    dba_asks_about(OP_PAUSE, "accounts");
    log_is_durable();
    did();
}

static void fenced(void)
{
    committing();
    agent_answers("ledger", (struct answer){.refusal = REFUSAL_INCARNATION});
    did();
}

static const struct {
    void (*given)(void);
    enum txn_state state;
} givens[] = {
    {logging, TXN_LOGGING},
    {committing, TXN_COMMITTING},
    {committing_but_one_branch, TXN_COMMITTING},
    {committing_with_one_counted, TXN_COMMITTING},
    {committing_with_one_astray, TXN_COMMITTING},
    {mixed_committed, TXN_MIXED},
    {mixed_rolled_back, TXN_MIXED},
    {delegating, TXN_DELEGATING},
    {delegated, TXN_DELEGATED},
    {resolved_delegated, TXN_RESOLVED},
    {resolved_stray, TXN_RESOLVED},
    {prelogging, TXN_PRELOGGING},
    {precommitting, TXN_PRECOMMITTING},
    {withdrawn, TXN_PROMISING},
    {promising, TXN_PROMISING},
    {promised, TXN_PRECOMMITTING},
    {accepting, TXN_PROMISING},
    {accepted, TXN_PRECOMMITTING},
    {resolved_precommitted, TXN_RESOLVED},
    {decided_by_acceptors, TXN_COMMITTING},
    {mixed_of_3pc, TXN_MIXED},
    {quarantined, TXN_COMMITTING},
    {released, TXN_COMMITTING},
    {paused, TXN_COMMITTING},
    {fenced, TXN_COMMITTING},
};

/* ---- the same again ---- */

static enum txn_state state_now(void)
{
    uint32_t at = live_find(&tm->live, gtrid.incarnation, gtrid.sequence);
    return at == NO_ITEM ? TXN_NONE : tm->live.txns[at].state;
}

/* The own start is an ancestor of the next one's; what was with the log is on the disk there, so a
 * commit has its bit, and PRECOMMIT is a vote. */
static bool is_implied(const struct record *record)
{
    bool vote = record->type == RECORD_PROMISE || record->type == RECORD_ACCEPT;
    return record->type == RECORD_ANCESTOR || record->type == RECORD_CHUNK ||
           (vote && record->ballot == 0);
}

/* What has to be the same again. Which agents have accepted this start is known at the next, and no
 * more. */
static uint32_t pick(struct record *records, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_implied(&records[i]))
            continue;
        if (records[i].type == RECORD_RM)
            records[i].flags &= ~(uint32_t)FLAG_PROVED;
        records[kept++] = records[i];
    }
    return kept;
}

static void are_the_same(int given, uint32_t count, uint32_t again)
{
    static uint8_t was[RECORD_APPEND_MAX], is[RECORD_APPEND_MAX];
    for (uint32_t i = 0; i < count && i < again; i++) {
        const char *name = record_name((uint8_t)first[i].type);
        size_t length = record_append(&first[i], was);
        ck_assert_msg(first[i].type == second[i].type, "given %d: record %u is %s, was %s", given,
                      i, record_name((uint8_t)second[i].type), name);
        ck_assert_msg(record_append(&second[i], is) == length && memcmp(was, is, length) == 0,
                      "given %d: record %u, %s, says something else", given, i, name);
    }
    ck_assert_uint_eq(count, again);
}

static void rebuild(uint32_t count)
{
    const char *why;
    given_empty_tm();
    for (uint32_t i = 0; i < count; i++) {
        /* As the log has it: in bytes. */
        static uint8_t bytes[RECORD_APPEND_MAX];
        static struct record read;
        record_append(&first[i], bytes);
        uint32_t length = (uint32_t)(bytes[0] | bytes[1] << 8 | bytes[2] << 16);
        ck_assert_int_eq((int)record_decode(bytes[4], bytes[5], bytes + 8, length, &read),
                         RECORD_OK);
        read.lsn = first[i].lsn;
        ck_assert_msg(coordinator_replay(tm, &read, &why), "%s", why);
    }
}

START_TEST(what_is_rebuilt_from_a_snapshot_says_the_same)
{
    int given = _i;
    enum outcome before, after;
    givens[given].given();
    ck_assert_int_eq((int)state_now(), (int)givens[given].state);
    before = outcome_of(gtrid);
    uint32_t count = take_snapshot(first);
    rebuild(count);
    are_the_same(given, pick(first, count), pick(second, take_snapshot(second)));
    start_tm();
    ck_assert_int_eq((int)coordinator_outcome(tm, &gtrid, &after), ERR_NONE);
    /* What was with the log counts as being on its disk. */
    if (before != OUTCOME_IN_PROGRESS)
        ck_assert_int_eq((int)after, (int)before);
}
END_TEST

/* A branch of it is held by an agent that leads a ballot, since its coordinator was away. */
static const char *asked_by_a_leader(void)
{
    start_tm();
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
    acceptor_says("ledger", gtrid, (struct ballot){.type = BALLOT_ASK_PROMISE, .number = 513});
    return did();
}

START_TEST(a_leader_that_asks_about_what_a_dba_has_resolved_is_told)
{
    static void (*const resolved[])(void) = {resolved_precommitted, decided_by_acceptors,
                                             mixed_of_3pc};
    resolved[_i]();
    rebuild(take_snapshot(first));
    ck_assert_ptr_nonnull(strstr(asked_by_a_leader(), _i == 0 ? "decided rolled-back ledger\n"
                                                              : "decided committed ledger\n"));
}
END_TEST

/* ---- forgotten ---- */

static struct result found_at(const char *rm, uint64_t xid)
{
    struct result found = result_of(RESULT_FOUND, gtrid, rm);
    found.xid = xid;
    found.number = 1000;
    return found;
}

static void ledger_is_scanned(void)
{
    struct result scanned = result_of(RESULT_SCANNED, gtrid, "ledger");
    scanned.number = 999;
    hear(scanned);
    scanned = result_of(RESULT_SCANNED, gtrid, "accounts");
    scanned.number = 999;
    hear(scanned);
}

static void dba_asks_to_forget(void)
{
    ask((struct request){
        .op = OP_FORGET, .has_gtrid = true, .gtrid = gtrid, .who = "root", .why = "ticket 4711"});
}

/* Ledger is away; accounts is committed by force. */
static void given_forced(void)
{
    static const struct record records[] = {
        {.type = RECORD_START, .lsn = 1, .incarnation = 1},
        {.type = RECORD_AGENT, .lsn = 2, .rm = "accounts", .system_identifier = 1},
        {.type = RECORD_AGENT, .lsn = 3, .rm = "ledger", .system_identifier = 1},
    };
    given_log(records, 3);
    agent_accepts("accounts");
    did();
    gtrid = gtrid_of_start(1, 5);
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_COMMITTED});
    hear(found_at("accounts", 70));
    ck_assert_str_eq(did(), "commit accounts\n");
    struct result done = result_of(RESULT_DONE, gtrid, "accounts");
    done.actual = OUTCOME_COMMITTED;
    hear(done);
}

START_TEST(a_forced_commit_is_not_forgotten_before_every_agent_was_asked)
{
    given_forced();
    dba_asks_to_forget();
    ck_assert_str_eq(did(), "refuse contradicted\n");
    agent_accepts("ledger");
    did();
    ledger_is_scanned();
    dba_asks_to_forget();
    ck_assert_str_eq(did(), "log RESOLVED\n");
}
END_TEST

START_TEST(what_comes_back_of_a_forced_commit_that_is_forgotten_is_left_to_the_dba)
{
    given_forced();
    settle((struct request){.op = OP_FORGET});
    agent_accepts("ledger");
    did();
    hear(found_at("ledger", 71));
    ck_assert_str_eq(did(), "");
    if (_i > 0) {
        rebuild(take_snapshot(first));
        start_tm();
        agent_accepts("accounts");
        agent_accepts("ledger");
        did();
        hear(found_at("ledger", 71));
        ck_assert_str_eq(did(), "");
    }
    ck_assert_str_eq(rm_is("ledger"), "up");
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_COMMITTED});
    hear(found_at("ledger", 71));
    ck_assert_str_eq(did(), "commit ledger\n");
}
END_TEST

START_TEST(a_forced_commit_of_3pc_that_is_forgotten_quarantines_nobody)
{
    precommitting();
    agent_is_lost("ledger");
    settle((struct request){.op = OP_RESOLVE, .wanted = OUTCOME_COMMITTED});
    settle((struct request){.op = OP_FORGET});
    agent_accepts("ledger");
    did();
    hear(found_at("ledger", 701));
    ck_assert_str_eq(did(), "");
    ck_assert_str_eq(rm_is("ledger"), "up");
}
END_TEST

START_TEST(a_branch_that_was_counted_as_committed_and_comes_back_quarantines_nobody)
{
    committing_with_one_counted();
    hear_of(RESULT_DONE, "accounts");
    did();
    dba_asks_to_forget();
    ck_assert_str_eq(did(), "refuse contradicted\n");
    settle((struct request){.op = OP_FORGET});
    agent_accepts("ledger");
    did();
    hear(found_at("ledger", 701));
    ck_assert_str_eq(did(), "");
    ck_assert_str_eq(rm_is("ledger"), "up");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snapshot");
    TCase *states = tcase_create("states");
    tcase_add_loop_test(states, what_is_rebuilt_from_a_snapshot_says_the_same, 0,
                        sizeof givens / sizeof *givens);
    tcase_add_loop_test(states, a_leader_that_asks_about_what_a_dba_has_resolved_is_told, 0, 3);
    suite_add_tcase(suite, states);

    TCase *forgotten = tcase_create("forgotten");
    tcase_add_test(forgotten, a_forced_commit_is_not_forgotten_before_every_agent_was_asked);
    tcase_add_loop_test(
        forgotten, what_comes_back_of_a_forced_commit_that_is_forgotten_is_left_to_the_dba, 0, 2);
    tcase_add_test(forgotten, a_forced_commit_of_3pc_that_is_forgotten_quarantines_nobody);
    tcase_add_test(forgotten,
                   a_branch_that_was_counted_as_committed_and_comes_back_quarantines_nobody);
    suite_add_tcase(suite, forgotten);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
