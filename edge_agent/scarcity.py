"""What an agent keeps while its disk is full: amounts and counters first, gauges thinned.

A gauge costs nothing but a picture; a counter's next reading carries what the ones before it
counted; an amount that is lost is lost. What was given up is stated as a gap under the agent's
signature once there is room again.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.source import RawReading
from mrv.channel import ChannelKind
from mrv.envelope import Event

THIN_NS = 60 * 10**9
"""Of a gauge one reading in this time is kept, ns."""
THINNED = "thinned_disk_full"
"""Reason of a gap in a gauge."""
GIVEN_UP = "memory_full_disk_full"
"""Reason of a gap in a counter or amount."""
MEMORY_BYTES = 16 << 20
"""Signed envelopes that wait in memory for the disk, bytes; amounts may take twice as much."""


class Scarcity:
    """Decides reading by reading, and remembers what it gave up."""

    def __init__(self, kinds: Mapping[str, ChannelKind], memory_bytes: int = MEMORY_BYTES) -> None:
        self._kinds = kinds
        self._most = memory_bytes
        self._kept: dict[str, int] = {}
        self._lost: dict[str, tuple[int, int, str]] = {}
        self.thinned = 0
        self.given_up = 0

    def keeps(self, reading: RawReading, waiting: int) -> bool:
        """Whether to keep a reading while `waiting` bytes wait in memory."""
        kind = self._kinds[reading.channel]
        if kind is ChannelKind.GAUGE:
            last = self._kept.get(reading.channel)
            if waiting < self._most and (last is None or not 0 <= reading.t - last < THIN_NS):
                self._kept[reading.channel] = reading.t
                return True
            self.thinned += 1
            self._lose(reading, THINNED)
            return False
        if waiting < self._most * (2 if kind is ChannelKind.AMOUNT else 1):
            return True
        self.given_up += 1
        self._lose(reading, GIVEN_UP)
        return False

    def _lose(self, reading: RawReading, reason: str) -> None:
        end = reading.t + reading.length
        first, last, _ = self._lost.get(reading.channel, (reading.t, end, reason))
        self._lost[reading.channel] = (min(first, reading.t), max(last, end), reason)

    def over(self) -> list[tuple[str, Event]]:
        """There is room again: (channel, gap) of all that was given up, and a clean slate."""
        gaps = [
            (channel, Event("gap", first, max(last, first + 1), channel, reason))
            for channel, (first, last, reason) in sorted(self._lost.items())
        ]
        self._lost.clear()
        self._kept.clear()
        return gaps
