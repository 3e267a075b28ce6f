"""What the facts of a journal say: plant, batches, certificates, factors, exchanges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from footprint.catalogue import Catalogue
from footprint.factor import Factor, factor_from_row
from footprint.plant import PlantModel, default_uncertainty
from footprint.plant_reading import plant_from
from footprint.timeline import Timeline
from mrv.errors import MeterprintError
from mrv.fact import REGISTRY, Fact, FactHeader, production_chain
from mrv.finding import Finding, Severity
from mrv.measurement.calibration import Certificate, CertificateState, read_certificate
from mrv.quantity import exact_number

PRODUCTION = production_chain("")
"""What the names of production chains begin with."""
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
class Exchange:
    """A meter replaced by another, or its transformer by one of another ratio."""

    instrument: str
    """Instrument id, which stays."""
    at: int
    """Moment, ns UTC."""
    closing: tuple[tuple[str, int], ...]
    """(register, counts) of the old one at the end."""
    opening: tuple[tuple[str, int], ...]
    """(register, counts) of the new one at the start."""
    ratio: Fraction | None
    """New transformer ratio; None = as before."""
    serial: str
    """New serial number; "" = as before."""

    def finding(self) -> Finding:
        """That it happened, with the registers it closed and opened."""
        numbers = [(f"closing_{name}", str(counts)) for name, counts in self.closing]
        numbers += [(f"opening_{name}", str(counts)) for name, counts in self.opening]
        if self.ratio is not None:
            numbers.append(("ratio", str(self.ratio)))
        return Finding("exchange", self.instrument, self.at, Severity.INFO, tuple(numbers))


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


class Knowledge:
    """The facts, understood. Immutable once made.

    `earlier` is what was understood of fewer facts of the same journal: chains that have not grown
    since are taken over from it. `keys` are the allocation keys of batches whose events stay
    closed, by the name that stands for them.
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        origins: Mapping[str, int] | None = None,
        earlier: Knowledge | None = None,
        keys: Mapping[str, int] | None = None,
    ) -> None:
        self._origins = origins
        self.chains: dict[str, list[Fact]] = {}
        for fact in facts:
            self.chains.setdefault(fact.header.chain, []).append(fact)
        for listed in self.chains.values():
            listed.sort(key=lambda f: f.header.seq)
        self.timelines: dict[str, Timeline] = {}
        self._timeline_findings: list[Finding] = []
        self._registry_findings: list[Finding] = []
        self._registry: list[Fact] = []
        self._plants: list[tuple[int, PlantModel]] = []
        self._certificates: dict[str, list[Certificate]] = {}
        self._exchanges: dict[str, list[Exchange]] = {}
        self._closed: list[ClosedChain] = []
        self._first_starts: dict[str, tuple[int, int | None]] = {}
        if earlier is not None:
            self._take_starts(earlier)
        self._catalogues: dict[int, Catalogue] = {}
        self._factors: list[Factor] | None = None
        self._factor_findings: list[Finding] = []
        same = earlier is not None and self._same(earlier, REGISTRY)
        if earlier is not None and same:
            self._take_registry(earlier)
        else:
            self._read_registry()
        for chain in sorted(self.chains):
            if chain.startswith(PRODUCTION):
                line = chain.removeprefix(PRODUCTION)
                kept = earlier is not None and self._same(earlier, chain)
                timeline = earlier.timelines[line] if earlier is not None and kept else None
                self.timelines[line] = timeline or Timeline(line, self.chains[chain], keys)
                self._timeline_findings.extend(self.timelines[line].findings)

    def _same(self, earlier: Knowledge, chain: str) -> bool:
        """Whether a chain is what it was: chains only grow, so its length tells."""
        return len(self.chains.get(chain, ())) == len(earlier.chains.get(chain, ()))

    def _take_starts(self, earlier: Knowledge) -> None:
        """Chains only grow: what begins one is known of as many facts as were there."""
        self._first_starts.update(earlier._first_starts)

    def _take_registry(self, earlier: Knowledge) -> None:
        self._registry_findings = earlier._registry_findings
        self._registry = earlier._registry
        self._plants = earlier._plants
        self._certificates = earlier._certificates
        self._exchanges = earlier._exchanges
        self._closed = earlier._closed
        self._catalogues = earlier._catalogues
        self._factors = earlier._factors
        self._factor_findings = earlier._factor_findings

    def _read_registry(self) -> None:
        registry = self.registry
        replaced = {f.header.supersedes for f in registry if f.header.supersedes is not None}
        self._registry = [f for f in registry if f.header.seq not in replaced]
        self._plants = self._read_plants()
        self._certificates = self._read_certificates()
        self._exchanges = self._read_exchanges()
        self._closed = self._read_closed()

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
        return [*self._registry_findings, *self._timeline_findings]

    def _of(self, kind: str) -> list[Fact]:
        return [fact for fact in self._registry if fact.header.type == kind]

    def _bad(self, fact: Fact, error: Exception) -> None:
        self._registry_findings.append(_unreadable(fact, error))

    def _read_plants(self) -> list[tuple[int, PlantModel]]:
        plants = []
        for fact in self._of("plant_model"):
            try:
                plants.append((fact.header.valid_from or 0, plant_from(fact.body)))
            except BODY_FAULTS as error:
                self._bad(fact, error)
        return sorted(plants, key=lambda pair: pair[0])

    def _read_certificates(self) -> dict[str, list[Certificate]]:
        certificates: dict[str, Certificate] = {}
        recorded: dict[str, int] = {}
        for fact in self._of("certificate_recorded"):
            header = fact.header
            recorded[fact.subject] = header.seq
            try:
                certificates[fact.subject] = read_certificate(
                    fact.subject, fact.body, header.valid_from or 0, header.valid_to
                )
            except BODY_FAULTS as error:
                self._bad(fact, error)
        for fact in self._of("certificate_approved"):
            if fact.subject in certificates and fact.header.seq > recorded[fact.subject]:
                certificates[fact.subject] = replace(certificates[fact.subject], approved=True)
        for fact in self._of("certificate_revoked"):
            known = certificates.get(fact.subject)
            if known is not None:
                moment = fact.header.valid_from or 0
                certificates[fact.subject] = replace(known, revoked_at=moment)
        by_instrument: dict[str, list[Certificate]] = {}
        for certificate in sorted(certificates.values(), key=lambda c: (c.valid_from, c.id)):
            by_instrument.setdefault(certificate.instrument, []).append(certificate)
        return by_instrument

    def _read_exchanges(self) -> dict[str, list[Exchange]]:
        exchanges: dict[str, list[Exchange]] = {}
        for fact in self._of("instrument_exchanged"):
            try:
                exchange = _exchange(fact)
            except BODY_FAULTS as error:
                self._bad(fact, error)
                continue
            exchanges.setdefault(exchange.instrument, []).append(exchange)
            self._registry_findings.append(exchange.finding())
        for found in exchanges.values():
            found.sort(key=lambda e: e.at)
        return exchanges

    def _read_closed(self) -> list[ClosedChain]:
        closed = []
        for fact in self._of("chain_closed"):
            try:
                closed.append(
                    ClosedChain(
                        str(fact.body["agent"]),
                        str(fact.body["stream"]),
                        fact.header.valid_from or 0,
                        fact.header.valid_to or 2**63 - 1,
                    )
                )
            except BODY_FAULTS as error:
                self._bad(fact, error)
        return closed

    @property
    def plants(self) -> Sequence[tuple[int, PlantModel]]:
        """(moment from which it holds, plant), in the order of time."""
        return self._plants

    def plant_at(self, moment: int) -> PlantModel | None:
        """The plant as it is at `moment`; before the first one, the first one."""
        if not self._plants:
            return None
        place = bisect_right([since for since, _ in self._plants], moment) - 1
        return self._plants[max(place, 0)][1]

    def origin(self, line: str) -> int | None:
        """Start of the first batch any header of the line's chain states, ns; None = none.

        A verifier passes it in from the headers, as he does not see every body.
        """
        if self._origins is not None:
            return self._origins.get(line)
        chain = self.chains.get(production_chain(line), [])
        count, start = self._first_starts.get(line, (0, None))
        if count < len(chain):
            later = origin_of(fact.header for fact in chain[count:])
            start = min((one for one in (start, later) if one is not None), default=None)
            self._first_starts[line] = len(chain), start
        return start

    def plant_changes(self) -> list[int]:
        """Moments at which a new plant model takes over."""
        return [since for since, _ in self._plants[1:]]

    def certificates(self, instrument: str) -> Sequence[Certificate]:
        """Certificates of an instrument by the moment they hold from."""
        return self._certificates.get(instrument, ())

    def all_certificates(self) -> list[Certificate]:
        """Certificates of all instruments, by instrument and the moment they hold from."""
        return [c for name in sorted(self._certificates) for c in self._certificates[name]]

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
        return self._exchanges.get(instrument, ())

    def is_closed(self, agent: str, stream: str, start: int, end: int) -> bool:
        """Whether a fact closed the stream over the whole of [start, end]."""
        return any(
            c.agent == agent and c.stream == stream and c.start <= start and c.end >= end
            for c in self._closed
        )

    @property
    def factors(self) -> Sequence[Factor]:
        """Factors of the sets in force; a row that cannot be read is a finding."""
        if self._factors is None:
            self._factors = []
            for fact in self._of("factor_set"):
                rows = fact.body.get("rows", [])
                for row in rows if isinstance(rows, list) else [rows]:
                    try:
                        self._factors.append(factor_from_row(row))
                    except BODY_FAULTS as error:
                        self._factor_findings.append(_unreadable(fact, error))
        return self._factors

    @property
    def stated(self) -> Sequence[Fact]:
        """Facts of the registry that no other one replaces; the same list until it grows."""
        return self._registry

    def registry_findings(self) -> list[Finding]:
        """What is odd about the facts of the registry, their factor rows with them."""
        assert self.factors is not None
        return [*self._registry_findings, *self._factor_findings]

    def catalogue(self, plant: PlantModel) -> Catalogue:
        """Factors of the sets in force, with the plant's default uncertainties."""
        found = self._catalogues.get(id(plant))
        if found is None:
            found = Catalogue(self.factors, default_uncertainty(plant.policy))
            self._catalogues[id(plant)] = found
        return found


def _is_of(certificate: Certificate, exchange: Exchange) -> bool:
    """Whether a certificate is of the meter an exchange brought in."""
    if certificate.serial:
        return certificate.serial == exchange.serial
    return certificate.valid_from >= exchange.at


def _unreadable(fact: Fact, error: Exception) -> Finding:
    place = f"{fact.header.chain}#{fact.header.seq}"
    seen = str(error) if isinstance(error, MeterprintError) else repr(error)
    return Finding("unreadable_fact", place, 0, Severity.ERROR, (("error", seen[:200]),))


def origin_of(headers: Iterable[FactHeader]) -> int | None:
    """Earliest moment a batch is said to start, ns; None where none is."""
    starts = (h.valid_from for h in headers if h.type == "batch_started")
    return min((start for start in starts if start is not None), default=None)


def _exchange(fact: Fact) -> Exchange:
    body = fact.body

    def registers(name: str) -> tuple[tuple[str, int], ...]:
        return tuple(sorted((str(k), int(v)) for k, v in body.get(name, {}).items()))

    ratio = body.get("ratio")
    return Exchange(
        fact.subject,
        fact.header.valid_from or 0,
        registers("closing"),
        registers("opening"),
        None if ratio is None else exact_number(str(ratio)),
        str(body.get("serial", "")),
    )
