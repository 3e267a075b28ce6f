"""An agent: readings in, signed envelopes in the outbox, then on the wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from edge_agent.chain import StreamChain
from edge_agent.clock import system_clock
from edge_agent.gaps import GapWatch
from edge_agent.outbox import KEEP_BYTES, KEEP_NS, TABLE_STREAM, Outbox, OutboxError, Outgoing
from edge_agent.publisher import Publisher
from edge_agent.scarcity import MEMORY_BYTES, Scarcity
from edge_agent.source import RawReading
from edge_agent.spells import Known, Spell, part
from mrv.channel import (
    MAX_CHANNELS,
    MAX_TABLE_BYTES,
    ChannelKind,
    ChannelTable,
    render_table,
)
from mrv.column import MAX_READINGS
from mrv.envelope import Clock, Event
from mrv.errors import InputError
from mrv.verification.note import SecretKey, identity, sign

log = structlog.get_logger("edge")


@dataclass(slots=True)
class _Buffer:
    spells: list[Spell] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    size: int = 0


class Agent:
    """Signs and keeps readings of one agent. `flush` cuts, commits once, and wakes the publisher.

    `streams` names the stream of each channel. While the disk refuses, signed envelopes wait in
    memory, counters and amounts go on and gauges are thinned (`edge_agent.scarcity`); the retained
    state says so at once, and the streams say what was given up once there is room again.
    """

    def __init__(
        self,
        table: ChannelTable,
        streams: Mapping[str, str],
        key: SecretKey,
        outbox: Outbox,
        clock: Callable[[], Clock] = system_clock,
        now: Callable[[], int] = time.time_ns,
        mono: Callable[[], int] = time.monotonic_ns,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._streams = streams
        self._outbox = outbox
        self._clock = clock
        self._now = now
        self._mono = mono
        self._known: Known | None = None
        self._lock = threading.Lock()
        self._scarcity = Scarcity({c.name: c.kind for c in table.channels}, memory_bytes)
        self._gaps = GapWatch(
            [c.name for c in table.channels if c.kind is ChannelKind.COUNTER and c.name in streams]
        )
        self.refused = 0
        self.publisher: Publisher | None = None
        text = render_table(table.in_streams(streams))
        cfg, note = identity(text), sign(text, key)
        if len(table.channels) > MAX_CHANNELS or len(note) > MAX_TABLE_BYTES:
            raise InputError(
                f"the table of {len(table.channels)} channels has {len(note)} bytes, more than the "
                f"{MAX_TABLE_BYTES} one agent may sign",
                hint="let several agents read the instruments: `agent:` of each says which",
            )
        outbox.commit([Outgoing(TABLE_STREAM, "", 0, cfg, note, now())])
        amounts = frozenset(c.name for c in table.channels if c.kind is ChannelKind.AMOUNT)
        self._chains = {
            stream: StreamChain(
                table.site,
                stream,
                key,
                cfg,
                outbox.head(stream),
                amounts=amounts,
                now=now,
                mono=mono,
            )
            for stream in sorted(set(streams.values()))
        }
        self._buffers = {stream: _Buffer() for stream in self._chains}
        self._uncommitted: list[Outgoing] = []
        self._waiting = 0
        for stream in self._chains:
            self._buffers[stream].events.append(Event("start", now(), reason="agent"))

    @property
    def dropped(self) -> int:
        """Readings given up for want of room."""
        return self._scarcity.thinned + self._scarcity.given_up

    def add(self, readings: Sequence[RawReading]) -> bool:
        """Take readings in; True where a stream is full and wants flushing."""
        full = False
        known = Known(self._clock(), self._now() - self._mono())
        with self._lock:
            for channel, gap in self._gaps.watch(readings):
                self._buffers[self._streams[channel]].events.append(gap)
            by_stream: dict[str, list[RawReading]] = {}
            for reading in readings:
                if self._uncommitted and not self._scarcity.keeps(reading, self._waiting):
                    continue
                by_stream.setdefault(self._streams[reading.channel], []).append(reading)
            for stream, some in by_stream.items():
                buffer = self._buffers[stream]
                part(buffer.spells, some, known, self._known)
                buffer.size += len(some)
                full = full or buffer.size >= MAX_READINGS
            self._known = known
        return full

    def event(self, stream: str, event: Event) -> None:
        """State an event of a stream: stop, or a gap with its reason."""
        with self._lock:
            self._buffers[stream].events.append(event)

    def event_if_known(self, stream: str, event: Event) -> None:
        """The same, where this agent has the stream."""
        if stream in self._buffers:
            self.event(stream, event)

    def _cut(self, at: int | None) -> None:
        """Sign everything buffered.

        A start goes with the first readings, other events with the latest: they were stamped by
        the clock of then.
        """
        for stream, buffer in self._buffers.items():
            if not buffer.spells and not buffer.events:
                continue
            spells = buffer.spells or [Spell(self._clock(), None)]
            for spell in spells:
                events = [
                    event
                    for event in buffer.events
                    if spell is (spells[0] if event.kind == "start" else spells[-1])
                ]
                cut = self._chains[stream].cut(
                    spell.readings, spell.clock, events, at, pair=spell.pair
                )
                self._uncommitted += cut
                self._waiting += sum(len(message.note) for message in cut)
            self._buffers[stream] = _Buffer()

    def flush(self, at: int | None = None) -> int:
        """Cut, sign and commit everything buffered; how many envelopes. Never raises for a disk."""
        with self._lock:
            self._cut(at)
            sent = self._commit()
            if sent and self.refused and self._over():
                self._cut(at)
                sent += self._commit()
        if sent and self.publisher is not None:
            self.publisher.committed()
        return sent

    def _commit(self) -> int:
        sent = len(self._uncommitted)
        if not sent:
            return 0
        try:
            self._outbox.commit(self._uncommitted)
        except OutboxError as error:
            if not self.refused:
                log.warning("disk_refuses", error=str(error), hint=error.hint)
            self.refused += 1
            self._say("full")
            return 0
        self._uncommitted, self._waiting = [], 0
        return sent

    def _over(self) -> bool:
        """The disk takes again: state what was given up; whether anything was."""
        self.refused = 0
        log.info("disk_takes_again", dropped=self.dropped)
        self._say(None)
        gaps = self._scarcity.over()
        for channel, gap in gaps:
            self._buffers[self._streams[channel]].events.append(gap)
        return bool(gaps)

    def _say(self, storage: str | None) -> None:
        if self.publisher is not None:
            self.publisher.tell(storage=storage, dropped=self.dropped or None)

    def tidy(self, keep_ns: int = KEEP_NS, keep_bytes: int = KEEP_BYTES) -> int:
        """Delete receipted envelopes beyond the retention floor; how many.

        Never raises for a disk.
        """
        try:
            return self._outbox.prune(self._now(), keep_ns, keep_bytes)
        except OutboxError as error:
            log.warning("outbox_refused", error=str(error), hint=error.hint)
            return 0
