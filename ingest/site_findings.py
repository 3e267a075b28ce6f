"""What is odd about the streams and channels of a site, whatever batch they belong to."""

from __future__ import annotations

from collections.abc import Iterator

from footprint.intake import EnvelopeIndex
from footprint.knowledge import Knowledge
from mrv.finding import Finding, Severity
from mrv.reporting.mending import clock_findings


def odd_chains(readings: EnvelopeIndex) -> Iterator[Finding]:
    """Equivocations, late envelopes, clock steps, mended clocks, new chains and forks."""
    for (agent, stream), chain in readings.chains():
        for first, second in chain.equivocations:
            numbers = (("first", first), ("second", second))
            yield Finding("equivocation", f"{agent}/{stream}", 0, Severity.ERROR, numbers)
        if chain.late:
            count = (("envelopes", str(chain.late)),)
            yield Finding("late", f"{agent}/{stream}", chain.late_since, Severity.INFO, count)
        for link, step in chain.clock_steps():
            numbers = (("step_ns", str(step)), ("seq", str(link.seq)))
            yield Finding("clock_step", f"{agent}/{stream}", link.t, Severity.WARNING, numbers)
        yield from clock_findings(f"{agent}/{stream}", readings.mended(agent, stream))
        for link in chain.new_starts():
            epoch = (("epoch", link.epoch),)
            yield Finding("new_chain", f"{agent}/{stream}", link.t, Severity.WARNING, epoch)
        for identity in chain.forks():
            yield Finding("fork", f"{agent}/{stream}", 0, Severity.ERROR, (("after", identity),))


def unknown_instruments(knowledge: Knowledge, readings: EnvelopeIndex) -> Iterator[Finding]:
    """Channels of instruments that no plant model has."""
    known = {i.id for _, plant in knowledge.plants for i in plant.instruments}
    for channel in readings.channels():
        if channel.partition(".")[0] not in known:
            yield Finding("unknown_instrument", channel, 0, Severity.ERROR)
