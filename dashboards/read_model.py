"""What the pages show, read from the running site."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, islice
from typing import Any

from dashboards.agent_health import AgentState, Health, health
from dashboards.instrument_order import InstrumentOrder, instrument_order
from dashboards.plant_index import PlantIndex, index_plant
from dashboards.provenance import EnvelopeRun, FactorUse, factors_of, runs_of
from dashboards.running import Running, Trouble
from footprint.batch import BatchResult
from footprint.exact import decimal_text
from footprint.knowledge import Knowledge
from footprint.plant import Instrument, LocalText, PlantModel, Product
from ingest.engine_shell import Revision
from ingest.entry import Entry
from mrv.fact import Fact
from mrv.finding import Finding
from mrv.measurement.calibration import Certificate
from mrv.series import SeriesKey

STALE_S = 15
"""Data older than this is shown as stale, s."""
TREND = 24
"""Batches in a trend."""
LOOK_BACK = 500
"""Newest batches of a line among which the one shown and its trend are looked for."""


@dataclass(frozen=True, slots=True)
class LineNow:
    """A line at this moment."""

    line: str
    """Line."""
    name: LocalText
    """Its name."""
    result: BatchResult | None
    """Running batch, else the latest one; None = none yet."""
    settled: BatchResult | None
    """Latest batch with good output; its figure per unit is shown."""
    product: Product | None
    """Product of the settled batch, else of the latest one."""
    trend: tuple[tuple[int, float], ...]
    """(end ns, kgCO2e per unit) of recent batches of the product shown, oldest first."""
    data_at: int | None
    """Time of the newest reading, ns UTC."""

    @property
    def age_s(self) -> int | None:
        """Age of the data, s."""
        return None if self.data_at is None else max((time.time_ns() - self.data_at) // 10**9, 0)

    @property
    def stale(self) -> bool:
        """Whether the data is too old to be called now."""
        age = self.age_s
        return age is None or age > STALE_S


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """An instrument and whether it can be trusted."""

    instrument: Instrument
    """The instrument."""
    certificate: str
    """Certificate in force, else the latest one; "" = none."""
    state: str
    """valid, expired, missing …"""
    due: int | None
    """When the certificate ends, ns UTC."""
    last_at: int | None
    """Time of its last reading, ns UTC."""
    last_value: str
    """Its last reading with unit."""

    @property
    def age_s(self) -> int | None:
        """Age of its last reading, s."""
        return None if self.last_at is None else max((time.time_ns() - self.last_at) // 10**9, 0)


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent and its health."""

    name: str
    """Agent."""
    health: Health
    """How it is now."""
    state: AgentState | None
    """What it said of itself last; None = it never said anything."""
    envelopes: int
    """Envelopes in the journal."""
    last_at: int | None
    """Time of its newest reading, ns UTC."""
    seen_at: int | None
    """When its last readings came, ns UTC; after a restart of the site, the time they bear."""
    quarantined: int
    """Messages in its name that were refused."""

    @property
    def depth(self) -> int | None:
        """Envelopes without a receipt; None while nobody can know."""
        return self.state.depth if self.state is not None and self.state.online else None

    @property
    def behind_s(self) -> int | None:
        """Age of the oldest envelope without a receipt, s; None = no backlog is known."""
        behind = None if self.state is None else self.state.behind(time.time_ns())
        return None if behind is None else behind // 10**9

    @property
    def silent_s(self) -> int | None:
        """How long ago its last readings came, s."""
        return None if self.seen_at is None else max((time.time_ns() - self.seen_at) // 10**9, 0)


class ReadModel:
    """Answers of the pages' questions; never computes a figure of its own."""

    def __init__(self, running: Running, wait: Callable[[int, float], int]) -> None:
        self._running = running
        self.wait_change = wait
        self._index = index_plant(None)
        self._order: tuple[PlantModel, Knowledge, InstrumentOrder] | None = None

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

    def batches(self, start: int = 0, count: int | None = None) -> list[BatchResult]:
        """Batches from place `start` on, newest first; only those asked for are read."""
        engine = self._running.engine
        timelines = engine.engine.knowledge.timelines.values()
        ordered = merge(*(reversed(t.ordered()) for t in timelines), key=lambda b: -b.start)
        newest = (
            batch
            for _, alike in groupby(ordered, key=lambda b: b.start)
            for batch in sorted(alike, key=lambda b: b.id)
            if batch.id in engine.results
        )
        stop = None if count is None else start + count
        return [engine.results[batch.id] for batch in islice(newest, start, stop)]

    def batch_count(self) -> tuple[int, int]:
        """Number of batches, and of those that are provisional."""
        results = self._running.engine.results
        return len(results), len(results.provisional)

    def _newest(self, line: str) -> Iterator[BatchResult]:
        """Batches of a line, newest first, read one by one."""
        results = self._running.engine.results
        for batch in reversed(self._running.engine.engine.timeline(line).ordered()[-LOOK_BACK:]):
            result = results.get(batch.id)
            if result is not None:
                yield result

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
        latest = next(self._newest(name), None)
        settled = next((r for r in self._newest(name) if r.per_unit is not None), None)
        shown = settled or latest
        alike = (
            r
            for r in self._newest(name)
            if r.per_unit is not None and shown and r.batch.product == shown.batch.product
        )
        recent = list(islice(alike, TREND))
        return LineNow(
            name,
            line.name,
            latest,
            settled,
            index.plant.product(shown.batch.product) if shown else None,
            tuple((r.batch.end or 0, float(r.per_unit or 0)) for r in reversed(recent)),
            self._data_at(index.channels.get(name, ())),
        )

    def _data_at(self, channels: Iterable[str]) -> int | None:
        readings = self._running.engine.readings
        latest: list[int] = []
        for channel in channels:
            for found in readings.sources(channel):
                span = readings.span(found.key)
                if span is not None:
                    latest.append(span[1])
        return max(latest, default=None)

    def _instruments(self) -> InstrumentOrder:
        """All instruments in their order, computed again where a certificate has changed."""
        plant, now = self.plant(), time.time_ns()
        knowledge = self._running.engine.engine.knowledge
        if plant is None:
            return InstrumentOrder((), 0, now, None)
        held = self._order
        if (
            held is None
            or held[0] is not plant
            or held[1] is not knowledge
            or not held[2].holds(now)
        ):
            held = plant, knowledge, instrument_order(plant.instruments, knowledge, now)
            self._order = held
        return held[2]

    def meters(
        self, start: int = 0, count: int | None = None, like: str = ""
    ) -> list[InstrumentRow]:
        """Instruments from place `start` on, those without support first; `like` = a search."""
        stop = None if count is None else start + count
        return [
            InstrumentRow(
                row.instrument, row.certificate, row.state, row.due, *self._last(row.instrument)
            )
            for row in self._instruments().like(like)[start:stop]
        ]

    def meter_count(self, like: str = "") -> tuple[int, int, int]:
        """Instruments, those without a valid certificate, and those a search finds."""
        order = self._instruments()
        return len(order.rows), order.bad, len(order.like(like))

    def _last(self, item: Instrument) -> tuple[int | None, str]:
        readings = self._running.engine.readings
        for register in item.registers:
            for source in readings.sources(f"{item.id}.{register.id}"):
                span = readings.span(source.key)
                if span is not None:
                    return span[1], self._value(source.key, span[1], item, register.id)
        return None, ""

    def _value(self, key: SeriesKey, at: int, item: Instrument, name: str) -> str:
        series = self._running.engine.readings.read(key, at, at + 1, 0)
        register = item.register(name)
        if register is None or not len(series) or not series.ok[-1]:
            return ""
        return f"{decimal_text(int(series.v[-1]) * register.resolution)} {register.unit}"

    def agents(self) -> list[AgentRow]:
        """Every agent that was ever seen."""
        envelopes: dict[str, int] = {}
        last: dict[str, int] = {}
        for (agent, _), chain in self._running.engine.readings.chains():
            envelopes[agent] = envelopes.get(agent, 0) + len(chain)
            last[agent] = max(last.get(agent, 0), chain.last_time() or 0)
        quarantined = self._running.quarantined()
        states, arrivals = self._running.agent_states, self._running.arrivals
        names = sorted({*envelopes, *states, *quarantined})
        now = time.time_ns()
        rows = []
        for name in names:
            last_at, state = last.get(name) or None, states.get(name)
            seen_at = arrivals.get(name, last_at)
            rows.append(
                AgentRow(
                    name,
                    health(state, seen_at, now),
                    state,
                    envelopes.get(name, 0),
                    last_at,
                    seen_at,
                    quarantined.get(name, 0),
                )
            )
        return rows

    def troubles(self) -> list[Trouble]:
        """What keeps the site from being up to date now, [] = nothing."""
        return self._running.troubles()

    def certificates(self, names: Iterable[str] | None = None) -> list[tuple[Certificate, str]]:
        """Certificates of some of the plant's instruments, None = all, with their state now."""
        knowledge = self._running.engine.engine.knowledge
        now = time.time_ns()
        wanted = self.index().instruments if names is None else names
        found = [paper for name in wanted for paper in knowledge.certificates(name)]
        return [(paper, paper.state_at(now).value) for paper in found]

    def factors(self, result: BatchResult) -> list[FactorUse]:
        """Factors a batch used."""
        return factors_of(result, self._running.engine.engine.knowledge)

    def runs(self, name: str) -> list[EnvelopeRun]:
        """Envelopes a batch draws on, those that close it included."""
        needs = self._running.engine.needs(name)
        running = self._running
        return [] if needs is None else runs_of(needs.links, running.indexes, running.index_of)

    def entry(self, index: int) -> Entry | None:
        """An entry of the journal; None = there is none."""
        return self._running.entry(index)

    def bundle(self, name: str) -> bytes:
        """The evidence bundle of a batch. Raises InputError."""
        return self._running.bundle(name)

    def site_findings(self) -> list[Finding]:
        """What was noticed of instruments, streams and facts."""
        return self._running.engine.site_findings()

    def findings(self) -> list[Finding]:
        """All findings."""
        return self._running.engine.findings()

    def journal(self) -> tuple[int, str]:
        """Number of entries and root, hex."""
        return self._running.journal_head()

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event. Raises InputError."""
        return self._running.batch_event(body, author)
