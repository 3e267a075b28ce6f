"""A column read at one look is the column read member by member, and refused where that is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrv import column
from mrv.errors import WireError
from mrv.strict_json import MAX_SAFE_INTEGER, Record

BOUNDS = (-1, 0, 1, MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 1, 2**63 - 1, 2**63)
odd = st.one_of(
    st.sampled_from([*BOUNDS, *(-b for b in BOUNDS), True, None, "", "0", "17", 1.5, [], {}]),
    st.text(max_size=3),
)
moment = st.one_of(st.integers(0, 2**63).map(str), odd, st.sampled_from(["007", "١٢", "1 "]))


@st.composite
def columns(draw):
    """A column, most of the time a good one, with something odd in one place or none."""
    size = draw(st.integers(1, 5))
    row = {
        "ch": draw(st.one_of(st.text(max_size=130), st.just("m.energy"))),
        "t0": draw(moment),
        "dt": draw(st.lists(st.integers(0, 10**12), min_size=size, max_size=size)),
        "v": draw(st.lists(st.integers(-(10**9), 10**9), min_size=size, max_size=size)),
        "q": draw(st.lists(st.sampled_from(["", "", "", "late"]), min_size=size, max_size=size)),
    }
    name = draw(st.sampled_from([*row, "raw", "len", "tag", "x", "none", "none", "none"]))
    if name in row and isinstance(row[name], list) and row[name] and draw(st.booleans()):
        row[name][draw(st.integers(0, size - 1))] = draw(odd)
    elif name != "none":
        row[name] = draw(odd)
    if draw(st.integers(0, 9)) == 0:
        row.pop(draw(st.sampled_from(["ch", "t0", "dt", "v", "q"])))
    return row


def outcome(read, row):
    try:
        return read(row)
    except WireError as error:
        return str(error)


@settings(max_examples=1500, deadline=None)
@given(columns())
def test_one_look_accepts_only_what_a_closer_look_accepts(row):
    quick = column._common_column(row)
    slow = outcome(lambda r: column._column(Record(r, "cols[0]")), json.loads(json.dumps(row)))
    assert quick is None or quick == slow


def test_a_plain_column_is_read_at_one_look_and_an_odd_one_is_named():
    row = {"ch": "m.e", "t0": "17", "dt": [0, 5], "v": [1, 2], "q": ["", ""]}
    assert column._common_column(row) == column._column(Record(row))
    assert column._common_column({**row, "v": [1, None]}) is None
    with pytest.raises(WireError, match=r"cols\[1\]\.dt"):
        column.read_columns(Record({"cols": [row, {**row, "dt": [0, -1]}]}))
