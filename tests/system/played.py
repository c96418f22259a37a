"""A coordinator that the test plays, and one database with its agent beside it.

The agent's own promises are tested here: each order is given by hand and each result is looked
at, with nothing between the test and the agent but the socket. What goes over it is described in
doc/protocol.md.
"""

import contextlib
import hashlib
import hmac
import itertools
import os
import subprocess
import threading

import psycopg2

import harness
from harness import Client, Database, gid_of, wait_until

numbers = itertools.count(1)

VOTES = ("ready", "no", "read-only")
ENDS = ("done", "heuristic", "unknown", "lost")


class Site(Database):
    """A database, its agent with applications that log in as `shop`, and whoever speaks to it."""

    def __init__(self, server, number, folder, rm="accounts"):
        super().__init__(rm, server, number, folder)
        with open(self.conf, "a") as conf:
            conf.write(f"[exec shop]\nconninfo = {server.conninfo(self.name, 'shop')}\n")
        self.install_schema()
        self.players = []

    def restart(self):
        """kill -9 and start: what is registered has to register again."""
        if self.agent.running():
            self.agent.kill()
        self.start()

    def play(self, name="bank", **details):
        player = Player(self, name, **details)
        self.players.append(player)
        return player

    def server_is_back(self):
        self.server.start()
        wait_until(self.up, 15, "the agent is connected again")

    def terminate(self, user):
        self.sql("select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                 " where usename = %s and datname = current_database()", user)

    def close(self):
        for player in self.players:
            player.close()
        if self.agent.running():
            assert self.agent.stop() == 0, self.agent.log_text()[-2000:]
        if not self.server.process.running():
            self.server.start()
        self.open_gate()
        self.drop()


class Player:
    """One start of a coordinator."""

    def __init__(self, site, name="bank", incarnation=1, log=None, recovered_lsn=0):
        self.site, self.name, self.incarnation = site, name, incarnation
        self.log = log or os.urandom(16).hex()
        self.instance = os.urandom(16).hex()
        self.secret = os.urandom(32)
        self.recovered_lsn = self.lsn = recovered_lsn
        self.ancestors = []  # earlier starts of the same log
        self.sequence = 0
        self.agent = "0"
        self.mail = []
        self.client = Client(site.socket, 15)

    def close(self):
        self.client.close()

    def call(self, op, **fields):
        """One request; the socket is opened again if the agent was started again."""
        try:
            return self.client.call(op, **fields)
        except (OSError, AssertionError):
            return self.client.call(op, **fields)

    def register(self):
        def try_it():
            answer = self.call("register", tm=self.name, log=self.log,
                               incarnation=str(self.incarnation), instance=self.instance,
                               recovered_lsn=str(self.recovered_lsn), secret=self.secret.hex(),
                               ancestors=self.ancestors, wire_least=1, wire_most=1)
            if not answer["ok"] and answer.get("error", {}).get("code") == "rm_unavailable":
                return None
            return answer
        answer = wait_until(try_it, 15, "the agent can judge a registration")
        if answer["ok"]:
            self.agent = answer["agent"]
        return answer

    def sender(self):
        return {"tm": self.name, "incarnation": str(self.incarnation),
                "instance": self.instance, "agent": self.agent}

    # ---- branches ----

    def branch(self, name=None):
        self.sequence += 1
        gtrid = f"{self.name}.{self.incarnation}.{self.sequence}"
        return Branch(self, gtrid, self.site.rm + (f"/{name}" if name else ""))

    # ---- orders and results ----

    def order(self, *orders):
        answer = self.call("orders", **self.sender(), orders=orders)
        assert answer["ok"], answer
        self.mail += answer["results"]

    def poll(self, wait_ms):
        answer = self.call("results", **self.sender(), wait_ms=wait_ms)
        assert answer["ok"], answer
        self.mail += answer["results"]

    def result(self, gid, kinds, seconds=10):
        """The next result of one of these kinds, for one branch; None when there is none in time."""
        with contextlib.suppress(AssertionError):
            return wait_until(lambda: self.take(gid, kinds), seconds)

    def take(self, gid, kinds):
        for result in self.mail:
            if result.get("gid") == gid and result["is"] in kinds:
                self.mail.remove(result)
                return result
        self.poll(100)
        return None

    def scan(self):
        """What the agent says is prepared, and open: pairs of its word and the gid."""
        self.sequence += 1
        number = str(self.sequence)
        self.order({"do": "recover", "number": number})

        def complete():
            if any(r["is"] == "scanned" and r["number"] == number for r in self.mail):
                return True
            self.poll(100)
            return False
        wait_until(complete)
        found = [(r["is"], r["gid"]) for r in self.mail
                 if r.get("number") == number and r["is"] in ("found", "session")]
        self.mail = [r for r in self.mail if r.get("number") != number]
        return found


class Branch:
    """A branch of a transaction that the player has begun."""

    def __init__(self, player, gtrid, bqual):
        self.player, self.gtrid, self.bqual = player, gtrid, bqual
        self.gid = gid_of(gtrid, bqual)
        self.enlisted_with = player.agent
        self.n = 0

    def ticket(self, access="w", isolation=0, role="shop", allowed_ms=20000):
        text = f"{self.enlisted_with}.{allowed_ms}.{access}{isolation}{role}."
        mac = hmac.new(self.player.secret, self.gid.encode() + b"\0" + text.encode(),
                       hashlib.sha256)
        return text + mac.hexdigest()

    def exec(self, sql, *params, client=None, **options):
        """One statement through the agent; its whole reply."""
        call = client.call if client else self.player.call
        self.n += 1
        return call("exec", gid=self.gid, session=self.ticket(**options), sql=sql,
                    params=params, n=str(self.n))

    def run(self, sql, *params, **options):
        """The same when it has to succeed; its rows."""
        reply = self.exec(sql, *params, **options)
        assert reply["ok"], (sql, reply)
        return reply["rows"]

    def exec_aside(self, sql, **options):
        """Start a statement on a connection of its own; call what is returned for its reply."""
        replies = []

        def work():
            with contextlib.closing(Client(self.player.site.socket)) as client:
                replies.append(self.exec(sql, client=client, **options))
        thread = threading.Thread(target=work)
        thread.start()

        def reply():
            thread.join(30)
            return replies[0]
        return reply

    def prepare_own(self, sql, user="shop", **session):
        """The work and PREPARE TRANSACTION on the application's own connection."""
        with contextlib.closing(self.player.site.server.connect(
                self.player.site.name, user)) as connection:
            cursor = connection.cursor()
            cursor.execute("begin")
            cursor.execute(sql)
            cursor.execute(f"prepare transaction '{self.gid}'")

    def order(self, what, **fields):
        self.player.order({"do": what, "gid": self.gid, **fields})

    def order_prepare(self):
        self.order("prepare", agent=self.enlisted_with, timeout_ms=10000)

    def vote(self, seconds=10):
        return self.player.result(self.gid, VOTES, seconds)

    def prepare(self):
        """The vote: ready, no or read-only."""
        self.order_prepare()
        return self.vote()

    def ready(self):
        """The vote when it has to be yes: its xid."""
        vote = self.prepare()
        assert vote and vote["is"] == "ready", vote
        return vote["xid"]

    def order_commit(self, xid):
        self.player.lsn += 1
        self.order("commit", xid=xid, lsn=str(self.player.lsn))

    def end(self, seconds=10):
        return self.player.result(self.gid, ENDS, seconds)

    def commit(self, xid, seconds=10):
        self.order_commit(xid)
        return self.end(seconds)

    def rollback(self, xid="0", seconds=10):
        self.order("rollback", xid=xid)
        return self.end(seconds)

    def commit_one_phase(self):
        self.player.lsn += 1
        self.order("commit-one-phase", agent=self.enlisted_with, lsn=str(self.player.lsn))
        return self.player.result(self.gid, ("done", "no"))

    def settle(self):
        self.order("settle")
        return self.player.result(self.gid, ("done", "no"))


@contextlib.contextmanager
def new_site(run_folder, server, **details):
    number = next(numbers)
    folder = run_folder / f"site{number}"
    folder.mkdir()
    site = Site(server, f"s{number}", folder, **details)
    try:
        yield site
    finally:
        site.close()


@contextlib.contextmanager
def new_server(run_folder, *settings, before_start=None, port=5432, template="template",
               programs=harness.POSTGRES_BIN):
    """A PostgreSQL server that a test may stop, starve or turn into another."""
    server = harness.Postgres(f"own{next(numbers)}", run_folder / template / "data", run_folder,
                              port, programs)
    with open(server.data / "postgresql.conf", "a") as conf:
        conf.write("".join(f"{setting}\n" for setting in settings))
    if before_start:
        before_start(server.data)
    server.start()
    try:
        subprocess.run([harness.POSTGRES_BIN / "psql", "-XqvON_ERROR_STOP=1",
                        server.conninfo("postgres")],
                       input=harness.BANK_SCHEMA, text=True, check=True)
        yield server
    finally:
        if server.process.running():
            server.stop()


def refusal(server, database, sql, user="postgres"):
    """The SQLSTATE with which the server itself refuses a statement; None if it does not."""
    with contextlib.closing(server.connect(database, user)) as connection:
        try:
            connection.cursor().execute(sql)
        except psycopg2.Error as error:
            return error.pgcode
    return None
