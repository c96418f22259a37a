"""What PostgreSQL does with prepared transactions, and that the agent is right about each of it.

A row for each fact: the table of refusals, and below it one test a fact with the fact as its
name. The agent's role may log in and is a member of the application's role; it has no other right.
"""

import base64
import contextlib
import itertools
import json
import os
import signal
import struct
import subprocess
import threading

import psycopg2
import pytest

from harness import POSTGRES_BIN, Client, gid_of, wait_until
from played import new_server, new_site, refusal

numbers = itertools.count(1)

TABLES = """
create table work (n int);
create table parent (id int primary key);
create table child (id int references parent deferrable initially deferred);
create extension postgres_fdw;
create server loop foreign data wrapper postgres_fdw options (host '{host}', dbname '{database}');
create user mapping for shop server loop options (user 'shop', password_required 'false');
create foreign table far (n int) server loop options (table_name 'work');
grant all on work, parent, child, far to shop;
"""


@pytest.fixture(scope="module")
def shared_site(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql(TABLES.format(host=servers[0].folder, database=site.name))
        site.start()
        yield site


@pytest.fixture
def player(shared_site):
    """A coordinator of its own for each test: none finds what another has left."""
    player = shared_site.play(f"tm{len(shared_site.players)}")
    assert player.register()["ok"]
    yield player
    for gid in shared_site.prepared():  # of a test that has failed
        shared_site.sql(f"rollback prepared '{gid}'")
    assert shared_site.agent.running(), shared_site.agent.log_text()[-2000:]


@pytest.fixture
def site(run_folder, servers):
    """For the tests that turn settings or grants."""
    with new_site(run_folder, servers[0]) as site:
        site.sql(TABLES.format(host=servers[0].folder, database=site.name))
        site.start()
        yield site


@pytest.fixture
def small_server(run_folder, servers):
    """A server of the test's own, with settings that only a start can change."""
    with contextlib.ExitStack() as stack:
        yield lambda *settings, **details: stack.enter_context(
            new_server(run_folder, *settings, **details))


def work(branch):
    branch.run("insert into work values (1)")
    return branch


def count(site):
    return site.sql("select count(*) from work")[0][0]


def test_the_agents_role_has_no_right_but_to_log_in(shared_site):
    [rights] = shared_site.sql("select rolsuper, rolcreaterole, rolcreatedb, rolreplication,"
                               " rolbypassrls from pg_roles where rolname = 'assent'")
    assert not any(rights)
    assert shared_site.sql("select array_agg(roleid::regrole::text) from pg_auth_members"
                           " where member = 'assent'::regrole") == [(["shop"],)]


def test_what_is_missing_is_named_at_the_start(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        text = site.conf.read_text()
        site.conf.write_text(text + f"[exec clerk]\nconninfo = {servers[0].conninfo(site.name, 'clerk')}\n"
                             f"[exec barber]\nconninfo = {servers[0].conninfo(site.name, 'barber')}\n")
        site.sql("create role barber login")
        try:
            site.start()
            wait_until(lambda: 'GRANT "barber" TO "assent"' in site.agent.log_text())
            wait_until(lambda: 'CREATE ROLE clerk LOGIN' in site.agent.log_text())
            assert '"shop"' not in site.agent.log_text()
        finally:
            site.sql("drop role barber")


# ---- a vote is yes only by the command's tag ----

def test_prepare_of_a_failed_transaction_raises_no_error_and_is_a_no(player):
    branch = work(player.branch())
    assert branch.exec("insert into work values ('x')")["error"]["sqlstate"] == "22P02"
    vote = branch.prepare()
    assert vote["is"] == "no" and vote["sqlstate"] == "22P02" and "invalid input" in vote["message"]
    assert not player.site.prepared()
    assert branch.rollback()["is"] == "done"


def test_an_applications_word_that_it_has_prepared_proves_nothing(player):
    failed = player.branch()
    with contextlib.closing(player.site.connect(autocommit=False)) as connection:
        connection.tpc_begin(connection.xid(1095978580, failed.gtrid, "accounts"))
        with pytest.raises(psycopg2.Error):
            connection.cursor().execute("select 1 / 0")
        connection.tpc_prepare()  # no error: the command's tag was ROLLBACK
    nothing_open = player.branch()
    with contextlib.closing(player.site.connect()) as connection:
        connection.cursor().execute(f"prepare transaction '{nothing_open.gid}'")
        assert any("no transaction in progress" in notice for notice in connection.notices)
    for branch in (failed, nothing_open):
        vote = branch.prepare()
        assert vote["is"] == "no" and "branch_not_prepared" in vote["message"]


# ---- refusals at PREPARE: final, with PostgreSQL's own words, and nothing to roll back ----

REFUSALS = {
    "temporary table made": ("0A000", "temporary", ["create temp table t (n int)"]),
    "temporary table only read": (
        "0A000", "temporary", ["create temp table t (n int)", "select * from t"]),
    "cursor with hold": ("0A000", "WITH HOLD", ["declare c cursor with hold for select 1"]),
    "LISTEN": ("0A000", "NOTIFY", ["listen news"]),
    "UNLISTEN": ("0A000", "NOTIFY", ["listen news", "unlisten news"]),
    "NOTIFY": ("0A000", "NOTIFY", ["notify news"]),
    "pg_notify": ("0A000", "NOTIFY", ["select pg_notify('news', 'x')"]),
    "exported snapshot": ("0A000", "snapshot", ["select pg_export_snapshot()"]),
    "both kinds of advisory lock on one key": (
        "0A000", "session-level", ["select pg_advisory_lock(1), pg_advisory_xact_lock(1)"]),
    "a write through postgres_fdw": ("0A000", "postgres_fdw", ["insert into far values (1)"]),
    "a read through postgres_fdw": ("0A000", "postgres_fdw", ["select * from far"]),
    "deferred constraint": ("23503", "child", ["insert into child values (-1)"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_at_prepare(player, name):
    sqlstate, words, statements = REFUSALS[name]
    before = count(player.site)
    branch = work(player.branch())
    for sql in statements:
        branch.run(sql)
    vote = branch.prepare()
    assert (vote["is"], vote["sqlstate"]) == ("no", sqlstate) and words in vote["message"], vote
    again = branch.prepare()
    assert again == vote, "it stays no"
    assert branch.rollback()["is"] == "done"
    assert count(player.site) == before and not player.site.prepared()


def test_refused_at_prepare_when_the_relation_map_was_changed(player):
    """Only a superuser gets that far, on a connection of its own."""
    branch = player.branch()
    with pytest.raises(psycopg2.Error) as refused:
        branch.prepare_own("cluster pg_class using pg_class_oid_index", "postgres")
    assert refused.value.pgcode == "0A000" and "relation mapping" in str(refused.value)
    assert branch.prepare()["is"] == "no"


def test_refused_at_prepare_when_the_gid_is_used_in_another_database(player):
    """gids are unique in the cluster."""
    server = player.site.server
    branch = work(player.branch())
    with contextlib.closing(server.connect("postgres", "shop")) as elsewhere:
        elsewhere.cursor().execute("begin")
        elsewhere.cursor().execute(f"prepare transaction '{branch.gid}'")
    vote = branch.prepare()
    assert (vote["is"], vote["sqlstate"]) == ("no", "42710") and "already in use" in vote["message"]
    assert branch.rollback()["is"] == "done"
    with contextlib.closing(server.connect("postgres")) as dba:
        dba.cursor().execute(f"rollback prepared '{branch.gid}'")  # it was not ours to touch


def test_the_longest_names_make_a_gid_that_fits(run_folder, servers):
    rm = "r" + "m" * 30
    with new_site(run_folder, servers[0], rm=rm) as site:
        site.start()
        player = site.play("t" + "m" * 30, incarnation=10**10)
        assert player.register()["ok"]
        player.sequence = 10**15
        branch = player.branch("b" * 24)
        assert len(branch.gid) < 200
        branch.run("select 1")
        xid = branch.ready()
        assert site.prepared() == [branch.gid]
        assert branch.commit(xid)["is"] == "done"
    assert refusal(servers[0], "postgres", f"begin; prepare transaction '{'x' * 200}'") == "22023"


def test_an_empty_gid_is_refused_here_since_the_server_takes_it(player):
    branch = player.branch()
    reply = player.call("exec", gid="", session=branch.ticket(), sql="select 1")
    assert reply["error"]["code"] == "invalid_request"
    with contextlib.closing(player.site.connect()) as connection:
        connection.cursor().execute("begin")
        connection.cursor().execute("prepare transaction ''")
        connection.cursor().execute("rollback prepared ''")


def test_a_serialization_failure_is_a_no_and_who_prepared_first_is_safe(player):
    def crossing(source, target):
        branch = player.branch()
        branch.run(f"select count(*) from {source}", isolation=3)
        return branch, f"insert into {target} values ({next(numbers)})"
    first, first_write = crossing("work", "parent")
    second, second_write = crossing("parent", "work")
    first.run(first_write, isolation=3)
    second.exec(second_write, isolation=3)
    xid = first.ready()
    vote = second.prepare()
    assert (vote["is"], vote["sqlstate"]) == ("no", "40001")
    assert first.commit(xid)["is"] == "done"
    assert second.rollback()["is"] == "done"


@pytest.mark.parametrize("slots", [0, 1])
def test_refused_at_prepare_for_want_of_a_slot(small_server, run_folder, slots):
    server = small_server(f"max_prepared_transactions = {slots}")
    with new_site(run_folder, server) as site:
        site.start()
        player = site.play()
        assert player.register()["ok"]
        taken = [player.branch() for _ in range(slots)]
        for branch in taken:
            branch.run("select 1")
            branch.ready()
        branch = player.branch()
        branch.run("select 1")
        vote = branch.prepare()
        if slots == 0:
            assert vote["sqlstate"] == "55000" and "prepared transactions are disabled" in vote["message"]
        else:
            assert vote["sqlstate"] == "53200" and "maximum number" in vote["message"]
        assert "max_prepared_transactions" in vote["hint"], "the server's own"
        wait_until(lambda: "max_prepared_transactions" in site.agent.log_text())
        wait_until(lambda: site.status()["slots_max"] == slots)
        for other in (*taken, branch):
            assert other.rollback()["is"] == "done"


# ---- finishing ----

def test_a_gid_that_is_not_there_is_done_only_by_evidence(player):
    committed, undone, in_progress = (work(player.branch()) for _ in range(3))
    xids = [branch.ready() for branch in (committed, undone)]
    before = count(player.site)
    assert committed.commit(xids[0])["is"] == "done"
    assert committed.commit(xids[0])["is"] == "done", "done before"
    result = committed.rollback(xids[0])
    assert (result["is"], result["actual"]) == ("heuristic", "committed")
    assert undone.rollback(xids[1])["is"] == "done"
    result = undone.commit(xids[1])
    assert (result["is"], result["actual"]) == ("heuristic", "rolled-back")
    never = player.branch()
    [[running]] = in_progress.run("select pg_current_xact_id()")
    assert never.commit(running)["is"] == "unknown"
    assert never.commit(str(int(running) + 10**6))["is"] == "lost", "a future xid: data is lost"
    assert never.rollback()["is"] == "done"
    assert in_progress.rollback()["is"] == "done"
    assert count(player.site) == before + 1


@pytest.mark.parametrize("by_hand, ordered, result", [
    ("commit", "commit", ("done", "committed")),
    ("rollback", "commit", ("heuristic", "rolled-back")),
    ("rollback", "rollback", ("done", None)),
    ("commit", "rollback", ("heuristic", "committed")),
])
def test_what_somebody_finished_by_hand_is_told_by_its_xid(player, by_hand, ordered, result):
    branch = work(player.branch())
    xid = branch.ready()
    player.site.sql(f"{by_hand} prepared '{branch.gid}'")
    answer = getattr(branch, ordered)(xid)
    assert (answer["is"], answer.get("actual")) == result


def test_another_transaction_under_the_same_gid_is_not_what_was_voted_for(player):
    """Once a gid is finished anybody can prepare it again: the xid is the transaction."""
    before = count(player.site)
    branch = work(player.branch())
    xid = branch.ready()
    assert branch.commit(xid)["is"] == "done"
    branch.prepare_own("insert into work values (2)")
    assert branch.commit(xid)["is"] == "done"
    assert not player.site.prepared(), "rolled back, and so said"
    assert count(player.site) == before + 1


@pytest.mark.parametrize("order, result", [("commit", "heuristic"), ("rollback", "done")])
def test_a_gid_that_changed_hands_after_the_vote_is_not_committed(player, order, result):
    before = count(player.site)
    branch = work(player.branch())
    xid = branch.ready()
    player.site.sql(f"rollback prepared '{branch.gid}'")
    branch.prepare_own("insert into work values (2)")
    assert getattr(branch, order)(xid)["is"] == result
    assert count(player.site) == before and not player.site.prepared()


def commit_together(player, branches, xids):
    player.lsn += 1
    player.order(*({"do": "commit", "gid": branch.gid, "xid": xid, "lsn": str(player.lsn)}
                   for branch, xid in zip(branches, xids)))
    return [branch.end()["is"] for branch in branches]


def test_commits_that_come_together_are_all_done(player):
    before = count(player.site)
    branches = [work(player.branch()) for _ in range(20)]
    xids = [branch.ready() for branch in branches]
    assert commit_together(player, branches, xids) == ["done"] * 20
    assert count(player.site) == before + 20 and not player.site.prepared()


def test_one_that_is_not_what_was_voted_for_does_not_hold_up_those_that_come_with_it(player):
    """They share a trip in which all are refused, and are then tried one by one."""
    before = count(player.site)
    branches = [work(player.branch()) for _ in range(4)]
    xids = [branch.ready() for branch in branches]
    player.site.sql(f"rollback prepared '{branches[0].gid}'")
    player.site.sql(f"rollback prepared '{branches[1].gid}'")
    branches[1].prepare_own("insert into work values (2)")
    player.site.sql(f"commit prepared '{branches[2].gid}'")
    assert commit_together(player, branches, xids) == ["heuristic", "heuristic", "done", "done"]
    assert count(player.site) == before + 2 and not player.site.prepared()


def test_a_branch_in_another_database_of_the_cluster_is_not_seen(player):
    branch = player.branch()
    with contextlib.closing(player.site.server.connect("postgres", "shop")) as elsewhere:
        elsewhere.cursor().execute("begin")
        elsewhere.cursor().execute(f"prepare transaction '{branch.gid}'")
    assert refusal(player.site.server, player.site.name,
                   f"commit prepared '{branch.gid}'") == "0A000"
    vote = branch.prepare()
    assert vote["is"] == "no" and "branch_not_prepared" in vote["message"]
    assert player.scan() == []
    with contextlib.closing(player.site.server.connect("postgres")) as dba:
        dba.cursor().execute(f"rollback prepared '{branch.gid}'")


def test_a_member_finishes_as_the_owner_and_not_as_itself(player):
    branch = player.branch()
    branch.prepare_own("insert into work values (1)")
    assert refusal(player.site.server, player.site.name, f"commit prepared '{branch.gid}'",
                   "assent") == "42501"
    assert branch.commit(branch.ready())["is"] == "done"


def test_a_vote_for_what_could_not_be_finished_is_no_and_names_the_grant(site):
    site.sql("create role barber login; grant all on work to barber")
    player = site.play()
    assert player.register()["ok"]
    try:
        branch = player.branch()
        branch.prepare_own("insert into work values (1)", "barber")
        vote = branch.prepare()
        assert (vote["is"], vote["sqlstate"]) == ("no", "42501")
        assert vote["hint"] == 'GRANT "barber" TO "assent"' and '"barber"' in vote["message"]
        assert branch.rollback(seconds=1) is None, "nor may it be rolled back yet"
        assert site.prepared() == [branch.gid]
        site.sql("grant barber to assent")
        assert branch.rollback()["is"] == "done" and not site.prepared()
    finally:
        site.sql("drop owned by barber; drop role barber")


def test_a_grant_revoked_after_the_vote_is_waited_for(site):
    site.sql("create role barber login; grant all on work to barber; grant barber to assent")
    player = site.play()
    assert player.register()["ok"]
    try:
        branch = player.branch()
        branch.prepare_own("insert into work values (1)", "barber")
        xid = branch.ready()
        site.sql("revoke barber from assent")
        assert branch.commit(xid, seconds=1) is None
        assert 'GRANT "barber" TO "assent"' in site.status()["last_error"]
        site.sql("grant barber to assent")
        assert branch.commit(xid)["is"] == "done" and count(site) == 1
    finally:
        site.sql("drop owned by barber; drop role barber")


def test_a_dropped_owner_leaves_a_branch_to_a_superuser(site):
    site.sql("create role barber login; grant all on work to barber; grant barber to assent")
    player = site.play()
    assert player.register()["ok"]
    voted, later = player.branch(), player.branch()
    for branch in (voted, later):
        branch.prepare_own("select 1", "barber")
    xid = voted.ready()
    site.sql("drop owned by barber; drop role barber")
    vote = later.prepare()
    assert vote["is"] == "no" and "owner" in vote["message"] and "superuser" in vote["message"]
    assert voted.commit(xid, seconds=1) is None
    assert "dropped" in site.status()["last_error"]
    for branch, how in ((voted, "commit"), (later, "rollback")):
        site.sql(f"{how} prepared '{branch.gid}'")
    assert voted.commit(xid)["is"] == "done"
    assert later.rollback()["is"] == "done"


def test_finishing_is_refused_inside_a_transaction_so_each_has_a_sync_of_its_own(player):
    branch = work(player.branch())
    xid = branch.ready()
    assert refusal(player.site.server, player.site.name,
                   f"begin; commit prepared '{branch.gid}'") == "25001"
    assert branch.commit(xid)["is"] == "done"


@contextlib.contextmanager
def no_standby_answers(site):
    """COMMIT and PREPARE wait for a standby that is not there."""
    site.sql("alter system set synchronous_standby_names = 'nobody'")
    site.sql("select pg_reload_conf()")
    wait_until(lambda: site.sql("show synchronous_standby_names") == [("nobody",)])
    try:
        yield
    finally:
        site.sql("alter system reset synchronous_standby_names")
        site.sql("select pg_reload_conf()")
        wait_until(lambda: site.sql("show synchronous_standby_names") == [("",)])


def waiting_for_standby(site):
    return [pid for pid, in site.sql("select pid from pg_stat_activity where wait_event = 'SyncRep'"
                                     " and datname = current_database()")]


def test_a_branch_that_another_session_is_finishing_is_tried_again(site):
    player = site.play()
    assert player.register()["ok"]
    branch = work(player.branch())
    xid = branch.ready()
    with no_standby_answers(site):
        dba = threading.Thread(target=site.sql, args=(f"commit prepared '{branch.gid}'",))
        dba.start()
        wait_until(lambda: waiting_for_standby(site))
        assert branch.commit(xid, seconds=1) is None
        assert "busy" in site.status()["last_error"]
    dba.join()
    assert branch.commit(xid)["is"] == "done" and count(site) == 1


def test_finishing_flushes_even_when_the_role_commits_asynchronously(site):
    site.sql("alter role shop set synchronous_commit = off")
    try:
        player = site.play()
        assert player.register()["ok"]
        branch = work(player.branch())
        [[before]] = site.sql("select pg_current_wal_insert_lsn()")
        xid = branch.ready()
        assert site.sql("select pg_current_wal_flush_lsn() > %s::pg_lsn", before) == [(True,)]
        assert branch.commit(xid)["is"] == "done"
    finally:
        site.sql("alter role shop reset synchronous_commit")


# ---- when the answer is unknown ----

def test_during_the_wait_for_a_standby_the_gid_is_listed_and_nothing_is_said(site):
    player = site.play()
    assert player.register()["ok"]
    branch = work(player.branch())
    with no_standby_answers(site):
        branch.order_prepare()
        wait_until(lambda: site.prepared() == [branch.gid])
        assert branch.vote(0.5) is None
    vote = branch.vote()
    assert vote["is"] == "ready" and branch.commit(vote["xid"])["is"] == "done"


def test_a_cancelled_wait_for_a_standby_is_a_success_with_a_warning(site):
    player = site.play()
    assert player.register()["ok"]
    branch = work(player.branch())
    xid = branch.ready()
    with no_standby_answers(site):
        branch.order_commit(xid)
        [pid] = wait_until(lambda: waiting_for_standby(site))
        site.sql("select pg_cancel_backend(%s)", pid)
        assert branch.end()["is"] == "done" and count(site) == 1
    assert "might not have been replicated" in site.agent.log_text()


def test_a_wait_for_a_standby_that_is_terminated_is_looked_into(site):
    """The connection drops and no answer comes, though the change is durable here."""
    player = site.play()
    assert player.register()["ok"]
    branch = work(player.branch())
    xid = branch.ready()
    with no_standby_answers(site):
        branch.order_commit(xid)
        [pid] = wait_until(lambda: waiting_for_standby(site))
        site.sql("select pg_terminate_backend(%s, 5000)", pid)
    result = branch.end() or branch.commit(xid)
    assert result["is"] == "done" and count(site) == 1


def test_sessions_do_not_outlive_their_client_nor_wait_for_ever(player):
    branch = player.branch()
    settings = {name: branch.run(f"show {name}")[0][0] for name in (
        "client_connection_check_interval", "tcp_keepalives_idle",
        "idle_in_transaction_session_timeout", "idle_session_timeout")}
    assert settings["client_connection_check_interval"] == "2s"
    assert settings["idle_in_transaction_session_timeout"] == "0"
    assert settings["idle_session_timeout"] == "0"
    branch.rollback()


def test_a_statement_that_waits_too_long_for_a_lock_fails_its_branch(player):
    holder, waiter = player.branch(), player.branch()
    holder.run("select pg_advisory_xact_lock(7)")
    waiter.run("set local lock_timeout = '50ms'")
    assert waiter.exec("select pg_advisory_xact_lock(7)")["error"]["sqlstate"] == "55P03"
    assert waiter.prepare()["sqlstate"] == "55P03"
    for branch in (holder, waiter):
        assert branch.rollback()["is"] == "done"


# ---- evidence ----

def test_the_xid_is_known_before_prepare_and_is_the_one_prepared(player):
    branch = player.branch()
    [[xid]] = branch.run("select pg_current_xact_id_if_assigned()")
    assert branch.ready() == xid
    assert player.site.sql("select transaction::text from pg_prepared_xacts where gid = %s",
                           branch.gid) == [(str(int(xid) % 2**32),)]
    status = "select pg_xact_status(%s::xid8)"
    assert player.site.sql(status, xid) == [("in progress",)]
    assert branch.commit(xid)["is"] == "done"
    assert player.site.sql(status, xid) == [("committed",)]
    assert refusal(player.site.server, player.site.name,
                   f"select pg_xact_status('{int(xid) + 10**9}')") == "22023"


def test_xids_are_compared_in_64_bits(small_server, run_folder):
    """pg_prepared_xacts has 32 of them; the rest is the number of times they have gone round."""
    def a_later_epoch(data):
        subprocess.run(["runuser", "-u", "postgres", "--", POSTGRES_BIN / "pg_resetwal",
                        "-e", "3", "-D", data], check=True, stdout=subprocess.DEVNULL)
    server = small_server("max_prepared_transactions = 5", before_start=a_later_epoch)
    with new_site(run_folder, server) as site:
        site.start()
        player = site.play()
        assert player.register()["ok"]
        by_exec, own = player.branch(), player.branch()
        by_exec.run("insert into account values (99, 1)")
        own.prepare_own("select 1")
        for branch in (by_exec, own):
            xid = branch.ready()
            assert int(xid) > 3 * 2**32
            assert branch.commit(xid)["is"] == "done"
            assert branch.commit(xid)["is"] == "done"


def test_the_write_ahead_log_names_the_gid_and_the_end(player):
    site = player.site
    [[start]] = site.sql("select pg_current_wal_lsn()")
    committed, undone = work(player.branch()), work(player.branch())
    xids = committed.ready(), undone.ready()
    committed.commit(xids[0])
    undone.rollback(xids[1])
    [[segment]] = site.sql("select pg_walfile_name(pg_current_wal_lsn())")
    dump = subprocess.run([POSTGRES_BIN / "pg_waldump", "-r", "Transaction", "-s", start,
                           "-p", site.server.data / "pg_wal", segment],
                          capture_output=True, text=True, check=False).stdout
    assert f"PREPARE gid {committed.gid}" in dump
    assert f"COMMIT_PREPARED {int(xids[0]) % 2**32}" in dump
    assert f"ABORT_PREPARED {int(xids[1]) % 2**32}" in dump


# ---- what a prepared branch holds ----

def test_a_prepared_branch_keeps_its_locks_without_a_process(player):
    branch = player.branch()
    branch.run("lock table parent in access exclusive mode")
    xid = branch.ready()
    assert player.site.sql("select distinct pid from pg_locks where virtualtransaction in (select"
                           " virtualtransaction from pg_locks where transactionid::text = %s"
                           " and locktype = 'transactionid')", str(int(xid) % 2**32)) == [(None,)]
    branch.rollback(xid)


def test_a_database_with_a_prepared_branch_is_not_dropped(servers):
    with contextlib.closing(servers[0].connect("postgres")) as dba:
        cursor = dba.cursor()
        cursor.execute("create database doomed")
        with contextlib.closing(servers[0].connect("doomed")) as connection:
            connection.cursor().execute("begin")
            connection.cursor().execute("prepare transaction 'stays'")
        with pytest.raises(psycopg2.Error) as refused:
            cursor.execute("drop database doomed")
        assert refused.value.pgcode == "55006" and "prepared transaction" in str(refused.value)
        with contextlib.closing(servers[0].connect("doomed")) as connection:
            connection.cursor().execute("rollback prepared 'stays'")
        cursor.execute("drop database doomed with (force)")


def test_a_server_with_too_few_slots_for_what_is_pending_does_not_start(small_server, run_folder):
    server = small_server("max_prepared_transactions = 2")
    with new_site(run_folder, server) as site:
        site.start()
        player = site.play()
        assert player.register()["ok"]
        branches = player.branch(), player.branch()
        for branch in branches:
            branch.run("select 1")
            branch.ready()
        server.stop()
        conf = server.data / "postgresql.conf"
        text = conf.read_text()
        conf.write_text(text + "max_prepared_transactions = 1\n")
        server.process.start()
        assert server.process.wait(10) == 1
        assert "maximum number of prepared transactions reached" in server.process.log_text()
        conf.write_text(text)
        site.server_is_back()
        for branch in branches:
            assert branch.rollback()["is"] == "done"


def test_a_session_is_reset_before_it_is_used_again(player):
    first = player.branch()
    [[pid, path]] = first.run("select pg_backend_pid(), current_setting('search_path')")
    first.run("set search_path = nowhere")  # survives the transaction's end
    first.run("prepare q as select 1")
    assert first.rollback()["is"] == "done"

    def again():
        branch = player.branch()
        [row] = branch.run("select pg_backend_pid(), current_setting('search_path'),"
                           " (select count(*) from pg_prepared_statements"
                           "  where statement = 'prepare q as select 1')")
        branch.rollback()
        return row if row[0] == pid else None
    assert wait_until(again) == [pid, path, "0"]


def test_a_branch_with_no_xid_may_have_an_effect_and_is_prepared(player):
    """A write through postgres_fdw and a NOTIFY leave pg_current_xact_id_if_assigned() NULL: so
    only a branch that was declared read-only is committed early."""
    with contextlib.closing(player.site.connect(autocommit=False)) as connection:
        cursor = connection.cursor()
        for sql in ("insert into far values (1)", "notify news"):
            cursor.execute(sql)
            cursor.execute("select pg_current_xact_id_if_assigned()")
            assert cursor.fetchone() == (None,)
    branch = player.branch()
    branch.run("select 1")
    assert branch.prepare()["is"] == "ready"
    assert branch.rollback()["is"] == "done"


def test_a_declared_read_only_branch_leaves_with_its_vote(player):
    branch = player.branch()
    assert branch.run("select 1", access="r") == [["1"]]
    assert branch.prepare()["is"] == "read-only"
    assert branch.rollback()["is"] == "done"


@pytest.mark.parametrize("name, sql, sqlstate", [
    ("a write", "insert into work values (1)", "25006"),
    ("a write through postgres_fdw", "insert into far values (1)", "25006"),
    ("READ WRITE after the first snapshot", "set transaction read write", "25001"),
    ("the same as a setting", "set transaction_read_only = off", "25001"),
])
def test_a_declared_read_only_branch_refuses(player, name, sql, sqlstate):
    before = count(player.site)
    branch = player.branch()
    assert branch.exec(sql, access="r")["error"]["sqlstate"] == sqlstate
    assert branch.prepare()["sqlstate"] == sqlstate
    assert branch.rollback()["is"] == "done" and count(player.site) == before


def test_a_notify_passes_in_a_declared_read_only_branch(player):
    """PostgreSQL lets it, and its sender has said that he changes nothing."""
    branch = player.branch()
    branch.run("notify news", access="r")
    assert branch.prepare()["is"] == "read-only"


def test_a_declared_read_only_branch_that_is_serializable_is_prepared(player):
    branch = player.branch()
    branch.run("select count(*) from work", access="r", isolation=3)
    vote = branch.prepare()
    assert vote["is"] == "ready"
    assert branch.commit(vote["xid"])["is"] == "done"


# ---- identity ----

FOREIGN = {
    "pgjdbc": "131077_" + base64.b64encode(b"a-gtrid").decode() + "_" + base64.b64encode(b"b").decode(),
    "psycopg": "42_Z3RyaWQ=_YnF1YWw=",
    "Citus": "citus_0_1234_5_0",
    "dtm": "h5sTkCXcSRrLEzxDNrnbWo-01",
    "LIXA": "1279875137." + "ab" * 16 + "." + "cd" * 16,
    "unknown": "somebody else's",
}


def test_what_is_not_ours_is_neither_reported_nor_touched(player):
    site = player.site
    other = site.play("other").branch()
    ours = player.branch()
    ours.prepare_own("select 1")
    not_ours = [*FOREIGN.values(), other.gid, gid_of(ours.gtrid, "ledger"),
                gid_of(ours.gtrid, "accounts").replace("1095978580", "1095978581")]
    with contextlib.closing(site.connect()) as connection:
        for gid in not_ours:
            connection.cursor().execute("begin")
            connection.cursor().execute("prepare transaction %s", (gid,))
    try:
        assert player.scan() == [("found", ours.gid)]
        for gid in not_ours:
            refused = player.call("orders", **player.sender(),
                                  orders=[{"do": "rollback", "gid": gid, "xid": "0"}])
            assert not refused["ok"], gid
        assert set(not_ours) < set(site.prepared())
        assert ours.rollback()["is"] == "done"
    finally:
        for gid in not_ours:
            with contextlib.closing(site.connect()) as connection:
                connection.cursor().execute("rollback prepared %s", (gid,))


def test_a_drivers_gid_is_byte_for_byte_ours(player):
    """What psycopg and pgjdbc make of the XA xid that `enlist` hands out."""
    assert gid_of("bank.3.2049", "accounts") == "1095978580_YmFuay4zLjIwNDk=_YWNjb3VudHM="
    branch = player.branch()
    connection = player.site.connect(autocommit=False)
    connection.tpc_begin(connection.xid(1095978580, branch.gtrid, "accounts"))
    connection.cursor().execute("insert into work values (1)")
    connection.tpc_prepare()
    assert player.site.prepared() == [branch.gid]
    assert branch.commit(branch.ready())["is"] == "done"
    with pytest.raises(psycopg2.ProgrammingError):
        connection.commit()  # it still thinks that it is in the prepared transaction
    connection.reset()
    connection.cursor().execute("select 1")
    connection.close()


# ---- sessions ----

def test_a_text_of_several_statements_is_refused(player):
    branch = work(player.branch())
    reply = branch.exec("select 1; commit; begin")
    assert reply["error"]["sqlstate"] == "42601"
    assert branch.prepare()["is"] == "no"
    branch.rollback()


@pytest.mark.parametrize("sql", [
    "commit", "COMMIT AND CHAIN", "end", "rollback", "abort", "begin", "start transaction",
    "/* harmless */ commit", "-- harmless\ncommit", ";commit", "prepare transaction 'x'",
    "commit prepared 'x'", "rollback prepared 'x'", "copy work from stdin",
])
def test_sql_that_would_end_the_branch_is_refused_before_it_does_harm(player, sql):
    before = count(player.site)
    branch = work(player.branch())
    assert branch.exec(sql)["error"]["code"] == "invalid_request"
    branch.n -= 1
    assert branch.run("select count(*) from work") == [[str(before + 1)]]
    assert branch.prepare()["is"] == "ready"
    branch.rollback()


def test_code_that_tries_to_end_the_branch_is_an_error(player):
    branch = work(player.branch())
    assert branch.exec("do $$ begin commit; end $$")["error"]["sqlstate"] == "2D000"
    assert branch.prepare()["sqlstate"] == "2D000"
    branch.rollback()


def test_a_session_is_logged_in_as_the_application_and_cannot_become_more(player):
    branch = player.branch()
    branch.run("reset role")
    assert branch.run("select session_user, current_user") == [["shop", "shop"]]
    assert branch.exec("set role assent")["error"]["sqlstate"] == "42501"
    branch.rollback()


def test_a_session_that_hides_behind_a_name_is_found_by_its_process(site):
    player = site.play()
    assert player.register()["ok"]
    branch = work(player.branch())
    branch.run("set application_name = 'psql'")
    # Not the only one: the agent's own check of the role may still be about to leave.
    [[pid]] = branch.run("select pg_backend_pid()")
    assert int(pid) in site.backends("shop")
    site.agent.kill()
    site.start()
    assert int(pid) not in site.backends("shop")
    assert player.register()["ok"]
    assert branch.prepare()["message"].startswith("branch_lost")


def test_a_role_that_became_another_is_the_owner_and_is_finished_as_such(site):
    site.sql("create role barber; grant all on work to barber; grant barber to shop")
    player = site.play()
    assert player.register()["ok"]
    try:
        branch = player.branch()
        branch.run("set role barber")
        branch.run("insert into work values (1)")
        xid = branch.ready()
        assert site.sql("select owner from pg_prepared_xacts") == [("barber",)]
        assert branch.commit(xid)["is"] == "done" and count(site) == 1
    finally:
        site.sql("drop owned by barber; drop role barber")


def test_a_branch_has_its_own_isolation_and_timeout(player):
    for level, words in enumerate(("read committed", "read committed", "repeatable read",
                                   "serializable")):
        branch = player.branch()
        assert branch.run("show transaction_isolation", isolation=level) == [[words]]
        branch.rollback()
    branch = player.branch()
    branch.run("set local statement_timeout = '50ms'")
    assert branch.exec("select pg_sleep(10)")["error"]["sqlstate"] == "57014"
    assert branch.prepare()["sqlstate"] == "57014"
    branch.rollback()


def test_a_branch_ends_at_its_deadline_even_in_the_midst_of_a_statement(player):
    branch = player.branch()
    reply = branch.exec("select pg_sleep(30)", allowed_ms=200)
    assert reply["error"]["code"] == "branch_lost"
    wait_until(lambda: not player.site.sql(
        "select 1 from pg_stat_activity where query = 'select pg_sleep(30)'"
        " and state = 'active' and datname = current_database()"))
    vote = wait_until(lambda: branch.order_prepare() or branch.vote(0.5))
    assert vote["is"] == "no"


def test_results_carry_names_types_and_nulls(player):
    branch = player.branch()
    reply = branch.exec(r"select 1 as n, null::text as nothing, '\x00ff'::bytea as raw,"
                        " 1.50::numeric as money, $1::text as said", "it's")
    assert [(c["name"], c["type"]) for c in reply["columns"]] == [
        ("n", "int4"), ("nothing", "text"), ("raw", "bytea"), ("money", "numeric"), ("said", "text")]
    assert reply["rows"] == [["1", None, r"\x00ff", "1.50", "it's"]]
    reply = branch.exec("select repeat('x', 1000) from generate_series(1, 2000)")
    assert reply["error"]["code"] == "result_too_large"
    assert branch.run("select 1") == [["1"]]
    branch.rollback()


def test_a_statement_sent_again_with_its_number_runs_once(player):
    branch = player.branch()
    first = branch.exec("insert into work values (7)")
    branch.n -= 1
    assert branch.exec("insert into work values (7)") == first
    assert branch.run("select count(*) from work where n = 7") == [["1"]]
    branch.n += 5
    assert branch.exec("select 1")["error"]["code"] == "out_of_sequence"
    branch.rollback()


# ---- several of everything ----

def test_branches_of_one_transaction_at_one_database_are_separate(player):
    one = player.branch()
    two = player.branch("second")
    two.gtrid = one.gtrid
    two.gid = gid_of(one.gtrid, "accounts/second")
    before = count(player.site)
    work(one), work(two)
    xids = one.ready(), two.ready()
    assert xids[0] != xids[1] and len(player.scan()) == 2
    assert one.commit(xids[0])["is"] == "done" and two.rollback(xids[1])["is"] == "done"
    assert count(player.site) == before + 1


def test_coordinators_share_an_agent_and_do_not_see_each_other(player):
    other = player.site.play("rival")
    assert other.register()["ok"]
    mine, theirs = work(player.branch()), work(other.branch())
    xids = mine.ready(), theirs.ready()
    assert player.scan() == [("found", mine.gid)] and other.scan() == [("found", theirs.gid)]
    refused = player.call("orders", **player.sender(),
                          orders=[{"do": "rollback", "gid": theirs.gid, "xid": xids[1]}])
    assert refused["error"]["code"] == "invalid_request"
    assert mine.commit(xids[0])["is"] == "done" and theirs.commit(xids[1])["is"] == "done"


def test_databases_of_one_cluster_are_separate_resource_managers(run_folder, servers, player):
    with new_site(run_folder, servers[0], rm="ledger") as ledger:
        ledger.start()
        there = ledger.play(player.name, log=player.log)
        assert there.register()["ok"]
        here_branch, there_branch = work(player.branch()), there.branch()
        there_branch.run("select 1")
        xids = here_branch.ready(), there_branch.ready()
        assert player.scan() == [("found", here_branch.gid)]
        assert there.scan() == [("found", there_branch.gid)]
        assert here_branch.commit(xids[0])["is"] == "done"
        assert there_branch.commit(xids[1])["is"] == "done"


# ---- too much of everything ----

def resident_kib(process):
    with open(f"/proc/{process.popen.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_ten_thousand_requests_at_once_are_busy_and_cost_no_memory(site):
    """The database does not answer meanwhile: so many wait, and the others are turned away."""
    [[control]] = site.sql("select pid from assent.session s join pg_stat_activity using"
                           " (pid, backend_start) where gid is null order by s.backend_start limit 1")
    codes = []
    with contextlib.closing(Client(site.socket, 30)) as client:
        def read():
            for _ in range(10000):
                _, length = struct.unpack(">BQ", client.receive(9))
                reply = json.loads(client.receive(length)[4:])
                codes.append("ok" if reply["ok"] else reply["error"]["code"])
        assert client.call("prepared")["ok"]
        before = resident_kib(site.agent)
        reader = threading.Thread(target=read)
        reader.start()
        os.kill(control, signal.SIGSTOP)
        try:
            for _ in range(10000):
                client.send(b'{"op":"prepared"}')
            wait_until(lambda: len(codes) > 8000, 60)
        finally:
            os.kill(control, signal.SIGCONT)
        reader.join(120)
    assert len(codes) == 10000 and set(codes) == {"ok", "busy"}
    assert resident_kib(site.agent) < before + 64 * 1024
    wait_until(site.up)


# ---- one phase ----

def test_a_one_phase_commit_is_proved_by_its_marker(player):
    before = count(player.site)
    branch = work(player.branch())
    result = branch.commit_one_phase()
    assert (result["is"], result["actual"]) == ("done", "committed")
    assert branch.settle()["is"] == "done" and count(player.site) == before + 1


def test_a_one_phase_commit_without_its_session_does_nothing(player):
    branch = player.branch()
    assert branch.commit_one_phase()["is"] == "no"
    assert branch.settle()["is"] == "no"


def test_a_one_phase_commit_that_fails_leaves_no_marker(player):
    branch = player.branch()
    branch.run("insert into child values (-1)")
    result = branch.commit_one_phase()
    assert (result["is"], result.get("sqlstate")) == ("no", "23503"), result
    assert branch.settle()["is"] == "no"
