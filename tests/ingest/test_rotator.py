"""A running site seals its old parts by itself, while ingest goes on."""

from __future__ import annotations

import threading

import pytest

from ingest import rotation
from ingest.journal import Journal
from ingest.rotation import Policy, Rotator, rotate
from mrv.errors import MeterprintError
from mrv.verification.merkle import BLOCK
from tests.ingest.journals import SITE, Plant, content, draft, open_journal


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(rotation, "PART", 2 * BLOCK)


@pytest.mark.usefixtures("small_parts")
def test_parts_are_sealed_while_entries_come_in(tmp_path, monkeypatch):
    journal, _ = open_journal(tmp_path)
    sealed = threading.Event()
    seal = Journal.seal

    def told(self, part):
        seal(self, part)
        if part.first:
            sealed.set()

    monkeypatch.setattr(Journal, "seal", told)
    rotator = Rotator(journal, Policy(entries=100), look=0.01)
    rotator.start()
    plant, count = Plant(), 0
    while not sealed.is_set() and count < 20_000:
        journal.append([draft(plant.envelope(rows=1)) for _ in range(50)])
        count += 50
    rotator.stop()
    assert sealed.is_set()
    assert journal.size == count
    assert journal.hot_start >= 4 * BLOCK
    assert journal.size - journal.hot_start >= 100
    assert journal.verify() == []
    beside = Journal(journal.path, SITE, journal._key)
    assert content(beside) == content(journal)
    beside.close()
    journal.close()


def test_two_programs_do_not_seal_at_once(tmp_path):
    journal, _ = open_journal(tmp_path)
    journal.append([draft(Plant().envelope())])
    with (
        rotation._alone(journal.cold_folder),
        pytest.raises(MeterprintError, match="another program"),
    ):
        rotate(journal, 0)
    assert rotate(journal, 0).parts == 0
    journal.close()


def test_another_program_may_seal_what_this_one_reads(tmp_path):
    journal, _ = open_journal(tmp_path)
    plant = Plant()
    journal.append([draft(plant.envelope()) for _ in range(600)])
    before = content(journal)
    reading = journal.entries()
    first = [next(reading) for _ in range(5)]
    beside = Journal(journal.path, SITE, journal._key)
    assert rotate(beside, 0, whole_parts=False).entries == 512
    assert [e.note for e in (*first, *reading)] == [row[3] for row in before[2]]
    assert content(journal) == before
    again = [draft(e.note) for e in beside.entries(0, 300)]
    assert not any(new for _, new in journal.append(again))
    assert journal.hot_start == 512
    beside.close()
    journal.close()
