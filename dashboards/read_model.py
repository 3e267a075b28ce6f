"""What the pages show, read from the running site."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from dashboards.agent_health import health
from dashboards.evidence import Evidence, EvidenceKept
from dashboards.instrument_order import InstrumentOrder, Supported, instrument_order
from dashboards.kept import Kept
from dashboards.plant_index import PlantIndex, index_plant
from dashboards.provenance import EnvelopeRun, FactorUse, factors_of
from dashboards.running import Running, Trouble
from dashboards.shown import AgentRow, Figure, InstrumentRow, LineNow
from footprint.batch import BatchResult
from footprint.chain_tips import Tally
from footprint.exact import decimal_text
from footprint.plant import Instrument, PlantModel
from footprint.rows import batch_row
from ingest.engine_shell import Revision
from ingest.entry import Entry
from ingest.sorted_findings import Alike
from mrv.fact import Fact
from mrv.finding import Finding
from mrv.measurement.calibration import Certificate
from mrv.series import SeriesKey

TREND = 24
"""Batches in a trend."""
LOOK_BACK = 500
"""Newest batches of a line among which the one shown and its trend are looked for."""
ROWS = 2000
"""Batches whose rows of the interface stay in memory."""
FIGURES = 20_000
"""Batches whose figures stay in memory beside their results."""


def with_state(papers: Iterable[Certificate]) -> list[tuple[Certificate, str]]:
    """Certificates with their state now."""
    now = time.time_ns()
    return [(paper, paper.state_at(now).value) for paper in papers]


NO_TALLY = Tally()
"""Of an agent nothing has come from."""


class ReadModel:
    """Answers of the pages' questions; never computes a figure of its own."""

    def __init__(self, running: Running, wait: Callable[[int, float], int]) -> None:
        self._running = running
        self.wait_change = wait
        self._index = index_plant(None)
        self._order: tuple[PlantModel, object, InstrumentOrder] | None = None
        self._figures: Kept[Figure] = Kept(FIGURES)
        self._rows: Kept[dict[str, Any]] = Kept(ROWS)
        self._values: Kept[str] = Kept(ROWS)
        self._papers: tuple[PlantIndex, object, Sequence[Certificate]] | None = None
        self._evidence = EvidenceKept(running)

    @property
    def version(self) -> int:
        """Rises with every change of a result."""
        return self._running.engine.changes.version

    def follow(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have `told` called at each change, in the engine's thread; returns what ends it."""
        return self._running.engine.changes.follow(told)

    def changed_since(self, version: int) -> list[BatchResult]:
        """Results that are other ones since a version, those that changed last at the end."""
        results = self._running.engine.results
        names = self._running.engine.changes.since(version)
        return [result for name in names if (result := results.get(name)) is not None]

    def plant(self) -> PlantModel | None:
        """The plant as stated last."""
        return self._running.plant()

    def index(self) -> PlantIndex:
        """The plant as stated last, by names."""
        plant = self.plant()
        held = self._index
        if held.plant is not plant:
            held = self._index = index_plant(plant)
        return held

    def newest(self, start: int = 0, count: int | None = None) -> list[str]:
        """Names of batches from place `start` on, newest first; no result is read for it."""
        return self._running.engine.newest(start, None if count is None else start + count)

    def batches(self) -> list[BatchResult]:
        """All batches, newest first."""
        found = (self.batch(name) for name in self.newest())
        return [result for result in found if result is not None]

    def stamp(self, name: str) -> int:
        """A number that is another one whenever a batch was computed."""
        return self._running.engine.results.stamp(name)

    def figure(self, name: str) -> Figure | None:
        """The figure of a batch; kept as long as its result is."""
        results = self._running.engine.results
        stamp = results.stamp(name)
        held = self._figures.held(name, (results,), stamp)
        if held is None:
            result = results.get(name)
            if result is None:
                return None
            per_unit = result.per_unit
            held = Figure(
                result.batch.product,
                result.boundary,
                result.batch.end,
                None if per_unit is None else float(per_unit),
            )
            self._figures.keep(name, (results,), stamp, held)
        return held

    def batch_count(self) -> tuple[int, int]:
        """Number of batches, and of those that are provisional."""
        results = self._running.engine.results
        return len(results), len(results.provisional)

    def _newest(self, line: str) -> Iterator[str]:
        """Batches of a line, newest first."""
        results = self._running.engine.results
        ordered = self._running.engine.engine.timeline(line).ordered()
        for place in range(len(ordered) - 1, max(len(ordered) - LOOK_BACK, 0) - 1, -1):
            name = ordered[place].id
            if name in results:
                yield name

    def batch(self, name: str) -> BatchResult | None:
        """One batch."""
        return self._running.engine.results.get(name)

    def revisions(self, name: str) -> Sequence[Revision]:
        """Figures issued for a batch, oldest first."""
        return self._running.engine.results.revisions(name)

    def lines(self, start: int = 0, count: int | None = None) -> list[LineNow]:
        """Lines from place `start` on, as they are now."""
        stop = None if count is None else start + count
        names = islice(self.index().lines, start, stop)
        return [now for name in names if (now := self.line(name)) is not None]

    def line(self, name: str) -> LineNow | None:
        """One line now, None where the plant does not know it."""
        index = self.index()
        line = index.lines.get(name)
        if line is None or index.plant is None:
            return None
        latest = settled = None
        for batch in self._newest(name):
            latest = batch if latest is None else latest
            figure = self.figure(batch)
            if figure is not None and figure.per_unit is not None:
                settled = batch
                break
        result = None if latest is None else self.batch(latest)
        good = result if settled == latest else None if settled is None else self.batch(settled)
        shown = good or result
        return LineNow(
            name,
            line.name,
            result,
            good,
            index.plant.product(shown.batch.product) if shown else None,
            self._data_at(index.channels.get(name, ())),
        )

    def trend(self, now: LineNow) -> list[tuple[int, float]]:
        """(end ns, kgCO2e per unit) of recent batches of the product shown, oldest first."""
        shown = now.settled or now.result
        if shown is None:
            return []
        alike = (
            (figure.end or 0, figure.per_unit)
            for name in self._newest(now.line)
            if (figure := self.figure(name)) is not None
            and figure.per_unit is not None
            and figure.product == shown.batch.product
        )
        return list(islice(alike, TREND))[::-1]

    def _data_at(self, channels: Iterable[str]) -> int | None:
        readings = self._running.engine.readings
        latest: list[int] = []
        for channel in channels:
            for found in readings.sources(channel):
                span = readings.span(found.key)
                if span is not None:
                    latest.append(span[1])
        return max(latest, default=None)

    def instruments(self) -> InstrumentOrder:
        """All instruments in their order, computed again where a certificate has changed."""
        plant, now = self.plant(), time.time_ns()
        knowledge = self._running.engine.engine.knowledge
        if plant is None:
            return InstrumentOrder((), 0, now, None)
        held = self._order
        if (
            held is None
            or held[0] is not plant
            or held[1] is not knowledge.registry_mark
            or not held[2].holds(now)
        ):
            order = instrument_order(plant.instruments, knowledge, now)
            held = self._order = plant, knowledge.registry_mark, order
        return held[2]

    def meters(self, rows: Iterable[Supported]) -> list[InstrumentRow]:
        """Some instruments with their last readings."""
        return [InstrumentRow(row, *self._last(row.instrument)) for row in rows]

    def _last(self, item: Instrument) -> tuple[int | None, str]:
        readings = self._running.engine.readings
        for register in item.registers:
            for source in readings.sources(f"{item.id}.{register.id}"):
                span = readings.span(source.key)
                if span is not None:
                    return span[1], self._value(source.key, span[1], item, register.id)
        return None, ""

    def _value(self, key: SeriesKey, at: int, item: Instrument, name: str) -> str:
        readings = self._running.engine.readings
        stamp = at, readings.tallies.get(key.agent, NO_TALLY).envelopes
        held = self._values.held(key, (readings, item), stamp)
        if held is None:
            series = readings.read(key, at, at + 1, 0)
            register = item.register(name)
            held = ""
            if register is not None and len(series) and series.ok[-1]:
                held = f"{decimal_text(int(series.v[-1]) * register.resolution)} {register.unit}"
            self._values.keep(key, (readings, item), stamp, held)
        return held

    def agents(self) -> list[AgentRow]:
        """Every agent that was ever seen, by name."""
        tallies = dict(self._running.engine.readings.tallies)
        quarantined = self._running.quarantined()
        states, arrivals = self._running.agent_states, self._running.arrivals
        now = time.time_ns()
        rows = []
        for name in sorted({*tallies, *states, *quarantined}):
            tally, state = tallies.get(name, NO_TALLY), states.get(name)
            seen_at = arrivals.get(name, tally.last)
            rows.append(
                AgentRow(
                    name,
                    health(state, seen_at, now),
                    state,
                    tally.envelopes,
                    tally.last,
                    seen_at,
                    quarantined.get(name, 0),
                )
            )
        return rows

    def troubles(self) -> list[Trouble]:
        """What keeps the site from being up to date now, [] = nothing."""
        return self._running.troubles()

    def papers(self) -> Sequence[Certificate]:
        """Certificates of the plant's instruments, as the plant lists those."""
        knowledge, index = self._running.engine.engine.knowledge, self.index()
        held = self._papers
        if held is None or held[0] is not index or held[1] is not knowledge.registry_mark:
            found = [p for name in index.instruments for p in knowledge.certificates(name)]
            held = self._papers = index, knowledge.registry_mark, found
        return held[2]

    def papers_of(self, names: Iterable[str]) -> list[tuple[Certificate, str]]:
        """Certificates of some instruments, with their state now."""
        knowledge = self._running.engine.engine.knowledge
        return with_state(paper for name in names for paper in knowledge.certificates(name))

    def factors(self, result: BatchResult) -> list[FactorUse]:
        """Factors a batch used."""
        return factors_of(result, self._running.engine.engine.knowledge)

    def runs(self, name: str) -> list[EnvelopeRun]:
        """Envelopes a batch draws on, those that close it included; each of them."""
        return self._evidence.runs(name)

    def evidence(self, name: str) -> Evidence:
        """The same in short, kept while it holds."""
        return self._evidence.of(name)

    def row(self, name: str) -> dict[str, Any] | None:
        """A batch in the words of the interface; kept as long as its result is."""
        results = self._running.engine.results
        stamp = results.stamp(name)
        held = self._rows.held(name, (results,), stamp)
        if held is None and (result := results.get(name)) is not None:
            held = batch_row(result)
            self._rows.keep(name, (results,), stamp, held)
        return held

    def digest(self, name: str) -> str:
        """Digest of a batch's result; it is computed once."""
        return self._running.engine.results.digest(name)

    def entry(self, index: int) -> Entry | None:
        """An entry of the journal; None = there is none."""
        return self._running.entry(index)

    def bundle(self, name: str) -> bytes:
        """The evidence bundle of a batch. Raises InputError."""
        return self._running.bundle(name)

    def site_findings(self, start: int, count: int, rule: str | None = None) -> list[Alike]:
        """What was noticed of instruments, streams and facts by rule, the gravest first.

        Of each rule, or of one, so many from place `start` on.
        """
        return self._running.engine.findings_alike(start, count, rule)

    def findings(self) -> list[Finding]:
        """All findings."""
        return self._running.engine.findings()

    def journal(self) -> tuple[int, str]:
        """Number of entries and root, hex."""
        return self._running.journal_head()

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event. Raises InputError."""
        return self._running.batch_event(body, author)
