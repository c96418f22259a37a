"""kill -9 at every named moment: the process that gets there, or another one meanwhile.

The points are those of the sources (common/point.h) and those of teller.py. Several lanes, each
a bank on a server of its own with tellers at work, go through the cases side by side. After each
case everything comes back by itself, nothing stays in doubt, and the history keeps its promises.
"""

import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import campaign
import harness
from campaign import arm
from teller import Teller, Tellers

SOURCES = ("tm", "log", "rm-agent")
SAMPLE = 40
LANES = 4
TELLERS = 3
REACHED_WITHIN_S = 20  # the first passing; a later one that does not come sooner is rare
RARE_AFTER_S = 3

# Moments of a log's first start: each needs a bank of its own.
FIRST_START = ("log.before-create", "log.before-first-segment-is-named")

# Moments of the log's next segment and of its checkpoints. So that they come often the segments
# are small, and transactions of stubs fill them.
FILLING = ("log.spare", "log.before-spare", "log.before-oldest", "log.oldest", "log.checkpoint",
           "log.archive", "log.old-checkpoints")
SMALL_LOG = {"stubs": ("left", "right"), "settings": "[log]\nsegment_size = 128kB\n"}

# Moments on the way out.
STOPPING = ("tm.stopping", "tm.before-log-closes", "log.before-stop", "agent.stopping")

# What is seen only after a death: of the process itself at its last start, or of the other one.
AFTER_A_DEATH = {
    "tm.order-settle": ("self", "tm.order-one-phase"),
    "agent.take-settle": ("other", "tm.order-one-phase"),
    "agent.before-marker-looked-for": ("other", "tm.order-one-phase"),
    "agent.marker-looked-for": ("other", "tm.order-one-phase"),
    "tm.take-found": ("other", "agent.prepare-done"),
    "tm.take-loss": ("other", "agent.exec-sent"),
    "agent.took-status": ("self", "agent.commit-prepared-done"),
    "agent.before-ballots-sent": ("other", "tm.order-ballot"),
}

# And this one only if the other stays dead for as long as an agent waits for it.
AFTER_A_SILENCE = ("agent.before-ballots-sent",)


# Passed only once a retention is over, and tellers ask for what is older than a short one:
# tests/unit/test_log_failures.c kills there.
NOT_HERE = {"log.old-archive-removed"}


def points():
    names = set()
    for folder in SOURCES:
        for path in (harness.SOURCE / folder).rglob("*.c"):
            text = path.read_text()
            names.update(re.findall(r'POINT(?:_IF)?\([^;]*?"([a-z.-]+)"\);', text))
            if "POINT_OF" in text:
                names.update(re.findall(r'\[[A-Z_]+\] = "((?:tm|agent|log)\.[a-z-]+)"', text))
    return sorted(names - NOT_HERE) + list(Teller.points)


class Case:
    """At its n-th passing of the point the process dies, or the victim."""

    def __init__(self, point, passing=1, victim="self"):
        self.point, self.passing, self.victim = point, passing, victim

    @property
    def of_tm(self):
        return self.point.startswith(("tm.", "log."))

    @classmethod
    def parse(cls, text):
        point, _, victim = text.partition("@")
        point, _, passing = point.partition(":")
        return cls(point, int(passing or 1), victim or "self")

    def __str__(self):
        return f"{self.point}:{self.passing}@{self.victim}"


def cases(names, seed, long):
    everything = [Case(name) for name in names]
    if not long:
        return random.Random(seed).sample(everything, SAMPLE)
    of_daemons = [name for name in names if not name.startswith("client.")]
    later = [name for name in of_daemons if name not in FIRST_START + STOPPING
             and name not in AFTER_A_DEATH]
    return (everything + [Case(name, passing) for name in later for passing in (2, 5)]
            + [Case(name, 1, victim) for name in later for victim in ("other", "postgres")])


class Lane(threading.Thread):
    """Goes through cases on one bank until there are none left."""

    def __init__(self, number, waiting, new_bank, seed):
        super().__init__(daemon=True)
        self.number, self.waiting, self.new_bank, self.seed = number, waiting, new_bank, seed
        self.done, self.rare, self.failures = [], [], []

    def run(self):
        try:
            with self.new_bank(f"lane{self.number}", **SMALL_LOG) as self.bank:
                self.bank.start()
                self.tellers = Tellers(self.bank, TELLERS, f"{self.seed}.{self.number}")
                try:
                    self.go_through()
                finally:
                    self.tellers.go_home()
        except BaseException as error:  # a thread's own are nobody's otherwise
            self.failures.append(f"lane {self.number}: {error!r}")

    def go_through(self):
        # next() of a list's iterator is atomic: each case is drawn once.
        for case in self.waiting:
            started = time.monotonic()
            try:
                self.meet(case)
                self.done.append((case, time.monotonic() - started))
            except Exception as error:
                self.failures.append(f"{case}: {type(error).__name__}: {error}, see "
                                     f"{self.bank.keep_evidence()}")
                return  # the bank is evidence now

    def meet(self, case):
        if case.point in FIRST_START:
            self.first_start(case)
        elif case.point.startswith("client."):
            self.kill_client(case)
        else:
            self.kill_daemon(case)

    def first_start(self, case):
        with self.new_bank(f"lane{self.number}") as bank:
            arm(bank.tm, ASSENT_KILL_AT=case.point)
            bank.tm.start()
            assert bank.tm.wait(10) == -signal.SIGKILL
            arm(bank.tm)
            bank.start()
            bank.settle()
            bank.close_books()

    def kill_client(self, case):
        kind = {"client.before-prepare": "own", "client.prepared": "own"}.get(case.point, "agents")
        places = [f"{place.rm}={place.socket}={place.conninfo}" for place in self.bank.places()]
        client = subprocess.run(
            [sys.executable, "-B", os.path.join(os.path.dirname(__file__), "teller.py"), kind,
             self.bank.history.path, str(self.bank.socket), *places],
            env={**os.environ, "ASSENT_KILL_AT": case.point, "PYTHONPATH": str(campaign.SYSTEM)},
            timeout=60, check=False)
        assert client.returncode == -signal.SIGKILL, f"{case.point} is never passed"
        self.settle(case)

    def kill_daemon(self, case):
        armed = self.bank.tm if case.of_tm else self.bank.databases[0].agent
        other = self.bank.databases[0].agent if case.of_tm else self.bank.tm
        victim = {"self": armed, "other": other}.get(case.victim)
        self.tellers.resume()
        self.prepare_a_death(case, armed, other)
        pid = other.popen.pid if victim is other else self.checkpointer()
        at = f"{case.point}:{case.passing}"
        arm(armed, ASSENT_KILL_AT=at if victim is armed else f"{at}@{pid}")
        campaign.restart(armed)
        killed = (lambda: not victim.running()) if victim else (
            lambda: self.checkpointer() not in (pid, None))
        if not self.wait_for_the_kill(case, armed, other, killed):
            self.rare.append(case)
        for process in (armed, other):
            arm(process)
        if armed.running():
            armed.kill()
        self.settle(case)

    def prepare_a_death(self, case, armed, other):
        whose, point = AFTER_A_DEATH.get(case.point, (None, None))
        process = armed if whose == "self" else other
        if whose is None or process is None:
            return
        arm(process, ASSENT_KILL_AT=point)
        campaign.restart(process)
        if whose == "self":
            campaign.wait_until(lambda: not process.running(), REACHED_WITHIN_S, point)

    def checkpointer(self):
        """kill -9 of any of its processes makes PostgreSQL start all over."""
        try:
            with self.bank.databases[0].server.connect("postgres") as connection:
                cursor = connection.cursor()
                cursor.execute("select pid from pg_stat_activity where backend_type = 'checkpointer'")
                row = cursor.fetchone()
                return row and row[0]
        except harness.psycopg2.Error:
            return None

    def wait_for_the_kill(self, case, armed, other, killed):
        """False: the point is passed, but not as often as that."""
        started = time.monotonic()
        again_at = started + RARE_AFTER_S
        silent = other if case.point in AFTER_A_SILENCE else None
        while not killed():
            now = time.monotonic()
            if now > started + RARE_AFTER_S and (case.passing > 1 or case.victim != "self"):
                return False
            assert now < started + REACHED_WITHIN_S, f"{case.point} is never passed"
            for process in self.bank.processes:
                if process not in (armed, silent) and not process.running():
                    arm(process)
                    process.start()
            if case.point.startswith(FILLING):
                self.fill_the_log()
            if case.point in STOPPING and now > started + 0.5:
                armed.send(signal.SIGTERM)
            if now > again_at and not silent:  # the death that was to come before was of no use
                self.prepare_a_death(case, None, other)
                again_at += RARE_AFTER_S
            time.sleep(0.01)
        status = armed.status()
        assert case.victim != "self" or status == -signal.SIGKILL, f"{case.point}: ended with {status}"
        return True

    def fill_the_log(self):
        with contextlib.closing(harness.Client(self.bank.socket, 5)) as client, \
                contextlib.suppress(OSError, AssertionError):
            bank = self.bank
            bank.commit_all(client, bank.begin_at_stubs(client, bank.BATCH))

    def settle(self, case):
        self.bank.history.note("killed", who=str(case))
        self.bank.revive()
        self.tellers.resume()
        self.tellers.pause()
        self.bank.settle()
        self.bank.close_books()


def test_there_are_points_around_everything():
    assert len(points()) >= 60


def test_a_kill_at_any_point_leaves_the_money_right(new_bank, seed, long, record, request):
    names = points()
    only = request.config.getoption("--point")
    chosen = [Case.parse(text) for text in only] if only else cases(names, seed, long)
    waiting = iter(chosen)
    lanes = [Lane(number, waiting, new_bank, seed) for number in range(LANES)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    done = [case for lane in lanes for case in lane.done]
    rare = sum(len(lane.rare) for lane in lanes)
    failures = list(itertools.chain(*(lane.failures for lane in lanes)))
    slowest = sorted(done, key=lambda item: -item[1])[:5]
    print(f"seed {seed}: {len(done)} of {len(chosen)} cases, {rare} of them never met;",
          "slowest:", ", ".join(f"{case} {seconds:.1f} s" for case, seconds in slowest))
    record("a party dies", f"kill -9 at {len(names)} named points (common/point.h): the process "
           "itself, its partner, or PostgreSQL", len(done) - rare, f"{len(failures)} violations")
    assert not failures, "\n".join(failures)
    assert len(done) == len(chosen)
