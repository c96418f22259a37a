/*
 * tests/unit/test_log_damage.c - what the log's reader makes of every damage and every crash.
 *
 * The subject is a log with every kind of record, several starts, segments and checkpoints.
 * Damage: each byte flipped, each file cut at each length, sectors lost. Crashes: any subset of
 * the sectors of a batch that nobody heard of reaches the disk, hundreds of times in a row.
 *
 * The chain's last checksum depends on every byte before it, so "nothing was lost" is: the log
 * ends with the same lsn and checksum.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "core/message/record.h"
#include "log/reader.h"
#include "log/wal.h"

enum { SMALL_SEGMENT = 16 * 1024, SECTOR = 512, CRASHES = 400, FILE_MAX = 64 * 1024 };

static char dir[64];
static struct error error;
static struct wal *wal;
static struct wal_info info;

/* ---- writing ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t durable_records, handed;

static void on_durable(void *arg, uint64_t records, uint64_t durable_lsn)
{
    (void)arg;
    (void)durable_lsn;
    pthread_mutex_lock(&lock);
    durable_records = records;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static int on_record(void *arg, const struct wal_record *record, struct error *story)
{
    (void)arg;
    (void)record;
    (void)story;
    return 0;
}

static void start(void)
{
    struct wal_options options = {
        .dir = dir, .tm = "bank", .seal_after_ms = 60 * 1000, .segment_bytes = SMALL_SEGMENT};
    ck_assert_msg(wal_open(&wal, &options, &info, on_record, NULL, &error) == 0, "%s",
                  error.message);
    handed = durable_records = 0;
    ck_assert_int_eq(wal_begin(wal, info.incarnation + 1, on_durable, NULL, &error), 0);
}

static void hand_over(const uint8_t *bytes, size_t length, uint32_t records)
{
    wal_append(wal, bytes, length, records);
    handed += records;
    pthread_mutex_lock(&lock);
    while (durable_records < handed)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* The writer has written what it opens an incarnation with. */
static void wait_for_seal(void)
{
    struct wal_stats stats;
    do {
        wal_stats(wal, &stats);
    } while (stats.durable_lsn <= info.recovered_lsn);
}

/* A record of each type that the core writes, in one batch. */
static void write_every_type(uint64_t sequence)
{
    uint8_t bytes[RECORD_TYPES * 512];
    size_t length = 0;
    uint32_t records = 0;
    for (int type = 1; type < RECORD_TYPES; type++) {
        if (type == RECORD_SEAL || type == RECORD_STOP)
            continue;
        struct record record = {
            .type = (enum record_type)type,
            .incarnation = 1,
            .sequence = sequence,
            .outcome = OUTCOME_COMMITTED,
            .rm = "ledger",
            .url = "ipc:///run/assent/ledger.sock",
            .key = "order-4711",
            .who = "uid 0",
            .why = "the machine burnt down",
            .branch_count = 1,
            .branches = {{.rm = "accounts", .xid = 723}},
        };
        length += record_append(&record, bytes + length);
        records++;
    }
    hand_over(bytes, length, records);
}

static void write_checkpoint(void)
{
    uint8_t bytes[RECORD_APPEND_MAX];
    struct record record = {.type = RECORD_AGENT, .rm = "ledger", .url = "ipc:///l.sock"};
    wal_checkpoint(wal, &(struct wal_snapshot){.state = {bytes, record_append(&record, bytes)}},
                   handed);
}

/* Three starts; the last ends with STOP, so that all else is vouched for. */
static void given_a_log(void)
{
    for (uint64_t i = 0; i < 3; i++) {
        start();
        for (uint64_t j = 0; j < 16; j++) {
            write_every_type(16 * i + j);
            if (wal_wants_checkpoint(wal))
                write_checkpoint();
        }
        wal_close(wal, true);
    }
}

/* ---- reading and damaging ---- */

static struct log_end intact, found;

static int pass_over(void *arg, const struct log_place *place, const struct frame *frame,
                     struct error *story)
{
    (void)arg;
    (void)place;
    (void)frame;
    (void)story;
    return 0;
}

static int look(struct log_end *end)
{
    struct log_dir here;
    ck_assert_int_eq(log_dir_open(&here, dir, &error), 0);
    int rc = log_read(&here, "bank", false, end, pass_over, NULL, &error);
    log_dir_close(&here);
    return rc;
}

static bool ends_like(const struct log_end *end)
{
    return end->chain.lsn == intact.chain.lsn && end->chain.checksum == intact.chain.checksum;
}

struct file {
    char name[FILE_NAME_BYTES];
    uint8_t bytes[FILE_MAX];
    size_t length;
};

static struct file files[24];
static size_t file_count;

static const char *path_of(const char *name, const char *suffix)
{
    static char path[2][200];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s%s", dir, name, suffix);
    return path[turn];
}

static void load(struct file *file, const char *name)
{
    snprintf(file->name, sizeof file->name, "%.39s", name);
    int fd = open(path_of(name, ""), O_RDONLY);
    ssize_t length = read(fd, file->bytes, FILE_MAX);
    ck_assert(length >= 0 && length < FILE_MAX);
    file->length = (size_t)length;
    close(fd);
}

static void load_files(void)
{
    DIR *stream = opendir(dir);
    file_count = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (strncmp(entry->d_name, "wal-", 4) == 0 ||
            strncmp(entry->d_name, "checkpoint-", 11) == 0)
            load(&files[file_count++], entry->d_name);
    }
    closedir(stream);
}

static void overwrite(const struct file *file, const uint8_t *bytes, size_t at, size_t length)
{
    int fd = open(path_of(file->name, ""), O_WRONLY);
    ck_assert(fd >= 0 && pwrite(fd, bytes, length, (off_t)at) == (ssize_t)length);
    close(fd);
}

/* Everything as it was. */
static void store(const struct file *file)
{
    overwrite(file, file->bytes, 0, file->length);
}

/* Where reading begins and the last batch, STOP alone: everything between is vouched for. */
static bool is_sealed(const struct file *file, size_t at)
{
    char first[FILE_NAME_BYTES], last[FILE_NAME_BYTES];
    file_name(FILE_SEGMENT, intact.checkpoint_segment, first);
    file_name(FILE_SEGMENT, intact.segment, last);
    int after_first = strcmp(file->name, first), before_last = strcmp(file->name, last);
    return strncmp(file->name, "wal-", 4) == 0 && after_first >= 0 && before_last <= 0 &&
           (after_first > 0 || at >= intact.checkpoint_offset) &&
           (before_last < 0 || at < intact.batch_offset);
}

/* The zeros behind the last record of a segment: nobody has written there yet. */
static size_t used_bytes(const struct file *file)
{
    size_t length = file->length;
    while (length > 0 && file->bytes[length - 1] == 0)
        length--;
    return (length + 7) & ~(size_t)7;
}

/* STOP may be lost, torn or without a trace: then the log is one of a daemon that was killed. */
static bool lost_its_stop(void)
{
    return !found.clean && found.chain.lsn + 1 == intact.chain.lsn;
}

static void then_refused_or_whole(const struct file *file, size_t at, bool sealed)
{
    bool refused = look(&found) != 0;
    ck_assert_msg(refused || ends_like(&found) || lost_its_stop(),
                  "%s at %zu: lsn %ju instead of %ju, unnoticed", file->name, at,
                  (uintmax_t)found.chain.lsn, (uintmax_t)intact.chain.lsn);
    ck_assert_msg(refused || !sealed, "%s at %zu: damage to sealed data was accepted", file->name,
                  at);
}

START_TEST(every_flipped_byte_is_refused_or_harmless)
{
    for (size_t i = 0; i < file_count; i++) {
        struct file *file = &files[i];
        size_t used = used_bytes(file);
        for (size_t at = 0; at < file->length; at += at < used ? 1 : 61) {
            uint8_t flipped = file->bytes[at] ^ (uint8_t)(1 << at % 8);
            overwrite(file, &flipped, at, 1);
            then_refused_or_whole(file, at, at < used && is_sealed(file, at));
            overwrite(file, &file->bytes[at], at, 1);
        }
    }
}
END_TEST

START_TEST(every_file_cut_short_is_refused_or_harmless)
{
    for (size_t i = 0; i < file_count; i++) {
        for (size_t length = 0; length < files[i].length; length += length < 4300 ? 1 : 31) {
            ck_assert_int_eq(truncate(path_of(files[i].name, ""), (off_t)length), 0);
            then_refused_or_whole(&files[i], length, false);
            store(&files[i]);
        }
    }
}
END_TEST

START_TEST(every_lost_sector_is_refused_or_harmless)
{
    static const uint8_t zeros[SECTOR];
    for (size_t i = 0; i < file_count; i++) {
        for (size_t at = 0; at < files[i].length; at += SECTOR) {
            size_t length = files[i].length - at < SECTOR ? files[i].length - at : SECTOR;
            if (all_zero(files[i].bytes + at, length))
                continue;
            bool matters = is_sealed(&files[i], at);
            if (matters && !is_sealed(&files[i], at + length - 1))
                continue; /* it takes with it what vouches for it: a disk that lies about a sync */
            overwrite(&files[i], zeros, at, length);
            then_refused_or_whole(&files[i], at, matters);
            overwrite(&files[i], files[i].bytes + at, at, length);
        }
    }
}
END_TEST

/* That the newest segment is gone nothing in the log can tell; the agents can, who have seen
 * positions in it. */
START_TEST(every_missing_file_but_the_newest_segment_is_refused_or_harmless)
{
    char newest[FILE_NAME_BYTES];
    file_name(FILE_SEGMENT, intact.segment, newest);
    for (size_t i = 0; i < file_count; i++) {
        const char *name = files[i].name;
        if (strcmp(name, newest) == 0)
            continue;
        ck_assert_int_eq(rename(path_of(name, ""), path_of(name, ".aside")), 0);
        then_refused_or_whole(&files[i], 0, false);
        ck_assert_int_eq(rename(path_of(name, ".aside"), path_of(name, "")), 0);
    }
}
END_TEST

/* ---- crashes ---- */

/* xorshift: the same nights everywhere. */
static uint64_t dice = 1;

static uint64_t roll(uint64_t sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice % sides;
}

/* What the log says: its records' numbers, oldest first. */
static uint64_t told[CRASHES * 40];
static size_t told_count;

static int tell(void *arg, const struct wal_record *record, struct error *story)
{
    (void)arg;
    (void)story;
    memcpy(&told[told_count++], record->payload, sizeof *told);
    return 0;
}

static uint64_t next_number = 1;

/* A batch of 1 to 6 records of up to 700 bytes; numbers gets what was written. */
static size_t write_numbers(uint64_t *numbers)
{
    uint8_t bytes[6 * 720], payload[700] = {0};
    size_t length = 0;
    uint32_t count = (uint32_t)roll(6) + 1;
    for (uint32_t i = 0; i < count; i++) {
        memset(payload, (int)roll(256), sizeof payload);
        memcpy(payload, &next_number, sizeof next_number);
        numbers[i] = next_number++;
        length += handed_write(RECORD_BEAT, payload, 8 + roll(690), bytes + length);
    }
    hand_over(bytes, length, count);
    return count;
}

static void load_newest_segment(struct file *file)
{
    char newest[FILE_NAME_BYTES] = "";
    DIR *stream = opendir(dir);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (strncmp(entry->d_name, "wal-", 4) == 0 && strcmp(entry->d_name, newest) > 0)
            snprintf(newest, sizeof newest, "%.39s", entry->d_name);
    }
    closedir(stream);
    load(file, newest);
}

/* Each sector of what changed since `before` reached the disk, or did not. */
static void lose_sectors(struct file *after, const struct file *before)
{
    bool same = strcmp(after->name, before->name) == 0;
    for (size_t at = HEADER_BYTES; at < after->length; at += SECTOR) {
        if (roll(2) == 0)
            continue;
        if (same)
            memcpy(after->bytes + at, before->bytes + at, SECTOR);
        else
            memset(after->bytes + at, 0, SECTOR);
    }
    store(after);
}

START_TEST(no_crash_loses_an_acknowledged_record_or_raises_a_dead_one)
{
    static uint64_t acknowledged[CRASHES * 40];
    static struct file before, after;
    uint64_t pending[8];
    size_t count = 0, torn = 0;
    struct wal_options options = {
        .dir = dir, .tm = "bank", .seal_after_ms = 60 * 1000, .segment_bytes = SMALL_SEGMENT};
    for (int crash = 0; crash < CRASHES; crash++) {
        told_count = 0;
        ck_assert_msg(wal_open(&wal, &options, &info, tell, NULL, &error) == 0, "crash %d: %s",
                      crash, error.message);
        ck_assert_uint_ge(told_count, count);
        ck_assert_int_eq(memcmp(told, acknowledged, count * sizeof *told), 0);
        for (size_t i = count; i < told_count; i++) /* of the pending batch, a beginning */
            ck_assert_uint_eq(told[i], pending[i - count]);
        memcpy(acknowledged, told, told_count * sizeof *told);
        count = told_count;
        torn += info.torn;

        handed = durable_records = 0;
        ck_assert_int_eq(wal_begin(wal, info.incarnation + 1, on_durable, NULL, &error), 0);
        wait_for_seal();
        for (uint64_t batches = roll(3); batches > 0; batches--)
            count += write_numbers(acknowledged + count);
        load_newest_segment(&before);
        memset(pending, 0, sizeof pending);
        write_numbers(pending);
        wal_close(wal, false);
        load_newest_segment(&after);
        lose_sectors(&after, &before);
    }
    ck_assert_uint_gt(torn, CRASHES / 4);
}
END_TEST

static void remove_log(void)
{
    char name[400];
    DIR *stream = opendir(dir);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", dir, entry->d_name);
        unlink(name);
    }
    closedir(stream);
    rmdir(dir);
}

static void make_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/assent-test-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void make_log(void)
{
    make_dir();
    given_a_log();
    ck_assert_int_eq(look(&intact), 0);
    ck_assert(intact.clean && intact.checkpoint != 0);
    load_files();
    ck_assert_uint_ge(file_count, 5);
}

static Suite *damage_suite(void)
{
    Suite *suite = suite_create("log damage");
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, make_log, remove_log);
    tcase_set_timeout(damage, 120);
    tcase_add_test(damage, every_flipped_byte_is_refused_or_harmless);
    tcase_add_test(damage, every_file_cut_short_is_refused_or_harmless);
    tcase_add_test(damage, every_lost_sector_is_refused_or_harmless);
    tcase_add_test(damage, every_missing_file_but_the_newest_segment_is_refused_or_harmless);
    suite_add_tcase(suite, damage);
    TCase *crashes = tcase_create("crashes");
    tcase_add_checked_fixture(crashes, make_dir, remove_log);
    tcase_set_timeout(crashes, 120);
    tcase_add_test(crashes, no_crash_loses_an_acknowledged_record_or_raises_a_dead_one);
    suite_add_tcase(suite, crashes);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(damage_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
