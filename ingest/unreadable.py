"""Entries that are validly signed and mean nothing: one finding an agent, however many there are.

Whoever may sign can send such entries without end; what is kept of them is a count, the first and
the last index, and what the first one's fault was. The entries themselves stay in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mrv.finding import Finding, Severity

ERROR_CHARACTERS = 200
"""Characters kept of the first fault."""
Row = tuple[str, int, int, int, str]
"""Signer, number of entries, first and last index, fault of the first."""


@dataclass(slots=True)
class _Count:
    entries: int
    first: int
    last: int
    error: str


class UnreadableEntries:
    """Counts of unreadable entries by who signed them."""

    def __init__(self) -> None:
        self._all: dict[str, _Count] = {}
        self._fresh: dict[str, _Count] = {}

    def __len__(self) -> int:
        return sum(count.entries for count in self._all.values())

    def add(self, signer: str, index: int, error: str) -> None:
        """An entry of the journal could not be read."""
        row = (signer, 1, index, index, error[:ERROR_CHARACTERS])
        self.learn(row)
        _enter(self._fresh, row)

    def learn(self, row: Row) -> None:
        """Take in what was counted before."""
        _enter(self._all, row)

    def fresh(self) -> list[Row]:
        """What has come since `settle`."""
        return [(s, c.entries, c.first, c.last, c.error) for s, c in sorted(self._fresh.items())]

    def settle(self) -> None:
        """Nothing counted so far is news."""
        self._fresh = {}

    def findings(self) -> Iterable[Finding]:
        """One for each signer."""
        for signer, count in sorted(self._all.items()):
            numbers = (
                ("entries", str(count.entries)),
                ("first", str(count.first)),
                ("last", str(count.last)),
                ("error", count.error),
            )
            yield Finding("unreadable_entry", signer, 0, Severity.ERROR, numbers)


def _enter(counts: dict[str, _Count], row: Row) -> None:
    signer, entries, first, last, error = row
    held = counts.get(signer)
    if held is None:
        counts[signer] = _Count(entries, first, last, error)
        return
    held.entries += entries
    held.last = max(held.last, last)
    if first < held.first:
        held.first, held.error = first, error
