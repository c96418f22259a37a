"""A database is set back to an old copy of its files, and nobody but its agent could know."""

import contextlib
import json
import shutil
import time

import pytest

import harness
from harness import Database, give_to_postgres, wait_until
from played import new_server
from test_three_phase import Trio, all_finish, kill_for_ever, numbers, commit_to_the_gate, more_conf


class SetBackTrio(Trio):
    """The third database has a server of its own."""

    def __init__(self, servers, folder, number, server):
        super().__init__(servers, folder, number)
        self.stock.drop()
        self.server = server
        self.stock = Database("stock", server, number, folder)
        more_conf(self.stock, "termination_timeout = 2s")
        self.state_file = folder / "stock.state"
        more_conf(self.stock, f"state_file = {self.state_file}")

    def copy_files(self):
        self.server.stop()
        shutil.copytree(self.server.data, self.copy)
        self.server.start()

    def back_up(self):
        """A copy of the server's files, as it ends; the agent is started anew behind it."""
        wait_until(lambda: self.stock.sql("select state_file from assent.agent") == [(True,)], 10)
        self.stock.agent.stop()
        self.copy_files()
        self.stock.agent.start()
        self.wait_ready()

    def set_back(self):
        self.server.crash()
        shutil.rmtree(self.server.data)
        self.copy.rename(self.server.data)
        give_to_postgres(self.server.data)
        self.server.start()

    @property
    def copy(self):
        return self.server.folder / "copy"


@pytest.fixture
def trio(run_folder, servers):
    folder = run_folder / f"back{next(numbers)}"
    folder.mkdir()
    with new_server(run_folder) as server:
        trio = SetBackTrio(servers, folder, folder.name, server)
        try:
            yield trio
        finally:
            trio.stop()


def commit_without_ledger(trio):
    """accounts and stock have accepted it, and the client was told; ledger has only voted.

    Its agent is dead, and not paused: that would find the COMMIT when it goes on."""
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    trio.ledger.agent.kill()
    trio.accounts.open_gate()
    assert trio.ctl.finish(commit)["outcome"] == "committed"
    wait_until(lambda: not trio.accounts.prepared() and not trio.stock.prepared(), 10)
    return gtrid


def ledger_waits(trio, seconds=4):
    """It asks, and nobody who may have forgotten something tells it to roll back."""
    trio.ledger.agent.start()
    wait_until(lambda: "asking the other acceptors" in trio.ledger.agent.log_text(), 15)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert trio.ledger.prepared(), "decided by a majority that has forgotten"
        time.sleep(0.2)


def state_of(trio, rm):
    agents = trio.ctl("agents").get("agents") or []  # nothing while the coordinator starts
    return next((agent["state"] for agent in agents if agent["rm"] == rm), None)


def everybody_is_back(trio):
    trio.accounts.agent.start()
    trio.tm.start()
    assert all_finish(trio.accounts, trio.ledger, seconds=20), "it was committed"
    wait_until(lambda: state_of(trio, "stock") == "quarantined", 20)


def test_an_agent_that_saw_its_database_lose_data_votes_on_nothing_before_it_is_accepted(trio):
    trio.start()
    trio.back_up()
    commit_without_ledger(trio)
    kill_for_ever(trio)
    trio.accounts.agent.kill()
    trio.set_back()
    wait_until(lambda: "starts over" in trio.stock.agent.log_text(), 15)
    ledger_waits(trio)
    # Nor after another start, which finds nothing strange any more.
    trio.stock.agent.kill()
    trio.stock.agent.start()
    trio.ledger.agent.kill()
    ledger_waits(trio)
    everybody_is_back(trio)


def test_what_no_beat_tells_is_seen_by_where_the_wal_ends(trio):
    """An acceptor's row, for one, is durable and raises no beat."""
    trio.start()
    trio.copy_files()
    wait_until(lambda: "connected to database" in trio.stock.agent.log_text(), 15)
    trio.stock.sql("create table lost as select generate_series(1, 1000)")
    time.sleep(2.5)  # it looks once a second
    trio.set_back()
    wait_until(lambda: "its WAL ends at byte" in trio.stock.agent.log_text(), 15)


def known_by_database(trio):
    [(incarnation, beat)] = trio.stock.sql(
        "select incarnation, assent.last('beat', 'bank') from assent.agent")
    return incarnation, beat


def known_by_file(trio):
    state = json.loads(trio.state_file.read_text())
    return int(state["incarnation"]), max([int(tm["beat"]) for tm in state["beats"]], default=0)


@pytest.mark.parametrize("what", ["an old copy", "the file is gone too"])
def test_a_database_that_is_set_back_while_its_agent_is_down_is_noticed(trio, what):
    trio.start()
    trio.back_up()
    commit_without_ledger(trio)
    wait_until(lambda: known_by_file(trio) == known_by_database(trio), 10)
    kill_for_ever(trio)
    trio.accounts.agent.kill()
    trio.stock.agent.kill()
    trio.set_back()
    if what == "the file is gone too":
        trio.state_file.unlink()
    trio.stock.agent.start()
    wait_until(lambda: "may have lost durable data while the agent was down"
               in trio.stock.agent.log_text(), 15)
    ledger_waits(trio)
    everybody_is_back(trio)


def test_an_agent_that_finds_all_that_its_state_file_says_votes_without_its_coordinator(trio):
    trio.start()
    commit_without_ledger(trio)
    wait_until(lambda: known_by_file(trio) == known_by_database(trio), 10)
    trio.tm.kill()
    trio.stock.agent.kill()
    trio.server.crash()
    trio.server.start()
    trio.stock.agent.start()
    trio.ledger.agent.start()
    assert all_finish(trio.accounts, trio.ledger, trio.stock)
    assert "lost durable data" not in trio.stock.agent.log_text()


def move(trio, *databases):
    gtrid = trio.ctl.begin()
    for database in databases:
        trio.ctl("exec", gtrid, database.rm,
                 "update account set balance = balance - 1 where id = 1", code=0)
    return gtrid


def test_nothing_is_committed_on_the_vote_of_a_database_in_quarantine(trio):
    trio.start()
    trio.back_up()
    trio.ctl("commit", move(trio, trio.stock, trio.ledger), code=0)
    gtrid = move(trio, trio.stock, trio.accounts)
    commit = commit_to_the_gate(trio, gtrid, trio.stock)
    trio.set_back()
    wait_until(lambda: state_of(trio, "stock") == "quarantined", 20)
    wait_until(lambda: trio.outcome(gtrid) == "rolled-back", 10)
    trio.ctl.finish(commit)
    answer = trio.ctl("outcome", gtrid)
    assert answer["reason"]["rm"] == "stock"
    assert "quarantine" in answer["reason"]["message"]
    trio.accounts.open_gate()
    wait_until(lambda: not trio.accounts.prepared() and not trio.stock.prepared(), 10)
    assert trio.accounts.balance(1) == harness.BALANCE


def test_a_database_that_has_forgotten_its_coordinator_is_noticed_though_the_answer_is_lost(trio):
    trio.copy_files()
    trio.start()
    wait_until(lambda: trio.stock.sql("select 1 from assent.tm where identity is not null"), 10)
    trio.tm.kill()
    trio.stock.agent.kill()
    trio.set_back()
    trio.stock.agent.start()
    wait_until(lambda: trio.stock.agent.log_text().count("serving stock") == 2, 20)
    with contextlib.closing(trio.server.connect(trio.stock.name, autocommit=False)) as held:
        held.cursor().execute("lock table assent.tm in exclusive mode")
        trio.tm.start()
        wait_until(lambda: trio.stock.sql("select 1 from pg_stat_activity where wait_event_type ="
                                          " 'Lock' and query like '%%assent.enroll%%'"), 20)
        trio.tm.kill()
    wait_until(lambda: trio.stock.sql("select 1 from assent.tm"), 10)
    trio.tm.start()
    wait_until(lambda: state_of(trio, "stock") == "quarantined", 20)
    # Until a DBA takes it as it is.
    trio.ctl("agents", "release", "stock", "--reason", "nothing was there yet", "--yes", code=0)
    wait_until(lambda: state_of(trio, "stock") == "up", 20)
    assert trio.ctl("commit", move(trio, trio.stock, trio.ledger), code=0)["outcome"] == "committed"
