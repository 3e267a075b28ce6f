"""Readings in memory: any order and any twins give what a plain dictionary gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from footprint.held_series import HeldSeries, rows
from mrv.column import Column

VALUES = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))


@st.composite
def columns(draw):
    size = draw(st.integers(1, 6))
    steps = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    values = draw(st.lists(VALUES, min_size=size, max_size=size))
    amounts = draw(st.booleans())
    lengths = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)) if amounts else ()
    tags = draw(st.lists(st.sampled_from([None, "b"]), min_size=size, max_size=size))
    return Column(
        "m.e", draw(st.integers(0, 30)), steps, values, [""] * size, (), lengths,
        tags if amounts else (),
    )  # fmt: skip


@given(st.lists(columns(), max_size=8), st.integers(0, 50), st.integers(0, 20), st.integers(0, 3))
def test_any_order_and_twins_give_what_a_dictionary_gives(added, start, length, margin):
    held, plain = HeldSeries(), {}
    for place, column in enumerate(added):
        held.add(column)
        for t, row in rows(column):
            plain[t] = max(plain.get(t, row), row)
        if place % 2:
            assert held.span() == (min(plain), max(plain))
    series = held.read(start, start + length, margin)
    times = sorted(plain)
    inside = [t for t in times if start <= t < start + length]
    good_before = [t for t in times if t < start and plain[t][0]]
    good_after = [t for t in times if t >= start + length and plain[t][0]]
    if margin:
        low = good_before[-margin] if len(good_before) >= margin else 0
        high = good_after[margin - 1] if len(good_after) >= margin else 2**62
        inside = [t for t in times if low <= t <= high]
    assert list(series.t) == inside
    assert list(series.v) == [plain[t][1] for t in inside]
    assert list(series.ok) == [plain[t][0] for t in inside]
    if series.tag:
        assert list(series.tag) == [plain[t][3] for t in inside]
        assert list(series.length) == [plain[t][2] for t in inside]
    assert len(held) == len(plain)
