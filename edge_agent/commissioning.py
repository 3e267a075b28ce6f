"""The commissioning check: whether a counter's steps agree with the integrated power beside it.

Names the usual mistakes: a decimal point in the wrong place, a transformer ratio applied twice
or not at all. It compares two registers of one instrument and so cannot see a mistake that both
share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from math import prod

from mrv.errors import InputError
from mrv.finding import Finding, Severity
from mrv.interval import NS_PER_S
from mrv.series import Sample

PER_HOUR = {
    ("W", "kWh"): Fraction(1, 1000),
    ("kW", "kWh"): Fraction(1),
    ("W", "Wh"): Fraction(1),
    ("kW", "MWh"): Fraction(1, 1000),
    ("m3/h", "m3"): Fraction(1),
    ("kg/h", "kg"): Fraction(1),
}
"""Units of the counter that one unit of the rate makes in an hour."""
MIN_COUNTS = 20
"""Counts a counter must have moved for a verdict: its resolution is then ≤ 5 % of the sum."""
TOLERANCE = Fraction(15, 100)
"""How far a quotient may lie from a named mistake; the next one is at least a factor 2 away."""
_POWERS_OF_TEN = (10, 100, 1000)
_HOUR = 3600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Watched:
    """Readings of one register during commissioning."""

    samples: Sequence[Sample]
    """Good readings in time order."""
    resolution: Fraction
    """Value of one count, in `unit`."""
    unit: str
    """Unit of the value."""
    modulus: int = 0
    """Counts at which a counter starts again at 0, 0 = never."""


def counted(counter: Watched) -> Fraction:
    """What the counter says has passed, in its unit; a step back over half the range rolls over."""
    total = 0
    for before, after in pairwise(counter.samples):
        step = after.v - before.v
        if counter.modulus and step < -counter.modulus // 2:
            step += counter.modulus
        total += step
    return total * counter.resolution


def integrated(rate: Watched, start: int, end: int) -> Fraction:
    """The rate's integral over [start, end] by the trapezoid rule, rate unit × hours.

    Before its first and after its last reading the rate is taken as constant.
    """
    inside = [s for s in rate.samples if start <= s.t <= end]
    if not inside:
        raise InputError("no power reading between the counter's first and last reading")
    points = [Sample(start, inside[0].v), *inside, Sample(end, inside[-1].v)]
    area = sum((a.v + b.v) * (b.t - a.t) for a, b in pairwise(points))
    return Fraction(area, 2 * _HOUR) * rate.resolution


def _candidates(ratios: Mapping[str, Fraction]) -> list[tuple[str, str, Fraction]]:
    found: list[tuple[str, str, Fraction]] = []
    for power in _POWERS_OF_TEN:
        found.append(("commissioning_scale", f"x{power}", Fraction(power)))
        found.append(("commissioning_scale", f"x1/{power}", Fraction(1, power)))
    named = [(name, ratio) for name, ratio in sorted(ratios.items()) if ratio != 1]
    for size in range(1, len(named) + 1):
        for chosen in combinations(named, size):
            label = "*".join(name for name, _ in chosen)
            factor = prod((ratio for _, ratio in chosen), start=Fraction(1))
            found.append(("commissioning_wrong_side", f"x{label}", factor))
            found.append(("commissioning_wrong_side", f"x1/{label}", 1 / factor))
    return found


def _near(quotient: Fraction, factor: Fraction) -> bool:
    return abs(quotient / factor - 1) <= TOLERANCE


def _text(value: Fraction) -> str:
    return f"{float(value):.6g}"


def check(
    subject: str, counter: Watched, rate: Watched, ratios: Mapping[str, Fraction] | None = None
) -> tuple[Finding, ...]:
    """Findings about one counter and the power (or flow) the same instrument shows.

    `ratios` names the transformer ratios of the installation, such as {"ct": 40, "pt": 100}.
    Empty: they agree. Where several mistakes explain the same factor (a ratio of 10 and a decimal
    point), each is named. Raises InputError for units that cannot be compared.
    """
    factor = PER_HOUR.get((rate.unit, counter.unit))
    if factor is None:
        raise InputError(
            f"{counter.unit} cannot be compared with the integral of {rate.unit}",
            field=subject,
            hint="give the counter and the power or flow of the same instrument",
        )
    if len(counter.samples) < 2 or not rate.samples:
        return (_undecided(subject, counter, "0"),)
    start, end = counter.samples[0].t, counter.samples[-1].t
    seen = counted(counter)
    expected = integrated(rate, start, end) * factor
    figures: tuple[tuple[str, str], ...] = (
        ("counted", _text(seen)),
        ("integrated", _text(expected)),
        ("unit", counter.unit),
        ("hours", _text(Fraction(end - start, _HOUR))),
    )
    least = MIN_COUNTS * counter.resolution
    if abs(seen) < least and abs(expected) < least:
        return (_undecided(subject, counter, _text(seen / counter.resolution)),)
    if seen == 0:
        return (_finding("commissioning_stands_still", subject, end, figures),)
    if expected == 0:
        return (_finding("commissioning_no_power", subject, end, figures),)
    quotient = seen / expected
    figures = (*figures, ("quotient", _text(quotient)))
    if _near(quotient, Fraction(1)):
        return ()
    if quotient < 0:
        return (_finding("commissioning_direction", subject, end, figures),)
    named = tuple(
        _finding(rule, subject, end, (*figures, ("mistake", label)))
        for rule, label, wrong in _candidates(ratios or {})
        if _near(quotient, wrong)
    )
    return named or (_finding("commissioning_disagrees", subject, end, figures),)


def _undecided(subject: str, counter: Watched, counts: str) -> Finding:
    at = counter.samples[-1].t if counter.samples else 0
    numbers = (("counts", counts), ("needed", str(MIN_COUNTS)))
    return Finding("commissioning_undecided", subject, at, Severity.INFO, numbers)


def _finding(rule: str, subject: str, at: int, numbers: tuple[tuple[str, str], ...]) -> Finding:
    return Finding(rule, subject, at, Severity.ERROR, numbers)
