/*
 * tests/unit/test_ballots.c - three-phase commit's acceptor, leader and terminator, rule by rule.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ballot/acceptor.h"
#include "core/ballot/leader.h"
#include "core/participant/terminator.h"

/* ---- an acceptor ---- */

static struct acceptor_row row;
static bool below_horizon;
static struct ballot reply;

static void given_row(void)
{
    memset(&row, 0, sizeof row);
    below_horizon = false;
}

/* What it says, and a star if its row had to change first. */
static const char *asked(enum ballot_type type, uint64_t number, enum outcome value)
{
    static char words[80];
    struct ballot ballot = {.type = type, .number = number, .value = value};
    bool changed = acceptor_judge(&row, below_horizon, &ballot, &reply);
    snprintf(words, sizeof words, "%s%s", ballot_words[reply.type], changed ? "*" : "");
    return words;
}

START_TEST(an_answer_is_no_question)
{
    for (unsigned type = BALLOT_PROMISED; type < BALLOTS; type++) {
        given_row();
        ck_assert_str_eq(asked((enum ballot_type)type, 1, OUTCOME_COMMITTED), "");
        asked(BALLOT_TELL, 0, OUTCOME_COMMITTED);
        ck_assert_str_eq(asked((enum ballot_type)type, 1, OUTCOME_ROLLED_BACK), "");
    }
}
END_TEST

START_TEST(an_acceptor_that_has_promised_hears_no_lower_ballot)
{
    given_row();
    ck_assert_str_eq(asked(BALLOT_ASK_PROMISE, 256, OUTCOME_NONE), "promised*");
    ck_assert_str_eq(asked(BALLOT_ASK_ACCEPT, 0, OUTCOME_COMMITTED), "outbid");
    ck_assert_uint_eq(reply.promised, 256);
    ck_assert_str_eq(asked(BALLOT_ASK_PROMISE, 255, OUTCOME_NONE), "outbid");
}
END_TEST

START_TEST(a_promise_says_what_was_accepted_and_may_be_repeated)
{
    given_row();
    ck_assert_str_eq(asked(BALLOT_ASK_ACCEPT, 0, OUTCOME_COMMITTED), "accepted*");
    ck_assert_str_eq(asked(BALLOT_ASK_PROMISE, 257, OUTCOME_NONE), "promised*");
    ck_assert_int_eq((int)reply.value, OUTCOME_COMMITTED);
    ck_assert_uint_eq(reply.accepted, 0);
    ck_assert_str_eq(asked(BALLOT_ASK_PROMISE, 257, OUTCOME_NONE), "promised");
    ck_assert_str_eq(asked(BALLOT_ASK_ACCEPT, 257, OUTCOME_COMMITTED), "accepted*");
    ck_assert_str_eq(asked(BALLOT_ASK_ACCEPT, 257, OUTCOME_COMMITTED), "accepted");
}
END_TEST

START_TEST(a_leader_pledges_a_number_once_even_over_a_crash)
{
    given_row();
    ck_assert_str_eq(asked(BALLOT_PLEDGE, 256, OUTCOME_NONE), "promised*");
    ck_assert_str_eq(asked(BALLOT_PLEDGE, 256, OUTCOME_NONE), "outbid");
    ck_assert_uint_eq(reply.promised, 256);
    ck_assert_str_eq(asked(BALLOT_PLEDGE, 512, OUTCOME_NONE), "promised*");
}
END_TEST

START_TEST(who_knows_the_outcome_says_so_whatever_is_asked)
{
    given_row();
    ck_assert_str_eq(asked(BALLOT_TELL, 0, OUTCOME_ROLLED_BACK), "decided*");
    ck_assert_str_eq(asked(BALLOT_ASK_ACCEPT, 0, OUTCOME_COMMITTED), "decided");
    ck_assert_int_eq((int)reply.value, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(asked(BALLOT_TELL, 0, OUTCOME_COMMITTED), "decided");
    ck_assert_int_eq((int)reply.value, OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(who_is_asked_to_lead_leads_unless_it_knows_the_outcome)
{
    given_row();
    ck_assert_str_eq(asked(BALLOT_ASK_LEAD, 0, OUTCOME_NONE), "ask-lead");
    ck_assert(!row.exists);
    asked(BALLOT_ASK_ACCEPT, 256, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(asked(BALLOT_ASK_LEAD, 0, OUTCOME_NONE), "ask-lead");
    asked(BALLOT_TELL, 0, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(asked(BALLOT_ASK_LEAD, 0, OUTCOME_NONE), "decided");
    ck_assert_int_eq((int)reply.value, OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(below_the_horizon_nothing_makes_a_row)
{
    given_row();
    below_horizon = true;
    ck_assert_str_eq(asked(BALLOT_ASK_ACCEPT, 0, OUTCOME_COMMITTED), "ended");
    ck_assert_str_eq(asked(BALLOT_JOIN, 0, OUTCOME_NONE), "ended");
    ck_assert(!row.exists);
    ck_assert(!acceptor_may_prepare(&row, true));
}
END_TEST

START_TEST(nothing_is_prepared_once_a_leader_has_asked)
{
    given_row();
    ck_assert(acceptor_may_prepare(&row, false));
    asked(BALLOT_JOIN, 0, OUTCOME_NONE);
    ck_assert(acceptor_may_prepare(&row, false));
    asked(BALLOT_ASK_PROMISE, 256, OUTCOME_NONE);
    ck_assert(!acceptor_may_prepare(&row, false));
}
END_TEST

START_TEST(nothing_is_prepared_once_the_outcome_is_known)
{
    given_row();
    asked(BALLOT_TELL, 0, OUTCOME_ROLLED_BACK);
    ck_assert(!acceptor_may_prepare(&row, false));
}
END_TEST

/* ---- what an agent was told to forget ---- */

static const struct forget up_to_ten = {
    .upto = {.incarnation = 3, .sequence = 10},
    .live_count = 2,
    .live = {{.incarnation = 2, .sequence = 8}, {.incarnation = 3, .sequence = 7}},
};

static bool has_ended(uint64_t incarnation, uint64_t sequence)
{
    struct gtrid gtrid = {.incarnation = incarnation, .sequence = sequence, .tm = "bank"};
    return forget_is_ended(&up_to_ten, &gtrid);
}

START_TEST(what_is_live_below_the_horizon_has_not_ended)
{
    ck_assert(has_ended(3, 10));
    ck_assert(has_ended(2, 7));
    ck_assert(has_ended(2, 5000));
    ck_assert(!has_ended(2, 8));
    ck_assert(!has_ended(3, 7));
    ck_assert(!has_ended(3, 11));
    ck_assert(!has_ended(4, 1));
}
END_TEST

static bool is_news(uint64_t incarnation, uint64_t sequence, uint32_t live_count)
{
    struct forget forget = {.upto = {.incarnation = incarnation, .sequence = sequence},
                            .live_count = live_count};
    return forget_is_news(&up_to_ten, &forget);
}

/* It comes late, after one that said more: rows that it excepts are gone already. */
START_TEST(an_older_horizon_is_no_news)
{
    ck_assert(!is_news(3, 9, 0));
    ck_assert(!is_news(2, 11, 0));
    ck_assert(!is_news(3, 10, 2));
    ck_assert(is_news(3, 10, 1));
    ck_assert(is_news(3, 11, 2));
    ck_assert(is_news(4, 1, 2));
}
END_TEST

/* ---- a leader ---- */

static struct leader leader;
static const struct roster three = {.count = 3, .agents = {"accounts", "ledger", "stock"}};
static const struct roster two_and_tm = {.count = 2, .tm = true, .agents = {"accounts", "ledger"}};
static const struct roster *roster;

static enum leader_act hears(enum leader_event event, uint32_t from, uint64_t number,
                             enum outcome value, uint64_t accepted)
{
    struct ballot ballot = {
        .number = number, .value = value, .accepted = accepted, .promised = number};
    return leader_step(&leader, roster, event, from, &ballot);
}

static void given_leader(const struct roster *of, uint32_t rank)
{
    memset(&leader, 0, sizeof leader);
    leader.rank = rank;
    roster = of;
}

static void given_asking(const struct roster *of)
{
    given_leader(of, 0);
    ck_assert_int_eq(hears(LE_LEAD, 0, 0, OUTCOME_NONE, 0), LEAD_PLEDGE);
    ck_assert_int_eq(hears(LE_PLEDGED, 0, 256, OUTCOME_NONE, 0), LEAD_ASK);
}

START_TEST(a_leader_that_finds_nothing_aborts)
{
    given_asking(&three);
    ck_assert_int_eq(hears(LE_PROMISED, 1, 256, OUTCOME_NONE, 0), LEAD_PROPOSE);
    ck_assert_int_eq((int)leader.value, OUTCOME_ROLLED_BACK);
    ck_assert_int_eq(hears(LE_ACCEPTED, 0, 256, OUTCOME_NONE, 0), LEAD_NOTHING);
    ck_assert_int_eq(hears(LE_ACCEPTED, 0, 256, OUTCOME_NONE, 0), LEAD_NOTHING);
    ck_assert_int_eq(hears(LE_ACCEPTED, 1, 256, OUTCOME_NONE, 0), LEAD_DECIDED);
}
END_TEST

START_TEST(a_leader_takes_what_the_highest_ballot_proposed)
{
    given_leader(&(struct roster){.count = 5}, 0);
    hears(LE_LEAD, 0, 0, OUTCOME_NONE, 0);
    hears(LE_PLEDGED, 0, 256, OUTCOME_COMMITTED, 0);
    ck_assert_int_eq(hears(LE_PROMISED, 1, 256, OUTCOME_ROLLED_BACK, 100), LEAD_NOTHING);
    ck_assert_int_eq(hears(LE_PROMISED, 2, 256, OUTCOME_COMMITTED, 0), LEAD_PROPOSE);
    ck_assert_int_eq((int)leader.value, OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(an_answer_to_another_ballot_does_not_count)
{
    given_asking(&three);
    ck_assert_int_eq(hears(LE_PROMISED, 1, 512, OUTCOME_NONE, 0), LEAD_NOTHING);
    ck_assert_int_eq(hears(LE_ACCEPTED, 1, 256, OUTCOME_NONE, 0), LEAD_NOTHING);
    ck_assert_int_eq((int)leader.state, LEADER_ASKING);
}
END_TEST

START_TEST(who_is_outbid_waits_and_then_bids_higher)
{
    given_asking(&three);
    ck_assert_int_eq(hears(LE_OUTBID, 1, 3 * 256 + 2, OUTCOME_NONE, 0), LEAD_YIELD);
    ck_assert_int_eq(hears(LE_PROMISED, 2, 256, OUTCOME_NONE, 0), LEAD_NOTHING);
    ck_assert_int_eq(hears(LE_AGAIN, 0, 0, OUTCOME_NONE, 0), LEAD_PLEDGE);
    ck_assert_uint_eq(leader.number, 4 * 256);
}
END_TEST

START_TEST(a_number_that_was_pledged_before_is_not_used)
{
    given_leader(&three, 0);
    hears(LE_LEAD, 0, 0, OUTCOME_NONE, 0);
    ck_assert_int_eq(hears(LE_OUTBID, 0, 256, OUTCOME_NONE, 0), LEAD_YIELD);
    hears(LE_AGAIN, 0, 0, OUTCOME_NONE, 0);
    ck_assert_uint_eq(leader.number, 512);
}
END_TEST

START_TEST(a_tm_that_may_not_vote_still_uses_no_number_twice)
{
    given_leader(&two_and_tm, RANK_TM);
    hears(LE_LEAD, 0, 0, OUTCOME_NONE, 0);
    ck_assert_uint_eq(leader.number, 256 + 255);
    ck_assert_int_eq(hears(LE_PLEDGED, RANK_NONE, 511, OUTCOME_COMMITTED, 0), LEAD_ASK);
    ck_assert_int_eq(hears(LE_PROMISED, 0, 511, OUTCOME_NONE, 0), LEAD_NOTHING);
    ck_assert_int_eq(hears(LE_PROMISED, 1, 511, OUTCOME_NONE, 0), LEAD_PROPOSE);
}
END_TEST

START_TEST(ballot_zero_is_decided_by_the_log_and_one_agent)
{
    given_leader(&two_and_tm, RANK_TM);
    leader_begin(&leader);
    ck_assert_int_eq(hears(LE_ACCEPTED, RANK_TM, 0, OUTCOME_NONE, 0), LEAD_NOTHING);
    ck_assert_uint_eq(leader_silent(&leader, roster), 3);
    ck_assert_int_eq(hears(LE_ACCEPTED, 1, 0, OUTCOME_NONE, 0), LEAD_DECIDED);
    ck_assert_int_eq((int)leader.value, OUTCOME_COMMITTED);
}
END_TEST

/* ---- a terminator ---- */

static struct terminator *agent;
static struct terminator_actions actions;
static uint64_t now_ms;
static const struct gtrid gtrid = {.incarnation = 3, .sequence = 7, .tm = "bank"};
static const struct terminator_settings settings = {
    .rm = "accounts", .silence_ms = 5000, .resend_least_ms = 100, .resend_most_ms = 1000};

static void given_agent(void)
{
    free(agent);
    agent = terminator_init(calloc(1, terminator_bytes(2)), 2, &settings);
    now_ms = 1000;
}

static bool steps(struct terminator_event event)
{
    event.now_ms = now_ms;
    if (event.gtrid.incarnation == 0)
        event.gtrid = gtrid;
    return terminator_step(agent, &event, &actions);
}

/* What was done last, a word each; to: the ranks, as bits. */
static const char *did(void)
{
    static char words[200];
    words[0] = '\0';
    for (uint32_t i = 0; i < actions.count; i++) {
        const struct terminator_action *action = &actions.list[i];
        size_t used = strlen(words);
        if (action->type == TA_SAY)
            snprintf(words + used, sizeof words - used, "%s to %u\n",
                     ballot_words[action->ballot.type], action->to);
        else
            snprintf(words + used, sizeof words - used, "finish %s\n",
                     action->ballot.value == OUTCOME_COMMITTED ? "commit" : "rollback");
    }
    actions.count = 0;
    return words;
}

static void watches(uint32_t timeout_ms)
{
    steps((struct terminator_event){
        .type = XE_WATCH, .branch = "", .roster = &three, .timeout_ms = timeout_ms});
}

static const char *after(uint64_t ms)
{
    struct terminator_event event;
    now_ms += ms;
    actions.count = 0;
    if (terminator_due(agent, now_ms, &event))
        terminator_step(agent, &event, &actions);
    return did();
}

static const char *answered(enum ballot_type type, uint32_t from, uint64_t number,
                            enum outcome value)
{
    struct ballot ballot = {.type = type, .number = number, .value = value, .promised = number};
    steps((struct terminator_event){.type = XE_ANSWER, .ballot = &ballot, .from = from});
    return did();
}

START_TEST(silence_makes_an_agent_lead_its_own_promise_first)
{
    given_agent();
    watches(60000);
    ck_assert_str_eq(after(4900), "");
    ck_assert_str_eq(after(2700), "pledge to 1\n");
    ck_assert_str_eq(answered(BALLOT_PROMISED, 0, 256, OUTCOME_NONE), "ask-promise to 6\n");
    ck_assert_str_eq(answered(BALLOT_PROMISED, 2, 256, OUTCOME_NONE), "ask-accept to 7\n");
    ck_assert_str_eq(answered(BALLOT_ACCEPTED, 0, 256, OUTCOME_NONE), "");
    ck_assert_str_eq(answered(BALLOT_ACCEPTED, 2, 256, OUTCOME_NONE),
                     "finish rollback\ntell to 7\n");
}
END_TEST

START_TEST(a_heartbeat_holds_it_back)
{
    given_agent();
    watches(60000);
    for (int i = 0; i < 10; i++) {
        ck_assert_str_eq(after(3000), "");
        terminator_heard(agent, "bank", 3, now_ms);
    }
}
END_TEST

START_TEST(another_start_of_the_tm_does_not_hold_it_back)
{
    given_agent();
    watches(60000);
    after(3000);
    terminator_heard(agent, "bank", 4, now_ms);
    ck_assert_str_eq(after(4600), "pledge to 1\n");
}
END_TEST

START_TEST(long_after_its_time_even_a_tm_that_lives_is_not_waited_for)
{
    given_agent();
    watches(1000);
    for (int i = 0; i < 5; i++) {
        ck_assert_str_eq(after(1000), "");
        terminator_heard(agent, "bank", 3, now_ms);
    }
    now_ms += 3600;
    terminator_heard(agent, "bank", 3, now_ms);
    ck_assert_str_eq(after(0), "pledge to 1\n");
}
END_TEST

START_TEST(a_branch_that_ended_is_no_longer_watched)
{
    given_agent();
    watches(60000);
    steps((struct terminator_event){.type = XE_OVER, .branch = ""});
    ck_assert_uint_eq(terminator_count(agent), 0);
    ck_assert_uint_eq(terminator_wake_ms(agent), UINT64_MAX);
}
END_TEST

START_TEST(a_branch_that_went_without_a_word_is_no_longer_watched)
{
    given_agent();
    watches(60000);
    steps((struct terminator_event){.type = XE_CLEAR});
    ck_assert_uint_eq(terminator_count(agent), 0);
}
END_TEST

static const char *barred(void)
{
    steps((struct terminator_event){.type = XE_BARRED});
    return did();
}

START_TEST(who_may_not_vote_asks_the_others_to_lead_one_after_the_other)
{
    given_agent();
    watches(60000);
    ck_assert_str_eq(after(7600), "pledge to 1\n");
    ck_assert_str_eq(barred(), "ask-lead to 2\n");
    ck_assert_str_eq(after(100), "pledge to 1\n");
    ck_assert_str_eq(barred(), "ask-lead to 4\n");
    ck_assert_str_eq(after(200), "pledge to 1\n");
    ck_assert_str_eq(barred(), "ask-lead to 2\n");
    ck_assert_str_eq(answered(BALLOT_DECIDED, 1, 0, OUTCOME_COMMITTED),
                     "finish commit\ntell to 7\n");
}
END_TEST

START_TEST(who_may_not_vote_takes_no_ended_for_an_abort)
{
    given_agent();
    watches(60000);
    after(7600);
    barred();
    ck_assert_str_eq(answered(BALLOT_ENDED, 1, 0, OUTCOME_NONE), "");
    ck_assert_uint_eq(terminator_count(agent), 0);
}
END_TEST

START_TEST(who_is_asked_to_lead_does_at_once_while_somebody_asks)
{
    struct terminator_event lead = {.type = XE_LEAD, .roster = &three};
    given_agent();
    steps(lead);
    ck_assert_str_eq(did(), "pledge to 1\n");
    now_ms += 15000;
    steps(lead);
    ck_assert_str_eq(did(), "");
    now_ms += 15000;
    steps((struct terminator_event){.type = XE_CLEAR});
    ck_assert_uint_eq(terminator_count(agent), 1);
    now_ms += 5000;
    steps((struct terminator_event){.type = XE_CLEAR});
    ck_assert_uint_eq(terminator_count(agent), 0);
}
END_TEST

START_TEST(who_watches_and_is_asked_to_lead_does_not_wait_for_silence)
{
    given_agent();
    watches(60000);
    steps((struct terminator_event){.type = XE_LEAD, .roster = &three});
    ck_assert_str_eq(did(), "pledge to 1\n");
}
END_TEST

/* Those whom it asks may never answer: their databases may have lost what they said. */
START_TEST(who_leads_and_finds_nothing_left_here_leaves_it_to_others)
{
    given_agent();
    watches(60000);
    after(7500);
    ck_assert_str_eq(answered(BALLOT_PROMISED, 0, 256, OUTCOME_NONE), "ask-promise to 6\n");
    steps((struct terminator_event){.type = XE_CLEAR});
    ck_assert_uint_eq(terminator_count(agent), 0);
    ck_assert_uint_eq(terminator_wake_ms(agent), UINT64_MAX);
}
END_TEST

START_TEST(it_finishes_until_nothing_is_left_and_tells_until_all_know)
{
    given_agent();
    watches(60000);
    after(8000);
    answered(BALLOT_DECIDED, 1, 0, OUTCOME_COMMITTED);
    ck_assert_str_eq(after(200), "finish commit\ntell to 7\n");
    answered(BALLOT_DECIDED, 0, 0, OUTCOME_COMMITTED);
    steps((struct terminator_event){.type = XE_CLEAR});
    ck_assert_str_eq(after(400), "tell to 6\n");
    answered(BALLOT_DECIDED, 1, 0, OUTCOME_COMMITTED);
    answered(BALLOT_DECIDED, 2, 0, OUTCOME_COMMITTED);
    ck_assert_uint_eq(terminator_count(agent), 0);
}
END_TEST

START_TEST(what_others_decided_is_carried_out_without_a_word)
{
    struct ballot decided = {.value = OUTCOME_COMMITTED};
    given_agent();
    steps((struct terminator_event){.type = XE_OUTCOME, .ballot = &decided});
    ck_assert_str_eq(did(), "finish commit\n");
    steps((struct terminator_event){.type = XE_CLEAR});
    ck_assert_uint_eq(terminator_count(agent), 0);
}
END_TEST

START_TEST(what_is_prepared_after_all_is_finished_while_others_have_not_answered)
{
    given_agent();
    watches(60000);
    after(8000);
    answered(BALLOT_DECIDED, 1, 0, OUTCOME_ROLLED_BACK);
    steps((struct terminator_event){.type = XE_CLEAR});
    ck_assert_str_eq(after(200), "tell to 7\n");
    watches(0);
    ck_assert_str_eq(did(), "finish rollback\ntell to 7\n");
    watches(0);
    ck_assert_str_eq(did(), "");
}
END_TEST

START_TEST(ended_means_abort)
{
    given_agent();
    watches(60000);
    after(8000);
    ck_assert_str_eq(answered(BALLOT_ENDED, 1, 0, OUTCOME_NONE), "finish rollback\n");
}
END_TEST

START_TEST(a_database_in_doubt_about_itself_leads_nothing)
{
    given_agent();
    terminator_hush(agent, true);
    watches(60000);
    ck_assert_str_eq(after(8000), "");
    terminator_hush(agent, false);
    ck_assert_str_eq(after(8000), "pledge to 1\n");
}
END_TEST

static void over(const char *branch)
{
    steps((struct terminator_event){.type = XE_OVER, .branch = branch});
}

START_TEST(all_branches_of_a_transaction_have_to_end_before_it_is_left_alone)
{
    given_agent();
    watches(60000);
    watches(60000);
    steps((struct terminator_event){.type = XE_WATCH, .branch = "second", .roster = &three});
    over("third");
    over("");
    ck_assert_uint_eq(terminator_count(agent), 1);
    ck_assert_str_eq(after(8000), "pledge to 1\n");
    over("second");
    ck_assert_uint_eq(terminator_count(agent), 0);
}
END_TEST

START_TEST(an_agent_that_is_outbid_gives_way_and_bids_higher_later)
{
    given_agent();
    watches(60000);
    after(8000);
    answered(BALLOT_PROMISED, 0, 256, OUTCOME_NONE);
    ck_assert_str_eq(answered(BALLOT_OUTBID, 1, 3 * 256 + 1, OUTCOME_NONE), "");
    ck_assert_str_eq(after(99), "");
    ck_assert_str_eq(after(801), "pledge to 1\n");
    ck_assert_str_eq(answered(BALLOT_PROMISED, 0, 4 * 256, OUTCOME_NONE), "ask-promise to 6\n");
}
END_TEST

START_TEST(a_question_is_not_taken_for_an_answer)
{
    given_agent();
    watches(60000);
    after(8000);
    ck_assert_str_eq(answered(BALLOT_JOIN, 1, 256, OUTCOME_NONE), "");
    ck_assert_str_eq(answered(BALLOT_PROMISED, 0, 256, OUTCOME_NONE), "ask-promise to 6\n");
}
END_TEST

START_TEST(who_never_says_that_it_knows_is_not_told_for_ever)
{
    uint32_t told = 1;
    given_agent();
    watches(60000);
    after(8000);
    ck_assert_str_eq(answered(BALLOT_DECIDED, 1, 0, OUTCOME_COMMITTED),
                     "finish commit\ntell to 7\n");
    steps((struct terminator_event){.type = XE_CLEAR});
    while (terminator_count(agent) > 0 && told < 100)
        told += strcmp(after(1000), "tell to 7\n") == 0;
    ck_assert_uint_eq(told, 12);
}
END_TEST

/* The list of acceptors that came with a PREPARE is not this agent's. */
START_TEST(who_is_no_acceptor_leads_nothing)
{
    static const struct roster others = {.count = 2, .tm = true, .agents = {"ledger", "stock"}};
    given_agent();
    steps((struct terminator_event){.type = XE_WATCH, .branch = "", .roster = &others});
    ck_assert_str_eq(after(8000), "");
    ck_assert_str_eq(after(8000), "");
    ck_assert_uint_eq(terminator_count(agent), 1);
}
END_TEST

START_TEST(what_it_has_to_do_with_is_listed_with_who_decides_it)
{
    uint32_t from = 0;
    struct gtrid listed, other = gtrid;
    struct ballot decided = {.value = OUTCOME_COMMITTED};
    given_agent();
    watches(60000);
    other.sequence = 8;
    ck_assert_int_eq((int)terminator_state(agent, &gtrid), ENDING_WATCHED);
    ck_assert(terminator_roster(agent, &gtrid) != NULL);
    ck_assert_uint_eq(terminator_roster(agent, &gtrid)->count, 3);
    ck_assert_int_eq((int)terminator_state(agent, &other), ENDING_NONE);
    ck_assert(terminator_roster(agent, &other) == NULL);
    ck_assert(terminator_next(agent, &from, &listed));
    ck_assert(gtrid_equal(&listed, &gtrid));
    ck_assert(!terminator_next(agent, &from, &listed));
    steps((struct terminator_event){.type = XE_OUTCOME, .ballot = &decided});
    ck_assert_int_eq((int)terminator_state(agent, &gtrid), ENDING_DECIDED);
}
END_TEST

START_TEST(of_many_coordinators_the_newest_are_remembered_to_be_alive)
{
    char other[TM_NAME_BYTES];
    given_agent();
    watches(60000);
    now_ms += 3000;
    terminator_heard(agent, "bank", 3, now_ms);
    for (int i = 0; i < 15; i++) {
        snprintf(other, sizeof other, "tm%d", i);
        terminator_heard(agent, other, 3, now_ms);
    }
    ck_assert_str_eq(after(4900), "");
    terminator_heard(agent, "bank", 3, now_ms);
    terminator_heard(agent, "one-more", 3, now_ms); /* the 17th */
    ck_assert_str_eq(after(2600), "pledge to 1\n");
}
END_TEST

START_TEST(a_full_house_says_so)
{
    given_agent();
    watches(1);
    struct terminator_event other = {
        .type = XE_WATCH, .branch = "", .roster = &three, .gtrid = gtrid};
    other.gtrid.sequence = 8;
    ck_assert(steps(other));
    other.gtrid.sequence = 9;
    ck_assert(!steps(other));
}
END_TEST

static TCase *rules(const char *name, const TTest *const *tests, size_t count)
{
    TCase *tcase = tcase_create(name);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    return tcase;
}

#define RULES(name, ...)                                                                           \
    rules(name, (const TTest *const[]){__VA_ARGS__},                                               \
          sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(TTest *))

int main(void)
{
    Suite *suite = suite_create("ballots");
    suite_add_tcase(suite, RULES("acceptor", an_answer_is_no_question,
                                 an_acceptor_that_has_promised_hears_no_lower_ballot,
                                 a_promise_says_what_was_accepted_and_may_be_repeated,
                                 a_leader_pledges_a_number_once_even_over_a_crash,
                                 who_knows_the_outcome_says_so_whatever_is_asked,
                                 who_is_asked_to_lead_leads_unless_it_knows_the_outcome,
                                 below_the_horizon_nothing_makes_a_row,
                                 nothing_is_prepared_once_a_leader_has_asked));
    suite_add_tcase(suite, RULES("forget", what_is_live_below_the_horizon_has_not_ended,
                                 an_older_horizon_is_no_news));
    suite_add_tcase(suite, RULES("leader", a_leader_that_finds_nothing_aborts,
                                 a_leader_takes_what_the_highest_ballot_proposed,
                                 an_answer_to_another_ballot_does_not_count,
                                 who_is_outbid_waits_and_then_bids_higher,
                                 a_number_that_was_pledged_before_is_not_used,
                                 a_tm_that_may_not_vote_still_uses_no_number_twice,
                                 ballot_zero_is_decided_by_the_log_and_one_agent));
    suite_add_tcase(suite,
                    RULES("terminator", silence_makes_an_agent_lead_its_own_promise_first,
                          a_heartbeat_holds_it_back, another_start_of_the_tm_does_not_hold_it_back,
                          long_after_its_time_even_a_tm_that_lives_is_not_waited_for,
                          a_branch_that_ended_is_no_longer_watched,
                          a_branch_that_went_without_a_word_is_no_longer_watched,
                          who_leads_and_finds_nothing_left_here_leaves_it_to_others,
                          who_may_not_vote_asks_the_others_to_lead_one_after_the_other,
                          who_may_not_vote_takes_no_ended_for_an_abort,
                          who_is_asked_to_lead_does_at_once_while_somebody_asks,
                          who_watches_and_is_asked_to_lead_does_not_wait_for_silence,
                          it_finishes_until_nothing_is_left_and_tells_until_all_know,
                          what_others_decided_is_carried_out_without_a_word,
                          what_is_prepared_after_all_is_finished_while_others_have_not_answered,
                          ended_means_abort, a_database_in_doubt_about_itself_leads_nothing,
                          a_full_house_says_so));
    suite_add_tcase(suite, RULES("endings", nothing_is_prepared_once_the_outcome_is_known,
                                 all_branches_of_a_transaction_have_to_end_before_it_is_left_alone,
                                 an_agent_that_is_outbid_gives_way_and_bids_higher_later,
                                 a_question_is_not_taken_for_an_answer,
                                 who_never_says_that_it_knows_is_not_told_for_ever,
                                 who_is_no_acceptor_leads_nothing,
                                 what_it_has_to_do_with_is_listed_with_who_decides_it,
                                 of_many_coordinators_the_newest_are_remembered_to_be_alive));
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(agent);
    return failed != 0;
}
