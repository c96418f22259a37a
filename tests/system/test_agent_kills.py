"""The agent, its backend or the server dies, at each moment of a branch's way.

A real coordinator moves money between two databases, and something of `accounts` dies. Whatever it
was and when: both databases end the same way, nothing stays prepared, and it is the way that the
moment allows. The moments are held open by the gate (a deferred check, so PREPARE hangs), by a
standby that does not answer (so COMMIT PREPARED hangs), or by stopping the agent so that it does
not hear an answer. No moment is met by sleeping.
"""

import pytest

from harness import wait_until

AMOUNT = 7


def agent_dies(bank):
    bank.accounts.agent.kill()


def backend_dies(bank):
    """Whichever of the agent's backends works on the branch: all but the control connection."""
    bank.accounts.sql("select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                      " where usename = 'assent' and datname = current_database()"
                      " and query !~ 'setval|assent\\.|pg_prepared_xacts'")
    bank.accounts.agent.resume()


def server_dies(bank):
    bank.accounts.server.crash()
    bank.accounts.agent.resume()


VICTIMS = {"agent": agent_dies, "backend": backend_dies, "server": server_dies}


def everything_runs_again(bank):
    if not bank.accounts.server.process.running():
        bank.accounts.server.start()
    bank.accounts.open_gate()
    standby_answers(bank)
    if not bank.accounts.agent.running():
        bank.accounts.agent.start()
    bank.wait_ready()


# ---- the moments: each returns the commit that it has started, if it has ----

def before_prepare(bank, gtrid):
    return None


def prepare_in_flight(bank, gtrid):
    return bank.commit_to_the_gate(gtrid)


def prepared_and_unanswered(bank, gtrid):
    commit = bank.commit_to_the_gate(gtrid)
    bank.accounts.agent.pause()
    bank.accounts.open_gate()
    wait_until(bank.accounts.prepared)
    return commit


def commit_prepared_in_flight(bank, gtrid):
    """The agent waits for the standby, and what it waits for is on the disk already."""
    commit = bank.commit_to_the_gate(gtrid)
    standby_does_not_answer(bank)
    bank.accounts.open_gate()
    [waiting] = wait_until(lambda: waiting_for_standby(bank))
    if "PREPARE TRANSACTION" in waiting:  # it waits too, and is let pass
        bank.accounts.sql("select pg_cancel_backend(pid) from pg_stat_activity"
                          " where wait_event = 'SyncRep' and datname = current_database()")
        wait_until(lambda: "COMMIT PREPARED" in "".join(waiting_for_standby(bank)))
    return commit


def done_and_unanswered(bank, gtrid):
    commit = commit_prepared_in_flight(bank, gtrid)
    bank.accounts.agent.pause()
    standby_answers(bank)
    wait_until(lambda: not bank.accounts.prepared())
    return commit


MOMENTS = {
    before_prepare: dict.fromkeys(VICTIMS, "rolled-back"),
    prepare_in_flight: dict.fromkeys(VICTIMS, "rolled-back"),
    # The answer is on its way to the agent: it is heard unless the agent is dead.
    prepared_and_unanswered: {"agent": "rolled-back", "backend": "committed", "server": "committed"},
    commit_prepared_in_flight: dict.fromkeys(VICTIMS, "committed"),
    done_and_unanswered: dict.fromkeys(VICTIMS, "committed"),
}


def standby_does_not_answer(bank):
    """For the agent alone: what the test does by hand does not wait."""
    bank.accounts.sql(f"alter database {bank.accounts.name} set synchronous_commit = off")
    set_standby(bank, "alter system set synchronous_standby_names = 'nobody'", "nobody")


def standby_answers(bank):
    set_standby(bank, "alter system reset synchronous_standby_names", "")


def set_standby(bank, sql, value):
    accounts = bank.accounts
    accounts.sql(sql)
    accounts.sql("select pg_reload_conf()")
    wait_until(lambda: accounts.sql("show synchronous_standby_names") == [(value,)])


def waiting_for_standby(bank):
    return [query for query, in bank.accounts.sql(
        "select query from pg_stat_activity where wait_event = 'SyncRep'"
        " and datname = current_database()")]


def moves_again(bank):
    """The agent may still be on its way back to the server: its refusal is retryable."""
    try:
        bank.ctl("commit", bank.begin_move(1), code=0)
        return True
    except AssertionError:
        return False


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_dies(bank, moment, victim):
    before = bank.balances()
    gtrid = bank.begin_move(AMOUNT)
    commit = None
    try:
        commit = moment(bank, gtrid)
        VICTIMS[victim](bank)
    finally:
        everything_runs_again(bank)
    if commit:
        bank.ctl.finish(commit)
    else:
        bank.ctl("commit", gtrid)
    outcome = wait_until(lambda: bank.outcome(gtrid) in ("committed", "rolled-back")
                         and bank.outcome(gtrid), 30)
    assert outcome == MOMENTS[moment][victim]
    moved = AMOUNT if outcome == "committed" else 0
    wait_until(bank.nothing_prepared, 20)
    wait_until(lambda: bank.balances() == (before[0] - moved, before[1] + moved))
    wait_until(lambda: moves_again(bank), 20)
