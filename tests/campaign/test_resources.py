"""Too few descriptors, no memory, more transactions than there is room for."""

import contextlib
import itertools
import os
import random
import signal
import time
from concurrent import futures

import pytest

import harness
from campaign import arm, load, restart, shim, wait_until

MEMORY_MAX_KIB = 1024 * 1024
TRANSACTIONS = 10_000  # the default of max_transactions
COMMITTERS = 8


def status_of(process, name):
    with open(f"/proc/{process.popen.pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


@pytest.fixture
def bank_with_stubs(new_bank):
    with new_bank("east", "west", stubs=("left", "right"),
                  settings="[log]\nsegment_size = 128kB\n") as bank:
        bank.start()
        yield bank


def test_ten_thousand_transactions_at_once_and_the_next_is_told_busy(bank_with_stubs, record):
    bank = bank_with_stubs
    client = bank.client()
    begun = bank.begin_at_stubs(client, TRANSACTIONS + 10)
    open_ones = [reply for reply in begun if reply["ok"]]
    refused = {reply["error"]["code"] for reply in begun if not reply["ok"]}
    assert len(open_ones) == TRANSACTIONS and refused == {"busy"}
    ended = list(bank.batches(client, [{"op": "rollback", "gtrid": reply["gtrid"]}
                                       for reply in open_ones[:10]]))
    assert {reply["outcome"] for reply in ended} == {"rolled-back"}
    # There is room once the stubs have heard, and then for one that does something.
    probe = wait_until(lambda: bank.ctl("begin").reply.get("gtrid"), 10)
    bank.ctl("rollback", probe, code=0)
    bank.ctl("commit", bank.begin_move(30), code=0)
    with futures.ThreadPoolExecutor(COMMITTERS) as pool:
        shares = [open_ones[10:][n::COMMITTERS] for n in range(COMMITTERS)]
        committed = list(itertools.chain(*pool.map(
            lambda share: bank.commit_all(bank.client(), share), shares)))
    assert [reply.get("outcome") for reply in committed] == ["committed"] * (TRANSACTIONS - 10)
    memory = status_of(bank.tm, "VmHWM")
    assert memory < MEMORY_MAX_KIB
    assert bank.ask("list")["transactions"] == []
    record("too many transactions", f"{TRANSACTIONS} at once, at stub agents", TRANSACTIONS,
           f"all finish, {memory // 1024} MiB, the next ones are told busy")


def footprint(bank):
    """Memory in KiB, descriptors, KiB of log."""
    files = [os.stat(entry) for entry in os.scandir(bank.data_dir)]
    return (status_of(bank.tm, "VmRSS"), len(os.listdir(f"/proc/{bank.tm.popen.pid}/fd")),
            sum(file.st_blocks for file in files) // 2)


def test_many_transactions_leave_nothing_behind(bank_with_stubs, long, record):
    """One in eight commits: its records go through the log, whose segments are small."""
    bank = bank_with_stubs
    count = 1_000_000 if long else 40_000
    client = bank.client()

    def run(number):
        for _ in range(number // (8 * bank.BATCH)):
            for _ in range(7):
                begun = list(bank.batches(client, [{"op": "begin"}] * bank.BATCH))
                list(bank.batches(client, [{"op": "rollback", "gtrid": reply["gtrid"]}
                                           for reply in begun]))
            committed = bank.commit_all(client, bank.begin_at_stubs(client, bank.BATCH))
            assert {reply["outcome"] for reply in committed} == {"committed"}

    run(20_000)  # until every table has its size
    before = footprint(bank)
    run(count)
    memory, descriptors, log = (now - then for now, then in zip(footprint(bank), before))
    assert memory < 8 * 1024, f"grew by {memory} KiB"
    assert descriptors <= 4, f"{descriptors} more descriptors"
    assert log <= 3 * 128, f"{log} KiB more log"
    record("growth", f"{count} transactions", count,
           f"{memory} KiB more memory, {descriptors} more descriptors, {log} KiB more log")


@pytest.fixture
def wide_bank(new_bank, servers):
    """A bank whose server has room for hundreds of clients."""
    server = servers.get("wide")
    with contextlib.closing(server.connect("postgres")) as admin:
        admin.cursor().execute("alter system set max_connections = 600")
        admin.cursor().execute("alter system set max_prepared_transactions = 500")
    server.stop()
    server.start()
    with new_bank("wide") as bank:
        bank.start()
        yield bank


def test_many_tellers_at_once_in_postgresql(wide_bank, seed, long, record):
    bank, tellers_count, started = wide_bank, 200 if long else 50, time.monotonic()
    with load(bank, seed, count=tellers_count) as tellers:
        wait_until(lambda: tellers.transfers > 300 or time.monotonic() > started + 20, 60)
        memory = max(status_of(process, "VmHWM") for process in bank.processes)
    assert tellers.transfers > 0 and memory < MEMORY_MAX_KIB
    record("many clients", f"{tellers_count} tellers at once, every way of working",
           tellers.transfers, tellers.words)


def test_sixty_four_descriptors_are_enough_to_live(bank, seed, record):
    plain = bank.tm.arguments
    bank.tm.arguments = ["prlimit", "--nofile=64", *plain]
    restart(bank.tm)
    bank.wait_ready()
    guests = []
    with load(bank, seed):
        for _ in range(200):
            guest = harness.Client(bank.socket, 0.1)
            with contextlib.suppress(OSError, AssertionError):
                guest.open()
            guests.append(guest)
        time.sleep(2)
        for guest in guests:
            guest.close()
    assert bank.tm.running()
    bank.ctl("commit", bank.begin_move(1), code=0)
    bank.tm.arguments = plain
    record("no descriptors", "64 of them, 200 connections", 1, "lives, works again when they go")


def test_memory_that_runs_out_at_any_request(bank, run_folder, seed, long, record):
    """It may refuse, or end, but not go on with a pointer to nothing."""
    library, draw = shim("failmalloc", run_folder), random.Random(seed)
    rounds = 100 if long else 8
    with load(bank, seed):
        for number in range(rounds):
            process = bank.processes[number % len(bank.processes)]
            n = int(10 ** draw.uniform(0, 3))
            arm(process, LD_PRELOAD=library, ASSENT_FAILMALLOC=n)
            restart(process)
            time.sleep(0.7)
            status = process.status()
            arm(process)
            if status is None:
                process.kill()
            assert status != -signal.SIGSEGV, f"{process.name}: segmentation fault at request {n}"
            process.start()
    record("no memory", "malloc fails at the n-th request", rounds, bank.close_books())
