"""Steps of a counter that need no thought, many at a time.

They lie between two good readings, are short, go forward and stay within the plausible rate.
Part of the law of numbers, in the subset that numba compiles: every loop does the same to each
place of some sequences and leaves nothing early, so that a compiler turns it into vector
instructions. What is not usual is only marked; `mrv.measurement.law` looks at it one by one.

Quotients are taken as floats: where the dividend is an integer below 2⁵³, the quotient a/b of two
integers is at least 1/b away from the next integer unless it is one, which is more than rounding
moves it (IEEE 754, half a unit in the last place). So its floor is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MILLION = 1_000_000
"""Nanoseconds in a millisecond; millionths in one; ppm in one."""
MS_PER_HOUR = 3_600_000
"""Milliseconds in an hour: loads are counts per hour."""
BLOCK = 512
"""Steps looked at together; their sequences stay in a processor's first cache."""
USUAL_MS = 4_000_000
"""Longest usual step, ms; as the next two it keeps products of the comparison inside int64."""
USUAL_INCREMENT = 2_000_000_000
"""Largest increment of such a step, counts."""
USUAL_RATE = 2_000_000_000_000
"""Rate a usual step stays below whatever the register can show, counts per hour."""
EXACT = 2**53
"""Integers below it are exact as floats (IEEE 754 binary64)."""
SPAN_NS = 2**52
"""Longest time a block reaches, ns, about 52 days."""
ROOM = 6
"""Sequences of BLOCK + 1 places that `usual_steps` writes into."""


def narrow(load: Sequence[int], ppm: Sequence[int]) -> bool:
    """Whether a curve rises by steps so small that all its quotients are exact."""
    fine = True
    for segment in range(len(load) - 1):
        fine &= load[segment + 1] > load[segment]
        fine &= load[segment + 1] - load[segment] < EXACT // MILLION
        fine &= abs(ppm[segment + 1] - ppm[segment]) < EXACT // MILLION
    return fine


def usual_steps(
    t: Sequence[int],
    v: Sequence[int],
    first: int,
    stop: int,
    max_rate: int,
    gap_ms: int,
    load: Sequence[int],
    ppm: Sequence[int],
    ends: list[int],
    steps: list[int],
    rates: list[int],
    corrections: list[int],
    uppers: list[int],
    places: list[int],
) -> None:
    """Look at the steps that end at readings [first, stop), each from the reading before it.

    Those two readings are taken for good ones, and `t` of [first − 1, stop) lies within SPAN_NS
    where there is more than one step. `max_rate`, `gap_ms`, `load` and `ppm` as in
    `law.counter_law`, the curve `narrow`. Written by place, step k being the one that ends at
    reading first + k:

    `ends[k + 1]`  when it ends, ms since the whole ms of reading first − 1; `ends[0]` = 0
    `steps[k]`  its increment, counts, −1 = not usual: look at it by itself
    `corrections[k]`  increment × correction, counts × ppm
    `uppers[k]`  increment × weight of the curve point above its load, counts × millionths
    `places[k]`  twice the curve point below, 1 more where the load is outside the curve

    `rates` is for the loads on the way. What stands beside a step that is not usual means nothing.
    """
    size = stop - first
    base = t[first - 1] // MILLION * MILLION
    for k in range(size + 1):
        ends[k] = int((t[first - 1 + k] - base) / MILLION)
    usual_rate = min(max_rate, USUAL_RATE) if max_rate > 0 else USUAL_RATE
    usual_ms = min(gap_ms, USUAL_MS) if gap_ms > 0 else USUAL_MS
    for k in range(size):
        increment = v[first + k] - v[first - 1 + k]
        elapsed = ends[k + 1] - ends[k]
        usual = (elapsed > 0) & (elapsed <= usual_ms)
        usual &= (increment >= 0) & (increment <= USUAL_INCREMENT)
        usual &= increment * MS_PER_HOUR <= usual_rate * elapsed  # plausible all the same, perhaps
        steps[k] = increment if usual else -1
    points = len(load)
    if points < 2:
        correction = ppm[0] if points == 1 else 0
        for k in range(size):
            corrections[k] = steps[k] * correction
            uppers[k] = 0
            places[k] = 0
        return
    low = load[0]
    high = load[points - 1]
    for k in range(size):
        elapsed = ends[k + 1] - ends[k]
        rate = int(steps[k] * MS_PER_HOUR / (elapsed + (elapsed == 0)))
        places[k] = (rate < low) | (rate > high)
        rates[k] = min(max(rate, low), high)
    for segment in range(points - 1):
        low = load[segment]
        span = load[segment + 1] - low
        bottom = ppm[segment]
        slope = ppm[segment + 1] - bottom
        point = 2 * segment
        for k in range(size):
            weight = int((rates[k] - low) * MILLION / span)
            correction = bottom + math.floor(slope * weight / MILLION)
            reached = rates[k] >= low
            corrections[k] = correction if reached else corrections[k]
            uppers[k] = weight if reached else uppers[k]
            places[k] = point + (places[k] & 1) if reached else places[k]
    for k in range(size):
        corrections[k] *= steps[k]
        uppers[k] *= steps[k]
