"""What a DBA reads: status, agents, list, show, in order of attention, and again and again."""

import os
import pty
import shutil
import subprocess

import pytest

from harness import SOURCE, program, wait_until
from test_alarms import impatient
from test_in_doubt import decide_without_ledger


def transaction(bank, gtrid):
    return bank.ctl("show", gtrid, code=0)["transaction"]


def words(timeline):
    return [(entry.get("rm"), entry["what"]) for entry in timeline]


# ---- the timeline ----

def test_a_transaction_that_is_over_tells_what_happened_when(bank):
    gtrid = bank.begin_move(30)
    bank.ctl("commit", gtrid, code=0)
    timeline = transaction(bank, gtrid)["timeline"]
    assert [entry["at_ms"] for entry in timeline] == sorted(entry["at_ms"] for entry in timeline)
    assert [what for _, what in words(timeline)] == [
        "begun", "commit asked for, databases asked to prepare", "the last to vote",
        "commit decided, and on the coordinator's disk", "the last to apply", "over"]
    code, out, _ = bank.ctl.text("show", gtrid, "--timeline")
    assert code == 0 and "the last to apply" in out
    assert "the last to apply" not in bank.ctl.text("show", gtrid)[1]


def test_a_live_transaction_tells_whom_it_waits_for(bank):
    gtrid = bank.begin_move(30)
    assert transaction(bank, gtrid)["waits_for"] == ["the application"]
    commit = bank.commit_to_the_gate(gtrid)
    wait_until(lambda: transaction(bank, gtrid)["waits_for"] == ["accounts"])
    assert ("ledger", "voted yes") in words(transaction(bank, gtrid)["timeline"])
    bank.accounts.open_gate()
    bank.ctl.finish(commit)


def test_a_decided_transaction_names_the_agent_that_is_gone(bank):
    gtrid = decide_without_ledger(bank)
    wait_until(lambda: transaction(bank, gtrid).get("waits_for") == [
        "ledger, whose agent is down"], 20)
    assert "waits for    ledger, whose agent is down" in bank.ctl.text("show", gtrid)[1]
    bank.ledger.agent.start()
    wait_until(bank.nothing_prepared, 20)


def test_a_rollback_tells_whom_it_waits_for(bank):
    gtrid = bank.begin_move(30)
    bank.ledger.agent.pause()
    rollback = bank.ctl.popen("rollback", gtrid)
    try:
        wait_until(lambda: transaction(bank, gtrid).get("waits_for") == ["ledger"])
        assert transaction(bank, gtrid)["state"] == "rolling-back"
        assert (None, "rollback decided") in words(transaction(bank, gtrid)["timeline"])
        assert ("accounts", "applied") in words(transaction(bank, gtrid)["timeline"])
    finally:
        bank.ledger.agent.resume()
    assert bank.ctl.finish(rollback).code == 0
    wait_until(lambda: "over" in [what for _, what in words(transaction(bank, gtrid)["timeline"])], 20)
    assert bank.balances() == (100, 100)


def test_of_what_an_earlier_start_has_rolled_back_only_the_outcome_is_known(bank):
    gtrid = bank.begin_move(30)
    bank.ctl("rollback", gtrid, code=0)
    assert transaction(bank, gtrid)["branches"]
    bank.tm.stop()
    bank.tm.start()
    bank.wait_ready()
    assert transaction(bank, gtrid) == {"gtrid": gtrid, "state": "rolled-back", "branches": []}
    unknown = bank.ctl("show", "bank.99.1")
    assert unknown.code == 1 and unknown.error == "unknown_transaction"


def test_a_slow_transaction_is_a_line_in_the_log_with_the_time_of_each_phase(stopped_bank):
    bank = impatient(stopped_bank, "log_min_duration = 1ms")
    gtrid = bank.begin_move(30, "--label", "salaries")
    bank.ctl("commit", gtrid, code=0)
    line = wait_until(lambda: next((line for line in bank.tm.log_text().splitlines()
                                    if f"slow: {gtrid} salaries committed after" in line), None))
    for phase in (" work ", " votes ", " decision ", " applying "):
        assert f",{phase}" in line


# ---- order, colours, repetition ----

def test_agents_that_need_attention_come_first(bank):
    assert bank.ctl.text("agents")[1].splitlines()[2].split()[0] == "accounts"
    bank.ledger.agent.kill()
    wait_until(lambda: bank.ctl.text("agents")[1].splitlines()[2].split()[0] == "ledger")
    bank.ledger.agent.start()


def at_a_terminal(*arguments, **environment):
    """What the program writes when its output is a terminal."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", **environment}
    with subprocess.Popen([program("assentctl"), *map(str, arguments)], stdout=slave,
                          stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # its end is closed
                break
            if not piece:
                break
            written += piece
        process.wait(30)
    os.close(master)
    return written


def test_colours_are_for_terminals_only(bank):
    assert b"\033[32m" in at_a_terminal("-u", bank.url, "status", NO_COLOR="")
    assert b"\033" not in at_a_terminal("-u", bank.url, "status", NO_COLOR="1")
    assert b"\033" not in at_a_terminal("-u", bank.url, "status", NO_COLOR="", TERM="dumb")
    assert "\033" not in bank.ctl.text("status")[1]


def test_a_report_is_repeated_until_it_is_interrupted(bank):
    with subprocess.Popen([program("assentctl"), "-u", bank.url, "--json", "status",
                           "--watch", "1"], stdout=subprocess.PIPE, text=True) as process:
        assert all('"state":"ready"' in process.stdout.readline() for _ in range(2))
        process.terminate()


@pytest.mark.parametrize("seconds", ["0", "x", "3601", ""])
def test_a_repetition_needs_a_sensible_time(shared_bank, seconds):
    assert shared_bank.ctl.text("status", "--watch", seconds)[0] == 2


# ---- completion ----

def completions(*line):
    """What bash offers for the last word."""
    script = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _assentctl; printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{os.path.dirname(program('assentctl'))}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script, "bash", SOURCE / "completion" / "assentctl", *line],
                          capture_output=True, text=True, check=True,
                          env={**os.environ, "PATH": path})
    return done.stdout.split()


def test_bash_completes_commands_options_and_transactions(bank):
    assert completions("assentctl", "in") == ["in-doubt"]
    assert "--timeline" in completions("assentctl", "show", "--")
    assert "mixed" in completions("assentctl", "list", "--state", "")
    gtrid = bank.ctl.begin()
    assert completions("assentctl", "-u", bank.url, "commit", "ba") == [gtrid]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_reads_its_completion():
    subprocess.run(["zsh", "-n", SOURCE / "completion" / "_assentctl"], check=True)
