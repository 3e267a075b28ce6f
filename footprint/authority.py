"""Which channel speaks for a register: one at a time, by the plant's word; others are checks.

A plant model says so from its moment on (design §3: one authoritative channel per instrument,
register and time), so that a new gateway at noon leaves the morning with the old one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from footprint.knowledge import Knowledge
from footprint.plant import Instrument, PlantModel, Register
from footprint.readings import ChannelSource, Readings
from mrv.channel import AssuranceTier, Channel
from mrv.finding import Finding, Severity
from mrv.series import SeriesKey

ALL_TIME = 2**63 - 1
"""Last ns of the time scale."""
Meaning = tuple[str, str, Fraction]
"""Kind, unit and resolution of a register: what its integers mean."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Time in which one channel speaks for a register."""

    start: int
    """First ns."""
    end: int
    """First ns after it; ALL_TIME = open."""
    key: SeriesKey
    """The channel."""
    tier: AssuranceTier
    """Its assurance tier."""


@dataclass(frozen=True, slots=True)
class _Version:
    """An instrument's register as one plant model states it."""

    start: int
    end: int
    plant: PlantModel
    instrument: Instrument
    register: Register

    @property
    def meaning(self) -> Meaning:
        return self.register.kind, self.register.unit, self.register.resolution


def _versions(knowledge: Knowledge, instrument: str, register: str) -> list[_Version]:
    starts = [since for since, _ in knowledge.plants]
    bounds = [0, *starts[1:], ALL_TIME]
    found = []
    for (start, end), (_, plant) in zip(itertools.pairwise(bounds), knowledge.plants, strict=True):
        model = plant.instrument(instrument)
        stated = model.register(register) if model else None
        if model is not None and stated is not None and end > start:
            found.append(_Version(start, end, plant, model, stated))
    return found


def _text(meaning: Meaning) -> str:
    return f"{meaning[0]} {meaning[2]} {meaning[1]}"


def authorities(
    knowledge: Knowledge, instrument: str, register: str, readings: Readings
) -> tuple[tuple[Authority, ...], list[Finding]]:
    """The channels that speak for a register, in the order of time, and what is odd about them."""
    subject = f"{instrument}/{register}"
    versions = _versions(knowledge, instrument, register)
    found: set[Finding] = set()
    sources = []
    for source in readings.sources(f"{instrument}.{register}"):
        if source.tables:
            sources.append(source)
        else:
            found.add(Finding("unknown_channel_table", f"{source.key.agent}/{subject}"))
    entries = [entry for source in sources for _, entry in source.tables]
    found |= _entry_findings(knowledge, instrument, versions, entries, subject)
    chosen: list[Authority] = []
    for version in versions:
        pair, findings = _choose(version, versions, sources, readings, subject)
        found |= findings
        if pair is None:
            continue
        last = chosen[-1] if chosen else None
        if last is not None and last.end == version.start and (last.key, last.tier) == pair:
            chosen[-1] = Authority(last.start, version.end, *pair)
        else:
            chosen.append(Authority(version.start, version.end, *pair))
    return tuple(chosen), sorted(found)


def _entry_findings(
    knowledge: Knowledge,
    instrument: str,
    versions: Sequence[_Version],
    entries: Sequence[Channel],
    subject: str,
) -> set[Finding]:
    """Tables that say another serial number, meaning or ratio than plant and exchanges do."""
    exchanges = knowledge.exchanges(instrument)
    serials = {v.instrument.serial for v in versions} | {e.serial for e in exchanges if e.serial}
    installed = [v.instrument.ratio for v in versions]
    # lists, as there are one or two of each, and a fraction takes longer to hash than to compare
    ratios = [*installed, *(e.ratio for e in exchanges)]
    meanings = [v.meaning for v in versions]
    found = set()

    def _find(rule: str, **numbers: str) -> None:
        pairs = tuple(numbers.items())
        found.add(Finding(rule, subject, 0, Severity.ERROR, pairs))

    for entry in entries:
        seen = (entry.kind.value, entry.unit, entry.resolution)
        if entry.serial not in serials:
            _find("serial_differs", stated=", ".join(sorted(serials)), seen=entry.serial)
        if seen not in meanings:
            stated = ", ".join(sorted(map(_text, set(meanings))))
            _find("channel_meaning_differs", stated=stated, seen=_text(seen))
        if entry.ratio not in ratios:
            listed = ", ".join(sorted(map(str, installed)))
            _find("ratio_differs", installed=listed, agent=str(entry.ratio))
    told = [entry.ratio for entry in entries]
    for ratio in sorted({ratio for ratio in installed if told and ratio not in told}):
        agent = ", ".join(map(str, sorted(set(told))))
        _find("ratio_differs", installed=str(ratio), agent=agent)
    return found


def _choose(
    version: _Version,
    versions: Sequence[_Version],
    sources: Sequence[ChannelSource],
    readings: Readings,
    subject: str,
) -> tuple[tuple[SeriesKey, AssuranceTier] | None, set[Finding]]:
    """The channel that speaks while a plant model holds; a table that fits none is not used."""
    found: set[Finding] = set()
    known = [v.meaning for v in versions]
    usable: list[tuple[SeriesKey, AssuranceTier]] = []
    for source in sources:
        seen = [(e.kind.value, e.unit, e.resolution) for _, e in source.tables]
        tier = max(entry.tier for _, entry in source.tables)
        if tier.value not in version.plant.policy.admissible:
            numbers = (("tier", tier.value),)
            found.add(Finding("tier_not_admissible", subject, 0, Severity.ERROR, numbers))
        elif version.meaning in seen and all(meaning in known for meaning in seen):
            usable.append((source.key, tier))
    if not usable:
        return None, found
    named = [pair for pair in usable if pair[0].agent == version.instrument.agent]
    chosen = (named or usable)[0]
    for key, _ in usable:
        if key != chosen[0] and readings.span(key) is not None:
            twins = (("agent", key.agent), ("authoritative", chosen[0].agent))
            found.add(Finding("second_channel", subject, 0, Severity.WARNING, twins))
    return chosen, found
