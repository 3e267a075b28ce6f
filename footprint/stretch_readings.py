"""Which readings of a register belong to a stretch: those that make the steps ending in it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from footprint.stretch import Stretch
from mrv.measurement.activity import plain
from mrv.series import Series


def same_counts(one: Stretch, other: Stretch) -> bool:
    """Whether a count means the same in both, so that a step can run from one into the other."""
    return (one.unit, one.resolution) == (other.unit, other.resolution)


def amounts_in(
    series: Series, stretch: Stretch, *, tagged: bool = True, untagged: bool = True
) -> Series:
    """Amounts that start in the stretch: those tagged with a batch, those that are not, or both."""
    places = [
        i
        for i in range(len(series))
        if stretch.start <= series.t[i] < stretch.end
        and (tagged if series.tag and series.tag[i] else untagged)
    ]
    return Series(
        [int(series.t[i]) for i in places],
        [int(series.v[i]) for i in places],
        [int(series.ok[i]) for i in places],
        [int(series.length[i]) if series.length else 0 for i in places],
    )


def steps_ending_in(
    series: Series, stretch: Stretch, cuts: Sequence[int], margin: int, *, joined: bool
) -> Series:
    """Readings that make the steps which end in the stretch, with its exchange readings.

    Where it is not `joined` to the one before, no step runs into it.

    `series` has up to `margin` good readings on either side of the cuts. An opening or closing
    reading stands beside a window only where no more than these lie between them; else it is too
    far away to matter and would make a step of its own.
    """
    size = len(series)
    if not size:
        return series
    if (
        stretch.opening is None
        and stretch.closing is None
        and stretch.start <= series.t[0]
        and series.t[-1] < stretch.end
    ):
        return series
    first = bisect_left(series.t, stretch.start)
    stop = bisect_left(series.t, stretch.end)
    if stretch.opening is None and joined:
        while first > 0:
            first -= 1
            if series.ok[first]:
                break
    if stretch.opening is None and stretch.closing is None:
        return Series(series.t[first:stop], series.v[first:stop], series.ok[first:stop])
    t, v, ok = (list(plain(part[first:stop])) for part in (series.t, series.v, series.ok))
    good = [int(series.t[i]) for i in range(size) if series.ok[i]]
    from_start = sum(1 for moment in good if moment < cuts[0]) < margin
    to_end = sum(1 for moment in good if moment >= cuts[-1]) < margin
    if stretch.opening is not None:
        near = from_start or stretch.start >= cuts[0] or good[0] < stretch.start
        if near and (not t or t[0] > stretch.start):
            t, v, ok = [stretch.start, *t], [stretch.opening, *v], [1, *ok]
    if stretch.closing is not None and (not t or t[-1] < stretch.end):
        near = to_end or stretch.end <= cuts[-1] or good[-1] >= stretch.end
        if near and t:
            t, v, ok = [*t, stretch.end], [*v, stretch.closing], [*ok, 1]
    return Series(t, v, ok)


def pieces_of(
    series: Series, stretches: Sequence[Stretch], cuts: Sequence[int], margin: int
) -> Iterator[tuple[Stretch, Series]]:
    """A counter's readings by stretch, each with what makes the steps that end in it."""
    before: Stretch | None = None
    for stretch in stretches:
        joined = before is None or same_counts(before, stretch)
        before = stretch
        piece = steps_ending_in(series, stretch, cuts, margin, joined=joined)
        if len(piece):
            yield stretch, piece
