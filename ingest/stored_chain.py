"""The chain of a stream, most of it in blocks on disk, the rest as `mrv` keeps it in memory."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ingest.link_block import Closing, LinkBlock
from ingest.link_cache import SealedBlock
from mrv.reporting.completeness import (
    ChainLink,
    Closure,
    StreamChain,
    clock_steps,
    new_starts,
)


class StoredChain(StreamChain):
    """Answers as `StreamChain` does; what is sealed is looked up in blocks, newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.sealed: tuple[SealedBlock, ...] = ()
        self._sealed_epochs: dict[str, int] = {}
        self._sealed_end: int | None = None
        self._passed: dict[str, tuple[ChainLink, bool]] = {}
        self.sealed_equivocations = self.sealed_late = 0

    def __len__(self) -> int:
        return super().__len__() + sum(part.extent.count for part in self.sealed)

    @property
    def is_hot(self) -> bool:
        """Whether it has links that are not sealed yet."""
        return bool(self._links)

    def tip(self) -> ChainLink | None:
        """The envelope that was added last; None where another one follows it, or it is sealed."""
        last = super().tip()
        followed = last is not None and any(
            link.prev == last.identity for link in self._looked()[1]
        )
        return None if followed else last

    def hot(self) -> list[ChainLink]:
        """Links that are not sealed yet."""
        return list(self._links.values())

    def attach(self, part: SealedBlock) -> None:
        """Add a block of sealed links."""
        self.sealed = (*self.sealed, part)
        for epoch, seq in part.extent.epochs:
            self._sealed_epochs[epoch] = max(self._sealed_epochs.get(epoch, 0), seq)
        if self._sealed_end is None or part.extent.t_max > self._sealed_end:
            self._sealed_end = part.extent.t_max

    def replace(self, old: Collection[Path], new: SealedBlock) -> None:
        """Look into `new` instead of the blocks of some index parts: it holds what they do."""
        place = next(n for n, part in enumerate(self.sealed) if part.path in old)
        kept = [part for part in self.sealed if part.path not in old]
        self.sealed = (*kept[:place], new, *kept[place:])
        self._passed.clear()  # what followed nothing in its part may follow in a run now

    def forget_hot(self) -> None:
        """Drop the links in memory: they are in an attached block now."""
        self._links.clear()
        self._by_end.clear()
        self._trusted_by_end.clear()
        self._places.clear()

    def add(self, link: ChainLink) -> bool:
        """Take in one envelope; whether it is new: the same one twice changes nothing."""
        if link.seq <= self._sealed_epochs.get(link.epoch, -1):
            sealed = [
                twin.identity
                for part in self._with_epoch(link.epoch)
                for twin in part.block.at(link.epoch, link.seq)
            ]
            if link.identity in sealed:
                return False
            if sealed:
                self.twins.append((min(sealed[0], link.identity), max(sealed[0], link.identity)))
        return super().add(link)

    def knows_after(self, link: ChainLink) -> bool:
        """Whether an envelope of its epoch with a higher number may be here."""
        return super().knows_after(link) or link.seq < self._sealed_epochs.get(link.epoch, -1)

    def awaits(self, link: ChainLink) -> bool:
        """Whether an envelope that is here names `link` as the one before it, or one may."""
        return super().awaits(link) or any(one.prev == link.identity for one in self._looked()[1])

    def lower_end(self, end: int) -> int:
        """Latest end below `end` of an envelope whose clock was trusted; 0 = there is none."""
        found = super().lower_end(end)
        for part in sorted(self.sealed, key=lambda part: -part.extent.t_max):
            if part.extent.t_max > found and part.extent.t_min < end:
                found = max(found, part.block.lower_end(end))
        return found

    def _with_epoch(self, epoch: str) -> Iterator[SealedBlock]:
        for part in reversed(self.sealed):
            if any(name == epoch for name, _ in part.extent.epochs):
                yield part

    def _sealed_place(self, identity: str, near: int | None = None) -> tuple[LinkBlock, int] | None:
        """Block and row of an envelope; looked for first where readings of time `near` are."""
        parts: Iterable[SealedBlock] = reversed(self.sealed)
        if near is not None:
            parts = sorted(parts, key=lambda part: part.apart(near))
        for part in parts:
            row = part.block.row_of(identity)
            if row is not None:
                return part.block, row
        return None

    def link(self, identity: str) -> ChainLink | None:
        """The envelope of that identity, None where it is not here."""
        found = self._links.get(identity)
        if found is None and identity:
            place = self._sealed_place(identity)
            found = place[0].link(place[1]) if place else None
        return found

    def links(self) -> list[ChainLink]:
        """All envelopes, by epoch and number. Reads every block."""
        found = self.hot()
        for part in self.sealed:
            found += part.block.links(np.arange(len(part.block)))
        return sorted(found, key=lambda link: (link.epoch, link.seq, link.identity))

    def heads(self) -> list[ChainLink]:
        """Envelopes no other one follows. Reads every block."""
        every = self.links()
        followed = {link.prev for link in every}
        return [link for link in every if link.identity not in followed]

    def begun(self, moment: int) -> int:
        """Number of envelopes that begin at or before `moment`, ns UTC."""
        return super().begun(moment) + sum(part.begun(moment) for part in self.sealed)

    def closing(self, end: int) -> ChainLink | None:
        """The first envelope that reaches `end`, a trusted one before all others."""
        hot = super().closing(end)
        sealed = self._sealed_closing(end)
        if sealed is None:
            return hot
        place, block = sealed
        if hot is not None and (not hot.trusted, hot.t_last, hot.seq, hot.identity) < place[:4]:
            return hot
        return block.link(place[4])

    def _sealed_closing(self, end: int) -> tuple[Closing, LinkBlock] | None:
        """The first sealed link that reaches `end`; parts that only begin after it are left."""
        found: tuple[Closing, LinkBlock] | None = None
        reaching = [part for part in self.sealed if part.extent.t_max >= end]
        for part in sorted(reaching, key=lambda part: part.extent.t_min):
            if found is not None:
                doubted, last, *_ = found[0]
                if not doubted and part.extent.t_min > last:
                    break
            place = part.block.closing(end)
            if place is not None and (found is None or place[:4] < found[0][:4]):
                found = place, part.block
        return found

    def walk(self, first: int, last: int) -> tuple[Closure, ChainLink | None]:
        """From the link that reaches time `last` back to one that starts at or before `first`."""
        closing = self.closing(last)
        if closing is None:
            return Closure.NOT_PASSED, None
        passed = Closure.CLOSED if closing.trusted else Closure.CLOCK
        ended = Closure.LATE_START if closing.trusted else Closure.CLOCK
        oldest, name = closing, closing.identity
        while True:
            hot = self._links.get(name)
            if hot is not None:
                oldest, name = hot, hot.prev
                if hot.t_first <= first:
                    return passed, hot
            else:
                place = self._sealed_place(name, oldest.t_first)
                if place is None:
                    return Closure.CHAIN_GAP, oldest
                block, row = place
                reached = block.back_to(row, first)
                if reached is not None:
                    return passed, block.link(reached)
                start = block.run_start(row)
                oldest, name = block.link(start), block.prev(start)
            if not name:
                return ended, oldest

    def of_boots(self, boots: Collection[str]) -> list[ChainLink]:
        """The envelopes of some boots. Reads every block."""
        found = super().of_boots(boots)
        for part in self.sealed if boots else ():
            found += part.block.of_boots(boots)
        return found

    def between(self, start: int, end: int, also: Iterable[ChainLink] = ()) -> list[ChainLink]:
        """Links with readings in [start, end], those in `also`, and all in the chain between them.

        Both ends are ns UTC.
        """
        also = list(also)
        near = [p for p in self.sealed if p.extent.t_max >= start and p.extent.t_min <= end]
        ranges: dict[str, tuple[int, int]] = {}
        spans = [part.block.wanted(start, end) for part in near]
        spans += [
            {link.epoch: (link.seq, link.seq)}
            for link in self._links.values()
            if link.t_last >= start and link.t_first <= end
        ]
        spans += [{link.epoch: (link.seq, link.seq)} for link in also]
        for span in spans:
            for epoch, (low, high) in span.items():
                known = ranges.get(epoch, (low, high))
                ranges[epoch] = (min(low, known[0]), max(high, known[1]))
        self._connect(ranges)
        found: list[ChainLink] = []
        for part in self.sealed:
            if any(epoch in ranges for epoch, _ in part.extent.epochs):
                found += part.block.of_epochs(ranges)
        for link in self._links.values():
            bounds = ranges.get(link.epoch)
            if bounds is not None and bounds[0] <= link.seq <= bounds[1]:
                found.append(link)
        if len(ranges) == 1 and all(a.identity == b.prev for a, b in itertools.pairwise(found)):
            return found  # one run: every link follows the one before, and both ends are wanted
        part_of = StreamChain()
        for link in found:
            part_of.add(link)
        return part_of.between(start, end, also)

    def _connect(self, ranges: dict[str, tuple[int, int]]) -> None:
        """Widen ranges of numbers so that those of epochs that follow each other meet."""
        wanted = set(ranges)
        for epoch in wanted if len(wanted) > 1 else ():
            passed: dict[str, int] = {}
            before = self._before(epoch)
            while before is not None and before.epoch not in wanted | set(passed):
                passed[before.epoch] = before.seq
                before = self._before(before.epoch)
            if before is None or before.epoch in passed:
                continue
            ranges[epoch] = (0, ranges[epoch][1])
            ranges.update({name: (0, seq) for name, seq in passed.items()})
            low, high = ranges[before.epoch]
            ranges[before.epoch] = (low, max(high, before.seq))

    def _before(self, epoch: str) -> ChainLink | None:
        """The last envelope before an epoch, None where the stream begins with it."""
        first = self._links.get(self._places.get((epoch, 0), ""))
        if first is None:
            found = [link for part in self._with_epoch(epoch) for link in part.block.at(epoch, 0)]
            first = min(found, key=lambda link: link.identity, default=None)
        return self.link(first.prev) if first is not None and first.prev else None

    def last_time(self) -> int | None:
        """Latest reading or event in any of them, ns UTC; None where there is none."""
        times = [time for time in (super().last_time(), self._sealed_end) if time is not None]
        return max(times, default=None)

    def _looked(self) -> tuple[list[tuple[ChainLink, int]], list[ChainLink]]:
        """Clock steps inside sealed runs, and sealed links that follow no row before them."""
        for part in self.sealed:
            part.look()
        steps = [step for part in self.sealed for step in part.steps or ()]
        return steps, [link for part in self.sealed for link in part.loose]

    def clock_steps(self) -> list[tuple[ChainLink, int]]:
        """Envelopes before which the wall clock was set, and by how much (ns, signed)."""
        found, sealed = self._looked()
        loose = [*self._links.values(), *sealed]
        before = [link for item in loose if (link := self._before_link(item)) is not None]
        found += clock_steps([*loose, *before])
        unique = {link.identity: (link, step) for link, step in found}
        return sorted(unique.values(), key=lambda pair: (pair[0].t, pair[0].identity))

    def follow(self, ends: Mapping[str, ChainLink]) -> None:
        """Remember what loose links follow, of `ends`: sealed links that no row follows."""
        for link in (*self._links.values(), *(one for part in self.sealed for one in part.loose)):
            if link.identity not in self._passed and link.prev not in self._links:
                before = ends.get(link.prev)
                if before is not None:
                    self._passed[link.identity] = before, False

    def _before_link(self, link: ChainLink) -> ChainLink | None:
        """The link it follows, None where that is not here."""
        hot = self._links.get(link.prev)
        if hot is not None or not link.prev:
            return hot
        known = self._passed.get(link.identity)
        if known is None:
            place = self._sealed_place(link.prev, link.t_first)
            if place is None:
                return None
            block, row = place
            known = self._passed[link.identity] = block.link(row), block.followed(link.prev)
        return known[0]

    def forks(self) -> list[str]:
        """Identities that more than one envelope follows: an outbox restored from a backup."""
        _, sealed = self._looked()
        seen: set[str] = set()
        forked: set[str] = set()
        for link in (*self._links.values(), *sealed):
            if not link.prev:
                continue
            self._before_link(link)
            followed = self._passed.get(link.identity, (None, False))[1]
            if link.prev in seen or followed:
                forked.add(link.prev)
            seen.add(link.prev)
        return sorted(forked)

    def new_starts(self) -> list[ChainLink]:
        """Envelopes that know of none before them, but for the first."""
        return new_starts([*self._links.values(), *self._looked()[1]])
