"""Quantities: an exact number with its unit. Unlike things do not add."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from mrv.errors import MeterprintError

_NUMBER = re.compile(
    r"[+-]?(\d{1,60}(\.\d{0,60})?|\.\d{1,60})([eE][+-]?\d{1,2})?(/\d{1,60})?", re.ASCII
)


def exact_number(text: str) -> Fraction:
    """The number in `text`: 0.01, 1e3 or 400/5. Raises ValueError.

    Length and exponent are bounded, so that a short text cannot stand for a giant number.
    """
    return _exact(text)


@lru_cache(maxsize=4096)
def _exact(text: str) -> Fraction:
    """The same; a plant of ten thousand meters states a few resolutions and ratios."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"no exact number: {text[:40]!r}")
    head, _, divisor = text.partition("/")
    if divisor and int(divisor) == 0:
        raise ValueError("division by zero")
    return Fraction(head) / int(divisor or 1)


class UnitError(MeterprintError):
    """Two units that cannot be joined, or one nobody knows."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit by the base unit of its kind."""

    symbol: str
    """As written: kWh, m3, kgCO2e."""
    kind: str
    """Units of one kind convert into each other."""
    scale: Fraction
    """Base units in one of it, > 0."""


def _units(kind: str, **scales: str) -> dict[str, Unit]:
    return {symbol: Unit(symbol, kind, Fraction(scale)) for symbol, scale in scales.items()}


# Energy by J: 1 Wh = 3600 J (SI Brochure 9, table 8); tce = 29.3076 GJ (GB/T 2589, low heat value).
# A standard cubic metre (Nm3) is an amount of gas at base conditions, a cubic metre a volume.
UNITS: dict[str, Unit] = {
    **_units("energy", J="1", kJ="1e3", MJ="1e6", GJ="1e9", TJ="1e12"),
    **_units("energy", Wh="3600", kWh="3600000", MWh="3600000000", tce="29307600000"),
    **_units("reactive energy", varh="1", kvarh="1000"),
    **_units("mass", mg="1e-6", g="1e-3", kg="1", t="1000"),
    **_units("volume", L="1e-3", m3="1"),
    **_units("standard volume", Nm3="1"),
    **_units("count", piece="1"),
    **_units("length", m="1", km="1000"),
    **_units("transport", tkm="1"),
    **_units("power", W="1", kW="1e3", MW="1e6"),
    # A factor that counts CO2 alone enters with GWP 1 (IPCC, by definition).
    **_units("emission", gCO2e="1e-3", kgCO2e="1", tCO2e="1000", kgCO2="1", tCO2="1000"),
    **_units("ratio", **{"1": "1"}),
    **_units("temperature", degC="1"),
}
"""Units the house knows. A unit with the suffix `_rel` is relative: it converts into nothing."""


def unit(symbol: str) -> Unit:
    """The unit of that symbol. Raises UnitError where nobody knows it."""
    known = UNITS.get(symbol)
    if known is not None:
        return known
    if symbol.endswith("_rel"):
        return Unit(symbol, symbol, Fraction(1))
    raise UnitError(
        f"unknown unit {symbol!r}",
        hint=f"known units: {', '.join(sorted(UNITS))}; relative ones end in _rel",
    )


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount of something."""

    value: Fraction
    """Number of units."""
    unit: str
    """Symbol of the unit."""

    def to(self, symbol: str) -> Quantity:
        """The same amount in another unit of its kind. Raises UnitError."""
        if symbol == self.unit:
            return self
        mine, other = unit(self.unit), unit(symbol)
        if mine.kind != other.kind:
            raise UnitError(f"{self.unit} ({mine.kind}) is no {symbol} ({other.kind})")
        return Quantity(self.value * mine.scale / other.scale, symbol)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.value + other.to(self.unit).value, self.unit)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.value - other.to(self.unit).value, self.unit)
