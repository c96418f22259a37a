/*
 * tests/unit/test_conf.c - a configuration file means one thing, or is refused by line and key.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "common/conf.h"

enum { RMS_MAX = 4 };

struct coordinator {
    char name[8];
    char listen[64];
    uint32_t timeout_ms;
    uint32_t waiting;
    uint32_t segment;
    uint32_t mode;
    bool same_host;
};

struct rm {
    char name[64];
    char url[64];
};

static const struct conf_key keys[] = {
    {"tm", "name", CONF_TEXT, offsetof(struct coordinator, name),
     sizeof((struct coordinator *)0)->name, 0, 0},
    {"tm", "listen", CONF_TEXT, offsetof(struct coordinator, listen),
     sizeof((struct coordinator *)0)->listen, 0, 0},
    {"tm", "timeout", CONF_DURATION, offsetof(struct coordinator, timeout_ms), 0, 0, 0},
    {"tm", "waiting", CONF_COUNT, offsetof(struct coordinator, waiting), 0, 1, 1024},
    {"tm", "segment", CONF_SIZE, offsetof(struct coordinator, segment), 0, 128 * 1024, 256 << 20},
    {"tm", "mode", CONF_MODE, offsetof(struct coordinator, mode), 0, 0, 0},
    {"tm", "same_host", CONF_BOOL, offsetof(struct coordinator, same_host), 0, 0, 0},
    {"rm ", "url", CONF_TEXT, offsetof(struct rm, url), sizeof((struct rm *)0)->url, 0, 0},
    {NULL, NULL, CONF_TEXT, 0, 0, 0, 0},
};

static struct coordinator tm;
static struct rm rms[RMS_MAX];
static int rm_count;
static struct error error;

static void *open_section(void *arg, const char *section, const char *name, struct error *why)
{
    ck_assert_ptr_eq(arg, &tm);
    if (strcmp(section, "tm") == 0) {
        ck_assert_str_eq(name, "");
        return &tm;
    }
    ck_assert_str_eq(section, "rm ");
    if (strcmp(name, "nobody") == 0) {
        fail(why, "no such name is allowed");
        fail_hint(why, "choose another");
        return NULL;
    }
    struct rm *rm = &rms[rm_count++];
    snprintf(rm->name, sizeof rm->name, "%s", name);
    return rm;
}

/* Read these bytes as a file. The messages then open with "conf:". */
static int read_bytes(const char *bytes, size_t length)
{
    char folder[] = "/tmp/assent-conf-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    FILE *file = fopen("conf", "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);

    memset(&tm, 0, sizeof tm);
    memset(rms, 0, sizeof rms);
    rm_count = 0;
    int rc = conf_read("conf", keys, open_section, &tm, &error);
    unlink("conf");
    rmdir(folder);
    return rc;
}

static void accepts(const char *text)
{
    error.message[0] = '\0';
    ck_assert_msg(read_bytes(text, strlen(text)) == 0, "%s", error.message);
}

#define REFUSES(text, expected)                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(read_bytes(text, strlen(text)), -1);                                      \
        ck_assert_str_eq(error.message, expected);                                                 \
    } while (0)

START_TEST(each_key_reaches_its_place)
{
    accepts("; assentd.ini\n"
            "[tm]\n"
            "name = bank\n"
            "listen=ipc:///run/assent/bank.sock\n"
            "timeout = 30s ; a comment\n"
            "waiting = 1024\n"
            "segment = 512kB\n"
            "mode = 0660\n"
            "same_host = on\n"
            "\n"
            "# the databases\n"
            "[rm accounts]\n"
            "url = ipc:///run/assent/accounts.sock\n"
            "[rm ledger]\n"
            "url = tls+tcp://db2.example:7411\n");
    ck_assert_str_eq(tm.name, "bank");
    ck_assert_str_eq(tm.listen, "ipc:///run/assent/bank.sock");
    ck_assert_uint_eq(tm.timeout_ms, 30000);
    ck_assert_uint_eq(tm.waiting, 1024);
    ck_assert_uint_eq(tm.segment, 512 * 1024);
    ck_assert_uint_eq(tm.mode, 0660);
    ck_assert(tm.same_host);
    ck_assert_int_eq(rm_count, 2);
    ck_assert_str_eq(rms[0].name, "accounts");
    ck_assert_str_eq(rms[0].url, "ipc:///run/assent/accounts.sock");
    ck_assert_str_eq(rms[1].name, "ledger");
    ck_assert_str_eq(rms[1].url, "tls+tcp://db2.example:7411");
}
END_TEST

START_TEST(what_is_not_in_the_file_keeps_its_default)
{
    accepts("[tm]\n");
    ck_assert_str_eq(tm.name, "");
    accepts("");
}
END_TEST

START_TEST(indentation_and_foreign_line_ends_do_no_harm)
{
    accepts("\xEF\xBB\xBF[tm] ; the coordinator\r\n"
            "  name = bank\r\n"
            "\tlisten = x\r\n"
            "  [ rm accounts ]\r\n"
            "    url = y");
    ck_assert_str_eq(tm.name, "bank");
    ck_assert_str_eq(tm.listen, "x");
    ck_assert_str_eq(rms[0].name, "accounts");
    ck_assert_str_eq(rms[0].url, "y");
}
END_TEST

START_TEST(an_unknown_key_is_refused_and_the_known_ones_are_named)
{
    REFUSES("[tm]\nname = bank\n\nnam = bank\n", "conf:4: [tm] nam: unknown key");
    ck_assert_str_eq(error.hint, "the keys of this section are: "
                                 "name, listen, timeout, waiting, segment, mode, same_host");
    REFUSES("[rm accounts]\nname = x\n", "conf:2: [rm accounts] name: unknown key");
}
END_TEST

START_TEST(an_unknown_section_is_refused_even_when_it_is_empty)
{
    REFUSES("[tm]\n[tms]\n", "conf:2: [tms]: unknown section");
    REFUSES("[rm]\nurl = x\n", "conf:1: [rm]: unknown section");
    REFUSES("[TM]\n", "conf:1: [TM]: unknown section");
    REFUSES("[]\n", "conf:1: []: unknown section");
}
END_TEST

START_TEST(a_key_given_twice_is_refused)
{
    REFUSES("[tm]\nname = a\nname = a\n", "conf:3: [tm] name: this key is here a second time");
    accepts("[rm a]\nurl = x\n[rm b]\nurl = x\n");
}
END_TEST

START_TEST(a_section_given_twice_is_refused)
{
    REFUSES("[tm]\nname = a\n[rm a]\n[tm]\nlisten = x\n",
            "conf:4: [tm]: this section is here a second time");
    REFUSES("[rm a]\n[rm b]\n[rm  a]\n[rm a]\n",
            "conf:4: [rm a]: this section is here a second time");
}
END_TEST

START_TEST(a_section_may_be_refused_by_its_name)
{
    REFUSES("[rm nobody]\n", "conf:1: [rm nobody]: no such name is allowed");
    ck_assert_str_eq(error.hint, "choose another");
}
END_TEST

START_TEST(a_bad_value_is_refused_and_says_what_is_wanted)
{
    static const char *const not_sizes[] = {"",    "16",    "16mb", "127kB", "257MB",
                                            "1GB", "16 MB", "-1MB", "MB",    "4294967296GB"};
    REFUSES("[tm]\nname = a-long-name\n", "conf:2: [tm] name: the value is longer than 7 bytes");
    REFUSES("[tm]\ntimeout = 30\n", "conf:2: [tm] timeout: a duration is needed, for example "
                                    "500ms, 30s, 5min, 2h or 1d; at most 49d");
    REFUSES("[tm]\nwaiting = 0\n", "conf:2: [tm] waiting: a whole number from 1 to 1024 is needed");
    REFUSES("[tm]\nwaiting = 1025\n",
            "conf:2: [tm] waiting: a whole number from 1 to 1024 is needed");
    REFUSES("[tm]\nwaiting = 1O\n",
            "conf:2: [tm] waiting: a whole number from 1 to 1024 is needed");
    REFUSES("[tm]\nwaiting =\n", "conf:2: [tm] waiting: a whole number from 1 to 1024 is needed");
    for (size_t i = 0; i < sizeof not_sizes / sizeof *not_sizes; i++) {
        char text[64];
        snprintf(text, sizeof text, "[tm]\nsegment = %s\n", not_sizes[i]);
        REFUSES(text, "conf:2: [tm] segment: a size from 128kB to 256MB is needed, "
                      "for example 16MB");
    }
    REFUSES("[tm]\nmode = 0888\n",
            "conf:2: [tm] mode: an octal file mode is needed, for example 0660");
    REFUSES("[tm]\nsame_host = perhaps\n", "conf:2: [tm] same_host: on or off is needed");
}
END_TEST

START_TEST(a_line_that_is_neither_section_nor_key_is_refused)
{
    REFUSES("[tm]\nname\n", "conf:2: this is neither [section] nor key = value");
    REFUSES("[tm]\nname\nnam = x\n", "conf:2: this is neither [section] nor key = value");
    REFUSES("name = bank\n", "conf:1: a key needs a [section] above it");
    REFUSES("[tm\nname = bank\n", "conf:1: a section is written as [name], alone on its line");
    REFUSES("[tm] name = bank\n", "conf:1: a section is written as [name], alone on its line");
}
END_TEST

START_TEST(a_line_that_would_be_cut_is_refused)
{
    char text[600] = "[tm]\n; ";
    memset(text + strlen(text), 'c', 300); /* a comment may be as long as it likes */
    strcat(text, "\nlisten = ");
    accepts(strcat(text, "x\n"));
    ck_assert_str_eq(tm.listen, "x");
    text[strlen(text) - 1] = '\0';
    memset(text + strlen(text), 'x', 200);
    REFUSES(text, "conf:3: this line is too long");
}
END_TEST

START_TEST(a_long_section_name_is_not_cut)
{
    char text[256] = "[rm ";
    memset(text + 4, 'a', 60);
    strcpy(text + 64, "]\nurl = x\n");
    accepts(text);
    ck_assert_uint_eq(strlen(rms[0].name), 60);
    ck_assert_str_eq(rms[0].url, "x");
}
END_TEST

START_TEST(a_zero_byte_is_refused)
{
    static const char bytes[] = "[tm]\nname = a\0b\n";
    ck_assert_int_eq(read_bytes(bytes, sizeof bytes - 1), -1);
    ck_assert_str_eq(error.message, "conf:2: there is a zero byte in this line");
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_an_error)
{
    ck_assert_int_eq(conf_read("/nowhere/conf", keys, open_section, &tm, &error), -1);
    ck_assert_str_eq(error.message, "open /nowhere/conf: No such file or directory");
    ck_assert_int_eq(conf_read("/tmp", keys, open_section, &tm, &error), -1);
    ck_assert_str_eq(error.message, "read /tmp: Is a directory");
}
END_TEST

START_TEST(durations_are_a_number_and_a_unit)
{
    static const struct {
        const char *text;
        uint32_t ms;
    } durations[] = {
        {"500ms", 500},   {"30s", 30000}, {"5min", 300000},    {"2h", 7200000},
        {"1d", 86400000}, {"0s", 0},      {"49d", 4233600000}, {"4294967295ms", UINT32_MAX}};
    static const char *const others[] = {"",    "s",    "30",           "30 s",
                                         "-1s", "1.5s", "30S",          "1h30m",
                                         "50d", "1m",   "4294967296ms", "18446744073709551616ms"};
    uint32_t ms;
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        ck_assert(conf_parse_duration(durations[i].text, &ms));
        ck_assert_uint_eq(ms, durations[i].ms);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert_msg(!conf_parse_duration(others[i], &ms), "%s", others[i]);
}
END_TEST

START_TEST(on_and_off_have_the_usual_words)
{
    accepts("[tm]\nsame_host = TRUE\n");
    ck_assert(tm.same_host);
    accepts("[tm]\nsame_host = yes\n");
    ck_assert(tm.same_host);
    accepts("[tm]\nsame_host = 1\n");
    ck_assert(tm.same_host);
    accepts("[tm]\nsame_host = off\n");
    ck_assert(!tm.same_host);
    accepts("[tm]\nsame_host = no\n");
    ck_assert(!tm.same_host);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf");
    TCase *rules = tcase_create("rules");
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, each_key_reaches_its_place);
    tcase_add_test(rules, what_is_not_in_the_file_keeps_its_default);
    tcase_add_test(rules, indentation_and_foreign_line_ends_do_no_harm);
    tcase_add_test(rules, an_unknown_key_is_refused_and_the_known_ones_are_named);
    tcase_add_test(rules, an_unknown_section_is_refused_even_when_it_is_empty);
    tcase_add_test(rules, a_key_given_twice_is_refused);
    tcase_add_test(rules, a_section_given_twice_is_refused);
    tcase_add_test(rules, a_section_may_be_refused_by_its_name);
    tcase_add_test(rules, a_bad_value_is_refused_and_says_what_is_wanted);
    tcase_add_test(rules, a_line_that_is_neither_section_nor_key_is_refused);
    tcase_add_test(rules, a_line_that_would_be_cut_is_refused);
    tcase_add_test(rules, a_long_section_name_is_not_cut);
    tcase_add_test(rules, a_zero_byte_is_refused);
    tcase_add_test(rules, a_file_that_cannot_be_read_is_an_error);
    tcase_add_test(rules, durations_are_a_number_and_a_unit);
    tcase_add_test(rules, on_and_off_have_the_usual_words);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
