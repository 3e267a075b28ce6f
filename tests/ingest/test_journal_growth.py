"""What a site asks of its journal does not become slower with it: nothing walks the history."""

from __future__ import annotations

import apsw
import pytest

from ingest.entry import EntryKind
from ingest.journal import Journal
from ingest.journal_tables import FINGERS
from ingest.rotation import rotate
from mrv.envelope import parse
from mrv.fact import REGISTRY
from mrv.verification.merkle import BLOCK
from mrv.verification.note import split
from tests.ingest.journals import SITE, Plant, content, draft, fill, open_journal


@pytest.fixture
def journal(tmp_path):
    journal, ring = open_journal(tmp_path)
    fill(journal, ring, 700, Plant())
    yield journal
    journal.close()


def test_no_statement_of_daily_work_scans_entries_or_envelopes(journal, monkeypatch):
    asked = set()

    def traced(connection):
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: asked.add(event.get("sql", "")))

    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, traced])
    opened = Journal(journal.path, SITE, journal._key)
    plant = Plant(seed=2)
    old = [draft(e.note) for e in opened.entries(5, 60) if e.kind == 1]
    opened.append([draft(plant.envelope()) for _ in range(30)] + old)
    opened.follow()
    opened.checkpoint()
    opened.stream_heads()
    opened.tree().inclusion_proof(20, opened.size)
    assert opened.index_of(opened.entry(300).identity) == 300
    assert opened.index_of("ab" * 32) is None
    head = opened.stream_heads()[0]
    assert opened.runs(head.agent, head.stream, head.epoch)
    assert opened.index_at((head.agent, head.stream, head.epoch), head.seq, head.identity)
    assert len(list(opened.facts(3, 600))) > 2
    assert len(opened.facts_of(REGISTRY)) == 4
    opened.chain_length(REGISTRY)
    rotate(opened, 100, whole_parts=False)
    opened.entry(7)
    opened.close()
    statements = [sql for sql in asked if sql.startswith(("SELECT", "DELETE", "UPDATE"))]
    assert len(statements) > 15
    for sql in statements:
        plan = [
            row[3]
            for row in journal._db.execute(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?"))
        ]
        scanned = [step for step in plan if step.startswith("SCAN ")]
        small = {
            "origin",
            "o",
            "chain",
            "part",
            "block",
            "finger",
            "sqlite_schema",
            "sqlite_master",
        }
        assert {step.split()[1] for step in scanned} <= small, (sql, plan)


def test_opening_reads_no_entry_but_the_last(journal, monkeypatch):
    rotate(journal, 0, whole_parts=False)
    monkeypatch.setattr("ingest.cold_store.ColdStore.block", None)
    monkeypatch.setattr("ingest.cold_store.ColdStore._unpack", None)
    opened = Journal(journal.path, SITE, journal._key)
    assert opened.size == journal.size
    assert opened.checkpoint()
    opened.append([draft(Plant(seed=3).envelope())])
    assert len(list(opened.facts())) > 4
    opened.close()


def test_identities_are_found_by_marks_and_among_the_newest(tmp_path):
    journal, _ = open_journal(tmp_path)
    plant = Plant(registers=1)
    journal.append([draft(plant.envelope(rows=1)) for _ in range(FINGERS + 300)])
    chosen = [0, 1, FINGERS - 1, FINGERS, FINGERS + 1, journal.size - 1]
    names = [journal.entry(index).identity for index in chosen]
    rotate(journal, BLOCK, whole_parts=False)
    for opened in (journal, Journal(journal.path, SITE, journal._key)):
        assert [opened.index_of(name) for name in names] == chosen
        assert opened.index_of(names[0][:16] + "0" * 48) is None
        assert opened._db.execute("SELECT count(*) FROM finger").fetchone()[0] == 1
        opened.close()


def test_a_commit_that_was_refused_leaves_no_trace_in_memory(journal):
    before = content(journal)
    size = journal.size
    with pytest.raises(AttributeError):
        journal.append([*(draft(Plant(seed=6).envelope()) for _ in range(1)), None])
    assert content(journal) == before
    assert journal.append([draft(Plant(seed=6).envelope())]) == [(size, True)]
    assert journal.verify() == []


def test_the_envelopes_of_a_run_are_found_at_one_search(journal):
    opened = journal
    entry = next(e for e in opened.entries() if e.kind is EntryKind.ENVELOPE)
    envelope = parse(split(entry.note)[0])
    place = (envelope.agent, envelope.stream, envelope.epoch)
    found = opened.indexes(place, 0, 10**6)
    assert found[envelope.seq] == [entry.index]
    for seq, (index,) in found.items():
        held = parse(split(opened.entry(index).note)[0])
        assert (held.agent, held.stream, held.epoch, held.seq) == (*place, seq)
    assert opened.indexes(place, envelope.seq, envelope.seq) == {envelope.seq: [entry.index]}
    assert opened.indexes(("nobody", "s", "e"), 0, 10) == {}
