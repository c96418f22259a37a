"""Fixtures: two PostgreSQL servers for the whole run, a fresh bank for each test."""

import itertools
import pathlib
import shutil
import subprocess
import tempfile

import pytest

import harness

numbers = itertools.count(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than ten seconds")


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


@pytest.fixture
def stopped_bank(run_folder, servers):
    """Everything is in place and nothing of ours runs yet."""
    folder = run_folder / f"bank{next(numbers)}"
    folder.mkdir()
    bank = harness.Bank(servers, folder, folder.name.removeprefix("bank"))
    yield bank
    bank.stop()


@pytest.fixture
def bank(stopped_bank):
    stopped_bank.start()
    return stopped_bank


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the daemons said."""
    report = (yield).get_result()
    bank = item.funcargs.get("stopped_bank") if report.failed else None
    for process in bank.processes if bank else ():
        if pathlib.Path(process.log).exists():
            report.sections.append((process.log, process.log_text()[-4000:]))
