"""An agent's votes in three-phase commit; the coordinator is played by the test."""

import contextlib
import time

import pytest

from acceptors import ask, row
from harness import Client, wait_until
from played import new_site


class Played:
    """One agent of three, and a coordinator that the test plays."""

    acceptors = {"agents": ["accounts", "ledger", "stock"], "tm": False}

    def __init__(self, site):
        self.site = site
        site.start()
        self.player = site.play()
        assert self.player.register()["newcomer"]
        self.player.scan()

    def tell_peers(self):
        peers = [{"rm": rm, "url": f"ipc:///nowhere/{rm}"} for rm in self.acceptors["agents"]]
        assert self.player.call("peers", **self.player.sender(), key="11" * 32, peers=peers)["ok"]

    def branch(self, account):
        branch = self.player.branch()
        branch.run("insert into account values ($1, 1)", account)
        return branch

    def order_prepare(self, branch):
        branch.order("prepare", agent=branch.enlisted_with, timeout_ms=10000,
                     acceptors=self.acceptors)

    def answer(self, gtrid, what, seconds, **fields):
        """A ballot of the coordinator's; its answer, or None if there is none in time."""
        self.player.lsn += 1
        self.player.order({"do": "ballot", "lsn": str(self.player.lsn), "ballot": {
            "is": what, "gtrid": gtrid, "acceptors": self.acceptors, **fields}})

        def take():
            for result in self.player.mail:
                if result["is"] == "ballot" and result["ballot"]["gtrid"] == gtrid:
                    self.player.mail.remove(result)
                    return result["ballot"]
            self.player.poll(100)
            return None
        with contextlib.suppress(AssertionError):
            return wait_until(take, seconds)

    def say(self, gtrid, what, **fields):
        """The same when an answer has to come."""
        answer = self.answer(gtrid, what, 10, **fields)
        assert answer, f"no answer to {what}"
        return answer


def marked(site):
    return {gtrid for gtrid, in site.sql("select gtrid from assent.marker")}


@pytest.fixture
def played(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        yield Played(site)


def test_nothing_is_prepared_before_the_other_agents_are_known(played):
    branch = played.branch(100)
    played.order_prepare(branch)
    assert branch.vote(1) is None and not played.site.prepared()
    played.tell_peers()
    played.order_prepare(branch)
    assert branch.vote()["is"] == "ready"


def test_a_prepare_that_comes_after_a_promise_is_answered_no(played):
    played.tell_peers()
    branch = played.branch(100)
    assert played.say(branch.gtrid, "ask-promise", number="511")["is"] == "promised"
    played.order_prepare(branch)
    vote = branch.vote()
    assert vote["is"] == "no" and "begun to end" in vote["message"]
    assert not played.site.prepared()


def test_a_promise_holds_over_a_restart(played):
    played.tell_peers()
    gtrid = played.branch(100).gtrid
    assert played.say(gtrid, "ask-promise", number="511")["is"] == "promised"
    played.site.restart()
    assert played.player.register()["ok"]
    played.player.scan()
    answer = played.say(gtrid, "ask-accept", number="0", value="committed")
    assert answer["is"] == "outbid" and answer["promised"] == "511"


def test_what_the_horizon_has_passed_is_forgotten_but_for_what_is_live(played):
    played.tell_peers()
    old, live, new = (played.branch(account).gtrid for account in (100, 101, 102))
    for gtrid in (old, live, new):
        assert played.say(gtrid, "ask-accept", number="0", value="committed")["is"] == "accepted"
        played.site.sql("insert into assent.marker values (%s)", gtrid)
    _, incarnation, sequence = live.split(".")
    forget = {"do": "forget", "incarnation": incarnation, "sequence": sequence,
              "live": [{"incarnation": incarnation, "sequence": sequence}]}
    played.player.order(forget)
    wait_until(lambda: row(played.site, old) is None, 10, "it is forgotten")
    assert row(played.site, live) and row(played.site, new)
    assert ask(played.site, old) == "forgotten"
    assert played.say(old, "ask-promise", number="511")["is"] == "ended"
    assert marked(played.site) == {live, new}
    played.player.order({**forget, "live": []})
    wait_until(lambda: row(played.site, live) is None, 10, "it has ended")
    assert row(played.site, new) and marked(played.site) == {new}


def test_a_session_that_was_given_up_without_a_word_is_forgotten_with_the_horizon(site):
    """The coordinator could not reach the agent when it aborted, and never asks it again."""
    player = site.play()
    assert player.register()["ok"]
    branch = player.branch()
    branch.run("select 1", allowed_ms=200)

    def remembered():
        return site.sql("select count(*) from assent.session where gid = %s", branch.gid) == [(1,)]
    wait_until(lambda: not player.scan(), 10, "its session is ended at its deadline")
    assert remembered() and branch.exec("select 1")["error"]["code"] == "branch_lost"
    sequence = str(player.sequence)
    player.order({"do": "forget", "incarnation": "1", "sequence": sequence,
                  "live": [{"incarnation": "1", "sequence": branch.gtrid.split(".")[2]}]})
    player.scan()
    assert remembered()
    player.order({"do": "forget", "incarnation": "1", "sequence": sequence, "live": []})
    wait_until(lambda: not remembered(), 10, "nobody will ask about it any more")


def test_much_is_forgotten_in_steps(played):
    played.tell_peers()
    played.site.sql("insert into assent.acceptor select 'bank', 1, n, '{accounts}', true, '{}', '{}',"
                    " 0, 0, 'committed', 'committed' from generate_series(1, 12000) n")
    played.site.sql("insert into assent.marker (gtrid) select 'bank.1.' || n from generate_series(1, 7000) n")
    played.site.sql("insert into assent.marker values ('other.1.1'), ('nonsense'), ('bank.1.12001')")
    played.player.order({"do": "forget", "incarnation": "1", "sequence": "12000", "live": []})
    wait_until(lambda: played.site.sql("select horizon_sequence from assent.tm") == [(12000,)])
    assert played.site.sql("select count(*) from assent.acceptor") == [(0,)]
    assert marked(played.site) == {"other.1.1", "nonsense", "bank.1.12001"}


def test_only_who_was_never_heard_of_is_a_newcomer(played):
    """The log remembers the agent, and the agent nothing of the log: that would be a lost database."""
    assert not played.player.register().get("newcomer")


def test_a_database_that_may_have_forgotten_votes_only_on_what_begins_later(played):
    played.tell_peers()
    old, new = played.branch(100).gtrid, played.player.branch().gtrid
    played.site.agent.kill()
    played.site.sql("update assent.tm set identity = 'another/1', first_identity = 'another/1'")
    played.site.start()
    assert played.player.register()["ok"]
    assert played.answer(old, "ask-promise", 1, number="511") is None, "it is not accepted yet"
    played.player.order({"do": "recover", "number": "1", "begun": old.split(".")[2]})
    wait_until(lambda: played.site.sql("select 1 from assent.tm where votes_after_sequence > 0"))
    assert played.say(new, "ask-promise", number="511")["is"] == "promised"
    assert played.answer(old, "ask-promise", 1, number="511") is None, "it may have promised less"
    assert played.say(old, "tell", value="committed")["is"] == "decided"


def test_a_branch_whose_vote_may_be_lost_is_left_to_the_coordinator(played):
    """A failover kept what was prepared, and lost the row with the vote for it."""
    played.tell_peers()
    branch = played.branch(100)
    played.order_prepare(branch)
    voted = branch.vote()["xid"]
    played.site.agent.kill()
    played.site.sql("delete from assent.acceptor")
    played.site.sql("update assent.tm set identity = 'another/1', first_identity = 'another/1'")
    played.site.start()
    assert played.player.register()["ok"]
    played.player.order({"do": "recover", "number": "1", "begun": branch.gtrid.split(".")[2]})
    wait_until(lambda: played.site.sql("select 1 from assent.tm where votes_after_sequence > 0"))
    assert played.say(branch.gtrid, "tell", value="committed")["is"] == "decided"
    time.sleep(1)
    assert played.site.sql("select gid from pg_prepared_xacts"
                           " where database = current_database()") == [(branch.gid,)]
    branch.order_commit(voted)
    wait_until(lambda: played.site.sql("select 1 from account where id = 100"))


def test_what_it_has_said_is_listed_while_nobody_knows_the_outcome(played):
    played.tell_peers()
    gtrid = played.player.branch().gtrid
    said = {"gtrid": gtrid, "acceptors": played.acceptors, "promised": "0", "accepted": "0",
            "value": "committed", "outcome": ""}

    def rows(*gtrids):
        with contextlib.closing(Client(played.site.socket)) as client:
            return client.call("prepared", gtrids=gtrids)["rows"]
    assert rows() == [] == rows(gtrid)
    played.say(gtrid, "ask-accept", number="0", value="committed")
    assert rows() == [said] == rows(gtrid)
    played.say(gtrid, "tell", value="committed")
    assert rows() == [] and rows(gtrid) == [{**said, "outcome": "committed"}]
    with contextlib.closing(Client(played.site.socket)) as client:
        for wrong in ("bank.1.1", ["bank"], [1], ["bank.1.1"] * 257):
            assert client.call("prepared", gtrids=wrong)["error"]["code"] == "invalid_request"


SEALED = {"tm": "bank", "to": "accounts", "body": '{"op":"ballots","rm":"ledger","ballots":[]}',
          "mac": "00" * 32}


def test_nobody_votes_without_the_key(played):
    played.tell_peers()
    with contextlib.closing(Client(played.site.socket)) as client:
        assert client.call("ballots", **SEALED)["error"]["code"] == "not_permitted"
        assert client.call("ballots")["error"]["code"] == "not_ready"
    assert not played.site.sql("select 1 from pg_roles where rolname = 'shop'"
                               " and has_table_privilege('shop', 'assent.tm', 'select')")


def test_an_agent_knows_nothing_of_what_it_never_voted_for(played):
    assert ask(played.site, "bank.1.4711") == "unknown_transaction"
    assert ask(played.site, "strange.1.1") == "unknown_transaction"
    assert ask(played.site, "nonsense") == "invalid_request"
    assert not played.site.sql("select 1 from assent.acceptor"), "a question makes no row"
