"""What `assentctl check` finds in a coordinator that is not well, each with its way out."""

import contextlib
import json
import socket
import subprocess
import threading

import pytest

import harness
from harness import Assentctl, wait_until
from test_http import Web


def findings(ctl, where):
    """None yet from one that is on its way up."""
    return {finding["what"]: finding["fix"]
            for finding in (ctl("check").reply or {}).get("findings", ())
            if finding["where"] == where}


def found(ctl, where, words):
    return wait_until(lambda: next((fix for what, fix in findings(ctl, where).items()
                                    if words in what), None), 15, words)


@contextlib.contextmanager
def another(bank, conf, name):
    """A coordinator beside the bank's own."""
    twin = bank.coordinator(conf, f"{name}.log")
    twin.start()
    try:
        yield Assentctl(f"ipc://{bank.folder}/{name}.sock")
    finally:
        twin.stop()


def test_a_log_that_agents_refuse(bank):
    conf = bank.write_conf("twin.ini", bank.folder / "twin.sock", bank.folder / "twin")
    with another(bank, conf, "twin") as ctl:
        assert "newest copy of the log" in found(ctl, "coordinator", "other-log")


def test_an_agent_of_another_resource_manager(bank):
    conf = bank.folder / "shop.ini"
    conf.write_text(f"[tm]\nname = shop\ndata_dir = {bank.folder}/shop\n"
                    f"listen = ipc://{bank.folder}/shop.sock\n[rm stock]\nurl = {bank.ledger.url}\n")
    with another(bank, conf, "shop") as ctl:
        assert found(ctl, "stock", "refuses this coordinator (other-rm)")


def test_an_agent_that_all_wait_for(bank):
    bank.tm.stop()
    bank.ledger.agent.stop()
    bank.tm.start()
    assert found(bank.ctl, "coordinator", "waits for ledger to register") == "start the agent"


def test_a_transaction_that_ended_differently(bank):
    gtrid = bank.begin_move(10)
    commit = bank.commit_to_the_gate(gtrid)
    [gid] = bank.ledger.prepared()
    bank.ledger.sql(f"rollback prepared '{gid}'")
    bank.accounts.open_gate()
    bank.ctl.finish(commit)
    assert "--state mixed" in found(bank.ctl, "coordinator", "ended differently")
    bank.ctl("forget", gtrid, "--reason", "seen")


def test_a_database_that_is_in_the_log_and_not_configured(bank):
    bank.tm.stop()
    text = bank.conf.read_text()
    bank.conf.write_text(text.replace(f"[rm ledger]\nurl = {bank.ledger.url}\n", ""))
    bank.tm.start()
    assert "retire" in found(bank.ctl, "ledger", "in the log but not in the configuration")


def test_a_coordinator_that_is_nearly_full(stopped_bank):
    bank = stopped_bank
    bank.conf.write_text(bank.conf.read_text().replace("[tm]\n", "[tm]\nmax_transactions = 10\n"))
    bank.start()
    assert not any("are live" in what for what in findings(bank.ctl, "coordinator"))
    for _ in range(9):
        bank.ctl.begin()
    assert found(bank.ctl, "coordinator", "9 of at most 10 transactions are live") == (
        "[tm] max_transactions")


def test_a_database_that_was_retired_is_no_matter_any_more(bank):
    bank.ledger.agent.stop()
    wait_until(lambda: findings(bank.ctl, "ledger"))
    bank.ctl("agents", "retire", "ledger", "--reason", "moved", code=0)
    assert wait_until(lambda: (bank.ctl("check").reply or {}).get("findings"))
    assert not findings(bank.ctl, "ledger")


# ---- who may ----

@pytest.mark.skipif(harness.POSTGRES_USER is None, reason="another user is needed")
def test_a_user_who_is_no_dba_decides_nothing(stopped_bank):
    bank = stopped_bank
    bank.conf.write_text(bank.conf.read_text().replace("[tm]\n", "[tm]\nsocket_mode = 0666\n"))
    bank.start()
    gtrid = bank.ctl.begin()

    def as_other(*arguments):
        return subprocess.run([harness.program("assentctl"), "-u", bank.url, *arguments],
                              user=harness.POSTGRES_USER, capture_output=True, text=True, timeout=30)
    refused = as_other("resolve", gtrid, "rollback", "--reason", "I want to", "--yes")
    assert refused.returncode == 1 and "only a DBA may do this" in refused.stderr
    assert as_other("show", gtrid).returncode == 0
    assert as_other("begin").returncode == 0
    assert bank.ctl("show", gtrid)["transaction"]["state"] == "active"


@pytest.mark.skipif(harness.POSTGRES_USER is None, reason="another user is needed")
def test_other_peoples_sql_is_shown_to_dbas_alone(stopped_bank):
    bank = stopped_bank
    bank.conf.write_text(bank.conf.read_text().replace("[tm]\n", "[tm]\nsocket_mode = 0666\n"))
    bank.start()
    commit = bank.commit_to_the_gate(bank.begin_move(30))
    with contextlib.closing(bank.ledger.connect()) as waits:
        waiting = threading.Thread(target=waits.cursor().execute,
                                   args=("update account set balance = 17 where id = 1",))
        waiting.start()
        try:
            wait_until(lambda: "balance = 17" in json.dumps(bank.ctl("in-doubt").reply))
            seen = subprocess.run([harness.program("assentctl"), "-u", bank.url, "--json", "in-doubt"],
                                  user=harness.POSTGRES_USER, capture_output=True, text=True, timeout=30)
            assert seen.returncode == 0 and "balance = 17" not in seen.stdout
            assert any(item["blocks"] for item in json.loads(seen.stdout)["in_doubt"])
        finally:
            bank.accounts.open_gate()
            bank.ctl.finish(commit)
            waiting.join(20)


# ---- HTTP ----

@pytest.fixture
def web(stopped_bank):
    web = Web(stopped_bank)
    stopped_bank.start()
    return web


def status_of(reply):
    return int(reply.split(b" ", 2)[1])


@pytest.mark.parametrize("request_, status", [
    (b"GET /healthz HTTP/1.1\r\nHost: 127.9.8.7:1\r\nConnection: close\r\n\r\n", 200),
    (b"GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n", 200),
    (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    (b"GET /healthz HTTP/1.7\r\nHost: localhost\r\nConnection: close\r\n\r\n", 505),
    (b"GET /healthz HTTP/1.1\r\nHost: db1.example\r\nConnection: close\r\n\r\n", 403),
    (b"GET /healthz HTTP/1.1\r\nHost: " + b"x" * 300 + b"\r\nConnection: close\r\n\r\n", 403),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n"
     b"Connection: close\r\n\r\n", 403),
    (b"POST /v1/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
     b"Content-Length: 99999999999999999999\r\nConnection: close\r\n\r\n{}", 413),
    (b"GET /v1/outcomes?key=a&key=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
    (b"POST /v1/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
     b"Idempotency-Key: 0123456789abcdef\r\nIdempotency-Key: 0123456789abcdee\r\n"
     b"Content-Length: 2\r\nConnection: close\r\n\r\n{}", 400)])
def test_a_request_from_elsewhere_or_of_two_minds_is_turned_away(web, request_, status):
    assert status_of(web.raw(request_)) == status
    assert web.healthy()


def test_a_dba_who_comes_over_http_is_in_the_trail(web):
    bank = web.bank
    gtrid = bank.begin_move(1)
    answer = web.post(f"/v1/transactions/{gtrid}/resolve", {"outcome": "rollback", "reason": "by mistake"})
    assert answer.status == 200, answer.text
    [line] = json.loads(bank.ctl_conf("audit").stdout)
    assert line["who"] == "http" and line["gtrid"] == gtrid and line["reason"] == "by mistake"


def test_loopback_of_ipv6_is_served_too(stopped_bank):
    web = Web(stopped_bank)
    stopped_bank.conf.write_text(stopped_bank.conf.read_text().replace(
        web.url, f"http://[::1]:{web.port}"))
    stopped_bank.start()
    with contextlib.closing(socket.create_connection(("::1", web.port), timeout=10)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n")
        assert status_of(connection.recv(1000)) == 200


def test_a_fenced_coordinator_is_not_ready(bank):
    web = Web(bank)  # its port goes into the bank's own file, which the twin's is made of
    conf = bank.write_conf("twin.ini", bank.folder / "twin.sock", bank.folder / "twin")
    conf.write_text(conf.read_text().replace("[tm]\n", f"[tm]\nhttp_listen = {web.url}\n"))
    with another(bank, conf, "twin") as ctl:
        wait_until(lambda: ctl("status").get("state") == "fenced")
        reply = web.get("/readyz")
        assert reply.status == 503 and "fenced" in reply.text.decode()
        assert web.healthy()
