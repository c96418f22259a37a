"""Whatever comes in at a socket: a typed error, and a daemon that goes on."""

import contextlib
import os
import socket
import struct
import time

import pytest

from harness import Client, wait_until

MESSAGE_MAX = 1024 * 1024

MALFORMED = {
    "nothing": b"",
    "half an object": b'{"op":"begin"',
    "two objects": b'{"op":"status"}{"op":"status"}',
    "no object": b"[1,2,3]",
    "a NUL": b'{"op":"status","x":"a\0b"}',
    "invalid UTF-8": b'{"op":"status","x":"\xff\xfe"}',
    "a key twice": b'{"op":"status","op":"begin"}',
    "deep nesting": b'{"op":"status","x":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "a number without end": b'{"op":"status","x":1e999}',
    "op missing": b"{}",
    "op mistyped": b'{"op":17}',
}


@pytest.fixture
def bank(shared_bank):
    return shared_bank


@pytest.fixture
def client(bank):
    with contextlib.closing(bank.client()) as client:
        yield client


def error_of(reply):
    assert reply["ok"] is False and reply["error"]["message"]
    return reply["error"]["code"]


def test_malformed_json_is_an_invalid_request(client):
    for name, body in MALFORMED.items():
        assert error_of(client.call_bytes(body)) == "invalid_request", name
    assert client.call("status")["ok"]


@pytest.mark.parametrize("batch", [b"{}", b"[]", b"[" + b"{}," * 10000 + b"{}]"])
def test_a_batch_that_is_none_is_refused_as_a_whole(client, batch):
    assert error_of(client.call_bytes(b'{"batch":' + batch + b"}")) == "invalid_request"
    assert client.call("status")["ok"]


def test_an_agent_refuses_malformed_json_too(bank):
    with contextlib.closing(Client(bank.ledger.socket)) as client:
        for name, body in MALFORMED.items():
            assert error_of(client.call_bytes(body)) == "invalid_request", name
    bank.ctl("commit", bank.begin_move(1), code=0)


def test_an_unknown_operation_is_called_so(bank, client):
    assert error_of(client.call("levitate")) == "unknown_operation"
    with contextlib.closing(Client(bank.ledger.socket)) as agent:
        assert error_of(agent.call("levitate")) == "unknown_operation"


def test_an_unknown_transaction_is_called_so(bank, client):
    for op in ("commit", "rollback", "outcome", "show", "enlist"):
        for gtrid in ("bank.1.999999", "bank.99.1", "other.1.1"):
            reply = client.call(op, gtrid=gtrid, rm="accounts")
            assert error_of(reply) == "unknown_transaction", (op, gtrid)


def test_an_unknown_rm_is_called_so(bank, client):
    gtrid = client.call("begin")["gtrid"]
    assert error_of(client.call("enlist", gtrid=gtrid, rm="nowhere")) == "unknown_rm"
    assert error_of(client.call("begin", rms=["accounts", "nowhere"])) == "unknown_rm"


@pytest.mark.parametrize("op, field, value", [
    ("begin", "key", "k" * 65),
    ("begin", "label", "l" * 65),
    ("begin", "timeout", "soon"),
    ("begin", "timeout", -1),
    ("begin", "protocol", "4pc"),
    ("begin", "request_id", "short"),
    ("begin", "rms", "accounts"),
    ("begin", "rms", ["accounts"] * 33),
    ("enlist", "rm", "r" * 32),
    ("enlist", "rm", "Accounts"),
    ("enlist", "branch", "b" * 25),
    ("enlist", "read_only", "yes"),
    ("enlist", "isolation", "loose"),
    ("commit", "gtrid", "bank.1." + "9" * 60),
    ("commit", "gtrid", "bank.01.1"),
    ("commit", "gtrid", 7),
    ("commit", "wait", "never"),
    ("commit", "wait_ms", "long"),
    ("list", "state", "lost"),
])
def test_a_field_out_of_range_is_named(client, op, field, value):
    fields = {"gtrid": "bank.1.1", "rm": "accounts"} if op in ("enlist", "commit") else {}
    reply = client.call(op, **{**fields, field: value})
    assert error_of(reply) == "invalid_request"
    assert field in reply["error"]["message"]


@pytest.mark.parametrize("op, field", [("enlist", "gtrid"), ("enlist", "rm"), ("commit", "gtrid"),
                                       ("rollback", "gtrid"), ("show", "gtrid")])
def test_a_missing_field_is_named(client, op, field):
    fields = {"gtrid": "bank.1.1", "rm": "accounts"}
    del fields[field]
    reply = client.call(op, **fields)
    assert error_of(reply) == "invalid_request" and field in reply["error"]["message"]


def test_an_unknown_field_is_ignored(client):
    assert client.call("begin", colour="blue", nested={"a": [1]})["ok"]


def padded(length):
    head, tail = b'{"op":"status","padding":"', b'"}'
    return head + b"x" * (length - len(head) - len(tail)) + tail


def test_a_request_of_one_mebibyte_is_served(client):
    assert client.call_bytes(padded(MESSAGE_MAX))["ok"]


def test_a_request_of_one_byte_more_gets_its_error(bank, client):
    assert error_of(client.call_bytes(padded(MESSAGE_MAX + 1))) == "invalid_request"
    assert client.call("status")["ok"]
    with contextlib.closing(Client(bank.ledger.socket)) as agent:
        assert error_of(agent.call_bytes(padded(MESSAGE_MAX + 1))) == "invalid_request"


def test_a_client_that_vanishes_harms_nobody(bank):
    before = bank.balances()
    gtrid = bank.begin_move(1)
    for _ in range(20):
        client = bank.client()
        client.send(b'{"op":"commit","gtrid":"%s"}' % gtrid.encode())
        client.close()
    wait_until(lambda: bank.outcome(gtrid) == "committed")
    wait_until(lambda: bank.balances() == (before[0] - 1, before[1] + 1))


def test_a_client_that_vanishes_inside_a_message_harms_nobody(bank):
    for cut in (1, 5, 8, 9, 12, 20):
        with socket.socket(socket.AF_UNIX) as half:
            half.connect(str(bank.socket))
            half.sendall((Client.GREETING + b"\1" + bytes(7) + b"\x40" + bytes(4))[:cut])
    wait_until(lambda: bank.ctl("status").code == 0)


def test_noise_at_the_socket_harms_nobody(bank):
    for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\xff" * 4096,
                  Client.GREETING + b"\1" + b"\xff" * 8, Client.GREETING + b"\x07" * 100):
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(bank.socket))
            client.sendall(noise)
    wait_until(lambda: bank.ctl("status").code == 0)


def memory_of(process):
    """Resident, in MiB."""
    with open(f"/proc/{process.popen.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2 ** 20


@pytest.mark.parametrize("says", [b"", b"\0SP", Client.GREETING,
                                  Client.GREETING + b"\1" + bytes(5) + b"\x10\0\0{"])
def test_a_thousand_who_say_nothing_more_shut_nobody_out(bank, says):
    before = memory_of(bank.tm)
    with contextlib.ExitStack() as crowd:
        for _ in range(1000):
            silent = crowd.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(bank.socket))
            silent.sendall(says)
        started = time.monotonic()
        gtrid = bank.begin_move(1)
        bank.ctl("commit", gtrid, code=0)
        assert time.monotonic() - started < 10
        assert memory_of(bank.tm) - before < 128
    wait_until(lambda: bank.ctl("status").code == 0)


def test_a_sender_that_takes_its_time_keeps_nobody_waiting(bank):
    body = b'{"op":"status"}'
    message = struct.pack(">BQI", 1, 4 + len(body), 0x80000001) + body
    with contextlib.closing(bank.client()) as slow:
        slow.open()
        for at in range(len(message)):
            slow.socket.sendall(message[at:at + 1])
            if at % 8 == 0:
                assert bank.ctl("status").code == 0
        assert b'"ok":true' in slow.receive_message()


def test_connecting_and_closing_at_once_does_not_make_it_deaf(bank):
    """Nor does it when it has just been started."""
    for path in (bank.socket, bank.accounts.socket):
        for _ in range(100):
            with socket.socket(socket.AF_UNIX) as passer_by, contextlib.suppress(OSError):
                passer_by.connect(str(path))
    bank.tm.kill()
    bank.tm.start()
    bank.wait_ready()
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as passer_by, contextlib.suppress(OSError):
            passer_by.connect(str(bank.socket))
    wait_until(lambda: bank.ctl("status").code == 0, 15)


def test_many_requests_travel_in_one_message(client):
    replies = client.call_bytes(b'{"batch":[{"op":"begin"},{"op":"levitate"},{"op":"status"}]}')["batch"]
    assert [reply["ok"] for reply in replies] == [True, False, True]
    too_many = b'{"batch":[' + b",".join([b'{"op":"status"}'] * 65) + b"]}"
    assert error_of(client.call_bytes(too_many)) == "invalid_request"
