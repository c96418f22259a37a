"""Coordinator and agents on networks of their own, joined by cables that are pulled out.

The daemons serve tcp on loopback alone, so that two proxies stand at the ends of each cable, as
tunnels would; what is between them is the kernel's TCP over a link that is down.
"""

import contextlib
import time

import pytest

from campaign import load, wait_until
from network import Cable, NotPermitted, Proxy, networks

PORT = 7411
# Longer than any timeout of the parties, as in test_network.
OUT_S = 12


class Networks:
    """A bank of which each daemon lives on a network of its own."""

    def __init__(self, bank, names, seed):
        self.cables, self.proxies = [], []
        of_tm, *of_agents = names
        self.move(bank.tm, of_tm)
        places = bank.places()
        for n, (database, place, network) in enumerate(zip(bank.databases, places, of_agents)):
            self.move(database.agent, network)
            cable = Cable(of_tm, network, n)
            near, far, agent = ("127.0.0.1", PORT + n), (cable.far_address, PORT), ("127.0.0.1", PORT)
            front = Proxy(("127.0.0.1", 0), agent, seed, target_network=network)
            self.proxies += [Proxy(near, far, seed, of_tm), Proxy(far, agent, seed, network), front]
            self.cables.append(cable)
            database.url = f"tcp://127.0.0.1:{PORT + n}"
            conf = database.conf.read_text()
            database.conf.write_text(conf.replace(f"ipc://{database.socket}",
                                                  f"tcp://127.0.0.1:{PORT}"))
            place.socket = f"tcp://127.0.0.1:{front.port}"
        bank.write_conf("assentd.ini", bank.socket, bank.data_dir)
        bank.places = lambda: places

    @staticmethod
    def move(process, network):
        process.arguments = ["nsenter", f"--net=/run/netns/{network}", *process.arguments]

    def close(self):
        for proxy in self.proxies:
            proxy.close()


@pytest.fixture
def cabled(stopped_bank, seed):
    with contextlib.ExitStack() as stack:
        try:
            names = stack.enter_context(networks(1 + len(stopped_bank.databases)))
            wired = Networks(stopped_bank, names, seed)
        except NotPermitted as error:
            pytest.skip(f"networks of its own: not permitted here: {error}")
        try:
            stopped_bank.start()
            yield stopped_bank, wired.cables
        finally:
            for cable in wired.cables:
                cable.plug_in()
            stopped_bank.stop_daemons()
            wired.close()


def test_cables_pulled_out_for_longer_than_every_timeout(cabled, seed, long, record):
    bank, cables = cabled
    rounds = 3 if long else 1
    with load(bank, seed) as tellers:
        for _ in range(rounds):
            before = tellers.transfers
            wait_until(lambda: tellers.transfers > before + 20, 60, "work is done")
            for cable in cables:
                cable.pull_out()
            time.sleep(OUT_S)
            for cable in cables:
                cable.plug_in()
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before, 60, "work goes on")
    record("partition", f"network namespaces, the links are down for {OUT_S} s", rounds,
           tellers.words)


def test_a_cable_with_a_loose_contact(cabled, seed, record):
    bank, cables = cabled
    pulls = 20
    with load(bank, seed) as tellers:
        for n in range(pulls):
            cables[n % len(cables)].pull_out()
            time.sleep(0.3)
            cables[n % len(cables)].plug_in()
            time.sleep(0.2)
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before, 60, "work goes on")
    record("links flap", "network namespaces, one of the links is down for 300 ms", pulls,
           tellers.words)
