"""Which channel speaks for a register: one, by the plant's word; others are checks (design §3)."""

from __future__ import annotations

from collections.abc import Sequence

from footprint.knowledge import Knowledge
from footprint.plant import Instrument, PlantModel, Register
from footprint.readings import ChannelSource, Readings
from mrv.channel import AssuranceTier, Channel
from mrv.finding import Finding, Severity
from mrv.series import SeriesKey


def _entry_findings(
    instrument: Instrument, register: Register, entry: Channel, serials: set[str], subject: str
) -> tuple[list[Finding], bool]:
    found: list[Finding] = []
    usable = True
    if entry.serial not in serials:
        numbers = (("stated", ", ".join(sorted(serials))), ("seen", entry.serial))
        found.append(Finding("serial_differs", subject, 0, Severity.ERROR, numbers))
    stated = (register.kind, register.unit, register.resolution)
    seen = (entry.kind.value, entry.unit, entry.resolution)
    if stated != seen:
        usable = False
        numbers = (
            ("stated", f"{stated[0]} {stated[2]} {stated[1]}"),
            ("seen", f"{seen[0]} {seen[2]} {seen[1]}"),
        )
        found.append(Finding("channel_meaning_differs", subject, 0, Severity.ERROR, numbers))
    if entry.ratio != instrument.ratio:
        numbers = (("installed", str(instrument.ratio)), ("agent", str(entry.ratio)))
        found.append(Finding("ratio_differs", subject, 0, Severity.ERROR, numbers))
    return found, usable


def authority(
    knowledge: Knowledge,
    plant: PlantModel,
    instrument: Instrument,
    register: Register,
    readings: Readings,
) -> tuple[SeriesKey | None, AssuranceTier | None, list[Finding]]:
    """The channel that speaks for a register, its tier, and what is odd about who delivers it."""
    subject = f"{instrument.id}/{register.id}"
    found: list[Finding] = []
    serials = {
        model.serial
        for _, plant_then in knowledge.plants
        if (model := plant_then.instrument(instrument.id)) is not None
    }
    serials |= {e.serial for e in knowledge.exchanges(instrument.id) if e.serial}
    ratios = {e.ratio for e in knowledge.exchanges(instrument.id)}
    usable: list[tuple[ChannelSource, AssuranceTier]] = []
    for source in readings.sources(f"{instrument.id}.{register.id}"):
        if not source.tables:
            found.append(Finding("unknown_channel_table", f"{source.key.agent}/{subject}"))
            continue
        good = True
        for _, entry in source.tables:
            findings, fits = _entry_findings(instrument, register, entry, serials, subject)
            if entry.ratio in ratios:
                findings = [f for f in findings if f.rule != "ratio_differs"]
            found.extend(findings)
            good = good and fits
        tier = max(entry.tier for _, entry in source.tables)
        if tier.value not in plant.policy.admissible:
            found.append(
                Finding("tier_not_admissible", subject, 0, Severity.ERROR, (("tier", tier.value),))
            )
        elif good:
            usable.append((source, tier))
    if not usable:
        return None, None, found
    chosen = _preferred(usable, instrument.agent)
    for source, _ in usable:
        if source is not chosen[0]:
            numbers = (("agent", source.key.agent), ("authoritative", chosen[0].key.agent))
            found.append(Finding("second_channel", subject, 0, Severity.WARNING, numbers))
    return chosen[0].key, chosen[1], found


def _preferred(
    usable: Sequence[tuple[ChannelSource, AssuranceTier]], agent: str
) -> tuple[ChannelSource, AssuranceTier]:
    named = [pair for pair in usable if pair[0].key.agent == agent]
    return (named or usable)[0]
