"""How far the activity of a batch may be off, as components tagged by source (GUM 5.1, 5.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from footprint.batch import Part
from footprint.metered import Metered
from footprint.metering import MILLIONTHS, Activity, count_value
from footprint.plant import Policy
from footprint.timeline import Batch
from mrv.interval import floor_ms
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
) -> Components:
    """Components of the sum of `parts` in the register's unit: certificate, resolution, gaps."""
    activity = Activity()
    for part in parts.values():
        activity += part
    found = []
    steps = [0.0]
    for stretch, window in activity.parts:
        count = float(count_value(stretch, metered.register.unit))
        unit = count / MILLIONTHS
        steps.append(count)
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
    step = max(steps)
    if metered.register.kind == "counter":
        pieces = sum(1 for part in parts.values() if part.parts)
        found.append(Components({f"res:{name}": counter_resolution(step) * math.sqrt(pieces)}))
        found.append(_gap_split(metered, batch, policy.gap))
    else:
        weighings = activity.total.counts[0]
        found.append(Components({f"res:{name}": reading_resolution(step) * math.sqrt(weighings)}))
    return total(found)


def _gap_split(metered: Metered, batch: Batch, gap: int) -> Components:
    """What the split of a gap step at the batch's ends may be off by.

    Nothing is known of the load inside a gap: the part before the cut is anything from 0 to the
    step, rectangular, u = step/√12. Its sign differs for the two sides of the cut, so that the
    sum of both batches does not carry it.
    """
    parts: dict[str, float] = {}
    for cut, sign in ((batch.start, -1.0), (batch.end, 1.0)):
        if cut is None:
            continue
        good = metered.meter.near(cut)
        if gap and len(good) == 2 and good[1] - good[0] > gap:
            first, last = floor_ms(good[0]), floor_ms(good[1])
            step = metered.meter.whole(first, last).metered_value(metered.register.unit)
            source = f"gap:{metered.channel}:{good[0]}"
            parts[source] = parts.get(source, 0.0) + sign * reading_resolution(float(step))
    return Components(parts)
