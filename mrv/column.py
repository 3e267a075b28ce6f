"""The columns of an envelope: readings of one channel each (design §3, field `cols`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from mrv.strict_json import MAX_SAFE_INTEGER, Record, is_plain

MAX_READINGS = 1000
"""Most readings in one envelope."""


class Column(NamedTuple):
    """Readings of one channel. `dt`, `v` and `q` have the same length, ≥ 1.

    A tuple: there are several in each envelope, and making one costs a third of a dataclass.
    """

    ch: str
    """Channel `<instrument>.<register>`."""
    t0: int
    """Time of the first reading less its `dt`, ns UTC."""
    dt: Sequence[int]
    """Time since the reading before, ns ≥ 0."""
    v: Sequence[int | None]
    """Integers the register shows, in units of its resolution; None = failed read."""
    q: Sequence[str]
    """Quality flag, "" = good."""
    raw: Sequence[str] = ()
    """Raw register words, hex; empty where not kept."""
    length: Sequence[int] = ()
    """Amount channels: length of the interval, ns; empty for others."""
    tag: Sequence[str | None] = ()
    """Amount channels: batch it was weighed for, None = none; empty for others."""


def column_times(column: Column) -> list[int]:
    """Times of the readings of a column, ns UTC."""
    return list(accumulate(column.dt, initial=column.t0))[1:]


def column_bounds(column: Column) -> tuple[int, int]:
    """Times of the first and last reading of a column, ns UTC."""
    return column.t0 + column.dt[0], column.t0 + sum(column.dt)


def column_of(
    ch: str,
    times: Sequence[int],
    v: Sequence[int | None],
    q: Sequence[str],
    *,
    raw: Sequence[str] = (),
    length: Sequence[int] = (),
    tag: Sequence[str | None] = (),
) -> Column:
    """The column of readings with these times (ns UTC, never falling, at least one)."""
    dt = [0, *(b - a for a, b in pairwise(times))]
    return Column(ch, times[0], dt, v, q, raw, length, tag)


def _ints(record: Record, name: str, size: int, low: int) -> list[int]:
    values = record.array(name, limit=MAX_READINGS)
    if len(values) != size:
        raise record.fault(name, f"an array of {size} elements, one for each reading,")
    if set(map(type, values)) - {int} or not low <= min(values) <= max(values) <= MAX_SAFE_INTEGER:
        raise record.fault(name, f"an array of integers from {low}")
    return values


def _value(record: Record, value: object) -> int | None:
    if value is None or (type(value) is int and abs(value) <= MAX_SAFE_INTEGER):
        return value
    if isinstance(value, str) and 16 <= len(value) <= 20 and value.lstrip("-").isascii():
        digits = value.removeprefix("-")
        if digits.isdigit() and digits[0] != "0" and -(2**63) <= int(value) < 2**63:
            number = int(value)
            if abs(number) > MAX_SAFE_INTEGER:
                return number
    raise record.fault("v", "an array of integers (as strings beyond ±(2^53−1)) or null")


def _column(record: Record) -> Column:
    raw_values = record.array("v", limit=MAX_READINGS)
    size = len(raw_values)
    if not size:
        raise record.fault("v", "at least one reading")
    values: list[int | None] = raw_values
    plain = set(map(type, raw_values)) == {int}
    if not (plain and -MAX_SAFE_INTEGER <= min(raw_values) <= max(raw_values) <= MAX_SAFE_INTEGER):
        values = [_value(record, v) for v in raw_values]
    flags = record.array("q", limit=MAX_READINGS)
    if len(flags) != size or not (flags.count("") == size or all(map(_is_flag, flags))):
        raise record.fault("q", f"{size} quality flags, each a short string,")
    column = Column(
        ch=record.text("ch", limit=128),
        t0=record.nanoseconds("t0"),
        dt=_ints(record, "dt", size, 0),
        v=values,
        q=flags,
        raw=read_texts(record, "raw", size) if "raw" in record else (),
        length=_ints(record, "len", size, 0) if "len" in record else (),
        tag=_tags(record, size) if "tag" in record else (),
    )
    if column.t0 + sum(column.dt) >= 2**63:
        raise record.fault("dt", "times below 2^63 ns")
    record.close()
    return column


_COMMON = {"ch", "t0", "dt", "v", "q"}
"""Members of a column without raw words, lengths or tags."""
_INTEGERS = {int}


def _common_column(row: object) -> Column | None:
    """The column where it is as nearly all are; None where it takes a closer look.

    What is accepted here is accepted by `_column` too, as the same column; four fifths of the time
    of reading an envelope went into looking at members one by one.
    """
    if not isinstance(row, dict) or row.keys() != _COMMON:
        return None
    ch, t0, steps, shown, flags = row["ch"], row["t0"], row["dt"], row["v"], row["q"]
    if type(ch) is not str or len(ch) > 128 or not ch.isprintable():
        return None
    if type(t0) is not str or not t0.isascii() or not t0.isdigit() or t0[0] == "0":
        return None
    if not type(steps) is type(shown) is type(flags) is list:
        return None
    size = len(shown)
    if not 0 < size <= MAX_READINGS or len(t0) > 19 or not len(steps) == len(flags) == size:
        return None
    if set(map(type, steps)) != _INTEGERS or set(map(type, shown)) != _INTEGERS:
        return None
    if min(steps) < 0 or max(steps) > MAX_SAFE_INTEGER or flags.count("") != size:
        return None
    start = int(t0)
    if max(shown) > MAX_SAFE_INTEGER or min(shown) < -MAX_SAFE_INTEGER:
        return None
    return Column(ch, start, steps, shown, flags) if start + sum(steps) < 2**63 else None


def read_columns(record: Record) -> tuple[Column, ...]:
    """The columns of the member `cols`. Raises WireError naming the column and its member."""
    rows = record.array("cols", limit=MAX_READINGS)
    return tuple(
        _common_column(row) or _column(Record(row, f"cols[{place}]"))
        for place, row in enumerate(rows)
    )


def _is_flag(flag: object) -> bool:
    return isinstance(flag, str) and len(flag) <= 32 and is_plain(flag)


def read_texts(record: Record, name: str, size: int) -> list[str]:
    """So many strings of a member. Raises WireError where it is anything else."""
    values = record.array(name, limit=MAX_READINGS)
    if len(values) != size or not all(isinstance(v, str) for v in values):
        raise record.fault(name, f"{size} strings")
    return values


def _tags(record: Record, size: int) -> list[str | None]:
    values = record.array("tag", limit=MAX_READINGS)
    if len(values) != size or not all(
        v is None or (isinstance(v, str) and 0 < len(v) <= 128 and is_plain(v)) for v in values
    ):
        raise record.fault("tag", f"{size} batch names or null")
    return values


def render_column(column: Column) -> dict[str, object]:
    """The members of a column as they are written."""
    members: dict[str, object] = {
        "ch": column.ch,
        "t0": str(column.t0),
        "dt": list(column.dt),
        "v": [v if v is None or abs(v) <= MAX_SAFE_INTEGER else str(v) for v in column.v],
        "q": list(column.q),
    }
    if column.raw:
        members["raw"] = list(column.raw)
    if column.length:
        members["len"] = list(column.length)
    if column.tag:
        members["tag"] = list(column.tag)
    return members
