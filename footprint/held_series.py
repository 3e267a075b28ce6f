"""The readings of one channel in memory: integer arrays in time order, 17 bytes a reading.

What comes in order is appended; what comes late waits in a heap of its own until somebody reads,
and is then merged into the end it belongs to. Of two readings of one time the larger row stands.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate

from mrv.column import Column, column_times
from mrv.series import Series

Row = tuple[int, int, int, str]
"""(ok, v, length ns, tag) of one reading; of two at one time the larger row stands."""


def rows(column: Column) -> list[tuple[int, Row]]:
    """Time and row of each reading of a column."""
    size = len(column.v)
    lengths = column.length or [0] * size
    tags = column.tag or [None] * size
    return [
        (t, (0 if v is None else 1, v or 0, length, tag or ""))
        for t, v, length, tag in zip(column_times(column), column.v, lengths, tags, strict=True)
    ]


class HeldSeries:
    """Readings of one channel, added in any order."""

    __slots__ = ("_extra", "_late", "_ok", "_t", "_v")

    def __init__(self) -> None:
        self._t = array("q")
        self._v = array("q")
        self._ok = bytearray()
        self._extra: dict[int, tuple[int, str]] = {}
        self._late: list[tuple[int, Row]] = []

    def __len__(self) -> int:
        self._merge()
        return len(self._t)

    def add(self, column: Column) -> None:
        """Take in a column."""
        if column.length or column.tag:
            self._late += rows(column)
            return
        steps, shown = column.dt, column.v
        rising = steps.count(0) == (steps[0] == 0)  # no two at one time
        if not rising or (self._t and column.t0 + steps[0] <= self._t[-1]):
            self._late += rows(column)
            return
        times = accumulate(steps, initial=column.t0)
        next(times)  # `t0` itself is no reading
        self._t.extend(times)
        if None in shown:
            self._v.extend([value or 0 for value in shown])
            self._ok.extend([value is not None for value in shown])
        else:
            self._v.extend(shown)  # type: ignore[arg-type]
            self._ok.extend(b"\1" * len(shown))

    def columns(self) -> tuple[array[int], array[int], bytearray, dict[int, tuple[int, str]]]:
        """All of it in time order: times, values, 1 good | 0 failed, and by time (length, tag)."""
        self._merge()
        return self._t, self._v, self._ok, self._extra

    def _merge(self) -> None:
        """Put what came late in its place: everything from the earliest of it on is made anew."""
        if not self._late:
            return
        late, self._late = sorted(self._late), []
        place = bisect_left(self._t, late[0][0])
        found: dict[int, Row] = {self._t[i]: self._row(i) for i in range(place, len(self._t))}
        for t, row in late:
            found[t] = max(found.get(t, row), row)
        del self._t[place:], self._v[place:], self._ok[place:]
        for t, (ok, value, length, tag) in sorted(found.items()):
            self._t.append(t)
            self._v.append(value)
            self._ok.append(ok)
            if length or tag:
                self._extra[t] = (length, tag)
            else:
                self._extra.pop(t, None)

    def _row(self, place: int) -> Row:
        length, tag = self._extra.get(self._t[place], (0, ""))
        return self._ok[place], self._v[place], length, tag

    def span(self) -> tuple[int, int] | None:
        """Times of the first and last reading, ns; None where there is none."""
        self._merge()
        return (self._t[0], self._t[-1]) if self._t else None

    def read(self, start: int, end: int, margin: int) -> Series:
        """Readings in [start, end) and up to `margin` good ones on either side."""
        left, right, _ = self._bounds(start, end, margin)
        return self._part(left, right)

    def read_after(self, known: int | None, start: int, end: int, margin: int) -> Series | None:
        """The same, None where readings up to time `known`, which are elsewhere, may be in it."""
        left, right, whole = self._bounds(start, end, margin)
        if known is not None:
            if not whole or start <= known:
                return None
            if margin and self._t[left] <= known:
                return None
        return self._part(left, right)

    def _bounds(self, start: int, end: int, margin: int) -> tuple[int, int, bool]:
        """Places of what `read` gives, and whether all the good ones before it are here."""
        self._merge()
        times, ok = self._t, self._ok
        left, right = bisect_left(times, start), bisect_left(times, end)
        before = margin
        while left > 0 and before > 0:
            left -= 1
            before -= ok[left]
        after = margin
        while right < len(times) and after > 0:
            after -= ok[right]
            right += 1
        return left, right, before == 0

    def _part(self, left: int, right: int) -> Series:
        t = self._t[left:right].tolist()
        v, good = self._v[left:right].tolist(), list(self._ok[left:right])
        if not self._extra:
            return Series(t, v, good)
        extra = [self._extra.get(moment, (0, "")) for moment in t]
        return Series(t, v, good, [length for length, _ in extra], [tag for _, tag in extra])
