"""Writing a segment: blocks in the order of their channels, row group by row group.

Nothing but the blocks at hand is in memory, however large the segment becomes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.durable import stream_file
from ingest.manifest import file_hash, footer_hash
from ingest.segment_block import Block, block_of
from ingest.segment_rows import Rows
from mrv.series import SeriesKey

_FIELDS: Any = [
    pa.field("channel", pa.dictionary(pa.int32(), pa.string())),
    pa.field("agent", pa.dictionary(pa.int32(), pa.string())),
    pa.field("stream", pa.dictionary(pa.int32(), pa.string())),
    pa.field("t", pa.int64(), nullable=False),
    pa.field("v", pa.int64(), nullable=False),
    pa.field("ok", pa.int8(), nullable=False),
    pa.field("length", pa.int64(), nullable=False),
    pa.field("tag", pa.dictionary(pa.int32(), pa.string())),
]
SCHEMA = pa.schema(_FIELDS)
"""Columns of a segment, sorted by (channel, agent, stream, t); what is never missing is declared
so, which spares saying it of each row."""
DIRECTORY = "meterprint.directory"
"""Metadata key of the list of channels with their rows."""
TIME_COLUMN, LENGTH_COLUMN, TAG_COLUMN = 3, 6, 7
"""Places in SCHEMA."""
ROW_GROUP = 65_536
"""Rows of a row group, about: what is decoded at once."""
_OPTIONS: Mapping[str, Any] = {
    "compression": {
        name: "NONE" if name in ("t", "v") else "ZSTD"
        for name in ("channel", "agent", "stream", "t", "v", "ok", "length", "tag")
    },
    "use_dictionary": ["channel", "agent", "stream", "ok", "length", "tag"],
    "column_encoding": {"t": "DELTA_BINARY_PACKED", "v": "DELTA_BINARY_PACKED"},
    "write_statistics": ["t", "length", "tag"],
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class Written:
    """A segment as it is on the disk."""

    rows: int
    """Readings in it."""
    t_min: int
    """Earliest reading, ns UTC."""
    t_max: int
    """Latest reading, ns UTC."""
    sha256: str
    """Hash of the file, hex."""
    footer: str
    """Hash of its Parquet footer, hex."""


class _Writer:
    """A segment on its way into a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._parquet = pq.ParquetWriter(file, SCHEMA, **_OPTIONS)
        self._keys: list[SeriesKey] = []
        self._spans: list[list[int]] = []

    def add(self, block: Block) -> None:
        """Write a block. Its first channel may be the last one of the block before."""
        names = [
            pa.array([key[place] for key in block.keys]).dictionary_encode() for place in (2, 0, 1)
        ]
        stops = np.cumsum(block.counts)
        first = 0
        for size in group_sizes(block.counts.tolist()):
            self._parquet.write_table(_table(block, names, stops, first, first + size))
            first += size
        self._note(block, stops)

    def _note(self, block: Block, stops: Any) -> None:
        """Enter the block's channels into the directory."""
        t = block.rows.t
        spans = np.stack((block.counts, t[stops - block.counts], t[stops - 1]), axis=1).tolist()
        keys = list(block.keys)
        if self._keys and self._keys[-1] == keys[0]:
            count, _, high = spans[0]
            self._spans[-1][0] += count
            self._spans[-1][2] = high
            keys, spans = keys[1:], spans[1:]
        self._keys += keys
        self._spans += spans

    def close(self) -> None:
        """Write the directory and the footer."""
        listed = [[*key, *span] for key, span in zip(self._keys, self._spans, strict=True)]
        directory = json.dumps(listed, separators=(",", ":"))
        self._parquet.add_key_value_metadata({DIRECTORY: directory})
        self._parquet.close()

    def bounds(self) -> tuple[int, int, int]:
        """Rows, first and last time, ns."""
        spans = self._spans
        return sum(s[0] for s in spans), min(s[1] for s in spans), max(s[2] for s in spans)


def _table(block: Block, names: Sequence[Any], stops: Any, first: int, stop: int) -> Any:
    """Rows [first, stop) of a block as a table whose dictionaries know no other channels."""
    low = int(np.searchsorted(stops, first, side="right"))
    high = int(np.searchsorted(stops, stop - 1, side="right")) + 1
    edges = np.clip(stops[low:high], first, stop)
    counts = np.diff(edges, prepend=first)
    part = block.rows.part(first, stop)
    columns = [_spread(column[low:high], counts) for column in names]
    columns += [pa.array(part.t), pa.array(part.v), pa.array(part.ok, pa.int8())]
    columns += [pa.array(part.lengths()), _coded_tags(part)]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _spread(column: Any, counts: Any) -> Any:
    """A name for each channel as one for each of its rows."""
    alone = column.dictionary_decode().dictionary_encode()
    codes = alone.indices.to_numpy().repeat(counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), alone.dictionary)


def _coded_tags(rows: Rows) -> Any:
    if rows.tag is not None:
        return pa.array(rows.tag, pa.string()).dictionary_encode()
    codes: Any = pa.array(np.zeros(len(rows), np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([""], pa.string()))


def group_sizes(counts: Sequence[int]) -> list[int]:
    """Rows of each row group: a long channel has groups of its own, short ones share."""
    sizes: list[int] = []
    gathered = 0
    for count in counts:
        if count < ROW_GROUP // 2:
            gathered += count
        if gathered and (gathered >= ROW_GROUP or count >= ROW_GROUP // 2):
            sizes.append(gathered)
            gathered = 0
        if count >= ROW_GROUP // 2:
            parts = -(-count // (2 * ROW_GROUP))
            each = -(-count // parts)
            sizes += [min(each, count - i * each) for i in range(parts)]
    return [*sizes, gathered] if gathered else sizes


def write_segment(path: Path, blocks: Iterable[Block]) -> Written:
    """Write a segment of at least one row, synced. Raises FileRefused where the disk refuses."""
    found: list[tuple[int, int, int]] = []

    def write(file: BinaryIO) -> None:
        writer = _Writer(file)
        for block in blocks:
            writer.add(block)
        writer.close()
        found.append(writer.bounds())

    stream_file(path, write, mode=0o644)
    return Written(*found[0], file_hash(path), footer_hash(path))


def render_segment(channels: Mapping[SeriesKey, Rows]) -> bytes:
    """Bytes of a segment with at least one row."""
    file = io.BytesIO()
    writer = _Writer(file)
    writer.add(block_of(channels))
    writer.close()
    return file.getvalue()
