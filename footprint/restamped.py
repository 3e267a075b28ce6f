"""Readings moved from the times a wrong clock gave them to the true ones.

The store keeps every reading at its signed time. What `mrv.reporting.mending` proves wrong is laid
over it: rows at signed times of moved readings are passed over, and stand at their true times.
Limit: where a wrong stamp equals another reading's to the nanosecond, the store has kept only the
larger row of the two, so the smaller one is not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from footprint.held_series import Row, rows
from mrv.column import Column
from mrv.series import Series

FIRST, LAST = -(2**63), 2**63 - 1
"""Bounds of the time scale, ns."""
Read = Callable[[int, int, int], Series]
"""Reads the store at signed times: (start, end, margin)."""


def items_of(series: Series) -> list[tuple[int, Row]]:
    """Time and row of each reading."""
    return [
        (
            int(series.t[i]),
            (
                int(series.ok[i]),
                int(series.v[i]),
                int(series.length[i]) if len(series.length) else 0,
                series.tag[i] if len(series.tag) else "",
            ),
        )
        for i in range(len(series))
    ]


def series_of(items: list[tuple[int, Row]]) -> Series:
    """Rows in time order as a series; lengths and tags only where there are any."""
    plain = not any(row[2] or row[3] for _, row in items)
    return Series(
        t=[t for t, _ in items],
        v=[row[1] for _, row in items],
        ok=[row[0] for _, row in items],
        length=() if plain else [row[2] for _, row in items],
        tag=() if plain else [row[3] for _, row in items],
    )


@dataclass(slots=True)
class Moved:
    """What was moved of one channel."""

    gone: dict[int, set[Row]] = field(default_factory=dict)
    """Rows at their signed times, ns."""
    placed: dict[int, Row] = field(default_factory=dict)
    """Rows at their true times; of two at one time the larger stands."""

    def move(self, column: Column, offset: int) -> None:
        """Move a column by `offset` ns."""
        for t, row in rows(column):
            self.gone.setdefault(t, set()).add(row)
            held = self.placed.get(t + offset, row)
            self.placed[t + offset] = max(held, row)

    def _merged(self, signed: Series) -> list[tuple[int, Row]]:
        found = dict(self.placed)
        for t, row in items_of(signed):
            if row not in self.gone.get(t, ()):
                found[t] = max(found.get(t, row), row)
        return sorted(found.items())

    def read(self, signed: Read, start: int, end: int, margin: int) -> Series:
        """Readings in [start, end) and up to `margin` good ones on either side."""
        spare = margin + len(self.gone) if margin else 0
        items = self._merged(signed(start, end, spare))
        left = next((i for i, (t, _) in enumerate(items) if t >= start), len(items))
        right = next((i for i, (t, _) in enumerate(items) if t >= end), len(items))
        wanted = margin
        while left > 0 and wanted > 0:
            left -= 1
            wanted -= items[left][1][0]
        wanted = margin
        while right < len(items) and wanted > 0:
            wanted -= items[right][1][0]
            right += 1
        return series_of(items[left:right])

    def span(self, signed: Read) -> tuple[int, int] | None:
        """Times of the first and last reading, ns; None where there is none."""
        size = len(self.gone) + 1
        first, last = signed(FIRST, FIRST, size), signed(LAST, LAST, size)
        times = [t for one in (first, last) for t, _ in self._merged(one)]
        return (min(times), max(times)) if times else None

    def tagged(self, signed: Series, batch: str) -> Series:
        """Amounts weighed for `batch`, out of those at signed times."""
        items = [(t, row) for t, row in items_of(signed) if row not in self.gone.get(t, ())]
        items += [(t, row) for t, row in self.placed.items() if row[3] == batch]
        found: dict[int, Row] = {}
        for t, row in items:
            found[t] = max(found.get(t, row), row)
        return series_of(sorted(found.items()))
