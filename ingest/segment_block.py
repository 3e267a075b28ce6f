"""Readings of many channels in one set of columns: what a segment is written from.

Sorting, joining and the choice among twins are done for all channels at once, so that a channel
with few readings costs little more than those readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.segment_rows import Rows, end_to_end
from mrv.series import SeriesKey


@dataclass(frozen=True, slots=True)
class Block:
    """Channels one after the other, each with at least one reading, strictly rising in time."""

    keys: Sequence[SeriesKey]
    """Channels in `order`."""
    counts: Any
    """Readings of each, int64 ≥ 1."""
    rows: Rows
    """All of them."""

    def __len__(self) -> int:
        return len(self.rows)


def order(key: SeriesKey) -> tuple[str, str, str]:
    """What channels are sorted by in a segment."""
    return key.channel, key.agent, key.stream


def block_of(channels: Mapping[SeriesKey, Rows]) -> Block:
    """Channels as one block; those without readings are left out."""
    keys = sorted((key for key, rows in channels.items() if len(rows)), key=order)
    counts = np.array([len(channels[key]) for key in keys], np.int64)
    return Block(keys, counts, end_to_end([channels[key] for key in keys]))


@dataclass(frozen=True, slots=True)
class Pieces:
    """Where stretches of channels lie in some rows."""

    code: Any
    """Number of the channel of each piece, int64."""
    start: Any
    """First row of each piece, int64."""
    count: Any
    """Rows of each piece, int64."""

    def part(self, first: int, stop: int, code: int) -> Pieces:
        """Pieces [first, stop), channels numbered from `code` on."""
        here = slice(first, stop)
        return Pieces(self.code[here] - code, self.start[here], self.count[here])


def gathered(keys: Sequence[SeriesKey], pieces: Pieces, rows: Rows) -> Block:
    """Pieces that lie anywhere in `rows`, sorted by channel and time.

    `keys` are in order and each has a piece; of twins the larger row stands.
    """
    by_channel = np.argsort(pieces.code, kind="stable")
    count = pieces.count[by_channel]
    placed = np.cumsum(count) - count
    index = np.repeat(pieces.start[by_channel] - placed, count) + np.arange(int(count.sum()))
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, pieces.code, pieces.count)
    return settled(Block(keys, counts, rows.taken(index)))


def settled(block: Block) -> Block:
    """The block with each channel in the order of time: of twins the larger row stands."""
    t, counts = block.rows.t, block.counts
    rising = t[1:] > t[:-1]
    rising[np.cumsum(counts)[:-1] - 1] = True  # from one channel to the next
    if bool(rising.all()):
        return block
    code = np.repeat(np.arange(len(counts)), counts)
    mixed = np.zeros(len(counts), bool)
    mixed[code[1:][~rising]] = True
    chosen = np.flatnonzero(mixed[code])
    some = block.rows.taken(chosen)
    keys: list[Any] = [some.v, some.ok, some.t, code[chosen]]
    if some.length is not None:
        keys.insert(0, some.length)
    if some.tag is not None:
        keys.insert(0, some.tag.astype(str))
    index = np.arange(len(t))
    index[chosen] = chosen[np.lexsort(keys)]
    times = t[index]
    last = np.append((times[1:] != times[:-1]) | (code[1:] != code[:-1]), True)
    kept = np.bincount(code[last], minlength=len(counts)).astype(np.int64)
    return Block(block.keys, kept, block.rows.taken(index[last]))
