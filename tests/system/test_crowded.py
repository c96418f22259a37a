"""More is prepared than one answer of an agent holds: whatever decides sees all of it, and whoever
reads is told what is missing."""

import contextlib

import pytest

from harness import gid_of, wait_until
from conftest import new_bank
from played import new_server
from test_in_doubt import own_transfer, report
from test_recover import lose_log, lost_with_ledger_undone, plan, recover_lost, restart_agents, \
    start_again, works

MANY = 1100
SLOTS = 2500


@pytest.fixture(scope="module")
def roomy_servers(run_folder, servers):
    """Like those of the other tests, with room for thousands of prepared transactions."""
    setting = f"max_prepared_transactions = {SLOTS}"
    with new_server(run_folder, setting) as north, new_server(run_folder, setting) as south:
        yield [north, south]


@pytest.fixture
def bank(run_folder, roomy_servers):
    with new_bank(run_folder, roomy_servers) as bank:
        bank.start()
        yield bank
        for database in bank.databases:
            undo_all(database)


def undo_all(database):
    """On one connection: each of its own would take minutes."""
    with contextlib.closing(database.server.connect(database.name)) as connection:
        cursor = connection.cursor()
        for gid in database.prepared():
            cursor.execute(f"rollback prepared '{gid}'")


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


# ---- reports ----

def test_a_report_says_how_much_it_leaves_out(bank):
    gtrid, _ = own_transfer(bank)
    crowd(bank.ledger)
    found = report(bank)
    assert len(found["in_doubt"]) == 2 and len(found["foreign"]) == MANY
    assert "truncated" not in found and "left_out" not in found["agents"][0]
    start, number = gtrid.rsplit(".", 1)
    more = [gid_of(f"{start}.{int(number) + 1 + i}", "accounts") for i in range(MANY)]
    prepare_all(bank.accounts, more)
    found = report(bank)
    assert found["truncated"] and found["left_out"] == MANY + 2 - len(found["in_doubt"])
    assert f"and {found['left_out']} more for which there is no room" in bank.ctl.text("in-doubt")[1]
    code, out, _ = bank.ctl.text("resolve", gtrid, "rollback", "--dry-run")
    assert code == 0 and "account" in out, "what it releases is found behind all the others"


def test_a_branch_with_many_locks_says_how_many_are_not_listed(bank):
    gtrid = bank.ctl.begin("--timeout", "600s")
    bank.accounts.sql("do $$ begin for n in 1..30 loop execute format('create table t%%s (n int)', n);"
                      " execute format('grant all on t%%s to shop', n); end loop; end $$")
    gid = gid_of(gtrid, "accounts")
    with contextlib.closing(bank.accounts.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("begin")
        for n in range(1, 31):
            cursor.execute(f"insert into t{n} values (1)")
        cursor.execute(f"prepare transaction '{gid}'")
    item, = report(bank)["in_doubt"]
    assert (len(item["tables"]), item["tables_total"]) == (20, 30)
    assert "and 10 more tables" in bank.ctl.text("in-doubt")[1]


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
