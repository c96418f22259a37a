"""assent-bench works, and what it counts is possible. How fast anything is, is no test."""

import json
import re
import subprocess

import pytest

import harness

MODES = ["raw", "raw-pipelined", "own", "own-pipelined", "exec", "decide"]


def bench(*arguments):
    return subprocess.run([harness.program("bench/assent-bench"), *map(str, arguments)],
                          capture_output=True, text=True, timeout=120)


def test_a_short_run_counts_what_each_mode_does(tmp_path):
    picture = tmp_path / "bench.svg"
    done = bench("--self-contained", "--json", "--mode", ",".join(MODES), "--clients", "1,4",
                 "--seconds", 0.2, "--slice", 0.1, "--plot", picture)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["modes"]
    assert [(f["mode"], f["clients"]) for f in figures] == [(m, n) for n in (1, 4) for m in MODES]
    for mode in figures:
        assert mode["transactions"] > 0 and mode["tx_per_s"] > 0
        assert 0 < mode["p50_ms"] <= mode["p95_ms"] <= mode["p99_ms"] <= mode["max_ms"]
        if mode["mode"] == "raw":
            assert mode["ratio_to_raw"] == 1
        if mode["mode"].startswith("raw"):
            assert mode["client_messages"] == mode["syncs"] == mode["log_bytes"] == 0
        else:
            # A decision has its record, and begin and commit were asked for.
            assert mode["log_bytes"] > 50 and mode["syncs"] > 0
            assert mode["client_messages"] == {"exec": 4, "decide": 2 / 16}.get(mode["mode"], 2)
    assert picture.read_text().endswith("</svg>\n")


def test_three_phase_commit_is_compared_with_the_same_by_two():
    done = bench("--self-contained", "--json", "--mode", "raw,own,own-pipelined,exec",
                 "--protocol", "2pc,3pc", "--wait", "decided", "--clients", 2,
                 "--seconds", 0.2, "--slice", 0.1)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wait"] == "decided"
    assert [f["mode"] for f in report["modes"]] == [
        "raw", "own", "own-3pc", "own-pipelined", "own-pipelined-3pc", "exec", "exec-3pc"]
    for mode in report["modes"]:
        assert mode["transactions"] > 0
        assert ("ratio_to_2pc" in mode) == mode["mode"].endswith("-3pc")


def test_figures_for_several_numbers_of_databases_are_one_table(tmp_path):
    picture = tmp_path / "bench.svg"
    done = bench("--self-contained", "--json", "--mode", "raw,exec", "--databases", "1,2",
                 "--clients", 2, "--seconds", 0.2, "--slice", 0.1, "--plot", picture)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["modes"]
    assert [(f["mode"], f["databases"]) for f in figures] == [
        ("raw", 1), ("exec", 1), ("raw", 2), ("exec", 2)]
    # begin, one exec a database, commit.
    assert [f["client_messages"] for f in figures if f["mode"] == "exec"] == [3, 4]
    assert "databases" in picture.read_text()


def test_what_a_pending_transaction_costs_is_told_for_each_mode():
    done = bench("--self-contained", "--mode", "raw,exec", "--clients", 2, "--seconds", 0.2,
                 "--slice", 0.1, "--pinned", 0.4)
    assert done.returncode == 0, done.stderr
    table = done.stdout.split("pending in each database")[1].splitlines()[-2:]
    assert [row.split()[0] for row in table] == ["raw", "exec"]
    assert all(float(figure) > 0 for row in table for figure in row.split()[1:])


def test_what_a_coordinator_remembers_and_has_under_way_is_measured_in_a_real_one():
    done = bench("--self-contained", "--json", "--mode", "decide,decide-remembering",
                 "--clients", 4, "--seconds", 0.2, "--slice", 0.1, "--remembered", 5000,
                 "--live", 5000)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["remembered"] == 5000
    new, remembering = report["modes"]
    assert "ratio_to_decide" not in new and remembering["ratio_to_decide"] > 0
    # Somewhat more are begun than were asked for. None of them is without a record of its own.
    assert 5000 <= report["live"]["transactions"] <= 10000
    assert report["live"]["bytes_each"] > 100


def test_what_it_does_not_know_is_said():
    refused = bench("--self-contained", "--mode", "magic")
    assert refused.returncode == 2
    assert refused.stderr.startswith('error: --mode: there is no mode "magic"')


def test_it_wants_a_place_to_run():
    refused = bench("--mode", "raw")
    assert refused.returncode == 2
    assert "--self-contained" in refused.stderr


def test_several_numbers_are_given_for_clients_or_for_databases():
    refused = bench("--self-contained", "--clients", "1,2", "--databases", "1,2")
    assert refused.returncode == 2
    assert "not for both" in refused.stderr


def test_only_what_works_in_databases_can_be_beside_a_pending_transaction():
    refused = bench("--self-contained", "--mode", "raw,decide", "--pinned", 1)
    assert refused.returncode == 2
    assert "not decide" in refused.stderr


def test_a_protocol_is_one_that_there_is():
    refused = bench("--self-contained", "--protocol", "4pc")
    assert refused.returncode == 2
    assert "`2pc,3pc'" in refused.stderr


# ---- the page of figures ----

PAGE = harness.SOURCE / "doc" / "performance.md"
SECTION = re.compile(r"<!-- figures: (\S+) -->\n(.*?)<!-- end of figures -->\n", re.S)


def figures(folder, *arguments):
    """Takes figures in their shortest form, into a page of our own."""
    return subprocess.run([harness.SOURCE / "bench" / "figures", "--short", "--seconds", "0.1",
                           "--build", harness.BUILD, "--into", folder, "--keep", folder / "kept",
                           *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_one_command_takes_every_figure_of_the_page(tmp_path):
    page = tmp_path / "performance.md"
    empty = SECTION.sub(r"<!-- figures: \1 -->\n<!-- end of figures -->\n", PAGE.read_text())
    page.write_text(empty)
    done = figures(tmp_path)
    assert done.returncode == 0, done.stderr
    written = page.read_text()
    sections = dict(SECTION.findall(written))
    assert sections and all(re.search(r"\d", text) for text in sections.values())
    # What stands around them is a person's, and stays.
    assert SECTION.sub("", written) == SECTION.sub("", empty)
    for picture in re.findall(r"\]\((\S+\.svg)\)", written):
        assert (tmp_path / picture).read_text().endswith("</svg>\n")
    # They can be written again from what was kept, and nothing is measured for it.
    page.write_text(empty)
    assert figures(tmp_path, "--page-only").returncode == 0
    assert page.read_text() == written


def test_figures_that_cannot_be_taken_leave_the_page_as_it_was(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("<!-- figures: clients -->\nold\n<!-- end of figures -->\n")
    done = figures(tmp_path, "--page-only", "clients", "log")
    assert done.returncode == 1
    assert "error: clients: there is no report of it" in done.stderr
    assert "not taken: clients log" in done.stderr
    assert page.read_text() == "<!-- figures: clients -->\nold\n<!-- end of figures -->\n"


def test_a_part_is_one_that_there_is(tmp_path):
    done = figures(tmp_path, "magic")
    assert done.returncode == 2
    assert "there is no part magic" in done.stderr
