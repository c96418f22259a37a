"""Three-phase commit as an application and a DBA meet it: begin, show, in-doubt, resolve, the log."""

import json
import subprocess

import pytest

from conftest import numbers
from harness import Assentctl, Bank, Database, program, wait_until
from test_operations import Desk, blocks


class Three(Bank):
    """A bank with a third database: three acceptors, none of them the coordinator's log."""

    def __init__(self, servers, folder, number):
        self.stock = Database("stock", servers[0], number, folder)
        super().__init__(servers, folder, number)

    @property
    def databases(self):
        return (self.accounts, self.ledger, self.stock)

    @property
    def processes(self):
        return (self.tm, *(database.agent for database in self.databases))

    def begin_three(self, amount):
        """Half of it to each of the others."""
        gtrid = self.ctl.begin("--protocol", "3pc")
        for rm, change in (("accounts", -2 * amount), ("ledger", amount), ("stock", amount)):
            self.ctl("exec", gtrid, rm,
                     "update account set balance = balance + $1 where id = 1", change, code=0)
        return gtrid

    def balances(self):
        return tuple(database.balance(1) for database in self.databases)

    def nothing_prepared(self):
        return not any(database.prepared() for database in self.databases)

    def leave_one_acceptor(self, gtrid):
        """All have voted, and then all but the agent of accounts are gone: 1 of 3 has accepted."""
        self.accounts.close_gate()
        commit = self.ctl.popen("commit", gtrid)
        for rm in ("ledger", "stock"):
            wait_until(lambda: self.branch_state(gtrid, rm) == "prepared", 10, f"{rm} has voted")
        self.ledger.agent.kill()
        self.stock.agent.kill()
        self.accounts.open_gate()
        return commit


@pytest.fixture
def three(run_folder, servers):
    folder = run_folder / f"bank{next(numbers)}"
    folder.mkdir()
    bank = Three(servers, folder, folder.name.removeprefix("bank"))
    try:
        bank.start()
        yield bank
    finally:
        for process in bank.processes:
            if not process.running():
                process.start()
        bank.stop()


def dump(bank, gtrid):
    """The records about it, as assentctl reads them from the log."""
    done = subprocess.run([program("assentctl"), "--json", "log", "dump", bank.folder / "tm",
                           "--gtrid", gtrid], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def blocked(bank, gtrid):
    """The transaction, once the coordinator says that it blocks and has heard of the one vote."""
    shown = bank.ctl("show", gtrid)["transaction"]
    heard = shown["acceptors"][0]["says"].startswith("accepted")
    return shown if heard and shown.get("majority", "").startswith("blocks") else None


def test_a_transfer_in_three_phases(bank):
    gtrid = bank.begin_move(30, "--protocol", "3pc")
    assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert bank.balances() == (70, 130)
    assert bank.ctl("show", gtrid)["transaction"]["protocol"] == "3pc"


def test_the_log_tells_both_phases_of_the_decision(bank):
    gtrid = bank.begin_move(30, "--protocol", "3pc")
    bank.ctl("commit", gtrid, code=0)
    wait_until(lambda: "END" in {record["type"] for record in dump(bank, gtrid)})
    records = {record["type"]: record for record in dump(bank, gtrid)}
    assert records["PRECOMMIT"]["acceptors"] == ["accounts", "ledger", "this log"]
    assert records["OUTCOME"]["outcome"] == "committed"


def test_who_blocks_is_said_and_the_rest_follows_its_return(three):
    gtrid = three.begin_three(10)
    commit = three.leave_one_acceptor(gtrid)
    shown = wait_until(lambda: blocked(three, gtrid), 10)
    assert shown["majority"].endswith("missing: ledger, stock")
    assert shown["acceptors"] == [{"acceptor": "accounts", "says": "accepted commit at ballot 0"},
                                  {"acceptor": "ledger", "says": "no answer"},
                                  {"acceptor": "stock", "says": "no answer"}]
    assert shown["ballot"]["leader"] == "this coordinator"
    for branch in three.ctl("in-doubt", code=0)["in_doubt"]:
        assert (branch["verdict"], branch["reason"]) == ("waits", shown["majority"])
    three.stock.agent.start()
    assert three.ctl.finish(commit)["outcome"] == "committed"
    three.ledger.agent.start()
    wait_until(three.nothing_prepared, 20)
    assert three.balances() == (80, 110, 110)


def test_a_majority_that_may_have_decided_is_overruled_by_force_alone(three):
    gtrid = three.begin_three(10)
    commit = three.leave_one_acceptor(gtrid)
    wait_until(lambda: blocked(three, gtrid), 10)
    desk = Desk(three)
    overrule, forget = blocks("The acceptors of a 3pc transaction are gone")
    dry_run, force = overrule.splitlines()
    refused = three.ctl("resolve", gtrid, "rollback", "--reason", "as it looks to me", "--yes")
    assert (refused.code, refused.error) == (1, "contradicted")
    desk.run(dry_run, gtrid)
    assert blocked(three, gtrid)
    desk.run(force, gtrid)
    assert three.ctl.finish(commit)["outcome"] == "mixed"
    for database in (three.ledger, three.stock):
        database.agent.start()
    wait_until(three.nothing_prepared, 20)
    assert three.balances() == (80, 110, 110)
    desk.run(forget, gtrid)
    assert three.outcome(gtrid) == "committed"


def asked_agents(bank):
    """What assentctl puts together when no coordinator runs."""
    return json.loads(bank.ctl_conf("in-doubt", "--agents").stdout)["in_doubt"]


def test_the_agents_finish_it_alone_and_say_so(three):
    gtrid = three.begin_three(10)
    commit = three.leave_one_acceptor(gtrid)
    wait_until(lambda: blocked(three, gtrid), 10)
    three.tm.kill()
    commit.kill()
    for branch in asked_agents(three):
        assert branch["verdict"] == "waits" and branch["reason"].startswith("blocks: 1 of 3")
        # Once its patience is over it promises itself a ballot, and asks the others in vain.
        assert branch["acceptors"][0]["says"].startswith("accepted commit at ballot 0")
    three.stock.agent.start()
    wait_until(lambda: not three.accounts.prepared() and not three.stock.prepared(), 30,
               "two of three finish it without a coordinator")
    assert three.balances()[::2] == (80, 110)
    for database in (three.accounts, three.stock):
        answer = Assentctl(database.url)("outcome", gtrid)
        assert answer["outcome"] == "committed"
    [left] = asked_agents(three)
    assert (left["rm"], left["reason"]) == ("ledger", "will commit when ledger is reachable")
    three.ledger.agent.start()
    wait_until(lambda: not three.ledger.prepared(), 30, "the third hears of it")
    three.tm.start()
    wait_until(lambda: three.outcome(gtrid) == "committed", 20)
    assert three.balances() == (80, 110, 110)


def test_of_two_databases_either_may_be_gone_with_the_log_there(bank):
    """The third acceptor is the log: the dead agent's branch alone waits for it."""
    gtrid = bank.begin_move(30, "--protocol", "3pc")
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    bank.ledger.agent.kill()
    bank.accounts.open_gate()
    assert bank.ctl.finish(commit)["outcome"] == "committed"
    bank.ledger.agent.start()
    wait_until(bank.nothing_prepared, 20)
    assert bank.balances() == (70, 130)


def test_both_protocols_are_committed_side_by_side(bank):
    commits = []
    for account, protocol in enumerate(("2pc", "3pc") * 4, 1):
        gtrid = bank.ctl.begin("--protocol", protocol)
        bank.move(gtrid, 10, account, account)
        commits.append(bank.ctl.popen("commit", gtrid))
    assert {bank.ctl.finish(commit)["outcome"] for commit in commits} == {"committed"}
    assert [bank.ledger.balance(account) for account in range(1, 9)] == 8 * [110]
