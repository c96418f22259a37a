"""A standby takes over under load. What it has is kept; what it lacks is noticed and said."""

import contextlib

import pytest

from campaign import load, wait_until
from check_history import History
from played import new_server
from standby import fail_over, standby_of, stop_following
from teller import Tellers


class Cluster:
    """A primary and its standby under one name: whoever connects gets the one that writes."""

    def __init__(self, primary, standby):
        self.primary, self.standby, self.in_office = primary, standby, primary
        self.folder = f"{primary.folder},{standby.folder}"

    @property
    def process(self):
        return self.in_office.process

    def start(self):
        self.in_office.start()

    def connect(self, *arguments, **options):
        return self.in_office.connect(*arguments, **options)

    def conninfo(self, database, user="postgres"):
        return f"host={self.folder} dbname={database} user={user} target_session_attrs=read-write"

    def fail_over(self):
        fail_over(self.primary, self.standby)
        self.in_office = self.standby

    def wait_for_each_commit(self):
        """From here on the standby has whatever the primary has answered for."""
        def is_synchronous():
            cursor.execute("select sync_state from pg_stat_replication")
            return cursor.fetchone() == ("sync",)
        with contextlib.closing(self.primary.connect("postgres")) as connection:
            cursor = connection.cursor()
            cursor.execute("alter system set synchronous_standby_names = '*'")
            cursor.execute("select pg_reload_conf()")
            wait_until(is_synchronous, 30, "the standby is synchronous")


@pytest.fixture
def clustered(new_bank, servers, run_folder):
    """A bank whose ledger is on a cluster."""
    east = servers.get("east")
    with new_server(run_folder) as primary, standby_of(primary, run_folder) as standby:
        cluster = Cluster(primary, standby)
        with new_bank(east, cluster) as bank:
            bank.start()
            yield bank, cluster


def test_a_synchronous_standby_takes_over_and_nothing_is_lost(clustered, seed, record):
    bank, cluster = clustered
    cluster.wait_for_each_commit()
    with load(bank, seed) as tellers:
        wait_until(lambda: tellers.transfers > 50, 60, "work is done")
        cluster.fail_over()
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 60, "work goes on at the other")
    record("failover", "the primary crashes, its synchronous standby is promoted, under load", 1,
           tellers.words)


def ledger(bank):
    answer = bank.ctl("agents")
    return next(agent for agent in answer["agents"] if agent["rm"] == "ledger")


def alarms(bank):
    return [(alarm["alarm"], alarm.get("rm")) for alarm in bank.ctl("status")["alarms"]]


def false_answers(bank):
    """By what accounts holds, which has lost nothing."""
    with open(bank.history.path, encoding="utf-8") as lines:
        history = History(lines)
    stored = {gtrid for gtrid, in bank.accounts.sql("select gtrid from transfer")}
    for gtrid, outcomes in history.told.items():
        if "accounts" in history.begun[gtrid]["moves"]:
            expected = "committed" if gtrid in stored else "rolled-back"
            yield from (f"{gtrid}: told {outcome}, is {expected}" for outcome in outcomes
                        if outcome in ("committed", "rolled-back") and outcome != expected)


def test_an_asynchronous_standby_that_lost_data_is_quarantined_and_alarmed(clustered, seed, record):
    """Nothing can bring back what is lost. But it is seen at once, no further work goes there,
    and the other database does what was decided."""
    bank, cluster = clustered
    tellers = Tellers(bank, 3, seed)
    tellers.resume()
    try:
        wait_until(lambda: tellers.transfers > 20, 60, "work is done")
        stop_following(cluster.standby)
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 60, "work is done that will be lost")
        cluster.fail_over()
        wait_until(lambda: ledger(bank)["state"] == "quarantined", 60, "ledger is quarantined")
        tellers.pause()
    finally:
        tellers.go_home()
    wait_until(lambda: ("quarantined", "ledger") in alarms(bank), 30, "there is an alarm")
    refused = bank.ctl("exec", bank.ctl.begin(), "ledger", "select 1")
    assert refused.code == 1 and refused.error == "rm_quarantined"
    wait_until(lambda: not bank.accounts.prepared(), 30, "accounts does what was decided")
    assert not list(false_answers(bank))
    bank.tm.kill()  # with a database that is quarantined it would wait for its DBA
    record("failover", "to an asynchronous standby that lost the last transactions, under load", 1,
           f"quarantined and alarmed after {tellers.transfers} transfers")
