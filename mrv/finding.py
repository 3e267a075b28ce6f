"""A finding: what the engine noticed about data, with the numbers that show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing a rule noticed. Derived from the journal, never an entry of it."""

    rule: str
    """Identifier of the rule in snake case, stable across versions."""
    subject: str
    """What it is about: an instrument, register, batch, stream or fact."""
    at: int = 0
    """Moment it concerns, ns UTC; 0 where no moment applies."""
    severity: Severity = field(default=Severity.WARNING, compare=False)
    """Weight of the finding."""
    numbers: tuple[tuple[str, str], ...] = ()
    """The figures that show it, as (name, exact text) pairs in a fixed order."""
    clause: str = ""
    """Where the rule comes from (standard clause, design section), empty if it is our own."""


def count_by_rule(findings: Iterable[Finding]) -> Mapping[str, int]:
    """Number of findings of each rule, in the order of the rule names."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.rule] = counts.get(finding.rule, 0) + 1
    return dict(sorted(counts.items()))
