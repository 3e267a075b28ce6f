"""Exact numbers on their way out: decimal strings, and quotients at the border (design §3)."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

QUOTIENT_DIGITS = 15
"""Significant digits a quotient is rounded to, half-even."""
_QUOTIENT = Context(prec=QUOTIENT_DIGITS, rounding=ROUND_HALF_EVEN)
_WIDE = Context(prec=200)


def decimal_text(value: Fraction) -> str:
    """`value` as a plain decimal string: exact where it ends, else 15 digits half-even."""
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    context = _WIDE if denominator == 1 else _QUOTIENT
    return _plain(context.divide(Decimal(value.numerator), Decimal(value.denominator)))


def quotient_text(dividend: Fraction, divisor: Fraction) -> str | None:
    """Dividend / divisor rounded half-even to 15 significant digits; None where divisor is 0."""
    if divisor == 0:
        return None
    value = dividend / divisor
    return _plain(_QUOTIENT.divide(Decimal(value.numerator), Decimal(value.denominator)))


def float_text(value: float, digits: int = 6) -> str:
    """A float (an uncertainty) as a plain decimal string of `digits` significant digits."""
    return _plain(Context(prec=digits).create_decimal_from_float(value))


def _plain(value: Decimal) -> str:
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
