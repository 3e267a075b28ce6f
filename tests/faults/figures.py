"""Figures the fault tests reach, and a word of progress while they work.

`make faults` shows both; in the normal suite pytest keeps them to itself.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

OUT: list[TextIO] = []
"""Where progress is told: standard error as it was before pytest took it, where somebody looks."""
REACHED: dict[str, float] = {}
"""What was counted since it was taken last, by name."""
EVERY_S = 10.0
"""Seconds between two words of progress."""


def reached(name: str, count: float) -> None:
    """Add to a figure."""
    REACHED[name] = REACHED.get(name, 0) + count


def taken() -> dict[str, float]:
    """The figures, which begin anew."""
    found = dict(REACHED)
    REACHED.clear()
    return found


class Progress:
    """Says how far a long part is, now and then."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._started = self._said = time.monotonic()

    def at(self, done: int) -> None:
        """Tell how many of the total are done."""
        now = time.monotonic()
        if now - self._said < EVERY_S and done < self._total:
            return
        self._said = now
        rate = done / max(now - self._started, 1e-9)
        for out in OUT or [sys.stderr]:
            seconds = now - self._started
            out.write(f"\n  {self._what}: {done} of {self._total}, {seconds:.0f} s, {rate:.1f}/s")
            out.flush()
