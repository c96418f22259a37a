"""`assentctl check`: what will go wrong, before it does."""

import json
import shutil

from harness import wait_until


def findings(bank, where=None):
    return [found for found in bank.ctl("check").reply["findings"]
            if where in (None, found["where"])]


def severities(found):
    return [finding["severity"] for finding in found]


def test_the_coordinator_and_every_database_are_looked_at(bank):
    found = findings(bank)
    assert {finding["where"] for finding in found} == {"coordinator", "accounts", "ledger"}
    order = ["error", "warning", "notice"]
    assert severities(found) == sorted(severities(found), key=order.index)
    assert any("fdatasync" in finding["what"] for finding in findings(bank, "coordinator"))


def test_the_exit_status_tells_whether_there_is_an_error(bank):
    errors = "error" in severities(findings(bank))
    code, out, _ = bank.ctl.text("check")
    assert code == (1 if errors else 0)
    assert out.splitlines()[-1].endswith(("warning", "warnings"))
    assert bank.ctl.text("check", "--strict")[0] == 1  # this server runs with fsync off


def test_an_agent_that_is_gone_is_an_error(bank):
    bank.ledger.agent.kill()
    wait_until(lambda: "is not connected" in [f["what"] for f in findings(bank, "ledger")])
    assert bank.ctl("check").code == 1
    fix = next(f["fix"] for f in findings(bank, "ledger") if f["what"] == "is not connected")
    assert "assent-agent -c FILE" in fix


def without_coordinator(bank):
    done = bank.ctl_conf("check", "--agents")
    assert done.returncode == 1, done.stderr
    return {(found["where"], found["what"]): found["fix"]
            for found in json.loads(done.stdout)["findings"]
            if found["severity"] == "error" and not found["what"].startswith("fsync is off")}


def test_with_the_coordinator_down_the_log_and_the_agents_are_looked_at(bank):
    bank.tm.stop()
    code, _, words = bank.ctl.text("check")
    assert code == 3 and "check --agents" in words
    bank.ledger.agent.kill()
    found = without_coordinator(bank)
    assert found["coordinator", "is not running"] == f"assentd -c {bank.conf}"
    assert "assent-agent -c FILE" in found["ledger", f"nobody answers at {bank.ledger.url}"]
    assert len(found) == 2


def test_with_the_log_gone_the_way_on_is_named(bank):
    bank.tm.kill()
    shutil.rmtree(bank.folder / "tm")
    [fix] = without_coordinator(bank).values()
    assert "recover --lost-log" in fix


def test_an_agent_that_would_refuse_the_log_is_found_before_the_start(bank):
    bank.tm.stop()
    shutil.rmtree(bank.folder / "tm")
    bank.tm.start()
    wait_until(lambda: bank.ctl("status").reply and bank.ctl("status")["state"] == "fenced", 20)
    bank.tm.stop()
    found = without_coordinator(bank)
    assert any("would refuse this coordinator (other-log)" in what for _, what in found)


def test_a_missing_grant_is_found_with_the_line_to_change(bank):
    """The agent of accounts is told to serve SQL as a role that it may not act for."""
    role = f"teller_{bank.accounts.name}"
    bank.accounts.sql(f"create role {role} login")
    with open(bank.accounts.conf, "a") as conf:
        conf.write(f"[exec teller]\nconninfo = "
                   f"{bank.accounts.server.conninfo(bank.accounts.name, role)}\n")
    bank.accounts.agent.stop()
    bank.accounts.agent.start()
    bank.wait_ready()
    grant = f'GRANT "{role}" TO "assent"'
    wait_until(lambda: any(grant in f["fix"] for f in findings(bank, "accounts")))
    assert bank.ctl("check").code == 1
    bank.accounts.sql(f"drop role {role}")
