"""The segments of a store, opened: one channel's rows out of all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ingest.manifest import SegmentEntry
from ingest.segment import ChannelRows, Rows, Segment, merged, place_of
from mrv.series import SeriesKey

CACHE_BYTES = 96 * 2**20
"""Decoded row groups kept in memory, bytes."""
PLAIN_BYTES, AMOUNT_BYTES = 17, 90
"""Bytes a decoded row takes, about: of a counter, and with its length and tag."""


class SegmentSet:
    """Segments by file, with the row groups read last."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segments: dict[str, Segment] = {}
        self._groups: OrderedDict[tuple[str, int, bool], Rows] = OrderedDict()
        self._bytes = 0
        self._spans: dict[SeriesKey, tuple[int, int] | None] = {}

    def hold(self, entries: Sequence[SegmentEntry]) -> None:
        """Open what is new in the list and let go of what is no longer in it."""
        self._spans.clear()
        known = {entry.file: entry for entry in entries}
        for name in set(known) - set(self._segments):
            path = self._directory / name
            self._segments[name] = Segment(path, known[name].footer, self._group)
        for name in set(self._segments) - set(known):
            self._segments.pop(name).close()

    def _group(self, segment: Segment, group: int, amounts: bool) -> Rows:
        place = (segment.path.name, group, amounts)
        held = self._groups.get(place)
        if held is not None:
            self._groups.move_to_end(place)
            return held
        held = segment.decode(group, amounts=amounts)
        self._groups[place] = held
        self._bytes += _size(held, amounts=amounts)
        while self._bytes > CACHE_BYTES and len(self._groups) > 1:
            (*_, had), dropped = self._groups.popitem(last=False)
            self._bytes -= _size(dropped, amounts=had)
        return held

    def keys(self) -> set[SeriesKey]:
        """Channels that have rows."""
        return {key for segment in self._segments.values() for key in segment.directory}

    def span(self, key: SeriesKey) -> tuple[int, int] | None:
        """First and last time of a channel, ns; None where no segment has it."""
        if key not in self._spans:
            places = [place for _, place in self._places(key)]
            first = min((place.t_min for place in places), default=0)
            last = max((place.t_max for place in places), default=0)
            self._spans[key] = (first, last) if places else None
        return self._spans[key]

    def estimate(self, key: SeriesKey, start: int, end: int) -> int:
        """Rows a channel has in [start, end), about: as if they lay evenly in each segment."""
        found = 0
        for _, place in self._places(key):
            inside = min(end, place.t_max + 1) - max(start, place.t_min)
            if inside > 0:
                length = place.t_max + 1 - place.t_min
                found += -(-(place.stop - place.first) * inside // length)
        return found

    def _places(self, key: SeriesKey) -> list[tuple[Segment, ChannelRows]]:
        found = []
        for segment in self._segments.values():
            rows = segment.directory.get(key)
            if rows is not None:
                found.append((segment, rows))
        return sorted(found, key=lambda pair: pair[1].t_min)

    def rows(
        self, key: SeriesKey, start: int, end: int, *, amounts: bool, keep: bool = True
    ) -> list[Rows]:
        """Rows of a channel with start ≤ t < end, by row group; `keep` as a segment has it."""
        return [
            part
            for segment, place in self._places(key)
            if place.t_max >= start and place.t_min < end
            for part in segment.rows(place, start, end, amounts=amounts, keep=keep)
        ]

    def outward(
        self,
        key: SeriesKey,
        moment: int,
        margin: int,
        beside: Iterable[Rows],
        *,
        amounts: bool,
        before: bool,
    ) -> Rows:
        """Rows next to `moment` until `margin` good ones are there, those `beside` among them.

        Each segment is looked at only as far as it can matter: what lies beyond the good readings
        found so far is left alone.
        """
        found, bound = nearest(merged(list(beside)), moment, margin, before=before)
        places = self._places(key)
        if before:
            places.sort(key=lambda pair: -pair[1].t_max)
        for segment, place in places:
            if (place.t_min >= moment) if before else (place.t_max < moment):
                continue
            if bound is not None and (place.t_max < bound if before else place.t_min > bound):
                continue
            held = segment.outward(place, moment, margin, amounts=amounts, before=before)
            found, bound = nearest(merged([found, held]), moment, margin, before=before)
        return found

    def forget(self) -> None:
        """Let go of everything."""
        self.hold(())
        self._groups.clear()
        self._bytes = 0

    def close(self) -> None:
        """Let go of the files, and of what was read from them."""
        for segment in self._segments.values():
            segment.close()
        self._groups.clear()
        self._bytes = 0


def _size(rows: Rows, *, amounts: bool) -> int:
    return len(rows) * (AMOUNT_BYTES if amounts else PLAIN_BYTES)


def past_cache(directory: Path, entries: Sequence[SegmentEntry]) -> list[Segment]:
    """Segments opened for somebody who reads each row group once."""
    return [Segment(directory / entry.file, entry.footer, _uncached) for entry in entries]


def _uncached(segment: Segment, group: int, amounts: bool) -> Rows:
    return segment.decode(group, amounts=amounts)


def nearest(rows: Rows, moment: int, margin: int, *, before: bool) -> tuple[Rows, int | None]:
    """The rows next to `moment` up to `margin` good ones, and how far that reaches if it does."""
    if not len(rows):
        return rows, None
    if before:
        stop = place_of(rows.t, moment)
        good = np.flatnonzero(rows.ok[:stop])
        if len(good) < margin:
            return rows.part(0, stop), None
        first = int(good[-margin])
        return rows.part(first, stop), int(rows.t[first])
    start = place_of(rows.t, moment)
    good = np.flatnonzero(rows.ok[start:])
    if len(good) < margin:
        return rows.part(start, len(rows)), None
    last = start + int(good[margin - 1])
    return rows.part(start, last + 1), int(rows.t[last])
