"""A disk that gives the journal's pages back wrong: an error with its remedy, and no thread ends."""

from __future__ import annotations

import threading

import pytest

from ingest import rotation
from ingest.entry import JournalError
from ingest.journal import Journal
from ingest.projector import Projector
from ingest.rotation import Policy, Rotator
from mrv.verification.merkle import BLOCK
from tests.ingest.journals import SITE, Plant, fill, open_journal

PAGE = 8192
QUESTIONS = {
    "entries": lambda j: list(j.entries()),
    "entry": lambda j: j.entry(500),
    "facts": lambda j: list(j.facts()),
    "facts_of": lambda j: j.facts_of("registry"),
    "indexes": lambda j: j.indexes(("gateway-0", "line-0", "e"), 0, 9),
    "chain_length": lambda j: j.chain_length("registry"),
    "chain_heads": lambda j: j.chain_heads(),
    "stream_heads": lambda j: j.stream_heads(),
    "hot_block": lambda j: j.hot_block(1),
    "block_root": lambda j: j.block_root(1),
    "runs": lambda j: j.runs("gateway-0", "line-0", "x"),
    "follow": lambda j: j.follow(),
    "parts": lambda j: j.parts(),
    "checkpoint": lambda j: j.checkpoint(),
}
"""What may be asked of a journal whose file is damaged."""


@pytest.fixture
def damaged(tmp_path):
    """A journal in use whose file has been overwritten beneath it but for its first page."""
    journal, ring = open_journal(tmp_path)
    fill(journal, ring, 600, Plant())
    journal.close()
    journal = Journal(tmp_path / "journal.db", SITE, ring.checkpoints)
    size = journal.path.stat().st_size
    with journal.path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xa5" * (size - PAGE))
    yield journal
    journal.close()


def hint_of(ask, journal):
    """What to do about it, "" where the answer came out of what is in memory."""
    try:
        ask(journal)
    except JournalError as error:
        return error.hint
    return ""


def test_a_page_that_makes_no_sense_is_an_error_with_its_remedy(damaged):
    hints = {name: hint_of(ask, damaged) for name, ask in QUESTIONS.items()}
    met = [name for name, hint in hints.items() if hint]
    assert len(met) >= len(QUESTIONS) // 2, met
    assert all("journal check" in hints[name] for name in met)


class Store:
    """A series store that takes everything."""

    pending = 0

    def append(self, chunks):
        pass

    def flush(self):
        pass


def test_a_view_waits_for_a_journal_that_cannot_be_read(damaged, tmp_path):
    refused = threading.Event()
    projector = Projector(damaged, Store(), tmp_path / "cursor")
    noted = projector._refused
    projector._refused = lambda error: (refused.set(), noted(error))[1]
    projector.start()
    assert refused.wait(30)
    assert not projector.ended
    assert "journal" in projector.status.last_error
    projector.stop()


def test_the_rotation_of_a_journal_that_cannot_be_read_goes_on_looking(damaged, monkeypatch):
    monkeypatch.setattr(rotation, "PART", BLOCK)
    rotator = Rotator(damaged, Policy(entries=1), look=0.001)
    looked = [threading.Event() for _ in range(3)]
    waiting = iter(looked)
    in_use = damaged.bytes_in_use

    def told():
        next(waiting, looked[-1]).set()
        return in_use()

    damaged.bytes_in_use = told
    rotator.start()
    assert all(event.wait(10) for event in looked)
    assert rotator._thread.is_alive()
    rotator.stop()
