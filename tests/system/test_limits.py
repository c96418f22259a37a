"""What one client may do to all others: each limit is refused by name, and nobody else notices."""

import contextlib
import json
import os
import time

import pytest

from harness import Client, sanitized, wait_until
from played import new_site

BRANCHES = 64  # max_branches; a sixteenth of them is kept for what ends branches


def configured(run_folder, server, *lines):
    @contextlib.contextmanager
    def opened():
        with new_site(run_folder, server) as site:
            with open(site.conf, "r+") as conf:
                text = conf.read().replace("[agent]\n", "[agent]\n" + "".join(
                    f"{line}\n" for line in lines))
                conf.seek(0)
                conf.write(text)
            site.sql("create table work (n int); grant all on work to shop;"
                     " insert into work values (1)")
            site.start()
            yield site
    return opened()


@pytest.fixture
def site(run_folder, servers):
    with configured(run_folder, servers[0], f"max_branches = {BRANCHES}") as site:
        yield site


@pytest.fixture
def player(site):
    player = site.play()
    assert player.register()["ok"]
    return player


@pytest.fixture
def neighbour(site):
    """A second client, of another coordinator, that is to notice nothing."""
    player = site.play("other")
    assert player.register()["ok"]
    return player


def work(player):
    """A branch that works and commits."""
    branch = player.branch()
    branch.run("update work set n = n + 1")
    assert branch.commit(branch.ready())["is"] == "done"


# ---- the table of branches ----

@pytest.mark.parametrize("access", "wr")
def test_branches_that_are_over_take_no_place(site, player, neighbour, access):
    for _ in range(2 * BRANCHES):
        branch = player.branch()
        branch.run("select 1", access=access)
        if access == "w":
            assert branch.rollback()["is"] == "done"
        else:
            assert branch.prepare()["is"] == "read-only"
    assert site.status()["branches_held"] == 0
    work(neighbour)


def fill(site, player):
    """As many branches in doubt as the agent takes."""
    branches = []
    while site.status()["branches_held"] < BRANCHES - BRANCHES // 16:
        branch = player.branch()
        branch.prepare_own("insert into transfer values (gen_random_uuid(), 1)")
        branches.append((branch, branch.ready()))
    return branches


def test_a_full_agent_says_so_and_goes_on_to_end_branches(site, player, neighbour):
    branches = fill(site, player)
    refused = neighbour.branch().exec("select 1")
    assert refused["error"]["code"] == "busy" and refused["error"]["retryable"]
    assert "max_branches" in refused["error"]["message"]
    vote = neighbour.branch().prepare()
    assert vote["is"] == "no" and "busy" in vote["message"]
    assert not site.sessions() and site.status()["sessions"] == 0
    for branch, xid in branches[:8]:
        assert branch.commit(xid)["is"] == "done"
    work(neighbour)
    for branch, xid in branches[8:]:
        assert branch.rollback(xid)["is"] == "done"


# ---- a branch that is over ----

@pytest.mark.parametrize("end", ["commit", "rollback", "one phase"])
def test_a_statement_that_comes_after_the_end_opens_no_session(site, player, end):
    branch = player.branch()
    branch.run("update work set n = n + 1")
    if end == "commit":
        assert branch.commit(branch.ready())["is"] == "done"
    elif end == "rollback":
        assert branch.rollback()["is"] == "done"
    else:
        assert branch.commit_one_phase()["is"] == "done"
    branch.n = 0
    late = branch.exec("update work set n = n + 1")
    assert late["error"]["code"] == "wrong_state" and "over" in late["error"]["message"]
    assert site.status()["sessions"] == 0 and not player.scan()
    assert site.sql("select n from work") == [(1 if end == "rollback" else 2,)]


# ---- a statement that runs for too long ----

def running(site):
    return site.sql("select pid from pg_stat_activity where query like '%%pg_sleep%%'"
                    " and datname = current_database() and state = 'active'"
                    " and pid <> pg_backend_pid()")


def slow_branch(site, player, **options):
    """It holds a lock, and a statement runs."""
    branch = player.branch()
    branch.run("update work set n = n + 1", **options)
    reply = branch.exec_aside("select pg_sleep(60)", **options)
    wait_until(lambda: running(site))
    return branch, reply


def locks_are_free(site, began, seconds):
    wait_until(lambda: not running(site), seconds, "the statement is ended")
    site.sql("set lock_timeout = '1s'; update work set n = n")
    assert time.monotonic() - began < seconds


def test_a_vote_waits_for_no_statement_beyond_its_time(site, player, neighbour):
    branch, reply = slow_branch(site, player)
    began = time.monotonic()
    branch.order("prepare", agent=branch.enlisted_with, timeout_ms=1000)
    assert neighbour.branch().run("select 1") == [["1"]]
    vote = branch.vote(5)
    assert vote["is"] == "no" and "still running" in vote["message"]
    locks_are_free(site, began, 5)
    assert reply()["error"]["code"] == "branch_lost"
    assert branch.rollback()["is"] == "done"


def test_a_rollback_waits_for_no_statement_of_a_branch_that_was_to_vote(site, player):
    branch, reply = slow_branch(site, player)
    began = time.monotonic()
    branch.order("prepare", agent=branch.enlisted_with, timeout_ms=60000)
    assert branch.vote(0.3) is None
    assert branch.rollback()["is"] == "done"
    locks_are_free(site, began, 5)
    assert reply()["error"]["code"] == "branch_lost"


def test_a_prepare_that_hangs_is_given_up_once_its_branch_is_rolled_back(site, player):
    branch = player.branch()
    site.close_gate()
    branch.run("update account set balance = balance where id = 1")
    branch.order_prepare()
    assert branch.vote(0.5) is None
    began = time.monotonic()
    assert branch.rollback()["is"] == "done"
    assert time.monotonic() - began < 6
    site.open_gate()
    assert not site.prepared() and not player.scan()


def test_a_commit_in_one_phase_waits_for_no_statement_beyond_the_branchs_time(site, player):
    branch, reply = slow_branch(site, player, allowed_ms=3000)
    began = time.monotonic()
    answer = branch.commit_one_phase()
    assert answer["is"] == "no" and "still running" in answer["message"]
    locks_are_free(site, began, 6)
    assert reply()["error"]["code"] == "branch_lost"


def test_a_commit_is_answered_in_its_time_while_a_statement_runs(bank):
    gtrid = bank.begin_move(30, "--timeout", "6s")
    sleeper = bank.ctl.popen("exec", gtrid, "accounts", "select pg_sleep(60)")
    wait_until(lambda: running(bank.accounts))
    began = time.monotonic()
    assert bank.ctl("commit", gtrid, "--wait-for", "60s", code=1)["outcome"] == "rolled-back"
    assert time.monotonic() - began < 10
    wait_until(lambda: not running(bank.accounts), 5)
    assert bank.accounts.sql("set lock_timeout = '1s';"
                             " update account set balance = balance returning 1")
    bank.ctl.finish(sleeper)
    assert bank.balances() == (100, 100)


def test_a_commit_is_answered_in_its_time_while_an_agent_is_frozen(bank):
    gtrid = bank.begin_move(30, "--timeout", "5s")
    bank.ledger.agent.pause()
    began = time.monotonic()
    answer = bank.ctl("commit", gtrid, "--wait-for", "60s", code=1)
    assert time.monotonic() - began < 9
    assert answer["outcome"] == "rolled-back" and answer["pending"] == ["ledger"]
    bank.ledger.agent.resume()
    wait_until(lambda: bank.nothing_prepared() and not bank.ledger.sql(
        "select from pg_stat_activity where usename = 'assent' and state like 'idle in%%'"
        " and datname = current_database()"), 20)
    assert bank.balances() == (100, 100)


# ---- a coordinator that is turned away meanwhile ----

def test_an_agent_adopts_a_log_while_a_branch_waits_to_be_prepared(site, player, neighbour):
    branch, reply = slow_branch(site, player)
    branch.order_prepare()
    assert branch.vote(0.3) is None
    adoption = {"tm": "bank", "from": player.log, "log": os.urandom(16).hex(),
                "incarnation": "1000", "instance": os.urandom(16).hex()}
    with contextlib.closing(Client(site.socket)) as client:
        assert client.call("adopt", **adoption)["adopted"]
    site.sql("select pg_cancel_backend(pid) from pg_stat_activity where query like '%%pg_sleep%%'"
             " and datname = current_database() and pid <> pg_backend_pid()")
    reply()
    wait_until(lambda: site.status()["sessions"] == 0)
    assert site.agent.running()
    work(neighbour)


# ---- enlist ----

def test_a_branch_is_enlisted_again_only_as_it_is(bank):
    gtrid = bank.ctl.begin()
    first = bank.ctl("enlist", gtrid, "accounts", code=0)["branch"]
    assert bank.ctl("enlist", gtrid, "accounts", code=0)["branch"]["gid"] == first["gid"]
    for other in (("--read-only",), ("--isolation", "serializable"), ("--role", "shop")):
        refused = bank.ctl("enlist", gtrid, "accounts", *other, code=1)
        assert refused.error == "branch_differs"


# ---- rows that are large ----

def kib_of(process, what="VmRSS"):
    with open(f"/proc/{process.popen.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what))


def test_a_row_that_is_too_large_to_be_told_leaves_the_branch_as_it_is(site, player):
    branch = player.branch()
    for _ in range(3):
        refused = branch.exec("select repeat('x', 7000000)")
        assert refused["error"]["code"] == "result_too_large"
    before = kib_of(site.agent)
    branch.run("update work set n = n + 1")
    assert branch.commit(branch.ready())["is"] == "done"
    wait_until(lambda: kib_of(site.agent) < before - 4000, 5, "its connection is not used again")
    work(player)


@pytest.mark.skipif(sanitized(), reason="the sanitizer's heap does not say how large it is")
def test_a_huge_row_ends_its_branch_and_takes_no_memory(site, player, neighbour):
    work(neighbour)
    before = kib_of(site.agent)
    branch = player.branch()
    branch.run("update work set n = n + 1")
    refused = branch.exec("select repeat('x', 100000000)")
    assert refused["error"]["code"] == "result_too_large"
    assert "max_row" in refused["error"]["message"]
    assert branch.exec("select 1")["error"]["code"] == "branch_lost"
    work(neighbour)
    assert branch.prepare()["is"] == "no"
    assert branch.rollback()["is"] == "done"
    assert kib_of(site.agent, "VmHWM") - before < 64 * 1024 and kib_of(site.agent) - before < 8192
    # The same as the first statement, which opens the session.
    assert player.branch().exec("select repeat('x', 100000000)")["error"]["code"] == \
        "result_too_large"
    wait_until(lambda: site.status()["sessions"] == 0)


# ---- requests that wait ----

def test_a_batch_that_waits_costs_little(bank):
    """What waits is bounded by a number, max_waiting; so what each of them takes is a limit too."""
    rounds, batches, size, waiters = 3, 64, 64, 8
    gtrids = [bank.ctl.begin("--rm", "accounts", "--rm", "ledger", "--timeout", "60s")
              for _ in range(rounds * batches // waiters)]
    with contextlib.ExitStack() as stack:
        for database in bank.databases:
            database.agent.pause()
            stack.callback(database.agent.resume)

        def ask(gtrid):
            client = stack.enter_context(contextlib.closing(bank.client()))
            client.send(json.dumps({"batch": [
                {"op": "commit", "gtrid": gtrid, "wait_ms": 60000},
                *({"op": "outcome", "gtrid": gtrid} for _ in range(size - 1))]}).encode())

        resident = []
        for n in range(rounds):
            for at in range(batches):
                ask(gtrids[(n * batches + at) // waiters])
            with contextlib.closing(bank.client()) as neighbour:
                assert neighbour.call("outcome", gtrid=gtrids[-1])["ok"]
            resident.append(kib_of(bank.tm))
        # The first ones take what many that come at once need until they are taken up.
        assert resident[-1] - resident[0] < (rounds - 1) * batches * 64, resident
