"""Branches that Java applications prepare by pgjdbc's XA, with the xid that enlist returned."""

import base64
import contextlib
import pathlib
import shutil
import socket
import subprocess

import pytest

from conftest import new_bank
from harness import wait_until
from played import new_server

JAR = pathlib.Path("/usr/share/java/postgresql.jar")
SHELL = pathlib.Path(__file__).with_name("XaShell.java")

pytestmark = pytest.mark.skipif(not JAR.exists() or not shutil.which("javac"),
                                reason="no JDK or no pgjdbc: scripts/install-deps installs them")


class Shell:
    """One XA connection in a Java process (XaShell.java)."""

    def __init__(self, database, classes):
        url = f"jdbc:postgresql://127.0.0.1:{database.server.port}/{database.name}"
        self.popen = subprocess.Popen(["java", "-cp", f"{JAR}:{classes}", "XaShell", url, "shop"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words):
        self.popen.stdin.write(" ".join(map(str, words)) + "\n")
        self.popen.stdin.flush()
        return self.popen.stdout.readline().strip()

    def sql(self, text):
        return self("sql", base64.b64encode(text.encode()).decode())

    def close(self):
        self.popen.stdin.close()
        self.popen.stdout.close()
        self.popen.wait(30)

    def prepare(self, xid, *statements):
        """A branch's whole life in the application; what prepare() answered."""
        assert self("start", *xid) == "ok"
        for statement in statements:
            assert self.sql(statement) == "ok"
        assert self("end", *xid) == "ok"
        return self("prepare", *xid)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-cp", JAR, "-d", folder, SHELL], check=True)
    return folder


@pytest.fixture(scope="module")
def server(run_folder, servers):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with new_server(run_folder, "listen_addresses = '127.0.0.1'", port=port) as server:
        yield server


@pytest.fixture(scope="module")
def shared_bank(run_folder, server):
    with new_bank(run_folder, [server, server]) as bank:
        bank.start()
        yield bank


@pytest.fixture
def bank(shared_bank):
    for database in shared_bank.databases:
        database.sql("update account set balance = 100")
    return shared_bank


@pytest.fixture(scope="module")
def shell(shared_bank, classes):
    """Java takes its time to start."""
    with contextlib.closing(Shell(shared_bank.accounts, classes)) as shell:
        yield shell


def enlist(bank, gtrid, rm="accounts"):
    """What the application takes over of the branch: format id, gtrid, bqual."""
    xid = bank.ctl("enlist", gtrid, rm, code=0)["branch"]["xid"]
    return xid["format_id"], xid["gtrid"], xid["bqual"]


def test_what_pgjdbc_prepares_is_committed_with_the_rest(bank, shell):
    gtrid = bank.ctl.begin()
    assert shell.prepare(enlist(bank, gtrid),
                         "update account set balance = balance - 30 where id = 1") == "ok"
    bank.ctl("exec", gtrid, "ledger", "update account set balance = balance + 30 where id = 1", code=0)
    assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert bank.balances() == (70, 130) and bank.nothing_prepared()


def test_all_branches_may_be_pgjdbcs(bank, shell, classes):
    gtrid = bank.ctl.begin()
    with contextlib.closing(Shell(bank.ledger, classes)) as other:
        assert shell.prepare(enlist(bank, gtrid),
                             "update account set balance = balance - 30 where id = 1") == "ok"
        assert other.prepare(enlist(bank, gtrid, "ledger"),
                             "update account set balance = balance + 30 where id = 1") == "ok"
        assert bank.ctl("commit", gtrid, code=0)["outcome"] == "committed"
    assert bank.balances() == (70, 130) and bank.nothing_prepared()


def test_a_rollback_undoes_what_pgjdbc_has_prepared(bank, shell):
    gtrid = bank.ctl.begin()
    assert shell.prepare(enlist(bank, gtrid),
                         "update account set balance = balance - 30 where id = 1") == "ok"
    assert bank.ctl("rollback", gtrid, code=0)["outcome"] == "rolled-back"
    wait_until(bank.nothing_prepared)
    assert bank.balances() == (100, 100)


def test_prepare_answers_ok_for_a_failed_transaction_and_the_commit_is_refused(bank, shell):
    gtrid = bank.ctl.begin()
    xid = enlist(bank, gtrid)
    assert shell("start", *xid) == "ok"
    assert shell.sql("update account set balance = -1 where id = 1") == "SQLException 23514"
    assert shell("end", *xid) == "ok"
    assert shell("prepare", *xid) == "ok", "PostgreSQL answered ROLLBACK"
    answer = bank.ctl("commit", gtrid, code=1)
    assert answer["outcome"] == "rolled-back" and "branch_not_prepared" in answer["reason"]["message"]


def test_once_the_coordinator_has_committed_the_xid_is_over_and_the_connection_goes_on(bank, shell):
    gtrid = bank.ctl.begin()
    xid = enlist(bank, gtrid)
    assert shell.prepare(xid, "update account set balance = balance - 30 where id = 1") == "ok"
    assert "/".join(map(str, xid)) in shell("recover")
    bank.ctl("commit", gtrid, code=0)
    assert shell("recover") == "ok"
    assert shell("commit", *xid) == "XAException -3"  # XAER_RMERR
    assert shell("rollback", *xid) == "XAException -3"
    assert shell("forget", *xid) == "XAException -4"  # XAER_NOTA
    following = bank.ctl.begin()
    assert shell.prepare(enlist(bank, following),
                         "update account set balance = balance - 5 where id = 1") == "ok"
    assert bank.ctl("commit", following, code=0)["outcome"] == "committed"
    assert bank.accounts.balance(1) == 65


def test_what_another_manager_prepares_by_pgjdbc_is_left_alone(bank, shell):
    theirs = (131077, "other", "branch")
    assert shell.prepare(theirs, "update account set balance = balance - 1 where id = 3") == "ok"
    bank.ctl("commit", bank.begin_move(30), code=0)
    bank.tm.kill()
    bank.start()  # and it asks what is prepared
    bank.ctl("commit", bank.begin_move(30), code=0)
    assert shell("recover") == "ok 131077/other/branch"
    assert shell("rollback", *theirs) == "ok"
