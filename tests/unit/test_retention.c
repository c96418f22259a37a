/*
 * tests/unit/test_retention.c - for how long the coordinator remembers what is over.
 *
 * A coordinator without anything around it, and a time that the tests make: it commits, its log
 * is read by the next start, on a host that has been up for as long as one likes, and it is asked.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/coordinator/coordinator.h"

enum { DAY_MS = 24 * 3600 * 1000, LOG_MAX = 4096 };

static struct coordinator_limits limits;
static struct coordinator_settings settings;
static struct coordinator *tm;
static struct actions actions;
static uint64_t now_ms;
static uint64_t handed_over; /* records of this start */
static uint64_t lsn_before;  /* of the newest record of earlier starts */
static uint64_t agent_life;

/* The log, if a test asks for one; the newest ones may not be durable. */
static struct record *log_records;
static uint32_t log_count;
static bool logs;

/* What the agent was told last that it may forget. */
static struct forget told;
static uint32_t times_told;

static void step(struct event event)
{
    event.now_ms = now_ms;
    coordinator_step(tm, &event, &actions);
    for (uint32_t i = 0; i < actions.record_count; i++, handed_over++) {
        if (!logs)
            continue;
        ck_assert_uint_lt(log_count, LOG_MAX);
        log_records[log_count] = actions.records[i];
        log_records[log_count++].lsn = lsn_before + handed_over + 1;
    }
    for (uint32_t i = 0; i < actions.order_count; i++)
        if (actions.orders[i].order.type == ORDER_FORGET) {
            told = actions.orders[i].order.forget;
            times_told++;
        }
}

static void go_on(void)
{
    struct event event;
    while (coordinator_due(tm, now_ms, &event))
        step(event);
}

static void log_is_durable(void)
{
    coordinator_durable(tm, handed_over, lsn_before + handed_over);
    go_on();
}

static void agent_accepts(const char *rm)
{
    struct answer answer = {.system_identifier = 1, .agent_incarnation = ++agent_life};
    strcpy(answer.rm, rm);
    step((struct event){
        .type = EV_ANSWER, .rm = registry_find(coordinator_registry(tm), rm), .answer = &answer});
    log_is_durable();
}

static void make_tm(void)
{
    free(tm);
    tm = coordinator_init(calloc(1, coordinator_bytes(&limits)), &limits, &settings);
}

static void start_tm(void)
{
    coordinator_configure(tm, "accounts", "ipc:///a");
    handed_over = 0;
    step((struct event){.type = EV_START, .recovered_lsn = lsn_before});
    log_is_durable();
    agent_accepts("accounts");
}

static void given_tm(void)
{
    make_tm();
    start_tm();
}

/* The process dies; the next start reads what it wrote, on a host that has been up for so long. */
static void restart(uint64_t uptime_ms)
{
    const char *why;
    make_tm();
    for (uint32_t i = 0; i < log_count; i++)
        ck_assert_msg(coordinator_replay(tm, &log_records[i], &why), "%s", why);
    lsn_before += handed_over;
    now_ms = uptime_ms;
    start_tm();
}

/* As the daemon lives: it looks at its clock once a second at least. */
static void time_passes(uint64_t ms)
{
    for (uint64_t until = now_ms + ms; now_ms < until;) {
        now_ms += until - now_ms < 1000 ? until - now_ms : 1000;
        log_is_durable();
    }
}

static const struct reply *ask(struct request request)
{
    step((struct event){.type = EV_REQUEST, .request = &request});
    return &actions.replies[0];
}

static struct request about_key(enum op op, const char *key)
{
    struct request request = {.op = op, .timeout_ms = 3600 * 1000};
    strcpy(request.key, key);
    if (op == OP_BEGIN)
        strcpy(request.rms[request.rm_count++], "accounts");
    return request;
}

static enum error_code begins(const char *key, struct gtrid *gtrid)
{
    const struct reply *reply = ask(about_key(OP_BEGIN, key));
    *gtrid = reply->gtrid;
    return reply->error;
}

static struct result says(enum result_type type, const struct gtrid *gtrid)
{
    struct result result = {.type = type, .agent_incarnation = agent_life, .xid = 700};
    result.branch.gtrid = *gtrid;
    strcpy(result.branch.rm, "accounts");
    return result;
}

static void agent_says(enum result_type type, const struct gtrid *gtrid)
{
    struct result result = says(type, gtrid);
    step((struct event){.type = EV_RESULT, .result = &result});
}

static void is_asked_to_commit(const struct gtrid *gtrid)
{
    ask((struct request){.op = OP_COMMIT, .has_gtrid = true, .gtrid = *gtrid});
    agent_says(RESULT_READY, gtrid);
}

static void ends(const struct gtrid *gtrid)
{
    is_asked_to_commit(gtrid);
    log_is_durable();
    agent_says(RESULT_DONE, gtrid);
    log_is_durable();
}

static struct gtrid commits(const char *key)
{
    struct gtrid gtrid;
    ck_assert_int_eq((int)begins(key, &gtrid), ERR_NONE);
    ends(&gtrid);
    return gtrid;
}

static enum outcome outcome_of(const struct gtrid *gtrid)
{
    const struct reply *reply =
        ask((struct request){.op = OP_OUTCOME, .has_gtrid = true, .gtrid = *gtrid});
    ck_assert_int_eq((int)reply->error, ERR_NONE);
    return reply->outcome;
}

static bool is_known(const char *key)
{
    const struct reply *reply = ask(about_key(OP_OUTCOME, key));
    if (reply->error == ERR_NONE)
        ck_assert_int_eq((int)reply->outcome, OUTCOME_COMMITTED);
    else
        ck_assert_int_eq((int)reply->error, ERR_UNKNOWN_TRANSACTION);
    return reply->error == ERR_NONE;
}

static void set_up(void)
{
    limits = (struct coordinator_limits){
        .transactions_max = 64,
        .branches_max = 64,
        .waiters_max = 64,
        .ended_max = 1,
        .outcome_chunks_max = 16,
        .keys_max = 1000,
    };
    settings = (struct coordinator_settings){
        .tm = "bank",
        .transaction_timeout_ms = 30000,
        .resend_least_ms = 500,
        .resend_most_ms = 5000,
        .scan_ms = 5000,
        .retention_ms = UINT64_C(7) * DAY_MS,
        .key_retention_ms = UINT64_C(7) * DAY_MS,
    };
    log_records = calloc(LOG_MAX, sizeof *log_records);
    log_count = 0;
    logs = true;
    now_ms = 1000;
    lsn_before = 0;
    agent_life = 0;
    times_told = 0;
}

static void tear_down(void)
{
    free(log_records);
    free(tm);
    tm = NULL;
}

START_TEST(a_restart_on_a_host_that_is_up_for_longer_than_the_retention_forgets_nothing)
{
    given_tm();
    struct gtrid first = commits("order-1");
    commits("order-2");
    restart(UINT64_C(30) * DAY_MS);
    time_passes(60 * 1000);
    ck_assert(is_known("order-1"));
    ck_assert_int_eq((int)outcome_of(&first), OUTCOME_COMMITTED);
    struct gtrid again;
    ck_assert_int_eq((int)begins("order-1", &again), ERR_KEY_IN_USE);
}
END_TEST

/* What the first start has committed is dated by the second, before any time was marked. */
START_TEST(what_committed_before_the_first_mark_of_time_is_still_a_key_two_restarts_later)
{
    given_tm();
    commits("order-1");
    restart(1000);
    commits("order-2");
    time_passes(10 * 60 * 1000);
    restart(1000);
    ck_assert(is_known("order-1"));
    ck_assert(is_known("order-2"));
}
END_TEST

START_TEST(a_commit_late_in_a_run_of_numbers_is_remembered_for_its_whole_time)
{
    settings.retention_ms = settings.key_retention_ms = 30 * 1000;
    given_tm();
    commits("order-1");
    time_passes(27 * 1000);
    struct gtrid late = commits("order-2");
    commits("another"); /* what ended last is kept whole for show */
    time_passes(28 * 1000);
    ck_assert(is_known("order-2"));
    ck_assert_int_eq((int)outcome_of(&late), OUTCOME_COMMITTED);
}
END_TEST

START_TEST(daily_restarts_still_let_it_forget)
{
    given_tm();
    struct gtrid first = commits("order-1");
    for (int day = 1; day <= 9; day++) {
        time_passes(DAY_MS);
        restart(1000 + (uint64_t)day);
        if (day == 6)
            ck_assert(is_known("order-1"));
    }
    commits("another");
    time_passes(10 * 1000);
    ck_assert(!is_known("order-1"));
    ck_assert_int_eq((int)outcome_of(&first), OUTCOME_FORGOTTEN);
}
END_TEST

START_TEST(a_clock_that_jumps_ahead_forgets_nothing)
{
    given_tm();
    struct gtrid first = commits("order-1");
    commits("another");
    now_ms += UINT64_C(8) * DAY_MS;
    time_passes(10 * 1000);
    now_ms -= UINT64_C(5) * DAY_MS;
    time_passes(10 * 1000);
    ck_assert(is_known("order-1"));
    ck_assert_int_eq((int)outcome_of(&first), OUTCOME_COMMITTED);
}
END_TEST

/* Marks overtake it on its way to the disk, and are no evidence of its age. */
START_TEST(a_commit_counts_from_when_its_record_is_durable)
{
    struct gtrid slow;
    settings.retention_ms = settings.key_retention_ms = 20 * 1000;
    given_tm();
    commits("order-1");
    ck_assert_int_eq((int)begins("order-2", &slow), ERR_NONE);
    is_asked_to_commit(&slow);
    for (int second = 0; second < 8; second++) {
        now_ms += 1000;
        go_on(); /* the disk stalls */
    }
    log_is_durable();
    restart(1000);
    agent_says(RESULT_DONE, &slow);
    time_passes(19 * 1000);
    ck_assert(is_known("order-2"));
    time_passes(60 * 1000);
    ck_assert(!is_known("order-2"));
}
END_TEST

START_TEST(keys_have_a_time_of_their_own)
{
    settings.key_retention_ms = 10 * 1000;
    given_tm();
    struct gtrid first = commits("order-1");
    commits("another");
    time_passes(9 * 1000);
    ck_assert(is_known("order-1"));
    time_passes(6 * 1000);
    ck_assert(!is_known("order-1"));
    const struct reply *reply = ask(about_key(OP_OUTCOME, "order-1"));
    ck_assert(reply->has_remembered);
    ck_assert_uint_ge(reply->remembered_ms, 10 * 1000);
    ck_assert_uint_le(reply->remembered_ms, 16 * 1000);
    ck_assert_int_eq((int)outcome_of(&first), OUTCOME_COMMITTED);
    commits("order-1");
    ck_assert(is_known("order-1"));
}
END_TEST

START_TEST(when_all_keys_are_in_use_a_begin_with_one_is_refused_and_none_is_forgotten)
{
    char key[KEY_BYTES];
    struct gtrid gtrid;
    limits.keys_max = 10;
    settings.key_retention_ms = 60 * 1000;
    given_tm();
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "order-%d", i);
        commits(key);
    }
    ck_assert_int_eq((int)begins("one-more", &gtrid), ERR_KEYS_FULL);
    ck_assert_int_eq((int)begins("order-3", &gtrid), ERR_KEY_IN_USE);
    ck_assert_int_eq((int)begins("", &gtrid), ERR_NONE);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "order-%d", i);
        ck_assert(is_known(key));
    }
    restart(1000);
    ck_assert_int_eq((int)begins("one-more", &gtrid), ERR_KEYS_FULL);
    time_passes(70 * 1000);
    commits("one-more");
}
END_TEST

START_TEST(when_all_outcomes_are_in_use_begin_is_refused)
{
    struct gtrid gtrid;
    limits.outcome_chunks_max = 1;
    settings.retention_ms = 60 * 1000;
    given_tm();
    struct gtrid first = commits("");
    ck_assert_int_eq((int)begins("", &gtrid), ERR_OUTCOMES_FULL);
    time_passes(59 * 1000);
    ck_assert_int_eq((int)outcome_of(&first), OUTCOME_COMMITTED);
    time_passes(10 * 1000);
    commits("");
}
END_TEST

/* Whoever is still undecided is not overtaken by the horizon, and rolled back is not forgotten. */
START_TEST(what_was_long_undecided_is_remembered_from_its_end_on)
{
    struct gtrid slow;
    settings.retention_ms = settings.key_retention_ms = 20 * 1000;
    given_tm();
    ck_assert_int_eq((int)begins("slow", &slow), ERR_NONE);
    commits("order-1");
    time_passes(60 * 1000);
    ask((struct request){.op = OP_ROLLBACK, .has_gtrid = true, .gtrid = slow});
    agent_says(RESULT_DONE, &slow);
    commits("another");
    time_passes(15 * 1000);
    ck_assert_int_eq((int)outcome_of(&slow), OUTCOME_ROLLED_BACK);
}
END_TEST

/* ---- what agents may forget ---- */

static struct gtrid commits_and_is_not_done(void)
{
    struct gtrid gtrid;
    ck_assert_int_eq((int)begins("", &gtrid), ERR_NONE);
    is_asked_to_commit(&gtrid);
    log_is_durable();
    return gtrid;
}

static void is_forgotten_after(uint64_t ms)
{
    time_passes(ms);
    ck_assert_uint_gt(times_told, 0);
}

START_TEST(agents_may_forget_what_is_below_the_horizon_and_are_told_once)
{
    settings.retention_ms = settings.key_retention_ms = 20 * 1000;
    given_tm();
    commits("");
    struct gtrid newest = commits("");
    time_passes(19 * 1000);
    ck_assert_uint_eq(times_told, 0);
    is_forgotten_after(20 * 1000);
    ck_assert_uint_eq(told.upto.incarnation, newest.incarnation);
    ck_assert_uint_ge(told.upto.sequence, newest.sequence);
    ck_assert_uint_eq(told.live_count, 0);
    time_passes(60 * 1000);
    ck_assert_uint_eq(times_told, 1);
    /* An agent that comes back is told again. */
    agent_accepts("accounts");
    time_passes(10 * 1000);
    ck_assert_uint_eq(times_told, 2);
}
END_TEST

START_TEST(what_has_not_ended_below_the_horizon_is_named_in_its_order)
{
    settings.retention_ms = settings.key_retention_ms = 20 * 1000;
    given_tm();
    struct gtrid ended = commits_and_is_not_done();
    struct gtrid first = commits_and_is_not_done();
    agent_says(RESULT_DONE, &ended);
    struct gtrid second = commits_and_is_not_done(); /* where the first one was kept */
    is_forgotten_after(60 * 1000);
    ck_assert_uint_ge(told.upto.sequence, second.sequence);
    ck_assert_uint_eq(told.live_count, 2);
    ck_assert_uint_eq(told.live[0].sequence, first.sequence);
    ck_assert_uint_eq(told.live[1].sequence, second.sequence);
    /* One of them ends: that is news. */
    uint32_t before = times_told;
    agent_says(RESULT_DONE, &first);
    time_passes(20 * 1000);
    ck_assert_uint_gt(times_told, before);
    ck_assert_uint_eq(told.live_count, 1);
    ck_assert_uint_eq(told.live[0].sequence, second.sequence);
}
END_TEST

START_TEST(where_more_have_not_ended_than_can_be_named_nothing_behind_them_is_forgotten)
{
    struct gtrid committing[40];
    settings.retention_ms = settings.key_retention_ms = 20 * 1000;
    given_tm();
    struct gtrid ended = commits_and_is_not_done();
    for (int i = 0; i < 39; i++)
        committing[i] = commits_and_is_not_done();
    agent_says(RESULT_DONE, &ended);
    committing[39] = commits_and_is_not_done(); /* where that one was kept */
    is_forgotten_after(60 * 1000);
    ck_assert_uint_eq(told.live_count, FORGET_LIVE_MAX);
    ck_assert_uint_eq(told.live[0].sequence, committing[0].sequence);
    ck_assert_uint_lt(told.upto.sequence, committing[FORGET_LIVE_MAX].sequence);
    ck_assert_uint_ge(told.upto.sequence, committing[FORGET_LIVE_MAX - 1].sequence);
}
END_TEST

/* Two starts, and one of the first has never ended. */
START_TEST(the_horizon_waits_for_what_an_earlier_start_left_undecided)
{
    struct gtrid slow;
    settings.retention_ms = settings.key_retention_ms = 20 * 1000;
    given_tm();
    struct gtrid early = commits("");
    ck_assert_int_eq((int)begins("", &slow), ERR_NONE);
    time_passes(19 * 1000);
    commits("");
    time_passes(10 * 1000);
    ck_assert_int_eq((int)outcome_of(&early), OUTCOME_COMMITTED);
    ck_assert_uint_eq(times_told, 0);
    restart(1000);
    time_passes(60 * 1000);
    ck_assert_int_eq((int)outcome_of(&early), OUTCOME_FORGOTTEN);
    is_forgotten_after(10 * 1000);
}
END_TEST

/* Archives are kept for as long as anything in them is remembered. */
START_TEST(the_oldest_that_is_remembered_dates_the_archives)
{
    uint64_t outcomes, keys, later_outcomes, later_keys;
    settings.retention_ms = 40 * 1000;
    settings.key_retention_ms = 20 * 1000;
    given_tm();
    coordinator_oldest(tm, &outcomes, &keys);
    ck_assert_uint_eq(outcomes, keys); /* nothing: this moment */
    commits("order-1");
    time_passes(10 * 1000);
    coordinator_oldest(tm, &later_outcomes, &later_keys);
    ck_assert_uint_lt(later_outcomes, outcomes + 10 * 1000);
    ck_assert_uint_eq(later_keys, later_outcomes);
    time_passes(20 * 1000);
    coordinator_oldest(tm, &outcomes, &keys);
    ck_assert_uint_eq(outcomes, later_outcomes);
    ck_assert_uint_gt(keys, later_keys);
}
END_TEST

/* ---- snapshots and their archives ---- */

static struct record archives[300], state[300];
static uint32_t archive_count, state_count;

static uint64_t take_snapshot(void)
{
    uint64_t number = coordinator_snapshot_begin(tm), position = 0;
    struct record record;
    state_count = 0;
    while (coordinator_snapshot(tm, &position, &record)) {
        bool archived = record.type == RECORD_CHUNK || record.type == RECORD_HASHED_KEY;
        record.archived = archived;
        record.dated = true;
        record.lsn = lsn_before + handed_over;
        if (archived)
            archives[archive_count++] = record;
        else
            state[state_count++] = record;
    }
    return number;
}

START_TEST(what_is_archived_is_not_told_again_and_all_is_read_back)
{
    char key[KEY_BYTES];
    given_tm();
    logs = false;
    archive_count = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "order-%d", i);
        commits(key);
    }
    take_snapshot();
    ck_assert_uint_eq(archive_count, 101); /* 100 keys, and their numbers are in one chunk */
    /* The log could not write it. */
    archive_count = 0;
    uint64_t number = take_snapshot();
    ck_assert_uint_eq(archive_count, 101);
    coordinator_archived(tm, number);
    commits("late");
    take_snapshot();
    ck_assert_uint_eq(archive_count, 101 + 2);

    /* The next start. */
    const char *why;
    make_tm();
    for (uint32_t i = 0; i < archive_count; i++)
        ck_assert_msg(coordinator_replay(tm, &archives[i], &why), "%s", why);
    for (uint32_t i = 0; i < state_count; i++)
        ck_assert_msg(coordinator_replay(tm, &state[i], &why), "%s", why);
    lsn_before += handed_over;
    now_ms = 5;
    start_tm();
    ck_assert(is_known("order-0"));
    ck_assert(is_known("order-99"));
    ck_assert(is_known("late"));
    archive_count = 0;
    take_snapshot();
    ck_assert_uint_eq(archive_count, 0);
}
END_TEST

/* ---- as it is delivered ---- */

/* 500 commits a second, each with a key; for 5 minutes, or so many as ASSENT_RETENTION_MINUTES
 * says. */
START_TEST(five_hundred_keyed_commits_a_second_are_never_refused)
{
    enum { A_SECOND = 500 };
    const char *minutes = getenv("ASSENT_RETENTION_MINUTES");
    uint64_t seconds = minutes != NULL ? 60 * strtoull(minutes, NULL, 10) : 300;
    char key[KEY_BYTES];
    uint64_t refused = 0;
    logs = false;
    limits.keys_max = 10 * 1000 * 1000;
    limits.outcome_chunks_max = 2000000000 / CHUNK_SEQUENCES + 1;
    settings.key_retention_ms = DAY_MS;
    given_tm();
    for (uint64_t second = 0; second < seconds; second++) {
        for (uint64_t i = 0; i < A_SECOND; i++) {
            struct gtrid gtrid;
            snprintf(key, sizeof key, "order-%llu", (unsigned long long)(second * A_SECOND + i));
            if (begins(key, &gtrid) == ERR_NONE)
                ends(&gtrid);
            else
                refused++;
            now_ms += 2;
        }
    }
    ck_assert_uint_eq(refused, 0);
    ck_assert(is_known("order-0"));
    ck_assert(is_known(key));
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (minutes != NULL)
        printf("%llu keys, %ld MB in use\n", (unsigned long long)(seconds * A_SECOND),
               usage.ru_maxrss / 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retention");
    TCase *cases = tcase_create("retention");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_set_timeout(cases, 3600);
    tcase_add_test(cases,
                   a_restart_on_a_host_that_is_up_for_longer_than_the_retention_forgets_nothing);
    tcase_add_test(cases,
                   what_committed_before_the_first_mark_of_time_is_still_a_key_two_restarts_later);
    tcase_add_test(cases, a_commit_late_in_a_run_of_numbers_is_remembered_for_its_whole_time);
    tcase_add_test(cases, daily_restarts_still_let_it_forget);
    tcase_add_test(cases, a_clock_that_jumps_ahead_forgets_nothing);
    tcase_add_test(cases, a_commit_counts_from_when_its_record_is_durable);
    tcase_add_test(cases, keys_have_a_time_of_their_own);
    tcase_add_test(cases,
                   when_all_keys_are_in_use_a_begin_with_one_is_refused_and_none_is_forgotten);
    tcase_add_test(cases, when_all_outcomes_are_in_use_begin_is_refused);
    tcase_add_test(cases, what_was_long_undecided_is_remembered_from_its_end_on);
    tcase_add_test(cases, agents_may_forget_what_is_below_the_horizon_and_are_told_once);
    tcase_add_test(cases, what_has_not_ended_below_the_horizon_is_named_in_its_order);
    tcase_add_test(cases,
                   where_more_have_not_ended_than_can_be_named_nothing_behind_them_is_forgotten);
    tcase_add_test(cases, the_horizon_waits_for_what_an_earlier_start_left_undecided);
    tcase_add_test(cases, the_oldest_that_is_remembered_dates_the_archives);
    tcase_add_test(cases, what_is_archived_is_not_told_again_and_all_is_read_back);
    tcase_add_test(cases, five_hundred_keyed_commits_a_second_are_never_refused);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
