"""`assentctl recover`: the coordinator's log is really deleted, and what the agents still prove
decides; what nobody can prove is asked for, and nothing is done before it is said."""

import contextlib
import json
import shutil
import subprocess

from harness import gid_of, on_terminal, program, wait_until
from test_in_doubt import decide_without_ledger, own_transfer
from test_settle import agent


def recover(bank, *arguments, code=0):
    """What assentctl prints for people, and on stderr."""
    done = subprocess.run([program("assentctl"), "-c", bank.conf, "recover", *arguments],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout, done.stderr


def recover_lost(bank, *arguments, code=0):
    return recover(bank, "--lost-log", *arguments, "--reason", "the disk is gone", "--yes", code=code)


def plan(bank, *arguments):
    done = bank.ctl_conf("recover", "--lost-log", *arguments)
    return {item["gtrid"]: (item["outcome"], item["because"])
            for item in json.loads(done.stdout)["transactions"]}


def lose_log(bank):
    bank.tm.kill()
    shutil.rmtree(bank.folder / "tm")


def restart_agents(bank):
    """What they recall goes with them."""
    for database in bank.databases:
        database.agent.kill()
        database.start()


def start_again(bank):
    bank.tm.start()
    bank.wait_ready()


def works(bank):
    gtrid = bank.begin_move(1)
    return bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"


def lost_with_ledger_undone(bank):
    """Committed and applied at accounts; ledger was away, and comes back when the log is gone."""
    gtrid = decide_without_ledger(bank)
    lose_log(bank)
    bank.ledger.start()
    return gtrid


# ---- what agents prove ----

def test_what_one_agent_was_told_to_commit_is_committed_at_the_others(bank):
    gtrid = lost_with_ledger_undone(bank)
    assert plan(bank) == {gtrid: ("committed", "accounts was told to commit it")}
    out, _ = recover_lost(bank)
    assert gtrid in out and f"start the coordinator: assentd -c {bank.conf}" in out
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (70, 130) and works(bank)


def test_what_one_agent_has_not_voted_for_is_rolled_back_at_the_others(bank):
    gtrid = bank.ctl.begin("--timeout", "600s")
    bank.prepare_own(bank.accounts, gtrid, -30)
    bank.ctl("exec", gtrid, "ledger", "update account set balance = balance + 30 where id = 1", code=0)
    lose_log(bank)
    assert plan(bank) == {
        gtrid: ("rolled-back", "ledger has not voted for it, and cannot any more")}
    recover_lost(bank)
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100) and works(bank)


def test_what_is_being_prepared_when_the_log_is_lost_is_no_vote_and_nobody_may_commit_the_rest(bank):
    gtrid = bank.begin_move(30)
    bank.commit_to_the_gate(gtrid, "--wait", "decided")
    lose_log(bank)
    assert plan(bank) == {
        gtrid: ("rolled-back", "accounts has not voted for it, and cannot any more")}
    _, words = recover_lost(bank, "--commit", gtrid, code=1)
    assert "accounts has not voted for it" in words
    recover_lost(bank)
    bank.accounts.open_gate()
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100) and works(bank)


def test_the_new_log_is_not_measured_by_positions_of_the_lost_one(bank):
    for _ in range(10):
        bank.ctl("commit", bank.begin_move(1), code=0)
    gtrid = bank.begin_move(30)
    bank.commit_to_the_gate(gtrid, "--wait", "decided")
    lose_log(bank)
    recover_lost(bank)
    bank.accounts.open_gate()
    start_again(bank)
    wait_until(bank.nothing_prepared)
    bank.tm.kill()
    start_again(bank)
    assert bank.ctl("status")["state"] == "ready" and works(bank)


def test_a_word_against_the_proof_is_refused(bank):
    gtrid = lost_with_ledger_undone(bank)
    _, words = recover_lost(bank, "--rollback", gtrid, code=1)
    assert "accounts was told to commit it" in words
    assert not (bank.folder / "tm").exists()
    recover_lost(bank, "--rollback", "rest")
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (70, 130)


# ---- what nobody can prove ----

def test_what_nothing_proves_is_asked_for_and_nothing_is_done_before(bank):
    gtrid, _ = own_transfer(bank, 30)
    other = bank.ctl.begin("--timeout", "600s")
    bank.prepare_own(bank.accounts, other, 7, account=2)
    lose_log(bank)
    restart_agents(bank)
    assert plan(bank) == {name: ("", "no agent recalls what was decided")
                          for name in (gtrid, other)}
    out, words = recover_lost(bank, "--commit", gtrid, code=1)
    assert "nothing proves what was decided" in words and "you say so" in out
    assert not (bank.folder / "tm").exists() and len(bank.accounts.prepared()) == 2
    recover_lost(bank, "--commit", gtrid, "--rollback", "rest")
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (130, 130)
    trail = json.loads(bank.ctl_conf("audit").stdout)
    assert {(line["gtrid"], line["outcome"], line["reason"]) for line in trail} == {
        (gtrid, "committed", "the disk is gone"), (other, "rolled-back", "the disk is gone")}


def test_without_yes_the_plan_is_all_that_there_is(bank):
    gtrid = lost_with_ledger_undone(bank)
    out, words = recover(bank, "--lost-log")
    assert gtrid in out and "nothing was done" in words
    assert not (bank.folder / "tm").exists() and bank.ledger.prepared()
    recover_lost(bank)
    start_again(bank)


def test_others_branches_and_those_of_later_starts_are_not_touched(bank):
    gids = [gid_of("shop.1.1", "accounts"), gid_of("bank.999.1", "accounts"), "citus_0_1"]
    gids[2] += f"_{bank.accounts.name}"
    lose_log(bank)
    with contextlib.closing(bank.accounts.connect()) as connection:
        cursor = connection.cursor()
        for gid in gids:
            cursor.execute("begin")
            cursor.execute(f"prepare transaction '{gid}'")
    out, _ = recover_lost(bank)
    assert all(f"not touched: {gid}" in out for gid in gids) and out.startswith("0 transactions")
    start_again(bank)
    assert works(bank) and sorted(bank.accounts.prepared()) == sorted(gids)


def enter_row(database, gtrid):
    """As an acceptor of three phases that has joined, and heard no more."""
    _, incarnation, sequence = gtrid.split(".")
    database.sql("insert into assent.acceptor values ('bank', %s, %s, '{accounts,ledger}', true,"
                 " '{}', '{}', 0, 0)", incarnation, sequence)


def test_who_has_no_row_in_three_phases_has_not_voted_and_nobody_waits_for_its_acceptors(bank):
    gtrid = bank.ctl.begin("--timeout", "600s")
    bank.prepare_own(bank.accounts, gtrid, -30)
    enter_row(bank.ledger, gtrid)
    lose_log(bank)
    assert plan(bank) == {
        gtrid: ("rolled-back", "accounts has not voted for it, and cannot any more")}
    recover_lost(bank)
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100) and works(bank)


def test_three_phases_are_left_to_their_acceptors_until_one_knows(bank):
    gtrid, _ = own_transfer(bank, 30)
    lose_log(bank)
    restart_agents(bank)
    for database in bank.databases:
        enter_row(database, gtrid)
    _, words = recover_lost(bank, "--rollback", "rest", code=1)
    assert "its agents are deciding a transaction in three phases" in words
    bank.ledger.sql("update assent.acceptor set outcome = 'committed'")
    assert plan(bank) == {gtrid: ("committed", "ledger was told to commit it")}
    recover_lost(bank)
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (130, 130)


# ---- what follows ----

def test_outcomes_that_went_with_the_log_are_forgotten_and_not_rolled_back(bank):
    gtrid = bank.begin_move(30)
    bank.ctl("commit", gtrid, code=0)
    lose_log(bank)
    recover_lost(bank)
    start_again(bank)
    assert bank.outcome(gtrid) == "forgotten"


def test_the_lost_log_is_refused_if_it_turns_up_again(bank):
    decide_without_ledger(bank)
    bank.tm.kill()
    shutil.move(bank.folder / "tm", bank.folder / "found")
    bank.ledger.start()
    recover_lost(bank)
    start_again(bank)
    assert works(bank)
    bank.tm.stop()
    shutil.rmtree(bank.folder / "tm")
    shutil.move(bank.folder / "found", bank.folder / "tm")
    bank.tm.start()
    status = wait_until(lambda: bank.ctl("status").reply and bank.ctl("status")["state"] == "fenced"
                        and bank.ctl("status").reply, 20, "the lost log is refused")
    assert "another log" in json.dumps(status) and "recover --lost-log" in json.dumps(status)
    assert bank.ctl("begin").code == 1
    assert bank.nothing_prepared()


def test_a_log_that_is_there_is_not_given_up(bank):
    _, words = recover_lost(bank, code=1)
    assert "the coordinator runs" in words
    bank.tm.stop()
    _, words = recover_lost(bank, code=1)
    assert "there is a log in" in words


# ---- an agent that is away ----

def test_an_agent_that_is_away_follows_the_new_log_once_it_has_adopted_it(bank):
    gtrid, _ = own_transfer(bank, 30)
    lose_log(bank)
    bank.ledger.agent.kill()
    _, words = recover_lost(bank, "--rollback", gtrid, code=1)
    assert "the agent of ledger does not answer" in words
    recover_lost(bank, "--rollback", gtrid, "--without", "ledger")
    bank.tm.start()
    wait_until(lambda: not bank.accounts.prepared(), 20)
    bank.ledger.start()
    wait_until(lambda: agent(bank, "ledger")["state"] == "refused", 20)
    wait_until(lambda: any("assentctl recover --adopt ledger" in alarm["advice"]
                           for alarm in bank.ctl("status")["alarms"]), 20)
    assert bank.ledger.prepared(), "the new log does not know it, and leaves it alone"
    bank.tm.stop()
    out, _ = recover(bank, "--adopt", "ledger", "--yes", code=1)
    assert f"{gtrid}: accounts was told to roll it back" in out and "COMMIT PREPARED" not in out
    by_hand = next(line for line in out.splitlines() if "ROLLBACK PREPARED" in line)
    bank.ledger.sql(by_hand.split('"')[1])
    out, _ = recover(bank, "--adopt", "ledger", "--yes")
    assert "ledger follows the log in" in out
    start_again(bank)
    assert works(bank) and bank.balances() == (99, 101)


# ---- on a terminal ----

def test_on_a_terminal_it_asks_and_no_is_no(bank):
    gtrid = lost_with_ledger_undone(bank)
    command = [program("assentctl"), "-c", str(bank.conf), "recover", "--lost-log",
               "--reason", "the disk is gone"]
    for answer, done in (("n\n", False), ("y\n", True)):
        assert gtrid in on_terminal(command, "Give the lost log up? [y/N]", answer)
        assert (bank.folder / "tm").exists() == done
    start_again(bank)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (70, 130)


# ---- twice ----

def test_agents_that_follow_different_logs_are_told_apart(bank):
    lose_log(bank)
    bank.ledger.agent.kill()
    recover_lost(bank, "--without", "ledger")
    bank.ledger.start()
    shutil.rmtree(bank.folder / "tm")
    _, words = recover_lost(bank, code=1)
    assert "the agents follow different logs" in words
    recover_lost(bank, "--without", "ledger")
    recover(bank, "--adopt", "ledger", "--yes")
    start_again(bank)
    assert works(bank)
