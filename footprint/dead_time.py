"""Time a counter did not cover, and what policy puts in its place (ADR 15)."""

from __future__ import annotations

from footprint.activity import Activity
from footprint.metering import Meter
from mrv.interval import NS_PER_MS, ceil_ms, floor_ms
from mrv.measurement.activity import WindowSum
from mrv.reporting.substitution import mean_rate_fill


def dead_time(meter: Meter, start: int, end: int) -> int:
    """Time in [start, end) before a counter's first good reading and after its last, ns."""
    before, after = meter.near(start), meter.near(end)
    first = min(before, default=end)
    last = max(after, default=start)
    return max(min(first, end) - start, 0) + max(end - max(last, start), 0)


def fill(meter: Meter, start: int, end: int) -> Activity | None:
    """What stands in for a counter's dead time in [start, end), by its mean rate beside it.

    The rate is that of the time it covers in the window, else of as long a time next to it;
    None where there is dead time and no reading to go by.
    """
    missing = dead_time(meter, start, end)
    span = meter.span()
    if not missing:
        return Activity()
    if span is None:
        return None
    lasted = (ceil_ms(span[0]), floor_ms(span[1]))
    first, last = max(start, lasted[0]), min(end, lasted[1])
    if first >= last:
        far = end - start
        first, last = (
            (lasted[0], min(lasted[0] + far, lasted[1]))
            if lasted[0] >= end
            else (max(lasted[1] - far, lasted[0]), lasted[1])
        )
    if first >= last:
        return None
    covered = meter.whole(first, last).total.corrected
    amount = mean_rate_fill(covered, (last - first) // NS_PER_MS, missing // NS_PER_MS)
    stretch = next(s for s in meter.stretches if s.start <= last - 1 < s.end)
    points = len(stretch.law.load)
    # The load of a dead register is unknown: its curve's points share the estimate evenly.
    weights = (amount // points,) * points if points else ()
    return Activity(((stretch, WindowSum(corrected=amount, metered=amount, weights=weights)),))
