/*
 * tests/unit/test_doubt.c - what a DBA is told of a branch in doubt: every verdict, from the facts.
 */
#include <check.h>
#include <stdlib.h>

#include "common/doubt.h"

#define START "assentd -c bank.ini"

/* A branch that is prepared at accounts, of a coordinator that runs and has every agent. */
#define PREPARED                                                                                   \
    .gtrid = "bank.3.7", .gid = "1095978580_x_y", .tm = "bank", .coordinator = "bank",             \
    .rm = "accounts", .agent_url = "ipc:///a.sock", .database = "acc", .owner = "shop",            \
    .login = "assent", .actable = true, .found = FOUND_PREPARED, .vote = VOTE_SAME, .start = "",   \
    .silence = "", .waits_for = "", .differs = "", .rm_state = RM_UP, .progress = BR_YES

/* The same, and the agent cannot find it. */
#define GONE PREPARED, .found = FOUND_GONE

/* A field that PREPARED sets may be set again. */
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif

/* 3pc: accounts and ledger decide it, with the coordinator's log. */
#define THREE .roster = {2, true, {"accounts", "ledger"}}

enum { ACCOUNTS = 1, LEDGER = 2 };

static const struct third_phase one_is_there = {THREE, .reachable = ACCOUNTS, .told = ACCOUNTS,
                                                .rows = {{.exists = true}}};
static const struct third_phase the_log_is_missing = {
    THREE, .reachable = ACCOUNTS | LEDGER, .told = ACCOUNTS | LEDGER,
    .rows = {{.exists = true}, {true, 256, 0, OUTCOME_COMMITTED, OUTCOME_NONE}}};
static const struct third_phase two_have_accepted = {
    THREE, .reachable = ACCOUNTS | LEDGER, .told = ACCOUNTS | LEDGER,
    .rows = {{true, 256, 256, OUTCOME_ROLLED_BACK, OUTCOME_NONE},
             {true, 256, 256, OUTCOME_ROLLED_BACK, OUTCOME_NONE}}};
static const struct third_phase one_knows = {
    THREE, .reachable = ACCOUNTS, .told = ACCOUNTS,
    .rows = {{true, 0, 0, OUTCOME_COMMITTED, OUTCOME_COMMITTED}}};

static const struct row {
    struct doubt doubt;
    enum fate fate;
    const char *reason;
    const char *command;
} rows[] = {
    /* ---- decided: commit ---- */
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true},
     FATE_WILL_COMMIT,
     "will commit: decided, and accounts is being told",
     ""},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .found = FOUND_NOT_ASKED},
     FATE_WILL_COMMIT,
     "will commit when accounts is reachable",
     "start the agent of accounts, which listens at ipc:///a.sock: assent-agent -c FILE"},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .rm_state = RM_REFUSED},
     FATE_WILL_COMMIT,
     "will commit when accounts accepts this coordinator again",
     "assentctl agents"},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .actable = false},
     FATE_WILL_COMMIT,
     "will commit once the agent can: the agent's role may not act for its owner",
     "psql -d acc -c 'GRANT \"shop\" TO \"assent\"'"},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .actable = false, .owner = ""},
     FATE_WILL_COMMIT,
     "will commit once the agent can: its owner was dropped, so only a superuser can finish it",
     "as a superuser: psql -d acc -c \"COMMIT PREPARED '1095978580_x_y'\""},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .start = START},
     FATE_WILL_COMMIT,
     "will commit when the coordinator is started",
     START},
    {{PREPARED, .known = KNOWN_COMMITTED, .released = true, .vote = VOTE_OTHER},
     FATE_UNKNOWN,
     "cannot be known: bank.3.7 is committed, and the database of accounts has lost data since: "
     "this is what was voted for, or another one under its name",
     "assentctl resolve bank.3.7 commit|rollback --reason TEXT --dry-run"},
    {{PREPARED, .known = KNOWN_COMMITTED, .released = true},
     FATE_WILL_COMMIT,
     "will commit: decided, and accounts is being told",
     ""},
    {{PREPARED, .known = KNOWN_FORGOTTEN, .released = true, .vote = VOTE_NOT_KNOWN},
     FATE_UNKNOWN,
     "cannot be known: bank.3.7 is forgotten, and the database of accounts has lost data since: "
     "this is what was voted for, or another one under its name",
     "assentctl resolve bank.3.7 commit|rollback --reason TEXT --dry-run"},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .vote = VOTE_OTHER},
     FATE_WILL_ROLL_BACK,
     "will be rolled back: prepared again under the name of a committed transaction, and never "
     "voted for",
     ""},
    {{PREPARED, .known = KNOWN_COMMITTED, .vote = VOTE_NOT_KNOWN},
     FATE_UNKNOWN,
     "cannot be known: bank.3.7 is committed and was applied everywhere, and yet this is prepared "
     "under its name: again, or by a database that has lost data",
     "assentctl resolve bank.3.7 commit|rollback --reason TEXT --dry-run"},

    /* ---- decided, or presumed: rollback ---- */
    {{PREPARED, .known = KNOWN_ABORTED, .live = true},
     FATE_WILL_ROLL_BACK,
     "will be rolled back: decided",
     ""},
    {{PREPARED, .known = KNOWN_ABORTED, .vote = VOTE_NOT_KNOWN},
     FATE_WILL_ROLL_BACK,
     "will be rolled back: never decided, incarnation over",
     ""},
    {{PREPARED, .known = KNOWN_ABORTED, .start = START},
     FATE_SAFE_TO_ROLL_BACK,
     "safe to roll back: never decided, incarnation over",
     START ", which does it"},
    {{PREPARED, .known = KNOWN_ABORTED, .actable = false},
     FATE_WILL_ROLL_BACK,
     "will be rolled back once the agent can: the agent's role may not act for its owner",
     "psql -d acc -c 'GRANT \"shop\" TO \"assent\"'"},
    {{PREPARED, .known = KNOWN_FORGOTTEN},
     FATE_UNKNOWN,
     "cannot be known: bank.3.7 is older than what is remembered (retention): it was never "
     "decided, "
     "or was committed and comes back with a database that has lost data",
     "assentctl resolve bank.3.7 commit|rollback --reason TEXT --dry-run"},
    {{PREPARED, .known = KNOWN_UNPROVEN, .waits_for = "ledger"},
     FATE_WAITS,
     "will be rolled back when ledger registers: never decided, and only a log that every agent "
     "has accepted proves it",
     "start the agent of ledger: assent-agent -c FILE"},

    /* ---- not decided ---- */
    {{PREPARED, .known = KNOWN_UNDECIDED, .live = true},
     FATE_UNDECIDED,
     "not decided yet: it is, or is rolled back, by its deadline",
     ""},
    {{PREPARED, .known = KNOWN_LOGGING, .live = true},
     FATE_UNDECIDED,
     "not decided yet: the decision is being written to the log",
     ""},
    {{GONE, .known = KNOWN_DELEGATED, .live = true},
     FATE_UNDECIDED,
     "accounts, the only database, decides alone; its marker will tell",
     ""},

    /* ---- by another's hand ---- */
    {{GONE, .known = KNOWN_COMMITTED, .live = true, .status = XID_ABORTED},
     FATE_MIXED,
     "mixed: decided commit, and rolled back by hand at accounts",
     "mend the data, then: assentctl forget bank.3.7 --reason TEXT"},
    {{GONE, .known = KNOWN_ABORTED, .live = true, .status = XID_COMMITTED},
     FATE_MIXED,
     "mixed: decided rollback, and committed by hand at accounts",
     "mend the data, then: assentctl forget bank.3.7 --reason TEXT"},
    {{GONE, .known = KNOWN_MIXED, .live = true, .differs = "ledger"},
     FATE_MIXED,
     "mixed: ledger ended otherwise than was decided, by another's hand",
     "mend the data, then: assentctl forget bank.3.7 --reason TEXT"},
    {{PREPARED, .known = KNOWN_MIXED, .live = true, .vote = VOTE_OTHER},
     FATE_WILL_ROLL_BACK,
     "will be rolled back: prepared again under the name of a transaction that is over",
     ""},

    /* ---- nobody can know ---- */
    {{GONE, .known = KNOWN_COMMITTED, .live = true, .progress = BR_UNSURE},
     FATE_UNKNOWN,
     "cannot be known: gone from accounts, and nothing there proves how",
     "assentctl resolve bank.3.7 commit|rollback --reason TEXT --dry-run"},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .rm_state = RM_QUARANTINED},
     FATE_UNKNOWN,
     "cannot be known: the database of accounts has lost durable data, and the transaction is "
     "committed elsewhere",
     "compare its data, then: assentctl agents release accounts --reason TEXT"},
    {{GONE, .known = KNOWN_ABORTED, .live = true, .status = XID_FUTURE},
     FATE_UNKNOWN,
     "cannot be known: the database of accounts has lost durable data",
     "compare its data, then: assentctl agents release accounts --reason TEXT"},
    {{PREPARED, .known = KNOWN_NOTHING, .silence = "the log is gone", .start = START},
     FATE_UNKNOWN,
     "cannot be known: the log is gone",
     START},
    {{PREPARED, .known = KNOWN_STRANGE},
     FATE_UNKNOWN,
     "cannot be known: this log never gave out bank.3.7, so it is an old one or a new one",
     "start the newest copy of the log; assentctl status says which log this is"},
    {{PREPARED, .known = KNOWN_COMMITTED, .live = true, .fenced = true},
     FATE_UNKNOWN,
     "cannot be known: this coordinator is fenced, its log is not the newest",
     "start the newest copy of the log; assentctl status says why this one is refused"},

    /* ---- 3pc: its acceptors decide ---- */
    {{PREPARED, .known = KNOWN_PRECOMMITTED, .live = true, .third = &the_log_is_missing},
     FATE_UNDECIDED,
     "not decided yet, and is soon: 2 of 3 acceptors can be reached, and 2 have to agree; missing: "
     "the coordinator's log",
     ""},
    {{PREPARED, .known = KNOWN_NOTHING, .start = START, .third = &the_log_is_missing},
     FATE_UNDECIDED,
     "not decided yet, and is soon, by the agents alone: 2 of 3 acceptors can be reached, and 2 "
     "have to agree; missing: the coordinator's log",
     ""},
    {{PREPARED, .known = KNOWN_PRECOMMITTED, .live = true, .start = START, .third = &one_is_there},
     FATE_WAITS,
     "blocks: 1 of 3 acceptors can be reached, and 2 have to agree; missing: ledger, the "
     "coordinator's log",
     "start the agent of ledger: assent-agent -c FILE"},
    {{PREPARED, .known = KNOWN_NOTHING, .start = START, .third = &two_have_accepted},
     FATE_WILL_ROLL_BACK,
     "will be rolled back: its acceptors have decided so",
     ""},
    {{PREPARED, .known = KNOWN_NOTHING, .start = START, .third = &one_knows},
     FATE_WILL_COMMIT,
     "will commit: its acceptors have decided so",
     ""},
    {{PREPARED, .known = KNOWN_PRECOMMITTED, .fenced = true, .third = &one_is_there},
     FATE_UNKNOWN,
     "cannot be known: this coordinator is fenced, its log is not the newest",
     "start the newest copy of the log; assentctl status says why this one is refused"},

    /* ---- not for us to decide ---- */
    {{PREPARED, .tm = "shop", .gtrid = "shop.1.1"},
     FATE_NOT_OURS,
     "belongs to coordinator shop, not to bank",
     "assentctl -u URL-OF-shop in-doubt"},
    {{PREPARED, .known = KNOWN_ABORTED, .misplaced = true},
     FATE_UNKNOWN,
     "cannot be finished: prepared in another database than that of accounts, and so never voted "
     "for",
     "psql -d acc -c \"ROLLBACK PREPARED '1095978580_x_y'\""},
};

START_TEST(the_facts_say_what_becomes_of_it_and_what_to_do)
{
    const struct row *row = &rows[_i];
    struct advice advice;
    doubt_judge(&row->doubt, &advice);
    ck_assert_str_eq(doubt_fate_word(advice.fate), doubt_fate_word(row->fate));
    ck_assert_str_eq(advice.reason, row->reason);
    ck_assert_str_eq(advice.command, row->command);
}
END_TEST

START_TEST(every_fate_has_a_row)
{
    for (enum fate fate = FATE_UNKNOWN; fate < FATES; fate++) {
        bool found = false;
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            found = found || rows[i].fate == fate;
        ck_assert_msg(found, "no row for %s", doubt_fate_word(fate));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("doubt");
    TCase *tests = tcase_create("doubt");
    tcase_add_loop_test(tests, the_facts_say_what_becomes_of_it_and_what_to_do, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_test(tests, every_fate_has_a_row);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
