"""What the pages and the API need to know. The port is owned here and implemented by its caller.

Amounts are exact decimal text, times ns UTC; `None` is "not known", never zero. A standard
uncertainty is called `u`, in the unit of the value it stands beside; the pages show U = 2·u.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from footprint.plant import LocalText
from mrv.finding import Finding


class CertificateStanding(StrEnum):
    """Whether an instrument may be trusted today."""

    VALID = "valid"
    DUE = "due"
    OVERDUE = "overdue"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Site:
    """The plant as a whole."""

    id: str
    """Site id."""
    name: LocalText
    """Name people read."""
    time_zone: str
    """IANA zone in which times are shown."""
    boundary: str
    """gate_to_gate (a partial footprint) | cradle_to_gate."""
    notes: tuple[LocalText, ...]
    """What has to stand beside every figure of this site, e.g. that its power unit is relative."""


@dataclass(frozen=True, slots=True)
class ProductName:
    """A product that can be made."""

    id: str
    """Product id."""
    name: LocalText
    """Name people read."""
    unit: str
    """Declared unit: piece, t, kg …"""


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One point of a line's trend."""

    t: int
    """Moment, ns UTC."""
    value: str | None
    """kgCO2e per unit; None = a gap, the line breaks."""
    u: str | None
    """Standard uncertainty, kgCO2e per unit; None = not known."""
    estimated: bool
    """Whether policy filled a part of it."""


@dataclass(frozen=True, slots=True)
class LineNow:
    """One production line as it stands now."""

    id: str
    """Line id."""
    name: LocalText
    """Name people read."""
    batch: str | None
    """The running batch, None = none."""
    product: ProductName | None
    """What it makes; None = nothing runs."""
    started: int | None
    """Start of the running batch, ns UTC."""
    of_batch: str | None
    """Batch the figures below are of: the running one, else the last one with good output."""
    per_unit: str | None
    """kgCO2e per good unit of `of_batch`."""
    u_per_unit: str | None
    """Its standard uncertainty, kgCO2e per good unit."""
    kwh_per_unit: str | None
    """Electricity, kWh per good unit of `of_batch`."""
    unit: str
    """Declared unit the figures are per."""
    energy_unit: str
    """Unit of the energy: kWh, or a relative one such as kWh_rel."""
    footprint: str | None
    """kgCO2e of `of_batch` so far (known also while there is no good output)."""
    target: str | None
    """Target, kgCO2e per unit; None = none set."""
    trend: tuple[TrendPoint, ...]
    """Recent figures of this line in time order."""
    last_reading: int | None
    """Moment of the newest reading, ns UTC; None = none yet."""
    age: int | None
    """Age of the newest reading, ns ≥ 0; None = none yet."""
    stale: bool
    """Whether the newest reading is older than the policy allows."""
    provisional: bool
    """Whether the figure may still change."""
    provisional_share: str | None
    """Share of the sources not closed yet, 0 to 1."""
    boundary: str
    """gate_to_gate (a partial footprint) | cradle_to_gate."""
    notes: tuple[LocalText, ...] = ()
    """What has to stand beside the figure."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One batch in the list."""

    batch: str
    """Batch id."""
    line: str
    """Line id."""
    product: ProductName
    """What it makes."""
    state: str
    """provisional | final | final_estimated | closed."""
    start: int
    """Start, ns UTC."""
    end: int | None
    """End, ns UTC; None = still open."""
    waits_for: tuple[str, ...]
    """Codes `reason` or `reason:subject`; empty unless provisional."""
    incomplete: tuple[str, ...]
    """Codes of sources inside the boundary that have no figure; empty = complete."""
    quantity: str | None
    """Good output in declared units; None = not stated yet."""
    scrap: str | None
    """Scrap in declared units; None = not stated yet."""
    footprint: str
    """Burden of the whole batch, `footprint_unit`."""
    footprint_unit: str
    """kgCO2e."""
    u: str
    """Standard uncertainty of the burden."""
    per_unit: str | None
    """Burden per good unit, 15 digits; None = no good output."""
    u_per_unit: str | None
    """Standard uncertainty per good unit; None = no good output."""
    kwh_per_unit: str | None
    """Energy per good unit; None = not known."""
    target: str | None
    """Target per good unit; None = none set."""
    findings: int
    """Number of findings on it."""


@dataclass(frozen=True, slots=True)
class PartAmount:
    """A part of an amount: direct, tagged, changeover, idle, unattributed, shared."""

    part: str
    """Which part."""
    amount: str
    """Amount in the contribution's unit."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one emission source gave to a batch."""

    source: str
    """Source id."""
    name: LocalText
    """Name people read."""
    instrument: str | None
    """Instrument id; None = not metered."""
    register: str | None
    """Register id; None = not metered."""
    unit: str
    """Unit of the activity."""
    metered: str
    """Activity before correction, ratio applied."""
    corrected: str
    """Activity the burden rests on."""
    parts: tuple[PartAmount, ...]
    """Where it comes from; the parts add up to `corrected`."""
    factor: str | None
    """Factor id; None = none chosen."""
    factor_value: str
    """Value, in `factor_unit`."""
    factor_unit: str
    """kgCO2e per unit of activity."""
    factor_source: str
    """Publication it was taken from."""
    factor_reason: str
    """by_id | valid | carried_forward."""
    factor_default_u: bool
    """Whether its uncertainty is the policy's default."""
    burden: str
    """kgCO2e."""
    u: str
    """Standard uncertainty of the burden, kgCO2e."""
    share: str
    """Part of the batch's footprint, 0 to 1."""
    tier: str | None
    """Assurance tier A–D; None = not metered."""
    certificate: str | None
    """Certificate that supports it; None = none."""
    certificate_state: str
    """valid | expired | missing …"""
    estimated: bool
    """Whether policy filled a part of it."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One figure the batch has had."""

    number: int
    """1, 2, 3 …"""
    journal_index: int
    """As known at this journal index."""
    footprint: str
    """kgCO2e."""
    per_unit: str | None
    """kgCO2e per good unit."""
    u_per_unit: str | None
    """Standard uncertainty per good unit."""
    state: str
    """State of the batch then."""
    reason: str
    """Code of what brought it about: late_data, certificate, factor, fact, first …"""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One component of the batch's uncertainty."""

    source: str
    """Source id of the component."""
    u: str
    """Its size, kgCO2e."""
    share: str
    """Part of u², 0 to 1."""


@dataclass(frozen=True, slots=True)
class EvidenceStream:
    """Envelopes of one stream the batch draws on."""

    agent: str
    """Agent that signed."""
    stream: str
    """Stream."""
    envelopes: int
    """Number of envelopes."""
    first_index: int
    """Journal index of the first."""
    last_index: int
    """Journal index of the last."""
    head: str
    """Identity of the last, hex."""


@dataclass(frozen=True, slots=True)
class JournalHead:
    """Where the journal stands."""

    origin: str
    """Origin of the checkpoint."""
    size: int
    """Number of entries."""
    root: str
    """Root of the Merkle tree, hex."""
    checkpoint_size: int | None
    """Size of the newest signed checkpoint; None = none yet."""
    checkpoint_time: int | None
    """When it was signed, ns UTC; None = none yet."""
    signer: str
    """Name of the key that signs checkpoints."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a stranger needs to recompute the batch."""

    streams: tuple[EvidenceStream, ...]
    """Streams it draws on."""
    facts: tuple[str, ...]
    """`chain#seq` of the facts it rests on."""
    journal: JournalHead
    """Journal as used."""
    policy: str
    """Hash of the policy, hex."""
    digest: str
    """Digest of the result, hex."""
    method: str
    """Version of the method."""


@dataclass(frozen=True, slots=True)
class BatchDetail:
    """Everything known of one batch."""

    row: BatchRow
    """As in the list."""
    boundary: str
    """gate_to_gate (a partial footprint) | cradle_to_gate."""
    contributions: tuple[Contribution, ...]
    """By source; burdens add up to the footprint exactly."""
    revisions: tuple[Revision, ...]
    """Oldest first, the last one is shown."""
    findings: tuple[Finding, ...]
    """What the engine noticed."""
    evidence: Evidence
    """How it is proven."""
    budget: tuple[BudgetRow, ...]
    """Uncertainty components in falling order."""
    notes: tuple[LocalText, ...] = ()
    """What has to stand beside the figure."""


@dataclass(frozen=True, slots=True)
class RegisterReading:
    """What a register showed last."""

    register: str
    """Register id."""
    value: str | None
    """Value before any ratio; None = the read failed."""
    unit: str
    """Its unit."""
    t: int
    """Moment, ns UTC."""


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """One instrument."""

    id: str
    """Instrument id."""
    name: LocalText
    """Name people read."""
    kind: str
    """electricity_meter, gas_meter, weigher …"""
    serial: str
    """Serial number."""
    point: str
    """Where it measures."""
    ratio: str
    """Transformer ratio as an exact rational, 1 = none."""
    agent: str
    """Agent that reads it."""
    tier: str | None
    """Assurance tier A–D; None = nothing delivered yet."""
    certificate: str | None
    """Certificate in force; None = none."""
    certificate_kind: str | None
    """verification (检定) | calibration (校准); None = none."""
    due: int | None
    """Moment the certificate lapses, ns UTC; None = none."""
    standing: CertificateStanding
    """Whether it may be trusted."""
    readings: tuple[RegisterReading, ...]
    """Last reading of each register."""
    stale: bool
    """Whether the newest reading is older than the policy allows."""


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """One edge agent."""

    id: str
    """Agent id."""
    connected: bool | None
    """As its retained state says; None = never heard."""
    outbox: int | None
    """Envelopes without receipt; None = it does not say."""
    last_envelope: int | None
    """When its newest envelope was cut, ns UTC; None = none."""
    envelopes: int
    """Envelopes in the journal."""
    clock_state: str
    """U unknown, I informative, S synchronised, R relative (OCMF)."""
    clock_error_ms: int | None
    """Stated bound of the clock error, ms; None = not stated."""
    tiers: tuple[str, ...]
    """Assurance tiers of its channels."""
    quarantined: int
    """Messages in its name that did not verify."""
    stale: bool
    """Whether nothing came for longer than the policy allows."""


@dataclass(frozen=True, slots=True)
class Meters:
    """The page of instruments."""

    instruments: tuple[InstrumentRow, ...]
    """All instruments."""
    agents: tuple[AgentHealth, ...]
    """All agents."""


class ReadModel(Protocol):
    """What the web app asks. Calls are cheap and come from several threads."""

    def site(self) -> Site:
        """The plant."""
        ...

    def now(self) -> int:
        """The present as the plant's data sees it, ns UTC (a demo runs faster than the clock)."""
        ...

    def version(self) -> int:
        """A number that grows whenever anything shown may have changed."""
        ...

    def ready(self) -> bool:
        """Whether the journal has been read and data can come in."""
        ...

    def products(self) -> Sequence[ProductName]:
        """Products that can be made, by id."""
        ...

    def lines(self) -> Sequence[LineNow]:
        """Each line now, in the plant's order."""
        ...

    def batches(self) -> Sequence[BatchRow]:
        """All batches, newest first."""
        ...

    def batch(self, batch: str) -> BatchDetail | None:
        """One batch; None where no fact starts it."""
        ...

    def meters(self) -> Meters:
        """Instruments and agents."""
        ...

    def findings(self) -> Sequence[Finding]:
        """Everything the engine noticed."""
        ...

    def journal(self) -> JournalHead:
        """Where the journal stands."""
        ...


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """A batch starts or ends."""

    event_id: str
    """Id chosen by the sender; the same id twice is one event."""
    line: str
    """Line id."""
    batch: str
    """Batch id."""
    product: str
    """Product id; may be empty at the end."""
    event: str
    """start | end."""
    good: str | None
    """Good output in declared units, decimal text ≥ 0; None at the start."""
    scrap: str | None
    """Scrap in declared units, decimal text ≥ 0; None = not stated."""
    t: int
    """Moment it happened, ns UTC."""
    author: str
    """Who states it."""


@dataclass(frozen=True, slots=True)
class AcceptedFact:
    """The fact an event became."""

    chain: str
    """Fact chain."""
    seq: int
    """Place in the chain."""
    identity: str
    """Identity of the header, hex."""
    index: int
    """Journal index."""
    duplicate: bool
    """Whether the event id was known already."""


class Commands(Protocol):
    """What the web app may change."""

    def post_batch_event(self, event: BatchEvent) -> AcceptedFact:
        """Record the event as a fact. Raises InputError naming the field."""
        ...
