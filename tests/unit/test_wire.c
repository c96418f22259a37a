/*
 * tests/unit/test_wire.c - what the wire lets in, what it says about the rest, and that every
 * message reads back as it was written.
 */
#include "common/wire.h"

#include <check.h> /* behind our own headers: it defines fail() as a macro */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct failure failure;

/* The reason why a text is not taken, "" if it is. The copy has no room behind it, so that the
 * address sanitizer sees every byte read too many. */
static const char *refusal_of_bytes(const char *bytes, size_t length)
{
    memset(&failure, 0, sizeof failure);
    char *copy = malloc(length > 0 ? length : 1);
    memcpy(copy, bytes, length);
    cJSON *object = wire_parse(copy, length, &failure);
    free(copy);
    ck_assert_int_eq(object == NULL, failure.code == ERR_INVALID_REQUEST);
    cJSON_Delete(object);
    return failure.message;
}

static const char *refusal_of(const char *text)
{
    return refusal_of_bytes(text, strlen(text));
}

#define taken(text)          ck_assert_str_eq(refusal_of(text), "")
#define not_taken(text, why) ck_assert_str_eq(refusal_of(text), why)

START_TEST(an_object_with_blanks_around_it_is_taken)
{
    taken("{}");
    taken(" \t\r\n{\"op\" : \"begin\", \"n\":[1, -2.5e-3, 0, true, false, null, {}]} \n");
    taken("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 \xc3\xa9 \xf0\x9f\x98\x80\"}");
    taken("{\"a\":1,\"A\":2}");
}
END_TEST

START_TEST(only_one_object_is_taken)
{
    not_taken("", "expected one JSON object");
    not_taken("  ", "expected one JSON object");
    not_taken("[1]", "expected one JSON object");
    not_taken("\"op\"", "expected one JSON object");
    not_taken("\xef\xbb\xbf{}", "expected one JSON object");
    not_taken("{}{}", "not valid JSON: something behind the object at byte 2");
    not_taken("{} x", "not valid JSON: something behind the object at byte 3");
    ck_assert_str_eq(refusal_of_bytes("{}\0", 3),
                     "not valid JSON: something behind the object at byte 2");
}
END_TEST

START_TEST(a_text_that_ends_early_is_refused)
{
    static const char text[] = "{\"1\":1,\"b\":[\"\\u00e9\",\"\xc3\xa9\",-1.5e3,{\"c\":null}]}";
    for (size_t length = 0; length < sizeof text - 1; length++)
        ck_assert_str_ne(refusal_of_bytes(text, length), "");
    taken(text);
}
END_TEST

START_TEST(malformed_json_is_refused)
{
    static const char *const texts[] = {
        "{\"a\"}",         "{\"a\":}",
        "{\"a\":1,}",      "{,}",
        "{a:1}",           "{\"a\":1 2}",
        "{\"a\":[1,]}",    "{\"a\":[}]",
        "{\"a\":1]",       "}",
        "{\"a\":nul}",     "{\"a\":True}",
        "{\"a\":'b'}",     "{\"a\":01}",
        "{\"a\":1.}",      "{\"a\":.5}",
        "{\"a\":+1}",      "{\"a\":-}",
        "{\"a\":1e}",      "{\"a\":0x10}",
        "{\"a\":NaN}",     "{\"a\":-inf}",
        "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}",
        "{\"a\":1/**/}",   "{\"a\"\x01:1}",
        "{\"a\":\"\n\"}",  "{\"a\":\"\\\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_msg(refusal_of(texts[i])[0] != '\0', "taken: %s", texts[i]);
}
END_TEST

START_TEST(nul_is_refused_in_every_form)
{
    not_taken("{\"a\":\"x\\u0000y\"}", "not valid JSON: a NUL character at byte 13");
    not_taken("{\"a\\u0000\":1}", "not valid JSON: a NUL character at byte 9");
    ck_assert_str_eq(refusal_of_bytes("{\"a\":\"x\0\"}", 10),
                     "not valid JSON: a control character in a text at byte 7");
    ck_assert_str_eq(refusal_of_bytes("{\"a\"\0:1}", 8),
                     "not valid JSON: an unexpected byte at byte 4");
    ck_assert_str_eq(refusal_of_bytes("{\"a\":\"\\\0\"}", 10),
                     "not valid JSON: an unknown escape at byte 6");
    ck_assert_str_eq(refusal_of_bytes("{\"a\":1\0}", 8),
                     "not valid JSON: an unexpected byte at byte 6");
}
END_TEST

START_TEST(invalid_utf8_is_refused)
{
    static const char *const texts[] = {
        "\x80",         "\xc0\xaf",         "\xc1\x81",         "\xc3",         "\xc3(",
        "\xe0\x80\x80", "\xe2\x82",         "\xed\xa0\x80",     "\xed\xbf\xbf", "\xf0\x80\x80\x80",
        "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"a\":\"%s\"}", texts[i]);
        not_taken(text, "not valid JSON: invalid UTF-8 at byte 6");
    }
    not_taken("{\"a\":\"\\ud800\"}", "not valid JSON: half of a surrogate pair at byte 12");
    not_taken("{\"a\":\"\\udc00\"}", "not valid JSON: half of a surrogate pair at byte 12");
    not_taken("{\"a\":\"\\ud83d\\u0041\"}", "not valid JSON: half of a surrogate pair at byte 18");
}
END_TEST

START_TEST(a_number_that_overflows_is_refused)
{
    not_taken("{\"a\":1e999}", "field \"a\": a number is out of range");
    not_taken("{\"a\":[-1e999]}", "a number is out of range");
}
END_TEST

START_TEST(a_number_of_very_many_digits_is_refused)
{
    char text[128];
    snprintf(text, sizeof text, "{\"a\":%063d}", 0);
    memset(text + 5, '1', 63);
    ck_assert_str_eq(refusal_of(text), "");
    snprintf(text, sizeof text, "{\"a\":%064d}", 0);
    memset(text + 5, '1', 64);
    ck_assert_str_eq(refusal_of(text), "a number has more than 63 characters: send it as a text");
}
END_TEST

/* In the order of the text, through objects and arrays; what looks like one in a text is none. */
START_TEST(numbers_are_kept_as_they_are_written)
{
    static const char text[] = "{\"1\":[19.99,-0,\"2\\\"3\\\\\",{\"b\":9007199254740993}],"
                               "\"c\" : 1E+5 ,\"d\":true,\"e\":0.10}";
    cJSON *object = wire_parse(text, strlen(text), &failure);
    ck_assert_ptr_nonnull(object);
    wire_keep_numbers(object, text, strlen(text));
    const cJSON *list = cJSON_GetObjectItem(object, "1");
    ck_assert_str_eq(cJSON_GetArrayItem(list, 0)->valuestring, "19.99");
    ck_assert_str_eq(cJSON_GetArrayItem(list, 1)->valuestring, "-0");
    ck_assert_str_eq(cJSON_GetArrayItem(list, 2)->valuestring, "2\"3\\");
    ck_assert_str_eq(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 3), "b")->valuestring,
                     "9007199254740993");
    ck_assert_str_eq(cJSON_GetObjectItem(object, "c")->valuestring, "1E+5");
    ck_assert_str_eq(cJSON_GetObjectItem(object, "e")->valuestring, "0.10");
    cJSON_Delete(object);
}
END_TEST

START_TEST(a_text_is_utf8_or_it_is_not)
{
    ck_assert(text_is_utf8("", 0));
    ck_assert(text_is_utf8("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 12));
    ck_assert(!text_is_utf8("h\xe9", 2));
    ck_assert(!text_is_utf8("\xe2\x82", 2));
    ck_assert(!text_is_utf8("\xed\xa0\x80", 3));
}
END_TEST

START_TEST(a_key_given_twice_is_refused_at_every_level)
{
    not_taken("{\"a\":1,\"b\":2,\"a\":3}", "field \"a\" is given twice");
    not_taken("{\"b\":[{\"c\":{\"a\":1,\"\\u0061\":3}}]}", "field \"a\" is given twice");
}
END_TEST

START_TEST(an_object_of_very_many_fields_is_refused)
{
    char text[4096] = "{";
    size_t used = 1;
    for (int i = 0; i <= FIELDS_MAX; i++)
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s\"f%d\":0", i > 0 ? "," : "", i);
    snprintf(text + used, sizeof text - used, "}");
    not_taken(text, "an object has more than 128 fields");
}
END_TEST

START_TEST(deep_nesting_is_refused_before_it_is_parsed)
{
    taken("{\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}");
    not_taken("{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", "nested deeper than 16");

    size_t length = 1024 * 1024;
    char *text = malloc(length);
    memset(text, '[', length);
    memcpy(text, "{\"a\":", 5);
    ck_assert_str_eq(refusal_of_bytes(text, length), "nested deeper than 16");
    free(text);
}
END_TEST

/* A small generator, so that every run tries the same bytes (Marsaglia, xorshift64). */
static uint64_t seed = 88172645463325252U;

static uint32_t random_below(uint32_t most)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % most;
}

/* Whatever is taken can be printed and taken again, and no reader falls over it. */
static void read_in_every_way(const char *text, size_t length)
{
    static struct request request;
    static struct reply reply;
    static struct offer offer;
    static struct answer answer;
    static struct sender sender;
    static struct agent_health health;
    static struct order orders[ORDERS_MAX];
    static struct result results[RESULTS_MAX];
    uint32_t count;
    cJSON *object = wire_parse(text, length, &failure);
    if (object == NULL)
        return;
    wire_read_request(object, &request, &failure);
    for (enum op op = OP_BEGIN; op < OPS; op++)
        wire_read_reply(object, op, &reply, &failure);
    wire_read_offer(object, &offer, &failure);
    wire_read_answer(object, &answer, &failure);
    wire_read_sender(object, &sender, &failure);
    wire_read_orders(object, orders, &count, &failure);
    wire_read_results(object, results, &count, &health, &failure);
    size_t printed_length;
    char *printed = wire_print(object, &printed_length);
    ck_assert_str_eq(refusal_of_bytes(printed, printed_length), "");
    free(printed);
}

START_TEST(no_input_makes_a_reader_fall)
{
    static const char *const texts[] = {
        "{\"op\":\"begin\",\"timeout\":\"30s\",\"protocol\":\"2pc\",\"label\":\"l\",\"key\":\"k\","
        "\"rms\":[\"a\",\"b\"],\"request_id\":\"0123456789abcdef\"}",
        "{\"op\":\"enlist\",\"gtrid\":\"bank.1.2\",\"rm\":\"a\",\"branch\":\"b\",\"role\":\"app\","
        "\"read_only\":true,\"isolation\":\"serializable\"}",
        "{\"ok\":true,\"outcome\":\"committed\",\"applied\":false,\"pending\":[\"a\"],\"reason\":"
        "{\"rm\":\"a\",\"sqlstate\":\"23514\",\"message\":\"\\u00e9\"},\"gtrid\":\"bank.1.2\"}",
        "{\"ok\":false,\"error\":{\"code\":\"busy\",\"message\":\"m\",\"retryable\":true}}",
        "{\"op\":\"orders\",\"tm\":\"bank\",\"incarnation\":\"1\",\"instance\":"
        "\"00112233445566778899aabbccddeeff\",\"agent\":\"7\",\"orders\":[{\"do\":\"prepare\","
        "\"gid\":\"1095978580_YmFuay4xLjI=_YQ==\",\"agent\":\"7\",\"timeout_ms\":5},"
        "{\"do\":\"recover\",\"number\":\"5\"}]}",
        "{\"ok\":true,\"agent\":\"7\",\"results\":[{\"is\":\"ready\",\"xid\":\"7\",\"gid\":"
        "\"1095978580_YmFuay4xLjI=_YQ==\"},{\"is\":\"scanned\",\"number\":\"1\"}],\"health\":{}}",
    };
    static const char bytes[] = "{}[]\",:\\u0019dDeE+-.tfn\0\x80\xc3\xed\xf0\xff ";
    for (int round = 0; round < 60000; round++) {
        char text[512];
        const char *from = texts[random_below(sizeof texts / sizeof texts[0])];
        size_t length = strlen(from);
        memcpy(text, from, length);
        for (uint32_t flips = random_below(4); flips > 0; flips--)
            text[random_below((uint32_t)length)] = bytes[random_below(sizeof bytes - 1)];
        if (random_below(4) == 0)
            length = random_below((uint32_t)length);
        char *copy = malloc(length > 0 ? length : 1);
        memcpy(copy, text, length);
        read_in_every_way(copy, length);
        free(copy);
    }
}
END_TEST

/* ---- requests ---- */

static struct request request;

static const char *read_request(const char *text)
{
    memset(&failure, 0, sizeof failure);
    cJSON *object = wire_parse(text, strlen(text), &failure);
    ck_assert_msg(object != NULL, "%s: %s", failure.message, text);
    int rc = wire_read_request(object, &request, &failure);
    ck_assert_int_eq(rc, failure.code == ERR_NONE ? 0 : -1);
    cJSON_Delete(object);
    return failure.message;
}

#define asks(text) ck_assert_str_eq(read_request(text), "")
#define asks_wrongly(text, why)                                                                    \
    do {                                                                                           \
        ck_assert_str_eq(read_request(text), why);                                                 \
        ck_assert_int_eq(failure.code, ERR_INVALID_REQUEST);                                       \
    } while (0)

START_TEST(begin_reads_every_field)
{
    asks("{\"op\":\"begin\",\"timeout\":\"30s\",\"protocol\":\"3pc\",\"label\":\"nightly\","
         "\"key\":\"order 17\",\"rms\":[\"accounts\",\"ledger\"],\"later\":{},"
         "\"application\":\"teller\",\"traceparent\":"
         "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
         "\"request_id\":\"0123456789abcdef\",\"token\":null}");
    ck_assert_int_eq(request.op, OP_BEGIN);
    ck_assert_uint_eq(request.timeout_ms, 30000);
    ck_assert_int_eq(request.protocol, PROTOCOL_3PC);
    ck_assert_str_eq(request.origin.label, "nightly");
    ck_assert_str_eq(request.origin.application, "teller");
    ck_assert_uint_eq(strlen(request.origin.traceparent), TRACE_BYTES - 1);
    ck_assert_str_eq(request.key, "order 17");
    ck_assert_str_eq(request.request_id, "0123456789abcdef");
    ck_assert_uint_eq(request.rm_count, 2);
    ck_assert_str_eq(request.rms[1], "ledger");

    asks("{\"op\":\"begin\"}");
    ck_assert_uint_eq(request.timeout_ms, 0);
    ck_assert_int_eq(request.protocol, PROTOCOL_2PC);
    asks("{\"op\":\"begin\",\"timeout\":1,\"rms\":[]}");
    asks("{\"op\":\"begin\",\"timeout\":\"1d\"}");
    ck_assert_uint_eq(request.timeout_ms, 86400000);
}
END_TEST

START_TEST(begin_names_the_field_that_is_wrong)
{
    asks_wrongly("{\"op\":\"begin\",\"timeout\":0}", "field \"timeout\": expected 1 ms to 1 d");
    asks_wrongly("{\"op\":\"begin\",\"timeout\":\"25h\"}",
                 "field \"timeout\": expected 1 ms to 1 d");
    asks_wrongly("{\"op\":\"begin\",\"timeout\":\"soon\"}",
                 "field \"timeout\": expected milliseconds, or a duration such as \"500ms\" or "
                 "\"30s\"");
    asks_wrongly("{\"op\":\"begin\",\"timeout\":1.5}",
                 "field \"timeout\": expected milliseconds, or a duration such as \"500ms\" or "
                 "\"30s\"");
    asks_wrongly("{\"op\":\"begin\",\"protocol\":\"4pc\"}",
                 "field \"protocol\": expected one of \"2pc\", \"3pc\"");
    asks_wrongly("{\"op\":\"begin\",\"label\":7}", "field \"label\": expected a text");
    asks_wrongly("{\"op\":\"begin\",\"traceparent\":\"00-00-00-00\"}",
                 "field \"traceparent\": expected the header of W3C Trace Context, "
                 "00-<32>-<16>-<2>");
    asks_wrongly("{\"op\":\"begin\",\"key\":\"\"}",
                 "field \"key\": expected 1 to 64 bytes without control characters");
    asks_wrongly("{\"op\":\"begin\",\"key\":\"a\\nb\"}",
                 "field \"key\": expected 1 to 64 bytes without control characters");
    asks_wrongly("{\"op\":\"begin\",\"key\":\"0123456789012345678901234567890123456789"
                 "0123456789012345678901234\"}",
                 "field \"key\": expected at most 64 bytes, got 65");
    asks_wrongly("{\"op\":\"begin\",\"request_id\":\"short\"}",
                 "field \"request_id\": expected 16 to 64 bytes without control characters");
    asks_wrongly("{\"op\":\"begin\",\"rms\":\"accounts\"}", "field \"rms\": expected a list");
    asks_wrongly("{\"op\":\"begin\",\"rms\":[\"Accounts\"]}",
                 "field \"rms\": expected resource managers' names, [a-z][a-z0-9-]{0,30}");
    asks_wrongly("{\"op\":\"begin\",\"rms\":[\"a\",\"b\",\"a\"]}",
                 "field \"rms\": a is named twice");
    asks_wrongly("{\"op\":\"begin\",\"rms\":[\"a\",1]}",
                 "field \"rms\": expected resource managers' names, [a-z][a-z0-9-]{0,30}");
    asks_wrongly("{\"op\":\"begin\",\"rms\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
                 "1,1,1,1,1,1,1]}",
                 "field \"rms\": expected at most 32 elements");
}
END_TEST

START_TEST(names_of_fields_are_case_sensitive)
{
    asks_wrongly("{\"OP\":\"begin\"}", "field \"op\" is missing");
    asks("{\"op\":\"begin\",\"KEY\":\"x\"}");
    ck_assert_str_eq(request.key, "");
}
END_TEST

START_TEST(an_operation_must_be_known)
{
    asks_wrongly("{}", "field \"op\" is missing");
    asks_wrongly("{\"op\":7}", "field \"op\": expected a text");
    ck_assert_str_eq(read_request("{\"op\":\"BEGIN\"}"), "no operation is called \"BEGIN\"");
    ck_assert_int_eq(failure.code, ERR_UNKNOWN_OPERATION);
    ck_assert_str_eq(read_request("{\"op\":\"\"}"), "no operation is called \"\"");
    ck_assert_int_eq(failure.code, ERR_UNKNOWN_OPERATION);
    ck_assert_int_eq(wire_op(NULL), OP_NONE);
}
END_TEST

START_TEST(enlist_reads_every_field)
{
    asks("{\"op\":\"enlist\",\"gtrid\":\"bank.3.2049\",\"rm\":\"ledger\",\"branch\":\"2nd\","
         "\"role\":\"app\",\"read_only\":true,\"isolation\":\"repeatable read\"}");
    ck_assert(request.has_gtrid);
    ck_assert_uint_eq(request.gtrid.sequence, 2049);
    ck_assert_str_eq(request.rm, "ledger");
    ck_assert_str_eq(request.branch, "2nd");
    ck_assert_str_eq(request.role, "app");
    ck_assert(request.read_only);
    ck_assert_int_eq(request.isolation, REPEATABLE_READ);

    asks_wrongly("{\"op\":\"enlist\",\"rm\":\"ledger\"}", "field \"gtrid\" is missing");
    asks_wrongly("{\"op\":\"enlist\",\"gtrid\":\"bank.3\",\"rm\":\"ledger\"}",
                 "field \"gtrid\": expected a transaction, <tm>.<incarnation>.<sequence>");
    asks_wrongly("{\"op\":\"enlist\",\"gtrid\":\"\",\"rm\":\"ledger\"}",
                 "field \"gtrid\": expected a transaction, <tm>.<incarnation>.<sequence>");
    asks_wrongly("{\"op\":\"enlist\",\"gtrid\":\"bank.3.1\"}", "field \"rm\" is missing");
    asks_wrongly("{\"op\":\"enlist\",\"gtrid\":\"bank.3.1\",\"rm\":\"\"}",
                 "field \"rm\": expected a resource manager's name, [a-z][a-z0-9-]{0,30}");
    asks_wrongly("{\"op\":\"enlist\",\"gtrid\":\"bank.3.1\",\"rm\":\"a\",\"branch\":\"B/C\"}",
                 "field \"branch\": expected a branch name, [a-z0-9-]{1,24}");
    asks_wrongly("{\"op\":\"enlist\",\"gtrid\":\"bank.3.1\",\"rm\":\"a\",\"read_only\":1}",
                 "field \"read_only\": expected true or false");
    asks_wrongly("{\"op\":\"enlist\",\"gtrid\":\"bank.3.1\",\"rm\":\"a\",\"isolation\":\"\"}",
                 "field \"isolation\": expected one of \"read committed\", \"repeatable read\", "
                 "\"serializable\"");
}
END_TEST

START_TEST(commit_waits_ten_seconds_unless_told_otherwise)
{
    asks("{\"op\":\"commit\",\"gtrid\":\"bank.3.1\"}");
    ck_assert_int_eq(request.wait, WAIT_APPLIED);
    ck_assert_uint_eq(request.wait_ms, 10000);
    asks("{\"op\":\"commit\",\"gtrid\":\"bank.3.1\",\"wait\":\"decided\",\"wait_ms\":0}");
    ck_assert_int_eq(request.wait, WAIT_DECIDED);
    ck_assert_uint_eq(request.wait_ms, 0);
    asks_wrongly("{\"op\":\"commit\",\"gtrid\":\"bank.3.1\",\"wait_ms\":1e300}",
                 "field \"wait_ms\": expected milliseconds, or a duration such as \"500ms\" or "
                 "\"30s\"");
    asks_wrongly("{\"op\":\"commit\",\"gtrid\":\"bank.3.1\",\"wait_ms\":86400001}",
                 "field \"wait_ms\": expected 0 ms to 1 d");
}
END_TEST

START_TEST(an_outcome_is_asked_by_gtrid_or_by_key)
{
    asks("{\"op\":\"outcome\",\"gtrid\":\"bank.3.1\"}");
    ck_assert(request.has_gtrid);
    asks("{\"op\":\"outcome\",\"key\":\"order 17\"}");
    ck_assert(!request.has_gtrid);
    asks_wrongly("{\"op\":\"outcome\"}", "expected either field \"gtrid\" or \"key\"");
    asks_wrongly("{\"op\":\"outcome\",\"gtrid\":\"bank.3.1\",\"key\":\"k\"}",
                 "expected either field \"gtrid\" or \"key\"");
}
END_TEST

START_TEST(a_list_may_be_of_one_state)
{
    asks("{\"op\":\"list\"}");
    ck_assert_int_eq(request.state, SHOWN_ANY);
    asks("{\"op\":\"list\",\"state\":\"rolling-back\"}");
    ck_assert_int_eq(request.state, SHOWN_ROLLING_BACK);
}
END_TEST

START_TEST(a_request_reads_back_as_it_was_written)
{
    static const char *const texts[] = {
        "{\"op\":\"begin\",\"timeout\":30000,\"protocol\":\"3pc\",\"label\":\"l\",\"key\":\"k\","
        "\"request_id\":\"0123456789abcdef\",\"rms\":[\"accounts\",\"ledger\"]}",
        "{\"op\":\"begin\"}",
        "{\"op\":\"enlist\",\"gtrid\":\"bank.3.1\",\"rm\":\"ledger\",\"branch\":\"b\","
        "\"role\":\"app\",\"read_only\":true,\"isolation\":\"serializable\"}",
        "{\"op\":\"commit\",\"gtrid\":\"bank.3.1\",\"wait\":\"decided\",\"wait_ms\":5}",
        "{\"op\":\"rollback\",\"gtrid\":\"bank.3.18446744073709551615\"}",
        "{\"op\":\"outcome\",\"key\":\"k\"}",
        "{\"op\":\"outcome\",\"gtrid\":\"bank.3.1\"}",
        "{\"op\":\"show\",\"gtrid\":\"bank.3.1\"}",
        "{\"op\":\"list\",\"state\":\"mixed\"}",
        "{\"op\":\"agents\"}",
        "{\"op\":\"status\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t length;
        asks(texts[i]);
        char *text = wire_write_request(&request, &length);
        ck_assert_str_eq(text, texts[i]);
        free(text);
    }
}
END_TEST

/* ---- replies ---- */

static const struct gtrid gtrid = {.tm = "bank", .incarnation = 3, .sequence = 2049};
static struct reply reply, read_back;

static void given_reply(enum op op)
{
    memset(&reply, 0, sizeof reply);
    reply.op = op;
    reply.gtrid = gtrid;
}

static void add_branch(const char *rm, const char *branch)
{
    struct enlisted *enlisted = &reply.branches[reply.branch_count++];
    strcpy(enlisted->rm, rm);
    strcpy(enlisted->branch, branch);
}

static char written[4096];

static const char *write_reply(const struct branch_access *access)
{
    size_t length;
    char *text = wire_write_reply(&reply, access, &length);
    ck_assert_uint_lt(length, sizeof written);
    memcpy(written, text, length + 1);
    free(text);
    return written;
}

static int read_written(void)
{
    cJSON *object = wire_parse(written, strlen(written), &failure);
    ck_assert_ptr_nonnull(object);
    int rc = wire_read_reply(object, reply.op, &read_back, &failure);
    cJSON_Delete(object);
    return rc;
}

static char expected[4096];

/* The gid is ids.c's matter: a %s in the format. */
static const char *with_gid(const char *format, const char *rm, const char *branch)
{
    struct branch_id id = {.gtrid = gtrid};
    char gid[GID_BYTES];
    strcpy(id.rm, rm);
    strcpy(id.branch, branch);
    gid_format(&id, gid);
    const char *hole = strstr(format, "%s");
    snprintf(expected, sizeof expected, "%.*s%s%s", (int)(hole - format), format, gid, hole + 2);
    return expected;
}

START_TEST(begin_answers_the_transaction_and_its_branches)
{
    given_reply(OP_BEGIN);
    reply.left_ms = 30000;
    add_branch("accounts", "");
    struct branch_access access = {.agent = "ipc:///run/assent/accounts.sock", .ticket = "7.1..x"};
    ck_assert_str_eq(
        write_reply(&access),
        with_gid("{\"ok\":true,\"gtrid\":\"bank.3.2049\",\"deadline_ms\":30000,\"branches\":["
                 "{\"rm\":\"accounts\",\"branch\":\"\",\"gid\":\"%s\",\"xid\":{\"format_id\":"
                 "\"1095978580\",\"gtrid\":\"bank.3.2049\",\"bqual\":\"accounts\"},\"agent\":"
                 "\"ipc:///run/assent/accounts.sock\",\"session\":\"7.1..x\"}]}",
                 "accounts", ""));
    ck_assert_int_eq(read_written(), 0);
    ck_assert(gtrid_equal(&read_back.gtrid, &gtrid));
    ck_assert_uint_eq(read_back.left_ms, 30000);
    ck_assert_uint_eq(read_back.branch_count, 1);
    ck_assert_str_eq(read_back.branches[0].rm, "accounts");
}
END_TEST

START_TEST(enlist_answers_one_branch)
{
    given_reply(OP_ENLIST);
    add_branch("ledger", "b2");
    ck_assert_str_eq(write_reply(NULL),
                     with_gid("{\"ok\":true,\"branch\":{\"rm\":\"ledger\",\"branch\":\"b2\","
                              "\"gid\":\"%s\",\"xid\":{\"format_id\":\"1095978580\",\"gtrid\":"
                              "\"bank.3.2049\",\"bqual\":\"ledger/b2\"}}}",
                              "ledger", "b2"));
    ck_assert_int_eq(read_written(), 0);
    ck_assert_str_eq(read_back.branches[0].branch, "b2");
    ck_assert(gtrid_equal(&read_back.gtrid, &gtrid));
}
END_TEST

START_TEST(commit_answers_how_it_ended_and_why)
{
    given_reply(OP_COMMIT);
    reply.outcome = OUTCOME_ROLLED_BACK;
    reply.pending_count = 1;
    strcpy(reply.pending[0], "ledger");
    reply.has_reason = true;
    strcpy(reply.reason.rm, "ledger");
    strcpy(reply.reason.sqlstate, "23514");
    strcpy(reply.reason.message, "violates \"positive\"");
    strcpy(reply.reason.detail, "row (1, -30)");
    strcpy(reply.reason.hint, "pay in");
    ck_assert_str_eq(write_reply(NULL),
                     "{\"ok\":true,\"outcome\":\"rolled-back\",\"applied\":false,\"pending\":["
                     "\"ledger\"],\"reason\":{\"rm\":\"ledger\",\"sqlstate\":\"23514\",\"message\":"
                     "\"violates \\\"positive\\\"\",\"detail\":\"row (1, -30)\","
                     "\"hint\":\"pay in\"}}");
    ck_assert_int_eq(read_written(), 0);
    ck_assert_int_eq(read_back.outcome, OUTCOME_ROLLED_BACK);
    ck_assert_str_eq(read_back.pending[0], "ledger");
    ck_assert(read_back.has_reason);
    ck_assert_str_eq(read_back.reason.message, "violates \"positive\"");
    ck_assert_str_eq(read_back.reason.detail, "row (1, -30)");
    ck_assert_str_eq(read_back.reason.hint, "pay in");
}
END_TEST

START_TEST(an_outcome_names_the_transaction)
{
    given_reply(OP_OUTCOME);
    reply.outcome = OUTCOME_COMMITTED;
    ck_assert_str_eq(write_reply(NULL),
                     "{\"ok\":true,\"outcome\":\"committed\",\"gtrid\":\"bank.3.2049\"}");
    given_reply(OP_ROLLBACK);
    reply.outcome = OUTCOME_ROLLED_BACK;
    ck_assert_str_eq(write_reply(NULL), "{\"ok\":true,\"outcome\":\"rolled-back\"}");
    ck_assert_int_eq(read_written(), 0);
    ck_assert_int_eq(read_back.outcome, OUTCOME_ROLLED_BACK);
}
END_TEST

START_TEST(a_key_in_use_tells_whose_it_is)
{
    given_reply(OP_BEGIN);
    reply.error = ERR_KEY_IN_USE;
    reply.outcome = OUTCOME_COMMITTED;
    write_reply(NULL);
    ck_assert_ptr_nonnull(strstr(written, "\"code\":\"key_in_use\""));
    ck_assert_ptr_nonnull(strstr(written, ",\"gtrid\":\"bank.3.2049\",\"outcome\":\"committed\"}"));
    ck_assert_int_eq(read_written(), -1);
    ck_assert_int_eq(failure.code, ERR_KEY_IN_USE);
    ck_assert_str_eq(failure.detail, "transaction bank.3.2049 is committed");
    ck_assert_int_eq(read_back.outcome, OUTCOME_COMMITTED);
    ck_assert(gtrid_equal(&read_back.gtrid, &gtrid));
}
END_TEST

START_TEST(a_refusal_carries_code_words_and_whether_to_try_again)
{
    given_reply(OP_ENLIST);
    reply.error = ERR_RM_UNAVAILABLE;
    ck_assert_str_eq(
        write_reply(NULL),
        "{\"ok\":false,\"error\":{\"code\":\"rm_unavailable\",\"message\":\"The agent "
        "of this resource manager is not connected. Try again.\",\"retryable\":true}}");
    reply.has_reason = true;
    strcpy(reply.reason.rm, "ledger");
    strcpy(reply.reason.message, "connection refused");
    strcpy(reply.reason.sqlstate, "08006");
    ck_assert_str_eq(write_reply(NULL),
                     "{\"ok\":false,\"error\":{\"code\":\"rm_unavailable\",\"message\":"
                     "\"connection refused\",\"detail\":\"at resource manager ledger\","
                     "\"sqlstate\":\"08006\",\"retryable\":true}}");
    ck_assert_int_eq(read_written(), -1);
    ck_assert_int_eq(failure.code, ERR_RM_UNAVAILABLE);
    ck_assert_str_eq(failure.sqlstate, "08006");
    ck_assert_str_eq(failure.message, "connection refused");
}
END_TEST

START_TEST(an_unreadable_reply_is_not_the_callers_fault)
{
    reply.op = OP_COMMIT;
    strcpy(written, "{\"ok\":true,\"outcome\":\"perhaps\"}");
    ck_assert_int_eq(read_written(), -1);
    ck_assert_int_eq(failure.code, ERR_INTERNAL);
    ck_assert_str_eq(failure.message,
                     "the reply cannot be read: field \"outcome\": expected one of "
                     "\"in-progress\", \"committed\", \"rolled-back\", \"mixed\", \"forgotten\"");
    strcpy(written, "{\"outcome\":\"committed\"}");
    ck_assert_int_eq(read_written(), -1);
    ck_assert_str_eq(failure.message, "the reply cannot be read: it has no \"ok\"");
    strcpy(written, "{\"ok\":false,\"error\":{\"code\":\"of_tomorrow\",\"message\":\"new\"}}");
    ck_assert_int_eq(read_written(), -1);
    ck_assert_int_eq(failure.code, ERR_INTERNAL);
    ck_assert_str_eq(failure.message, "new");
}
END_TEST

START_TEST(words_in_another_encoding_do_not_spoil_the_message)
{
    given_reply(OP_ENLIST);
    reply.error = ERR_RM_UNAVAILABLE;
    reply.has_reason = true;
    strcpy(reply.reason.message, "caf\xe9 ferm\xe9, \xc3\xa9");
    write_reply(NULL);
    ck_assert_int_eq(read_written(), -1);
    ck_assert_str_eq(failure.message, "caf? ferm?, \xc3\xa9");
}
END_TEST

START_TEST(a_long_message_is_cut_at_a_whole_character)
{
    char text[600] = "";
    for (int i = 0; i < 250; i++)
        strcat(text, "\xc3\xa9");
    refuse(&failure, ERR_BUSY, "x%s", text);
    ck_assert_uint_eq(strlen(failure.message), REASON_BYTES - 1);
    refuse(&failure, ERR_BUSY, "%s", text);
    ck_assert_uint_eq(strlen(failure.message), REASON_BYTES - 2);
}
END_TEST

/* ---- TM and agent ---- */

static size_t printed_length; /* of the last text that was written */

static cJSON *parse_and_free(char *text)
{
    cJSON *object = wire_parse(text, printed_length, &failure);
    ck_assert_msg(object != NULL, "%s: %s", failure.message, text);
    free(text);
    return object;
}

START_TEST(an_offer_and_its_answer_read_back)
{
    /* Static: zero in between the fields too. */
    static struct offer offer = {.tm = "bank",
                                 .log = {{1, 2, 255}},
                                 .incarnation = UINT64_MAX,
                                 .instance = {{9}},
                                 .recovered_lsn = 5,
                                 .secret = {7, [31] = 0xab},
                                 .wire_least = 1,
                                 .wire_most = 2,
                                 .unfenced = true,
                                 .ancestor_count = 2,
                                 .ancestors = {{8, {{3}}}, {9, {{4}}}}};
    struct offer offered;
    cJSON *object = parse_and_free(wire_write_offer(&offer, &printed_length));
    ck_assert_str_eq(wire_op_text(object), "register");
    ck_assert_int_eq(wire_read_offer(object, &offered, &failure), 0);
    ck_assert_mem_eq(&offered, &offer, sizeof offer);
    cJSON_Delete(object);

    static struct answer answer = {.rm = "ledger",
                                   .agent_incarnation = 7,
                                   .beat = 12,
                                   .system_identifier = 7300000000000000001,
                                   .timeline = 1,
                                   .database = "ledger",
                                   .server_version = "15.5",
                                   .peer_url = "tls+tcp://db2.example:7411"};
    struct answer answered;
    object = parse_and_free(wire_write_answer(&answer, &printed_length));
    ck_assert_int_eq(wire_read_answer(object, &answered, &failure), 0);
    ck_assert_mem_eq(&answered, &answer, sizeof answer);
    cJSON_Delete(object);

    answer.refusal = REFUSAL_POSITION;
    answer.stored_lsn = 900;
    object = parse_and_free(wire_write_answer(&answer, &printed_length));
    ck_assert_int_eq(wire_read_answer(object, &answered, &failure), 0);
    ck_assert_mem_eq(&answered, &answer, sizeof answer);
    cJSON_Delete(object);
}
END_TEST

START_TEST(an_answer_that_is_another_failure_is_one)
{
    static const char text[] =
        "{\"ok\":false,\"error\":{\"code\":\"not_ready\",\"message\":\"soon\"}}";
    struct answer answer;
    cJSON *object = wire_parse(text, strlen(text), &failure);
    ck_assert_int_eq(wire_read_answer(object, &answer, &failure), -1);
    ck_assert_int_eq(failure.code, ERR_NOT_READY);
    cJSON_Delete(object);
}
END_TEST

static struct branch_id a_branch(const char *rm)
{
    struct branch_id branch = {.gtrid = gtrid};
    strcpy(branch.rm, rm);
    return branch;
}

static const struct sender sender = {
    .tm = "bank", .incarnation = 3, .instance = {{1, 2, 3}}, .agent_incarnation = 7};

/* Each says only what its kind has to say. */
static struct ballot a_ballot(enum ballot_type type)
{
    static const struct roster roster = {2, true, {"accounts", "ledger"}};
    struct ballot ballot = {.type = type, .gtrid = {.incarnation = 3, .sequence = 9, .tm = "bank"}};
    switch (type) {
    case BALLOT_ASK_ACCEPT:
        ballot.value = OUTCOME_COMMITTED;
        ballot.number = 511;
        ballot.roster = roster;
        break;
    case BALLOT_PLEDGE:
    case BALLOT_ASK_PROMISE:
        ballot.number = 511;
        ballot.roster = roster;
        break;
    case BALLOT_TELL:
        ballot.value = OUTCOME_ROLLED_BACK;
        ballot.roster = roster;
        break;
    case BALLOT_JOIN:
    case BALLOT_ASK_LEAD:
        ballot.roster = roster;
        break;
    case BALLOT_PROMISED:
        ballot.number = 511;
        ballot.value = OUTCOME_COMMITTED;
        ballot.accepted = 256;
        break;
    case BALLOT_OUTBID:
        ballot.number = 256;
        ballot.promised = 511;
        break;
    case BALLOT_ACCEPTED:
        ballot.number = 256;
        break;
    case BALLOT_DECIDED:
        ballot.value = OUTCOME_COMMITTED;
        break;
    default:
        break;
    }
    return ballot;
}

static void check_same_ballot(const struct ballot *a, const struct ballot *b)
{
    ck_assert_int_eq((int)a->type, (int)b->type);
    ck_assert(gtrid_equal(&a->gtrid, &b->gtrid));
    ck_assert_uint_eq(a->number, b->number);
    ck_assert_int_eq((int)a->value, (int)b->value);
    ck_assert_uint_eq(a->accepted, b->accepted);
    ck_assert_uint_eq(a->promised, b->promised);
    ck_assert_uint_eq(a->roster.count, b->roster.count);
    ck_assert_int_eq(a->roster.tm, b->roster.tm);
    for (uint32_t i = 0; i < a->roster.count; i++)
        ck_assert_str_eq(a->roster.agents[i], b->roster.agents[i]);
}

/* Field by field, here and below: what is between them is the compiler's. */
static void check_same_order(const struct order *a, const struct order *b)
{
    ck_assert_int_eq((int)a->type, (int)b->type);
    ck_assert(branch_equal(&a->branch, &b->branch));
    ck_assert_uint_eq(a->number, b->number);
    ck_assert_uint_eq(a->agent_incarnation, b->agent_incarnation);
    ck_assert_uint_eq(a->xid, b->xid);
    ck_assert_uint_eq(a->lsn, b->lsn);
    ck_assert_uint_eq(a->timeout_ms, b->timeout_ms);
    ck_assert_uint_eq(a->begun, b->begun);
    if (a->type == ORDER_BALLOT)
        check_same_ballot(&a->ballot, &b->ballot);
    if (a->type == ORDER_FORGET) {
        ck_assert_mem_eq(&a->forget.upto, &b->forget.upto, sizeof a->forget.upto);
        ck_assert_uint_eq(a->forget.live_count, b->forget.live_count);
        ck_assert_mem_eq(a->forget.live, b->forget.live, 2 * sizeof *a->forget.live);
    }
}

START_TEST(orders_read_back_with_their_sender)
{
    struct order orders[ORDERS_MAX];
    memset(orders, 0, sizeof orders);
    for (uint32_t i = 0; i < ORDERS_MAX; i++) {
        orders[i].type = (enum order_type)(ORDER_PREPARE + (int)(i % (ORDERS - 1)));
        if (orders[i].type == ORDER_RECOVER) {
            orders[i].number = UINT64_MAX;
            orders[i].begun = i;
            continue;
        }
        if (orders[i].type == ORDER_BALLOT) {
            orders[i].ballot = a_ballot((enum ballot_type)(BALLOT_JOIN + (int)(i % (BALLOTS - 1))));
            continue;
        }
        if (orders[i].type == ORDER_FORGET) {
            orders[i].forget = (struct forget){{3, i}, 2, {{1, i}, {3, UINT64_MAX}}};
            continue;
        }
        orders[i].branch = a_branch("ledger");
        orders[i].agent_incarnation = i;
        orders[i].xid = i * 3;
        orders[i].lsn = i * 5;
        orders[i].timeout_ms = i;
    }
    cJSON *object = parse_and_free(wire_write_orders(&sender, orders, ORDERS_MAX, &printed_length));
    static struct order read_orders[ORDERS_MAX];
    struct sender read_sender;
    uint32_t count;
    ck_assert_str_eq(wire_op_text(object), "orders");
    ck_assert_int_eq(wire_read_sender(object, &read_sender, &failure), 0);
    ck_assert_mem_eq(&read_sender, &sender, sizeof sender);
    ck_assert_int_eq(wire_read_orders(object, read_orders, &count, &failure), 0);
    ck_assert_uint_eq(count, ORDERS_MAX);
    for (uint32_t i = 0; i < sizeof orders / sizeof *orders; i++)
        check_same_order(&read_orders[i], &orders[i]);
    cJSON_Delete(object);
}
END_TEST

START_TEST(a_prepare_of_3pc_says_who_decides)
{
    struct order order = {.type = ORDER_PREPARE, .branch = a_branch("ledger"), .timeout_ms = 5};
    order.ballot.roster = a_ballot(BALLOT_JOIN).roster;
    cJSON *object = parse_and_free(wire_write_orders(&sender, &order, 1, &printed_length));
    static struct order read[ORDERS_MAX];
    uint32_t count;
    ck_assert_int_eq(wire_read_orders(object, read, &count, &failure), 0);
    ck_assert_uint_eq(read[0].ballot.roster.count, 2);
    ck_assert(read[0].ballot.roster.tm);
    ck_assert_str_eq(read[0].ballot.roster.agents[1], "ledger");
    cJSON_Delete(object);
}
END_TEST

START_TEST(agents_are_told_of_each_other)
{
    struct peers peers = {.key = {1, 0xff}, .count = 2};
    strcpy(peers.list[0].rm, "accounts");
    strcpy(peers.list[0].url, "ipc:///run/assent/accounts.sock");
    strcpy(peers.list[1].rm, "ledger");
    strcpy(peers.list[1].url, "tls+tcp://db2.example:7411");
    cJSON *object = parse_and_free(wire_write_peers(&sender, &peers, &printed_length));
    struct sender read_sender;
    struct peers read;
    ck_assert_str_eq(wire_op_text(object), "peers");
    ck_assert_int_eq(wire_read_sender(object, &read_sender, &failure), 0);
    ck_assert_int_eq(wire_read_peers(object, &read, &failure), 0);
    ck_assert_mem_eq(&read, &peers, sizeof peers);
    cJSON_Delete(object);

    object = wire_parse("{\"op\":\"peers\",\"key\":\"\",\"peers\":[]}", 34, &failure);
    ck_assert_int_eq(wire_read_peers(object, &read, &failure), -1);
    ck_assert_str_eq(failure.message, "field \"key\": expected 64 hex digits");
    cJSON_Delete(object);
}
END_TEST

START_TEST(agents_hear_each_others_ballots)
{
    struct ballot ballots[BALLOTS_MAX];
    static struct ballot read[BALLOTS_MAX];
    char rm[RM_NAME_BYTES];
    uint32_t count;
    for (uint32_t i = 0; i < BALLOTS_MAX; i++)
        ballots[i] = a_ballot((enum ballot_type)(BALLOT_JOIN + (int)(i % (BALLOTS - 1))));
    cJSON *object =
        parse_and_free(wire_write_ballots("stock", ballots, BALLOTS_MAX, &printed_length));
    ck_assert_str_eq(wire_op_text(object), "ballots");
    ck_assert_int_eq(wire_read_ballots(object, rm, read, &count, &failure), 0);
    ck_assert_str_eq(rm, "stock");
    ck_assert_uint_eq(count, BALLOTS_MAX);
    for (uint32_t i = 0; i < BALLOTS_MAX; i++)
        check_same_ballot(&read[i], &ballots[i]);
    cJSON_Delete(object);
}
END_TEST

static const char *refusal_of_orders(const char *format, const char *rm)
{
    static struct order orders[ORDERS_MAX];
    uint32_t count;
    const char *text = rm != NULL ? with_gid(format, rm, "") : format;
    cJSON *object = wire_parse(text, strlen(text), &failure);
    ck_assert_ptr_nonnull(object);
    ck_assert_int_eq(wire_read_orders(object, orders, &count, &failure), -1);
    cJSON_Delete(object);
    return failure.message;
}

START_TEST(an_order_that_lacks_something_is_named)
{
    ck_assert_str_eq(refusal_of_orders("{}", NULL), "field \"orders\" is missing");
    ck_assert_str_eq(refusal_of_orders("{\"orders\":[1]}", NULL),
                     "orders[0]: field \"do\" is missing");
    ck_assert_str_eq(refusal_of_orders("{\"orders\":[{\"do\":\"settle\"}]}", NULL),
                     "orders[0]: field \"gid\" is missing");
    ck_assert_str_eq(
        refusal_of_orders("{\"orders\":[{\"do\":\"settle\",\"gid\":\"1_2_3\"}]}", NULL),
        "orders[0]: field \"gid\": expected a branch's gid, as enlist gave it");
    ck_assert_str_eq(refusal_of_orders("{\"orders\":[{\"do\":\"recover\",\"number\":\"1\"},"
                                       "{\"do\":\"commit\",\"gid\":\"%s\",\"lsn\":\"1\"}]}",
                                       "ledger"),
                     "orders[1]: field \"xid\" is missing");
    ck_assert_str_eq(refusal_of_orders("{\"orders\":[{\"do\":\"ballot\",\"lsn\":\"1\",\"ballot\":{"
                                       "\"is\":\"ask-accept\",\"gtrid\":\"bank.3.9\","
                                       "\"number\":\"0\",\"value\":\"mixed\"}}]}",
                                       NULL),
                     "orders[0]: field \"value\": expected one of \"committed\", \"rolled-back\"");
    ck_assert_str_eq(refusal_of_orders("{\"orders\":[{\"do\":\"ballot\",\"lsn\":\"1\",\"ballot\":{"
                                       "\"is\":\"join\",\"gtrid\":\"bank.3.9\"}}]}",
                                       NULL),
                     "orders[0]: field \"acceptors\" is missing");
    ck_assert_str_eq(refusal_of_orders("{\"orders\":[{\"do\":\"commit\",\"gid\":\"%s\",\"lsn\":"
                                       "\"01\",\"xid\":\"1\"}]}",
                                       "ledger"),
                     "orders[0]: field \"lsn\": expected a decimal number of 64 bits, as text");
}
END_TEST

static void check_same_result(const struct result *a, const struct result *b)
{
    ck_assert_int_eq((int)a->type, (int)b->type);
    ck_assert_int_eq((int)a->actual, (int)b->actual);
    ck_assert_uint_eq(a->agent_incarnation, b->agent_incarnation);
    ck_assert_uint_eq(a->number, b->number);
    ck_assert_uint_eq(a->xid, b->xid);
    ck_assert_uint_eq(a->beat, b->beat);
    ck_assert_str_eq(a->sqlstate, b->sqlstate);
    ck_assert_str_eq(a->message, b->message);
    ck_assert_str_eq(a->detail, b->detail);
    ck_assert_str_eq(a->hint, b->hint);
    ck_assert(branch_equal(&a->branch, &b->branch));
}

START_TEST(results_read_back_with_the_agents_health)
{
    struct result results[RESULTS_MAX];
    struct agent_health health = {1, 2, 64, 3, 64, 4, 16384, 5, 900, "no pg_hba.conf entry"};
    memset(results, 0, sizeof results);
    for (uint32_t i = 0; i < RESULTS_MAX; i++) {
        results[i].type = (enum result_type)(RESULT_READY + (int)(i % (RESULTS - 1)));
        if (results[i].type == RESULT_BALLOT) {
            results[i].ballot = a_ballot(BALLOT_PROMISED);
            strcpy(results[i].branch.rm, "ledger");
            results[i].agent_incarnation = 7;
            continue;
        }
        results[i].agent_incarnation = 7;
        results[i].number = i;
        results[i].xid = i * 3;
        results[i].beat = i * 5;
        results[i].actual = OUTCOME_ROLLED_BACK;
        strcpy(results[i].message, "deadlock detected");
        strcpy(results[i].sqlstate, "40P01");
        strcpy(results[i].detail, "Process 7 waits for ShareLock.");
        strcpy(results[i].hint, "See server log for query details.");
        if (results[i].type == RESULT_SCANNED)
            strcpy(results[i].branch.rm, "ledger");
        else
            results[i].branch = a_branch("ledger");
    }
    cJSON *object =
        parse_and_free(wire_write_results(results, RESULTS_MAX, 7, &health, &printed_length));
    static struct result read_results[RESULTS_MAX];
    struct agent_health read_health;
    uint32_t count;
    ck_assert_int_eq(wire_read_results(object, read_results, &count, &read_health, &failure), 0);
    ck_assert_uint_eq(count, RESULTS_MAX);
    for (uint32_t i = 0; i < RESULTS_MAX; i++)
        check_same_result(&read_results[i], &results[i]);
    ck_assert_mem_eq(&read_health, &health, sizeof health);
    cJSON_Delete(object);
}
END_TEST

START_TEST(a_poll_says_who_asks_and_for_how_long)
{
    struct sender read_sender;
    cJSON *object = parse_and_free(wire_write_poll(&sender, 1000, &printed_length));
    uint32_t wait_ms;
    ck_assert_str_eq(wire_op_text(object), "results");
    ck_assert_int_eq(wire_read_sender(object, &read_sender, &failure), 0);
    ck_assert_mem_eq(&read_sender, &sender, sizeof sender);
    ck_assert_int_eq(field_ms(object, "wait_ms", &wait_ms, &failure), 0);
    ck_assert_uint_eq(wait_ms, 1000);
    cJSON_Delete(object);
}
END_TEST

START_TEST(a_64_bit_number_is_text_or_a_small_integer)
{
    static const char text[] = "{\"a\":\"18446744073709551615\",\"b\":9007199254740992,\"c\":1e17,"
                               "\"d\":\"18446744073709551616\",\"e\":-1,\"f\":1.5,\"g\":true}";
    cJSON *object = wire_parse(text, strlen(text), &failure);
    uint64_t value;
    ck_assert_int_eq(field_u64(object, "a", true, &value, &failure), 0);
    ck_assert_uint_eq(value, UINT64_MAX);
    ck_assert_int_eq(field_u64(object, "b", true, &value, &failure), 0);
    ck_assert_uint_eq(value, UINT64_C(9007199254740992));
    for (const char *name = "cdefg"; *name != '\0'; name++)
        ck_assert_int_eq(field_u64(object, (const char[]){*name, '\0'}, true, &value, &failure),
                         -1);
    ck_assert_int_eq(field_u64(object, "h", false, &value, &failure), 0);
    ck_assert_uint_eq(value, 0);
    cJSON_Delete(object);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *parsing = tcase_create("parsing");
    tcase_add_test(parsing, an_object_with_blanks_around_it_is_taken);
    tcase_add_test(parsing, only_one_object_is_taken);
    tcase_add_test(parsing, a_text_that_ends_early_is_refused);
    tcase_add_test(parsing, malformed_json_is_refused);
    tcase_add_test(parsing, nul_is_refused_in_every_form);
    tcase_add_test(parsing, invalid_utf8_is_refused);
    tcase_add_test(parsing, a_number_that_overflows_is_refused);
    tcase_add_test(parsing, a_number_of_very_many_digits_is_refused);
    tcase_add_test(parsing, numbers_are_kept_as_they_are_written);
    tcase_add_test(parsing, a_text_is_utf8_or_it_is_not);
    tcase_add_test(parsing, a_key_given_twice_is_refused_at_every_level);
    tcase_add_test(parsing, an_object_of_very_many_fields_is_refused);
    tcase_add_test(parsing, deep_nesting_is_refused_before_it_is_parsed);
    tcase_add_test(parsing, no_input_makes_a_reader_fall);
    tcase_set_timeout(parsing, 60);
    suite_add_tcase(suite, parsing);

    TCase *requests = tcase_create("requests");
    tcase_add_test(requests, begin_reads_every_field);
    tcase_add_test(requests, begin_names_the_field_that_is_wrong);
    tcase_add_test(requests, names_of_fields_are_case_sensitive);
    tcase_add_test(requests, an_operation_must_be_known);
    tcase_add_test(requests, enlist_reads_every_field);
    tcase_add_test(requests, commit_waits_ten_seconds_unless_told_otherwise);
    tcase_add_test(requests, an_outcome_is_asked_by_gtrid_or_by_key);
    tcase_add_test(requests, a_list_may_be_of_one_state);
    tcase_add_test(requests, a_request_reads_back_as_it_was_written);
    suite_add_tcase(suite, requests);

    TCase *replies = tcase_create("replies");
    tcase_add_test(replies, begin_answers_the_transaction_and_its_branches);
    tcase_add_test(replies, enlist_answers_one_branch);
    tcase_add_test(replies, commit_answers_how_it_ended_and_why);
    tcase_add_test(replies, an_outcome_names_the_transaction);
    tcase_add_test(replies, a_key_in_use_tells_whose_it_is);
    tcase_add_test(replies, a_refusal_carries_code_words_and_whether_to_try_again);
    tcase_add_test(replies, an_unreadable_reply_is_not_the_callers_fault);
    tcase_add_test(replies, words_in_another_encoding_do_not_spoil_the_message);
    tcase_add_test(replies, a_long_message_is_cut_at_a_whole_character);
    suite_add_tcase(suite, replies);

    TCase *agents = tcase_create("agents");
    tcase_add_test(agents, an_offer_and_its_answer_read_back);
    tcase_add_test(agents, an_answer_that_is_another_failure_is_one);
    tcase_add_test(agents, orders_read_back_with_their_sender);
    tcase_add_test(agents, a_prepare_of_3pc_says_who_decides);
    tcase_add_test(agents, agents_are_told_of_each_other);
    tcase_add_test(agents, agents_hear_each_others_ballots);
    tcase_add_test(agents, an_order_that_lacks_something_is_named);
    tcase_add_test(agents, results_read_back_with_the_agents_health);
    tcase_add_test(agents, a_poll_says_who_asks_and_for_how_long);
    tcase_add_test(agents, a_64_bit_number_is_text_or_a_small_integer);
    suite_add_tcase(suite, agents);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
