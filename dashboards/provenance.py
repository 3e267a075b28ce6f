"""What a batch's figure rests on, for people: envelopes, checkpoint, factors, certificates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from footprint.batch import BatchResult
from footprint.bundle import needs_of
from footprint.engine import Engine
from footprint.exact import decimal_text
from footprint.factor import Factor
from footprint.rows import iso
from mrv.measurement.calibration import Certificate


@dataclass(frozen=True, slots=True)
class EnvelopeRow:
    """One envelope the figure draws on."""

    agent: str
    """Agent that signed it."""
    stream: str
    """Stream of the agent."""
    epoch: str
    """Epoch of the agent's start."""
    seq: int
    """Number inside the epoch."""
    identity: str
    """SHA-256 of its signed text, hex."""
    index: int | None
    """Journal index."""
    t_first: int
    """Earliest reading, ns UTC."""
    t_last: int
    """Latest reading, ns UTC."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The envelopes of a figure and the head of the journal they are in."""

    envelopes: tuple[EnvelopeRow, ...]
    """Envelopes by chain."""
    tables: tuple[str, ...]
    """Identities of the channel tables."""
    size: int
    """Entries of the journal."""
    root: str
    """RFC 6962 root of the journal, hex."""

    def streams(self) -> list[tuple[EnvelopeRow, EnvelopeRow, int]]:
        """(first, last, number) of the envelopes of each epoch of each stream."""
        groups: dict[tuple[str, str, str], list[EnvelopeRow]] = {}
        for row in self.envelopes:
            groups.setdefault((row.agent, row.stream, row.epoch), []).append(row)
        return [(rows[0], rows[-1], len(rows)) for rows in groups.values()]

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "checkpoint": {"size": self.size, "root": self.root},
            "channel_tables": list(self.tables),
            "envelopes": [
                {
                    "agent": row.agent,
                    "stream": row.stream,
                    "epoch": row.epoch,
                    "seq": row.seq,
                    "identity": row.identity,
                    "index": row.index,
                    "t_first": str(row.t_first),
                    "t_last": str(row.t_last),
                }
                for row in self.envelopes
            ],
        }


def envelope_rows(engine: Engine, batch: str) -> tuple[list[EnvelopeRow], tuple[str, ...]]:
    """The envelopes and channel tables a batch draws on, without their journal indexes."""
    needs = needs_of(engine, batch)
    if needs is None:
        return [], ()
    rows = [
        EnvelopeRow(
            link.agent, link.stream, link.epoch, link.seq, link.identity, None,
            link.t_first, link.t_last,
        )
        for link in needs.links
    ]  # fmt: skip
    return rows, needs.tables


def factors_used(engine: Engine, result: BatchResult) -> list[Factor]:
    """The factor rows a figure was priced with, by id."""
    wanted = {source.factor for source in result.sources if source.factor}
    found = {factor.id: factor for factor in engine.knowledge.factors if factor.id in wanted}
    return [found[name] for name in sorted(found)]


def certificates_used(engine: Engine, result: BatchResult) -> list[Certificate]:
    """The certificates in force for a figure, by id."""
    wanted = {(s.instrument, s.certificate) for s in result.sources if s.certificate}
    return sorted(
        (
            certificate
            for instrument, name in wanted
            for certificate in engine.knowledge.certificates(instrument)
            if certificate.id == name
        ),
        key=lambda certificate: certificate.id,
    )


def factor_json(factor: Factor) -> dict[str, Any]:
    """A factor row for machines."""
    return {
        "id": factor.id,
        "name": factor.name,
        "region": factor.region,
        "value": decimal_text(factor.value),
        "unit": factor.unit,
        "valid_from": iso(factor.valid_from),
        "valid_to": iso(factor.valid_to),
        "uncertainty_pct": None
        if factor.uncertainty_pct is None
        else decimal_text(factor.uncertainty_pct),
        "source": factor.source,
        "source_year": factor.source_year,
    }


def certificates_json(certificates: Sequence[Certificate]) -> list[dict[str, Any]]:
    """Certificates for machines."""
    return [
        {
            "id": c.id,
            "kind": c.kind.value,
            "instrument": c.instrument,
            "laboratory": c.laboratory,
            "valid_from": iso(c.valid_from),
            "valid_to": iso(c.valid_to),
            "approved": c.approved,
        }
        for c in certificates
    ]
