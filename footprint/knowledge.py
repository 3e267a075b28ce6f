"""What the facts of a journal say: plant, batches, certificates, factors, exchanges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from copy import copy

from footprint.catalogue import Catalogue
from footprint.exchange import Exchange
from footprint.factor import Factor
from footprint.plant import PlantModel
from footprint.registry import Registry
from footprint.timeline import Timeline
from mrv.fact import REGISTRY, Fact, FactHeader, production_chain
from mrv.finding import Finding
from mrv.measurement.calibration import Certificate, CertificateState

PRODUCTION = production_chain("")
"""What the names of production chains begin with."""


class Knowledge:
    """The facts, understood. Immutable once made.

    `keys` are the allocation keys of batches whose events stay closed, by the name that stands for
    them.
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        origins: Mapping[str, int] | None = None,
        keys: Mapping[str, int] | None = None,
    ) -> None:
        self._origins, self._keys = origins, keys
        self.chains: dict[str, Sequence[Fact]] = _by_chain(facts)
        self._first_starts: dict[str, int | None] = {}
        self._registry = Registry(self.chains.get(REGISTRY, ()))
        self.timelines: dict[str, Timeline] = {
            line: Timeline(line, self.chains[production_chain(line)], keys)
            for line in sorted(_lines_of(self.chains))
        }

    def grown(self, facts: Sequence[Fact]) -> Knowledge:
        """What is known with more facts; all that they do not touch is taken over as it is."""
        made = copy(self)
        made._grow(_by_chain(facts))  # noqa: SLF001 (its own kind)
        return made

    def _grow(self, more: Mapping[str, Sequence[Fact]]) -> None:
        """Take in more facts by chain, in tables of its own."""
        self.chains, known = dict(self.chains), dict(self.timelines)
        for chain, new in more.items():
            self.chains[chain] = _in_order(self.chains.get(chain, ()), new)
        if REGISTRY in more:
            self._registry = self._registry.grown(more[REGISTRY])
        for line in _lines_of(more):
            chain, held = production_chain(line), known.get(line)
            found = None if held is None else held.grown(more[chain])
            known[line] = found or Timeline(line, self.chains[chain], self._keys)
        self.timelines = {line: known[line] for line in sorted(known)}
        self._first_starts = dict(self._first_starts)
        for line in self._first_starts.keys() & set(_lines_of(more)):
            later = origin_of(fact.header for fact in more[production_chain(line)])
            starts = [one for one in (self._first_starts[line], later) if one is not None]
            self._first_starts[line] = min(starts, default=None)

    @property
    def facts(self) -> list[Fact]:
        """All facts by chain and number."""
        return [fact for name in sorted(self.chains) for fact in self.chains[name]]

    @property
    def registry(self) -> Sequence[Fact]:
        """Facts of the registry by number, replaced ones too."""
        return self.chains.get(REGISTRY, ())

    @property
    def registry_length(self) -> int:
        """Number of facts of the registry."""
        return len(self.registry)

    @property
    def findings(self) -> list[Finding]:
        """What is odd about the facts."""
        odd = [finding for timeline in self.timelines.values() for finding in timeline.findings]
        return [*self._registry.findings, *odd]

    @property
    def plants(self) -> Sequence[tuple[int, PlantModel]]:
        """(moment from which it holds, plant), in the order of time."""
        return self._registry.plants

    def plant_at(self, moment: int) -> PlantModel | None:
        """The plant as it is at `moment`; before the first one, the first one."""
        plants = self._registry.plants
        if not plants:
            return None
        place = bisect_right(plants, moment, key=lambda pair: pair[0]) - 1
        return plants[max(place, 0)][1]

    def origin(self, line: str) -> int | None:
        """Start of the first batch any header of the line's chain states, ns; None = none.

        A verifier passes it in from the headers, as he does not see every body.
        """
        if self._origins is not None:
            return self._origins.get(line)
        if line not in self._first_starts:
            facts = self.chains.get(production_chain(line), ())
            self._first_starts[line] = origin_of(fact.header for fact in facts)
        return self._first_starts[line]

    def plant_changes(self) -> list[int]:
        """Moments at which a new plant model takes over."""
        return [since for since, _ in self._registry.plants[1:]]

    def certificates(self, instrument: str) -> Sequence[Certificate]:
        """Certificates of an instrument by the moment they hold from."""
        return self._registry.certificates.get(instrument, ())

    def all_certificates(self) -> list[Certificate]:
        """Certificates of all instruments, by instrument and the moment they hold from."""
        known = self._registry.certificates
        return [certificate for name in sorted(known) for certificate in known[name]]

    def certificate_at(
        self, instrument: str, moment: int
    ) -> tuple[Certificate | None, CertificateState]:
        """The latest certificate that supports a reading at `moment`, else the best reason.

        A certificate is of one meter: after an exchange only one that names the new serial
        number counts, or one that holds from then on and names none.
        """
        state = CertificateState.MISSING
        changes = [e for e in self.exchanges(instrument) if e.serial and e.at <= moment]
        place = changes[-1] if changes else None
        for certificate in reversed(self.certificates(instrument)):
            if place is not None and not _is_of(certificate, place):
                continue
            found = certificate.state_at(moment)
            if found is CertificateState.VALID:
                return certificate, found
            if state is CertificateState.MISSING and found is not CertificateState.NOT_YET:
                state = found
        return None, state

    def exchanges(self, instrument: str) -> Sequence[Exchange]:
        """Exchanges of an instrument in the order of time."""
        return self._registry.exchanges.get(instrument, ())

    def says_the_same(self, other: Knowledge, instrument: str) -> bool:
        """Whether both know the same plants, and the same papers and exchanges of an instrument."""
        mine, others = (k._registry for k in (self, other))  # noqa: SLF001 (its own kind)
        return (
            mine.plants == others.plants
            and self.certificates(instrument) == other.certificates(instrument)
            and self.exchanges(instrument) == other.exchanges(instrument)
        )

    def is_closed(self, agent: str, stream: str, start: int, end: int) -> bool:
        """Whether a fact closed the stream over the whole of [start, end]."""
        return any(
            c.agent == agent and c.stream == stream and c.start <= start and c.end >= end
            for c in self._registry.closed
        )

    @property
    def factors(self) -> Sequence[Factor]:
        """Factors of the sets in force; a row that cannot be read is a finding."""
        return self._registry.factors

    @property
    def registry_mark(self) -> object:
        """Another object whenever the registry has grown."""
        return self._registry

    def registry_findings(self) -> list[Finding]:
        """What is odd about the facts of the registry, their factor rows with them."""
        return [*self._registry.findings, *self._registry.factor_findings()]

    def all_findings(self) -> list[Finding]:
        """What is odd about the facts, their factor rows with them."""
        return [*self.findings, *self._registry.factor_findings()]

    def catalogue(self, plant: PlantModel) -> Catalogue:
        """Factors of the sets in force, with the plant's default uncertainties."""
        return self._registry.catalogue(plant)


def _is_of(certificate: Certificate, exchange: Exchange) -> bool:
    """Whether a certificate is of the meter an exchange brought in."""
    if certificate.serial:
        return certificate.serial == exchange.serial
    return certificate.valid_from >= exchange.at


def origin_of(headers: Iterable[FactHeader]) -> int | None:
    """Earliest moment a batch is said to start, ns; None where none is."""
    starts = (h.valid_from for h in headers if h.type == "batch_started")
    return min((start for start in starts if start is not None), default=None)


def _by_chain(facts: Iterable[Fact]) -> dict[str, Sequence[Fact]]:
    """Facts by chain, each in the order of their numbers."""
    found: dict[str, list[Fact]] = {}
    for fact in facts:
        found.setdefault(fact.header.chain, []).append(fact)
    return {chain: _in_order((), listed) for chain, listed in found.items()}


def _in_order(known: Sequence[Fact], more: Sequence[Fact]) -> Sequence[Fact]:
    """Facts of a chain with more of them, by number."""
    return sorted([*known, *more], key=lambda fact: fact.header.seq)


def _lines_of(chains: Iterable[str]) -> list[str]:
    """Lines whose production chains are among some chains."""
    return [name.removeprefix(PRODUCTION) for name in chains if name.startswith(PRODUCTION)]
