"""The examples that speak HTTP, on connections of their own: shell, Node, Java."""

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import urllib.parse

import pytest

from conftest import new_bank
from test_examples import EXAMPLES, Example, conninfos, moves_once_or_not_at_all, \
    outlives_the_coordinator
from test_http import Web

pytestmark = pytest.mark.slow  # compilers, and npm


@pytest.fixture(scope="module")
def web(run_folder, servers):
    with new_bank(run_folder, servers) as bank:
        yield Web(bank)


@pytest.fixture
def bank(web):
    web.bank.start()
    for database in web.bank.databases:
        database.open_gate()
        database.sql("update account set balance = 100")
    return web.bank


def lives_through_all(example):
    moves_once_or_not_at_all(example)
    assert example.run(30, example.payment)[:2] == (0, "committed")  # the same payment: once
    assert example.bank.balances() == (70, 130)


# ---- shell ----

@pytest.fixture
def shell(web, bank):
    return Example(bank, [EXAMPLES / "transfer.sh"], ASSENT_HTTP=web.url, **conninfos(bank))


def test_a_shell_script_with_curl_and_psql(shell):
    lives_through_all(shell)


def test_a_shell_script_outlives_the_coordinator(shell):
    outlives_the_coordinator(shell)


# ---- Node ----

@pytest.fixture(scope="module")
def node_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLES / "node", folder)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"], cwd=folder,
                   check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def node(web, bank, node_folder):
    urls = {database.rm.upper(): f"postgresql://shop@{urllib.parse.quote(str(database.server.folder), '')}"
                                 f"/{database.name}" for database in bank.databases}
    return Example(bank, ["node", node_folder / "transfer.js"], ASSENT_HTTP=web.url, **urls)


def test_node_with_pg(node):
    lives_through_all(node)


def test_node_outlives_the_coordinator(node):
    outlives_the_coordinator(node)


# ---- Java ----

class Forwarder:
    """Java's driver speaks TCP alone, and the servers of the tests listen on unix sockets alone."""

    def __init__(self, path):
        self.path = str(path)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                outer, _ = self.listener.accept()
                threading.Thread(target=self.carry, args=(outer,), daemon=True).start()

    def carry(self, outer):
        with outer, socket.socket(socket.AF_UNIX) as inner, contextlib.suppress(OSError):
            inner.connect(self.path)
            other = {outer: inner, inner: outer}
            while True:
                for ready in select.select([outer, inner], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture(scope="module")
def java_classes(tmp_path_factory):
    """Compiled once: the launcher would do so at each run."""
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "-Xlint:all,-serial", "-Werror", "-cp", "/usr/share/java/postgresql.jar", "-d",
                    folder, EXAMPLES / "Transfer.java"], check=True, timeout=300)
    return folder


@pytest.fixture
def java(web, bank, java_classes):
    with contextlib.ExitStack() as stack:
        urls = {}
        for database in bank.databases:
            forwarder = stack.enter_context(
                contextlib.closing(Forwarder(database.server.folder / ".s.PGSQL.5432")))
            urls[database.rm.upper()] = (f"jdbc:postgresql://127.0.0.1:{forwarder.port}/"
                                         f"{database.name}?user=shop&sslmode=disable")
        yield Example(bank, ["java", "-cp", f"/usr/share/java/postgresql.jar{os.pathsep}{java_classes}",
                             "Transfer"], ASSENT_HTTP=web.url, **urls)


def test_java_with_pgjdbcs_xa_connections(java):
    lives_through_all(java)


def test_java_outlives_the_coordinator(java):
    outlives_the_coordinator(java)
