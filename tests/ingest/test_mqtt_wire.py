"""MQTT packets: decode ∘ encode, whatever the pieces they come in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import mqtt_wire as wire
from mrv.errors import WireError

MESSAGES = st.lists(
    st.tuples(st.binary(min_size=1, max_size=30), st.binary(max_size=300), st.integers(0, 65535)),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(MESSAGES, st.lists(st.integers(1, 50), min_size=1))
def test_publishes_come_back_whatever_the_pieces(messages, sizes):
    data = b"".join(wire.publish(topic, payload, mid) for topic, payload, mid in messages)
    splitter = wire.Splitter()
    found = []
    place = 0
    for turn in range(len(data) + 1):
        size = sizes[turn % len(sizes)]
        found += splitter.feed(data[place : place + size])
        place += size
    opened = [wire.opened(body, head)[:3] for head, body, cut in found if not cut]
    assert opened == messages


@pytest.mark.parametrize(
    ("size", "code"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16383, "ff7f"), (268435455, "ffffff7f")],
)
def test_remaining_lengths_are_those_of_the_standard(size, code):
    """MQTT 3.1.1 table 2.4."""
    assert wire.length(size).hex() == code


def test_the_string_of_the_standard():
    """MQTT 3.1.1 figure 1.1 and 1.5.3: 'A' and U+2A6D4."""
    assert wire.text("A\U0002a6d4").hex() == "000541f0aa9b94"


def test_a_giant_is_told_of_by_its_beginning_and_skipped():
    giant = wire.publish("a/b", b"x" * 5000, 7)
    after = wire.publish("a/b", b"y", 8)
    splitter = wire.Splitter(limit=100)
    found = []
    data = giant + after
    for place in range(0, len(data), 64):
        found += splitter.feed(data[place : place + 64])
    assert [(len(body), cut) for _, body, cut in found] == [(100, 4907), (8, 0)]
    assert wire.opened(found[0][1], found[0][0])[2] == 7
    assert wire.opened(found[1][1], found[1][0]) == (b"a/b", b"y", 8, False)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(noise):
    splitter = wire.Splitter()
    try:
        for head, body, _ in splitter.feed(noise):
            if head & 0xF0 == wire.PUBLISH:
                wire.opened(body, head)
    except WireError:
        pass
