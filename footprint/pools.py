"""Pools: idle, unattributed and shared amounts, and how batches share them (design §3).

A pool window (the plant hour) is shared by good output; a window without good output joins the
next that has some. Good output of a batch is spread evenly over its time by the floor rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from footprint.activity import Activity
from footprint.allocation import largest_remainder, spread
from footprint.metering import Meter
from footprint.plant import PlantModel
from footprint.stated_batches import Batch
from footprint.stretch import Stretch
from footprint.timeline import TileKind, Timeline
from mrv.measurement.activity import WindowSum

MAX_WINDOWS = 200_000
"""Most pool windows one batch may span: 22 years of hours. A longer one shares in no pool."""


@dataclass(frozen=True, slots=True)
class PoolGroup:
    """Windows that are shared together: the last one has good output."""

    start: int
    """First ns."""
    end: int
    """First ns after it."""
    keys: tuple[tuple[str, int], ...]
    """(batch, key) of the last window, by batch; keys > 0."""
    pending: bool
    """Whether a batch in it is still open, so that the keys are not known."""


def key_of(batch: Batch, plant: PlantModel) -> int:
    """Allocation key of a whole batch: good output, in millionths of a unit or of a kg."""
    if batch.key is not None:
        return batch.key
    if plant.policy.key == "good_mass":
        product = plant.product(batch.product)
        mass = product.mass_kg if product else Fraction(0)
        return batch.good * mass.numerator // mass.denominator
    return batch.good


class PoolPlan:
    """Windows and keys of the lines that share a pool; a function of facts alone.

    `plant` gives the length of the windows; the keys of a window are those of the plant model that
    holds at its start, so that all batches in it share by one table.
    """

    def __init__(
        self,
        timelines: Sequence[Timeline],
        plant: PlantModel,
        origin: int | None,
        plant_at: Callable[[int], PlantModel | None] = lambda _: None,
    ) -> None:
        self._timelines = timelines
        self._plant = plant
        self._plant_at = plant_at
        self._window = plant.policy.pool_window
        self._offset = plant.policy.pool_offset
        self._origin = origin
        self._held: dict[tuple[int, int], tuple[dict[str, int], bool]] = {}
        self._asked: tuple[Batch | None, int, list[PoolGroup]] = (None, 0, [])

    def window_at(self, moment: int) -> tuple[int, int]:
        """The window that holds `moment`, ns."""
        start = (moment + self._offset) // self._window * self._window - self._offset
        return start, start + self._window

    def _keys(self, start: int, end: int) -> tuple[dict[str, int], bool]:
        held = self._held.get((start, end))
        if held is not None:
            return held
        keys: dict[str, int] = {}
        pending = False
        plant = self._plant_at(start) or self._plant
        for timeline in self._timelines:
            for batch in timeline.overlapping(start, end):
                if batch.end is None:
                    pending = True
                    continue
                whole = key_of(batch, plant)
                key = spread(whole, batch.start, batch.end, start, end)
                if key > 0:
                    keys[batch.id] = key
        self._held[start, end] = (keys, pending)
        return keys, pending

    def group(self, start: int, end: int) -> PoolGroup | None:
        """The group that ends with window [start, end); None where it has no good output."""
        keys, pending = self._keys(start, end)
        if not keys and not pending:
            return None
        first = start
        origin = start if self._origin is None else self.window_at(self._origin)[0]
        while first > origin:
            earlier, open_batch = self._keys(first - self._window, first)
            if earlier:
                break
            pending = pending or open_batch
            first = self._last_claimed(first - self._window)
        return PoolGroup(first, end, tuple(sorted(keys.items())), pending)

    def _last_claimed(self, moment: int) -> int:
        """Where to look on below `moment`: the end of the last window before it with a batch."""
        first = moment if self._origin is None else self.window_at(self._origin)[0]
        for timeline in self._timelines:
            if timeline.overlapping(moment - self._window, moment):
                return moment
            before = timeline.before(moment)
            if before is not None and before.end is not None:
                first = max(first, self.window_at(before.end - 1)[1])
        return min(first, moment)

    def too_long(self, batch: Batch, end: int) -> bool:
        """Whether the batch spans more windows than any real one does."""
        return end - batch.start > MAX_WINDOWS * self._window

    def groups_of(self, batch: Batch, end: int) -> list[PoolGroup]:
        """Groups whose last window the batch overlaps; asked again for each of its sources."""
        if self._asked[:2] != (batch, end):
            self._asked = (batch, end, self._groups_of(batch, end))
        return self._asked[2]

    def _groups_of(self, batch: Batch, end: int) -> list[PoolGroup]:
        groups: list[PoolGroup] = []
        if self.too_long(batch, end):
            return groups
        start, stop = self.window_at(batch.start)
        while start < end:
            group = self.group(start, stop)
            if group is not None:
                groups.append(group)
            start, stop = stop, stop + self._window
        return groups


def line_pool(
    meter: Meter, timeline: Timeline, start: int, end: int, changeover: int
) -> Mapping[TileKind, Activity]:
    """Idle and unattributed activity of a line's own meter in [start, end)."""
    sums = {TileKind.IDLE: Activity(), TileKind.UNATTRIBUTED: Activity()}
    for tile in timeline.tiles(start, end, changeover):
        if tile.kind in sums:
            sums[tile.kind] += meter.windows([tile.start, tile.end])[0]
    return sums


def questions_of(
    timeline: Timeline, batch: Batch, end: int, groups: Sequence[PoolGroup], changeover: int
) -> list[tuple[int, ...]]:
    """Cuts that a batch that has ended asks of a line's own meter: its time, changeover, pools."""
    own = timeline.tiles(batch.start, end, changeover)
    apart = []
    before = timeline.before(batch.start)
    if before is not None and before.end is not None and before.end < batch.start:
        between = timeline.tiles(before.end, batch.start, changeover)
        apart += [tile for tile in between if tile.kind is TileKind.CHANGEOVER]
    for group in groups:
        if not group.pending:
            pooled = timeline.tiles(group.start, group.end, changeover)
            apart += [t for t in pooled if t.kind in (TileKind.IDLE, TileKind.UNATTRIBUTED)]
    return [(*(tile.start for tile in own), end), *((tile.start, tile.end) for tile in apart)]


def span_of(batch: Batch, end: int, groups: Iterable[PoolGroup]) -> tuple[int, int]:
    """The time of a batch that ends at `end` and of its pools, [first, last) ns."""
    whole = [group for group in groups if not group.pending]
    first = min([batch.start, *(group.start for group in whole)])
    return first, max([end, *(group.end for group in whole)])


def share(activity: Activity, keys: Sequence[tuple[str, int]], batch: str) -> Activity:
    """The part of a pool that `batch` gets, stretch by stretch, by largest remainder."""
    table = dict(keys)
    if batch not in table:
        return Activity()
    total = sum(table.values())
    parts: list[tuple[Stretch, WindowSum]] = []
    if len(table) == 1:  # all of it, as most windows of a line have one batch
        for stretch, w in activity.parts:
            parts.append((stretch, WindowSum(w.corrected, w.metered, w.gap, weights=w.weights)))
        return Activity(tuple(parts))
    for stretch, window in activity.parts:
        parts.append(
            (
                stretch,
                WindowSum(
                    corrected=largest_remainder(window.corrected, table)[batch],
                    metered=largest_remainder(window.metered, table)[batch],
                    gap=largest_remainder(window.gap, table)[batch],
                    weights=tuple(w * table[batch] // total for w in window.weights),
                ),
            )
        )
    return Activity(tuple(parts))
