"""One server has many databases: what is in another one is never taken for our own, and is told of."""

import contextlib
import re
import signal
import subprocess

from harness import POSTGRES_BIN, Client, Process, gid_of, program, wait_until
from played import new_server, new_site
from test_agent_check import found


def reach_from_exec(site, database, server=None):
    """The section [exec shop] leads elsewhere from now on."""
    head, sections = site.conf.read_text().split("[exec shop]")
    other = sections.replace(f"dbname={site.name}", f"dbname={database}")
    if server:
        other = other.replace(str(site.server.folder), str(server.folder))
    site.conf.write_text(f"{head}[exec shop]{other}")


def test_an_agent_whose_applications_would_reach_another_database_does_not_start(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        reach_from_exec(site, "postgres")
        site.agent.start()
        assert site.agent.wait(20) == 1
        assert "[exec shop] reaches another database than [agent]" in site.agent.log_text()


def test_a_section_that_comes_to_reach_another_database_runs_nothing_there(site):
    player = site.play()
    assert player.register()["ok"]
    reach_from_exec(site, "postgres")
    site.agent.send(signal.SIGHUP)
    wait_until(lambda: "reaches another database" in site.agent.log_text())
    reply = player.branch().exec("create table stray (n int)")
    assert reply["error"]["code"] == "rm_unavailable"
    assert "another database" in reply["error"]["message"] and site.agent.running()


def test_a_section_that_reaches_a_copy_of_the_whole_server_runs_nothing_there(run_folder, servers):
    """There the databases have the same names, and the servers the same system identifier."""
    with (new_server(run_folder) as one, new_server(run_folder) as other,
          new_site(run_folder, one) as site):
        with contextlib.closing(other.connect("postgres")) as admin:
            admin.cursor().execute(f"create database {site.name}")
        site.start()
        player = site.play()
        assert player.register()["ok"]
        reach_from_exec(site, site.name, other)
        site.agent.send(signal.SIGHUP)
        wait_until(lambda: "was read again" in site.agent.log_text())
        reply = player.branch().exec("create table stray (n int)")
        assert reply["error"]["code"] == "rm_unavailable" and "same server" in site.agent.log_text()


@contextlib.contextmanager
def copy_of(site, folder):
    """A second database of the server, filled by pg_dump, and an agent for it."""
    name = f"{site.name}_copy"
    with contextlib.closing(site.server.connect("postgres")) as admin:
        admin.cursor().execute(f"create database {name}")
    dump = subprocess.run([POSTGRES_BIN / "pg_dump", site.server.conninfo(site.name)],
                          capture_output=True, check=True).stdout
    subprocess.run([POSTGRES_BIN / "psql", "-Xqv", "ON_ERROR_STOP=1", site.server.conninfo(name)],
                   input=dump, stdout=subprocess.DEVNULL, check=True)
    conf = folder / "copy.ini"
    conf.write_text(site.conf.read_text().replace(site.name, name)
                    .replace(str(site.socket), str(folder / "copy.sock")))
    agent = Process("the copy's agent", [program("assent-agent"), "-c", str(conf)],
                    str(folder / "copy.log"))
    try:
        yield name, agent
    finally:
        if agent.running():
            agent.stop()
        with contextlib.closing(site.server.connect("postgres")) as admin:
            admin.cursor().execute(f"drop database {name} with (force)")


def test_the_agent_of_a_copied_database_ends_no_session_of_the_first_ones(site):
    site.sql("create table work (n int)")
    site.sql("grant all on work to shop")
    player = site.play()
    assert player.register()["ok"]
    branch, committed = player.branch(), player.branch()
    committed.run("insert into work values (1)")
    assert committed.commit(committed.ready())["is"] == "done"  # the pool is connected
    branch.run("insert into work values (2)")
    before = sorted(site.backends("assent") + site.backends("shop"))
    with copy_of(site, site.conf.parent) as (_, agent):
        agent.start()
        wait_until(lambda: "serving accounts" in agent.log_text(), 15)
        assert sorted(site.backends("assent") + site.backends("shop")) == before
        assert branch.commit(branch.ready())["is"] == "done"


def test_what_is_prepared_in_other_databases_is_shown_with_their_names(run_folder, servers):
    """It uses up the slots of the whole server, and a branch's gid where nobody would look for it."""
    with (new_server(run_folder, "max_prepared_transactions = 10") as server,
          new_site(run_folder, server) as site):
        site.start()
        player = site.play()
        assert player.register()["ok"]
        branch = player.branch()
        with contextlib.closing(server.connect("postgres")) as admin:
            admin.cursor().execute("create database elsewhere")
        for gid in (branch.gid, "xa-1", "xa-2"):
            with contextlib.closing(server.connect("elsewhere")) as connection:
                connection.cursor().execute("begin")
                connection.cursor().execute("select pg_current_xact_id()")
                connection.cursor().execute(f"prepare transaction '{gid}'")
        with contextlib.closing(Client(site.socket, 30)) as client:
            answer = client.call("prepared")
        assert answer["prepared"] == []
        shown = {each["gid"]: each for each in answer["elsewhere"]}
        assert set(shown) == {branch.gid, "xa-1", "xa-2"} and answer["elsewhere_total"] == 3
        assert {each["database"] for each in shown.values()} == {"elsewhere"}
        assert shown[branch.gid]["gtrid"] == branch.gtrid and shown["xa-1"]["manager"] == "unknown"
        wait_until(lambda: site.status()["prepared_elsewhere"] == 3)
        assert f"ROLLBACK PREPARED '{branch.gid}'" in found(
            site, "warning", f"{branch.gid}, under the gid of a branch", "database elsewhere")
        remedy = wait_until(lambda: found(
            site, "notice", "3 transactions are prepared in other databases", "(elsewhere)"))
        assert re.search("assent.in_doubt.*assent.foreign_prepared", remedy)


def test_in_doubt_shows_what_no_agent_has_in_its_database(bank):
    gid = gid_of("bank.1.1", "accounts")
    server = bank.accounts.server
    mine = bank.ctl.begin()
    with contextlib.closing(server.connect("postgres")) as connection:
        cursor = connection.cursor()
        cursor.execute("begin")
        cursor.execute("select pg_current_xact_id()")
        cursor.execute(f"prepare transaction '{gid}'")
    try:
        [shown] = bank.ctl("in-doubt", code=0)["elsewhere"]
        assert (shown["server_of"], shown["database"], shown["gid"], shown["gtrid"]) == (
            "accounts", "postgres", gid, "bank.1.1")
        code, words, _ = bank.ctl.text("in-doubt")
        assert code == 0 and "no agent here" in words and gid in words
    finally:
        with contextlib.closing(server.connect("postgres")) as connection:
            connection.cursor().execute(f"rollback prepared '{gid}'")
    assert bank.ctl("in-doubt", code=0)["elsewhere"] == []
    bank.ctl("rollback", mine)
