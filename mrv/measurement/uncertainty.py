"""Uncertainty as signed components tagged by their source (JCGM 100:2008 §5).

A value carries c[s] = (∂x/∂q_s)·u(q_s) for each source s. Sources are independent, so
u(x)² = Σ c[s]² and cov(x, y) = Σ c[s]·d[s]; a source two values share is thereby correlated
between them, and nothing is added in quadrature twice.
"""

from __future__ import annotations

import math
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from fractions import Fraction

COVERAGE_FACTOR = 2.0
"""k of the expanded uncertainty we show: about 95 % for a normal distribution (GUM §6.3.3)."""


class Components(Mapping[str, float]):
    """Components of one value, in the value's unit, by source id. Immutable."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[str, float] | None = None) -> None:
        given = parts or {}
        self._parts = {s: float(given[s]) for s in sorted(given) if given[s] != 0}

    def __getitem__(self, source: str) -> float:
        return self._parts[source]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def items(self) -> ItemsView[str, float]:
        """Components by source, sorted by it."""
        return self._parts.items()

    def __repr__(self) -> str:
        return f"Components({self._parts!r})"

    def __add__(self, other: Components) -> Components:
        """Components of a sum: parts of one source add with their signs."""
        return total((self, other))

    def scaled(self, factor: float | Fraction) -> Components:
        """Components of the value times an exact number."""
        number = float(factor)
        return Components({s: c * number for s, c in self._parts.items()})

    @property
    def u(self) -> float:
        """Combined standard uncertainty, in the value's unit."""
        return math.sqrt(math.fsum(c * c for c in self._parts.values()))

    def expanded(self, k: float = COVERAGE_FACTOR) -> float:
        """Expanded uncertainty U = k·u."""
        return k * self.u

    def covariance(self, other: Components) -> float:
        """cov(x, y) = Σ over shared sources of c·d."""
        return math.fsum(c * other.get(s, 0.0) for s, c in self._parts.items())

    def correlation(self, other: Components) -> float:
        """r(x, y) in [−1, 1]; 0 where one of them is exact."""
        product = self.u * other.u
        return self.covariance(other) / product if product else 0.0

    def budget(self) -> list[tuple[str, float, float]]:
        """(source, |component|, share of u²) in falling order; shares add to 1."""
        square = self.u**2
        rows = [(s, abs(c), c * c / square if square else 0.0) for s, c in self._parts.items()]
        return sorted(rows, key=lambda row: (-row[1], row[0]))


def total(parts: Iterable[Components]) -> Components:
    """Components of a sum of values."""
    sums: dict[str, float] = {}
    more: dict[str, list[float]] = {}
    for components in parts:
        for source, value in components.items():
            if source not in sums:
                sums[source] = value
            elif source in more:
                more[source].append(value)
            else:
                more[source] = [sums[source], value]
    for source, values in more.items():
        sums[source] = math.fsum(values)
    return Components(sums)


def added_in_turn(parts: Iterable[Components]) -> Components:
    """Components of a sum that is rounded after each part, as `a + b + c` is."""
    sums: dict[str, float] = {}
    for components in parts:
        for source, value in components.items():
            sums[source] = sums.get(source, 0.0) + value
    return Components(sums)


def product(x: float, u_x: Components, y: float, u_y: Components) -> Components:
    """Components of x·y to first order: y·c + x·d (GUM eq. 10)."""
    return u_x.scaled(y) + u_y.scaled(x)


def ratio(x: float, u_x: Components, y: float, u_y: Components) -> Components:
    """Components of x/y to first order: c/y − x·d/y² (GUM eq. 10); y ≠ 0."""
    return u_x.scaled(1 / y) + u_y.scaled(-x / (y * y))


def counter_resolution(step: float) -> float:
    """U of a difference of two register readings of resolution `step`: q/√6.

    Two independent rectangular roundings of full width q (GUM F.2.2.1: q/√12 each).
    """
    return step / math.sqrt(6)


def reading_resolution(step: float) -> float:
    """U of one reading of resolution `step`: q/√12 (GUM F.2.2.1)."""
    return step / math.sqrt(12)


def rectangular(half_width: float) -> float:
    """U of a value within ± half_width, nothing else known: a/√3 (GUM §4.3.7)."""
    return half_width / math.sqrt(3)
