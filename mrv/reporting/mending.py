"""What the stamps of a wrong clock should have been: boot id and monotonic time tell later.

An agent signs what its clock shows, also before the clock was set. Within one boot the monotonic
clock runs on while the wall clock is set, so an envelope cut later in the same boot under a trusted
clock (the *anchor*) gives the true time of an earlier one:

    t_true = t_anchor − (mono_anchor − mono)

which is `t` plus a constant for all stamps of that envelope. The signed stamps stay as they are;
what is derived here is a function of the envelopes alone, whatever their order of arrival. Limits:
the monotonic clock's own drift between envelope and anchor (below 100 ppm for a crystal, which is
9 s a day), and a machine that suspends, where CLOCK_MONOTONIC stands still (clock_gettime(2)).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mrv.finding import Finding, Severity
from mrv.reporting.completeness import CLOCK_STEP_NS, ChainLink


@dataclass(frozen=True, slots=True)
class Mending:
    """An envelope whose stamps were wrong, and by how much."""

    link: ChainLink
    """The envelope, as signed."""
    anchor: ChainLink
    """The next one of the same boot whose clock was trusted."""
    offset: int
    """What to add to each of its stamps, ns."""


def offset_of(link: ChainLink, anchor: ChainLink) -> int:
    """Nanoseconds to add to the stamps of `link`, by what `anchor` of the same boot knew."""
    return anchor.t - (anchor.mono - link.mono) - link.t


def mendings(links: Iterable[ChainLink]) -> list[Mending]:
    """Envelopes of one stream whose stamps a later one of the same boot proves wrong.

    Only those stamped by a clock that was not trusted are mended, each by the nearest trusted one
    after it (by monotonic time, ties by identity), and only where they are off by more than
    CLOCK_STEP_NS: less is the drift of a running clock. In the order of true time.
    """
    boots: dict[str, dict[str, ChainLink]] = {}
    for link in links:
        if link.boot:
            boots.setdefault(link.boot, {})[link.identity] = link
    found = []
    for held in boots.values():
        anchor: ChainLink | None = None
        for link in sorted(held.values(), key=_place, reverse=True):
            if link.trusted:
                anchor = link
            elif anchor is not None:
                offset = offset_of(link, anchor)
                if abs(offset) > CLOCK_STEP_NS:
                    found.append(Mending(link, anchor, offset))
    return sorted(found, key=lambda m: (m.link.t + m.offset, m.link.identity))


def runs(found: Iterable[Mending]) -> list[list[Mending]]:
    """Mendings in the order of `mendings`, parted where boot or setting of the clock changed."""
    parted: list[list[Mending]] = []
    for mending in found:
        last = parted[-1][-1] if parted else None
        if (
            last is not None
            and last.link.boot == mending.link.boot
            and abs(last.offset - mending.offset) <= CLOCK_STEP_NS
        ):
            parted[-1].append(mending)
        else:
            parted.append([mending])
    return parted


def clock_findings(subject: str, mended: Iterable[Mending]) -> list[Finding]:
    """What to say of one stream's wrong stamps: one finding for each setting of the clock.

    `mended` is in the order of `mendings`.
    """
    found = []
    for run in runs(mended):
        first, last = run[0], run[-1]
        numbers = (
            ("envelopes", str(len(run))),
            ("offset_ns", str(first.offset)),
            ("signed_from", str(first.link.t_first)),
            ("signed_to", str(last.link.t_last)),
            ("true_from", str(first.link.t_first + first.offset)),
            ("true_to", str(last.link.t_last + last.offset)),
            ("known_by", last.anchor.identity),
        )
        at = first.link.t_first + first.offset
        found.append(Finding("clock_mended", subject, at, Severity.WARNING, numbers))
    return found


def _place(link: ChainLink) -> tuple[int, bool, str]:
    """Order within a boot, a trusted envelope after another of the same moment."""
    return link.mono, link.trusted, link.identity
