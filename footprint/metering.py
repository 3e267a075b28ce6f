"""One register over time: its stretches, its windows, and what they add up to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from footprint.activity import Activity
from footprint.amounts import amounts_of
from footprint.authority import Authority
from footprint.growing import GrowingWindows, readings_from, something
from footprint.joined_readings import JoinedReadings
from footprint.neighbours import Neighbours
from footprint.plant import Register
from footprint.readings import Readings
from footprint.stretch import FOREVER, Stretch
from footprint.stretch_readings import amounts_in, pieces_of
from footprint.sweep import Cuts, Excerpt, Window, sweep
from footprint.timeline import OPEN
from mrv.channel import AssuranceTier
from mrv.measurement.activity import (
    PYTHON,
    Kernels,
    WindowSum,
    amount_windows,
    counter_windows,
)
from mrv.measurement.anchor import read_back, read_on
from mrv.measurement.law import MARGIN
from mrv.series import Series, SeriesKey


class Meter:
    """One register of one instrument, read through the channel that speaks for it at the time.

    Windows are remembered; a window is a function of its readings and their neighbours, so it
    stays right until readings near it or facts change (`forget`). One that grows, as that of an
    open batch does, is carried on from where it stood (`growing`).
    """

    def __init__(
        self,
        register: Register,
        channels: tuple[Authority, ...],
        parts: tuple[Stretch, ...],
        readings: Readings,
        kernels: Kernels = PYTHON,
    ) -> None:
        self.register = register
        self.channels = channels
        self.key = channels[0].key if channels else None
        self.stretches = parts
        self._readings = readings if len(channels) <= 1 else JoinedReadings(readings, channels)
        self._kernels = kernels
        self._windows: dict[tuple[int, int], Activity] = {}
        self._growing = GrowingWindows(kernels)
        self._grown: tuple[tuple[int, int], Activity] | None = None
        self._near = Neighbours()
        self._latest = 0
        self.version = 0
        """Rises whenever readings come or move."""

    def authorities(self, start: int, end: int) -> list[Authority]:
        """Channels that speak for the register in [start, end), in the order of time."""
        return [c for c in self.channels if c.start < end and c.end > start]

    def tier(self, start: int, end: int) -> AssuranceTier | None:
        """The weakest tier of the channels that speak in [start, end); None = nobody does."""
        return max((c.tier for c in self.authorities(start, end)), default=None)

    def near(self, moment: int) -> list[int]:
        """Times of the good readings next to `moment`: one before, one at or after it, ns."""
        if self.key is None:
            return []
        held = self._near.of(moment)
        if held is None:
            held = self._near.note(moment, self._readings.read(self.key, moment, moment, 1))
        return held

    def span(self) -> tuple[int, int] | None:
        """Times of the first and last reading, ns."""
        return None if self.key is None else self._readings.span(self.key)

    def forget(self, start: int, end: int, first: int | None = None) -> None:
        """Drop what readings in [first, …] may change: windows that touch [start, end].

        `start` and `end` are as far as such readings reach; without `first` they came from
        `start` on.
        """
        self.version += 1
        first = start if first is None else first
        self._growing.forget(first)
        self._grown = None
        self._near.forget(first, end)
        if start >= self._latest:
            return
        stale = [w for w in self._windows if w[1] > start and w[0] <= end]
        for window in stale:
            del self._windows[window]
        if stale:
            self._latest = max((window[1] for window in self._windows), default=0)

    def trim(self, kept: int) -> None:
        """Let go of all windows but the `kept` latest; what is gone may be asked anew."""
        if len(self._windows) > kept:
            latest = sorted(self._windows, key=lambda window: (window[1], window[0]))[-kept:]
            self._windows = {window: self._windows[window] for window in latest}
        self._near.trim()

    @property
    def remembered(self) -> int:
        """Windows, standings and neighbours that are remembered."""
        return len(self._windows) + len(self._growing) + len(self._near)

    def steady(self) -> Stretch | None:
        """The one stretch of a counter that never changed its channel or meaning, else None."""
        one = len(self.channels) == 1 and len(self.stretches) == 1
        return self.stretches[0] if one and self.register.kind == "counter" else None

    def remember(self, window: tuple[int, int], activity: Activity) -> None:
        """Take in what somebody else has computed of a window by the same law."""
        self._windows[window] = activity
        self._latest = max(self._latest, window[1])

    def windows(self, cuts: Sequence[int]) -> list[Activity]:
        """Activity in each window [cuts[i], cuts[i+1]); cuts in ns on whole milliseconds.

        Of an amount register only untagged amounts are in windows; see `tagged`.
        """
        wanted = list(itertools.pairwise(cuts))
        missing = [window for window in wanted if window not in self._windows]
        if self.key is None or self.register.kind == "gauge":
            missing = []
        if self.register.kind == "counter" and missing == wanted[-1:]:
            held = [self._windows[window] for window in wanted[:-1]]
            return [*held, self._last(self.key, missing[0])] if self.key else held
        if missing and self.key is not None:
            left = min(window[0] for window in missing)
            right = max(window[1] for window in missing)
            bounds = [cut for cut in cuts if left <= cut <= right]
            for window, activity in zip(
                itertools.pairwise(bounds), self._compute(self.key, bounds), strict=True
            ):
                self.remember(window, activity)
        empty = Activity()
        return [self._windows.get(window, empty) for window in wanted]

    def sweep(self, questions: Iterable[Cuts], moments: Iterable[int] = ()) -> None:
        """Remember what `windows` and `near` will be asked for; readings are read once for all.

        Of a window that is in several questions the first one counts, as if they were asked so.
        """
        if self.key is None or self.register.kind == "gauge":
            return
        owner: dict[Cuts, list[Window]] = {}
        owned: set[Window] = set()
        for cuts in questions:
            wanted = itertools.pairwise(cuts)
            missing = [w for w in wanted if not self.knows(w) and w not in owned]
            if missing:
                left, right = missing[0][0], missing[-1][1]
                owner[tuple(cut for cut in cuts if left <= cut <= right)] = missing
                owned.update(missing)
        beside = [(moment,) for moment in self._near.foresee(moments)]
        for cuts, excerpt in sweep(self._readings, self.key, [*owner, *beside]):
            if len(cuts) == 1:
                self._near.note(cuts[0], excerpt.read(self.key, cuts[0], cuts[0], 1))
                continue
            mine = owner[cuts]
            found = self._compute(self.key, cuts, excerpt)
            for window, activity in zip(itertools.pairwise(cuts), found, strict=True):
                if window in mine:
                    self.remember(window, activity)

    def knows(self, window: Window) -> bool:
        """Whether a window is remembered, or has only to be carried on."""
        return window in self._windows or self._growing.standing(*window) is not None

    def _last(self, key: SeriesKey, window: tuple[int, int]) -> Activity:
        """A counter's window, carried on where it has grown."""
        start, end = window
        if self._grown is not None and self._grown[0] == window:
            return self._grown[1]
        held = self._growing.standing(start, end)
        if held is not None:
            near = readings_from(self._readings.read(key, held.anchor, end, MARGIN), held.anchor)
            parts = self._growing.carry_on(held, near, window)
            if parts is not None:
                return self._kept(window, Activity(parts), grows=near.t[-1] < end)
        series, margin = self._chained(self._readings, key, start, end)
        grows = bool(len(series)) and series.t[-1] < end
        found: list[tuple[Stretch, WindowSum]] = []
        pieces = list(pieces_of(series, self.stretches, window, margin))
        for stretch, piece in pieces:
            part = counter_windows(piece, window, stretch.law, self._kernels)[0]
            if something(part):
                found.append((stretch, part))
        for stretch, piece in pieces:
            if grows and stretch.start <= series.t[-1] < stretch.end and self._open_from(stretch):
                self._growing.begin(window, stretch, piece, found)
        return self._kept(window, Activity(tuple(found)), grows=grows)

    def _open_from(self, stretch: Stretch) -> bool:
        """Whether no reading of an exchange closes this stretch or a later one."""
        return all(s.closing is None for s in self.stretches if s.start >= stretch.start)

    def _kept(self, window: tuple[int, int], activity: Activity, *, grows: bool) -> Activity:
        if grows:
            self._grown = (window, activity)
        else:
            self.remember(window, activity)
        return activity

    def _chained(
        self, held: Readings | Excerpt, key: SeriesKey, start: int, end: int
    ) -> tuple[Series, int]:
        """A counter's readings for windows in [start, end), and how many were asked for beside.

        They go back to a reading that is sure (`mrv.measurement.anchor`), so that a window is the
        same whatever it is read with; nearly always the first few beside it are enough.
        """
        stretch = next((s for s in self.stretches if s.start <= start < s.end), None)
        rate, begins = (0, FOREVER) if stretch is None else (stretch.law.max_rate, stretch.start)

        def read(margin: int) -> Series:
            return (held if margin == MARGIN else self._readings).read(key, start, end, margin)

        return read_back(read, start, rate, begins)

    def reaches(self, moment: int) -> int:
        """Time up to which readings that come or go at `moment` may change steps, ns.

        OPEN where no later reading is sure yet.
        """
        if self.key is None or self.register.kind != "counter":
            return moment
        key, rates = self.key, {s.law.max_rate for s in self.stretches if s.end > moment}
        found = read_on(lambda m: self._readings.read(key, moment, moment + 1, m), moment, rates)
        return OPEN if found is None else found

    def _compute(
        self, key: SeriesKey, cuts: Sequence[int], excerpt: Excerpt | None = None
    ) -> list[Activity]:
        held = excerpt or self._readings
        pieces: Iterable[tuple[Stretch, Series]]
        if self.register.kind == "counter":
            law = counter_windows
            series, margin = self._chained(held, key, cuts[0], cuts[-1])
            pieces = pieces_of(series, self.stretches, cuts, margin)
        else:  # an amount that starts before the window may reach into it
            law = amount_windows
            series = held.read(key, cuts[0] - held.longest(key), cuts[-1], 0)
            pieces = ((s, amounts_in(series, s, tagged=False)) for s in self.stretches)
        sums: list[list[tuple[Stretch, WindowSum]]] = [[] for _ in cuts[1:]]
        for stretch, piece in pieces:
            if len(piece) == 0:
                continue
            for place, window in enumerate(law(piece, cuts, stretch.law, self._kernels)):
                if something(window):
                    sums[place].append((stretch, window))
        return [Activity(tuple(parts)) for parts in sums]

    def tagged(self, batch: str) -> Activity:
        """Amounts weighed for `batch`, whole, wherever they lie in time."""
        if self.key is None:
            return Activity()
        series = self._readings.tagged(self.key, batch)
        return amounts_of(series, self.stretches, self._kernels)

    def whole(self, start: int, end: int) -> Activity:
        """All activity in [start, end) as one window, tagged amounts with it; not remembered."""
        if self.key is None:
            return Activity()
        if self.register.kind == "counter":
            return self._compute(self.key, [start, end])[0]
        series = self._readings.read(self.key, start, end, 0)
        return amounts_of(series, self.stretches, self._kernels)

    def with_tagged(self, start: int, end: int) -> Activity:
        """Activity in [start, end) with the tagged amounts that begin in it, whole."""
        activity = self.windows([start, end])[0]
        if self.key is None or self.register.kind != "amount":
            return activity
        series = self._readings.read(self.key, start, end, 0)
        return activity + amounts_of(series, self.stretches, self._kernels, untagged=False)

    def longest(self) -> int:
        """Length of the longest amount, ns; 0 for a counter."""
        if self.key is None or self.register.kind == "counter":
            return 0
        return self._readings.longest(self.key)

    def tags(self) -> Sequence[str]:
        """Batches that amounts are tagged with."""
        return [] if self.key is None else self._readings.tags(self.key)
