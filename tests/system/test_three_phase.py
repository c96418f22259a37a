"""Three-phase commit with real processes: whoever is left finishes what a dead coordinator began.

Whatever is killed, all databases end the same way, and nothing stays prepared where a majority of
the acceptors lives.
"""

import contextlib
import itertools
import sys
import time

import pytest

import harness
from acceptors import ask, row, value
from harness import SOURCE, Database, wait_until

sys.path.insert(0, str(SOURCE / "tests" / "campaign"))
from network import Proxy  # noqa: E402  the tests' own bad network

numbers = itertools.count(1)
FINISHED_S = 15  # the promise; waiting ends with the condition


class Trio(harness.Bank):
    """A third database beside the two, all in three-phase commit."""

    def __init__(self, servers, folder, number):
        self.stock = Database("stock", servers[0], number, folder)
        super().__init__(servers, folder, number)
        for database in self.databases:
            more_conf(database, "termination_timeout = 2s")

    @property
    def databases(self):
        return super().databases + (self.stock,)

    @property
    def processes(self):
        return super().processes + (self.stock.agent,)

    def begin_work(self, *databases):
        """A transaction that takes one from account 1 of each database."""
        gtrid = self.ctl.begin("--protocol", "3pc")
        for database in databases or self.databases:
            self.ctl("exec", gtrid, database.rm,
                     "update account set balance = balance - 1 where id = 1", code=0)
        return gtrid


def more_conf(database, line):
    """One more key of the section [agent], which comes first."""
    text = database.conf.read_text()
    database.conf.write_text(text.replace("[agent]\n", f"[agent]\n{line}\n", 1))


@contextlib.contextmanager
def new_trio(run_folder, servers):
    folder = run_folder / f"trio{next(numbers)}"
    folder.mkdir()
    trio = Trio(servers, folder, folder.name)
    try:
        yield trio
    finally:
        trio.stop()


@pytest.fixture
def stopped_trio(run_folder, servers):
    with new_trio(run_folder, servers) as trio:
        yield trio


@pytest.fixture
def trio(stopped_trio):
    stopped_trio.start()
    return stopped_trio


def taken(database):
    return harness.BALANCE - database.balance(1)


def all_finish(*databases, seconds=FINISHED_S):
    """Nothing stays prepared, and all end the same way: whether the work is done."""
    for database in databases:
        wait_until(lambda: not database.prepared(), seconds, f"{database.rm} is finished")
    ends = {database.rm: taken(database) for database in databases}
    assert set(ends.values()) in ({0}, {1}), f"split: {ends}"
    return 1 in ends.values()


def all_prepared(trio, gtrid, *databases):
    for database in databases:
        wait_until(lambda: trio.branch_state(gtrid, database.rm) == "prepared", 10,
                   f"{database.rm} has voted")


def commit_to_the_gate(trio, gtrid, *others):
    """Start a commit; returns when the others have voted and accounts waits at its gate."""
    trio.accounts.close_gate()
    commit = trio.ctl.popen("commit", gtrid, "--wait", "decided")
    all_prepared(trio, gtrid, *others)
    return commit


def prepares(database):
    """Whether a PREPARE is under way there."""
    return database.sql("select 1 from pg_stat_activity where state = 'active'"
                        " and datname = current_database() and query like 'PREPARE%%'")


def kill_for_ever(trio, commit=None):
    trio.tm.kill()
    if commit:
        trio.ctl.finish(commit)


# ---- a coordinator that lives ----


def test_a_transaction_commits_in_three_phases(trio):
    gtrid = trio.begin_work()
    assert trio.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert all_finish(*trio.databases)
    for database in trio.databases:
        assert value(database, gtrid) == "committed"
        wait_until(lambda: ask(database, gtrid) == "committed", 10, "its agent knows it too")


def test_a_no_rolls_it_back_everywhere(trio):
    gtrid = trio.begin_work()
    trio.ctl("exec", gtrid, "stock", "insert into owner values (999)", code=0)
    answer = trio.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back" and answer["reason"]["rm"] == "stock"
    assert not all_finish(*trio.databases)


def test_a_branch_of_the_applications_own_connection_votes_too(trio):
    gtrid = trio.begin_work(trio.accounts, trio.ledger)
    trio.prepare_own(trio.stock, gtrid, -1)
    assert trio.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert all_finish(*trio.databases) and value(trio.stock, gtrid) == "committed"


def test_a_branch_that_only_reads_is_an_acceptor_all_the_same(trio):
    gtrid = trio.begin_work(trio.accounts, trio.ledger)
    trio.ctl("enlist", gtrid, "stock", "--read-only", code=0)
    trio.ctl("exec", gtrid, "stock", "select count(*) from account", code=0)
    assert trio.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert all_finish(trio.accounts, trio.ledger) and not trio.stock.prepared()
    wait_until(lambda: ask(trio.stock, gtrid) == "committed", 10, "it is told the outcome")


def test_a_living_coordinator_keeps_the_agents_quiet(trio):
    """Longer than their patience, and none of them leads."""
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    assert trio.ledger.sql("select pg_sleep(4)")
    assert row(trio.ledger, gtrid)[0] == 0, "nothing was promised"
    trio.accounts.open_gate()
    assert trio.ctl.finish(commit)["outcome"] == "committed"
    assert all_finish(*trio.databases)


# ---- the coordinator is gone for ever ----


def test_killed_before_precommit_all_roll_back(trio):
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    kill_for_ever(trio, commit)
    wait_until(lambda: ask(trio.ledger, gtrid) == "rolled-back", FINISHED_S, "it is decided")
    trio.accounts.open_gate()
    assert not all_finish(*trio.databases)
    assert {ask(database, gtrid) for database in trio.databases} == {"rolled-back"}


def kill_once_one_has_accepted(trio, gtrid, commit):
    """The coordinator, for ever. The other agents hear nothing before that."""
    trio.ledger.agent.pause()
    trio.stock.agent.pause()
    trio.accounts.open_gate()
    wait_until(lambda: value(trio.accounts, gtrid) == "committed", 10, "one has accepted")
    kill_for_ever(trio, commit)
    trio.ledger.agent.resume()
    trio.stock.agent.resume()


def test_killed_when_one_has_accepted_all_end_the_same_way(trio):
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    kill_once_one_has_accepted(trio, gtrid, commit)
    committed = all_finish(*trio.databases)
    known = "committed" if committed else "rolled-back"
    for database in trio.databases:
        wait_until(lambda: ask(database, gtrid) == known, FINISHED_S, f"{database.rm} knows it")


def test_killed_when_the_client_was_told_all_commit(trio):
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    trio.stock.agent.pause()
    trio.accounts.open_gate()
    told = trio.ctl.finish(commit)
    trio.tm.kill()
    assert told["outcome"] == "committed"
    trio.stock.agent.resume()
    assert all_finish(*trio.databases)
    wait_until(lambda: ask(trio.stock, gtrid) == "committed", 10, "the agent knows it")


def test_many_transactions_of_a_coordinator_that_is_killed_all_end(trio):
    gtrids = []
    for account in range(2, 9):
        gtrid = trio.ctl.begin("--protocol", "3pc")
        for database in trio.databases:
            trio.ctl("exec", gtrid, database.rm,
                     f"update account set balance = balance - 1 where id = {account}", code=0)
        gtrids.append(gtrid)
    commits = [trio.ctl.popen("commit", gtrid) for gtrid in gtrids]
    wait_until(lambda: any(database.prepared() for database in trio.databases), 10, "it votes")
    trio.tm.kill()
    for commit in commits:
        trio.ctl.finish(commit)
    for database in trio.databases:
        wait_until(lambda: not database.prepared(), 30, f"{database.rm} is finished")
    balances = [database.sql("select balance from account order by id")
                for database in trio.databases]
    assert balances[0] == balances[1] == balances[2]


def test_two_databases_and_a_coordinator_do_without_the_coordinator(trio):
    gtrid = trio.begin_work(trio.accounts, trio.ledger)
    commit = commit_to_the_gate(trio, gtrid, trio.ledger)
    trio.ledger.agent.pause()
    trio.accounts.open_gate()
    wait_until(lambda: value(trio.accounts, gtrid) == "committed", 10, "a majority has accepted")
    kill_for_ever(trio, commit)
    trio.ledger.agent.resume()
    assert all_finish(trio.accounts, trio.ledger), "the client may have been told"


def test_with_the_coordinator_and_one_of_two_agents_dead_it_waits_for_either(trio):
    gtrid = trio.begin_work(trio.accounts, trio.ledger)
    commit = commit_to_the_gate(trio, gtrid, trio.ledger)
    kill_for_ever(trio, commit)
    trio.accounts.agent.kill()
    trio.accounts.open_gate()
    wait_until(lambda: row(trio.ledger, gtrid)[0] > 0, FINISHED_S, "the other one leads")
    assert ask(trio.ledger, gtrid) == "in-progress" and trio.ledger.prepared()
    trio.accounts.agent.start()
    assert not all_finish(trio.accounts, trio.ledger)


def test_a_coordinator_that_returns_agrees_with_what_was_decided_without_it(trio):
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    trio.stock.agent.pause()
    trio.accounts.open_gate()
    wait_until(lambda: value(trio.accounts, gtrid) == "committed", 10, "one has accepted")
    kill_for_ever(trio, commit)
    trio.stock.agent.resume()
    known = "committed" if all_finish(*trio.databases) else "rolled-back"
    trio.tm.start()
    trio.wait_ready()
    wait_until(lambda: trio.outcome(gtrid) == known, FINISHED_S, "it agrees")


def test_a_witness_votes_where_it_holds_nothing(stopped_trio):
    """With it the coordinator and one of two agents may be dead."""
    trio = stopped_trio
    more_conf(trio.stock, "witness = on")
    trio.start()
    refused = trio.ctl("exec", trio.ctl.begin("--protocol", "3pc"), "stock", "select 1")
    assert refused.error == "rm_is_witness"
    gtrid = trio.begin_work(trio.accounts, trio.ledger)
    commit = commit_to_the_gate(trio, gtrid, trio.ledger)
    kill_for_ever(trio, commit)
    trio.accounts.agent.kill()
    trio.accounts.open_gate()
    assert not all_finish(trio.ledger)
    assert row(trio.stock, gtrid)[0] > 0, "the witness has voted"
    trio.accounts.agent.start()
    assert not all_finish(trio.accounts, trio.ledger)


def test_whose_database_may_have_lost_what_it_said_asks_others_to_lead(trio):
    """It is the only one that has anything prepared, so that nobody else would."""
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    kill_for_ever(trio, commit)
    for database in trio.databases:
        database.agent.kill()
    trio.accounts.sql("select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                      " where usename = 'shop' and datname = current_database()")
    trio.accounts.open_gate()
    for database in (trio.accounts, trio.stock):
        for gid in database.prepared():
            database.sql(f"rollback prepared '{gid}'")
    trio.ledger.sql("update assent.tm set votes_after_incarnation = 1,"
                    " votes_after_sequence = 1000000")
    for database in trio.databases:
        database.agent.start()
    assert not all_finish(*trio.databases)
    assert "asking the other acceptors" in trio.ledger.agent.log_text()
    assert row(trio.ledger, gtrid)[0] == 0, "it has promised nothing itself"
    assert max(row(database, gtrid)[0] for database in (trio.accounts, trio.stock)) >= 256


# ---- agents that come and go ----


def test_agents_that_start_again_without_the_coordinator_find_each_other(trio):
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    kill_for_ever(trio, commit)
    for database in trio.databases:
        database.agent.kill()
    trio.accounts.open_gate()
    for database in trio.databases:
        database.agent.start()
    assert not all_finish(*trio.databases, seconds=2 * FINISHED_S)
    assert ask(trio.stock, gtrid) == "rolled-back"


def test_a_leader_that_is_killed_while_it_leads_is_replaced(trio):
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    kill_for_ever(trio, commit)
    trio.accounts.agent.pause()
    trio.stock.agent.pause()
    wait_until(lambda: row(trio.ledger, gtrid)[0] > 0, FINISHED_S, "ledger leads")
    trio.ledger.agent.kill()
    trio.accounts.agent.resume()
    trio.stock.agent.resume()
    trio.accounts.open_gate()
    assert not all_finish(trio.accounts, trio.stock)
    trio.ledger.agent.start()
    assert not all_finish(*trio.databases)


def test_what_is_prepared_behind_the_decision_is_rolled_back(trio):
    """The acceptors decide while a PREPARE hangs, and one of them never answers that it knows."""
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    trio.ledger.agent.kill()
    trio.stock.agent.pause()
    kill_for_ever(trio, commit)
    wait_until(lambda: "nothing is heard" in trio.accounts.agent.log_text(), FINISHED_S,
               "accounts leads")
    trio.stock.agent.resume()
    wait_until(lambda: value(trio.accounts, gtrid) == "rolled-back", FINISHED_S, "it is decided")
    time.sleep(1)  # accounts has looked, and found nothing prepared
    assert prepares(trio.accounts)
    trio.accounts.open_gate()
    wait_until(lambda: not prepares(trio.accounts), 10, "its PREPARE has come through")
    assert not all_finish(trio.accounts, trio.stock)


def test_who_is_cut_off_waits_and_then_agrees(stopped_trio):
    """Nobody reaches stock; it reaches the others, and disturbs them with its ballots."""
    trio = stopped_trio
    address = f"{trio.stock.socket}.peers"
    cable = Proxy(address, str(trio.stock.socket), 1)
    more_conf(trio.stock, f"peer_url = ipc://{address}")
    trio.start()
    gtrid = trio.begin_work()
    commit = commit_to_the_gate(trio, gtrid, trio.ledger, trio.stock)
    cable.silent = "both"
    kill_once_one_has_accepted(trio, gtrid, commit)
    committed = all_finish(trio.accounts, trio.ledger, seconds=2 * FINISHED_S)
    assert trio.stock.prepared(), "it waits"
    cable.heal()
    assert all_finish(*trio.databases, seconds=2 * FINISHED_S) == committed
