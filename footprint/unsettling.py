"""What an envelope may change for channels it says nothing of: whether stretches of them are whole.

Completeness is asked of the stream (`mrv.reporting.completeness`). An envelope that goes on where
the stream ends changes nothing for stretches that are closed already, and nothing for those that
wait for a reading. Any other one may: it fills a hole, reaches the end of a stretch before the one
that closed it, has a twin, is the first one of a trusted clock again, or states a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrv.reporting.completeness import ChainLink, StreamChain


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What batches may be complete otherwise now."""

    low: int
    """Those that rest on the stream from here, ns UTC …"""
    high: int
    """… to here, ns UTC; `low` > `high` = none."""
    waiting: bool
    """And all that wait for something or are estimated."""

    def __or__(self, other: Unsettled) -> Unsettled:
        if self.low > self.high or other.low > other.high:
            mine = other if self.low > self.high else self
            return Unsettled(mine.low, mine.high, self.waiting or other.waiting)
        waiting = self.waiting or other.waiting
        return Unsettled(min(self.low, other.low), max(self.high, other.high), waiting)


class Tail:
    """Where a stream ended when an envelope was added to it last."""

    def __init__(self) -> None:
        self._epoch = ""
        self._doubted = True  # of what was sealed before nobody knows

    def add(
        self, chain: StreamChain, link: ChainLink, *, gaps: bool
    ) -> tuple[bool, Unsettled | None]:
        """Add a link to its chain; whether it is new, and what it may change beside its own.

        `gaps`: its envelope states gaps.
        """
        end, twins = chain.last_time(), len(chain.twins)
        fresh = not self._epoch
        same_epoch = link.epoch == self._epoch
        if not chain.add(link):
            return False, None
        self._epoch = link.epoch
        newest = end is None or link.t_last > end
        freed = link.trusted and self._doubted and newest and end is not None
        if newest or not link.trusted:
            self._doubted = not link.trusted
        twin = len(chain.twins) > twins
        plain = newest and (fresh or same_epoch) and not chain.knows_after(link)
        if plain and not twin and not gaps:
            return True, Unsettled(0, -1, waiting=True) if freed else None
        low, high = link.t_last, link.t_last - 1
        if not newest:
            low, high = chain.lower_end(link.t_last), link.t_last
        if twin:
            low, high = _span_of_twins(chain, link, low, high)
        waiting = gaps or twin or freed or chain.awaits(link)
        found = Unsettled(low, high, waiting)
        return True, found if waiting or low <= high else None


def _span_of_twins(chain: StreamChain, link: ChainLink, low: int, high: int) -> tuple[int, int]:
    """The time in which a link and its twins have readings, with [low, high]."""
    low, high = min(low, link.t_first), max(high, link.t_last)
    for pair in chain.equivocations:
        if link.identity in pair:
            for name in pair:
                other = chain.link(name)
                if other is not None:
                    low, high = min(low, other.t_first), max(high, other.t_last)
    return low, high
