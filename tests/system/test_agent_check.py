"""What stands in an agent's way is said before it does: at its start, and to a DBA who asks."""

import contextlib
import re
import signal
import socket
import threading

from harness import Client, wait_until
from played import new_server, new_site
from test_other_server import standby_of


def findings(site):
    """As the agent says them: pairs of severity and text, the remedy behind it."""
    with contextlib.closing(Client(site.socket, 30)) as client:
        answer = client.call("check")
    assert answer["ok"], answer
    assert answer["rm"] == "accounts" and answer["database"] == site.name
    return [(each["severity"], each["what"], each["fix"]) for each in answer["findings"]]


def found(site, severity, *words):
    """The remedy of the one finding that says all of this; None when there is none."""
    remedies = [fix for is_severity, what, fix in findings(site)
                if is_severity == severity and all(word in what for word in words)]
    assert len(remedies) < 2, remedies
    return remedies[0] if remedies else None


def test_nothing_is_found_where_all_is_right(run_folder, servers):
    with new_server(run_folder, "fsync = on") as server, new_site(run_folder, server) as site:
        site.start()
        assert findings(site) == []
        assert "to put it right" not in site.agent.log_text()


def test_what_is_found_is_in_the_log_at_the_start_too(site):
    assert found(site, "error", "fsync is off") == "postgresql.conf: fsync = on, and reload"
    wait_until(lambda: "fsync is off" in site.agent.log_text())


def test_too_few_slots_and_connections(run_folder, servers):
    with (new_server(run_folder, "max_prepared_transactions = 10", "max_connections = 40") as server,
          new_site(run_folder, server) as site):
        site.start()
        fix = found(site, "warning", "max_prepared_transactions is 10", "64")
        assert "max_prepared_transactions = 64" in fix
        assert "max_connections = 84" in found(site, "warning", "max_connections", "81")
        site.sql(f"alter database {site.name} connection limit 5")
        assert "CONNECTION LIMIT -1" in found(site, "warning", f"database {site.name} admits 5")


def test_no_slots_at_all(run_folder, servers):
    with (new_server(run_folder, "max_prepared_transactions = 0") as server,
          new_site(run_folder, server) as site):
        site.start()
        assert found(site, "error", "max_prepared_transactions is 0")


def test_grants_that_are_missing_are_named(site):
    site.sql("revoke shop from assent")
    assert found(site, "error", '"assent" may not finish', '"shop"') == 'GRANT "shop" TO "assent"'
    site.sql("grant shop to assent")
    site.sql("revoke insert on assent.session from assent")
    assert "--install-schema" in found(site, "error", "may not INSERT assent.session")
    site.sql("revoke execute on function assent.mark(text, text) from shop")
    assert "--install-schema" in found(site, "error", '"shop" may not call assent.mark')
    site.install_schema()
    assert [severity for severity, _, _ in findings(site)] == ["error"]  # fsync is off in tests


def test_a_schema_of_another_version(site):
    site.sql("insert into assent.version values (99)")
    assert "--install-schema" in found(site, "error", "schema assent is of version 99")
    site.sql("delete from assent.version where version = 99")


def test_a_role_that_cannot_log_in_and_one_that_is_too_strong(site):
    site.sql("alter role shop superuser")
    assert found(site, "warning", '"shop" is a superuser')
    site.sql("alter role shop nosuperuser nologin")
    try:
        assert "conninfo in [exec shop]" in found(site, "error", "[exec shop]", "not permitted to log in")
    finally:
        site.sql("alter role shop login")


def test_a_section_that_reaches_another_database(run_folder, servers):
    with new_site(run_folder, servers[0]) as site:
        site.start()
        text = site.conf.read_text()
        head, sections = text.split("[exec shop]")
        site.conf.write_text(head + "[exec shop]" + sections.replace(site.name, "postgres"))
        site.agent.send(signal.SIGHUP)
        wait_until(lambda: "was read again" in site.agent.log_text())
        assert found(site, "error", "[exec shop] reaches another database")


def test_an_old_prepared_transaction_and_slots_that_run_out(run_folder, servers):
    with (new_server(run_folder, "max_prepared_transactions = 10",
                     "autovacuum_freeze_max_age = 100000") as server,
          new_site(run_folder, server) as site):
        site.start()
        for number in range(9):
            with contextlib.closing(site.connect()) as connection:
                cursor = connection.cursor()
                cursor.execute("begin")
                cursor.execute("select pg_current_xact_id()")
                cursor.execute(f"prepare transaction 'other{number}'")
        assert found(site, "warning", "9 of the 10 prepared transactions")
        # A transaction with many subtransactions uses up xids quickly.
        site.sql("create table used (n int)")
        burn = ("do $$ begin for n in 1..60000 loop begin insert into used values (n);"
                " exception when others then null; end; end loop; end $$")
        site.sql(burn)
        assert found(site, "warning", "prepared transaction other0 is", "autovacuum_freeze_max_age")
        site.sql(burn)
        assert found(site, "error", "prepared transaction other0 is")


def test_standbys_are_looked_at(run_folder, servers):
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(new_server(run_folder))
        standby = stack.enter_context(standby_of(primary, run_folder))
        site = stack.enter_context(new_site(run_folder, primary))
        text = site.conf.read_text()
        site.conf.write_text(text.replace(f"host={primary.folder}",
                                          f"host={primary.folder},{standby.folder}", 1))
        site.start()
        assert "synchronous_standby_names" in found(site, "warning", "none is waited for")
        wait_until(lambda: not [what for _, what, _ in findings(site)
                                if str(standby.folder) in what], 30, "it has our database too")
        with contextlib.closing(standby.connect("postgres")) as connection:
            connection.cursor().execute("select pg_wal_replay_pause()")
        assert "pg_wal_replay_resume" in found(site, "warning", str(standby.folder), "paused")
        standby.stop()
        assert found(site, "warning", str(standby.folder), "cannot be reached")
        site.sql("alter system set synchronous_standby_names = '*'")
        site.sql("select pg_reload_conf()")
        wait_until(lambda: found(site, "error", "synchronous_standby_names waits for a standby"))
        site.sql("alter system reset synchronous_standby_names")
        site.sql("select pg_reload_conf()")


def test_two_hosts_that_both_accept_writes(run_folder, servers):
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(new_server(run_folder))
        standby = stack.enter_context(standby_of(primary, run_folder))
        site = stack.enter_context(new_site(run_folder, primary))
        text = site.conf.read_text()
        site.conf.write_text(text.replace(f"host={primary.folder}",
                                          f"host={primary.folder},{standby.folder}", 1))
        site.start()
        with contextlib.closing(standby.connect("postgres")) as connection:
            connection.cursor().execute("select pg_promote()")
        assert found(site, "error", str(standby.folder), "accepts writes too")


def test_a_server_that_is_away_is_the_finding(site):
    server = site.server
    server.stop()
    try:
        assert found(site, "error", "no connection to its database")
    finally:
        site.server_is_back()


@contextlib.contextmanager
def pooler_before(server, folder):
    """Passes bytes on as a pooler does, and like one gives its clients another key than the
    server's: so the process that answers is not the one that the client was told of."""
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / ".s.PGSQL.5432"))
    listener.listen()

    def pass_on(source, target, change):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(change(data))
            target.shutdown(socket.SHUT_WR)

    def other_key(data):
        return re.sub(rb"K\0\0\0\x0c....", b"K\0\0\0\x0c\0\0\0\x07", data, flags=re.DOTALL)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                backend = socket.socket(socket.AF_UNIX)
                backend.connect(f"{server.folder}/.s.PGSQL.{server.port}")
                for way in ((client, backend, bytes), (backend, client, other_key)):
                    threading.Thread(target=pass_on, args=way, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield folder
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_pooler_between_is_called_by_its_name(run_folder, servers):
    with (new_site(run_folder, servers[0]) as site,
          pooler_before(servers[0], run_folder / "pooler") as pooler):
        head, sections = site.conf.read_text().split("[exec shop]")
        behind = sections.replace(str(servers[0].folder), str(pooler))
        site.conf.write_text(head + "[exec shop]" + behind)
        site.start()
        assert found(site, "error", "[exec shop]", "a connection pooler stands between")
        site.conf.write_text(head.replace(str(servers[0].folder), str(pooler)))
        site.agent.stop()
        site.agent.start()
        assert wait_until(lambda: found_unconnected(site, "a connection pooler stands between"))


def found_unconnected(site, words):
    try:
        with contextlib.closing(Client(site.socket, 30)) as client:
            return any(words in each["what"] for each in client.call("check")["findings"])
    except OSError:
        return False
