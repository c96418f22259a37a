"""What `assentctl in-doubt` tells a DBA: each situation is made for real, and the verdict and the
advice are what becomes of it and what ends it."""

import contextlib
import pathlib
import shutil
import threading

from harness import Assentctl, gid_of, wait_until


def report(bank):
    return bank.ctl("in-doubt", code=0).reply


def agents_report(bank):
    """With the coordinator down."""
    ctl = Assentctl(bank.url)
    popen = ctl.popen("-c", bank.conf, "in-doubt", "--agents")
    answer = ctl.finish(popen)
    assert answer.code == 0, answer.words
    return answer.reply


def item(found, gtrid, rm):
    return next((item for item in found["in_doubt"]
                 if item["gtrid"] == gtrid and item["rm"] == rm), None)


def wait_for_verdict(bank, gtrid, rm, word):
    def look():
        answer = bank.ctl("in-doubt")
        found = item(answer.reply, gtrid, rm) if answer.code == 0 else None
        return found if found and found["verdict"] == word else None
    return wait_until(look, 20, f"{gtrid} at {rm} is {word}")


def own_transfer(bank, amount=1):
    """Both branches prepared by the application; nothing decided."""
    gtrid = bank.ctl.begin("--timeout", "600s", "--label", "a transfer")
    gids = [bank.prepare_own(database, gtrid, amount) for database in bank.databases]
    return gtrid, gids


def decide_without_ledger(bank, *options):
    """Committed, with the agent of ledger dead before it could hear of it."""
    gtrid = bank.begin_move(30, *options)
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    bank.ledger.agent.kill()
    bank.accounts.open_gate()
    assert bank.ctl.finish(commit)["outcome"] == "committed"
    wait_until(lambda: gid_of(gtrid, "accounts") not in bank.accounts.prepared())
    return gtrid


def test_nothing_is_in_doubt_in_a_quiet_bank(bank):
    found = report(bank)
    assert found["in_doubt"] == [] and found["foreign"] == [] and found["running"]
    assert [agent["answered"] for agent in found["agents"]] == [True, True]
    code, out, _ = bank.ctl.text("in-doubt")
    assert code == 0 and out.startswith("0 branches in doubt")


def test_a_transaction_under_way_is_shown_as_undecided_with_what_it_holds(bank):
    gtrid, gids = own_transfer(bank)
    branch = item(report(bank), gtrid, "accounts")
    assert branch["verdict"] == "undecided" and "advice" not in branch
    assert branch["label"] == "a transfer" and branch["owner"] == "shop"
    assert branch["gid"] == gids[0] and branch["coordinator"]["decision"] == "none yet"
    assert branch["freeze_max_age"] == 200000000 and branch["xid_age"] >= 0
    assert any(table["table"] == "public.account" for table in branch["tables"])
    assert [(other["rm"], other["says"]) for other in branch["others"]] == [("ledger", "prepared")]


@contextlib.contextmanager
def blocked_session(database, sql):
    pids = []

    def work():
        with contextlib.closing(database.server.connect(database.name)) as connection, \
                contextlib.suppress(Exception):
            pids.append(connection.info.backend_pid)
            connection.cursor().execute(sql)
    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: pids and database.sql(
        "select 1 from pg_locks where pid = %s and not granted", pids[0]))
    try:
        yield pids[0]
    finally:
        database.sql("select pg_cancel_backend(%s)", pids[0])
        thread.join()


def test_the_sessions_that_a_branch_blocks_are_named_with_their_queries(bank):
    gtrid, _ = own_transfer(bank)
    bank.accounts.sql("grant pg_read_all_stats to assent")
    try:
        with blocked_session(bank.accounts, "update account set balance = 7 where id = 1") as pid:
            [blocked] = item(report(bank), gtrid, "accounts")["blocks"]
            _, out, _ = bank.ctl.text("in-doubt")
    finally:
        bank.accounts.sql("revoke pg_read_all_stats from assent")
    assert blocked["pid"] == pid and blocked["role"] == "postgres"
    assert blocked["query"] == "update account set balance = 7 where id = 1"
    assert f"pid {pid}, role postgres" in out and "update account set balance = 7" in out


# ---- decided ----

def test_a_decided_branch_whose_agent_is_gone_commits_when_it_is_back(bank):
    gtrid = decide_without_ledger(bank)
    branch = wait_for_verdict(bank, gtrid, "ledger", "will-commit")
    assert branch["reason"] == "will commit when ledger is reachable"
    assert branch["advice"] == (f"start the agent of ledger, which listens at {bank.ledger.url}:"
                                " assent-agent -c FILE")
    assert branch["coordinator"]["state"] == "committing"
    assert branch["coordinator"]["decision"] == "commit"
    lsn = branch["coordinator"]["lsn"]
    dump = bank.ctl.text("log", "dump", bank.folder / "tm", "--gtrid", gtrid)[1]
    assert any(line.split()[0] == lsn and "COMMIT" in line for line in dump.splitlines()[1:]), dump
    bank.ledger.agent.start()
    wait_until(lambda: item(report(bank), gtrid, "ledger") is None, 20)
    assert bank.balances() == (70, 130) and bank.nothing_prepared()


def test_whose_a_branch_is_outlives_the_coordinator(bank):
    gtrid = decide_without_ledger(bank, "--label", "the rent", "--application", "payroll")
    bank.tm.kill()
    bank.tm.start()
    branch = wait_for_verdict(bank, gtrid, "ledger", "will-commit")
    assert branch["label"] == "the rent" and branch["application"] == "payroll"
    dump = bank.ctl.text("log", "dump", bank.folder / "tm", "--gtrid", gtrid)[1]
    assert "the rent" in dump
    bank.ledger.agent.start()
    wait_until(bank.nothing_prepared)


def test_with_the_coordinator_down_the_log_still_tells_the_decision(bank):
    gtrid = decide_without_ledger(bank)
    bank.tm.kill()
    bank.ledger.start()
    branch = item(agents_report(bank), gtrid, "ledger")
    assert branch["reason"] == "will commit when the coordinator is started"
    assert branch["advice"] == f"assentd -c {bank.conf}"
    assert branch["evidence"] == "prepared, and the one that has voted"
    assert item(agents_report(bank), gtrid, "accounts") is None
    bank.tm.start()
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (70, 130)


@contextlib.contextmanager
def commit_that_ledger_may_not_finish(bank):
    """Committed, and the agent of ledger may not act for the owner of its branch; the missing
    GRANT comes with the gtrid."""
    clerk = f"clerk_{bank.ledger.name}"
    grant = f'grant "{clerk}" to "assent"'
    bank.ledger.sql(f"create role {clerk} login; {grant};"
                    f" grant select, update on account, closed_gate to {clerk}")
    gtrid = bank.ctl.begin("--timeout", "600s")
    bank.ctl("exec", gtrid, "accounts",
             "update account set balance = balance - 30 where id = 1", code=0)
    gid = bank.ctl("enlist", gtrid, "ledger", code=0)["branch"]["gid"]
    with contextlib.closing(bank.ledger.connect(user=clerk)) as connection:
        cursor = connection.cursor()
        cursor.execute("begin")
        cursor.execute("update account set balance = balance + 30 where id = 1")
        cursor.execute(f"prepare transaction '{gid}'")
    commit = bank.commit_to_the_gate(gtrid, "--wait", "decided")
    bank.ledger.sql(f"revoke {clerk} from assent")
    bank.accounts.open_gate()
    assert bank.ctl.finish(commit)["outcome"] == "committed"
    try:
        yield gtrid, grant
    finally:
        bank.ledger.sql(f"drop owned by {clerk}; drop role {clerk}")


def test_a_branch_that_its_agent_may_not_finish_names_the_grant(bank):
    with commit_that_ledger_may_not_finish(bank) as (gtrid, grant):
        branch = wait_for_verdict(bank, gtrid, "ledger", "will-commit")
        assert branch["reason"] == ("will commit once the agent can: the agent's role may not act"
                                    " for its owner")
        told = branch["advice"].split("'")[1]
        assert branch["advice"] == f"psql -d {bank.ledger.name} -c '{told}'"
        assert told.lower() == grant
        bank.ledger.sql(told)
        wait_until(lambda: item(report(bank), gtrid, "ledger") is None, 20)
        assert bank.balances() == (70, 130)


# ---- never decided ----

def test_with_the_coordinator_down_what_was_never_decided_is_safe_to_roll_back(bank):
    gtrid, _ = own_transfer(bank, 30)
    bank.tm.kill()
    found = agents_report(bank)
    assert not found["running"]
    for rm in ("accounts", "ledger"):
        branch = item(found, gtrid, rm)
        assert branch["verdict"] == "safe-to-roll-back"
        assert branch["reason"] == "safe to roll back: never decided, incarnation over"
        assert branch["advice"] == f"assentd -c {bank.conf}, which does it"
    bank.tm.start()
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100) and bank.outcome(gtrid) == "rolled-back"


def test_nothing_is_called_safe_while_an_agent_could_know_better(bank):
    gtrid, _ = own_transfer(bank)
    bank.tm.kill()
    bank.ledger.agent.kill()
    branch = item(agents_report(bank), gtrid, "accounts")
    assert branch["verdict"] == "waits" and branch["advice"].startswith("start the agent of ledger")
    bank.tm.start()
    branch = wait_for_verdict(bank, gtrid, "accounts", "waits")
    assert branch["reason"].startswith("will be rolled back when ledger registers")
    bank.ledger.agent.start()
    wait_until(bank.nothing_prepared, 20)
    assert report(bank)["in_doubt"] == []


# ---- the log is not there, or not the newest ----

def test_without_the_log_nothing_is_known(bank):
    gtrid, _ = own_transfer(bank)
    bank.tm.kill()
    aside = bank.folder / "aside"
    shutil.move(bank.folder / "tm", aside)
    branch = item(agents_report(bank), gtrid, "accounts")
    assert branch["verdict"] == "unknown"
    assert branch["reason"].startswith("cannot be known: the coordinator's log is not here")
    assert branch["advice"].endswith("recover --lost-log")
    shutil.move(aside, bank.folder / "tm")
    bank.tm.start()
    wait_until(bank.nothing_prepared)


def test_an_old_log_is_not_believed(bank):
    copy = bank.folder / "copy"
    bank.tm.stop()
    shutil.copytree(bank.folder / "tm", copy)
    bank.tm.start()
    bank.wait_ready()
    gtrid = decide_without_ledger(bank)
    bank.tm.kill()
    bank.ledger.start()
    shutil.move(bank.folder / "tm", bank.folder / "newest")
    shutil.move(copy, bank.folder / "tm")
    branch = item(agents_report(bank), gtrid, "ledger")
    assert branch["verdict"] == "unknown" and "fenced" in branch["reason"]
    shutil.rmtree(bank.folder / "tm")
    shutil.move(bank.folder / "newest", bank.folder / "tm")
    bank.tm.start()
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (70, 130)


def test_agents_are_not_asked_in_place_of_a_coordinator_that_runs(bank):
    gtrid, _ = own_transfer(bank)
    branch = item(agents_report(bank), gtrid, "accounts")
    assert branch["verdict"] == "unknown" and "the coordinator runs" in branch["reason"]


# ---- by another's hand ----

def test_a_decided_branch_that_was_rolled_back_by_hand_is_mixed(bank):
    gtrid = decide_without_ledger(bank)
    bank.ledger.sql(f"rollback prepared '{gid_of(gtrid, 'ledger')}'")
    bank.ledger.agent.start()
    branch = wait_for_verdict(bank, gtrid, "ledger", "mixed")
    assert "ledger" in branch["reason"]
    assert f"assentctl forget {gtrid}" in branch["advice"]
    wait_until(lambda: bank.outcome(gtrid) == "mixed", 20, "it is written down")
    assert bank.balances() == (70, 100)


def test_a_branch_that_was_committed_by_hand_and_then_undone_elsewhere_is_mixed(bank):
    gtrid = bank.begin_move(30)
    commit = bank.commit_to_the_gate(gtrid)
    bank.ledger.sql(f"commit prepared '{gid_of(gtrid, 'ledger')}'")
    bank.ctl("rollback", gtrid)
    bank.accounts.open_gate()
    bank.ctl.finish(commit)
    branch = wait_for_verdict(bank, gtrid, "ledger", "mixed")
    assert "ledger ended otherwise than was decided" in branch["reason"]
    assert bank.balances() == (100, 130)


# ---- a database that lost data ----

def test_a_quarantined_database_is_not_judged(bank):
    gtrid = decide_without_ledger(bank)
    bank.ledger.sql("select setval('assent.beat_bank', 1)")
    bank.ledger.agent.start()
    branch = wait_for_verdict(bank, gtrid, "ledger", "unknown")
    assert "the database of ledger has lost durable data" in branch["reason"]
    assert "assentctl agents release ledger --reason TEXT" in branch["advice"]


# ---- what is not this coordinator's ----

def test_foreign_branches_have_a_table_of_their_own(bank):
    with contextlib.closing(bank.accounts.connect()) as connection:
        cursor = connection.cursor()
        for gid in (f"citus_{bank.accounts.name}", gid_of("shop.1.1", "accounts")):
            cursor.execute("begin")
            cursor.execute(f"prepare transaction '{gid}'")
    found = report(bank)
    [foreign] = found["foreign"]
    assert (foreign["manager"], foreign["rm"], foreign["database"]) == (
        "Citus", "accounts", bank.accounts.name)
    branch = item(found, "shop.1.1", "accounts")
    assert branch["verdict"] == "not-ours" and "belongs to coordinator shop" in branch["reason"]
    _, out, _ = bank.ctl.text("in-doubt")
    assert "Citus" in out.split("Prepared by others")[1]


def test_a_branch_in_the_wrong_database_is_said_to_be(bank):
    gid = gid_of("bank.1.1", "ledger")
    with contextlib.closing(bank.accounts.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("begin")
        cursor.execute(f"prepare transaction '{gid}'")
    branch = item(report(bank), "bank.1.1", "ledger")
    assert branch["found_at"] == "accounts"
    assert branch["reason"].startswith("cannot be finished: prepared in another database")
    assert branch["advice"] == f"psql -d {bank.accounts.name} -c \"ROLLBACK PREPARED '{gid}'\""
    bank.accounts.sql(branch["advice"].split('"')[1])
    assert report(bank)["in_doubt"] == []


# ---- what it costs ----

def test_asking_has_nothing_compiled(bank):
    """Compiling took seconds, in which the backend could be neither cancelled nor ended."""
    report(bank)
    for database in bank.databases:
        for pid in database.backends("assent"):
            assert "llvmjit" not in pathlib.Path(f"/proc/{pid}/maps").read_text()


# ---- those who do not answer ----

def test_an_agent_that_hangs_does_not_keep_the_others_from_being_shown(bank):
    gtrid, _ = own_transfer(bank)
    bank.ledger.agent.pause()
    found = report(bank)
    assert [agent["answered"] for agent in found["agents"]] == [True, False]
    assert item(found, gtrid, "accounts") and not item(found, gtrid, "ledger")
    _, out, _ = bank.ctl.text("in-doubt")
    assert "no answer from the agent of ledger" in out
    bank.ledger.agent.resume()


def test_without_a_coordinator_the_way_around_it_is_named(bank):
    bank.tm.stop()
    code, _, words = bank.ctl.text("in-doubt")
    assert code == 3 and "in-doubt --agents" in words
