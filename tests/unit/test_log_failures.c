/*
 * tests/unit/test_log_failures.c - the log on a disk that fails, or with a process that is
 * killed, at every single call.
 *
 * A child writes words with checkpoints, over a few restarts, and tells the parent each word
 * that is acknowledged; tests/shim/failio.c, linked in, makes its n-th call fail. Whatever n:
 * the child ends and says why, and the log that it leaves holds every acknowledged word, in
 * order, and none that was never handed over.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "core/message/record.h"
#include "log/frame.h"
#include "log/wal.h"
#include "tests/shim/failio.h"

enum { SMALL_SEGMENT = 16 * 1024, WORDS = 60, RESTART_EVERY = 20, CALLS_MAX = 600 };

static char dir[64];
static uint32_t last_word; /* the highest that was replayed */
static uint32_t last_archived;
static uint32_t gaps;

/* ---- the child: word n is the number n and 900 bytes of stuffing; a snapshot of the state is
 * the highest number alone ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t durable_records;

static void on_durable(void *arg, uint64_t records, uint64_t durable_lsn)
{
    (void)arg;
    (void)durable_lsn;
    pthread_mutex_lock(&lock);
    durable_records = records;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static int on_word(void *arg, const struct wal_record *record, struct error *error)
{
    (void)arg;
    (void)error;
    uint32_t word;
    memcpy(&word, record->payload, sizeof word);
    bool snapshot = record->length == sizeof word;
    if (record->archived) {
        gaps += word <= last_archived;
        last_archived = word;
        return 0;
    }
    gaps += snapshot && word != last_archived; /* each has one of its own */
    if (!snapshot && word != last_word + 1)
        gaps++;
    last_word = word;
    return 0;
}

static size_t write_word(uint32_t word, size_t length, uint8_t *out)
{
    uint8_t payload[1024] = {0};
    memcpy(payload, &word, sizeof word);
    return handed_write(RECORD_BEAT, payload, length, out);
}

static int open_log(struct wal **wal, struct wal_info *info, struct error *error)
{
    struct wal_options options = {.dir = dir, .tm = "bank", .segment_bytes = SMALL_SEGMENT};
    last_word = last_archived = gaps = 0;
    return wal_open(wal, &options, info, on_word, NULL, error);
}

/* One run of a daemon: recover, then write the next words; false if it could not start. */
static bool run_once(int acks)
{
    uint8_t bytes[1100], snapshot[64];
    uint64_t number = 0;
    struct wal *wal;
    struct wal_info info;
    struct error error;
    if (open_log(&wal, &info, &error) != 0 ||
        wal_begin(wal, info.incarnation + 1, on_durable, NULL, &error) != 0) {
        fprintf(stderr, "%s\n", error.message);
        return false;
    }
    durable_records = 0;
    for (uint32_t i = 1; i <= RESTART_EVERY; i++) {
        uint32_t word = ++last_word;
        wal_append(wal, bytes, write_word(word, 900, bytes), 1);
        if (wal_wants_checkpoint(wal)) {
            struct wal_records state = {snapshot, write_word(word, sizeof word, snapshot)};
            wal_checkpoint(
                wal,
                &(struct wal_snapshot){.state = state, .keys.records = state, .number = ++number},
                i);
        }
        pthread_mutex_lock(&lock);
        while (durable_records < i)
            pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        if (write(acks, &word, sizeof word) != sizeof word)
            abort();
    }
    wal_close(wal, true);
    return true;
}

static _Noreturn void child_main(const char *plan, int acks)
{
    failio_set(plan);
    for (int run = 0; run < WORDS / RESTART_EVERY; run++) {
        if (!run_once(acks))
            _exit(1);
    }
    _exit(0);
}

/* ---- the parent ---- */

static uint32_t acknowledged;
static char said[4096]; /* by the child, on stderr */
static int status;

static void remove_log(void)
{
    char name[512];
    DIR *stream = opendir(dir);
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", dir, entry->d_name);
        unlink(name);
    }
    if (stream != NULL)
        closedir(stream);
}

static void when_run_with(const char *plan)
{
    int acks[2], story[2];
    uint32_t word;
    fflush(NULL);
    ck_assert(pipe(acks) == 0 && pipe(story) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(acks[0]);
        dup2(story[1], STDERR_FILENO);
        child_main(plan, acks[1]);
    }
    close(acks[1]);
    close(story[1]);
    acknowledged = 0;
    while (read(acks[0], &word, sizeof word) == sizeof word)
        acknowledged = word;
    size_t length = 0;
    for (ssize_t n; (n = read(story[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t)n;
    said[length] = '\0';
    close(acks[0]);
    close(story[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
}

/* Nothing acknowledged is lost, nothing is invented, and the log goes on. */
static void then_the_log_is_whole(const char *plan)
{
    struct wal *wal;
    struct wal_info info;
    struct error error;
    ck_assert_msg(open_log(&wal, &info, &error) == 0, "%s: %s", plan, error.message);
    ck_assert_msg(gaps == 0, "%s: %u gaps", plan, gaps);
    ck_assert_msg(last_word == acknowledged || last_word == acknowledged + 1,
                  "%s: %u acknowledged, %u found", plan, acknowledged, last_word);
    wal_close(wal, false);
}

static void then_it_ended_saying(const char *plan, const char *reason)
{
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%s: status %x\n%s", plan,
                  (unsigned)status, said);
    ck_assert_msg(strstr(said, reason) != NULL, "%s: said %s", plan, said);
    ck_assert_msg(strstr(said, dir) != NULL, "%s: said %s", plan, said);
}

static bool ran_to_its_end(void)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/assent-test-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void tear_down(void)
{
    remove_log();
    rmdir(dir);
}

/* Try n = 1, 2, ... until a run has no n-th call any more. */
static int at_every(const char *call, const char *how, const char *words)
{
    char plan[64];
    for (int n = 1; n < CALLS_MAX; n++) {
        snprintf(plan, sizeof plan, "%s %d %s", call, n, how);
        when_run_with(plan);
        if (ran_to_its_end() && acknowledged == WORDS && said[0] == '\0')
            return n - 1;
        if (words != NULL)
            then_it_ended_saying(plan, words);
        then_the_log_is_whole(plan);
        remove_log();
    }
    ck_abort_msg("no end of %s", call);
}

START_TEST(a_failed_call_ends_the_process_and_loses_nothing)
{
    static const char *const calls[] = {"pwrite",   "fdatasync", "fsync", "ftruncate",
                                        "renameat", "unlinkat",  "openat"};
    const char *call = calls[_i];
    ck_assert_int_gt(at_every(call, "EIO", "Input/output error"), 0);
}
END_TEST

START_TEST(a_kill_at_any_call_loses_nothing)
{
    ck_assert_int_gt(at_every("any", "KILL", NULL), 150);
}
END_TEST

START_TEST(a_kill_just_after_any_call_loses_nothing)
{
    ck_assert_int_gt(at_every("any", "DONE", NULL), 150);
}
END_TEST

START_TEST(a_full_disk_is_outlived_or_ends_the_process_with_its_reason)
{
    char plan[64];
    for (int n = 1; n < CALLS_MAX; n++) {
        snprintf(plan, sizeof plan, "pwrite %d+ ENOSPC", n);
        when_run_with(plan);
        if (ran_to_its_end() && said[0] == '\0')
            return;
        if (!ran_to_its_end())
            then_it_ended_saying(plan, "No space left on device");
        then_the_log_is_whole(plan);
        remove_log();
    }
    ck_abort_msg("no end");
}
END_TEST

START_TEST(room_that_comes_back_is_used)
{
    when_run_with("pwrite 9 ENOSPC"); /* a segment being made in advance */
    ck_assert_msg(ran_to_its_end() || strstr(said, "No space left on device") != NULL, "%s", said);
    then_the_log_is_whole("pwrite 9 ENOSPC");
}
END_TEST

/* Too many files are open elsewhere: that is no failure of the disk, and passes. */
START_TEST(a_file_that_cannot_be_opened_now_is_opened_later)
{
    int outlived = 0;
    for (int n = 1; n < CALLS_MAX; n++) {
        char plan[64];
        snprintf(plan, sizeof plan, "openat %d %s", n, _i == 0 ? "EMFILE" : "ENFILE");
        when_run_with(plan);
        if (ran_to_its_end() && said[0] == '\0')
            break;
        /* A start may refuse: it has nothing to lose. */
        ck_assert_msg(strstr(said, "ending at once") == NULL, "%s: %s", plan, said);
        ck_assert_msg(!ran_to_its_end() || acknowledged == WORDS, "%s: %u", plan, acknowledged);
        outlived += ran_to_its_end();
        then_the_log_is_whole(plan);
        remove_log();
    }
    ck_assert_int_gt(outlived, 2);
}
END_TEST

START_TEST(a_short_write_is_completed)
{
    for (int n = 1; n < 40; n += 3) {
        char plan[64];
        snprintf(plan, sizeof plan, "pwrite %d SHORT", n);
        when_run_with(plan);
        ck_assert_msg(ran_to_its_end(), "%s: %s", plan, said);
        ck_assert_uint_eq(acknowledged, WORDS);
        then_the_log_is_whole(plan);
        remove_log();
    }
}
END_TEST

START_TEST(a_directory_that_cannot_be_written_is_refused_with_its_name)
{
    when_run_with("openat 1+ EROFS");
    then_it_ended_saying("openat 1+ EROFS", "Read-only file system");
    ck_assert_uint_eq(acknowledged, 0);
}
END_TEST

static Suite *failures_suite(void)
{
    Suite *suite = suite_create("log failures");
    TCase *tests = tcase_create("log failures");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, a_failed_call_ends_the_process_and_loses_nothing, 0, 7);
    tcase_add_test(tests, a_kill_at_any_call_loses_nothing);
    tcase_add_test(tests, a_kill_just_after_any_call_loses_nothing);
    tcase_add_test(tests, a_full_disk_is_outlived_or_ends_the_process_with_its_reason);
    tcase_add_test(tests, room_that_comes_back_is_used);
    tcase_add_loop_test(tests, a_file_that_cannot_be_opened_now_is_opened_later, 0, 2);
    tcase_add_test(tests, a_short_write_is_completed);
    tcase_add_test(tests, a_directory_that_cannot_be_written_is_refused_with_its_name);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(failures_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
