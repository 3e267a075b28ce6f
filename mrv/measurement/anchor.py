"""Readings that end a step whatever was there before: from them a counter can be read on.

The law goes from reading to reading and passes over up to `law.DIP_RUN` of them that dip or spike
and recover. Which ones depends on the reading it stands on, so a window that is read from the
middle of a history has to start where that reading is beyond doubt. A reading is *sure* where none
of the `DIP_RUN + 1` good ones before it, of which the law stands on one, would have the law pass
over it. Everything from a sure reading on is the same however far back reading began.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence

from mrv.measurement.law import DIP_RUN, MARGIN, MAX_INCREMENT, MILLION, plausible_increment
from mrv.series import Series

STANDS_ON = DIP_RUN + 1
"""Good readings before one, on one of which the law stands when it comes to it."""
FURTHER = 4
"""How many times as many readings are read where those beside a moment leave open what is sure."""


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


def read_back(
    read: Callable[[int], Series], start: int, max_rate: int, begins: int = 0
) -> tuple[Series, int]:
    """A counter's readings for windows from `start` on, ns, back to one that is sure; its margin.

    `read` gives the readings of the windows and up to so many good ones on either side, its margin.
    Nearly always `law.MARGIN` of them are enough. Where the law begins anew at `begins`, ns, what
    lies before is not looked at.
    """
    margin = MARGIN
    series = read(margin)
    while not _anchored(series, start, margin, max_rate, begins):
        margin *= FURTHER
        series = read(margin)
    return series, margin


def _anchored(series: Series, start: int, margin: int, max_rate: int, begins: int) -> bool:
    """Whether the steps from `start` on are what the whole history makes of them."""
    before = bisect_left(series.t, start)
    if sum(1 for place in range(before) if series.ok[place]) < margin:
        return True  # there are no earlier ones
    return bool(begins > series.t[0]) or sure_before(series, start, max_rate)


def sure_after(series: Series, moment: int, max_rate: int) -> int | None:
    """Time of the first reading that is sure for what came after `moment` alone, ns; None = none.

    What changes at or before `moment` changes no step after it. A reading with less than DIP_RUN
    good ones after it is not sure yet.
    """
    good = [i for i in range(bisect_right(series.t, moment), len(series)) if series.ok[i]]
    known = range(STANDS_ON, len(good) - DIP_RUN)  # beyond it what comes may still decide
    found = (at for at in known if sure(series, good, at, max_rate))
    return next((int(series.t[good[at]]) for at in found), None)


def read_on(read: Callable[[int], Series], moment: int, max_rates: Collection[int]) -> int | None:
    """Time of the first reading that is sure for what came after `moment` alone, ns.

    `read` gives up to so many good readings on either side of it, its margin; the reading is sure
    at each of the rates. None where no later one is sure yet.
    """
    margin = MARGIN + DIP_RUN
    while True:
        series = read(margin)
        found = [sure_after(series, moment, rate) for rate in max_rates]
        if found and None not in found:
            return max(time for time in found if time is not None)
        after = bisect_right(series.t, moment)
        if sum(1 for place in range(after, len(series)) if series.ok[place]) < margin:
            return None
        margin *= FURTHER
