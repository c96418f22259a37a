/*
 * tests/unit/test_ids.c - the names of transactions and branches, and their one text form.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/ids.h"

static struct branch_id branch(const char *tm, uint64_t incarnation, uint64_t sequence,
                               const char *rm, const char *name)
{
    struct branch_id id = {.gtrid = {.incarnation = incarnation, .sequence = sequence}};
    text_copy(id.gtrid.tm, sizeof id.gtrid.tm, tm, strlen(tm));
    text_copy(id.rm, sizeof id.rm, rm, strlen(rm));
    text_copy(id.branch, sizeof id.branch, name, strlen(name));
    return id;
}

static const char *gid_of(struct branch_id id)
{
    static char text[GID_BYTES];
    ck_assert_uint_eq(gid_format(&id, text), strlen(text));
    return text;
}

static bool is_gtrid(const char *text)
{
    struct gtrid gtrid;
    return gtrid_parse(text, strlen(text), &gtrid);
}

static bool is_bqual(const char *text)
{
    struct branch_id id;
    return bqual_parse(text, strlen(text), &id);
}

static bool is_gid(const char *text)
{
    struct branch_id id;
    return gid_parse(text, strlen(text), &id);
}

START_TEST(a_gid_is_what_the_drivers_make_of_the_xid)
{
    ck_assert_str_eq(gid_of(branch("bank", 3, 2049, "accounts", "")),
                     "1095978580_YmFuay4zLjIwNDk=_YWNjb3VudHM=");
    ck_assert_str_eq(gid_of(branch("bank", 3, 2049, "accounts", "2")),
                     "1095978580_YmFuay4zLjIwNDk=_YWNjb3VudHMvMg==");
}
END_TEST

START_TEST(a_gid_reads_back_as_the_branch_that_it_names)
{
    static const char *const names[] = {"a", "ab", "abc", "abcd", "a-b-2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
            struct branch_id written = branch(names[i], i + 1, UINT64_C(1) << 40, names[j], "x");
            struct branch_id read;
            ck_assert(gid_parse(gid_of(written), strlen(gid_of(written)), &read));
            ck_assert(branch_equal(&written, &read));
        }
    }
}
END_TEST

START_TEST(the_longest_gid_fits)
{
    /* Numbers this long need a short name: a gtrid has at most 64 bytes. */
    struct branch_id longest =
        branch("abcdefghijklmnopqrstuv", UINT64_MAX, UINT64_MAX, "abcdefghijklmnopqrstuvwxyz-0123",
               "abcdefghijklmnopqrst-123");
    char text[GTRID_BYTES];
    ck_assert_uint_eq(gtrid_format(&longest.gtrid, text), 64);
    ck_assert_uint_lt(strlen(gid_of(longest)), GID_BYTES);
    struct branch_id read;
    ck_assert(gid_parse(gid_of(longest), strlen(gid_of(longest)), &read));
    ck_assert(branch_equal(&longest, &read));
}
END_TEST

START_TEST(a_gid_in_any_other_spelling_is_not_ours)
{
    ck_assert(is_gid("1095978580_YmFuay4zLjIwNDk=_YWNjb3VudHM="));
    ck_assert(!is_gid("")); /* nothing */
    ck_assert(!is_gid("1095978580_"));
    ck_assert(!is_gid("1095978580_YmFuay4zLjIwNDk="));              /* no bqual */
    ck_assert(!is_gid("1095978580_YmFuay4zLjIwNDk=_"));             /* an empty one */
    ck_assert(!is_gid("1095978581_YmFuay4zLjIwNDk=_YWNjb3VudHM=")); /* another manager's */
    ck_assert(!is_gid("01095978580_YmFuay4zLjIwNDk=_YWNjb3VudHM="));
    ck_assert(!is_gid("1095978580_YmFuay4zLjIwNDk_YWNjb3VudHM="));       /* padding left out */
    ck_assert(!is_gid("1095978580_YmFuay4zLjIwNDl=_YWNjb3VudHM="));      /* spare bits set */
    ck_assert(!is_gid("1095978580_YmFuay4zLjIwNDk=_YWNjb3VudHM= "));     /* a tail */
    ck_assert(!is_gid("1095978580_YmFuay4zLjIwNDk=_YWNjb3VudHM=_YQ==")); /* a third part */
    ck_assert(!is_gid("1095978580_YmFu=y4zLjIwNDk=_YWNjb3VudHM="));      /* padding inside */
    ck_assert(!is_gid("1095978580_====_YWNjb3VudHM="));
    ck_assert(!is_gid("1095978580_YmFuay4wMy4x_YWNjb3VudHM="));     /* bank.03.1 */
    ck_assert(!is_gid("1095978580_YmFuay4zLjIwNDk=_QWNjb3VudHM=")); /* Accounts */
}
END_TEST

START_TEST(a_gid_cut_anywhere_is_not_that_gid)
{
    const char *whole = "1095978580_YmFuay4zLjIwNDk=_YWNjb3VudHM=";
    for (size_t length = 0; length < strlen(whole); length++) {
        /* Of its exact size, so that a sanitizer sees any byte read behind it. */
        char *text = malloc(length + (length == 0));
        ck_assert_ptr_nonnull(text);
        memcpy(text, whole, length);
        struct branch_id read;
        ck_assert(!gid_parse(text, length, &read) || strcmp(read.rm, "accounts") != 0);
        free(text);
    }
}
END_TEST

START_TEST(a_gtrid_has_one_spelling)
{
    ck_assert(is_gtrid("bank.3.2049"));
    ck_assert(is_gtrid("b.1.18446744073709551615"));
    ck_assert(!is_gtrid(""));
    ck_assert(!is_gtrid("bank"));
    ck_assert(!is_gtrid("bank.3"));
    ck_assert(!is_gtrid("bank.3."));
    ck_assert(!is_gtrid("bank..1"));
    ck_assert(!is_gtrid(".3.1"));
    ck_assert(!is_gtrid("bank.3.1."));
    ck_assert(!is_gtrid("bank.3.1.1"));
    ck_assert(!is_gtrid("bank.03.1"));
    ck_assert(!is_gtrid("bank.+3.1"));
    ck_assert(!is_gtrid("bank.-3.1"));
    ck_assert(!is_gtrid("bank.3.1 "));
    ck_assert(!is_gtrid("Bank.3.1"));
    ck_assert(!is_gtrid("bank.0.1")); /* both count from 1 */
    ck_assert(!is_gtrid("bank.1.0"));
    ck_assert(!is_gtrid("b.1.18446744073709551616")); /* 2^64 */
    ck_assert(!is_gtrid("abcdefghijklmnopqrstuvw.18446744073709551615.18446744073709551615"));
}
END_TEST

START_TEST(a_bqual_is_an_rm_and_perhaps_a_branch)
{
    ck_assert(is_bqual("accounts"));
    ck_assert(is_bqual("accounts/2"));
    ck_assert(!is_bqual(""));
    ck_assert(!is_bqual("accounts/"));
    ck_assert(!is_bqual("/2"));
    ck_assert(!is_bqual("accounts/2/3"));
    ck_assert(!is_bqual("accounts/A"));
    ck_assert(!is_bqual("accounts/abcdefghijklmnopqrstuvwxy")); /* 25 */
}
END_TEST

START_TEST(names_keep_to_their_letters_and_lengths)
{
    ck_assert(tm_name_valid("a", 1));
    ck_assert(tm_name_valid("abcdefghijklmnopqrstuvwxyz-0123", 31));
    ck_assert(!tm_name_valid("abcdefghijklmnopqrstuvwxyz-01234", 32));
    ck_assert(!tm_name_valid("", 0));
    ck_assert(!tm_name_valid("1bank", 5));
    ck_assert(!tm_name_valid("-bank", 5));
    ck_assert(!tm_name_valid("ba_nk", 5));
    ck_assert(!tm_name_valid("ba\0nk", 5));
    ck_assert(rm_name_valid("led-ger2", 8));
    ck_assert(!rm_name_valid("Ledger", 6));
    ck_assert(branch_name_valid("1", 1));
    ck_assert(branch_name_valid("-", 1));
    ck_assert(!branch_name_valid("", 0));
    ck_assert(!branch_name_valid("a.b", 3));
}
END_TEST

START_TEST(branches_are_equal_only_in_all_their_parts)
{
    struct branch_id one = branch("bank", 3, 2049, "accounts", "2");
    struct branch_id others[] = {
        branch("banl", 3, 2049, "accounts", "2"), branch("bank", 4, 2049, "accounts", "2"),
        branch("bank", 3, 2050, "accounts", "2"), branch("bank", 3, 2049, "account", "2"),
        branch("bank", 3, 2049, "accounts", ""),
    };
    struct branch_id same = branch("bank", 3, 2049, "accounts", "2");
    ck_assert(branch_equal(&one, &same));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert(!branch_equal(&one, &others[i]));
}
END_TEST

START_TEST(numbers_are_plain_decimals)
{
    uint64_t value = 0;
    char text[21];
    ck_assert(u64_parse("0", 1, &value) && value == 0);
    ck_assert(u64_parse("18446744073709551615", 20, &value) && value == UINT64_MAX);
    ck_assert(!u64_parse("18446744073709551616", 20, &value));
    ck_assert(!u64_parse("99999999999999999999", 20, &value));
    ck_assert(!u64_parse("00", 2, &value));
    ck_assert(!u64_parse("1a", 2, &value));
    ck_assert(!u64_parse("", 0, &value));
    ck_assert_uint_eq(u64_format(0, text), 1);
    ck_assert_str_eq(text, "0");
    ck_assert_uint_eq(u64_format(UINT64_MAX, text), 20);
    ck_assert_str_eq(text, "18446744073709551615");
}
END_TEST

START_TEST(a_text_is_never_cut_inside_a_character)
{
    char out[5];
    text_copy(out, sizeof out, "abcd", 4);
    ck_assert_str_eq(out, "abcd");
    text_copy(out, sizeof out, "abcde", 5);
    ck_assert_str_eq(out, "abcd");
    text_copy(out, sizeof out, "abc\xC3\xA9", 5); /* e with an acute accent: two bytes */
    ck_assert_str_eq(out, "abc");
    text_copy(out, sizeof out, "a\xF0\x9F\x90\x98", 5); /* an elephant: four */
    ck_assert_str_eq(out, "a");
    text_copy(out, sizeof out, "", 0);
    ck_assert_str_eq(out, "");
    ck_assert_uint_eq(text_length("abcdefgh", 5), 4);
}
END_TEST

START_TEST(bytes_are_written_in_hex)
{
    char text[9];
    hex_write((const uint8_t[]){0x00, 0x0f, 0xa0, 0xff}, 4, text);
    ck_assert_str_eq(text, "000fa0ff");
    hex_write("", 0, text);
    ck_assert_str_eq(text, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ids");
    TCase *rules = tcase_create("rules");
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, a_gid_is_what_the_drivers_make_of_the_xid);
    tcase_add_test(rules, a_gid_reads_back_as_the_branch_that_it_names);
    tcase_add_test(rules, the_longest_gid_fits);
    tcase_add_test(rules, a_gid_in_any_other_spelling_is_not_ours);
    tcase_add_test(rules, a_gid_cut_anywhere_is_not_that_gid);
    tcase_add_test(rules, a_gtrid_has_one_spelling);
    tcase_add_test(rules, a_bqual_is_an_rm_and_perhaps_a_branch);
    tcase_add_test(rules, names_keep_to_their_letters_and_lengths);
    tcase_add_test(rules, branches_are_equal_only_in_all_their_parts);
    tcase_add_test(rules, numbers_are_plain_decimals);
    tcase_add_test(rules, a_text_is_never_cut_inside_a_character);
    tcase_add_test(rules, bytes_are_written_in_hex);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
