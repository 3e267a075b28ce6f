"""One segment: readings of many channels in an immutable Parquet file, sorted by channel and time.

Times and values are delta-coded, so a reading takes about four bytes. The file's own metadata say
which rows are whose, so one channel is read without the others.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.manifest import footer_hash
from ingest.segment_rows import FAR, Rows, merged, no_rows, place_of
from ingest.segment_writer import (
    DIRECTORY,
    LENGTH_COLUMN,
    TAG_COLUMN,
    TIME_COLUMN,
    render_segment,
)
from mrv.errors import MeterprintError
from mrv.series import SeriesKey

__all__ = [
    "FAR",
    "ChannelRows",
    "Rows",
    "Segment",
    "footer_hash",
    "merged",
    "no_rows",
    "place_of",
    "render_segment",
]


def _tags(column: Any) -> Any:
    """Tags of a column as an object array; None where all are ""."""
    found = []
    for chunk in column.chunks:
        known = chunk.dictionary.to_pylist()
        codes = chunk.indices.to_numpy()
        if known not in ([""], []):
            found.append(np.array(known, object)[codes])
        else:
            found.append(np.full(len(codes), "", object))
    tags = np.concatenate(found) if len(found) != 1 else found[0]
    return tags if any(c.dictionary.to_pylist() != [""] for c in column.chunks) else None


def _counters(group: Any) -> bool:
    """Whether the statistics of a row group say that no row has a length or a tag."""
    found = [group.column(place).statistics for place in (LENGTH_COLUMN, TAG_COLUMN)]
    if any(bounds is None or not bounds.has_min_max for bounds in found):
        return False
    return [(bounds.min, bounds.max) for bounds in found] == [(0, 0), ("", "")]


def _unreadable(path: Path, error: object) -> MeterprintError:
    return MeterprintError(
        f"segment {path.name} cannot be read: {error}",
        hint="run `meterprint rebuild`: segments are a view of the journal",
    )


@dataclass(frozen=True, slots=True)
class ChannelRows:
    """Where a channel lies in a segment."""

    first: int
    """First row."""
    stop: int
    """Row after the last."""
    t_min: int
    """Time of its first reading, ns."""
    t_max: int
    """Time of its last reading, ns."""


class Segment:
    """A segment on disk; its directory is read at first use, columns when they are asked for."""

    def __init__(self, path: Path, footer: str, cache: Callable[[Segment, int, bool], Any]) -> None:
        self.path = path
        self._footer = footer
        self._cache = cache
        self._file: Any = None
        self._directory: dict[SeriesKey, ChannelRows] | None = None
        self._starts: list[int] = []
        self._bounds: list[tuple[int, int]] = []

    def _open(self) -> Any:
        if self._file is None:
            if footer_hash(self.path) != self._footer:
                raise _unreadable(self.path, "its footer is not what was written")
            try:
                # not mapped: the pages of a history that was read would count as our memory
                self._file = pq.ParquetFile(
                    self.path, page_checksum_verification=True, pre_buffer=False
                )
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(self.path, error) from error
            groups = self._file.metadata
            self._starts = [0]
            for number in range(groups.num_row_groups):
                group = groups.row_group(number)
                self._starts.append(self._starts[-1] + group.num_rows)
                times = group.column(TIME_COLUMN).statistics
                self._bounds.append((int(times.min), int(times.max)))
        return self._file

    @property
    def directory(self) -> Mapping[SeriesKey, ChannelRows]:
        """Channels with their rows."""
        if self._directory is None:
            found: dict[SeriesKey, ChannelRows] = {}
            first = 0
            listed = self._open().metadata.metadata[DIRECTORY.encode()]
            for agent, stream, channel, count, low, high in json.loads(listed):
                key = SeriesKey(agent, stream, channel)
                found[key] = ChannelRows(first, first + count, low, high)
                first += count
            self._directory = found
        return self._directory

    def decode(self, group: int, *, amounts: bool) -> Rows:
        """All rows of a row group; lengths and tags only where `amounts` asks for them."""
        names = ["t", "v", "ok"]
        try:
            file = self._open()
            amounts = amounts and not _counters(file.metadata.row_group(group))
            names += ["length", "tag"] if amounts else []
            table = file.read_row_group(group, columns=names, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error
        t, v, ok = (table[name].to_numpy() for name in ("t", "v", "ok"))
        if not amounts:
            return Rows(t, v, ok)
        length = table["length"].to_numpy()
        return Rows(t, v, ok, length if length.any() else None, _tags(table["tag"]))

    def groups(self, first: int, stop: int) -> range:
        """Row groups that hold rows [first, stop)."""
        self._open()
        low = max(bisect_right(self._starts, first) - 1, 0)
        return range(low, bisect_left(self._starts, stop))

    def group_start(self, group: int) -> int:
        """First row of a row group; of the one after the last: the number of rows."""
        return self._starts[group]

    def _groups(self, place: ChannelRows) -> range:
        """Row groups that hold rows of a channel."""
        return self.groups(place.first, place.stop)

    def _inside(self, place: ChannelRows, group: int) -> bool:
        """Whether all rows of the group are the channel's, so that its times bound them."""
        return place.first <= self._starts[group] and self._starts[group + 1] <= place.stop

    def _part(self, place: ChannelRows, group: int, *, amounts: bool, keep: bool = True) -> Rows:
        start = self._starts[group]
        if keep or not self._inside(place, group):
            held: Rows = self._cache(self, group, amounts)
        else:
            held = self.decode(group, amounts=amounts)
        return held.part(max(place.first - start, 0), place.stop - start)

    def rows(
        self, place: ChannelRows, start: int, end: int, *, amounts: bool, keep: bool = True
    ) -> list[Rows]:
        """Rows of a channel with start ≤ t < end, by row group.

        Not to `keep`: groups that are the channel's alone and wholly asked for are not put into
        the cache, as whoever looks through a history once does not come back to them.
        """
        parts = []
        for group in self._groups(place):
            low, high = self._bounds[group]
            if self._inside(place, group) and (high < start or low >= end):
                continue
            again = keep or low < start or high >= end
            held = self._part(place, group, amounts=amounts, keep=again)
            parts.append(held.part(place_of(held.t, start), place_of(held.t, end)))
        return parts

    def outward(
        self, place: ChannelRows, moment: int, margin: int, *, amounts: bool, before: bool
    ) -> Rows:
        """Rows of a channel next to `moment`, as far as `margin` good ones reach."""
        parts: list[Rows] = []
        good = 0
        groups = self._groups(place)
        for group in reversed(groups) if before else groups:
            low, high = self._bounds[group]
            if self._inside(place, group) and (low >= moment if before else high < moment):
                continue
            held = self._part(place, group, amounts=amounts)
            cut = place_of(held.t, moment)
            held = held.part(0, cut) if before else held.part(cut, len(held))
            parts.append(held)
            good += int(np.count_nonzero(held.ok))
            if good >= margin:
                break
        return merged(parts)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
