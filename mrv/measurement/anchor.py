"""Readings that end a step whatever was there before: from them a counter can be read on.

The law goes from reading to reading and passes over up to `law.DIP_RUN` of them that dip or spike
and recover. Which ones depends on the reading it stands on, so a window that is read from the
middle of a history has to start where that reading is beyond doubt. A reading is *sure* where none
of the `DIP_RUN + 1` good ones before it, of which the law stands on one, would have the law pass
over it. Everything from a sure reading on is the same however far back reading began.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from mrv.measurement.law import DIP_RUN, MAX_INCREMENT, MILLION, plausible_increment
from mrv.series import Series

STANDS_ON = DIP_RUN + 1
"""Good readings before one, on one of which the law stands when it comes to it."""


def sure(series: Series, good: Sequence[int], at: int, max_rate: int) -> bool:
    """Whether the good reading `good[at]` ends a step, whichever came before.

    `max_rate` counts per hour, 0 = unknown, as in `law.counter_law`. Less than DIP_RUN good
    readings after it are all there are.
    """
    if at < STANDS_ON:
        return False
    here = good[at]
    after = good[at + 1 : at + 1 + DIP_RUN]
    return all(
        _fits(series, before, here, max_rate)
        or not any(_fits(series, before, later, max_rate) for later in after)
        for before in good[at - STANDS_ON : at]
    )


def _fits(series: Series, before: int, after: int, max_rate: int) -> bool:
    """Whether a step between two readings is an ordinary one."""
    increment = int(series.v[after]) - int(series.v[before])
    if max_rate <= 0:
        return 0 <= increment <= MAX_INCREMENT
    elapsed = int(series.t[after]) // MILLION - int(series.t[before]) // MILLION
    return 0 <= increment <= plausible_increment(max_rate, elapsed)


def sure_before(series: Series, moment: int, max_rate: int) -> bool:
    """Whether a reading before `moment`, ns, is sure: a window may start there."""
    place = bisect_left(series.t, moment)
    good = [i for i in range(place) if series.ok[i]]
    known = len(good)
    while place < len(series) and len(good) < known + DIP_RUN:
        if series.ok[place]:
            good.append(place)
        place += 1
    return any(sure(series, good, at, max_rate) for at in range(known - 1, STANDS_ON - 1, -1))


def sure_after(series: Series, moment: int, max_rate: int) -> int | None:
    """Time of the first reading that is sure for what came after `moment` alone, ns; None = none.

    What changes at or before `moment` changes no step after it. A reading with less than DIP_RUN
    good ones after it is not sure yet.
    """
    good = [i for i in range(bisect_right(series.t, moment), len(series)) if series.ok[i]]
    known = range(STANDS_ON, len(good) - DIP_RUN)  # beyond it what comes may still decide
    found = (at for at in known if sure(series, good, at, max_rate))
    return next((int(series.t[good[at]]) for at in found), None)
