"""Findings out of many places, without twins, in order: changed where they change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from mrv.finding import Finding, Severity

FEW = 64
"""Findings that are put in their places one by one; more are sorted in together."""
WEIGHTS = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
"""The gravest first."""
Key = tuple[int, str, str, int, tuple[tuple[str, str], ...], str]
"""Weight, then what two findings differ in."""


def finding_key(finding: Finding) -> Key:
    """What findings are ordered by: a tuple is compared faster than a dataclass."""
    return (
        WEIGHTS[finding.severity],
        finding.rule,
        finding.subject,
        finding.at,
        finding.numbers,
        finding.clause,
    )


@dataclass(frozen=True, slots=True)
class Alike:
    """Findings of one rule and weight."""

    rule: str
    """The rule."""
    severity: Severity
    """Their weight."""
    count: int
    """How many there are."""
    first: Sequence[Finding]
    """Some of them, from the place that was asked for."""


class SortedFindings:
    """Findings by origin, and all of them in one order."""

    def __init__(self) -> None:
        self._parts: dict[Hashable, list[Finding]] = {}
        self._held: dict[Finding, tuple[Finding, int]] = {}
        self._keys: list[Key] = []
        self._rows: list[Finding] = []
        self._fresh: dict[Finding, None] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Sequence[Finding]:
        """All findings; after `settle`."""
        return tuple(self._rows)

    def alike(self, start: int, count: int, rule: str | None = None) -> list[Alike]:
        """Findings by weight and rule, of each so many from place `start` on; after `settle`.

        None for `rule` = all rules.
        """
        found, place = [], 0
        while place < len(self._keys):
            weight, name = self._keys[place][:2]
            end = bisect_left(self._keys, (weight, f"{name}\0"))
            if rule in (None, name):
                severity = self._rows[place].severity
                first = self._rows[place + start : min(place + start + count, end)]
                found.append(Alike(name, severity, end - place, first))
            place = end
        return found

    def put(self, origin: Hashable, found: list[Finding]) -> None:
        """What there is of one origin now."""
        known = self._parts.get(origin, [])
        if known == found:
            return
        if found:
            self._parts[origin] = list(found)
        else:
            self._parts.pop(origin, None)
        for finding in found:
            first, count = self._held.get(finding, (finding, 0))
            self._held[finding] = first, count + 1
            if not count:
                self._fresh[finding] = None
        for finding in known:
            first, count = self._held[finding]
            self._held[finding] = first, count - 1
            if count == 1:
                self._drop(first)

    def _drop(self, finding: Finding) -> None:
        del self._held[finding]
        if finding in self._fresh:
            del self._fresh[finding]
            return
        place = bisect_left(self._keys, finding_key(finding))
        del self._keys[place], self._rows[place]

    def settle(self) -> None:
        """Put what is new in its place."""
        if len(self._fresh) > FEW:
            rows = sorted((*self._rows, *self._fresh), key=finding_key)
            self._rows, self._keys = rows, [finding_key(row) for row in rows]
        else:
            for finding in self._fresh:
                key = finding_key(finding)
                place = bisect_left(self._keys, key)
                self._keys.insert(place, key)
                self._rows.insert(place, finding)
        self._fresh = {}
