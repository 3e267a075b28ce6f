"""Readings of one channel as arrays, and how those of several places become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FAR = 2**63 - 1
"""Last ns of the time scale."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Readings of one channel as int64 arrays, strictly increasing in time."""

    t: Any
    """Times, ns UTC."""
    v: Any
    """Register integers."""
    ok: Any
    """1 good, 0 failed; int8."""
    length: Any = None
    """Lengths of amounts, ns; None = all 0."""
    tag: Any = None
    """Tags of amounts as an object array; None = all ""."""

    def __len__(self) -> int:
        return len(self.t)

    def part(self, first: int, stop: int) -> Rows:
        """Rows [first, stop)."""
        length = None if self.length is None else self.length[first:stop]
        tag = None if self.tag is None else self.tag[first:stop]
        return Rows(self.t[first:stop], self.v[first:stop], self.ok[first:stop], length, tag)

    def alone(self) -> Rows:
        """The same rows in arrays of their own, which hold no larger ones in memory."""
        length = None if self.length is None else self.length.copy()
        tag = None if self.tag is None else self.tag.copy()
        return Rows(self.t.copy(), self.v.copy(), self.ok.copy(), length, tag)

    def taken(self, index: Any) -> Rows:
        """The rows at some places, in that order."""
        length = None if self.length is None else self.length[index]
        tag = None if self.tag is None else self.tag[index]
        return Rows(self.t[index], self.v[index], self.ok[index], length, tag)

    def lengths(self) -> Any:
        """Lengths, also where all are 0."""
        return np.zeros(len(self), np.int64) if self.length is None else self.length

    def tags(self) -> Any:
        """Tags, also where all are ""."""
        return np.full(len(self), "", object) if self.tag is None else self.tag


def place_of(times: Any, moment: int) -> int:
    """Place of the first of rising int64 `times` at or after `moment`.

    A moment beyond 64 bits would make numpy compare as floats, which know no nanoseconds.
    """
    if moment > FAR:
        return len(times)
    return int(times.searchsorted(max(moment, -FAR)))


_NONE = Rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8))


def no_rows() -> Rows:
    """Rows without any."""
    return _NONE


def end_to_end(parts: Sequence[Rows]) -> Rows:
    """Rows of several parts, one part after the other, nothing sorted."""
    if len(parts) == 1:
        return parts[0]
    length = tag = None
    if any(part.length is not None for part in parts):
        length = np.concatenate([part.lengths() for part in parts])
    if any(part.tag is not None for part in parts):
        tag = np.concatenate([part.tags() for part in parts])
    return Rows(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.v for part in parts]),
        np.concatenate([part.ok for part in parts]),
        length,
        tag,
    )


def merged(parts: Sequence[Rows]) -> Rows:
    """One channel's rows out of several places: by time, of twins the larger row stands."""
    held = [part for part in parts if len(part)]
    if not held:
        return no_rows()
    if len(held) == 1:
        return held[0]
    held.sort(key=lambda part: int(part.t[0]))
    rows = end_to_end(held)
    t = rows.t
    if len(t) < 2 or bool(np.all(t[1:] > t[:-1])):
        return rows
    keys: list[Any] = [rows.v, rows.ok, t]
    if rows.length is not None:
        keys.insert(0, rows.length)
    if rows.tag is not None:
        keys.insert(0, rows.tag.astype(str))
    order = np.lexsort(keys)
    times = t[order]
    return rows.taken(order[np.append(times[1:] != times[:-1], True)])
