/*
 * tests/unit/test_seal.c - what agents say to each other opens only for whom it is, and unchanged.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "common/seal.h"

static const uint8_t key[SECRET_BYTES] = "0123456789abcdef0123456789abcde";
static const uint8_t other_key[SECRET_BYTES] = "0123456789abcdef0123456789abcdf";

static cJSON *sealed(void)
{
    struct failure failure;
    size_t length;
    char *text = seal_write("ballots", "bank", "ledger", "{\"rm\":\"stock\"}", key, &length);
    cJSON *object = wire_parse(text, length, &failure);
    ck_assert_msg(object != NULL, "%s", failure.message);
    free(text);
    return object;
}

static bool opens(cJSON *object, const char *to, const uint8_t with[SECRET_BYTES])
{
    struct failure failure = {0};
    cJSON *body = seal_open(object, to, with, &failure);
    bool open = body != NULL;
    ck_assert(open || failure.message[0] != '\0');
    cJSON_Delete(body);
    return open;
}

START_TEST(a_sealed_message_opens_as_it_was_written)
{
    struct failure failure;
    cJSON *object = sealed();
    cJSON *body = seal_open(object, "ledger", key, &failure);
    ck_assert_ptr_nonnull(body);
    ck_assert_str_eq(member_text(body, "rm"), "stock");
    ck_assert_str_eq(wire_op_text(object), "ballots");
    cJSON_Delete(body);
    cJSON_Delete(object);
}
END_TEST

START_TEST(it_opens_with_no_other_key_and_for_nobody_else)
{
    cJSON *object = sealed();
    ck_assert(!opens(object, "ledger", other_key));
    ck_assert(!opens(object, "stock", key));
    cJSON_Delete(object);
}
END_TEST

START_TEST(it_opens_no_more_once_a_part_of_it_is_changed)
{
    static const char *const parts[] = {"tm", "to", "body", "mac"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        cJSON *object = sealed();
        char *text = cJSON_GetObjectItemCaseSensitive(object, parts[i])->valuestring;
        text[strlen(text) - 1] ^= 1;
        ck_assert_msg(!opens(object, "ledger", key), "%s", parts[i]);
        cJSON_DeleteItemFromObjectCaseSensitive(object, parts[i]);
        ck_assert_msg(!opens(object, "ledger", key), "without %s", parts[i]);
        cJSON_Delete(object);
    }
}
END_TEST

START_TEST(a_part_cannot_be_moved_into_its_neighbour)
{
    cJSON *object = sealed();
    cJSON_ReplaceItemInObjectCaseSensitive(object, "tm", cJSON_CreateString("bankl"));
    cJSON_ReplaceItemInObjectCaseSensitive(object, "to", cJSON_CreateString("edger"));
    ck_assert(!opens(object, "edger", key));
    cJSON_Delete(object);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seal");
    TCase *cases = tcase_create("seal");
    tcase_add_test(cases, a_sealed_message_opens_as_it_was_written);
    tcase_add_test(cases, it_opens_with_no_other_key_and_for_nobody_else);
    tcase_add_test(cases, it_opens_no_more_once_a_part_of_it_is_changed);
    tcase_add_test(cases, a_part_cannot_be_moved_into_its_neighbour);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
