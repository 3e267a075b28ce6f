"""What a verification found: named checks with what was expected and what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from footprint.batch import BatchResult
from footprint.exact import float_text
from footprint.plant import LocalText
from footprint.rows import notes_json, title

PASS, FAIL, NOT_CHECKABLE = "pass", "fail", "not_checkable"
"""Results of a check."""

CHECKS = {
    "container": "the file is a bundle",
    "manifest": "every file is the one the manifest lists",
    "registry_chain": "the site's registry has no gap and is signed",
    "trust": "the root key is the one you trust",
    "manifest_signature": "the site signed the manifest",
    "checkpoint": "the site signed the head of its journal",
    "registry_complete": "the registry reaches the head, and no fact it may rest on is left out",
    "production_chains": "the lines' batch events have no gap and reach the head",
    "production_complete": "no batch that touches this time is left out",
    "pool_keys": "the keys of batches that share a pool are shown",
    "stream_heads": "the list of streams is the one the head binds",
    "channel_tables": "the channel tables are signed and in the journal",
    "envelope_signatures": "every envelope is signed by an enrolled agent",
    "inclusion": "every envelope is in the journal",
    "keys_in_force": "every key that signed was in force when the journal took the entry in",
    "envelope_chains": "no envelope between the first and the last is missing",
    "completeness": "the figure is settled, and says what its sources lack",
    "recompute": "the recomputed footprint is the stated one",
    "digest": "the recomputed result is the stated one to the last digit",
}
"""Names of the checks, in order, with what each means."""
SITES_WORD = frozenset({"pool_keys", "keys_in_force"})
"""Checks that may stay not checkable in a bundle that holds: what others made stays closed, and
bundles of layout 1 do not show when a key was revoked."""


@dataclass(frozen=True, slots=True)
class Check:
    """Outcome of one check."""

    id: str
    """Name."""
    result: str
    """pass | fail | not_checkable."""
    expected: str = ""
    """What was expected."""
    actual: str = ""
    """What was found."""
    file: str = ""
    """File of the bundle it concerns."""


@dataclass(slots=True)
class Verdict:
    """All checks of one bundle."""

    checks: list[Check] = field(default_factory=list)
    """Outcomes, in the order of CHECKS."""
    result: BatchResult | None = None
    """The recomputed figure, None where it could not be computed."""
    stated: Mapping[str, Any] = field(default_factory=dict)
    """The figure under test."""
    notes: tuple[LocalText, ...] = ()
    """What the plant wants said wherever its figures are shown."""

    @property
    def ok(self) -> bool:
        """Whether every check passed, but for those that rest on the site's word by design."""
        return bool(self.checks) and all(
            check.result == PASS or (check.result == NOT_CHECKABLE and check.id in SITES_WORD)
            for check in self.checks
        )

    def to_json(self) -> dict[str, Any]:
        """The verdict in the words of `verify --json`."""
        figure = self.result.to_json() if self.result else {}
        return {
            "ok": self.ok,
            "batch": figure.get("batch", self.stated.get("batch")),
            "footprint": figure.get("footprint"),
            "footprint_unit": figure.get("footprint_unit", "kgCO2e"),
            "u": float_text(self.result.components.u) if self.result else None,
            "per_unit": figure.get("per_unit"),
            "boundary": figure.get("boundary"),
            "partial": self.result.partial if self.result else None,
            "relative": self.result.relative if self.result else None,
            "notes": notes_json(self.notes),
            "state": figure.get("state"),
            "incomplete": figure.get("incomplete", []),
            "checks": [
                {
                    "id": c.id,
                    "result": c.result,
                    "expected": c.expected,
                    "actual": c.actual,
                    "file": c.file,
                }
                for c in self.checks
            ],
        }


def render(verdict: Verdict) -> str:
    """The verdict for people."""
    marks = {PASS: "pass", FAIL: "FAIL", NOT_CHECKABLE: "not checkable"}
    lines = []
    for check in verdict.checks:
        lines.append(f"{marks[check.result]:<14}{check.id:<22}{check.actual}")
        if check.result == FAIL:
            lines.append(f"{'':<14}expected: {check.expected}")
            if check.file:
                lines.append(f"{'':<14}file: {check.file}")
    result = verdict.result
    if result is not None:
        name = title(partial=result.partial)
        figure = result.to_json()
        lines.append(
            f"{name.en} / {name.zh}, of batch {figure['batch']}: {figure['footprint']} kgCO2e, "
            f"u = {figure['u']} kgCO2e, {figure['per_unit']} kgCO2e per {result.unit}"
        )
        if result.incomplete:
            lines.append(f"incomplete: {', '.join(result.incomplete)}")
        lines += [f"{note.en} / {note.zh}" for note in verdict.notes]
    lines.append("verified" if verdict.ok else "NOT verified")
    return "\n".join(lines)
