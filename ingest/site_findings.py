"""What is odd about the streams and channels of a site, whatever batch they belong to.

Kept as things change: what is looked at again is what has changed since somebody asked, and what
is not other than before stays in its place of the sorted list.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

from footprint.balancing import balance_findings, balance_windows
from footprint.conservation import books
from footprint.engine import Engine
from footprint.intake import EnvelopeIndex
from footprint.knowledge import Knowledge
from ingest.result_store import ResultStore
from ingest.sorted_findings import SortedFindings
from ingest.stored_readings import StoredReadings
from mrv.finding import Finding, Severity
from mrv.reporting.completeness import StreamChain
from mrv.reporting.mending import Mending, clock_findings


class SiteFindings:
    """Findings of entries, facts, meters and chains of one site, the gravest first."""

    def __init__(self) -> None:
        self.sorted = SortedFindings()
        self._marks: dict[Hashable, object] = {}
        self._knowledge: Knowledge | None = None

    def update(self, engine: Engine, readings: EnvelopeIndex, entries: Iterable[Finding]) -> None:
        """Look again at what has changed. `entries` are findings of entries that mean nothing."""
        knowledge = engine.knowledge
        self.sorted.put("entries", list(entries))
        if knowledge is not self._knowledge:
            self._knowledge = knowledge
            if self._changed("registry", knowledge.registry_mark):
                self.sorted.put("registry", knowledge.registry_findings())
            for line, timeline in knowledge.timelines.items():
                if self._changed(("line", line), timeline):
                    self.sorted.put(("line", line), timeline.findings)
        if self._changed("meters", engine.meters_mark) or not engine.all_metered:
            self.sorted.put("meters", engine.meter_findings())
            self._marks["meters"] = engine.meters_mark
        plants = self._changed("plants", knowledge.plants)
        if self._changed("sources", readings.sources_mark) or plants:
            self.sorted.put("channels", list(unknown_instruments(knowledge, readings)))
        doubted = readings.take_odd()
        try:
            if doubted and isinstance(readings, StoredReadings):
                readings.look()
            while doubted:
                self._look(readings, doubted[-1])
                doubted.pop()
        finally:  # what could not be looked at stays in doubt
            for place in doubted:
                readings.tips.doubt(place)
        self.sorted.settle()

    def _look(self, readings: EnvelopeIndex, place: tuple[str, str]) -> None:
        chain = readings.chain(*place)
        found = list(odd_chain(place, chain, readings.mended(*place)))
        self.sorted.put(("chain", *place), found)
        readings.tips.looked(place, chain)

    def _changed(self, name: Hashable, mark: object) -> bool:
        """Whether something is another object than when it was looked at last."""
        if self._marks.get(name) is mark:
            return False
        self._marks[name] = mark
        return True


def odd_chain(
    place: tuple[str, str], chain: StreamChain, mended: Sequence[Mending]
) -> Iterator[Finding]:
    """What is odd about one chain of (agent, stream)."""
    agent, stream = place
    for first, second in chain.equivocations:
        numbers = (("first", first), ("second", second))
        yield Finding("equivocation", f"{agent}/{stream}", 0, Severity.ERROR, numbers)
    if chain.late:
        count = (("envelopes", str(chain.late)),)
        yield Finding("late", f"{agent}/{stream}", chain.late_since, Severity.INFO, count)
    for link, step in chain.clock_steps():
        numbers = (("step_ns", str(step)), ("seq", str(link.seq)))
        yield Finding("clock_step", f"{agent}/{stream}", link.t, Severity.WARNING, numbers)
    yield from clock_findings(f"{agent}/{stream}", mended)
    for link in chain.new_starts():
        epoch = (("epoch", link.epoch),)
        yield Finding("new_chain", f"{agent}/{stream}", link.t, Severity.WARNING, epoch)
    for identity in chain.forks():
        yield Finding("fork", f"{agent}/{stream}", 0, Severity.ERROR, (("after", identity),))


def unknown_instruments(knowledge: Knowledge, readings: EnvelopeIndex) -> Iterator[Finding]:
    """Channels of instruments that no plant model has."""
    known = {i.id for _, plant in knowledge.plants for i in plant.instruments}
    for channel in readings.channels():
        if channel.partition(".")[0] not in known:
            yield Finding("unknown_instrument", channel, 0, Severity.ERROR)


def history_findings(engine: Engine) -> Iterator[Finding]:
    """What the books of all registers and the balances of the plant say; reads the history."""
    for entry in books(engine):
        yield from entry.findings
    plants = engine.knowledge.plants
    if plants and plants[-1][1].balances:
        yield from balance_findings(balance_windows(engine, plants[-1][1]))


def result_findings(results: ResultStore) -> Iterator[Finding]:
    """Findings of all results, each read as it is asked for."""
    for name in results:
        result = results.get(name)  # the engine may have let go of it meanwhile
        if result is not None:
            yield from result.findings
