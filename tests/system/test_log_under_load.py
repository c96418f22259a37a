"""The log of a busy coordinator: killed around its checkpoints, and on a disk that fails.

Its segments are small, so that a second of work fills one. Tellers (see test_bank) move money
all the time and keep what they were told; in the end all of it has to be so.
"""

import contextlib
import os
import subprocess
import time

import pytest

from harness import ACCOUNTS, BALANCE, arm, program, shim, wait_until
from test_bank import Teller, check_promises

TELLERS = 16
KILLS = 10

# The n-th call since the daemon started: at first what a start writes, then what commits do.
FAILURES = [(call, n, how) for call in ("pwrite", "fdatasync") for n in (1, 2, 6, 40)
            for how in ("EIO", "ENOSPC")]
REASONS = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}


class Shift:
    """Goes on until it is closed."""

    def __init__(self):
        self.transfers, self.closed = 0, False

    def count(self):
        self.transfers += 1

    def over(self):
        return self.closed


@contextlib.contextmanager
def busy(bank):
    """A bank whose log has small segments, open for business; then the books are checked."""
    with open(bank.conf, "a", encoding="utf-8") as conf:
        conf.write("[log]\nsegment_size = 128kB\n")
    bank.start()
    shift = Shift()
    tellers = [Teller(bank, shift, number) for number in range(TELLERS)]
    for teller in tellers:
        teller.start()
    try:
        yield shift
    finally:
        shift.closed = True
        for teller in tellers:
            teller.join()
    bank.wait_ready()
    wait_until(bank.nothing_prepared, 20, "nothing is prepared any more")
    assert bank.total() == 2 * ACCOUNTS * BALANCE
    check_promises(bank, tellers)


def log_files(bank, prefix):
    return {name for name in os.listdir(bank.folder / "tm") if name.startswith(prefix)}


def wait_for_checkpoint(bank):
    """Returns the moment that a checkpoint is begun, or has got its name."""
    before = log_files(bank, "checkpoint-")
    deadline = time.monotonic() + 60
    while not log_files(bank, "checkpoint") - before:
        assert time.monotonic() < deadline, "no checkpoint within 60 s"
        time.sleep(0.0005)


def verify(bank):
    return subprocess.run([program("assentctl"), "log", "verify", str(bank.folder / "tm")],
                          capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_a_coordinator_killed_at_its_checkpoints_loses_nothing(stopped_bank):
    bank = stopped_bank
    with busy(bank):
        for _ in range(KILLS):
            wait_for_checkpoint(bank)
            bank.tm.kill()
            done = verify(bank)
            assert done.returncode == 0 and done.stdout.startswith("ok: "), done.stderr
            bank.tm.start()
    assert len(log_files(bank, "wal-")) <= 5
    assert 1 <= len(log_files(bank, "checkpoint-")) <= 3


def only_the_next_segment_is_missing(words):
    """A full disk is no failure while the segment in use has room."""
    return "when the segment in use is full" in words


@pytest.mark.slow
def test_a_failing_disk_ends_the_coordinator_with_the_reason_and_loses_nothing(stopped_bank,
                                                                               run_folder):
    bank = stopped_bank
    library = shim("failio", run_folder)
    with busy(bank):
        for call, n, how in FAILURES:
            bank.tm.kill()
            before = len(bank.tm.log_text())
            arm(bank.tm, LD_PRELOAD=library, ASSENT_FAILIO=f"{call} {n} {how}")
            bank.tm.start()
            wait_until(lambda: not bank.tm.running()
                       or only_the_next_segment_is_missing(bank.tm.log_text()[before:]),
                       30, f"the coordinator ends at {call} {n} {how}")
            words = bank.tm.log_text()[before:]
            assert REASONS[how] in words and str(bank.folder / "tm") in words, words
            if only_the_next_segment_is_missing(words):
                bank.tm.kill()
            else:
                assert bank.tm.status() == 1, words
            assert verify(bank).returncode == 0
            arm(bank.tm)
            bank.tm.start()
            bank.wait_ready()
