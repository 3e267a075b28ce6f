"""What the production chain of a line states: its batches, and amounts declared for them.

Starts are read before ends, ends before declared amounts, each in the order of the facts' numbers.
A new fact is taken in beside what was read, unless it supersedes another or starts a batch that an
earlier one spoke of: then the chain has to be read anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from mrv.errors import InputError, MeterprintError
from mrv.fact import Fact
from mrv.finding import Finding, Severity
from mrv.interval import floor_ms
from mrv.quantity import UnitError, exact_number, unit

READ = ("batch_started", "batch_ended", "amount_declared")
"""Facts of a production chain, in the order they are read."""


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


class StatedBatches:
    """The batches of one line, and the amounts declared for them. Immutable once made.

    `keys` are the allocation keys of batches whose events stay closed.
    """

    def __init__(
        self, line: str, facts: Iterable[Fact], keys: Mapping[str, int] | None = None
    ) -> None:
        self.line = line
        self.batches: dict[str, Batch] = {}
        """Batches by name."""
        self.declared: dict[tuple[str, str], Declared] = {}
        """Amounts by batch and source."""
        self.changed: frozenset[str] = frozenset()
        """Batches the facts taken in last speak of."""
        self._keys = keys or {}
        self._odd: dict[str, list[Finding]] = {kind: [] for kind in READ}
        self._unknown: set[str] = set()
        self._last = -1
        listed = sorted(facts, key=lambda fact: fact.header.seq)
        replaced = {f.header.supersedes for f in listed if f.header.supersedes is not None}
        self._read([fact for fact in listed if fact.header.seq not in replaced])
        if listed:
            self._last = listed[-1].header.seq

    @property
    def findings(self) -> list[Finding]:
        """What is odd about the facts."""
        return [finding for kind in READ for finding in self._odd[kind]]

    def grown(self, facts: Sequence[Fact]) -> Self | None:
        """The same with more facts in the order of their numbers; None = it has to be read anew."""
        last = self._last
        for fact in facts:
            header = fact.header
            unknown = header.type == "batch_started" and fact.subject in self._unknown
            if header.supersedes is not None or header.seq <= last or unknown:
                return None
            last = header.seq
        made = copy(self)
        made._grow(facts)  # noqa: SLF001 (its own kind)
        return made

    def _grow(self, facts: Sequence[Fact]) -> None:
        """Take in more facts, in tables of its own."""
        self.batches, self.declared = dict(self.batches), dict(self.declared)
        self._odd = {kind: list(found) for kind, found in self._odd.items()}
        self._unknown = set(self._unknown)
        self.changed = frozenset(fact.subject for fact in facts)
        self._read(facts)
        self._last = facts[-1].header.seq if facts else self._last

    def _read(self, facts: Sequence[Fact]) -> None:
        for kind, take in zip(READ, (self._start, self._end, self._declare), strict=True):
            for fact in facts:
                if fact.header.type == kind:
                    take(fact)

    def _find(self, fact: Fact, rule: str, subject: str, at: int) -> None:
        self._odd[fact.header.type].append(Finding(rule, subject, at, Severity.ERROR))

    def _start(self, fact: Fact) -> None:
        moment = floor_ms(fact.header.valid_from or 0)
        if fact.subject in self.batches:
            self._find(fact, "batch_started_twice", fact.subject, moment)
            return
        product = str(fact.body.get("product", ""))
        self.batches[fact.subject] = Batch(
            fact.subject, self.line, product, moment, None, facts=(fact.header.seq,)
        )

    def _end(self, fact: Fact) -> None:
        moment = floor_ms(fact.header.valid_from or 0)
        batch = self.batches.get(fact.subject)
        if batch is None:
            self._unknown.add(fact.subject)
            self._find(fact, "batch_ended_without_start", fact.subject, moment)
        elif batch.end is not None:
            self._find(fact, "batch_ended_twice", fact.subject, moment)
        elif moment <= batch.start:
            self._find(fact, "batch_ends_before_it_starts", fact.subject, moment)
        else:
            try:
                good = millionths(fact.body.get("good", 0))
                scrap = millionths(fact.body.get("scrap", 0))
            except MeterprintError:
                self._find(fact, "batch_output_unreadable", fact.subject, moment)
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
            self._find(fact, "declared_unreadable", fact.subject, moment)
            return
        place = (fact.subject, stated.source)
        if fact.subject not in self.batches:
            self._unknown.add(fact.subject)
            self._find(fact, "declared_without_batch", fact.subject, moment)
        elif place in self.declared:
            self._find(fact, "declared_twice", f"{fact.subject}/{stated.source}", moment)
        else:
            self.declared[place] = stated


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
