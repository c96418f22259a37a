/*
 * tests/unit/test_log_churn.c - however long a coordinator works, its log stays small.
 *
 * A coordinator and its log, and nothing else: each transaction is decided and, a thousand
 * decisions later, over; the log gets a snapshot whenever it wants one. 300,000 transactions
 * with small segments, or as many as ASSENT_CHURN says with segments as they ship.
 */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "core/coordinator/coordinator.h"
#include "log/wal.h"

enum {
    TRANSACTIONS = 300 * 1000,
    SEGMENT = 512 * 1024,
    LIVE = 1000,
    SEGMENTS_MOST = 5,
    TURN_RECORDS = 200, /* handed over at once */
    AHEAD_MOST = LIVE,  /* records handed over and not yet durable */
    CHUNKS = 2048,      /* of 8192 outcomes: 16 million are remembered */
};

static const struct coordinator_limits limits = {
    .transactions_max = LIVE + 1,
    .branches_max = 2 * (LIVE + 1),
    .waiters_max = 1,
    .ended_max = 1,
    .outcome_chunks_max = CHUNKS,
    .keys_max = 1,
};
static const struct coordinator_settings settings = {
    .tm = "bank", .retention_ms = UINT64_MAX, .key_retention_ms = UINT64_MAX};

static char dir[64];
static uint64_t transactions;
static struct wal_options options = {.dir = dir, .tm = "bank"};
static struct coordinator *tm;
static struct wal *wal;
static uint64_t handed, segments_most;
static uint8_t turn[TURN_RECORDS * 256];
static size_t turn_length;
static uint32_t turn_records;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t durable;

static void on_durable(void *arg, uint64_t records, uint64_t durable_lsn)
{
    (void)arg;
    (void)durable_lsn;
    pthread_mutex_lock(&lock);
    durable = records;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_durable(uint64_t records)
{
    pthread_mutex_lock(&lock);
    while (durable < records)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static int on_record(void *arg, const struct wal_record *written, struct error *error)
{
    struct record record;
    const char *why = "it cannot be decoded";
    (void)arg;
    if (record_decode(written->type, written->version, written->payload, written->length,
                      &record) == RECORD_OK &&
        coordinator_replay(tm, &record, &why))
        return 0;
    return fail(error, "record %llu: %s", (unsigned long long)written->lsn, why);
}

static void open_log(struct wal_info *info)
{
    struct error error;
    tm = coordinator_init(calloc(1, coordinator_bytes(&limits)), &limits, &settings);
    ck_assert_msg(wal_open(&wal, &options, info, on_record, NULL, &error) == 0, "%s",
                  error.message);
}

static void count_segments(void)
{
    uint64_t count = 0;
    DIR *stream = opendir(dir);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
        count += strncmp(entry->d_name, "wal-", 4) == 0;
    closedir(stream);
    segments_most = count > segments_most ? count : segments_most;
}

/* A snapshot of all that was handed over. */
static void checkpoint(void)
{
    static uint8_t bytes[CHUNKS * 1100 + LIVE * 256];
    struct record record;
    uint64_t position = 0;
    size_t length = 0;
    while (coordinator_snapshot(tm, &position, &record)) {
        ck_assert_uint_le(length + RECORD_APPEND_MAX, sizeof bytes);
        length += record_append(&record, bytes + length);
    }
    wal_checkpoint(wal, &(struct wal_snapshot){.state = {bytes, length}}, handed);
}

static void hand_over_turn(void)
{
    wal_append(wal, turn, turn_length, turn_records);
    handed += turn_records;
    turn_length = turn_records = 0;
    if (wal_wants_checkpoint(wal))
        checkpoint();
    if (handed > AHEAD_MOST)
        wait_durable(handed - AHEAD_MOST);
    count_segments();
}

/* To the coordinator and to its log. */
static void happens(struct record record)
{
    const char *why = "";
    ck_assert_msg(coordinator_replay(tm, &record, &why), "%s", why);
    turn_length += record_append(&record, turn + turn_length);
    if (++turn_records == TURN_RECORDS)
        hand_over_turn();
}

static void commits(uint64_t sequence)
{
    happens((struct record){
        .type = RECORD_COMMIT,
        .incarnation = 1,
        .sequence = sequence,
        .branch_count = 2,
        .branches = {{.rm = "accounts", .xid = sequence}, {.rm = "ledger", .xid = sequence}},
    });
}

static void is_over(uint64_t sequence)
{
    happens((struct record){.type = RECORD_END, .incarnation = 1, .sequence = sequence});
}

static void set_up(void)
{
    const char *churn = getenv("ASSENT_CHURN");
    transactions = churn != NULL ? strtoull(churn, NULL, 10) : TRANSACTIONS;
    options.segment_bytes = churn != NULL ? WAL_SEGMENT_BYTES : SEGMENT;
    snprintf(dir, sizeof dir, "/tmp/assent-test-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void tear_down(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(the_log_of_a_thousand_live_transactions_stays_under_six_segments)
{
    struct wal_info info;
    struct error error;
    open_log(&info);
    ck_assert_int_eq(wal_begin(wal, 1, on_durable, NULL, &error), 0);
    happens((struct record){.type = RECORD_START, .incarnation = 1});
    for (uint64_t sequence = 1; sequence <= transactions; sequence++) {
        commits(sequence);
        if (sequence > LIVE)
            is_over(sequence - LIVE);
    }
    hand_over_turn();
    wait_durable(handed);
    wal_close(wal, false);
    free(tm);
    ck_assert_uint_le(segments_most, SEGMENTS_MOST);

    /* And nothing is missing: of each transaction the outcome, of the last thousand the rest. */
    static struct actions actions;
    struct coordinator_counts counts;
    open_log(&info);
    coordinator_step(tm, &(struct event){.type = EV_START, .log_incarnation = 1}, &actions);
    coordinator_counts(tm, &counts);
    ck_assert_uint_eq(counts.live, LIVE);
    ck_assert_uint_lt(info.records, transactions / 2);
    for (uint64_t sequence = 1; sequence <= transactions; sequence++) {
        struct gtrid gtrid = {.tm = "bank", .incarnation = 1, .sequence = sequence};
        enum outcome outcome;
        ck_assert_int_eq((int)coordinator_outcome(tm, &gtrid, &outcome), ERR_NONE);
        ck_assert_int_eq((int)outcome, OUTCOME_COMMITTED);
    }
    wal_close(wal, false);
    free(tm);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log churn");
    TCase *tests = tcase_create("log churn");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 1800);
    tcase_add_test(tests, the_log_of_a_thousand_live_transactions_stays_under_six_segments);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
