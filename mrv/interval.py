"""Half-open stretches of time, labelled by their start."""

from __future__ import annotations

from dataclasses import dataclass

from mrv.errors import MeterprintError

NS_PER_MS = 1_000_000
"""Nanoseconds in a millisecond."""
NS_PER_S = 1_000_000_000
"""Nanoseconds in a second."""


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Time `[start, end)` in ns UTC; `end` > `start`."""

    start: int
    """First ns inside."""
    end: int
    """First ns after it."""

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise MeterprintError(
                f"an interval ends after it starts, seen [{self.start}, {self.end})",
                hint="check the clock or the order of the events",
            )

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, int) and self.start <= moment < self.end

    @property
    def length(self) -> int:
        """Length in ns, ≥ 1."""
        return self.end - self.start

    def overlaps(self, other: Interval) -> bool:
        """Whether the two share at least one ns."""
        return self.start < other.end and other.start < self.end


def floor_ms(moment: int) -> int:
    """The whole millisecond at or before `moment`, in ns. Cuts lie on whole milliseconds."""
    return moment // NS_PER_MS * NS_PER_MS


def ceil_ms(moment: int) -> int:
    """The whole millisecond at or after `moment`, in ns."""
    return -(-moment // NS_PER_MS) * NS_PER_MS
