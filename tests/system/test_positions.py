"""The log position that a database remembers: by it an old log of a coordinator is known.

It must be on the disk before what it stands for, and never fall, however many connections raise it.
"""

import contextlib
import os

import psycopg2
import pytest

from harness import wait_until
from played import new_server, new_site


@pytest.fixture
def server(run_folder):
    with new_server(run_folder) as server:
        yield server


def position(site):
    return int(site.sql("select assent.last('position', 'bank')")[0][0])


def prepared(player, account, user="shop"):
    """A branch that is ready, and its xid."""
    branch = player.branch()
    branch.prepare_own(f"update account set balance = 2 where id = {account}", user)
    return branch, branch.ready()


def test_a_commit_leaves_its_position_and_a_rollback_none(site):
    player = site.play()
    player.register()
    first, xid = prepared(player, 1)
    first.order("commit", xid=xid, lsn="4711")
    assert first.end()["is"] == "done"
    assert position(site) == 4711
    second, xid = prepared(player, 2)
    assert second.rollback(xid)["is"] == "done"
    assert position(site) == 4711


def test_it_is_on_the_disk_with_the_commit(run_folder, server):
    with new_site(run_folder, server) as site:
        site.start()
        player = site.play()
        player.register()
        branch, xid = prepared(player, 1)
        branch.order("commit", xid=xid, lsn="4711")
        assert branch.end()["is"] == "done"
        server.crash()
        server.start()
        assert position(site) == 4711
        assert not site.prepared()


def test_it_is_never_lowered(site):
    """Another connection of the agent may have been faster with a later one."""
    player = site.play()
    player.register()
    site.sql("select setval('assent.position_bank', 9000)")
    branch, xid = prepared(player, 1)
    branch.order("commit", xid=xid, lsn="4711")
    assert branch.end()["is"] == "done"
    assert position(site) == 9000


def test_many_commits_at_once_leave_the_highest(site):
    """For two owners, so by several connections, in whatever order these come.

    The agent puts more of them into a trip once it knows how long one takes.
    """
    player = site.play()
    player.register()
    highest = 0
    for _ in range(4):
        branches = [prepared(player, n, ("shop", "assent")[n % 2]) for n in range(1, 31)]
        lsns = [highest - 50 + 100 * (n % 7) + n for n in range(1, 31)]
        player.order(*({"do": "commit", "gid": branch.gid, "xid": xid, "lsn": str(max(lsn, 1))}
                       for (branch, xid), lsn in zip(branches, lsns)))
        for branch, _ in branches:
            assert branch.end()["is"] == "done"
        highest = max(lsns)
        assert position(site) == highest


@contextlib.contextmanager
def a_commit_held_back(site, player):
    """Somebody else's transaction has the agent's row, and COMMIT PREPARED is behind it."""
    branch, xid = prepared(player, 1)
    with contextlib.closing(site.connect(autocommit=False, user="postgres")) as connection:
        connection.cursor().execute("select from assent.agent for update")
        branch.order("commit", xid=xid, lsn="4711")
        wait_until(lambda: site.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock'"
                                    " and usename = 'assent'"), 10, "the agent waits")
        yield branch


def test_who_raises_it_waits_for_who_does(site):
    player = site.play()
    player.register()
    with a_commit_held_back(site, player) as branch:
        assert site.prepared()
    assert branch.end()["is"] == "done"
    assert position(site) == 4711


def test_a_log_is_not_given_up_while_its_position_may_still_be_raised(site):
    """The new log begins at 0: what came behind that would shut it out."""
    player = site.play()
    player.register()
    adoption = {"tm": "bank", "from": player.log, "log": os.urandom(16).hex(),
                "incarnation": "2", "instance": os.urandom(16).hex()}
    with a_commit_held_back(site, player) as branch:
        refused = player.call("adopt", **adoption)["error"]
        assert refused["code"] == "busy" and "try again" in refused["message"]
    assert branch.end()["is"] == "done"
    assert player.call("adopt", **adoption)["adopted"]
    assert position(site) == 0


def test_an_application_cannot_hold_it(site):
    with contextlib.closing(site.connect()) as connection:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            connection.cursor().execute("select from assent.agent for key share")
