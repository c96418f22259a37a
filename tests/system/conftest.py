"""Fixtures: two PostgreSQL servers for the whole run, a fresh bank for each test."""

import contextlib
import itertools
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

import harness
from played import new_site

numbers = itertools.count(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than ten seconds")
    # Servers are stopped also when a time limit ends the run.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))


@pytest.fixture(scope="session")
def run_folder():
    # A unix socket's path has room for 107 bytes: pytest's own folders are too deep.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="assent-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def servers(run_folder):
    template = harness.Postgres.make_template(run_folder / "template")
    servers = [harness.Postgres(name, template, run_folder) for name in ("east", "west")]
    try:
        for server in servers:
            server.start()
            subprocess.run([harness.POSTGRES_BIN / "psql", "-XqvON_ERROR_STOP=1",
                            server.conninfo("postgres")],
                           input=harness.BANK_SCHEMA, text=True, check=True)
        yield servers
    finally:
        for server in servers:
            server.stop()


@contextlib.contextmanager
def new_bank(run_folder, servers):
    folder = run_folder / f"bank{next(numbers)}"
    folder.mkdir()
    bank = harness.Bank(servers, folder, folder.name.removeprefix("bank"))
    try:
        yield bank
    finally:
        bank.stop()


@pytest.fixture
def stopped_bank(run_folder, servers):
    """Everything is in place and nothing of ours runs yet."""
    with new_bank(run_folder, servers) as bank:
        yield bank


@pytest.fixture
def bank(stopped_bank):
    stopped_bank.start()
    return stopped_bank


@pytest.fixture(scope="module")
def shared_bank(run_folder, servers):
    """One bank for all tests of a module that do not care who was there before."""
    with new_bank(run_folder, servers) as bank:
        bank.start()
        yield bank


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the daemons said."""
    report = (yield).get_result()
    banks = [value for value in item.funcargs.values() if isinstance(value, harness.Bank)]
    for process in banks[0].processes if report.failed and banks else ():
        if pathlib.Path(process.log).exists():
            report.sections.append((f"{process.log} (exit status {process.status()})",
                                    process.log_text()[-4000:]))


@pytest.fixture
def site(run_folder, servers):
    """A database and its agent, for a coordinator that the test plays."""
    with new_site(run_folder, servers[0]) as site:
        site.start()
        yield site
