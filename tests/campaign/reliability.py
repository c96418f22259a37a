#!/usr/bin/python3
"""Write doc/reliability.md from the results of a campaign, so that it cannot say more than was tried:

    tests/campaign/reliability.py RESULTS >doc/reliability.md

RESULTS is the file that `./test --long` leaves in build/campaign-results.jsonl.
"""

import json
import sys

OPENING = """\
# Reliability

What we promise, and how often we have tried to break it.

**The promises**, for transactions over PostgreSQL databases that keep what they have flushed, and
a coordinator whose log is on a disk that does:

- A transaction is in all of its databases or in none, whatever dies, hangs, is cut off or comes
  back, in any order and at any moment.
- Who is told `committed` can rely on it; who is told `rolled-back` too. Who gets no answer asks
  again and is told the truth.
- Nothing stays prepared for longer than it takes until the coordinator and the agents concerned
  run and reach each other; nothing has to be finished by hand.
- At most one coordinator decides under one name. A second one, a copied log, an old one, an agent
  at the wrong database are refused, with the reason.
- When a disk fails the coordinator ends: it never guesses what was written.

**How it is tried.** `tests/campaign` runs the real daemons on real PostgreSQL servers. Tellers move
money between databases in every way of working: through the agents, on connections of their own,
mixed, in one database alone, with a branch that only reads; they roll back, and they are refused.
Meanwhile a fault is injected. Afterwards everything comes back by itself, and a checker compares
the history that the tellers have written with what the databases hold
(`tests/campaign/check_history.py`, which runs on any history file again): the sum, each transfer
whole or absent, every answer true, every outcome known, nothing prepared within 30 s.

The same code is also run by a simulator that loses, repeats and reorders messages and tears writes
(`tests/sim`), and its rules are checked exhaustively in models (`tests/model`). What is here is
what they cannot show: that the real parts do what the simulated ones do.

"""

TABLE = """\
| fault | how it is injected | times | what came of it |
|---|---|---:|---|
"""

CLOSING = """
Each line is a test of `tests/campaign`, run again by `./test --long`, or alone by

    ASSENT_BUILD=build/points /usr/bin/python3 -m pytest --long tests/campaign -k NAME

This page was generated from the results of the run of {day} by `tests/campaign/reliability.py`.
"""


def merged(results):
    """Parameters of one test are one line."""
    lines = {}
    for result in results:
        key = (result["fault"], result["injected"])
        lines.setdefault(key, []).append(result)
    return lines


def escape(text):
    return str(text).replace("|", "\\|")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as lines:
        results = [json.loads(line) for line in lines]
    if not results:
        sys.exit("error: no results")
    print(OPENING + TABLE, end="")
    for (fault, injected), tries in merged(results).items():
        times = sum(result["tried"] for result in tries)
        print(f"| {escape(fault)} | {escape(injected)} | {times:,} | {escape(tries[-1]['result'])} |")
    print(CLOSING.format(day=max(result["day"] for result in results)), end="")


if __name__ == "__main__":
    main()
