"""What is noticed on the way to a figure: what it waits for, what is missing, what is odd."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrv.finding import Finding


@dataclass(slots=True)
class Notes:
    """Notes of one source, or of a whole batch."""

    waits: set[str] = field(default_factory=set)
    """What the figure waits for, codes."""
    incomplete: set[str] = field(default_factory=set)
    """What leaves it incomplete, codes."""
    findings: list[Finding] = field(default_factory=list)
    """What was noticed."""
    estimated: bool = False
    """Whether something stands in for readings that never came."""
    unchained: bool = False
    """Whether a channel has no chain to prove it whole."""

    def add(self, other: Notes) -> None:
        """Take in the notes of a source."""
        self.waits |= other.waits
        self.incomplete |= other.incomplete
        self.findings += other.findings
        self.estimated = self.estimated or other.estimated
        self.unchained = self.unchained or other.unchained
