"""Several segments as the blocks of one, a bounded number of readings at a time.

Channels lie in the same order in every segment, so each is read once from its beginning to its
end. A channel too long for one block is merged by time, as far as all segments have been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ingest.segment import ChannelRows, Segment
from ingest.segment_block import Block, Pieces, gathered, order
from ingest.segment_rows import Rows, end_to_end, merged, no_rows, place_of
from mrv.series import SeriesKey

BLOCK_ROWS = 500_000
"""Readings merged at once, about."""


class _Source:
    """A segment that is read from its beginning to its end."""

    def __init__(self, segment: Segment) -> None:
        self.places = segment.directory
        self._segment = segment
        self._group = -1
        self._held = no_rows()

    def read(self, first: int, stop: int) -> Rows:
        """Rows [first, stop), whatever channels they are of."""
        parts = [self._part(first, stop, group) for group in self._segment.groups(first, stop)]
        return end_to_end(parts)

    def _part(self, first: int, stop: int, group: int) -> Rows:
        if group != self._group:
            self._held = self._segment.decode(group, amounts=True)
            self._group = group
        start = self._segment.group_start(group)
        return self._held.part(max(first - start, 0), stop - start)

    def next_of(self, first: int, stop: int) -> Rows:
        """Rows from `first` to the end of their row group, not beyond `stop`."""
        group = self._segment.groups(first, stop)[0]
        return self._part(first, min(stop, self._segment.group_start(group + 1)), group)


def merge_segments(segments: Sequence[Segment]) -> Iterator[Block]:
    """The readings of several segments in the order of channels. Raises MeterprintError."""
    sources = [_Source(segment) for segment in segments]
    keys = sorted({key for source in sources for key in source.places}, key=order)
    waiting: list[SeriesKey] = []
    rows = 0
    for key in keys:
        places = [s.places[key] for s in sources if key in s.places]
        size = sum(place.stop - place.first for place in places)
        if waiting and rows + size > BLOCK_ROWS:
            yield _short(sources, waiting)
            waiting, rows = [], 0
        if size > BLOCK_ROWS:
            yield from _long(sources, key)
        else:
            waiting.append(key)
            rows += size
    if waiting:
        yield _short(sources, waiting)


def _short(sources: Sequence[_Source], keys: Sequence[SeriesKey]) -> Block:
    """Neighbouring channels, all of each."""
    code: list[int] = []
    start: list[int] = []
    count: list[int] = []
    parts: list[Rows] = []
    held = 0
    for source in sources:
        mine = [(n, source.places[key]) for n, key in enumerate(keys) if key in source.places]
        if not mine:
            continue
        first = mine[0][1].first
        for number, place in mine:
            code.append(number)
            start.append(held + place.first - first)
            count.append(place.stop - place.first)
        parts.append(source.read(first, mine[-1][1].stop))
        held += len(parts[-1])
    columns = (np.array(column, np.int64) for column in (code, start, count))
    return gathered(keys, Pieces(*columns), end_to_end(parts))


class _Run:
    """What is left of a channel in one source."""

    def __init__(self, source: _Source, place: ChannelRows) -> None:
        self._source = source
        self._at, self._stop = place.first, place.stop
        self.held = no_rows()

    def fill(self) -> None:
        """Read on where nothing is at hand."""
        if not len(self.held) and self._at < self._stop:
            self.held = self._source.next_of(self._at, self._stop)
            self._at += len(self.held)

    @property
    def known_to(self) -> int | None:
        """Time up to which everything is at hand, ns; None = to the end."""
        return int(self.held.t[-1]) if self._at < self._stop else None

    def take(self, until: int) -> Rows:
        """What is at hand up to a time, that one included."""
        cut = place_of(self.held.t, until + 1)
        taken, self.held = self.held.part(0, cut), self.held.part(cut, len(self.held))
        return taken


def _long(sources: Sequence[_Source], key: SeriesKey) -> Iterator[Block]:
    """One channel, a stretch of time after the other."""
    runs = [_Run(source, source.places[key]) for source in sources if key in source.places]
    ready: list[Rows] = []
    rows = 0
    while True:
        for run in runs:
            run.fill()
        runs = [run for run in runs if len(run.held)]
        if not runs:
            break
        bounds = [bound for run in runs if (bound := run.known_to) is not None]
        until = min(bounds, default=max(int(run.held.t[-1]) for run in runs))
        ready.append(merged([run.take(until) for run in runs]))
        rows += len(ready[-1])
        if rows >= BLOCK_ROWS:
            yield _alone(key, ready)
            ready, rows = [], 0
    if ready:
        yield _alone(key, ready)


def _alone(key: SeriesKey, parts: Sequence[Rows]) -> Block:
    rows = end_to_end(parts)
    return Block([key], np.array([len(rows)], np.int64), rows)
