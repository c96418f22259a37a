"""libassent from Python, by ctypes: what <assent.h> says, and no more."""

import ctypes
import select

import pytest

import harness

if harness.sanitized():
    pytest.skip("a sanitized library is for sanitized programs alone", allow_module_level=True)

OK, EABORTED, EUNKNOWN, EUSAGE, EREFUSED, ESQL, EKEY, ENOTKNOWN, EMIXED, ECOMMITTED, \
    EUNREACHABLE, ETIMEOUT, ENOMEM, EAGAIN = range(0, -14, -1)
APPLIED, DECIDED = 0, 1
OUTCOMES = ("in-progress", "committed", "rolled-back", "mixed", "forgotten")

text, pointer = ctypes.c_char_p, ctypes.c_void_p


class Reason(ctypes.Structure):
    _fields_ = [("code", text), ("rm", text), ("sqlstate", text), ("message", text),
                ("detail", text), ("hint", text), ("retryable", ctypes.c_bool)]


class Options(ctypes.Structure):
    _fields_ = [("timeout_ms", ctypes.c_uint32), ("label", text), ("key", text),
                ("protocol", text)]


class Enlistment(ctypes.Structure):
    _fields_ = [("branch", text), ("role", text), ("isolation", text), ("read_only", ctypes.c_bool)]


class Branch(ctypes.Structure):
    _fields_ = [("gid", text), ("format_id", ctypes.c_int32), ("gtrid", text), ("bqual", text)]


class Listed(ctypes.Structure):
    _fields_ = [("gtrid", text), ("state", text), ("label", text), ("key", text),
                ("age_ms", ctypes.c_uint64)]


class List(ctypes.Structure):
    _fields_ = [("count", ctypes.c_size_t), ("items", ctypes.POINTER(Listed))]


Block = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)

library = ctypes.CDLL(str(harness.BUILD / "lib/.libs/libassent.so.0"))
for name in ("new",):
    getattr(library, "assent_" + name).restype = pointer
for name in ("gtrid", "strerror", "value", "command", "column_name"):
    getattr(library, "assent_" + name).restype = text
library.assent_reason.restype = ctypes.POINTER(Reason)
library.assent_applied.restype = ctypes.c_bool
library.assent_events.restype = ctypes.c_short


class Result:
    def __init__(self, handle):
        self.command = library.assent_command(handle).decode()
        columns = range(library.assent_columns(handle))
        self.names = [library.assent_column_name(handle, at).decode() for at in columns]
        self.rows = [[library.assent_value(handle, row, column) for column in columns]
                     for row in range(library.assent_rows(handle))]
        library.assent_result_free(handle)


class Client:
    def __init__(self, urls):
        self.handle = pointer()
        self.rc = library.assent_open(ctypes.byref(self.handle), urls and urls.encode())

    def new(self):
        return Transaction(self)

    def close(self):
        library.assent_close(self.handle)


def encode(value):
    return None if value is None else str(value).encode()


class Transaction:
    """Each call returns its code; what else it tells is in an attribute."""

    def __init__(self, client):
        self.handle = pointer(library.assent_new(client.handle))
        self.result = self.outcome_told = None
        self.polls = 0

    def set_nonblocking(self):
        library.assent_set_nonblocking(self.handle, True)

    def settle(self, code):
        """The loop of an application's own."""
        while code == EAGAIN:
            self.polls += 1
            descriptor = library.assent_fd(self.handle)
            poll = select.poll()
            if descriptor >= 0:
                poll.register(descriptor, library.assent_events(self.handle))
            poll.poll(library.assent_wait_ms(self.handle))
            code = library.assent_complete(self.handle)
        return code

    def begin(self, timeout_ms=0, label=None, key=None, wait_ms=0, protocol=None):
        options = Options(timeout_ms, encode(label), encode(key), encode(protocol))
        return self.settle(library.assent_begin(self.handle, ctypes.byref(options), wait_ms))

    def attach(self, gtrid):
        return library.assent_attach(self.handle, gtrid.encode())

    def enlist(self, rm, branch=None, read_only=False, isolation=None, wait_ms=0):
        how = Enlistment(encode(branch), None, encode(isolation), read_only)
        self.branch = Branch()
        return self.settle(library.assent_enlist(
            self.handle, rm.encode(), ctypes.byref(how), ctypes.byref(self.branch), wait_ms))

    def exec(self, rm, sql, *params, wait_ms=0):
        values = (text * len(params))(*map(encode, params))
        handle = pointer()
        code = self.settle(library.assent_exec(
            self.handle, rm.encode(), sql.encode(), len(params), values, ctypes.byref(handle),
            wait_ms))
        self.result = Result(handle) if code == OK else None
        return code

    def commit(self, wait=APPLIED, wait_ms=0):
        return self.settle(library.assent_commit(self.handle, wait, wait_ms))

    def rollback(self, wait_ms=0):
        return self.settle(library.assent_rollback(self.handle, wait_ms))

    def outcome(self, wait_ms=0):
        told = ctypes.c_int(-1)
        code = self.settle(library.assent_outcome(self.handle, ctypes.byref(told), wait_ms))
        self.outcome_told = OUTCOMES[told.value] if code == OK else None
        return code

    def outcome_of_key(self, key, wait_ms=0):
        told = ctypes.c_int(-1)
        code = self.settle(library.assent_outcome_of_key(self.handle, key.encode(),
                                                         ctypes.byref(told), wait_ms))
        self.outcome_told = OUTCOMES[told.value] if code == OK else None
        return code

    def list(self, state=None):
        found = ctypes.POINTER(List)()
        code = self.settle(library.assent_list(self.handle, encode(state), ctypes.byref(found), 0))
        if code == OK:
            self.listed = {item.gtrid.decode(): (item.state.decode(), item.label.decode())
                           for item in found.contents.items[:found.contents.count]}
            library.assent_list_free(found)
        return code

    def ask(self, request):
        reply = text()
        code = self.settle(library.assent_ask(self.handle, request.encode(), ctypes.byref(reply), 0))
        self.reply = reply.value
        return code

    def run(self, block, wait_ms=0, key=None):
        options = Options(0, b"run", encode(key))
        return library.assent_run(self.handle, ctypes.byref(options),
                                  Block(lambda handle, arg: block(self)), None, wait_ms)

    @property
    def gtrid(self):
        return library.assent_gtrid(self.handle).decode()

    @property
    def applied(self):
        return library.assent_applied(self.handle)

    @property
    def reason(self):
        return library.assent_reason(self.handle).contents

    @property
    def code(self):
        return self.reason.code.decode()

    def free(self):
        library.assent_free(self.handle)
