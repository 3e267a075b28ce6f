"""Readings of one channel in time order: what every store returns and every law takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class SeriesKey(NamedTuple):
    """Names one channel: the agent, its stream, and the channel `<instrument>.<register>`."""

    agent: str
    stream: str
    channel: str


class Sample(NamedTuple):
    """One reading: `t` ns UTC, `v` the register's integer in units of its resolution."""

    t: int
    v: int


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of one channel, strictly increasing in `t`. All sequences have the same length.

    Sequences may be lists or integer arrays; a kernel only indexes them.
    """

    t: Sequence[int]
    """Signed time of the reading, ns UTC (start of the interval for an amount)."""
    v: Sequence[int]
    """Register integer in units of its resolution; 0 where `ok` is 0."""
    ok: Sequence[int]
    """1 a good reading, 0 a failed one (null on the wire)."""
    length: Sequence[int] = field(default=())
    """Amount channels: length of each interval, ns (0 = at a moment); empty otherwise."""
    tag: Sequence[str] = field(default=())
    """Amount channels: batch the amount was weighed for, "" = none; empty otherwise."""

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True, slots=True)
class SeriesChunk:
    """Readings of one channel out of one envelope, on their way into a store."""

    key: SeriesKey
    """The channel."""
    series: Series
    """Its readings."""
    quality: Sequence[str] = field(default=())
    """Quality flag of each reading, "" = good; empty = all good."""
