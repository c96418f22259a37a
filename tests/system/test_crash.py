"""kill -9 of the coordinator, of an agent and of PostgreSQL at the moments that matter.

The gate (see harness.Database) stops the world between two votes, so that each moment is
met exactly and not by luck.
"""

from harness import wait_until


def restart(process):
    process.kill()
    process.start()


# The coordinator


def test_coordinator_killed_before_the_commit_undoes_open_work(bank):
    gtrid = bank.begin_move(30)
    restart(bank.tm)
    bank.wait_ready()
    wait_until(lambda: not bank.accounts.sessions() and not bank.ledger.sessions())
    assert bank.ctl("commit", gtrid, code=1)["outcome"] == "rolled-back"
    assert bank.balances() == (100, 100)


def test_coordinator_killed_with_branches_prepared_but_undecided_undoes_them(bank):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -30)
    bank.prepare_own(bank.ledger, gtrid, 30)
    restart(bank.tm)
    bank.wait_ready()
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)
    assert bank.outcome(gtrid) == "rolled-back"


def test_coordinator_killed_between_two_votes_undoes_both(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid)
    bank.tm.kill()
    assert bank.ctl.finish(commit).code == 3
    bank.accounts.open_gate()
    bank.tm.start()
    bank.wait_ready()
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)
    assert bank.outcome(gtrid) == "rolled-back"


def test_coordinator_killed_between_decision_and_delivery_delivers_at_its_return(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    # Not merely paused: an order that waits in its socket would reach it after all.
    bank.ledger.agent.kill()
    bank.accounts.open_gate()
    assert bank.ctl.finish(commit).reply["outcome"] == "committed"
    bank.tm.kill()
    bank.ledger.start()
    assert len(bank.ledger.prepared()) == 1, "the decision has not reached the ledger"
    assert bank.ledger.balance(1) == 100
    bank.tm.start()
    wait_until(lambda: bank.balances() == (70, 130))
    wait_until(bank.nothing_prepared)
    assert bank.outcome(gtrid) == "committed"


def test_a_commit_is_remembered_over_kills(bank):
    committed = bank.begin_move(30)
    bank.ctl("commit", committed, code=0)
    undone = bank.begin_move(10)
    bank.ctl("rollback", undone, code=0)
    for _ in range(3):
        restart(bank.tm)
        bank.wait_ready()
        assert bank.outcome(committed) == "committed"
        assert bank.outcome(undone) == "rolled-back"
    assert bank.balances() == (70, 130)


def test_each_start_raises_the_incarnation(bank):
    assert [bank.ctl.begin()] == ["bank.1.1"]
    restart(bank.tm)
    bank.wait_ready()
    assert bank.ctl.begin() == "bank.2.1"


def test_nothing_is_presumed_until_every_agent_has_accepted_the_start(bank):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -30)
    bank.tm.kill()
    bank.ledger.agent.kill()
    bank.tm.start()
    wait_until(lambda: bank.ctl("agents").code == 0
               and {a["rm"]: a["state"] for a in bank.ctl("agents")["agents"]}.get("accounts") == "up")
    assert bank.outcome(gtrid) == "in-progress"
    assert len(bank.accounts.prepared()) == 1
    bank.ledger.agent.start()
    wait_until(lambda: bank.outcome(gtrid) == "rolled-back")
    wait_until(bank.nothing_prepared)


# An agent


def test_agent_killed_with_work_open_loses_the_branch_and_the_commit_is_refused(bank):
    gtrid = bank.begin_move(30)
    restart(bank.ledger.agent)
    bank.wait_ready()
    answer = bank.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back" and answer["reason"]["rm"] == "ledger"
    assert bank.balances() == (100, 100)
    wait_until(bank.nothing_prepared)
    wait_until(lambda: not bank.ledger.sessions())


def test_exec_after_the_agent_was_killed_is_branch_lost_not_a_new_session(bank):
    gtrid = bank.begin_move(30)
    restart(bank.ledger.agent)
    bank.wait_ready()
    again = bank.ctl("exec", gtrid, "ledger", "update account set balance = balance + 1 where id = 2")
    assert again.code == 1 and again.error == "branch_lost"
    bank.ctl("rollback", gtrid, code=0)
    assert bank.ledger.balance(2) == 100


def test_agent_killed_after_its_vote_still_commits(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid)
    restart(bank.ledger.agent)
    bank.accounts.open_gate()
    answer = bank.ctl.finish(commit)
    assert answer["outcome"] == "committed"
    wait_until(lambda: bank.balances() == (70, 130))
    wait_until(bank.nothing_prepared)


def test_agent_killed_between_decision_and_delivery_is_told_at_its_return(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid, "--wait-for", "1s")
    bank.ledger.agent.kill()
    bank.accounts.open_gate()
    answer = bank.ctl.finish(commit)
    assert answer.code == 0 and answer["outcome"] == "committed"
    assert answer["pending"] == ["ledger"] and not answer["applied"]
    bank.ledger.agent.start()
    wait_until(lambda: bank.balances() == (70, 130))
    wait_until(bank.nothing_prepared)


def test_agent_killed_while_its_prepare_runs_leaves_nothing_behind(bank):
    gtrid = bank.begin_move(30, "--timeout", "5s")
    commit = bank.commit_to_the_gate(gtrid)
    restart(bank.accounts.agent)
    answer = bank.ctl.finish(commit)
    assert answer.code == 1 and answer["outcome"] == "rolled-back"
    bank.accounts.open_gate()
    bank.wait_ready()
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_an_agents_own_connection_branch_outlives_it(bank):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -30)
    bank.prepare_own(bank.ledger, gtrid, 30)
    restart(bank.ledger.agent)
    bank.wait_ready()
    bank.ctl("commit", gtrid, code=0)
    assert bank.balances() == (70, 130)


# PostgreSQL


def test_postgres_crashed_with_a_branch_prepared_finishes_it_at_its_return(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    bank.ledger.server.crash()
    bank.accounts.open_gate()
    assert bank.ctl.finish(commit).reply["outcome"] == "committed"
    bank.ledger.server.start()
    wait_until(lambda: bank.balances() == (70, 130), 20)
    wait_until(bank.nothing_prepared)


def test_postgres_restarted_with_work_open_refuses_the_commit(bank):
    gtrid = bank.begin_move(30)
    bank.ledger.server.crash()
    bank.ledger.server.start()
    answer = bank.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back"
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_everything_killed_at_once_comes_back_by_itself(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    bank.ledger.agent.pause()
    bank.accounts.open_gate()
    assert bank.ctl.finish(commit).reply["outcome"] == "committed"
    for process in bank.processes:
        process.kill()
    for database in bank.databases:
        database.server.crash()
        database.server.start()
    bank.start()
    wait_until(lambda: bank.balances() == (70, 130))
    wait_until(bank.nothing_prepared)
    assert bank.outcome(gtrid) == "committed"
