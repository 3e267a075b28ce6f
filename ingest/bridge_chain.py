"""Cuts what a bridge received into signed envelopes of its own stream.

A bridge stands at the journal, so its envelopes are journalled where they are cut: no outbox lies
between, and nothing is acknowledged to the foreign broker before (ADR 25).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from ingest.bridge_decode import Row
from ingest.entry import Draft, EntryKind
from ingest.journal import Journal
from mrv.column import MAX_READINGS, Column
from mrv.envelope import MAX_BYTES, Clock, Envelope, Event, Head, parse, render
from mrv.errors import WireError
from mrv.verification.note import SecretKey, identity, sign, split

SIGNATURE_ROOM = 400
"""Bytes kept free for the signature line."""
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
        self._site = site
        self._stream = stream
        self._key = key
        self._cfg = cfg
        self._after = after
        self._amounts = amounts
        self._now = now
        self._epoch = secrets.token_hex(8)
        self._boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        self._seq = 0
        self._prev = ""

    def cut(self, rows: Rows, clock: Clock, events: Sequence[Event] = ()) -> list[Draft]:
        """Entries that hold all `rows` and `events`; as many envelopes as the limits ask."""
        if len(rows) > MAX_READINGS:
            first = self.cut(rows[:MAX_READINGS], clock, events)
            return first + self.cut(rows[MAX_READINGS:], clock)
        envelope = Envelope(
            site=self._site,
            agent=self._key.name,
            stream=self._stream,
            epoch=self._epoch,
            seq=self._seq,
            prev=self._prev,
            after=self._after if self._seq == 0 else None,
            t=self._now(),
            mono=time.monotonic_ns(),
            boot=self._boot,
            clk=clock,
            cfg=self._cfg,
            cols=tuple(self._columns(rows)),
            ev=tuple(events),
        )
        text = render(envelope)
        if len(text) > MAX_BYTES - SIGNATURE_ROOM and len(rows) > 1:
            half = len(rows) // 2
            return self.cut(rows[:half], clock, events) + self.cut(rows[half:], clock)
        name = identity(text)
        self._prev = name
        self._seq += 1
        return [Draft(EntryKind.ENVELOPE, sign(text, self._key), name, envelope=envelope)]

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
                Column(
                    ch=channel,
                    t0=held[0][0],
                    dt=[0, *[b[0] - a[0] for a, b in pairwise(held)]],
                    v=[row[1] for row in held],
                    q=[row[2] for row in held],
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
