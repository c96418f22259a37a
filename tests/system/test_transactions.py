"""What an application is promised when nothing crashes."""

import contextlib

import psycopg2
import pytest

from harness import FORMAT_ID, Client, gid_of, wait_until


def test_a_commit_changes_both_databases(bank):
    gtrid = bank.begin_move(30)
    assert bank.balances() == (100, 100), "nothing is seen before the commit"
    answer = bank.ctl("commit", gtrid, code=0)
    assert answer["outcome"] == "committed" and answer["applied"]
    assert bank.balances() == (70, 130)
    assert bank.nothing_prepared()


def test_a_commit_asked_for_again_gets_the_same_answer(bank):
    gtrid = bank.begin_move(30)
    for _ in range(3):
        assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert bank.balances() == (70, 130)


def test_a_statement_that_fails_is_told_and_the_commit_refused(bank):
    gtrid = bank.ctl.begin()
    bank.ctl("exec", gtrid, "ledger", "update account set balance = balance + 300 where id = 1", code=0)
    refused = bank.ctl("exec", gtrid, "accounts",
                       "update account set balance = balance - 300 where id = 1", code=1)
    assert refused.error == "sql_error" and refused["error"]["sqlstate"] == "23514"
    assert bank.ctl("commit", gtrid, code=1)["outcome"] == "rolled-back"
    assert bank.balances() == (100, 100)


def test_a_deferred_constraint_refuses_at_prepare_and_undoes_the_other(bank):
    gtrid = bank.begin_move(30)
    bank.ctl("exec", gtrid, "ledger", "insert into owner values (999)", code=0)
    answer = bank.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back"
    reason = answer["reason"]
    assert (reason["rm"], reason["sqlstate"]) == ("ledger", "23503")
    assert reason["detail"] == 'Key (account)=(999) is not present in table "account".'
    assert bank.ctl("show", gtrid)["transaction"]["reason"] == reason
    assert bank.balances() == (100, 100)
    wait_until(bank.nothing_prepared)


def test_a_rollback_undoes_both(bank):
    gtrid = bank.begin_move(30)
    assert bank.ctl("rollback", gtrid, code=0)["outcome"] == "rolled-back"
    assert bank.balances() == (100, 100)
    assert bank.ctl("commit", gtrid, code=1)["outcome"] == "rolled-back"
    assert bank.outcome(gtrid) == "rolled-back"


def test_a_rollback_after_the_commit_answers_committed(bank):
    gtrid = bank.begin_move(30)
    bank.ctl("commit", gtrid, code=0)
    assert bank.ctl("rollback", gtrid, code=1)["outcome"] == "committed"
    assert bank.balances() == (70, 130)


def test_a_transaction_ends_at_its_timeout(bank):
    gtrid = bank.begin_move(30, "--timeout", "4s")  # its statements have to come within it
    wait_until(lambda: bank.outcome(gtrid) == "rolled-back")
    wait_until(lambda: not bank.accounts.sessions() and not bank.ledger.sessions(),
               what="the agents have ended the sessions")
    assert bank.ctl("commit", gtrid, code=1)["outcome"] == "rolled-back"
    assert bank.balances() == (100, 100)


def test_a_timeout_undoes_a_branch_that_has_voted(bank):
    gtrid = bank.begin_move(30, "--timeout", "5s")
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    assert bank.ctl.finish(commit).reply["outcome"] == "rolled-back"
    wait_until(lambda: not bank.ledger.prepared())
    bank.accounts.open_gate()
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_an_application_joins_with_plain_sql_on_its_own_connection(bank):
    gtrid = bank.ctl.begin()
    assert bank.prepare_own(bank.accounts, gtrid, -30) == gid_of(gtrid, "accounts")
    bank.prepare_own(bank.ledger, gtrid, 30)
    bank.ctl("commit", gtrid, code=0)
    assert bank.balances() == (70, 130)
    assert bank.nothing_prepared()


def test_an_application_joins_with_its_drivers_xa_calls(bank):
    gtrid = bank.ctl.begin()
    with contextlib.ExitStack() as stack:
        for database, amount in ((bank.accounts, -30), (bank.ledger, 30)):
            branch = bank.ctl("enlist", gtrid, database.rm, code=0)["branch"]
            xid = branch["xid"]
            connection = stack.enter_context(contextlib.closing(database.connect(autocommit=False)))
            connection.tpc_begin(connection.xid(int(xid["format_id"]), xid["gtrid"], xid["bqual"]))
            connection.cursor().execute(
                "update account set balance = balance + %s where id = 1", (amount,))
            connection.tpc_prepare()
            assert database.prepared() == [branch["gid"]]
        assert int(xid["format_id"]) == FORMAT_ID
        bank.ctl("commit", gtrid, code=0)
    assert bank.balances() == (70, 130)


def test_both_ways_mix_in_one_transaction(bank):
    gtrid = bank.ctl.begin()
    bank.ctl("exec", gtrid, "accounts", "update account set balance = balance - 30 where id = 1", code=0)
    bank.prepare_own(bank.ledger, gtrid, 30)
    bank.ctl("commit", gtrid, code=0)
    assert bank.balances() == (70, 130)


def test_a_driver_that_hides_a_failed_prepare_does_not_deceive_us(bank):
    """PREPARE TRANSACTION of a failed transaction rolls back and raises no error."""
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -30)
    gid = bank.ctl("enlist", gtrid, "ledger", code=0)["branch"]["gid"]
    with contextlib.closing(bank.ledger.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("begin")
        with pytest.raises(psycopg2.Error):
            cursor.execute("update account set balance = -1 where id = 1")
        cursor.execute(f"prepare transaction '{gid}'")
    answer = bank.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back" and answer["reason"]["rm"] == "ledger"
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_a_branch_nobody_prepared_refuses_the_commit(bank):
    gtrid = bank.ctl.begin("--rm", "accounts", "--rm", "ledger")
    bank.prepare_own(bank.accounts, gtrid, -30)
    answer = bank.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back" and answer["reason"]["rm"] == "ledger"
    wait_until(bank.nothing_prepared)


def test_a_rollback_undoes_a_branch_prepared_by_the_application(bank):
    gtrid = bank.ctl.begin()
    bank.prepare_own(bank.accounts, gtrid, -30)
    bank.ctl("rollback", gtrid, code=0)
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_decided_is_answered_before_it_is_applied(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    bank.ledger.agent.pause()
    bank.accounts.open_gate()
    answer = bank.ctl.finish(commit)
    assert answer.code == 0 and answer["outcome"] == "committed"
    assert "ledger" in answer["pending"] and not answer["applied"]
    bank.ledger.agent.resume()
    wait_until(lambda: bank.balances() == (70, 130))


def test_a_key_names_one_transaction(bank):
    gtrid = bank.ctl.begin("--key", "invoice-17")
    again = bank.ctl("begin", "--key", "invoice-17", code=1)
    assert again.error == "key_in_use"
    bank.move(gtrid, 30)
    bank.ctl("commit", gtrid, code=0)
    assert bank.ctl("outcome", "--key", "invoice-17", code=0)["outcome"] == "committed"
    assert bank.ctl("begin", "--key", "invoice-17", code=1).error == "key_in_use"


def test_begin_asked_for_again_with_its_request_id_begins_once(bank):
    with contextlib.closing(bank.client()) as client:
        first = client.call("begin", request_id="0123456789abcdef", label="one")
        again = client.call("begin", request_id="0123456789abcdef", label="one")
        other = client.call("begin", request_id="0123456789abcdef", label="other")
    assert first["gtrid"] == again["gtrid"]
    assert other["error"]["code"] == "request_id_reused"


def test_enlisting_again_answers_the_same_branch(bank):
    gtrid = bank.ctl.begin()
    first = bank.ctl("enlist", gtrid, "ledger/audit", code=0)["branch"]
    again = bank.ctl("enlist", gtrid, "ledger/audit", code=0)["branch"]
    assert first["gid"] == again["gid"] == gid_of(gtrid, "ledger/audit")


def test_two_branches_at_one_database_commit_together(bank):
    gtrid = bank.ctl.begin()
    for branch, account in (("ledger/a", 1), ("ledger/b", 2)):
        bank.ctl("exec", gtrid, branch,
                 "update account set balance = balance + 1 where id = $1", account, code=0)
    bank.ctl("commit", gtrid, code=0)
    assert (bank.ledger.balance(1), bank.ledger.balance(2)) == (101, 101)


def test_a_read_only_branch_leaves_early_and_the_rest_commits(bank):
    gtrid = bank.ctl.begin()
    bank.ctl("exec", "--read-only", gtrid, "accounts", "select balance from account where id = 1", code=0)
    bank.ctl("exec", gtrid, "ledger", "update account set balance = 1 where id = 1", code=0)
    bank.ctl("commit", gtrid, code=0)
    assert bank.ledger.balance(1) == 1


def test_exec_returns_rows(bank):
    gtrid = bank.ctl.begin()
    answer = bank.ctl("exec", gtrid, "accounts",
                      "select id, balance, null from account where id <= $1 order by id", 2, code=0)
    assert answer["rows"] == [["1", "100", None], ["2", "100", None]]
    bank.ctl("rollback", gtrid, code=0)


def test_the_session_of_one_branch_opens_no_other(bank):
    mine, other = bank.ctl.begin(), bank.ctl.begin()
    mine_branch = bank.ctl("enlist", mine, "ledger", code=0)["branch"]
    other_branch = bank.ctl("enlist", other, "ledger", code=0)["branch"]
    with contextlib.closing(Client(bank.ledger.socket)) as client:
        reply = client.call("exec", gid=other_branch["gid"], session=mine_branch["session"],
                            sql="select 1")
    assert reply["error"]["code"] == "invalid_session"
