"""What a batch rests on: rows of factors, certificates, signed envelopes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footprint.batch import BatchResult, Part
from footprint.catalogue import Choice, FactorError, FactorRequest
from footprint.exact import decimal_text
from footprint.factor import row_of
from footprint.knowledge import Knowledge
from footprint.rows import iso
from mrv.measurement.calibration import Certificate
from mrv.reporting.completeness import ChainLink


@dataclass(frozen=True, slots=True)
class FactorUse:
    """A factor a batch used."""

    id: str
    """Id of the row."""
    choice: Choice | None
    """The row, with the uncertainty that was used; None = the journal has no such row."""
    reason: str
    """Why it was chosen: by_id | valid | carried_forward."""
    sources: tuple[str, ...]
    """Emission sources it was used for."""

    def to_json(self) -> dict[str, Any]:
        """Row, reason and uncertainty, exact."""
        value: dict[str, Any] = {"id": self.id, "reason": self.reason, "sources": [*self.sources]}
        if self.choice is not None:
            value["uncertainty_pct_used"] = decimal_text(self.choice.uncertainty_pct)
            value["uncertainty_default"] = self.choice.uncertainty_default
            factor = self.choice.factor
            value["row"] = {**row_of(factor), "value": decimal_text(factor.value)}
        return value


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Envelopes of one epoch whose numbers follow each other without a hole, in one row."""

    first: ChainLink
    """The first one."""
    last: ChainLink
    """The last one."""
    envelopes: int
    """How many there are."""
    indices: tuple[int | None, int | None]
    """Indices of these two in the journal."""
    low: int | None
    """Lowest index of all of them."""
    high: int | None
    """Highest index of all of them."""
    t_first: int
    """Earliest reading, ns UTC."""
    t_last: int
    """Latest reading, ns UTC."""

    def to_json(self) -> dict[str, Any]:
        """The run as the interface gives it."""
        return {
            "agent": self.first.agent,
            "stream": self.first.stream,
            "epoch": self.first.epoch,
            "first_seq": self.first.seq,
            "last_seq": self.last.seq,
            "envelopes": self.envelopes,
            "first_index": self.low,
            "last_index": self.high,
            "first_identity": self.first.identity,
            "last_identity": self.last.identity,
            "t_first": iso(self.t_first),
            "t_last": iso(self.t_last),
        }


@dataclass(frozen=True, slots=True)
class EnvelopeRun:
    """Envelopes of one epoch whose numbers follow each other without a hole."""

    links: tuple[ChainLink, ...]
    """The envelopes, by number; at least one."""
    indices: tuple[int | None, ...]
    """Index of each in the journal."""

    def summary(self) -> RunSummary:
        """The run in one row."""
        known = [index for index in self.indices if index is not None]
        return RunSummary(
            self.links[0],
            self.links[-1],
            len(self.links),
            (self.indices[0], self.indices[-1]),
            min(known, default=None),
            max(known, default=None),
            min(link.t_first for link in self.links),
            max(link.t_last for link in self.links),
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row for each envelope."""
        return [
            {
                "agent": link.agent,
                "stream": link.stream,
                "epoch": link.epoch,
                "seq": link.seq,
                "index": index,
                "identity": link.identity,
                "prev": link.prev,
                "t_first": iso(link.t_first),
                "t_last": iso(link.t_last),
            }
            for link, index in zip(self.links, self.indices, strict=True)
        ]


def factors_of(result: BatchResult, knowledge: Knowledge) -> list[FactorUse]:
    """Factors a result used, by id; each once for each reason."""
    plant = knowledge.plant_at(result.batch.start)
    used: dict[tuple[str, str], list[str]] = {}
    for row in result.sources:
        if row.factor:
            used.setdefault((row.factor, row.factor_reason), []).append(row.source)
    found = []
    for (name, reason), sources in sorted(used.items()):
        choice = None
        if plant is not None:
            try:
                request = FactorRequest(id=name)
                choice = knowledge.catalogue(plant).choose(request, result.batch.start)
            except FactorError:
                choice = None
        found.append(FactorUse(name, choice, reason, tuple(sources)))
    return found


Indexes = Callable[[tuple[str, str, str], int, int], Mapping[int, Sequence[int]]]
"""Places in the journal of the envelopes of an (agent, stream, epoch) by number, first to last."""


def runs_of(
    links: Iterable[ChainLink], indexes: Indexes, index_of: Callable[[str], int | None]
) -> list[EnvelopeRun]:
    """Envelopes as runs, by agent, stream, first reading and number.

    `index_of` is asked for those alone whose number two envelopes have.
    """
    epochs: dict[tuple[str, str, str], list[ChainLink]] = {}
    for link in links:
        epochs.setdefault((link.agent, link.stream, link.epoch), []).append(link)
    runs: list[EnvelopeRun] = []
    for epoch, found in epochs.items():
        found.sort(key=lambda link: (link.seq, link.identity))
        start = 0
        for place in range(1, len(found) + 1):
            if place == len(found) or found[place].seq != found[place - 1].seq + 1:
                part = tuple(found[start:place])
                held = indexes(epoch, part[0].seq, part[-1].seq)
                places = [held.get(link.seq, ()) for link in part]
                runs.append(
                    EnvelopeRun(
                        part,
                        tuple(
                            at[0] if len(at) == 1 else index_of(link.identity)
                            for link, at in zip(part, places, strict=True)
                        ),
                    )
                )
                start = place
    return sorted(runs, key=_in_time)


def _in_time(run: EnvelopeRun) -> tuple[str, str, int, int]:
    first = run.links[0]
    return first.agent, first.stream, min(link.t_first for link in run.links), first.seq


def certificate_row(certificate: Certificate, state: str) -> dict[str, Any]:
    """Facts of a certificate as the interface gives them."""
    return {
        "certificate": certificate.id,
        "kind": certificate.kind.value,
        "instrument": certificate.instrument,
        "state": state,
        "valid_from": iso(certificate.valid_from),
        "valid_to": iso(certificate.valid_to),
        "mpe_percent": decimal_text(certificate.mpe * 100),
        "laboratory": certificate.laboratory,
        "approved": certificate.approved,
        "revoked_at": iso(certificate.revoked_at),
        "points": [
            {
                "load": point.load,
                "error_percent": decimal_text(point.error * 100),
                "expanded_percent": decimal_text(point.expanded * 100),
                "k": decimal_text(point.k),
            }
            for point in certificate.points
        ],
    }


def source_rows(result: BatchResult, factors: Sequence[FactorUse]) -> list[dict[str, Any]]:
    """One row for each emission source with the factor it used, for a table."""
    rows = []
    by_id = {use.id: use for use in factors}
    for row in result.to_json()["sources"]:
        parts = row.pop("parts")
        use = by_id.get(row["factor"])
        choice = use.choice if use is not None else None
        published = row_of(choice.factor) if choice is not None else {}
        rows.append(
            {
                **row,
                **{f"part_{part.value}": parts.get(part.value, "0") for part in Part},
                "factor_name": published.get("name", ""),
                "factor_region": published.get("region", ""),
                "factor_valid_from": published.get("valid_from", ""),
                "factor_valid_to": published.get("valid_to", ""),
                "factor_uncertainty_pct": decimal_text(choice.uncertainty_pct) if choice else "",
                "factor_gwp_basis": published.get("gwp_basis", ""),
                "factor_source": published.get("source", ""),
            }
        )
    return rows
