"""The engine: a deterministic function of a journal's facts and readings (design §3).

The same code gives the live figure, the recomputed one and the verifier's: only where readings
come from (`Readings`) and whether the law is compiled (`Kernels`) differ.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

from footprint.authority import authority
from footprint.batch import BatchResult, BatchState, Part, SourceResult
from footprint.catalogue import Choice, FactorError, FactorRequest
from footprint.closure import Closures
from footprint.knowledge import Knowledge
from footprint.metering import MILLIONTHS, Activity, Meter, stretches
from footprint.plant import EmissionSource, Instrument, PlantModel, Product, Register
from footprint.pools import PoolGroup, PoolPlan, line_pool, share
from footprint.readings import Readings
from footprint.timeline import OPEN, Batch, TileKind, Timeline
from mrv.channel import AssuranceTier
from mrv.errors import MeterprintError
from mrv.finding import Finding, Severity
from mrv.interval import NS_PER_MS
from mrv.measurement.activity import PYTHON, Kernels, findings_of
from mrv.measurement.calibration import CertificateState, amount_components
from mrv.measurement.uncertainty import (
    Components,
    counter_resolution,
    reading_resolution,
    total,
)
from mrv.quantity import Quantity
from mrv.strict_json import canonical


@dataclass(frozen=True, slots=True)
class Metered:
    """A source with the meter that measures it."""

    source: EmissionSource
    """The source."""
    instrument: Instrument
    """The instrument."""
    register: Register
    """The register."""
    meter: Meter
    """Its activity over time."""
    tier: AssuranceTier | None
    """Tier of the channel, None = nobody delivers it."""


class Engine:
    """Footprints of batches from facts and readings.

    `earlier` is an engine on the same readings: where only batch events are new, what it
    remembers of its meters still holds.
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
        self.meters: dict[tuple[str, str], tuple[Meter, AssuranceTier | None]] = {}
        if earlier is not None and earlier.knowledge.registry_length == knowledge.registry_length:
            self.meters = earlier.meters
        self._plans: dict[tuple[str, ...], PoolPlan] = {}
        self._meter_findings: dict[tuple[str, str], list[Finding]] = {}

    def meter(
        self, plant: PlantModel, instrument: Instrument, register: Register
    ) -> tuple[Meter, AssuranceTier | None]:
        """The meter of a register and its tier; made once."""
        place = (instrument.id, register.id)
        held = self.meters.get(place)
        if held is None:
            key, tier, findings = authority(
                self.knowledge, plant, instrument, register, self.readings
            )
            self._meter_findings[place] = findings
            parts = stretches(self.knowledge, plant, instrument, register)
            meter = Meter(register, key, parts, self.readings, self._kernels)
            held = self.meters[place] = (meter, tier)
        return held

    def forget(self, channel: str, start: int, end: int) -> None:
        """Readings of `<instrument>.<register>` came in [start, end]; drop what they may change."""
        instrument, _, register = channel.partition(".")
        held = self.meters.get((instrument, register))
        if held is None:
            return
        if held[0].key is None:
            del self.meters[instrument, register]
        else:
            held[0].forget(start, end)

    def batch(self, name: str) -> BatchResult | None:
        """The footprint of a batch as known now; None where no fact starts it."""
        found = self.find(name)
        if found is None:
            return None
        batch, timeline = found
        plant = self.knowledge.plant_at(batch.start)
        if plant is None:
            return None
        return _BatchRun(self, plant, timeline, batch).result()

    def find(self, name: str) -> tuple[Batch, Timeline] | None:
        """A batch and the timeline of its line."""
        for timeline in self.knowledge.timelines.values():
            batch = timeline.batches.get(name)
            if batch is not None:
                return batch, timeline
        return None

    def batches(self) -> list[Batch]:
        """All batches by start, ties by id."""
        every = [b for t in self.knowledge.timelines.values() for b in t.ordered()]
        return sorted(every, key=lambda b: (b.start, b.id))

    def plan(self, lines: Sequence[str], plant: PlantModel) -> PoolPlan:
        """The pool plan of lines that share."""
        place = tuple(sorted(lines))
        held = self._plans.get(place)
        if held is None:
            timelines = [self.timeline(line) for line in place]
            origins = [o for line in place if (o := self.knowledge.origin(line)) is not None]
            held = self._plans[place] = PoolPlan(timelines, plant, min(origins, default=None))
        return held

    def timeline(self, line: str) -> Timeline:
        """The timeline of a line; empty where it has no batch."""
        return self.knowledge.timelines.get(line) or Timeline(line, ())

    def metered(self, plant: PlantModel, source: EmissionSource) -> Metered | None:
        """The source with its meter; None where it has none."""
        instrument = plant.instrument(source.instrument)
        register = instrument.register(source.register) if instrument else None
        if instrument is None or register is None:
            return None
        meter, tier = self.meter(plant, instrument, register)
        return Metered(source, instrument, register, meter, tier)

    @property
    def closures(self) -> Closures:
        """Questions of completeness."""
        return self._closures

    def meter_findings(self) -> list[Finding]:
        """What is odd about who delivers the registers used so far."""
        return [f for found in self._meter_findings.values() for f in found]


class _BatchRun:
    """One computation of one batch."""

    def __init__(self, engine: Engine, plant: PlantModel, timeline: Timeline, batch: Batch) -> None:
        self.engine = engine
        self.plant = plant
        self.timeline = timeline
        self.batch = batch
        self.waits: set[str] = set()
        self.incomplete: set[str] = set()
        self.findings: list[Finding] = []
        self.estimated = False
        self.unchained = False
        self.catalogue = engine.knowledge.catalogue(plant)

    def result(self) -> BatchResult:
        product = self.plant.product(self.batch.product)
        if product is None:
            self.incomplete.add(f"unknown_product:{self.batch.product}")
        if self.batch.end is None:
            self.waits.add("batch_end")
        rows = [row for source in self.plant.sources if (row := self._source(source)) is not None]
        if self.plant.boundary == "cradle_to_gate" and product is not None:
            rows += self._materials(product)
        state = BatchState.PROVISIONAL
        if not self.waits:
            state = BatchState.FINAL
            if self.unchained:
                state = BatchState.CLOSED
            if self.estimated:
                state = BatchState.FINAL_ESTIMATED
        if self.batch.end is not None and self.batch.good == 0:
            self._find("no_good_output", self.batch.id)
        return BatchResult(
            batch=self.batch,
            unit=product.unit if product else "piece",
            boundary=self.plant.boundary,
            state=state,
            waits=tuple(sorted(self.waits)),
            incomplete=tuple(sorted(self.incomplete)),
            sources=tuple(sorted(rows, key=lambda row: row.source)),
            findings=tuple(sorted(set(self.findings))),
            policy=policy_hash(self.plant),
        )

    def _find(
        self, rule: str, subject: str, severity: Severity = Severity.WARNING, **numbers: str
    ) -> None:
        pairs = tuple(sorted(numbers.items()))
        self.findings.append(Finding(rule, subject, self.batch.start, severity, pairs))

    def _source(self, source: EmissionSource) -> SourceResult | None:
        if self.batch.line not in source.lines or source.outside is not None:
            return None
        metered = self.engine.metered(self.plant, source)
        if metered is None or metered.tier is None:
            self.incomplete.add(f"{'not_metered' if metered is None else 'no_channel'}:{source.id}")
            return None
        end = self._end_of(metered)
        parts = self._parts(metered, end)
        self._close(metered, end)
        activity = Activity()
        for part in parts.values():
            activity += part
        subject = f"{metered.instrument.id}/{metered.register.id}"
        self.findings += findings_of(activity.total, subject, self.batch.start)
        scale = metered.register.resolution
        corrected = activity.corrected_value(scale)
        components = self._activity_components(metered, activity, parts)
        choice = self._factor(source.id, source.factor)
        burden, burden_components = self._burden(
            corrected, metered.register.unit, components, choice, source.id
        )
        paper, state = self.engine.knowledge.certificate_at(
            metered.instrument.id, (self.batch.end or end) - 1
        )
        if state not in (CertificateState.VALID, CertificateState.MISSING):
            self._find(f"certificate_{state.value}", metered.instrument.id)
        return SourceResult(
            source=source.id,
            instrument=metered.instrument.id,
            register=metered.register.id,
            unit=metered.register.unit,
            metered=activity.metered_value(scale),
            corrected=corrected,
            parts=tuple((p, a.corrected_value(scale)) for p, a in parts.items() if a.parts),
            factor=choice.factor.id if choice else "",
            factor_value=choice.factor.value if choice else Fraction(0),
            factor_unit=choice.factor.unit if choice else "",
            factor_reason=choice.reason if choice else "",
            factor_default_u=choice.uncertainty_default if choice else False,
            burden=burden,
            components=burden_components,
            activity_components=components,
            tier=metered.tier.value,
            certificate=paper.id if paper else "",
            certificate_state=state.value,
        )

    def _end_of(self, metered: Metered) -> int:
        """End of the batch, or for now the last reading on a whole millisecond."""
        if self.batch.end is not None:
            return self.batch.end
        span = metered.meter.span()
        last = span[1] if span else self.batch.start
        return max((last // NS_PER_MS + 1) * NS_PER_MS, self.batch.start + NS_PER_MS)

    def _parts(self, metered: Metered, end: int) -> dict[Part, Activity]:
        meter, batch = metered.meter, self.batch
        parts = {Part.TAGGED: meter.tagged(batch.id)}
        plan = self.engine.plan(metered.source.lines, self.plant)
        groups = plan.groups_of(batch, batch.end) if batch.end is not None else []
        if metered.source.shared:
            parts[Part.SHARED] = self._shares(
                groups, lambda group: meter.windows([group.start, group.end])[0]
            )
            return parts
        changeover = self.plant.policy.changeover
        tiles = self.timeline.tiles(batch.start, end, changeover)
        cuts = [tile.start for tile in tiles] + [end]
        direct = Activity()
        for tile, activity in zip(tiles, meter.windows(cuts), strict=True):
            if tile.kind is TileKind.BATCH:
                direct += activity
        parts[Part.DIRECT] = direct
        if batch.end is None:
            return parts
        before = self.timeline.before(batch.start)
        if before is not None and before.end is not None and before.end < batch.start:
            for tile in self.timeline.tiles(before.end, batch.start, changeover):
                if tile.kind is TileKind.CHANGEOVER:
                    moved = meter.windows([tile.start, tile.end])[0]
                    parts[Part.CHANGEOVER] = parts.get(Part.CHANGEOVER, Activity()) + moved
        pools = {
            group: line_pool(meter, self.timeline, group.start, group.end, changeover)
            for group in groups
            if not group.pending
        }
        parts[Part.IDLE] = self._shares(groups, lambda group: pools[group][TileKind.IDLE])
        parts[Part.UNATTRIBUTED] = self._shares(
            groups, lambda group: pools[group][TileKind.UNATTRIBUTED]
        )
        return parts

    def _shares(
        self,
        groups: Sequence[PoolGroup],
        pool: Callable[[PoolGroup], Activity],
    ) -> Activity:
        shares = Activity()
        for group in groups:
            if group.pending:
                self.waits.add(f"pool:{group.end}")
                continue
            shares += share(pool(group), group.keys, self.batch.id)
        return shares

    def _close(self, metered: Metered, end: int) -> None:
        if metered.tier is not None and not metered.tier.has_chain:
            self.unchained = True
            return
        if self.batch.end is None:
            return
        plan = self.engine.plan(metered.source.lines, self.plant)
        groups = [g for g in plan.groups_of(self.batch, self.batch.end) if not g.pending]
        start = min([self.batch.start, *(g.start for g in groups)])
        last = max([end, *(g.end for g in groups)])
        if not metered.source.shared:
            last = max(last, self._settled_after(last))
        outcome = self.engine.closures.of(metered.meter, self.batch.start, start, last)
        if outcome.estimated:
            self.estimated = True
            self._find("estimated_closure", metered.instrument.id, reason=outcome.reason)
        elif outcome.reason:
            self.waits.add(f"{outcome.reason}:{metered.instrument.id}.{metered.register.id}")

    def _settled_after(self, moment: int) -> int:
        """When it is known whose the time up to `moment` is, ns.

        Time after the last batch is idle only once no batch of another product has followed
        within the changeover time.
        """
        before = self.timeline.before(moment)
        if before is None or before.end is None or before.end >= moment:
            return moment
        followed = any(b.start >= before.end for b in self.timeline.overlapping(before.end, OPEN))
        return moment if followed else before.end + self.plant.policy.changeover

    def _activity_components(
        self, metered: Metered, activity: Activity, parts: Mapping[Part, Activity]
    ) -> Components:
        scale = float(metered.register.resolution)
        found = []
        for stretch, window in activity.parts:
            unit = scale * float(stretch.ratio) / MILLIONTHS
            found.append(
                amount_components(
                    stretch.certificate,
                    metered.instrument.id,
                    metered.instrument.mpe,
                    self.plant.policy.mpe_rule,
                    window.metered * unit,
                    [weight * unit for weight in window.weights],
                )
            )
        name = f"{metered.instrument.id}.{metered.register.id}:{self.batch.id}"
        step = scale * float(metered.instrument.ratio)
        if metered.register.kind == "counter":
            pieces = sum(1 for part in parts.values() if part.parts)
            found.append(Components({f"res:{name}": counter_resolution(step) * math.sqrt(pieces)}))
            found.append(self._gap_split(metered, step))
        else:
            steps = activity.total.counts[0]
            found.append(Components({f"res:{name}": reading_resolution(step) * math.sqrt(steps)}))
        return total(found)

    def _gap_split(self, metered: Metered, step: float) -> Components:
        """What the split of a gap step at the batch's ends may be off by.

        Nothing is known of the load inside a gap: the part before the cut is anything from 0 to
        the step, rectangular, u = step/√12. Its sign differs for the two sides of the cut, so
        that the sum of both batches does not carry it.
        """
        key = metered.meter.key
        parts: dict[str, float] = {}
        if key is None:
            return Components()
        for cut, sign in ((self.batch.start, -1.0), (self.batch.end, 1.0)):
            if cut is None:
                continue
            near = self.engine.readings.read(key, cut, cut, 1)
            good = [i for i in range(len(near)) if near.ok[i]]
            if len(good) == 2 and near.t[good[1]] - near.t[good[0]] > self.plant.policy.gap:
                size = abs(int(near.v[good[1]]) - int(near.v[good[0]])) * step
                source = f"gap:{metered.instrument.id}.{metered.register.id}:{near.t[good[0]]}"
                parts[source] = parts.get(source, 0.0) + sign * reading_resolution(size)
        return Components(parts)

    def _factor(self, source: str, request: FactorRequest | None) -> Choice | None:
        if request is None:
            self.incomplete.add(f"no_factor:{source}")
            return None
        moment = self.batch.start if self.batch.end is None else self.batch.end - 1
        try:
            choice = self.catalogue.choose(request, moment)
        except FactorError as error:
            self.incomplete.add(f"no_factor:{source}")
            self._find("factor_not_chosen", source, Severity.ERROR, error=str(error)[:200])
            return None
        if choice.carried_forward:
            self._find("factor_carried_forward", choice.factor.id, Severity.INFO)
        if choice.overdue:
            self._find("factor_overdue", choice.factor.id)
        if choice.factor.category == "electricity_co2":
            self._find("factor_family", choice.factor.id)
        return choice

    def _burden(
        self,
        amount: Fraction,
        symbol: str,
        components: Components,
        choice: Choice | None,
        source: str,
    ) -> tuple[Fraction, Components]:
        if choice is None:
            return Fraction(0), Components()
        factor = choice.factor
        try:
            scale = Quantity(Fraction(1), symbol).to(factor.denominator).value
            kilograms = Quantity(factor.value, factor.numerator).to("kgCO2e").value
        except MeterprintError as error:
            self.incomplete.add(f"unit:{source}")
            self._find("factor_unit", source, Severity.ERROR, error=str(error)[:200])
            return Fraction(0), Components()
        per_unit = scale * kilograms
        burden = amount * per_unit
        relative = float(choice.uncertainty_pct) / 200
        own = Components({f"factor:{factor.id}": float(burden) * relative})
        return burden, components.scaled(per_unit) + own

    def _materials(self, product: Product) -> list[SourceResult]:
        """What the bill says was taken: rejected units took their materials as well."""
        rows = []
        made = Fraction(self.batch.good + self.batch.scrap, MILLIONTHS)
        for material in product.materials:
            amount = material.quantity * made
            choice = self._factor(material.id, material.factor)
            burden, components = self._burden(
                amount, material.unit, Components(), choice, material.id
            )
            rows.append(
                SourceResult(
                    source=f"material:{material.id}",
                    instrument="",
                    register="",
                    unit=material.unit,
                    metered=amount,
                    corrected=amount,
                    parts=((Part.DIRECT, amount),),
                    factor=choice.factor.id if choice else "",
                    factor_value=choice.factor.value if choice else Fraction(0),
                    factor_unit=choice.factor.unit if choice else "",
                    factor_reason=choice.reason if choice else "",
                    factor_default_u=choice.uncertainty_default if choice else False,
                    burden=burden,
                    components=components,
                    activity_components=Components(),
                    tier="",
                    certificate="",
                    certificate_state="",
                )
            )
        return rows


def policy_hash(plant: PlantModel) -> str:
    """SHA-256 of the policy in force, hex."""
    policy = {k: str(v) for k, v in asdict(plant.policy).items()}
    return hashlib.sha256(canonical(policy)).hexdigest()
