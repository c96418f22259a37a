"""A standby of a PostgreSQL server, and what becomes of it."""

import contextlib
import subprocess

from harness import POSTGRES_BIN, POSTGRES_USER, Postgres, Process, give_to_postgres, wait_until
from played import numbers


def base_backup(server, data, *options):
    subprocess.run([POSTGRES_BIN / "pg_basebackup", "-h", server.folder, "-U", "postgres",
                    "-c", "fast", "--no-sync", "-D", data, *options], check=True,
                   user=POSTGRES_USER, group=POSTGRES_USER,
                   extra_groups=[] if POSTGRES_USER else None)


@contextlib.contextmanager
def standby_of(primary, run_folder):
    """A second server that follows the first, as pg_basebackup makes it."""
    name = f"standby{next(numbers)}"
    standby = Postgres.__new__(Postgres)
    standby.name, standby.folder, standby.port = name, run_folder / name, primary.port
    standby.data = standby.folder / "data"
    standby.folder.mkdir()
    give_to_postgres(standby.folder)
    base_backup(primary, standby.data, "-R")
    with open(standby.data / "postgresql.conf", "a") as conf:
        conf.write(f"unix_socket_directories = '{standby.folder}'\n")
    standby.process = Process(name, [str(POSTGRES_BIN / "postgres"), "-D", str(standby.data)],
                              str(run_folder / f"{name}.log"), POSTGRES_USER)
    standby.start()
    try:
        yield standby
    finally:
        if standby.process.running():
            standby.stop()


def stop_following(standby):
    with contextlib.closing(standby.connect("postgres")) as connection:
        cursor = connection.cursor()
        cursor.execute("alter system set primary_conninfo = ''")
        cursor.execute("select pg_reload_conf()")

        def alone():
            cursor.execute("select count(*) from pg_stat_wal_receiver")
            return cursor.fetchone() == (0,)
        wait_until(alone)


def fail_over(primary, standby):
    """The one ends as in a power cut, the other takes over."""
    primary.crash()
    with contextlib.closing(standby.connect("postgres")) as connection:
        connection.cursor().execute("select pg_promote()")
