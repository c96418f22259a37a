"""assentctl for people and for scripts: words, tables and exit codes."""

import os
import subprocess

import pytest

from harness import program


def run(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASSENT_")}
    done = subprocess.run([program("assentctl"), *map(str, arguments)], capture_output=True,
                          text=True, timeout=60, env={**clean, **environment})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [
    (), ("levitate",), ("begin", "extra"), ("begin", "--colour", "blue"), ("commit",),
    ("commit", "a", "b"), ("exec", "bank.1.1", "accounts"), ("outcome",),
    ("outcome", "bank.1.1", "--key", "k"), ("commit", "bank.1.1", "--wait-for", "soon"), ("-q",),
])
def test_bad_usage_exits_2_and_says_how(arguments):
    code, out, words = run(*arguments, ASSENT_URL="ipc:///nowhere")
    assert code == 2 and out == ""
    assert "error: " in words and "hint: " in words


def test_no_coordinator_given_is_bad_usage():
    code, _, words = run("status")
    assert code == 2 and "ASSENT_URL" in words


def test_help_lists_every_command_and_each_has_its_own():
    code, out, _ = run("--help")
    assert code == 0
    for name in ("begin", "enlist", "exec", "commit", "rollback", "outcome", "status", "agents",
                 "list", "show"):
        assert f"  {name} " in out
        code, own, _ = run(name, "--help")
        assert code == 0 and own.startswith(f"Usage: assentctl {name}")


def test_nobody_there_exits_3():
    code, _, words = run("-u", "ipc:///tmp/assent-nowhere.sock", "status")
    assert code == 3 and "error: " in words and "assent-nowhere" in words


def test_one_prints_one_thing_so_that_a_shell_is_an_application(bank):
    code, out, _ = bank.ctl.text("begin")
    gtrid = out.strip()
    assert code == 0 and gtrid == "bank.1.1"
    code, out, _ = bank.ctl.text("enlist", gtrid, "accounts")
    assert code == 0 and out.startswith("1095978580_")
    code, out, _ = bank.ctl.text("exec", gtrid, "accounts",
                                 "update account set balance = balance + $1 where id = 1", "-30")
    assert (code, out) == (0, "UPDATE 1\n")
    code, out, _ = bank.ctl.text("exec", gtrid, "accounts",
                                 "select id, balance, 'é' as name from account where id <= 2 order by id")
    assert out == (" id | balance | name \n"
                   "----+---------+------\n"
                   "  1 |      70 | é\n"
                   "  2 |     100 | é\n"
                   "(2 rows)\n")
    assert bank.ctl.text("commit", gtrid) == (0, "committed\n", "")
    assert bank.ctl.text("outcome", gtrid) == (0, "committed\n", "")


def test_a_refusal_says_who_and_why(bank):
    gtrid = bank.begin_move(30)
    bank.ctl("exec", gtrid, "ledger", "insert into owner values (999)", code=0)
    code, out, words = bank.ctl.text("commit", gtrid)
    assert (code, out) == (1, "rolled-back\n")
    assert "foreign key" in words and "ledger" in words and "23503" in words


def test_terminal_escapes_in_data_stay_text(bank):
    gtrid = bank.ctl.begin()
    code, out, _ = bank.ctl.text("exec", gtrid, "accounts", "select E'\\x1b[2J' as x")
    assert code == 0 and "\x1b" not in out and "\\x1b[2J" in out
    _, _, words = bank.ctl.text("exec", gtrid, "ledger", 'select "\x1b[2J"')
    assert "\x1b" not in words and "\\x1b[2J" in words


def test_reports_show_what_is_live(bank):
    gtrid = bank.begin_move(30, "--label", "rent", "--key", "rent-11")
    _, out, _ = bank.ctl.text("status")
    assert "coordinator  bank\n" in out and "state        ready\n" in out
    _, out, _ = bank.ctl.text("agents")
    assert "accounts" in out and "up" in out and "15." in out
    _, out, _ = bank.ctl.text("list")
    assert gtrid in out and "active" in out and "rent" in out and "accounts, ledger" in out
    _, out, _ = bank.ctl.text("show", gtrid)
    assert "rent-11" in out and "(2 rows)" in out
    answer = bank.ctl("list", "--state", "committing", code=0)
    assert answer["transactions"] == []


def test_the_coordinator_is_found_by_option_file_and_environment(bank):
    assert run("-u", bank.url, "status", ASSENT_URL="ipc:///nowhere")[0] == 0
    assert run("-c", bank.conf, "status", ASSENT_URL="ipc:///nowhere")[0] == 0
    assert run("status", ASSENT_URL=bank.url)[0] == 0
    assert run("-u", f"ipc:///tmp/assent-nowhere.sock,{bank.url}", "status")[0] == 0
