"""An agent's own socket: several requests in one message, and a configuration read again."""

import contextlib
import json
import signal

import pytest

from harness import Client, wait_until
from played import new_site


@pytest.fixture
def site(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql("create table work (n int); grant all on work to shop")
        site.start()
        yield site


@pytest.fixture
def player(site):
    player = site.play()
    assert player.register()["ok"]
    return player


# ---- batch ----

def batch(site, *requests):
    with contextlib.closing(Client(site.socket, 30)) as client:
        answer = client.call_bytes(json.dumps({"batch": requests}).encode())
    assert len(answer["batch"]) == len(requests), answer
    return answer["batch"]


def statement(branch, sql, *params):
    branch.n += 1
    return {"op": "exec", "gid": branch.gid, "session": branch.ticket(), "n": str(branch.n),
            "sql": sql, "params": params}


def test_statements_of_one_branch_travel_together_and_run_in_their_order(site, player):
    branch = player.branch()
    replies = batch(site, statement(branch, "insert into work values ($1)", 1),
                    statement(branch, "update work set n = n + $1", 1),
                    statement(branch, "select n from work"))
    assert [reply["command"] for reply in replies] == ["INSERT 0 1", "UPDATE 1", "SELECT 1"]
    assert replies[2]["rows"] == [["2"]]
    assert branch.commit(branch.ready())["is"] == "done"


def test_requests_of_all_kinds_travel_together(site, player):
    one, other = player.branch(), player.branch("other")
    replies = batch(site, {"op": "status"}, statement(one, "select 1"), {"op": "levitate"}, 17,
                    statement(other, "select 2"), {"op": "prepared"}, {"op": "check"})
    assert [reply["ok"] for reply in replies] == [True, True, False, False, True, True, True]
    assert [reply["error"]["code"] for reply in replies if not reply["ok"]] == [
        "unknown_operation", "invalid_request"]
    for branch in (one, other):
        assert branch.rollback()["is"] == "done"


def test_a_statement_that_fails_fails_those_behind_it_in_its_branch_alone(site, player):
    one, other = player.branch(), player.branch("other")
    replies = batch(site, statement(one, "select 1 / 0"), statement(one, "select 1"),
                    statement(other, "select 1"))
    assert [reply.get("error", {}).get("sqlstate") for reply in replies] == ["22012", "25P02", None]
    assert one.prepare()["sqlstate"] == "22012"
    other.ready()
    for branch in (one, other):
        assert branch.rollback()["is"] == "done"


def test_a_batch_sent_again_runs_once(site, player):
    branch = player.branch()
    request = statement(branch, "insert into work values (1)")
    assert batch(site, request, request)[0] == batch(site, request)[0]
    assert branch.run("select count(*) from work") == [["1"]]
    assert branch.rollback()["is"] == "done"


def test_replies_that_do_not_fit_together_are_told_and_the_rest_is_served(site, player):
    branch = player.branch()
    long = "select repeat('x', 600000)"
    replies = batch(site, statement(branch, long), statement(branch, long),
                    statement(branch, "select 3"))
    assert [reply.get("error", {}).get("code") for reply in replies] == [
        None, "result_too_large", None]
    assert branch.rollback()["is"] == "done"


@pytest.mark.parametrize("requests", [[], [{"op": "status"}] * 65, {"op": "status"}, None, "status"])
def test_a_batch_that_is_none_is_refused(site, requests):
    with contextlib.closing(Client(site.socket, 30)) as client:
        answer = client.call_bytes(json.dumps({"batch": requests}).encode())
        assert answer["error"]["code"] == "invalid_request" and "batch" in answer["error"]["message"]
        assert len(client.call_bytes(json.dumps({"batch": [{"op": "status"}] * 64}).encode())["batch"]) == 64


def test_what_coordinators_ask_is_not_served_in_a_batch(site, player):
    [reply] = batch(site, {"op": "results", **player.sender(), "wait_ms": 0})
    assert reply["error"]["code"] == "invalid_request" and "batch" in reply["error"]["message"]


# ---- SIGHUP ----

def reload(site, change, says="the configuration was read again"):
    """Change the file, send SIGHUP, and wait for the line that says what became of it."""
    site.conf.write_text(change(site.conf.read_text()))
    before = site.agent.log_text().count(says)
    site.agent.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: site.agent.log_text().count(says) > before, what=says)


def test_sizes_change_while_it_runs(site, player):
    reload(site, lambda text: text.replace("[agent]\n", "[agent]\nmax_sessions = 1\npool_size = 1\n"))
    one, other = player.branch(), player.branch("other")
    one.run("select 1")
    assert other.exec("select 1")["error"]["code"] == "busy"
    reload(site, lambda text: text.replace("max_sessions = 1\n", "max_sessions = 2\n"))
    other.n = 0
    other.run("select 1")
    for branch in (one, other):
        assert branch.commit(branch.ready())["is"] == "done"


def test_the_pool_shrinks_to_its_new_size(site, player):
    branches = [player.branch() for _ in range(8)]
    for branch in branches:
        branch.run("insert into work values (1)")
        branch.xid = branch.ready()
    for branch in branches:
        branch.order_commit(branch.xid)
    for branch in branches:
        assert branch.end()["is"] == "done"
    reload(site, lambda text: text.replace("[agent]\n", "[agent]\npool_size = 1\n"))
    wait_until(lambda: len(site.backends("assent")) == 2, what="the control connection and one more")
    branch = player.branch()
    branch.run("insert into work values (1)")
    assert branch.commit(branch.ready())["is"] == "done"


def test_roles_come_and_go(site, player):
    site.sql("create role clerk login; grant clerk to assent; grant all on work to clerk;"
             " grant usage on schema assent to clerk;"
             " grant execute on function assent.mark(text, text) to clerk")
    try:
        begun = player.branch()
        begun.run("insert into work values (1)")
        clerk = site.server.conninfo(site.name, "clerk")
        reload(site, lambda text: text[:text.index("[exec shop]")] + f"[exec clerk]\nconninfo = {clerk}\n")
        branch = player.branch()
        assert branch.run("select session_user", role="clerk") == [["clerk"]]
        gone = player.branch()
        assert "[exec shop]" in gone.exec("select 1")["error"]["message"]
        assert begun.commit(begun.ready())["is"] == "done", "what had begun goes on"
        wait_until(lambda: not site.backends("shop"), what="its connections are closed")
        assert branch.commit(branch.ready())["is"] == "done"
    finally:
        site.agent.stop()
        site.sql("drop owned by clerk; drop role clerk")


def test_a_new_conninfo_is_used_for_the_next_connections(site):
    reload(site, lambda text: text.replace("user=assent", "user=assent application_name=renamed", 1))
    site.terminate("assent")
    wait_until(lambda: site.sql("select count(*) from pg_stat_activity where usename = 'assent'"
                                " and application_name = 'renamed'") != [(0,)])
    wait_until(site.up)


@pytest.mark.parametrize("key, change", [
    ("rm", lambda text: text.replace("rm = accounts", "rm = ledger")),
    ("listen", lambda text: text.replace(".sock", ".other")),
    ("socket_mode", lambda text: text.replace("[agent]\n", "[agent]\nsocket_mode = 0666\n")),
    ("socket_group", lambda text: text.replace("[agent]\n", "[agent]\nsocket_group = nobody\n")),
    ("peer_url", lambda text: text.replace("[agent]\n", "[agent]\npeer_url = ipc:///other\n")),
    ("max_branches", lambda text: text.replace("[agent]\n", "[agent]\nmax_branches = 77\n")),
    ("state_file", lambda text: text.replace("[agent]\n", "[agent]\nstate_file = /nowhere/s\n")),
    ("witness", lambda text: text[:text.index("[exec shop]")] + "witness = yes\n"),
    ("termination_timeout",
     lambda text: text.replace("[agent]\n", "[agent]\ntermination_timeout = 9s\n")),
])
def test_what_needs_a_restart_is_refused_with_all_the_rest(site, player, key, change):
    reload(site, lambda text: change(text).replace("[agent]\n", "[agent]\nmax_sessions = 1\n"),
           f"{key} in [agent] can only be changed by a restart")
    for name in ("one", "other"):
        branch = player.branch(name)
        branch.run("select 1")
        branch.order("rollback", xid="0")


def test_a_file_that_is_wrong_changes_nothing(site, player):
    reload(site, lambda text: text.replace("[agent]\n", "[agent]\ncolour = blue\nmax_sessions = 1\n"),
           f"{site.conf}:2")
    assert "the configuration stays as it was" in site.agent.log_text()
    reload(site, lambda text: "", "the configuration stays as it was")
    for name in ("one", "other"):
        player.branch(name).run("select 1")
    assert site.agent.running()
