"""Cuts what a bridge received into signed envelopes of its own stream.

A bridge stands at the journal, so its envelopes are journalled where they are cut: no outbox lies
between, and nothing is acknowledged to the foreign broker before (ADR 25).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ingest.bridge_decode import Row
from ingest.entry import Draft, EntryKind
from ingest.journal import Journal
from mrv.column import Column, column_of
from mrv.envelope import Clock, Envelope, Event, Head, parse
from mrv.envelope_chain import EnvelopeChain, Place
from mrv.errors import WireError
from mrv.verification.note import SecretKey, split

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOOK_BACK = 2_000
"""Envelopes looked through at a start for what may come again."""

Rows = Sequence[tuple[str, Row]]
"""(channel, reading)."""


class BridgeChain:
    """The stream of one bridge from one start on."""

    def __init__(
        self,
        site: str,
        stream: str,
        key: SecretKey,
        cfg: str,
        after: Head | None,
        amounts: frozenset[str],
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        place = Place(site, stream, secrets.token_hex(8), boot, cfg, after)
        self._amounts = amounts
        self._now = now
        self._chain = EnvelopeChain(place, key, self._columns)

    def cut(self, rows: Rows, clock: Clock, events: Sequence[Event] = ()) -> list[Draft]:
        """Entries that hold all `rows` and `events`; as many envelopes as the limits ask."""
        return [
            Draft(EntryKind.ENVELOPE, cut.note, cut.identity, envelope=cut.envelope)
            for cut in self._chain.cut(rows, clock, events, self._moment)
        ]

    def _moment(self) -> tuple[int, int]:
        return self._now(), time.monotonic_ns()

    def _columns(self, rows: Rows) -> list[Column]:
        channels: dict[str, list[Row]] = {}
        for channel, row in rows:
            held = channels.get(channel)
            if held is None:
                channels[channel] = [row]
            else:
                held.append(row)
        columns = []
        for channel in sorted(channels):
            held = sorted(channels[channel], key=_time)
            amount = channel in self._amounts
            columns.append(
                column_of(
                    channel,
                    [row[0] for row in held],
                    [row[1] for row in held],
                    [row[2] for row in held],
                    length=[row[3] for row in held] if amount else (),
                    tag=[row[4] or None for row in held] if amount else (),
                )
            )
        return columns


def _time(row: Row) -> int:
    return row[0]


def head_of(journal: Journal, agent: str, stream: str) -> Head | None:
    """The envelope of a stream the journal took in last, None where it has none."""
    heads = [
        Head(h.epoch, h.seq, h.identity)
        for h in journal.stream_heads()
        if (h.agent, h.stream) == (agent, stream)
    ]
    return max(heads, key=lambda head: _index(journal, agent, stream, head), default=None)


def _index(journal: Journal, agent: str, stream: str, head: Head) -> int:
    index = journal.index_at((agent, stream, head.epoch), head.seq, head.identity)
    return -1 if index is None else index


def latest(
    journal: Journal, agent: str, stream: str, head: Head | None, readings: int
) -> list[Envelope]:
    """The envelopes of a stream that end at `head`, newest first, with so many readings."""
    found: list[Envelope] = []
    while head is not None and readings > 0 and len(found) < LOOK_BACK:
        index = _index(journal, agent, stream, head)
        if index < 0:
            break
        try:
            envelope = parse(split(journal.entry(index).note)[0])
        except WireError:
            break
        found.append(envelope)
        readings -= envelope.readings
        before = Head(head.epoch, head.seq - 1, envelope.prev)
        head = before if envelope.prev else envelope.after
    return found
