"""What its own database refuses an agent: it says so, changes nothing, and goes on when it may again.

A DBA takes a grant away, or gives the agent less than it has; what has been promised waits.
"""

import contextlib
import os
import subprocess

import pytest

from harness import program, wait_until
from played import new_site


@pytest.fixture
def site(run_folder, servers):
    """One connection finishes all that is prepared: what comes together travels together."""
    with new_site(run_folder, servers[0]) as site:
        site.conf.write_text(site.conf.read_text().replace("[agent]\n", "[agent]\npool_size = 1\n"))
        site.sql("create table work (n int); grant all on work to shop")
        site.start()
        yield site


@pytest.fixture
def player(site):
    player = site.play()
    assert player.register()["ok"]
    return player


REGISTER = "execute on functions that register"


@contextlib.contextmanager
def taken_away(site, right):
    """While this lasts the agent's role has this right no more."""
    if right == REGISTER:
        right = "execute on function " + site.sql(
            "select string_agg(oid::regprocedure::text, ', ') from pg_proc"
            " where pronamespace = 'assent'::regnamespace and proname in ('register', 'enroll')")[0][0]
    site.sql(f"revoke {right} from assent")
    try:
        yield
    finally:
        site.sql(f"grant {right} to assent")


def offer(player, **changes):
    return player.call("register", **{
        "tm": player.name, "log": player.log, "incarnation": str(player.incarnation),
        "instance": player.instance, "recovered_lsn": "0", "secret": player.secret.hex(),
        "ancestors": [], "wire_least": 1, "wire_most": 1, **changes})


# ---- registration ----

@pytest.mark.parametrize("right", [
    "select on assent.tm", REGISTER, "update on sequence assent.beat_bank"])
def test_a_registration_that_cannot_be_stored_is_to_be_tried_again(site, player, right):
    with taken_away(site, right):
        answer = offer(player)
        assert answer["error"]["code"] == "rm_unavailable" and answer["error"]["retryable"]
        assert "could not be stored: permission denied" in answer["error"]["message"]
    assert offer(player)["ok"]


def test_a_later_start_that_could_not_be_stored_is_not_obeyed(site, player):
    later = {"incarnation": "2", "instance": os.urandom(16).hex(), "recovered_lsn": "9000",
             "ancestors": [{"incarnation": "1", "instance": player.instance}]}
    with taken_away(site, REGISTER):
        assert not offer(player, **later)["ok"]
    # The one that is stored is heard as before.
    branch = player.branch()
    branch.prepare_own("insert into work values (1)")
    assert branch.commit(branch.ready())["is"] == "done"
    assert offer(player, **later)["ok"]


# ---- a log that is given up ----

def adopt(player, **changes):
    return player.call("adopt", **{
        "tm": "bank", "from": player.log, "log": os.urandom(16).hex(), "incarnation": "2",
        "instance": os.urandom(16).hex(), **changes})


def is_followed(site, player):
    [log, incarnation] = site.sql("select log, incarnation from assent.tm where name = 'bank'")[0]
    assert (log.replace("-", ""), incarnation) == (player.log, player.incarnation)
    assert offer(player)["ok"]


def test_a_log_that_another_than_the_lost_one_replaced_is_not_given_up(site, player):
    """Of two people who recover at once, one comes too late."""
    error = adopt(player, **{"from": os.urandom(16).hex()})["error"]
    assert error["code"] == "rm_refused" and "follows another log than the one" in error["message"]
    is_followed(site, player)


def test_a_log_with_as_late_a_start_is_not_given_up(site, player):
    error = adopt(player, incarnation="1")["error"]
    assert error["code"] == "rm_refused" and "as late a start" in error["message"]
    is_followed(site, player)


def test_what_follows_no_log_or_the_new_one_has_nothing_to_adopt(site, player):
    assert adopt(player, tm="nobody") == {"ok": True, "adopted": False}
    assert adopt(player, log=player.log) == {"ok": True, "adopted": False}
    is_followed(site, player)


@pytest.mark.parametrize("right", ["select on assent.tm", REGISTER])
def test_a_log_is_not_given_up_where_that_cannot_be_stored(site, player, right):
    with taken_away(site, right):
        error = adopt(player)["error"]
        assert error["code"] == "rm_unavailable" and "permission denied" in error["message"]
    is_followed(site, player)


@pytest.mark.parametrize("field, value", [
    ("log", "5d1f"), ("incarnation", "-1"), ("instance", 17), ("tm", "No Name"), ("from", None)])
def test_an_adoption_that_says_too_little_is_refused(site, player, field, value):
    error = adopt(player, **{field: value})["error"]
    assert error["code"] == "invalid_request" and field in error["message"]


# ---- what is prepared ----

def prepared(player, count):
    branches = [player.branch() for _ in range(count)]
    for n, branch in enumerate(branches):
        branch.prepare_own(f"insert into work values ({n})")
    return branches, [branch.ready() for branch in branches]


def order_commits(player, branches, xids):
    player.lsn += 1
    player.order(*({"do": "commit", "gid": branch.gid, "xid": xid, "lsn": str(player.lsn)}
                   for branch, xid in zip(branches, xids)))


def ends(branches):
    return [branch.end()["is"] for branch in branches]


def rows(site):
    return site.sql("select count(*) from work")[0][0]


def test_one_that_is_gone_does_not_hold_up_those_that_travel_with_it(site, player):
    """All of the trip is refused, since they were looked for together; then each goes alone."""
    branches, xids = prepared(player, 6)
    site.sql(f"rollback prepared '{branches[2].gid}'")
    order_commits(player, branches, xids)
    assert ends(branches) == ["done", "done", "heuristic", "done", "done", "done"]
    assert rows(site) == 5 and not site.prepared()


def test_a_grant_that_is_missing_holds_up_all_that_travel_together(site, player):
    branches, xids = prepared(player, 4)
    site.sql("revoke shop from assent")
    try:
        order_commits(player, branches, xids)
        wait_until(lambda: 'GRANT "shop" TO "assent"' in (site.status()["last_error"] or ""))
        assert len(site.prepared()) == 4 and rows(site) == 0
    finally:
        site.sql("grant shop to assent")
    order_commits(player, branches, xids)
    assert ends(branches) == ["done"] * 4
    assert rows(site) == 4 and not site.prepared()


def test_a_position_that_cannot_be_raised_holds_up_the_commit(site, player):
    """An old log would be known by it: nothing is committed that it does not stand for."""
    branches, xids = prepared(player, 3)
    with taken_away(site, "update on sequence assent.position_bank"):
        order_commits(player, branches, xids)
        wait_until(lambda: "position_bank" in (site.status()["last_error"] or ""))
        assert len(site.prepared()) == 3 and rows(site) == 0
    order_commits(player, branches, xids)
    assert ends(branches) == ["done"] * 3
    assert rows(site) == 3


def test_a_beat_that_cannot_be_raised_holds_up_the_vote(site, player):
    """Who says that he is ready proves by it how far his database's history goes."""
    branch = player.branch()
    branch.prepare_own("insert into work values (1)")
    with taken_away(site, "update on sequence assent.beat_bank"):
        branch.order_prepare()
        assert branch.vote(1) is None
        assert "beat_bank" in site.status()["last_error"]
    assert branch.commit(branch.ready())["is"] == "done"


# ---- starts ----

STEPS = [("select on assent.version", "read assent.version"),
         ("insert on assent.session", "enter my connection in assent.session"),
         ("update on assent.agent", "raise the agent's incarnation"),
         ("select on assent.session", "end the connections of my predecessor"),
         ("delete on assent.session", "clean assent.session"),
         ("select on assent.tm", "read assent.tm"),
         ("select on assent.peer", "read assent.peer")]


@pytest.fixture(scope="module")
def quiet_site(run_folder, servers):
    """Its agent is started by the tests, each of which leaves it as it was."""
    with new_site(run_folder, servers[0]) as site:
        yield site


@pytest.mark.parametrize("right, step", STEPS)
def test_a_start_that_is_not_allowed_a_step_ends_and_names_it(quiet_site, right, step):
    with taken_away(quiet_site, right):
        quiet_site.agent.start()
        assert quiet_site.agent.wait(20) == 1
    last = quiet_site.agent.log_text().splitlines()[-1]
    assert "ERROR" in last and step in last and "42501" in last


def test_an_agent_that_had_been_right_waits_until_it_is_again(quiet_site):
    """What a start refuses is an accident later: it tries again, and ends nothing."""
    quiet_site.start()
    for right in ("select on assent.version", "insert on assent.session", "select on assent.tm"):
        table = right.split()[-1].removeprefix("assent.")
        with taken_away(quiet_site, right):
            quiet_site.terminate("assent")
            wait_until(lambda: f"denied for table {table}" in (quiet_site.status()["last_error"] or ""))
            assert not quiet_site.up()
        wait_until(quiet_site.up, 15, "it may again")
    assert quiet_site.agent.stop() == 0


def test_an_agent_at_another_resource_managers_database_ends(quiet_site):
    quiet_site.start()
    assert quiet_site.agent.stop() == 0
    conf = quiet_site.conf.read_text()
    quiet_site.conf.write_text(conf.replace("rm = accounts", "rm = stock"))
    try:
        quiet_site.agent.start()
        assert quiet_site.agent.wait(20) == 1
        assert "belongs to another resource manager than stock" in quiet_site.agent.log_text()
    finally:
        quiet_site.conf.write_text(conf)


# ---- three-phase commit, without its table ----

def order_3pc_prepare(player, branch):
    branch.order("prepare", agent=branch.enlisted_with, timeout_ms=10000,
                 acceptors={"tm": True, "agents": ["accounts"]})


def test_an_acceptor_that_may_not_write_its_row_says_nothing(site, player):
    """A vote that is on no disk would be forgotten: neither yes nor no is said, and it is tried again."""
    branch = player.branch()
    branch.prepare_own("insert into work values (1)")
    with taken_away(site, "select, insert, update on assent.acceptor"):
        order_3pc_prepare(player, branch)
        vote = branch.vote(1)
        assert vote is None or vote["is"] == "no"
        answer = player.call("outcome", gtrid=branch.gtrid)
        assert answer["error"]["code"] == "rm_unavailable"
    if vote is None:
        order_3pc_prepare(player, branch)
        assert branch.vote()["is"] == "ready"
    assert branch.rollback()["is"] == "done" and not site.prepared()


# ---- what an administrator may not ----

def test_a_schema_is_installed_by_who_may(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        def install(conninfo):
            return subprocess.run([program("assent-agent"), "-c", site.conf, "--install-schema",
                                   "--conninfo", conninfo], capture_output=True, text=True)
        refused = install(servers[0].conninfo(site.name, "shop"))
        assert refused.returncode == 1 and "error:" in refused.stderr
        refused = install("host=/nowhere dbname=x")
        assert refused.returncode == 1 and "connect as administrator" in refused.stderr


def test_a_listing_that_its_database_refuses_is_no_empty_list(site, player):
    with taken_away(site, "select on assent.tm"):
        answer = player.call("recall", tm="bank", gtrids=["bank.1.1"])
        assert answer["ok"] or answer["error"]["code"] == "rm_unavailable"
    with taken_away(site, "select, insert, update on assent.acceptor"):
        answer = player.call("recall", tm="bank", gtrids=["bank.1.1"])
        assert answer["error"]["code"] == "rm_unavailable"


# ---- sessions ----

def test_a_session_that_cannot_be_entered_runs_nothing(site, player):
    """Its backend could not be ended by a later start of the agent."""
    with taken_away(site, "insert on assent.session"):
        branch = player.branch()
        assert not branch.exec("insert into work values (1)")["ok"]
    assert branch.rollback()["is"] == "done"
    assert rows(site) == 0
