"""A line's batches and the tiles they cut its time into (design §3, "Conservation")."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from enum import StrEnum

from footprint.stated_batches import Batch, Declared, StatedBatches
from mrv.fact import Fact, production_chain
from mrv.finding import Finding

REMEMBERED = 4096
"""Answers a timeline remembers."""
OPEN = 2**63
"""Later than any moment: where an open batch ends for now."""


class TileKind(StrEnum):
    """Whose a stretch of a line's time is."""

    BATCH = "batch"
    CHANGEOVER = "changeover"
    IDLE = "idle"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Tile:
    """A stretch of a line's time with one owner."""

    start: int
    """First ns."""
    end: int
    """First ns after it."""
    kind: TileKind
    """Whose it is."""
    batches: tuple[str, ...]
    """The claimants; of a changeover: the batch that follows; of idle time: none."""


class Timeline:
    """The batches of one line, out of its production chain. Immutable once made.

    `keys` are the allocation keys of batches whose events stay closed.
    """

    def __init__(
        self, line: str, facts: Iterable[Fact], keys: Mapping[str, int] | None = None
    ) -> None:
        own = [fact for fact in facts if fact.header.chain == production_chain(line)]
        self.line = line
        self.stated = StatedBatches(line, own, keys)
        """What it is made of."""
        self._before: StatedBatches | None = None
        self._tiles: dict[tuple[int, int, int], list[Tile]] = {}
        self._ordered = sorted(self.batches.values(), key=lambda b: (b.start, b.id))
        self._starts = [(b.start, b.id) for b in self._ordered]
        self._reach = list(itertools.accumulate(map(_end_of, self._ordered), max))
        self._ends = sorted((b.end, b.id) for b in self._ordered if b.end is not None)

    def grown(self, facts: Sequence[Fact]) -> Timeline | None:
        """The timeline with more facts of its line; None where it has to be read anew."""
        stated = self.stated.grown(facts)
        if stated is None:
            return None
        made = copy(self)
        made._grow(stated)  # noqa: SLF001 (its own kind)
        return made

    def _grow(self, stated: StatedBatches) -> None:
        """Become the timeline of what is stated now, in arrays of its own."""
        before = self.stated
        self.stated, self._before, self._tiles = stated, before, {}
        self._ordered, self._starts = list(self._ordered), list(self._starts)
        self._ends = list(self._ends)
        first = len(self._ordered)
        for name in sorted(stated.changed & stated.batches.keys()):
            batch, known = stated.batches[name], before.batches.get(name)
            place = bisect_left(self._starts, (batch.start, name))
            first = min(first, place)
            if known is None:
                self._starts.insert(place, (batch.start, name))
                self._ordered.insert(place, batch)
            self._ordered[place] = batch
            if batch.end is not None and (known is None or known.end is None):
                insort(self._ends, (batch.end, name))
        reach = self._reach[:first]
        ends = itertools.chain(reach[-1:], map(_end_of, self._ordered[first:]))
        self._reach = [*reach[:-1], *itertools.accumulate(ends, max)]

    @property
    def batches(self) -> Mapping[str, Batch]:
        """Batches by name."""
        return self.stated.batches

    @property
    def declared(self) -> Mapping[tuple[str, str], Declared]:
        """Amounts that are declared, by batch and source."""
        return self.stated.declared

    @property
    def findings(self) -> list[Finding]:
        """What is odd about the facts."""
        return self.stated.findings

    def grew_from(self, earlier: Timeline) -> bool:
        """Whether it is the earlier timeline, or that with more facts: no batch is missing then."""
        return self is earlier or self._before is earlier.stated

    def news(self, earlier: Timeline | None) -> Iterable[str]:
        """Batches that may be other ones than in an earlier timeline of the line."""
        if earlier is None:
            return self.batches.keys()
        if self._before is earlier.stated:
            return self.stated.changed & self.batches.keys()
        return self.batches.keys() | earlier.batches.keys()

    def ordered(self) -> Sequence[Batch]:
        """Batches by start, ties by id."""
        return self._ordered

    def overlapping(self, start: int, end: int) -> list[Batch]:
        """Batches that claim time in [start, end), by start."""
        first = bisect_right(self._reach, start)
        last = bisect_left(self._starts, (end, ""))
        return [b for b in self._ordered[first:last] if b.end is None or b.end > start]

    def before(self, moment: int) -> Batch | None:
        """The batch that ended last at or before `moment`."""
        place = bisect_right(self._ends, (moment, "\uffff")) - 1
        return self.batches[self._ends[place][1]] if place >= 0 else None

    def after(self, moment: int) -> Batch | None:
        """The batch that starts first at or after `moment`."""
        place = bisect_left(self._starts, (moment, ""))
        return self._ordered[place] if place < len(self._ordered) else None

    def output_after(self, moment: int) -> int | None:
        """End of the first batch with good output that ends after `moment`, ns."""
        for place in range(bisect_right(self._ends, (moment, "\uffff")), len(self._ends)):
            end, name = self._ends[place]
            if self.batches[name].good:
                return end
        return None

    def tiles(self, start: int, end: int, changeover_ns: int) -> list[Tile]:
        """The tiles of [start, end), remembered: every source of a line asks for the same ones."""
        place = (start, end, changeover_ns)
        found = self._tiles.get(place)
        if found is None:
            if len(self._tiles) >= REMEMBERED:
                self._tiles.clear()
            found = self._tiles[place] = self._cut(start, end, changeover_ns)
        return found

    def _cut(self, start: int, end: int, changeover_ns: int) -> list[Tile]:
        """The tiles of [start, end), without a gap, cut also at both ends.

        Time claimed once is the batch's, claimed by more unattributed; between two batches of
        different products at most `changeover_ns` apart it is changeover and belongs to the
        batch that follows; other time is idle.
        """
        near = self.overlapping(start, end)
        opens: dict[int, list[str]] = {}
        closes: dict[int, list[str]] = {}
        for batch in near:
            opens.setdefault(max(batch.start, start), []).append(batch.id)
            if batch.end is not None and batch.end < end:
                closes.setdefault(batch.end, []).append(batch.id)
        cuts = sorted({start, end, *opens, *closes})
        running: set[str] = set()
        tiles: list[Tile] = []
        for left, right in itertools.pairwise(cuts):
            running.difference_update(closes.get(left, ()))
            running.update(opens.get(left, ()))
            claimants = tuple(sorted(running))
            if not claimants:
                tiles.append(self._unclaimed(left, right, changeover_ns))
            else:
                kind = TileKind.BATCH if len(claimants) == 1 else TileKind.UNATTRIBUTED
                tiles.append(Tile(left, right, kind, claimants))
        return tiles

    def _unclaimed(self, left: int, right: int, changeover_ns: int) -> Tile:
        before = bisect_right(self._ends, (left, "\uffff")) - 1
        following = bisect_left(self._starts, (right, ""))
        if before >= 0 and following < len(self._starts):
            earlier, later = self._ends[before], self._starts[following]
            if (
                self.batches[earlier[1]].product != self.batches[later[1]].product
                and later[0] - earlier[0] <= changeover_ns
            ):
                return Tile(left, right, TileKind.CHANGEOVER, (later[1],))
        return Tile(left, right, TileKind.IDLE, ())


def _end_of(batch: Batch) -> int:
    return OPEN if batch.end is None else batch.end
