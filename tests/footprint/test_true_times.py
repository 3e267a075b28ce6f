"""Readings of a wrong clock stand at their true times, whatever came first and when one looks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footprint.intake import MemoryReadings
from footprint.readings import SignedGap
from mrv.column import Column
from mrv.envelope import Clock, ClockState, Envelope, Event
from mrv.series import SeriesKey

S = 10**9
HOUR = 3600 * S
TRUE = 1_700_000_000 * S
GOOD = Clock(ClockState.SYNCHRONISED, 5, "ntp")
DOUBTED = Clock(ClockState.INFORMATIVE, 1000, "system")
ENERGY, MASS = SeriesKey("a", "s", "m.e"), SeriesKey("a", "s", "w.m")


def envelope(seq, wrong=0, clock=GOOD, boot="b"):
    """One counter reading and one weighing, cut at monotonic time `seq` × 10 s."""
    mono = (seq + 1) * 10 * S
    at = TRUE + mono + wrong
    columns = (
        Column("m.e", at, [0], [7 * seq], [""]),
        Column("w.m", at + 1, [0], [seq], [""], length=[S], tag=["b1" if seq % 2 else None]),
    )
    events = (Event("gap", at - 5 * S, at, "m.e", "x"),) if seq % 5 == 0 else ()
    made = Envelope("x", "a", "s", "e", seq, "p", at, mono, boot, clock, "", columns, None, events)
    return f"{seq:064d}", made


def history(wrong):
    """Envelopes; `wrong` gives those under a wrong clock with its error."""
    return [envelope(n, wrong.get(n, 0), DOUBTED if n in wrong else GOOD) for n in range(40)]


def taken(envelopes, look=lambda _: None):
    held = MemoryReadings()
    for name, one in envelopes:
        held.add_envelope(name, one)
        look(held)
    return held


def rows(series):
    return list(zip(series.t, series.v, series.ok, strict=True))


def answers(held, choice):
    found = [held.span(ENERGY), held.gaps(ENERGY), rows(held.tagged(MASS, "b1"))]
    for _ in range(30):
        start = TRUE + choice.randint(-10, 50) * 10 * S
        end = start + choice.choice((0, 10 * S, 200 * S))
        margin = choice.choice((0, 1, 4))
        found += [rows(held.read(ENERGY, start, end, margin))]
        found += [rows(held.read(MASS, start, end, margin))]
    return found


wrongs = st.dictionaries(
    st.integers(0, 38),
    st.sampled_from([HOUR + 3, -HOUR - 7, -TRUE, 30 * S + 11, -70 * S - 13]),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(wrongs, st.integers(0, 2**32))
def test_a_wrong_clock_that_was_set_right_gives_the_same_answers_as_a_right_one(wrong, seed):
    right = taken(history({}))
    envelopes = history(wrong)
    choice = random.Random(seed)
    choice.shuffle(envelopes)
    looks = set(choice.sample(range(40), 5))
    seen = []

    def look(held):
        seen.append(held)
        if len(seen) in looks:
            answers(held, random.Random(1))

    mended = taken(envelopes, look)
    assert answers(mended, random.Random(seed)) == answers(right, random.Random(seed))
    assert {m.link.seq for m in mended.mended("a", "s")} == set(wrong)


def test_without_an_anchor_the_signed_times_stand_and_with_it_what_moved_is_told():
    wrong = dict.fromkeys(range(30, 40), HOUR)
    held = taken(history(wrong))
    assert held.span(ENERGY)[1] == TRUE + 400 * S + HOUR
    assert held.take_restamped() == []
    held.add_envelope(*envelope(40))
    assert held.span(ENERGY)[1] == TRUE + 410 * S
    told = [(low, high) for key, low, high in held.take_restamped() if key == ENERGY]
    assert min(low for low, _ in told) <= TRUE + 310 * S
    assert max(high for _, high in told) == TRUE + 400 * S + HOUR
    assert held.take_restamped() == []
    assert SignedGap(TRUE + 305 * S, TRUE + 310 * S, "x") in held.gaps(ENERGY)


@pytest.mark.parametrize("boot", ["", "other"])
def test_another_boot_proves_nothing(boot):
    held = taken([envelope(0, HOUR, DOUBTED, boot), envelope(1)])
    assert held.span(ENERGY) == (TRUE + 20 * S, TRUE + 10 * S + HOUR)


def test_a_reading_without_a_value_moves_too():
    name, one = envelope(0, HOUR, DOUBTED)
    column = Column("m.e", one.t, [0, 10], [None, 5], ["timeout", ""])
    fields = {f: getattr(one, f) for f in one.__slots__} | {"cols": (column,)}
    held = taken([(name, Envelope(**fields)), envelope(1)])
    assert rows(held.read(ENERGY, TRUE, TRUE + 15 * S, 0)) == [
        (TRUE + 10 * S, 0, 0),
        (TRUE + 10 * S + 10, 5, 1),
    ]
    assert len(held.read(ENERGY, TRUE + HOUR, TRUE + 2 * HOUR, 0)) == 0
