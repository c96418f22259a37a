"""What is otherwise in PostgreSQL 16 and 17, against 17 where its programs are (scripts/postgresql-17)."""

import contextlib
import signal
import subprocess
import time

import pytest

import harness
from harness import Client, wait_until
from played import new_server, new_site
from test_agent_check import findings, found
from test_session_settings import (  # they are run against the servers of this module
    player, set_for, test_a_session_is_what_psql_as_that_role_would_be,
    test_a_vote_is_no_where_the_grant_has_gone_since_the_session_was_opened,
    test_the_agents_own_connections_set_what_they_need_whatever_the_role_has)

__all__ = ["player", "test_a_session_is_what_psql_as_that_role_would_be",
           "test_a_vote_is_no_where_the_grant_has_gone_since_the_session_was_opened",
           "test_the_agents_own_connections_set_what_they_need_whatever_the_role_has"]

TEMPLATE = "template17"

if not (harness.POSTGRES_17_BIN / "postgres").exists():
    pytest.skip("PostgreSQL 17: no programs (scripts/postgresql-17)", allow_module_level=True)


@pytest.fixture(scope="module")
def server_17(run_folder):
    harness.Postgres.make_template(run_folder / TEMPLATE, harness.POSTGRES_17_BIN)
    return lambda *settings: new_server(run_folder, *settings, template=TEMPLATE,
                                        programs=harness.POSTGRES_17_BIN)


@pytest.fixture(scope="module")
def servers(server_17):
    """Both databases of a bank are on it."""
    with server_17() as server:
        yield [server, server]


def test_a_transfer_is_committed_on_both(bank):
    gtrid = bank.ctl.begin()
    for rm, sign in (("accounts", "-"), ("ledger", "+")):
        bank.ctl("exec", gtrid, rm, f"update account set balance = balance {sign} 30 where id = 1",
                 code=0)
    assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert bank.balances() == (70, 130) and bank.nothing_prepared()
    assert bank.accounts.sql("show server_version")[0][0].startswith("17")


def test_a_member_that_may_not_set_role_votes_no_and_names_the_grant_that_helps(player):
    site = player.site
    site.sql("create role barber login; grant all on work to barber; grant barber to assent with set false")
    try:
        branch = player.branch()
        branch.prepare_own("insert into work values (1)", "barber")
        vote = branch.prepare()
        assert (vote["is"], vote["sqlstate"]) == ("no", "42501")
        assert vote["hint"] == 'GRANT "barber" TO "assent" WITH INHERIT TRUE, SET TRUE'
        site.sql(vote["hint"])
        assert branch.rollback()["is"] == "done" and not site.prepared()
    finally:
        site.sql("drop owned by barber; drop role barber")


def test_a_session_of_a_role_that_may_not_be_set_votes_no(player):
    site = player.site
    branch, later = player.branch(), player.branch()
    branch.run("insert into work values (1)")
    later.run("insert into work values (2)")
    site.sql("grant shop to assent with set false")
    try:
        assert found(site, "error", '"assent" may not finish what "shop" prepares') == (
            'GRANT "shop" TO "assent" WITH INHERIT TRUE, SET TRUE')
        vote = branch.prepare()
        assert (vote["is"], vote["sqlstate"]) == ("no", "42501") and not site.prepared()
        site.install_schema()  # which grants what is missing
        assert later.commit(later.ready())["is"] == "done"
    finally:
        site.sql("grant shop to assent with inherit true, set true")


def test_a_grant_that_is_not_inherited_is_found_by_check_and_mended_by_install(player):
    site = player.site
    site.sql("grant shop to assent with inherit false")
    try:
        assert "INHERIT TRUE, SET TRUE" in found(site, "error", '"assent" may not finish what "shop"')
        site.agent.send(signal.SIGHUP)  # sessions that are kept were seen before
        site.install_schema()
        assert not found(site, "error", '"assent" may not finish')
        branch = player.branch()
        branch.run("insert into work values (1)")
        assert branch.commit(branch.ready())["is"] == "done"
    finally:
        site.sql("grant shop to assent with inherit true, set true")


def test_transaction_timeout_ends_neither_a_branch_nor_the_agents_own_work(player):
    site = player.site
    for role in ("assent", "shop"):
        set_for(site, role, "transaction_timeout = '300ms'")
    site.restart()
    assert player.register()["ok"]
    branch, reading = player.branch(), player.branch()
    branch.run("insert into work values (1)")
    reading.run("select 1", access="r")
    time.sleep(0.6)
    assert branch.run("show transaction_timeout") == [["0"]]
    assert reading.prepare()["is"] == "read-only"
    assert branch.commit(branch.ready())["is"] == "done"
    with contextlib.closing(Client(site.socket, 30)) as client:
        assert client.call("prepared")["prepared"] == []


def test_check_knows_a_subscriber_from_a_standby_and_counts_reserved_connections(server_17, run_folder):
    with (server_17("fsync = on", "wal_level = logical", "reserved_connections = 30",
                    "max_connections = 120") as server,
          server_17("wal_level = logical") as other, new_site(run_folder, server) as site):
        site.start()
        site.sql("create table work (n int)")
        site.sql("create publication news for table work")
        with contextlib.closing(other.connect("postgres")) as connection:
            cursor = connection.cursor()
            cursor.execute("create table work (n int)")
            cursor.execute("create subscription news connection"
                           f" '{server.conninfo(site.name)}' publication news")
            wait_until(lambda: site.sql("select 1 from pg_stat_replication"))
            said = [what for _, what, _ in findings(site)]
            cursor.execute("drop subscription news")
        # 64 sessions, 16 that finish branches and one more fit into 120 without 3 and 30.
        assert said == [], said
        site.sql("alter system set reserved_connections = 37")
        server.stop()
        site.server_is_back()
        assert "max_connections = 121" in found(
            site, "warning", "max_connections leaves room for 80 connections")


def test_a_role_that_may_create_roles_installs_without_being_a_superuser(server_17, run_folder):
    with server_17() as server, contextlib.closing(server.connect("postgres")) as admin:
        cursor = admin.cursor()
        cursor.execute("create role dba login createrole")
        cursor.execute("alter role dba set createrole_self_grant = 'set, inherit'")
        cursor.execute("grant shop to dba with admin option")
        cursor.execute("create database ours owner dba")
        conf = run_folder / "ours.ini"
        conf.write_text(f"[agent]\nrm = accounts\nlisten = ipc://{run_folder}/ours.sock\n"
                        f"conninfo = {server.conninfo('ours', 'assent')}\n"
                        f"[exec shop]\nconninfo = {server.conninfo('ours', 'shop')}\n")
        for _ in range(2):
            done = subprocess.run([harness.program("assent-agent"), "-c", conf, "--install-schema",
                                   "--conninfo", server.conninfo("ours", "dba")],
                                  capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        with contextlib.closing(server.connect("ours")) as connection:
            cursor = connection.cursor()
            cursor.execute("select pg_has_role('assent', 'shop', 'SET'), pg_has_role('assent', 'shop', 'USAGE')")
            assert cursor.fetchone() == (True, True)
