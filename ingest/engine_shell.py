"""The shell around the engine: feeds it from the journal and keeps its results up to date.

Everything here can be thrown away and rebuilt: results are a function of the journal.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from footprint.balancing import balance_findings, balance_windows
from footprint.batch import BatchResult, BatchState
from footprint.bundle import Needs, needs_of
from footprint.conservation import Conservation, books
from footprint.engine import Engine
from footprint.intake import MemoryReadings
from footprint.knowledge import Knowledge
from ingest.entry import Entry, EntryKind
from ingest.facts import read_fact
from ingest.journal import Journal
from mrv.channel import parse_table
from mrv.envelope import Envelope, column_times, parse
from mrv.errors import MeterprintError
from mrv.fact import Fact
from mrv.finding import Finding, Severity
from mrv.measurement.activity import PYTHON, Kernels
from mrv.reporting.completeness import clock_steps, forks
from mrv.series import SeriesKey
from mrv.verification.note import split

MAX_OFFERED = 5000
"""Parsed envelopes kept for an engine that lags; beyond that it parses them itself."""
ALWAYS = 2**63
"""Later than any moment."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A figure that was issued for a batch, and when it became known."""

    index: int
    """Journal size at which it was computed."""
    digest: str
    """Digest of the result."""
    state: BatchState
    """State then."""
    footprint: str
    """kgCO2e per unit then, or of the batch where there is no good output."""


class EngineShell:
    """The engine of one site, live."""

    def __init__(self, journal: Journal, kernels: Kernels = PYTHON) -> None:
        self._journal = journal
        self._kernels = kernels
        self._lock = threading.RLock()
        self._facts: list[Fact] = []
        self._index = 0
        self._offered: dict[int, Envelope] = {}
        self._stale = True
        self._dirty: set[str] | None = None
        self._touched: dict[SeriesKey, tuple[int, int]] = {}
        self.readings = MemoryReadings()
        self.results: dict[str, BatchResult] = {}
        self.revisions: dict[str, list[Revision]] = {}
        self.entry_findings: list[Finding] = []
        self.reading_count = 0
        self.version = 0
        self._changed = threading.Condition()
        self.engine = Engine(Knowledge(()), self.readings, kernels)

    def catch_up(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Take in all journal entries not seen yet; how many."""
        size = self._journal.size
        start = self._index
        with self._lock:
            for entry in self._journal.entries(start, size):
                self._take(entry)
                if progress is not None and entry.index % 500 == 0:
                    progress(entry.index, size)
        return self._index - start

    def offer(self, index: int, envelope: Envelope) -> None:
        """An envelope of the journal that ingest has parsed already, to spare doing it again."""
        if len(self._offered) < MAX_OFFERED:
            self._offered[index] = envelope

    def _take(self, entry: Entry) -> None:
        self._index = entry.index + 1
        try:
            if entry.kind is EntryKind.FACT:
                self._facts.append(read_fact(entry.note, entry.body, entry.body_salt, entry.index))
                self._stale = True
            elif entry.kind is EntryKind.TABLE:
                self.readings.add_table(entry.identity, parse_table(split(entry.note)[0]))
                self._stale = True
                self._dirty = None
            else:
                envelope = self._offered.pop(entry.index, None)
                if envelope is None:
                    envelope = parse(split(entry.note)[0])
                self._take_envelope(entry.identity, envelope)
        except MeterprintError as error:
            self.entry_findings.append(
                Finding(
                    "unreadable_entry",
                    f"entry {entry.index}",
                    0,
                    Severity.ERROR,
                    (("error", str(error)[:200]),),
                )
            )

    def _take_envelope(self, identity: str, envelope: Envelope) -> None:
        self.readings.add_envelope(identity, envelope)
        self.reading_count += envelope.readings
        for column in envelope.cols:
            key = SeriesKey(envelope.agent, envelope.stream, column.ch)
            times = column_times(column)
            low, high = self._touched.get(key, (times[0], times[-1]))
            self._touched[key] = (min(low, times[0]), max(high, times[-1]))

    def _settle(self) -> list[str]:
        """Bring knowledge up to date and name the batches to compute again."""
        fresh = self._stale
        if fresh:
            before = self.engine.knowledge
            knowledge = Knowledge(self._facts)
            registry_same = before.registry_length == knowledge.registry_length
            tables_same = self._dirty is not None
            earlier = self.engine if registry_same and tables_same else None
            self.engine = Engine(knowledge, self.readings, self._kernels, earlier)
            self._stale = False
            if earlier is None:
                self._dirty = None
        every = self.engine.batches()
        if self._dirty is None:
            self._dirty = set()
            self._touched.clear()
            return [batch.id for batch in every]
        wanted = {name for name, r in self.results.items() if r.state is BatchState.PROVISIONAL}
        wanted |= {b.id for b in every if b.id not in self.results or fresh}
        for key, (first, last) in self._touched.items():
            low, high = self._reach(key, first, last)
            self.engine.forget(key.channel, low, high)
            wanted |= {b.id for b in every if b.start <= high and (b.end is None or b.end >= low)}
        self._touched.clear()
        return [batch.id for batch in every if batch.id in wanted]

    def _reach(self, key: SeriesKey, first: int, last: int) -> tuple[int, int]:
        """Times whose windows or pools readings in [first, last] may change."""
        around = self.readings.read(key, first, last + 1, 5)
        size = len(around)
        low = min(first, around.t[0]) if size else first
        inside = size and around.t[-1] > last
        high = around.t[-1] if inside else ALWAYS
        plant = self.engine.knowledge.plant_at(first)
        window = plant.policy.pool_window if plant else 0
        if high < ALWAYS:
            later = (b.end for b in self.engine.batches() if b.end and b.end > high and b.good)
            high = min(later, default=ALWAYS)
        return low - window, min(high + window, ALWAYS)

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Compute again what is out of date; names of batches whose result changed."""
        with self._lock:
            wanted = self._settle()
            changed = []
            for place, name in enumerate(wanted):
                result = self.engine.batch(name)
                if progress is not None and place % 20 == 0:
                    progress(place, len(wanted))
                if result is None:
                    continue
                known = self.results.get(name)
                self.results[name] = result
                digest = result.digest()
                if known is None or known.digest() != digest:
                    changed.append(name)
                    self._revise(name, result, digest)
            if wanted and progress is not None:
                progress(len(wanted), len(wanted))
        if changed:
            with self._changed:
                self.version += 1
                self._changed.notify_all()
        return changed

    def _revise(self, name: str, result: BatchResult, digest: str) -> None:
        if result.state is BatchState.PROVISIONAL:
            return
        history = self.revisions.setdefault(name, [])
        if not history or history[-1].digest != digest:
            per_unit = result.per_unit or result.to_json()["footprint"]
            history.append(Revision(self._index, digest, result.state, per_unit))

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
            if self._stale:
                dirty = self._settle()
                self._dirty = None if dirty else self._dirty

    @property
    def lag(self) -> int:
        """Journal entries not taken in yet."""
        return self._journal.size - self._index

    def batch_findings(self) -> Counter[str]:
        """Findings of the batches' results by rule, without looking at anything else."""
        results = list(self.results.values())
        return Counter(finding.rule for result in results for finding in result.findings)

    @contextmanager
    def held(self) -> Iterator[Engine]:
        """The engine with every entry of the journal; nothing is taken in until it is let go."""
        with self._lock:
            self.catch_up()
            self.settle()
            yield self.engine

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

    def _chain_findings(self) -> Iterable[Finding]:
        for (agent, stream), chain in self.readings.chains():
            for first, second in chain.equivocations:
                numbers = (("first", first), ("second", second))
                yield Finding("equivocation", f"{agent}/{stream}", 0, Severity.ERROR, numbers)
            if chain.late:
                since = min(link.t_first for link in chain.late)
                count = (("envelopes", str(len(chain.late))),)
                yield Finding("late", f"{agent}/{stream}", since, Severity.INFO, count)
            for link, step in clock_steps(chain.links()):
                numbers = (("step_ns", str(step)), ("seq", str(link.seq)))
                yield Finding("clock_step", f"{agent}/{stream}", link.t, Severity.WARNING, numbers)
            for identity in forks(chain.links()):
                yield Finding(
                    "fork", f"{agent}/{stream}", 0, Severity.ERROR, (("after", identity),)
                )

    def _unknown(self) -> Iterable[Finding]:
        plants = self.engine.knowledge.plants
        known = {i.id for _, plant in plants for i in plant.instruments}
        for channel in self.readings.channels():
            instrument = channel.partition(".")[0]
            if instrument not in known:
                yield Finding("unknown_instrument", channel, 0, Severity.ERROR)
