"""Blocks of links that were read last, so many links of them and no more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from ingest.index_part import Extent
from ingest.link_block import LinkBlock, read_block

CACHE_LINKS = 500_000
"""Links kept in memory, about 130 bytes each."""


class LinkCache:
    """Blocks by file and first row; any thread may ask."""

    def __init__(self, links: int = CACHE_LINKS) -> None:
        self._limit = links
        self._held: OrderedDict[tuple[Path, int], LinkBlock] = OrderedDict()
        self._links = 0
        self._turn = threading.Lock()

    def block(self, path: Path, first: int, count: int) -> LinkBlock:
        """Rows [first, first + count) of an index part. Raises MeterprintError."""
        with self._turn:
            held = self._held.get((path, first))
            if held is not None:
                self._held.move_to_end((path, first))
                return held
        made = read_block(path, first, count)
        with self._turn:
            if (path, first) not in self._held:
                self._held[path, first] = made
                self._links += len(made)
            while self._links > self._limit and len(self._held) > 1:
                self._links -= len(self._held.popitem(last=False)[1])
        return made


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """Links of one stream in an index part, read when they are needed."""

    extent: Extent
    """What it holds."""
    path: Path
    """The index part."""
    first: int
    """Row of its first link."""
    cache: LinkCache
    """Where it is looked for."""

    @property
    def block(self) -> LinkBlock:
        """The links. Raises MeterprintError where they cannot be read."""
        return self.cache.block(self.path, self.first, self.extent.count)

    def apart(self, t: int) -> int:
        """How far its readings lie from a moment, ns; 0 = around it."""
        return max(self.extent.t_min - t, t - self.extent.t_max, 0)
