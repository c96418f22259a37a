#!/usr/bin/python3
"""Write the results of a campaign into doc/reliability.md, so that it cannot say more than was tried:

    tests/campaign/reliability.py RESULTS [PAGE]

RESULTS is the file that `./test --long` leaves in build/campaign-results.jsonl. What stands between
the page's two marks is replaced, the table and its date; the rest is written by hand and stays.
"""

import json
import pathlib
import sys

PAGE = pathlib.Path(__file__).resolve().parents[2] / "doc/reliability.md"
BEGIN = "<!-- written by tests/campaign/reliability.py from here on -->\n"
END = "<!-- written by hand from here on -->\n"

HEAD = """\
| fault | how it is injected | times | what came of it |
|---|---|---:|---|
"""

CLOSING = """
These are the results of the run of {day}.
"""


def merged(results):
    """Parameters of one test are one line."""
    lines = {}
    for result in results:
        key = (result["fault"], result["injected"])
        lines.setdefault(key, []).append(result)
    return lines


def escape(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(results):
    lines = []
    for (fault, injected), tries in merged(results).items():
        times = sum(result["tried"] for result in tries)
        lines.append(f"| {escape(fault)} | {escape(injected)} | {times:,} |"
                     f" {escape(tries[-1]['result'])} |\n")
    return HEAD + "".join(lines) + CLOSING.format(day=max(result["day"] for result in results))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    page = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else PAGE
    with open(sys.argv[1], encoding="utf-8") as lines:
        results = [json.loads(line) for line in lines]
    if not results:
        sys.exit("error: no results")
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        sys.exit(f"error: {page} has to have these two lines, in this order:\n{BEGIN}{END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(before + BEGIN + table(results) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
