"""The coordinator over HTTP: what the socket serves, and whatever else may come in."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

import pytest

from conftest import new_bank
from harness import SOURCE, gid_of, program, wait_until
from test_bad_input import MALFORMED, MESSAGE_MAX

JSON = {"Content-Type": "application/json"}
SILENT_FOR = 30  # seconds that a connection may take for one step


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Reply:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.text = response.read()

    @property
    def json(self):
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.text)

    @property
    def error(self):
        assert self.json["ok"] is False and self.json["error"]["message"]
        return self.status, self.json["error"]["code"]

    def __getitem__(self, name):
        assert self.status in (200, 201), (self.status, self.text)
        return self.json[name]


class Web:
    """A bank's coordinator, as a program without nng sees it."""

    def __init__(self, bank):
        self.bank, self.port = bank, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        bank.conf.write_text(bank.conf.read_text().replace(
            "[tm]\n", f"[tm]\nhttp_listen = {self.url}\nhttp_admin = on\n"))

    def request(self, method, path, body=None, **headers):
        """A body that is bytes goes as it is, anything else as JSON."""
        if body is not None and not isinstance(body, (bytes, type(iter([])))):
            body = json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, {**(JSON if body is not None else {}), **headers},
                               encode_chunked=headers.get("Transfer-Encoding") == "chunked")
            return Reply(connection.getresponse())

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body=None, **headers):
        return self.request("POST", path, body, **headers)

    def begin(self, **fields):
        return self.post("/v1/transactions", fields)["gtrid"]

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, data, replies=None):
        """Send bytes; what comes back: so many replies, or all until the server ends the connection."""
        received = b""
        with contextlib.closing(self.connect()) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(data)
            while replies is None or len(statuses(received)) < replies:
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        return received

    def healthy(self):
        return self.get("/healthz").status == 200

    def memory(self):
        """Resident, in MiB."""
        with open(f"/proc/{self.bank.tm.popen.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2 ** 20

    def unread(self):
        """Bytes that lie in the kernel: sent, and not read by the other side."""
        port = f":{self.port:04X}"
        with open("/proc/net/tcp") as connections:
            queues = [line.split()[4] for line in connections
                      if any(end.endswith(port) for end in line.split()[1:3])]
        return sum(int(bytes, 16) for queue in queues for bytes in queue.split(":"))


def head(request, *lines):
    return "\r\n".join((f"{request} HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


HEALTH = head("GET /healthz")
BEGIN = "POST /v1/transactions"
TYPE = "Content-Type: application/json"


def statuses(received):
    """Of the replies in it; libmicrohttpd sends the head of some of its own refusals twice."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)]


@pytest.fixture(scope="module")
def web(run_folder, servers):
    with new_bank(run_folder, servers) as bank:
        web = Web(bank)
        bank.start()
        yield web


@pytest.fixture
def own_web(stopped_bank):
    """For tests that stop the coordinator."""
    web = Web(stopped_bank)
    stopped_bank.start()
    return web


# ---- what is served ----


def work(web, gtrid, database, amount):
    """One branch on a connection of our own."""
    branch = web.post(f"/v1/transactions/{gtrid}/branches", {"rm": database.rm})["branch"]
    assert branch["gid"] == gid_of(gtrid, database.rm)
    connection = database.connect(autocommit=False)
    xid = branch["xid"]
    connection.tpc_begin(connection.xid(int(xid["format_id"]), xid["gtrid"], xid["bqual"]))
    connection.cursor().execute("update account set balance = balance + %s where id = 1", (amount,))
    connection.tpc_prepare()
    connection.close()


def test_a_transfer_over_http_alone_commits_in_both_databases(web):
    before = web.bank.balances()
    begun = web.post("/v1/transactions", {"label": "transfer", "timeout": "20s"})
    assert begun.status == 201
    gtrid = begun["gtrid"]
    assert begun.headers["Location"] == f"/v1/transactions/{gtrid}"
    work(web, gtrid, web.bank.accounts, -1)
    work(web, gtrid, web.bank.ledger, +1)
    ended = web.post(f"/v1/transactions/{gtrid}/commit")
    assert (ended["outcome"], ended["applied"], ended["pending"]) == ("committed", True, [])
    assert web.get(f"/v1/transactions/{gtrid}/outcome")["outcome"] == "committed"
    assert web.bank.balances() == (before[0] - 1, before[1] + 1)


def test_a_refused_branch_rolls_all_back_and_says_why(web):
    before = web.bank.balances()
    gtrid = web.begin(rms=["accounts", "ledger"])
    ended = web.post(f"/v1/transactions/{gtrid}/commit", {"wait": "applied", "wait_ms": "5s"})
    assert ended["outcome"] == "rolled-back" and ended["reason"]["rm"] in ("accounts", "ledger")
    assert web.bank.balances() == before


def test_begin_again_with_its_idempotency_key_is_the_same_transaction(web):
    first = web.post("/v1/transactions", {}, Idempotency_Key="one-transfer-0001")
    again = web.post("/v1/transactions", {}, Idempotency_Key="one-transfer-0001")
    assert first.status == again.status == 201 and first["gtrid"] == again["gtrid"]
    other = web.post("/v1/transactions", {"label": "other"}, Idempotency_Key="one-transfer-0001")
    assert other.error == (409, "request_id_reused")


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_who_it_was_is_shown_and_logged(web):
    gtrid = web.post("/v1/transactions", {"label": "month's end", "application": "payroll"},
                     traceparent=TRACE)["gtrid"]
    shown = web.get(f"/v1/transactions/{gtrid}")["transaction"]
    assert (shown["label"], shown["application"], shown["traceparent"]) == \
        ("month's end", "payroll", TRACE)
    web.post(f"/v1/transactions/{gtrid}/branches", {"rm": "ledger"})
    assert web.post(f"/v1/transactions/{gtrid}/commit", {})["outcome"] == "rolled-back"
    line = wait_until(lambda: [line for line in web.bank.tm.log_text().splitlines()
                               if gtrid in line])[0]
    assert "month's end" in line and "payroll" in line and TRACE in line
    assert "branch_not_prepared" in line


@pytest.mark.parametrize("trace", ["", "nonsense", TRACE + "-more", TRACE.upper()])
def test_a_traceparent_that_cannot_be_read_is_as_good_as_none(web, trace):
    gtrid = web.post("/v1/transactions", {}, traceparent=trace)["gtrid"]
    assert "traceparent" not in web.get(f"/v1/transactions/{gtrid}")["transaction"]


def test_a_key_finds_its_transaction(web):
    gtrid = web.begin(key="order 7/ä?")
    path = "/v1/outcomes?key=" + urllib.parse.quote("order 7/ä?", safe="")
    found = web.get(path)
    assert (found["gtrid"], found["outcome"]) == (gtrid, "in-progress")
    taken = web.post("/v1/transactions", {"key": "order 7/ä?"})
    assert taken.error == (409, "key_in_use") and taken.json["gtrid"] == gtrid
    assert web.post(f"/v1/transactions/{gtrid}/rollback")["outcome"] == "rolled-back"


def test_a_commit_that_waits_keeps_nobody_else_waiting(web):
    bank = web.bank
    gtrid = bank.begin_move(1)
    bank.accounts.close_gate()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        commits = [pool.submit(web.post, f"/v1/transactions/{gtrid}/commit") for _ in range(3)]
        wait_until(lambda: bank.branch_state(gtrid, "ledger") == "prepared")
        assert web.healthy()
        assert web.get(f"/v1/transactions/{gtrid}")["transaction"]["state"] == "preparing"
        assert not any(commit.done() for commit in commits)
        bank.accounts.open_gate()
        assert [commit.result()["outcome"] for commit in commits] == ["committed"] * 3


def test_a_client_that_leaves_while_its_commit_waits_harms_nobody(web):
    bank = web.bank
    gtrid = bank.begin_move(1)
    bank.accounts.close_gate()
    with contextlib.closing(web.connect()) as connection:
        connection.sendall(head(f"POST /v1/transactions/{gtrid}/commit"))
        wait_until(lambda: bank.branch_state(gtrid, "ledger") == "prepared")
    bank.accounts.open_gate()
    wait_until(lambda: bank.outcome(gtrid) == "committed")
    assert web.healthy()


def test_metrics_are_what_prometheus_reads(web):
    def value(name):
        return int(re.search(rf"^{name} (\d+)$", web.get("/metrics").text.decode(), re.M)[1])
    before = value("assent_transactions_begun_total")
    web.begin()
    assert value("assent_transactions_begun_total") == before + 1
    reply = web.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = reply.text.decode()
    assert 'assent_rm_up{rm="ledger"} 1\n' in text and "assent_ready 1\n" in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{\w+=\"[^\"]*\"(,\w+=\"[^\"]*\")*\})? \d+", line)
    names = re.findall(r"^# TYPE (\w+)", text, re.M)
    assert len(names) == len(set(names))


# ---- its description ----


def fits(schema, value, spec):
    """Does a value fit a schema, of the few words of JSON Schema that the description uses?"""
    if "$ref" in schema:
        return fits(resolve(schema["$ref"], spec), value, spec)
    if "oneOf" in schema:
        return sum(fits(one, value, spec) for one in schema["oneOf"]) == 1
    kind = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}[schema["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if kind is str:
        return (len(value) <= schema.get("maxLength", len(value))
                and re.search(schema.get("pattern", ""), value) is not None)
    if kind is list:
        return all(fits(schema["items"], item, spec) for item in value)
    if kind is dict:
        properties = schema.get("properties", {})
        return (all(name in value for name in schema.get("required", ()))
                and all(fits(properties[name], item, spec)
                        for name, item in value.items() if name in properties))
    return True


def resolve(reference, spec):
    assert reference.startswith("#/")
    for name in reference[2:].split("/"):
        spec = spec[name]
    return spec


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from references(child)


def check_against(spec, method, path, reply):
    responses = spec["paths"][path][method.lower()]["responses"]
    response = responses.get(str(reply.status), responses.get("default"))
    assert response is not None, (method, path, reply.status)
    response = resolve(response["$ref"], spec) if "$ref" in response else response
    (kind, content), = response["content"].items()
    assert reply.headers["Content-Type"].startswith(kind)
    value = reply.json if kind == "application/json" else reply.text.decode()
    assert fits(content["schema"], value, spec), (method, path, value)


def test_the_description_has_every_route_and_every_route_answers_as_described(web):
    spec = web.get("/openapi.json").json
    assert spec["openapi"].startswith("3.0.")
    version = subprocess.run([program("assentd"), "--version"], capture_output=True, text=True)
    assert version.stdout.split()[1] == spec["info"]["version"]
    for reference in references(spec):
        assert resolve(reference, spec)
    served = set(re.findall(r'\{"(GET|POST)", +"([^"]+)"', (SOURCE / "tm/routes.c").read_text()))
    described = {(method.upper(), path) for path, item in spec["paths"].items()
                 for method in item if method != "parameters"}
    assert served == described and len(served) == 18
    operations = [spec["paths"][path][method.lower()]["operationId"] for method, path in described]
    assert len(operations) == len(set(operations))

    bodies = {"/v1/transactions": {"rms": ["accounts"], "key": "described", "timeout": "30s"},
              "/v1/transactions/{gtrid}/branches": {"rm": "ledger", "branch": "b2"},
              "/v1/transactions/{gtrid}/commit": {"wait": "decided"},
              "/v1/transactions/{gtrid}/resolve": {"outcome": "rollback", "dry_run": True},
              "/v1/transactions/{gtrid}/forget": {"dry_run": True}}
    gtrid = web.begin(rms=["ledger"])
    for method, path in sorted(described):
        query = {"/v1/transactions": "?state=active", "/v1/outcomes": "?key=described"}
        for name in (gtrid, "bank.1.999999", "not a gtrid"):
            target = path.replace("{gtrid}", urllib.parse.quote(name))
            if method == "GET":
                reply = web.get(target + query.get(path, ""))
            else:
                reply = web.post(target, bodies.get(path, {}))
            check_against(spec, method, path, reply)
            if "{gtrid}" in path:
                assert reply.status == {"bank.1.999999": 404, "not a gtrid": 400}.get(name, 200)


def test_the_description_and_the_manual_know_every_alarm():
    alarms = re.findall(r'\[ALARM_\w+\] = "([^"]+)"', (SOURCE / "tm/alarms.c").read_text())
    spec = json.loads((SOURCE / "tm/openapi.json").read_text())
    listed = spec["components"]["schemas"]["Status"]["properties"]["alarms"]["items"]
    assert sorted(listed["properties"]["alarm"]["enum"]) == sorted(alarms)
    manual = re.findall(r"^\.It Ql (.*)$", (SOURCE / "doc/assentd.8").read_text(), re.M)
    page = (SOURCE / "doc/operations.md").read_text()
    rows = "".join(re.findall(r"^\| (`.*?) \|", page, re.M))
    for alarm in alarms:
        assert any(alarm in items.split(" , ") for items in manual), alarm
        assert f"`{alarm}`" in rows, alarm


# ---- refusals ----


@pytest.mark.parametrize("method, path, body, status, code", [
    ("GET", "/", None, 404, "unknown_operation"),
    ("GET", "/v1/transactions/", None, 404, "unknown_operation"),
    ("GET", "/v1/transactions/bank.1.1/", None, 404, "unknown_operation"),
    ("GET", "/v1/transactions/bank.1.1/levitate", None, 404, "unknown_operation"),
    ("GET", "/v1/transactions/bank.1.999999", None, 404, "unknown_transaction"),
    ("POST", "/v1/transactions/bank.1.999999/commit", {}, 404, "unknown_transaction"),
    ("GET", "/v1/transactions/bank.01.1", None, 400, "invalid_request"),
    ("GET", "/healthz%00", None, 400, "invalid_request"),
    ("GET", "/v1/transactions?state=lost", None, 400, "invalid_request"),
    ("GET", "/v1/transactions?state=any&state=active", None, 400, "invalid_request"),
    ("GET", "/v1/outcomes", None, 400, "invalid_request"),
    ("GET", "/v1/outcomes?key=%ff", None, 400, "invalid_request"),
    ("GET", "/v1/outcomes?key=a%0Ab", None, 400, "invalid_request"),
    ("GET", "/v1/status", {}, 400, "invalid_request"),
    ("POST", "/v1/transactions", {"rms": ["nowhere"]}, 404, "unknown_rm"),
    ("POST", "/v1/transactions", {"timeout": "soon"}, 400, "invalid_request"),
    ("POST", "/v1/transactions", {"protocol": "3pc", "key": "k" * 65}, 400, "invalid_request"),
    ("POST", "/v1/transactions", {"op": "status"}, 400, "invalid_request"),
    ("POST", "/v1/transactions", {"batch": []}, 400, "invalid_request"),
    ("POST", "/v1/transactions/bank.1.1/commit", {"gtrid": "bank.1.2"}, 400, "invalid_request"),
])
def test_a_refusal_has_a_fitting_status_and_the_sockets_error(web, method, path, body, status, code):
    assert web.request(method, path, body).error == (status, code)


def test_a_path_says_which_methods_it_takes(web):
    reply = web.request("DELETE", "/v1/transactions")
    assert reply.status == 405 and set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
    reply = web.get("/v1/transactions/bank.1.1/commit")
    assert reply.status == 405 and reply.headers["Allow"] == "POST"
    reply = web.request("HEAD", "/v1/status")
    assert reply.status == 200 and reply.text == b""


def test_malformed_json_is_an_invalid_request(web):
    for name, body in MALFORMED.items():
        if name not in ("nothing", "op missing", "op mistyped"):
            assert web.post("/v1/transactions", body).error == (400, "invalid_request"), name
    assert web.healthy()


def test_an_unknown_field_is_ignored(web):
    assert web.post("/v1/transactions?colour=red", {"colour": "blue", "nested": {"a": [1]}}).status == 201


def test_the_body_has_to_be_called_json(web):
    assert web.post("/v1/transactions", b"{}", Content_Type="text/plain").error[0] == 415
    assert web.post("/v1/transactions", b"{}", Content_Type="application/jsonp").error[0] == 415
    assert web.post("/v1/transactions", b"{}", Content_Type="application/json; charset=utf-8").status == 201


def test_pages_in_a_browser_may_not_ask(web):
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"},
                    {"Host": f"127.0.0.1.evil.example:{web.port}"}):
        assert web.request("POST", "/v1/transactions", {}, **headers).error == (403, "not_permitted")
    for host in ("localhost", f"localhost:{web.port}", "127.0.0.1", f"[::1]:{web.port}"):
        assert web.request("GET", "/healthz", Host=host).status == 200


# ---- bodies ----


def padded(length):
    return b'{"label":"x","padding":"' + b"x" * (length - 26) + b'"}'


def chunked(*chunks):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def test_a_body_of_one_mebibyte_is_served_and_no_more(web):
    assert web.post("/v1/transactions", padded(MESSAGE_MAX)).status == 201
    assert web.post("/v1/transactions", padded(MESSAGE_MAX + 1)).error == (413, "invalid_request")
    assert web.post("/v1/transactions", iter([padded(MESSAGE_MAX)]),
                    Transfer_Encoding="chunked").status == 201
    assert web.post("/v1/transactions", iter([padded(MESSAGE_MAX), b" "]),
                    Transfer_Encoding="chunked").error == (413, "invalid_request")


def test_a_body_without_end_is_cut_off(web):
    with contextlib.closing(web.connect()) as connection:
        connection.sendall(head(BEGIN, TYPE, "Transfer-Encoding: chunked"))
        with pytest.raises(OSError):
            for _ in range(64):
                connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
    assert web.healthy()


def test_a_chunked_body_is_put_together(web):
    pieces = chunked(b'{"la', b'bel":"', b'in pieces"}')
    received = web.raw(head(BEGIN, TYPE, "Transfer-Encoding: chunked") + pieces + HEALTH, replies=2)
    assert statuses(received) == [201, 200]


def test_whoever_waits_to_be_asked_for_the_body_is_asked(web):
    with contextlib.closing(web.connect()) as connection:
        connection.sendall(head(BEGIN, TYPE, "Content-Length: 2", "Expect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(100).startswith(b"HTTP/1.1 201 ")


def test_or_is_told_that_it_is_not_wanted(web):
    received = web.raw(head(BEGIN, TYPE, "Content-Length: 2000000", "Expect: 100-continue"))
    assert statuses(received) == [413]


# ---- one request and the next ----


def test_a_connection_serves_one_request_after_the_other(web):
    refused = head("POST /nothing", TYPE, "Content-Length: 2") + b"{}"
    begin = head(BEGIN, TYPE, "Content-Length: 2") + b"{}"
    received = web.raw(HEALTH + refused + begin + HEALTH, replies=4)
    assert statuses(received) == [200, 404, 201, 200]
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        first = connection.sock
        for path, status in (("/v1/transactions", 201), ("/nothing", 404)) * 20:
            connection.request("POST", path, b"{}", JSON)
            assert Reply(connection.getresponse()).status == status
            assert connection.sock is first


TWO_WAYS = {
    "two lengths": head(BEGIN, TYPE, "Content-Length: 2", "Content-Length: 0"),
    "the same length twice": head(BEGIN, TYPE, "Content-Length: 0", "Content-Length: 0"),
    "a list of lengths": head(BEGIN, TYPE, "Content-Length: 0, 0"),
    "a length with a sign": head(BEGIN, TYPE, "Content-Length: +0"),
    "a length in hexadecimal": head(BEGIN, TYPE, "Content-Length: 0x0"),
    "a length beyond 64 bits": head(BEGIN, TYPE, "Content-Length: 18446744073709551616"),
    "no length": head(BEGIN, TYPE, "Content-Length:"),
    "a blank before the colon": head(BEGIN, TYPE, "Content-Length : 0"),
    "length and encoding": head(BEGIN, TYPE, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "encoding and length": head(BEGIN, TYPE, "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
    "both, of a GET": head("GET /healthz", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two encodings": head(BEGIN, TYPE, "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + b"0\r\n\r\n",
    "a list of encodings": head(BEGIN, TYPE, "Transfer-Encoding: identity, chunked") + b"0\r\n\r\n",
    "an unknown encoding": head(BEGIN, TYPE, "Transfer-Encoding: xchunked"),
    "an encoding with a tail": head(BEGIN, TYPE, "Transfer-Encoding: chunked;x"),
    "chunks in HTTP/1.0": head(BEGIN, "Transfer-Encoding: chunked").replace(b"1.1", b"1.0", 1) + b"0\r\n\r\n",
    "a continued length": head(BEGIN, TYPE, "Content-Length: 0", " 0"),
    "a continued encoding": head(BEGIN, "Content-Length: 5", "Transfer-Encoding:", " chunked") + b"0\r\n\r\n",
    "a continued name": head(BEGIN, "Content-Length: 0", "Tran: chunked", " sfer-Encoding") + b"0\r\n\r\n",
    "a continued first line": head("GET /healthz").replace(b"Host", b" Content-Length: 40\r\nHost"),
    "a header in a value": head("GET /healthz", "X: a\rContent-Length: 40"),
    "a header without a colon": head("GET /healthz", "Content-Length 40"),
    "a chunk size with a sign": head(BEGIN, TYPE, "Transfer-Encoding: chunked") + b"+2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": head(BEGIN, TYPE, "Transfer-Encoding: chunked") + b"2\r\n{}XX\r\n0\r\n\r\n",
    "two hosts": head("GET /healthz", "Host: 127.0.0.1"),
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", TWO_WAYS)
def test_what_can_be_read_in_two_ways_ends_the_connection(web, name):
    """Else the rest of one request is smuggled past a proxy as the next."""
    received = web.raw(TWO_WAYS[name] + HEALTH)
    assert statuses(received) and set(statuses(received)) <= {400, 413}
    assert b'"ok":true' not in received


def test_headers_and_paths_have_a_limit(web):
    assert statuses(web.raw(head("GET /healthz", "X: " + "a" * 20000) + HEALTH)) == [431]
    assert set(statuses(web.raw(head("GET /healthz", "X: " + "a" * 200000) + HEALTH))) <= {431}
    assert statuses(web.raw(head("GET /healthz", *["X: a"] * 4000) + HEALTH)) == [431]
    assert statuses(web.raw(head("GET /healthz?" + "a" * 4000) + HEALTH)) == [414]
    assert web.healthy()


# ---- crowds, sloths and noise ----


def test_those_who_say_nothing_shut_nobody_out(web):
    before = web.memory()
    with contextlib.ExitStack() as crowd:
        for _ in range(1000):
            silent = crowd.enter_context(contextlib.closing(web.connect()))
            with contextlib.suppress(OSError):
                silent.sendall(random.choice((b"", b"GET", head("GET /healthz")[:-2], HEALTH)))
        started = time.monotonic()
        for _ in range(20):
            assert web.healthy()
        assert web.bank.ctl("status").code == 0
        assert time.monotonic() - started < 5
        assert web.memory() - before < 64
    assert web.healthy()


def test_bodies_have_no_more_memory_than_is_set_aside(web):
    before = web.memory()
    with contextlib.ExitStack() as crowd:
        senders = []
        for _ in range(90):
            sender = crowd.enter_context(contextlib.closing(web.connect()))
            sender.sendall(head(BEGIN, TYPE, f"Content-Length: {MESSAGE_MAX}") + padded(MESSAGE_MAX)[:-1])
            senders.append(sender)
        wait_until(lambda: web.unread() == 0, 30, "it has taken or refused all of it")
        assert web.get("/v1/status").status == 200
        assert web.memory() - before < 160
        for sender in senders:
            sender.sendall(b"}")
        answers = [sender.recv(100)[9:12] for sender in senders]
        assert answers.count(b"201") >= 32 and set(answers) <= {b"201", b"503"} and b"503" in answers
    assert web.post("/v1/transactions", padded(MESSAGE_MAX)).status == 201


@pytest.mark.slow
def test_a_sender_that_takes_its_time_is_cut_off(web):
    starts = (head("GET /healthz")[:-2], b"G",
              head(BEGIN, TYPE, "Content-Length: 1000") + b'{"label":"')
    started = time.monotonic()
    with contextlib.ExitStack() as sloths:
        left = []
        for start in starts:
            sloth = sloths.enter_context(contextlib.closing(web.connect()))
            sloth.sendall(start)
            left.append(sloth)
        while left and time.monotonic() - started < SILENT_FOR + 15:
            time.sleep(0.5)
            for sloth in list(left):
                try:
                    sloth.sendall(b"x")
                except OSError:
                    left.remove(sloth)
                    assert time.monotonic() - started > SILENT_FOR - 2
        assert not left
    assert web.healthy()


def test_noise_harms_nobody(web):
    dice = random.Random(7)
    valid = [HEALTH, head(BEGIN, TYPE, "Content-Length: 14") + b'{"label":"ab"}',
             head(BEGIN, TYPE, "Transfer-Encoding: chunked") + chunked(b'{"label":', b'"ab"}'),
             head("GET /v1/outcomes?key=a%20b&x=y", "Idempotency-Key: 0123456789abcdef")]
    for _ in range(400):
        noise = bytearray(dice.choice(valid) * dice.randint(1, 2))
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(noise))
            noise[at:at + dice.choice((0, 1, 1, 4))] = dice.choice(
                (b"", b"\0", b"\xff\xfe", b"\r\n", b" ", b"%", b"9" * 30, bytes([dice.randrange(256)])))
        with contextlib.closing(web.connect()) as connection, contextlib.suppress(OSError):
            connection.sendall(noise[:dice.randint(1, len(noise))])
            connection.settimeout(0.01)
            connection.recv(65536)
    web.raw(b"\x16\x03\x01\x02\0\x01" + bytes(range(256)) * 4)
    assert web.healthy() and web.bank.ctl("status").code == 0


# ---- the start and the end ----


@pytest.mark.parametrize("url", ["http://0.0.0.0:7480", "http://10.1.2.3:7480", "http://[::]:7480",
                                 "https://127.0.0.1:7480", "http://127.0.0.1", "http://127.0.0.1:0",
                                 "http://127.0.0.1:65536", "127.0.0.1:7480", "http://localhost.evil:1"])
def test_only_loopback_is_served_as_there_are_no_tokens(tmp_path, url):
    conf = tmp_path / "assentd.ini"
    conf.write_text(f"[tm]\nname = bank\nlisten = ipc://{tmp_path}/s\nhttp_listen = {url}\n"
                    "[rm accounts]\nurl = ipc:///nowhere\n")
    done = subprocess.run([program("assentd"), "-c", conf, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 1 and "[tm] http_listen" in done.stderr and url in done.stderr


def test_a_port_in_use_is_named(stopped_bank):
    web = Web(stopped_bank)
    with contextlib.closing(socket.create_server(("127.0.0.1", web.port))):
        stopped_bank.tm.start()
        assert stopped_bank.tm.wait() == 1
    assert f"listen on {web.url}: Address already in use" in stopped_bank.tm.log_text()


def test_a_coordinator_that_drains_is_well_but_not_ready(own_web):
    gtrid = own_web.begin()
    assert own_web.get("/readyz").status == 200
    own_web.bank.tm.send(signal.SIGTERM)
    wait_until(lambda: own_web.get("/readyz").status == 503)
    assert own_web.get("/readyz").error == (503, "not_ready")
    assert own_web.healthy()
    assert own_web.post("/v1/transactions").error == (503, "not_ready")
    assert own_web.post(f"/v1/transactions/{gtrid}/rollback")["outcome"] == "rolled-back"
    assert own_web.bank.tm.wait() == 0


def test_whoever_waits_when_it_stops_is_told_to_ask_again(own_web):
    bank = own_web.bank
    gtrid = bank.begin_move(1)
    bank.accounts.close_gate()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        commit = pool.submit(own_web.post, f"/v1/transactions/{gtrid}/commit")
        wait_until(lambda: bank.branch_state(gtrid, "ledger") == "prepared")
        for _ in range(2):
            bank.tm.send(signal.SIGTERM)
            time.sleep(0.2)
        assert commit.result().error == (504, "timeout")
    bank.accounts.open_gate()
    bank.tm.wait()
    bank.start()
    wait_until(lambda: own_web.get(f"/v1/transactions/{gtrid}/outcome").json.get("outcome") == "rolled-back")


# ---- what people copy ----


def test_the_commands_of_the_manual_work(web):
    text = (SOURCE / "doc/http.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    assert blocks
    bank = web.bank
    env = {**os.environ, "PGHOST_ACCOUNTS": str(bank.accounts.server.folder),
           "PGHOST_LEDGER": str(bank.ledger.server.folder), "PGUSER": "shop",
           "ACCOUNTS": bank.accounts.name, "LEDGER": bank.ledger.name}
    script = "\n".join(blocks).replace("http://127.0.0.1:7480", web.url)
    before = bank.balances()
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=env, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"outcome":"committed"' in done.stdout
    wait_until(lambda: bank.balances() == (before[0] - 30, before[1] + 30))


def run_example(web, *arguments):
    bank = web.bank
    return subprocess.run(
        [sys.executable, SOURCE / "examples/transfer.py", "--url", web.url,
         "--accounts", bank.accounts.server.conninfo(bank.accounts.name, "shop"),
         "--ledger", bank.ledger.server.conninfo(bank.ledger.name, "shop"), *map(str, arguments)],
        capture_output=True, text=True, timeout=60)


def test_the_example_moves_money(web):
    before = web.bank.balances()
    done = run_example(web, 5)
    assert (done.returncode, done.stdout) == (0, "committed\n"), done.stderr
    assert web.bank.balances() == (before[0] - 5, before[1] + 5)
    assert web.bank.nothing_prepared()


def test_the_example_leaves_nothing_behind_when_a_database_refuses(web):
    before = web.bank.balances()
    done = run_example(web, 10 ** 6)
    assert done.returncode == 1 and "account_balance_check" in done.stderr
    assert web.bank.balances() == before
    wait_until(web.bank.nothing_prepared)


def test_the_example_settles_a_commit_that_got_no_answer(web):
    bank = web.bank
    before = bank.balances()
    bank.ledger.agent.pause()
    try:
        done = subprocess.Popen(
            [sys.executable, SOURCE / "examples/transfer.py", "--url", web.url, "--patience", "1",
             "--accounts", bank.accounts.server.conninfo(bank.accounts.name, "shop"),
             "--ledger", bank.ledger.server.conninfo(bank.ledger.name, "shop"), "5"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: any(transaction["state"] == "preparing" for transaction
                               in bank.ctl("list").reply["transactions"]), 30, "it commits")
        time.sleep(2)  # longer than its patience
        assert done.poll() is None
    finally:
        bank.ledger.agent.resume()
    out, words = done.communicate(timeout=60)
    assert "no answer yet" in words
    moved = 5 if out == "committed\n" else 0
    wait_until(lambda: bank.balances() == (before[0] - moved, before[1] + moved))
    wait_until(bank.nothing_prepared)
    bank.wait_ready()
