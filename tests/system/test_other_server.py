"""The server behind the agent becomes another: a standby, a new timeline, an old copy."""

import contextlib
import os
import shutil

import psycopg2
import pytest

import harness
from harness import give_to_postgres, wait_until
from played import new_server, new_site, numbers
from standby import fail_over, standby_of, stop_following


@pytest.fixture
def primary(run_folder, servers):
    with new_server(run_folder) as server:
        yield server


def follow_both(site, primary, standby):
    """A conninfo with two hosts, as it is written for a cluster that switches over."""
    text = site.conf.read_text()
    site.conf.write_text(text.replace(f"host={primary.folder}",
                                      f"host={primary.folder},{standby.folder}"))


def catch_up(primary, standby):
    """Until the standby has all that the primary has written so far."""
    with contextlib.closing(primary.connect("postgres")) as connection:
        cursor = connection.cursor()
        cursor.execute("select pg_current_wal_lsn()")
        [lsn] = cursor.fetchone()
    with contextlib.closing(standby.connect("postgres")) as connection:
        cursor = connection.cursor()

        def caught_up():
            cursor.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,))
            return cursor.fetchone()[0]
        wait_until(caught_up)


def promote(site, primary, standby):
    fail_over(primary, standby)
    site.server = standby


def test_a_standby_is_waited_for_until_it_is_promoted(primary, run_folder):
    with new_site(run_folder, primary) as site, standby_of(primary, run_folder) as standby:
        text = site.conf.read_text()
        site.conf.write_text(text.replace(f"host={primary.folder}", f"host={standby.folder}"))
        site.agent.start()
        wait_until(lambda: "hot standby" in site.agent.log_text())
        assert site.status()["state"] == "starting"
        with contextlib.closing(standby.connect("postgres")) as connection:
            with pytest.raises(psycopg2.Error) as refused:
                connection.cursor().execute("commit prepared 'x'")
            assert refused.value.pgcode == "25006"
        catch_up(primary, standby)
        promote(site, primary, standby)
        wait_until(site.up)
        player = site.play()
        answer = player.register()
        assert answer["ok"] and answer["timeline"] == 2


def test_a_switchover_with_nothing_lost_is_followed(primary, run_folder):
    """The beat is in order, so each promise holds on the new timeline."""
    with new_site(run_folder, primary) as site, standby_of(primary, run_folder) as standby:
        follow_both(site, primary, standby)
        site.start()
        player = site.play()
        assert player.register()["ok"]
        voted, open_one = player.branch(), player.branch()
        for account, branch in ((100, voted), (101, open_one)):
            branch.run("insert into account values ($1, 1)", account)
        xid = voted.ready()
        catch_up(primary, standby)
        promote(site, primary, standby)
        wait_until(site.up, 20)
        assert player.register()["ok"]
        assert voted.commit(xid)["is"] == "done"
        assert open_one.prepare()["is"] == "no"
        assert "timeline 2" in site.agent.log_text()


def open_files(process):
    return len(os.listdir(f"/proc/{process.popen.pid}/fd"))


def test_after_a_failover_that_lost_data_the_agent_starts_over_and_the_beat_shows_it(primary, run_folder):
    with new_site(run_folder, primary) as site, standby_of(primary, run_folder) as standby:
        follow_both(site, primary, standby)
        site.start()
        player = site.play()
        assert player.register()["ok"]
        stop_following(standby)
        branch = player.branch()
        branch.run("insert into account values (100, 1)")
        branch.ready()
        before = int(site.sql("select assent.last('beat', 'bank')")[0][0])
        descriptors = open_files(site.agent)
        promote(site, primary, standby)
        wait_until(lambda: "the agent starts over" in site.agent.log_text(), 20)
        assert "lost durable data" in site.agent.log_text()
        wait_until(lambda: site.up() and int(site.status()["incarnation"]) > int(player.agent), 20)
        # A connection may just be opened or closed; what is left behind would be all of them.
        wait_until(lambda: open_files(site.agent) <= descriptors + 2, 20,
                   "nothing of the old start is left")
        assert branch.exec("select 1")["error"]["code"] == "branch_lost"
        # By this a coordinator knows, and asks it for no evidence: a lost xid is given out again.
        assert int(player.register()["beat"]) < before


def test_a_failover_that_lost_a_coordinators_registration_shows_it(primary, run_folder):
    """There is no beat in the new primary to compare with: none is less than any."""
    with new_site(run_folder, primary) as site, standby_of(primary, run_folder) as standby:
        follow_both(site, primary, standby)
        site.start()
        catch_up(primary, standby)
        stop_following(standby)
        player = site.play()
        assert player.register()["ok"]
        promote(site, primary, standby)
        wait_until(lambda: "the agent starts over" in site.agent.log_text(), 20)
        assert "lost durable data: beat 0 of bank" in site.agent.log_text()
        wait_until(site.up, 20)
        assert player.register()["ok"]


def test_a_database_restored_from_a_copy_is_quarantined(run_folder, servers):
    """Its log remembers a later beat than the copy holds; the agent finds out by itself."""
    with new_server(run_folder) as server:
        folder = run_folder / f"restored{next(numbers)}"
        folder.mkdir()
        bank = harness.Bank([server, servers[1]], folder, folder.name)
        try:
            bank.start()
            bank.ctl("commit", bank.begin_move(1), code=0)
            bank.accounts.agent.stop()
            server.stop()
            copy = folder / "copy"
            shutil.copytree(server.data, copy)
            server.start()
            bank.accounts.agent.start()
            bank.wait_ready()
            bank.ctl("commit", bank.begin_move(2), code=0)
            server.stop()
            shutil.rmtree(server.data)
            shutil.copytree(copy, server.data)
            give_to_postgres(server.folder)
            server.start()
            wait_until(lambda: any(rm["rm"] == "accounts" and rm["state"] == "quarantined"
                                   for rm in bank.ctl("agents")["agents"]), 20)
            refused = bank.ctl("exec", bank.ctl.begin(), "accounts", "select 1")
            assert refused.code == 1 and refused.error == "rm_quarantined"
        finally:
            bank.stop()
