"""doc/reliability.md: a campaign replaces its own table there, and nothing that was written by hand."""

import json
import shutil
import subprocess

import pytest

import harness

PAGE = harness.SOURCE / "doc/reliability.md"
SCRIPT = harness.SOURCE / "tests/campaign/reliability.py"

RESULTS = [
    {"fault": "kill -9", "injected": "a | b", "tried": 1000, "result": "old", "day": "2031-01-01"},
    {"fault": "kill -9", "injected": "a | b", "tried": 234, "result": "whole", "day": "2031-01-02"},
    {"fault": "a flood", "injected": "water", "tried": 1, "result": "dry", "day": "2031-01-01"},
]


@pytest.fixture
def page(tmp_path):
    """A copy, and what writes results into it: returns the script's exit status and words."""
    copy = tmp_path / "reliability.md"
    shutil.copy(PAGE, copy)

    def write(results):
        lines = tmp_path / "results.jsonl"
        lines.write_text("".join(json.dumps(result) + "\n" for result in results))
        done = subprocess.run(["/usr/bin/python3", "-B", SCRIPT, lines, copy], capture_output=True,
                              text=True)
        return done.returncode, done.stdout + done.stderr
    return copy, write


def by_hand(text):
    """What is not the table of results."""
    inside, lines = False, []
    for line in text.splitlines():
        if line.startswith("<!-- written by hand"):
            inside = False
        if not inside:
            lines.append(line)
        if line.startswith("<!-- written by tests/campaign"):
            inside = True
    return lines


def test_a_campaign_replaces_its_table_and_keeps_what_was_written_by_hand(page):
    copy, write = page
    assert write(RESULTS) == (0, "")
    text = copy.read_text()
    assert by_hand(text) == by_hand(PAGE.read_text())
    assert any(line.startswith("## Kinds of faults, and what keeps them out")
               for line in by_hand(text))
    results = [line for line in text.splitlines() if line not in by_hand(text)]
    assert "| kill -9 | a \\| b | 1,234 | whole |" in results
    assert "| a flood | water | 1 | dry |" in results
    assert "These are the results of the run of 2031-01-02." in results
    assert not any("a copied log" in line for line in results)
    assert write(RESULTS) == (0, "")
    assert copy.read_text() == text


def test_a_campaign_without_results_changes_nothing(page):
    copy, write = page
    status, words = write([])
    assert status == 1 and "no results" in words
    assert copy.read_text() == PAGE.read_text()


def test_a_page_without_its_marks_is_left_alone(page):
    copy, write = page
    copy.write_text("all by hand\n")
    status, words = write(RESULTS)
    assert status == 1 and "has to have these two lines" in words
    assert copy.read_text() == "all by hand\n"
