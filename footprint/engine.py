"""The engine: a deterministic function of a journal's facts and readings (design §3).

The same code gives the live figure, the recomputed one and the verifier's: only where readings
come from (`Readings`) and whether the law is compiled (`Kernels`) differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from footprint.authority import authorities
from footprint.batch import BatchResult
from footprint.batch_run import BatchRun, Remembered
from footprint.closure import Closures
from footprint.knowledge import Knowledge
from footprint.metered import Metered
from footprint.metering import Meter
from footprint.out_of_date import NOTHING, Standing
from footprint.plant import EmissionSource, Instrument, PlantModel, Register
from footprint.pools import PoolPlan, questions_of, span_of
from footprint.readings import Readings
from footprint.stated_batches import Batch
from footprint.stretch import stretches
from footprint.sweep import Cuts
from footprint.timeline import Timeline
from mrv.finding import Finding
from mrv.measurement.activity import PYTHON, Kernels

NONE_STANDS: Mapping[str, Standing] = {}
"""Nothing of any batch stands."""
KEPT = 16
"""Windows of a meter that stay in memory: those of a shift and its plant hours."""
KEEPS_CHANNELS = frozenset(
    (
        "key_enrolled",
        "key_revoked",
        "factor_set",
        "certificate_recorded",
        "certificate_approved",
        "certificate_revoked",
    )
)
"""Facts of the registry that leave open which channel speaks for a register."""


class Engine:
    """Footprints of batches from facts and readings.

    `earlier` is an engine on the same readings and fewer facts: what it remembers of a meter
    holds as long as the meaning of its register is the same.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        readings: Readings,
        kernels: Kernels = PYTHON,
        earlier: Engine | None = None,
    ) -> None:
        self.knowledge = knowledge
        self.readings = readings
        self._kernels = kernels
        self._closures = Closures(knowledge, readings)
        self.meters: dict[tuple[str, str], Meter] = {}
        self._plans: dict[tuple[int, tuple[str, ...]], PoolPlan] = {}
        self._meter_findings: dict[tuple[str, str], list[Finding]] = {}
        self.meters_mark = object()
        """Another one whenever `meter_findings` may be."""
        self.all_metered = False
        """Whether every meter of a source is there."""
        self._sources: dict[tuple[int, str], list[EmissionSource]] = {}
        self._metered: dict[int, Metered] = {}
        self._lines: dict[str, frozenset[str]] | None = None
        self._places: dict[str, tuple[Batch, Timeline] | None] = {}
        self.rows: dict[str, dict[str, Remembered]] = {}
        """Rows of open batches, by batch and source."""
        if earlier is not None:
            self._take_over(earlier)

    def _take_over(self, earlier: Engine) -> None:
        """Keep meters whose registers mean what they meant."""
        grown = self.knowledge.registry[earlier.knowledge.registry_length :]
        if any(fact.header.type not in KEEPS_CHANNELS for fact in grown):
            return
        before, after = earlier.knowledge, self.knowledge
        for place, held in earlier.meters.items():
            known = not grown or after.says_the_same(before, place[0])
            if known or self._means_the_same(place, held):
                self.meters[place] = held
                self._meter_findings[place] = earlier._meter_findings.get(place, [])
        if not grown:
            self.meters_mark, self.all_metered = earlier.meters_mark, earlier.all_metered

    def _note_findings(self, place: tuple[str, str], findings: list[Finding]) -> None:
        if self._meter_findings.get(place) != findings:
            self._meter_findings[place] = findings
            self.meters_mark = object()

    def _let_go(self, place: tuple[str, str]) -> None:
        """Make a meter again when it is asked for."""
        del self.meters[place]
        self._metered.clear()
        self.all_metered = False
        self.meters_mark = object()

    def _means_the_same(self, place: tuple[str, str], meter: Meter) -> bool:
        for _, plant in reversed(self.knowledge.plants):
            instrument = plant.instrument(place[0])
            if instrument is not None:
                found = stretches(self.knowledge, plant, instrument, meter.register)
                return found == meter.stretches
        return False

    def meter(self, plant: PlantModel, instrument: Instrument, register: Register) -> Meter:
        """The meter of a register over all time; made once."""
        place = (instrument.id, register.id)
        held = self.meters.get(place)
        if held is None:
            channels, findings = authorities(self.knowledge, *place, self.readings)
            self._note_findings(place, findings)
            parts = stretches(self.knowledge, plant, instrument, register)
            held = Meter(register, channels, parts, self.readings, self._kernels)
            self.meters[place] = held
        return held

    def other_channels(self, instrument: str) -> bool:
        """Whether new tables let other channels speak for an instrument; its meters go then."""
        changed = False
        for place in [place for place in self.meters if place[0] == instrument]:
            channels, findings = authorities(self.knowledge, *place, self.readings)
            self._note_findings(place, findings)
            if channels != self.meters[place].channels:
                self._let_go(place)
                changed = True
        known = any(place[0] == instrument for place in self.meters)
        return changed or not known

    def trim(self) -> None:
        """Let go of windows of meters that nothing open rests on any more, by their number."""
        for held in self.meters.values():
            held.trim(KEPT)

    def forget(self, channel: str, start: int, end: int, first: int) -> None:
        """Readings of `<instrument>.<register>` came from `first` on; drop what they may change.

        That is time in [start, end], ns.
        """
        instrument, _, register = channel.partition(".")
        held = self.meters.get((instrument, register))
        if held is None:
            return
        if held.key is None:
            self._let_go((instrument, register))
        else:
            held.forget(start, end, first)

    def reaches(self, channel: str, moment: int) -> int:
        """Time up to which readings of a channel at `moment` may change steps, ns; OPEN = all."""
        instrument, _, register = channel.partition(".")
        held = self.meters.get((instrument, register))
        plants = [] if held is not None else self.knowledge.plants
        for _, plant in reversed(plants):
            known = plant.instrument(instrument)
            meant = known.register(register) if known is not None else None
            if known is not None and meant is not None:
                held = self.meter(plant, known, meant)
                break
        return moment if held is None else held.reaches(moment)

    def batch(self, name: str, standing: Standing = NOTHING) -> BatchResult | None:
        """The footprint of a batch as known now; None where no fact starts it.

        What is known to be `standing` is taken as it is.
        """
        found = self.find(name)
        if found is None:
            return None
        batch, timeline = found
        plant = self.knowledge.plant_at(batch.start)
        if plant is None:
            return None
        if batch.end is not None:
            self.rows.pop(name, None)
        return BatchRun(self, plant, timeline, batch, standing).result()

    def foresee(
        self, batches: Iterable[Batch], standing: Mapping[str, Standing] = NONE_STANDS
    ) -> None:
        """Compute what several ended batches will ask of their meters, each reading read once.

        Meters that remember a batch's own time are taken to remember all of it, and what only one
        batch asks for is left to it. What is missing here is computed when it is asked for; no
        figure depends on it. Of each batch some rows may be `standing`: nothing is asked for them.
        """
        wanted: dict[Meter, list[list[Cuts]]] = {}
        moments: dict[Meter, set[int]] = {}
        asked: list[Cuts]
        for batch in batches:
            plant = self.knowledge.plant_at(batch.start)
            if plant is None or batch.end is None:
                continue
            timeline, changeover = self.timeline(batch.line), plant.policy.changeover
            rows = standing.get(batch.id, NOTHING).rows
            for source in self.sources_of(plant, batch.line):
                metered = None if source.id in rows else self.metered(plant, source)
                if metered is None:
                    continue
                plan = self.plan(source.lines, plant)
                if source.shared:
                    groups = [g for g in plan.groups_of(batch, batch.end) if not g.pending]
                    asked = [(group.start, group.end) for group in groups]
                    if all(metered.meter.knows((g.start, g.end)) for g in groups):
                        continue
                else:
                    own = timeline.tiles(batch.start, batch.end, changeover)
                    if all(metered.meter.knows((tile.start, tile.end)) for tile in own):
                        continue
                    groups = plan.groups_of(batch, batch.end)
                    asked = questions_of(timeline, batch, batch.end, groups, changeover)
                wanted.setdefault(metered.meter, []).append(asked)
                moments.setdefault(metered.meter, set()).update(
                    (batch.start, batch.end),
                    span_of(batch, batch.end, groups),
                )
        for meter, lists in wanted.items():
            if len(lists) > 1:
                meter.sweep((cuts for asked in lists for cuts in asked), moments[meter])

    def find(self, name: str) -> tuple[Batch, Timeline] | None:
        """A batch and the timeline of its line."""
        if name in self._places:
            return self._places[name]
        found = None
        for timeline in self.knowledge.timelines.values():
            batch = timeline.batches.get(name)
            if batch is not None:
                found = batch, timeline
                break
        self._places[name] = found
        return found

    def batches(self) -> list[Batch]:
        """All batches by start, ties by id."""
        every = [b for t in self.knowledge.timelines.values() for b in t.ordered()]
        return sorted(every, key=lambda b: (b.start, b.id))

    def plan(self, lines: Sequence[str], plant: PlantModel) -> PoolPlan:
        """The pool plan of lines that share, by the windows of a plant model."""
        names = tuple(sorted(lines))
        place = (id(plant), names)
        held = self._plans.get(place)
        if held is None:
            timelines = [self.timeline(line) for line in names]
            origins = [o for line in names if (o := self.knowledge.origin(line)) is not None]
            held = PoolPlan(timelines, plant, min(origins, default=None), self.knowledge.plant_at)
            self._plans[place] = held
        return held

    def timeline(self, line: str) -> Timeline:
        """The timeline of a line; empty where it has no batch."""
        return self.knowledge.timelines.get(line) or Timeline(line, ())

    def sources_of(self, plant: PlantModel, line: str) -> Sequence[EmissionSource]:
        """Sources of a line that lie inside the boundary, as the plant lists them."""
        held = self._sources.get((id(plant), line))
        if held is None:
            held = [s for s in plant.sources if line in s.lines and s.outside is None]
            self._sources[id(plant), line] = held
        return held

    def lines_of(self, instrument: str) -> frozenset[str]:
        """Lines an instrument serves under any plant model."""
        if self._lines is None:
            found: dict[str, set[str]] = {}
            for _, plant in self.knowledge.plants:
                for source in plant.sources:
                    found.setdefault(source.instrument, set()).update(source.lines)
            self._lines = {name: frozenset(lines) for name, lines in found.items()}
        return self._lines.get(instrument, frozenset())

    def metered(self, plant: PlantModel, source: EmissionSource) -> Metered | None:
        """The source with its meter; None where it has none."""
        held = self._metered.get(id(source))
        if held is None:
            held = self._with_meter(plant, source)
            if held is not None:
                self._metered[id(source)] = held
        return held

    def _with_meter(self, plant: PlantModel, source: EmissionSource) -> Metered | None:
        instrument = plant.instrument(source.instrument)
        register = instrument.register(source.register) if instrument else None
        if instrument is None or register is None:
            return None
        meter = self.meter(plant, instrument, register)
        return Metered(source, instrument, register, meter)

    @property
    def closures(self) -> Closures:
        """Questions of completeness."""
        return self._closures

    def meter_findings(self) -> list[Finding]:
        """What is odd about who delivers the registers that meter a source."""
        if not self.all_metered:
            for _, plant in self.knowledge.plants:
                for source in plant.sources:
                    self.metered(plant, source)
            self.all_metered = True
        return [f for found in self._meter_findings.values() for f in found]
