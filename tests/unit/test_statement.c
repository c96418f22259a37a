/*
 * tests/unit/test_statement.c - which SQL may run in a branch's session.
 */
#include <check.h>
#include <stdlib.h>

#include "rm-agent/postgres/statement.h"

static void runs(const char *sql)
{
    ck_assert_msg(statement_refusal(sql) == NULL, "refused: %s", sql);
}

static void refused(const char *sql)
{
    ck_assert_msg(statement_refusal(sql) != NULL, "let pass: %s", sql);
}

START_TEST(what_ends_the_transaction_is_refused)
{
    refused("COMMIT");
    refused("commit and chain");
    refused("End");
    refused("ABORT");
    refused("rollback");
    refused("ROLLBACK WORK");
    refused("ROLLBACK AND CHAIN");
    refused("ROLLBACK PREPARED 'x'");
    refused("COMMIT PREPARED 'x'");
    refused("PREPARE TRANSACTION 'x'");
    refused("begin");
    refused("START TRANSACTION");
    refused("copy t from stdin");
}
END_TEST

START_TEST(nothing_hides_behind_blanks_comments_and_semicolons)
{
    refused(" \t\n commit");
    refused(";;commit");
    refused("-- harmless\ncommit");
    refused("-- harmless\rcommit");
    refused("/* a /* nested */ one */ commit");
    refused("/**/;/**/-- x\n;commit/**/");
    refused("prepare/**/transaction 'x'");
    refused("rollback -- to\n work");
    refused("\fcommit");
    refused("/* a * b / c */commit");
    refused("/***/ commit");
}
END_TEST

START_TEST(the_application_s_work_runs)
{
    runs("select 1");
    runs("update account set balance = balance - $1 where id = $2");
    runs("(select 1)");
    runs("with x as (select 1) select * from x");
    runs("savepoint a");
    runs("ROLLBACK TO a");
    runs("rollback work to savepoint a");
    runs("rollback transaction to a");
    runs("/* never closed");
    runs("/* never closed *");
    runs("- commit");
    runs("/ commit");
    runs("release a");
    runs("prepare q as select 1");
    runs("committed");
    runs("select 'commit'");
    runs("set local lock_timeout = '1s'");
}
END_TEST

START_TEST(no_text_at_all_is_postgresql_s_matter)
{
    runs("");
    runs(" ; -- nothing");
    runs("/* not closed commit");
    runs("/*");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("statement");
    TCase *rules = tcase_create("rules");
    suite_add_tcase(suite, rules);
    tcase_add_test(rules, what_ends_the_transaction_is_refused);
    tcase_add_test(rules, nothing_hides_behind_blanks_comments_and_semicolons);
    tcase_add_test(rules, the_application_s_work_runs);
    tcase_add_test(rules, no_text_at_all_is_postgresql_s_matter);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
