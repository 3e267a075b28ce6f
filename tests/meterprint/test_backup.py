"""Backup and restoration, drilled: while ingest writes, with cold files, with flipped bits."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.outbox import Outbox, Outgoing
from ingest.facts import load_facts
from ingest.rotation import rotate
from meterprint import backup as module
from meterprint.backup import backup, restore
from meterprint.cli import app
from meterprint.site import open_journal, open_site
from mrv.errors import InputError
from mrv.verification.checkpoint import parse_checkpoint
from mrv.verification.merkle import verify_consistency
from mrv.verification.note import open_note
from tests.conftest import REPO
from tests.ingest.journals import SITE, Plant, draft, table_draft
from tests.meterprint.test_upgrade import as_version_1

FLIPS = int(os.environ.get("METERPRINT_FLIPS", "25"))


@pytest.fixture
def site(tmp_path):
    site = open_site(tmp_path / "state", SITE)
    plant = Plant()
    site.journal.append([table_draft()])
    for _ in range(6):
        site.journal.append([draft(plant.envelope()) for _ in range(100)])
    rotate(site.journal, 60, whole_parts=False)
    assert site.journal.hot_start == 512
    yield site
    site.close()


def test_a_backup_taken_while_ingest_writes_and_seals_is_a_whole_beginning_of_the_journal(
    site, tmp_path
):
    journal, plant = site.journal, Plant(seed=8)
    going, stop = threading.Event(), threading.Event()
    failures = []

    def ingest():
        try:
            while not stop.is_set():
                journal.append([draft(plant.envelope()) for _ in range(40)])
                rotate(journal, 30, whole_parts=False)
                going.set()
        except Exception as error:
            failures.append(error)
        finally:
            going.set()

    writer = threading.Thread(target=ingest)
    writer.start()
    reports = []
    for number in range(3):
        going.clear()
        assert going.wait(60)
        reports.append(backup(site.state, tmp_path / f"{number}.zip"))
    stop.set()
    writer.join()
    assert failures == []
    assert [r.entries for r in reports] == sorted(r.entries for r in reports)
    live = list(journal.entries())
    for number, report in enumerate(reports):
        done = restore(tmp_path / f"{number}.zip", tmp_path / f"restored-{number}")
        assert (done.entries, done.root) == (report.entries, report.root)
        proof = journal.tree().consistency_proof(report.entries, journal.size)
        verify_consistency(report.entries, journal.size, proof, bytes.fromhex(report.root),
                           journal.root())  # fmt: skip
        back = open_journal(tmp_path / f"restored-{number}")
        assert list(back.entries(0, report.entries)) == live[: report.entries]
        assert back.verify() == []
        assert back.parts()
        back.close()


def test_a_restored_journal_goes_on_under_a_new_origin_that_quotes_the_old_checkpoint(
    site, tmp_path
):
    old_key, root = site.keyring.checkpoints.public, site.journal.root()
    size, held = site.journal.size, [e.note for e in site.journal.entries() if e.kind == 1]
    backup(site.state, tmp_path / "b.zip")
    plant = Plant(seed=9)
    lacking = [draft(plant.envelope()) for _ in range(3)]
    site.journal.append(lacking)
    command = [sys.executable, "-m", "meterprint.cli", "restore", str(tmp_path / "b.zip"), "--json",
               "--state", str(tmp_path / "again")]  # fmt: skip
    run = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    again = open_site(tmp_path / "again")
    assert again.journal.origin == answer["origin"] == f"{old_key.name}-2"
    fact = next(f for f in load_facts(again.journal) if f.header.type == "journal_restored")
    quoted = parse_checkpoint(open_note(fact.body["checkpoint"].encode(), (old_key,)).text)
    assert (quoted.size, quoted.root) == (size, root)
    assert not any(new for _, new in again.journal.append([draft(note) for note in held]))
    assert all(new for _, new in again.journal.append(lacking))
    assert again.journal.verify() == []
    again.close()


def test_a_flipped_bit_of_a_backup_is_named_or_changes_nothing(site, tmp_path):
    archive = tmp_path / "b.zip"
    backup(site.state, archive)
    data = archive.read_bytes()
    before = list(site.journal.entries())
    choice = random.Random(3)
    with zipfile.ZipFile(archive) as opened:
        starts = {i.filename: (i.header_offset, i.compress_size) for i in opened.infolist()}
    refused = 0
    for number in range(FLIPS):
        bit = choice.randrange(8 * len(data))
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        archive.write_bytes(spoilt)
        said = ""
        try:
            restore(archive, tmp_path / "again")
        except InputError as error:
            said = str(error)
        if said:
            refused += 1
            place = bit // 8
            inside = [n for n, (at, size) in starts.items() if at + 100 < place < at + size]
            assert not inside or inside[0] in said or "whole backup" in said, number
            assert not (tmp_path / "again").exists()
            continue
        back = open_journal(tmp_path / "again")
        assert list(back.entries(0, len(before))) == before
        back.close()
        shutil.rmtree(tmp_path / "again")
    assert refused > FLIPS * 0.8


def test_a_backup_lacks_no_cold_file(site, tmp_path):
    part = site.journal.parts()[0]
    with pytest.raises(InputError, match="exists already"):
        backup(site.state, tmp_path / "state" / "site.json")
    backup(site.state, tmp_path / "b.zip")
    names = zipfile.ZipFile(tmp_path / "b.zip").namelist()
    assert f"journal-cold/{part.file}" in names
    (site.journal.cold_folder / part.file).unlink()
    with pytest.raises(InputError, match=part.file):
        backup(site.state, tmp_path / "c.zip")
    assert not (tmp_path / "c.zip").exists()


@pytest.mark.slow
def test_a_backup_of_version_1_is_restored_and_upgraded(tmp_path):
    from tests.faults.processes import SITE as OLD_SITE
    from tests.meterprint.test_upgrade import envelopes, facts

    state = tmp_path / "state"
    site = open_site(state, OLD_SITE)
    facts(site)
    envelopes(site)
    root, size = site.journal.root().hex(), site.journal.size
    site.close()
    as_version_1(state)
    about = {"v": 1, "site": OLD_SITE, "entries": size, "root": root, "origin": "o", "files": {}}
    names = ["site.json", "journal.db", *(f"keys/{p.name}" for p in (state / "keys").iterdir())]
    import hashlib

    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        for name in names:
            data = (state / name).read_bytes()
            about["files"][name] = hashlib.sha256(data).hexdigest()
            archive.writestr(name, data)
        archive.writestr("backup.json", json.dumps(about))
    done = restore(tmp_path / "old.zip", tmp_path / "again")
    assert (done.entries, done.root) == (size, root)
    again = open_journal(tmp_path / "again")
    assert again.verify() == []
    assert again.size == size + 3
    again.close()
    assert not list((tmp_path / "again").glob("journal-v1*"))


def damaged_outbox(path):
    """An outbox of an agent that the disk has changed, and what of it was set aside before."""
    outbox = Outbox(path)
    outbox.commit([Outgoing("l", "e", n, f"{n:064x}", os.urandom(300), 1) for n in range(200)])
    outbox.close()
    aside = path.with_name("outbox-damaged-1.db")
    shutil.copy(path, aside)
    for file in (path, aside):
        data = bytearray(file.read_bytes())
        data[4096 : len(data) // 2] = b"\xa5" * (len(data) // 2 - 4096)
        file.write_bytes(data)
    aside.with_name(aside.name + "-wal").write_bytes(b"what was in its log")
    return aside


def test_a_damaged_outbox_is_backed_up_as_it_is_and_keeps_nobody_from_a_backup(site, tmp_path):
    path = site.state / "agents" / "gw" / "outbox.db"
    aside = damaged_outbox(path)
    report = backup(site.state, tmp_path / "b.zip")
    assert report.damaged == ("agents/gw/outbox.db",)
    restore(tmp_path / "b.zip", tmp_path / "again")
    for file in (path, aside, aside.with_name(aside.name + "-wal")):
        assert (tmp_path / "again" / file.relative_to(site.state)).read_bytes() == file.read_bytes()
    answer = CliRunner().invoke(
        app, ["backup", str(tmp_path / "c.zip"), "--state", str(site.state)]
    )
    assert answer.exit_code == 0
    assert "agents/gw/outbox.db is damaged" in answer.output


def test_a_file_that_changes_while_it_is_backed_up_spoils_no_backup(site, tmp_path, monkeypatch):
    accounts = site.state / "users"
    accounts.write_text("before\n")
    summed = module._sha256

    def changed_meanwhile(path):
        found = summed(path)
        accounts.write_text(f"{found}\n")
        return found

    monkeypatch.setattr(module, "_sha256", changed_meanwhile)
    backup(site.state, tmp_path / "b.zip")
    monkeypatch.undo()
    restore(tmp_path / "b.zip", tmp_path / "again")
    assert (tmp_path / "again" / "users").read_text() == "before\n"


def test_what_was_restored_is_on_the_disk_before_it_takes_its_name(site, tmp_path, monkeypatch):
    synced = set()
    fsync = os.fsync

    def noted(descriptor):
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    backup(site.state, tmp_path / "b.zip")
    monkeypatch.setattr(os, "fsync", noted)
    restore(tmp_path / "b.zip", tmp_path / "again")
    part = tmp_path / "again.restoring"
    names = zipfile.ZipFile(tmp_path / "b.zip").namelist()
    wanted = {str(part / name) for name in names if name != "backup.json"}
    assert wanted <= synced
    assert {str(part), str(part / "keys"), str(tmp_path)} <= synced


def test_a_backup_may_be_restored_into_the_folder_one_stands_in(site, tmp_path, monkeypatch):
    backup(site.state, tmp_path / "b.zip")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    answer = CliRunner().invoke(app, ["restore", str(tmp_path / "b.zip"), "--state", "."])
    assert answer.exit_code == 0, answer.output
    assert open_journal(here).verify() == []
