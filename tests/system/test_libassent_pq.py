"""<assent_pq.h>: libpq connections of the application's own, in one transaction."""

import contextlib
import ctypes

import pytest

import harness
import libassent as lib
from harness import wait_until
from test_libassent import bank, client, txn  # noqa: F401: fixtures

IDLE = 0  # PQTRANS_IDLE

libpq = ctypes.CDLL("libpq.so.5")
libpq.PQconnectdb.restype = libpq.PQexec.restype = lib.pointer
library = ctypes.CDLL(str(harness.BUILD / "lib/.libs/libassent-pq.so.0"))


class Member(ctypes.Structure):
    _fields_ = [("conn", lib.pointer), ("rm", lib.text), ("begin", lib.text),
                ("gid", ctypes.c_char * 201)]


Block = ctypes.CFUNCTYPE(ctypes.c_int, lib.pointer, ctypes.POINTER(Member), lib.pointer)


class Members:
    """Two connections, and what is done on them."""

    def __init__(self, bank, begin=None):
        self.array = (Member * 2)(*(
            Member(libpq.PQconnectdb(database.server.conninfo(database.name, "shop").encode()),
                   database.rm.encode(), begin) for database in bank.databases))

    def conn(self, at):
        return lib.pointer(self.array[at].conn)

    def sql(self, txn, at, statement):
        result = lib.pointer(libpq.PQexec(self.conn(at), statement.encode()))
        code = library.assent_pq_check(txn.handle, ctypes.byref(self.array[at]), result)
        libpq.PQclear(result)
        return code

    def pid(self, at):
        return libpq.PQbackendPID(self.conn(at))

    def move(self, txn, amount):
        return (self.sql(txn, 0, f"update account set balance = balance - {amount} where id = 1")
                or self.sql(txn, 1, f"update account set balance = balance + {amount} where id = 1"))

    def run(self, txn, block, wait_ms=20000):
        return library.assent_pq_run(txn.handle, None, self.array, 2,
                                     Block(lambda *_: block(txn)), None, wait_ms)

    def begin(self, txn):
        return library.assent_pq_begin(txn.handle, self.array, 2, 0)

    def prepare(self, txn, wait_ms=0):
        return library.assent_pq_prepare(txn.handle, self.array, 2, wait_ms)

    def idle(self):
        return all(libpq.PQtransactionStatus(self.conn(at)) == IDLE for at in (0, 1))

    def close(self):
        for at in (0, 1):
            libpq.PQfinish(self.conn(at))


@pytest.fixture
def members(bank):
    with contextlib.closing(Members(bank)) as members:
        yield members
        assert members.idle(), "a connection was left inside a transaction"
    wait_until(bank.nothing_prepared)


def test_both_commit_and_the_connections_are_free_again(bank, txn, members):
    assert members.run(txn, lambda txn: members.move(txn, 30)) == lib.OK
    assert bank.balances() == (70, 130)


def test_the_connections_serve_one_transaction_after_another(bank, client, members):
    for _ in range(3):
        txn = client.new()
        assert members.run(txn, lambda txn: members.move(txn, 1)) == lib.OK
        txn.free()
    assert bank.balances() == (97, 103)


def test_a_statement_that_fails_rolls_all_back(bank, txn, members):
    assert members.run(txn, lambda txn: members.move(txn, 1000)) == lib.ESQL
    assert (txn.reason.rm, txn.reason.sqlstate) == (b"accounts", b"23514")
    assert bank.balances() == (100, 100)


def test_a_prepare_that_fails_undoes_the_one_that_did_not(bank, txn, members):
    def block(txn):
        return members.move(txn, 1) or members.sql(txn, 1, "insert into owner values (99)")

    assert members.run(txn, block) == lib.ESQL
    assert (txn.reason.rm, txn.reason.sqlstate) == (b"ledger", b"23503")
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_a_failure_that_the_block_overlooked_is_not_committed(bank, txn, members):
    def block(txn):
        assert members.sql(txn, 1, "nonsense") == lib.ESQL
        return members.sql(txn, 0, "update account set balance = 0 where id = 1")

    assert members.run(txn, block) == lib.ESQL
    assert (txn.reason.rm, txn.reason.sqlstate) == (b"ledger", b"25P02")
    assert bank.balances() == (100, 100)


def test_a_lost_connection_is_made_again_and_the_block_run_again(bank, txn, members):
    runs = []

    def block(txn):
        runs.append(1)
        if len(runs) == 1:
            bank.ledger.sql("select pg_terminate_backend(%s)", members.pid(1))
        return members.move(txn, 1)

    assert members.run(txn, block) == lib.OK
    assert len(runs) == 2 and bank.balances() == (99, 101)


def test_a_collision_runs_the_block_again(bank, txn):
    with contextlib.closing(Members(bank, b"BEGIN ISOLATION LEVEL REPEATABLE READ")) as members:
        runs = []

        def block(txn):
            runs.append(1)
            assert members.sql(txn, 0, "select balance from account where id = 1") == lib.OK
            if len(runs) == 1:
                bank.accounts.sql("update account set balance = 90 where id = 1")
            return members.move(txn, 1)

        assert members.run(txn, block) == lib.OK
        assert len(runs) == 2 and bank.balances() == (89, 101)


def test_a_connection_inside_a_transaction_is_not_taken(bank, txn, members):
    libpq.PQclear(lib.pointer(libpq.PQexec(members.conn(1), b"begin")))
    assert txn.begin() == lib.OK
    assert members.begin(txn) == lib.EUSAGE and txn.reason.rm == b"ledger"
    assert txn.rollback() == lib.OK
    library.assent_pq_leave(members.array, 2)


def test_a_prepare_that_hangs_is_given_up_and_undone(bank, txn, members):
    assert txn.begin() == lib.OK and members.begin(txn) == lib.OK
    assert members.move(txn, 1) == lib.OK
    bank.ledger.close_gate()
    assert members.prepare(txn, 300) == lib.ETIMEOUT and txn.reason.rm == b"ledger"
    assert members.idle()
    bank.ledger.open_gate()
    assert txn.rollback() == lib.OK
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)
