"""What the facts of the registry say, as far as figures rest on them.

Facts are taken in one by one in the order of their numbers, so that a registry that grows is that
of the facts before with the new ones taken in; only a fact that supersedes another has it read
anew.
"""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from footprint.catalogue import Catalogue
from footprint.exchange import Exchange, read_exchange
from footprint.factor import Factor, factor_from_row
from footprint.plant import PlantModel, default_uncertainty
from footprint.plant_reading import plant_from
from mrv.errors import MeterprintError
from mrv.fact import Fact
from mrv.finding import Finding, Severity
from mrv.measurement.calibration import Certificate, read_certificate

UNDERSTOOD = (
    *("plant_model", "factor_set", "chain_closed", "instrument_exchanged"),
    *("certificate_recorded", "certificate_approved", "certificate_revoked"),
)
"""Registry facts a figure may rest on; a bundle shows the body of each, of others the header."""
BODY_FAULTS = (
    MeterprintError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What reading a body that somebody else wrote may raise; each makes a finding of the fact."""


@dataclass(frozen=True, slots=True)
class ClosedChain:
    """A stretch of a stream that stays unproven: a fact says that nothing more will come."""

    agent: str
    """Agent."""
    stream: str
    """Stream."""
    start: int
    """From, ns UTC."""
    end: int
    """To, ns UTC."""


@dataclass(frozen=True, slots=True)
class Paper:
    """What was stated of one certificate."""

    read: Certificate | None = None
    """As it was recorded last where that can be read."""
    approved: bool = False
    """Whether it was approved since it was recorded last."""
    revoked_at: int | None = None
    """Moment it was last said to be revoked, ns UTC."""

    def certificate(self) -> Certificate | None:
        """The certificate in its state; None where no record of it can be read."""
        if self.read is None:
            return None
        return replace(self.read, approved=self.approved, revoked_at=self.revoked_at)


class FactorSet:
    """Factors of one fact, read when somebody asks for them."""

    def __init__(self, fact: Fact) -> None:
        self._fact = fact
        self._read: tuple[list[Factor], list[Finding]] | None = None

    def read(self) -> tuple[Sequence[Factor], Sequence[Finding]]:
        """The factors, and a finding for each row that cannot be read."""
        if self._read is None:
            factors: list[Factor] = []
            findings: list[Finding] = []
            rows = self._fact.body.get("rows", [])
            for row in rows if isinstance(rows, list) else [rows]:
                try:
                    factors.append(factor_from_row(row))
                except BODY_FAULTS as error:
                    findings.append(unreadable(self._fact, error))
            self._read = factors, findings
        return self._read


class Registry:
    """The registry of so many facts, understood. Immutable once made."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self.facts: Sequence[Fact] = sorted(facts, key=lambda fact: fact.header.seq)
        """All facts by number, replaced ones too."""
        self.findings: list[Finding] = []
        """What is odd about them, and each exchange."""
        self.plants: list[tuple[int, PlantModel]] = []
        """(moment from which it holds, plant), in the order of time."""
        self.certificates: dict[str, list[Certificate]] = {}
        """Certificates of each instrument by the moment they hold from."""
        self.exchanges: dict[str, list[Exchange]] = {}
        """Exchanges of each instrument in the order of time."""
        self.closed: list[ClosedChain] = []
        """Chains a fact closed."""
        self._factor_sets: list[FactorSet] = []
        self._factors: Sequence[Factor] | None = None
        self._catalogues: dict[tuple[tuple[str, Fraction], ...], Catalogue] = {}
        self._papers: dict[str, Paper] = {}
        replaced = {f.header.supersedes for f in self.facts if f.header.supersedes is not None}
        for fact in self.facts:
            if fact.header.seq not in replaced:
                self._take(fact)

    def grown(self, facts: Sequence[Fact]) -> Registry:
        """The registry with more facts."""
        last = self.facts[-1].header.seq if self.facts else -1
        for fact in facts:
            if fact.header.supersedes is not None or fact.header.seq <= last:
                return Registry((*self.facts, *facts))
            last = fact.header.seq
        made = copy(self)
        made._grow(facts)  # noqa: SLF001 (its own kind)
        return made

    def _grow(self, facts: Sequence[Fact]) -> None:
        """Take in more facts, in tables of its own."""
        self.facts = (*self.facts, *facts)
        self.findings, self.plants = list(self.findings), list(self.plants)
        self.certificates, self.exchanges = dict(self.certificates), dict(self.exchanges)
        self.closed, self._factor_sets = list(self.closed), list(self._factor_sets)
        self._papers = dict(self._papers)
        for fact in facts:
            self._take(fact)

    @property
    def factors(self) -> Sequence[Factor]:
        """Factors of the sets in force; a row that cannot be read is a finding."""
        if self._factors is None:
            read = [known.read()[0] for known in self._factor_sets]
            self._factors = [factor for factors in read for factor in factors]
        return self._factors

    def factor_findings(self) -> list[Finding]:
        """What is odd about rows of factor sets."""
        read = [known.read()[1] for known in self._factor_sets]
        return [finding for findings in read for finding in findings]

    def catalogue(self, plant: PlantModel) -> Catalogue:
        """Factors of the sets in force, with the plant's default uncertainties."""
        place = plant.policy.factor_uncertainty
        found = self._catalogues.get(place)
        if found is None:
            found = Catalogue(self.factors, default_uncertainty(plant.policy))
            self._catalogues[place] = found
        return found

    def _take(self, fact: Fact) -> None:
        """Take in the next fact."""
        understood = self.TAKE.get(fact.header.type)
        if understood is not None:
            try:
                understood(self, fact)
            except BODY_FAULTS as error:
                self.findings.append(unreadable(fact, error))

    def _plant(self, fact: Fact) -> None:
        pair = fact.header.valid_from or 0, plant_from(fact.body)
        insort_right(self.plants, pair, key=lambda known: known[0])

    def _recorded(self, fact: Fact) -> None:
        """A certificate was recorded; what was approved before was another one."""
        known, header = self._papers.get(fact.subject, Paper()), fact.header
        self._enter(fact.subject, replace(known, approved=False))
        read = read_certificate(fact.subject, fact.body, header.valid_from or 0, header.valid_to)
        self._enter(fact.subject, replace(known, read=read, approved=False))

    def _approved(self, fact: Fact) -> None:
        known = self._papers.get(fact.subject, Paper())
        self._enter(fact.subject, replace(known, approved=True))

    def _revoked(self, fact: Fact) -> None:
        known = self._papers.get(fact.subject, Paper())
        self._enter(fact.subject, replace(known, revoked_at=fact.header.valid_from or 0))

    def _enter(self, name: str, paper: Paper) -> None:
        """Put what is stated of a certificate now in the place of what was."""
        before = self._papers.get(name, Paper()).certificate()
        after = paper.certificate()
        self._papers[name] = paper
        if before is not None:
            held = [c for c in self.certificates[before.instrument] if c.id != name]
            self.certificates[before.instrument] = held
            if not held:
                del self.certificates[before.instrument]
        if after is not None:
            held = [*self.certificates.get(after.instrument, ()), after]
            self.certificates[after.instrument] = sorted(held, key=lambda c: (c.valid_from, c.id))

    def _exchanged(self, fact: Fact) -> None:
        exchange = read_exchange(fact)
        known = [*self.exchanges.get(exchange.instrument, ()), exchange]
        self.exchanges[exchange.instrument] = sorted(known, key=lambda e: e.at)
        self.findings.append(exchange.finding())

    def _closed_chain(self, fact: Fact) -> None:
        agent, stream = str(fact.body["agent"]), str(fact.body["stream"])
        start, end = fact.header.valid_from or 0, fact.header.valid_to or 2**63 - 1
        self.closed.append(ClosedChain(agent, stream, start, end))

    def _factor_set(self, fact: Fact) -> None:
        self._factor_sets.append(FactorSet(fact))
        self._factors, self._catalogues = None, {}

    TAKE: ClassVar[dict[str, Callable[[Registry, Fact], None]]] = {
        "plant_model": _plant,
        "certificate_recorded": _recorded,
        "certificate_approved": _approved,
        "certificate_revoked": _revoked,
        "instrument_exchanged": _exchanged,
        "chain_closed": _closed_chain,
        "factor_set": _factor_set,
    }
    """How facts of each type are taken in; others say nothing here."""


def unreadable(fact: Fact, error: Exception) -> Finding:
    """The finding of a fact whose body cannot be read."""
    place = f"{fact.header.chain}#{fact.header.seq}"
    seen = str(error) if isinstance(error, MeterprintError) else repr(error)
    return Finding("unreadable_fact", place, 0, Severity.ERROR, (("error", seen[:200]),))
