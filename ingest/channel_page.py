"""A page of one channel's readings around what was asked last: the next question is often near."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.segment import FAR, Rows, no_rows, place_of
from ingest.series_parquet import ParquetStore
from mrv.series import SeriesKey

HOUR_NS = 3600 * 10**9
"""A page reaches at least an hour beyond what was asked."""
WIDTHS = 8
"""… and so many times its length."""
MOST_ROWS = 100_000
"""A page with more rows is not kept, and not read where that can be told beforehand."""


@dataclass(frozen=True, slots=True)
class Page:
    """All readings of a channel in [start, end), as the store was at `mark`."""

    mark: tuple[int, int]
    """Mark of the store."""
    start: int
    """First ns covered."""
    end: int
    """First ns after it."""
    rows: Rows
    """The readings."""
    first: bool
    """Whether the channel has nothing earlier."""
    last: bool
    """Whether it has nothing later."""

    @classmethod
    def around(
        cls,
        store: ParquetStore,
        key: SeriesKey,
        mark: tuple[int, int],
        start: int,
        end: int,
        *,
        amounts: bool,
    ) -> Page:
        """The page around [start, end); an empty one where it would be too large."""
        span = store.span(key)
        if span is None:
            return cls(mark, -(2**63), 2**63 - 1, no_rows(), first=True, last=True)
        rows = no_rows()
        for wide in ((end - start) * WIDTHS + HOUR_NS, HOUR_NS):
            low, high = max(start - wide, -FAR), min(end + wide, FAR)
            if store.estimate(key, low, high) <= MOST_ROWS:
                rows = store.rows(key, low, high, amounts=amounts)
                break
        else:
            return cls(mark, 0, 0, rows, first=False, last=False)
        if len(rows) > MOST_ROWS:
            return cls(mark, 0, 0, no_rows(), first=False, last=False)
        return cls(mark, low, high, rows, first=low <= span[0], last=span[1] < high)

    def read(self, mark: tuple[int, int], start: int, end: int, margin: int) -> Rows | None:
        """Readings in [start, end) with `margin` good ones on either side; None = not all here."""
        if mark != self.mark or start < self.start or end > self.end:
            return None
        times, ok = self.rows.t, self.rows.ok
        left, right = place_of(times, start), place_of(times, end)
        wanted = margin
        while left > 0 and wanted > 0:
            left -= 1
            wanted -= int(ok[left])
        if wanted > 0 and not self.first:
            return None
        wanted = margin
        while right < len(times) and wanted > 0:
            wanted -= int(ok[right])
            right += 1
        if wanted > 0 and not self.last:
            return None
        return self.rows.part(left, right)
