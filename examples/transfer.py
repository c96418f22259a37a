#!/usr/bin/env python3
"""Moves money between two PostgreSQL databases: in both or in neither.

    examples/transfer.py --accounts 'dbname=accounts' --ledger 'dbname=ledger' 30

The SQL runs on psycopg2 connections of this program's own; Assent is spoken to over HTTP with
the standard library. Copy the class below; the transfer at the end shows its use.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

import psycopg2


class Refused(Exception):
    """Assent answered with an error; its code is a word of doc/errors.md."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.retryable = error["code"], error["retryable"]


class RolledBack(Exception):
    """Nothing has happened, in no database. The transfer may be run again from the start."""


class Transaction:
    """with Transaction(url) as transaction: commits at the end, rolls back on an exception."""

    def __init__(self, url, patience=10):
        self.url, self.patience = url, patience
        self.gtrid, self.connections = None, []

    def call(self, method, path, body=None, **headers):
        """One request. OSError: no answer, and whether it was heard is not known."""
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json",
                     **{name.replace("_", "-"): value for name, value in headers.items()}})
        try:
            with urllib.request.urlopen(request, timeout=self.patience) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as reply:
            with reply:
                raise Refused(json.load(reply)["error"]) from None

    def __enter__(self):
        # Whichever of these arrives first begins the transaction, any other finds it.
        key = str(uuid.uuid4())
        for last in (False, False, True):
            try:
                self.gtrid = self.call("POST", "/v1/transactions", {"label": "transfer.py"},
                                       Idempotency_Key=key)["gtrid"]
                return self
            except OSError:
                if last:
                    raise

    def join(self, rm, connection):
        """What this connection does from now on is part of the transaction."""
        xid = self.call("POST", f"/v1/transactions/{self.gtrid}/branches", {"rm": rm})["branch"]["xid"]
        connection.tpc_begin(connection.xid(int(xid["format_id"]), xid["gtrid"], xid["bqual"]))
        self.connections.append(connection)
        return connection.cursor()

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                for connection in self.connections:
                    connection.tpc_prepare()
        except psycopg2.Error:
            self.roll_back()
            raise
        if kind is None:
            self.commit()
        else:
            self.roll_back()

    def leave(self):
        # A prepared branch belongs to its database and no more to the connection; reset() also
        # rolls back one that is not prepared.
        for connection in self.connections:
            connection.reset()

    def roll_back(self):
        self.leave()
        try:
            self.call("POST", f"/v1/transactions/{self.gtrid}/rollback", {})
        except (OSError, Refused):
            pass  # its time runs out, and it is rolled back then

    def commit(self):
        self.leave()
        try:
            reply = self.call("POST", f"/v1/transactions/{self.gtrid}/commit", {})
        except (OSError, Refused) as why:
            if isinstance(why, Refused) and why.code != "timeout":
                raise
            print(f"no answer yet ({why}): asking for the outcome", file=sys.stderr)
            reply = {"outcome": "in-progress"}
        # The transaction has committed or it has not: only the coordinator knows. To run the
        # transfer again now could do it twice; to ask again never harms.
        while reply["outcome"] == "in-progress":
            time.sleep(0.2)
            try:
                reply = self.call("GET", f"/v1/transactions/{self.gtrid}/outcome")
            except OSError:
                pass
            except Refused as why:
                if not why.retryable:
                    raise
        if reply["outcome"] != "committed":
            raise RolledBack(reply.get("reason", {}).get("message", reply["outcome"]))


def transfer(url, patience, accounts, ledger, amount):
    with Transaction(url, patience) as transaction:
        transaction.join("accounts", accounts).execute(
            "update account set balance = balance - %s where id = 1", (amount,))
        transaction.join("ledger", ledger).execute(
            "update account set balance = balance + %s where id = 1", (amount,))


def main():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", default="http://127.0.0.1:7480")
    options.add_argument("--accounts", required=True, help="how to connect to that database")
    options.add_argument("--ledger", required=True)
    options.add_argument("--patience", type=float, default=10, help="seconds to wait for an answer")
    options.add_argument("amount", type=int)
    given = options.parse_args()
    accounts, ledger = psycopg2.connect(given.accounts), psycopg2.connect(given.ledger)
    try:
        transfer(given.url, given.patience, accounts, ledger, given.amount)
    except (RolledBack, Refused, psycopg2.Error) as why:
        print(f"rolled back: {why}", file=sys.stderr)
        return 1
    print("committed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
