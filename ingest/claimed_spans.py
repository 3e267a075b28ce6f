"""Which stretches of a channel's time a store may hold already, in bounded memory.

A reading outside every claimed stretch has its time to itself. Stretches are joined where there are
too many, so a claim may cover time nobody wrote to: that costs a look, never a wrong answer.
"""

from __future__ import annotations

from itertools import pairwise

MOST = 4
"""Stretches kept of a channel; the widest gaps between them stay open."""


class ClaimedSpans:
    """Claimed stretches of one channel, sorted, without overlap."""

    __slots__ = ("_narrowest", "_spans")

    def __init__(self, until: int | None = None) -> None:
        self._spans: list[tuple[int, int]] = [] if until is None else [(0, until)]
        self._narrowest = -1
        """Narrowest gap between the stretches where there are as many as may be, else -1."""

    def claim(self, low: int, high: int) -> bool:
        """Claim [low, high]; True where nothing of it was claimed before."""
        spans = self._spans
        if spans and 0 < low - spans[-1][1] <= self._narrowest:
            spans[-1] = (spans[-1][0], high)
            return True
        touched = [span for span in spans if span[0] <= high and low <= span[1]]
        free = not touched
        low = min([low, *(span[0] for span in touched)])
        high = max([high, *(span[1] for span in touched)])
        spans[:] = sorted([*(span for span in spans if span not in touched), (low, high)])
        if len(spans) > MOST:
            gaps = self._gaps()
            place = gaps.index(min(gaps))
            spans[place : place + 2] = [(spans[place][0], spans[place + 1][1])]
        self._narrowest = min(self._gaps()) if len(spans) == MOST else -1
        return free

    def _gaps(self) -> list[int]:
        return [after[0] - before[1] for before, after in pairwise(self._spans)]
