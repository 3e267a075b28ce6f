"""Numbers and times for people (glossary, "Writing numbers")."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

THIN = "\u202f"
"""Thin space between thousands."""


def _grouped(text: str) -> str:
    sign = "-" if text.startswith("-") else ""
    whole, _, rest = text.removeprefix("-").partition(".")
    groups: list[str] = []
    while len(whole) > 3:
        groups.insert(0, whole[-3:])
        whole = whole[:-3]
    groups.insert(0, whole)
    return sign + THIN.join(groups) + (f".{rest}" if rest else "")


def rounded(value: str | float, decimals: int) -> str:
    """A number to decimals (negative: tens, hundreds), half-even, thousands apart."""
    step = Decimal(1).scaleb(-decimals)
    number = Decimal(str(value)).quantize(step, ROUND_HALF_EVEN)
    return _grouped(format(number + 0, "f"))


def count(number: int) -> str:
    """How many, thousands apart."""
    return _grouped(str(number))


def decimals_of(u: float) -> int:
    """Decimals that show an uncertainty to two significant digits."""
    if u <= 0:
        return 3
    places = 1 - math.floor(math.log10(u))
    # 0.0996 rounds up into the next decade: 0.10, not 0.100.
    carried = Decimal(str(u)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    return 1 - carried.adjusted()


def measured(value: str | None, u: float | None, unit: str, language: str, k: float = 2) -> str:
    """`3.42 kgCO₂e/件，U = 0.11 kgCO₂e/件（k=2）`: U two digits, the value to the same place."""
    if value is None:
        return "–"
    if not u:
        return f"{significant(value)} {unit}"
    expanded = k * u
    places = decimals_of(expanded)
    number, spread = rounded(value, places), rounded(expanded, places)
    if language == "zh":
        return f"{number} {unit}，U = {spread} {unit}（k={k:g}）"
    return f"{number} {unit}, U = {spread} {unit} (k = {k:g})"


def short(value: str | None, u: float | None, k: float = 2) -> tuple[str, str]:
    """(value, U) to the same place, without units."""
    if value is None:
        return "–", ""
    if not u:
        return significant(value), ""
    places = decimals_of(k * u)
    return rounded(value, places), rounded(k * u, places)


def significant(value: str | float, digits: int = 4) -> str:
    """A number to significant digits, thousands apart."""
    number = Decimal(str(value))
    if number == 0:
        return "0"
    return rounded(str(number), digits - 1 - number.adjusted())


def moment(at: int | None, zone: str) -> str:
    """ISO 8601 with zone to the second, plant time."""
    if at is None:
        return "–"
    return datetime.fromtimestamp(at // 10**9, ZoneInfo(zone)).isoformat(timespec="seconds")


def clock(at: int | None, zone: str, day_of: int | None = None) -> str:
    """`2026-11-24 12:30:05`, plant time; without the date where it is that of `day_of`."""
    if at is None:
        return "–"
    local = datetime.fromtimestamp(at // 10**9, ZoneInfo(zone))
    if day_of is not None and day(day_of, zone) == day(at, zone):
        return f"{local:%H:%M:%S}"
    return f"{local:%Y-%m-%d %H:%M:%S}"


def day(at: int | None, zone: str) -> str:
    """`2026-11-24`, plant time."""
    if at is None:
        return "–"
    return datetime.fromtimestamp(at // 10**9, ZoneInfo(zone)).date().isoformat()


def carbon_unit(unit: str, language: str) -> str:
    """Unit of a footprint per unit of product: kgCO₂e/件, kgCO₂e/unit."""
    return per_unit("kgCO₂e", unit, language)


def per_unit(top: str, unit: str, language: str) -> str:
    """A unit per unit of product: kWh/件, kWh/unit, kWh/t."""
    return f"{top}/{unit_name(unit, language)}"


def unit_name(unit: str, language: str) -> str:
    """Declared unit in words: 件, unit, t."""
    name = {"piece": ("件", "unit")}.get(unit, (unit, unit))
    return name[0] if language == "zh" else name[1]


def symbol(unit: str) -> str:
    """A unit as it is printed: kgCO₂e/m³ for kgCO2e/m3."""
    return unit.replace("CO2", "CO₂").replace("m3", "m³")


def age(seconds: int) -> tuple[int, str]:
    """(number, unit) of an age: 3 s, 5 min, 2 h, 4 d; whole units, rounded down."""
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return seconds // size, name
    return seconds, "s"


def share(part: float) -> str:
    """A share in per cent to one decimal; a share that is there never reads as nothing."""
    if 0 < part < 0.0005:
        return "< 0.1 %"
    return f"{rounded(100 * part, 1)} %"
