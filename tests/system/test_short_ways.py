"""One-phase commits and read-only branches through the coordinator: alone, together, and mixed with
branches that need both phases. What looks read-only and is not keeps its place in the transaction."""

import contextlib
import select

import pytest

from conftest import new_bank
from harness import wait_until

ADD = "update account set balance = balance + 1 where id = 5"
LOOK = "select balance from account where id = 5"


@pytest.fixture
def bank(shared_bank):
    for database in shared_bank.databases:
        database.sql("update account set balance = 100 where id = 5")
        database.sql("delete from assent.marker")
    return shared_bank


def write(bank, gtrid, rm):
    bank.ctl("exec", gtrid, rm, ADD, code=0)


def read(bank, gtrid, rm):
    assert bank.ctl("exec", "--read-only", gtrid, rm, LOOK, code=0)["rows"] == [["100"]]


def prepare_own(bank, gtrid, rm):
    bank.prepare_own(getattr(bank, rm), gtrid, 1, account=5)


def added(bank):
    return [database.balance(5) - 100 for database in bank.databases]


def markers(bank):
    """The gtrids of which a commit in one phase is proved, in either database."""
    return [gtrid for database in bank.databases
            for gtrid, in database.sql("select gtrid from assent.marker")]


@pytest.mark.parametrize("rm, what, one_phase, change", [
    ("accounts", write, True, [1, 0]),
    ("ledger", write, True, [0, 1]),
    ("accounts", prepare_own, False, [1, 0]),
    ("accounts", read, False, [0, 0]),
])
def test_a_branch_alone(bank, rm, what, one_phase, change):
    gtrid = bank.ctl.begin()
    what(bank, gtrid, rm)
    assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert added(bank) == change and bank.nothing_prepared()
    assert markers(bank) == ([gtrid] if one_phase else [])


@pytest.mark.parametrize("accounts, ledger, change", [
    (write, write, [1, 1]),
    (write, read, [1, 0]),
    (read, write, [0, 1]),
    (read, prepare_own, [0, 1]),
    (prepare_own, write, [1, 1]),
    (read, read, [0, 0]),
])
def test_two_branches_are_never_committed_in_one_phase(bank, accounts, ledger, change):
    gtrid = bank.ctl.begin()
    accounts(bank, gtrid, "accounts")
    ledger(bank, gtrid, "ledger")
    assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert added(bank) == change and bank.nothing_prepared() and markers(bank) == []


def test_readers_alone_are_committed_without_a_word_in_the_log(bank):
    gtrid = bank.ctl.begin()
    read(bank, gtrid, "accounts")
    read(bank, gtrid, "ledger")
    bank.ctl("commit", gtrid, code=0)
    code, records, _ = bank.ctl.text("log", "dump", bank.folder / "tm")
    assert code == 0 and "START" in records.upper() and gtrid not in records


def test_a_reader_does_not_hold_up_a_rollback(bank):
    gtrid = bank.ctl.begin()
    read(bank, gtrid, "accounts")
    write(bank, gtrid, "ledger")
    bank.ctl("exec", gtrid, "ledger", "insert into owner values (999)", code=0)
    answer = bank.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back" and answer["reason"]["rm"] == "ledger"
    assert added(bank) == [0, 0] and bank.nothing_prepared()


def test_a_one_phase_commit_that_the_database_refuses_is_told_with_its_reason(bank):
    gtrid = bank.ctl.begin()
    write(bank, gtrid, "ledger")
    bank.ctl("exec", gtrid, "ledger", "insert into owner values (999)", code=0)
    answer = bank.ctl("commit", gtrid, code=1)
    assert (answer["outcome"], answer["reason"]["sqlstate"]) == ("rolled-back", "23503")
    assert "(999)" in answer["reason"]["detail"]
    assert added(bank) == [0, 0] and markers(bank) == []


def test_a_one_phase_commit_asked_for_again_gets_the_same_answer(bank):
    gtrid = bank.ctl.begin()
    write(bank, gtrid, "accounts")
    for _ in range(2):
        assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert bank.outcome(gtrid) == "committed" and added(bank) == [1, 0]


# ---- what leaves no xid and has an effect ----

@pytest.fixture
def far(bank):
    """In accounts a foreign table that is a table of ledger's."""
    bank.ledger.sql("create table if not exists near (gtrid text); truncate near;"
                    " grant all on near to assent")
    bank.accounts.sql(f"""
        create extension if not exists postgres_fdw;
        drop server if exists ledger cascade;
        create server ledger foreign data wrapper postgres_fdw
            options (host '{bank.ledger.server.folder}', dbname '{bank.ledger.name}');
        create user mapping for assent server ledger
            options (user 'assent', password_required 'false');
        create foreign table far (gtrid text) server ledger options (table_name 'near');
        grant all on far to assent""")
    return lambda: bank.ledger.sql("select gtrid from near")


@contextlib.contextmanager
def listening(database):
    """A function that says what was notified."""
    with contextlib.closing(database.connect()) as connection:
        connection.cursor().execute("listen news")

        def heard():
            select.select([connection], [], [], 0.5)
            connection.poll()
            return [notify.payload for notify in connection.notifies]
        yield heard


def test_a_write_through_postgres_fdw_takes_its_vote_seriously(bank, far):
    """It leaves no xid. Were the branch taken for a reader, the far row would stay for ever."""
    gtrid = bank.ctl.begin()
    bank.ctl("exec", gtrid, "accounts", "insert into far values ($1)", gtrid, code=0)
    write(bank, gtrid, "ledger")
    answer = bank.ctl("commit", gtrid, code=1)
    assert (answer["outcome"], answer["reason"]["rm"]) == ("rolled-back", "accounts")
    assert "postgres_fdw" in answer["reason"]["message"]
    assert far() == [] and added(bank) == [0, 0] and bank.nothing_prepared()


def test_a_write_through_postgres_fdw_alone_commits_as_postgresql_commits_it(bank, far):
    gtrid = bank.ctl.begin()
    bank.ctl("exec", gtrid, "accounts", "insert into far values ($1)", gtrid, code=0)
    assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert far() == [(gtrid,)] and markers(bank) == [gtrid]


def test_a_write_through_postgres_fdw_is_refused_in_a_reader(bank, far):
    gtrid = bank.ctl.begin()
    refused = bank.ctl("exec", "--read-only", gtrid, "accounts", "insert into far values ($1)", gtrid,
                       code=1)
    assert refused["error"]["sqlstate"] == "25006"
    write(bank, gtrid, "ledger")
    assert bank.ctl("commit", gtrid, code=1)["outcome"] == "rolled-back"
    assert far() == [] and added(bank) == [0, 0]


def test_a_notify_is_refused_with_all_the_rest(bank):
    gtrid = bank.ctl.begin()
    with listening(bank.accounts) as heard:
        bank.ctl("exec", gtrid, "accounts", "select pg_notify('news', $1)", gtrid, code=0)
        write(bank, gtrid, "ledger")
        answer = bank.ctl("commit", gtrid, code=1)
        assert (answer["outcome"], answer["reason"]["sqlstate"]) == ("rolled-back", "0A000")
        assert heard() == [] and added(bank) == [0, 0]


@pytest.mark.parametrize("options", [[], ["--read-only"]])
def test_a_notify_is_sent_by_a_branch_alone_and_by_a_reader(bank, options):
    gtrid = bank.ctl.begin()
    with listening(bank.accounts) as heard:
        bank.ctl("exec", *options, gtrid, "accounts", "select pg_notify('news', $1)", gtrid, code=0)
        if options:
            write(bank, gtrid, "ledger")
        assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
        assert heard() == [gtrid]


# ---- one cluster ----

def test_two_databases_of_one_cluster_are_two_resource_managers(run_folder, servers):
    """gids are unique in the cluster; a branch is finished in its own database alone."""
    with new_bank(run_folder, [servers[0], servers[0]]) as bank:
        bank.start()
        bank.ctl("commit", bank.begin_move(30), code=0)
        assert bank.balances() == (70, 130) and bank.nothing_prepared()
        gtrid = bank.begin_move(30)
        commit = bank.commit_to_the_gate(gtrid)
        bank.tm.kill()
        bank.ctl.finish(commit)
        bank.accounts.open_gate()
        bank.start()
        assert bank.outcome(gtrid) in ("rolled-back", None)
        assert bank.balances() == (70, 130)


# ---- where no marker can be written ----

@pytest.fixture(scope="module")
def tenants_bank(run_folder, servers):
    """Applications log in as `shop` and may become `tenant`, who has no right in schema assent."""
    with new_bank(run_folder, servers) as bank:
        for database in bank.databases:
            database.sql("do $$ begin create role tenant; grant tenant to shop, assent;"
                         " exception when duplicate_object then null; end $$;"
                         " grant select, update on account, closed_gate to tenant")
            with open(database.conf, "a") as conf:
                conf.write(f"[exec shop]\nconninfo = {database.server.conninfo(database.name, 'shop')}\n")
            database.install_schema()
        bank.start()
        yield bank


@pytest.mark.parametrize("rms", [["accounts"], ["accounts", "ledger"]], ids=["one", "two"])
@pytest.mark.parametrize("before, after, code", [
    ("select 1", "select 1", 0),
    ("set role tenant", "select 1", 0),
    ("set local role tenant", "select 1", 0),
    ("select 1", "set transaction read only", 0),
    ("select 1", "set local default_transaction_read_only = on", 0),
    ("set role tenant", "insert into owner values (-1)", 1),  # which tenant may not
], ids=["as-it-is", "role", "local-role", "read-only", "default-read-only", "failed"])
def test_the_number_of_branches_changes_no_outcome(tenants_bank, before, after, code, rms):
    bank = tenants_bank
    old = [database.balance(5) for database in bank.databases]
    gtrid = bank.ctl.begin()
    for rm in rms:
        for sql in (before, ADD, after):
            bank.ctl("exec", "--role", "shop", gtrid, rm, sql)
    answer = bank.ctl("commit", gtrid)
    assert answer["outcome"] == ("committed" if code == 0 else "rolled-back"), answer.reply
    wait_until(bank.nothing_prepared)
    change = [database.balance(5) - was for database, was in zip(bank.databases, old)]
    assert change == [int(code == 0 and rm in rms) for rm in ("accounts", "ledger")]


def test_a_deferred_check_says_no_to_one_branch_as_to_two(tenants_bank):
    bank = tenants_bank
    bank.accounts.sql("grant insert on owner to tenant")
    for rms in (["accounts"], ["accounts", "ledger"]):
        for role in ("shop", "tenant"):
            gtrid = bank.ctl.begin()
            for rm in rms:
                bank.ctl("exec", "--role", "shop", gtrid, rm, ADD, code=0)
            bank.ctl("exec", "--role", "shop", gtrid, "accounts", f"set role {role}", code=0)
            bank.ctl("exec", "--role", "shop", gtrid, "accounts", "insert into owner values (-1)", code=0)
            answer = bank.ctl("commit", gtrid)
            assert (answer["outcome"], answer["reason"]["sqlstate"]) == ("rolled-back", "23503"), (
                rms, role, answer.reply)
    wait_until(bank.nothing_prepared)


def test_what_was_prepared_in_place_of_one_phase_outlives_its_coordinator(tenants_bank):
    """DELEGATED is durable and the answer never comes: the next start asks, and decides."""
    bank = tenants_bank
    old = bank.accounts.balance(5)
    gtrid = bank.ctl.begin()
    for sql in (ADD, "set transaction read only"):
        bank.ctl("exec", "--role", "shop", gtrid, "accounts", sql, code=0)
    bank.accounts.close_gate()
    commit = bank.ctl.popen("commit", gtrid)
    wait_until(lambda: bank.accounts.sql("select 1 from pg_stat_activity where usename = 'shop'"
                                         " and query like 'PREPARE TRANSACTION%%' and state = 'active'"))
    bank.tm.kill()
    bank.ctl.finish(commit)
    bank.accounts.open_gate()
    wait_until(bank.accounts.prepared)
    bank.tm.start()
    bank.wait_ready()
    wait_until(lambda: bank.outcome(gtrid) == "committed")
    wait_until(bank.nothing_prepared)
    assert bank.accounts.balance(5) == old + 1
