/*
 * tests/unit/test_lookup.c - names of hosts, looked up beside the loop.
 */
#include "common/lookup.h"

#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

static struct loop *loop;
static struct error error;
static int told;
static struct addresses last;

static void set_up(void)
{
    told = 0;
    ck_assert_int_eq(loop_create(&loop, &error), 0);
}

static void tear_down(void)
{
    loop_free(loop);
}

static void found(void *arg, const struct addresses *addresses)
{
    ++*(int *)arg;
    last = *addresses;
}

static void run_until_told(int times)
{
    uint64_t give_up_ms = loop_now_ms() + 20000;
    while (told < times && loop_now_ms() < give_up_ms)
        loop_wait(loop, loop_now_ms() + 10);
    ck_assert_int_eq(told, times);
}

START_TEST(an_address_is_no_name)
{
    ck_assert(!lookup_is_name("127.0.0.1"));
    ck_assert(!lookup_is_name("::1"));
    ck_assert(lookup_is_name("localhost"));
    ck_assert(lookup_is_name("db1.example.test"));
}
END_TEST

START_TEST(a_name_is_found_while_the_loop_waits)
{
    struct in_addr four;
    struct in6_addr six;
    lookup_begin(loop, "localhost", found, &told);
    ck_assert_int_eq(told, 0);
    run_until_told(1);
    ck_assert_int_eq(last.reason, 0);
    ck_assert_uint_ge(last.count, 1);
    ck_assert(inet_pton(AF_INET, last.list[0], &four) == 1 ||
              inet_pton(AF_INET6, last.list[0], &six) == 1);
}
END_TEST

START_TEST(a_name_that_cannot_be_one_has_a_reason)
{
    lookup_begin(loop, "no such host", found, &told);
    run_until_told(1);
    ck_assert_int_ne(last.reason, 0);
    ck_assert_uint_eq(last.count, 0);
}
END_TEST

START_TEST(many_may_ask_for_one_name_and_some_may_lose_interest)
{
    enum { ASKERS = 50, ROUNDS = 40 };
    struct lookup *lookups[ASKERS];
    for (int round = 0; round < ROUNDS; round++) {
        int unwanted = 0;
        told = 0;
        for (int i = 0; i < ASKERS; i++)
            lookups[i] = lookup_begin(loop, "localhost", found, i % 2 == 0 ? &told : &unwanted);
        if (round % 2 == 1) /* they are under way, or have arrived */
            for (uint64_t until_us = loop_now_us() + (uint64_t)round * 50;
                 loop_now_us() < until_us;)
                ;
        for (int i = 1; i < ASKERS; i += 2)
            lookup_cancel(lookups[i]);
        run_until_told(ASKERS / 2);
        ck_assert_int_eq(unwanted, 0);
    }
}
END_TEST

START_TEST(a_loop_may_end_before_the_look_up_does)
{
    lookup_cancel(lookup_begin(loop, "localhost", found, &told));
    lookup_cancel(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lookup");
    TCase *names = tcase_create("names");
    tcase_add_checked_fixture(names, set_up, tear_down);
    tcase_set_timeout(names, 60);
    tcase_add_test(names, an_address_is_no_name);
    tcase_add_test(names, a_name_is_found_while_the_loop_waits);
    tcase_add_test(names, a_name_that_cannot_be_one_has_a_reason);
    tcase_add_test(names, many_may_ask_for_one_name_and_some_may_lose_interest);
    tcase_add_test(names, a_loop_may_end_before_the_look_up_does);
    suite_add_tcase(suite, names);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
