"""What is odd in sealed links, looked for in many streams at once.

A site of thousands of streams has as many blocks in each index part. Reading them one by one costs
a tenth of a millisecond each, which a first page after a start would have to wait for; an index
part as a whole is a few array operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ingest.index_part import opened, read_group, rows_of
from ingest.link_block import LinkBlock, Names
from ingest.link_cache import SealedBlock
from ingest.stored_chain import StoredChain
from mrv.reporting.completeness import ChainLink

LOOK_ROWS = 200_000
"""Links looked at together, about."""
MANY = 32
"""Blocks nobody has looked into that are worth reading an index part for."""

Place = tuple[str, str]
"""(agent, stream)."""


class _Streams(LinkBlock):
    """Links of several streams, as they lie in an index part."""

    def __init__(self, table: Any) -> None:
        super().__init__(table)
        self._agents, self._streams = Names(table["agent"]), Names(table["stream"])

    def link(self, row: int) -> ChainLink:
        """The link of a row."""
        return super().link(row)._replace(agent=self._agents[row], stream=self._streams[row])

    def links(self, rows: Any) -> list[ChainLink]:
        """The links of some rows."""
        named = zip(super().links(rows), self._agents.of(rows), self._streams.of(rows), strict=True)
        return [link._replace(agent=agent, stream=stream) for link, agent, stream in named]

    def place(self, row: int) -> Place:
        """The stream of a row."""
        return self._agents[row], self._streams[row]

    def ends(self) -> list[ChainLink]:
        """Links that no row follows, one for each of `loose`."""
        return self.links(np.append(self.breaks[1:], len(self)) - 1)


def _shares(blocks: Sequence[SealedBlock]) -> Iterator[list[SealedBlock]]:
    """Blocks that lie one after the other, as many at a time as have few links together."""
    share: list[SealedBlock] = []
    for block in blocks:
        if share and block.first + block.extent.count - share[0].first > LOOK_ROWS:
            yield share
            share = []
        share.append(block)
    if share:
        yield share


def look(chains: Iterable[tuple[Place, StoredChain]], order: Sequence[Path], many: int) -> None:
    """Look into blocks nobody has looked into, index parts in the order they came.

    Only parts with at least `many` such blocks: chains look into others themselves. Afterwards it
    is known of links that stand loose which one they follow, where that ends a run. Raises
    MeterprintError where an index part cannot be read.
    """
    held = dict(chains)
    waiting: dict[Path, list[SealedBlock]] = {}
    for chain in held.values():
        for block in chain.sealed:
            if block.steps is None:
                waiting.setdefault(block.path, []).append(block)
    ends: dict[Place, dict[str, ChainLink]] = {}
    for path in order:
        blocks = sorted(waiting.get(path, ()), key=lambda block: block.first)
        if len(blocks) >= many:
            _look_into(path, blocks, ends)
    if not ends:
        return
    for place, chain in held.items():
        chain.follow(ends.get(place, {}))


def _look_into(
    path: Path, blocks: Sequence[SealedBlock], ends: dict[Place, dict[str, ChainLink]]
) -> None:
    with opened(path) as file:
        for share in _shares(blocks):
            first, last = share[0].first, share[-1]
            count = last.first + last.extent.count - first
            some = _Streams(rows_of(file, first, count, partial(read_group, file, path)))
            loose: dict[Place, list[ChainLink]] = {}
            for link in some.loose():
                loose.setdefault(link[:2], []).append(link)
            steps: dict[Place, list[tuple[ChainLink, int]]] = {}
            for step in some.steps():
                steps.setdefault(step[0][:2], []).append(step)
            for link in some.ends():
                ends.setdefault(link[:2], {})[link.identity] = link
            for block in share:
                place = some.place(block.first - first)
                block.loose, block.steps = loose[place], steps.get(place, [])
