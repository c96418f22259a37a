"""A client that moves money in every way there is, and writes down what it was told.

As a program it makes one transfer and may be killed at a point of its own:

    teller.py KIND HISTORY COORDINATOR RM=AGENT=CONNINFO...      (see Teller.points)
"""

import contextlib
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time

import psycopg2

import harness
from history import History

UPDATE = "update account set balance = balance + {} where id = {}"
STORE = "insert into transfer values ({}, {})"


class Refused(Exception):
    """The answer was an error."""


class TcpClient(harness.Client):
    """The same over TCP, where a message has no byte before its length."""

    def connect(self):
        host, port = self.path.removeprefix("tcp://").split(":")
        return socket.create_connection((host, int(port)), self.seconds)

    def send_message(self, message):
        self.socket.sendall(struct.pack(">Q", len(message)) + message)

    def receive_message(self):
        length, = struct.unpack(">Q", self.receive(8))
        return self.receive(length)


def client_of(address):
    return (TcpClient if str(address).startswith("tcp://") else harness.Client)(address, 10)


class Place:
    """A database as a client reaches it: its agent's socket, and the server itself."""

    def __init__(self, rm, socket, conninfo):
        self.rm, self.socket, self.conninfo = rm, str(socket), conninfo


class Teller:
    # Every way of working: through the agents, on connections of one's own, both in one
    # transaction, one database alone, one of them only read; and every way that it does not
    # come to a commit.
    KINDS = ("agents", "own", "mixed", "single", "read-only", "rollback", "own-rollback", "refused")
    points = ("client.begun", "client.enlisted", "client.working", "client.worked",
              "client.before-prepare", "client.prepared", "client.before-commit",
              "client.commit-sent", "client.told")

    def __init__(self, coordinator, places, history, seed=None, timeout="2s"):
        self.coordinator = client_of(coordinator)
        self.places, self.history, self.timeout = places, history, timeout
        self.agents = {place.rm: client_of(place.socket) for place in places}
        self.random = random.Random(seed)
        self.armed = os.environ.get("ASSENT_KILL_AT")

    def point(self, name):
        if name == self.armed:
            os.kill(os.getpid(), signal.SIGKILL)

    def ask(self, client, op, **fields):
        reply = client.call(op, **fields)
        if not reply["ok"]:
            raise Refused(json.dumps(reply["error"]))
        return reply

    def transfer(self, kind):
        """One transfer; what becomes of it is in the history. Raises if it did not get far."""
        one, other = self.random.sample(self.places, 2)
        amount = self.random.randint(1, 20)
        if kind == "single":
            halves = [(one, 0)]
        else:
            halves = [(one, -amount), (other, amount)]
        moves = {place.rm: move for place, move in halves}
        if kind == "read-only":
            moves = {one.rm: 0}
        gtrid = self.ask(self.coordinator, "begin", timeout=self.timeout,
                         protocol=self.random.choice(("2pc", "3pc")))["gtrid"]
        self.history.note("begun", gtrid=gtrid, kind=kind, moves=moves)
        self.point("client.begun")
        try:
            for number, (place, move) in enumerate(halves):
                self.half(gtrid, kind, number, place, move)
                self.point("client.worked" if number else "client.working")
            self.end(gtrid, kind)
        except (OSError, Refused, psycopg2.Error):
            with contextlib.suppress(OSError):
                self.coordinator.call("rollback", gtrid=gtrid)
            raise

    def half(self, gtrid, kind, number, place, amount):
        only_read = kind == "read-only" and number == 1
        branch = self.ask(self.coordinator, "enlist", gtrid=gtrid, rm=place.rm,
                          read_only=only_read)["branch"]
        self.point("client.enlisted")
        if only_read:
            statements = [("select sum(balance) from account", [])]
        else:
            statements = self.statements(gtrid, kind, number, amount)
        if kind in ("own", "own-rollback") or (kind == "mixed" and number == 1):
            self.on_own_connection(branch["gid"], place, statements)
        else:
            for sql, values in statements:
                numbered = [f"${n + 1}" for n in range(len(values))]
                self.ask(self.agents[place.rm], "exec", gid=branch["gid"],
                         session=branch["session"], sql=sql.format(*numbered),
                         params=[str(value) for value in values])

    def statements(self, gtrid, kind, number, amount):
        account, another = self.random.sample(range(1, harness.ACCOUNTS + 1), 2)
        if kind == "single":
            yield UPDATE, [-1, account]
            yield UPDATE, [1, another]
        elif kind != "read-only":
            yield UPDATE, [amount, account]
        yield STORE, [gtrid, 0 if kind in ("single", "read-only") else amount]
        if kind == "refused" and number == 1:
            yield "insert into owner values ({})", [4711]  # fails at PREPARE

    def on_own_connection(self, gid, place, statements):
        with contextlib.closing(psycopg2.connect(place.conninfo)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("begin")
            cursor.execute("set local lock_timeout = '3s'")
            for sql, values in statements:
                cursor.execute(sql.format(*["%s"] * len(values)), values)
            self.point("client.before-prepare")
            cursor.execute(f"prepare transaction '{gid}'")
            self.point("client.prepared")

    def end(self, gtrid, kind):
        if kind.endswith("rollback"):
            self.told(gtrid, self.ask(self.coordinator, "rollback", gtrid=gtrid)["outcome"])
            return
        self.point("client.before-commit")
        self.history.note("asked", gtrid=gtrid)
        wait = self.random.choice(("applied", "decided"))
        if self.armed == "client.commit-sent":
            self.coordinator.send(json.dumps({"op": "commit", "gtrid": gtrid}).encode())
            self.point("client.commit-sent")
        self.told(gtrid, self.ask(self.coordinator, "commit", gtrid=gtrid, wait=wait,
                                  wait_ms=3000)["outcome"])
        self.point("client.told")
        if wait == "decided":  # and it must stay so
            self.told(gtrid, self.ask(self.coordinator, "outcome", gtrid=gtrid)["outcome"])

    def told(self, gtrid, outcome):
        self.history.note("told", gtrid=gtrid, outcome=outcome)

    def close(self):
        for client in (self.coordinator, *self.agents.values()):
            client.close()


class Tellers:
    """Some of them at work, until they are told to pause or to go home."""

    def __init__(self, bank, count, seed, timeout="2s", kinds=Teller.KINDS):
        self.over, self.open = threading.Event(), threading.Event()
        self.kinds, self.transfers, self.failures = kinds, 0, 0
        self.lock = threading.Lock()
        self.idle = threading.Semaphore(0)
        self.tellers = [Teller(bank.socket, bank.places(), bank.history, f"{seed}.{n}", timeout)
                        for n in range(count)]
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True)
                        for n in range(count)]
        for thread in self.threads:
            thread.start()
        self.pause()

    def work(self, number):
        teller, turn = self.tellers[number], number
        while not self.over.is_set():
            if not self.open.is_set():
                self.idle.release()
                self.open.wait()
                continue
            turn += 1
            try:
                teller.transfer(self.kinds[turn % len(self.kinds)])
                with self.lock:
                    self.transfers += 1
            except (OSError, Refused, psycopg2.Error):
                with self.lock:
                    self.failures += 1
                time.sleep(0.02)  # somebody was killed under us: the next one is another one
        teller.close()

    def resume(self):
        self.open.set()

    def pause(self):
        """Returns when each has finished the transfer that it was at."""
        self.open.clear()
        for _ in self.threads:
            assert self.idle.acquire(timeout=60), "a teller hangs"

    def go_home(self):
        self.over.set()
        self.open.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a teller hangs"


def main(kind, history, coordinator, *places):
    teller = Teller(coordinator, [Place(*place.split("=", 2)) for place in places],
                    History(history))
    with contextlib.suppress(OSError, Refused, psycopg2.Error):
        teller.transfer(kind)


if __name__ == "__main__":
    main(*sys.argv[1:])
