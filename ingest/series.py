"""The port of a series store: a view of the readings that can be thrown away and rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mrv.column import Column, column_times
from mrv.envelope import Envelope
from mrv.errors import MeterprintError
from mrv.series import Series, SeriesChunk, SeriesKey


class StoreError(MeterprintError):
    """A store does not take or give readings now; `again_in_s` is the pause it asks for, if any."""

    def __init__(self, message: str, *, hint: str = "", again_in_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.again_in_s = again_in_s


class SeriesStore(Protocol):
    """Readings by channel and time. Appending twice, or in another order, changes nothing.

    Of two readings of one channel at one time the larger (ok, value) stands, whatever came first.
    """

    @property
    def pending(self) -> int:
        """Readings taken in that `flush` would make durable; 0 where appending does so itself."""
        ...

    def append(self, chunks: Sequence[SeriesChunk]) -> None:
        """Take readings in. Raises MeterprintError where the store does not accept them."""
        ...

    def read(self, key: SeriesKey, start: int, end: int) -> Series:
        """Readings with start ≤ t < end, ns UTC, in time order."""
        ...

    def keys(self) -> Sequence[SeriesKey]:
        """Channels that have readings, sorted."""
        ...

    def flush(self) -> None:
        """Make what was appended durable."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


@runtime_checkable
class ForgetfulStore(SeriesStore, Protocol):
    """A store from which single readings can be taken away: their stamps were mended."""

    def forget(self, chunks: Sequence[SeriesChunk]) -> None:
        """Take readings away; others of the same channel and time stay."""
        ...


@runtime_checkable
class MarkedStore(SeriesStore, Protocol):
    """A store that remembers itself how far it is, so that its loss or an old copy of it shows."""

    def mark(self, entries: int) -> None:
        """Remember that so many journal entries are in it."""
        ...

    def marked(self) -> int:
        """Journal entries that are in it for sure; 0 where it remembers nothing."""
        ...


def chunks_of(envelope: Envelope) -> list[SeriesChunk]:
    """The readings of an envelope, a chunk a channel."""
    return [
        SeriesChunk(
            SeriesKey(envelope.agent, envelope.stream, column.ch), _series(column), column.q
        )
        for column in envelope.cols
    ]


def _series(column: Column) -> Series:
    good = [v for v in column.v if v is not None]
    whole = len(good) == len(column.v)
    return Series(
        column_times(column),
        good if whole else [0 if v is None else v for v in column.v],
        [1] * len(good) if whole else [0 if v is None else 1 for v in column.v],
        column.length,
        [tag or "" for tag in column.tag] if column.tag else (),
    )
