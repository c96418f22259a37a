"""Every example in examples/, as a user would run it, against the real daemons."""

import fcntl
import os
import re
import subprocess
import uuid

import pytest

import harness
from harness import wait_until

EXAMPLES = harness.SOURCE / "examples"
pytestmark = pytest.mark.slow  # compilers, and an installation


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """What `make install` puts into a folder, as a package would take it from there."""
    if harness.sanitized():
        pytest.skip("a sanitized library is for sanitized programs alone")
    folder = tmp_path_factory.mktemp("install")
    # libtool links once more within the build folder when it installs: one at a time.
    with open(harness.BUILD / "install.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-C", harness.BUILD, "install", f"DESTDIR={folder}"], check=True,
                       capture_output=True)
    return folder


class Outside:
    """A compiler that knows of Assent what pkg-config says, far from the source."""

    def __init__(self, installed, folder):
        self.installed, self.folder = installed, folder
        found = next(installed.rglob("assent.pc"))
        self.lib = found.parent.parent
        self.environment = {**os.environ, "PKG_CONFIG_PATH": str(found.parent),
                            "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS": "1",
                            "PKG_CONFIG_ALLOW_SYSTEM_LIBS": "1"}
        self.prefix = self.pkg_config("--variable=prefix", "assent").strip()

    def pkg_config(self, *arguments):
        return subprocess.run(["pkg-config", *arguments], check=True, env=self.environment,
                              capture_output=True, text=True).stdout

    def flags(self, package, *more):
        """As if the folder were the root of the system, for what is installed there."""
        text = self.pkg_config("--cflags", "--libs", *more, package)
        return text.replace(self.prefix, f"{self.installed}{self.prefix}").split()

    def compile(self, source, package, *more, static=False):
        program = self.folder / (source.stem + ("-static" if static else ""))
        flags = self.flags(package, *(["--static"] if static else []))
        if static:
            flags = [str(self.lib / "libassent.a") if flag == "-lassent" else flag for flag in flags]
        subprocess.run(["cc", "-std=c17", "-Wall", "-Wextra", "-Werror", *more, source,
                        "-o", program, *flags], cwd=self.folder, check=True)
        return program


@pytest.fixture
def outside(installed, tmp_path):
    return Outside(installed, tmp_path)


@pytest.fixture
def bank(shared_bank):
    shared_bank.start()
    for database in shared_bank.databases:
        database.open_gate()
        database.sql("update account set balance = 100")
    return shared_bank


def conninfos(bank):
    """How an example's own connections reach its databases."""
    return {database.rm.upper(): database.server.conninfo(database.name, "shop")
            for database in bank.databases}


class Example:
    """A command that moves an amount under a payment's name."""

    def __init__(self, bank, command, **environment):
        self.bank, self.command = bank, list(map(str, command))
        self.payment = str(uuid.uuid4())
        self.environment = {**os.environ, "ASSENT_URL": bank.url, **environment}

    def start(self, *arguments):
        return subprocess.Popen([*self.command, *map(str, arguments)], env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments):
        popen = self.start(*arguments)
        out, words = popen.communicate(timeout=60)
        return popen.returncode, out.strip(), words


def moves_once_or_not_at_all(example):
    """The story that every example has to live through."""
    bank = example.bank
    assert example.run(30, example.payment) == (0, "committed", "")
    assert bank.balances() == (70, 130)

    code, out, words = example.run(1000, example.payment + ", too much")  # more than there is
    assert (code, out) == (1, "") and "rolled back" in words
    assert bank.balances() == (70, 130)
    wait_until(bank.nothing_prepared)


def outlives_the_coordinator(example):
    """kill -9 between the two databases' votes: the example says in the end what is so."""
    bank = example.bank
    bank.ledger.close_gate()
    popen = example.start(5, example.payment)
    try:
        wait_until(bank.accounts.prepared, 30, "the first database has voted")
        bank.tm.kill()
        bank.ledger.open_gate()
        bank.tm.start()
        out, words = popen.communicate(timeout=60)
    finally:
        popen.kill()
    bank.wait_ready()
    wait_until(bank.nothing_prepared)
    moved = 5 if popen.returncode == 0 else 0
    assert out.strip() == ("committed" if moved else ""), words
    assert bank.balances() == (100 - moved, 100 + moved), words
    return popen.returncode


# ---- C, through the agents ----

def test_c_with_libassent(bank, outside):
    example = Example(bank, [outside.compile(EXAMPLES / "transfer.c", "assent")],
                      LD_LIBRARY_PATH=str(outside.lib))
    moves_once_or_not_at_all(example)
    assert example.run(30, example.payment)[:2] == (0, "committed")  # the same payment: once
    assert bank.balances() == (70, 130)


def test_c_with_libassent_outlives_the_coordinator(bank, outside):
    example = Example(bank, [outside.compile(EXAMPLES / "transfer.c", "assent")],
                      LD_LIBRARY_PATH=str(outside.lib))
    assert outlives_the_coordinator(example) == 0  # it runs the block again


@pytest.mark.skipif(harness.counted(), reason="a library that counts wants programs that do")
def test_c_with_the_static_library(bank, outside):
    example = Example(bank, [outside.compile(EXAMPLES / "transfer.c", "assent", static=True)])
    assert example.run(1, example.payment) == (0, "committed", "")


# ---- C, on connections of its own ----

@pytest.fixture
def libpq_example(bank, outside):
    return Example(bank, [outside.compile(EXAMPLES / "transfer-libpq.c", "assent-pq")],
                   LD_LIBRARY_PATH=str(outside.lib), **conninfos(bank))


def test_c_with_libpq(libpq_example):
    moves_once_or_not_at_all(libpq_example)
    assert libpq_example.run(30, libpq_example.payment)[:2] == (0, "committed")  # the same payment: once
    assert libpq_example.bank.balances() == (70, 130)


def test_c_with_libpq_outlives_the_coordinator(libpq_example):
    outlives_the_coordinator(libpq_example)


# ---- C, by X/Open TX ----

@pytest.fixture
def tx_example(bank, outside):
    return Example(bank, [outside.compile(EXAMPLES / "transfer-tx.c", "assent-tx")],
                   LD_LIBRARY_PATH=str(outside.lib))


def test_c_with_x_open_tx(tx_example):
    moves_once_or_not_at_all(tx_example)


def test_c_with_x_open_tx_outlives_the_coordinator(tx_example):
    outlives_the_coordinator(tx_example)


# ---- the library as it is installed ----

def symbols(library, *options):
    out = subprocess.run(["nm", "-D", *options, library], check=True, capture_output=True, text=True)
    return {line.split()[-1].split("@")[0] for line in out.stdout.splitlines()}


@pytest.mark.parametrize("library, header, count", [
    ("libassent", "assent.h", 33), ("libassent-pq", "assent_pq.h", 5), ("libassent-tx", "tx.h", 10)])
def test_a_library_shows_what_its_header_says_and_no_more(outside, library, header, count):
    text = next(outside.lib.parent.rglob(header)).read_text()
    shown = symbols(outside.lib / f"{library}.so", "--defined-only")
    shown = {name for name in shown if not name.isupper() and not name.endswith("_0")}
    assert len(shown) == count
    assert all(re.search(rf"\b{name}\(", text) for name in shown)


def test_libassent_needs_no_nng_and_has_a_soname(outside):
    dynamic = subprocess.run(["readelf", "-d", outside.lib / "libassent.so"], check=True,
                             capture_output=True, text=True).stdout
    assert "soname: [libassent.so.0]" in dynamic
    needed = {line.split("[")[1].split(".")[0] for line in dynamic.splitlines() if "NEEDED" in line}
    assert needed <= {"libc", "libcjson", "libm", "ld-linux-x86-64"}


@pytest.mark.parametrize("compiler, language, standard",
                         [("cc", "c", "-std=c99"), ("c++", "c++", "-std=c++11")])
def test_the_header_is_fit_for_strict_compilers(outside, compiler, language, standard):
    flags = [flag for flag in outside.flags("assent") if flag.startswith("-I")]
    subprocess.run([compiler, "-x", language, standard, "-pedantic", "-Wall", "-Werror",
                    "-fsyntax-only", *flags, "-"], input="#include <assent.h>\n", text=True,
                   check=True)


# ---- valgrind ----

def clean_under_valgrind(command, environment):
    return subprocess.run(["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
                           "--show-leak-kinds=all", "--errors-for-leak-kinds=all", *map(str, command)],
                          env=environment, capture_output=True, text=True, timeout=120)


def test_libassent_is_clean_under_valgrind(bank, outside):
    environment = {**os.environ, "ASSENT_URL": bank.url, "LD_LIBRARY_PATH": str(outside.lib),
                   **conninfos(bank)}
    for source, package in (("transfer.c", "assent"), ("transfer-libpq.c", "assent-pq"),
                            ("transfer-tx.c", "assent-tx")):
        program = outside.compile(EXAMPLES / source, package, "-g")
        for amount, code in ((1, 0), (1000, 1)):
            done = clean_under_valgrind([program, amount, f"{source} {amount}"], environment)
            assert done.returncode == code, done.stderr
