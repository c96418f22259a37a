"""A bad network between all parties: whatever it does, the money is right once it is healed.

Coordinator and agents speak over TCP through a proxy, agents and PostgreSQL over a proxied unix
socket, and so do the tellers and the coordinator.
"""

import contextlib
import os
import pathlib
import time

import pytest

from campaign import wait_until
from network import Proxy
from teller import Tellers

# Longer than any timeout of the parties: 10 s for a call between them, 2 s for a transaction,
# 3 s for a client.
PARTITION_S = 12

# A loopback address of this process's own: nobody else takes its ports.
HERE = "127.{}.{}.{}".format(1 + (os.getpid() >> 14) % 250, (os.getpid() >> 7) % 128,
                             1 + os.getpid() % 128)
AGENTS_PORT = 7411


class Wires:
    """A bank whose every connection goes through a proxy of ours."""

    def __init__(self, bank, seed):
        self.bank, self.links = bank, {"coordinator-agent": [], "agent-postgres": [], "client": []}
        places = bank.places()
        for number, (database, place) in enumerate(zip(bank.databases, places)):
            near = bank.folder / f"pg{number}"
            near.mkdir()
            self.add("agent-postgres", str(near / ".s.PGSQL.5432"),
                     str(pathlib.Path(database.server.folder) / ".s.PGSQL.5432"), seed)
            port = AGENTS_PORT + number
            link = self.add("coordinator-agent", (HERE, 0), (HERE, port), seed)
            database.url = f"tcp://{HERE}:{link.port}"
            conf = database.conf.read_text()
            conf = conf.replace(f"host={database.server.folder}", f"host={near}")
            database.conf.write_text(conf.replace(f"ipc://{database.socket}",
                                                  f"tcp://{HERE}:{port}"))
            place.socket = f"tcp://{HERE}:{port}"
        bank.write_conf("assentd.ini", bank.socket, bank.data_dir)
        front = str(bank.folder / "front.sock")
        self.add("client", front, str(bank.socket), seed)
        self.front, self.places = front, places

    def add(self, kind, listen, target, seed):
        proxy = Proxy(listen, target, f"{seed}.{kind}")
        self.links[kind].append(proxy)
        return proxy

    def all(self, kind=None):
        return [link for name, links in self.links.items() if kind in (None, name)
                for link in links]

    def close(self):
        for link in self.all():
            link.heal()
            link.close()


@pytest.fixture(scope="module")
def wires(new_bank, seed):
    with new_bank("east", "west") as bank:
        wires = Wires(bank, seed)
        try:
            bank.start()
            yield wires
        finally:
            for link in wires.all():
                link.heal()
            bank.stop_daemons()
            wires.close()


class Front:
    """The bank as its tellers see it."""

    def __init__(self, wires):
        self.socket, self.history, self.places = wires.front, wires.bank.history, lambda: wires.places


@contextlib.contextmanager
def day(wires, seed):
    """Tellers at work around the fault; then everything is healed, settled and checked."""
    tellers = Tellers(Front(wires), 4, seed)
    tellers.resume()
    try:
        yield tellers
        for link in wires.all():
            link.heal()
        before = tellers.transfers
        time.sleep(1)
        tellers.pause()
    finally:
        for link in wires.all():
            link.heal()
        tellers.go_home()
    wires.bank.settle()
    tellers.words = wires.bank.close_books()
    tellers.since = tellers.transfers - before


def bad(wires, kind, **settings):
    links = wires.all(kind)
    for link in links:
        for name, value in settings.items():
            setattr(link, name, value)


EVERYWHERE = [None, *(pytest.param(kind, marks=pytest.mark.long)
                      for kind in ("coordinator-agent", "agent-postgres", "client"))]


def test_a_good_network_through_the_proxies(wires, seed):
    with day(wires, seed) as tellers:
        time.sleep(12)
    # Tellers may wait for each other in two databases at once, until a timeout ends it: then all
    # stand still for two seconds, which is why this takes a while.
    assert tellers.transfers > 20 and tellers.failures < tellers.transfers / 10


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_delays_of_every_piece(wires, seed, kind, record):
    with day(wires, seed) as tellers:
        bad(wires, kind, delay_s=0.1)
        time.sleep(4)
    record("slow network", f"proxy, up to 100 ms a piece, {kind or 'everywhere'}", 1, tellers.words)
    assert tellers.transfers > 0


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_connections_cut_in_the_middle_of_a_message(wires, seed, kind, record):
    before = sum(link.cuts for link in wires.all())
    with day(wires, seed) as tellers:
        bad(wires, kind, cut_after=5000)
        time.sleep(5)
    cuts = sum(link.cuts for link in wires.all()) - before
    record("connections break", f"proxy cuts them in mid-message, {kind or 'everywhere'}", cuts,
           tellers.words)
    assert cuts > 0


@pytest.mark.parametrize("kind", [
    "coordinator-agent", pytest.param("client", marks=pytest.mark.long)])
def test_messages_that_arrive_a_second_time_over_another_connection(wires, seed, kind, record):
    """In order, late, and when their sender has long had its answer and gone on."""
    def repeated():
        return sum(link.repeated for link in wires.all(kind))
    before = repeated()
    with day(wires, seed) as tellers:
        bad(wires, kind, twice=True)
        for link in wires.all(kind):
            link.hang_up()
        wait_until(lambda: repeated() > before + 100 and tellers.transfers > 0, 60,
                   "messages are repeated and work goes on")
        for link in wires.all(kind):
            link.heal()
            link.hang_up()
    record("messages arrive twice", f"proxy, over a second connection, late, {kind}",
           repeated() - before, tellers.words)


@pytest.mark.parametrize("silent", ["there", "back", "both"])
@pytest.mark.parametrize("kind", [
    "coordinator-agent", pytest.param("agent-postgres", marks=pytest.mark.long),
    pytest.param("client", marks=pytest.mark.long), pytest.param(None, marks=pytest.mark.long)])
def test_silence_for_longer_than_every_timeout(wires, seed, kind, silent, record, long):
    if silent != "there" and not long:
        pytest.skip("only with --long")
    with day(wires, seed) as tellers:
        time.sleep(0.5)
        bad(wires, kind, silent=silent)
        time.sleep(PARTITION_S)
    record("partition", f"proxy is silent for {PARTITION_S} s, {silent}, {kind or 'everywhere'}", 1,
           tellers.words)
    assert tellers.since > 0, "work goes on after it"
