"""Too few descriptors, no memory, more transactions than there is room for."""

import contextlib
import json
import random
import signal
import time

import harness
from campaign import arm, load, restart, shim, wait_until

MEMORY_MAX_KIB = 1024 * 1024
TRANSACTIONS = 10_000  # the default of max_transactions
BATCH = 64


def status_of(process, name):
    with open(f"/proc/{process.popen.pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


def batches(client, requests):
    """All of them, 64 in a message; the replies."""
    for at in range(0, len(requests), BATCH):
        yield from client.call_bytes(json.dumps({"batch": requests[at:at + BATCH]}).encode())["batch"]


def test_ten_thousand_transactions_at_once_and_the_next_is_told_busy(bank, record):
    client = bank.client()
    begun = list(batches(client, [{"op": "begin", "timeout": "5min"}] * (TRANSACTIONS + 10)))
    gtrids = [reply["gtrid"] for reply in begun if reply["ok"]]
    refused = [reply["error"]["code"] for reply in begun if not reply["ok"]]
    assert len(gtrids) == TRANSACTIONS and set(refused) == {"busy"}
    assert status_of(bank.tm, "VmRSS") < MEMORY_MAX_KIB
    # Room for one that does something.
    ended = list(batches(client, [{"op": "rollback", "gtrid": gtrid} for gtrid in gtrids[:10]]))
    assert {reply["outcome"] for reply in ended} == {"rolled-back"}
    bank.ctl("commit", bank.begin_move(30), code=0)
    ended = list(batches(client, [{"op": "rollback", "gtrid": gtrid} for gtrid in gtrids[10:]]))
    assert {reply["outcome"] for reply in ended} == {"rolled-back"}
    record("too many transactions", f"{TRANSACTIONS} at once", len(gtrids),
           f"all finish, {status_of(bank.tm, 'VmRSS') // 1024} MiB, the next ones are told busy")


def test_many_transactions_leave_nothing_behind(bank, long, record):
    count = 1_000_000 if long else 50_000
    client = bank.client()

    def run(number):
        for _ in range(number // BATCH):
            begun = list(batches(client, [{"op": "begin"}] * BATCH))
            list(batches(client, [{"op": "rollback", "gtrid": reply["gtrid"]} for reply in begun]))

    run(20_000)  # until every table has its size
    before = status_of(bank.tm, "VmRSS")
    run(count)
    grown = status_of(bank.tm, "VmRSS") - before
    assert grown < 8 * 1024, f"grew by {grown} KiB"
    record("growth", f"{count} transactions", count, f"{grown} KiB more memory")


def test_a_hundred_committing_at_once_in_postgresql(bank, seed, record):
    started = time.monotonic()
    with load(bank, seed, count=50) as tellers:
        wait_until(lambda: tellers.transfers > 300 or time.monotonic() > started + 20, 60)
    assert tellers.transfers > 0
    record("many clients", "50 tellers at once, every way of working", tellers.transfers,
           tellers.words)


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
