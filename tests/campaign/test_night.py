"""Three databases, tellers in every way of working, and a night in which everything is killed."""

import random
import signal
import threading
import time

from harness import wait_until
from teller import Tellers

TELLERS = 8
SERVERS = ("east", "west", "north")
RMS = ("accounts", "ledger", "savings")


class Nemesis:
    """Kills what it likes, at random moments, and lets it lie for a while."""

    def __init__(self, bank, seed):
        self.bank, self.random = bank, random.Random(seed)
        self.kills = 0

    def rage(self, seconds):
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            for victim in self.random.sample(self.victims(), self.random.choice((1, 1, 1, 2, 3))):
                self.kill(victim)
            time.sleep(self.random.choice((0, 0, 0.1, 1)))
            self.revive()
            time.sleep(self.random.uniform(0, 1.5))

    def victims(self):
        return [*self.bank.processes, *(database.server for database in self.bank.databases)]

    def kill(self, victim):
        if victim in self.bank.processes:
            self.bank.history.note("killed", who=victim.name)
            victim.kill()
        else:
            self.bank.history.note("killed", who=victim.process.name)
            victim.process.stop(signal.SIGQUIT)  # what `pg_ctl stop -m immediate` sends
        self.kills += 1

    def revive(self):
        for database in self.bank.databases:
            if not database.server.process.running():
                database.server.start()
        self.bank.revive()


class Auditor(threading.Thread):
    """Reads all databases at once, again and again, if he can get hold of them."""

    def __init__(self, bank):
        super().__init__(daemon=True)
        self.bank, self.over = bank, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(1):
            self.bank.audit()

    def stop(self):
        self.over.set()
        self.join()


def test_a_reading_whose_lock_died_with_its_server_does_not_count(stopped_bank):
    bank, readings = stopped_bank, []
    in_the_way = bank.ledger.connect(autocommit=False, user="postgres")
    in_the_way.cursor().execute("lock table account")
    reading = threading.Thread(target=lambda: readings.append(bank.audit()))
    reading.start()
    wait_until(lambda: bank.ledger.sql("select 1 from pg_locks where not granted"),
               what="accounts is read, and the reading waits for ledger")
    bank.accounts.server.process.stop(signal.SIGQUIT)
    in_the_way.close()
    reading.join()
    bank.accounts.server.start()
    assert readings == [None]


def test_the_money_is_right_after_a_night_of_kills(new_bank, seed, long, record):
    seconds = 180 if long else 30
    with new_bank(*SERVERS, rms=RMS) as bank:
        bank.start()
        tellers, auditor = Tellers(bank, TELLERS, seed), Auditor(bank)
        nemesis = Nemesis(bank, seed)
        try:
            tellers.resume()
            nemesis.rage(seconds)
        finally:
            nemesis.revive()
            auditor.stop()
            tellers.pause()
            tellers.go_home()
        bank.settle()
        assert bank.audit() is not None
        words = bank.close_books()
        print(f"seed {seed}: {words}")
        record("everything dies at random", "kill -9 of coordinator and agents, "
               f"stop -m immediate of PostgreSQL, for {seconds} s", nemesis.kills, words)
        assert tellers.transfers > seconds
