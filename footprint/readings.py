"""Where the engine gets readings: a small port, filled by the series store or by a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mrv.channel import Channel
from mrv.reporting.completeness import StreamChain
from mrv.reporting.mending import Mending
from mrv.series import Series, SeriesKey


@dataclass(frozen=True, slots=True)
class SignedGap:
    """Time in which a register did not answer, stated by its agent under signature."""

    start: int
    """First failed reading, ns UTC."""
    end: int
    """Latest one when it was stated, ns UTC."""
    reason: str
    """Why, a code or words."""


@dataclass(frozen=True, slots=True)
class ChannelSource:
    """A channel an agent delivers, with what its signed tables say of it."""

    key: SeriesKey
    """Agent, stream and channel."""
    tables: tuple[tuple[str, Channel], ...]
    """(identity of the table, its entry), sorted by identity; usually one."""


class Readings(Protocol):
    """Readings and the chains they came in. Every answer is a function of the journal alone."""

    def sources(self, channel: str) -> Sequence[ChannelSource]:
        """Who delivers `<instrument>.<register>`, sorted by key."""
        ...

    def read(self, key: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings in [start, end) ns and up to `margin` good ones on either side."""
        ...

    def span(self, key: SeriesKey) -> tuple[int, int] | None:
        """Times of the first and last reading, ns; None where there is none."""
        ...

    def longest(self, key: SeriesKey) -> int:
        """Length of the channel's longest amount, ns; 0 where it has none."""
        ...

    def tagged(self, key: SeriesKey, batch: str) -> Series:
        """Amounts of the channel that were weighed for `batch`, wherever they lie in time."""
        ...

    def tags(self, key: SeriesKey) -> Sequence[str]:
        """Batches that amounts of the channel are tagged with, sorted."""
        ...

    def chain(self, agent: str, stream: str) -> StreamChain:
        """The envelopes of a stream; empty where none came."""
        ...

    def gaps(self, key: SeriesKey) -> Sequence[SignedGap]:
        """Gaps stated for the channel or its whole stream, in the order of time."""
        ...

    def mended(self, agent: str, stream: str) -> Sequence[Mending]:
        """Envelopes of a stream whose stamps were proven wrong, by true time."""
        ...
