"""For how long a real assentd remembers what it has committed.

The host that these tests run on has been up for longer than the retention that they set, as it is
everywhere with the default one.
"""

import time

from harness import wait_until


def configured(stopped_bank, *lines):
    text = stopped_bank.conf.read_text()
    stopped_bank.conf.write_text(text.replace("[tm]\n", "[tm]\n" + "".join(f"{line}\n" for line in lines), 1))
    stopped_bank.start()
    return stopped_bank


def commits(bank, key):
    gtrid = bank.begin_move(1, "--key", key)
    bank.ctl("commit", gtrid, code=0)
    return gtrid


def uptime_s():
    with open("/proc/uptime") as file:
        return float(file.read().split()[0])


def test_a_key_is_known_after_a_kill_on_a_host_that_is_up_for_longer_than_the_retention(stopped_bank):
    assert uptime_s() > 60
    bank = configured(stopped_bank, "retention = 60s", "key_retention = 60s")
    gtrid = commits(bank, "order-1")
    bank.tm.kill()
    bank.tm.start()
    bank.wait_ready()
    time.sleep(6)  # agents are scanned, and what is over is forgotten, every 5 s
    assert bank.ctl("outcome", "--key", "order-1", code=0)["outcome"] == "committed"
    assert bank.outcome(gtrid) == "committed"
    assert bank.ctl("begin", "--key", "order-1", code=1).error == "key_in_use"


def test_a_key_that_has_had_its_time_is_unknown_and_the_answer_says_since_when(stopped_bank):
    bank = configured(stopped_bank, "key_retention = 2s", "max_keys = 2")
    gtrid = commits(bank, "order-1")
    commits(bank, "order-2")
    refused = bank.ctl("begin", "--key", "order-3", code=1)
    assert refused.error == "keys_full", refused.reply
    wait_until(lambda: "keys" in [alarm["alarm"] for alarm in bank.ctl("status")["alarms"]])
    assert bank.ctl("outcome", "--key", "order-1", code=0)["outcome"] == "committed"
    wait_until(lambda: bank.ctl("outcome", "--key", "order-1").code != 0, 15, "the key's time is over")
    unknown = bank.ctl("outcome", "--key", "order-1")
    assert unknown.error == "unknown_transaction"
    since = time.strptime(unknown["remembered_since"], "%Y-%m-%dT%H:%M:%SZ")
    assert since <= time.gmtime()
    assert bank.outcome(gtrid) == "committed"
    remembered = bank.ctl("status")["remembered"]
    assert remembered["max_keys"] == "2" and int(remembered["outcomes"]) > 0
    commits(bank, "order-1")

