"""Crowds: more who connect, or wait, than there is room for. Whoever does neither must not notice."""

import contextlib
import json
import os
import socket
import subprocess
import time

import pytest

from harness import Client, wait_until
from test_alarms import alarms, wait_for_alarm, wait_for_none
from test_http import Web, head

FILES = 96


def limited(process, files):
    process.arguments = ["prlimit", f"--nofile={files}", *process.arguments]


def small_segments(bank):
    with open(bank.conf, "a") as conf:
        conf.write("\n[log]\nsegment_size = 128kB\n")


def write_log(client, rounds):
    """Records of a kilobyte or so: what a DBA has to say."""
    for _ in range(rounds):
        reply = client.call_bytes(json.dumps({"batch": [
            {"op": op, "rm": "ledger", "reason": "y" * 100} for op in ("pause", "resume") * 4]}).encode())
        assert all(one["ok"] for one in reply["batch"]), reply


@contextlib.contextmanager
def guests(path, count):
    """So many connect, greet, and ask for nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            guest = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
            guest.settimeout(2)
            with contextlib.suppress(OSError):
                guest.connect(str(path))
                guest.sendall(Client.GREETING)
        yield


def segments(bank):
    return max(name for name in os.listdir(bank.folder / "tm") if name.startswith("wal-"))


def test_those_who_ask_for_nothing_leave_the_log_its_files_and_others_their_place(stopped_bank):
    bank = stopped_bank
    small_segments(bank)
    limited(bank.tm, FILES)
    bank.start()
    second = bank.client()
    assert second.call("status")["state"] == "ready"
    before = segments(bank)
    with guests(bank.socket, 2 * FILES):
        assert "that the limit of open files allows" in wait_for_alarm(bank, "connections")["what"]
        write_log(second, 200)  # the connection that was there before has stayed
        assert segments(bank) > before
        bank.ctl("commit", bank.begin_move(3), code=0)  # and who comes new is served
        status = bank.ctl("status")
        assert status["connections"] <= status["connections_max"] < FILES
        assert int(status["connections_refused"]) > FILES // 2
        assert "no room for another connection" in bank.tm.log_text()
    assert bank.tm.running()
    wait_for_none(bank)
    second.close()


def test_too_few_files_are_refused_at_the_start_with_what_is_needed(stopped_bank):
    bank = stopped_bank
    limited(bank.tm, 40)
    bank.tm.start()
    assert bank.tm.wait() == 1
    assert "RLIMIT_NOFILE" in bank.tm.log_text() and "LimitNOFILE" in bank.tm.log_text()


def test_an_agent_keeps_its_own_connections_back(stopped_bank):
    bank = stopped_bank
    limited(bank.ledger.agent, 200)
    bank.start()
    with guests(bank.ledger.socket, 300):
        bank.ctl("commit", bank.begin_move(3), code=0)
        assert bank.ledger.status()["state"] == "up"
        assert "no room for another connection" in bank.ledger.agent.log_text()
        alarm = wait_for_alarm(bank, "connections")
        assert alarm["rm"] == "ledger" and "connections to its agent" in alarm["what"]
    wait_for_none(bank)


def test_an_agent_that_may_open_too_few_files_says_which_settings_need_them(stopped_bank):
    bank = stopped_bank
    limited(bank.ledger.agent, 100)
    bank.ledger.agent.start()
    assert bank.ledger.agent.wait() == 1
    assert "max_sessions" in bank.ledger.agent.log_text()


def test_whoever_does_not_read_the_messages_keeps_nobody_waiting(stopped_bank):
    """Rolled back transactions are a line each; a pipe has room for some hundred of them."""
    bank = stopped_bank
    for database in bank.databases:
        database.agent.start()
    reading, writing = os.pipe()
    bank.tm.popen = subprocess.Popen(bank.tm.arguments, stdin=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    bank.wait_ready()
    gtrids = begin_at_ledger(bank, 800)
    with contextlib.closing(bank.client()) as client:
        for at in range(0, len(gtrids), 16):
            reply = client.call_bytes(json.dumps(
                {"batch": [{"op": "commit", "gtrid": gtrid} for gtrid in gtrids[at:at + 16]]}).encode())
            assert {one["outcome"] for one in reply["batch"]} == {"rolled-back"}
    assert "have not been taken" in wait_for_alarm(bank, "messages")["what"]
    said = b""
    while said.count(b" is rolled-back: ") < len(gtrids):
        said += os.read(reading, 65536)
    assert b"lines are missing" not in said  # they had room in the queue
    wait_for_none(bank)
    os.close(reading)
    assert bank.tm.stop() == 0  # without a reader too


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk of its own")
def test_a_disk_that_is_nearly_full_is_an_alarm_before_it_is_an_end(stopped_bank):
    bank = stopped_bank
    small_segments(bank)
    disk = bank.folder / "tm"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", disk], check=True)
    try:
        bank.start()
        assert alarms(bank) == {}
        room = os.statvfs(disk)
        (disk / "other").write_bytes(b"x" * (room.f_bavail * room.f_frsize - 200_000))
        alarm = wait_for_alarm(bank, "disk")
        assert str(disk) in alarm["what"] and "make room" in alarm["advice"]
        bank.ctl("commit", bank.begin_move(3), code=0)
        findings = bank.ctl("check").reply["findings"]
        assert any(str(disk) in finding["what"] for finding in findings)
        (disk / "other").unlink()
        wait_for_none(bank)
        assert bank.tm.stop() == 0
    finally:
        bank.tm.stop()
        subprocess.run(["umount", disk], check=True)


def begin_at_ledger(bank, count):
    with contextlib.closing(bank.client()) as client:
        def batch(requests):
            for at in range(0, count, 16):
                yield from client.call_bytes(json.dumps(
                    {"batch": requests[at:at + 16]}).encode())["batch"]
        gtrids = [reply["gtrid"] for reply in batch([{"op": "begin"}] * count)]
        assert all(reply["ok"] for reply in batch(
            [{"op": "enlist", "gtrid": gtrid, "rm": "ledger"} for gtrid in gtrids]))
    return gtrids


def test_commits_that_wait_leave_room_for_what_is_answered_at_once(stopped_bank):
    web = Web(stopped_bank)
    bank = stopped_bank
    bank.start()
    gtrids = begin_at_ledger(bank, 241)
    bank.ledger.agent.pause()  # hangs: it neither answers nor ends its connections
    with contextlib.ExitStack() as stack:
        waiting = []
        for gtrid in gtrids[:240]:
            connection = stack.enter_context(contextlib.closing(web.connect()))
            connection.sendall(head(f"POST /v1/transactions/{gtrid}/commit"))
            waiting.append(connection)
        time.sleep(1)
        started = time.monotonic()
        for path in ("/healthz", "/readyz", "/metrics", "/v1/status", "/v1/agents", "/openapi.json",
                     f"/v1/transactions/{gtrids[0]}/outcome", f"/v1/transactions/{gtrids[0]}"):
            assert web.get(path).status == 200, path
        assert web.begin()
        assert time.monotonic() - started < 5
        assert bank.ctl("status")["http"]["waiting"] == 240
        assert b"\nassent_http_waiting 240\n" in web.get("/metrics").text
        refused = web.post(f"/v1/transactions/{gtrids[240]}/commit")
        assert refused.error == (503, "busy") and refused.headers["Retry-After"] == "1"
        assert "http_max_waiting" in refused.json["error"]["message"]
        assert "240 of the 240 requests over HTTP" in wait_for_alarm(bank, "http")["what"]
        bank.ledger.agent.resume()
        for connection in waiting:
            assert b'"rolled-back"' in connection.recv(65536)  # no work was done there
    wait_until(lambda: "http" not in alarms(bank), 20)
