"""The decimal text of a JSON number as an integer of a register's resolution, exactly.

Also foreign times as ns. Nothing here makes a float.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

LONGEST = 64
"""Characters of the longest number that is looked at."""
WIDEST = 40
"""Largest exponent of ten that is looked at."""
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
"""A JSON number (RFC 8259 §6)."""
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


_POWERS: tuple[int, ...] = tuple(10**digits for digits in range(10))


class NotExact(ValueError):
    """The number has digits beyond the resolution."""


class OutOfRange(ValueError):
    """The number is beyond what a register can show."""


def counts(text: str, numerator: int, denominator: int, *, rounds: bool = False) -> int:
    """The number in `text` × numerator / denominator as an integer of 64 bits.

    Raises NotExact where it is none (with `rounds` the nearest one is taken, ties to even), and
    OutOfRange.
    """
    if len(text) > LONGEST:
        raise OutOfRange(text[:LONGEST])
    head, _, tail = text.partition(".")
    power = 0
    if "e" in text or "E" in text:
        mantissa, _, exponent = text.lower().partition("e")
        power = int(exponent)
        if not -WIDEST <= power <= WIDEST:
            raise OutOfRange(text)
        head, _, tail = mantissa.partition(".")
    value = int(head + tail) * numerator
    power -= len(tail)
    if power >= 0:
        value *= 10**power
    else:
        denominator *= 10**-power
    whole, rest = divmod(value, denominator)
    if rest:
        if not rounds:
            raise NotExact(text)
        whole += 2 * rest > denominator or (2 * rest == denominator and whole & 1)
    if not -(2**63) <= whole < 2**63:
        raise OutOfRange(text)
    return whole


@lru_cache(maxsize=64)
def _day(year: str, month: str, day: str) -> int:
    """Seconds from 1970-01-01 to the start of a day. Raises ValueError where there is none."""
    return (date(int(year), int(month), int(day)).toordinal() - 719_163) * 86_400


def iso_ns(text: str, offset_s: int | None) -> int:
    """Ns UTC of a time of RFC 3339 (or with a space); `offset_s` where it states no zone.

    Raises ValueError where it is no such time.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"no time: {text[:40]!r}")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59:
        raise ValueError(f"no time: {text[:40]!r}")
    seconds = _day(year, month, day) + int(hour) * 3600 + int(minute) * 60 + int(second)
    if zone is None:
        if offset_s is None:
            raise ValueError(f"a time without its zone: {text[:40]!r}")
        seconds -= offset_s
    elif zone not in "Zz":
        if int(zone[1:3]) > 23 or int(zone[-2:]) > 59:
            raise ValueError(f"no offset from UTC: {text[:40]!r}")
        shift = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        seconds += shift if zone[0] == "-" else -shift
    return seconds * 10**9 + int((fraction or "").ljust(9, "0"))


def unix_ns(text: str, digits: int) -> int:
    """Ns of a number of units of 10^digits ns; digits finer than a ns are dropped.

    Raises ValueError where it is no number of the time.
    """
    if len(text) < 20 and text.isascii() and text.isdigit():
        return int(text) * _POWERS[digits]
    if len(text) > LONGEST or NUMBER.fullmatch(text) is None:
        raise ValueError(f"no time: {text[:40]!r}")
    mantissa, _, exponent = text.lower().partition("e")
    head, _, tail = mantissa.partition(".")
    power = int(exponent or 0) + digits - len(tail)
    if not -WIDEST <= power <= WIDEST:
        raise ValueError(f"no time: {text[:40]!r}")
    value = int(head + tail)
    scale: int = 10 ** abs(power)
    return value * scale if power >= 0 else value // scale
