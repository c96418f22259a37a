"""Fixtures of the campaign. What takes long runs with --long only; a failure shows the daemons' logs."""

import contextlib
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

import campaign
import harness

numbers = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="everything, and for as long as it takes")
    # Drawn once, also when several processes share the work: the environment is handed down.
    drawn = os.environ.setdefault("ASSENT_SEED", str(random.SystemRandom().randrange(10**6)))
    parser.addoption("--seed", type=int, default=int(drawn),
                     help="of what is drawn: points, moments, victims")
    parser.addoption("--point", action="append",
                     help="of the kill matrix: only NAME[:PASSING][@VICTIM]; may be repeated")
    parser.addoption("--results", help="a file to which each fault and what came of it is added")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only with --long")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="only with --long"))


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line(f"the same again: --seed {config.getoption('--seed')}")


@pytest.fixture(scope="session")
def seed(request):
    return request.config.getoption("--seed")


@pytest.fixture(scope="session")
def long(request):
    return request.config.getoption("--long")


@pytest.fixture
def record(request):
    """record(fault, injected, tried, result): a line of the campaign's results."""
    path, started = request.config.getoption("--results"), time.monotonic()

    def add(fault, injected, tried, result):
        if path:
            line = {"fault": fault, "injected": injected, "tried": tried, "result": result,
                    "test": request.node.nodeid, "seconds": round(time.monotonic() - started, 1),
                    "day": time.strftime("%Y-%m-%d")}
            with open(path, "a", encoding="utf-8") as results:
                results.write(json.dumps(line) + "\n")
    return add


@pytest.fixture(scope="session")
def run_folder():
    # A unix socket's path has room for 107 bytes: pytest's own folders are too deep.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="assent-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class Servers:
    """PostgreSQL servers by name, started when first asked for."""

    def __init__(self, folder):
        self.folder, self.template, self.running = folder, None, {}
        self.lock = threading.Lock()

    def get(self, name):
        with self.lock:
            return self.started(name)

    def started(self, name):
        if self.template is None:
            self.template = harness.Postgres.make_template(self.folder / "template")
        if name not in self.running:
            server = harness.Postgres(name, self.template, self.folder)
            server.start()
            subprocess.run([harness.POSTGRES_BIN / "psql", "-XqvON_ERROR_STOP=1",
                            server.conninfo("postgres")],
                           input=harness.BANK_SCHEMA, text=True, check=True)
            self.running[name] = server
        return self.running[name]

    def stop(self):
        for server in self.running.values():
            server.stop()


@pytest.fixture(scope="session")
def servers(run_folder):
    servers = Servers(run_folder)
    try:
        yield servers
    finally:
        servers.stop()


@pytest.fixture(scope="session")
def new_bank(run_folder, servers):
    """new_bank(*servers or their names, rms=...): a context with a bank of which nothing runs
    yet."""

    @contextlib.contextmanager
    def make(*names, **options):
        number = next(numbers)
        folder = run_folder / f"b{number}"
        folder.mkdir()
        bank = campaign.Bank([servers.get(name) if isinstance(name, str) else name
                              for name in names], folder, number, **options)
        try:
            yield bank
        except BaseException:
            print(f"evidence: {bank.keep_evidence()}")
            raise
        finally:
            bank.stop()

    return make


@pytest.fixture
def stopped_bank(new_bank):
    with new_bank("east", "west") as bank:
        yield bank


@pytest.fixture
def bank(stopped_bank):
    stopped_bank.start()
    return stopped_bank


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    banks = [value for value in item.funcargs.values() if isinstance(value, harness.Bank)]
    for process in banks[0].processes if report.failed and banks else ():
        if pathlib.Path(process.log).exists():
            report.sections.append((f"{process.log} (exit status {process.status()})",
                                    process.log_text()[-4000:]))
