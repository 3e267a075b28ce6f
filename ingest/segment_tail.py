"""Readings on their way into a segment, in memory."""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from footprint.held_series import HeldSeries
from ingest.segment_block import Block, Pieces, gathered, order
from ingest.segment_rows import Rows, no_rows
from mrv.column import Column
from mrv.series import Series, SeriesChunk, SeriesKey


@dataclass(slots=True)
class _Channel:
    """One channel's place in the tail."""

    code: int
    """Its number."""
    chunks: list[int] = field(default_factory=list)
    """Numbers of its columns, in the order they came."""
    held: HeldSeries | None = None
    """Its readings in the order of time, as far as somebody has asked for them."""
    seen: int = 0
    """Columns that are in `held`."""


BLOCK_ROWS = 131_072
"""Readings sorted into a segment at once, about."""
SLAB = 65_536
"""Readings in one piece of the log, about: a longer array would be copied as it grows."""


class _Slab:
    """A piece of the log."""

    __slots__ = ("dt", "first", "v")

    def __init__(self, first: int) -> None:
        self.first = first
        self.dt = array("q")
        self.v = array("q")


class Tail:
    """Readings not in a segment yet: one log of all columns, in the order they came.

    What a segment needs is sorted out of the log at once; a channel that is asked for is held in
    the order of time as well. Times are kept as an envelope has them: a start and differences.
    """

    def __init__(self) -> None:
        self._channels: dict[SeriesKey, _Channel] = {}
        self._keys: list[SeriesKey] = []
        self._codes = array("q")
        self._t0 = array("q")
        self._starts = array("q")
        self._slabs = [_Slab(0)]
        self._firsts = [0]
        self.count = 0
        """Readings taken in."""
        self._failed: list[int] = []
        self._extra: dict[int, tuple[int, str]] = {}

    @property
    def known(self) -> Sequence[SeriesKey]:
        """Channels that have readings."""
        return self._keys

    def added(self, key: SeriesKey) -> int:
        """Columns taken in of a channel."""
        channel = self._channels.get(key)
        return 0 if channel is None else len(channel.chunks)

    def add(self, key: SeriesKey, column: Column) -> None:
        """Take in a column."""
        if not column.v:
            return
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(len(self._keys))
            self._keys.append(key)
        slab, start = self._slabs[-1], self.count
        if len(slab.v) >= SLAB:
            slab = _Slab(start)
            self._slabs.append(slab)
            self._firsts.append(start)
        _extend(slab.dt, column.dt)
        try:
            _extend(slab.v, column.v)
        except TypeError:
            self._failed += [start + i for i, v in enumerate(column.v) if v is None]
            _extend(slab.v, [v or 0 for v in column.v])
        self.count += len(column.v)
        if column.length or column.tag:
            self._note(start, column)
        channel.chunks.append(len(self._codes))
        self._codes.append(channel.code)
        self._t0.append(column.t0)
        self._starts.append(start)

    def _note(self, start: int, column: Column) -> None:
        """Keep lengths and tags, where a row has one."""
        size = len(column.v)
        rows = zip(column.length or [0] * size, column.tag or [None] * size, strict=True)
        for place, (length, tag) in enumerate(rows, start):
            if length or tag:
                self._extra[place] = (length, tag or "")

    def _column(self, key: SeriesKey, chunk: int) -> Column:
        """A column as it was taken in, but for flags and raw words."""
        start = self._starts[chunk]
        stop = self._starts[chunk + 1] if chunk + 1 < len(self._starts) else self.count
        slab = self._slabs[bisect_right(self._firsts, start) - 1]
        here = slice(start - slab.first, stop - slab.first)
        values: list[int | None] = [*slab.v[here]]
        if self._failed:
            first, last = bisect_left(self._failed, start), bisect_left(self._failed, stop)
            for place in self._failed[first:last]:
                values[place - start] = None
        steps, quality = slab.dt[here].tolist(), [""] * len(values)
        if not self._extra:
            return Column(key.channel, self._t0[chunk], steps, values, quality)
        extra = [self._extra.get(place, (0, "")) for place in range(start, stop)]
        return Column(
            key.channel,
            self._t0[chunk],
            steps,
            values,
            quality,
            length=[length for length, _ in extra],
            tag=[tag for _, tag in extra],
        )

    def series(self, key: SeriesKey) -> HeldSeries | None:
        """Readings of a channel in the order of time, None where there are none."""
        channel = self._channels.get(key)
        if channel is None:
            return None
        if channel.held is None:
            channel.held = HeldSeries()
        for chunk in channel.chunks[channel.seen :]:
            channel.held.add(self._column(key, chunk))
        channel.seen = len(channel.chunks)
        return channel.held

    def rows(self, key: SeriesKey, start: int, end: int) -> Rows:
        """Rows of a channel with start ≤ t < end."""
        held = self.series(key)
        if held is None:
            return no_rows()
        t, *_ = held.columns()
        return _copied(held, bisect_left(t, start), bisect_left(t, end))

    def blocks(self) -> Iterator[Block]:
        """All rows as a segment has them, some channels after the other."""
        codes = sorted(range(len(self._keys)), key=[order(key) for key in self._keys].__getitem__)
        place = np.empty(len(codes), np.int64)
        place[codes] = np.arange(len(codes))
        starts = np.array(self._starts, np.int64)
        counts = np.diff(starts, append=self.count)
        code = place[np.array(self._codes, np.int64)]
        by_channel = np.argsort(code, kind="stable")
        pieces = Pieces(code[by_channel], starts[by_channel], counts[by_channel])
        rows = self._rows(starts, counts)
        firsts = np.flatnonzero(np.append(True, pieces.code[1:] != pieces.code[:-1]))
        share = (np.cumsum(pieces.count) - pieces.count)[firsts] // BLOCK_ROWS
        cuts = firsts[np.append(True, share[1:] != share[:-1])]
        for first, stop in itertools.pairwise([*cuts.tolist(), len(code)]):
            low, high = int(pieces.code[first]), int(pieces.code[stop - 1]) + 1
            some = pieces.part(first, stop, low)
            yield gathered([self._keys[c] for c in codes[low:high]], some, rows)

    def _rows(self, starts: Any, counts: Any) -> Rows:
        """The log as arrays of its own: a view would keep it from growing."""
        passed = np.concatenate([np.array(slab.dt, np.int64) for slab in self._slabs])
        np.cumsum(passed, out=passed)
        before = np.where(starts > 0, passed[starts - 1], 0)
        passed += np.repeat(np.array(self._t0, np.int64) - before, counts)
        ok = np.ones(len(passed), np.int8)
        ok[self._failed] = 0
        length = tag = None
        if self._extra:
            length, tag = np.zeros(len(passed), np.int64), np.full(len(passed), "", object)
            for place, (a, b) in self._extra.items():
                length[place], tag[place] = a, b
            length, tag = length if length.any() else None, tag if any(tag) else None
        v = np.concatenate([np.array(slab.v, np.int64) for slab in self._slabs])
        return Rows(passed, v, ok, length, tag)

    def append(self, other: Tail) -> None:
        """Take in what another tail has taken in."""
        for chunk, code in enumerate(other._codes):
            key = other._keys[code]
            self.add(key, other._column(key, chunk))


def _extend(values: array[int], more: Sequence[Any]) -> None:
    """Append integers. Raises TypeError where one is none; then nothing is appended."""
    values.fromlist(more if isinstance(more, list) else list(more))


def _copied(held: HeldSeries, first: int, stop: int) -> Rows:
    """Rows [first, stop) as arrays of their own: a view would keep the series from growing."""
    t, v, ok, extra = held.columns()
    length = tag = None
    if extra:
        listed = [extra.get(moment, (0, "")) for moment in t[first:stop]]
        length = np.array([row[0] for row in listed], np.int64)
        tag = np.array([row[1] for row in listed], object)
        length, tag = length if length.any() else None, tag if any(tag) else None
    return Rows(
        np.frombuffer(t[first:stop], np.int64),
        np.frombuffer(v[first:stop], np.int64),
        np.frombuffer(ok[first:stop], np.int8),
        length,
        tag,
    )


def as_rows(series: Series) -> Rows:
    """A series as arrays."""
    return Rows(
        np.array(series.t, np.int64),
        np.array(series.v, np.int64),
        np.array(series.ok, np.int8),
        np.array(series.length, np.int64) if any(series.length) else None,
        np.array(series.tag, object) if any(series.tag) else None,
    )


def column_of(chunk: SeriesChunk) -> Column:
    """The chunk as a column of an envelope, in the order of time."""
    series = chunk.series
    order = sorted(range(len(series)), key=lambda i: series.t[i])
    times = [int(series.t[i]) for i in order]
    return Column(
        chunk.key.channel,
        times[0] if times else 0,
        [b - a for a, b in zip([times[0], *times], times, strict=False)] if times else [],
        [int(series.v[i]) if series.ok[i] else None for i in order],
        [""] * len(order),
        length=[int(series.length[i]) for i in order] if series.length else (),
        tag=[series.tag[i] or None for i in order] if series.tag else (),
    )
