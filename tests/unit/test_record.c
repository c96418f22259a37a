/*
 * tests/unit/test_record.c - what is written to the log is what is read from it.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/message/record.h"

enum { HEADER_LENGTH = 8 };

/* Every field set, to values that differ in every byte. */
static struct record full(enum record_type type)
{
    struct record record = {
        .type = type,
        .incarnation = UINT64_C(0x0102030405060708),
        .sequence = UINT64_C(0x1112131415161718),
        .key = "order-4711",
        .label = "month's end",
        .application = "payroll",
        .outcome = OUTCOME_ROLLED_BACK,
        .rm = "accounts",
        .url = "tls+tcp://db2.example:7411",
        .who = "alice",
        .why = "the disk of db2 is gone; see the ticket",
        .beat = UINT64_C(0x2122232425262728),
        .system_identifier = UINT64_C(0xFFFFFFFFFFFFFFFF),
        .timeline = 0x31323334,
        .roster = {.count = 2, .tm = true, .agents = {"accounts", "ledger"}},
        .ballot = UINT64_C(0x5152535455565758),
        .branch_count = 2,
        .branches = {{"accounts", "", 731}, {"ledger", "2", UINT64_C(0x4142434445464748)}},
    };
    for (uint8_t i = 0; i < sizeof record.instance.bytes; i++)
        record.instance.bytes[i] = (uint8_t)(0xF0 + i);
    return record;
}

/* Append it, and read it back from a room of exactly its size. */
static enum record_read there_and_back(const struct record *record, struct record *out)
{
    uint8_t bytes[RECORD_APPEND_MAX];
    size_t used = record_append(record, bytes);
    ck_assert_uint_eq(used % 8, 0);
    size_t length = bytes[0] | (size_t)bytes[1] << 8;
    ck_assert_uint_le(HEADER_LENGTH + length, used);
    ck_assert_uint_lt(used, HEADER_LENGTH + length + 8);
    ck_assert_uint_eq(bytes[2] | bytes[3] | bytes[6] | bytes[7], 0);

    uint8_t *payload = malloc(length + 1);
    ck_assert_ptr_nonnull(payload);
    memcpy(payload, bytes + HEADER_LENGTH, length);
    enum record_read read = record_decode(bytes[4], bytes[5], payload, length, out);
    free(payload);
    return read;
}

/* Bytes are equal whenever the records say the same: decoding zeroes what it does not set. */
static void assert_same_bytes(const struct record *a, const struct record *b)
{
    uint8_t bytes_a[RECORD_APPEND_MAX];
    uint8_t bytes_b[RECORD_APPEND_MAX];
    size_t length = record_append(a, bytes_a);
    ck_assert_uint_eq(length, record_append(b, bytes_b));
    ck_assert_mem_eq(bytes_a, bytes_b, length);
}

START_TEST(every_type_reads_back_as_it_was_written)
{
    for (int type = 1; type < RECORD_TYPES; type++) {
        struct record written = full((enum record_type)type);
        struct record read;
        ck_assert_int_eq(there_and_back(&written, &read), RECORD_OK);
        ck_assert_int_eq(read.type, type);
        assert_same_bytes(&written, &read);
    }
}
END_TEST

START_TEST(a_commit_keeps_its_key_and_the_xids_that_were_voted_for)
{
    struct record written = full(RECORD_COMMIT);
    struct record read;
    ck_assert_int_eq(there_and_back(&written, &read), RECORD_OK);
    ck_assert_uint_eq(read.incarnation, written.incarnation);
    ck_assert_uint_eq(read.sequence, written.sequence);
    ck_assert_str_eq(read.key, "order-4711");
    ck_assert_str_eq(read.label, "month's end");
    ck_assert_str_eq(read.application, "payroll");
    ck_assert_uint_eq(read.branch_count, 2);
    ck_assert_str_eq(read.branches[0].rm, "accounts");
    ck_assert_str_eq(read.branches[0].branch, "");
    ck_assert_uint_eq(read.branches[0].xid, 731);
    ck_assert_str_eq(read.branches[1].rm, "ledger");
    ck_assert_str_eq(read.branches[1].branch, "2");
    ck_assert_uint_eq(read.branches[1].xid, UINT64_C(0x4142434445464748));
}
END_TEST

START_TEST(a_precommit_keeps_who_decides)
{
    struct record written = full(RECORD_PRECOMMIT);
    struct record read;
    ck_assert_int_eq(there_and_back(&written, &read), RECORD_OK);
    ck_assert_uint_eq(read.branch_count, 2);
    ck_assert_uint_eq(read.roster.count, 2);
    ck_assert(read.roster.tm);
    ck_assert_str_eq(read.roster.agents[0], "accounts");
    ck_assert_str_eq(read.roster.agents[1], "ledger");
}
END_TEST

START_TEST(a_vote_keeps_its_ballot)
{
    struct record written = full(RECORD_ACCEPT);
    struct record read;
    ck_assert_int_eq(there_and_back(&written, &read), RECORD_OK);
    ck_assert_uint_eq(read.ballot, written.ballot);
    ck_assert_int_eq((int)read.outcome, OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(a_start_keeps_its_instance)
{
    struct record written = full(RECORD_START);
    struct record read;
    ck_assert_int_eq(there_and_back(&written, &read), RECORD_OK);
    ck_assert_uint_eq(read.incarnation, written.incarnation);
    ck_assert_mem_eq(&read.instance, &written.instance, sizeof read.instance);
    ck_assert_uint_eq(read.sequence, 0); /* it has none */
}
END_TEST

START_TEST(a_release_keeps_who_why_and_the_new_position)
{
    struct record written = full(RECORD_RELEASED);
    struct record read;
    ck_assert_int_eq(there_and_back(&written, &read), RECORD_OK);
    ck_assert_str_eq(read.rm, "accounts");
    ck_assert_str_eq(read.who, "alice");
    ck_assert_str_eq(read.why, written.why);
    ck_assert_uint_eq(read.beat, written.beat);
    ck_assert_uint_eq(read.system_identifier, UINT64_MAX);
    ck_assert_uint_eq(read.timeline, 0x31323334);
}
END_TEST

START_TEST(the_largest_record_fits_the_room)
{
    struct record largest = full(RECORD_COMMIT);
    memset(largest.key, 'k', KEY_BYTES - 1);
    memset(largest.label, 'l', LABEL_BYTES - 1);
    memset(largest.application, 'a', LABEL_BYTES - 1);
    largest.branch_count = BRANCHES_MAX;
    for (size_t i = 0; i < BRANCHES_MAX; i++) {
        memset(largest.branches[i].rm, 'r', RM_NAME_BYTES - 1);
        memset(largest.branches[i].branch, 'b', BRANCH_NAME_BYTES - 1);
    }
    struct record read;
    ck_assert_int_eq(there_and_back(&largest, &read), RECORD_OK);
    assert_same_bytes(&largest, &read);
}
END_TEST

START_TEST(the_bytes_are_the_format)
{
    /* Logs of today must be read for ever: this changes only together with the version. */
    static const uint8_t expected[] = {
        38, 0,   0, 0,   3,   2,   0,   0,           /* length, type, version */
        2,  0,   0, 0,   0,   0,   0,   0,           /* incarnation */
        7,  0,   0, 0,   0,   0,   0,   0,           /* sequence */
        1,  'k', 1, 4,   'b', 'a', 'n', 'k', 1, '2', /* key; 1 branch */
        0,  2,   0, 0,   0,   0,   0,   0,           /* xid */
        1,  'l', 1, 'a', 0,   0,                     /* label, application; padding */
    };
    struct record record = {.type = RECORD_COMMIT,
                            .incarnation = 2,
                            .sequence = 7,
                            .key = "k",
                            .label = "l",
                            .application = "a",
                            .branch_count = 1,
                            .branches = {{"bank", "2", 512}}};
    uint8_t bytes[RECORD_APPEND_MAX];
    ck_assert_uint_eq(record_append(&record, bytes), sizeof expected);
    ck_assert_mem_eq(bytes, expected, sizeof expected);
}
END_TEST

START_TEST(what_version_1_wrote_of_a_commit_is_read_without_a_label)
{
    static const uint8_t payload[] = {
        2, 0,   0, 0, 0,   0,   0,   0,      /* incarnation */
        7, 0,   0, 0, 0,   0,   0,   0,      /* sequence */
        1, 'k', 1, 4, 'b', 'a', 'n', 'k', 0, /* key; 1 branch */
        0, 2,   0, 0, 0,   0,   0,   0,      /* xid */
    };
    struct record read;
    ck_assert_int_eq(record_decode(RECORD_COMMIT, 1, payload, sizeof payload, &read), RECORD_OK);
    ck_assert_str_eq(read.key, "k");
    ck_assert_str_eq(read.label, "");
    ck_assert_uint_eq(read.branches[0].xid, 512);
    ck_assert_int_eq(record_decode(RECORD_COMMIT, 2, payload, sizeof payload, &read),
                     RECORD_MALFORMED);
    ck_assert_int_eq(record_decode(RECORD_COMMIT, 3, payload, sizeof payload, &read),
                     RECORD_NOT_KNOWN);
}
END_TEST

START_TEST(a_record_cut_anywhere_is_malformed)
{
    for (int type = 1; type < RECORD_TYPES; type++) {
        if (type == RECORD_SEAL || type == RECORD_STOP)
            continue; /* theirs is log/'s to judge */
        struct record record = full((enum record_type)type);
        uint8_t bytes[RECORD_APPEND_MAX];
        record_append(&record, bytes);
        size_t length = bytes[0] | (size_t)bytes[1] << 8;
        for (size_t cut = 0; cut < length; cut++) {
            /* Of its exact size, so that a sanitizer sees any byte read behind it. */
            uint8_t *payload = malloc(cut + (cut == 0));
            ck_assert_ptr_nonnull(payload);
            memcpy(payload, bytes + HEADER_LENGTH, cut);
            struct record read;
            ck_assert_int_eq(record_decode(bytes[4], bytes[5], payload, cut, &read),
                             RECORD_MALFORMED);
            free(payload);
        }
    }
}
END_TEST

START_TEST(a_record_with_a_tail_is_malformed)
{
    struct record record = full(RECORD_END);
    uint8_t bytes[RECORD_APPEND_MAX];
    record_append(&record, bytes);
    struct record read;
    ck_assert_int_eq(record_decode(RECORD_END, 1, bytes + HEADER_LENGTH, 16, &read), RECORD_OK);
    ck_assert_int_eq(record_decode(RECORD_END, 1, bytes + HEADER_LENGTH, 17, &read),
                     RECORD_MALFORMED);
}
END_TEST

START_TEST(contents_that_cannot_be_are_malformed)
{
    struct record read;
    uint8_t outcome[17] = {[16] = OUTCOME_FORGOTTEN + 1};
    ck_assert_int_eq(record_decode(RECORD_OUTCOME, 1, outcome, sizeof outcome, &read),
                     RECORD_MALFORMED);
    uint8_t commit[18] = {[17] = BRANCHES_MAX + 1}; /* an empty key, then the count */
    ck_assert_int_eq(record_decode(RECORD_COMMIT, 1, commit, sizeof commit, &read),
                     RECORD_MALFORMED);
    uint8_t long_name[64] = {RM_NAME_BYTES};
    memset(long_name + 1, 'a', sizeof long_name - 1);
    ck_assert_int_eq(record_decode(RECORD_BEAT, 1, long_name, 1 + RM_NAME_BYTES + 20, &read),
                     RECORD_MALFORMED);
    uint8_t zero_in_name[23] = {2, 'a', 0};
    ck_assert_int_eq(record_decode(RECORD_BEAT, 1, zero_in_name, sizeof zero_in_name, &read),
                     RECORD_MALFORMED);
}
END_TEST

START_TEST(what_a_later_version_wrote_is_refused_unless_it_says_it_may_be_ignored)
{
    struct record read;
    uint8_t payload[1] = {0};
    ck_assert_int_eq(record_decode(0, 1, payload, 0, &read), RECORD_NOT_KNOWN);
    ck_assert_int_eq(record_decode(RECORD_TYPES, 1, payload, 1, &read), RECORD_NOT_KNOWN);
    ck_assert_int_eq(record_decode(0x7F, 1, payload, 1, &read), RECORD_NOT_KNOWN);
    ck_assert_int_eq(record_decode(RECORD_STOP, 2, payload, 1, &read), RECORD_NOT_KNOWN);
    ck_assert_int_eq(record_decode(RECORD_IGNORABLE, 1, payload, 1, &read), RECORD_MAY_IGNORE);
    ck_assert_int_eq(record_decode(0xFF, 1, payload, 1, &read), RECORD_MAY_IGNORE);
}
END_TEST

START_TEST(no_bytes_make_the_reader_fall)
{
    uint64_t random = 20261123; /* always the same ones */
    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[96];
        for (size_t i = 0; i < sizeof bytes; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            /* Small numbers get further: they pass for lengths. */
            bytes[i] = (uint8_t)(random >> 56) & (round % 2 == 0 ? 0xFF : 0x07);
        }
        struct record read;
        if (record_decode(bytes[0] % RECORD_TYPES, 1, bytes + 2, bytes[1] % 94, &read) ==
            RECORD_OK) {
            uint8_t again[RECORD_APPEND_MAX];
            record_append(&read, again);
        }
    }
}
END_TEST

START_TEST(every_type_has_a_name)
{
    ck_assert_str_eq(record_name(RECORD_COMMIT), "COMMIT");
    ck_assert_str_eq(record_name(RECORD_ESTABLISHED), "ESTABLISHED");
    for (uint8_t type = 1; type < RECORD_TYPES; type++)
        ck_assert_str_ne(record_name(type), "?");
    ck_assert_str_eq(record_name(0), "?");
    ck_assert_str_eq(record_name(255), "?");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record");
    TCase *rules = tcase_create("rules");
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, every_type_reads_back_as_it_was_written);
    tcase_add_test(rules, a_commit_keeps_its_key_and_the_xids_that_were_voted_for);
    tcase_add_test(rules, a_precommit_keeps_who_decides);
    tcase_add_test(rules, a_vote_keeps_its_ballot);
    tcase_add_test(rules, a_start_keeps_its_instance);
    tcase_add_test(rules, a_release_keeps_who_why_and_the_new_position);
    tcase_add_test(rules, the_largest_record_fits_the_room);
    tcase_add_test(rules, the_bytes_are_the_format);
    tcase_add_test(rules, what_version_1_wrote_of_a_commit_is_read_without_a_label);
    tcase_add_test(rules, a_record_cut_anywhere_is_malformed);
    tcase_add_test(rules, a_record_with_a_tail_is_malformed);
    tcase_add_test(rules, contents_that_cannot_be_are_malformed);
    tcase_add_test(rules, what_a_later_version_wrote_is_refused_unless_it_says_it_may_be_ignored);
    tcase_add_test(rules, no_bytes_make_the_reader_fall);
    tcase_add_test(rules, every_type_has_a_name);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
