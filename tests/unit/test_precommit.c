/*
 * tests/unit/test_precommit.c - the coordinator's part in the third phase, told as short stories.
 *
 * Between accounts and ledger its own log is the third acceptor; where a witness is up, it is not.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/coordinator_harness.h"

/* ---- ballots ---- */

static void agent_asks(const char *rm, enum ballot_type type, uint64_t number, enum outcome value)
{
    acceptor_says(rm, gtrid_number(1),
                  (struct ballot){.type = type, .number = number, .value = value});
}

static void agent_accepted(const char *rm, uint64_t number)
{
    agent_asks(rm, BALLOT_ACCEPTED, number, OUTCOME_NONE);
}

/* ---- given ---- */

static void begin_3pc(void)
{
    given_begun_by(PROTOCOL_3PC, "accounts", "ledger");
    ask_about(OP_COMMIT, 1, "");
}

static void given_prelogging(void)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log PRECOMMIT\n");
}

static void given_precommitting(void)
{
    given_prelogging();
    log_is_durable();
    ck_assert_str_eq(did(), "ask-accept committed accounts\nask-accept committed ledger\n");
}

static void given_decided(void)
{
    given_precommitting();
    agent_accepted("accounts", 0);
    ck_assert_str_eq(did(), "log OUTCOME\ncommit accounts\ncommit ledger\n");
}

/* With one more, that holds no data. */
static void given_witness(bool up)
{
    given_tm();
    coordinator_configure(tm, "witness", "ipc:///w");
    agent_answers("witness", (struct answer){.system_identifier = 1, .witness = true});
    log_is_durable();
    if (!up)
        agent_is_lost("witness");
    did();
}

/* The log of a start that died in the third phase of its transaction 1.5. */
enum { OF_LOG = 1, LEFT_AT = 5 };
static const uint64_t first_of_ours = BALLOT_ROUND + RANK_TM;

static const struct record precommitted_log[] = {
    {.type = RECORD_START, .lsn = 1, .incarnation = OF_LOG},
    {.type = RECORD_AGENT, .lsn = 2, .rm = "accounts", .url = "ipc:///a", .system_identifier = 1},
    {.type = RECORD_AGENT, .lsn = 3, .rm = "ledger", .url = "ipc:///l", .system_identifier = 1},
    {.type = RECORD_ESTABLISHED, .lsn = 4},
    {.type = RECORD_PRECOMMIT,
     .lsn = 5,
     .incarnation = OF_LOG,
     .sequence = LEFT_AT,
     .key = "order-5",
     .branch_count = 2,
     .branches = {{.rm = "accounts", .xid = 71}, {.rm = "ledger", .xid = 72}},
     .roster = {.count = 2, .tm = true, .agents = {"accounts", "ledger"}}},
};
enum { PRECOMMITTED_LOG = sizeof precommitted_log / sizeof *precommitted_log };

/* That log and what more it holds; both agents accept the next start, which takes the lead. */
static void given_precommitted_log(const struct record *more)
{
    struct record log[PRECOMMITTED_LOG + 1];
    memcpy(log, precommitted_log, sizeof precommitted_log);
    if (more != NULL)
        log[PRECOMMITTED_LOG] = *more;
    given_log(log, PRECOMMITTED_LOG + (more != NULL));
    agent_accepts("accounts");
    agent_accepts("ledger");
}

static void old_bid(const char *rm, struct ballot ballot)
{
    acceptor_says(rm, gtrid_of_start(OF_LOG, LEFT_AT), ballot);
}

/* ---- a coordinator that lives ---- */

START_TEST(a_commit_is_proposed_only_once_the_precommit_is_durable)
{
    given_prelogging();
    time_passes(1000);
    ck_assert_str_eq(did(), "");
    log_is_durable();
    ck_assert_str_eq(did(), "ask-accept committed accounts\nask-accept committed ledger\n");
}
END_TEST

START_TEST(a_majority_of_the_acceptors_commits_it)
{
    given_precommitting();
    agent_accepted("ledger", 0);
    ck_assert_str_eq(did(), "log OUTCOME\ncommit accounts\ncommit ledger\n");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "log END\nreply committed\n");
}
END_TEST

START_TEST(an_acceptor_that_does_not_answer_is_asked_again)
{
    given_precommitting();
    time_passes(500);
    ck_assert_str_eq(did(), "ask-accept committed accounts\nask-accept committed ledger\n");
    agent_is_lost("accounts");
    time_passes(1000);
    ck_assert_str_eq(did(), "ask-accept committed ledger\n");
}
END_TEST

START_TEST(an_acceptor_without_a_branch_is_told_that_it_is_one)
{
    given_witness(true);
    begin_3pc();
    ck_assert_str_eq(did(), "join witness\nprepare accounts\nprepare ledger\n");
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    ck_assert_str_eq(did(), "log PRECOMMIT\nask-accept committed accounts\n"
                            "ask-accept committed ledger\nask-accept committed witness\n");
    /* Our own log does not count now: it takes two of them. */
    agent_accepted("witness", 0);
    ck_assert_str_eq(did(), "");
    agent_accepted("ledger", 0);
    ck_assert_str_eq(did(),
                     "log OUTCOME\ntell committed witness\ncommit accounts\ncommit ledger\n");
}
END_TEST

START_TEST(a_witness_that_is_away_is_no_acceptor)
{
    given_witness(false);
    begin_3pc();
    ck_assert_str_eq(did(), "prepare accounts\nprepare ledger\n");
    ck_assert(actions.orders[0].order.ballot.roster.tm);
    ck_assert_uint_eq(actions.orders[0].order.ballot.roster.count, 2);
}
END_TEST

START_TEST(an_agent_whose_branch_only_read_hears_the_outcome_from_a_tell)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_says(RESULT_READ_ONLY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    did();
    agent_accepted("ledger", 0);
    ck_assert_str_eq(did(), "log OUTCOME\ntell committed accounts\ncommit ledger\n");
}
END_TEST

START_TEST(an_answer_of_an_agent_that_is_no_acceptor_counts_for_nothing)
{
    given_witness(false);
    begin_3pc();
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    agent_answers("witness", (struct answer){.system_identifier = 1, .witness = true});
    log_is_durable();
    did();
    agent_accepted("witness", 0);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(who_is_outbid_waits_and_then_leads_a_higher_ballot)
{
    given_precommitting();
    struct ballot led_by_accounts = {.type = BALLOT_OUTBID, .promised = 3 * BALLOT_ROUND};
    acceptor_says("ledger", gtrid_number(1), led_by_accounts);
    ck_assert_str_eq(did(), "");
    time_passes(500);
    ck_assert_str_eq(did(), "");
    time_passes(4500);
    ck_assert_str_eq(did(), "log PROMISE\nrecover accounts\nrecover ledger\n");
    log_is_durable();
    ck_assert_str_eq(did(), "ask-promise accounts\nask-promise ledger\n");
    ck_assert_uint_eq(actions.orders[0].order.ballot.number, 4 * BALLOT_ROUND + RANK_TM);
}
END_TEST

START_TEST(two_branches_at_one_database_have_one_acceptor)
{
    given_tm();
    given_begun_by(PROTOCOL_3PC, "accounts", "ledger");
    struct request enlist = {.op = OP_ENLIST, .has_gtrid = true, .gtrid = gtrid_number(1)};
    strcpy(enlist.rm, "ledger");
    strcpy(enlist.branch, "second");
    ask(enlist);
    did();
    ask_about(OP_COMMIT, 1, "");
    ck_assert_uint_eq(actions.orders[0].order.ballot.roster.count, 2);
    ck_assert_str_eq(did(), "prepare accounts\nprepare ledger\nprepare ledger\n");
}
END_TEST

/* An acceptor has promised a higher ballot already, and says so before it was asked. */
START_TEST(an_acceptor_that_has_promised_before_it_was_asked_is_outbid)
{
    given_prelogging();
    agent_is_lost("accounts");
    agent_is_lost("ledger");
    log_is_durable();
    ck_assert_str_eq(did(), "");
    agent_accepts("ledger");
    acceptor_says("ledger", gtrid_number(1),
                  (struct ballot){.type = BALLOT_OUTBID, .promised = 3 * BALLOT_ROUND});
    did();
    time_passes(5000);
    ck_assert_ptr_nonnull(strstr(did(), "log PROMISE\n"));
    log_is_durable();
    ck_assert_str_eq(did(), "ask-promise ledger\n");
    ck_assert_uint_eq(actions.orders[0].order.ballot.number, 4 * BALLOT_ROUND + RANK_TM);
}
END_TEST

/* ---- agents that lead ---- */

START_TEST(a_promise_to_an_agent_is_given_only_once_it_is_durable)
{
    given_precommitting();
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "log PROMISE\n");
    log_is_durable();
    ck_assert_str_eq(did(), "promised committed accounts\n");
    /* Its answer may have been lost; and nobody lower is heard any more. */
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "promised committed accounts\n");
    agent_asks("ledger", BALLOT_ASK_PROMISE, 1, OUTCOME_NONE);
    ck_assert_str_eq(did(), "outbid ledger\n");
    agent_asks("ledger", BALLOT_ASK_ACCEPT, 1, OUTCOME_COMMITTED);
    ck_assert_str_eq(did(), "outbid ledger\n");
}
END_TEST

START_TEST(what_an_agent_proposes_is_accepted_only_once_that_is_durable)
{
    given_precommitting();
    agent_asks("accounts", BALLOT_ASK_ACCEPT, BALLOT_ROUND, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(did(), "log ACCEPT\n");
    /* Whatever comes meanwhile is said again. */
    agent_accepted("ledger", 0);
    ck_assert_str_eq(did(), "");
    log_is_durable();
    ck_assert_str_eq(did(), "accepted accounts\n");
    /* A coordinator that has accepted a higher ballot does not go on with its own. */
    agent_accepted("ledger", 0);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(a_promise_is_not_sent_to_an_agent_that_has_gone_meanwhile)
{
    given_precommitting();
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    agent_is_lost("accounts");
    log_is_durable();
    ck_assert_str_eq(did(), "log PROMISE\n");
}
END_TEST

START_TEST(a_log_that_is_no_acceptor_has_no_vote)
{
    given_witness(true);
    begin_3pc();
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    log_is_durable();
    did();
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(before_the_precommit_an_agents_ballot_ends_it)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "rollback accounts\nrollback ledger\ndecided rolled-back accounts\n");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\n");
    ck_assert_str_eq(actions.replies[0].reason.message, "an agent has begun to end it");
}
END_TEST

START_TEST(while_the_precommit_is_on_its_way_nobody_is_answered)
{
    given_prelogging();
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(an_agent_that_leads_too_late_is_told_the_outcome)
{
    given_decided();
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "decided committed accounts\n");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "decided committed accounts\n");
}
END_TEST

START_TEST(an_agent_that_leads_one_that_is_mixed_is_told_what_was_decided)
{
    given_decided();
    struct result heuristic = result_about(RESULT_HEURISTIC, 1, "ledger");
    heuristic.actual = OUTCOME_ROLLED_BACK;
    hear(heuristic);
    agent_says(RESULT_DONE, 1, "accounts");
    ck_assert_str_eq(did(), "log MIXED\nreply mixed\n");
    agent_asks("ledger", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "decided committed ledger\n");
}
END_TEST

START_TEST(a_ballot_about_a_two_phase_transaction_is_refused)
{
    given_preparing();
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    agent_asks("accounts", BALLOT_TELL, 0, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(a_ballot_about_another_coordinators_transaction_is_refused)
{
    given_precommitting();
    struct gtrid gtrid = gtrid_number(1);
    strcpy(gtrid.tm, "other");
    acceptor_says("accounts", gtrid,
                  (struct ballot){.type = BALLOT_ASK_PROMISE, .number = BALLOT_ROUND});
    agent_asks("accounts", BALLOT_JOIN, 0, OUTCOME_NONE);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(what_the_agents_have_decided_meanwhile_is_followed)
{
    given_precommitting();
    agent_asks("accounts", BALLOT_TELL, 0, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(did(), "log OUTCOME\n"
                            "tell rolled-back accounts\ntell rolled-back ledger\n"
                            "rollback accounts\nrollback ledger\ndecided rolled-back accounts\n");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\n");
}
END_TEST

START_TEST(agents_that_ended_it_before_all_had_voted_are_followed_and_answered)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_asks("ledger", BALLOT_TELL, 0, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(did(), "rollback accounts\nrollback ledger\ndecided rolled-back ledger\n");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    ck_assert_str_eq(did(), "reply rolled-back\n");
    ck_assert_str_eq(actions.replies[0].reason.message, "the agents have ended it");
}
END_TEST

/* Nobody can have accepted anything that was never proposed. */
START_TEST(a_commit_of_what_was_not_precommitted_is_an_alarm)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_asks("ledger", BALLOT_DECIDED, 0, OUTCOME_COMMITTED);
    ck_assert_str_eq(did(), "");
    ck_assert_uint_eq(alarms(), 1);
}
END_TEST

/* ---- transactions that are not live ---- */

START_TEST(an_agent_that_leads_what_was_rolled_back_is_told_so)
{
    given_preparing_by(PROTOCOL_3PC);
    agent_says(RESULT_NO, 1, "accounts");
    agent_says(RESULT_DONE, 1, "accounts");
    agent_says(RESULT_DONE, 1, "ledger");
    did();
    agent_asks("ledger", BALLOT_ASK_ACCEPT, BALLOT_ROUND, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(did(), "decided rolled-back ledger\n");
}
END_TEST

START_TEST(an_agent_that_leads_what_this_coordinator_never_began_is_an_alarm)
{
    given_tm();
    acceptor_says("ledger", gtrid_number(12), (struct ballot){.type = BALLOT_ASK_PROMISE});
    ck_assert_str_eq(did(), "");
    ck_assert_uint_eq(alarms(), 1);
}
END_TEST

START_TEST(of_an_earlier_start_nothing_is_said_before_every_agent_has_accepted)
{
    given_log(precommitted_log, 4);
    agent_accepts("ledger");
    did();
    old_bid("ledger", (struct ballot){.type = BALLOT_ASK_PROMISE, .number = BALLOT_ROUND});
    ck_assert_str_eq(did(), "");
    agent_accepts("accounts");
    did();
    old_bid("ledger", (struct ballot){.type = BALLOT_ASK_PROMISE, .number = BALLOT_ROUND});
    ck_assert_str_eq(did(), "decided rolled-back ledger\n");
}
END_TEST

static void given_below_the_horizon(void)
{
    struct record log[5];
    memcpy(log, precommitted_log, 4 * sizeof *log);
    log[4] = (struct record){.type = RECORD_HORIZON, .incarnation = OF_LOG, .sequence = 9};
    given_log(log, 5);
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
    ck_assert_int_eq((int)outcome_of(gtrid_of_start(OF_LOG, LEFT_AT)), OUTCOME_FORGOTTEN);
}

/* It knows better whether its database has lost what was committed there. */
START_TEST(who_leads_what_is_forgotten_is_told_that_it_has_ended)
{
    given_below_the_horizon();
    old_bid("ledger", (struct ballot){.type = BALLOT_ASK_PROMISE, .number = BALLOT_ROUND});
    ck_assert_str_eq(did(), "ended ledger\n");
}
END_TEST

/* Never decided, or committed and come back with a database that has lost the COMMIT PREPARED. */
START_TEST(what_is_found_prepared_below_the_horizon_is_left_to_a_dba)
{
    given_below_the_horizon();
    struct result found = result_about(RESULT_FOUND, LEFT_AT, "ledger");
    found.branch.gtrid = gtrid_of_start(OF_LOG, LEFT_AT);
    found.xid = 701;
    found.number = 100;
    uint64_t before = alarms();
    hear(found);
    ck_assert_str_eq(did(), "");
    ck_assert_uint_eq(alarms(), before + 1);
}
END_TEST

/* ---- a coordinator that returns ---- */

static void given_asking(const struct record *more, const char *promise)
{
    given_precommitted_log(more);
    ck_assert_ptr_nonnull(strstr(did(), "log PROMISE\n"));
    log_is_durable();
    ck_assert_str_eq(did(), promise);
}

START_TEST(a_coordinator_that_returns_leads_a_ballot_above_zero)
{
    given_asking(NULL, "ask-promise accounts\nask-promise ledger\n");
    ck_assert_uint_eq(actions.orders[0].order.ballot.number, first_of_ours);
    old_bid("ledger", (struct ballot){.type = BALLOT_PROMISED, .number = first_of_ours});
    ck_assert_str_eq(did(), "log ACCEPT\n");
    log_is_durable();
    ck_assert_str_eq(did(), "ask-accept committed accounts\nask-accept committed ledger\n");
    old_bid("ledger", (struct ballot){.type = BALLOT_ACCEPTED, .number = first_of_ours});
    ck_assert_str_eq(did(), "log OUTCOME\ncommit accounts\ncommit ledger\n");
    ck_assert_int_eq((int)outcome_of(gtrid_of_start(OF_LOG, LEFT_AT)), OUTCOME_COMMITTED);
}
END_TEST

/* The two agents are a majority without it, and have gone another way. */
START_TEST(a_coordinator_that_returns_proposes_what_the_highest_ballot_has_accepted)
{
    given_asking(NULL, "ask-promise accounts\nask-promise ledger\n");
    old_bid("ledger", (struct ballot){.type = BALLOT_PROMISED,
                                      .number = first_of_ours,
                                      .accepted = BALLOT_ROUND,
                                      .value = OUTCOME_ROLLED_BACK});
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "ask-accept rolled-back accounts\nask-accept rolled-back ledger\n");
}
END_TEST

/* Three agents, two of which have never heard of the proposal. */
START_TEST(where_no_acceptor_has_accepted_anything_it_is_rolled_back)
{
    struct record log[PRECOMMITTED_LOG];
    memcpy(log, precommitted_log, sizeof log);
    log[PRECOMMITTED_LOG - 1].roster =
        (struct roster){.count = 3, .agents = {"accounts", "ledger", "witness"}};
    given_log(log, PRECOMMITTED_LOG);
    agent_accepts("accounts");
    agent_accepts("ledger");
    agent_accepts("witness");
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "ask-promise accounts\nask-promise ledger\nask-promise witness\n");
    struct ballot promised = {.type = BALLOT_PROMISED, .number = first_of_ours};
    old_bid("ledger", promised);
    ck_assert_str_eq(did(), "");
    old_bid("witness", promised);
    ck_assert_str_eq(did(), "ask-accept rolled-back accounts\nask-accept rolled-back ledger\n"
                            "ask-accept rolled-back witness\n");
    struct ballot accepted = {.type = BALLOT_ACCEPTED, .number = first_of_ours};
    old_bid("witness", accepted);
    old_bid("accounts", accepted);
    ck_assert_str_eq(did(), "log OUTCOME\ntell rolled-back accounts\ntell rolled-back ledger\n"
                            "tell rolled-back witness\nrollback accounts\nrollback ledger\n");
    ck_assert_int_eq((int)outcome_of(gtrid_of_start(OF_LOG, LEFT_AT)), OUTCOME_ROLLED_BACK);
    ask((struct request){.op = OP_OUTCOME, .key = "order-5"});
    ck_assert_int_eq((int)actions.replies[0].error, ERR_UNKNOWN_TRANSACTION);
}
END_TEST

START_TEST(a_promise_that_was_given_is_kept_over_a_restart)
{
    const struct record promise = {.type = RECORD_PROMISE,
                                   .lsn = 6,
                                   .incarnation = OF_LOG,
                                   .sequence = LEFT_AT,
                                   .ballot = 7 * BALLOT_ROUND + 1};
    given_asking(&promise, "ask-promise accounts\nask-promise ledger\n");
    ck_assert_uint_eq(actions.orders[0].order.ballot.number, 8 * BALLOT_ROUND + RANK_TM);
    old_bid("accounts", (struct ballot){.type = BALLOT_ASK_PROMISE, .number = 7 * BALLOT_ROUND});
    ck_assert_str_eq(did(), "outbid accounts\n");
}
END_TEST

/* ledger led ballot 257 while the coordinator still lived, and has our vote for a rollback: with
 * accounts, which has only heard of ballot 0, that is what has to be proposed. */
START_TEST(a_vote_that_was_given_is_kept_over_a_restart)
{
    const struct record vote = {.type = RECORD_ACCEPT,
                                .lsn = 6,
                                .incarnation = OF_LOG,
                                .sequence = LEFT_AT,
                                .ballot = BALLOT_ROUND + 1,
                                .outcome = OUTCOME_ROLLED_BACK};
    const uint64_t ours = 2 * BALLOT_ROUND + RANK_TM;
    given_asking(&vote, "ask-promise accounts\nask-promise ledger\n");
    old_bid("accounts", (struct ballot){.type = BALLOT_PROMISED,
                                        .number = ours,
                                        .accepted = 0,
                                        .value = OUTCOME_COMMITTED});
    ck_assert_str_eq(did(), "log ACCEPT\n");
    log_is_durable();
    ck_assert_str_eq(did(), "ask-accept rolled-back accounts\nask-accept rolled-back ledger\n");
}
END_TEST

/* A log that was turned back has forgotten what it promised. */
START_TEST(the_vote_of_an_earlier_start_counts_only_once_every_agent_has_accepted)
{
    given_log(precommitted_log, PRECOMMITTED_LOG);
    agent_accepts("accounts");
    did();
    log_is_durable();
    ck_assert_str_eq(did(), "ask-promise accounts\n");
    old_bid("ledger", (struct ballot){.type = BALLOT_ASK_PROMISE, .number = 9 * BALLOT_ROUND});
    old_bid("accounts", (struct ballot){.type = BALLOT_PROMISED, .number = first_of_ours});
    ck_assert_str_eq(did(), "");
    agent_accepts("ledger");
    ck_assert_ptr_nonnull(strstr(did(), "log ACCEPT\n"));
}
END_TEST

START_TEST(what_was_decided_before_the_crash_is_not_voted_on_again)
{
    const struct record outcome = {.type = RECORD_OUTCOME,
                                   .lsn = 6,
                                   .incarnation = OF_LOG,
                                   .sequence = LEFT_AT,
                                   .outcome = OUTCOME_COMMITTED};
    given_precommitted_log(&outcome);
    const char *all = did();
    ck_assert_ptr_nonnull(strstr(all, "commit accounts\n"));
    ck_assert_ptr_nonnull(strstr(all, "commit ledger\n"));
    ck_assert_ptr_null(strstr(all, "PROMISE"));
}
END_TEST

/* ---- a DBA's word ---- */

START_TEST(every_acceptor_is_told_what_a_dba_has_forced)
{
    given_precommitting();
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, false);
    ck_assert_str_eq(did(), "refuse contradicted\n");
    dba_asks(OP_RESOLVE, 1, OUTCOME_ROLLED_BACK, true);
    ck_assert_str_eq(did(), "log RESOLVED\n");
    /* It must not be decided now, nor promised away: the DBA's word would come too late. */
    agent_accepted("accounts", 0);
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    agent_asks("accounts", BALLOT_DECIDED, 0, OUTCOME_COMMITTED);
    time_passes(500);
    ck_assert_str_eq(did(), "");
    log_is_durable();
    ck_assert_str_eq(did(), "tell rolled-back accounts\ntell rolled-back ledger\n"
                            "reply mixed\nreply mixed\nrecover accounts\nrecover ledger\n");
    agent_asks("accounts", BALLOT_ASK_PROMISE, BALLOT_ROUND, OUTCOME_NONE);
    ck_assert_str_eq(did(), "decided rolled-back accounts\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("precommit");
    TCase *alive = tcase_create("alive");
    tcase_add_test(alive, a_commit_is_proposed_only_once_the_precommit_is_durable);
    tcase_add_test(alive, a_majority_of_the_acceptors_commits_it);
    tcase_add_test(alive, an_acceptor_that_does_not_answer_is_asked_again);
    tcase_add_test(alive, an_acceptor_without_a_branch_is_told_that_it_is_one);
    tcase_add_test(alive, a_witness_that_is_away_is_no_acceptor);
    tcase_add_test(alive, an_agent_whose_branch_only_read_hears_the_outcome_from_a_tell);
    tcase_add_test(alive, an_answer_of_an_agent_that_is_no_acceptor_counts_for_nothing);
    tcase_add_test(alive, who_is_outbid_waits_and_then_leads_a_higher_ballot);
    tcase_add_test(alive, two_branches_at_one_database_have_one_acceptor);
    tcase_add_test(alive, an_acceptor_that_has_promised_before_it_was_asked_is_outbid);
    suite_add_tcase(suite, alive);

    TCase *asked = tcase_create("asked");
    tcase_add_test(asked, a_promise_to_an_agent_is_given_only_once_it_is_durable);
    tcase_add_test(asked, what_an_agent_proposes_is_accepted_only_once_that_is_durable);
    tcase_add_test(asked, a_promise_is_not_sent_to_an_agent_that_has_gone_meanwhile);
    tcase_add_test(asked, a_log_that_is_no_acceptor_has_no_vote);
    tcase_add_test(asked, before_the_precommit_an_agents_ballot_ends_it);
    tcase_add_test(asked, while_the_precommit_is_on_its_way_nobody_is_answered);
    tcase_add_test(asked, an_agent_that_leads_too_late_is_told_the_outcome);
    tcase_add_test(asked, an_agent_that_leads_one_that_is_mixed_is_told_what_was_decided);
    tcase_add_test(asked, a_ballot_about_a_two_phase_transaction_is_refused);
    tcase_add_test(asked, a_ballot_about_another_coordinators_transaction_is_refused);
    tcase_add_test(asked, what_the_agents_have_decided_meanwhile_is_followed);
    tcase_add_test(asked, agents_that_ended_it_before_all_had_voted_are_followed_and_answered);
    tcase_add_test(asked, a_commit_of_what_was_not_precommitted_is_an_alarm);
    suite_add_tcase(suite, asked);

    TCase *strays = tcase_create("strays");
    tcase_add_test(strays, an_agent_that_leads_what_was_rolled_back_is_told_so);
    tcase_add_test(strays, an_agent_that_leads_what_this_coordinator_never_began_is_an_alarm);
    tcase_add_test(strays, of_an_earlier_start_nothing_is_said_before_every_agent_has_accepted);
    tcase_add_test(strays, who_leads_what_is_forgotten_is_told_that_it_has_ended);
    tcase_add_test(strays, what_is_found_prepared_below_the_horizon_is_left_to_a_dba);
    suite_add_tcase(suite, strays);

    TCase *back = tcase_create("back");
    tcase_add_test(back, a_coordinator_that_returns_leads_a_ballot_above_zero);
    tcase_add_test(back, a_coordinator_that_returns_proposes_what_the_highest_ballot_has_accepted);
    tcase_add_test(back, where_no_acceptor_has_accepted_anything_it_is_rolled_back);
    tcase_add_test(back, a_promise_that_was_given_is_kept_over_a_restart);
    tcase_add_test(back, a_vote_that_was_given_is_kept_over_a_restart);
    tcase_add_test(back, the_vote_of_an_earlier_start_counts_only_once_every_agent_has_accepted);
    tcase_add_test(back, what_was_decided_before_the_crash_is_not_voted_on_again);
    suite_add_tcase(suite, back);

    TCase *dba = tcase_create("dba");
    tcase_add_test(dba, every_acceptor_is_told_what_a_dba_has_forced);
    suite_add_tcase(suite, dba);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(tm);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
