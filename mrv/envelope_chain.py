"""Cuts what belongs to a stream into signed envelopes that form a chain (design §3, "Envelope").

Agents and bridges differ in where readings come from and where envelopes go; how a chain is cut is
the same. Pure: it is told the time, the key and the columns of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mrv.column import MAX_READINGS, Column
from mrv.envelope import MAX_BYTES, MAX_EVENTS, Clock, Envelope, Event, Head, render
from mrv.strict_json import MAX_SAFE_INTEGER
from mrv.verification.note import SecretKey, identity, sign

SIGNATURE_ROOM = 100
"""Bytes of the signature line beside the name: 99 (C2SP signed-note), and one to spare."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Place:
    """What all envelopes of one start of a stream have in common."""

    site: str
    """Site."""
    stream: str
    """Stream."""
    epoch: str
    """Random name of this start, 16 hex digits."""
    boot: str
    """Boot id of the machine, "" where it has none."""
    cfg: str
    """Identity of the signed channel table."""
    after: Head | None
    """The last envelope known of the stream before this start."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An envelope as it is sent."""

    envelope: Envelope
    """Its content."""
    identity: str
    """SHA-256 of its signed text, hex."""
    note: bytes
    """The signed note."""


class EnvelopeChain(Generic[Row]):
    """The chain of one stream from one start on. `columns` makes rows into columns."""

    def __init__(
        self, place: Place, key: SecretKey, columns: Callable[[Sequence[Row]], Sequence[Column]]
    ) -> None:
        self._place = place
        self._key = key
        self._columns = columns
        self._room = MAX_BYTES - SIGNATURE_ROOM - len(key.name.encode())
        self._seq = 0
        self._prev = ""

    def cut(
        self,
        rows: Sequence[Row],
        clock: Clock,
        events: Sequence[Event],
        moment: Callable[[], tuple[int, int]],
    ) -> list[Cut]:
        """Envelopes with all `rows` in order and all `events`; as many as the limits ask.

        `moment` gives (ns UTC, monotonic ns) of each. Events too many for one envelope go before
        the rows, the last of them with the first rows.
        """
        cuts: list[Cut] = []
        while len(events) > MAX_EVENTS:
            cuts += self._cut((), clock, events[:MAX_EVENTS], moment)
            events = events[MAX_EVENTS:]
        for start in range(0, len(rows), MAX_READINGS):
            cuts += self._cut(rows[start : start + MAX_READINGS], clock, events, moment)
            events = ()
        if events:
            cuts += self._cut((), clock, events, moment)
        return cuts

    def _cut(
        self,
        rows: Sequence[Row],
        clock: Clock,
        events: Sequence[Event],
        moment: Callable[[], tuple[int, int]],
    ) -> list[Cut]:
        place = self._place
        t, mono = moment()
        envelope = Envelope(
            site=place.site,
            agent=self._key.name,
            stream=place.stream,
            epoch=place.epoch,
            seq=self._seq,
            prev=self._prev,
            after=place.after if self._seq == 0 else None,
            t=t,
            mono=mono,
            boot=place.boot,
            clk=clock,
            cfg=place.cfg,
            cols=tuple(self._columns(rows)) if rows else (),
            ev=tuple(events),
        )
        text = render(envelope)
        if len(text) > self._room or not all(map(_fits, envelope.cols)):
            if len(events) > max(1, len(rows)):
                half = len(events) // 2
                first = self._cut((), clock, events[:half], moment)
                return first + self._cut(rows, clock, events[half:], moment)
            if len(rows) > 1:
                half = len(rows) // 2
                first = self._cut(rows[:half], clock, events, moment)
                return first + self._cut(rows[half:], clock, (), moment)
        name = identity(text)
        self._prev = name
        self._seq += 1
        return [Cut(envelope, name, sign(text, self._key))]


def _fits(column: Column) -> bool:
    """Whether the steps of a column travel as JSON numbers: none is longer than 104 days."""
    return max(column.dt) <= MAX_SAFE_INTEGER
