"""An index part: the links of many streams in one file, with what else was learnt of envelopes.

Links lie sorted by stream and number. Of a link that follows the row before it the predecessor is
not kept, as it is the name of that row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrv.errors import MeterprintError
from mrv.reporting.completeness import ChainLink

HASH_BYTES = 32
"""Length of an identity, bytes."""
TRUSTED, STOPS = 1, 2
"""Bits of `flags`."""
FIELDS: Any = [
    pa.field("agent", pa.dictionary(pa.int32(), pa.string())),
    pa.field("stream", pa.dictionary(pa.int32(), pa.string())),
    pa.field("epoch", pa.dictionary(pa.int32(), pa.string())),
    pa.field("boot", pa.dictionary(pa.int32(), pa.string())),
    pa.field("seq", pa.int64()),
    pa.field("identity", pa.binary(HASH_BYTES)),
    pa.field("prev", pa.binary()),
    pa.field("t_first", pa.int64()),
    pa.field("t_last", pa.int64()),
    pa.field("t", pa.int64()),
    pa.field("mono", pa.int64()),
    pa.field("flags", pa.int8()),
]
SCHEMA = pa.schema(FIELDS)
"""Columns, sorted by (agent, stream, epoch, seq, identity); `prev` null = the row before."""
META = "meterprint.index"
"""Metadata key of everything else an index part says."""
ROW_GROUP = 32_768
"""Rows of a row group."""
DELTAS = ("seq", "t_first", "t_last", "t", "mono")
"""Columns kept as differences."""
_OPTIONS: Mapping[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["agent", "stream", "epoch", "boot", "flags"],
    "column_encoding": dict.fromkeys(DELTAS, "DELTA_BINARY_PACKED"),
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a stream an index part holds, known without reading its links."""

    count: int
    """Links."""
    t_min: int
    """Earliest reading or event, ns UTC."""
    t_max: int
    """Latest one, ns UTC."""
    epochs: tuple[tuple[str, int], ...]
    """Epochs with their highest number."""


_in_stream: Callable[[ChainLink], Any] = itemgetter(2, 3, 4)
"""(epoch, seq, identity) of a link: the order of rows inside a stream."""


class Links:
    """Links of many streams in the order of an index part, in columns.

    All that is said of them is worked out for all streams at once: most have a few links only.
    """

    def __init__(self, chains: Iterable[tuple[tuple[str, str], Iterable[ChainLink]]]) -> None:
        rows: list[ChainLink] = []
        starts: list[int] = []
        for _, links in sorted(chains, key=itemgetter(0)):
            size = len(rows)
            rows += sorted(links, key=_in_stream)
            if len(rows) > size:
                starts.append(size)
        self._rows, self._starts = rows, np.array(starts, np.int64)
        columns = zip(*rows, strict=True) if rows else [()] * len(ChainLink._fields)
        self._columns: dict[str, Sequence[Any]] = dict(zip(ChainLink._fields, columns, strict=True))

    def __len__(self) -> int:
        return len(self._rows)

    def extents(self) -> list[list[Any]]:
        """Extents as the metadata carry them: [agent, stream, count, t_min, t_max, epochs]."""
        if not self._rows:
            return []
        starts, rows = self._starts, self._rows
        stops = np.append(starts[1:], len(rows))
        low = np.minimum.reduceat(np.array(self._columns["t_first"], np.int64), starts)
        high = np.maximum.reduceat(np.array(self._columns["t_last"], np.int64), starts)
        spans = np.stack((starts, stops, low, high), axis=1).tolist()
        return [
            [rows[first].agent, rows[first].stream, stop - first, *times, self._epochs(first, stop)]
            for first, stop, *times in spans
        ]

    def _epochs(self, first: int, stop: int) -> list[tuple[str, int]]:
        """Epochs of rows [first, stop) of one stream, each with its highest number."""
        rows = self._rows
        if rows[first].epoch == rows[stop - 1].epoch:
            return [(rows[first].epoch, rows[stop - 1].seq)]
        return sorted({rows[row].epoch: rows[row].seq for row in range(first, stop)}.items())

    def table(self) -> Any:
        """The rows as `SCHEMA` has them."""
        held = self._columns
        seq, epoch, prev = held["seq"], held["epoch"], held["prev"]
        stated: list[bytes | None] = [
            None if link == name and number == before + 1 and now == was else link.encode()
            for link, name, number, before, now, was in zip(
                prev[1:], held["identity"], seq[1:], seq, epoch[1:], epoch, strict=False
            )
        ]
        stated[:0] = [b""] if self._rows else []
        for first in self._starts.tolist():
            stated[first] = prev[first].encode()  # nothing follows a row of another stream
        marks = np.array(held["trusted"], np.int8) * TRUSTED
        marks |= np.array(held["stops"], np.int8) * STOPS
        columns = {
            **held,
            "identity": [bytes.fromhex(name) for name in held["identity"]],
            "prev": stated,
            "flags": marks,
        }
        arrays = [pa.array(columns[field.name], field.type) for field in FIELDS]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)


def write_links(file: BinaryIO, links: Links, meta: Any) -> None:
    """Write an index part: links, and its metadata."""
    write_tables(file, [links.table()], meta)


def write_tables(file: BinaryIO, tables: Iterable[Any], meta: Any) -> None:
    """Write an index part of sorted tables."""
    with pq.ParquetWriter(file, SCHEMA, **_OPTIONS) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({META: json.dumps(meta, separators=(",", ":"))})


def unreadable(path: Path, error: object) -> MeterprintError:
    """What is said of an index part that cannot be read."""
    return MeterprintError(
        f"index part {path.name} cannot be read: {error}",
        hint="run `meterprint rebuild`: it is a view of the journal",
    )


def opened(path: Path) -> Any:
    """An index part as a Parquet file. Raises MeterprintError where it is gone or altered."""
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def read_meta(path: Path) -> Any:
    """Metadata of an index part. Raises MeterprintError."""
    with opened(path) as file:
        return json.loads(file.metadata.metadata[META.encode()])


def read_group(file: Any, path: Path, group: int) -> Any:
    """A row group of an opened index part as a table. Raises MeterprintError."""
    try:
        return file.read_row_group(group, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def rows_of(file: Any, first: int, count: int, read: Callable[[int], Any]) -> Any:
    """Rows [first, first + count) of an opened index part as a table; `read` gives a row group."""
    tables, start = [], 0
    for number in range(file.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        low, high = max(first - start, 0), min(first + count - start, rows)
        if low < high:
            tables.append(read(number).slice(low, high - low))
        start += rows
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables).unify_dictionaries()


def identities(column: Any) -> Any:
    """Identities as rows of bytes."""
    held = column.combine_chunks()
    data = np.frombuffer(held.buffers()[1], np.uint8)
    first = held.offset * HASH_BYTES
    return data[first : first + len(held) * HASH_BYTES].reshape(-1, HASH_BYTES)


def decoded(column: Any) -> Any:
    """A column of names, no longer coded."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
