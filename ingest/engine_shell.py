"""The shell around the engine: feeds it from the journal and keeps its results up to date.

Everything here can be thrown away and rebuilt: readings in segments and stored results are
functions of the journal. A start reads what has come since they were written, not the history.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from footprint.balancing import balance_findings, balance_windows
from footprint.batch import BatchState
from footprint.bundle import Needs, needs_of
from footprint.conservation import Conservation, books
from footprint.engine import Engine
from footprint.exact import decimal_text
from footprint.intake import MemoryReadings
from footprint.knowledge import Knowledge
from footprint.restatement import Touched, batches_around, reach, restated
from footprint.timeline import OPEN, Batch
from ingest.engine_intake import SEGMENT, SEGMENTS, EngineIntake, log, signer_of
from ingest.entry import EntryKind
from ingest.facts import load_facts
from ingest.journal import Journal, JournalError
from ingest.kernels import OnDemand, on_demand
from ingest.result_store import Basis, ResultStore, Revision
from ingest.site_findings import OddChains, unknown_instruments
from ingest.stored_readings import StoredReadings
from ingest.unreadable import UnreadableEntries
from mrv.errors import MeterprintError
from mrv.finding import Finding
from mrv.measurement.activity import PYTHON, Kernels
from mrv.measurement.law import DIP_RUN
from mrv.series import SeriesKey

__all__ = ["SEGMENT", "SEGMENTS", "EngineShell", "Revision"]

RESULTS = "results.db"
"""File of the results in a state directory."""
SAVE_EVERY = 1000
"""Journal entries after which results are written."""
AHEAD = 200
"""Batches whose readings are read together."""
METERS = 100
"""Meters made at once beside a running engine: some 5 ms."""
CHANGES = 1000
"""Changes of results that are remembered for those who follow them."""
NEAR = 2 * DIP_RUN + 2
"""Good readings before new ones whose steps they may change: a decision looks so many ahead as may
be passed over, and a step may have passed over as many."""


class EngineShell(EngineIntake):
    """The engine of one site, live: what was taken in, understood and computed.

    With a `folder` its results are kept there too, by the process that writes the segments.
    """

    def __init__(
        self, journal: Journal, kernels: Kernels | None = None, folder: Path | None = None
    ) -> None:
        super().__init__(journal, folder)
        self._everything = True
        self._wanted: set[str] = set()
        self._understood = 0
        self.version = 0
        self._changed = threading.Condition()
        self._history: deque[tuple[int, str]] = deque(maxlen=CHANGES)
        self._followers: list[Callable[[], object]] = []
        self._odd_chains = OddChains()
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
            self._wanted = set(self.results.basis.stale)

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
            self._odd_chains.findings(self.readings)

    def save(self) -> None:
        """Write results, where every batch that may differ has been computed."""
        with self._lock:
            writable = self.store is not None and self.store.writable
            pending = self._everything or self._touched or self._told or self._fresh_facts
            if writable and not pending and not self._wanted - self.results.provisional:
                anchor = self._anchor(self._index)
                self.results.save(Basis(self._index, anchor, frozenset(self._wanted)))
                self._based = self.results.basis.entries

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
        for instrument in self._told:
            if self.engine.other_channels(instrument):
                lines = self.engine.lines_of(instrument)
                self._wanted |= batches_around(self.engine, Touched(lines, 0, OPEN))
        self._told.clear()
        growing: dict[frozenset[str], int] = {}
        for key, (first, last) in self._touched.items():
            low, high = self._reach(key, first, last)
            self.engine.forget(key.channel, low, high, first)
            lines = self.engine.lines_of(key.channel.partition(".")[0])
            if high == OPEN:  # of all that reach to the end of time the earliest counts
                growing[lines] = min(growing.get(lines, low), low)
            else:
                self._wanted |= batches_around(self.engine, Touched(lines, low, high))
        for lines, low in growing.items():
            self._wanted |= batches_around(self.engine, Touched(lines, low, OPEN))
        self._touched.clear()

    def _reach(self, key: SeriesKey, first: int, last: int) -> tuple[int, int]:
        near = self.readings.read(key, first, last + 1, NEAR)
        low, high = reach([int(near.t[i]) for i in range(len(near)) if near.ok[i]], first, last)
        return low, high if high == OPEN else max(high, self.engine.reaches(key.channel, last))

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
                if place % AHEAD == 0:
                    self.engine.foresee(wanted[place : place + AHEAD])
                if self._compute(batch.id):
                    changed.append(batch.id)
            if wanted and progress is not None:
                progress(len(wanted), len(wanted))
        self._tell(changed)
        if eager and self._index - self.results.basis.entries >= SAVE_EVERY:
            self.save()
            self._trim()
        elif len(wanted) > AHEAD:
            self._trim()
        return changed

    def _trim(self) -> None:
        with self._lock:
            self.engine.trim()

    def _tell(self, changed: Sequence[str]) -> None:
        """Tell everybody who waits or follows that these batches have other results."""
        if not changed:
            return
        with self._changed:
            self.version += 1
            self._history.extend((self.version, name) for name in changed)
            self._changed.notify_all()
            followers = tuple(self._followers)
        for told in followers:
            told()

    def follow(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have `told` called after each change, in the engine's thread; returns what ends it."""
        with self._changed:
            self._followers.append(told)

        def unfollow() -> None:
            with self._changed:
                self._followers.remove(told)

        return unfollow

    def changed_since(self, version: int) -> list[str]:
        """Batches whose result is another one since a version, the latest last, each once.

        Only so many changes are remembered: it may be fewer than there were.
        """
        with self._changed:
            names = [name for at, name in self._history if at > version]
        return list(dict.fromkeys(reversed(names)))[::-1]

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
        if not self.results.put(name, result):
            return False
        if result.state is not BatchState.PROVISIONAL:
            digest = self.results.digest(name)
            per_unit = result.per_unit or decimal_text(result.footprint)
            self.results.revise(name, Revision(self._index, digest, result.state, per_unit))
        return True

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

    def _findings_of_results(self) -> Iterator[Finding]:
        for name in self.results:
            result = self.results.get(name)  # the engine may have let go of it meanwhile
            if result is not None:
                yield from result.findings

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
            found.update(self._odd_chains.findings(self.readings))
            found.update(unknown_instruments(self.engine.knowledge, self.readings))
            return sorted(found)

    def findings(self) -> list[Finding]:
        """All findings, without twins, sorted.

        What needs the history is looked at beside the engine, which goes on meanwhile.
        """
        with self._lock:
            found = set(self.site_findings())
            beside = Engine(self.engine.knowledge, self.readings, self._kernels)
        found.update(self._findings_of_results())
        for entry in books(beside):
            found.update(entry.findings)
        plants = beside.knowledge.plants
        if plants and plants[-1][1].balances:
            found.update(balance_findings(balance_windows(beside, plants[-1][1])))
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
            self._wanted.clear()
            self._odd_chains = OddChains()
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
