"""What a change touches: which batches may get another figure, and no others (design §6, restate).

A change is a stretch of time on some lines: readings that came, a batch event, a certificate, a
factor, another plant. Everything a batch rests on lies between the pool windows around it and the
neighbours of its line, so that a batch far from a change need not be computed again.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from footprint.engine import Engine
from footprint.factor_changes import FactorChanges
from footprint.knowledge import Knowledge
from footprint.out_of_date import OutOfDate
from footprint.plant import PlantModel
from footprint.readings import Readings
from footprint.stretch import FOREVER, Stretch, stretches
from footprint.timeline import OPEN, Timeline
from mrv.fact import Fact
from mrv.measurement.law import DIP_RUN
from mrv.series import SeriesKey

SILENT = frozenset(("key_enrolled", "key_revoked", "journal_restored"))
"""Facts of the registry that change no figure."""
CERTIFICATES = frozenset(
    (
        "certificate_recorded",
        "certificate_approved",
        "certificate_revoked",
        "instrument_exchanged",
    )
)
"""Facts that change what registers mean in some time."""


NEAR = 2 * DIP_RUN + 2
"""Good readings before new ones whose steps they may change: a decision looks so many ahead as may
be passed over, and a step may have passed over as many."""


@dataclass(frozen=True, slots=True)
class Touched:
    """Time of some lines that is no longer what it was."""

    lines: frozenset[str]
    """Lines."""
    start: int
    """First ns."""
    end: int
    """Last ns; OPEN = from the start on."""
    instrument: str = ""
    """The one instrument that says something else; "" = not it alone."""


def lines_of(plants: Iterable[PlantModel], instrument: str) -> frozenset[str]:
    """Lines an instrument serves under any plant model."""
    return frozenset(
        line
        for plant in plants
        for source in plant.sources
        if source.instrument == instrument
        for line in source.lines
    )


def sharing(plants: Iterable[PlantModel], lines: Iterable[str]) -> frozenset[str]:
    """The lines, and those that share a source with one of them."""
    wanted = set(lines)
    return frozenset(wanted).union(
        line
        for plant in plants
        for source in plant.sources
        if wanted.intersection(source.lines)
        for line in source.lines
    )


def batches_around(engine: Engine, touched: Touched) -> set[str]:
    """Batches whose figure may rest on the time that was touched.

    The pool windows on either side count, and a window without output joins the next one that has
    some; so do the batch before and the one after.
    """
    plants = [plant for _, plant in engine.knowledge.plants]
    if not plants:
        return set()
    window = max(plant.policy.pool_window for plant in plants)
    timelines = [engine.timeline(line) for line in touched.lines]
    end = touched.end
    if end < OPEN:
        outputs = [t.output_after(end) for t in timelines]
        end = min((b for b in outputs if b is not None), default=OPEN)
    start, stop = touched.start - window, min(end + window, OPEN)
    names = {b.id for t in timelines for b in t.overlapping(start, stop)}
    for line in touched.lines:
        names |= _neighbours(engine.timeline(line), touched.start, touched.end)
    return names


def _neighbours(timeline: Timeline, start: int, end: int) -> set[str]:
    before = timeline.before(start)
    after = timeline.after(end)
    return {batch.id for batch in (before, after) if batch is not None}


def changed_lines(before: Knowledge, after: Knowledge) -> list[Touched]:
    """Time of lines whose batches are not the same, and of those that share a source with them.

    A batch that was open claimed all time to come: where it ended long ago others have that now.
    """
    found = []
    plants = [plant for _, plant in after.plants]
    for line, timeline in after.timelines.items():
        held = before.timelines.get(line)
        if held is timeline:
            continue
        known = held.batches if held is not None else {}
        for name in timeline.news(held):
            pair = [b for b in (known.get(name), timeline.batches.get(name)) if b is not None]
            if len(pair) == 1 or pair[0] != pair[1]:
                end = max(OPEN if b.end is None else b.end for b in pair)
                start = min(b.start for b in pair)
                found.append(Touched(sharing(plants, (line,)), start, end))
    return found


def vanished(before: Knowledge, after: Knowledge) -> list[str]:
    """Batches no fact starts any more."""
    return [
        name
        for line, held in before.timelines.items()
        if (timeline := after.timelines.get(line)) is None or not timeline.grew_from(held)
        for name in held.batches.keys() - (timeline.batches.keys() if timeline else set())
    ]


def changed_registry(before: Engine, after: Engine) -> list[Touched] | None:
    """Time touched by what the registry states anew; None = everything.

    Both engines read the same readings; `after` knows more facts.
    """
    old, new = before.knowledge, after.knowledge
    facts = new.registry[old.registry_length :]
    kinds = {fact.header.type for fact in facts} - SILENT
    known = CERTIFICATES | {"factor_set", "chain_closed", "plant_model"}
    if not kinds <= known:
        return None
    found: list[Touched] = []
    if "plant_model" in kinds:
        later = _plant_after(old, new, facts)
        if later is None:
            return None
        found.append(later)
    every = frozenset(line.id for _, plant in new.plants for line in plant.lines)
    for fact in facts:
        if fact.header.type == "chain_closed":
            end = OPEN if fact.header.valid_to is None else fact.header.valid_to
            found.append(Touched(every, fact.header.valid_from or 0, end))
    if kinds & CERTIFICATES:
        found += _changed_registers(old, after)
    return found


def _plant_after(old: Knowledge, new: Knowledge, facts: Sequence[Fact]) -> Touched | None:
    """Time from which the plant is another one; None where that cannot be bounded."""
    size = len(old.plants)
    if not size or list(new.plants[:size]) != list(old.plants):
        return None
    if any(f.header.supersedes is not None for f in facts) or len(new.plants) == size:
        return None
    lines = frozenset(line.id for _, plant in new.plants for line in plant.lines)
    return Touched(lines, new.plants[size][0], OPEN)


def _changed_registers(old: Knowledge, engine: Engine) -> list[Touched]:
    """Time in which registers mean something else, out to the readings whose steps reach in."""
    new = engine.knowledge
    found = []
    plants = [plant for _, plant in new.plants]
    seen: set[tuple[str, str]] = set()
    for plant in reversed(plants):
        for instrument in plant.instruments:
            if new.says_the_same(old, instrument.id):
                continue
            found += _changed_exchanges(old, new, instrument.id, plants)
            for register in instrument.registers:
                if (instrument.id, register.id) in seen:
                    continue
                seen.add((instrument.id, register.id))
                lines = lines_of(plants, instrument.id)
                parts = [stretches(k, plant, instrument, register) for k in (old, new)]
                for start, end in differing(*parts):
                    meter = engine.meter(plant, instrument, register)
                    low = min([start, *meter.near(start)])
                    high = max(end, *meter.near(end), meter.reaches(end)) if end < FOREVER else OPEN
                    found.append(Touched(lines, low, high, instrument.id))
    return found


def _changed_exchanges(
    old: Knowledge, new: Knowledge, instrument: str, plants: Sequence[PlantModel]
) -> list[Touched]:
    """Moments of exchanges only one of both knows: what they state is said of a batch."""
    known = [list(k.exchanges(instrument)) for k in (old, new)]
    lone = [one for i in (0, 1) for one in known[i] if one not in known[1 - i]]
    lines = lines_of(plants, instrument)
    return [Touched(lines, one.at, one.at, instrument) for one in lone]


def differing(before: Sequence[Stretch], after: Sequence[Stretch]) -> list[tuple[int, int]]:
    """Spans of time, and moments of an exchange, where a register means something else, ns."""
    cuts = sorted({s.start for s in (*before, *after)} | {s.end for s in (*before, *after)})
    spans = []
    for start, end in itertools.pairwise(cuts):
        if _meaning(before, start, end) != _meaning(after, start, end):
            spans.append((start, end))
    edges = [
        {(s.start, "opening", s.opening) for s in parts if s.opening is not None}
        | {(s.end, "closing", s.closing) for s in parts if s.closing is not None}
        for parts in (before, after)
    ]
    return [*spans, *((moment, moment) for moment, _, _ in sorted(edges[0] ^ edges[1]))]


def _meaning(parts: Sequence[Stretch], start: int, end: int) -> tuple[object, ...]:
    found = next((s for s in parts if s.start <= start and end <= s.end), None)
    return () if found is None else found.meaning()


def restated(before: Engine, after: Engine) -> OutOfDate | None:
    """Batches whose figure may be another one for new facts; None = all of them."""
    old, new = before.knowledge, after.knowledge
    touched = changed_lines(old, new)
    found = OutOfDate(_declared(old, new))
    if new.registry_length != old.registry_length:
        more = changed_registry(before, after)
        if more is None:
            return None
        touched += more
        facts = new.registry[old.registry_length :]
        if any(fact.header.type == "factor_set" for fact in facts):
            changes = FactorChanges(old, new)
            for timeline in new.timelines.values():
                for batch in timeline.ordered():
                    plant = new.plant_at(batch.start)
                    if plant is not None and changes.batch(plant, batch):
                        found.add_priced([batch.id])
    for item in touched:
        found.add(batches_around(after, item), item.instrument)
    return found


def _declared(old: Knowledge, new: Knowledge) -> set[str]:
    """Batches of which other amounts are declared."""
    names: set[str] = set()
    for line, timeline in new.timelines.items():
        held = old.timelines.get(line)
        if held is not timeline:
            known = held.declared if held is not None else {}
            stated = timeline.declared
            names.update(place[0] for place in known if known[place] != stated.get(place))
            names.update(place[0] for place in stated if place not in known)
    return names


def reach(times: Sequence[int], first: int, last: int) -> tuple[int, int]:
    """Time that readings in [first, last] may change, given the readings around them.

    `times` are those of the good readings near, a few on either side; where none lies before or
    after, everything earlier or later is open.
    """
    before = bisect_left(times, first)
    after = bisect_right(times, last)
    low = times[0] if before else 0
    high = times[-1] if after < len(times) else OPEN
    return min(low, first), high


def reach_of(
    readings: Readings, key: SeriesKey, first: int, last: int, reaches: Callable[[int], int]
) -> tuple[int, int]:
    """Time that readings of a channel that came in [first, last] may change, ns; OPEN = all later.

    `reaches` says up to which time a reading at a moment may change steps.
    """
    near = readings.read(key, first, last + 1, NEAR)
    low, high = reach([int(near.t[i]) for i in range(len(near)) if near.ok[i]], first, last)
    return low, high if high == OPEN else max(high, reaches(last))
