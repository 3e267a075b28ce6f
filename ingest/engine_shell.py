"""The shell around the engine: feeds it from the journal and keeps its results up to date.

Everything here can be thrown away and rebuilt: readings in segments and stored results are
functions of the journal. A start reads what has come since they were written, not the history.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from footprint.balancing import balance_findings, balance_windows
from footprint.batch import BatchState
from footprint.bundle import Needs, needs_of
from footprint.conservation import Conservation, books
from footprint.engine import Engine
from footprint.intake import EnvelopeIndex, MemoryReadings
from footprint.knowledge import Knowledge
from footprint.restatement import Touched, batches_around, lines_of, reach, restated
from footprint.timeline import OPEN, Batch
from ingest.entry import Entry, EntryKind
from ingest.facts import load_facts, read_fact
from ingest.journal import Journal, JournalError
from ingest.kernels import OnDemand, on_demand
from ingest.result_store import Basis, ResultStore, Revision
from ingest.series_parquet import MANIFEST, ParquetStore
from ingest.stored_readings import StoredReadings
from mrv.channel import parse_table
from mrv.envelope import Envelope, column_times, parse
from mrv.errors import MeterprintError
from mrv.fact import Fact
from mrv.finding import Finding, Severity
from mrv.measurement.activity import PYTHON, Kernels
from mrv.reporting.mending import clock_findings
from mrv.series import SeriesKey
from mrv.verification.note import split

__all__ = ["EngineShell", "Revision"]

MAX_OFFERED = 5000
"""Parsed envelopes kept for an engine that lags; beyond that it parses them itself."""
SEGMENT = 100_000
"""Readings gathered in memory before they are sealed into a segment."""
EACH_CHANNEL = 200
"""… and so many of each channel on average, as a channel costs something in every segment."""
SEGMENTS, RESULTS = "segments", "results.db"
"""Places of the views in a state directory."""
SAVE_EVERY = 1000
"""Journal entries after which results are written."""
NEAR = 5
"""Good readings on either side of new ones whose windows they may change."""

log = structlog.get_logger("engine")


class EngineShell:
    """The engine of one site, live.

    With a `folder` its views are kept there; the first process to open it writes them, others
    keep what is new in memory. Without one everything is in memory.
    """

    def __init__(
        self, journal: Journal, kernels: Kernels | None = None, folder: Path | None = None
    ) -> None:
        self._journal = journal
        self._lock = threading.RLock()
        self.facts: list[Fact] = []
        self._index = 0
        self._offered: dict[int, tuple[str, Envelope]] = {}
        self._everything = True
        self._touched: dict[SeriesKey, tuple[int, int]] = {}
        self._told: set[str] = set()
        self._wanted: set[str] = set()
        self._understood = 0
        self.entry_findings: list[Finding] = []
        self._memory_readings = 0
        self.version = 0
        self._changed = threading.Condition()
        self.sealed = threading.Event()
        """Set when a segment was written: there may be something to merge."""
        self._chain_findings_at: tuple[int, list[Finding]] = (-1, [])
        self.store: ParquetStore | None = None
        self.demand = OnDemand()
        self.readings: EnvelopeIndex
        if folder is None:
            self._kernels = kernels or PYTHON
            self.readings = MemoryReadings()
            self.results = ResultStore()
        else:
            self._kernels, self.demand = on_demand()
            self._kernels = kernels or self._kernels
            self.store = _opened(folder / SEGMENTS)
            if not self._holds(self.store.taken, self.store.anchor):
                log.warning("segments_of_another_journal", hint="they are built anew")
                self.store.clear()
            self.readings = StoredReadings(self.store, self._envelope)
            self.results = ResultStore(folder / RESULTS)
            if not self._holds(self.results.basis.entries, self.results.basis.anchor):
                self.results.clear()
        self.engine = Engine(Knowledge(()), self.readings, self._kernels)
        self._resume()

    def _holds(self, entries: int, anchor: str) -> bool:
        """Whether the journal has that many entries, the last one of that identity."""
        return entries == 0 or self._journal.index_of(anchor) == entries - 1

    def _anchor(self, entries: int) -> str:
        return self._journal.entry(entries - 1).identity if entries else ""

    def _resume(self) -> None:
        """Take in what the views hold; note what has come since results were written."""
        if not isinstance(self.readings, StoredReadings):
            return
        sealed, based = self.readings.store.taken, self.results.basis.entries
        self.facts = load_facts(self._journal, 0, sealed)
        self._everything = not based
        for index in self.readings.tables:
            self._table(self._journal.entry(index))
        self.entry_findings += [_unreadable(i, text) for i, text in self.readings.unreadable]
        for entry in self._journal.entries(min(based, sealed), sealed):
            if entry.kind is EntryKind.ENVELOPE:
                self._touch(entry)
        self._index = sealed
        self.catch_up()
        if based:
            known = [fact for fact in self.facts if fact.index < based]
            self.engine = Engine(Knowledge(known), self.readings, self._kernels)
            self._understood = len(known)
            self._wanted = set(self.results.provisional)

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
            self.entry_findings.append(_unreadable(entry.index, str(error)))
            if isinstance(self.readings, StoredReadings):
                self.readings.unreadable.append((entry.index, str(error)[:200]))

    def _own(self, entry: Entry) -> Envelope:
        """The envelope of an entry. Raises MeterprintError where it speaks for somebody else."""
        text, signatures = split(entry.note)
        envelope = parse(text)
        signer = signatures[0].name
        if (envelope.site, envelope.agent) != (self._journal.site, signer):
            said = f"{envelope.site}/{envelope.agent}"
            raise MeterprintError(f"signed by {signer}, speaks for {said}")
        return envelope

    def _table(self, entry: Entry) -> None:
        """Take in a channel table; who speaks for its registers may have changed."""
        table = parse_table(split(entry.note)[0])
        self.readings.add_table(entry.identity, table)
        if entry.index >= self.results.basis.entries:
            self._told |= {channel.name.partition(".")[0] for channel in table.channels}

    def _take_envelope(self, index: int, identity: str, envelope: Envelope) -> None:
        self._index = index + 1
        self.readings.add_envelope(identity, envelope)
        self._memory_readings += envelope.readings
        if index >= self.results.basis.entries:
            self._touch_envelope(envelope)

    def _envelope(self, identity: str) -> Envelope | None:
        """An envelope of the journal, read again."""
        index = self._journal.index_of(identity)
        return None if index is None else parse(split(self._journal.entry(index).note)[0])

    def _touch(self, entry: Entry) -> None:
        try:
            self._touch_envelope(self._own(entry))
        except MeterprintError:
            return  # it is among the unreadable ones already

    def _touch_envelope(self, envelope: Envelope) -> None:
        for column in envelope.cols:
            key = SeriesKey(envelope.agent, envelope.stream, column.ch)
            times = column_times(column)
            low, high = self._touched.get(key, (times[0], times[-1]))
            self._touched[key] = (min(low, times[0]), max(high, times[-1]))

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
            self.save()

    def warm(self) -> None:
        """Have the law compiled before it is needed; meant for a thread of its own."""
        self.demand.warm()

    def compact(self) -> None:
        """Merge segments until there is nothing to merge; meant for a thread of its own."""
        try:
            while self.store is not None and self.store.compact():
                pass
        except (MeterprintError, OSError) as error:
            log.warning("segments_not_merged", error=str(error))

    def save(self) -> None:
        """Write results, where every batch that may differ has been computed."""
        with self._lock:
            writable = self.store is not None and self.store.writable
            pending = self._everything or self._touched or self._told or self._fresh_facts
            if writable and not pending and not self._wanted - self.results.provisional:
                self.results.save(Basis(self._index, self._anchor(self._index)))

    @property
    def _fresh_facts(self) -> bool:
        return len(self.facts) != self._understood

    def _understand(self) -> None:
        """Bring knowledge up to the facts and note which batches may be other ones now."""
        before = self.engine
        knowledge = Knowledge(self.facts, earlier=None if self._everything else before.knowledge)
        earlier = None if self._everything else before
        self.engine = Engine(knowledge, self.readings, self._kernels, earlier)
        self._understood = len(self.facts)
        if not self._everything:
            names = restated(before, self.engine)
            if names is None:
                self._everything = True
            else:
                self._wanted |= names

    def _note_wanted(self) -> None:
        """Turn what was touched into names of batches."""
        for key, first, last in self.readings.take_restamped():
            low, high = self._touched.get(key, (first, last))
            self._touched[key] = (min(low, first), max(high, last))
        if self._fresh_facts or self._everything:
            self._understand()
        if self._everything:
            self._everything = False
            self._touched.clear()
            self._told.clear()
            self._wanted = {batch.id for batch in self.engine.batches()}
            for name in set(self.results) - self._wanted:
                del self.results[name]
            return
        plants = [plant for _, plant in self.engine.knowledge.plants]
        for instrument in self._told:
            if self.engine.other_channels(instrument):
                lines = lines_of(plants, instrument)
                self._wanted |= batches_around(self.engine, Touched(lines, 0, OPEN))
        self._told.clear()
        for key, (first, last) in self._touched.items():
            low, high = self._reach(key, first, last)
            self.engine.forget(key.channel, low, high)
            lines = lines_of(plants, key.channel.partition(".")[0])
            self._wanted |= batches_around(self.engine, Touched(lines, low, high))
        self._touched.clear()

    def _reach(self, key: SeriesKey, first: int, last: int) -> tuple[int, int]:
        near = self.readings.read(key, first, last + 1, NEAR)
        return reach([int(near.t[i]) for i in range(len(near)) if near.ok[i]], first, last)

    def refresh(
        self, progress: Callable[[int, int], None] | None = None, *, eager: bool = True
    ) -> list[str]:
        """Compute again what is out of date; names of batches whose result changed.

        Not `eager`: batches that have ended and only wait are left for the next eager refresh.
        """
        with self._lock:
            self._note_wanted()
            wanted = self._in_order(eager=eager)
            changed = []
            for place, batch in enumerate(wanted):
                if progress is not None and place % 20 == 0:
                    progress(place, len(wanted))
                if self._compute(batch.id):
                    changed.append(batch.id)
            if wanted and progress is not None:
                progress(len(wanted), len(wanted))
            if eager and self._index - self.results.basis.entries >= SAVE_EVERY:
                self.save()
        if changed:
            with self._changed:
                self.version += 1
                self._changed.notify_all()
        return changed

    def _in_order(self, *, eager: bool) -> list[Batch]:
        found = [pair[0] for name in self._wanted if (pair := self.engine.find(name))]
        if not eager:
            found = [b for b in found if b.end is None or b.id not in self.results]
        self._wanted -= {batch.id for batch in found}
        return sorted(found, key=lambda batch: (batch.start, batch.id))

    @property
    def waiting(self) -> int:
        """Batches left for the next eager refresh."""
        return len(self._wanted)

    def _compute(self, name: str) -> bool:
        """Compute a batch; whether its result changed."""
        result = self.engine.batch(name)
        if result is None:
            return False
        known = self.results.digest(name)
        digest = result.digest()
        if not self.results.put(name, result, digest):
            return False
        if known != digest and result.state is not BatchState.PROVISIONAL:
            per_unit = result.per_unit or result.to_json()["footprint"]
            self.results.revise(name, Revision(self._index, digest, result.state, per_unit))
        return known != digest

    def wait_change(self, version: int, timeout: float) -> int:
        """Block until results are newer than `version` or the time is over; the version now."""
        with self._changed:
            self._changed.wait_for(lambda: self.version > version, timeout)
            return self.version

    def books(self) -> list[Conservation]:
        """The books of every metered register."""
        with self._lock:
            self.settle()
            return books(self.engine)

    def settle(self) -> None:
        """Understand new facts without computing any batch."""
        with self._lock:
            if self._fresh_facts:
                self._understand()

    @property
    def lag(self) -> int:
        """Journal entries not taken in yet."""
        return self._journal.size - self._index

    def batch_findings(self) -> Counter[str]:
        """Findings of the batches' results by rule, without looking at anything else."""
        return Counter(f.rule for result in self.results.values() for f in result.findings)

    @contextmanager
    def held(self) -> Iterator[Engine]:
        """The engine with every entry of the journal; nothing is taken in until it is let go."""
        with self._lock:
            self.catch_up()
            self.settle()
            yield self.engine

    def engine_now(self) -> Engine:
        """The engine with every fact that was taken in understood."""
        with self._lock:
            self.settle()
            return self.engine

    def needs(self, name: str) -> Needs | None:
        """What a batch draws on, as far as entries are taken in; None = no such batch."""
        with self._lock:
            return needs_of(self.engine, name, self._kernels)

    def site_findings(self) -> list[Finding]:
        """What was noticed of instruments, streams and facts, without twins, sorted."""
        with self._lock:
            found: set[Finding] = set(self.entry_findings)
            found.update(self.engine.knowledge.all_findings())
            found.update(self.engine.meter_findings())
            found.update(self._chain_findings())
            found.update(self._unknown())
            return sorted(found)

    def findings(self) -> list[Finding]:
        """All findings, without twins, sorted."""
        with self._lock:
            found = set(self.site_findings())
            for result in self.results.values():
                found.update(result.findings)
            for entry in books(self.engine):
                found.update(entry.findings)
            plants = self.engine.knowledge.plants
            if plants and plants[-1][1].balances:
                found.update(balance_findings(balance_windows(self.engine, plants[-1][1])))
            return sorted(found)

    def _chain_findings(self) -> list[Finding]:
        """Equivocations, clock steps and forks; looked for again where a chain has grown."""
        size = sum(len(chain) for _, chain in self.readings.chains())
        if self._chain_findings_at[0] != size:
            self._chain_findings_at = (size, list(_odd_chains(self.readings)))
        return self._chain_findings_at[1]

    def _unknown(self) -> Iterable[Finding]:
        plants = self.engine.knowledge.plants
        known = {i.id for _, plant in plants for i in plant.instruments}
        for channel in self.readings.channels():
            instrument = channel.partition(".")[0]
            if instrument not in known:
                yield Finding("unknown_instrument", channel, 0, Severity.ERROR)

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Throw all views away and build them from the journal. Raises JournalError.

        Only the process that writes them may.
        """
        with self._lock:
            if isinstance(self.readings, StoredReadings):
                if not self.readings.store.writable:
                    raise JournalError(
                        "another process keeps the views of this state directory",
                        hint="stop it first",
                    )
                self.readings.store.clear()
                self.readings = StoredReadings(self.readings.store, self._envelope)
            else:
                self.readings = MemoryReadings()
            self.results.clear()
            self.facts, self._index, self._memory_readings = [], 0, 0
            self.entry_findings, self._everything, self._understood = [], True, 0
            self._touched.clear()
            self._told.clear()
            self._wanted.clear()
            self.engine = Engine(Knowledge(()), self.readings, self._kernels)
            self.catch_up(progress)

    def close(self) -> None:
        """Seal what is in memory and let go of the files."""
        with self._lock:
            self.seal()
            self.save()
            self.results.close()
            if self.store is not None:
                self.store.close()


def _opened(folder: Path) -> ParquetStore:
    """The store of segments; a list that does not fit its files is thrown away."""
    try:
        return ParquetStore(folder)
    except MeterprintError as error:
        log.warning("segments_unreadable", error=str(error), hint="they are built anew")
        (folder / MANIFEST).unlink(missing_ok=True)
        return ParquetStore(folder)


def _unreadable(index: int, error: str) -> Finding:
    numbers = (("error", error[:200]),)
    return Finding("unreadable_entry", f"entry {index}", 0, Severity.ERROR, numbers)


def _odd_chains(readings: EnvelopeIndex) -> Iterator[Finding]:
    for (agent, stream), chain in readings.chains():
        for first, second in chain.equivocations:
            numbers = (("first", first), ("second", second))
            yield Finding("equivocation", f"{agent}/{stream}", 0, Severity.ERROR, numbers)
        if chain.late:
            count = (("envelopes", str(chain.late)),)
            yield Finding("late", f"{agent}/{stream}", chain.late_since, Severity.INFO, count)
        for link, step in chain.clock_steps():
            numbers = (("step_ns", str(step)), ("seq", str(link.seq)))
            yield Finding("clock_step", f"{agent}/{stream}", link.t, Severity.WARNING, numbers)
        yield from clock_findings(f"{agent}/{stream}", readings.mended(agent, stream))
        for link in chain.new_starts():
            epoch = (("epoch", link.epoch),)
            yield Finding("new_chain", f"{agent}/{stream}", link.t, Severity.WARNING, epoch)
        for identity in chain.forks():
            yield Finding("fork", f"{agent}/{stream}", 0, Severity.ERROR, (("after", identity),))
