"""What an agent is asked for and does not do: each refusal names the field, and nobody else notices.

`test_bad_input.py` is about the coordinator's socket; here it is the agent's.
"""

import hashlib
import hmac
import json

import pytest

from harness import gid_of
from played import new_site


@pytest.fixture(scope="module")
def shared_site(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.sql("create table work (n int); grant all on work to shop")
        site.start()
        yield site


@pytest.fixture
def player(shared_site):
    player = shared_site.play(f"tm{len(shared_site.players)}")
    assert player.register()["ok"]
    yield player
    assert shared_site.agent.running(), shared_site.agent.log_text()[-2000:]


def refused(answer, code, words):
    assert not answer["ok"]
    assert answer["error"]["code"] == code and words in answer["error"]["message"], answer["error"]


# ---- exec ----

@pytest.mark.parametrize("changes, code, words", [
    ({"gid": None}, "invalid_request", "gid"),
    ({"gid": "1_2_3"}, "invalid_request", "gid is not one of Assent's"),
    ({"sql": 17}, "invalid_request", "sql is missing or no text"),
    ({"sql": None}, "invalid_request", "sql is missing or no text"),
    ({"params": "text"}, "invalid_request", "params must be an array"),
    ({"params": [1] * 70000}, "invalid_request", "params must be an array of at most"),
    ({"params": [[1]]}, "invalid_request", "texts, numbers, booleans and nulls"),
    ({"params": [{"a": 1}]}, "invalid_request", "texts, numbers, booleans and nulls"),
    ({"n": -1}, "invalid_request", "n"),
    ({"session": None}, "invalid_request", "session is missing or no text"),
    ({"session": "soon.20000.w0shop.00"}, "invalid_session", "cannot be read"),
    ({"session": "99.20000.w0shop.00"}, "branch_lost", "started again"),
    ({"session": "1.20000.w0shop.00"}, "invalid_session", "does not belong to this branch")])
def test_a_statement_that_cannot_be_run_says_why(player, changes, code, words):
    branch = player.branch()
    request = {"gid": branch.gid, "session": branch.ticket(), "sql": "insert into work values (1)",
               "n": "1", **changes}
    refused(player.call("exec", **request), code, words)
    assert branch.run("select 1") == [["1"]]  # the branch has not seen it
    assert branch.rollback()["is"] == "done"


def test_a_statement_for_another_database_is_not_run_here(player):
    branch = player.branch()
    branch.gid = gid_of(branch.gtrid, "ledger")
    refused(branch.exec("select 1"), "unknown_rm", "the branch is not of accounts")


def test_a_statement_of_a_coordinator_that_never_registered_is_not_run(shared_site):
    stranger = shared_site.play("stranger")
    stranger.agent = "1"
    refused(stranger.branch().exec("select 1"), "not_ready", "stranger has not registered yet")


def test_a_statement_of_a_coordinators_earlier_start_is_not_run(player):
    branch = player.branch()
    later = player.site.play(player.name, incarnation=2, log=player.log)
    later.secret = player.secret
    later.ancestors = [{"incarnation": "1", "instance": player.instance}]
    assert later.register()["ok"]
    refused(branch.exec("select 1"), "branch_lost", "the coordinator has been started again")


def test_a_statement_for_a_role_that_is_not_served_names_it(player):
    branch = player.branch()
    refused(branch.exec("select 1", role="barber"), "invalid_request",
            "no section [exec barber]")


def test_values_of_each_kind_reach_the_statement(player):
    branch = player.branch()
    rows = branch.run("select $1::text, $2::bool, $3::bool, $4::float8, $5::bigint, $6::text",
                      "it's", True, False, 0.1, 2**53, None)
    assert rows == [["it's", "t", "f", "0.1", "9007199254740992", None]]
    assert branch.rollback()["is"] == "done"


# ---- orders and results ----

@pytest.mark.parametrize("order, code, words", [
    ({"do": "levitate"}, "invalid_request", 'orders[0]: field "do"'),
    ({"do": "commit"}, "invalid_request", 'orders[0]: field "gid"'),
    ({"do": "commit", "gid": "?"}, "invalid_request", 'orders[0]: field "gid"'),
    ({"do": "prepare", "gid": "ok", "agent": "1"}, "invalid_request", 'orders[0]: field "timeout_ms"'),
    ({"do": "commit", "gid": "ok", "lsn": "7"}, "invalid_request", 'orders[0]: field "xid"'),
    ({"do": "commit", "gid": "other tm", "xid": "7", "lsn": "7"}, "invalid_request",
     "orders[0]: the branch belongs to coordinator other"),
    ({"do": "commit", "gid": "other rm", "xid": "7", "lsn": "7"}, "unknown_rm",
     "orders[0]: the branch is of ledger, I serve accounts"),
    ({"do": "commit", "gid": "later", "xid": "7", "lsn": "7"}, "invalid_request",
     "orders[0]: the branch is of a later start"),
    ({"do": "recover"}, "invalid_request", 'orders[0]: field "number"'),
    ({"do": "forget"}, "invalid_request", "orders[0]"),
    ({"do": "ballot"}, "invalid_request", "orders[0]"),
    ("nothing", "invalid_request", "orders[0]")])
def test_an_order_that_is_none_is_refused_by_its_place(player, order, code, words):
    gids = {"ok": gid_of(f"{player.name}.1.1", "accounts"), "other tm": gid_of("other.1.1", "accounts"),
            "other rm": gid_of(f"{player.name}.1.1", "ledger"),
            "later": gid_of(f"{player.name}.2.1", "accounts")}
    if isinstance(order, dict) and order.get("gid") in gids:
        order = {**order, "gid": gids[order["gid"]]}
    refused(player.call("orders", **player.sender(), orders=[order]), code, words)


@pytest.mark.parametrize("changes, code", [
    ({"orders": "none"}, "invalid_request"), ({"orders": [{"do": "recover"}] * 257}, "invalid_request"),
    ({"wait_ms": "long"}, "invalid_request"), ({"tm": None}, "invalid_request"),
    ({"instance": "5d1f"}, "invalid_request"), ({"tm": "stranger"}, "not_ready"),
    ({"agent": "99"}, "not_ready"), ({"incarnation": "7"}, "rm_refused")])
def test_orders_of_who_is_not_heard_are_refused(player, changes, code):
    answer = player.call("orders", **{**player.sender(), "orders": [], "wait_ms": 0, **changes})
    refused(answer, code, "")


@pytest.mark.parametrize("changes, code", [
    ({"wait_ms": -1}, "invalid_request"), ({"agent": "99"}, "not_ready")])
def test_results_for_who_is_not_heard_are_refused(player, changes, code):
    refused(player.call("results", **{**player.sender(), "wait_ms": 0, **changes}), code, "")


def test_a_second_question_for_results_answers_the_first(player):
    """Its answer had been lost: nobody waits for it any more."""
    player.poll(0)
    branch = player.branch()
    branch.prepare_own("insert into work values (1)")
    assert branch.rollback(branch.ready())["is"] == "done"


# ---- registration ----

@pytest.mark.parametrize("field, value", [
    ("tm", "No Name"), ("log", "17"), ("incarnation", "soon"), ("instance", None), ("secret", "ab"),
    ("recovered_lsn", -1), ("wire_least", "one"), ("ancestors", "none"), ("rm", 17)])
def test_an_offer_that_says_too_little_is_refused_by_its_field(player, field, value):
    offer = {"tm": player.name, "log": player.log, "incarnation": "1", "instance": player.instance,
             "recovered_lsn": "0", "secret": player.secret.hex(), "ancestors": [], "wire_least": 1,
             "wire_most": 1, field: value}
    refused(player.call("register", **offer), "invalid_request", field)
    assert player.register()["ok"]


def test_an_offer_without_messages_in_common_is_refused(player):
    answer = player.call("register", tm=player.name, log=player.log, incarnation="1",
                         instance=player.instance, recovered_lsn="0", secret=player.secret.hex(),
                         ancestors=[], wire_least=7, wire_most=9)
    assert answer["refusal"] == "wire"


# ---- what a person asks ----

@pytest.mark.parametrize("request_, words", [
    ({}, "tm"), ({"tm": "bank"}, "gtrids: an array of at most"),
    ({"tm": "bank", "gtrids": {}}, "gtrids: an array of at most"),
    ({"tm": "bank", "gtrids": ["bank.1.1"] * 10000}, "gtrids: an array of at most"),
    ({"tm": "bank", "gtrids": ["bank"]}, '"bank" is no gtrid of bank'),
    ({"tm": "bank", "gtrids": [17]}, '"" is no gtrid of bank'),
    ({"tm": "bank", "gtrids": ["other.1.1"]}, '"other.1.1" is no gtrid of bank')])
def test_a_question_what_is_recalled_is_about_gtrids(player, request_, words):
    refused(player.call("recall", **request_), "invalid_request", words)


def test_nothing_is_recalled_of_what_was_never_heard_of(player):
    answer = player.call("recall", tm=player.name, gtrids=[f"{player.name}.1.999"])
    assert answer["ok"] and answer["recalls"] == [] and not answer["accepts"]


@pytest.mark.parametrize("gtrid, code", [
    (None, "invalid_request"), ("bank", "invalid_request"), (17, "invalid_request"),
    ("bank.18446744073709551615.1", "invalid_request"), ("nobody.1.1", "unknown_transaction")])
def test_a_question_for_an_outcome_is_about_a_coordinator_that_is_known(player, gtrid, code):
    refused(player.call("outcome", gtrid=gtrid), code, "")


def test_an_outcome_that_was_never_voted_on_here_is_its_coordinators_to_tell(player):
    refused(player.call("outcome", gtrid=f"{player.name}.1.1"), "unknown_transaction",
            "ask its coordinator")


@pytest.mark.parametrize("field, value", [("gtrids", "all"), ("gtrids", [17]), ("gtrids", ["bank"]),
                                          ("gtrids", ["bank.1.1"] * 10000)])
def test_a_question_what_is_prepared_is_about_gtrids(player, field, value):
    refused(player.call("prepared", **{field: value}), "invalid_request", field)


# ---- what other agents say ----

KEY = bytes(range(32))


def told_of_peers(player, **changes):
    return player.call("peers", **{**player.sender(), "key": KEY.hex(), "peers": [
        {"rm": "ledger", "url": "ipc:///nowhere/ledger.sock"}], **changes})


@pytest.mark.parametrize("changes", [
    {"key": "5f1c"}, {"key": None}, {"peers": None}, {"peers": ["ledger"]}, {"peers": [{"rm": "ledger"}]},
    {"peers": [{"rm": "No Name", "url": "ipc:///x"}]}, {"peers": [{"rm": "r", "url": "ipc:///x"}] * 65}])
def test_other_agents_that_are_told_wrongly_are_not_stored(player, changes):
    refused(told_of_peers(player, **changes), "invalid_request", "")
    assert not player.site.sql("select from assent.peer where tm = %s", player.name)


def test_other_agents_are_told_by_who_is_heard(player):
    refused(told_of_peers(player, agent="99"), "not_ready", "has not registered")


def sealed(player, body, to="accounts", key=KEY):
    body = body if isinstance(body, str) else json.dumps(body)
    sealed_text = f"{player.name}\0{to}\0{body}".encode()
    return {"tm": player.name, "to": to, "body": body,
            "mac": hmac.new(key, sealed_text, hashlib.sha256).hexdigest()}


def ballots(player, *list_):
    return {"op": "ballots", "rm": "ledger", "ballots": list(list_)}


def ask_promise(player, **changes):
    return {"is": "ask-promise", "gtrid": f"{player.name}.1.1", "number": "257",
            "acceptors": {"tm": False, "agents": ["accounts", "ledger"]}, **changes}


def test_before_it_was_told_of_others_an_agent_hears_none(player):
    refused(player.call("ballots", **sealed(player, ballots(player))), "not_ready",
            "has told me of no other agents")


@pytest.mark.parametrize("change", [
    lambda s: {**s, "mac": "00" * 32}, lambda s: {**s, "mac": "soon"},
    lambda s: {**s, "body": s["body"] + " "}, lambda s: {**s, "to": "ledger"},
    lambda s: {"tm": s["tm"]}])
def test_what_was_not_sealed_for_this_agent_is_not_heard(player, change):
    assert told_of_peers(player)["ok"]
    answer = player.call("ballots", **change(sealed(player, ballots(player, ask_promise(player)))))
    refused(answer, "not_permitted", "not sealed")
    assert not player.site.sql("select from assent.acceptor where tm = %s", player.name)


@pytest.mark.parametrize("body", [
    "no json", "[]", {"op": "ballots", "rm": "ledger"}, {"op": "ballots", "rm": "ledger", "ballots": [7]},
    {"op": "ballots", "ballots": []}, {"op": "ballots", "rm": "ledger", "ballots": [{"is": "levitate"}]},
    {"op": "ballots", "rm": "ledger", "ballots": [
        {"is": "ask-promise", "gtrid": "other.1.1", "number": "1",
         "acceptors": {"tm": False, "agents": ["accounts", "ledger"]}}]}])
def test_a_sealed_message_that_makes_no_sense_is_refused(player, body):
    assert told_of_peers(player)["ok"]
    refused(player.call("ballots", **sealed(player, body)), "invalid_request", "")
