"""What is odd about the streams and channels of a site, whatever batch they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from footprint.intake import EnvelopeIndex
from footprint.knowledge import Knowledge
from ingest.stored_readings import StoredReadings
from mrv.finding import Finding, Severity
from mrv.reporting.completeness import StreamChain
from mrv.reporting.mending import Mending, clock_findings


class OddChains:
    """What is odd about chains; looked for again only in those that have grown."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[int, object, list[Finding]]] = {}

    def findings(self, readings: EnvelopeIndex) -> list[Finding]:
        """Equivocations, late envelopes, clock steps, mended clocks, new chains and forks."""
        found: list[Finding] = []
        if isinstance(readings, StoredReadings):
            readings.look()
        for place, chain in readings.chains():
            mended = readings.mended(*place)
            held = self._held.get(place)
            if held is None or held[0] != len(chain) or held[1] != mended:
                held = (len(chain), mended, list(odd_chain(place, chain, mended)))
                self._held[place] = held
            found += held[2]
        return found


def odd_chain(
    place: tuple[str, str], chain: StreamChain, mended: Sequence[Mending]
) -> Iterator[Finding]:
    """What is odd about one chain of (agent, stream)."""
    agent, stream = place
    for first, second in chain.equivocations:
        numbers = (("first", first), ("second", second))
        yield Finding("equivocation", f"{agent}/{stream}", 0, Severity.ERROR, numbers)
    if chain.late:
        count = (("envelopes", str(chain.late)),)
        yield Finding("late", f"{agent}/{stream}", chain.late_since, Severity.INFO, count)
    for link, step in chain.clock_steps():
        numbers = (("step_ns", str(step)), ("seq", str(link.seq)))
        yield Finding("clock_step", f"{agent}/{stream}", link.t, Severity.WARNING, numbers)
    yield from clock_findings(f"{agent}/{stream}", mended)
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
