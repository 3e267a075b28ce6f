"""What of chains can be said as they grow, so that nobody has to go through all of them for it."""

from __future__ import annotations

from dataclasses import dataclass

from mrv.reporting.completeness import CLOCK_STEP_NS, ChainLink, StreamChain

Place = tuple[str, str]
"""(agent, stream)."""


@dataclass(slots=True)
class Tally:
    """The envelopes of an agent."""

    envelopes: int = 0
    """How many, over all its streams."""
    last: int | None = None
    """Latest reading or event in any of them, ns UTC; None = there is none."""

    def add(self, envelopes: int, last: int) -> None:
        """Count some."""
        self.envelopes += envelopes
        self.last = last if self.last is None else max(self.last, last)


class ChainTips:
    """The last envelope of each chain, as long as every one follows the one before it.

    Nothing becomes odd about a chain by an envelope that follows its tip: the next number, made on
    the same boot by clocks that agree, with later readings, where no envelope has followed the tip
    before. Any other one puts the chain among those to be looked at.
    """

    def __init__(self) -> None:
        self._tips: dict[Place, tuple[ChainLink, tuple[int, int]]] = {}
        self._doubted: set[Place] = set()

    def saw(self, place: Place, link: ChainLink, chain: StreamChain, *, odd: bool) -> None:
        """A link was added to a chain; `odd` where other stamps of it may be wrong now."""
        held = self._tips.get(place)
        state = chain.oddities
        first = held is None and len(chain) == 1
        if not odd and (first or (held and held[1] == state and follows(held[0], link))):
            self._tips[place] = link, state
        else:
            self.doubt(place)

    def doubt(self, place: Place) -> None:
        """Something may be odd about a chain."""
        self._tips.pop(place, None)
        self._doubted.add(place)

    def take(self) -> list[Place]:
        """Chains to be looked at, sorted."""
        found = sorted(self._doubted)
        self._doubted.clear()
        return found

    def looked(self, place: Place, chain: StreamChain) -> None:
        """A chain was looked at as it is now."""
        tip = chain.tip()
        if tip is not None:
            self._tips[place] = tip, chain.oddities


def follows(tip: ChainLink, link: ChainLink) -> bool:
    """Whether an envelope continues a chain as an agent that runs on does."""
    return (
        link.prev == tip.identity
        and link.epoch == tip.epoch
        and link.seq == tip.seq + 1
        and link.boot == tip.boot
        and link.t_last >= tip.t_last
        and abs((link.t - tip.t) - (link.mono - tip.mono)) <= CLOCK_STEP_NS
    )
