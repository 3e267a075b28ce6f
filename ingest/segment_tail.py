"""Readings on their way into a segment: in memory, by channel."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from footprint.held_series import HeldSeries
from ingest.segment import Rows, no_rows
from mrv.column import Column
from mrv.series import Series, SeriesChunk, SeriesKey


class Tail:
    """Readings not in a segment yet, by channel."""

    def __init__(self) -> None:
        self.channels: dict[SeriesKey, HeldSeries] = {}
        self.amounts: set[SeriesKey] = set()
        self.count = 0
        self.added: dict[SeriesKey, int] = {}
        """Columns taken in, by channel."""

    def add(self, key: SeriesKey, column: Column) -> None:
        """Take in a column."""
        held = self.channels.get(key)
        if held is None:
            held = self.channels[key] = HeldSeries()
        held.add(column)
        self.count += len(column.v)
        self.added[key] = self.added.get(key, 0) + 1
        if column.length or column.tag:
            self.amounts.add(key)

    def rows(self, key: SeriesKey, start: int, end: int) -> Rows:
        """Rows of a channel with start ≤ t < end."""
        held = self.channels.get(key)
        if held is None:
            return no_rows()
        t, *_ = held.columns()
        return _copied(held, bisect_left(t, start), bisect_left(t, end))

    def everything(self) -> dict[SeriesKey, Rows]:
        """All rows by channel."""
        return {key: _copied(held, 0, len(held)) for key, held in self.channels.items()}


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


def listed(rows: Rows) -> Series:
    """Arrays as a series of lists."""
    return Series(
        rows.t.tolist(),
        rows.v.tolist(),
        rows.ok.tolist(),
        () if rows.length is None else rows.length.tolist(),
        () if rows.tag is None else rows.tag.tolist(),
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
