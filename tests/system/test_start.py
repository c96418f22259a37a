"""Starting, stopping, and who may not start beside whom."""

import shutil
import subprocess

import pytest

from harness import Assentctl, program, wait_until


def run(name, *arguments):
    return subprocess.run([program(name), *map(str, arguments)], capture_output=True, text=True, timeout=30)


def test_every_program_tells_its_version():
    for name in ("assentd", "assent-agent", "assentctl"):
        done = run(name, "--version")
        assert done.returncode == 0 and "0." in done.stdout


def test_a_good_configuration_is_called_good(stopped_bank):
    assert run("assentd", "-c", stopped_bank.conf, "--check-config").returncode == 0
    assert run("assent-agent", "-c", stopped_bank.ledger.conf, "--check-config").returncode == 0


def test_a_bad_key_is_named_with_its_file_and_line(stopped_bank):
    conf = stopped_bank.folder / "bad.ini"
    conf.write_text(stopped_bank.conf.read_text().replace("[tm]\n", "[tm]\ncolour = blue\n", 1))
    done = run("assentd", "-c", conf, "--check-config")
    assert done.returncode != 0
    assert "colour" in done.stderr and f"{conf}:2" in done.stderr


@pytest.mark.parametrize("line", ["peer_url = db1.example:7411", "termination_timeout = 100ms",
                                  "witness = on\n[exec shop]\nconninfo = dbname=shop"])
def test_an_agent_refuses_what_would_fail_without_its_coordinator(stopped_bank, line):
    conf = stopped_bank.folder / "bad.ini"
    conf.write_text(stopped_bank.ledger.conf.read_text() + line + "\n")
    done = run("assent-agent", "-c", conf, "--check-config")
    assert done.returncode == 1 and line.split()[0] in done.stderr


def test_a_second_coordinator_on_the_same_data_is_refused(bank):
    conf = bank.write_conf("second.ini", bank.folder / "second.sock", bank.folder / "tm")
    done = run("assentd", "-c", conf)
    assert done.returncode != 0
    assert str(bank.folder / "tm") in done.stderr
    bank.ctl("commit", bank.begin_move(30), code=0)


def test_a_coordinator_of_the_same_name_with_another_log_is_fenced(bank):
    conf = bank.write_conf("twin.ini", bank.folder / "twin.sock", bank.folder / "twin")
    twin = bank.coordinator(conf, "twin.log")
    ctl = Assentctl(f"ipc://{bank.folder}/twin.sock")
    twin.start()
    try:
        wait_until(lambda: ctl("status").get("state") == "fenced")
        assert ctl("status")["reason"]
        assert ctl("begin", code=1).error == "fenced"
        bank.ctl("commit", bank.begin_move(30), code=0)
    finally:
        twin.stop()


def test_a_coordinator_of_another_name_shares_the_agents(bank):
    conf = bank.write_conf("shop.ini", bank.folder / "shop.sock", bank.folder / "shop", tm="shop")
    shop = bank.coordinator(conf, "shop.log")
    ctl = Assentctl(f"ipc://{bank.folder}/shop.sock")
    shop.start()
    try:
        wait_until(lambda: ctl("status").get("state") == "ready")
        gtrid = wait_until(lambda: ctl("begin", "--rm", "accounts", "--rm", "ledger").get("gtrid"))
        for rm in ("accounts", "ledger"):
            ctl("exec", gtrid, rm, "update account set balance = balance + 1 where id = 2", code=0)
        bank.ctl("commit", bank.begin_move(30), code=0)
        ctl("commit", gtrid, code=0)
        assert bank.accounts.balance(2) == 101 and bank.balances() == (70, 130)
    finally:
        shop.stop()


def test_sigterm_ends_everything_in_order(bank):
    bank.ctl("commit", bank.begin_move(30), code=0)
    for process in bank.processes:
        assert process.stop() == 0
    bank.start()
    bank.ctl("commit", bank.begin_move(30), code=0)
    assert bank.balances() == (40, 160)


def test_a_copy_of_a_log_is_refused(bank):
    """Two coordinators with one log would decide against each other."""
    bank.ctl("commit", bank.begin_move(30), code=0)
    bank.tm.kill()
    shutil.copytree(bank.folder / "tm", bank.folder / "copy")
    conf = bank.write_conf("copy.ini", bank.folder / "copy.sock", bank.folder / "copy")
    done = run("assentd", "-c", conf)
    assert done.returncode != 0 and "--moved" in done.stderr


def test_an_old_log_brought_back_is_fenced(bank):
    """A restored data directory must not undo what its newer self has committed."""
    data, backup = bank.folder / "tm", bank.folder / "backup"
    bank.ctl("commit", bank.begin_move(30), code=0)
    bank.tm.kill()
    shutil.copytree(data, backup)
    bank.tm.start()
    bank.wait_ready()
    bank.ctl("commit", bank.begin_move(30), code=0)
    bank.tm.kill()
    for file in data.iterdir():
        file.unlink()
    shutil.copytree(backup, data, dirs_exist_ok=True)
    bank.tm.start()
    wait_until(lambda: bank.ctl("status").get("state") == "fenced")
    assert bank.ctl("begin", code=1).error == "fenced"
    assert bank.balances() == (40, 160)


def test_a_fence_that_the_wrong_copy_raised_is_lifted_by_an_operator(bank):
    """The copy was started once by mistake, and the agents followed it: the true log goes on."""
    bank.ctl("commit", bank.begin_move(30), code=0)
    bank.tm.stop()
    shutil.copytree(bank.folder / "tm", bank.folder / "copy")
    conf = bank.write_conf("copy.ini", bank.folder / "copy.sock", bank.folder / "copy")
    copy = bank.coordinator(conf, "copy.log")
    copy.arguments.append("--moved")
    copy.start()
    ctl = Assentctl(f"ipc://{bank.folder}/copy.sock")
    wait_until(lambda: ctl("status").get("state") == "ready"
               and all(rm["state"] == "up" for rm in ctl("status")["rms"]), 20)
    assert copy.stop() == 0
    bank.tm.start()
    wait_until(lambda: bank.ctl("status").get("state") == "fenced", 20)
    assert bank.ctl("begin", code=1).error == "fenced"
    bank.tm.stop()
    bank.tm.start()
    wait_until(lambda: bank.ctl("status").get("state") == "fenced", 20)
    bank.tm.stop()
    bank.tm.arguments.append("--unfence")
    bank.tm.start()
    bank.wait_ready()
    bank.ctl("commit", bank.begin_move(30), code=0)
    assert bank.balances() == (40, 160)


def test_who_vouches_for_the_disk_need_not_wait_for_an_agent_that_is_gone(stopped_bank):
    bank = stopped_bank
    text = bank.conf.read_text()
    bank.conf.write_text(text.replace("[tm]\n", "[tm]\npresume_abort = same-host\n"))
    bank.start()
    gtrid = bank.begin_move(30)
    bank.tm.kill()
    bank.ledger.agent.stop()
    bank.tm.start()
    wait_until(lambda: bank.ctl("outcome", gtrid).get("outcome") == "rolled-back")
    bank.tm.kill()
    bank.conf.write_text(text)
    bank.tm.start()
    wait_until(lambda: bank.ctl("status").get("state") == "ready")
    assert bank.outcome(gtrid) == "in-progress"
    bank.ledger.agent.start()
    wait_until(lambda: bank.outcome(gtrid) == "rolled-back")


def test_an_agent_without_its_schema_names_the_command(stopped_bank):
    stopped_bank.ledger.sql("drop schema assent cascade")
    done = run("assent-agent", "-c", stopped_bank.ledger.conf)
    assert done.returncode != 0 and "--install-schema" in done.stderr


def test_installing_the_schema_again_changes_nothing(bank):
    bank.ledger.install_schema()
    bank.ctl("commit", bank.begin_move(30), code=0)
