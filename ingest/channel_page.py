"""Pages of channels' readings around what was asked last: the next question is often near."""

from __future__ import annotations

from collections import OrderedDict
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
ALL_ROWS = 2_000_000
"""Rows of all pages together, of some 17 bytes each; the pages asked last stay."""


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
        return cls(mark, low, high, rows.alone(), first=low <= span[0], last=span[1] < high)

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


class Pages:
    """The page of each channel that was asked last, `ALL_ROWS` rows of them."""

    def __init__(self) -> None:
        self._held: OrderedDict[SeriesKey, Page] = OrderedDict()
        self._rows = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def rows(self) -> int:
        """Rows of all pages."""
        return self._rows

    def get(self, key: SeriesKey) -> Page | None:
        """The page of a channel, where it has one."""
        page = self._held.get(key)
        if page is not None:
            self._held.move_to_end(key)
        return page

    def put(self, key: SeriesKey, page: Page) -> None:
        """Keep a page instead of the channel's last one; those not asked for longest go."""
        held = self._held.pop(key, None)
        self._rows += len(page.rows) - (0 if held is None else len(held.rows))
        self._held[key] = page
        while self._rows > ALL_ROWS and len(self._held) > 1:
            self._rows -= len(self._held.popitem(last=False)[1].rows)

    def clear(self) -> None:
        """Let go of all."""
        self._held.clear()
        self._rows = 0
