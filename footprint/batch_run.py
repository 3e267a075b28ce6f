"""One computation of one batch: its sources, their shares of pools, its state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from footprint.activity import MILLIONTHS, Activity
from footprint.activity_uncertainty import activity_components
from footprint.batch import BatchResult, BatchState, Part, SourceResult
from footprint.dead_time import dead_time, fill
from footprint.metered import Metered
from footprint.metering import Meter
from footprint.notes import Notes
from footprint.out_of_date import Standing
from footprint.plant import EmissionSource, PlantModel, Policy, Product
from footprint.pools import PoolGroup, line_pool, share, span_of
from footprint.pricing import Pricing
from footprint.stated_amount import stated_row
from footprint.stated_batches import Batch
from footprint.timeline import OPEN, TileKind, Timeline
from mrv.channel import AssuranceTier
from mrv.finding import Finding, Severity
from mrv.interval import NS_PER_MS
from mrv.measurement.activity import findings_of
from mrv.measurement.calibration import CertificateState
from mrv.measurement.plausibility import standstill
from mrv.measurement.uncertainty import Components
from mrv.quantity import Quantity, UnitError
from mrv.strict_json import canonical

if TYPE_CHECKING:
    from footprint.engine import Engine


@dataclass(frozen=True, slots=True)
class Remembered:
    """The row of a source of an open batch, and what it rests on."""

    meter: Meter
    """The meter."""
    version: int
    """Its version then."""
    row: SourceResult | None
    """The row."""
    notes: Notes
    """What was noticed on the way."""


class BatchRun:
    """One computation of one batch."""

    def __init__(
        self,
        engine: Engine,
        plant: PlantModel,
        timeline: Timeline,
        batch: Batch,
        standing: Standing,
    ) -> None:
        self.engine = engine
        self.plant = plant
        self.timeline = timeline
        self.batch = batch
        self.standing = standing
        self.notes = Notes(findings=list(standing.findings))
        moment = batch.start if batch.end is None else batch.end - 1
        self.pricing = Pricing(engine.knowledge.catalogue(plant), moment, batch.start, self.notes)

    def result(self) -> BatchResult:
        """The figure with all its parts, as known now."""
        product = self.plant.product(self.batch.product)
        if product is None:
            self.notes.incomplete.add(f"unknown_product:{self.batch.product}")
        if self.batch.end is None:
            self.notes.waits.add("batch_end")
        sources = self.engine.sources_of(self.plant, self.batch.line)
        rows = [row for source in sources if (row := self._remembered(source)) is not None]
        if self.plant.boundary == "cradle_to_gate" and product is not None:
            rows += self._materials(product)
        state = BatchState.PROVISIONAL
        notes = self.notes
        if not notes.waits:
            state = BatchState.FINAL
            if notes.unchained:
                state = BatchState.CLOSED
            if notes.estimated:
                state = BatchState.FINAL_ESTIMATED
        if self.batch.end is not None and self.batch.good == 0:
            self._find("no_good_output", self.batch.id)
        return BatchResult(
            batch=self.batch,
            unit=product.unit if product else "piece",
            boundary=self.plant.boundary,
            state=state,
            waits=tuple(sorted(notes.waits)),
            incomplete=tuple(sorted(notes.incomplete)),
            sources=tuple(sorted(rows, key=lambda row: row.source)),
            findings=tuple(sorted(set(notes.findings))),
            policy=policy_hash(self.plant),
        )

    def _find(
        self, rule: str, subject: str, severity: Severity = Severity.WARNING, **numbers: str
    ) -> None:
        pairs = tuple(sorted(numbers.items()))
        self.notes.findings.append(Finding(rule, subject, self.batch.start, severity, pairs))

    def _remembered(self, source: EmissionSource) -> SourceResult | None:
        """The row of a source; of an open batch the one it had, unless readings came.

        As long as the facts are the same, a row of an open batch rests on its meter alone: pools
        and chains are asked for once the batch has ended.
        """
        stands = self.standing.rows.get(source.id)
        if stands is not None:
            self.notes.unchained |= not AssuranceTier(stands.tier).has_chain
            return self.pricing.priced(stands, source.id, source.factor)
        metered = None if source.declared else self.engine.metered(self.plant, source)
        if self.batch.end is not None or metered is None:
            return self._source(source, metered)
        meter = metered.meter
        held = self.engine.rows.get(self.batch.id, {}).get(source.id)
        if held is None or held.meter is not meter or held.version != meter.version:
            every, self.notes = self.notes, Notes()
            self.pricing.notes = self.notes
            row = self._source(source, metered)
            held = Remembered(meter, meter.version, row, self.notes)
            self.engine.rows.setdefault(self.batch.id, {})[source.id] = held
            self.notes = self.pricing.notes = every
        self.notes.add(held.notes)
        return held.row

    def _source(self, source: EmissionSource, metered: Metered | None) -> SourceResult | None:
        if source.declared:
            return self._declared(source)
        if metered is None:
            self.notes.incomplete.add(f"not_metered:{source.id}")
            return None
        end = self._end_of(metered)
        tier = metered.meter.tier(self.batch.start, end)
        if tier is None:
            self.notes.incomplete.add(f"no_channel:{source.id}")
            return None
        parts = self._parts(metered, end)
        if self._close(metered, tier, end):
            parts[Part.SUBSTITUTED] = self._fill(metered, end)
        activity = Activity()
        for part in parts.values():
            activity += part
        subject = f"{metered.instrument.id}/{metered.register.id}"
        every = activity.total
        self.notes.findings += findings_of(every, subject, self.batch.start)
        self.notes.findings += [
            exchange.finding()
            for exchange in self.engine.knowledge.exchanges(metered.instrument.id)
            if self.batch.covers(exchange.at)
        ]
        if self.batch.good and metered.register.kind == "counter":
            direct = parts.get(Part.DIRECT, Activity()).total
            still = standstill(direct, subject, self.batch.start)
            if still is not None:
                self.notes.findings.append(still)
        unit = metered.register.unit
        corrected = activity.corrected_value(unit)
        same = every.corrected == every.metered and len(activity.parts) == 1
        components = activity_components(metered, self.batch, parts, activity, self.plant.policy)
        paper, state = self.engine.knowledge.certificate_at(
            metered.instrument.id, (self.batch.end or end) - 1
        )
        if state not in (CertificateState.VALID, CertificateState.MISSING):
            self._find(f"certificate_{state.value}", metered.instrument.id)
        row = SourceResult(
            source=source.id,
            instrument=metered.instrument.id,
            register=metered.register.id,
            unit=unit,
            metered=corrected if same else activity.metered_value(unit),
            corrected=corrected,
            parts=tuple(
                (part, corrected if found is activity else found.corrected_value(unit))
                for part, found in parts.items()
                if found.parts
            ),
            activity_components=components,
            tier=tier.value,
            certificate=paper.id if paper else "",
            certificate_state=state.value,
        )
        return self.pricing.priced(row, source.id, source.factor)

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
        if batch.end is not None and plan.too_long(batch, batch.end):
            self.notes.incomplete.add("batch_too_long")
            self._find("batch_too_long", batch.id, Severity.ERROR)
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
                self.notes.waits.add(f"pool:{group.end}")
                continue
            shares += share(pool(group), group.keys, self.batch.id)
        return shares

    def _close(self, metered: Metered, tier: AssuranceTier, end: int) -> bool:
        """Say what the source waits for; whether its closure is an estimate."""
        if not tier.has_chain:
            self.notes.unchained = True
        if self.batch.end is None:
            return False
        start, last = self.batch.start, end
        if tier.has_chain:
            plan = self.engine.plan(metered.source.lines, self.plant)
            start, last = span_of(self.batch, end, plan.groups_of(self.batch, self.batch.end))
            if not metered.source.shared:
                last = max(last, self._settled_after(last))
        outcome = self.engine.closures.of(metered.meter, self.batch.start, start, last)
        if outcome.estimated:
            self.notes.estimated = True
            self._find("estimated_closure", metered.instrument.id, reason=outcome.reason)
        elif outcome.reason and not tier.has_chain:
            self.notes.incomplete.add(f"{outcome.reason}:{metered.source.id}")
        elif outcome.reason:
            self.notes.waits.add(f"{outcome.reason}:{metered.instrument.id}.{metered.register.id}")
        return outcome.estimated

    def _fill(self, metered: Metered, end: int) -> Activity:
        """What policy puts in the place of a dead register's readings."""
        meter, batch = metered.meter, self.batch
        if metered.register.kind != "counter":
            return Activity()
        wanted = self.plant.policy.fill != "none"

        def stand_in(start: int, stop: int) -> Activity:
            found = fill(meter, start, stop) if wanted else None
            if found is None and dead_time(meter, start, stop):
                self.notes.incomplete.add(f"not_filled:{metered.source.id}")
            return found or Activity()

        if metered.source.shared:
            groups = self.engine.plan(metered.source.lines, self.plant).groups_of(batch, end)
            return self._shares(groups, lambda group: stand_in(group.start, group.end))
        return stand_in(batch.start, end)

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

    def _declared(self, source: EmissionSource) -> SourceResult | None:
        """A source whose amount a fact states; until it does, the batch waits for it."""
        stated = self.timeline.declared.get((self.batch.id, source.id))
        if stated is None:
            self.notes.waits.add(f"declared:{source.id}")
            return None
        try:
            amount = Quantity(stated.amount, stated.unit).to(source.declared).value
        except UnitError as error:
            self.notes.incomplete.add(f"unit:{source.id}")
            self._find("factor_unit", source.id, Severity.ERROR, error=str(error)[:200])
            return None
        off_by = float(amount) * float(stated.u_percent) / 200
        components = Components({f"declared:{source.id}:{self.batch.id}": off_by})
        return stated_row(
            self.pricing, source.id, source.id, amount, source.declared, components, source.factor
        )

    def _materials(self, product: Product) -> list[SourceResult]:
        """What the bill says was taken: rejected units took their materials as well."""
        made = Fraction(self.batch.good + self.batch.scrap, MILLIONTHS)
        return [
            stated_row(
                self.pricing,
                f"material:{material.id}",
                material.id,
                material.quantity * made,
                material.unit,
                Components(),
                material.factor,
            )
            for material in product.materials
        ]


def policy_hash(plant: PlantModel) -> str:
    """SHA-256 of the policy in force, hex."""
    return _hash_of(plant.policy)


@lru_cache(maxsize=64)
def _hash_of(policy: Policy) -> str:
    texts = {k: str(v) for k, v in asdict(policy).items()}
    return hashlib.sha256(canonical(texts)).hexdigest()
