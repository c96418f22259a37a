"""Two of everything: at most one of them may speak, the other is told why, the money is right."""

import contextlib
import shutil
import subprocess
import time

import pytest

import harness
from campaign import load, restart, wait_until
from network import Proxy


@contextlib.contextmanager
def twin(bank, name, data_dir, *options):
    """A second coordinator called bank. Yields its process and assentctl at it."""
    socket = bank.folder / f"{name}.sock"
    process = bank.coordinator(bank.write_conf(f"{name}.ini", socket, data_dir), f"{name}.log")
    process.arguments = [*process.arguments, *options]
    process.start()
    try:
        yield process, harness.Assentctl(f"ipc://{socket}")
    finally:
        if process.running():
            process.kill()


def fenced_because(ctl):
    def reason():
        answer = ctl("status")
        return answer.get("state") == "fenced" and answer["reason"]
    return wait_until(reason, 15, "it is fenced")


def put_back(files, folder):
    """Replace what is in the folder, as a backup program would: the folder itself stays."""
    for file in folder.iterdir():
        file.unlink()
    shutil.copytree(files, folder, dirs_exist_ok=True)


def test_a_coordinator_of_the_same_name_is_fenced(bank, seed, record):
    with load(bank, seed) as tellers, twin(bank, "twin", bank.folder / "twin") as (_, ctl):
        reason = fenced_because(ctl)
        assert "other-log" in reason
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 20, "the other goes on")
    record("two coordinators of one name", "a second one with an empty log", 1, tellers.words)


def test_of_a_log_and_its_copy_only_one_decides(bank, seed, record):
    bank.tm.kill()
    shutil.copytree(bank.data_dir, bank.folder / "copy")
    bank.tm.start()
    bank.wait_ready()
    with load(bank, seed) as tellers:
        with twin(bank, "copy", bank.folder / "copy", "--moved") as (process, ctl):
            reason = fenced_because(ctl)
            assert "instance" in reason or "incarnation" in reason or "position" in reason
            process.kill()
            process.start()
            fenced_because(ctl)
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 20, "the other goes on")
    record("a copied log", "both are started, the copy twice", 2, tellers.words)


def test_an_old_log_brought_back_is_fenced_however_often_it_is_started(bank, seed, record):
    backup, newest = bank.folder / "backup", bank.folder / "newest"
    bank.tm.kill()
    shutil.copytree(bank.data_dir, backup)
    bank.tm.start()
    bank.wait_ready()
    with load(bank, seed):
        time.sleep(1)
    bank.tm.kill()
    shutil.copytree(bank.data_dir, newest)
    put_back(backup, bank.data_dir)
    for _ in range(3):
        restart(bank.tm)
        fenced_because(bank.ctl)
        assert bank.ctl("begin", code=1).error == "fenced"
    bank.tm.kill()
    put_back(newest, bank.data_dir)
    bank.tm.start()
    bank.wait_ready()
    with load(bank, seed + 1) as tellers:
        time.sleep(1)
    record("an old log brought back", "the data directory of a backup, started three times", 3,
           tellers.words)


def test_a_lost_log_is_not_replaced_by_an_empty_one(bank, seed, record):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -30)
    bank.tm.kill()
    kept = bank.folder / "kept"
    bank.data_dir.rename(kept)
    bank.tm.start()
    fenced_because(bank.ctl)
    assert len(bank.accounts.prepared()) == 1, "what the lost log may have decided is left alone"
    bank.tm.kill()
    shutil.rmtree(bank.data_dir)
    kept.rename(bank.data_dir)
    bank.tm.start()
    bank.settle()
    record("a lost log", "started with an empty data directory", 1, bank.close_books())


class Switch:
    """An agent's address, behind which one agent or another may be."""

    def __init__(self, bank, database):
        self.bank, self.database, self.number = bank, database, 0
        self.proxy = Proxy(str(database.socket), "", 0)
        self.agents = []

    def new_agent(self):
        """One more process for this resource manager; from now on it is the one reached."""
        self.number += 1
        socket = self.bank.folder / f"{self.database.rm}.{self.number}.sock"
        conf = self.bank.folder / f"{self.database.rm}.{self.number}.ini"
        conf.write_text(self.database.conf.read_text().replace(self.database.url,
                                                               f"ipc://{socket}"))
        agent = harness.Process(f"agent {self.number}",
                                [harness.program("assent-agent"), "-c", str(conf)],
                                str(self.bank.folder / f"{self.database.rm}.{self.number}.log"))
        agent.start()
        self.proxy.target = str(socket)
        self.database.agent = agent
        self.agents.append(agent)
        return agent


@pytest.fixture
def switch(stopped_bank):
    switch = Switch(stopped_bank, stopped_bank.ledger)
    try:
        yield switch
    finally:
        for agent in switch.agents[:-1]:
            if agent.running():
                agent.resume()
                agent.kill()


def test_of_two_agents_for_one_database_the_older_ends(stopped_bank, switch, seed, record):
    bank, first = stopped_bank, switch.new_agent()
    bank.start()
    with load(bank, seed) as tellers:
        time.sleep(1)
        second = switch.new_agent()
        assert first.wait(15) != 0
        assert "another agent serves" in first.log_text()
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 20, "the second one works")
        assert second.running()
    record("two agents for one database", "a second one is started under load", 1, tellers.words)


def test_an_agent_stopped_and_continued_after_its_successor_started_ends(stopped_bank, switch,
                                                                         seed, record):
    bank, first = stopped_bank, switch.new_agent()
    bank.start()
    with load(bank, seed) as tellers:
        time.sleep(1)
        first.pause()
        switch.new_agent()
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 30, "the second one works")
        first.resume()
        assert first.wait(15) != 0
        assert "another agent serves" in first.log_text()
    record("a hung predecessor returns", "SIGSTOP, a second agent, SIGCONT", 1, tellers.words)


def run_agent(bank, name, conf_text):
    conf = bank.folder / f"{name}.ini"
    conf.write_text(conf_text)
    return subprocess.run([harness.program("assent-agent"), "-c", conf], capture_output=True,
                          text=True, timeout=30)


def test_an_agent_at_another_resource_managers_database_is_refused(bank, record):
    bank.ledger.agent.stop()
    conf = bank.ledger.conf.read_text().replace(f"dbname={bank.ledger.name}",
                                                f"dbname={bank.accounts.name}")
    conf = conf.replace(bank.ledger.server.conninfo("x")[:20],
                        bank.accounts.server.conninfo("x")[:20])
    conf = conf.replace(str(bank.ledger.server.folder), str(bank.accounts.server.folder))
    done = run_agent(bank, "wrong", conf)
    assert done.returncode != 0
    assert "belongs to another resource manager than ledger" in done.stderr
    bank.ledger.agent.start()
    bank.settle()
    record("an agent at the wrong database", "at another resource manager's", 1, bank.close_books())


def test_an_agent_at_an_older_copy_of_its_database_is_quarantined(bank, seed, record):
    """A copy has the schema, the names and the registration; it lacks what was promised since."""
    with load(bank, seed):
        time.sleep(0.5)
    ledger, copy = bank.ledger, f"{bank.ledger.name}_copy"
    bank.ledger.agent.stop()
    with contextlib.closing(ledger.server.connect("postgres")) as admin:
        admin.cursor().execute(f"create database {copy} template {ledger.name}")
    ledger.agent.start()
    bank.wait_ready()
    with load(bank, seed + 1) as tellers:
        wait_until(lambda: tellers.transfers > 20, 60, "promises are made that the copy lacks")
    ledger.agent.stop()
    right = ledger.conf.read_text()
    ledger.conf.write_text(right.replace(f"dbname={ledger.name}", f"dbname={copy}"))
    ledger.agent.start()
    wait_until(lambda: any(agent["rm"] == "ledger" and agent["state"] == "quarantined"
                           for agent in bank.ctl("agents")["agents"]), 15, "it is quarantined")
    gtrid = bank.ctl.begin()
    refused = bank.ctl("enlist", gtrid, "ledger")
    assert refused.code != 0, refused.reply
    ledger.agent.stop()
    ledger.conf.write_text(right)
    ledger.agent.start()
    bank.ctl("rollback", gtrid)
    states = {agent["rm"]: agent["state"] for agent in bank.ctl("agents")["agents"]}
    record("an agent at the wrong database", "at an older copy of its own", 1,
           f"quarantined; then {states['ledger']}")
