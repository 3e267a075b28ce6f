"""Whether a meter is complete over a stretch of time, and why not (design §3)."""

from __future__ import annotations

from dataclasses import dataclass

from footprint.authority import Authority
from footprint.knowledge import Knowledge
from footprint.metering import Meter
from footprint.readings import Readings
from mrv.reporting.completeness import Closure
from mrv.series import SeriesKey


@dataclass(frozen=True, slots=True)
class ClosureOutcome:
    """Answer to one question of completeness."""

    reason: str = ""
    """"" = complete; else what is missing: not_passed, chain_gap, clock, equivocation, late_start,
    signed_gap."""
    estimated: bool = False
    """Whether a fact closed the chain, or it starts inside the batch, so that policy fills in."""


class Closures:
    """Asks the chains, with the facts that close dead ones."""

    def __init__(self, knowledge: Knowledge, readings: Readings) -> None:
        self._knowledge = knowledge
        self._readings = readings

    def of(self, meter: Meter, batch_start: int, start: int, end: int) -> ClosureOutcome:
        """Whether the meter's stream is whole over [start, end) and passed `end`.

        A counter also needs a good reading at or before the start and one at or after the end, or
        a gap over the end that its agent signed: then what it counted there is not known yet. A
        channel of a tier without a chain answers for its readings alone.
        `batch_start` tells a chain that begins inside the batch from one that begins earlier.
        Where another channel takes over on the way, each answers for its own time.
        """
        channels = meter.authorities(start, end + 1)
        if not channels or channels[-1].end <= end:
            return ClosureOutcome("not_passed")
        outcome = ClosureOutcome()
        for channel in channels:
            left, right = start, end
            if channel is not channels[0]:
                left = min(max(meter.near(channel.start), default=channel.start), end)
            if channel is not channels[-1]:
                right = max(min(meter.near(channel.end), default=channel.end), start)
            found = self._part(meter, channel, batch_start, left, right)
            if found.reason and not found.estimated:
                return found
            if found.estimated:
                outcome = found
        return outcome

    def _part(
        self, meter: Meter, channel: Authority, batch_start: int, start: int, end: int
    ) -> ClosureOutcome:
        """The answer for the time in which one channel speaks."""
        key = channel.key
        first, last = start, end
        if meter.register.kind == "counter":
            before, after = meter.near(start), meter.near(end)
            if not after or after[-1] < end:
                if self._knowledge.is_closed(key.agent, key.stream, start, end):
                    return ClosureOutcome("not_passed", estimated=True)
                if not channel.tier.has_chain or not self._gap_over(key, end):
                    return ClosureOutcome("not_passed")
                outcome, _ = self._readings.chain(key.agent, key.stream).walk(
                    min([start, *before]), end
                )
                done = outcome in (Closure.CLOSED, Closure.LATE_START)
                return ClosureOutcome("signed_gap" if done else outcome.value, estimated=done)
            first, last = min([start, *before]), after[-1]
            if not channel.tier.has_chain:
                late = min(before, default=start) > batch_start
                return ClosureOutcome("late_start") if late else ClosureOutcome()
        if not channel.tier.has_chain:
            return ClosureOutcome()
        outcome, oldest = self._readings.chain(key.agent, key.stream).walk(first, last)
        if outcome in (Closure.CLOSED, Closure.LATE_START) and self._equivocates(key, first, last):
            outcome = Closure.EQUIVOCATION
        if outcome is Closure.CLOSED:
            return ClosureOutcome()
        if outcome is Closure.LATE_START:
            late = oldest is not None and oldest.t_first > batch_start
            return ClosureOutcome("late_start", estimated=True) if late else ClosureOutcome()
        closed = self._knowledge.is_closed(key.agent, key.stream, start, end)
        return ClosureOutcome(outcome.value, estimated=closed)

    def _equivocates(self, key: SeriesKey, start: int, end: int) -> bool:
        """Whether two envelopes of one number with other contents touch [start, end]."""
        chain = self._readings.chain(key.agent, key.stream)
        twins = (chain.link(name) for pair in chain.equivocations for name in pair)
        return any(
            link is not None and link.t_last >= start and link.t_first <= end for link in twins
        )

    def _gap_over(self, key: SeriesKey, moment: int) -> bool:
        """Whether the agent signed that the register did not answer at `moment`."""
        return any(gap.start <= moment <= gap.end for gap in self._readings.gaps(key))
