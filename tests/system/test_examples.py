"""Every example in examples/, as a user would run it, against the real daemons."""

import os
import subprocess

import pytest

import harness
from harness import wait_until

EXAMPLES = harness.SOURCE / "examples"


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """What `make install` puts into a folder, as a package would take it from there."""
    folder = tmp_path_factory.mktemp("install")
    subprocess.run(["make", "-C", harness.BUILD, "install", f"DESTDIR={folder}"], check=True,
                   capture_output=True)
    return folder


class Outside:
    """A compiler that knows of Assent what pkg-config says, far from the source."""

    def __init__(self, installed, folder):
        self.folder = folder
        found = next(installed.rglob("assent.pc"))
        self.lib = found.parent.parent
        self.environment = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": str(installed),
                            "PKG_CONFIG_PATH": str(found.parent),
                            "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS": "1",
                            "LD_LIBRARY_PATH": str(self.lib)}

    def flags(self, package, *more):
        return subprocess.run(["pkg-config", "--cflags", "--libs", *more, package], check=True,
                              env=self.environment, capture_output=True, text=True).stdout.split()

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


class Example:
    """A command that moves an amount under a payment's name."""

    def __init__(self, bank, command, **environment):
        self.bank, self.command = bank, list(map(str, command))
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
    assert example.run(30, "first") == (0, "committed", "")
    assert bank.balances() == (70, 130)

    code, out, words = example.run(1000, "too much")  # more than there is
    assert (code, out) == (1, "") and "rolled back" in words
    assert bank.balances() == (70, 130) and bank.nothing_prepared()


def outlives_the_coordinator(example):
    """kill -9 while the commit waits: the example says in the end what is so."""
    bank = example.bank
    bank.accounts.close_gate()
    popen = example.start(5, "interrupted")
    try:
        wait_until(lambda: any(transaction["state"] == "preparing" for transaction
                               in bank.ctl("list").reply["transactions"]), 30, "it commits")
        bank.tm.kill()
        bank.accounts.open_gate()
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
    assert example.run(30, "first") == (0, "committed", "")  # the same payment: once
    assert bank.balances() == (70, 130)


def test_c_with_libassent_outlives_the_coordinator(bank, outside):
    example = Example(bank, [outside.compile(EXAMPLES / "transfer.c", "assent")],
                      LD_LIBRARY_PATH=str(outside.lib))
    assert outlives_the_coordinator(example) == 0  # it runs the block again


def test_c_with_the_static_library(bank, outside):
    example = Example(bank, [outside.compile(EXAMPLES / "transfer.c", "assent", static=True)])
    assert example.run(1, "static") == (0, "committed", "")


# ---- the library as it is installed ----

def symbols(library, *options):
    out = subprocess.run(["nm", "-D", *options, library], check=True, capture_output=True, text=True)
    return {line.split()[-1].split("@")[0] for line in out.stdout.splitlines()}


def test_libassent_shows_what_its_header_says_and_no_more(outside):
    header = next(outside.lib.parent.rglob("assent.h")).read_text()
    shown = symbols(outside.lib / "libassent.so", "--defined-only") - {"ASSENT_0"}
    assert shown == {name for name in header.replace("(", " ( ").replace("*", " ").split()
                     if name in shown} and len(shown) == 31
    assert all(name.startswith("assent_") for name in shown)


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
    program = outside.compile(EXAMPLES / "transfer.c", "assent", "-g")
    environment = {**os.environ, "ASSENT_URL": bank.url, "LD_LIBRARY_PATH": str(outside.lib)}
    for amount, code in ((1, 0), (1000, 1)):
        done = clean_under_valgrind([program, amount, f"valgrind {amount}"], environment)
        assert done.returncode == code, done.stderr
