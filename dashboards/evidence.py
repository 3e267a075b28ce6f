"""The envelopes a batch draws on, looked up once as long as they can be no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.kept import Kept
from dashboards.provenance import EnvelopeRun, RunSummary, runs_of
from dashboards.running import Running
from footprint.batch import BatchState
from footprint.intake import EnvelopeIndex
from mrv.reporting.completeness import ChainLink

KEPT = 512
"""Batches whose evidence stays in memory, a row for each run of envelopes."""
ALL_TIME = 2**63 - 1
"""Last ns of the time scale."""
Begun = tuple[tuple[str, str, int, int], ...]
"""(agent, stream, moment, envelopes that begin until then) of each stream."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The envelopes of a batch, in short."""

    runs: tuple[RunSummary, ...]
    """Runs without a hole."""
    begun: Begun
    """What its streams held when it was looked up."""

    @property
    def envelopes(self) -> int:
        """Number of envelopes."""
        return sum(run.envelopes for run in self.runs)


def begun_of(readings: EnvelopeIndex, links: Iterable[ChainLink], state: BatchState) -> Begun:
    """What streams hold until the end of some links; in all time where envelopes close nothing."""
    last: dict[tuple[str, str], int] = {}
    for link in links:
        place = link.agent, link.stream
        last[place] = max(last.get(place, link.t_last), link.t_last)
    if state is not BatchState.FINAL:
        last = dict.fromkeys(last, ALL_TIME)
    return tuple((*place, until, readings.begun(*place, until)) for place, until in last.items())


class EvidenceKept:
    """Evidence of the batches that were looked at last."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._kept: Kept[Evidence] = Kept(KEPT)

    def runs(self, name: str) -> list[EnvelopeRun]:
        """The envelopes of a batch, each of them; looked up anew."""
        needs = self._running.engine.needs(name)
        running = self._running
        return [] if needs is None else runs_of(needs.links, running.indexes, running.index_of)

    def of(self, name: str) -> Evidence:
        """The evidence of a batch.

        A batch draws on other envelopes only when it was computed again, or when an envelope came
        to one of its streams that begins before the last one it draws on; where it is not final,
        any envelope.
        """
        engine, running = self._running.engine, self._running
        readings, stamp = engine.readings, engine.results.stamp(name)
        found = self._kept.held(name, (readings,), stamp)
        if found is not None and all(readings.begun(*row[:3]) == row[3] for row in found.begun):
            return found
        with engine.still():
            needs = engine.needs(name)
            if needs is None:
                return Evidence((), ())
            state = needs.result.state
            begun = begun_of(readings, needs.links, state)
            moved = any(readings.mended(*row[:2]) for row in begun)
        runs = runs_of(needs.links, running.indexes, running.index_of)
        made = Evidence(tuple(run.summary() for run in runs), begun)
        if not moved:
            self._kept.keep(name, (readings,), stamp, made)
        return made
