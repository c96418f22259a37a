"""The real daemons against real PostgreSQL servers, for the system tests.

A test speaks to the product in the ways that users do: with assentctl, with SQL on a
connection of its own, and with a client of the socket API that is written here from the
page that documents it. Waiting is always for a condition, with a deadline.
"""

import base64
import contextlib
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import struct
import subprocess
import time

import psycopg2

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ASSENT_BUILD", SOURCE / "build")).resolve()
POSTGRES_BIN = pathlib.Path(os.environ.get("ASSENT_PG_BIN", "/usr/lib/postgresql/15/bin"))
# The newest that Assent is tested with, where somebody has made its programs.
POSTGRES_17_BIN = pathlib.Path(subprocess.run([SOURCE / "scripts/postgresql-17", "--where"], check=True,
                                              capture_output=True, text=True).stdout.strip())

# PostgreSQL refuses to run as root.
POSTGRES_USER = "postgres" if os.geteuid() == 0 else None

FORMAT_ID = 0x41534E54
ACCOUNTS = 10  # in each database of the bank
BALANCE = 100  # of each account at first


def sanitized():
    """Was this built with a sanitizer?"""
    return b"__asan_init" in (BUILD / "assentd").read_bytes()


def counted():
    """Does this build count what it reaches (scripts/coverage)?"""
    return b"__gcov_" in (BUILD / "assentd").read_bytes()


def wait_until(condition, seconds=10, what=None):
    """The first true value of condition(); fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.02)


def program(name):
    """A program of the build folder."""
    for path in (BUILD / name, *BUILD.glob(f"*/{name}")):
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise FileNotFoundError(f"{name} is not built in {BUILD}")


class Process:
    """A program that runs beside the test, and what it wrote to its log file."""

    def __init__(self, name, arguments, log, user=None):
        self.name, self.arguments, self.log, self.user = name, arguments, log, user
        self.popen = None

    def start(self):
        assert not self.running(), f"{self.name} runs already"
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                user=self.user, group=self.user, extra_groups=[] if self.user else None)

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def status(self):
        return self.popen.poll() if self.popen else None

    def send(self, number):
        self.popen.send_signal(number)

    def wait(self, seconds=10):
        return self.popen.wait(seconds)

    def kill(self):
        """kill -9: no farewell, nothing flushed."""
        self.send(signal.SIGKILL)
        self.wait()

    def pause(self):
        self.send(signal.SIGSTOP)

    def resume(self):
        self.send(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM):
        """Ask it to end; returns its exit status. One that will not is killed, and that is a failure."""
        if not self.running():
            return self.popen.returncode if self.popen else None
        self.resume()
        self.send(number)
        try:
            return self.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end when asked to") from None

    def log_text(self):
        """A daemon writes in a thread of its own: what it said a moment ago may still be on its way."""
        if self.running():
            time.sleep(0.05)
        return pathlib.Path(self.log).read_text(errors="replace")


def shim(name, folder):
    """A library of tests/shim, for LD_PRELOAD."""
    library = folder / f"{name}.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", f"-I{SOURCE}",
                        "-o", library, SOURCE / "tests/shim" / f"{name}.c", "-ldl"],
                       check=True)
    return library


def arm(process, **environment):
    """From the next start on the process has these in its environment; none: as it was."""
    plain = getattr(process, "plain", process.arguments)
    process.plain = plain
    settings = [f"{name}={value}" for name, value in environment.items()]
    process.arguments = ["env", *settings, *plain] if settings else plain


class Postgres:
    """One throw-away server, copied from a template cluster."""

    SETTINGS = """
fsync = off
listen_addresses = ''
max_prepared_transactions = 64
max_connections = 120
shared_buffers = 16MB
logging_collector = off
"""

    def __init__(self, name, template, folder, port=5432, programs=POSTGRES_BIN):
        self.name, self.port = name, port
        self.folder = folder / name
        self.data = self.folder / "data"
        shutil.copytree(template, self.data)
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"unix_socket_directories = '{self.folder}'\nport = {port}\n")
        give_to_postgres(self.folder)
        self.process = Process(f"postgres {name}",
                               [str(programs / "postgres"), "-D", str(self.data)],
                               str(folder / f"{name}.log"), POSTGRES_USER)

    @staticmethod
    def make_template(folder, programs=POSTGRES_BIN):
        """initdb takes seconds, a copy does not."""
        folder.mkdir()
        give_to_postgres(folder)
        data = folder / "data"
        subprocess.run([programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust",
                        "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
                       check=True, stdout=subprocess.DEVNULL, user=POSTGRES_USER,
                       group=POSTGRES_USER, extra_groups=[] if POSTGRES_USER else None)
        with open(data / "postgresql.conf", "a") as conf:
            conf.write(Postgres.SETTINGS)
        return data

    def start(self):
        self.process.start()
        wait_until(self.answers, 30, f"{self.name} accepts connections")

    def answers(self):
        try:
            self.connect("postgres").close()
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self):
        self.process.stop(signal.SIGINT)

    def crash(self):
        """End it at once, as a power cut would, open sessions and all."""
        self.process.stop(signal.SIGQUIT)

    def conninfo(self, database, user="postgres"):
        return f"host={self.folder} port={self.port} dbname={database} user={user}"

    def connect(self, database, user="postgres", autocommit=True):
        connection = psycopg2.connect(self.conninfo(database, user))
        connection.autocommit = autocommit
        return connection


def give_to_postgres(folder):
    if POSTGRES_USER is None:
        return
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, POSTGRES_USER, POSTGRES_USER)


class Database:
    """One database of the bank, and the agent beside it."""

    def __init__(self, rm, server, number, folder):
        self.rm, self.server = rm, server
        self.name = f"{rm}_{number}"
        with contextlib.closing(server.connect("postgres")) as admin:
            admin.cursor().execute(f"create database {self.name} template bank_template")
        self.socket = folder / f"{rm}.sock"
        self.url = f"ipc://{self.socket}"
        self.conf = folder / f"{rm}.ini"
        self.conf.write_text(f"[agent]\nrm = {rm}\nlisten = {self.url}\n"
                             f"conninfo = {server.conninfo(self.name, 'assent')}\n")
        self.agent = Process(f"assent-agent {rm}", [program("assent-agent"), "-c", str(self.conf)],
                             str(folder / f"{rm}.log"))
        self.install_schema()

    def install_schema(self):
        subprocess.run([program("assent-agent"), "-c", self.conf, "--install-schema",
                        "--conninfo", self.server.conninfo(self.name)],
                       check=True, capture_output=True, text=True)

    def connect(self, autocommit=True, user="shop"):
        """The application's own connection."""
        return self.server.connect(self.name, user, autocommit)

    def sql(self, text, *parameters):
        """Run as the DBA; the rows, if there are any."""
        with contextlib.closing(self.server.connect(self.name)) as connection:
            cursor = connection.cursor()
            cursor.execute(text, parameters)
            return cursor.fetchall() if cursor.description else None

    def balance(self, account):
        return self.sql("select balance from account where id = %s", account)[0][0]

    def prepared(self):
        """The gids that are prepared in this database."""
        return [gid for gid, in self.sql(
            "select gid from pg_prepared_xacts where database = current_database()")]

    def start(self):
        """It answers before it has its database; returns once it has."""
        self.agent.start()
        wait_until(self.up, 15, f"the agent of {self.rm} is up")

    def status(self):
        """What the agent itself tells anybody."""
        with contextlib.closing(Client(self.socket, 5)) as client:
            return client.call("status")

    def up(self):
        try:
            return self.status()["state"] == "up"
        except OSError:
            return False

    def backends(self, user):
        return [pid for pid, in self.sql("select pid from pg_stat_activity where usename = %s"
                                         " and datname = current_database()", user)]

    def sessions(self):
        """The agent's connections that are inside a transaction."""
        return self.sql("select pid from pg_stat_activity where usename = 'assent'"
                        " and datname = current_database() and state like 'idle in transaction%%'")

    # The gate: a deferred check on every transfer that waits, at PREPARE, for as long as the
    # gate is closed. It lets a test stop the world between two votes.

    def close_gate(self):
        self.sql("insert into closed_gate values (true)")

    def open_gate(self):
        self.sql("delete from closed_gate")

    def drop(self):
        for gid in self.prepared():
            self.sql(f"rollback prepared '{gid}'")
        with contextlib.closing(self.server.connect("postgres")) as admin:
            admin.cursor().execute(f"drop database {self.name} with (force)")


BANK_SCHEMA = f"""
create role assent login;
create role shop login;
grant shop to assent;
create database bank_template;
\\connect bank_template
create table account (id int primary key,
                      balance bigint not null check (balance >= 0));
insert into account select n, {BALANCE} from generate_series(1, {ACCOUNTS}) n;
create table transfer (gtrid text primary key, amount bigint not null);
create table owner (account int primary key,
                    foreign key (account) references account deferrable initially deferred);
create table closed_gate (closed bool);
create function wait_at_gate() returns trigger language plpgsql as $$
begin
    while exists (select from closed_gate) loop
        perform pg_sleep(0.02);
    end loop;
    return null;
end $$;
create constraint trigger gate after update on account deferrable initially deferred
    for each row execute function wait_at_gate();
grant select, insert, update, delete on account, transfer, owner, closed_gate to shop;
"""


class Answer:
    """What assentctl said: its exit status, its JSON and its words."""

    def __init__(self, code, reply, words):
        self.code, self.reply, self.words = code, reply, words

    def __getitem__(self, name):
        return self.reply[name]

    def get(self, name):
        return self.reply.get(name)

    @property
    def error(self):
        return self.reply["error"]["code"]


class Assentctl:
    def __init__(self, url):
        self.url = url

    def popen(self, *arguments):
        return subprocess.Popen([program("assentctl"), "-u", self.url, "--json", *map(str, arguments)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def finish(popen, seconds=60):
        out, words = popen.communicate(timeout=seconds)
        return Answer(popen.returncode, json.loads(out) if out else None, words)

    def __call__(self, *arguments, code=None):
        """Run it; if code is given that is how it has to end."""
        answer = self.finish(self.popen(*arguments))
        assert code is None or answer.code == code, (arguments, answer.code, answer.reply, answer.words)
        return answer

    def begin(self, *arguments):
        return self("begin", *arguments, code=0)["gtrid"]

    def text(self, *arguments):
        """What people see: exit status, stdout, stderr."""
        done = subprocess.run([program("assentctl"), "-u", self.url, *map(str, arguments)],
                              capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr


def on_terminal(command, question, answer, code=0):
    """Run it on a terminal of its own and answer its question; all that it wrote there."""
    terminal, other_end = pty.openpty()
    running = subprocess.Popen(command, stdin=other_end, stdout=other_end, stderr=other_end)
    os.close(other_end)
    said = ""
    with os.fdopen(terminal, "rb+", buffering=0) as screen, contextlib.suppress(OSError):
        while question not in said:
            said += os.read(screen.fileno(), 4096).decode()
        screen.write(answer.encode())
        while piece := os.read(screen.fileno(), 4096):  # an error once nobody has the other end
            said += piece.decode()
    assert running.wait(20) == code, said
    return said


class Client:
    """The socket API without a library: SP's REQ over a unix socket, as nng speaks it.

    A connection opens with eight bytes from each side (protocol REQ is 0x30). A message is the
    byte 1, its length in 8 bytes, and then a request id with its top bit set, before the body.
    """

    GREETING = b"\0SP\0\0\x30\0\0"

    def __init__(self, path, seconds=30):
        self.path, self.seconds = str(path), seconds
        self.socket, self.number = None, 0

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self.seconds)
        connection.connect(self.path)
        return connection

    def open(self):
        self.socket = self.connect()
        self.socket.sendall(self.GREETING)
        assert self.receive(8) == b"\0SP\0\0\x31\0\0"

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("closed by the other side")
            data += piece
        return data

    def send_message(self, message):
        self.socket.sendall(struct.pack(">BQ", 1, len(message)) + message)

    def receive_message(self):
        _, length = struct.unpack(">BQ", self.receive(9))
        return self.receive(length)

    def send(self, body):
        """Send bytes as a request and do not wait for the reply."""
        if self.socket is None:
            self.open()
        self.number += 1
        self.send_message(struct.pack(">I", 0x80000000 | self.number) + body)

    def call_bytes(self, body):
        try:
            self.send(body)
            while True:
                message = self.receive_message()
                if struct.unpack(">I", message[:4])[0] == 0x80000000 | self.number:
                    return json.loads(message[4:])
        except (OSError, AssertionError):
            self.close()
            raise

    def call(self, op, **fields):
        return self.call_bytes(json.dumps({"op": op, **fields}).encode())

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


def gid_of(gtrid, rm):
    def base64_text(text):
        return base64.b64encode(text.encode()).decode()
    return f"{FORMAT_ID}_{base64_text(gtrid)}_{base64_text(rm)}"


class Bank:
    """Two databases on two servers, their agents, and the coordinator."""

    def __init__(self, servers, folder, number):
        self.folder = folder
        self.accounts = Database("accounts", servers[0], number, folder)
        self.ledger = Database("ledger", servers[1], number, folder)
        self.socket = folder / "bank.sock"
        self.url = f"ipc://{self.socket}"
        self.conf = self.write_conf("assentd.ini", self.socket, folder / "tm")
        self.tm = self.coordinator(self.conf, "assentd.log")
        self.ctl = Assentctl(self.url)

    @property
    def databases(self):
        return (self.accounts, self.ledger)

    @property
    def processes(self):
        return (self.tm, self.accounts.agent, self.ledger.agent)

    def write_conf(self, name, listen, data_dir, tm="bank"):
        path = self.folder / name
        path.write_text(f"[tm]\nname = {tm}\ndata_dir = {data_dir}\nlisten = ipc://{listen}\n"
                        + "".join(f"[rm {database.rm}]\nurl = {database.url}\n"
                                  for database in self.databases))
        return path

    def coordinator(self, conf, log):
        return Process("assentd", [program("assentd"), "-c", str(conf)], str(self.folder / log))

    def start(self):
        for process in self.processes:
            if not process.running():
                process.start()
        self.wait_ready()

    def wait_ready(self, seconds=20):
        wait_until(self.ready, seconds, "the coordinator is ready and both agents are up")

    def ready(self):
        answer = self.ctl("status")
        return (answer.code == 0 and answer["state"] == "ready"
                and all(rm["state"] == "up" for rm in answer["rms"]))

    def ctl_conf(self, *arguments):
        """assentctl by the coordinator's configuration: what needs no daemon."""
        return subprocess.run([program("assentctl"), "-c", str(self.conf), "--json", *arguments],
                              capture_output=True, text=True, timeout=60)

    def client(self):
        return Client(self.socket)

    def move(self, gtrid, amount, source=1, target=1):
        """The two halves of a transfer, through the agents."""
        self.ctl("exec", gtrid, "accounts",
                 "update account set balance = balance - $1 where id = $2", amount, source, code=0)
        self.ctl("exec", gtrid, "ledger",
                 "update account set balance = balance + $1 where id = $2", amount, target, code=0)

    def begin_move(self, amount, *arguments):
        gtrid = self.ctl.begin(*arguments)
        self.move(gtrid, amount)
        return gtrid

    def prepare_own(self, database, gtrid, amount, account=1):
        """A branch on the application's own connection, prepared in plain SQL."""
        gid = self.ctl("enlist", gtrid, database.rm, code=0)["branch"]["gid"]
        with contextlib.closing(database.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("begin")
            cursor.execute("update account set balance = balance + %s where id = %s", (amount, account))
            cursor.execute(f"prepare transaction '{gid}'")
        return gid

    def branch_state(self, gtrid, rm):
        answer = self.ctl("show", gtrid)
        if answer.code != 0:
            return None
        return next((branch["state"] for branch in answer["transaction"]["branches"]
                     if branch["rm"] == rm), None)

    def commit_to_the_gate(self, gtrid, *arguments):
        """Start a commit; returns when ledger has voted and accounts waits at its gate."""
        self.accounts.close_gate()
        commit = self.ctl.popen("commit", gtrid, *arguments)
        wait_until(lambda: self.branch_state(gtrid, "ledger") == "prepared", 10, "ledger has voted")
        return commit

    def balances(self):
        return self.accounts.balance(1), self.ledger.balance(1)

    def total(self):
        return sum(database.sql("select sum(balance) from account")[0][0]
                   for database in self.databases)

    def nothing_prepared(self):
        return not self.accounts.prepared() and not self.ledger.prepared()

    def outcome(self, gtrid):
        return self.ctl("outcome", gtrid).get("outcome")

    def end_transactions(self):
        """What a test leaves open would hold up a coordinator that drains."""
        if self.tm.running():
            self.tm.resume()
            for transaction in self.ctl("list").reply.get("transactions", ()):
                self.ctl("rollback", transaction["gtrid"])

    def stop(self):
        for database in self.databases:
            if not database.server.process.running():
                database.server.start()
            database.open_gate()
        self.end_transactions()
        failures = [process.name for process in self.processes
                    if process.running() and process.stop() != 0]
        for database in self.databases:
            database.drop()
        assert not failures, f"ended with an error: {failures}"
