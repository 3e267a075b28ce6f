"""The good readings next to moments, remembered: batches that touch ask for the same ones."""

from __future__ import annotations

from collections.abc import Iterable

from footprint.stretch import FOREVER
from mrv.series import Series

NEAR = 16
"""Moments whose neighbours are remembered, besides those foreseen for batches to be computed."""


class Neighbours:
    """Times of the good readings beside moments of one register: one before, one at or after."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[list[int], int, int]] = {}
        self._foreseen = 0

    def __len__(self) -> int:
        return len(self._held)

    def of(self, moment: int) -> list[int] | None:
        """The times, ns; None where they are not remembered."""
        held = self._held.get(moment)
        return None if held is None else held[0]

    def foresee(self, moments: Iterable[int]) -> list[int]:
        """Make room for moments that will be asked for; those that are not remembered."""
        missing = [moment for moment in set(moments) if moment not in self._held]
        self._foreseen += len(missing)
        return missing

    def note(self, moment: int, found: Series) -> list[int]:
        """Remember what was read around a moment with one good reading on either side."""
        if len(self._held) >= NEAR + self._foreseen:
            self.clear()
        times = [int(found.t[i]) for i in range(len(found)) if found.ok[i]]
        low = times[0] if times and times[0] < moment else 0
        high = times[-1] if times and times[-1] >= moment else FOREVER
        self._held[moment] = (times, low, high)
        return times

    def forget(self, first: int, end: int) -> None:
        """Drop what readings in [first, end], ns, may change."""
        stale = [m for m, (_, low, high) in self._held.items() if low <= end and high >= first]
        for moment in stale:
            del self._held[moment]

    def trim(self) -> None:
        """Let go of what was foreseen."""
        if len(self._held) > NEAR:
            self.clear()

    def clear(self) -> None:
        """Let go of all."""
        self._held.clear()
        self._foreseen = 0
