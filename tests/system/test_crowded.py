"""More is prepared than one answer of an agent holds: whatever decides sees all of it, and whoever
reads is told what is missing."""

import contextlib
import json
import subprocess

import pytest

import harness
from harness import gid_of, wait_until
from conftest import new_bank
from test_recover import lose_log, lost_with_ledger_undone, plan, recover_lost, restart_agents, \
    start_again, works

MANY = 1100
SLOTS = 2500


@pytest.fixture(scope="module")
def roomy_servers(run_folder):
    """Like those of the other tests, with room for thousands of prepared transactions."""
    template = harness.Postgres.make_template(run_folder / "roomy-template")
    with open(template / "postgresql.conf", "a") as conf:
        conf.write(f"max_prepared_transactions = {SLOTS}\n")
    servers = [harness.Postgres(name, template, run_folder) for name in ("north", "south")]
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
def bank(run_folder, roomy_servers):
    with new_bank(run_folder, roomy_servers) as bank:
        bank.start()
        yield bank


def prepare_all(database, gids):
    with contextlib.closing(database.connect()) as connection:
        cursor = connection.cursor()
        for gid in gids:
            cursor.execute("begin")
            cursor.execute(f"prepare transaction '{gid}'")


def crowd(database, count=MANY):
    """As another manager would; older than all that follows."""
    gids = [f"citus_{number}_{database.name}" for number in range(count)]
    prepare_all(database, gids)
    return gids


def ours(database):
    return [gid for gid in database.prepared() if not gid.startswith("citus_")]


# ---- a lost log ----

def test_a_lost_log_is_not_given_up_on_a_part_of_what_is_prepared(bank):
    foreign = crowd(bank.ledger)
    gtrid = lost_with_ledger_undone(bank)
    assert plan(bank) == {gtrid: ("committed", "accounts was told to commit it")}
    out, _ = recover_lost(bank)
    assert out.startswith("1 transaction ") and out.count("not touched: ") == MANY
    start_again(bank)
    wait_until(lambda: not ours(bank.ledger))
    assert bank.balances() == (70, 130) and works(bank)
    assert sorted(bank.ledger.prepared()) == sorted(foreign)


def test_all_of_our_own_are_finished_however_many_there_are(bank):
    first = bank.ctl.begin("--timeout", "600s")
    start, number = first.rsplit(".", 1)
    gtrids = [f"{start}.{int(number) + i}" for i in range(MANY)]
    prepare_all(bank.accounts, [gid_of(gtrid, "accounts") for gtrid in gtrids])
    lose_log(bank)
    restart_agents(bank)
    assert sorted(plan(bank)) == sorted(gtrids)
    recover_lost(bank, "--rollback", "rest")
    start_again(bank)
    wait_until(bank.nothing_prepared, 60)
    assert works(bank)
