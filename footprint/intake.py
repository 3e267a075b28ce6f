"""What the engine remembers of envelopes and tables: sources, chains, tagged amounts.

`EnvelopeIndex` holds what every reader needs; `MemoryReadings` adds the readings themselves, which
is all a verifier has. The server keeps readings in segments instead and shares the index.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import RLock

from footprint.chain_tips import ChainTips, Tally
from footprint.held_series import HeldSeries, Row, rows
from footprint.readings import ChannelSource, SignedGap
from footprint.true_times import Gap, TrueTimes, stated_gaps
from footprint.unsettling import Tail, Unsettled
from mrv.channel import Channel, ChannelTable
from mrv.column import Column, column_bounds
from mrv.envelope import Envelope
from mrv.reporting.clock_watch import ClockWatch
from mrv.reporting.completeness import Bounds, StreamChain, chain_link
from mrv.reporting.mending import Mending
from mrv.series import Series, SeriesKey


def series_of(items: Sequence[tuple[int, Row]]) -> Series:
    """Rows in time order as a series."""
    return Series(
        t=[t for t, _ in items],
        v=[row[1] for _, row in items],
        ok=[row[0] for _, row in items],
        length=[row[2] for _, row in items],
        tag=[row[3] for _, row in items],
    )


@dataclass(frozen=True, slots=True)
class Arrival:
    """The columns of an envelope as they were taken in, one after the other."""

    keys: Sequence[SeriesKey]
    """Their channels; the same objects at each envelope that names the same ones."""
    bounds: Sequence[Bounds]
    """Times of their first and last readings, ns UTC."""
    unsettled: Unsettled | None = None
    """What it may change for other channels of its stream."""


@dataclass(slots=True)
class _Lane:
    """What an envelope of a stream is held against.

    All that has to be looked up of a stream is found at once: most envelopes name the channels of
    the one before, under the same table, and with thousands of streams each look-up is a walk
    through memory nobody has used for a while.
    """

    chain: StreamChain
    """Its envelopes."""
    watch: ClockWatch
    """Its clocks."""
    tally: Tally
    """The count of its agent's envelopes."""
    tail: Tail = field(default_factory=Tail)
    """Where it ended."""
    cfg: str | None = None
    """Table of the envelope before; None = there was none."""
    channels: Sequence[str] = ()
    """Channels that are known as delivered under that table."""
    keys: Sequence[SeriesKey] = ()
    """Their keys."""


class EnvelopeIndex(ABC):
    """Sources, chains and tagged amounts, whatever the order the entries came in.

    With `span` and `read`, which say where the readings are, it is a `Readings`.
    """

    def __init__(self) -> None:
        self._tables: dict[str, ChannelTable] = {}
        self._keys: dict[str, set[SeriesKey]] = {}
        self._channels: dict[tuple[str, str], set[str]] = {}
        self._cfgs: dict[SeriesKey, set[str]] = {}
        self._chains: dict[tuple[str, str], StreamChain] = {}
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._tagged: dict[SeriesKey, dict[str, dict[int, Row]]] = {}
        self._sources: dict[str, list[ChannelSource]] = {}
        self._longest: dict[SeriesKey, int] = {}
        self._gaps: dict[SeriesKey, set[tuple[int, int, str]]] = {}
        self._delivered: set[SeriesKey] = set()
        self._news: set[str] = set()
        self._turn = RLock()
        self.sources_mark = object()
        """Another one whenever somebody begins to deliver a channel, or states to."""
        self.tallies: dict[str, Tally] = {}
        """Envelopes of each agent."""
        self.tips = ChainTips()
        self.true_times = TrueTimes(
            lambda place, boots: self.chain(*place).of_boots(boots), self.envelope, self._turn
        )

    def add_table(self, identity: str, table: ChannelTable) -> None:
        """Take in a channel table."""
        self._tables[identity] = table
        for entry in table.channels:
            if entry.stream:
                key = SeriesKey(table.agent, entry.stream, entry.name)
                self._cfgs.setdefault(key, set()).add(identity)
                self._keys.setdefault(entry.name, set()).add(key)
                self._channels.setdefault(key[:2], set()).add(entry.name)
        self._forget_sources()

    def _forget_sources(self) -> None:
        self._sources.clear()
        self.sources_mark = object()

    def tally(self, agent: str) -> Tally:
        """The count of an agent's envelopes."""
        found = self.tallies.get(agent)
        if found is None:
            found = self.tallies[agent] = Tally()
        return found

    def begun(self, agent: str, stream: str, moment: int) -> int:
        """Number of envelopes of a stream that begin at or before `moment`, ns UTC."""
        with self._turn:
            return self.chain(agent, stream).begun(moment)

    def take_odd(self) -> list[tuple[str, str]]:
        """Chains about which something may be odd that was not when this was asked last."""
        with self._turn:
            return self.tips.take()

    def add_envelope(self, identity: str, envelope: Envelope) -> Arrival:
        """Take in an envelope's place in its chain, its channels and its tagged amounts."""
        place = (envelope.agent, envelope.stream)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = _Lane(
                self.chain(*place), self.true_times.watch(place), self.tally(envelope.agent)
            )
        bounds = [column_bounds(column) for column in envelope.cols]
        link = chain_link(envelope, identity, bounds)
        new, unsettled = lane.tail.add(lane.chain, link, gaps=bool(envelope.ev))
        lane.tally.add(int(new), link.t_last)
        odd = lane.watch.saw(link)
        if odd:
            self.true_times.doubt(place)
        self.tips.saw(place, link, lane.chain, odd=odd)
        if envelope.ev:
            for channel, gap in stated_gaps(envelope):
                self.learn_gap(SeriesKey(*place, channel), gap)
        channels = [column.ch for column in envelope.cols]
        if lane.cfg != envelope.cfg or lane.channels != channels:
            lane.keys = [SeriesKey(*place, channel) for channel in channels]
            self._learn_channels(lane.keys, envelope.cfg)
            lane.cfg, lane.channels = envelope.cfg, channels
        for key, column in zip(lane.keys, envelope.cols, strict=True):
            if column.length:
                self.learn_length(key, max(column.length))
            if column.tag:
                self._learn_tags(key, column)
        return Arrival(lane.keys, bounds, unsettled)

    def _learn_channels(self, keys: Sequence[SeriesKey], cfg: str) -> None:
        """Channels were delivered under a channel table, perhaps not for the first time."""
        for key in keys:
            if cfg not in self._cfgs.get(key, ()):
                self.learn_source(key, cfg)
                self._news.add(key.channel)
            if key not in self._delivered:
                self._delivered.add(key)
                if self.signed_span(key) is None:
                    self._news.add(key.channel)

    def take_rivals(self) -> list[str]:
        """Channels that somebody else has begun to deliver beside others since this was asked."""
        found = [channel for channel in self._news if len(self.sources(channel)) > 1]
        self._news.clear()
        return found

    def learn_gap(self, place: SeriesKey, gap: tuple[int, int, str]) -> None:
        """A gap was stated for a channel, or for a whole stream (channel "")."""
        self._gaps.setdefault(place, set()).add(gap)

    def learn_source(self, key: SeriesKey, cfg: str) -> None:
        """A channel was delivered under a channel table."""
        self._cfgs.setdefault(key, set()).add(cfg)
        self._keys.setdefault(key.channel, set()).add(key)
        self._channels.setdefault(key[:2], set()).add(key.channel)
        self._forget_sources()

    def learn_length(self, key: SeriesKey, length: int) -> None:
        """An amount of that length, ns, was delivered."""
        self._longest[key] = max(self._longest.get(key, 0), length)

    def _learn_tags(self, key: SeriesKey, column: Column) -> None:
        tagged = self._tagged.setdefault(key, {})
        for t, row in rows(column):
            if row[3]:
                batch = tagged.setdefault(row[3], {})
                batch[t] = max(batch.get(t, row), row)

    def chain(self, agent: str, stream: str) -> StreamChain:
        """The envelopes of a stream; empty where none came."""
        found = self._chains.get((agent, stream))
        if found is None:
            found = self._chains[agent, stream] = self.new_chain()
        return found

    def new_chain(self) -> StreamChain:
        """An empty chain, of the kind this index keeps."""
        return StreamChain()

    def chains(self) -> Sequence[tuple[tuple[str, str], StreamChain]]:
        """All chains by (agent, stream), sorted."""
        return sorted(self._chains.items())

    def channels(self) -> Sequence[str]:
        """Names of all channels that deliver or are stated to, sorted."""
        return sorted(self._keys)

    def channels_of(self, agent: str, stream: str) -> Collection[str]:
        """Channels that are delivered in a stream or stated to be."""
        return self._channels.get((agent, stream), ())

    def table(self, identity: str) -> ChannelTable | None:
        """The table of that identity, None where it is not here."""
        return self._tables.get(identity)

    def sources(self, channel: str) -> Sequence[ChannelSource]:
        """Who delivers the channel, sorted by key."""
        found = self._sources.get(channel)
        if found is None:
            found = [self._source(key) for key in sorted(self._keys.get(channel, ()))]
            self._sources[channel] = found
        return found

    def _source(self, key: SeriesKey) -> ChannelSource:
        entries: list[tuple[str, Channel]] = []
        for cfg in sorted(self._cfgs[key]):
            table = self._tables.get(cfg)
            entry = table.channel(key.channel) if table and table.agent == key.agent else None
            if entry is not None:
                entries.append((cfg, entry))
        return ChannelSource(key, tuple(entries))

    @abstractmethod
    def signed_span(self, key: SeriesKey) -> tuple[int, int] | None:
        """Signed times of the first and last reading, ns; None where there is none."""

    @abstractmethod
    def signed_read(self, key: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings by their signed times in [start, end), up to `margin` good ones beside."""

    @abstractmethod
    def envelope(self, identity: str) -> Envelope | None:
        """An envelope whose clock was not trusted, as it was added; None where it is gone."""

    def span(self, key: SeriesKey) -> tuple[int, int] | None:
        """Times of the first and last reading, ns; None where there is none."""
        moved = self.true_times.moved(key)
        if moved is None:
            return self.signed_span(key)
        return moved.span(partial(self.signed_read, key))

    def read(self, key: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings in [start, end) and up to `margin` good ones on either side."""
        moved = self.true_times.moved(key)
        if moved is None:
            return self.signed_read(key, start, end, margin)
        return moved.read(partial(self.signed_read, key), start, end, margin)

    def mended(self, agent: str, stream: str) -> Sequence[Mending]:
        """Envelopes of a stream whose stamps were proven wrong, by true time."""
        return self.true_times.mended((agent, stream))

    def take_restamped(self) -> list[tuple[SeriesKey, int, int]]:
        """(channel, first and last time) of readings that have moved since this was asked last."""
        found = []
        for key, first, last in self.true_times.take_restamped():
            channels = {key} if key.channel else {k for ks in self._keys.values() for k in ks}
            found += [(k, first, last) for k in sorted(channels) if k[:2] == key[:2]]
        return found

    def longest(self, key: SeriesKey) -> int:
        """Length of the channel's longest amount, ns; 0 where it has none."""
        return self._longest.get(key, 0)

    def tagged(self, key: SeriesKey, batch: str) -> Series:
        """Amounts of the channel weighed for `batch`, in time order."""
        moved = self.true_times.moved(key)
        signed = self.signed_tagged(key, batch)
        return signed if moved is None else moved.tagged(signed, batch)

    def signed_tagged(self, key: SeriesKey, batch: str) -> Series:
        """The same by signed times."""
        return series_of(sorted(self._tagged.get(key, {}).get(batch, {}).items()))

    def tags(self, key: SeriesKey) -> Sequence[str]:
        """Batches that amounts of the channel are tagged with, sorted."""
        return sorted(self._tagged.get(key, {}))

    def gaps(self, key: SeriesKey) -> Sequence[SignedGap]:
        """Gaps stated for the channel or its whole stream, in the order of time."""
        stated: set[Gap] = set()
        for place in (key, SeriesKey(key.agent, key.stream, "")):
            stated |= self.true_times.gaps(place, self._gaps.get(place, set()))
        return [SignedGap(*gap) for gap in sorted(stated)]


class MemoryReadings(EnvelopeIndex):
    """Readings held in memory: what a verifier has after opening a bundle.

    Pages read while ingest adds, so both take turns.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[SeriesKey, HeldSeries] = {}
        self._doubted: dict[str, Envelope] = {}

    def add_envelope(self, identity: str, envelope: Envelope) -> Arrival:
        """Take in an envelope with its readings."""
        with self._turn:
            taken = super().add_envelope(identity, envelope)
            if not envelope.clk.state.trusted and envelope.boot:
                self._doubted[identity] = envelope
            for key, column in zip(taken.keys, envelope.cols, strict=True):
                held = self._held.get(key)
                if held is None:
                    held = self._held[key] = HeldSeries()
                held.add(column)
        return taken

    def envelope(self, identity: str) -> Envelope | None:
        """An envelope whose clock was not trusted."""
        return self._doubted.get(identity)

    def signed_span(self, key: SeriesKey) -> tuple[int, int] | None:
        """Signed times of the first and last reading, ns; None where there is none."""
        held = self._held.get(key)
        if held is None:
            return None
        with self._turn:
            return held.span()

    def signed_read(self, key: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings by their signed times in [start, end), up to `margin` good ones beside."""
        held = self._held.get(key)
        if held is None:
            return Series([], [], [])
        with self._turn:
            return held.read(start, end, margin)
