"""What a daemon refuses to start with: the words name the file, the section and the key."""

import json
import re
import subprocess

import pytest

from harness import program

COORDINATOR = """[tm]
name = bank
data_dir = /nowhere
listen = ipc:///nowhere/bank.sock
[rm accounts]
url = ipc:///nowhere/accounts.sock
"""

AGENT = """[agent]
rm = accounts
listen = ipc:///nowhere/accounts.sock
conninfo = dbname=shop user=assent password=secret17
"""


def run(name, *arguments, **environment):
    return subprocess.run([program(name), *map(str, arguments)], capture_output=True, text=True,
                          timeout=30, env=environment or None)


@pytest.fixture
def refused(tmp_path):
    """What is said of this configuration, when it is refused."""
    def refuse(name, text):
        conf = tmp_path / "daemon.ini"
        conf.write_text(text)
        done = run(name, "-c", conf, "--check-config")
        assert done.returncode == 1 and done.stdout == "", done
        assert "secret17" not in done.stderr
        return done.stderr
    return refuse


def without(text, key):
    changed = re.sub(rf"^{key} = .*\n", "", text, flags=re.MULTILINE)
    assert changed != text
    return changed


@pytest.mark.parametrize("name, text", [("assentd", COORDINATOR), ("assent-agent", AGENT)])
def test_what_the_others_are_changed_from_is_right(tmp_path, name, text):
    conf = tmp_path / "daemon.ini"
    conf.write_text(text)
    assert run(name, "-c", conf, "--check-config").returncode == 0


@pytest.mark.parametrize("key, words", [
    ("name", "[tm] name: needed"), ("listen", "[tm] listen: needed, for example ipc:///"),
    ("url", "[rm accounts] url: needed, its agent's listen address")])
def test_a_coordinator_names_what_is_missing(refused, key, words):
    assert words in refused("assentd", without(COORDINATOR, key))


def test_a_coordinator_without_a_database_has_nothing_to_do(refused):
    assert "no [rm NAME] section" in refused("assentd", COORDINATOR.split("[rm ")[0])


@pytest.mark.parametrize("line, words", [
    ("presume_abort = perhaps", "presume_abort: `registered` or `same-host`, not `perhaps`"),
    ("transaction_timeout = 0s", "transaction_timeout: must not be 0"),
    ("retention = 0s", "retention, key_retention: must not be 0"),
    ("key_retention = 0s", "retention, key_retention: must not be 0"),
    ("http_listen = gopher://127.0.0.1:80", "http_listen"),
    ("http_listen = http://127.0.0.1", "http_listen"),
    ("http_listen = http://127.0.0.1:99999", "http_listen"),
    ("http_listen = http://db1.example:8080", "http_listen")])
def test_a_coordinator_names_what_is_wrong(refused, line, words):
    assert words in refused("assentd", COORDINATOR.replace("[tm]\n", f"[tm]\n{line}\n"))


def test_a_coordinator_wants_names_that_fit_into_gids(refused):
    assert "[tm] name: needed" in refused("assentd", COORDINATOR.replace("= bank", "= Bank & Co"))
    assert "[rm Accounts]: a resource manager's name is" in refused(
        "assentd", COORDINATOR.replace("[rm accounts]", "[rm Accounts]"))


def test_a_coordinator_has_room_for_64_databases(refused):
    sections = "".join(f"[rm r{n}]\nurl = ipc:///nowhere/r{n}.sock\n" for n in range(64))
    assert "[rm r63]: at most 64 resource managers" in refused("assentd", COORDINATOR + sections)


def test_a_coordinator_without_a_data_dir_has_the_usual_one(tmp_path):
    conf = tmp_path / "assentd.ini"
    conf.write_text(without(COORDINATOR, "data_dir"))
    assert run("assentd", "-c", conf, "--check-config").returncode == 0


@pytest.mark.parametrize("key, words", [
    ("rm", "rm in [agent] must be a name"), ("listen", "listen in [agent] is missing"),
    ("conninfo", "conninfo in [agent] is missing")])
def test_an_agent_names_what_is_missing(refused, key, words):
    assert words in refused("assent-agent", without(AGENT, key))


@pytest.mark.parametrize("line, words", [
    ("peer_url = http://db1.example:80", "peer_url in [agent]: expected ipc:///path or tcp://"),
    ("termination_timeout = 1ms", "termination_timeout in [agent] must be at least"),
    ("state_file = accounts.state", "state_file in [agent]: expected an absolute path"),
    ("witness = yes\n[exec shop]\nconninfo = dbname=shop", "witness holds no data"),
    ("[exec shop]", "conninfo in [exec shop] is missing"),
    ("[exec shop]\nconninfo = dbname=shop password", "conninfo in [exec shop] is no connection"),
    (f"[exec {'r' * 64}]\nconninfo = dbname=shop", "the name is longer than 63 bytes"),
    ("".join(f"[exec r{n}]\nconninfo = dbname=shop\n" for n in range(17)),
     "[exec r16]: more than 16 such sections")])
def test_an_agent_names_what_is_wrong(refused, line, words):
    assert words in refused("assent-agent", AGENT + line + "\n")


def test_an_agent_does_not_repeat_a_conninfo_it_cannot_read(refused):
    words = refused("assent-agent", AGENT.replace("dbname=shop", "dbname shop"))
    assert "conninfo in [agent] is no connection string" in words


@pytest.mark.parametrize("line", ["state_file = /var/lib/assent/accounts.state",
                                  "peer_url = tcp://db1.example:7411", "peer_url = ipc:///run/a.sock",
                                  "witness = yes", "termination_timeout = 1min"])
def test_an_agent_takes_what_is_right(tmp_path, line):
    conf = tmp_path / "agent.ini"
    conf.write_text(AGENT + line + "\n")
    assert run("assent-agent", "-c", conf, "--check-config").returncode == 0


@pytest.mark.parametrize("name", ["assentd", "assent-agent"])
def test_a_file_that_is_not_there_is_named(name):
    done = run(name, "-c", "/nowhere/daemon.ini", "--check-config")
    assert done.returncode == 1 and "/nowhere/daemon.ini" in done.stderr


@pytest.mark.parametrize("name", ["assentd", "assent-agent"])
@pytest.mark.parametrize("arguments", [[], ["-c", "/nowhere/x.ini", "more"], ["--levitate"], ["-c"]])
def test_a_daemon_that_is_called_wrongly_says_how(name, arguments):
    done = run(name, *arguments)
    assert done.returncode == 2 and name in done.stderr


def test_who_installs_a_schema_alone_may_name_another_connection():
    done = run("assent-agent", "-c", "/nowhere/x.ini", "--conninfo", "dbname=shop")
    assert done.returncode == 2


@pytest.mark.parametrize("name", ["assentd", "assent-agent"])
def test_a_daemon_helps(name):
    done = run(name, "--help")
    assert done.returncode == 0 and f"Usage: {name} -c FILE" in done.stdout


# ---- starts that fail ----

def test_a_coordinator_that_cannot_have_its_folder_says_so(tmp_path):
    """Where its data should be there is a file."""
    (tmp_path / "tm").write_text("")
    conf = tmp_path / "assentd.ini"
    conf.write_text(COORDINATOR.replace("/nowhere/bank.sock", f"{tmp_path}/bank.sock")
                    .replace("/nowhere\n", f"{tmp_path}/tm\n"))
    done = run("assentd", "-c", conf)
    assert done.returncode == 1 and f"{tmp_path}/tm" in done.stderr


@pytest.mark.parametrize("name", ["assentd", "assent-agent"])
def test_a_daemon_that_cannot_listen_says_where(tmp_path, name):
    conf = tmp_path / "daemon.ini"
    conf.write_text(COORDINATOR.replace("/nowhere\n", f"{tmp_path}/tm\n") if name == "assentd"
                    else AGENT)
    done = run(name, "-c", conf)
    assert done.returncode == 1 and "/nowhere/" in done.stderr


def test_a_coordinator_whose_peer_key_cannot_be_read_does_not_start(tmp_path):
    """Without it its agents could not finish what it begins, and would not know."""
    (tmp_path / "tm" / "peer-key").mkdir(parents=True)
    conf = tmp_path / "assentd.ini"
    conf.write_text(COORDINATOR.replace("/nowhere/bank.sock", f"{tmp_path}/bank.sock")
                    .replace("/nowhere\n", f"{tmp_path}/tm\n"))
    done = run("assentd", "-c", conf)
    assert done.returncode == 1 and "peer-key" in done.stderr


def test_a_coordinator_whose_trail_cannot_be_written_does_not_start(tmp_path):
    conf = tmp_path / "assentd.ini"
    conf.write_text(COORDINATOR.replace("/nowhere/bank.sock", f"{tmp_path}/bank.sock")
                    .replace("/nowhere\n", f"{tmp_path}/tm\n"))
    (tmp_path / "tm" / "audit.log").mkdir(parents=True)
    done = run("assentd", "-c", conf)
    assert done.returncode == 1 and "audit" in done.stderr


STATE = {"rm": "accounts", "system_identifier": "7", "incarnation": "3", "wal": "100",
         "beats": [{"tm": "bank", "beat": "5"}]}


@pytest.mark.parametrize("text, words", [
    ("no json", "it is no JSON"), ("{}", "rm"), ({**STATE, "rm": "ledger"}, "it is of resource manager ledger"),
    ({**STATE, "system_identifier": -1}, "system_identifier"), ({**STATE, "incarnation": "soon"}, "incarnation"),
    ({**STATE, "wal": None}, "wal"), ({**STATE, "beats": {}}, "beats"), ({**STATE, "beats": [{}]}, "tm"),
    ({**STATE, "beats": [{"tm": "bank"}]}, "beat")])
def test_an_agent_does_not_start_with_a_state_file_that_it_cannot_read(tmp_path, text, words):
    """It would take a database that was set back for whole."""
    state = tmp_path / "accounts.state"
    state.write_text(text if isinstance(text, str) else json.dumps(text))
    conf = tmp_path / "agent.ini"
    conf.write_text(AGENT.replace("/nowhere", str(tmp_path)) + f"state_file = {state}\n")
    done = run("assent-agent", "-c", conf)
    assert done.returncode == 1
    assert f"state_file {state} cannot be used: " in done.stderr and words in done.stderr
    assert "the coordinators have to accept the database anew" in done.stderr


def test_an_agent_does_not_start_where_its_state_file_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("")
    conf = tmp_path / "agent.ini"
    conf.write_text(AGENT.replace("/nowhere", str(tmp_path)) + f"state_file = {tmp_path}/file/state\n")
    done = run("assent-agent", "-c", conf)
    assert done.returncode == 1 and f"open {tmp_path}/file/state: Not a directory" in done.stderr
