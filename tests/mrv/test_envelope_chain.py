"""Whatever an agent has to say is cut into envelopes that can be read, in one unbroken chain."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from mrv.column import MAX_READINGS, column_times
from mrv.envelope import MAX_BYTES, MAX_EVENTS, MAX_REASON, Clock, ClockState, Event, Head, parse
from mrv.verification.note import SecretKey, open_note

CLOCK = Clock(ClockState.SYNCHRONISED, 5, "ntp")
KEY = SecretKey.generate("gateway-" + "工" * 60)
T = 1_700_000_000 * 10**9
WHY = "no_answer" * (MAX_REASON // 9)


def chain(**more):
    ticks = itertools.count(T)
    return StreamChain(
        "site",
        "line",
        KEY,
        "cd" * 32,
        Head("e" * 16, 7, "ab" * 32),
        now=lambda: next(ticks),
        mono=lambda: 5,
        boot="b" * 36,
        **more,
    )


def opened(messages):
    """The envelopes of signed notes, each as long as allowed, in an unbroken chain."""
    envelopes = [parse(open_note(m.note, [KEY.public]).text) for m in messages]
    assert all(len(m.note) <= MAX_BYTES for m in messages)
    assert [e.seq for e in envelopes] == list(range(len(messages)))
    assert [e.prev for e in envelopes] == ["", *(m.identity for m in messages[:-1])]
    return envelopes


def shown(envelopes):
    return sorted(
        (column.ch, t, v)
        for envelope in envelopes
        for column in envelope.cols
        for t, v in zip(column_times(column), column.v, strict=True)
    )


def test_a_thousand_meters_that_die_at_once_are_all_stated():
    """A gateway of 50 meters with 20 counters each: their gaps alone are more than an envelope."""
    names = [f"hall-{n:03}.energy-import-{n % 20:02}" for n in range(1000)]
    gaps = [Event("gap", T, T + 900 * 10**9, name, WHY) for name in names]
    readings = [RawReading(name, T, 5, None, "timeout", b"\xff" * 8) for name in names]
    envelopes = opened(chain().cut(readings, CLOCK, gaps))
    assert [event for envelope in envelopes for event in envelope.ev] == gaps
    assert shown(envelopes) == sorted((name, T, None) for name in names)
    assert len(envelopes) < 30


def test_more_events_than_an_envelope_may_hold_are_all_stated_without_a_reading():
    events = [Event("gap", T + n, T + n + 1, "m.e", "x") for n in range(2 * MAX_EVENTS + 5)]
    envelopes = opened(chain().cut([], CLOCK, events))
    assert [event for envelope in envelopes for event in envelope.ev] == events


def test_readings_years_apart_stand_in_envelopes_of_their_own():
    """A step beyond 2^53 ns, 104 days, is no JSON number."""
    readings = [RawReading("m.e", n * 10**18, 0, n) for n in range(5)]
    readings.append(RawReading("m.e", 4 * 10**18 + 1, 0, 9))
    envelopes = opened(chain().cut(readings, CLOCK))
    assert shown(envelopes) == [(r.channel, r.t, r.v) for r in readings]
    assert len(envelopes) == 5


def test_a_start_stands_with_the_first_readings():
    readings = [RawReading("m.e", T + n, 0, n, "", b"\x01" * 60) for n in range(3 * MAX_READINGS)]
    first, *rest = opened(chain().cut(readings, CLOCK, [Event("start", T, reason="agent")]))
    assert first.ev[0].kind == "start"
    assert first.cols
    assert not any(envelope.ev for envelope in rest)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1)),
        max_size=40,
    ),
    st.integers(0, 40),
    st.integers(0, 8),
)
def test_whatever_is_cut_can_be_read(rows, events, repeat):
    readings = [
        RawReading(f"m{m}.e", t + n, 0, v, "", b"\xaa" * 100)
        for n in range(repeat)
        for m, t, v in rows
        if t + n < 2**63
    ]
    gaps = [Event("gap", T + n, T + n + 1, "m.e", WHY) for n in range(events)]
    messages = chain().cut(readings, CLOCK, gaps)
    if not readings and not gaps:
        assert not messages
        return
    envelopes = opened(messages)
    assert shown(envelopes) == sorted((r.channel, r.t, r.v) for r in readings)
    assert [event for envelope in envelopes for event in envelope.ev] == gaps


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64 - 2])
def test_a_value_no_envelope_carries_is_a_null_reading_with_its_reason(value):
    readings = [RawReading("m.e", T, 0, value), RawReading("m.e", T + 1, 0, 7)]
    (envelope,) = opened(chain().cut(readings, CLOCK))
    assert list(envelope.cols[0].v) == [None, 7]
    assert list(envelope.cols[0].q) == ["out_of_range", ""]
