"""<tx.h>: the state table of the X/Open specification, cell by cell, and its return codes."""

import ctypes
import threading

import pytest

import harness
import libassent as lib
from harness import wait_until
from test_libassent import GIVE, TAKE, bank  # noqa: F401: a fixture

tx = ctypes.CDLL(str(harness.BUILD / "lib/.libs/libassent-tx.so.0"))
tx.tx_assent.restype = lib.pointer
libc = ctypes.CDLL(None)

OK, ROLLBACK, HAZARD, PROTOCOL_ERROR, ERROR, EINVAL, COMMITTED = 0, -2, -4, -5, -6, -8, -9
NO_BEGIN = -100
UNCHAINED, CHAINED = 0, 1
COMPLETED, DECISION_LOGGED = 0, 1


class Xid(ctypes.Structure):
    _fields_ = [("formatID", ctypes.c_long), ("gtrid_length", ctypes.c_long),
                ("bqual_length", ctypes.c_long), ("data", ctypes.c_char * 128)]


class Info(ctypes.Structure):
    _fields_ = [("xid", Xid), ("when_return", ctypes.c_long), ("transaction_control", ctypes.c_long),
                ("transaction_timeout", ctypes.c_long), ("transaction_state", ctypes.c_long)]


for name in ("commit_return", "transaction_control", "transaction_timeout"):
    getattr(tx, "tx_set_" + name).argtypes = [ctypes.c_long]


def info():
    told = Info()
    code = tx.tx_info(ctypes.byref(told))
    return code, told


@pytest.fixture(autouse=True)
def closed(bank):
    """Each test begins and ends in S0."""
    libc.setenv(b"ASSENT_URL", bank.url.encode(), 1)
    yield
    if tx.tx_info(None) >= 0:
        tx.tx_set_transaction_control(UNCHAINED)
        if tx.tx_info(None) == 1:
            tx.tx_rollback()
        assert tx.tx_close() == OK
    libc.unsetenv(b"ASSENT_URL")


class Branches(lib.Transaction):
    """The thread's transaction, to work in."""

    def __init__(self):
        self.handle = lib.pointer(tx.tx_assent())
        self.polls = 0


def move(amount=1):
    work = Branches()
    return work.exec("accounts", TAKE, amount, 1) or work.exec("ledger", GIVE, amount, 1)


# ---- the state table ----

CALLS = {
    "tx_open": tx.tx_open,
    "tx_close": tx.tx_close,
    "tx_begin": tx.tx_begin,
    "tx_commit": tx.tx_commit,
    "tx_rollback": tx.tx_rollback,
    "tx_info": lambda: min(tx.tx_info(None), OK),
    "tx_set_commit_return": lambda: tx.tx_set_commit_return(COMPLETED),
    "tx_set_transaction_timeout": lambda: tx.tx_set_transaction_timeout(60),
    "chained": lambda: tx.tx_set_transaction_control(CHAINED),
    "unchained": lambda: tx.tx_set_transaction_control(UNCHAINED),
}

# What follows each state; None is TX_PROTOCOL_ERROR, and the state stays.
TABLE = {
    #                              S0    S1    S2    S3    S4
    "tx_open":                    ("S1", "S1", "S2", "S3", "S4"),
    "tx_close":                   ("S0", "S0", "S0", None, None),
    "tx_begin":                   (None, "S3", "S4", None, None),
    "tx_commit":                  (None, None, None, "S1", "S4"),
    "tx_rollback":                (None, None, None, "S1", "S4"),
    "tx_info":                    (None, "S1", "S2", "S3", "S4"),
    "tx_set_commit_return":       (None, "S1", "S2", "S3", "S4"),
    "tx_set_transaction_timeout": (None, "S1", "S2", "S3", "S4"),
    "chained":                    (None, "S2", "S2", "S4", "S4"),
    "unchained":                  (None, "S1", "S1", "S3", "S3"),
}
STATES = ("S0", "S1", "S2", "S3", "S4")
WAY = {"S0": (), "S1": ("tx_open",), "S2": ("tx_open", "chained"), "S3": ("tx_open", "tx_begin"),
       "S4": ("tx_open", "chained", "tx_begin")}


def state():
    code, told = info()
    if code == PROTOCOL_ERROR:
        return "S0"
    return {(0, UNCHAINED): "S1", (0, CHAINED): "S2",
            (1, UNCHAINED): "S3", (1, CHAINED): "S4"}[code, told.transaction_control]


@pytest.mark.parametrize("call", TABLE)
@pytest.mark.parametrize("at", STATES)
def test_a_cell_of_the_state_table(at, call):
    for step in WAY[at]:
        assert CALLS[step]() == OK
    assert state() == at
    follows = TABLE[call][STATES.index(at)]
    assert CALLS[call]() == (OK if follows else PROTOCOL_ERROR)
    assert state() == (follows or at)


# ---- transactions ----

def test_a_commit_happens_in_both_databases(bank):
    assert tx.tx_open() == tx.tx_begin() == OK
    assert move(30) == lib.OK
    assert tx.tx_commit() == OK and not tx.tx_assent()
    assert bank.balances() == (70, 130)


def test_a_rollback_happens_in_none(bank):
    assert tx.tx_open() == tx.tx_begin() == OK
    assert move(30) == lib.OK
    assert tx.tx_rollback() == OK
    assert bank.balances() == (100, 100)


def test_what_cannot_be_committed_is_rolled_back(bank):
    assert tx.tx_open() == tx.tx_begin() == OK
    assert move(1000) == lib.ESQL
    assert tx.tx_commit() == ROLLBACK
    assert bank.balances() == (100, 100)


def test_a_chain_goes_from_transaction_to_transaction(bank):
    assert tx.tx_open() == tx.tx_set_transaction_control(CHAINED) == tx.tx_begin() == OK
    gtrids = set()
    for _ in range(3):
        gtrids.add(bytes(info()[1].xid.data))
        assert move(1) == lib.OK and tx.tx_commit() == OK
    assert len(gtrids) == 3 and bank.balances() == (97, 103)


def test_info_tells_the_xid_and_the_characteristics(bank):
    assert tx.tx_open() == OK
    code, told = info()
    assert code == 0 and told.xid.formatID == -1
    assert (told.when_return, told.transaction_control, told.transaction_timeout) == (0, 0, 0)
    assert tx.tx_set_commit_return(DECISION_LOGGED) == tx.tx_set_transaction_timeout(60) == OK
    assert tx.tx_begin() == OK
    code, told = info()
    assert code == 1 and told.xid.formatID == harness.FORMAT_ID
    assert told.xid.data[:told.xid.gtrid_length].startswith(b"bank.")
    assert (told.when_return, told.transaction_timeout, told.transaction_state) == (1, 60, 0)
    assert tx.tx_commit() == OK


def test_a_timeout_is_told_and_rolls_back(bank):
    assert tx.tx_open() == tx.tx_set_transaction_timeout(1) == tx.tx_begin() == OK
    assert move() == lib.OK
    wait_until(lambda: info()[1].transaction_state == 1, what="TX_TIMEOUT_ROLLBACK_ONLY")
    assert tx.tx_commit() == ROLLBACK
    assert bank.balances() == (100, 100)


def test_values_out_of_range_are_refused(bank):
    assert tx.tx_open() == OK
    assert tx.tx_set_commit_return(7) == tx.tx_set_transaction_control(7) == EINVAL
    assert tx.tx_set_transaction_timeout(-1) == tx.tx_set_transaction_timeout(1 << 40) == EINVAL


def test_each_thread_has_a_state_of_its_own(bank):
    assert tx.tx_open() == tx.tx_begin() == OK
    seen = []
    other = threading.Thread(target=lambda: seen.append(tx.tx_begin()))
    other.start()
    other.join()
    assert seen == [PROTOCOL_ERROR]


def test_without_a_coordinator_it_does_not_open(bank):
    libc.setenv(b"ASSENT_URL", b"ipc:///nonexistent/sock", 1)
    assert tx.tx_open() == ERROR
    libc.unsetenv(b"ASSENT_URL")
    assert tx.tx_open() == ERROR


# ---- a chain that cannot go on ----

def test_committed_and_no_begin(bank):
    """A coordinator that is told to stop finishes what was begun, and begins nothing more."""
    assert tx.tx_open() == tx.tx_set_transaction_control(CHAINED) == tx.tx_begin() == OK
    gtrid = bytes(info()[1].xid.data).decode().rstrip("\0")
    assert move() == lib.OK
    bank.accounts.close_gate()

    def stop():
        wait_until(lambda: bank.branch_state(gtrid, "ledger") == "prepared")
        bank.tm.send(harness.signal.SIGTERM)
        wait_until(lambda: bank.ctl("status").get("state") == "draining")
        bank.accounts.open_gate()

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert tx.tx_commit() == NO_BEGIN
    stopper.join()
    assert state() == "S2" and bank.balances() == (99, 101)
    bank.start()


def test_hazard_and_no_begin(bank):
    assert tx.tx_open() == tx.tx_set_transaction_control(CHAINED) == tx.tx_begin() == OK
    bank.tm.kill()
    assert tx.tx_rollback() == HAZARD + NO_BEGIN
    assert state() == "S2"
    bank.start()
