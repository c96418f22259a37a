"""doc/operations.md, as it is written: each situation for real, the page's commands, the money."""

import contextlib
import os
import re
import shutil
import subprocess

import pytest

import harness
from harness import SOURCE, wait_until
from played import new_server, numbers
from standby import base_backup, fail_over, standby_of, stop_following
from test_in_doubt import decide_without_ledger
from test_settle import agent, half_applied, state

PAGE = (SOURCE / "doc/operations.md").read_text()


def blocks(title):
    """The commands of a section, block by block."""
    section = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
    assert section, f"the page has no section {title}"
    return re.findall(r"^```sh\n(.*?)^```$", section[1], re.S | re.M)


class Desk:
    """Where the DBA sits: a shell with the page's names in it."""

    def __init__(self, bank, server=None):
        self.bank, self.server = bank, server
        self.units = {"systemctl restart postgresql": self.restart_server,
                      "systemctl start assentd": bank.tm.start,
                      "systemctl stop assentd": bank.tm.stop,
                      "assentd -c /etc/assent/assentd.ini --moved": self.start_moved}

    def start_moved(self):
        self.bank.tm.arguments.append("--moved")
        self.bank.tm.start()
        self.bank.tm.arguments.remove("--moved")

    def restart_server(self):
        self.server.stop()
        self.server.start()

    def conninfo(self):
        return self.bank.accounts.server.conninfo(self.bank.accounts.name)

    def run(self, block, gtrid="", gid=""):
        """All lines of a block must succeed; returns what they printed."""
        printed = []
        for line in block.splitlines():
            if line in self.units:
                self.units[line]()
                continue
            line = line.replace("/var/lib/assent/bank", str(self.bank.folder / "tm"))
            line = line.replace("/srv/assent/bank", str(self.bank.folder / "moved"))
            line = line.replace("psql -d accounts", f"psql -X '{self.conninfo()}'")
            line = line.replace("assentctl recover", f"assentctl -c {self.bank.conf} recover")
            done = subprocess.run(
                ["bash", "-c", line], capture_output=True, text=True, timeout=60,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "gtrid": gtrid, "gid": gid, "ASSENT_URL": self.bank.url,
                     "PATH": f"{harness.BUILD}:{harness.POSTGRES_BIN}:{os.environ['PATH']}"})
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            printed.append(done.stdout)
        return "".join(printed)


def settled(bank):
    return bank.ctl("list")["transactions"] == [] and bank.nothing_prepared()


def test_an_agent_that_is_gone(bank):
    waive, count = blocks("An agent or its database is gone")
    gtrid = half_applied(bank)
    left = bank.ctl.begin()
    bank.prepare_own(bank.accounts, left, -5, account=2)
    bank.tm.kill()
    bank.tm.start()
    wait_until(lambda: bank.ctl("agents").code == 0 and agent(bank, "accounts")["state"] == "up", 20)
    assert bank.accounts.prepared()
    desk = Desk(bank)
    desk.run(waive)
    wait_until(lambda: not bank.accounts.prepared(), 20, "what was left undecided is rolled back")
    assert "mixed" in desk.run(count, gtrid)
    assert bank.ctl("list")["transactions"] == []
    for gid in bank.ledger.prepared():
        bank.ledger.sql(f"rollback prepared '{gid}'")
    bank.ledger.sql("update account set balance = balance + 30 where id = 1")
    assert bank.total() == 2 * harness.ACCOUNTS * harness.BALANCE


@contextlib.contextmanager
def bank_on(run_folder, *servers):
    """A bank on servers that the test may stop; not started yet."""
    folder = run_folder / f"ops{next(numbers)}"
    folder.mkdir()
    bank = harness.Bank(servers, folder, folder.name)
    try:
        yield bank
    finally:
        bank.stop()


def wait_for_quarantine(bank):
    wait_until(lambda: agent(bank, "accounts")["state"] == "quarantined", 20)


def test_a_database_restored_from_a_backup(run_folder, servers):
    look, release, resolve = blocks("A database was restored from a backup")
    with new_server(run_folder) as server, bank_on(run_folder, server, servers[1]) as bank:
        bank.start()
        bank.ctl("commit", bank.begin_move(1), code=0)
        backup = server.folder / "backup"
        base_backup(server, backup)
        gtrid = bank.begin_move(20)
        bank.ledger.close_gate()
        commit = bank.ctl.popen("commit", gtrid, "--wait", "decided")
        wait_until(lambda: bank.branch_state(gtrid, "accounts") == "prepared", 20)
        bank.accounts.agent.kill()
        bank.ledger.open_gate()
        assert bank.ctl.finish(commit)["outcome"] == "committed"
        server.stop()
        shutil.rmtree(server.data)
        backup.rename(server.data)
        server.start()
        bank.accounts.agent.start()
        wait_for_quarantine(bank)
        desk = Desk(bank)
        assert "COMMIT" in desk.run(look)
        desk.run(release)
        bank.wait_ready()
        assert state(bank, gtrid) == "committing"
        bank.accounts.sql("update account set balance = balance - 20 where id = 1")
        assert gtrid in desk.run(resolve, gtrid)
        wait_until(lambda: settled(bank), 20)
        assert bank.total() == 2 * harness.ACCOUNTS * harness.BALANCE


def test_a_database_failed_over(run_folder, servers):
    look, release = blocks("A database failed over to a standby")
    with new_server(run_folder) as primary, standby_of(primary, run_folder) as standby, \
            bank_on(run_folder, primary, servers[1]) as bank:
        conf = bank.accounts.conf
        conf.write_text(conf.read_text().replace(f"host={primary.folder}",
                                                 f"host={primary.folder},{standby.folder}"))
        bank.start()
        bank.ctl("commit", bank.begin_move(1), code=0)
        stop_following(standby)
        lost = bank.begin_move(20)
        bank.ctl("commit", lost, code=0)
        fail_over(primary, standby)
        bank.accounts.server = standby
        wait_for_quarantine(bank)
        desk = Desk(bank)
        assert "quarantined" in (seen := desk.run(look)) and lost in seen
        bank.accounts.sql("update account set balance = balance - 20 where id = 1")
        desk.run(release)
        bank.wait_ready()
        bank.ctl("commit", bank.begin_move(1), code=0)
        assert bank.total() == 2 * harness.ACCOUNTS * harness.BALANCE


def test_no_slots_left(run_folder, servers):
    look, by_hand, more = blocks("max_prepared_transactions is used up")
    with new_server(run_folder, "max_prepared_transactions = 1") as server, \
            bank_on(run_folder, server, servers[1]) as bank:
        bank.start()
        with contextlib.closing(bank.accounts.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("begin; prepare transaction 'citus_0_1'")
        assert bank.ctl("commit", bank.begin_move(1), code=1)["reason"]["sqlstate"] == "53200"
        desk = Desk(bank, server)
        assert desk.run(look).count("citus_0_1") == 2
        desk.run(by_hand, gid="citus_0_1")
        bank.ctl("commit", bank.begin_move(1), code=0)
        desk.run(more)
        wait_until(lambda: agent(bank, "accounts")["slots_max"] == 200, 20)
        bank.ctl("commit", bank.begin_move(1), code=0)
        assert bank.balances() == (98, 102)


def test_wraparound_is_near(run_folder, servers):
    look, resolve, vacuum = blocks("Wraparound is near")
    with new_server(run_folder) as server, bank_on(run_folder, server, servers[1]) as bank:
        bank.start()
        gtrid = bank.ctl.begin("--timeout", "600s")
        bank.prepare_own(bank.accounts, gtrid, 30)
        bank.accounts.sql("create table burnt (n int)")
        bank.accounts.sql("do $$ begin for n in 1..3000 loop begin insert into burnt values (n);"
                          " exception when others then null; end; end loop; end $$")
        bank.accounts.sql("vacuum (freeze)")
        age = "select age(datfrozenxid) from pg_database where datname = current_database()"
        assert bank.accounts.sql(age)[0][0] > 3000, "VACUUM cannot clean up behind what is prepared"
        desk = Desk(bank)
        assert "of autovacuum_freeze_max_age" in (seen := desk.run(look)) and gtrid in seen
        desk.run(resolve, gtrid)
        wait_until(bank.nothing_prepared)
        desk.run(vacuum)
        assert bank.accounts.sql(age)[0][0] < 3000 and bank.balances() == (100, 100)


def test_a_branch_finished_by_hand(bank):
    look, forget = blocks("A branch was finished by hand")
    gtrid = half_applied(bank)
    bank.ledger.sql(f"rollback prepared '{bank.ledger.prepared()[0]}'")
    bank.ledger.agent.start()
    wait_until(lambda: state(bank, gtrid) == "mixed", 20)
    desk = Desk(bank)
    first_look = desk.run(re.search(r"^```sh\n(.*?)^```$", PAGE, re.S | re.M)[1])
    assert "ready" in first_look and gtrid in first_look
    seen = desk.run(look, gtrid)
    assert "by hand" in seen and "mixed" in seen and gtrid in seen
    bank.ledger.sql("update account set balance = balance + 30 where id = 1")
    desk.run(forget, gtrid)
    assert settled(bank) and bank.total() == 2 * harness.ACCOUNTS * harness.BALANCE


def test_what_waits_is_looked_at(bank):
    gtrid = bank.begin_move(3)
    look, = blocks("A disk is nearly full, or too many are connected")
    assert gtrid in Desk(bank).run(look)


def test_maintenance_of_a_database(run_folder, servers):
    [drain] = blocks("Maintenance of a database")
    with new_server(run_folder) as server, bank_on(run_folder, servers[0], server) as bank:
        bank.start()
        bank.ctl("commit", bank.begin_move(10), code=0)
        assert "0 running at ledger" in Desk(bank, server).run(drain)
        wait_until(lambda: bank.ctl("exec", bank.ctl.begin(), "ledger", "select 1").code == 0,
                   20, "the agent has found its server again")
        bank.ctl("commit", bank.begin_move(10), code=0)
        assert bank.balances() == (80, 120)


def test_retiring_a_database(bank):
    [retire] = blocks("Retiring a database")
    bank.ctl("commit", bank.begin_move(10), code=0)
    Desk(bank).run(retire)
    assert bank.ctl("enlist", bank.ctl.begin(), "ledger").error == "unknown_rm"
    assert bank.balances() == (90, 110) and bank.nothing_prepared()


def test_moving_the_coordinator(bank):
    copy, start = blocks("Moving the coordinator")
    decide_without_ledger(bank)
    desk = Desk(bank)
    desk.run(copy)
    bank.write_conf("assentd.ini", bank.socket, bank.folder / "moved")
    desk.run(start)
    bank.ledger.start()
    wait_until(lambda: bank.nothing_prepared() and bank.ready(), 20)
    assert bank.balances() == (70, 130) and bank.tm.stop() == 0
    bank.start()
    assert bank.ctl("commit", bank.begin_move(1), code=0)["outcome"] == "committed"


def test_a_lost_log(bank):
    look, recover, adopt = blocks("The coordinator's log is lost")
    gtrid = bank.ctl.begin("--timeout", "600s")
    for database, amount in ((bank.accounts, -5), (bank.ledger, 5)):
        bank.prepare_own(database, gtrid, amount, account=2)
    decided = decide_without_ledger(bank)
    bank.tm.kill()
    shutil.rmtree(bank.folder / "tm")
    bank.ledger.start()
    desk = Desk(bank)
    plan = desk.run(look)
    assert "accounts was told to commit it" in plan and decided in plan and " ? " in plan
    desk.run(recover, gtrid)
    wait_until(lambda: bank.nothing_prepared() and bank.ready(), 20)
    assert bank.balances() == (70, 130) and bank.total() == 2 * harness.ACCOUNTS * harness.BALANCE
    assert bank.accounts.balance(2) == 95
    desk.run(adopt)
    bank.wait_ready()


@pytest.mark.parametrize("title", re.findall(r"^## (.*)$", PAGE, re.M))
def test_every_section_has_commands(title):
    assert blocks(title)
