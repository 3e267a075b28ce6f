"""The shell around the engine: feeds it from the journal and keeps its results up to date.

Everything here can be thrown away and rebuilt: readings in segments and stored results are
functions of the journal. A start reads what has come since they were written, not the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from footprint.bundle import Needs, needs_of
from footprint.conservation import Conservation, books
from footprint.engine import Engine
from footprint.intake import MemoryReadings
from footprint.knowledge import Knowledge
from footprint.out_of_date import OutOfDate
from footprint.restatement import Touched, batches_around, reach_of, restated, vanished
from footprint.timeline import OPEN
from ingest.computing import AHEAD, Wanted, compute
from ingest.engine_intake import SEGMENT, SEGMENTS, EngineIntake, log, signer_of
from ingest.entry import EntryKind
from ingest.facts import load_facts
from ingest.journal import Journal, JournalError
from ingest.kernels import OnDemand, on_demand
from ingest.result_changes import ResultChanges
from ingest.result_store import Basis, ResultStore, Revision
from ingest.site_findings import SiteFindings, history_findings, result_findings
from ingest.sorted_findings import Alike, SortedFindings
from ingest.stored_readings import StoredReadings
from ingest.unreadable import UnreadableEntries
from mrv.errors import MeterprintError
from mrv.finding import Finding
from mrv.measurement.activity import PYTHON, Kernels

__all__ = ["SEGMENT", "SEGMENTS", "EngineShell", "Revision"]

RESULTS = "results.db"
"""File of the results in a state directory."""
SAVE_EVERY = 1000
"""Journal entries after which results are written."""
METERS = 100
"""Meters made at once beside a running engine: some 5 ms."""


class EngineShell(EngineIntake):
    """The engine of one site, live: what was taken in, understood and computed.

    With a `folder` its results are kept there too, by the process that writes the segments.
    """

    def __init__(
        self, journal: Journal, kernels: Kernels | None = None, folder: Path | None = None
    ) -> None:
        super().__init__(journal, folder)
        self._everything = True
        self._wanted = OutOfDate()
        self._understood = 0
        self.changes = ResultChanges()
        self._site_findings = SiteFindings()
        self.demand = OnDemand()
        if folder is None:
            self._kernels = kernels or PYTHON
            self.results = ResultStore()
        else:
            self._kernels, self.demand = on_demand()
            self._kernels = kernels or self._kernels
            self.results = ResultStore(folder / RESULTS)
            if not self._holds(self.results.basis.entries, self.results.basis.anchor):
                self.results.clear()
            self._based = self.results.basis.entries
        self.engine = Engine(Knowledge(()), self.readings, self._kernels)
        self._resume()

    def _resume(self) -> None:
        """Take in what the views hold; note what has come since results were written."""
        if not isinstance(self.readings, StoredReadings):
            return
        sealed, based = self.readings.store.taken, self._based
        self.facts = load_facts(self._journal, 0, sealed)
        self._everything = not based
        for index in self.readings.tables:
            self._table(self._journal.entry(index))
        for index, text in self.readings.unsigned:
            signer = signer_of(self._journal.entry(index))
            self.unreadable.learn((signer, 1, index, index, text))
        for entry in self._journal.entries(min(based, sealed), sealed):
            if entry.kind is EntryKind.ENVELOPE:
                self._touch_again(entry)
        self._index = sealed
        self.catch_up()
        if based:
            known = [fact for fact in self.facts if fact.index < based]
            self.engine = Engine(Knowledge(known), self.readings, self._kernels)
            self._understood = len(known)
            self._wanted = OutOfDate(self.results.basis.stale)

    def seal(self) -> None:
        """Put readings and links in memory into a segment, and write results beside it."""
        super().seal()
        self.save()

    def warm(self) -> None:
        """Have the law compiled, meters and chains looked at before somebody waits for them.

        Meant for a thread of its own; the engine goes on between a few meters and the next.
        """
        self.demand.warm()
        try:
            self._look_ahead(self.engine_now())
        except MeterprintError as error:  # whoever asks will be told
            log.warning("not_looked_ahead", error=str(error), hint=error.hint)

    def _look_ahead(self, engine: Engine) -> None:
        pairs = [(p, source) for _, p in engine.knowledge.plants for source in p.sources]
        for first in range(0, len(pairs), METERS):
            with self._lock:
                if self.engine is not engine:
                    return  # facts came; meters are made as somebody asks for them
                for plant, source in pairs[first : first + METERS]:
                    engine.metered(plant, source)
        with self._lock:
            self._site_findings_now()

    def save(self) -> None:
        """Write results, where every batch that may differ has been computed."""
        with self._lock:
            writable = self.store is not None and self.store.writable
            touched = self._touched or self._told or self._unsettled
            pending = self._everything or touched or self._fresh_facts
            if writable and not pending and self.results.provisional.issuperset(self._wanted):
                anchor = self._anchor(self._index)
                self.results.save(Basis(self._index, anchor, frozenset(self._wanted)))
                self._based = self.results.basis.entries

    @property
    def _fresh_facts(self) -> bool:
        return len(self.facts) != self._understood

    def _understand(self) -> None:
        """Bring knowledge up to the facts and note which batches may be other ones now."""
        before = self.engine
        fresh = self.facts[self._understood :]
        knowledge = before.knowledge.grown(fresh)
        earlier = None if self._everything else before
        self.engine = Engine(knowledge, self.readings, self._kernels, earlier)
        self._understood = len(self.facts)
        for name in vanished(before.knowledge, knowledge):
            self.results.order.drop(name)
        if not self._everything:
            found = restated(before, self.engine)
            if found is None:
                self._everything = True
            else:
                self._wanted.update(found)

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
            self._unsettled.clear()
            self._wanted = OutOfDate(batch.id for batch in self.engine.batches())
            for name in set(self.results).difference(self._wanted):
                del self.results[name]
            return
        for instrument in self._told:
            if self.engine.other_channels(instrument):
                lines = self.engine.lines_of(instrument)
                self._wanted.add(batches_around(self.engine, Touched(lines, 0, OPEN)))
        self._told.clear()
        self._note_unsettled()
        growing: dict[frozenset[str], int] = {}
        for key, (first, last) in self._touched.items():
            reaches = partial(self.engine.reaches, key.channel)
            low, high = reach_of(self.readings, key, first, last, reaches)
            self.engine.forget(key.channel, low, high, first)
            lines = self.engine.lines_of(key.channel.partition(".")[0])
            if high == OPEN:  # of all that reach to the end of time the earliest counts
                growing[lines] = min(growing.get(lines, low), low)
            else:
                self._wanted.add(batches_around(self.engine, Touched(lines, low, high)))
        for lines, low in growing.items():
            self._wanted.add(batches_around(self.engine, Touched(lines, low, OPEN)))
        self._touched.clear()

    def _note_unsettled(self) -> None:
        """Turn what other channels of a stream may be complete by into names of batches."""
        waiting: set[str] = set()
        for place, unsettled in self._unsettled.items():
            instruments = {name.partition(".")[0] for name in self.readings.channels_of(*place)}
            lines = frozenset().union(*map(self.engine.lines_of, instruments))
            if unsettled.low <= unsettled.high:
                touched = Touched(lines, unsettled.low, unsettled.high)
                self._wanted.add(batches_around(self.engine, touched))
            if unsettled.waiting:
                waiting |= lines
        self._unsettled.clear()
        if waiting:
            names = (*self.results.provisional, *self.results.estimated)
            found = ((name, self.engine.find(name)) for name in names)
            self._wanted.add(name for name, pair in found if pair and pair[1].line in waiting)

    def refresh(
        self, progress: Callable[[int, int], None] | None = None, *, eager: bool = True
    ) -> list[str]:
        """Compute again what is out of date; names of batches whose result changed.

        Not `eager`: batches that have ended and only wait are left for the next eager refresh.
        """
        with self._lock:
            self._note_wanted()
            wanted = self._in_order(eager=eager)
            changed = compute(self.engine, self.results, wanted, self._index, progress)
        self.changes.tell(changed)
        due = eager and self._index - self.results.basis.entries >= SAVE_EVERY
        if due:
            self.save()
        if due or len(wanted) > AHEAD:
            with self._lock:
                self.engine.trim()
        return changed

    def _in_order(self, *, eager: bool) -> list[Wanted]:
        """Batches to compute now by start, each with the instruments that say something else."""
        found = [pair[0] for name in self._wanted if (pair := self.engine.find(name))]
        if not eager:
            found = [b for b in found if b.end is None or b.id not in self.results]
        found.sort(key=lambda batch: (batch.start, batch.id))
        return [(batch, self._wanted.take(batch.id)) for batch in found]

    @property
    def waiting(self) -> int:
        """Batches left for the next eager refresh."""
        return len(self._wanted)

    def newest(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Batches that have a result, newest first, from place `start` up to `stop`."""
        if not self.results.order.filled:
            with self._lock:
                timelines = self.engine.knowledge.timelines.values()
                found = ((b.id, b.start) for t in timelines for b in t.ordered())
                self.results.order.fill(pair for pair in found if pair[0] in self.results)
        return self.results.order.names(start, stop)

    def books(self) -> list[Conservation]:
        """The books of every metered register."""
        with self._lock:
            self.settle()
            return books(self.engine)

    def settle(self) -> None:
        """Understand new facts without computing any batch."""
        if self._fresh_facts:
            with self._lock:
                if self._fresh_facts:
                    self._understand()

    @property
    def lag(self) -> int:
        """Journal entries not taken in yet."""
        return self._journal.size - self._index

    def batch_findings(self) -> Counter[str]:
        """Findings of the batches' results by rule, without looking at anything else."""
        return +self.results.rules

    @contextmanager
    def held(self) -> Iterator[Engine]:
        """The engine with every entry of the journal; nothing is taken in until it is let go."""
        with self._lock:
            self.catch_up()
            self.settle()
            yield self.engine

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing is taken in while the block runs."""
        with self._lock:
            yield

    def engine_now(self) -> Engine:
        """The engine with every fact that was taken in understood."""
        with self._lock:
            self.settle()
            return self.engine

    def needs(self, name: str) -> Needs | None:
        """What a batch draws on, as far as entries are taken in; None = no such batch."""
        with self._lock:
            return needs_of(self.engine, name, self._kernels)

    def site_findings(self) -> Sequence[Finding]:
        """What was noticed of instruments, streams and facts, the gravest first, without twins."""
        with self._lock:
            return self._site_findings_now().rows()

    def findings_alike(self, start: int, count: int, rule: str | None = None) -> list[Alike]:
        """The same by weight and rule, of each so many from place `start` on; None = all rules."""
        with self._lock:
            return self._site_findings_now().alike(start, count, rule)

    def _site_findings_now(self) -> SortedFindings:
        self._site_findings.update(self.engine, self.readings, self.entry_findings)
        return self._site_findings.sorted

    def findings(self) -> list[Finding]:
        """All findings, without twins, sorted.

        What needs the history is looked at beside the engine, which goes on meanwhile.
        """
        with self._lock:
            found = set(self.site_findings())
            beside = Engine(self.engine.knowledge, self.readings, self._kernels)
        found.update(result_findings(self.results))
        found.update(history_findings(beside))
        return sorted(found)

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
                self.unreadable = self.readings.unreadable
            else:
                self.readings = MemoryReadings()
                self.unreadable = UnreadableEntries()
            self.results.clear()
            self._based = 0
            self.facts, self._index, self._memory_readings = [], 0, 0
            self._everything, self._understood = True, 0
            self._touched.clear()
            self._told.clear()
            self._unsettled.clear()
            self._wanted.clear()
            self._site_findings = SiteFindings()
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
            if isinstance(self.readings, StoredReadings):
                self.readings.let_go()
