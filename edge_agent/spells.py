"""Readings of one stream between two flushes, parted where the clock was set.

An envelope states one pair of wall and monotonic time and one clock state. They mend its stamps
later (`mrv.reporting.mending`) only where every reading in it was stamped by the same setting of
the clock, so a buffer is parted where the state of the clock changed or its hands were moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.source import RawReading
from mrv.envelope import Clock, ClockState
from mrv.reporting.completeness import CLOCK_STEP_NS


@dataclass(slots=True)
class Spell:
    """Readings stamped by one setting of the clock."""

    clock: Clock
    """What was known of the clock when they came."""
    offset: int | None
    """Wall less monotonic time of the latest reading, ns; None where none states it."""
    readings: list[RawReading] = field(default_factory=list)
    """The readings."""

    def pair(self, t: int, mono: int) -> tuple[int, int]:
        """(wall, monotonic) ns to state in the envelope.

        Those of now, `t` and `mono`, if the clock still stands as it did, else those of the
        latest reading.
        """
        last = self.readings[-1] if self.readings else None
        if self.offset is None or last is None or abs(t - mono - self.offset) <= CLOCK_STEP_NS:
            return t, mono
        return last.t, last.mono


@dataclass(frozen=True, slots=True)
class Known:
    """What was known of the clock when readings were handed over."""

    clock: Clock
    """Its state."""
    offset: int
    """Wall less monotonic time, ns."""


NOTHING = Clock(ClockState.UNKNOWN, 1000, "none")
"""State of a clock nobody has asked about."""


def part(
    spells: list[Spell], readings: Iterable[RawReading], now: Known, before: Known | None
) -> None:
    """Add readings to the last spell or to new ones.

    They came after `before` and until `now`. One that was stamped by another setting of the clock
    than stands now was stamped before it was set, so the state of now says nothing about it.
    """
    spell = spells[-1] if spells else None
    earlier = NOTHING if before is None else before.clock
    for reading in readings:
        offset = reading.t - reading.mono if reading.mono else None
        same = offset is None or abs(offset - now.offset) <= CLOCK_STEP_NS
        clock = now.clock if same else earlier
        if spell is None or spell.clock.state is not clock.state or _moved(spell.offset, offset):
            spell = Spell(clock, offset)
            spells.append(spell)
        spell.clock = clock
        spell.offset = offset if offset is not None else spell.offset
        spell.readings.append(reading)


def _moved(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and abs(one - other) > CLOCK_STEP_NS
