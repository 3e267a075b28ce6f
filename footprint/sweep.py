"""Many windows of one register at once: each stretch of time is read once, whoever asks for it.

A batch asks for its own time, its changeover and its pools, its neighbours for some of the same
readings. Windows that lie side by side are computed by one call of the law; a window that overlaps
another belongs to another layer over the same readings. Each window is exactly what it would be
alone, because it depends on its own readings and their neighbours only (`mrv.measurement.law`).
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from footprint.readings import Readings
from mrv.interval import NS_PER_MS
from mrv.measurement.law import MARGIN
from mrv.series import Series, SeriesKey

Found = TypeVar("Found")
Window = tuple[int, int]
"""[start, end), ns on whole milliseconds."""
FIRST_NS = 3_600_000 * NS_PER_MS
"""Time read first, an hour: how dense readings lie is not known yet."""
GROWTH = 8
"""How many times longer the next portion of time may be than the one before."""
MOST_READINGS = 2_000_000
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


def runs(windows: Iterable[Window]) -> list[list[Window]]:
    """Windows in as few rows as can be in which none overlaps, cut where much time is unasked."""
    layers: list[list[Window]] = []
    done: list[list[Window]] = []
    for window in sorted(windows):
        for place, layer in enumerate(layers):
            hole = window[0] - layer[-1][1]
            if hole >= 0:
                if hole > layer[-1][1] - layer[0][0]:
                    done.append(layer)
                    layers[place] = [window]
                else:
                    layer.append(window)
                break
        else:
            layers.append([window])
    return [*done, *layers]


def _cuts(run: Sequence[Window]) -> list[int]:
    """Bounds of a run's windows, those of the time between them too."""
    return sorted({moment for window in run for moment in window})


def sweep(
    readings: Readings,
    key: SeriesKey,
    windows: Iterable[Window],
    compute: Callable[[SeriesKey, Sequence[int], Excerpt], Sequence[Found]],
) -> Iterator[tuple[Window, Found]]:
    """What `compute` makes of each window, out of readings that are read once."""
    ordered = sorted(windows)
    reach, place = FIRST_NS, 0
    while place < len(ordered):
        first = place
        start, end = ordered[first]
        while place < len(ordered):
            low, high = ordered[place]
            if place > first and (
                max(end, high) - start > reach or low - end > max(end - start, FIRST_NS)
            ):
                break
            end = max(end, high)
            place += 1
        longest = readings.longest(key)
        series = readings.read(key, start - longest, end, MARGIN)
        excerpt = Excerpt(series, longest)
        for run in runs(ordered[first:place]):
            asked, cuts = set(run), _cuts(run)
            for window, found in zip(
                itertools.pairwise(cuts), compute(key, cuts, excerpt), strict=True
            ):
                if window in asked:
                    yield window, found
        dense = (end - start) * MOST_READINGS // max(len(series), 1)
        reach = max(min(dense, (end - start) * GROWTH), FIRST_NS)
