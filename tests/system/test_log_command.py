"""assentctl log: what a DBA reads in a coordinator's log, with and without the coordinator."""

import json
import shutil
import subprocess

from harness import program, wait_until


def log(verb, folder, *options):
    done = subprocess.run([program("assentctl"), "log", verb, str(folder), *options],
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def types(folder, *options):
    code, out, _ = log("dump", folder, "--json", *options)
    assert code == 0
    return [json.loads(line)["type"] for line in out.splitlines()]


def damage(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))


def test_dump_tells_the_story_of_a_transaction(bank):
    gtrid = bank.begin_move(30, "--key", "order-4711")
    bank.ctl("commit", gtrid, code=0)
    wait_until(lambda: "END" in types(bank.folder / "tm", "--gtrid", gtrid))
    assert types(bank.folder / "tm", "--gtrid", gtrid) == ["COMMIT", "END"]
    code, out, _ = log("dump", bank.folder / "tm", "--gtrid", gtrid)
    decision = out.splitlines()[1]
    assert code == 0
    for word in (" COMMIT ", gtrid, "order-4711", "accounts(xid ", "ledger(xid "):
        assert word in decision


def test_a_running_and_a_stopped_log_can_be_verified(bank):
    bank.ctl("commit", bank.begin_move(30), code=0)
    code, out, _ = log("verify", bank.folder / "tm")
    assert code == 0 and out.startswith("ok: the log of bank, ") and "in use" in out
    assert bank.tm.stop() == 0
    code, out, _ = log("verify", bank.folder / "tm")
    assert code == 0 and "stopped cleanly" in out
    code, out, _ = log("stat", bank.folder / "tm", "--json")
    told = json.loads(out)
    assert code == 0 and told["tm"] == "bank" and told["segments"] == "1" and not told["torn"]


def test_a_copy_of_a_running_log_reads_as_far_as_it_is_whole(bank):
    bank.ctl("commit", bank.begin_move(30), code=0)
    copy = bank.folder / "copy"
    shutil.copytree(bank.folder / "tm", copy)
    assert "COMMIT" in types(copy)
    assert log("verify", copy)[0] == 0


def test_a_torn_end_is_no_damage(bank):
    assert bank.tm.stop() == 0
    segment = bank.folder / "tm" / "wal-0000000001"
    end = json.loads(log("stat", bank.folder / "tm", "--json")[1])["end"]
    damage(segment, int(end.split()[-1]) - 1)  # the last byte of STOP
    code, out, _ = log("verify", bank.folder / "tm")
    assert code == 0 and "torn" in out
    bank.tm.start()
    bank.wait_ready()


def test_damage_is_refused_by_the_command_and_by_the_coordinator(bank):
    bank.ctl("commit", bank.begin_move(30), code=0)
    assert bank.tm.stop() == 0
    segment = bank.folder / "tm" / "wal-0000000001"
    damage(segment, 4096 + 50)
    code, out, words = log("verify", bank.folder / "tm")
    assert code == 1 and out == ""
    assert f"{segment} is corrupt at offset 4096: the record with lsn 1 " in words
    code, _, words = log("dump", bank.folder / "tm")
    assert code == 1 and "is corrupt at offset 4096" in words
    bank.tm.start()
    assert bank.tm.wait() != 0
    assert "is corrupt at offset 4096" in bank.tm.log_text()


def test_there_is_no_log_in_an_empty_folder(tmp_path):
    code, _, words = log("stat", tmp_path)
    assert code == 1 and "there is no log in" in words
    code, _, words = log("stat", tmp_path / "nowhere")
    assert code == 1 and "No such file or directory" in words
