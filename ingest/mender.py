"""Finds envelopes whose stamps a later one of the same epoch and boot proves wrong, for a view.

`mrv.reporting.mending` says by how much; here the journal is asked for the neighbours of what has
just come, so that nothing is kept but the last place of each epoch. The result in the end does not
depend on the order of arrival: a stamp that was not trusted looks forward for the next trusted one,
a trusted one looks back for those that waited for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ingest.envelope_reading import read_envelope
from ingest.journal import Journal
from mrv.envelope import Envelope
from mrv.errors import WireError
from mrv.reporting.completeness import CLOCK_STEP_NS, ChainLink, chain_link
from mrv.reporting.mending import offset_of
from mrv.verification.note import split

PLACES = 10_000
"""Epochs whose last envelope is remembered; more only cost a look into the journal."""
FORMER = 16
"""Trusted envelopes beyond a new one that are asked where a stamp may have been moved to before."""

Place = tuple[str, str, str]
"""(agent, stream, epoch)."""


@dataclass(frozen=True, slots=True)
class Mended:
    """An envelope whose stamps are wrong."""

    envelope: Envelope
    """As signed."""
    offset: int
    """What to add to each of its stamps, ns."""
    former: frozenset[int] = frozenset()
    """What may have been added to them before, ns: places where they must not stay."""

    def at(self, offset: int) -> Envelope:
        """Its readings elsewhere."""
        columns = tuple(c._replace(t0=c.t0 + offset) for c in self.envelope.cols)
        return replace(self.envelope, cols=columns)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Untrusted envelopes of one boot without a trusted one between, and what follows."""

    first: int
    """Number of the first one that was looked at."""
    last: int
    """Number of the last one."""
    anchor: ChainLink | None
    """The trusted one that follows, None where none is held yet."""


class Mender:
    """Looks around each envelope on its way into a view."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: dict[Place, tuple[int, str, bool]] = {}
        self._stretches: dict[Place, _Stretch] = {}
        self._placed: dict[Place, tuple[str, int]] = {}
        """(anchor, number after the last) of untrusted ones placed in one go, from the first."""

    def look(
        self, envelope: Envelope, identity: str, done: Callable[[int], bool]
    ) -> Iterator[Mended]:
        """Envelopes to be mended now that this one has come, itself among them; often none.

        `done` says whether an entry has been looked at before and is sure to stand in the view.
        """
        if not envelope.boot:
            return
        place = (envelope.agent, envelope.stream, envelope.epoch)
        trusted = envelope.clk.state.trusted
        if len(self._last) >= PLACES:
            for known in (self._last, self._stretches, self._placed):
                known.clear()
        before = self._last.get(place)
        self._last[place] = (envelope.seq, envelope.boot, trusted)
        if trusted and before == (envelope.seq - 1, envelope.boot, True):
            return
        link = chain_link(envelope, identity)
        placed = self._placed.pop(place, None)
        if trusted:
            if placed != (identity, envelope.seq):
                yield from self._back(place, link, done)
            return
        anchor = self._anchor(place, link)
        if anchor is None:
            return
        first = envelope.seq == 0 or before == (envelope.seq - 1, envelope.boot, True)
        if first or placed == (anchor.identity, envelope.seq):
            self._placed[place] = (anchor.identity, envelope.seq + 1)
        yield from _mended(envelope, link, anchor, ())

    def _anchor(self, place: Place, link: ChainLink) -> ChainLink | None:
        """The next trusted envelope of the same boot."""
        known = self._stretches.get(place)
        if known is None or not known.first <= link.seq <= known.last:
            known = _Stretch(link.seq, link.seq, None)
        while known.anchor is None:
            beside = self._read(place, known.last, after=True)
            if beside is None or beside[1].boot != link.boot:
                break
            if beside[1].trusted:
                known = replace(known, anchor=beside[1])
            else:
                known = replace(known, last=beside[1].seq)
        self._stretches[place] = known
        return known.anchor

    def _back(
        self, place: Place, anchor: ChainLink, done: Callable[[int], bool]
    ) -> Iterator[Mended]:
        """Untrusted envelopes of the boot right before a trusted one, the nearest first."""
        self._stretches.pop(place, None)
        former: list[ChainLink] | None = None
        seq = anchor.seq
        while (beside := self._read(place, seq, after=False)) is not None:
            envelope, link, _ = beside
            if link.trusted or link.boot != anchor.boot:
                return
            if former is None:
                former = self._former(place, anchor, done)
            yield from _mended(envelope, link, anchor, former)
            seq = link.seq

    def _former(
        self, place: Place, anchor: ChainLink, done: Callable[[int], bool]
    ) -> list[ChainLink]:
        """Trusted envelopes that may have been the anchor before: up to one that is done."""
        found: list[ChainLink] = []
        seq = anchor.seq
        while len(found) < FORMER and (beside := self._read(place, seq, after=True)) is not None:
            _, link, index = beside
            if link.boot != anchor.boot:
                break
            if link.trusted:
                found.append(link)
                if done(index):
                    break
            seq = link.seq
        return found

    def _read(
        self, place: Place, seq: int, *, after: bool
    ) -> tuple[Envelope, ChainLink, int] | None:
        found = self._journal.next_to(place, seq, after=after)
        if found is None:
            return None
        entry = self._journal.entry(found[1])
        try:
            envelope = read_envelope(split(entry.note)[0])
        except WireError:
            return None  # it has a place, so it was read once; a later version may refuse it
        return envelope, chain_link(envelope, entry.identity), found[1]


def _mended(
    envelope: Envelope, link: ChainLink, anchor: ChainLink, former: Sequence[ChainLink]
) -> Iterator[Mended]:
    offset = _worth(offset_of(link, anchor))
    before = frozenset({0, *(_worth(offset_of(link, one)) for one in former)})
    if offset or before != {0}:
        yield Mended(envelope, offset, before - {offset})


def _worth(offset: int) -> int:
    """The offset where it is more than a running clock's drift, else 0."""
    return offset if abs(offset) > CLOCK_STEP_NS else 0
