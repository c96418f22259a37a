#!/usr/bin/python3
"""Does a history of transfers keep the promises? Run it on any history file again:

    tests/campaign/check_history.py FILE...

A history is a file of JSON lines, written while it happened (see history.py); its last line says
what the databases hold. The promises:

    sum          money is neither made nor lost, in any consistent reading
    atomic       a transfer is in all of its databases, whole, or in none
    acknowledged what a client was told committed is in the databases
    refused      what a client was told rolled back is not
    one answer   nobody is ever told the opposite of what another was told
    wanted       nothing is committed that nobody asked to commit
    settled      nothing is left prepared, and every outcome is known and the true one
"""

import collections
import json
import sys

FINAL = ("committed", "rolled-back")


class History:
    """What the lines say, by transaction."""

    def __init__(self, lines):
        self.begun, self.asked, self.told = {}, set(), collections.defaultdict(list)
        self.sums, self.opened, self.closed = [], None, None
        self.kills = collections.Counter()
        for line in lines:
            self.read(json.loads(line))

    def read(self, entry):
        event, gtrid = entry["event"], entry.get("gtrid")
        if event == "opened":
            self.opened = entry
        elif event == "begun":
            self.begun[gtrid] = entry
        elif event == "asked":
            self.asked.add(gtrid)
        elif event == "told":
            self.told[gtrid].append(entry["outcome"])
        elif event == "audited":
            self.sums.append(entry["sum"])
        elif event == "killed":
            self.kills[entry["who"]] += 1
        elif event == "closed":
            self.closed = entry

    def where(self, gtrid):
        """The amounts that the databases hold under this transaction."""
        return {rm: transfers[gtrid] for rm, transfers in self.closed["transfers"].items()
                if gtrid in transfers}


def violations(history):
    """Each broken promise as one line of text."""
    if history.opened is None or history.closed is None:
        yield "the history has no beginning or no end"
        return
    for total in (*history.sums, history.closed["sum"]):
        if total != history.opened["sum"]:
            yield f"sum: {total}, was {history.opened['sum']}"
    for gid in history.closed["prepared"]:
        yield f"settled: {gid} is prepared still"
    stored = set().union(*history.closed["transfers"].values())
    for gtrid in stored - history.begun.keys():
        yield f"wanted: {gtrid} is stored, and nobody began it"
    for gtrid, begun in history.begun.items():
        yield from of_one(history, gtrid, begun)


def of_one(history, gtrid, begun):
    found, told = history.where(gtrid), history.told[gtrid]
    if found and found != begun["moves"]:
        yield f"atomic: {gtrid} is {found}, should be {begun['moves']} or nothing"
    if len({outcome for outcome in told if outcome in FINAL}) > 1:
        yield f"one answer: {gtrid} was told {told}"
    if found and gtrid not in history.asked:
        yield f"wanted: {gtrid} is stored, and nobody asked to commit it"
    if found and begun["kind"] == "refused":
        yield f"atomic: {gtrid} is stored though one database refused it"
    if "committed" in told and not found:
        yield f"acknowledged: {gtrid} was told committed, and is not stored"
    if "rolled-back" in told and found:
        yield f"refused: {gtrid} was told rolled back, and is stored in {sorted(found)}"
    outcome = history.closed["outcomes"].get(gtrid)
    if outcome != ("committed" if found else "rolled-back"):
        yield f"settled: the outcome of {gtrid} is {outcome}, and it is stored in {sorted(found)}"


def summary(history):
    stored = set().union(*history.closed["transfers"].values()) if history.closed else ()
    return (f"{len(history.begun)} transactions, {len(stored)} committed, "
            f"{len(history.sums)} readings, {sum(history.kills.values())} kills")


def check(path):
    """(what it holds, the broken promises)"""
    with open(path, encoding="utf-8") as lines:
        history = History(lines)
    return summary(history), list(violations(history))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    failed = False
    for path in sys.argv[1:]:
        words, broken = check(path)
        print(f"{path}: {words}, {len(broken)} violations")
        for line in broken:
            print(f"  {line}")
        failed |= bool(broken)
    sys.exit(failed)


if __name__ == "__main__":
    main()
