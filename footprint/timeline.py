"""A line's batches and the tiles they cut its time into (design §3, "Conservation")."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from mrv.errors import InputError, MeterprintError
from mrv.fact import Fact
from mrv.finding import Finding, Severity
from mrv.interval import floor_ms
from mrv.quantity import UnitError, exact_number, unit

REMEMBERED = 4096
"""Answers a timeline remembers."""
OPEN = 2**63
"""Later than any moment: where an open batch ends for now."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One production batch of a line."""

    id: str
    """Name of the batch, unique in the site."""
    line: str
    """Line it runs on."""
    product: str
    """Product it makes."""
    start: int
    """Start, ns UTC, a whole millisecond."""
    end: int | None
    """End, ns UTC, a whole millisecond; None = still open."""
    good: int = 0
    """Good output in millionths of the product's declared unit, ≥ 0."""
    scrap: int = 0
    """Scrap in millionths of the declared unit, ≥ 0."""
    facts: tuple[int, ...] = ()
    """seq of the production facts it rests on."""
    key: int | None = None
    """Allocation key where only a key sheet states it; None = it follows from the output."""

    def covers(self, moment: int) -> bool:
        """Whether the batch claims `moment`."""
        return self.start <= moment and (self.end is None or moment < self.end)


@dataclass(frozen=True, slots=True)
class Declared:
    """The amount of a source that somebody states for a batch."""

    source: str
    """Emission source."""
    amount: Fraction
    """Amount, ≥ 0."""
    unit: str
    """Its unit."""
    u_percent: Fraction
    """95 % half-width of the amount, per cent; 0 = counted or taken as exact."""


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
    """The batches of one line, out of its production chain.

    `keys` are the allocation keys of batches whose events stay closed.
    """

    def __init__(
        self, line: str, facts: Iterable[Fact], keys: Mapping[str, int] | None = None
    ) -> None:
        self.line = line
        self.findings: list[Finding] = []
        self.batches: dict[str, Batch] = {}
        self._tiles: dict[tuple[int, int, int], list[Tile]] = {}
        self.declared: dict[tuple[str, str], Declared] = {}
        self._keys = keys or {}
        self._read([fact for fact in facts if fact.header.chain == f"production/{line}"])
        self._ordered = sorted(self.batches.values(), key=lambda b: (b.start, b.id))
        self._starts = [(b.start, b.id) for b in self._ordered]
        ends = (OPEN if b.end is None else b.end for b in self._ordered)
        self._reach = list(itertools.accumulate(ends, max))
        self._ends = sorted((b.end, b.id) for b in self._ordered if b.end is not None)

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

    def _find(self, rule: str, subject: str, at: int) -> None:
        self.findings.append(Finding(rule, subject, at, Severity.ERROR))

    def _read(self, facts: list[Fact]) -> None:
        replaced = {f.header.supersedes for f in facts if f.header.supersedes is not None}
        valid = sorted(
            (f for f in facts if f.header.seq not in replaced), key=lambda f: f.header.seq
        )
        for fact in valid:
            if fact.header.type == "batch_started":
                self._start(fact)
        for fact in valid:
            if fact.header.type == "batch_ended":
                self._end(fact)
        for fact in valid:
            if fact.header.type == "amount_declared":
                self._declare(fact)

    def _start(self, fact: Fact) -> None:
        moment = floor_ms(fact.header.valid_from or 0)
        if fact.subject in self.batches:
            self._find("batch_started_twice", fact.subject, moment)
            return
        product = str(fact.body.get("product", ""))
        self.batches[fact.subject] = Batch(
            fact.subject, self.line, product, moment, None, facts=(fact.header.seq,)
        )

    def _end(self, fact: Fact) -> None:
        moment = floor_ms(fact.header.valid_from or 0)
        batch = self.batches.get(fact.subject)
        if batch is None:
            self._find("batch_ended_without_start", fact.subject, moment)
        elif batch.end is not None:
            self._find("batch_ended_twice", fact.subject, moment)
        elif moment <= batch.start:
            self._find("batch_ends_before_it_starts", fact.subject, moment)
        else:
            try:
                good = millionths(fact.body.get("good", 0))
                scrap = millionths(fact.body.get("scrap", 0))
            except MeterprintError:
                self._find("batch_output_unreadable", fact.subject, moment)
                good = scrap = 0
            self.batches[fact.subject] = Batch(
                batch.id,
                batch.line,
                batch.product,
                batch.start,
                moment,
                good=good,
                scrap=scrap,
                facts=(*batch.facts, fact.header.seq),
                key=self._keys.get(batch.id),
            )

    def _declare(self, fact: Fact) -> None:
        moment = floor_ms(fact.header.valid_from or 0)
        try:
            stated = read_declared(fact.body)
        except MeterprintError:
            self._find("declared_unreadable", fact.subject, moment)
            return
        place = (fact.subject, stated.source)
        if fact.subject not in self.batches:
            self._find("declared_without_batch", fact.subject, moment)
        elif place in self.declared:
            self._find("declared_twice", f"{fact.subject}/{stated.source}", moment)
        else:
            self.declared[place] = stated

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


def read_declared(body: Mapping[str, object]) -> Declared:
    """What the body of an `amount_declared` fact states. Raises InputError naming the field."""
    numbers = []
    for name, default in (("quantity", None), ("u_percent", "0")):
        try:
            number = exact_number(str(body.get(name, default)).strip())
        except ValueError as error:
            raise InputError(
                f"a number is expected, seen {body.get(name)!r}", field=name
            ) from error
        if number < 0:
            raise InputError(f"a number is not negative, seen {body.get(name)!r}", field=name)
        numbers.append(number)
    symbol = str(body.get("unit", ""))
    try:
        unit(symbol)
    except UnitError as error:
        raise InputError(str(error), field="unit", hint=error.hint) from error
    source = body.get("source")
    if not isinstance(source, str) or not source:
        raise InputError("the emission source is expected", field="source")
    return Declared(source, numbers[0], symbol, numbers[1])


def millionths(value: object) -> int:
    """A quantity stated in a fact (decimal string or integer) in millionths, floored.

    Raises MeterprintError where it is not a number ≥ 0.
    """
    try:
        number = exact_number(str(value).strip())
    except ValueError as error:
        raise MeterprintError(f"a quantity is a decimal number, seen {value!r}") from error
    if number < 0:
        raise MeterprintError(f"a quantity is not negative, seen {value!r}")
    return number.numerator * 10**6 // number.denominator
