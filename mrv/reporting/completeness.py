"""Completeness of a stretch of time, proven from the chain of envelopes (design §3).

A stretch is closed for a set of channels when the stream's chain runs without a break from an
envelope that holds a reading at or before the start to one that holds a reading at or after the
end, stamped by a trusted clock. Nothing here waits for time to pass.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from mrv.column import column_bounds
from mrv.envelope import Envelope, Head


class ChainLink(NamedTuple):
    """What completeness needs to know of one envelope.

    A tuple, as there is one for each envelope: see `mrv.column.Column`.
    """

    agent: str
    """Agent that signed it."""
    stream: str
    """Stream of the agent."""
    epoch: str
    """Epoch of the agent's start."""
    seq: int
    """Number inside the epoch."""
    identity: str
    """Identity of the envelope."""
    prev: str
    """Identity of the one before in the stream, across epochs; "" = none is known."""
    t_first: int
    """Earliest reading or event in it, ns UTC."""
    t_last: int
    """Latest reading or event in it, ns UTC."""
    trusted: bool
    """Whether the clock was trusted when it was cut."""
    stops: bool = False
    """Whether it states that the stream stopped here."""
    t: int = 0
    """When it was cut, ns UTC."""
    mono: int = 0
    """Monotonic clock when it was cut, ns."""
    boot: str = ""
    """Boot of the machine, for which `mono` counts."""

    @property
    def head(self) -> Head:
        """Its place in the stream."""
        return Head(self.epoch, self.seq, self.identity)


Bounds = tuple[int, int]
"""Times of the first and last reading of a column, ns UTC."""


def chain_link(
    envelope: Envelope, identity: str, bounds: Sequence[Bounds] | None = None
) -> ChainLink:
    """The link an envelope makes. An envelope without readings stands at the moment it was cut.

    A gap counts by its end alone: what it says of the past does not carry the chain back there.
    `bounds` are `column_bounds` of its columns, where somebody has them already.
    """
    times = [event.t if event.end is None else min(event.end, envelope.t) for event in envelope.ev]
    for ends in map(column_bounds, envelope.cols) if bounds is None else bounds:
        times += ends
    after = envelope.after
    return ChainLink(
        agent=envelope.agent,
        stream=envelope.stream,
        epoch=envelope.epoch,
        seq=envelope.seq,
        identity=identity,
        prev=envelope.prev or (after.identity if after else ""),
        t_first=min(times, default=envelope.t),
        t_last=max(times, default=envelope.t),
        trusted=envelope.clk.state.trusted,
        stops=bool(envelope.ev) and any(event.kind == "stop" for event in envelope.ev),
        t=envelope.t,
        mono=envelope.mono,
        boot=envelope.boot,
    )


class Closure(StrEnum):
    """Outcome of asking whether a stretch is complete."""

    CLOSED = "closed"
    """The chain is whole and passed the end."""
    LATE_START = "late_start"
    """Whole from the first envelope the stream ever had, which is after the start."""
    NOT_PASSED = "not_passed"
    """No envelope yet with a reading at or after the end."""
    CHAIN_GAP = "chain_gap"
    """An envelope inside the stretch is missing."""
    CLOCK = "clock"
    """The closing envelope was stamped by a clock that is not trusted."""
    EQUIVOCATION = "equivocation"
    """Two envelopes of one number with other contents lie in the stretch."""


class StreamChain:
    """The envelopes of one stream, added in any order.

    `late` counts those that were added after one with later readings (a backlog, a resend), the
    earliest of which begins at `late_since`, ns. The order is that of the journal, so it is the
    same each time the journal is read.
    """

    def __init__(self) -> None:
        self._links: dict[str, ChainLink] = {}
        self._by_end: list[tuple[int, int, str]] = []
        self._trusted_by_end: list[tuple[int, int, str]] = []
        self._places: dict[tuple[str, int], str] = {}
        self._begun_after: set[str] = set()
        self.twins: list[tuple[str, str]] = []
        """Pairs of envelopes of one number with other contents, as they came; enough to tell all
        of one number from each other."""
        self._equivocations: tuple[int, list[tuple[str, str]]] = 0, []
        self.late = self.late_since = 0

    def __len__(self) -> int:
        return len(self._links)

    @property
    def oddities(self) -> tuple[int, int]:
        """Number of equivocations and of envelopes that came late."""
        return len(self.twins), self.late

    @property
    def equivocations(self) -> list[tuple[str, str]]:
        """Of envelopes of one number with other contents: the first by identity, and each other."""
        if self._equivocations[0] != len(self.twins):
            alike: dict[str, set[str]] = {}
            for pair in self.twins:
                fewer, more = sorted((alike.setdefault(name, {name}) for name in pair), key=len)
                if fewer is not more:
                    more |= fewer
                    alike.update(dict.fromkeys(fewer, more))
            groups = {id(names): sorted(names) for names in alike.values()}.values()
            found = sorted((first, name) for first, *rest in groups for name in rest)
            self._equivocations = len(self.twins), found
        return self._equivocations[1]

    def tip(self) -> ChainLink | None:
        """The envelope that was added last; None where another one follows it."""
        last = next(reversed(self._links.values()), None)
        if last is None or any(link.prev == last.identity for link in self._links.values()):
            return None
        return last

    def add(self, link: ChainLink) -> bool:
        """Take in one envelope; whether it is new: the same one twice changes nothing."""
        if link.identity in self._links:
            return False
        self._links[link.identity] = link
        known = self.last_time()
        if known is not None and link.t_last < known:
            self.late_since = min(self.late_since, link.t_first) if self.late else link.t_first
            self.late += 1
        end = (link.t_last, link.seq, link.identity)
        _place_in(self._by_end, end)
        if link.trusted:
            _place_in(self._trusted_by_end, end)
        if not link.seq and link.prev:
            self._begun_after.add(link.prev)
        twin = self._places.setdefault((link.epoch, link.seq), link.identity)
        if twin != link.identity:
            self.twins.append((min(twin, link.identity), max(twin, link.identity)))
            self._places[link.epoch, link.seq] = min(twin, link.identity)
        return True

    def knows_after(self, link: ChainLink) -> bool:
        """Whether an envelope of its epoch with the next number is here."""
        return (link.epoch, link.seq + 1) in self._places

    def awaits(self, link: ChainLink) -> bool:
        """Whether an envelope that is here names `link` as the one before it, or one may."""
        after = self._links.get(self._places.get((link.epoch, link.seq + 1), ""))
        follows = after is not None and after.prev == link.identity
        return follows or link.identity in self._begun_after or bool(self.twins)

    def lower_end(self, end: int) -> int:
        """Latest end below `end` of an envelope with a trusted clock, ns UTC; 0 = there is none."""
        place = bisect_left(self._trusted_by_end, (end, -1, ""))
        return self._trusted_by_end[place - 1][0] if place else 0

    def link(self, identity: str) -> ChainLink | None:
        """The envelope of that identity, None where it is not here."""
        return self._links.get(identity)

    def links(self) -> list[ChainLink]:
        """All envelopes, by epoch and number, twins by identity."""
        return sorted(self._links.values(), key=_place)

    def of_boots(self, boots: Collection[str]) -> list[ChainLink]:
        """The envelopes of some boots."""
        return [link for link in self._links.values() if link.boot in boots]

    def heads(self) -> list[ChainLink]:
        """Envelopes no other one follows, in the order of epoch and number."""
        followed = {link.prev for link in self._links.values()}
        heads = [link for link in self._links.values() if link.identity not in followed]
        return sorted(heads, key=_place)

    def _back(self, link: ChainLink) -> Iterator[ChainLink | None]:
        """`link` and the ones before it; None where one is missing."""
        current: ChainLink | None = link
        while current is not None:
            yield current
            if not current.prev:
                return
            current = self._links.get(current.prev)
        yield None

    def begun(self, moment: int) -> int:
        """Number of envelopes that begin at or before `moment`, ns UTC; it never falls."""
        return sum(1 for link in self._links.values() if link.t_first <= moment)

    def closing(self, end: int) -> ChainLink | None:
        """The first envelope that reaches `end`, None where none does.

        One whose clock was trusted goes before all others: a clock that nobody vouched for a
        while holds nothing up once somebody does again.
        """
        for ends in (self._trusted_by_end, self._by_end):
            place = bisect_left(ends, (end, -1, ""))
            if place < len(ends):
                return self._links[ends[place][2]]
        return None

    def walk(self, first: int, last: int) -> tuple[Closure, ChainLink | None]:
        """From the link that reaches time `last` back to one that starts at or before `first`.

        Both in ns UTC. Returns the outcome and the oldest link the walk came to.
        """
        closing = self.closing(last)
        if closing is None:
            return Closure.NOT_PASSED, None
        oldest = closing
        for link in self._back(closing):
            if link is None:
                return Closure.CHAIN_GAP, oldest
            oldest = link
            if link.t_first <= first:
                return Closure.CLOSED if closing.trusted else Closure.CLOCK, oldest
        return Closure.LATE_START if closing.trusted else Closure.CLOCK, oldest

    def between(self, start: int, end: int, also: Iterable[ChainLink] = ()) -> list[ChainLink]:
        """Links with readings in [start, end], those in `also`, and all in the chain between them.

        Both ends are ns UTC.
        """
        wanted = {
            link.identity for link in self.links() if link.t_last >= start and link.t_first <= end
        }
        wanted |= {link.identity for link in also}
        kept: dict[str, ChainLink] = {}
        for head in sorted(self.heads(), key=lambda link: (-link.t_last, *_place(link))):
            kept |= {link.identity: link for link in self._stretch(head, wanted)}
        return list(kept.values())

    def _stretch(self, head: ChainLink, wanted: set[str]) -> list[ChainLink]:
        """On the way back from a head: from the first link that is wanted to the last one."""
        walked: list[ChainLink] = []
        last, left = 0, len(wanted)
        for link in self._back(head):
            if link is None or not left:
                break
            if link.identity in wanted:
                left -= 1
            elif not walked:
                continue
            walked.append(link)
            if link.identity in wanted:
                last = len(walked)
        return walked[:last][::-1]

    def last_time(self) -> int | None:
        """Latest reading or event in any of them, ns UTC; None where there is none."""
        return self._by_end[-1][0] if self._by_end else None

    def clock_steps(self) -> list[tuple[ChainLink, int]]:
        """Envelopes before which the wall clock was set, and by how much (ns, signed)."""
        return clock_steps(self._links.values())

    def forks(self) -> list[str]:
        """Identities that more than one envelope follows: an outbox restored from a backup."""
        return forks(self._links.values())

    def new_starts(self) -> list[ChainLink]:
        """Envelopes that know of none before them, but for the first: an outbox that was lost."""
        return new_starts(self._links.values())


def _place_in(ends: list[tuple[int, int, str]], end: tuple[int, int, str]) -> None:
    """Put an end among those that are sorted; nearly always it is the last one."""
    if not ends or ends[-1] < end:
        ends.append(end)
    else:
        insort(ends, end)


def _place(link: ChainLink) -> tuple[str, int, str]:
    return link.epoch, link.seq, link.identity


CLOCK_STEP_NS = 1_000_000_000
"""Difference of wall and monotonic clock between two envelopes that is a step, ns."""


def clock_steps(links: Iterable[ChainLink]) -> list[tuple[ChainLink, int]]:
    """Envelopes before which the wall clock was set, and by how much (ns, signed).

    Two envelopes of one boot that follow each other have the same distance on both clocks, but for
    the drift of a running clock, also where the agent was started again between them.
    """
    known = {link.identity: link for link in links}
    steps = []
    for link in known.values():
        before = known.get(link.prev)
        if before is None or before.boot != link.boot or not link.boot:
            continue
        step = (link.t - before.t) - (link.mono - before.mono)
        if abs(step) > CLOCK_STEP_NS:
            steps.append((link, step))
    return sorted(steps, key=lambda pair: (pair[0].t, pair[0].identity))


def new_starts(links: Iterable[ChainLink]) -> list[ChainLink]:
    """Envelopes that follow none, but for the earliest of them (by time, ties by epoch)."""
    first = {link.identity: link for link in links if not link.prev}
    return sorted(first.values(), key=lambda link: (link.t, link.epoch, link.identity))[1:]


def forks(links: Iterable[ChainLink]) -> list[str]:
    """Identities that more than one envelope follows: an outbox restored from a backup."""
    seen: set[str] = set()
    forked: set[str] = set()
    for link in links:
        if link.prev and link.prev in seen:
            forked.add(link.prev)
        seen.add(link.prev)
    return sorted(forked)
