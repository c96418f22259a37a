"""Hosts that say nothing any more, and name servers that do not answer. Nobody else may notice."""

import contextlib
import os
import socket
import subprocess
import time

import pytest

from harness import wait_until

NOTICED_S = 20  # doc/assentd.8, "SILENT HOSTS"
NAME_SERVER = "127.0.53.53"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes networks and mounts of its own")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Cable:
    """Another host, on the same machine: a network of its own, and a cable to it."""

    def __init__(self, number):
        self.host, self.device = f"assent-host-{number}", f"asl{number % 10000}"
        self.here, self.there = f"10.88.{number % 250}.1", f"10.88.{number % 250}.2"
        ip("netns", "add", self.host)
        ip("link", "add", self.device, "type", "veth", "peer", "name", "cable", "netns", self.host)
        ip("address", "add", f"{self.here}/30", "dev", self.device)
        ip("link", "set", self.device, "up")
        ip("-n", self.host, "address", "add", f"{self.there}/30", "dev", "cable")
        ip("-n", self.host, "link", "set", "cable", "up")

    def pull_out(self):
        """At the far end: here everything looks well, and nothing comes back."""
        address = subprocess.run(["ip", "-n", self.host, "-o", "link", "show", "cable"], check=True,
                                 capture_output=True, text=True).stdout
        mac = address.split("link/ether ")[1].split()[0]
        ip("neighbour", "replace", self.there, "lladdr", mac, "dev", self.device, "nud", "permanent")
        ip("-n", self.host, "link", "set", "cable", "down")

    def remove(self):
        subprocess.run(["ip", "link", "del", self.device], check=False)
        ip("netns", "delete", self.host)


@pytest.fixture
def cable():
    cable = Cable(os.getpid())
    yield cable
    cable.remove()


FORWARDER = """
import asyncio, sys
async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
async def serve(reader, writer):
    far_reader, far_writer = await asyncio.open_unix_connection(sys.argv[2])
    await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(serve, sys.argv[1], 5432) as server:
        print("ready", flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


@contextlib.contextmanager
def database_at(cable, server):
    """What connects to the other host's port 5432 reaches this server."""
    forwarder = subprocess.Popen(
        ["ip", "netns", "exec", cable.host, "/usr/bin/python3", "-c", FORWARDER, cable.there,
         server.folder / f".s.PGSQL.{server.port}"], stdout=subprocess.PIPE, text=True)
    try:
        assert forwarder.stdout.readline() == "ready\n"
        yield
    finally:
        forwarder.kill()
        forwarder.wait()


def with_file(process, path, text, folder):
    """The process sees this text at that path, and nobody else does."""
    own = folder / path.strip("/").replace("/", "-")
    own.write_text(text)
    process.arguments = ["unshare", "-m", "sh", "-c", f'mount --bind {own} {path} && exec "$@"', "sh",
                         *process.arguments]


def set_hosts(database, hosts, ports):
    folder, port = database.server.folder, database.server.port
    conf = database.conf.read_text().replace(f"host={folder} port={port}", f"host={hosts} port={ports}")
    assert hosts in conf
    database.conf.write_text(conf)


def commit_at_ledger(bank):
    """The other client, who has nothing to do with the host that is silent."""
    gtrid = bank.ctl.begin()
    bank.ctl("exec", gtrid, "ledger", "update account set balance = balance + 1 where id = 7", code=0)
    bank.ctl("commit", gtrid, code=0)


def longest(action, until, seconds):
    """Does it again and again until something is true; how long one time took at most."""
    worst, end = 0, time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"not within {seconds} s"
        started = time.monotonic()
        action()
        worst = max(worst, time.monotonic() - started)
        time.sleep(0.1)
    return worst


@pytest.mark.slow
def test_a_host_that_goes_silent_is_noticed_and_the_next_one_is_found(stopped_bank, cable):
    bank, database, server = stopped_bank, stopped_bank.accounts, stopped_bank.accounts.server
    with_file(database.agent, "/etc/hosts", f"127.0.0.1 localhost\n{cable.there} db1.example.test\n",
              bank.folder)
    set_hosts(database, f"db1.example.test,{server.folder}", f"5432,{server.port}")
    with database_at(cable, server):
        bank.start()
        assert bank.ctl("commit", bank.begin_move(3), code=0)["outcome"] == "committed"
        cable.pull_out()
        started = time.monotonic()
        worst = longest(lambda: commit_at_ledger(bank), lambda: not database.up(), NOTICED_S)
        assert worst < 3
        # The first host of the list says nothing, and the second is asked all the same.
        worst = longest(lambda: commit_at_ledger(bank), database.up, 20)
        assert worst < 3
        assert bank.ctl("commit", bank.begin_move(3), code=0)["outcome"] == "committed"
        print(f"after {time.monotonic() - started:.1f} s")


@pytest.fixture
def silent_name_server():
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind((NAME_SERVER, 53))
        yield f"nameserver {NAME_SERVER}\n"


def test_a_name_server_that_does_not_answer_keeps_nobody_waiting(stopped_bank, silent_name_server):
    bank, database, server = stopped_bank, stopped_bank.accounts, stopped_bank.accounts.server
    for process in (database.agent, bank.tm):
        with_file(process, "/etc/resolv.conf", silent_name_server, bank.folder)
    set_hosts(database, f"{server.folder},db2.example.test", f"{server.port},5432")
    with open(bank.conf, "a") as conf:
        conf.write("[rm ghost]\nurl = tcp://ghost.example.test:7411\n")
    for process in bank.processes:
        process.start()
    wait_until(lambda: {rm["rm"]: rm["state"] for rm in bank.ctl("status").get("rms") or ()}
               == {"accounts": "up", "ledger": "up", "ghost": "down"}, 20)
    started = time.monotonic()
    server.stop()
    try:
        def ask():
            database.status()
            commit_at_ledger(bank)
        assert longest(ask, lambda: time.monotonic() - started > 8, 30) < 2
    finally:
        server.start()
    wait_until(database.up, 20)
    # Meanwhile the coordinator may have taken it for gone, and is to find it again.
    wait_until(lambda: {rm["rm"]: rm["state"] for rm in bank.ctl("status").get("rms") or ()}
               ["accounts"] == "up", 20)
    bank.ctl("commit", bank.begin_move(3), code=0)
