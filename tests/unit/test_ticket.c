/*
 * tests/unit/test_ticket.c - a session ticket opens one branch, as it was made, and no other.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "common/ticket.h"

static const struct branch_id accounts = {
    .gtrid = {.incarnation = 3, .sequence = 2049, .tm = "bank"}, .rm = "accounts"};
static const struct ticket plain = {.agent_incarnation = 7, .allowed_ms = 30000};
static const uint8_t secret[SECRET_BYTES] = "0123456789abcdef0123456789abcde";
static const uint8_t other_secret[SECRET_BYTES] = "0123456789abcdef0123456789abcdf";

static const char *written(const struct ticket *ticket)
{
    static char text[TICKET_BYTES];
    ticket_write(ticket, &accounts, secret, text);
    return text;
}

static bool is_good(const char *text)
{
    struct ticket read;
    return ticket_read(text, &accounts, secret, &read);
}

START_TEST(a_ticket_reads_back_as_it_was_made)
{
    static const struct ticket tickets[] = {
        {.agent_incarnation = 1},
        {.agent_incarnation = UINT64_MAX,
         .allowed_ms = UINT32_MAX,
         .read_only = true,
         .isolation = SERIALIZABLE,
         .role = "app"},
        {.agent_incarnation = 7,
         .allowed_ms = 30000,
         .isolation = READ_COMMITTED,
         .role = "a.b.c."},
        {.agent_incarnation = 7,
         .allowed_ms = 1,
         .isolation = REPEATABLE_READ,
         .role = "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-012345678"},
    };
    for (size_t i = 0; i < sizeof tickets / sizeof *tickets; i++) {
        struct ticket read;
        ck_assert(ticket_read(written(&tickets[i]), &accounts, secret, &read));
        ck_assert_uint_eq(read.agent_incarnation, tickets[i].agent_incarnation);
        ck_assert_uint_eq(read.allowed_ms, tickets[i].allowed_ms);
        ck_assert_int_eq(read.read_only, tickets[i].read_only);
        ck_assert_int_eq(read.isolation, tickets[i].isolation);
        ck_assert_str_eq(read.role, tickets[i].role);
    }
}
END_TEST

START_TEST(a_ticket_is_for_one_branch)
{
    struct branch_id others[] = {accounts, accounts, accounts, accounts, accounts};
    others[0].gtrid.sequence++;
    others[1].gtrid.incarnation++;
    others[2].gtrid.tm[0] = 'c';
    others[3].rm[0] = 'b';
    others[4].branch[0] = '2';
    struct ticket read;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert(!ticket_read(written(&plain), &others[i], secret, &read));
}
END_TEST

START_TEST(a_ticket_is_made_under_one_secret)
{
    struct ticket read;
    ck_assert(!ticket_read(written(&plain), &accounts, other_secret, &read));
}
END_TEST

START_TEST(a_ticket_that_was_changed_anywhere_is_none)
{
    struct ticket ticket = plain;
    memcpy(ticket.role, "app", 3);
    char text[TICKET_BYTES];
    strcpy(text, written(&ticket));
    for (size_t i = 0; text[i] != '\0'; i++) {
        text[i] ^= 1;
        ck_assert(!is_good(text));
        text[i] ^= 1;
    }
    ck_assert(is_good(text));
}
END_TEST

START_TEST(a_ticket_cut_or_lengthened_is_none)
{
    char text[TICKET_BYTES + 1];
    strcpy(text, written(&plain));
    size_t length = strlen(text);
    for (size_t cut = 0; cut < length; cut++) {
        text[cut] = '\0';
        ck_assert(!is_good(text));
        strcpy(text, written(&plain));
    }
    strcat(text, "0");
    ck_assert(!is_good(text));
    memset(text, '1', TICKET_BYTES);
    text[TICKET_BYTES] = '\0';
    ck_assert(!is_good(text));
}
END_TEST

START_TEST(the_mac_is_hmac_sha_256_of_gid_zero_and_text)
{
    /* Python: hmac.new(secret, gid + b"\0" + b"7.30000.w0.", "sha256").hexdigest() */
    ck_assert_str_eq(written(&plain),
                     "7.30000.w0."
                     "e56e29e73674b32af2655794cb27cfa6c1eaca58e91bca54cd743267be03090e");
}
END_TEST

START_TEST(random_bytes_differ)
{
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    random_bytes(a, sizeof a);
    random_bytes(b, sizeof b);
    ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ticket");
    TCase *rules = tcase_create("rules");
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, a_ticket_reads_back_as_it_was_made);
    tcase_add_test(rules, a_ticket_is_for_one_branch);
    tcase_add_test(rules, a_ticket_is_made_under_one_secret);
    tcase_add_test(rules, a_ticket_that_was_changed_anywhere_is_none);
    tcase_add_test(rules, a_ticket_cut_or_lengthened_is_none);
    tcase_add_test(rules, the_mac_is_hmac_sha_256_of_gid_zero_and_text);
    tcase_add_test(rules, random_bytes_differ);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
