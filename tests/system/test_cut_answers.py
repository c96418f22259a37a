"""The connection to PostgreSQL fails right behind an answer, before the word that ends its trip.

What shares a Sync has been done when its answers come, and is confirmed only by what follows them.
A proxy of the test's own passes all bytes on until a command's tag has gone by, and then hangs up.
"""

import contextlib
import pathlib
import selectors
import socket
import threading

import pytest

from harness import wait_until


class HangsUp:
    """Stands before a server's socket; once armed, hangs up behind the tag, and only once."""

    def __init__(self, folder, server):
        folder.mkdir()
        self.folder, self.tag, self.cuts = folder, None, 0
        self.target = str(pathlib.Path(server.folder) / ".s.PGSQL.5432")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / ".s.PGSQL.5432"))
        self.listener.listen()
        (folder / ".s.PGSQL.5432").chmod(0o777)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                threading.Thread(target=self.pass_on, args=[near], daemon=True).start()

    def pass_on(self, near):
        with near, socket.socket(socket.AF_UNIX) as far, contextlib.suppress(OSError):
            far.connect(self.target)
            watched = selectors.DefaultSelector()
            watched.register(near, selectors.EVENT_READ, far)
            watched.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in watched.select():
                    data = key.fileobj.recv(65536)
                    tag = self.tag
                    if key.fileobj is far and tag and tag in data:
                        self.tag, self.cuts = None, self.cuts + 1
                        near.sendall(data[:data.index(tag) + len(tag)])
                        return
                    if not data:
                        return
                    key.data.sendall(data)


@pytest.fixture
def cut_bank(stopped_bank):
    bank = stopped_bank
    proxy = HangsUp(bank.folder / "proxy", bank.accounts.server)
    conf = bank.accounts.conf
    conf.write_text(conf.read_text().replace(f"host={bank.accounts.server.folder}",
                                             f"host={proxy.folder}"))
    bank.start()
    bank.proxy = proxy
    yield bank
    proxy.listener.close()


@pytest.mark.parametrize("tag", [b"PREPARE TRANSACTION\0", b"DISCARD ALL\0", b"COMMIT PREPARED\0"])
def test_what_was_answered_and_not_confirmed_is_looked_for(cut_bank, tag):
    bank = cut_bank
    agent = bank.accounts.agent
    gtrid = bank.begin_move(7)
    bank.proxy.tag = tag
    outcome = bank.ctl("commit", gtrid)["outcome"]
    assert bank.proxy.cuts == 1 and agent.running()
    wait_until(lambda: bank.outcome(gtrid) in ("committed", "rolled-back"), 20)
    wait_until(bank.nothing_prepared, 20)
    moved = 7 if bank.outcome(gtrid) == "committed" else 0
    assert bank.balances() == (100 - moved, 100 + moved)
    assert outcome in (bank.outcome(gtrid), "in-progress")


def test_a_statement_that_was_answered_and_not_confirmed_is_lost(cut_bank):
    bank = cut_bank
    gtrid = bank.ctl.begin()
    bank.proxy.tag = b"UPDATE 1\0"
    refused = bank.ctl("exec", gtrid, "accounts", "update account set balance = 0 where id = 1")
    assert bank.proxy.cuts == 1 and bank.accounts.agent.running()
    assert refused.code == 1 and refused.error in ("branch_lost", "rm_unavailable")
    assert bank.ctl("commit", gtrid)["outcome"] == "rolled-back"
    assert bank.balances() == (100, 100)
    wait_until(lambda: bank.ctl("exec", bank.ctl.begin(), "accounts", "select 1").code == 0, 20)
