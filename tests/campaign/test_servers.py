"""PostgreSQL short of slots, and an agent that loses a right, under load."""

import contextlib

import pytest

from campaign import load, wait_until

CLIENTS = 50


@pytest.fixture
def tight_bank(new_bank, servers):
    """A bank whose server has room for five prepared transactions."""
    server = servers.get("tight")
    with contextlib.closing(server.connect("postgres")) as admin:
        admin.cursor().execute("alter system set max_prepared_transactions = 5")
    server.stop()
    server.start()
    with new_bank("tight") as bank:
        bank.start()
        yield bank


def test_five_slots_for_many_clients(tight_bank, seed, record):
    with load(tight_bank, seed, count=CLIENTS) as tellers:
        wait_until(lambda: tellers.transfers > 100, 60, "some get through")
    record("too few slots", f"max_prepared_transactions = 5 under {CLIENTS} tellers",
           tellers.transfers, tellers.words)


def test_an_agent_that_loses_its_membership_votes_no_and_later_finishes(bank, seed, record):
    """What it could not finish it must not promise; what it has promised waits for the grant."""
    def grant(text):
        for database in bank.databases:
            database.sql(text)

    with load(bank, seed) as tellers:
        wait_until(lambda: tellers.transfers > 20, 30)
        for _ in range(5):
            grant("revoke shop from assent")
            before = tellers.transfers + tellers.failures
            wait_until(lambda: tellers.transfers + tellers.failures > before + 5, 30)
            grant("grant shop to assent")
        before = tellers.transfers
        wait_until(lambda: tellers.transfers > before + 20, 30, "all is as before")
    record("an agent loses a grant", "REVOKE under load, then GRANT", 5, tellers.words)
