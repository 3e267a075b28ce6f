"""An agent: readings in, signed envelopes in the outbox, then on the wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.chain import StreamChain
from edge_agent.clock import system_clock
from edge_agent.gaps import GapWatch
from edge_agent.outbox import TABLE_STREAM, Outbox, OutboxError, Outgoing
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from mrv.channel import ChannelKind, ChannelTable, render_table
from mrv.envelope import MAX_READINGS, Clock, Event
from mrv.verification.note import SecretKey, identity, sign


@dataclass(slots=True)
class _Buffer:
    readings: list[RawReading] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    since: float = 0.0


class Agent:
    """Signs and keeps readings of one agent. `flush` cuts, commits once, and wakes the publisher.

    `streams` names the stream of each channel. While the disk refuses, signed envelopes wait in
    memory, counters and amounts go on, and gauges are given up; `dropped` counts them.
    """

    def __init__(
        self,
        table: ChannelTable,
        streams: Mapping[str, str],
        key: SecretKey,
        outbox: Outbox,
        clock: Callable[[], Clock] = system_clock,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._streams = streams
        self._outbox = outbox
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._gauges = {c.name for c in table.channels if c.kind is ChannelKind.GAUGE}
        self._gaps = GapWatch(
            [c.name for c in table.channels if c.kind is ChannelKind.COUNTER and c.name in streams]
        )
        self.dropped = 0
        self.refused = 0
        self.publisher: Publisher | None = None
        text = render_table(table.in_streams(streams))
        cfg = identity(text)
        outbox.commit([Outgoing(TABLE_STREAM, "", 0, cfg, sign(text, key), now())])
        amounts = frozenset(c.name for c in table.channels if c.kind is ChannelKind.AMOUNT)
        self._chains = {
            stream: StreamChain(
                table.site, stream, key, cfg, outbox.head(stream), amounts=amounts, now=now
            )
            for stream in sorted(set(streams.values()))
        }
        self._buffers = {stream: _Buffer() for stream in self._chains}
        self._uncommitted: list[Outgoing] = []
        for stream in self._chains:
            self._buffers[stream].events.append(Event("start", now(), reason="agent"))

    def add(self, readings: Sequence[RawReading]) -> bool:
        """Take readings in; True where a stream is full and wants flushing."""
        full = False
        with self._lock:
            for channel, gap in self._gaps.watch(readings):
                self._buffers[self._streams[channel]].events.append(gap)
            for reading in readings:
                if self._uncommitted and reading.channel in self._gauges:
                    self.dropped += 1
                    continue
                buffer = self._buffers[self._streams[reading.channel]]
                buffer.readings.append(reading)
                full = full or len(buffer.readings) >= MAX_READINGS
        return full

    def event(self, stream: str, event: Event) -> None:
        """State an event of a stream: stop, or a gap with its reason."""
        with self._lock:
            self._buffers[stream].events.append(event)

    def event_if_known(self, stream: str, event: Event) -> None:
        """The same, where this agent has the stream."""
        if stream in self._buffers:
            self.event(stream, event)

    def flush(self, at: int | None = None) -> int:
        """Cut, sign and commit everything buffered; how many envelopes. Never raises for a disk."""
        with self._lock:
            clock = self._clock()
            for stream, buffer in self._buffers.items():
                cut = self._chains[stream].cut(buffer.readings, clock, buffer.events, at)
                self._uncommitted += cut
                buffer.readings, buffer.events = [], []
            sent = len(self._uncommitted)
            if not sent:
                return 0
            try:
                self._outbox.commit(self._uncommitted)
            except OutboxError:
                self.refused += 1
                return 0
            self._uncommitted = []
        if self.publisher is not None:
            self.publisher.committed()
        return sent
