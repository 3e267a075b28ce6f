"""Whether an envelope may change what is mended of its stream, told without keeping any of them.

`mendings` looks at all envelopes of a boot; nearly always there is nothing to mend. The watch keeps
nine numbers a boot and errs on one side only: it may say yes where nothing changes, never no.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mrv.reporting.completeness import CLOCK_STEP_NS, ChainLink

NEVER = -1
"""Stands for a monotonic time that does not exist."""


@dataclass(slots=True)
class BootClock:
    """What is known of the clock in one boot. Offsets are wall less monotonic time, ns."""

    doubted_last: int = NEVER
    """Latest monotonic time of an envelope whose clock was not trusted."""
    doubted_low: int = 0
    """Smallest offset of those."""
    doubted_high: int = 0
    """Largest offset of those."""
    trusted_last: int = NEVER
    """Latest monotonic time of an envelope whose clock was trusted."""
    trusted_low: int = 0
    """Smallest offset of those."""
    trusted_high: int = 0
    """Largest offset of those."""
    anchor: int = NEVER
    """A trusted one's monotonic time at or after `doubted_last`: later ones change nothing."""

    def numbers(self) -> tuple[int, ...]:
        """All of it, in the order of the fields."""
        return (
            self.doubted_last,
            self.doubted_low,
            self.doubted_high,
            self.trusted_last,
            self.trusted_low,
            self.trusted_high,
            self.anchor,
        )

    def apart(self) -> bool:
        """Whether some doubted stamp may be off by more than a running clock drifts."""
        if NEVER in (self.doubted_last, self.trusted_last):
            return False
        low, high = self.doubted_low, self.doubted_high
        return max(self.trusted_high - low, high - self.trusted_low) > CLOCK_STEP_NS

    def doubt(self, mono: int, low: int, high: int) -> None:
        """An envelope, or several up to `mono`, whose clock was not trusted."""
        known = self.doubted_last != NEVER
        self.doubted_low = min(self.doubted_low, low) if known else low
        self.doubted_high = max(self.doubted_high, high) if known else high
        self.doubted_last = max(self.doubted_last, mono)
        if self.anchor < self.doubted_last:
            self.anchor = NEVER

    def trust(self, mono: int, low: int, high: int) -> None:
        """An envelope, or several up to `mono`, whose clock was trusted."""
        known = self.trusted_last != NEVER
        self.trusted_low = min(self.trusted_low, low) if known else low
        self.trusted_high = max(self.trusted_high, high) if known else high
        self.trusted_last = max(self.trusted_last, mono)


class ClockWatch:
    """The boots of one stream."""

    def __init__(self) -> None:
        self.boots: dict[str, BootClock] = {}

    def saw(self, link: ChainLink) -> bool:
        """Take in an envelope; whether `mendings` of the stream may be others now."""
        if not link.boot:
            return False
        boot = self.boots.get(link.boot)
        if boot is None:
            boot = self.boots[link.boot] = BootClock()
        offset = link.t - link.mono
        if not link.trusted:
            boot.doubt(link.mono, offset, offset)
            return boot.trusted_last >= link.mono and boot.apart()
        boot.trust(link.mono, offset, offset)
        if boot.doubted_last == NEVER or (boot.anchor != NEVER and link.mono > boot.anchor):
            return False
        if link.mono >= boot.doubted_last:
            boot.anchor = link.mono
        return boot.apart()

    def merge(self, boot: str, row: Iterable[int]) -> bool:
        """Take in what another watch of the stream knew of a boot; whether to look again."""
        other = BootClock(*row)
        mine = self.boots.setdefault(boot, BootClock())
        if other.doubted_last != NEVER:
            mine.doubt(other.doubted_last, other.doubted_low, other.doubted_high)
        if other.trusted_last != NEVER:
            mine.trust(other.trusted_last, other.trusted_low, other.trusted_high)
        mine.anchor = NEVER
        return mine.apart()

    def suspects(self) -> frozenset[str]:
        """Boots in which something may have to be mended."""
        return frozenset(name for name, boot in self.boots.items() if boot.apart())
