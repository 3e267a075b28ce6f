"""Windows that grow: what an open batch has counted so far, carried on from where it stood.

A counter's steps are added up from left to right; all the law knows of the past is the reading
the next step starts from. So a window that only gets longer need not be added up anew: what was
found up to a reading that is surely the end of a step stays, and the steps after it are added.
Sums of steps are sums of integers, so the result is the same to the last count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from footprint.stretch import Stretch
from mrv.interval import NS_PER_MS
from mrv.measurement import law
from mrv.measurement.activity import PYTHON, Kernels, WindowSum, counter_windows
from mrv.series import Series

WINDOWS = 4
"""Growing windows remembered of one register: batches that are open or have just ended."""
SHORT = 64
"""Steps after a standing up to this number are added by the plain law: compiling pays later."""
LOOKED_AT = 3 * law.DIP_RUN + 1
"""Good readings at the end among which a standing is looked for."""
ODD = (law.DIP, law.SPIKE, law.ROLL_OVER, law.RESET, law.JUMP, law.BACKWARD)
"""States the law settles by looking at the readings that follow."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a window has been added up for good."""

    stretch: Stretch
    """Stretch that `anchor` lies in."""
    anchor: int
    """Time of the reading the next step starts from, ns; surely the end of a step."""
    settled: int
    """Time of the last reading it rests on, ns ≥ `anchor`."""
    earlier: tuple[tuple[Stretch, WindowSum], ...]
    """Sums of stretches before."""
    found: WindowSum
    """Sum of the steps that end in the stretch, up to `anchor`."""


class GrowingWindows:
    """The growing windows of one counter, by where they start. Memory: `WINDOWS` standings."""

    def __init__(self, kernels: Kernels = PYTHON) -> None:
        self._kernels = kernels
        self._held: dict[int, Standing] = {}

    def __len__(self) -> int:
        return len(self._held)

    def standing(self, start: int, end: int) -> Standing | None:
        """Where the window that starts at `start` stands, if that is before `end`, ns."""
        held = self._held.get(start)
        return held if held is not None and held.anchor < end else None

    def forget(self, first: int) -> None:
        """Readings came at or after `first`, ns: what rests on a time from there on goes."""
        for start in [s for s, held in self._held.items() if held.settled >= first]:
            del self._held[start]

    def carry_on(
        self, held: Standing, series: Series, window: tuple[int, int]
    ) -> tuple[tuple[Stretch, WindowSum], ...] | None:
        """Sums of the window by stretch; None where it has to be added up anew.

        `series` are the readings from the standing's anchor on, with MARGIN good ones after the
        window's end.
        """
        stretch = held.stretch
        if not len(series) or series.t[0] != held.anchor or not series.ok[0]:
            return None
        if window[1] > stretch.end or series.t[-1] >= stretch.end:
            return None
        more = self._law(series, window, stretch)
        found = held.found + more
        self._stand(window, held, series, more, found)
        return (*held.earlier, (stretch, found)) if something(found) else held.earlier

    def begin(
        self,
        window: tuple[int, int],
        stretch: Stretch,
        piece: Series,
        parts: Sequence[tuple[Stretch, WindowSum]],
    ) -> None:
        """A window was added up: `parts` by stretch, `piece` the readings of the last `stretch`.

        No exchange closes that stretch or a later one: its reading would end a step already.
        Nothing stands yet where so few readings are inside that one of those before the window may
        still turn out to be a dip.
        """
        if window[1] > stretch.end:
            return
        first = max(window[0], stretch.start)
        inside = [i for i in _last_good(piece) if piece.t[i] >= first]
        if len(inside) < law.DIP_RUN:
            return
        earlier = tuple(part for part in parts if part[0] is not stretch)
        found = next((part for known, part in parts if known is stretch), WindowSum())
        nothing = Standing(stretch, first, first, earlier, WindowSum())
        self._stand(window, nothing, piece, found, found)

    def _law(self, series: Series, window: tuple[int, int], stretch: Stretch) -> WindowSum:
        kernels = PYTHON if len(series) <= SHORT else self._kernels
        return counter_windows(series, window, stretch.law, kernels)[0]

    def _stand(
        self,
        window: tuple[int, int],
        held: Standing,
        piece: Series,
        more: WindowSum,
        found: WindowSum,
    ) -> None:
        """Move a standing on: the steps of `piece` add `more` to it, which makes `found`.

        Where nothing odd was seen each good reading ended a step, and no reading that is still to
        come can change that. Else a reading is looked for that ended a step and has so many after
        it that every decision before it is made.
        """
        good = _last_good(piece)
        if not good or piece.t[good[-1]] >= window[1]:
            return
        stretch = held.stretch
        if not any(more.counts[state] for state in ODD):
            last = int(piece.t[good[-1]])
            if last >= held.anchor:
                self._enter(window[0], Standing(stretch, last, last, held.earlier, found))
            return
        for place in range(len(good) - law.DIP_RUN - 1, 0, -1):
            here = good[place]
            if piece.t[here] < held.anchor:
                return
            if self._ends_step(piece, good, place, stretch):
                rest = Series(piece.t[here:], piece.v[here:], piece.ok[here:])
                up_to = found - self._law(rest, window, stretch)
                settled = int(piece.t[good[place + law.DIP_RUN]])
                anchor = int(piece.t[here])
                self._enter(window[0], Standing(stretch, anchor, settled, held.earlier, up_to))
                return

    def _ends_step(self, piece: Series, good: Sequence[int], place: int, stretch: Stretch) -> bool:
        """Whether a step ends with a good reading: it is not passed over as a dip or spike."""
        here, *beside = (int(piece.t[good[i]]) // NS_PER_MS for i in (place, place - 1, place + 1))
        if here in beside:
            return False  # the law counts by the millisecond
        own = (here * NS_PER_MS, (here + 1) * NS_PER_MS)
        return self._law(piece, own, stretch).counts[law.STEP] == 1

    def _enter(self, start: int, standing: Standing) -> None:
        self._held.pop(start, None)
        while len(self._held) >= WINDOWS:
            del self._held[next(iter(self._held))]
        self._held[start] = standing


def _last_good(piece: Series) -> list[int]:
    """Places of the last good readings, in the order of time: enough to find a standing."""
    found: list[int] = []
    place = len(piece) - 1
    while place >= 0 and len(found) < LOOKED_AT:
        if piece.ok[place]:
            found.append(place)
        place -= 1
    return found[::-1]


def something(window: WindowSum) -> bool:
    """Whether anything was found in a window."""
    return bool(window.metered or window.corrected or any(window.counts) or window.withheld)


def readings_from(series: Series, moment: int) -> Series:
    """The readings of a counter from a moment on, ns."""
    place = bisect_left(series.t, moment)
    return Series(series.t[place:], series.v[place:], series.ok[place:])
