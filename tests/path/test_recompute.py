"""The whole history computed again, from segments and from signed envelopes, by the command."""

from __future__ import annotations

import json
import subprocess
import sys

import apsw
import pytest

from bench.history import History


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    made = History(folder, 2)
    made.grow(400_000)
    made.settle()
    made.site.close()
    return folder


def command(folder, *options):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "meterprint.cli",
            "recompute",
            "--json",
            "--state",
            str(folder),
            *list(options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in (0, 1), run.stderr
    return run.returncode, json.loads(run.stdout)


@pytest.mark.slow
def test_segments_and_envelopes_give_the_figures_that_are_shown(history):
    reports = [command(history), command(history, "--from-envelopes")]
    assert [code for code, _ in reports] == [0, 0]
    assert [report["source"] for _, report in reports] == ["segments", "envelopes"]
    assert len({report["digest"] for _, report in reports}) == 1
    for _, report in reports:
        assert report["batches"] > 0
        assert report["different"] == []
        assert report["readings"] == 400_000


@pytest.mark.slow
def test_a_stored_result_that_is_not_what_the_journal_says_is_named(history):
    db = apsw.Connection(str(history / "results.db"))
    ((name,),) = db.execute("SELECT min(name) FROM result").fetchall()
    db.execute("UPDATE result SET digest=?, mark='' WHERE name=?", ("0" * 64, name))
    db.close()
    code, report = command(history)
    assert (code, report["different"]) == (1, [name])
