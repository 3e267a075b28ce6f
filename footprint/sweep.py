"""What many batches ask of one register, answered at once: each stretch of time is read once.

A batch asks for its own time, its changeover and its pools, its neighbours for some of the same
readings. Every question is answered as it would be alone, from its own readings and MARGIN good
ones on either side; only the reading is shared.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from footprint.readings import Readings
from mrv.interval import NS_PER_MS
from mrv.measurement.law import MARGIN
from mrv.series import Series, SeriesKey

Window = tuple[int, int]
"""[start, end), ns on whole milliseconds."""
Cuts = tuple[int, ...]
"""A question: the windows between cuts, ns on whole milliseconds, rising; one alone asks for the
readings beside it."""
FIRST_NS = 3_600_000 * NS_PER_MS
"""Time read first, an hour: how dense readings lie is not known yet."""
GROWTH = 8
"""How many times longer the next portion of time may be than the one before."""
MOST_READINGS = 250_000
"""Readings held at once, about."""


class Excerpt:
    """Readings of one channel in some time, with those beside it that windows in it need."""

    def __init__(self, series: Series, longest: int) -> None:
        self._series = series
        self._longest = longest

    def read(self, _: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings in [start, end) and up to `margin` good ones on either side."""
        held = self._series
        left, right = bisect_left(held.t, start), bisect_left(held.t, end)
        wanted = margin
        while left > 0 and wanted > 0:
            left -= 1
            wanted -= int(held.ok[left])
        wanted = margin
        while right < len(held) and wanted > 0:
            wanted -= int(held.ok[right])
            right += 1
        return Series(
            held.t[left:right],
            held.v[left:right],
            held.ok[left:right],
            held.length[left:right],
            held.tag[left:right],
        )

    def longest(self, _: SeriesKey) -> int:
        """Length of the channel's longest amount, ns; 0 where it has none."""
        return self._longest


def sweep(
    readings: Readings, key: SeriesKey, questions: Iterable[Cuts]
) -> Iterator[tuple[Cuts, Excerpt]]:
    """Each question with the readings it needs, in the order of time."""
    ordered = sorted(questions, key=lambda cuts: (cuts[0], cuts[-1]))
    reach, place = FIRST_NS, 0
    while place < len(ordered):
        first = place
        start, end = ordered[first][0], ordered[first][-1]
        while place < len(ordered):
            low, high = ordered[place][0], ordered[place][-1]
            if place > first and (
                max(end, high) - start > reach or low - end > max(end - start, FIRST_NS)
            ):
                break
            end = max(end, high)
            place += 1
        longest = readings.longest(key)
        series = readings.read(key, start - longest, end, MARGIN)
        excerpt = Excerpt(series, longest)
        for cuts in ordered[first:place]:
            yield cuts, excerpt
        dense = (end - start) * MOST_READINGS // max(len(series), 1)
        reach = max(min(dense, (end - start) * GROWTH), FIRST_NS)
