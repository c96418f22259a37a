"""Alarms: a line in the log when one begins and when it is over, and a list in `status` meanwhile."""

import contextlib
import json

from harness import gid_of, wait_until
from test_in_doubt import decide_without_ledger, own_transfer


def alarms(bank):
    answer = bank.ctl("status")
    return {alarm["alarm"]: alarm for alarm in answer["alarms"]} if answer.code == 0 else {}


def wait_for_alarm(bank, kind):
    return wait_until(lambda: alarms(bank).get(kind), 30, f"alarm {kind}")


def wait_for_none(bank):
    wait_until(lambda: not alarms(bank), 30, "no alarm is left")


def impatient(stopped_bank, *lines):
    with open(stopped_bank.conf, "r+") as conf:
        text = conf.read().replace("[tm]\n", "[tm]\n" + "".join(f"{line}\n" for line in lines))
        conf.seek(0)
        conf.write(text)
    stopped_bank.start()
    return stopped_bank


def test_a_quiet_bank_has_none(bank):
    assert alarms(bank) == {}


def test_an_agent_that_is_gone_is_told_and_told_to_be_back(bank):
    bank.ledger.agent.kill()
    alarm = wait_for_alarm(bank, "down")
    assert alarm["rm"] == "ledger" and bank.ledger.url in alarm["what"]
    assert "alarm (down): the agent of ledger" in bank.tm.log_text()
    assert "the agent of ledger" in bank.ctl.text("status")[1]
    bank.ledger.agent.start()
    wait_for_none(bank)
    assert "alarm over (down): the agent of ledger" in bank.tm.log_text()


def test_the_oldest_in_doubt_over_its_limit_is_an_alarm(stopped_bank):
    bank = impatient(stopped_bank, "in_doubt_alarm = 1s")
    own_transfer(bank)
    alarm = wait_for_alarm(bank, "in-doubt")
    assert alarm["advice"] == "assentctl in-doubt"
    assert "prepared for longer than 1 s" in alarm["what"]
    bank.end_transactions()
    wait_for_none(bank)


def test_a_decision_that_is_not_applied_is_an_alarm_also_with_its_agent_gone(stopped_bank):
    bank = impatient(stopped_bank, "in_doubt_alarm = 1s")
    decide_without_ledger(bank)
    assert "not applied everywhere" in wait_for_alarm(bank, "in-doubt")["what"]
    bank.ledger.agent.start()
    wait_for_none(bank)


def test_a_heuristic_outcome_is_an_alarm(bank):
    gtrid = decide_without_ledger(bank)
    bank.ledger.sql(f"rollback prepared '{gid_of(gtrid, 'ledger')}'")
    bank.ledger.agent.start()
    assert wait_for_alarm(bank, "mixed")["what"].startswith("1 transaction ended differently")


def test_a_quarantined_database_is_an_alarm(bank):
    decide_without_ledger(bank)
    bank.ledger.sql("select setval('assent.beat_bank', 1)")
    bank.ledger.agent.start()
    alarm = wait_for_alarm(bank, "quarantined")
    assert alarm["rm"] == "ledger" and "agents release ledger" in alarm["advice"]


def test_a_fence_is_an_alarm(bank):
    """Another log registers under this coordinator's name."""
    bank.tm.kill()
    for database in bank.databases:
        database.sql("update assent.tm set incarnation = incarnation + 5")
    bank.tm.start()
    assert "refused this coordinator" in wait_for_alarm(bank, "fenced")["what"]
    assert "refused" in alarms(bank)
    assert bank.ctl("status")["state"] == "fenced"


def test_slots_nearly_used_up_are_an_alarm(bank):
    gids = [f"slot_{bank.accounts.name}_{n}" for n in range(58)]  # of 64
    with contextlib.closing(bank.accounts.connect(user="postgres")) as connection:
        cursor = connection.cursor()
        try:
            for gid in gids:
                cursor.execute("begin")
                cursor.execute(f"prepare transaction '{gid}'")
            alarm = wait_for_alarm(bank, "slots")
            assert "of the 64 prepared transactions" in alarm["what"]
            assert "max_prepared_transactions" in alarm["advice"]
        finally:
            for gid in set(gids) & set(bank.accounts.prepared()):
                cursor.execute(f"rollback prepared '{gid}'")
    wait_for_none(bank)


def test_an_agent_with_nearly_as_many_branches_as_it_takes_is_an_alarm(stopped_bank):
    bank = stopped_bank
    with open(bank.accounts.conf, "a") as conf:
        conf.write("max_branches = 64\n")
    bank.start()
    gtrids = [bank.ctl.begin("--rm", "accounts", "--rm", "ledger", "--timeout", "120s")
              for _ in range(52)]
    bank.ledger.agent.pause()
    with contextlib.ExitStack() as stack:
        stack.callback(bank.ledger.agent.resume)
        cursor = stack.enter_context(contextlib.closing(bank.accounts.connect())).cursor()
        for gtrid in gtrids:
            cursor.execute(f"begin; prepare transaction '{gid_of(gtrid, 'accounts')}'")
            client = stack.enter_context(contextlib.closing(bank.client()))
            client.send(json.dumps({"op": "commit", "gtrid": gtrid, "wait_ms": 1}).encode())
        alarm = wait_for_alarm(bank, "branches")
        assert alarm["rm"] == "accounts" and "of the 64 branches" in alarm["what"]
        assert "max_branches" in alarm["advice"]
    wait_for_none(bank)


def test_a_coordinator_with_nearly_as_many_transactions_as_it_takes_is_an_alarm(stopped_bank):
    bank = impatient(stopped_bank, "max_transactions = 10", "max_branches = 20")
    for number in range(8):
        alarm_before = alarms(bank).get("transactions")
        assert alarm_before is None
        gtrid = bank.ctl.begin("--rm", "accounts", "--rm", "ledger", "--timeout", "8s")
    alarm = wait_for_alarm(bank, "transactions")
    assert "8 of the 10 transactions that max_transactions allows" in alarm["what"]
    assert "16 of the 20 branches that max_branches allows" in wait_for_alarm(bank, "branches")["what"]
    second = bank.ctl.begin()  # whoever else comes is served
    bank.ctl.begin()
    assert bank.ctl("begin", code=1).error == "busy"
    bank.ctl("rollback", second, code=0)
    bank.ctl("rollback", gtrid, code=0)
    wait_for_none(bank)  # the others' timeouts


def test_an_agent_with_nearly_as_many_sessions_as_it_opens_is_an_alarm(stopped_bank):
    bank = stopped_bank
    with open(bank.accounts.conf, "r+") as conf:
        text = conf.read().replace("[agent]\n", "[agent]\nmax_sessions = 5\n")
        conf.seek(0)
        conf.write(text)
    bank.start()
    gtrids = [bank.ctl.begin("--timeout", "60s") for _ in range(6)]
    for gtrid in gtrids[:4]:
        bank.ctl("exec", gtrid, "accounts", "select 1", code=0)
    alarm = wait_for_alarm(bank, "sessions")
    assert alarm["rm"] == "accounts" and "4 of the 5 sessions that max_sessions" in alarm["what"]
    assert "max_sessions" in alarm["advice"]
    agent, = [agent for agent in bank.ctl("agents")["agents"] if agent["rm"] == "accounts"]
    assert (agent["sessions"], agent["sessions_max"]) == (4, 5)
    assert "4 of the 5 sessions" in bank.accounts.agent.log_text()
    bank.ctl("exec", gtrids[4], "accounts", "select 1", code=0)
    refused = bank.ctl("exec", gtrids[5], "accounts", "select 1", code=1)
    assert refused.error == "busy" and "max_sessions" in refused.reply["error"]["message"]
    bank.ctl("exec", gtrids[5], "ledger", "select 1", code=0)
    for gtrid in gtrids:
        bank.ctl("rollback", gtrid, code=0)
    wait_for_none(bank)


def test_as_many_requests_that_wait_as_may_are_an_alarm(stopped_bank):
    bank = impatient(stopped_bank, "max_waiting = 10")
    gtrids = [bank.ctl.begin("--rm", "ledger", "--timeout", "60s") for _ in range(8)]
    bank.ledger.agent.pause()
    with contextlib.ExitStack() as stack:
        stack.callback(bank.ledger.agent.resume)
        for gtrid in gtrids:
            client = stack.enter_context(contextlib.closing(bank.client()))
            client.send(json.dumps({"op": "commit", "gtrid": gtrid, "wait_ms": 30000}).encode())
        alarm = wait_for_alarm(bank, "waiting")
        assert "8 of the 10 requests that max_waiting allows" in alarm["what"]
        assert bank.ctl("status")["state"] == "ready"
    wait_for_none(bank)
