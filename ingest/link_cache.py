"""Blocks of links that were read last, so many links of them and no more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ingest.index_part import Extent, opened, read_group, rows_of
from ingest.link_block import LinkBlock
from mrv.reporting.completeness import ChainLink

CACHE_LINKS = 500_000
"""Links kept in memory, about 130 bytes each."""
FILES, ROWS = 64, 300_000
"""Index parts kept open, and rows of row groups kept decoded."""


class LinkCache:
    """Blocks by file and first row; any thread may ask.

    Streams are often asked for one after the other, as they lie in a file: files stay open, and
    the row groups read last are kept.
    """

    def __init__(self, links: int = CACHE_LINKS) -> None:
        self._limit = links
        self._held: OrderedDict[tuple[Path, int], LinkBlock] = OrderedDict()
        self._links = 0
        self._turn = threading.RLock()
        self._files: OrderedDict[Path, Any] = OrderedDict()
        self._groups: OrderedDict[tuple[Path, int], Any] = OrderedDict()
        self._rows = 0

    def block(self, path: Path, first: int, count: int) -> LinkBlock:
        """Rows [first, first + count) of an index part. Raises MeterprintError."""
        with self._turn:
            held = self._held.get((path, first))
            if held is not None:
                self._held.move_to_end((path, first))
                return held
            file = self._file(path)
            made = LinkBlock(rows_of(file, first, count, partial(self._group, file, path)))
            self._held[path, first] = made
            self._links += len(made)
            while self._links > self._limit and len(self._held) > 1:
                self._links -= len(self._held.popitem(last=False)[1])
        return made

    def _file(self, path: Path) -> Any:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = opened(path)
            if len(self._files) > FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return file

    def _group(self, file: Any, path: Path, group: int) -> Any:
        place = (path, group)
        table = self._groups.get(place)
        if table is None:
            table = self._groups[place] = read_group(file, path, group)
            self._rows += len(table)
            while self._rows > ROWS and len(self._groups) > 1:
                self._rows -= len(self._groups.popitem(last=False)[1])
        self._groups.move_to_end(place)
        return table

    def clear(self) -> None:
        """Let go of the files and of what was read from them; it is read again when asked for."""
        with self._turn:
            while self._files:
                self._files.popitem()[1].close()
            self._groups.clear()
            self._held.clear()
            self._rows = self._links = 0


@dataclass(slots=True)
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
    steps: Sequence[tuple[ChainLink, int]] | None = None
    """Clock steps inside its runs, once somebody has looked for them."""
    loose: Sequence[ChainLink] = ()
    """Links that do not follow the row before them, with `steps`."""

    @property
    def block(self) -> LinkBlock:
        """The links. Raises MeterprintError where they cannot be read."""
        return self.cache.block(self.path, self.first, self.extent.count)

    def apart(self, t: int) -> int:
        """How far its readings lie from a moment, ns; 0 = around it."""
        return max(self.extent.t_min - t, t - self.extent.t_max, 0)

    def begun(self, moment: int) -> int:
        """Number of its links that begin at or before a moment, ns; read only where in doubt."""
        if self.extent.t_max <= moment:
            return self.extent.count
        return 0 if self.extent.t_min > moment else self.block.begun(moment)

    def look(self) -> None:
        """Have `steps` and `loose` found, once."""
        if self.steps is None:
            block = self.block
            self.loose = block.loose()
            self.steps = block.steps()
