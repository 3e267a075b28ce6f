"""Holes in the chains of envelopes, and when to ask an agent for them (design §3, `want`).

Live data may overtake a backlog, so a hole is first given time to close by itself; then it is
asked for, again and again with longer pauses: after a journal was restored from a backup the
agent still holds what has a receipt (its retention floor), and sends it as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from ingest.runs import Run
from mrv.envelope import Envelope

PATIENCE_S = 5.0
"""A hole this old is asked for, s."""
LONGEST_PAUSE_S = 3600.0
"""Longest pause between two requests for the same chain, s."""
AT_ONCE = 500
"""Most envelopes asked for in one request."""
MOST_OPEN = 200
"""Most chains of one agent that are watched at once; an agent that opens more is asked later."""
MOST_KNOWN = 10_000
"""Most chains whose last number is remembered; the one heard of longest ago makes room."""

Place = tuple[str, str, str]
"""(agent, stream, epoch)."""


@dataclass(slots=True)
class _Watch:
    """One chain with holes."""

    since: float
    """When the holes were noticed, monotonic s."""
    next: float
    """When to ask next."""
    pause: float
    """Pause after that."""


def holes(runs: Sequence[Run], last: int) -> Iterator[tuple[int, int]]:
    """Numbers of [0, last] that no run holds, as (from, to), in order."""
    expected = 0
    for first, end, _ in runs:
        if expected > last:
            return
        if first > expected:
            yield expected, min(first - 1, last)
        expected = max(expected, end + 1)
    if expected <= last:
        yield expected, last


class Wants:
    """Notes what must exist, and says what to ask for."""

    def __init__(
        self, runs: Callable[[str, str, str], tuple[Run, ...]], patience: float = PATIENCE_S
    ) -> None:
        self._runs = runs
        self._patience = patience
        self._last: dict[Place, int] = {}
        self._open: dict[Place, _Watch] = {}
        self._watched: Counter[str] = Counter()

    def saw(self, envelopes: Iterable[Envelope], now: float) -> None:
        """Envelopes were committed at `now` (monotonic s): they and those before must exist."""
        last: dict[Place, int] = {}
        for envelope in envelopes:
            place, seq = (envelope.agent, envelope.stream, envelope.epoch), envelope.seq
            if last.get(place, -1) < seq:
                last[place] = seq
            if envelope.after is not None:
                before = (envelope.agent, envelope.stream, envelope.after.epoch)
                last[before] = max(last.get(before, 0), envelope.after.seq)
        for place, seq in last.items():
            self._expect(place, seq, now)

    def _expect(self, place: Place, seq: int, now: float) -> None:
        last = self._last[place] = max(self._last.pop(place, 0), seq)
        while len(self._last) > MOST_KNOWN:
            self._last.pop(next(iter(self._last)))
        if place in self._open or self._watched[place[0]] >= MOST_OPEN:
            return
        if any(True for _ in holes(self._runs(*place), last)):
            self._open[place] = _Watch(now, now + self._patience, 2 * self._patience)
            self._watched[place[0]] += 1

    @property
    def open(self) -> int:
        """Chains with holes."""
        return len(self._open)

    def due(self, now: float) -> list[tuple[str, str, list[list[object]]]]:
        """(agent, stream, [[epoch, from, to], …]) to ask for at `now`; closed holes are dropped."""
        asked = []
        for place, watch in list(self._open.items()):
            missing = holes(self._runs(*place), self._last.get(place, -1))
            first_hole = next(missing, None)
            if first_hole is None:
                del self._open[place]
                self._watched[place[0]] -= 1
                continue
            if now < watch.next:
                continue
            watch.next, watch.pause = now + watch.pause, min(2 * watch.pause, LONGEST_PAUSE_S)
            agent, stream, epoch = place
            rows: list[list[object]] = []
            left = AT_ONCE
            for first, end in chain((first_hole,), missing):
                if left <= 0:
                    break
                upto = min(end, first + left - 1)
                rows.append([epoch, first, upto])
                left -= upto - first + 1
            asked.append((agent, stream, rows))
        return asked
