"""The engine's readings out of segments, with the index of what is sealed beside them.

Readings and links are in memory only until they are sealed; what a start has to read does not grow
with the history. Everything here is a view of the journal and can be built anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from footprint.held_series import rows
from footprint.intake import Arrival, EnvelopeIndex
from footprint.readings import ChannelSource, SignedGap
from ingest.channel_page import MOST_ROWS, Page, Pages
from ingest.index_part import Extent, Links, read_meta, write_links
from ingest.link_cache import LinkCache, SealedBlock
from ingest.link_look import MANY, look
from ingest.segment_rows import Rows
from ingest.series_parquet import ParquetStore
from ingest.stored_chain import StoredChain
from ingest.unreadable import UnreadableEntries
from mrv.column import Column
from mrv.envelope import Envelope
from mrv.reporting.completeness import StreamChain
from mrv.series import Series, SeriesKey

Place = tuple[str, str]
"""(agent, stream)."""
ALL_TIME = (-(2**63), 2**63 - 1)
"""Bounds of the time scale, ns."""


class StoredReadings(EnvelopeIndex):
    """Readings of one site: a store of segments and what was learnt of the envelopes."""

    def __init__(
        self, store: ParquetStore, fetch: Callable[[str], Envelope | None] = lambda _: None
    ) -> None:
        super().__init__()
        self.store = store
        self.fetch = fetch
        self._spans: dict[SeriesKey, dict[str, tuple[int, int]]] = {}
        self._fresh_sources: list[tuple[SeriesKey, str]] = []
        self._fresh_gaps: list[tuple[SeriesKey, tuple[int, int, str]]] = []
        self._fresh_lengths: dict[SeriesKey, int] = {}
        self._fresh_tags: set[tuple[SeriesKey, str]] = set()
        self.sealed_readings = 0
        self._pages = Pages()
        self._asked: dict[SeriesKey, tuple[int, int]] = {}
        self.tables: list[int] = []
        self.unreadable = UnreadableEntries()
        self.unsigned: list[tuple[int, str]] = []
        """Unreadable entries of older index parts, which do not say who signed them."""
        self._sealed_tables = 0
        self._sealed_clocks: dict[tuple[str, str, str], tuple[int, ...]] = {}
        self._links = LinkCache()
        store.when_merged(self._replace)
        for path in store.index_files():
            self._attach(path)
        self._settle()

    def new_chain(self) -> StreamChain:
        """An empty chain that can be sealed."""
        return StoredChain()

    def _attach(self, path: Path) -> None:
        """Learn what an index part says."""
        meta = read_meta(path)
        self.sealed_readings += int(meta["readings"])
        for row in meta["sources"]:
            self.learn_source(SeriesKey(*row[:3]), row[3])
        for row in meta["gaps"]:
            self.learn_gap(SeriesKey(*row[:3]), (int(row[3]), int(row[4]), str(row[5])))
        for row in meta["lengths"]:
            self.learn_length(SeriesKey(*row[:3]), int(row[3]))
        for row in meta["tags"]:
            self._span_tag(SeriesKey(*row[:3]), row[3], int(row[4]), int(row[5]))
        self.tables += [int(row[0]) for row in meta["tables"]]
        for row in meta["unreadable"]:
            if len(row) == 2:
                self.unsigned.append((int(row[0]), str(row[1])))
            else:
                signer, entries, first, last, error = row
                self.unreadable.learn(
                    (str(signer), int(entries), int(first), int(last), str(error))
                )
        for row in meta["late"]:
            chain = self._stored(row[0], row[1])
            chain.late_since = min(chain.late_since, row[3]) if chain.late else row[3]
            chain.late += row[2]
            chain.sealed_late = chain.late
        for agent, stream, boot, *row in meta.get("clocks", ()):
            self.true_times.learn_boot(agent, stream, boot, map(int, row))
        for row in meta["equivocations"]:
            self.chain(row[0], row[1]).twins.append((row[2], row[3]))
        self._tally(meta["links"])
        self._attach_links(path, meta["links"])

    def _attach_links(self, path: Path, listed: Sequence[Any]) -> None:
        for agent, stream, sealed in self._sealed(path, listed):
            self._stored(agent, stream).attach(sealed)

    def _tally(self, listed: Sequence[Any]) -> None:
        """Count the envelopes an index part lists; something may be odd about each chain."""
        for agent, stream, count, _, high, _ in listed:
            self.tally(agent).add(count, high)
            self.tips.doubt((agent, stream))

    def _sealed(self, path: Path, listed: Sequence[Any]) -> Iterator[tuple[str, str, SealedBlock]]:
        """Blocks of an index part, one a stream."""
        first = 0
        for agent, stream, count, low, high, epochs in listed:
            extent = Extent(count, low, high, tuple((str(e), int(s)) for e, s in epochs))
            yield agent, stream, SealedBlock(extent, path, first, self._links)
            first += count

    def _clocks(self, hot: Sequence[tuple[Place, StoredChain]]) -> list[list[Any]]:
        """What is new of the boots of some streams; it counts as kept from here on."""
        found: list[list[Any]] = []
        for place, _ in hot:
            for boot, numbers in self.true_times.known_boots(place):
                if self._sealed_clocks.get((*place, boot)) != numbers:
                    self._sealed_clocks[(*place, boot)] = numbers
                    found.append([*place, boot, *numbers])
        return found

    def _stored_chains(self) -> Iterator[tuple[Place, StoredChain]]:
        for place, chain in self.chains():
            assert isinstance(chain, StoredChain)
            yield place, chain

    def _stored(self, agent: str, stream: str) -> StoredChain:
        chain = self.chain(agent, stream)
        assert isinstance(chain, StoredChain)
        return chain

    def _replace(self, old: Sequence[Path], new: Path) -> None:
        """Look into one index part instead of those that were merged into it."""
        listed = read_meta(new)["links"]
        with self._turn:
            for agent, stream, sealed in self._sealed(new, listed):
                self._stored(agent, stream).replace(old, sealed)

    def _settle(self) -> None:
        """Nothing learnt so far is news."""
        self._fresh_sources, self._fresh_gaps = [], []
        self._fresh_lengths, self._fresh_tags = {}, set()
        self._sealed_tables = len(self.tables)
        self.unreadable.settle()

    def add_envelope(self, identity: str, envelope: Envelope) -> Arrival:
        """Take in an envelope with its readings."""
        with self._turn:
            taken = super().add_envelope(identity, envelope)
            self.store.add(taken.keys, envelope.cols)
        return taken

    def learn_source(self, key: SeriesKey, cfg: str) -> None:
        """A channel was delivered under a channel table."""
        super().learn_source(key, cfg)
        self._fresh_sources.append((key, cfg))

    def learn_gap(self, place: SeriesKey, gap: tuple[int, int, str]) -> None:
        """A gap was stated for a channel, or for a whole stream (channel "")."""
        if gap not in self._gaps.get(place, ()):
            super().learn_gap(place, gap)
            self._fresh_gaps.append((place, gap))

    def learn_length(self, key: SeriesKey, length: int) -> None:
        """An amount of that length, ns, was delivered."""
        if length > self._longest.get(key, 0):
            super().learn_length(key, length)
            self._fresh_lengths[key] = length

    def _learn_tags(self, key: SeriesKey, column: Column) -> None:
        for t, row in rows(column):
            if row[3]:
                self._span_tag(key, row[3], t, t)
                self._fresh_tags.add((key, row[3]))

    def _span_tag(self, key: SeriesKey, tag: str, low: int, high: int) -> None:
        spans = self._spans.setdefault(key, {})
        known = spans.get(tag, (low, high))
        spans[tag] = (min(low, known[0]), max(high, known[1]))

    def seal(self, taken: int, anchor: str) -> None:
        """Put what is in memory into a segment and an index part.

        `taken` journal entries are then sealed, the last of them with identity `anchor`. Raises
        MeterprintError where the disk refuses; then everything stays in memory.
        """
        with self._turn:
            hot = [(p, chain) for p, chain in self._stored_chains() if chain.is_hot]
            readings = self.store.pending
            if not hot and not readings:
                return
            links = Links((place, chain.hot()) for place, chain in hot)
            listed = links.extents()
            meta = self._meta(hot, listed, readings)
            path = self.store.flush(taken, anchor, lambda file: write_links(file, links, meta))
            if path is None:
                return
            self.sealed_readings += readings
            for _, chain in hot:
                chain.forget_hot()
                chain.sealed_equivocations = len(chain.twins)
                chain.sealed_late = chain.late
            self._attach_links(path, listed)
            self._settle()

    def _meta(
        self, hot: Sequence[tuple[Place, StoredChain]], listed: Sequence[Any], readings: int
    ) -> dict[str, Any]:
        return {
            "readings": readings,
            "links": listed,
            "sources": [[*key, cfg] for key, cfg in self._fresh_sources],
            "gaps": [[*place, *gap] for place, gap in self._fresh_gaps],
            "lengths": [[*key, length] for key, length in self._fresh_lengths.items()],
            "tags": [[*key, tag, *self._spans[key][tag]] for key, tag in sorted(self._fresh_tags)],
            "clocks": self._clocks(hot),
            "tables": [[index] for index in self.tables[self._sealed_tables :]],
            "unreadable": [list(row) for row in self.unreadable.fresh()],
            "late": [
                [*place, chain.late - chain.sealed_late, chain.late_since]
                for place, chain in hot
                if chain.late > chain.sealed_late
            ],
            "equivocations": [
                [*place, *pair]
                for place, chain in hot
                for pair in chain.twins[chain.sealed_equivocations :]
            ],
        }

    def look(self, many: int = MANY) -> None:
        """Look for what is odd in sealed links of many streams at once: see `link_look`."""
        with self._turn:
            look(self._stored_chains(), self.store.index_files(), many)

    def sources(self, channel: str) -> Sequence[ChannelSource]:
        """Who delivers the channel, sorted by key."""
        with self._turn:
            return super().sources(channel)

    def gaps(self, key: SeriesKey) -> Sequence[SignedGap]:
        """Gaps stated for the channel or its whole stream, in the order of time."""
        with self._turn:
            return super().gaps(key)

    def envelope(self, identity: str) -> Envelope | None:
        """An envelope whose clock was not trusted, out of the journal."""
        return self.fetch(identity)

    def signed_span(self, key: SeriesKey) -> tuple[int, int] | None:
        """Signed times of the first and last reading, ns; None where there is none."""
        return self.store.span(key)

    def signed_read(self, key: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings by their signed times in [start, end), up to `margin` good ones beside."""
        recent = self.store.recent(key, start, end, margin)
        if recent is not None:
            return recent
        amounts = key in self._longest or key in self._spans
        mark = self.store.mark(key)
        page = self._pages.get(key)
        found = page.read(mark, start, end, margin) if page is not None else None
        if found is None and self.store.estimate(key, start, end) > MOST_ROWS // 2:
            found = self._long(key, start, end, margin, amounts=amounts)
        elif found is None and self._asked.get(key) != mark:
            self._asked[key] = mark  # a page pays from the second question on
        elif found is None:
            page = Page.around(self.store, key, mark, start, end, amounts=amounts)
            self._pages.put(key, page)
            found = page.read(mark, start, end, margin)
        if found is None:
            found = self.store.near(key, start, end, margin, amounts=amounts)
        return _series(found)

    def _long(self, key: SeriesKey, start: int, end: int, margin: int, *, amounts: bool) -> Rows:
        """Many readings, as the store's `near` gives them, but put together once.

        How far the good ones on either side reach is asked first.
        """
        mark = self.store.mark(key)
        sides = [self.store.near(key, at, at, margin, amounts=amounts) for at in (start, end)]
        times = [int(side.t[place]) for side in sides if len(side) for place in (0, -1)]
        low, high = min([start, *times]), max([end, *(time + 1 for time in times)])
        found = self.store.rows(key, low, high, amounts=amounts, keep=False)
        if self.store.mark(key) == mark:
            return found
        return self.store.near(key, start, end, margin, amounts=amounts, keep=False)

    def let_go(self) -> None:
        """Let go of what is only remembered: whoever holds a closed site holds no readings."""
        with self._turn:
            self._pages.clear()
            self._asked.clear()
            self._links.clear()

    def signed_tagged(self, key: SeriesKey, batch: str) -> Series:
        """Amounts of the channel weighed for `batch`, by signed times."""
        span = self._spans.get(key, {}).get(batch)
        if span is None:
            return Series([], [], [])
        held = self.store.rows(key, span[0], span[1] + 1, amounts=True)
        if held.tag is None:
            return Series([], [], [])
        mine = held.tag == batch
        length = None if held.length is None else held.length[mine]
        return _series(Rows(held.t[mine], held.v[mine], held.ok[mine], length, held.tag[mine]))

    def tags(self, key: SeriesKey) -> Sequence[str]:
        """Batches that amounts of the channel are tagged with, sorted."""
        return sorted(self._spans.get(key, {}))


def _series(rows: Rows) -> Series:
    """Rows as a series: counters as arrays, as the compiled law takes them, amounts as lists."""
    if rows.length is None and rows.tag is None:
        return Series(rows.t, rows.v, rows.ok)
    return Series(
        rows.t.tolist(),
        rows.v.tolist(),
        rows.ok.tolist(),
        () if rows.length is None else rows.length.tolist(),
        () if rows.tag is None else rows.tag.tolist(),
    )
