/*
 * tests/unit/test_json.c - JSON written as text is what cJSON would have printed, and is read back
 * as what was meant.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "common/json.h"
#include "common/wire.h"

static struct json json; /* of the test that runs */

/* The text is also valid by our own strict reader. */
static cJSON *written(void)
{
    struct failure failure;
    size_t length;
    char *text = json_end(&json, &length);
    ck_assert_uint_eq(strlen(text), length);
    cJSON *object = wire_parse(text, length, &failure);
    ck_assert_msg(object != NULL, "%s: %s", text, failure.message);
    free(text);
    return object;
}

static void expect(const char *expected)
{
    size_t length;
    char *text = json_end(&json, &length);
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(strlen(text), length);
    free(text);
}

START_TEST(every_byte_is_escaped_as_cjson_escapes_it)
{
    for (int byte = 1; byte < 0x80; byte++) {
        const char text[] = {'a', (char)byte, 'z', (char)byte, '\0'};
        cJSON *tree = cJSON_CreateObject();
        cJSON_AddStringToObject(tree, "text", text);
        char *expected = cJSON_PrintUnformatted(tree);
        json_begin(&json);
        json_put_text(&json, "text", text);
        expect(expected);
        cJSON_free(expected);
        cJSON_Delete(tree);
    }
}
END_TEST

START_TEST(a_text_comes_back_as_it_went)
{
    static const char text[] = "\"quoted\" \\ back\b\f\n\r\t \x01\x1f \x7f Gr\xc3\xbc\xc3\x9f"
                               "e \xe2\x82\xac \xf0\x9f\x90\x98";
    json_begin(&json);
    json_put_text(&json, "text", text);
    cJSON *object = written();
    ck_assert_str_eq(member_text(object, "text"), text);
    cJSON_Delete(object);
}
END_TEST

START_TEST(what_is_no_utf8_in_a_message_becomes_a_question_mark)
{
    json_begin(&json);
    json_put_message_if_set(&json, "message", "caf\xe9 \xc3\xa9 \xed\xa0\x80 \"\xff\"");
    cJSON *object = written();
    ck_assert_str_eq(member_text(object, "message"), "caf? \xc3\xa9 ??? \"?\"");
    cJSON_Delete(object);
}
END_TEST

START_TEST(a_message_that_is_too_long_is_cut_between_two_characters)
{
    char text[2 * REASON_BYTES + 1] = "";
    json_begin(&json);
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    json_put_message_if_set(&json, "message", text);
    cJSON *object = written();
    size_t length = strlen(member_text(object, "message"));
    ck_assert_uint_lt(length, REASON_BYTES);
    ck_assert_uint_ge(length, REASON_BYTES - 3);
    ck_assert_ptr_null(strchr(member_text(object, "message"), '?'));
    cJSON_Delete(object);
}
END_TEST

START_TEST(what_is_not_set_is_not_written)
{
    json_begin(&json);
    json_put_text_if_set(&json, "a", "");
    json_put_text_if_set(&json, "b", NULL);
    json_put_message_if_set(&json, "c", "");
    json_put_u64_if(&json, "d", false, 0);
    json_put_u64_if(&json, "e", true, 0);
    json_put_u64_if(&json, "f", false, 1);
    expect("{\"e\":\"0\",\"f\":\"1\"}");
}
END_TEST

START_TEST(numbers_are_exact)
{
    json_begin(&json);
    json_put_u64(&json, "most", UINT64_MAX);
    json_put_u32(&json, "small", UINT32_MAX);
    json_put_u32(&json, "none", 0);
    json_put_hex(&json, "hex", (const uint8_t[]){0x00, 0x7f, 0xff}, 3);
    expect("{\"most\":\"18446744073709551615\",\"small\":4294967295,\"none\":0,"
           "\"hex\":\"007fff\"}");
}
END_TEST

START_TEST(commas_stand_between_and_nowhere_else)
{
    json_begin(&json);
    json_open_list(&json, "empty");
    json_close_list(&json);
    json_open_list(&json, "list");
    for (int i = 0; i < 2; i++) {
        json_open_element(&json);
        json_put_bool(&json, "odd", i % 2 == 1);
        json_close_object(&json);
    }
    json_put_raw(&json, "{}", 2);
    json_open_row(&json);
    json_put_cell(&json, "a");
    json_put_cell(&json, NULL);
    json_close_list(&json);
    json_close_list(&json);
    json_open_object(&json, "object");
    json_close_object(&json);
    json_put_rms(&json, "rms", (const char[][RM_NAME_BYTES]){"accounts", "ledger"}, 2);
    json_put_text(&json, "brackets", "{[");
    json_put_text(&json, "last", "");
    expect("{\"empty\":[],\"list\":[{\"odd\":false},{\"odd\":true},{},[\"a\",null]],\"object\":{},"
           "\"rms\":[\"accounts\",\"ledger\"],\"brackets\":\"{[\",\"last\":\"\"}");
}
END_TEST

START_TEST(the_text_grows_as_it_must)
{
    char name[] = "field-00";
    char text[512];
    json_begin(&json);
    memset(text, '\x01', sizeof text - 1); /* six bytes each */
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 64; i++) {
        name[6] = (char)('0' + i / 10);
        name[7] = (char)('0' + i % 10);
        json_put_text(&json, name, text);
    }
    cJSON *object = written();
    ck_assert_int_eq(cJSON_GetArraySize(object), 64);
    ck_assert_str_eq(member_text(object, "field-63"), text);
    cJSON_Delete(object);
}
END_TEST

START_TEST(a_text_can_be_had_as_a_tree)
{
    json_begin(&json);
    json_put_text(&json, "what", "a \"tree\"");
    cJSON *tree = json_end_tree(&json);
    ck_assert_str_eq(member_text(tree, "what"), "a \"tree\"");
    cJSON_Delete(tree);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *cases = tcase_create("json");
    tcase_add_test(cases, every_byte_is_escaped_as_cjson_escapes_it);
    tcase_add_test(cases, a_text_comes_back_as_it_went);
    tcase_add_test(cases, what_is_no_utf8_in_a_message_becomes_a_question_mark);
    tcase_add_test(cases, a_message_that_is_too_long_is_cut_between_two_characters);
    tcase_add_test(cases, what_is_not_set_is_not_written);
    tcase_add_test(cases, numbers_are_exact);
    tcase_add_test(cases, commas_stand_between_and_nowhere_else);
    tcase_add_test(cases, the_text_grows_as_it_must);
    tcase_add_test(cases, a_text_can_be_had_as_a_tree);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
