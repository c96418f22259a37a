"""The coordinator is killed at a named moment of a three-phase commit, and never comes back.

The agents finish alone what they hold, within the time that is promised, and all the same way.
"""

import random

import pytest

import campaign  # noqa: F401  makes the system tests' modules known
import harness
from campaign import arm
from harness import wait_until
from test_kill_matrix import FIRST_START, STOPPING, points

FINISHED_S = 15
REACHED_WITHIN_S = 20

# One moment of each kind, without --long too: while it asks for votes and counts them, before its
# record is with the log, before and behind the sync, while it asks the acceptors and counts them,
# before and behind the decision, and while it tells clients and agents of it, and hears of its end.
ALWAYS = ("tm.order-prepare", "tm.take-ready", "tm.before-append", "log.before-sync",
          "log.after-sync", "tm.order-ballot", "tm.take-ballot", "tm.before-decided",
          "tm.after-decided", "tm.before-replies", "tm.order-commit", "tm.take-done")


def moments():
    """Of the coordinator and its log; all but one of each kind only with --long."""
    for name in points():
        if name.startswith(("tm.", "log.")) and name not in FIRST_START + STOPPING:
            yield pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.long])


def transfer(bank, account):
    """One taken from the account in each database, for as long as there is a coordinator."""
    begun = bank.ctl("begin", "--protocol", "3pc")
    if begun.code != 0:
        return
    for database in bank.databases_of:
        bank.ctl("exec", begun["gtrid"], database.rm,
                 f"update account set balance = balance - 1 where id = {account}")
    bank.ctl("commit", begun["gtrid"], "--wait", "decided")


def transfer_until_it_dies(bank, draw):
    def dead():
        transfer(bank, draw.randint(1, harness.ACCOUNTS))
        return not bank.tm.running()
    try:
        wait_until(dead, REACHED_WITHIN_S)
    except AssertionError:
        bank.tm.kill()  # a rare moment: any other will do


@pytest.mark.parametrize("point", moments())
def test_a_coordinator_killed_for_ever_leaves_nothing_prepared(new_bank, seed, record, point):
    draw = random.Random(f"{seed}{point}")
    with new_bank("east", "west", rms=("accounts", "ledger", "stock")) as bank:
        for database in bank.databases_of:
            text = database.conf.read_text()
            database.conf.write_text(text.replace("[agent]\n", "[agent]\ntermination_timeout = 2s\n"))
        bank.start()
        bank.tm.stop()
        arm(bank.tm, ASSENT_KILL_AT=f"{point}:{draw.randint(1, 8)}")
        bank.tm.start()
        transfer_until_it_dies(bank, draw)
        for database in bank.databases_of:
            wait_until(lambda: not database.prepared(), FINISHED_S, f"{database.rm} is finished")
        balances = [database.sql("select balance from account order by id")
                    for database in bank.databases_of]
        assert balances[0] == balances[1] == balances[2], f"split: {balances}"
        arm(bank.tm)
    record("the coordinator dies for ever", f"kill -9 at {point}, three-phase commit", 1,
           "0 violations")
