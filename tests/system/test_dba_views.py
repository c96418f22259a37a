"""What a DBA sees with plain psql: the views of schema assent, and its versions."""

import contextlib
import subprocess
import threading

import pytest

from harness import POSTGRES_BIN, SOURCE, gid_of, program, wait_until
from played import new_site
from test_postgresql import FOREIGN


@pytest.fixture(scope="module")
def site(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.start()
        yield site


@pytest.fixture
def player(site):
    player = site.play(f"tm{len(site.players)}")
    assert player.register()["ok"]
    return player


@pytest.fixture
def prepared(player):
    """A prepared branch that has changed the balance of account 1."""
    branch = player.branch()
    branch.run("update account set balance = balance + 1 where id = 1")
    xid = branch.ready()
    yield branch
    assert branch.rollback(xid)["is"] == "done"


def psql(site, sql):
    return subprocess.run([POSTGRES_BIN / "psql", "-XqAtv", "ON_ERROR_STOP=1",
                           site.server.conninfo(site.name), "-c", sql],
                          capture_output=True, text=True, check=True).stdout.splitlines()


@contextlib.contextmanager
def waiting(site, sql):
    """A session that waits for a lock; ended when the test is over."""
    pids = []

    def work():
        with contextlib.closing(site.server.connect(site.name)) as connection, \
                contextlib.suppress(Exception):
            pids.append(connection.info.backend_pid)
            connection.cursor().execute("begin")
            connection.cursor().execute(sql)
    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: pids and site.sql("select 1 from pg_locks where pid = %s and not granted",
                                         pids[0]))
    try:
        yield pids[0]
    finally:
        site.sql("select pg_cancel_backend(%s)", pids[0])
        thread.join()


def test_in_doubt_decodes_our_branches(site, player, prepared):
    [row] = psql(site, "select gtrid, rm, branch is null, tm, owner, database, locks > 0,"
                       " age >= '0', xid_age >= 0, waiting, gid from assent.in_doubt"
                       f" where tm = '{player.name}'")
    assert row == "|".join([prepared.gtrid, "accounts", "t", player.name, "shop", site.name,
                            "t", "t", "t", "{}", prepared.gid])


def test_in_doubt_names_the_further_branch(site, player):
    branch = player.branch("second")
    branch.prepare_own("select 1")
    assert psql(site, "select rm, branch from assent.in_doubt"
                      f" where gid = '{branch.gid}'") == ["accounts|second"]
    assert branch.rollback()["is"] == "done"


@pytest.mark.parametrize("sql, locktype", [
    ("update account set balance = 0 where id = 1", "transactionid"),
    ("lock table account", "relation"),
])
def test_a_session_that_waits_for_a_prepared_branch_leads_to_it(site, prepared, sql, locktype):
    with waiting(site, sql) as pid:
        assert site.sql("select pg_blocking_pids(%s)", pid) == [([0],)]
        assert psql(site, "select waiter, locktype, gid, gtrid, branch, waiter_query"
                          " from assent.blocked_by_prepared") == [
            f"{pid}|{locktype}|{prepared.gid}|{prepared.gtrid}|accounts|{sql}"]
        assert psql(site, "select waiting from assent.in_doubt"
                          f" where gid = '{prepared.gid}'") == [f"{{{pid}}}"]


def test_foreign_branches_are_shown_with_their_manager(site, player, prepared):
    any_xa = "XA (psycopg, pgjdbc)"
    expected = {gid: any_xa if name == "psycopg" else name for name, gid in FOREIGN.items()}
    # With our format id, and yet not ours.
    expected |= dict.fromkeys(("1095978580_bm8=_bm8=", "1095978580_x_y", "1095978580_/+8=_gICA"),
                              any_xa)
    with contextlib.closing(site.connect()) as connection:
        cursor = connection.cursor()
        try:
            for gid in expected:
                cursor.execute("begin")
                cursor.execute("prepare transaction %s", (gid,))
            assert dict(site.sql("select gid, manager from assent.foreign_prepared")) == expected
            assert {item["gid"]: item["manager"] for item in listing(player)["prepared"]
                    if "manager" in item} == expected
        finally:
            for gid, in site.sql("select gid from assent.foreign_prepared"):
                cursor.execute("rollback prepared %s", (gid,))


def test_a_monitoring_role_may_read_the_views(site, prepared):
    site.sql("create role watcher login; grant pg_monitor to watcher")
    try:
        with contextlib.closing(site.server.connect(site.name, "watcher")) as connection:
            cursor = connection.cursor()
            for view in ("in_doubt", "blocked_by_prepared", "foreign_prepared"):
                cursor.execute(f"select count(*) from assent.{view}")
    finally:
        site.sql("drop role watcher")


# ---- the agent's own words, with no psql ----

def listing(player, **fields):
    answer = player.call("prepared", **fields)
    assert answer["ok"], answer
    return answer


def entry(player, gid):
    return next(item for item in listing(player)["prepared"] if item["gid"] == gid)


def test_the_agent_tells_what_a_prepared_branch_holds_and_whom_it_blocks(site, player, prepared):
    sql = "update account set balance = 0 where id = 1"
    with waiting(site, sql) as pid:
        item = entry(player, prepared.gid)
    assert (item["gtrid"], item["rm"], item["branch"]) == (prepared.gtrid, "accounts", "")
    assert item["owner"] == "shop" and item["actable"] and item["locks"] > 0
    assert {"table": "public.account", "modes": "RowExclusiveLock"} in item["tables"]
    [blocked] = item["blocks"]
    assert (blocked["pid"], blocked["role"], blocked["query"]) == (pid, "postgres", sql) \
        or blocked["query"] == "<insufficient privilege>"
    assert blocked["waited_s"] >= 0 and item["xid_age"] >= 0


def test_the_agent_tells_who_could_finish_a_branch_that_it_may_not(site, player):
    branch = player.branch()
    with contextlib.closing(site.server.connect(site.name)) as connection:
        cursor = connection.cursor()
        cursor.execute("begin")
        cursor.execute(f"prepare transaction '{branch.gid}'")
    try:
        item = entry(player, branch.gid)
        assert not item["actable"] and item["owner"] == "postgres"
    finally:
        site.sql(f"rollback prepared '{branch.gid}'")


def test_the_agent_proves_what_became_of_a_branch_that_is_gone(site, player):
    committed, undone, never = player.branch(), player.branch(), player.branch()
    xids = []
    for branch, word in ((committed, "commit"), (undone, "rollback")):
        branch.run("update account set balance = balance where id = 2")
        xids.append(branch.ready())
        site.sql(f"{word} prepared '{branch.gid}'")
    asked = [{"gid": committed.gid, "xid": xids[0]}, {"gid": undone.gid, "xid": xids[1]},
             {"gid": never.gid, "xid": "0"}, {"gid": never.gid, "xid": str(2**40)}]
    evidence = listing(player, evidence=asked)["evidence"]
    assert [item["status"] for item in evidence] == ["committed", "aborted", "", "future"]
    assert not any(item["prepared"] or item["marked"] for item in evidence)


@pytest.mark.parametrize("evidence", [
    1, [1], [{}], [{"gid": "x", "xid": "1"}], [{"gid": gid_of("bank.1.1", "accounts")}],
    [{"gid": gid_of("bank.1.1", "accounts"), "xid": "x"}], [{}] * 257])
def test_evidence_that_cannot_be_asked_for_is_refused_by_name(player, evidence):
    answer = player.call("prepared", evidence=evidence)
    assert answer["error"]["code"] == "invalid_request"


# ---- versions ----

def install(site):
    return subprocess.run([program("assent-agent"), "-c", site.conf, "--install-schema",
                           "--conninfo", site.server.conninfo(site.name)],
                          capture_output=True, text=True)


# The files that bring the schema to a version, in their order.
SCHEMA = ["assent.sql", "assent--1--2.sql", "assent--2--3.sql", "assent--3--4.sql"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_older_schema_stops_the_agent_and_is_upgraded_in_place(run_folder, servers, version):
    with new_site(run_folder, servers[0]) as site:
        site.sql("drop schema assent cascade")
        for name in SCHEMA[:version]:
            text = (SOURCE / "sql" / name).read_text().replace("%", "%%")
            site.sql("set assent.agent_role = 'assent'; set assent.exec_roles = 'shop';" + text)
        site.sql("insert into assent.marker values ('kept.1.1')")
        site.agent.start()
        assert site.agent.wait() == 1
        assert f"version {version}, I need 4" in site.agent.log_text()
        assert "--install-schema" in site.agent.log_text()
        assert install(site).returncode == 0 and install(site).returncode == 0
        assert site.sql("select version from assent.version order by 1") == [
            (number,) for number in range(1, len(SCHEMA) + 1)]
        assert site.sql("select gtrid from assent.marker") == [("kept.1.1",)]
        site.start()


def test_the_next_schema_is_good_enough_to_run_with(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql("insert into assent.version values (5)")
        site.start()


def test_a_newer_schema_is_not_written_over(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql("insert into assent.version values (6)")
        done = install(site)
        assert done.returncode == 1 and "newer" in done.stderr
        site.agent.start()
        assert site.agent.wait() == 1 and "version 6, I need 4" in site.agent.log_text()
