"""What a register counted in some time: exact sums by stretch, and their values in a unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from footprint.stretch import Stretch
from mrv.measurement.activity import WindowSum
from mrv.quantity import Quantity

MILLIONTHS = 10**6
"""Parts of a resolution that amounts are counted in."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a register counted in some time, by stretch; addable."""

    parts: tuple[tuple[Stretch, WindowSum], ...] = ()
    """Sums by stretch; millionths of the resolution before any ratio."""

    def __add__(self, other: Activity) -> Activity:
        if not self.parts or not other.parts:
            return self if self.parts else other
        merged: list[tuple[Stretch, WindowSum]] = list(self.parts)
        for stretch, window in other.parts:
            for place, (known, held) in enumerate(merged):
                if known is stretch:
                    merged[place] = (known, held + window)
                    break
            else:
                merged.append((stretch, window))
        return Activity(tuple(merged))

    @property
    def corrected(self) -> int:
        """Corrected millionths of the resolution, before the ratio."""
        return sum(part.corrected for _, part in self.parts)

    @property
    def total(self) -> WindowSum:
        """All stretches as one window (weights of different curves left out)."""
        if len(self.parts) == 1 and not self.parts[0][1].weights:
            return self.parts[0][1]
        sums = WindowSum()
        for _, part in self.parts:
            sums += WindowSum(
                part.corrected, part.metered, part.gap, part.withheld, (), part.counts
            )
        return sums

    def corrected_value(self, unit: str) -> Fraction:
        """Corrected amount in `unit`, ratio applied. Raises UnitError."""
        return _value(unit, [(stretch, part.corrected) for stretch, part in self.parts])

    def metered_value(self, unit: str) -> Fraction:
        """Amount before correction in `unit`, ratio applied. Raises UnitError."""
        return _value(unit, [(stretch, part.metered) for stretch, part in self.parts])


def _value(unit: str, parts: Sequence[tuple[Stretch, int]]) -> Fraction:
    found = Fraction(0)
    for stretch, millionths in parts:
        count = count_value(stretch, unit)
        part = Fraction(count.numerator * millionths, count.denominator * MILLIONTHS)
        found = found + part if found else part
    return found


def count_value(stretch: Stretch, unit: str) -> Fraction:
    """What one count stands for in a stretch, ratio applied, in `unit`. Raises UnitError."""
    if unit == stretch.unit:
        return stretch.count
    return stretch.ratio * Quantity(stretch.resolution, stretch.unit).to(unit).value
