"""Conservation: a register's total is the sum of what it was attributed to, residual exactly 0."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from footprint.activity import Activity
from footprint.engine import Engine
from footprint.exact import decimal_text
from footprint.metered import Metered
from footprint.plant import PlantModel
from footprint.timeline import TileKind
from mrv.finding import Finding, Severity
from mrv.interval import NS_PER_MS
from mrv.measurement.activity import findings_of

SHARES = ("batches", "open", "changeover", "idle", "unattributed")
"""What a register's activity is attributed to, before pools are allocated."""


@dataclass(frozen=True, slots=True)
class Conservation:
    """The books of one register over all its readings."""

    subject: str
    """`<instrument>/<register>`."""
    unit: str
    """Unit of the amounts."""
    resolution: Fraction
    """Value of one count."""
    total: Fraction
    """Corrected activity from the first reading to the last, computed in one piece."""
    shares: tuple[Fraction, ...]
    """Activity by SHARES, computed tile by tile."""
    findings: tuple[Finding, ...] = ()
    """Amounts tagged with a batch nobody started; states of steps in nobody's time."""

    @property
    def residual(self) -> Fraction:
        """Total − Σ shares; must be 0."""
        return self.total - sum(self.shares, Fraction(0))

    def to_json(self) -> dict[str, Any]:
        """Exact decimal strings."""
        return {
            "total": decimal_text(self.total),
            **{name: decimal_text(value) for name, value in zip(SHARES, self.shares, strict=True)},
            "residual": decimal_text(self.residual),
            "unit": self.unit,
            "resolution": decimal_text(self.resolution),
        }


def conservation(engine: Engine, plant: PlantModel, metered: Metered) -> Conservation | None:
    """The books of a source's register; None where it has no reading or is a gauge."""
    meter, register = metered.meter, metered.register
    span = meter.span()
    if span is None or register.kind == "gauge":
        return None
    start = span[0] // NS_PER_MS * NS_PER_MS
    end = (span[1] // NS_PER_MS + 1) * NS_PER_MS
    lasting = meter.longest()
    end = max(end, end + -(-lasting // NS_PER_MS) * NS_PER_MS)
    sums = {name: Activity() for name in SHARES}
    findings = []
    subject = f"{metered.instrument.id}/{register.id}"
    whole = meter.whole(start, end)
    if metered.source.shared:
        sums["unattributed"] += meter.windows([start, end])[0]
        findings += findings_of(sums["unattributed"].total, subject, start)
    else:
        timeline = engine.timeline(metered.source.lines[0])
        tiles = timeline.tiles(start, end, plant.policy.changeover)
        cuts = [tile.start for tile in tiles] + [end]
        for tile, activity in zip(tiles, meter.windows(cuts), strict=True):
            if tile.kind is TileKind.BATCH:
                ended = timeline.batches[tile.batches[0]].end is not None
                sums["batches" if ended else "open"] += activity
            else:
                sums[tile.kind.value] += activity
                if tile.kind is not TileKind.CHANGEOVER:  # that one is in a batch's findings
                    findings += findings_of(activity.total, subject, tile.start)
    for tag in meter.tags():
        known = engine.find(tag)
        if known is None:
            findings.append(Finding("unknown_batch_tag", f"{subject}:{tag}", 0, Severity.WARNING))
            sums["unattributed"] += meter.tagged(tag)
        else:
            sums["batches" if known[0].end is not None else "open"] += meter.tagged(tag)
    return Conservation(
        subject=subject,
        unit=register.unit,
        resolution=register.resolution,
        total=whole.corrected_value(register.unit),
        shares=tuple(sums[name].corrected_value(register.unit) for name in SHARES),
        findings=tuple(findings),
    )


def books(engine: Engine) -> list[Conservation]:
    """The books of every register that meters a source of the latest plant."""
    plants = engine.knowledge.plants
    if not plants:
        return []
    plant = plants[-1][1]
    found: dict[str, Conservation] = {}
    for source in plant.sources:
        metered = engine.metered(plant, source)
        if metered is None or metered.meter.key is None:
            continue
        entry = conservation(engine, plant, metered)
        if entry is not None:
            found.setdefault(entry.subject, entry)
    return [found[name] for name in sorted(found)]
