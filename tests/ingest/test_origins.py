"""Epochs of streams: what an agent that invents them costs."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.journal_tables import make_tables
from ingest.origins import MOST_KNOWN, Origins
from ingest.runs import extend, runs_around


@pytest.fixture
def db(tmp_path):
    db = apsw.Connection(str(tmp_path / "o.db"))
    make_tables(db)
    yield db
    db.close()


def test_epochs_without_end_fill_no_memory_and_every_one_is_found_again(db):
    origins = Origins(db)
    places = [("a", "s", f"{number:016x}") for number in range(MOST_KNOWN + 500)]
    for start in range(0, len(places), 250):
        with db:
            for number, place in enumerate(places[start : start + 250], start):
                origins.extend(place, origins.make(place), number, f"{number:064x}")
            origins.save()
        assert len(origins._known) <= MOST_KNOWN + 250
    assert len(origins._known) <= MOST_KNOWN
    for number in (0, 1, 600, len(places) - 1):
        origin = origins.find(places[number])
        assert origin.runs == [(number, number, f"{number:064x}")]
        assert origin.holds(number)


def test_what_a_group_has_touched_is_kept_until_it_is_saved(db):
    origins = Origins(db)
    count = MOST_KNOWN + 50
    with db:
        for number in range(count):
            place = ("a", "s", str(number))
            origins.extend(place, origins.make(place), 7, "ab" * 32)
        origins.save()
    assert db.execute("SELECT count(*), min(first), max(last) FROM run").fetchone() == (count, 7, 7)


SEQS = st.lists(st.integers(0, 40), max_size=60)


@given(SEQS, SEQS)
def test_runs_in_the_tables_are_those_in_memory_whatever_the_order(first, second):
    db = apsw.Connection(":memory:")
    make_tables(db)
    origins, place, plain = Origins(db), ("a", "s", "e"), []
    for part in (first, second):
        with db:
            for seq in part:
                origin = origins.make(place)
                if not origin.holds(seq):
                    origins.extend(place, origin, seq, f"{seq:064x}")
                    extend(plain, seq, f"{seq:064x}")
            origins.save()
        rows = db.execute("SELECT first, last, identity FROM run ORDER BY first").fetchall()
        assert [(a, b, bytes(name).hex()) for a, b, name in rows] == plain
        for seq in range(42):
            held = any(a <= seq <= b for a, b, _ in plain)
            found = origins.find(place)
            assert (found is not None and found.holds(seq)) == held
        origins.forget()
    db.close()


@given(SEQS, st.integers(0, 42), st.integers(0, 42))
def test_the_runs_around_a_stretch_are_those_that_touch_it(seqs, low, high):
    runs = []
    for seq in dict.fromkeys(seqs):
        extend(runs, seq, "x")
    low, high = min(low, high), max(low, high)
    expected = [run for run in runs if run[1] >= low and run[0] <= high]
    assert list(runs_around(runs, low, high)) == expected
