/*
 * tests/unit/test_conninfo.c - where a conninfo leads to, and as whom.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* check.h's old name for ck_abort_msg(); ours is in common/error.h */

#include "rm-agent/config.h"
#include "rm-agent/postgres/membership.h"
#include "rm-agent/postgres/probe.h"
#include "rm-agent/postgres/targets.h"

/* ---- hosts, one after the other ---- */

static struct targets *targets;
static struct target taken;

static void given(const char *conninfo)
{
    targets_free(targets);
    targets = targets_read(conninfo);
    ck_assert_ptr_nonnull(targets);
}

/* The next one, as libpq gets it. */
static const char *next(void)
{
    static char words[200];
    targets_take(targets, &taken);
    snprintf(words, sizeof words, "%s|%s|%s", taken.host, taken.hostaddr, taken.port);
    return words;
}

START_TEST(a_name_is_looked_up_and_each_of_its_addresses_is_tried)
{
    const struct addresses found = {.count = 2, .list = {"10.1.1.1", "10.1.1.2"}};
    given("host=db.example,/tmp port=5433 dbname=x");
    ck_assert_uint_eq(targets_left(targets), 2);
    ck_assert_str_eq(targets_name(targets), "db.example");
    targets_found(targets, &found);
    ck_assert_uint_eq(targets_left(targets), 3);
    ck_assert_ptr_null(targets_name(targets));
    ck_assert_str_eq(next(), "db.example|10.1.1.1|5433");
    ck_assert_str_eq(next(), "db.example|10.1.1.2|5433");
    ck_assert_str_eq(next(), "/tmp||5433");
    ck_assert_uint_eq(targets_left(targets), 0);
}
END_TEST

START_TEST(folders_abstract_sockets_and_addresses_are_not_looked_up)
{
    given("host=/run/postgresql,@abstract,10.0.0.1,::1 port=1,2,3,4");
    ck_assert_uint_eq(targets_left(targets), 4);
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_null(targets_name(targets));
        targets_take(targets, &taken);
    }
    ck_assert_str_eq(taken.host, "::1");
    ck_assert_str_eq(taken.port, "4");
}
END_TEST

START_TEST(a_name_that_is_not_found_is_passed_over)
{
    given("host=gone,here port=1,2");
    targets_skip(targets);
    ck_assert_uint_eq(targets_left(targets), 1);
    ck_assert_str_eq(targets_name(targets), "here");
    ck_assert_str_eq(next(), "here||2");
}
END_TEST

START_TEST(a_host_beside_others_whose_addresses_are_given_is_taken_by_its_name)
{
    given("host=a,b hostaddr=10.0.0.1,");
    ck_assert_ptr_null(targets_name(targets));
    ck_assert_str_eq(next(), "a|10.0.0.1|5432");
    ck_assert_str_eq(targets_name(targets), "b");
    /* An empty hostaddr alone would be the conninfo's own list. */
    ck_assert_str_eq(next(), "b,b|,|5432,5432");
}
END_TEST

START_TEST(what_the_environment_says_counts_where_the_conninfo_says_nothing)
{
    setenv("PGHOST", "from.environment", 1);
    given("dbname=x");
    ck_assert_str_eq(targets_name(targets), "from.environment");
    given("host=own dbname=x");
    ck_assert_str_eq(targets_name(targets), "own");
    unsetenv("PGHOST");
}
END_TEST

/* ---- each host for itself ---- */

START_TEST(hosts_are_counted_by_names_or_addresses)
{
    ck_assert_int_eq(conninfo_hosts("dbname=x"), 0);
    ck_assert_int_eq(conninfo_hosts("host=a"), 1);
    ck_assert_int_eq(conninfo_hosts("host=a,b,c port=1"), 3);
    ck_assert_int_eq(conninfo_hosts("hostaddr=10.0.0.1,10.0.0.2"), 2);
    ck_assert_int_eq(conninfo_hosts("this is no conninfo"), 0);
}
END_TEST

START_TEST(the_conninfo_of_one_host_is_the_same_for_all_else)
{
    char *second = conninfo_of_host("host=a,b port=1,2 password='it\\'s \\\\ 1'"
                                    " target_session_attrs=primary",
                                    1);
    ck_assert_ptr_nonnull(strstr(second, "host='b' "));
    ck_assert_ptr_nonnull(strstr(second, "port='2' "));
    ck_assert_ptr_nonnull(strstr(second, "password='it\\'s \\\\ 1' "));
    ck_assert_ptr_nonnull(strstr(second, "target_session_attrs=any"));
    ck_assert_ptr_null(strstr(second, "primary"));
    free(second);
}
END_TEST

START_TEST(a_host_is_called_by_its_name_and_port)
{
    char name[100];
    conninfo_host_name("host=a,b port=1,2", 1, name, sizeof name);
    ck_assert_str_eq(name, "b port 2");
    conninfo_host_name("host=a,b port=7", 1, name, sizeof name);
    ck_assert_str_eq(name, "b port 7");
    conninfo_host_name("hostaddr=10.0.0.1,10.0.0.2", 0, name, sizeof name);
    ck_assert_str_eq(name, "10.0.0.1");
}
END_TEST

/* ---- as whom ---- */

static const char *user_of(const char *conninfo)
{
    static char user[ROLE_NAME_BYTES];
    static struct error error;
    return conninfo_user(conninfo, user, &error) == 0 ? user : error.message;
}

START_TEST(the_user_is_the_conninfos_the_environments_or_ones_own)
{
    setenv("PGUSER", "from_environment", 1);
    ck_assert_str_eq(user_of("user=shop dbname=x"), "shop");
    ck_assert_str_eq(user_of("dbname=x"), "from_environment");
    unsetenv("PGUSER");
    const char *own = user_of("dbname=x");
    ck_assert_ptr_nonnull(own);
    ck_assert_str_ne(own, "from_environment");
}
END_TEST

START_TEST(a_user_that_postgresql_would_cut_is_refused)
{
    char conninfo[200];
    snprintf(conninfo, sizeof conninfo, "user=%0*d", ROLE_NAME_BYTES, 1);
    ck_assert_str_eq(user_of(conninfo), "a conninfo names no user");
}
END_TEST

START_TEST(a_grant_that_is_proposed_quotes_what_it_names)
{
    struct agent agent = {.identity = {.login = "ass\"ent"}};
    char grant[200];
    membership_grant(&agent, "Shop\"s", grant, sizeof grant);
    ck_assert_str_eq(grant, "GRANT \"Shop\"\"s\" TO \"ass\"\"ent\"");
    agent.identity.grants_have_options = true;
    membership_grant(&agent, "shop", grant, sizeof grant);
    ck_assert_str_eq(grant, "GRANT \"shop\" TO \"ass\"\"ent\" WITH INHERIT TRUE, SET TRUE");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conninfo");
    TCase *cases = tcase_create("targets");
    tcase_add_test(cases, a_name_is_looked_up_and_each_of_its_addresses_is_tried);
    tcase_add_test(cases, folders_abstract_sockets_and_addresses_are_not_looked_up);
    tcase_add_test(cases, a_name_that_is_not_found_is_passed_over);
    tcase_add_test(cases, a_host_beside_others_whose_addresses_are_given_is_taken_by_its_name);
    tcase_add_test(cases, what_the_environment_says_counts_where_the_conninfo_says_nothing);
    suite_add_tcase(suite, cases);

    TCase *hosts = tcase_create("hosts");
    tcase_add_test(hosts, hosts_are_counted_by_names_or_addresses);
    tcase_add_test(hosts, the_conninfo_of_one_host_is_the_same_for_all_else);
    tcase_add_test(hosts, a_host_is_called_by_its_name_and_port);
    suite_add_tcase(suite, hosts);

    TCase *users = tcase_create("users");
    tcase_add_test(users, the_user_is_the_conninfos_the_environments_or_ones_own);
    tcase_add_test(users, a_user_that_postgresql_would_cut_is_refused);
    tcase_add_test(users, a_grant_that_is_proposed_quotes_what_it_names);
    suite_add_tcase(suite, users);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    targets_free(targets);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
