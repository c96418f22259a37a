"""One bad transaction, agent or name keeps neither the coordinator from starting nor the others
from being settled: it is set apart, and shown."""

import contextlib
import socket
import threading

from harness import gid_of, wait_until
from test_in_doubt import commit_that_ledger_may_not_finish, item, own_transfer, report


def agent_state(bank, rm):
    answer = bank.ctl("agents")
    return next((agent for agent in answer.reply.get("agents", ()) if agent["rm"] == rm), None)


def work_at_accounts(bank, amount=-10):
    """A transaction that needs accounts alone."""
    gtrid = bank.ctl.begin()
    bank.ctl("exec", gtrid, "accounts", "update account set balance = balance + $1 where id = 2",
             amount, code=0)
    assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"


def answered(bank):
    return [agent["answered"] for agent in report(bank)["agents"]]


def start_with_accounts_alone(bank):
    bank.accounts.agent.start()
    bank.tm.start()
    wait_until(lambda: (agent_state(bank, "accounts") or {}).get("state") == "up", 20)


@contextlib.contextmanager
def listener(path, serve):
    """Somebody else at an agent's address."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with contextlib.suppress(OSError):
                    serve(connection)
                connection.close()
    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        path.unlink()


# ---- one bad agent ----

def test_an_agent_that_speaks_nonsense_is_shown_as_down_and_the_others_work(stopped_bank):
    bank = stopped_bank

    def nonsense(connection):
        connection.sendall(b"\0SP\0\0\x31\0\0" + b"\xff" * 64)
    with listener(bank.ledger.socket, nonsense):
        start_with_accounts_alone(bank)
        work_at_accounts(bank)
        assert agent_state(bank, "ledger")["state"] == "down"
        wait_until(lambda: answered(bank) == [True, False], 30)


def test_an_agent_that_never_answers_is_shown_as_down_and_the_others_work(bank):
    bank.ledger.agent.pause()
    work_at_accounts(bank)
    wait_until(lambda: agent_state(bank, "ledger")["state"] == "down", 30)
    work_at_accounts(bank)
    bank.ledger.agent.resume()


def test_an_agent_whose_address_cannot_be_dialled_does_not_keep_the_coordinator_from_starting(
        stopped_bank):
    bank = stopped_bank
    bank.conf.write_text(bank.conf.read_text().replace(bank.ledger.url, f"ipc:///{'x' * 120}"))
    start_with_accounts_alone(bank)
    work_at_accounts(bank)
    ledger = agent_state(bank, "ledger")
    assert ledger["state"] == "down" and "xxx" in ledger["last_error"]


def test_an_agent_of_another_name_is_set_apart(stopped_bank):
    """Both addresses lead to the agent of accounts."""
    bank = stopped_bank
    bank.conf.write_text(bank.conf.read_text().replace(bank.ledger.url, bank.accounts.url))
    start_with_accounts_alone(bank)
    wait_until(lambda: agent_state(bank, "ledger")["state"] == "refused")
    wait_until(lambda: "another resource manager" in agent_state(bank, "ledger")["last_error"])
    work_at_accounts(bank)


# ---- one bad transaction ----

def test_a_transaction_that_cannot_be_applied_keeps_no_other_waiting(bank):
    with commit_that_ledger_may_not_finish(bank) as (stuck, grant):
        gtrid = bank.ctl.begin()
        for rm, sign in (("accounts", "-"), ("ledger", "+")):
            bank.ctl("exec", gtrid, rm,
                     f"update account set balance = balance {sign} 5 where id = 3", code=0)
        assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
        assert item(report(bank), stuck, "ledger")["verdict"] == "will-commit"
        bank.ledger.sql(grant)
        wait_until(bank.nothing_prepared, 20)


def test_names_that_nobody_can_read_disturb_neither_a_scan_nor_a_report(bank):
    odd = ["1095978580_", "1095978580_YmFuay4xLjE=_", "x" * 199, "ünïcödé ✂", "-- ;",
           "1095978580_YmFuay4xLjE=_" + "A" * 4, gid_of("bank.99.1", "accounts"),
           gid_of("bank.1.999999", "accounts")]
    with contextlib.closing(bank.accounts.connect()) as connection:
        cursor = connection.cursor()
        for gid in odd:
            cursor.execute("begin")
            cursor.execute("prepare transaction %s", (gid,))
    wait_until(lambda: answered(bank) == [True, True], 30)
    found = report(bank)
    assert {foreign["gid"] for foreign in found["foreign"]} == set(odd[:6])
    for gtrid in ("bank.99.1", "bank.1.999999"):
        strange = item(found, gtrid, "accounts")
        assert strange["verdict"] == "unknown" and "never gave out" in strange["reason"]
    # A branch beside them is found by the scan of the next start, and rolled back.
    gtrid, gids = own_transfer(bank)
    bank.tm.kill()
    bank.tm.start()
    wait_until(lambda: not set(gids) & set(bank.accounts.prepared() + bank.ledger.prepared()), 20)
    assert bank.outcome(gtrid) == "rolled-back"
    with contextlib.closing(bank.accounts.connect(user="postgres")) as connection:
        for gid in bank.accounts.prepared():
            connection.cursor().execute("rollback prepared %s", (gid,))
