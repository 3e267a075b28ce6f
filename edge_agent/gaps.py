"""Gaps an agent knows of: registers that have not answered for long, stated under its signature."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge_agent.source import RawReading
from mrv.envelope import Event

STATE_EVERY_NS = 15 * 60 * 10**9
"""A register that fails this long is stated as a gap, and again each time as much has passed, ns.

A quarter of an hour is the interval electricity is billed by; a shorter failure costs nothing, as
the next good reading of a counter closes it.
"""


class GapWatch:
    """Watches the readings of one agent and says what to state."""

    def __init__(self, counters: Collection[str], every: int = STATE_EVERY_NS) -> None:
        self._counters = frozenset(counters)
        self._every = every
        self._since: dict[str, int] = {}
        self._stated: dict[str, int] = {}

    def watch(self, readings: Sequence[RawReading]) -> list[tuple[str, Event]]:
        """(channel, gap to be stated now); each from the first failed reading to the latest."""
        found = []
        for reading in readings:
            channel = reading.channel
            if channel not in self._counters:
                continue
            if reading.v is not None:
                self._since.pop(channel, None)
                self._stated.pop(channel, None)
                continue
            since = self._since.setdefault(channel, reading.t)
            if reading.t - self._stated.get(channel, since) >= self._every:
                self._stated[channel] = reading.t
                reason = reading.quality or "no_answer"
                found.append((channel, Event("gap", since, reading.t, channel, reason)))
        return found
