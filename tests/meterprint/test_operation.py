"""Commands of operation on a real state directory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ingest.broker_certificates import make_authority
from meterprint import doctor
from meterprint.doctor import FAIL, OK, diagnose
from meterprint.site import open_journal, open_site
from tests.conftest import REPO
from tests.ingest.journals import Plant, draft


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


def cli(state, *words):
    command = [sys.executable, "-m", "meterprint.cli", *words, "--json", "--state", str(state)]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)


def test_sealed_entries_are_checked_and_a_missing_cold_file_is_named(state):
    journal = open_journal(state)
    plant = Plant()
    journal.append([draft(plant.envelope()) for _ in range(300)])
    journal.close()
    run = cli(state, "journal", "rotate", "--keep", "0")
    assert run.returncode == 0, run.stderr
    rotated = json.loads(run.stdout)
    assert (rotated["parts"], rotated["entries"], rotated["hot_start"]) == (1, 256, 256)
    assert rotated["bytes_after"] < rotated["bytes_before"] / 3
    assert by_id(state)["cold"].result == OK
    name = next((state / "journal-cold").glob("*.cold"))
    name.write_bytes(name.read_bytes()[:-1])
    run = cli(state, "journal", "check")
    assert run.returncode == 1
    located = json.loads(run.stdout)["located"]
    assert {"file": name.name, "first": 0, "last": 255}.items() <= located[0].items()
    for _ in range(2):
        cold = by_id(state)["cold"]
        assert cold.result == FAIL
        assert name.name in cold.seen
        assert "entries 0 to 255" in cold.seen
        assert cold.remedy
        name.unlink(missing_ok=True)


def test_a_journal_that_does_not_open_is_a_failed_check(state):
    database = state / "journal.db"
    database.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    run = cli(state, "journal", "check")
    assert run.returncode == 1, run.stderr
    assert json.loads(run.stdout)["faults"]


def test_certificates_that_end_soon_are_a_warning_and_ended_ones_a_failure(state, monkeypatch):
    assert "loopback only" in by_id(state)["access"].seen
    make_authority(state / "keys", "x", [])
    assert by_id(state)["access"].result == OK
    monkeypatch.setattr(doctor, "RENEW_DAYS", 10_000)
    assert by_id(state)["access"].result == "warn"
    (state / "keys" / "broker-server.pem").write_text("broken")
    assert by_id(state)["access"].result == FAIL
    (state / "users").write_text("nonsense")
    assert "name:role:hash" in by_id(state)["access"].seen
