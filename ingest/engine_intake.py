"""What the engine takes in: envelopes, facts and tables of the journal, from where segments end.

A start reads what has come since the last segment was sealed, not the history.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from footprint.intake import EnvelopeIndex, MemoryReadings
from footprint.unsettling import Unsettled
from ingest.entry import Entry, EntryKind
from ingest.envelope_reading import read_envelope
from ingest.facts import read_fact
from ingest.journal import Journal
from ingest.manifest import MANIFEST
from ingest.series_parquet import ParquetStore
from ingest.stored_readings import StoredReadings
from ingest.unreadable import UnreadableEntries
from mrv.channel import parse_table
from mrv.column import column_bounds
from mrv.envelope import Envelope
from mrv.errors import MeterprintError
from mrv.fact import Fact
from mrv.finding import Finding
from mrv.reporting.completeness import Bounds, chain_link
from mrv.series import SeriesKey
from mrv.verification.note import split

MAX_OFFERED = 5000
"""Parsed envelopes kept for an engine that lags; beyond that it parses them itself."""
SEGMENT = 100_000
"""Readings gathered in memory before they are sealed into a segment."""
EACH_CHANNEL = 200
"""… and so many of each channel on average, as a channel costs something in every segment."""
SEGMENTS = "segments"
"""Folder of the segments in a state directory."""

log = structlog.get_logger("engine")


class EngineIntake:
    """Readings, chains and facts of a journal, kept up to date.

    With a `folder` readings are kept there in segments; the first process to open it writes them,
    others keep what is new in memory. Without one everything is in memory. `based` entries are in
    the results already, so that what they touch need not be noted.
    """

    def __init__(self, journal: Journal, folder: Path | None) -> None:
        self._journal = journal
        self._lock = threading.RLock()
        self.facts: list[Fact] = []
        self._based = 0
        self._index = 0
        self._offered: dict[int, tuple[str, Envelope]] = {}
        self._touched: dict[SeriesKey, tuple[int, int]] = {}
        self._told: set[str] = set()
        self._unsettled: dict[tuple[str, str], Unsettled] = {}
        self._memory_readings = 0
        self.sealed = threading.Event()
        """Set when a segment was written: there may be something to merge."""
        self.store: ParquetStore | None = None
        self.readings: EnvelopeIndex
        if folder is None:
            self.readings = MemoryReadings()
            self.unreadable = UnreadableEntries()
            return
        self.store = _opened(folder / SEGMENTS)
        if not self._holds(self.store.taken, self.store.anchor):
            log.warning("segments_of_another_journal", hint="they are built anew")
            self.store.clear()
        self.readings = StoredReadings(self.store, self._envelope)
        self.unreadable = self.readings.unreadable

    def _holds(self, entries: int, anchor: str) -> bool:
        """Whether the journal has that many entries, the last one of that identity."""
        return entries <= self._journal.size and self._anchor(entries) == anchor

    def _anchor(self, entries: int) -> str:
        return self._journal.entry(entries - 1).identity if entries else ""

    @property
    def entry_findings(self) -> list[Finding]:
        """What was noticed of entries that mean nothing, one for each signer."""
        return list(self.unreadable.findings())

    @property
    def reading_count(self) -> int:
        """Readings of all envelopes of the journal."""
        sealed = self.readings.sealed_readings if isinstance(self.readings, StoredReadings) else 0
        return sealed + self._memory_readings

    def catch_up(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Take in all journal entries not seen yet; how many."""
        size = self._journal.size
        start = self._index
        with self._lock:
            while self._index < size:
                offered = self._offered.pop(self._index, None)
                if offered is not None:
                    self._take_envelope(self._index, *offered)
                else:
                    self._read(self._next_offered(size), size, progress)
                if self._full():
                    self.seal()
            for index in [i for i in tuple(self._offered) if i < self._index]:
                del self._offered[index]
        return self._index - start

    def _full(self) -> bool:
        """Whether what is in memory makes a segment: enough readings, also of each channel."""
        if self.store is None or self.store.pending < SEGMENT:
            return False
        return self.store.pending >= EACH_CHANNEL * self.store.tail_channels

    def _next_offered(self, size: int) -> int:
        """The next entry that ingest has parsed for us, the journal's end where there is none."""
        later = [index for index in tuple(self._offered) if index > self._index]
        return min(later, default=size)

    def _read(self, stop: int, size: int, progress: Callable[[int, int], None] | None) -> None:
        """Take entries from the journal up to `stop`, or until there is a segment to seal."""
        for entry in self._journal.entries(self._index, stop):
            self._take(entry)
            if progress is not None and entry.index % 500 == 0:
                progress(entry.index, size)
            if self._full():
                return

    def offer(self, index: int, identity: str, envelope: Envelope) -> None:
        """An envelope of the journal that ingest has parsed already, to spare doing it again."""
        if self._index <= index and len(self._offered) < MAX_OFFERED:
            self._offered[index] = (identity, envelope)

    def _take(self, entry: Entry) -> None:
        self._index = entry.index + 1
        try:
            if entry.kind is EntryKind.FACT:
                self.facts.append(read_fact(entry.note, entry.body, entry.body_salt, entry.index))
            elif entry.kind is EntryKind.TABLE:
                self._table(entry)
                if isinstance(self.readings, StoredReadings):
                    self.readings.tables.append(entry.index)
            else:
                self._take_envelope(entry.index, entry.identity, self._own(entry))
        except MeterprintError as error:
            self.unreadable.add(signer_of(entry), entry.index, str(error))

    def _own(self, entry: Entry) -> Envelope:
        """The envelope of an entry. Raises MeterprintError where it speaks for somebody else."""
        envelope = read_envelope(split(entry.note)[0])
        signer = signer_of(entry)
        if (envelope.site, envelope.agent) != (self._journal.site, signer):
            said = f"{envelope.site}/{envelope.agent}"
            raise MeterprintError(f"signed by {signer}, speaks for {said}")
        return envelope

    def _table(self, entry: Entry) -> None:
        """Take in a channel table; who speaks for its registers may have changed."""
        table = parse_table(split(entry.note)[0])
        self.readings.add_table(entry.identity, table)
        if entry.index >= self._based:
            self._told |= {channel.name.partition(".")[0] for channel in table.channels}

    def _take_envelope(self, index: int, identity: str, envelope: Envelope) -> None:
        self._index = index + 1
        taken = self.readings.add_envelope(identity, envelope)
        self._memory_readings += envelope.readings
        rivals = self.readings.take_rivals()
        if index >= self._based:
            self._told.update(channel.partition(".")[0] for channel in rivals)
            self._touch(taken.keys, taken.bounds)
            if taken.unsettled is not None:
                self._unsettle((envelope.agent, envelope.stream), taken.unsettled)

    def _envelope(self, identity: str) -> Envelope | None:
        """An envelope of the journal, read again."""
        index = self._journal.index_of(identity)
        return None if index is None else read_envelope(split(self._journal.entry(index).note)[0])

    def _touch_again(self, entry: Entry) -> None:
        """Note what an envelope touches whose readings are sealed."""
        try:
            envelope = self._own(entry)
        except MeterprintError:
            return  # it is among the unreadable ones already
        bounds = [column_bounds(column) for column in envelope.cols]
        self._touch(envelope.keys, bounds)
        link = chain_link(envelope, entry.identity, bounds)
        chain = self.readings.chain(envelope.agent, envelope.stream)
        low = min(link.t_first, chain.lower_end(link.t_last))
        self._unsettle((envelope.agent, envelope.stream), Unsettled(low, link.t_last, waiting=True))

    def _unsettle(self, place: tuple[str, str], unsettled: Unsettled) -> None:
        known = self._unsettled.get(place)
        self._unsettled[place] = unsettled if known is None else known | unsettled

    def _touch(self, keys: Sequence[SeriesKey], bounds: Sequence[Bounds]) -> None:
        for key, (first, last) in zip(keys, bounds, strict=True):
            known = self._touched.get(key)
            if known is None:
                self._touched[key] = first, last
            elif first < known[0] or last > known[1]:
                self._touched[key] = min(first, known[0]), max(last, known[1])

    def seal(self) -> None:
        """Put readings and links in memory into a segment, where this process may write one."""
        if not isinstance(self.readings, StoredReadings) or not self.readings.store.writable:
            return
        with self._lock:
            try:
                self.readings.seal(self._index, self._anchor(self._index))
            except MeterprintError as error:
                log.warning("segment_refused", error=str(error), hint=error.hint)
                return
            self._memory_readings = self.readings.store.pending
            self.sealed.set()

    def compact(self) -> None:
        """Merge segments until there is nothing to merge; meant for a thread of its own."""
        try:
            while self.store is not None and self.store.compact():
                pass
        except (MeterprintError, OSError) as error:
            log.warning("segments_not_merged", error=str(error))


def _opened(folder: Path) -> ParquetStore:
    """The store of segments; a list that does not fit its files is thrown away."""
    try:
        return ParquetStore(folder)
    except MeterprintError as error:
        log.warning("segments_unreadable", error=str(error), hint="they are built anew")
        (folder / MANIFEST).unlink(missing_ok=True)
        return ParquetStore(folder)


def signer_of(entry: Entry) -> str:
    """Who signed an entry of the journal."""
    return split(entry.note)[1][0].name
