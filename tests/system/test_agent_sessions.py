"""What an agent answers while one of its branches is at something else, or the agent itself is.

The coordinator is played by the test; each branch is ended by it.
"""

import contextlib
import json
import signal

import pytest

from harness import Client, wait_until
from played import new_site


@pytest.fixture(scope="module")
def shared_site(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql("create table work (n int); grant all on work to shop")
        site.start()
        yield site


def registered(site):
    player = site.play(f"tm{len(site.players)}")
    assert player.register()["ok"]
    return player


@pytest.fixture
def player(shared_site):
    return registered(shared_site)


def refused(answer, code, words=""):
    assert not answer["ok"]
    assert answer["error"]["code"] == code and words in answer["error"]["message"], answer["error"]


def runs(site, words):
    return site.sql("select count(*) from pg_stat_activity where state = 'active' and query like %s"
                    " and pid <> pg_backend_pid()", f"%{words}%") == [(1,)]


# ---- a branch that is at something else ----

def test_a_statement_in_a_branch_that_the_application_has_prepared_is_not_run(player):
    branch = player.branch()
    branch.prepare_own("insert into work values (1)")
    xid = branch.ready()
    refused(branch.exec("select 1"), "branch_prepared", "the branch is prepared already")
    assert branch.commit(xid)["is"] == "done"


def test_a_second_statement_without_a_first_finds_no_session(player):
    branch = player.branch()
    branch.n = 1
    refused(branch.exec("select 1"), "branch_lost", "the branch's session is gone")


def test_one_statement_of_a_branch_runs_at_a_time(player):
    branch = player.branch()
    slow = branch.exec_aside("select pg_sleep(0.7), 'one at a time'")
    wait_until(lambda: runs(player.site, "one at a time"))
    refused(branch.exec("select 1"), "busy", "a statement of this branch is running")
    assert slow()["ok"]
    branch.n = 1
    assert branch.run("select 2") == [["2"]]
    assert branch.rollback()["is"] == "done"


def test_a_statement_behind_the_prepare_is_not_run(player):
    """The one that runs is waited for, and is part of the branch."""
    branch = player.branch()
    slow = branch.exec_aside("insert into work select 7 from pg_sleep(0.7) as \"before the vote\"")
    wait_until(lambda: runs(player.site, "before the vote"))
    branch.order_prepare()
    refused(branch.exec("insert into work values (8)"), "branch_prepared", "is being prepared")
    assert slow()["ok"]
    vote = branch.vote()
    assert vote["is"] == "ready"
    assert branch.commit(vote["xid"])["is"] == "done"
    assert player.site.sql("select n from work where n in (7, 8)") == [(7,)]


def test_a_statement_that_is_out_of_sequence_is_not_run(player):
    branch = player.branch()
    branch.run("select 1")
    branch.n = 7
    refused(branch.exec("select 8"), "out_of_sequence", "the next is 2")
    assert branch.rollback()["is"] == "done"


def test_a_session_that_was_killed_refuses_its_branch(player):
    branch = player.branch()
    branch.run("insert into work values (9)")
    player.site.terminate("shop")
    vote = branch.prepare()
    assert vote["is"] == "no" and "lost" in vote["message"]
    assert branch.rollback()["is"] == "done"
    assert player.site.sql("select n from work where n = 9") == []


def test_a_branch_that_is_rolled_back_does_not_wait_for_its_statement(player):
    branch = player.branch()
    slow = branch.exec_aside("select pg_sleep(20), 'never waited for'")
    wait_until(lambda: runs(player.site, "never waited for"))
    assert branch.rollback(seconds=5)["is"] == "done"
    refused(slow(), "branch_lost", "the branch was rolled back")
    assert not runs(player.site, "never waited for")


# ---- two who ask at once ----

def test_while_one_registers_another_and_a_person_have_to_wait(shared_site):
    site = shared_site
    player = registered(site)
    again = site.play(player.name, incarnation=2, log=player.log)
    offer = {"op": "register", "tm": player.name, "log": player.log, "incarnation": "2",
             "instance": again.instance, "recovered_lsn": "0", "secret": again.secret.hex(),
             "ancestors": [{"incarnation": "1", "instance": player.instance}],
             "wire_least": 1, "wire_most": 1}
    with contextlib.closing(site.connect(autocommit=False, user="postgres")) as holder:
        holder.cursor().execute("lock table assent.tm in access exclusive mode")
        again.client.send(json.dumps(offer).encode())
        wait_until(lambda: site.sql("select count(*) from pg_stat_activity where usename = 'assent'"
                                    " and wait_event_type = 'Lock'") == [(1,)])
        refused(player.call(**offer), "busy", "another registration")
        refused(player.call("adopt", **{"tm": player.name, "from": player.log, "log": "22" * 16,
                                        "incarnation": "9", "instance": "33" * 16}),
                "busy", f"a registration of {player.name} is under way")
        holder.rollback()
    wait_until(lambda: player.call("orders", **player.sender(), orders=[]).get("error"))
    refused(player.call("orders", **player.sender(), orders=[]), "rm_refused", "another start")


# ---- questions for a page of a list ----

NEXT = {"foreign": False, "prepared": "1700000000.5", "gid": "x"}


@pytest.mark.parametrize("after", [
    {}, [], "x", {**NEXT, "foreign": "no"}, {**NEXT, "prepared": ""}, {**NEXT, "prepared": "now()"},
    {**NEXT, "prepared": "1" * 60}, {**NEXT, "gid": ""}, {**NEXT, "gid": 7}])
def test_a_page_begins_where_another_ended(player, after):
    refused(player.call("prepared", after=after), "invalid_request",
            "after: not what `next` of an answer was")
    assert player.call("prepared", after=NEXT)["ok"]


@pytest.mark.parametrize("fields", [{"limit": -1}, {"limit": "many"}, {"brief": 1}])
def test_a_page_has_a_size(player, fields):
    refused(player.call("prepared", **fields), "invalid_request", next(iter(fields)))


# ---- an agent that ends ----

def test_an_agent_that_ends_waits_for_its_vote_and_begins_nothing(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.start()
        player = registered(site)
        branch, other = player.branch(), player.branch()
        branch.run("update account set balance = balance - 1 where id = 1")
        site.close_gate()
        branch.order_prepare()
        wait_until(lambda: runs(site, "PREPARE TRANSACTION"))
        site.agent.send(signal.SIGTERM)
        wait_until(lambda: site.status()["state"] == "stopping")
        site.agent.send(signal.SIGTERM)  # who asks twice is not killed
        refused(other.exec("select 1"), "not_ready", "the agent is stopping")
        site.open_gate()
        assert site.agent.wait() == 0, site.agent.log_text()
        assert site.prepared() == [branch.gid]
        site.start()
        assert player.register()["ok"]
        assert player.scan() == [("found", branch.gid)]
        assert branch.rollback()["is"] == "done"


# ---- what is kept over a restart ----

def test_what_is_live_below_the_horizon_is_so_after_a_restart(run_folder, servers):
    acceptors = {"agents": ["accounts", "ledger", "stock"], "tm": False}
    with new_site(run_folder, servers[0]) as site:
        site.start()
        player = registered(site)
        player.scan()

        def promise(gtrid):
            player.lsn += 1
            player.order({"do": "ballot", "lsn": str(player.lsn), "ballot": {
                "is": "ask-promise", "gtrid": gtrid, "number": "511", "acceptors": acceptors}})

            def take():
                player.poll(100)
                return next((result["ballot"]["is"] for result in player.mail
                             if result["is"] == "ballot" and result["ballot"]["gtrid"] == gtrid), None)
            return wait_until(take)

        peers = [{"rm": rm, "url": f"ipc:///nowhere/{rm}"} for rm in acceptors["agents"]]
        assert player.call("peers", **player.sender(), key="11" * 32, peers=peers)["ok"]
        player.order({"do": "forget", "incarnation": "1", "sequence": "50",
                      "live": [{"incarnation": "1", "sequence": "40"}]})
        wait_until(lambda: site.sql("select horizon_sequence from assent.tm") == [(50,)])
        assert site.agent.stop() == 0
        site.start()
        assert player.register()["ok"]
        player.scan()
        assert promise(f"{player.name}.1.39") == "ended"
        assert promise(f"{player.name}.1.40") == "promised"
        assert promise(f"{player.name}.1.51") == "promised"


def test_a_state_file_that_cannot_be_written_is_told_and_written_later(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        folder = site.conf.parent / "later"
        site.conf.write_text(site.conf.read_text().replace(
            "[agent]\n", f"[agent]\nstate_file = {folder}/accounts.state\n"))
        site.start()
        wait_until(lambda: "cannot be written: No such file" in site.agent.log_text())
        assert site.sql("select state_file from assent.agent") == [(False,)]
        folder.mkdir()
        wait_until(lambda: site.sql("select state_file from assent.agent") == [(True,)])
        assert json.loads((folder / "accounts.state").read_text())["rm"] == "accounts"
        assert site.agent.log_text().count("cannot be written") == 1


# ---- coordinators beside each other ----

def test_coordinators_that_ask_at_once_are_each_answered(shared_site):
    """Votes are read and written in batches, of one coordinator each, in their order."""
    acceptors = {"agents": ["accounts", "ledger", "stock"], "tm": False}
    players = [registered(shared_site) for _ in range(3)]
    peers = [{"rm": rm, "url": f"ipc:///nowhere/{rm}"} for rm in acceptors["agents"]]
    for player in players:
        player.scan()
        assert player.call("peers", **player.sender(), key="11" * 32, peers=peers)["ok"]
        player.gtrids = [f"{player.name}.1.{1000 + n}" for n in range(60)]
    for player in players:
        orders = [{"do": "ballot", "lsn": "1", "ballot": {
            "is": "ask-promise", "gtrid": gtrid, "number": "511", "acceptors": acceptors}}
            for gtrid in player.gtrids]
        orders.insert(30, {"do": "forget", "incarnation": "1", "sequence": "1010", "live": []})
        player.client.send(json.dumps({"op": "orders", **player.sender(), "orders": orders}).encode())
    for player in players:
        answers = {}

        def all_answered():
            player.poll(100)
            answers.update((result["ballot"]["gtrid"], result["ballot"]["is"])
                           for result in player.mail if result["is"] == "ballot")
            return len(answers) == len(player.gtrids)
        wait_until(all_answered, 15)
        assert set(answers.values()) <= {"promised", "ended"}
        assert all(answers[gtrid] == "promised" for gtrid in player.gtrids[30:])
