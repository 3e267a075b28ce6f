"""How far the activity of a batch may be off, as components tagged by source (GUM 5.1, 5.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from footprint.batch import Part
from footprint.metered import Metered
from footprint.metering import MILLIONTHS, Activity
from footprint.plant import Policy
from footprint.readings import Readings
from footprint.timeline import Batch
from mrv.measurement.calibration import amount_components
from mrv.measurement.uncertainty import (
    Components,
    counter_resolution,
    reading_resolution,
    total,
)


def activity_components(
    metered: Metered,
    batch: Batch,
    parts: Mapping[Part, Activity],
    policy: Policy,
    readings: Readings,
) -> Components:
    """Components of the sum of `parts` in the register's unit: certificate, resolution, gaps."""
    activity = Activity()
    for part in parts.values():
        activity += part
    scale = float(metered.register.resolution)
    found = []
    for stretch, window in activity.parts:
        unit = scale * float(stretch.ratio) / MILLIONTHS
        found.append(
            amount_components(
                stretch.certificate,
                metered.instrument.id,
                metered.instrument.mpe,
                policy.mpe_rule,
                window.metered * unit,
                [weight * unit for weight in window.weights],
            )
        )
    name = f"{metered.channel}:{batch.id}"
    step = scale * float(metered.instrument.ratio)
    if metered.register.kind == "counter":
        pieces = sum(1 for part in parts.values() if part.parts)
        found.append(Components({f"res:{name}": counter_resolution(step) * math.sqrt(pieces)}))
        found.append(_gap_split(metered, batch, policy.gap, readings, step))
    else:
        steps = activity.total.counts[0]
        found.append(Components({f"res:{name}": reading_resolution(step) * math.sqrt(steps)}))
    return total(found)


def _gap_split(
    metered: Metered, batch: Batch, gap: int, readings: Readings, step: float
) -> Components:
    """What the split of a gap step at the batch's ends may be off by.

    Nothing is known of the load inside a gap: the part before the cut is anything from 0 to the
    step, rectangular, u = step/√12. Its sign differs for the two sides of the cut, so that the
    sum of both batches does not carry it.
    """
    key = metered.meter.key
    parts: dict[str, float] = {}
    if key is None:
        return Components()
    for cut, sign in ((batch.start, -1.0), (batch.end, 1.0)):
        if cut is None:
            continue
        near = readings.read(key, cut, cut, 1)
        good = [i for i in range(len(near)) if near.ok[i]]
        if len(good) == 2 and near.t[good[1]] - near.t[good[0]] > gap:
            size = abs(int(near.v[good[1]]) - int(near.v[good[0]])) * step
            source = f"gap:{metered.channel}:{near.t[good[0]]}"
            parts[source] = parts.get(source, 0.0) + sign * reading_resolution(size)
    return Components(parts)
