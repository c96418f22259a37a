"""A disk that fails, is full, is slow: the coordinator ends rather than guess, and comes back."""

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

import harness
from campaign import arm, load, restart, shim, wait_until

# Which call, at which of its calls, how. The first ones are those of a start.
FAILURES = [f"{call} {n} {how}"
            for call, hows in (("pwrite", ("EIO", "ENOSPC", "EROFS", "SHORT")),
                               ("fdatasync", ("EIO", "ENOSPC", "KILL", "DONE")),
                               ("pwrite", ("KILL", "DONE")))
            for n in (1, 2, 3, 5, 8, 20, 100) for how in hows]
SAMPLE = 10


def harmless(bank, failure):
    """A full disk is no failure while only the next segment has no room, and half a write is
    followed by the other half."""
    return (("ENOSPC" in failure and "when the segment in use is full" in bank.tm.log_text())
            or ("SHORT" in failure and bank.ready()))


def test_a_failing_write_or_sync_ends_the_coordinator_and_loses_nothing(bank, run_folder, seed,
                                                                        long, record):
    chosen = FAILURES if long else random.Random(seed).sample(FAILURES, SAMPLE)
    library = shim("failio", run_folder)
    for failure in chosen:
        with load(bank, seed):
            arm(bank.tm, LD_PRELOAD=library, ASSENT_FAILIO=failure)
            restart(bank.tm)
            wait_until(lambda: not bank.tm.running() or harmless(bank, failure), 30,
                       f"{failure}: it ends")
            status = bank.tm.status()
            assert status in (1, -signal.SIGKILL, None), f"{failure}: ended with {status}"
            arm(bank.tm)
            restart(bank.tm)
    record("the log's disk fails", "EIO, ENOSPC, EROFS, half writes, at the n-th write or sync",
           len(chosen), bank.close_books())


def test_a_sync_that_takes_five_seconds_delays_and_changes_nothing(bank, run_folder, seed, record):
    arm(bank.tm, LD_PRELOAD=shim("failio", run_folder), ASSENT_FAILIO="fdatasync 30 SLOW")
    restart(bank.tm)
    bank.wait_ready()
    with load(bank, seed) as tellers:
        over, longest = time.monotonic() + 7, 0
        while time.monotonic() < over:
            asked = time.monotonic()
            assert bank.ctl("status").code == 0
            longest = max(longest, time.monotonic() - asked)
            time.sleep(0.1)
        assert int(bank.ctl("status")["log_stats"]["sync_us_max"]) > 4_900_000
    assert longest < 2, "status is answered meanwhile"
    record("a slow disk", "one fdatasync takes 5 s", 1, tellers.words)


@contextlib.contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                             check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def ext4(folder, image):
    """A file system of its own, as a disk behind the kernel's block layer would have."""
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(128 * 1024 * 1024)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", image], check=False, capture_output=True)
    mounted = made.returncode == 0 and subprocess.run(
        ["mount", "-o", "loop,errors=remount-ro", image, folder], check=False, capture_output=True)
    if not mounted or mounted.returncode != 0:
        pytest.skip("this machine does not let us mount an ext4 in a file")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.unlink(image)


def test_a_file_system_that_the_kernel_makes_read_only_ends_the_coordinator(stopped_bank, seed,
                                                                            record):
    """As it does when it has met an error: writes that were let in before are never done."""
    bank, image = stopped_bank, stopped_bank.folder / "disk.img"
    with ext4(bank.data_dir, image):
        bank.start()
        with load(bank, seed) as tellers:
            wait_until(lambda: tellers.transfers > 20, 60, "work is done")
            subprocess.run(["mount", "-o", "remount,abort", bank.data_dir], check=True)
            assert bank.tm.wait(30) == 1
            assert "Read-only file system" in bank.tm.log_text() or \
                "Input/output error" in bank.tm.log_text()
            bank.tm.start()
            assert bank.tm.wait(30) == 1, "nor does it start there"
            subprocess.run(["umount", bank.data_dir], check=True)
            subprocess.run(["e2fsck", "-fy", image], check=False, capture_output=True)
            subprocess.run(["mount", "-o", "loop", image, bank.data_dir], check=True)
            bank.tm.start()
            before = tellers.transfers
            wait_until(lambda: tellers.transfers > before + 20, 60, "work goes on")
        bank.tm.stop()
    record("a disk that becomes read-only", "ext4 in a file, remounted by the kernel under load", 1,
           tellers.words)


def test_a_disk_too_small_for_a_log_is_refused_with_the_reason(stopped_bank, record):
    with small_disk(stopped_bank.data_dir, "1m"):
        done = subprocess.run([harness.program("assentd"), "-c", stopped_bank.conf],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and "No space left" in done.stderr
    record("a full disk", "a new log on a tmpfs of 1 MiB", 1, "refused with the reason")


def test_a_disk_that_fills_up_warns_first_and_goes_on(stopped_bank, seed, record):
    bank = stopped_bank
    with small_disk(bank.data_dir, "40m"):
        bank.start()
        with load(bank, seed):
            time.sleep(0.5)
        bank.tm.kill()
        # Room for the segment in use and not for the next.
        for spare in bank.data_dir.glob("spare*"):
            spare.unlink()
        ballast = bank.data_dir / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb") as file:
            while True:
                file.write(bytes(1024 * 1024))
                file.flush()
        with load(bank, seed + 1) as tellers:
            bank.tm.start()
            wait_until(lambda: "when the segment in use is full" in bank.tm.log_text(), 10,
                       "it warns")
            before = tellers.transfers
            wait_until(lambda: tellers.transfers > before + 20, 20, "it goes on")
            os.unlink(ballast)
            wait_until(lambda: "the log has its next segment again" in bank.tm.log_text(), 10,
                       "it notices the room")
        bank.tm.stop()
        record("a full disk", "no room for the log's next segment", 1, tellers.words)
