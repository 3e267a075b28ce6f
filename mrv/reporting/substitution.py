"""What stands in for a register's reading that never came: named, uncertain, never silent.

A dead register leaves the rest of a batch unknown. Policy fills it by the mean rate of the time the
register did cover, as an integer of the same law; nothing is known of the real load but that it
ran, so the amount may lie anywhere from 0 to twice the estimate.
"""

from __future__ import annotations

from mrv.measurement.law import muldiv
from mrv.measurement.uncertainty import rectangular


def mean_rate_fill(amount: int, covered_ms: int, missing_ms: int) -> int:
    """floor(amount × missing / covered): `amount` counted in `covered_ms`, both ≥ 0.

    0 where nothing was covered. `amount` in millionths of the resolution, as the result.
    """
    if covered_ms <= 0 or missing_ms <= 0 or amount <= 0:
        return 0
    whole, rest = divmod(missing_ms, covered_ms)
    return amount * whole + muldiv(amount, rest, covered_ms)


def fill_uncertainty(fill: float) -> float:
    """Standard uncertainty of a fill, in its unit: rectangular over 0 … 2·fill (GUM §4.3.7)."""
    return rectangular(abs(fill))
