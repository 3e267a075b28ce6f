"""Power cuts while parts are sealed: the entries stand in the database or in a whole cold file."""

from __future__ import annotations

import os
import random
import shutil

from ingest import cold_file, rotation
from ingest.journal import Journal
from ingest.journal_file import COLD_FOLDER
from ingest.rotation import rotate
from mrv.verification.note import SecretKey
from tests.faults.disk import Disk, Operation
from tests.faults.figures import reached
from tests.faults.power import memory_folder
from tests.faults.recording import recording
from tests.ingest.journals import SITE, Plant, draft, table_draft

CUTS = max(80, int(os.environ.get("METERPRINT_CUTS", "0")) // 20)
KEY = SecretKey(f"{SITE}/journal", bytes(32))
GROUPS = 24


def steps():
    """Groups of drafts; a rotation after some of them."""
    plant = Plant(seed=3)
    groups = [[draft(plant.envelope(rows=1)) for _ in range(30)] for _ in range(GROUPS)]
    groups[0].append(table_draft())
    return groups


def record(folder, log, groups, monkeypatch, *, synced):
    """Run the steps; operations on cold files join the log as the disk sees them."""
    write, sync = cold_file.write_cold, rotation.sync_folder

    def writing(path, *rest):
        written = write(path, *rest)
        name = f"{COLD_FOLDER}/{path.name.removesuffix('.writing')}"
        log.append(Operation("create", name))
        log.append(Operation("write", name, 0, path.read_bytes()))
        if synced:
            log.append(Operation("sync", name))
        return written

    def syncing(path):
        sync(path)
        log.append(Operation("create", "folder"))
        log.append(Operation("delete", "folder", 1))

    monkeypatch.setattr(cold_file, "write_cold", writing)
    monkeypatch.setattr(rotation, "sync_folder", syncing)
    journal = Journal(folder / "journal.db", SITE, KEY)
    for number, group in enumerate(groups):
        journal.append(group)
        log.append(Operation("done", at=number + 1))
        if number % 7 == 6:
            journal.checkpoint()
            rotate(journal, 20, whole_parts=False)
    assert len(journal.parts()) >= 2
    journal.close()
    monkeypatch.undo()


def judge(folder, files, groups, reported):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / COLD_FOLDER).mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    journal = Journal(folder / "journal.db", SITE, KEY)
    try:
        held = [entry.note for entry in journal.entries()]
        for done in (reported, reported + 1):
            if held == [d.note for group in groups[:done] for d in group]:
                break
        else:
            return [f"{len(held)} entries after {reported} groups"]
        faults = journal.verify()
        rotate(journal, 0, whole_parts=False)
        return faults + journal.verify()
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    finally:
        journal.close()


def cuts(count, monkeypatch, *, synced):
    groups, failures, choice = steps(), [], random.Random(11)
    with memory_folder() as folder:
        (folder / "run").mkdir()
        with recording(checkpoint_pages=16) as log:
            record(folder / "run", log, groups, monkeypatch, synced=synced)
        first = next(i for i, o in enumerate(log) if o.file.startswith(COLD_FOLDER))
        disk, applied = Disk(), 0
        for moment in sorted(choice.randint(first, len(log)) for _ in range(count)):
            while applied < moment:
                disk.apply(log[applied])
                applied += 1
            faults = judge(folder / "cut", disk.cut(choice), groups, disk.reported)
            failures += [f"operation {moment}: {fault}" for fault in faults]
    return failures


def test_a_power_cut_while_parts_are_sealed_loses_nothing(monkeypatch):
    reached("power cuts while parts are sealed", CUTS)
    assert cuts(CUTS, monkeypatch, synced=True) == []


def test_the_harness_finds_a_cold_file_that_was_not_synced(monkeypatch):
    assert cuts(60, monkeypatch, synced=False) != []
