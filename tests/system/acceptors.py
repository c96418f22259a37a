"""What an agent has on its disk, and tells, of a transaction of three-phase commit."""

import contextlib

from harness import Client


def row(database, gtrid):
    """What the acceptor there has on its disk: promised, accepted, value, outcome."""
    _, incarnation, sequence = gtrid.split(".")
    rows = database.sql("select promised, accepted, value, outcome from assent.acceptor"
                        " where incarnation = %s and sequence = %s", incarnation, sequence)
    return rows[0] if rows else None


def value(database, gtrid):
    found = row(database, gtrid)
    return found[2] if found else None


def ask(database, gtrid):
    """The outcome, as the agent of that database tells it."""
    with contextlib.closing(Client(database.socket)) as client:
        reply = client.call("outcome", gtrid=gtrid)
        return reply["outcome"] if reply["ok"] else reply["error"]["code"]
