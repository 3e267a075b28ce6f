"""Batches whose figure may be another one now, and what of it: all, what instruments say, prices.

A certificate changes what one instrument says, a factor what an amount weighs. The amounts of the
other sources rest on readings and facts that are the same, so that they stand as they are in the
figure before and only are priced again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from footprint.batch import BatchResult, BatchState, SourceResult
from footprint.pricing import RULES
from footprint.stated_batches import Batch
from mrv.finding import Finding


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of a figure while some instruments say something else."""

    rows: Mapping[str, SourceResult] = field(default_factory=dict)
    """Rows by source, to be priced anew."""
    findings: tuple[Finding, ...] = ()
    """What was odd, but for those instruments and for prices."""


NOTHING = Standing()
"""The whole figure is computed anew."""


class OutOfDate:
    """Names of batches, each with the instruments that say something else, or all of it."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._held: dict[str, frozenset[str] | None] = dict.fromkeys(names)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._held))

    def __len__(self) -> int:
        return len(self._held)

    def add(self, names: Iterable[str], instrument: str = "") -> None:
        """Some batches may be others; only by what an `instrument` says where one is named."""
        for name in names:
            self._enter(name, frozenset((instrument,)) if instrument else None)

    def update(self, other: OutOfDate) -> None:
        """Take in what else is out of date."""
        for name, instruments in other.items():
            self._enter(name, instruments)

    def items(self) -> Iterator[tuple[str, frozenset[str] | None]]:
        """Each batch with the instruments that say something else, None = all of it."""
        return iter(tuple(self._held.items()))

    def add_priced(self, names: Iterable[str]) -> None:
        """Of some batches the factors may be others."""
        for name in names:
            self._enter(name, frozenset())

    def _enter(self, name: str, instruments: frozenset[str] | None) -> None:
        held = self._held.get(name, frozenset())
        self._held[name] = None if held is None or instruments is None else held | instruments

    def take(self, name: str) -> frozenset[str] | None:
        """Strike a batch out: the instruments that say something else, None = all of it."""
        return self._held.pop(name)

    def clear(self) -> None:
        """Nothing is out of date."""
        self._held.clear()


def standing(
    before: BatchResult | None, batch: Batch, instruments: frozenset[str] | None
) -> Standing:
    """What stands of the result before where only some instruments say something else, or prices.

    What it waits for or lacks is said of the whole batch, so that nothing stands where there is
    any. Findings name their instrument.
    """
    if before is None or instruments is None or before.batch != batch:
        return NOTHING
    settled = before.state in (BatchState.FINAL, BatchState.CLOSED)
    if not settled or before.waits or before.incomplete:
        return NOTHING
    kept = [row for row in before.sources if row.instrument and row.instrument not in instruments]
    own = {subject for row in kept for subject in (row.instrument, _register(row))}
    odd = tuple(
        finding
        for finding in before.findings
        if finding.rule not in RULES
        and (finding.subject in own or not _is_of(finding, instruments))
    )
    return Standing({row.source: row for row in kept}, odd)


def _register(row: SourceResult) -> str:
    return f"{row.instrument}/{row.register}"


def _is_of(finding: Finding, instruments: frozenset[str]) -> bool:
    """Whether a finding is of one of the instruments or of a register of it."""
    return any(
        finding.subject == name or finding.subject.startswith(f"{name}/") for name in instruments
    )
