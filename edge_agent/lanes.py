"""What an agent may have on the wire at once: two lanes, and patience where receipts stay away.

Live messages and backlog have windows of their own, so that a backlog never stands before what was
just read. The backlog's window follows the receipts: it grows while they come quickly and shrinks
when they come late (additive increase, multiplicative decrease, as TCP does, RFC 5681), so that a
thin line is not filled for longer than `SLOW_S`.

Where no receipt comes at all, one message is sent again and again, ever less often: whoever was
away finds no flood waiting, and the first receipt sets everything going. Where receipts come for
others but never for one message, it is parked: sent again seldom, and in nobody's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

LIVE_MESSAGES = 200
"""Live messages without a receipt at the most."""
LIVE_BYTES = 1 << 20
"""… and their bytes."""
BACKLOG_MESSAGES = 400
"""Messages of the backlog without a receipt at the most."""
FIRST_BYTES = 32 << 10
"""Window of the backlog to begin with, and the smallest, bytes; one message is always let go."""
MOST_BYTES = 2 << 20
"""Largest window of the backlog, bytes."""
QUICK_S = 0.25
"""A receipt within this time opens the window."""
SLOW_S = 0.5
"""A receipt later than this closes it by half, and nothing is added meanwhile."""
RESEND_S = 2.0
"""Without a receipt for this long a message goes out again, s; each time twice as long."""
LONGEST_S = 60.0
"""Longest pause between two sendings of one message."""
AGAIN_AT_ONCE = 50
"""Messages sent again in one round."""
PARKED_S = 8 * RESEND_S
"""A message whose pause has grown to this, while others were receipted, counts in no window."""


@dataclass(slots=True)
class _Flying:
    """One message on its way."""

    first: float
    """When it was sent first."""
    sent: float
    """When it was sent last."""
    pause: float
    """How long after that it is sent again."""
    size: int
    """Its bytes."""
    live: bool
    """Which lane it went by."""
    parked: bool = False
    """Whether it counts in no window."""


class Lanes:
    """Messages sent and not yet receipted, by their row in the outbox. `now` is monotonic, s."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._flying: dict[int, _Flying] = {}
        self._count = {True: 0, False: 0}
        self._bytes = {True: 0, False: 0}
        self._window = float(FIRST_BYTES)
        self._halved = now()
        self._progress = now()
        self._probed = now()
        self._probe = RESEND_S

    def __contains__(self, row: int) -> bool:
        return row in self._flying

    def __len__(self) -> int:
        return len(self._flying)

    @property
    def window(self) -> int:
        """Bytes the backlog may have on its way now."""
        return int(self._window)

    def live_room(self) -> bool:
        """Whether one more live message may be sent."""
        return self._count[True] < LIVE_MESSAGES and self._bytes[True] < LIVE_BYTES

    def backlog_room(self) -> bool:
        """Whether one more message of the backlog may be sent."""
        if self._count[False] >= BACKLOG_MESSAGES or self._bytes[False] >= self._window:
            return False
        counted = (f for f in self._flying.values() if not f.live and not f.parked)
        oldest = next(counted, None)
        return oldest is None or self._now() - oldest.first < SLOW_S

    def sent(self, row: int, size: int, *, live: bool) -> None:
        """A message was handed to the network."""
        now = self._now()
        if not self._flying:
            self._progress, self._probe = now, RESEND_S
        self._flying[row] = _Flying(now, now, RESEND_S, size, live)
        self._count[live] += 1
        self._bytes[live] += size

    def _park(self, flying: _Flying) -> None:
        if not flying.parked:
            flying.parked = True
            self._count[flying.live] -= 1
            self._bytes[flying.live] -= flying.size

    def _drop(self, row: int) -> _Flying | None:
        flying = self._flying.pop(row, None)
        if flying is not None:
            self._park(flying)
        return flying

    def freed(self, rows: Iterable[int]) -> None:
        """Receipts came for these rows."""
        now = self._now()
        self._progress = now
        self._probe = RESEND_S
        for row in rows:
            flying = self._drop(row)
            if flying is None or flying.live:
                continue
            if now - flying.first <= QUICK_S:
                self._window = min(MOST_BYTES, self._window + flying.size)
            elif now - flying.first > SLOW_S and now - self._halved > SLOW_S:
                self._window = max(FIRST_BYTES, self._window / 2)
                self._halved = now

    def forget(self, rows: Iterable[int]) -> None:
        """The network has lost these rows, or may have: they count as never sent."""
        for row in rows:
            self._drop(row)

    def rows(self) -> list[int]:
        """Rows on their way, in the order they were sent first."""
        return list(self._flying)

    def again(self) -> list[int]:
        """Rows to send again now; each is then taken to have been sent.

        While receipts come, those whose pause is over, at most `AGAIN_AT_ONCE`. While none
        comes, the oldest alone, to see whether somebody is there.
        """
        now = self._now()
        if self._flying and now - self._progress >= RESEND_S:
            if now - max(self._progress, self._probed) < self._probe:
                return []
            self._probed, self._probe = now, min(2 * self._probe, LONGEST_S)
            return [next(iter(self._flying))]
        late = [row for row, f in self._flying.items() if now - f.sent >= f.pause]
        for row in late[:AGAIN_AT_ONCE]:
            flying = self._flying[row]
            flying.sent, flying.pause = now, min(2 * flying.pause, LONGEST_S)
            if flying.pause >= PARKED_S:
                self._park(flying)
        return late[:AGAIN_AT_ONCE]
