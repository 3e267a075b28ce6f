"""A gateway of fifty instruments with twenty registers each, and one that is too large."""

from __future__ import annotations

from fractions import Fraction

import pytest

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from ingest.acceptance import Accepted, judge
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.envelope import Clock, ClockState
from mrv.errors import InputError
from mrv.verification.note import SecretKey

CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")
KEY = SecretKey.generate("gateway")


def agent_of(folder, instruments, registers):
    channels = tuple(
        Channel(
            f"meter-{i:03}.register_{r:02}",
            ChannelKind.COUNTER,
            f"meter-{i:03}",
            "0" * 20,
            f"register_{r:02}",
            Fraction(1, 100),
            "kWh",
            Fraction(1),
            "f" * 64,
            AssuranceTier.AGENT_SIGNED,
        )
        for i in range(instruments)
        for r in range(registers)
    )
    outbox = Outbox(folder / "outbox.db")
    try:
        streams = dict.fromkeys((c.name for c in channels), "line-1")
        Agent(ChannelTable("site", KEY.name, channels), streams, KEY, outbox, lambda: CLOCK)
        return [message.note for message in outbox.tables()]
    finally:
        outbox.close()


def test_the_table_of_a_thousand_channels_is_taken(tmp_path):
    (note,) = agent_of(tmp_path, 50, 20)
    assert len(note) > 250_000
    found = judge(note, KEY.name, "site", lambda _: [KEY.public], table=True)
    assert isinstance(found, Accepted)
    assert found.fault == ""


def test_a_table_nobody_could_open_is_refused_at_the_start(tmp_path):
    with pytest.raises(InputError, match=r"5000 channels .* 1000000") as told:
        agent_of(tmp_path, 50, 100)
    assert "several agents" in told.value.hint
