"""The bank's sum is the same after any night."""

import json
import random
import threading

import pytest

from harness import ACCOUNTS, BALANCE, Client, wait_until

TRANSFERS = 200
KILLS = 10
TELLERS = 16


class Teller(threading.Thread):
    """Moves money until the day is over, whatever happens to the daemons meanwhile."""

    def __init__(self, bank, day, number):
        super().__init__()
        self.bank, self.day = bank, day
        self.random = random.Random(number)
        self.coordinator = bank.client()
        self.agents = {database.rm: Client(database.socket) for database in bank.databases}
        self.told = {}  # gtrid -> what the commit answered

    def run(self):
        while not self.day.over():
            try:
                self.transfer()
            except (OSError, Refused):
                pass  # a daemon was killed under us: the next transfer is another one
            self.day.count()

    def transfer(self):
        amount = self.random.randint(-50, 50)
        gtrid = ask(self.coordinator, "begin", timeout="5s")["gtrid"]
        try:
            self.half(gtrid, "accounts", -amount)
            self.half(gtrid, "ledger", amount)
        except (OSError, Refused):
            self.coordinator.call("rollback", gtrid=gtrid)
            raise
        self.told[gtrid] = "unknown"
        wait = self.random.choice(("applied", "decided"))
        self.told[gtrid] = ask(self.coordinator, "commit", gtrid=gtrid, wait=wait)["outcome"]

    def half(self, gtrid, rm, amount):
        branch = ask(self.coordinator, "enlist", gtrid=gtrid, rm=rm)["branch"]
        account = str(self.random.randint(1, ACCOUNTS))
        for sql, params in (
                ("update account set balance = balance + $1 where id = $2", [str(amount), account]),
                ("insert into transfer values ($1, $2)", [gtrid, str(amount)])):
            ask(self.agents[rm], "exec", gid=branch["gid"], session=branch["session"], sql=sql,
                params=params)


class Refused(Exception):
    pass


def ask(client, op, **fields):
    reply = client.call(op, **fields)
    if not reply["ok"]:
        raise Refused(json.dumps(reply["error"]))
    return reply


class Day:
    """Over when there were enough transfers and enough kills among them."""

    def __init__(self):
        self.transfers, self.kills, self.closed = 0, 0, False
        self.lock = threading.Lock()

    def count(self):
        with self.lock:
            self.transfers += 1

    def over(self):
        return self.closed or (self.transfers >= TRANSFERS and self.kills >= KILLS)


@pytest.mark.slow
def test_the_banks_sum_outlives_ten_kills_among_200_transfers(bank):
    day = Day()
    tellers = [Teller(bank, day, number) for number in range(TELLERS)]
    for teller in tellers:
        teller.start()
    try:
        for kill in range(KILLS):
            wait_until(lambda: day.transfers >= (kill + 1) * TRANSFERS // (KILLS + 1), 60,
                       "transfers go on")
            process = bank.processes[kill % len(bank.processes)]
            process.kill()
            process.start()
            day.kills += 1
    except BaseException:
        day.closed = True
        raise
    finally:
        for teller in tellers:
            teller.join()

    wait_until(bank.nothing_prepared, 10, "nothing is prepared any more")
    bank.wait_ready()
    assert bank.total() == 2 * ACCOUNTS * BALANCE
    check_promises(bank, tellers)


def check_promises(bank, tellers):
    """Each transfer is in both databases or in none, as the teller was told."""
    halves = [dict(database.sql("select gtrid, amount from transfer"))
              for database in bank.databases]
    assert halves[0] == {gtrid: -amount for gtrid, amount in halves[1].items()}
    told = {gtrid: outcome for teller in tellers for gtrid, outcome in teller.told.items()}
    assert sum(outcome == "committed" for outcome in told.values()) > 0
    for gtrid, outcome in told.items():
        if outcome == "committed":
            assert gtrid in halves[0], f"{gtrid} was told committed"
        if outcome == "rolled-back":
            assert gtrid not in halves[0], f"{gtrid} was told rolled-back"
    for gtrid, outcome in random.Random(0).sample(sorted(told.items()), min(len(told), 30)):
        assert bank.outcome(gtrid) == ("committed" if gtrid in halves[0] else "rolled-back")
