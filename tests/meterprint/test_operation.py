"""Commands of operation on a real state directory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from meterprint import doctor
from meterprint.doctor import FAIL, OK, diagnose
from meterprint.site import open_site
from tests.conftest import REPO


@pytest.fixture
def state(tmp_path):
    open_site(tmp_path / "state", "x").close()
    return tmp_path / "state"


def by_id(state):
    return {one.id: one for one in diagnose(state)}


def test_a_fresh_site_has_no_failure_and_each_result_says_what_was_seen(state):
    found = by_id(state)
    assert {one.result for one in found.values()} <= {"ok", "warn"}
    assert all(one.seen for one in found.values())
    assert all(one.remedy for one in found.values() if one.result == "warn")
    assert found["journal"].seen.startswith("4 entries")


def test_keys_that_others_can_read_are_a_failure_with_its_remedy(state):
    (state / "keys" / "root.key").chmod(0o644)
    keys = by_id(state)["keys"]
    assert (keys.result, keys.remedy.split()[0]) == (FAIL, "chmod")
    assert "root.key" in keys.seen


def test_a_journal_of_another_site_is_named_not_raised(state):
    (state / "site.json").write_text(json.dumps({"site": "y", "state": 2}))
    assert by_id(state)["journal"].result == FAIL


def test_a_disk_that_is_nearly_full_is_a_warning(state, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 10**18)
    assert by_id(state)["disk"].result != OK


def test_the_command_answers_with_json_and_its_status(state):
    command = [sys.executable, "-m", "meterprint.cli", "doctor", "--json", "--state", str(state)]
    answer = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    rows = json.loads(answer.stdout)
    assert {"id", "result", "seen", "remedy"} == set(rows[0])
    (state / "keys" / "facts.key").chmod(0o604)
    assert subprocess.run(command, cwd=REPO, capture_output=True, check=False).returncode == 1
