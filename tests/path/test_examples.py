"""The main job on real input: the examples through the real path, then evidence."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.replay import read_replay
from footprint.verify import verify
from ingest.bundler import make_bundle
from ingest.entry import EntryKind
from meterprint.replay import load_example, replay
from meterprint.site import open_site
from mrv.verification.container import read, write
from mrv.verification.note import SecretKey

REPO = Path(__file__).resolve().parent.parent.parent
EXAMPLES = REPO / "examples"


TRAPS = {
    "overlapping_interval": 33,
    "batch_without_readings": 16,
    "batch_without_time": 14,
    "addition_before_LF-arc": 17,
    "addition_after_LF-arc": 176,
}
"""Findings the data's README leads one to expect, and how many."""


def quiet(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= max(total, 1), stage


@pytest.fixture(scope="module")
def steel(tmp_path_factory):
    state = tmp_path_factory.mktemp("steel")
    example = load_example(EXAMPLES / "steel_plant", None)
    return state, replay(example, state, quiet)


@pytest.fixture(scope="module")
def ladle(tmp_path_factory, shared):
    state = tmp_path_factory.mktemp("ladle")
    example = load_example(EXAMPLES / "ladle_furnace", shared / "data" / "ladle_furnace")
    return state, replay(example, state, quiet)


@pytest.fixture(scope="module")
def bundle(ladle):
    state, _ = ladle
    site = open_site(state)
    site.engine.settle()
    data = make_bundle(site.journal, site.keyring, site.engine.engine, "800")
    root = site.keyring.root.public
    site.close()
    return data, root


def test_the_steel_plants_claim_is_refuted_by_its_own_readings(steel):
    _, report = steel
    assert report["claim"] == {
        "rows": 17376,
        "agree": 17329,
        "claimed_t": "220.83",
        "recomputed_t": "238.97",
        "zero_rows_with_use": 47,
    }
    assert report["registers"]["main/energy"]["total"] == "521199.76"
    assert report["batches"] == {"provisional": 0, "final": 0, "final_estimated": 0, "closed": 181}


def test_the_segments_hold_every_reading_of_the_replay(ladle):
    state, report = ladle
    rows = json.loads((state / "segments" / "manifest.json").read_text())["segments"]
    assert sum(row["rows"] for row in rows) == report["readings"]


def test_every_register_of_the_ladle_furnace_is_conserved_exactly(ladle):
    _, report = ladle
    assert report["registers"]
    assert {book["residual"] for book in report["registers"].values()} == {"0"}
    assert report["registers"]["LF-arc/energy"]["total"].startswith("320.49")


def test_every_heat_is_there_and_the_traps_come_out_as_findings(ladle):
    _, report = ladle
    assert report["heats"] == 1620
    assert report["batches"]["closed"] == 1620
    assert report["readings"] == 24626
    assert report["findings"]["overlapping_interval"] == 33
    assert report["findings"]["batch_without_readings"] == 16
    assert report["findings"]["addition_before_LF-arc"] >= 10
    assert report["findings"]["addition_after_LF-arc"] >= 77


def test_a_second_start_of_a_replay_changes_nothing(steel):
    state, report = steel
    again = replay(load_example(EXAMPLES / "steel_plant", None), state, quiet)
    assert again["readings"] == report["readings"]
    assert again["registers"] == report["registers"]
    assert again["batches"] == report["batches"]


def test_a_heats_bundle_passes_every_check(bundle):
    data, root = bundle
    verdict = verify(data, root)
    assert [c.id for c in verdict.checks if c.result != "pass"] == []
    assert len(verdict.checks) >= 8


def test_first_last_empty_and_overlapping_heats_verify_like_any_other(ladle, shared):
    """Whatever trap a heat is in, its bundle holds, and its digest is the live one."""
    state, _ = ladle
    example = load_example(EXAMPLES / "ladle_furnace", shared / "data" / "ladle_furnace")
    findings = read_replay(example.mapping, example.data).findings
    named = {rule: [f for f in findings if f.rule == rule] for rule in TRAPS}
    assert {rule: len(found) for rule, found in named.items()} == TRAPS
    site = open_site(state)
    site.refresh()
    batches = {batch.id for batch in site.engine.engine.batches()}
    traps = {found[0].subject.rpartition(":")[2] for found in named.values()}
    heats = ["1", "1620", *sorted(traps & batches)]
    assert len(heats) >= 5
    for heat in heats:
        data = make_bundle(site.journal, site.keyring, site.engine.engine, heat)
        verdict = verify(data, site.keyring.root.public)
        assert [c for c in verdict.checks if c.result != "pass"] == [], heat
        assert verdict.result.digest() == site.engine.results[heat].digest()
        assert verdict.result.relative
        assert verdict.notes[0].en.startswith("The source states no unit")
    site.close()


def test_without_a_trusted_key_the_origin_is_not_checkable(bundle):
    data, _ = bundle
    verdict = verify(data)
    assert not verdict.ok
    assert {c.id: c.result for c in verdict.checks}["trust"] == "not_checkable"


def test_a_bundle_of_other_keys_fails_on_trust(bundle):
    data, _ = bundle
    verdict = verify(data, SecretKey.generate("somebody.else/root").public)
    results = {c.id: c.result for c in verdict.checks}
    assert results["trust"] == "fail"
    assert not verdict.ok


def test_a_bit_flipped_at_200_places_is_found_and_its_file_named(bundle):
    data, root = bundle
    files = read(data)
    random_places = random.Random(20261124)
    names = sorted(files)
    for _ in range(200):
        name = random_places.choice(names)
        content = bytearray(files[name])
        place = random_places.randrange(len(content))
        content[place] ^= 1 << random_places.randrange(8)
        verdict = verify(write({**files, name: bytes(content)}), root)
        assert not verdict.ok
        assert name in {c.file for c in verdict.checks if c.result == "fail"}, name


def test_a_file_left_out_is_named(bundle):
    data, root = bundle
    files = read(data)
    for name in files:
        verdict = verify(write({k: v for k, v in files.items() if k != name}), root)
        assert not verdict.ok
        assert any(name in (c.file, c.actual) or name in c.actual for c in verdict.checks)


def test_the_verifier_runs_where_only_mrv_and_footprint_are(bundle, tmp_path):
    data, root = bundle
    for name in ("mrv", "footprint"):
        for source in (REPO / name).rglob("*.py"):
            target = tmp_path / source.relative_to(REPO)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (tmp_path / "x.zip").write_bytes(data)
    code = (
        "import sys; sys.path.insert(0, '.'); from footprint.verify import main; "
        "import footprint; assert footprint.__file__.startswith(sys.argv[1]); "
        "status = main(['x.zip', '--trust', sys.argv[2], '--json']); "
        "heavy = {'numpy', 'apsw', 'sqlite3', 'pydantic', 'yaml', 'msgspec'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), root.vkey],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"]


def test_both_commands_give_the_same_answer(bundle, tmp_path):
    data, root = bundle
    file = tmp_path / "x.zip"
    file.write_bytes(data)
    answers = []
    for command in (
        [sys.executable, "-m", "footprint.verify"],
        [sys.executable, "-m", "meterprint.cli", "verify"],
    ):
        done = subprocess.run(
            [*command, str(file), "--trust", root.vkey, "--json"],
            cwd=REPO,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    assert answers[0] == answers[1]


def test_a_changed_journal_entry_is_found(steel, tmp_path):
    import apsw

    state, _ = steel
    copy = tmp_path / "journal.db"
    source = apsw.Connection(str(state / "journal.db"))
    with apsw.Connection(str(copy)).backup("main", source, "main") as backup:
        backup.step()
    site = open_site(state)
    key = site.keyring.checkpoints
    site.close()
    db = apsw.Connection(str(copy))
    db.execute(
        "UPDATE entry SET note=CAST(replace(note, x'31', x'32') AS BLOB) WHERE kind=? AND idx=("
        "SELECT max(idx) FROM entry WHERE kind=?)",
        (int(EntryKind.ENVELOPE), int(EntryKind.ENVELOPE)),
    )
    db.close()
    from ingest.journal import Journal

    journal = Journal(copy, "steel-plant.example", key)
    assert journal.verify()
    journal.close()
