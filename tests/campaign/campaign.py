"""The bank of the campaign: as many databases as one likes, and a history of all that it did."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

import psycopg2

SYSTEM = pathlib.Path(__file__).resolve().parents[1] / "system"
sys.path.insert(0, str(SYSTEM))

import harness  # noqa: E402
from harness import arm, shim, wait_until  # noqa: E402
from check_history import check  # noqa: E402
from history import History  # noqa: E402
from stub import Stub  # noqa: E402
from teller import Place, Tellers  # noqa: E402

SETTLED_WITHIN_S = 30


class Bank(harness.Bank):
    """Databases spread over the servers, their agents, the coordinator, and the history.

    stubs: names of agents that are only played; settings: more lines of assentd.ini.
    """

    BATCH = 64  # requests in a message, at most

    def __init__(self, servers, folder, number, rms=("accounts", "ledger"), stubs=(), settings=""):
        self.folder, self.settings = folder, settings
        self.stubs = [Stub(name, folder) for name in stubs]
        self.databases_of = [harness.Database(rm, servers[i % len(servers)], number, folder)
                             for i, rm in enumerate(rms)]
        self.accounts, self.ledger = self.databases_of[:2]
        self.socket = folder / "bank.sock"
        self.url = f"ipc://{self.socket}"
        self.data_dir = folder / "tm"
        self.conf = self.write_conf("assentd.ini", self.socket, self.data_dir)
        self.tm = self.coordinator(self.conf, "assentd.log")
        self.ctl = harness.Assentctl(self.url)
        self.history = History(folder / "history.jsonl")
        self.history.note("opened", sum=len(rms) * harness.ACCOUNTS * harness.BALANCE)

    def write_conf(self, name, listen, data_dir, tm="bank"):
        path = super().write_conf(name, listen, data_dir, tm)
        with open(path, "a", encoding="utf-8") as conf:
            conf.writelines(f"[rm {stub.rm}]\nurl = {stub.url}\n" for stub in self.stubs)
            conf.write(self.settings)
        return path

    def stop(self):
        try:
            super().stop()
        finally:
            for stub in self.stubs:
                stub.close()

    @property
    def databases(self):
        return self.databases_of

    @property
    def processes(self):
        return (self.tm, *(database.agent for database in self.databases))

    def places(self):
        return [Place(database.rm, database.socket, database.server.conninfo(database.name, "shop"))
                for database in self.databases]

    def ask(self, op, **fields):
        """One request of ours, in time or not at all."""
        client = harness.Client(self.socket, 5)
        try:
            return client.call(op, **fields)
        except (OSError, AssertionError):
            return {"ok": False}
        finally:
            client.close()

    def ready(self):
        answer = self.ask("status")
        return (answer["ok"] and answer["state"] == "ready"
                and all(rm["state"] == "up" for rm in answer["rms"]))

    def wait_ready(self, seconds=20):
        try:
            wait_until(self.ready, seconds, "the coordinator is ready and all agents are up")
        except AssertionError as error:
            states = {process.name: process.running() for process in self.processes}
            raise AssertionError(f"{error}: running {states}, logs in {self.keep_evidence()}:"
                                 f" {self.ask('status')} {self.ask('agents')}") from None

    def revive(self):
        """Start whatever does not run."""
        for process in self.processes:
            if not process.running():
                process.start()

    def stop_daemons(self):
        """While whatever lies between them still works."""
        self.revive()
        self.end_transactions()
        for process in self.processes:
            process.stop()

    def settle(self):
        """All daemons run and the fault is over: wait until nothing is in doubt any more."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        self.wait_ready(SETTLED_WITHIN_S)
        wait_until(self.nothing_prepared, deadline - time.monotonic(), "nothing is prepared")
        wait_until(lambda: self.ask("list").get("transactions") == [],
                   max(1, deadline - time.monotonic()), "every transaction has ended")

    def nothing_prepared(self):
        try:
            return not any(database.prepared() for database in self.databases)
        except psycopg2.Error:
            return False  # the server is on its way up

    def audit(self):
        """A consistent reading: once all tables are locked, nothing is between two databases.
        None when somebody was in the way for too long, or when a server died with its lock."""
        total = 0
        try:
            with contextlib.ExitStack() as stack:
                readers = [stack.enter_context(contextlib.closing(database.server.connect(
                    database.name, autocommit=False))) for database in self.databases]
                for reader in readers:
                    cursor = reader.cursor()
                    cursor.execute("set local lock_timeout = '2s'")
                    cursor.execute("lock table account in share mode")
                    cursor.execute("select sum(balance) from account")
                    total += int(cursor.fetchone()[0])
                for reader in readers:
                    reader.commit()  # it can: its lock was held until the last table was read
        except psycopg2.Error:
            return None
        self.history.note("audited", sum=total)
        return total

    def close_books(self):
        """After settle(): put down what there is, and check the whole history."""
        begun = self.history.begun()
        self.history.note(
            "closed", sum=int(self.total()),
            prepared=[gid for database in self.databases for gid in database.prepared()],
            transfers={database.rm: dict(database.sql("select gtrid, amount from transfer"))
                       for database in self.databases},
            outcomes=self.outcomes(begun))
        words, broken = check(self.history.path)
        assert not broken, f"{self.keep_evidence()}: {words}:\n" + "\n".join(broken[:20])
        return words

    def outcomes(self, gtrids):
        with contextlib.closing(harness.Client(self.socket, 10)) as client:
            replies = self.batches(client, [{"op": "outcome", "gtrid": gtrid} for gtrid in gtrids])
            return {gtrid: reply.get("outcome", reply.get("error"))
                    for gtrid, reply in zip(gtrids, replies)}

    def batches(self, client, requests):
        """All of them, as many in a message as there may be; the replies."""
        for at in range(0, len(requests), self.BATCH):
            yield from client.call_bytes(
                json.dumps({"batch": requests[at:at + self.BATCH]}).encode())["batch"]

    def begin_at_stubs(self, client, count):
        """Transactions that will be in the log and in no database, with long labels; the replies."""
        request = {"op": "begin", "rms": [stub.rm for stub in self.stubs], "label": "x" * 64,
                   "timeout": "5min"}
        return list(self.batches(client, [request] * count))

    def commit_all(self, client, begun):
        return list(self.batches(client, [{"op": "commit", "gtrid": reply["gtrid"]}
                                          for reply in begun if reply["ok"]]))

    def keep_evidence(self):
        """Copy history and logs to where the end of the run does not remove them."""
        kept = pathlib.Path("/tmp") / f"assent-evidence-{os.getpid()}-{self.folder.name}"
        subprocess.run(["cp", "-r", self.folder, kept], check=False)
        return kept


@contextlib.contextmanager
def load(bank, seed, count=3):
    """Tellers at work meanwhile; then everything is settled and checked."""
    tellers = Tellers(bank, count, seed)
    tellers.resume()
    try:
        yield tellers
        tellers.pause()
    finally:
        tellers.go_home()
    bank.settle()
    tellers.words = bank.close_books()


def restart(process):
    if process.running():
        process.kill()
    process.start()
