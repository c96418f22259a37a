"""A clock that jumps by days changes no outcome: nothing but the monotonic one decides anything."""

import pathlib
import time

import pytest

from campaign import arm, load, restart, wait_until

FAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (Debian: faketime)")
def test_days_forwards_and_backwards(bank, seed, record):
    clock = bank.folder / "clock"
    jumps = ("+1d", "-1d", "+0", "-400d", "+30d", "+0")
    clock.write_text("+0")
    for process in bank.processes:
        arm(process, LD_PRELOAD=FAKETIME, FAKETIME_TIMESTAMP_FILE=clock, DONT_FAKE_MONOTONIC=1,
            FAKETIME_DONT_FAKE_MONOTONIC=1, FAKETIME_NO_CACHE=1)
        restart(process)
    bank.wait_ready()
    with load(bank, seed) as tellers:
        for number, jump in enumerate(jumps):
            clock.write_text(jump)
            time.sleep(0.6)
            restart(bank.processes[number % len(bank.processes)])
            time.sleep(0.6)
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before, 20, "work goes on")
    for process in bank.processes:
        arm(process)
    record("the clock jumps", "libfaketime: days forwards and backwards, under load", len(jumps),
           tellers.words)
