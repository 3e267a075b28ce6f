r"""InfluxDB's line protocol, built in bulk: a point a reading, floats only, twins side by side.

Source of the escapes: docs.influxdata.com, "Line protocol reference", special characters; tried on
1.8.10 and 2.9.1. A backslash before a comma, an equals sign, a space, another backslash or the end
of a name cannot be written so that both read it back: it travels as `%5C` (an empty name as `%00`,
and a percent sign before 5C, 25 or 00 as `%25`).

Fields of a point: `value` of a good reading, `failed` = 1 of a failed one; `length` of an amount;
`low` where a float64 cannot hold the integer: value + low is exact. Twins, other readings of the
same channel and time, have the same fields with the suffix _2, _3, _4, the larger one first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mrv.errors import InputError
from mrv.series import Series

TWINS = 4
"""Readings of one channel and time that a point shows; the journal keeps all."""
EXACT = 2**53
"""Integers up to here are exact as float64 (IEEE 754)."""

Row = tuple[int, int, int]
"""(ok, value, length) of a reading; the larger row stands first in its point."""

_ENCODED = re.compile("%(?=5C|25|00)")
_DECODED = re.compile("%(5C|25|00)")
_SIGNS = {"5C": "\\", "25": "%", "00": ""}
_SPECIAL = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_SPECIAL_IN_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ "})


def encode_name(text: str) -> str:
    """A name as InfluxDB keeps it: without backslash and never empty; `decode_name` undoes it."""
    return _ENCODED.sub("%25", text).replace("\\", "%5C") or "%00"


def decode_name(text: str) -> str:
    """The name that was encoded."""
    return _DECODED.sub(lambda found: _SIGNS[found[1]], text)


def escape(text: str, special: Mapping[int, str] = _SPECIAL) -> str:
    """A tag key or tag value in line protocol. Raises InputError on a line feed."""
    if "\n" in text:
        raise InputError(f"a line feed cannot stand in the name {text[:60]!r}")
    return encode_name(text).translate(special)


def head(measurement: str, tags: Mapping[str, str]) -> str:
    """All of a line that stands before its fields: measurement, tags in order, a space."""
    pairs = (f"{escape(name)}={escape(tags[name])}" for name in sorted(tags))
    return ",".join([escape(measurement, _SPECIAL_IN_MEASUREMENT), *pairs]) + " "


def split_head(text: str) -> tuple[str, dict[str, str]]:
    """Measurement and tags of a series key as `SHOW SERIES` gives it."""
    name, *parts = re.split(r"(?<!\\),", text)
    pairs = (re.split(r"(?<!\\)=", part, maxsplit=1) for part in parts)
    return _plain(name), {_plain(tag): _plain(value) for tag, value in pairs}


def _plain(text: str) -> str:
    return decode_name(text.replace("\\", ""))


def rows_of(series: Series) -> Iterable[tuple[int, Row]]:
    """(time, row) of each reading of a series."""
    lengths = series.length or [0] * len(series)
    return (
        (int(t), (1, int(v), int(length)) if ok else (0, 0, int(length)))
        for t, v, ok, length in zip(series.t, series.v, series.ok, lengths, strict=True)
    )


def lines(start: str, series: Series) -> list[str]:
    """Lines of readings with times of their own; `start` is what `head` gave."""
    plain = not series.length and 0 not in series.ok
    if plain and min(series.v) >= -EXACT and max(series.v) <= EXACT:
        return [f"{start}value={v} {t}" for t, v in zip(series.t, series.v, strict=True)]
    return [point(start, t, [row]) for t, row in rows_of(series)]


def point(start: str, t: int, rows: Sequence[Row]) -> str:
    """One line with the readings of one time, the larger first. `rows` is not empty.

    A field that any of the rows needs is written for each, so that none keeps an older one's.
    """
    low = any(ok and abs(v) > EXACT for ok, v, _ in rows)
    failed = any(not ok for ok, _, _ in rows)
    length = any(row[2] for row in rows)
    fields = []
    for place, (ok, v, duration) in enumerate(rows[:TWINS], 1):
        end = f"_{place}" if place > 1 else ""
        if ok:
            near = float(v)
            fields.append(f"value{end}={near!r}" if abs(v) > EXACT else f"value{end}={v}")
            if low:
                fields.append(f"low{end}={v - int(near)}")
        if failed:
            fields.append(f"failed{end}={1 - ok}")
        if length:
            fields.append(f"length{end}={duration}")
    return f"{start}{','.join(fields)} {t}"


def rows_in(fields: Mapping[str, Any]) -> list[Row]:
    """The readings of one point from its fields, as `point` wrote them."""
    found = []
    for place in range(1, TWINS + 1):
        end = f"_{place}" if place > 1 else ""
        value, failed = fields.get(f"value{end}"), fields.get(f"failed{end}")
        if value is None and failed is None:
            continue
        length = int(fields.get(f"length{end}") or 0)
        if value is None:
            found.append((0, 0, length))
        else:
            low = int(fields.get(f"low{end}") or 0)
            found.append((1, int(float(value)) + low, length))
    return found
