"""Readings of a register whose authoritative channel changes: one series out of several."""

from __future__ import annotations

from collections.abc import Sequence

from footprint.authority import Authority
from footprint.readings import ChannelSource, Readings, SignedGap
from mrv.reporting.completeness import StreamChain
from mrv.reporting.mending import Mending
from mrv.series import Series, SeriesKey


class JoinedReadings:
    """Reads each stretch of time from the channel that speaks in it.

    It answers as `Readings` does; the key asked for is not looked at, as all channels are of the
    one register.
    """

    def __init__(self, readings: Readings, channels: Sequence[Authority]) -> None:
        self._readings = readings
        self._channels = channels

    def sources(self, channel: str) -> Sequence[ChannelSource]:
        """Who delivers the channel."""
        return self._readings.sources(channel)

    def chain(self, agent: str, stream: str) -> StreamChain:
        """The envelopes of a stream."""
        return self._readings.chain(agent, stream)

    def mended(self, agent: str, stream: str) -> Sequence[Mending]:
        """Envelopes of a stream whose stamps were proven wrong."""
        return self._readings.mended(agent, stream)

    def gaps(self, key: SeriesKey) -> Sequence[SignedGap]:
        """Gaps stated for one channel."""
        return self._readings.gaps(key)

    def read(self, key: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings in [start, end) and up to `margin` good ones on either side."""
        assert key is not None
        rows: list[tuple[int, int, int, int, str]] = []
        for channel in self._channels:
            left = min(max(start, channel.start), channel.end)
            right = min(max(end, left), channel.end)
            found = self._readings.read(channel.key, left, right, margin)
            rows += [r for r in _rows(found) if channel.start <= r[0] < channel.end]
        before = [i for i, row in enumerate(rows) if row[0] < start and row[2]]
        after = [i for i, row in enumerate(rows) if row[0] >= end and row[2]]
        first = before[-margin] if margin and len(before) >= margin else 0
        last = after[margin - 1] + 1 if margin and len(after) >= margin else len(rows)
        return _series([row for row in rows[first:last] if margin or start <= row[0] < end])

    def span(self, key: SeriesKey) -> tuple[int, int] | None:
        """First and last time of any of them while it speaks."""
        assert key is not None
        times: list[int] = []
        for channel in self._channels:
            held = self._readings.span(channel.key)
            if held is not None and held[0] < channel.end and held[1] >= channel.start:
                near = self._readings.read(channel.key, channel.start, channel.start, 1)
                last = self._readings.read(channel.key, channel.end, channel.end, 1)
                inside = [t for t in (*near.t, *last.t, *held) if channel.start <= t < channel.end]
                times += inside
        return (min(times), max(times)) if times else None

    def longest(self, key: SeriesKey) -> int:
        """Length of the longest amount of any of them."""
        assert key is not None
        return max(self._readings.longest(channel.key) for channel in self._channels)

    def tagged(self, key: SeriesKey, batch: str) -> Series:
        """Amounts weighed for `batch`, each from the channel that speaks at its start."""
        assert key is not None
        rows = []
        for channel in self._channels:
            found = _rows(self._readings.tagged(channel.key, batch))
            rows += [row for row in found if channel.start <= row[0] < channel.end]
        return _series(rows)

    def tags(self, key: SeriesKey) -> Sequence[str]:
        """Tags of any of them."""
        assert key is not None
        return sorted({tag for c in self._channels for tag in self._readings.tags(c.key)})


def _rows(series: Series) -> list[tuple[int, int, int, int, str]]:
    size = len(series)
    lengths = series.length or [0] * size
    tags = series.tag or [""] * size
    return [
        (int(series.t[i]), int(series.v[i]), int(series.ok[i]), int(lengths[i]), tags[i])
        for i in range(size)
    ]


def _series(rows: Sequence[tuple[int, int, int, int, str]]) -> Series:
    return Series(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        [row[4] for row in rows],
    )
