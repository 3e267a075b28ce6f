"""What was proven wrong of the clocks of agents, and what is laid over the store for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from footprint.restamped import Moved
from mrv.envelope import Envelope
from mrv.reporting.clock_watch import ClockWatch
from mrv.reporting.completeness import ChainLink
from mrv.reporting.mending import Mending, mendings
from mrv.series import SeriesKey

Place = tuple[str, str]
"""(agent, stream)."""
Gap = tuple[int, int, str]
"""Start and end of a gap, ns UTC, and its reason."""
Restamped = tuple[SeriesKey, int, int]
"""Channel (or stream, channel "") with the first and last time, old or new, of what has moved."""


def stated_gaps(envelope: Envelope) -> list[tuple[str, Gap]]:
    """(channel, gap) of the gaps an envelope states; "" = its whole stream."""
    return [
        (event.channel, (event.t, event.end, event.reason))
        for event in envelope.ev
        if event.kind == "gap" and event.end is not None and event.end > event.t
    ]


class TrueTimes:
    """Moves readings and gaps of wrong envelopes, as a function of the envelopes alone.

    `links_of` gives the links of some boots of a stream, `envelope_of` an envelope whose clock was
    not trusted. Whoever adds envelopes holds `turn` meanwhile.
    """

    def __init__(
        self,
        links_of: Callable[[Place, frozenset[str]], Sequence[ChainLink]],
        envelope_of: Callable[[str], Envelope | None],
        turn: AbstractContextManager[object],
    ) -> None:
        self._turn = turn
        self._links_of = links_of
        self._envelope_of = envelope_of
        self._watches: dict[Place, ClockWatch] = {}
        self._unsettled: set[Place] = set()
        self._mendings: dict[Place, dict[str, Mending]] = {}
        self._moved: dict[Place, dict[SeriesKey, Moved]] = {}
        self._gaps: dict[Place, dict[SeriesKey, tuple[set[Gap], set[Gap]]]] = {}
        self._restamped: list[Restamped] = []

    def saw(self, link: ChainLink) -> bool:
        """An envelope was added; whether other stamps of its stream may be wrong now."""
        place = (link.agent, link.stream)
        again = self.watch(place).saw(link)
        if again:
            self.doubt(place)
        return again

    def watch(self, place: Place) -> ClockWatch:
        """What is known of the clocks of a stream: always the same one, which may be kept."""
        found = self._watches.get(place)
        if found is None:
            found = self._watches[place] = ClockWatch()
        return found

    def doubt(self, place: Place) -> None:
        """The watch of a stream saw an envelope that may change what is mended."""
        self._unsettled.add(place)

    def known_boots(self, place: Place) -> list[tuple[str, tuple[int, ...]]]:
        """What is known of the boots of a stream, to be kept beside what is sealed."""
        watch = self._watches.get(place)
        return [] if watch is None else [(n, b.numbers()) for n, b in watch.boots.items()]

    def learn_boot(self, agent: str, stream: str, boot: str, numbers: Iterable[int]) -> None:
        """Take in what was kept."""
        if self.watch((agent, stream)).merge(boot, numbers):
            self.doubt((agent, stream))

    def _settle(self) -> None:
        """Look again at streams where an envelope may have proven others wrong."""
        if not self._unsettled:
            return
        with self._turn:
            while self._unsettled:
                self._look_again(self._unsettled.pop())

    def _look_again(self, place: Place) -> None:
        links = self._links_of(place, self.watch(place).suspects())
        found = {m.link.identity: m for m in mendings(links)}
        known = self._mendings.get(place, {})
        self._mendings[place] = found
        if {n: m.offset for n, m in found.items()} != {n: m.offset for n, m in known.items()}:
            self._lay_over(place, found)

    def _lay_over(self, place: Place, found: dict[str, Mending]) -> None:
        """Move what is wrong now; what was moved before is put back."""
        moved: dict[SeriesKey, Moved] = {}
        gaps: dict[SeriesKey, tuple[set[Gap], set[Gap]]] = {}
        for identity, mending in found.items():
            envelope = self._envelope_of(identity)
            if envelope is None:
                continue
            for column in envelope.cols:
                moved.setdefault(SeriesKey(*place, column.ch), Moved()).move(column, mending.offset)
            for channel, gap in stated_gaps(envelope):
                gone, placed = gaps.setdefault(SeriesKey(*place, channel), (set(), set()))
                gone.add(gap)
                placed.add((gap[0] + mending.offset, gap[1] + mending.offset, gap[2]))
        for held in (self._moved.get(place, {}), moved):
            for key, one in held.items():
                self._note(key, [*one.gone, *one.placed])
        for stated in (self._gaps.get(place, {}), gaps):
            for key, both in stated.items():
                self._note(key, [t for some in both for gap in some for t in gap[:2]])
        self._moved[place], self._gaps[place] = moved, gaps

    def _note(self, key: SeriesKey, times: Sequence[int]) -> None:
        self._restamped.append((key, min(times), max(times)))

    def moved(self, key: SeriesKey) -> Moved | None:
        """What was moved of a channel, None where nothing was."""
        self._settle()
        return self._moved.get(key[:2], {}).get(key)

    def gaps(self, place: SeriesKey, stated: set[Gap]) -> set[Gap]:
        """The gaps stated for a channel or stream, at their true times."""
        self._settle()
        gone, placed = self._gaps.get(place[:2], {}).get(place, (set(), set()))
        return (stated - gone) | placed

    def mended(self, place: Place) -> list[Mending]:
        """Envelopes of a stream whose stamps were proven wrong, by true time."""
        self._settle()
        found = self._mendings.get(place, {}).values()
        return sorted(found, key=lambda m: (m.link.t + m.offset, m.link.identity))

    def take_restamped(self) -> list[Restamped]:
        """What has moved since this was asked last."""
        self._settle()
        found, self._restamped = self._restamped, []
        return found
