"""What a DBA changes: resolve, forget, agents waive|release|retire, rm pause|resume."""

import contextlib
import json
import shutil
import threading
import urllib.error
import urllib.request

import pytest

import harness
from harness import on_terminal, program, wait_until
from test_http import free_port
from test_other_server import new_server, numbers

WHY = ("--reason", "ticket 4711")


def agent(bank, rm):
    return next(one for one in bank.ctl("agents")["agents"] if one["rm"] == rm)


def state(bank, gtrid):
    return bank.ctl("show", gtrid)["transaction"]["state"]


def half_applied(bank, amount=30):
    """Committed; accounts has applied it, and ledger's agent is dead with its branch prepared."""
    gtrid = bank.begin_move(amount)
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    bank.ledger.agent.kill()
    bank.accounts.open_gate()
    assert bank.ctl.finish(commit)["outcome"] == "committed"
    wait_until(lambda: bank.branch_state(gtrid, "accounts") == "done", 20)
    assert bank.ledger.prepared()
    return gtrid


def test_an_undecided_transaction_is_rolled_back_by_a_dba(bank):
    gtrid = bank.begin_move(10)
    reply = bank.ctl("resolve", gtrid, "rollback", *WHY, code=0)
    assert reply["outcome"] == "rolled-back"
    wait_until(lambda: bank.balances() == (100, 100))
    assert bank.outcome(gtrid) == "rolled-back"
    refused = bank.ctl("resolve", bank.begin_move(1), "commit", *WHY, "--force")
    assert refused.code == 1 and refused.error == "wrong_state"


def test_a_dry_run_shows_what_would_be_released_and_changes_nothing(bank):
    gtrid = half_applied(bank)
    plan = bank.ctl("resolve", gtrid, "rollback", "--dry-run", code=0)
    assert plan["judgement"] == "contradicted" and plan["needs_force"] and plan["mixed"]
    plans = {branch["rm"]: branch["plan"] for branch in plan["branches"]}
    assert plans == {"accounts": "nothing", "ledger": "roll back"}
    bank.ledger.agent.start()
    wait_until(lambda: bank.outcome(gtrid) == "committed" and not bank.ledger.prepared(), 20)
    assert bank.balances() == (70, 130)


def test_a_dry_run_tells_tables_and_waiting_sessions(bank):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -5)
    with contextlib.closing(bank.accounts.connect(autocommit=False)) as waiter:
        pid = waiter.info.backend_pid
        waiter.cursor().execute("set statement_timeout = '20s'")
        waiter.commit()
        thread = threading.Thread(
            target=waiter.cursor().execute, args=["update account set balance = 1 where id = 1"])
        thread.start()
        wait_until(lambda: bank.accounts.sql(
            "select 1 from pg_locks where not granted and pid = %s", pid), 20)
        code, out, _ = bank.ctl.text("resolve", gtrid, "rollback", "--dry-run")
        assert code == 0 and "roll back" in out and "account" in out and str(pid) in out
        bank.ctl("resolve", gtrid, "rollback", *WHY, code=0)
        thread.join(20)
        assert not thread.is_alive()
        waiter.rollback()


def test_a_decision_against_the_log_needs_force_and_is_called_mixed_until_forgotten(bank):
    gtrid = half_applied(bank)
    refused = bank.ctl("resolve", gtrid, "rollback", *WHY)
    assert refused.code == 1 and refused.error == "contradicted"
    bank.ctl("resolve", gtrid, "rollback", "--force", *WHY, code=0)
    bank.ledger.agent.start()
    wait_until(lambda: state(bank, gtrid) == "mixed", 20, "the branch is rolled back")
    assert bank.balances() == (70, 100) and not bank.ledger.prepared()
    assert bank.outcome(gtrid) == "mixed"
    bank.tm.kill()
    bank.start()
    assert state(bank, gtrid) == "mixed"
    bank.ctl("forget", gtrid, *WHY, code=0)
    assert bank.outcome(gtrid) == "committed"
    assert bank.ctl("forget", gtrid, *WHY).error == "wrong_state"


def test_one_branch_that_is_gone_for_good_can_be_counted(bank):
    gtrid = half_applied(bank)
    assert bank.ctl("resolve", gtrid, "commit", "--rm", "ledger", *WHY).error == "contradicted"
    bank.ctl("resolve", gtrid, "commit", "--rm", "ledger", "--force", *WHY, code=0)
    assert state(bank, gtrid) == "mixed"
    bank.ledger.agent.start()
    wait_until(lambda: not bank.ledger.prepared(), 20, "found again, it follows the DBA's word")
    assert bank.balances() == (70, 130)


def test_a_waived_agent_is_not_waited_for(bank):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -5)
    bank.tm.kill()
    bank.ledger.agent.kill()
    bank.tm.start()
    wait_until(lambda: bank.ctl("agents").code == 0 and agent(bank, "accounts")["state"] == "up", 20)
    assert bank.outcome(gtrid) == "in-progress"
    refused = bank.ctl("agents", "waive", "accounts", *WHY)
    assert refused.code == 1 and refused.error == "wrong_state"
    bank.ctl("agents", "waive", "ledger", *WHY, code=0)
    wait_until(lambda: not bank.accounts.prepared(), 20, "what was left is rolled back")
    assert bank.outcome(gtrid) == "rolled-back" and agent(bank, "ledger")["waived"]
    bank.ledger.agent.start()
    wait_until(lambda: not agent(bank, "ledger")["waived"], 20, "it registers, and counts again")


def test_one_transaction_of_an_earlier_start_can_be_settled_without_waiving(bank):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -5)
    bank.tm.kill()
    bank.ledger.agent.kill()
    bank.tm.start()
    wait_until(lambda: bank.ctl("agents").code == 0 and agent(bank, "accounts")["state"] == "up", 20)
    assert bank.ctl("resolve", gtrid, "rollback", *WHY).error == "contradicted"
    bank.ctl("resolve", gtrid, "rollback", "--force", *WHY, code=0)
    wait_until(lambda: not bank.accounts.prepared(), 20, "what is found follows")
    assert bank.outcome(gtrid) == "mixed" and state(bank, gtrid) == "mixed"
    wait_until(lambda: bank.ctl("forget", gtrid, *WHY).code == 0, 20, "its agent has said that it is done")


def test_a_paused_database_drains_and_takes_no_new_branches(bank):
    running = bank.begin_move(10)
    assert bank.ctl("rm", "pause", "ledger", code=0)["running"] == 1
    refused = bank.ctl("enlist", bank.ctl.begin(), "ledger")
    assert refused.code == 1 and refused.error == "rm_paused"
    assert refused.reply["error"]["retryable"]
    assert agent(bank, "ledger")["paused"] and agent(bank, "ledger")["running"] == 1
    bank.ctl("commit", running, code=0)
    code, out, _ = bank.ctl.text("rm", "pause", "ledger", "--wait")
    assert code == 0 and "0 running at ledger" in out
    bank.tm.kill()
    bank.start()
    assert agent(bank, "ledger")["paused"], "a restart does not end a pause"
    bank.ctl("rm", "resume", "ledger", code=0)
    bank.ctl("commit", bank.begin_move(5), code=0)
    assert bank.balances() == (85, 115)


def test_a_database_is_retired_once_nothing_is_owed_to_it(bank):
    gtrid = half_applied(bank)
    refused = bank.ctl("agents", "retire", "ledger", *WHY)
    assert refused.code == 1 and refused.error == "contradicted"
    bank.ledger.agent.start()
    wait_until(lambda: bank.outcome(gtrid) == "committed" and not bank.ledger.prepared(), 20)
    wait_until(lambda: agent(bank, "ledger")["running"] == 0)
    bank.ctl("agents", "retire", "ledger", *WHY, code=0)
    assert bank.ctl("enlist", bank.ctl.begin(), "ledger").error == "unknown_rm"
    bank.ctl("commit", bank.ctl.begin("--rm", "accounts"), code=None)


def test_a_database_that_is_gone_for_good_is_retired_by_force(bank):
    gtrid = half_applied(bank)
    bank.ctl("agents", "retire", "ledger", "--force", *WHY, code=0)
    assert "ledger" not in [known["rm"] for known in bank.ctl("agents")["agents"]
                            if known["state"] == "up"]
    assert bank.ctl("enlist", bank.ctl.begin(), "ledger").error == "unknown_rm"
    assert state(bank, gtrid) == "committing", "what it was owed is not called done"


def test_on_a_terminal_the_plan_comes_first_and_no_is_no(bank):
    gtrid = bank.begin_move(30)
    command = [program("assentctl"), "-u", bank.url, "resolve", gtrid, "rollback", *WHY]
    said = on_terminal(command, "Do this? [y/N]", "n\n", code=1)
    assert "accounts" in said and "nothing was done" in said and state(bank, gtrid) == "active"
    assert "rolled-back" in on_terminal(command, "Do this? [y/N]", "y\n")
    assert bank.outcome(gtrid) == "rolled-back"


def test_why_is_asked_for_and_only_a_dba_may(bank, tmp_path):
    gtrid = bank.ctl.begin()
    assert bank.ctl("resolve", gtrid, "rollback").error == "invalid_request"
    assert bank.ctl("resolve", gtrid, "sideways", *WHY).error == "invalid_request"
    assert bank.ctl("rm", "sideways", "ledger").code == 2


def test_over_http_a_dba_is_let_in_only_where_that_is_set(stopped_bank):
    bank = stopped_bank
    url = f"http://127.0.0.1:{free_port()}"
    bank.conf.write_text(bank.conf.read_text().replace("[tm]\n", f"[tm]\nhttp_listen = {url}\n"))
    bank.start()
    gtrid = bank.ctl.begin()
    request = urllib.request.Request(
        f"{url}/v1/transactions/{gtrid}/resolve", method="POST",
        data=json.dumps({"outcome": "rollback", "reason": "x"}).encode(),
        headers={"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403
    assert json.load(refused.value)["error"]["code"] == "not_permitted"


def test_a_released_database_goes_on_from_what_it_has(run_folder, servers):
    """Put back to before a vote and its commit: quarantined, released, and what it had promised is
    in doubt until it is resolved; quarantine and release outlive the coordinator."""
    with new_server(run_folder) as server:
        folder = run_folder / f"released{next(numbers)}"
        folder.mkdir()
        bank = harness.Bank([server, servers[1]], folder, folder.name)
        try:
            bank.start()
            bank.ctl("commit", bank.begin_move(1), code=0)
            bank.accounts.agent.stop()
            server.stop()
            copy = folder / "copy"
            shutil.copytree(server.data, copy)
            server.start()
            bank.accounts.agent.start()
            bank.wait_ready()
            gtrid = bank.begin_move(2)
            bank.ledger.close_gate()
            commit = bank.ctl.popen("commit", gtrid, "--wait", "decided")
            wait_until(lambda: bank.branch_state(gtrid, "accounts") == "prepared", 20)
            bank.accounts.agent.kill()
            bank.ledger.open_gate()
            assert bank.ctl.finish(commit)["outcome"] == "committed"
            server.stop()
            shutil.rmtree(server.data)
            shutil.copytree(copy, server.data)
            harness.give_to_postgres(server.folder)
            server.start()
            bank.accounts.agent.start()
            wait_until(lambda: agent(bank, "accounts")["state"] == "quarantined", 20)
            bank.tm.kill()
            bank.tm.start()
            wait_until(lambda: bank.ctl("agents").code == 0
                       and agent(bank, "accounts")["incarnation"] != "0", 20)
            assert agent(bank, "accounts")["state"] == "quarantined"
            bank.ctl("agents", "release", "accounts", *WHY, code=0)
            bank.wait_ready()
            assert state(bank, gtrid) == "committing", "nobody guesses what became of it"
            assert bank.balances() == (99, 103)
            bank.accounts.sql("update account set balance = balance - 2 where id = 1")
            bank.ctl("resolve", gtrid, "commit", *WHY, code=0)
            wait_until(lambda: bank.outcome(gtrid) == "committed"
                       and bank.ctl("list")["transactions"] == [], 20)
            bank.ctl("commit", bank.begin_move(3), code=0)
            assert bank.balances() == (94, 106)
            bank.tm.kill()
            bank.start()
            assert agent(bank, "accounts")["state"] == "up"
        finally:
            bank.stop()


# ---- the audit trail ----


def trail(bank):
    return json.loads(bank.ctl_conf("audit").stdout)


def test_every_decision_has_a_line_that_says_who_and_why(bank):
    gtrid = bank.begin_move(1)
    bank.ctl("resolve", gtrid, "rollback", *WHY, code=0)
    bank.ctl("rm", "pause", "ledger", *WHY, code=0)
    bank.ctl("rm", "resume", "ledger", code=0)
    lines = trail(bank)
    assert [line["what"] for line in lines] == ["resolve", "pause", "resume"]
    assert lines[0]["gtrid"] == gtrid and lines[0]["outcome"] == "rolled-back"
    assert lines[0]["who"] == "root" and lines[0]["reason"] == "ticket 4711"
    checked = bank.ctl_conf("audit", "verify")
    assert checked.returncode == 0 and json.loads(checked.stdout)["lines"] == 3


def test_a_line_that_a_crash_kept_from_the_trail_is_added_at_the_next_start(bank):
    bank.ctl("rm", "pause", "ledger", *WHY, code=0)
    bank.ctl("rm", "resume", "ledger", *WHY, code=0)
    bank.tm.kill()
    path = bank.folder / "tm" / "audit.log"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:40])
    bank.tm.start()
    bank.wait_ready()
    assert [line["what"] for line in trail(bank)] == ["pause", "resume"]
    assert bank.ctl_conf("audit", "verify").returncode == 0


def test_a_changed_line_is_found(bank):
    for verb in ("pause", "resume", "pause", "resume"):
        bank.ctl("rm", verb, "ledger", *WHY, code=0)
    path = bank.folder / "tm" / "audit.log"
    text = path.read_text()
    for spoilt in (text.replace("ticket 4711", "ticket 4712", 1),
                   "".join(text.splitlines(keepends=True)[1:])):
        path.write_text(spoilt)
        checked = bank.ctl_conf("audit", "verify")
        assert checked.returncode == 1 and json.loads(checked.stdout)["broken_line"] == 1
    path.write_text(text)
    assert bank.ctl_conf("audit", "verify").returncode == 0


def test_a_trail_that_was_changed_is_told_at_the_next_start_and_goes_on(bank):
    for verb in ("pause", "resume"):
        bank.ctl("rm", verb, "ledger", *WHY, code=0)
    bank.tm.stop()
    path = bank.folder / "tm" / "audit.log"
    path.write_text(path.read_text().replace("ticket 4711", "ticket 4712", 1))
    bank.tm.start()
    bank.wait_ready()
    assert f"{path}: line 1 was changed" in bank.tm.log_text()
    bank.ctl("rm", "pause", "ledger", *WHY, code=0)
    bank.ctl("rm", "resume", "ledger", code=0)
    assert json.loads(bank.ctl_conf("audit", "verify").stdout)["broken_line"] == 1


def test_a_dba_decides_nothing_of_another_coordinators_transaction(bank):
    for command in (("resolve", "other.1.1", "rollback", "--force"), ("forget", "other.1.1")):
        refused = bank.ctl(*command, *WHY)
        assert refused.code == 1 and refused.error == "unknown_transaction"
        assert "another coordinator" in refused.words + json.dumps(refused.reply)


def test_a_plan_names_each_branch(bank):
    gtrid = bank.begin_move(10)
    bank.ctl("enlist", gtrid, "ledger/second", code=0)
    plan = bank.ctl("resolve", gtrid, "rollback", "--dry-run", code=0)
    assert plan["judgement"] == "agrees" and not plan["needs_force"]
    assert [(branch["rm"], branch.get("branch")) for branch in plan["branches"]] == [
        ("accounts", None), ("ledger", None), ("ledger", "second")]
    bank.ctl("rollback", gtrid, code=0)


def test_what_is_done_by_hand_in_psql_is_noticed_and_reported(bank):
    gtrid = half_applied(bank)
    bank.ledger.sql(f"rollback prepared '{bank.ledger.prepared()[0]}'")
    bank.ledger.agent.start()
    wait_until(lambda: state(bank, gtrid) == "mixed", 20, "compared with the log")
    assert bank.outcome(gtrid) == "mixed" and bank.balances() == (70, 100)
    reason = bank.ctl("show", gtrid)["transaction"]["reason"]
    assert reason["rm"] == "ledger" and "by hand" in reason["message"]
    noticed = trail(bank)[-1]
    assert noticed["what"] == "mixed" and noticed["gtrid"] == gtrid and noticed["rm"] == "ledger"
    same = half_applied(bank, 5)
    bank.ledger.sql(f"commit prepared '{bank.ledger.prepared()[0]}'")
    bank.ledger.agent.start()
    wait_until(lambda: bank.outcome(same) == "committed" and agent(bank, "ledger")["running"] == 0,
               20, "what agrees with the log is nothing to report")
    bank.ctl("forget", gtrid, *WHY, code=0)
