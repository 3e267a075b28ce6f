"""Unbroken runs of envelope numbers: what a receipt confirms, and where the holes are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

Run = tuple[int, int, str]
"""(first seq, last seq, identity of the last)."""


def _last(run: Run) -> int:
    return run[1]


def runs_around(runs: Sequence[Run], low: int, high: int) -> Sequence[Run]:
    """The runs that hold any number of [low, high]."""
    start = stop = bisect_left(runs, low, key=_last)
    while stop < len(runs) and runs[stop][0] <= high:
        stop += 1
    return runs[start:stop]


def extend(runs: list[Run], seq: int, identity: str) -> None:
    """Add a number to sorted runs; a twin of a number that is held changes nothing."""
    if runs and runs[-1][1] + 1 == seq:
        runs[-1] = (runs[-1][0], seq, identity)
        return
    place = bisect_left(runs, seq - 1, key=_last)
    if place == len(runs) or seq < runs[place][0] - 1:
        runs.insert(place, (seq, seq, identity))
        return
    first, last, name = runs[place]
    if first <= seq <= last:
        return
    if seq == last + 1:
        last, name = seq, identity
    else:
        first = seq
    runs[place] = (first, last, name)
    if place + 1 < len(runs) and runs[place + 1][0] == last + 1:
        runs[place] = (first, runs[place + 1][1], runs[place + 1][2])
        del runs[place + 1]
    elif place and runs[place - 1][1] + 1 == first:
        runs[place - 1] = (runs[place - 1][0], last, name)
        del runs[place]
