"""Reconciliation: what meters say of one another where what goes in must come out (VDI 2048).

With measured x of covariance V and balances A·x = 0: residuals r = A·x, S = A·V·Aᵀ, the least
squares adjustment x̂ = x − V·Aᵀ·S⁻¹·r with V̂ = V − V·Aᵀ·S⁻¹·A·V, the global test J = rᵀ·S⁻¹·r
against χ² of as many degrees of freedom as there are balances, and for each meter and each balance
a normalised test against the normal quantile (VDI 2048 part 1; Narasimhan & Jordache, *Data
Reconciliation and Gross Error Detection*, 2000, ch. 3 and 7).

Reconciled values check and propose; the figure that is reported stays the corrected one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mrv.errors import MeterprintError

Matrix = list[list[float]]
Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""
PIVOT = 1e-12
"""A pivot below this share of the largest is taken for zero: a balance that follows from others."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Outcome of one least squares adjustment; sequences in the order of the inputs."""

    adjusted: tuple[float, ...]
    """x̂, in the unit of x."""
    u: tuple[float, ...]
    """Standard uncertainty of x̂, in the unit of x."""
    z: tuple[float, ...]
    """(x̂ − x)/u(x̂ − x), 1; 0 for a meter no balance can test."""
    testable: tuple[bool, ...]
    """Whether a balance checks the meter at all."""
    residuals: tuple[float, ...]
    """r of each balance, in the unit of x."""
    u_residuals: tuple[float, ...]
    """Standard uncertainty of each residual."""
    chi2: float
    """J of the global test."""
    freedom: int
    """Its degrees of freedom: balances that say something of their own."""
    limit: float
    """95 % quantile of χ² at that freedom; 0 without any."""

    @property
    def holds(self) -> bool:
        """Whether the global test passes at 95 %."""
        return self.chi2 <= self.limit

    def suspects(self) -> tuple[int, ...]:
        """Places of the meters whose |z| is the largest and above 1.96.

        Several where they cannot be told apart; none of them is picked then.
        """
        largest = max((abs(z) for z in self.z), default=0.0)
        if largest <= Z_95:
            return ()
        return tuple(i for i, z in enumerate(self.z) if abs(z) >= largest * (1 - 1e-6))


def reconcile(
    values: Sequence[float],
    covariance: Sequence[Sequence[float]],
    balances: Sequence[Sequence[float]],
) -> Reconciliation:
    """Adjust `values` so that every balance (a row of signs or weights) comes out at 0.

    Raises MeterprintError where the shapes do not fit or a number is not finite.
    """
    size = len(values)
    if len(covariance) != size or any(len(row) != size for row in (*covariance, *balances)):
        raise MeterprintError(f"{size} values need a {size} × {size} covariance and rows of {size}")
    numbers = [*values, *(x for row in (*covariance, *balances) for x in row)]
    if not all(map(math.isfinite, numbers)):
        raise MeterprintError("only finite numbers are reconciled")
    rows = [[float(x) for x in row] for row in balances]
    spread = [[float(x) for x in row] for row in covariance]
    reached = _times(rows, spread)
    residuals = [math.fsum(a * x for a, x in zip(row, values, strict=True)) for row in rows]
    joint = _times(reached, _turned(rows))
    inverse, rank = _inverse(joint)
    gain = _times(_turned(reached), inverse)
    step = [-math.fsum(g * r for g, r in zip(row, residuals, strict=True)) for row in gain]
    removed = _times(gain, reached)
    z, testable = [], []
    for place in range(size):
        variance = removed[place][place]
        seen = variance > PIVOT * max(spread[place][place], 0.0) and variance > 0
        testable.append(seen)
        z.append(step[place] / math.sqrt(variance) if seen else 0.0)
    weighted = _times(inverse, [[r] for r in residuals])
    chi2 = math.fsum(r * w[0] for r, w in zip(residuals, weighted, strict=True))
    return Reconciliation(
        adjusted=tuple(x + s for x, s in zip(values, step, strict=True)),
        u=tuple(math.sqrt(max(spread[i][i] - removed[i][i], 0.0)) for i in range(size)),
        z=tuple(z),
        testable=tuple(testable),
        residuals=tuple(residuals),
        u_residuals=tuple(math.sqrt(max(joint[i][i], 0.0)) for i in range(len(rows))),
        chi2=max(chi2, 0.0),
        freedom=rank,
        limit=chi2_quantile(0.95, rank) if rank else 0.0,
    )


def _times(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Matrix:
    columns = _turned(other)
    return [
        [math.fsum(a * b for a, b in zip(row, col, strict=True)) for col in columns] for row in one
    ]


def _turned(matrix: Sequence[Sequence[float]]) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def _inverse(matrix: Matrix) -> tuple[Matrix, int]:
    """A symmetric generalised inverse and the rank: rows that follow from others are left out."""
    size = len(matrix)
    kept: list[int] = []
    work = [list(row) for row in matrix]
    largest = max((work[i][i] for i in range(size)), default=0.0)
    for place in range(size):
        if largest <= 0 or work[place][place] <= PIVOT * largest:
            continue
        kept.append(place)
        for row in range(place + 1, size):
            share = work[row][place] / work[place][place]
            work[row] = [a - share * b for a, b in zip(work[row], work[place], strict=True)]
    solved = _gauss_jordan([[matrix[i][j] for j in kept] for i in kept])
    inverse = [[0.0] * size for _ in range(size)]
    for i, solution in zip(kept, solved, strict=True):
        for j, value in zip(kept, solution, strict=True):
            inverse[i][j] = value
    return inverse, len(kept)


def _gauss_jordan(matrix: Matrix) -> Matrix:
    """Inverse of a regular matrix, with row pivots."""
    size = len(matrix)
    work = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for place in range(size):
        best = max(range(place, size), key=lambda row: abs(work[row][place]))
        work[place], work[best] = work[best], work[place]
        pivot = work[place][place]
        work[place] = [x / pivot for x in work[place]]
        for row in range(size):
            if row != place and work[row][place] != 0:
                share = work[row][place]
                work[row] = [a - share * b for a, b in zip(work[row], work[place], strict=True)]
    return [row[size:] for row in work]


def chi2_cdf(value: float, freedom: int) -> float:
    """P(χ² ≤ value): the regularised incomplete gamma function by its series (A&S 6.5.29)."""
    if value <= 0:
        return 0.0
    half, x = freedom / 2, value / 2
    term = total = 1 / half
    number = half
    while term > total * 1e-16:
        number += 1
        term *= x / number
        total += term
    return total * math.exp(half * math.log(x) - x - math.lgamma(half))


def chi2_quantile(probability: float, freedom: int) -> float:
    """The value χ² stays below with that probability, to 1e-9, by bisection."""
    low, high = 0.0, 1.0
    while chi2_cdf(high, freedom) < probability:
        high *= 2
    while high - low > 1e-9:
        middle = (low + high) / 2
        if chi2_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return high
