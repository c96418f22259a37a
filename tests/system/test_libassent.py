"""libassent against the real daemons: every promise of <assent.h>."""

import contextlib
import threading
import time
import uuid

import pytest

import libassent as lib
from harness import wait_until

TAKE = "update account set balance = balance - $1 where id = $2"
GIVE = "update account set balance = balance + $1 where id = $2"


@pytest.fixture
def bank(shared_bank):
    """The same one for all, as good as new."""
    if shared_bank.tm.running():
        shared_bank.tm.resume()
    shared_bank.start()
    for database in shared_bank.databases:
        database.open_gate()
    shared_bank.end_transactions()
    wait_until(shared_bank.nothing_prepared)
    for database in shared_bank.databases:
        database.sql("update account set balance = 100")
    return shared_bank


@pytest.fixture
def client(bank):
    with contextlib.closing(lib.Client(bank.url)) as client:
        yield client


@pytest.fixture(params=["blocking", "non-blocking"])
def both(request, client):
    """A transaction, used in one way and then in the other."""
    txn = client.new()
    if request.param == "non-blocking":
        txn.set_nonblocking()
    yield txn
    assert txn.polls == 0 or request.param == "non-blocking"
    txn.free()


@pytest.fixture
def txn(client):
    txn = client.new()
    yield txn
    txn.free()


def move(txn, amount=1):
    return txn.exec("accounts", TAKE, amount, 1) or txn.exec("ledger", GIVE, amount, 1)


# ---- the way of a transaction ----

def test_a_transfer_commits_in_both_databases(bank, both):
    assert both.begin() == lib.OK
    assert both.gtrid.startswith("bank.")
    assert move(both, 30) == lib.OK
    assert both.commit() == lib.OK and both.applied
    assert bank.balances() == (70, 130)
    assert both.outcome() == lib.OK and both.outcome_told == "committed"


def test_a_transfer_may_be_committed_in_three_phases(bank, both):
    assert both.begin(protocol="3pc") == lib.OK and move(both, 30) == lib.OK
    assert bank.ctl("show", both.gtrid)["transaction"]["protocol"] == "3pc"
    assert both.commit() == lib.OK and both.applied
    assert bank.balances() == (70, 130)


def test_a_rolled_back_transfer_has_not_happened(bank, both):
    assert both.begin() == lib.OK and move(both, 30) == lib.OK
    assert both.rollback() == lib.OK
    assert bank.balances() == (100, 100)
    assert both.outcome() == lib.OK and both.outcome_told == "rolled-back"


def test_rows_come_as_postgresql_writes_them(bank, both):
    assert both.begin() == lib.OK
    assert both.exec("accounts", "select id, null as nothing, $1::text as said from account"
                     " where id <= 2 order by id", 'a "quoted"\nline, é') == lib.OK
    assert both.result.names == ["id", "nothing", "said"]
    assert both.result.rows == [[b"1", None, 'a "quoted"\nline, é'.encode()],
                                [b"2", None, 'a "quoted"\nline, é'.encode()]]
    assert both.exec("accounts", "select $1::int is null", None) == lib.OK
    assert both.result.rows == [[b"t"]]
    assert both.exec("accounts", "update account set balance = 1 where id = 1") == lib.OK
    assert both.result.command == "UPDATE 1" and both.result.rows == []
    assert both.rollback() == lib.OK


def test_a_statement_that_postgresql_refuses_tells_its_sqlstate(bank, txn):
    assert txn.begin() == lib.OK
    assert txn.exec("accounts", TAKE, 1000, 1) == lib.ESQL
    assert txn.reason.sqlstate == b"23514" and not txn.reason.retryable
    assert txn.exec("accounts", "select 1") == lib.ESQL  # as in PostgreSQL itself
    assert txn.commit() == lib.EABORTED
    assert txn.reason.rm == b"accounts"


def test_a_savepoint_outlives_a_refused_statement(bank, txn):
    assert txn.begin() == lib.OK and move(txn) == lib.OK
    assert txn.exec("accounts", "savepoint here") == lib.OK
    assert txn.exec("accounts", TAKE, 1000, 1) == lib.ESQL
    assert txn.exec("accounts", "rollback to here") == lib.OK
    assert txn.commit() == lib.OK
    assert bank.balances() == (99, 101)


def test_a_database_that_refuses_to_prepare_aborts_everywhere(bank, txn):
    assert txn.begin() == lib.OK and move(txn) == lib.OK
    assert txn.exec("ledger", "insert into owner values (99)") == lib.OK  # checked when it ends
    assert txn.commit() == lib.EABORTED
    assert txn.reason.rm == b"ledger" and txn.reason.sqlstate == b"23503"
    assert not txn.reason.retryable
    assert bank.balances() == (100, 100)
    assert txn.rollback() == lib.OK


def test_branches_on_connections_of_ones_own(bank, txn):
    assert txn.begin() == lib.OK
    for database, amount in ((bank.accounts, -5), (bank.ledger, 5)):
        assert txn.enlist(database.rm) == lib.OK
        with contextlib.closing(database.connect(autocommit=False)) as connection:
            connection.tpc_begin(connection.xid(txn.branch.format_id, txn.branch.gtrid.decode(),
                                                txn.branch.bqual.decode()))
            connection.cursor().execute("update account set balance = balance + %s where id = 1",
                                        (amount,))
            connection.tpc_prepare()
        assert database.prepared() == [txn.branch.gid.decode()]
    assert txn.commit() == lib.OK
    assert bank.balances() == (95, 105)


def test_a_branch_that_nobody_prepared_aborts(bank, txn):
    assert txn.begin() == lib.OK and txn.enlist("accounts") == lib.OK
    assert txn.commit() == lib.EABORTED
    assert b"branch_not_prepared" in txn.reason.message and not txn.reason.retryable


def test_further_branches_have_names(bank, txn):
    assert txn.begin() == lib.OK
    assert txn.exec("accounts/one", TAKE, 1, 1) == lib.OK
    assert txn.exec("accounts/two", TAKE, 1, 2) == lib.OK
    assert txn.enlist("accounts", branch="one") == lib.OK
    assert txn.commit() == lib.OK
    assert bank.accounts.balance(1) == bank.accounts.balance(2) == 99


def test_lists_and_whatever_else_can_be_asked(bank, client, txn, both):
    assert txn.begin(label="month's end") == lib.OK and move(txn) == lib.OK
    assert both.list() == lib.OK and both.listed[txn.gtrid] == ("active", "month's end")
    assert both.list("committing") == lib.OK and both.listed == {}
    assert both.list("nonsense") == lib.EREFUSED and both.code == "invalid_request"
    assert both.ask('{"op":"agents"}') == lib.OK and b'"rm":"ledger"' in both.reply
    assert both.ask('{"op":"levitate"}') == lib.OK and b"unknown_operation" in both.reply
    assert txn.rollback() == lib.OK


def test_the_program_is_named_to_whoever_looks(bank, txn):
    assert txn.begin(label="month's end") == lib.OK
    shown = bank.ctl("show", txn.gtrid)["transaction"]
    assert shown["label"] == "month's end" and shown["application"].startswith("python")
    assert shown["application"] in bank.ctl.text("list")[1]


# ---- what cannot be asked for ----

def test_calls_out_of_order_are_told_so_and_ask_nobody(bank, client, txn):
    assert txn.commit() == txn.enlist("accounts") == txn.exec("accounts", "select 1") == lib.EUSAGE
    assert txn.outcome() == lib.EUSAGE and txn.rollback() == lib.OK
    assert txn.begin() == lib.OK and txn.begin() == lib.EUSAGE
    assert txn.attach("bank.1.1") == lib.EUSAGE and txn.outcome_of_key("k") == lib.EUSAGE
    assert txn.commit() == lib.OK and txn.commit() == lib.EUSAGE
    assert txn.rollback() == lib.ECOMMITTED
    assert txn.exec("accounts", "select 1") == lib.EUSAGE and txn.code == "wrong_state"


def test_while_a_call_is_under_way_no_other_can_start(bank, client):
    txn = client.new()
    txn.set_nonblocking()
    bank.tm.pause()
    assert lib.library.assent_begin(txn.handle, None, 0) == lib.EAGAIN
    assert lib.library.assent_complete(txn.handle) == lib.EAGAIN
    assert lib.library.assent_commit(txn.handle, 0, 0) == lib.EUSAGE
    bank.tm.resume()
    assert txn.settle(lib.EAGAIN) == lib.OK
    assert lib.library.assent_complete(txn.handle) == lib.EUSAGE
    bank.tm.pause()
    assert lib.library.assent_rollback(txn.handle, 0) == lib.EAGAIN
    txn.free()  # in the middle of a call
    bank.tm.resume()


def test_urls_are_checked(bank):
    for urls in ("", "nonsense", "ipc://relative", "tcp://host", "tcp://:1", "ipc:///" + "x" * 200,
                 f"{bank.url},nonsense"):
        assert lib.Client(urls).rc == lib.EUSAGE, urls


def test_the_environment_says_where(bank, monkeypatch):
    monkeypatch.delenv("ASSENT_URL", raising=False)
    assert lib.Client(None).rc == lib.EUSAGE
    libc = lib.ctypes.CDLL(None)
    libc.setenv(b"ASSENT_URL", bank.url.encode(), 1)
    try:
        with contextlib.closing(lib.Client(None)) as client:
            txn = client.new()
            assert txn.begin() == lib.OK and txn.rollback() == lib.OK
            txn.free()
    finally:
        libc.unsetenv(b"ASSENT_URL")


def test_what_does_not_exist_is_named(bank, txn, client):
    assert txn.begin() == lib.OK
    assert txn.exec("nowhere", "select 1") == lib.EREFUSED and txn.code == "unknown_rm"
    assert txn.exec("n" * 100, "select 1") == lib.EREFUSED and txn.code == "unknown_rm"
    assert txn.rollback() == lib.OK
    other = client.new()
    assert other.attach("bank.1.999999") == lib.OK
    assert other.outcome() == other.commit() == lib.ENOTKNOWN
    other.free()


# ---- answers that do not come ----

def test_a_commit_without_an_answer_is_settled_by_asking(bank, both, client):
    assert both.begin() == lib.OK and move(both) == lib.OK
    bank.accounts.close_gate()
    assert both.commit(wait_ms=300) == lib.EUNKNOWN
    assert both.outcome() == lib.OK and both.outcome_told == "in-progress"
    bank.accounts.open_gate()
    wait_until(lambda: both.outcome() == lib.OK and both.outcome_told == "committed")
    wait_until(lambda: bank.balances() == (99, 101))  # decided first, applied then


def test_a_coordinator_that_hangs_is_not_waited_for_beyond_the_deadline(bank, both):
    assert both.begin() == lib.OK and move(both) == lib.OK
    bank.tm.pause()
    before = time.monotonic()
    assert both.commit(wait_ms=300) == lib.EUNKNOWN
    assert lib.library.assent_settle(both.handle, 100) == lib.EUNKNOWN
    assert both.outcome(wait_ms=200) == lib.ETIMEOUT and both.reason.retryable
    assert time.monotonic() - before < 5
    bank.tm.resume()
    assert lib.library.assent_settle(both.handle, 30000) == lib.OK
    assert both.outcome() == lib.OK and both.outcome_told == "committed"


def test_nobody_there_is_unreachable(bank, both):
    bank.tm.stop()
    assert both.begin(wait_ms=200) == lib.EUNREACHABLE
    assert both.code == "unreachable" and both.reason.retryable


def test_a_begin_waits_for_a_coordinator_that_is_starting(bank, both):
    bank.tm.kill()
    starter = threading.Timer(0.3, bank.tm.start)
    starter.start()
    assert both.begin(wait_ms=30000) == lib.OK
    starter.join()
    bank.wait_ready()


def test_a_commit_outlives_a_coordinator_that_dies(bank, txn):
    assert txn.begin() == lib.OK and move(txn) == lib.OK
    bank.accounts.close_gate()
    dead = threading.Timer(0.3, lambda: (bank.tm.kill(), bank.tm.start()))
    dead.start()
    code = txn.commit(wait_ms=30000)
    dead.join()
    bank.accounts.open_gate()
    # It had not decided, so nothing has happened; and that is what it says once it is back.
    assert code == lib.EABORTED and txn.reason.retryable
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_the_next_address_is_asked(bank):
    missing = bank.folder / "nobody.sock"
    with contextlib.closing(lib.Client(f"ipc://{missing}, {bank.url}")) as client:
        txn = client.new()
        assert txn.begin() == lib.OK and move(txn) == lib.OK and txn.commit() == lib.OK
        txn.free()
    assert bank.balances() == (99, 101)


def test_a_statement_without_an_answer_spoils_the_transaction(bank, txn):
    assert txn.begin() == lib.OK and move(txn) == lib.OK
    assert txn.exec("accounts", "select pg_sleep(3)", wait_ms=200) == lib.ETIMEOUT
    assert txn.exec("accounts", "select 1") == lib.EUSAGE
    assert txn.commit() == lib.EUSAGE and b"roll back" in txn.reason.message
    assert txn.rollback() == lib.OK
    wait_until(lambda: bank.balances() == (100, 100))


def test_a_session_that_was_lost_is_told_and_worth_another_run(bank, txn):
    assert txn.begin() == lib.OK and move(txn) == lib.OK
    bank.ledger.agent.kill()
    bank.ledger.agent.start()
    assert txn.exec("ledger", GIVE, 1, 1, wait_ms=20000) == lib.EREFUSED
    assert txn.code == "branch_lost" and txn.reason.retryable
    assert txn.rollback() == lib.OK
    bank.wait_ready()


# ---- exactly once, by key ----

def test_a_key_can_be_used_once(bank, client, both):
    key = str(uuid.uuid4())
    assert both.begin(key=key) == lib.OK and move(both) == lib.OK
    again = client.new()
    assert again.begin(key=key) == lib.EKEY and again.gtrid == both.gtrid
    assert again.outcome() == lib.OK and again.outcome_told == "in-progress"
    assert both.commit() == lib.OK
    assert again.outcome() == lib.OK and again.outcome_told == "committed"
    again.free()


def test_the_outcome_of_a_key_is_known_after_everybodys_crash(bank, client):
    txn = client.new()
    assert txn.begin(key="invoice 8") == lib.OK and move(txn) == lib.OK
    assert txn.commit(lib.DECIDED) == lib.OK
    gtrid = txn.gtrid
    txn.free()
    bank.tm.kill()
    bank.tm.start()
    bank.wait_ready()
    with contextlib.closing(lib.Client(bank.url)) as later:
        txn = later.new()
        assert txn.outcome_of_key("invoice 8") == lib.OK and txn.outcome_told == "committed"
        assert txn.gtrid == gtrid
        assert txn.begin(key="invoice 8") == lib.EUSAGE  # that one is over
        other = later.new()
        assert other.outcome_of_key("invoice 9") == lib.ENOTKNOWN
        assert other.begin(key="invoice 8") == lib.EKEY
        txn.free()
        other.free()


# ---- run again ----

def test_a_block_is_run_until_it_does_not_collide(bank, client):
    """Two serializable transactions that read what the other writes: one has to run again."""
    meeting = threading.Barrier(2, timeout=20)
    runs = {}

    def work(reads, writes):
        def block(txn):
            runs[reads] = runs.get(reads, 0) + 1
            first = runs[reads] == 1
            code = txn.enlist("accounts", isolation="serializable")
            code = code or txn.exec("accounts", "select balance from account where id = $1", reads)
            if first:
                meeting.wait()
            code = code or txn.exec("accounts", TAKE, 1, writes)
            code = code or txn.exec("ledger", GIVE, 1, writes)
            if first and code == lib.OK:
                with contextlib.suppress(threading.BrokenBarrierError):
                    meeting.wait()
            return code
        txn = client.new()
        codes.append(txn.run(block, 30000))
        txn.free()

    codes = []
    threads = [threading.Thread(target=work, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [lib.OK, lib.OK] and sum(runs.values()) > 2
    assert [bank.ledger.balance(account) for account in (1, 2)] == [101, 101]


def test_a_block_that_fails_for_good_is_not_run_again(bank, txn):
    runs = []
    assert txn.run(lambda txn: runs.append(1) or txn.exec("accounts", TAKE, 1000, 1)) == lib.ESQL
    assert len(runs) == 1 and txn.reason.sqlstate == b"23514"
    assert bank.balances() == (100, 100)


def test_a_block_can_change_its_mind(bank, txn):
    assert txn.run(lambda txn: move(txn) or 7) == 7
    assert bank.balances() == (100, 100)


def test_a_run_waits_for_the_outcome_and_not_only_for_an_answer(bank, txn):
    bank.accounts.close_gate()
    dead = threading.Timer(0.5, lambda: (bank.tm.kill(), bank.accounts.open_gate(), bank.tm.start()))
    dead.start()
    assert txn.run(move, 60000) == lib.OK
    dead.join()
    wait_until(lambda: bank.balances() == (99, 101))
    bank.wait_ready()


# ---- threads ----

def test_one_client_serves_many_threads(bank, client):
    def work(account):
        for _ in range(5):
            txn = client.new()
            codes.append(txn.begin() or txn.exec("accounts", TAKE, 1, account)
                         or txn.exec("ledger", GIVE, 1, account) or txn.commit())
            txn.free()

    codes = []
    threads = [threading.Thread(target=work, args=(account,)) for account in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [lib.OK] * 40
    assert [bank.ledger.balance(account) for account in range(1, 9)] == [105] * 8


def test_every_code_has_words():
    words = [lib.library.assent_strerror(code).decode() for code in range(0, -14, -1)]
    assert len(set(words)) == 14 and all(words)
    assert lib.library.assent_strerror(1) == lib.library.assent_strerror(-14) == b"no code of Assent's"
