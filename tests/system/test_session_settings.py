"""What sessions with PostgreSQL depend on: the agent's own set it, the application's are as psql's."""

import contextlib
import json
import signal
import time

import pytest

from harness import Client, wait_until
from played import new_site

# What a branch's session has otherwise than psql's, and why: doc/postgresql.md.
AGENTS_OWN = {"idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0",
              "client_connection_check_interval": "2000", "transaction_timeout": "0",
              "application_name": "assent-agent", "client_encoding": "UTF8"}


@pytest.fixture
def player(site):
    site.sql("create table work (n int)")
    site.sql("grant all on work to shop")
    player = site.play()
    assert player.register()["ok"]
    return player


def set_for(site, role, *settings):
    for setting in settings:
        site.sql(f"alter role {role} in database {site.name} set {setting}")


# ---- the agent's own ----

def test_what_is_decided_is_applied_though_the_server_refuses_writes_by_default(player):
    """As providers have it when a disk is full."""
    site = player.site
    commit, roll_back, later = player.branch(), player.branch(), player.branch()
    for branch in (commit, roll_back, later):
        branch.run("insert into work values (1)")
    xid, other = commit.ready(), roll_back.ready()
    site.sql(f"alter database {site.name} set default_transaction_read_only = on")
    site.terminate("assent")
    wait_until(site.up)
    ends = [commit.commit(xid), roll_back.rollback(other)]
    assert [end and end["is"] for end in ends] == ["done", "done"], site.status()["last_error"]
    assert not site.prepared() and site.sql("select count(*) from work") == [(1,)]
    assert later.commit(later.ready())["is"] == "done"
    with contextlib.closing(site.connect(user="postgres")) as connection:
        connection.cursor().execute("set default_transaction_read_only = off")
        connection.cursor().execute(f"alter database {site.name} reset default_transaction_read_only")


def test_the_agents_own_connections_set_what_they_need_whatever_the_role_has(player):
    site = player.site
    set_for(site, "assent", "synchronous_commit = off", "datestyle = 'SQL, DMY'",
            "statement_timeout = '1s'", "lock_timeout = '1ms'", "role = 'shop'",
            "default_transaction_isolation = serializable", "default_transaction_read_only = on",
            "timezone = 'Asia/Kathmandu'", "search_path = nowhere", "client_min_messages = error",
            "idle_session_timeout = '1s'", "idle_in_transaction_session_timeout = '1s'",
            "standard_conforming_strings = off")
    site.restart()
    assert player.register()["ok"]
    time.sleep(1.2)  # idle for longer than the role may
    branch = player.branch()
    branch.run("insert into work values (1)")
    assert branch.commit(branch.ready())["is"] == "done"
    pids = site.backends("assent")
    assert len(pids) >= 2 and "not, as it has to be" not in site.agent.log_text()
    with contextlib.closing(Client(site.socket, 30)) as client:
        assert client.call("prepared")["prepared"] == []


# ---- the application's ----

def settings(rows):
    """What a session shows, but for what tells of the session itself or of its transaction."""
    own = {"in_hot_standby", "transaction_isolation", "transaction_read_only",
           "transaction_deferrable", "session_authorization"}
    return {name: value for name, value in rows if name not in own}


ALL_SETTINGS = "select name, setting from pg_settings order by name"


def test_a_session_is_what_psql_as_that_role_would_be(player):
    site = player.site
    site.sql(f"alter database {site.name} set datestyle = 'ISO, DMY'")
    set_for(site, "shop", "lock_timeout = '40s'", "statement_timeout = '20s'", "work_mem = '1MB'",
            "idle_in_transaction_session_timeout = '1s'", "search_path = public, pg_catalog")
    with contextlib.closing(site.connect()) as connection:
        connection.set_client_encoding("UTF8")
        cursor = connection.cursor()
        cursor.execute(ALL_SETTINGS)
        as_psql = settings(cursor.fetchall())
    expected = as_psql | {name: value for name, value in AGENTS_OWN.items() if name in as_psql}
    pids = set()
    for _ in range(3):  # the same after DISCARD ALL
        branch = player.branch()
        assert settings(branch.run(ALL_SETTINGS)) == expected
        assert branch.run("select extract(month from $1::date)", "03/04/2026") == [["4"]]
        pids.add(branch.run("select pg_backend_pid()")[0][0])
        branch.run("set lock_timeout = '3s'")
        branch.run("insert into work values (1)")
        branch.rollback()
        wait_until(lambda: site.sql("select 1 from pg_stat_activity where usename = 'shop'"
                                    " and datname = current_database() and query = 'DISCARD ALL'"))
    assert len(pids) == 1


def test_a_branch_may_wait_for_longer_than_its_role_may_idle(player):
    set_for(player.site, "shop", "idle_in_transaction_session_timeout = '300ms'",
            "idle_session_timeout = '300ms'")
    branch = player.branch()
    branch.run("insert into work values (1)")
    time.sleep(0.6)
    assert branch.commit(branch.ready())["is"] == "done"


def test_a_vote_is_no_where_the_grant_has_gone_since_the_session_was_opened(player):
    site = player.site
    site.sql("create role barber login; grant all on work to barber; grant barber to shop")
    try:
        plain, became, reading, free = (player.branch() for _ in range(4))
        plain.run("insert into work values (1)")
        became.run("insert into work values (2)")
        became.run("set role barber")
        reading.run("select 1", access="r", isolation=3)
        free.run("insert into work values (3)")
        site.sql("revoke shop from assent")
        for branch in (plain, became, reading):
            vote = branch.prepare()
            assert (vote["is"], vote["sqlstate"]) == ("no", "42501"), vote
            assert 'GRANT "shop" TO "assent"' in vote["hint"] and '"shop"' in vote["message"]
        assert not site.prepared()
        site.sql("grant shop to assent")
        assert free.commit(free.ready())["is"] == "done"
        assert site.sql("select n from work") == [(3,)]
    finally:
        site.sql("grant shop to assent; drop owned by barber; drop role barber")


@pytest.fixture
def short_lived(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        head, sections = site.conf.read_text().split("[exec shop]")
        site.conf.write_text(f"{head}session_lifetime = 300ms\n[exec shop]{sections}")
        site.start()
        yield site


def test_a_session_is_not_kept_for_longer_than_its_lifetime(short_lived):
    player = short_lived.play()
    assert player.register()["ok"]

    def pid():
        branch = player.branch()
        [[pid]] = branch.run("select pg_backend_pid()")
        branch.rollback()
        return pid
    first = pid()
    wait_until(lambda: int(first) not in short_lived.backends("shop"), 5, "it is closed")
    short_lived.sql("alter role shop nologin")
    try:
        reply = player.branch().exec("select 1")
        assert reply["error"]["code"] == "rm_unavailable"
        assert "not permitted to log in" in reply["error"]["message"]
    finally:
        short_lived.sql("alter role shop login")


def test_sighup_ends_the_sessions_that_are_kept(player):
    site = player.site
    kept, at_work = player.branch(), player.branch()
    kept.run("insert into work values (1)")
    at_work.run("insert into work values (2)")
    kept.rollback()
    set_for(site, "shop", "search_path = elsewhere")
    site.agent.send(signal.SIGHUP)
    wait_until(lambda: len(site.backends("shop")) == 1, 5, "the one that idles is closed")
    assert player.branch().run("show search_path") == [["elsewhere"]]
    assert at_work.commit(at_work.ready())["is"] == "done"
    assert player.branch().run("show search_path") == [["elsewhere"]]


# ---- numbers and bytes ----

NUMBERS = ["19.99", "9007199254740993", "0.1", "-0", "1E5", "123456789012345678901234567890.123456789",
           "1e-300", "5"]


def send_raw(player, branch, sql, params):
    """exec with params that are written as they are given."""
    branch.n += 1
    body = (f'{{"op":"exec","gid":"{branch.gid}","session":"{branch.ticket()}","n":"{branch.n}",'
            f'"sql":"{sql}","x":[1,-2.5,"\\"3"],"params":[{params}]}}')
    return player.client.call_bytes(body.encode())


def test_numbers_are_passed_on_digit_by_digit(player):
    branch = player.branch()
    columns = ", ".join(f"${n}::text" for n in range(1, len(NUMBERS) + 1))
    reply = send_raw(player, branch, f"select {columns}", ", ".join(NUMBERS))
    assert reply["ok"] and reply["rows"] == [NUMBERS]
    reply = send_raw(player, branch, "select $1::numeric, $2::text, $3::bigint",
                     '19.99, "1, \\"2", 9007199254740993')
    assert reply["rows"] == [["19.99", '1, "2', "9007199254740993"]]
    assert branch.run("select $1::bigint", 9007199254740993) == [["9007199254740993"]]
    reply = send_raw(player, branch, "select $1::numeric", "1" * 64)
    assert reply["error"]["code"] == "invalid_request" and "as a text" in reply["error"]["message"]
    branch.rollback()


def test_a_session_may_change_its_encoding_and_replies_stay_readable(player):
    branch = player.branch()
    player.site.sql("create table said (what text)")
    player.site.sql("grant all on said to shop")
    branch.run("set client_encoding = 'LATIN1'")
    branch.run("insert into said values ('é'), ($1)", "ü€")
    assert branch.run("select what from said") == [["é"], ["ü€"]]
    reply = branch.exec("select set_config('client_encoding', 'LATIN1', false), 'é'")
    assert reply["error"]["code"] == "result_encoding"
    assert branch.exec("do $$ begin set local client_encoding = 'LATIN1'; raise 'é'; end $$"
                       )["error"]["sqlstate"] == "P0001"
    branch.rollback()


def test_bytes_that_are_no_text_spoil_no_batch(player):
    branch, other = player.branch(), player.branch()
    requests = [{"op": "exec", "gid": each.gid, "session": each.ticket(), "n": "1", "sql": sql}
                for each, sql in ((branch, "select set_config('client_encoding', 'LATIN1', false), 'é'"),
                                  (other, "select 1"))]
    replies = player.client.call_bytes(json.dumps({"batch": requests}).encode())["batch"]
    assert replies[0]["error"]["code"] == "result_encoding"
    assert replies[1]["rows"] == [["1"]]
    branch.n = 1
    assert branch.run("select 'é'") == [["é"]]
