/*
 * tests/unit/test_log.c - the write-ahead log over restarts, crashes and damage.
 *
 * A record here is a word. A crash is a log that is closed without STOP, and whose file is
 * then given the bytes that the disk might hold after one.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "core/message/record.h"
#include "log/reader.h"
#include "log/wal.h"

enum { WORD_TYPE = RECORD_BEAT, SMALL_SEGMENT = 16 * 1024, NEVER_MS = 60 * 1000 };

static char dir[64];
static struct wal *wal;
static struct wal_info info;
static struct error error;
static char words[64 * 1024]; /* what the last opening replayed */
static uint32_t seal_after_ms;
static uint32_t segment_bytes;
static bool moved;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t durable_records;
static bool gate_closed; /* the writer may not return from durable() */
static uint64_t handed;

static void on_durable(void *arg, uint64_t records, uint64_t durable_lsn)
{
    (void)arg;
    (void)durable_lsn;
    pthread_mutex_lock(&lock);
    durable_records = records;
    pthread_cond_broadcast(&changed);
    while (gate_closed)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void set_gate(bool closed)
{
    pthread_mutex_lock(&lock);
    gate_closed = closed;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_durable(uint64_t records)
{
    pthread_mutex_lock(&lock);
    while (durable_records < records)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static int on_record(void *arg, const struct wal_record *record, struct error *story)
{
    (void)arg;
    (void)story;
    size_t used = strlen(words);
    snprintf(words + used, sizeof words - used, "%s%.*s", used == 0 ? "" : " ", (int)record->length,
             (const char *)record->payload);
    return 0;
}

static int try_open_as(const char *tm)
{
    struct wal_options options = {
        .dir = dir,
        .tm = tm,
        .moved = moved,
        .seal_after_ms = seal_after_ms,
        .segment_bytes = segment_bytes,
    };
    words[0] = '\0';
    memset(&error, 0, sizeof error);
    return wal_open(&wal, &options, &info, on_record, NULL, &error);
}

static void opened(void)
{
    ck_assert_msg(try_open_as("bank") == 0, "%s", error.message);
}

static void begun(void)
{
    handed = durable_records = 0;
    ck_assert_int_eq(wal_begin(wal, info.incarnation + 1, on_durable, NULL, &error), 0);
}

static void hand_over(const char *word)
{
    uint8_t bytes[4096];
    size_t length = handed_write(WORD_TYPE, word, strlen(word), bytes);
    wal_append(wal, bytes, length, 1);
    handed++;
}

/* All the words at once, as one batch, durable on return. */
static void write_batch(const char *list)
{
    uint8_t bytes[4096];
    char copy[1024];
    size_t length = 0;
    uint32_t records = 0;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " "), records++)
        length += handed_write(WORD_TYPE, word, strlen(word), bytes + length);
    wal_append(wal, bytes, length, records);
    handed += records;
    wait_durable(handed);
}

static void closed(bool clean)
{
    wal_close(wal, clean);
    wal = NULL;
}

/* Open, begin, write one batch and crash. */
static void write_and_crash(const char *list)
{
    opened();
    begun();
    write_batch(list);
    closed(false);
}

/* What an opening finds; nothing is written but what opening writes. */
static const char *replayed(void)
{
    opened();
    closed(false);
    return words;
}

static char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* The first segment's bytes, for tests that damage them. */
static const char first[] = "wal-0000000001";

static void load(uint8_t bytes[SMALL_SEGMENT])
{
    FILE *file = fopen(path_of(first), "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(bytes, 1, SMALL_SEGMENT, file), SMALL_SEGMENT);
    fclose(file);
}

static void store(const uint8_t *bytes, size_t length)
{
    FILE *file = fopen(path_of(first), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

static struct log_end end;

static int check_lsn(void *arg, const struct log_place *place, const struct frame *frame,
                     struct error *story)
{
    uint64_t *last = arg;
    (void)place;
    (void)story;
    ck_assert_uint_eq(frame->lsn, *last + 1);
    *last = frame->lsn;
    return 0;
}

/* Look at the log as a reader does, without changing it. */
static void look(void)
{
    struct log_dir place;
    uint64_t last = 0;
    ck_assert_int_eq(log_dir_open(&place, dir, &error), 0);
    ck_assert_msg(log_read(&place, NULL, false, &end, check_lsn, &last, &error) == 0, "%s",
                  error.message);
    log_dir_close(&place);
}

/* Where the last batch begins and ends in the first segment. */
static void last_batch(uint64_t *from, uint64_t *until)
{
    look();
    *from = end.batch_offset;
    *until = end.batch_end;
}

static void remove_files(const char *path)
{
    char name[512];
    DIR *stream = opendir(path);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        unlink(name);
    }
    closedir(stream);
    rmdir(path);
}

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/assent-test-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    seal_after_ms = NEVER_MS;
    segment_bytes = SMALL_SEGMENT;
    moved = false;
}

static void tear_down(void)
{
    remove_files(dir);
}

START_TEST(a_new_log_is_empty_and_has_an_identity)
{
    opened();
    ck_assert(info.created);
    ck_assert(!info.torn);
    ck_assert_uint_eq(info.recovered_lsn, 0);
    ck_assert_uint_eq(info.incarnation, 0);
    struct uuid log = info.log;
    closed(false);
    opened();
    ck_assert(!info.created);
    ck_assert_int_eq(memcmp(&log, &info.log, sizeof log), 0);
    closed(false);
}
END_TEST

START_TEST(what_was_durable_is_there_after_every_restart)
{
    write_and_crash("one two");
    write_and_crash("three");
    opened();
    ck_assert_str_eq(words, "one two three");
    ck_assert_uint_eq(info.incarnation, 2);
    ck_assert_uint_eq(info.records, 3);
    begun();
    write_batch("four");
    closed(true);
    opened();
    ck_assert_str_eq(words, "one two three four");
    ck_assert(info.clean);
    ck_assert_uint_eq(info.incarnation, 3);
    closed(false);
}
END_TEST

START_TEST(missing_parents_of_the_directory_are_made)
{
    char deep[64];
    memcpy(deep, dir, sizeof deep);
    strcat(dir, "/a/b");
    write_and_crash("one");
    ck_assert_str_eq(replayed(), "one");
    remove_files(dir);
    strcpy(strrchr(dir, '/'), "");
    rmdir(dir);
    memcpy(dir, deep, sizeof dir);
}
END_TEST

/* Records written in this life, the log's own with them. */
static void wait_written(uint64_t records)
{
    struct wal_stats stats;
    do {
        usleep(1000);
        wal_stats(wal, &stats);
    } while (stats.records < records);
}

START_TEST(lsns_are_dense_over_restarts_seals_and_stops)
{
    seal_after_ms = 1;
    opened();
    begun();
    write_batch("one");
    wait_written(1 + 1 + 1); /* SEAL w SEAL */
    write_batch("two");
    wait_written(1 + 1 + 1 + 1 + 1);
    closed(true);
    seal_after_ms = NEVER_MS;
    write_and_crash("three");
    look();
    ck_assert_uint_eq(end.chain.lsn, 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1); /* STOP SEAL w besides */
}
END_TEST

START_TEST(what_is_handed_over_during_a_sync_is_the_next_batch)
{
    struct wal_stats stats;
    char word[16];
    opened();
    begun();
    set_gate(true);
    hand_over("first");
    wait_durable(1);
    for (int i = 0; i < 500; i++) {
        snprintf(word, sizeof word, "w%d", i);
        hand_over(word);
    }
    set_gate(false);
    wait_durable(501);
    wal_stats(wal, &stats);
    ck_assert_uint_le(stats.syncs, 6); /* SEAL, the first, and the rest by the room of a segment */
    ck_assert_uint_eq(stats.records, 502);
    closed(false);
}
END_TEST

START_TEST(records_go_on_in_the_next_segment)
{
    char word[1000], expected[sizeof words] = "";
    opened();
    begun();
    for (int i = 0; i < 60; i++) {
        memset(word, 'a' + i % 26, sizeof word - 1);
        word[sizeof word - 1] = '\0';
        hand_over(word);
        strcat(strcat(expected, i == 0 ? "" : " "), word);
    }
    wait_durable(60);
    closed(true);
    ck_assert_int_eq(access(path_of("wal-0000000005"), F_OK), 0);
    ck_assert_str_eq(replayed(), expected);
}
END_TEST

static off_t bytes_of(const char *name)
{
    struct stat status;
    ck_assert_int_eq(stat(path_of(name), &status), 0);
    return status.st_size;
}

START_TEST(another_segment_size_is_that_of_the_segments_to_come)
{
    char word[1000];
    snprintf(word, sizeof word, "%0999d", 0);
    opened();
    begun();
    write_batch("one");
    closed(true);
    segment_bytes = 2 * SMALL_SEGMENT;
    opened();
    ck_assert_str_eq(words, "one");
    begun();
    for (int i = 0; i < 20; i++)
        hand_over(word);
    closed(true);
    ck_assert_int_eq(bytes_of("wal-0000000001"), SMALL_SEGMENT);
    ck_assert_int_eq(bytes_of("wal-0000000002"), 2 * SMALL_SEGMENT);
    segment_bytes = SMALL_SEGMENT;
    write_and_crash("last");
    ck_assert_ptr_nonnull(strstr(replayed(), " last"));
}
END_TEST

START_TEST(a_batch_torn_at_any_byte_loses_only_itself)
{
    uint8_t whole[SMALL_SEGMENT], torn[SMALL_SEGMENT];
    uint64_t from, until;
    write_and_crash("one two");
    write_and_crash("three four five");
    last_batch(&from, &until);
    load(whole);
    for (uint64_t cut = from; cut < until; cut++) {
        memcpy(torn, whole, sizeof torn);
        memset(torn + cut, 0, sizeof torn - cut);
        store(torn, sizeof torn);
        opened();
        ck_assert_msg(strncmp("one two three four five", words, strlen(words)) == 0, "%s", words);
        ck_assert_msg(strlen(words) >= strlen("one two"), "%s", words);
        closed(false);
        opened(); /* again: the repaired log is a whole one */
        ck_assert(!info.torn);
        closed(false);
    }
}
END_TEST

START_TEST(records_of_a_torn_batch_never_return)
{
    uint8_t bytes[SMALL_SEGMENT], remnants[SMALL_SEGMENT];
    uint64_t from, until;
    write_and_crash("one");
    write_and_crash("aaa bbb ccc");
    last_batch(&from, &until);
    load(bytes);
    bytes[from] ^= 1; /* aaa is lost, bbb and ccc reached the disk */
    store(bytes, sizeof bytes);
    memcpy(remnants, bytes, sizeof remnants);
    opened();
    ck_assert_str_eq(words, "one");
    ck_assert(info.torn);
    begun();
    write_batch("xxx");
    closed(false);
    ck_assert_str_eq(replayed(), "one xxx");

    /* Even if the disk forgot the zeros. */
    look();
    load(bytes);
    memcpy(bytes + end.offset, remnants + end.offset, sizeof bytes - end.offset);
    store(bytes, sizeof bytes);
    ck_assert_str_eq(replayed(), "one xxx");
}
END_TEST

START_TEST(damage_to_the_room_left_in_a_full_segment_is_harmless)
{
    uint8_t bytes[SMALL_SEGMENT];
    char word[1200];
    opened();
    begun();
    memset(word, 'a', sizeof word);
    word[sizeof word - 1] = '\0';
    while (access(path_of("wal-0000000002"), F_OK) != 0) {
        hand_over(word); /* the last of them is alone in the second segment */
        wait_durable(handed);
    }
    closed(false);
    load(bytes);
    ck_assert_int_eq(bytes[SMALL_SEGMENT - 1], 0);
    bytes[SMALL_SEGMENT - 1] = 1;
    store(bytes, sizeof bytes);
    ck_assert_uint_eq(strlen(replayed()), handed * sizeof word - 1);
}
END_TEST

/* A log whose every record but the last is vouched for; returns where that one begins. */
static uint64_t sealed_log(uint8_t bytes[SMALL_SEGMENT])
{
    uint64_t from, until;
    write_and_crash("one two");
    opened();
    begun();
    write_batch("three");
    closed(true);
    last_batch(&from, &until);
    load(bytes);
    return from;
}

START_TEST(every_flip_in_sealed_data_is_refused)
{
    uint8_t bytes[SMALL_SEGMENT];
    uint64_t stop = sealed_log(bytes);
    for (uint64_t at = 0; at < stop; at++) {
        bytes[at] ^= (uint8_t)(1 << at % 8);
        store(bytes, sizeof bytes);
        ck_assert_msg(try_open_as("bank") != 0, "a flip at %ju was accepted", (uintmax_t)at);
        ck_assert_ptr_nonnull(strstr(error.message, "wal-0000000001"));
        ck_assert_ptr_nonnull(strstr(error.message, " at offset "));
        bytes[at] ^= (uint8_t)(1 << at % 8);
    }
    store(bytes, sizeof bytes);
    ck_assert_str_eq(replayed(), "one two three");
}
END_TEST

START_TEST(the_refusal_names_file_offset_and_lsn)
{
    uint8_t bytes[SMALL_SEGMENT];
    char expected[600];
    sealed_log(bytes);
    struct frame seal;
    chain_begin(&end.chain, &info.log);
    ck_assert(frame_read(bytes + HEADER_BYTES, SMALL_SEGMENT, end.chain.seed, &seal));
    bytes[HEADER_BYTES + seal.bytes] ^= 1;
    store(bytes, sizeof bytes);
    ck_assert_int_ne(try_open_as("bank"), 0);
    snprintf(expected, sizeof expected,
             "%s/wal-0000000001 is corrupt at offset %zu: the record with lsn 2 was acknowledged "
             "and is damaged or missing (record 4 at offset ",
             dir, HEADER_BYTES + seal.bytes);
    ck_assert_msg(strncmp(error.message, expected, strlen(expected)) == 0, "%s", error.message);
}
END_TEST

START_TEST(a_file_cut_short_is_refused)
{
    uint8_t bytes[SMALL_SEGMENT];
    sealed_log(bytes);
    for (size_t length = 0; length < sizeof bytes; length += 509) {
        store(bytes, length);
        ck_assert_int_ne(try_open_as("bank"), 0);
        ck_assert_ptr_nonnull(strstr(error.message, "wal-0000000001 is corrupt at offset "));
    }
}
END_TEST

START_TEST(a_missing_segment_is_refused)
{
    char word[1000];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    opened();
    begun();
    for (int i = 0; i < 40; i++)
        hand_over(word);
    wait_durable(40);
    closed(true);
    unlink(path_of("wal-0000000002"));
    ck_assert_int_ne(try_open_as("bank"), 0);
    ck_assert_ptr_nonnull(strstr(error.message, "wal-0000000002 is missing"));
}
END_TEST

START_TEST(a_log_of_a_later_version_is_refused)
{
    uint8_t bytes[SMALL_SEGMENT];
    sealed_log(bytes);
    bytes[12] = FORMAT_VERSION + 1; /* least reader version */
    memset(bytes + 16, 0, 8);
    XXH64_hash_t checksum = XXH3_64bits(bytes, HEADER_BYTES);
    memcpy(bytes + 16, &checksum, 8);
    store(bytes, sizeof bytes);
    ck_assert_int_ne(try_open_as("bank"), 0);
    ck_assert_ptr_nonnull(strstr(error.message, "was written by a later version of Assent"));
}
END_TEST

START_TEST(a_second_opener_is_refused_and_told_by_whom)
{
    char expected[300], host[65] = "";
    gethostname(host, sizeof host - 1);
    opened();
    struct wal *first_wal = wal;
    ck_assert_int_ne(try_open_as("bank"), 0);
    snprintf(expected, sizeof expected, "the log in %s is in use by pid %d on %s", dir,
             (int)getpid(), host);
    ck_assert_str_eq(error.message, expected);
    wal_close(first_wal, false);
    opened();
    closed(false);
}
END_TEST

START_TEST(the_log_of_another_tm_is_refused)
{
    write_and_crash("one");
    ck_assert_int_ne(try_open_as("shop"), 0);
    ck_assert_ptr_nonnull(strstr(error.message, "is that of TM bank, not of shop"));
}
END_TEST

START_TEST(a_copy_is_refused_unless_it_is_said_to_be_moved)
{
    char copy[80], command[200];
    write_and_crash("one");
    snprintf(copy, sizeof copy, "%s-copy", dir);
    snprintf(command, sizeof command, "cp -r %s %s", dir, copy);
    ck_assert_int_eq(system(command), 0);
    snprintf(command, sizeof command, "%s", dir);
    memcpy(dir, copy, sizeof dir);

    ck_assert_int_ne(try_open_as("bank"), 0);
    ck_assert_ptr_nonnull(strstr(error.message, "the log was last written elsewhere"));
    moved = true;
    opened();
    ck_assert(!info.same_home);
    begun();
    write_batch("two");
    closed(true);
    moved = false; /* from now on it is at home here */
    opened();
    ck_assert(info.same_home);
    ck_assert_str_eq(words, "one two");
    closed(false);
    remove_files(copy);
    memcpy(dir, command, sizeof dir);
}
END_TEST

START_TEST(an_idle_log_is_sealed_once)
{
    seal_after_ms = 5;
    opened();
    begun();
    write_batch("one");
    wait_written(1 + 1 + 1); /* SEAL of the start, one, SEAL */
    usleep(50 * 1000);
    struct wal_stats stats;
    wal_stats(wal, &stats);
    ck_assert_uint_eq(stats.records, 3);
    closed(false);
}
END_TEST

/* A snapshot of one word, and everything that was handed over durable with it. */
static void checkpoint(const char *word)
{
    uint8_t bytes[4096];
    size_t length = handed_write(WORD_TYPE, word, strlen(word), bytes);
    wal_checkpoint(wal, &(struct wal_snapshot){.state = {bytes, length}}, handed);
}

static size_t count_files(const char *prefix)
{
    size_t count = 0;
    DIR *stream = opendir(dir);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(stream);
    return count;
}

static void wait_checkpoints(size_t count)
{
    while (count_files("checkpoint-") < count)
        usleep(1000);
}

START_TEST(a_checkpoint_stands_for_all_that_was_handed_over_before_it)
{
    opened();
    begun();
    write_batch("one");
    set_gate(true);
    hand_over("two"); /* the writer stops behind this one */
    wait_durable(2);
    hand_over("three");
    checkpoint("onetwothree");
    hand_over("four");
    set_gate(false);
    wait_durable(4);
    closed(true);
    ck_assert_uint_eq(count_files("checkpoint-"), 1);
    ck_assert_str_eq(replayed(), "onetwothree four");
    write_and_crash("five");
    ck_assert_str_eq(replayed(), "onetwothree four five");
}
END_TEST

START_TEST(a_checkpoint_of_an_idle_log_is_written)
{
    opened();
    begun();
    write_batch("one");
    checkpoint("ONE");
    wait_checkpoints(1);
    closed(false);
    ck_assert_str_eq(replayed(), "ONE");
}
END_TEST

/* Hand over rounds long words, with a checkpoint ("C<round>") whenever the log wants one. */
static void churn(int rounds)
{
    char word[1000], name[20];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    for (int i = 0; i < rounds; i++) {
        hand_over(word);
        wait_durable(handed);
        if (wal_wants_checkpoint(wal)) {
            snprintf(name, sizeof name, "C%d", i);
            checkpoint(name);
        }
    }
}

START_TEST(the_disk_stays_bounded)
{
    opened();
    begun();
    churn(500);
    closed(true);
    ck_assert_uint_le(count_files("wal-"), 5);
    ck_assert_uint_eq(count_files("checkpoint-"), 2);
    opened();
    ck_assert_int_eq(words[0], 'C');
    ck_assert_int_gt(atoi(words + 1), 400);
    closed(false);
    opened(); /* and goes on from there */
    begun();
    churn(100);
    closed(true);
    ck_assert_uint_le(count_files("wal-"), 5);
}
END_TEST

/* Flip one byte in the middle of the newest checkpoint, or of all. */
static void damage_checkpoints(bool all)
{
    struct log_dir place;
    uint64_t *lsns;
    size_t count;
    ck_assert_int_eq(log_dir_open(&place, dir, &error), 0);
    ck_assert_int_eq(file_list(&place, FILE_CHECKPOINT, &lsns, &count, &error), 0);
    for (size_t i = all ? 0 : count - 1; i < count; i++) {
        char name[FILE_NAME_BYTES];
        file_name(FILE_CHECKPOINT, lsns[i], name);
        int fd = openat(place.fd, name, O_RDWR);
        ck_assert_int_eq(pwrite(fd, "!", 1, HEADER_BYTES + 12), 1);
        close(fd);
    }
    free(lsns);
    log_dir_close(&place);
}

START_TEST(a_damaged_checkpoint_is_read_around)
{
    char newest[20], older[20];
    opened();
    begun();
    churn(200);
    closed(true);
    sscanf(replayed(), "%19s", newest);
    damage_checkpoints(false);
    sscanf(replayed(), "%19s", older);
    ck_assert_int_lt(atoi(older + 1), atoi(newest + 1));
    write_and_crash("end");
    ck_assert_ptr_nonnull(strstr(replayed(), " end"));
}
END_TEST

START_TEST(a_log_with_no_readable_checkpoint_is_refused)
{
    opened();
    begun();
    churn(200);
    closed(true);
    damage_checkpoints(true);
    ck_assert_int_ne(try_open_as("bank"), 0);
    ck_assert_ptr_nonnull(strstr(error.message, "wal-0000000001 is missing"));
}
END_TEST

/* ---- archives ---- */

static uint64_t snapshots;

/* A snapshot of one word, and an archive of keys of another; on the disk on return. */
static void archive(const char *state, const char *keys, uint64_t newest, uint64_t oldest)
{
    uint8_t bytes[256], archived[256];
    struct wal_snapshot snapshot = {.number = ++snapshots};
    hand_over("-");
    wait_durable(handed);
    snapshot.state.length = handed_write(WORD_TYPE, state, strlen(state), bytes);
    snapshot.state.bytes = bytes;
    if (keys[0] != '\0')
        snapshot.keys.records.length = handed_write(WORD_TYPE, keys, strlen(keys), archived);
    snapshot.keys.records.bytes = archived;
    snapshot.keys.newest = newest;
    snapshot.keys.oldest = oldest;
    wal_checkpoint(wal, &snapshot, handed);
    while (wal_archived(wal) != snapshots)
        usleep(1000);
}

static void damage(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, "!", 1, HEADER_BYTES + 8), 1);
    close(fd);
}

START_TEST(an_archive_is_written_once_and_read_before_every_later_checkpoint)
{
    snapshots = 0;
    opened();
    begun();
    archive("C1", "K1", 10, 5);
    archive("C2", "", 0, 5);
    closed(true);
    ck_assert_uint_eq(count_files("keys-"), 1);
    ck_assert_str_eq(replayed(), "K1 C2");
    opened();
    begun();
    archive("C3", "K3", 20, 5);
    write_batch("end");
    closed(false);
    ck_assert_str_eq(replayed(), "K1 K3 C3 end");
    ck_assert_uint_eq(count_files("keys-"), 2);
    ck_assert_uint_eq(count_files("outcomes-"), 0);
}
END_TEST

START_TEST(an_archive_goes_when_neither_checkpoint_needs_it)
{
    snapshots = 0;
    opened();
    begun();
    archive("C1", "K1", 10, 5);
    archive("C2", "K2", 20, 10);
    archive("C3", "K3", 30, 11);
    ck_assert_uint_eq(count_files("keys-"), 3);
    archive("C4", "", 0, 11);
    closed(true);
    ck_assert_uint_eq(count_files("keys-"), 2);
    ck_assert_str_eq(replayed(), "K2 K3 C4");
    opened();
    begun();
    archive("C5", "", 0, 40);
    archive("C6", "", 0, 40);
    while (count_files("keys-") > 0)
        usleep(1000);
    archive("C7", "K7", 50, 40);
    closed(true);
    ck_assert_str_eq(replayed(), "K7 C7");
}
END_TEST

START_TEST(a_damaged_archive_is_read_around_or_the_log_is_refused_with_its_name)
{
    snapshots = 0;
    segment_bytes = SMALL_SEGMENT;
    opened();
    begun();
    archive("C1", "K1", 10, 5);
    archive("C2", "K2", 20, 5);
    archive("C3", "K3", 30, 5);
    closed(true);
    damage("keys-0000000003");
    ck_assert_str_eq(replayed(), "K1 K2 C2 -");
    damage("keys-0000000001");
    /* What it held is nowhere else, but for the log from its beginning, if that is still there. */
    ck_assert_str_eq(replayed(), "- - -");
    char path[128];
    snprintf(path, sizeof path, "%s/wal-0000000001", dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_ne(try_open_as("bank"), 0);
    ck_assert_msg(strstr(error.message, "keys-0000000001 is corrupt") != NULL, "%s", error.message);
    snprintf(path, sizeof path, "%s/keys-0000000001", dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_ne(try_open_as("bank"), 0);
    ck_assert_msg(strstr(error.message, "keys-0000000001: No such file") != NULL, "%s",
                  error.message);
}
END_TEST

START_TEST(an_archive_that_no_checkpoint_refers_to_goes_at_the_next_start)
{
    char command[256];
    snapshots = 0;
    opened();
    begun();
    archive("C1", "K1", 10, 5);
    closed(true);
    snprintf(command, sizeof command, "cp %s/keys-0000000001 %s/keys-0000000002", dir, dir);
    ck_assert_int_eq(system(command), 0);
    ck_assert_str_eq(replayed(), "K1 C1");
    opened();
    begun();
    archive("C2", "K2", 10, 5);
    closed(true);
    ck_assert_str_eq(replayed(), "K1 K2 C2");
}
END_TEST

START_TEST(archives_without_their_log_are_not_taken_for_nothing)
{
    char command[256];
    snapshots = 0;
    opened();
    begun();
    archive("C1", "K1", 10, 5);
    closed(true);
    snprintf(command, sizeof command, "rm %s/wal-* %s/checkpoint-*", dir, dir);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_ne(try_open_as("bank"), 0);
    ck_assert_ptr_nonnull(strstr(error.message, "holds archives of a log, and nothing else"));
}
END_TEST

static Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("log");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_new_log_is_empty_and_has_an_identity);
    tcase_add_test(tests, what_was_durable_is_there_after_every_restart);
    tcase_add_test(tests, missing_parents_of_the_directory_are_made);
    tcase_add_test(tests, lsns_are_dense_over_restarts_seals_and_stops);
    tcase_add_test(tests, what_is_handed_over_during_a_sync_is_the_next_batch);
    tcase_add_test(tests, records_go_on_in_the_next_segment);
    tcase_add_test(tests, another_segment_size_is_that_of_the_segments_to_come);
    tcase_add_test(tests, a_batch_torn_at_any_byte_loses_only_itself);
    tcase_add_test(tests, records_of_a_torn_batch_never_return);
    tcase_add_test(tests, damage_to_the_room_left_in_a_full_segment_is_harmless);
    tcase_add_test(tests, every_flip_in_sealed_data_is_refused);
    tcase_add_test(tests, the_refusal_names_file_offset_and_lsn);
    tcase_add_test(tests, a_file_cut_short_is_refused);
    tcase_add_test(tests, a_missing_segment_is_refused);
    tcase_add_test(tests, a_log_of_a_later_version_is_refused);
    tcase_add_test(tests, a_second_opener_is_refused_and_told_by_whom);
    tcase_add_test(tests, the_log_of_another_tm_is_refused);
    tcase_add_test(tests, a_copy_is_refused_unless_it_is_said_to_be_moved);
    tcase_add_test(tests, an_idle_log_is_sealed_once);
    tcase_add_test(tests, a_checkpoint_stands_for_all_that_was_handed_over_before_it);
    tcase_add_test(tests, an_archive_is_written_once_and_read_before_every_later_checkpoint);
    tcase_add_test(tests, an_archive_goes_when_neither_checkpoint_needs_it);
    tcase_add_test(tests, a_damaged_archive_is_read_around_or_the_log_is_refused_with_its_name);
    tcase_add_test(tests, an_archive_that_no_checkpoint_refers_to_goes_at_the_next_start);
    tcase_add_test(tests, archives_without_their_log_are_not_taken_for_nothing);
    tcase_add_test(tests, a_checkpoint_of_an_idle_log_is_written);
    tcase_add_test(tests, the_disk_stays_bounded);
    tcase_add_test(tests, a_damaged_checkpoint_is_read_around);
    tcase_add_test(tests, a_log_with_no_readable_checkpoint_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(log_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
