"""How far the activity of a batch may be off, as components tagged by source (GUM 5.1, 5.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from footprint.activity import MILLIONTHS, Activity, count_value
from footprint.batch import Part
from footprint.metered import Metered
from footprint.metering import Meter
from footprint.plant import Instrument, Policy, Register
from footprint.stated_batches import Batch
from footprint.stretch import Stretch
from mrv.interval import floor_ms
from mrv.measurement.activity import WindowSum
from mrv.measurement.calibration import amount_components
from mrv.measurement.uncertainty import (
    Components,
    counter_resolution,
    reading_resolution,
    total,
)
from mrv.reporting.substitution import fill_uncertainty


def activity_components(
    metered: Metered,
    batch: Batch,
    parts: Mapping[Part, Activity],
    activity: Activity,
    policy: Policy,
) -> Components:
    """Components of `activity` in the register's unit: certificate, resolution, gaps.

    It is the sum of `parts`.
    """
    unit = metered.register.unit
    found = [instrument_components(metered.instrument, unit, activity, policy)]
    name = f"res:{metered.channel}:{batch.id}"
    if metered.register.kind == "counter":
        metered_parts = [a for part, a in parts.items() if part is not Part.SUBSTITUTED]
        pieces = sum(1 for activity_part in metered_parts if activity_part.parts)
        filled = parts.get(Part.SUBSTITUTED)
        if filled is not None:
            fill = fill_uncertainty(float(filled.corrected_value(unit)))
            found.append(Components({f"fill:{metered.channel}:{batch.id}": fill}))
        found.append(_register_resolution(name, activity, unit, pieces))
        cuts = ((batch.start, -1.0), (batch.end, 1.0))
        found.append(_gap_split(metered.meter, metered.channel, unit, policy.gap, cuts))
    else:
        found.append(_weighing_resolution(name, activity, unit))
    return total(found)


def window_components(
    meter: Meter,
    instrument: Instrument,
    register: Register,
    activity: Activity,
    policy: Policy,
    window: tuple[int, int],
) -> Components:
    """Components of a register's activity in one window [start, end), in its unit."""
    start, end = window
    channel = f"{instrument.id}.{register.id}"
    found = [instrument_components(instrument, register.unit, activity, policy)]
    name = f"res:{channel}:{start}"
    if register.kind == "counter":
        found.append(_register_resolution(name, activity, register.unit, 1))
        cuts = ((start, -1.0), (end, 1.0))
        found.append(_gap_split(meter, channel, register.unit, policy.gap, cuts))
    else:
        found.append(_weighing_resolution(name, activity, register.unit))
    return total(found)


def instrument_components(
    instrument: Instrument, unit: str, activity: Activity, policy: Policy
) -> Components:
    """What an amount owes to its meter and certificates, in `unit`.

    Stretches that differ in nothing that counts here, as one before and one after a certificate was
    revoked that had expired anyway, are one sum of integers: where they are cut changes no digit.
    """
    alike: list[tuple[Stretch, WindowSum]] = []
    for stretch, window in activity.parts:
        for place, (known, held) in enumerate(alike):
            if _counts_alike(known, stretch):
                alike[place] = (known, held + window)
                break
        else:
            alike.append((stretch, window))
    found = []
    for stretch, window in alike:
        scale = float(count_value(stretch, unit)) / MILLIONTHS
        found.append(
            amount_components(
                stretch.certificate,
                instrument.id,
                instrument.mpe,
                policy.mpe_rule,
                window.metered * scale,
                [weight * scale for weight in window.weights],
            )
        )
    return total(found)


def _counts_alike(one: Stretch, other: Stretch) -> bool:
    """Whether a count weighs the same in both, and is as uncertain."""
    return (one.certificate, one.count, one.unit, one.law.load) == (
        other.certificate,
        other.count,
        other.unit,
        other.law.load,
    )


def _step(activity: Activity, unit: str) -> float:
    """The coarsest count of the stretches, in `unit`."""
    return max((float(count_value(stretch, unit)) for stretch, _ in activity.parts), default=0.0)


def _register_resolution(name: str, activity: Activity, unit: str, pieces: int) -> Components:
    """Each piece is a difference of two register readings."""
    return Components({name: counter_resolution(_step(activity, unit)) * math.sqrt(pieces)})


def _weighing_resolution(name: str, activity: Activity, unit: str) -> Components:
    """Each amount is a reading of its own."""
    weighings = activity.total.counts[0]
    return Components({name: reading_resolution(_step(activity, unit)) * math.sqrt(weighings)})


def _gap_split(
    meter: Meter,
    channel: str,
    unit: str,
    gap: int,
    cuts: Sequence[tuple[int | None, float]],
) -> Components:
    """What the split of a gap step at the cuts may be off by.

    Nothing is known of the load inside a gap: the part before the cut is anything from 0 to the
    step, rectangular, u = step/√12. Its sign differs for the two sides of the cut, so that the
    sum of both sides does not carry it.
    """
    parts: dict[str, float] = {}
    for cut, sign in cuts:
        if cut is None:
            continue
        good = meter.near(cut)
        if gap and len(good) == 2 and good[1] - good[0] > gap:
            first, last = floor_ms(good[0]), floor_ms(good[1])
            step = meter.whole(first, last).metered_value(unit)
            source = f"gap:{channel}:{good[0]}"
            parts[source] = parts.get(source, 0.0) + sign * reading_resolution(float(step))
    return Components(parts)
