"""Commands of operation on a real state directory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from ingest.broker_certificates import make_authority
from ingest.broker_port import free_port
from ingest.influx_connection import InfluxConnection
from ingest.influx_setup import prepare
from ingest.projector import read_cursor
from meterprint import doctor_machine, doctor_state
from meterprint.diagnosis import FAIL, OK
from meterprint.doctor import diagnose
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
    monkeypatch.setattr(doctor_machine, "LITTLE_SPACE", 10**18)
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
    monkeypatch.setattr(doctor_state, "RENEW_DAYS", 10_000)
    assert by_id(state)["access"].result == "warn"
    (state / "keys" / "broker-server.pem").write_text("broken")
    assert by_id(state)["access"].result == FAIL
    (state / "users").write_text("nonsense")
    assert "name:role:hash" in by_id(state)["access"].seen


def configured(state, text):
    (state / "meterprint.toml").write_text(text)
    return by_id(state)


def test_settings_that_cannot_be_read_are_named_with_their_line(state):
    told = configured(state, "[web]\nport = 1\nprot = 2\n")["settings"]
    assert told.result == FAIL
    assert "meterprint.toml:3" in told.seen
    assert "port" in told.remedy
    assert configured(state, "[web")["settings"].result == FAIL


def test_servers_that_were_named_are_asked(state):
    port = free_port()
    found = configured(
        state,
        f"[broker]\nhost = '127.0.0.1'\nport = {port}\n[influx]\nurl = 'http://127.0.0.1:{port}'\n",
    )
    for name in ("broker", "influx"):
        assert found[name].result == FAIL
        assert str(port) in found[name].seen
        assert found[name].remedy
    with socket.create_server(("127.0.0.1", port)):
        assert by_id(state)["broker"].result == OK


@pytest.mark.influx
def test_an_influxdb_without_the_database_is_a_failure_until_it_is_made(state, influxd):
    address = influxd.address("of-the-doctor")
    variables = {"TOKEN": address.token, "USER": address.username, "PASSWORD": address.password}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(f"METERPRINT_INFLUX_{name}", value)
        patch.setenv("METERPRINT_INFLUX_ORG", address.org)
        text = f"[influx]\nurl = '{address.url}'\ndatabase = 'of-the-doctor'\n"
        told = configured(state, text)["influx"]
        assert (told.result, "influx init" in told.remedy) == (FAIL, True), told
        server = InfluxConnection(address)
        prepare(server)
        server.close()
        told = by_id(state)["influx"]
        assert (told.result, "of-the-doctor" in told.seen) == (OK, True), told


def test_a_mosquitto_that_does_not_run_is_no_broker(state, tmp_path, monkeypatch):
    broken = tmp_path / "bin" / "mosquitto"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho libssl.so.9: cannot open shared object >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    told = by_id(state)["broker"]
    assert (told.result, "libssl" in told.seen) == (FAIL, True)


def test_a_port_of_another_program_is_a_warning(state):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(doctor_machine, "ASK_S", 0.2)
            told = configured(state, f"[web]\nport = {port}\n[broker]\nport = 0\n")["ports"]
    assert (told.result, str(port) in told.seen) == ("warn", True)
    assert "free" in by_id(state)["ports"].seen


def test_a_clock_that_was_turned_back_is_a_failure(state):
    ahead = time.time() + 86_400
    os.utime(state / "journal.db", (ahead, ahead))
    told = by_id(state)["clock"]
    assert (told.result, "was written at" in told.seen) == (FAIL, True)


def test_a_full_disk_and_a_state_that_is_a_file_are_failures(state, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_machine, "NO_SPACE", 10**18)
    assert by_id(state)["disk"].result == FAIL
    (tmp_path / "file").write_text("x")
    told = by_id(tmp_path / "file")
    assert (told["disk"].result, "is a file" in told["disk"].seen) == (FAIL, True)


def test_what_is_broken_in_a_state_directory_is_a_failure_with_its_remedy(state):
    (state / "segments").mkdir(exist_ok=True)
    (state / "segments" / "manifest.json").write_bytes(b"\xff{")
    (state / "quarantine.db").write_bytes(b"nonsense" * 1000)
    (state / "influx-parked.json").write_text("[]")
    found = by_id(state)
    assert "rebuild" in found["segments"].remedy
    assert "move it away" in found["quarantine"].remedy
    before = sorted((p, p.stat().st_size) for p in state.rglob("*") if p.is_file())
    by_id(state)
    after = sorted((p, p.stat().st_size) for p in state.rglob("*") if p.is_file())
    assert [p for p, _ in before] == [p for p, _ in after], "the doctor makes nothing"


def test_a_cursor_that_says_nothing_of_use_begins_anew(tmp_path):
    path = tmp_path / "cursor.json"
    assert read_cursor(path, 10) == 0
    for text, wanted in (("7\n", 7), ("11", 0), ("-1", 0), ("", 0), ("\xff", 0), ("[7]", 0)):
        path.write_text(text)
        assert read_cursor(path, 10) == wanted
