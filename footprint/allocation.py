"""Sharing a pool: by largest remainder, ties by batch id, nothing lost (design §3)."""

from __future__ import annotations

from collections.abc import Mapping

from mrv.errors import MeterprintError


def largest_remainder(amount: int, keys: Mapping[str, int]) -> dict[str, int]:
    """Shares of the integer `amount` in proportion to the integer `keys` (≥ 0, sum > 0).

    Hamilton's method: each gets the floor of its exact share, the rest goes one by one to the
    largest remainders, ties to the batch whose id sorts first. The shares add up to `amount`.
    Raises MeterprintError where a key is negative or all are zero.
    """
    total = sum(keys.values())
    if total <= 0 or min(keys.values()) < 0:
        raise MeterprintError(
            f"a pool is shared by keys ≥ 0 with a positive sum, seen {dict(keys)}",
            hint="join the window with one that has good output",
        )
    sign = -1 if amount < 0 else 1
    size = abs(amount)
    shares = {name: size * key // total for name, key in keys.items()}
    rest = size - sum(shares.values())
    order = sorted(keys, key=lambda name: (-(size * keys[name] % total), name))
    for name in order[:rest]:
        shares[name] += 1
    return {name: sign * share for name, share in shares.items()}


def spread(amount: int, start: int, end: int, left: int, right: int) -> int:
    """Part of `amount`, spread evenly over [start, end), that falls into [left, right).

    Differences of floor(amount × elapsed / length), so parts of tiling windows add up.
    """
    length = end - start
    if length <= 0:
        return amount if left <= start < right else 0

    def until(moment: int) -> int:
        return amount * (min(max(moment, start), end) - start) // length

    return until(right) - until(left)
