"""Loads that simulated instruments measure: the same seed gives the same curve, exactly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

from mrv.interval import NS_PER_S

UNIT = 1000 * 3600 * NS_PER_S
"""Rate × ns that make one unit of the counter: 1 kWh = 1000 W × 3600 s, 1 m³ = 1000 L/h × 1 h."""


def _draw(seed: int, index: int, below: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % below


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """A rate that is constant in each slot. Rates are thousandths of the counter's unit an hour.

    For kWh that is watt, for m³ litre an hour. Slots come in pairs that add up to the same, so
    that the amount at any moment needs no history.
    """

    seed: int
    """Any integer."""
    base: int
    """Smallest rate, ≥ 0."""
    swing: int
    """Largest addition to it, ≥ 0."""
    origin: int
    """Moment from which the load adds up, ns UTC."""
    slot: int = 10 * NS_PER_S
    """Length of a slot, ns, > 0."""

    def _slot_rate(self, index: int) -> int:
        pair, second = divmod(index, 2)
        drawn = _draw(self.seed, pair, self.swing + 1)
        return self.base + (self.swing - drawn if second else drawn)

    def rate(self, t: int) -> int:
        """Rate at `t` (ns UTC); 0 before the origin."""
        return self._slot_rate((t - self.origin) // self.slot) if t >= self.origin else 0

    def amount(self, t: int) -> Fraction:
        """What has passed from the origin to `t`, in units of the counter, exact."""
        if t <= self.origin:
            return Fraction(0)
        index, rest = divmod(t - self.origin, self.slot)
        passed = index // 2 * (2 * self.base + self.swing) * self.slot
        if index % 2:
            passed += self._slot_rate(index - 1) * self.slot
        return Fraction(passed + self._slot_rate(index) * rest, UNIT)


@dataclass(frozen=True, slots=True)
class WeighCycle:
    """Loads put on a weigher one after the other: empty, rising, stable, taken off."""

    seed: int
    """Any integer."""
    mean: int
    """Mean mass of a load, counts of the weigher's resolution."""
    spread: int
    """Largest deviation, counts, < mean."""
    origin: int
    """Start of the first cycle, ns UTC."""
    period: int = 10 * NS_PER_S
    """Length of a cycle, ns; empty in its first and last fifth, moving in the second."""

    def mass(self, cycle: int) -> int:
        """Mass of the load of a cycle, counts."""
        return self.mean - self.spread + _draw(self.seed, cycle, 2 * self.spread + 1)

    def shown(self, t: int) -> tuple[int, bool]:
        """(counts, stable) on the display at `t`."""
        if t < self.origin:
            return 0, True
        cycle, rest = divmod(t - self.origin, self.period)
        fifth = 5 * rest // self.period
        if fifth in (0, 4):
            return 0, True
        mass = self.mass(cycle)
        return (mass, True) if fifth > 1 else (mass // 2, False)
