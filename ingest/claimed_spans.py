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

    __slots__ = ("_spans",)

    def __init__(self, until: int | None = None) -> None:
        self._spans: list[tuple[int, int]] = [] if until is None else [(0, until)]

    def claim(self, low: int, high: int) -> bool:
        """Claim [low, high]; True where nothing of it was claimed before."""
        spans = self._spans
        if not spans or low > spans[-1][1]:
            spans.append((low, high))
            free = True
        else:
            touched = [span for span in spans if span[0] <= high and low <= span[1]]
            free = not touched
            low = min([low, *(span[0] for span in touched)])
            high = max([high, *(span[1] for span in touched)])
            kept = [span for span in spans if span not in touched]
            spans[:] = sorted([*kept, (low, high)])
        if len(spans) > MOST:
            gaps = [after[0] - before[1] for before, after in pairwise(spans)]
            place = gaps.index(min(gaps))
            spans[place : place + 2] = [(spans[place][0], spans[place + 1][1])]
        return free
