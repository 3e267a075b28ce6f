"""The footprint of one batch: what was computed, from what, and what it waits for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

from footprint.exact import decimal_text, float_text, quotient_text
from footprint.stated_batches import Batch
from mrv.finding import Finding
from mrv.measurement.uncertainty import Components, added_in_turn
from mrv.strict_json import canonical

METHOD = "meterprint-1"
"""Version of the method; another one may give another figure."""
MILLION = 10**6


class BatchState(StrEnum):
    """How far a batch's figure is settled (design §3, "Completeness")."""

    PROVISIONAL = "provisional"
    FINAL = "final"
    FINAL_ESTIMATED = "final_estimated"
    CLOSED = "closed"


class Part(StrEnum):
    """Where a batch's amount comes from."""

    DIRECT = "direct"
    TAGGED = "tagged"
    CHANGEOVER = "changeover"
    IDLE = "idle"
    UNATTRIBUTED = "unattributed"
    SHARED = "shared"
    SUBSTITUTED = "substituted"


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What one emission source gave to the batch; without a factor until it is priced."""

    source: str
    """Emission source."""
    instrument: str
    """Instrument, "" for a material."""
    register: str
    """Register, "" for a material."""
    unit: str
    """Unit of the amounts."""
    metered: Fraction
    """Amount before correction, ratio applied."""
    corrected: Fraction
    """Amount the burden rests on."""
    parts: tuple[tuple[Part, Fraction], ...]
    """Where it comes from; they add up to `corrected`."""
    activity_components: Components
    """Uncertainty of the amount, in its unit by source."""
    tier: str
    """Assurance tier of the channel, "" = none."""
    certificate: str
    """Certificate that supports it, "" = none."""
    certificate_state: str
    """valid, expired, missing …"""
    factor: str = ""
    """Id of the factor, "" = none."""
    factor_value: Fraction = Fraction(0)
    """Its value, per `factor_unit`."""
    factor_unit: str = ""
    """Its unit."""
    factor_reason: str = ""
    """Why this one: by_id | valid | carried_forward."""
    factor_default_u: bool = False
    """Whether its uncertainty is the policy's default."""
    burden: Fraction = Fraction(0)
    """kgCO2e."""
    components: Components = field(default_factory=Components)
    """Uncertainty of the burden, kgCO2e by source."""

    def to_json(self) -> dict[str, Any]:
        """Exact text of everything."""
        return {
            "source": self.source,
            "instrument": self.instrument,
            "register": self.register,
            "unit": self.unit,
            "metered": decimal_text(self.metered),
            "corrected": decimal_text(self.corrected),
            "parts": {part.value: decimal_text(value) for part, value in self.parts},
            "factor": self.factor,
            "factor_value": decimal_text(self.factor_value),
            "factor_unit": self.factor_unit,
            "factor_reason": self.factor_reason,
            "factor_default_u": self.factor_default_u,
            "burden": decimal_text(self.burden),
            "u": float_text(self.components.u),
            "tier": self.tier,
            "certificate": self.certificate,
            "certificate_state": self.certificate_state,
        }


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The footprint of one batch as the journal knows it."""

    batch: Batch
    """The batch."""
    unit: str
    """Declared unit of its product."""
    boundary: str
    """gate_to_gate (a partial footprint) | cradle_to_gate."""
    state: BatchState
    """How far it is settled."""
    waits: tuple[str, ...]
    """What it waits for, codes, sorted; empty unless provisional."""
    incomplete: tuple[str, ...]
    """Sources inside the boundary without a figure, with the reason; empty = complete."""
    sources: tuple[SourceResult, ...]
    """Contributions, by source id."""
    findings: tuple[Finding, ...]
    """What was noticed on the way."""
    policy: str
    """Hash of the policy, hex."""

    @property
    def good(self) -> Fraction:
        """Good output, declared units."""
        return Fraction(self.batch.good, MILLION)

    @property
    def footprint(self) -> Fraction:
        """kgCO2e of the whole batch."""
        return sum((s.burden for s in self.sources), Fraction(0))

    @property
    def components(self) -> Components:
        """Uncertainty of the footprint, kgCO2e by source."""
        return added_in_turn(source.components for source in self.sources)

    @property
    def per_unit(self) -> str | None:
        """kgCO2e per good unit, 15 digits; None where there is no good output."""
        return quotient_text(self.footprint, self.good)

    @property
    def u_per_unit(self) -> float | None:
        """Standard uncertainty of the figure per unit, kgCO2e; output is taken as counted."""
        return self.components.u / float(self.good) if self.good else None

    @property
    def partial(self) -> bool:
        """Whether it covers a part of the life cycle up to the gate: gate to gate (ISO 14067)."""
        return self.boundary == "gate_to_gate"

    @property
    def relative(self) -> bool:
        """Whether an amount is in a unit that has no absolute meaning."""
        return any(source.unit.endswith("_rel") for source in self.sources)

    def energy(self) -> Fraction:
        """Electric energy of the batch, kWh: the sum over sources metered in kWh or MWh."""
        scale = {"kWh": Fraction(1), "MWh": Fraction(1000)}
        return sum(
            (s.corrected * scale[s.unit] for s in self.sources if s.unit in scale), Fraction(0)
        )

    def to_json(self) -> dict[str, Any]:
        """The result as exact text, the same wherever it is computed."""
        u = self.components.u
        u_per_unit = u / float(self.good) if self.good else None
        return {
            "method": METHOD,
            "batch": self.batch.id,
            "line": self.batch.line,
            "product": self.batch.product,
            "state": self.state.value,
            "waits": list(self.waits),
            "incomplete": list(self.incomplete),
            "boundary": self.boundary,
            "start": str(self.batch.start),
            "end": None if self.batch.end is None else str(self.batch.end),
            "quantity": decimal_text(self.good),
            "scrap": decimal_text(Fraction(self.batch.scrap, MILLION)),
            "unit": self.unit,
            "footprint": decimal_text(self.footprint),
            "footprint_unit": "kgCO2e",
            "u": float_text(u),
            "per_unit": self.per_unit,
            "u_per_unit": None if u_per_unit is None else float_text(u_per_unit),
            "policy": self.policy,
            "sources": [source.to_json() for source in self.sources],
        }

    def digest(self) -> str:
        """SHA-256 of the canonical result, hex: equal digests, equal results."""
        return hashlib.sha256(canonical(self.to_json())).hexdigest()
