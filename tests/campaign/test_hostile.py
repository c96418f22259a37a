"""Strangers at every door: the daemons live, the others notice nothing, the money is right."""

import contextlib
import random
import socket
import struct
import threading
import time

import psycopg2
import pytest

from campaign import load, wait_until
from harness import Client, gid_of
from test_resources import status_of

GROWTH_MAX_KIB = 16 * 1024
EVIL = ("'", '"', "\0", "\\", "ledger'; drop table account; --", "ledger\n", "../ledger", "é" * 40,
        "x" * 300, "%s%n", "$1", "", "LEDGER", "bank.1.999999999", "ledger/../../x")


def stranger(path, *pieces, pause=0.0):
    """Say some bytes, perhaps slowly, and hang up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        wait_until(lambda: connection.connect_ex(str(path)) == 0, 10, f"{path} has room again")
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)


def frame(body, length=None, number=1):
    message = struct.pack(">I", 0x80000000 | number) + body
    return struct.pack(">BQ", 1, len(message) if length is None else length) + message


@pytest.fixture
def doors(bank):
    return [bank.socket, *(database.socket for database in bank.databases)]


@contextlib.contextmanager
def unmoved(bank, seed):
    """Meanwhile tellers work; in the end nobody has died, grown or lost anything."""
    with load(bank, seed) as tellers:
        wait_until(lambda: tellers.transfers > 20, 30)
        pids = [process.popen.pid for process in bank.processes]
        sizes = [status_of(process, "VmRSS") for process in bank.processes]
        yield tellers
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 30, "the others go on")
    for process, pid, size in zip(bank.processes, pids, sizes):
        assert process.running() and process.popen.pid == pid, f"{process.name} lives"
        assert status_of(process, "VmRSS") < size + GROWTH_MAX_KIB, f"{process.name} has grown"


def test_connect_and_close_a_thousand_times(bank, doors, seed, record):
    with unmoved(bank, seed) as tellers:
        for door in doors:
            for _ in range(1000):
                stranger(door)
    record("hostile: connect and close", "a thousand times at every listener", 1000 * len(doors),
           tellers.words)


def test_frames_that_are_no_frames(bank, doors, seed, record):
    draw = random.Random(seed)
    greeting = Client.GREETING
    frames = [
        (draw.randbytes(100),), (greeting, draw.randbytes(1000)), (greeting[:5],),
        (greeting, frame(b"{}", 64 * 1024 * 1024)), (greeting, frame(b"{}", 2**63)),
        (greeting, frame(b"{}", 0)), (greeting, frame(b"{}", 3)), (greeting, b"\1"),
        (greeting, frame(b'{"op":"begin"}')[:15]), (greeting, frame(b"x" * 2_000_000)),
        (b"\0SP\0\0\x10\0\0", frame(b"{}")), (greeting, frame(b'{"op":"begin"}') * 50),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",), (b"\x16\x03\x01" + draw.randbytes(200),)]
    with unmoved(bank, seed) as tellers:
        for door in doors:
            for pieces in frames * 10:
                with contextlib.suppress(OSError):
                    stranger(door, *pieces)
    record("hostile: frames", "half, huge, empty, of other protocols, at every listener",
           10 * len(frames) * len(doors), tellers.words)


def test_clients_that_speak_a_byte_at_a_time(bank, doors, seed, record):
    message = Client.GREETING + frame(b'{"op":"begin"}')
    with unmoved(bank, seed) as tellers:
        slow = [threading.Thread(target=lambda door=door: stranger(
            door, *(message[n:n + 1] for n in range(len(message))), pause=0.1))
            for door in doors for _ in range(20)]
        for thread in slow:
            thread.start()
        for thread in slow:
            thread.join()
    record("hostile: slow clients", "a byte each 100 ms", len(slow), tellers.words)


def test_names_that_are_sql_or_worse(bank, seed, record):
    with unmoved(bank, seed) as tellers, contextlib.closing(bank.client()) as client, \
            contextlib.closing(Client(bank.ledger.socket)) as agent:
        gtrid = client.call("begin")["gtrid"]
        branch = client.call("enlist", gtrid=gtrid, rm="ledger")["branch"]
        for evil in EVIL:
            assert not client.call("enlist", gtrid=gtrid, rm=evil)["ok"]
            assert not client.call("enlist", gtrid=evil, rm="ledger")["ok"]
            assert not client.call("commit", gtrid=evil)["ok"]
            assert not client.call("enlist", gtrid=gtrid, rm="ledger", branch=evil or "/")["ok"]
            for gid in (evil, gid_of(evil, "ledger"), gid_of(gtrid, evil), branch["gid"] + evil + "="):
                assert not agent.call("exec", gid=gid, session=branch["session"], sql="select 1")["ok"]
            assert not agent.call("exec", gid=branch["gid"], session=evil, sql="select 1")["ok"]
        client.call("rollback", gtrid=gtrid)
    record("hostile: names", "quotes, NULs, SQL in gtrids, rm names, gids, tickets", 8 * len(EVIL),
           tellers.words)


def test_tickets_are_for_their_own_branch_alone(bank, record):
    with contextlib.closing(bank.client()) as client, \
            contextlib.closing(Client(bank.ledger.socket)) as agent:
        mine, other = (client.call("begin")["gtrid"] for _ in range(2))
        ticket, foreign = (client.call("enlist", gtrid=gtrid, rm="ledger")["branch"]
                           for gtrid in (mine, other))
        assert agent.call("exec", gid=ticket["gid"], session=ticket["session"], sql="select 1")["ok"]
        refused = agent.call("exec", gid=ticket["gid"], session=foreign["session"], sql="select 1")
        assert refused["error"]["code"] == "invalid_session"
        for at in range(len(ticket["session"])):
            text = ticket["session"]
            forged = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]
            assert not agent.call("exec", gid=ticket["gid"], session=forged, sql="select 1")["ok"]
        for gtrid in (mine, other):
            client.call("rollback", gtrid=gtrid)
    record("hostile: tickets", "another branch's, and every character changed", at + 2, "refused")


def test_what_only_a_coordinator_may_say_is_refused_from_others(bank, seed, record):
    """Under the daemon's own user everybody may speak; but nobody is believed without a name."""
    sender = {"tm": "bank", "incarnation": "1", "agent": "1",
              "instance": "00000000-0000-0000-0000-000000000000"}
    with unmoved(bank, seed) as tellers, contextlib.closing(bank.client()) as client, \
            contextlib.closing(Client(bank.ledger.socket)) as agent:
        gtrid = client.call("begin")["gtrid"]
        gid = bank.prepare_own(bank.ledger, gtrid, 5)
        for do in ("commit", "rollback", "prepare", "commit-one-phase", "settle"):
            order = {"do": do, "gid": gid, "xid": "1", "lsn": "1", "agent": "1", "timeout_ms": 1000}
            for op in ("orders", "results", "recover", do):
                assert not agent.call(op, **sender, orders=[order], wait_ms=0)["ok"]
                assert not client.call(op if op != "commit" and op != "rollback" else "orders",
                                       **sender, orders=[order])["ok"]
        offer = {**sender, "log": "00000000-0000-0000-0000-000000000001", "recovered_lsn": "99",
                 "secret": "00" * 32, "wire_least": 1, "wire_most": 1}
        assert not agent.call("register", **offer)["ok"]
        assert len(bank.ledger.prepared()) >= 1
        assert client.call("rollback", gtrid=gtrid)["outcome"] == "rolled-back"
    record("hostile: false coordinators", "orders and offers by a stranger", 41, tellers.words)


def test_requests_repeated_and_out_of_order(bank, seed, record):
    with unmoved(bank, seed) as tellers, contextlib.closing(bank.client()) as client, \
            contextlib.closing(Client(bank.ledger.socket)) as agent:
        for number in range(50):
            request = f"{seed}-{number}-0123456789abcdef"
            gtrid = client.call("begin", request_id=request)["gtrid"]
            assert client.call("begin", request_id=request)["gtrid"] == gtrid
            branch = client.call("enlist", gtrid=gtrid, rm="ledger")["branch"]
            assert client.call("enlist", gtrid=gtrid, rm="ledger")["branch"]["gid"] == branch["gid"]

            def run(n, branch=branch, amount=1):
                return agent.call("exec", gid=branch["gid"], session=branch["session"], n=n,
                                  sql="update account set balance = balance + $1 where id = 3",
                                  params=[str(amount)])
            assert run(1)["ok"] and run(1)["ok"]
            assert run(3)["error"]["code"] == "out_of_sequence"
            assert run(2, amount=-1)["ok"] and run(2, amount=-1)["ok"]
            assert run(1)["error"]["code"] == "out_of_sequence"
            outcomes = {client.call("commit", gtrid=gtrid)["outcome"] for _ in range(3)}
            assert outcomes == {"committed"}
            assert client.call("rollback", gtrid=gtrid)["outcome"] == "committed"
            assert not run(3)["ok"] and not client.call("enlist", gtrid=gtrid, rm="accounts")["ok"]
    record("hostile: repeats", "each request twice, late, out of order", 50, tellers.words)


def test_tellers_that_hang_up_in_the_middle_of_everything(bank, seed, record):
    with unmoved(bank, seed) as tellers:
        for number in range(100):
            client = bank.client()
            gtrid = client.call("begin", timeout="1s", rms=["ledger"])["gtrid"]
            if number % 2:
                with contextlib.suppress(psycopg2.Error):
                    bank.prepare_own(bank.accounts, gtrid, 0)
            client.send(b'{"op":"commit","gtrid":"%s"}' % gtrid.encode())
            client.close()
    record("hostile: hang up", "after the commit was sent", 100, tellers.words)
