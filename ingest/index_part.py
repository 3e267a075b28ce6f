"""An index part: the links of many streams in one file, with what else was learnt of envelopes.

Links lie sorted by stream and number. Of a link that follows the row before it the predecessor is
not kept, as it is the name of that row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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


def extents(chains: Mapping[tuple[str, str], Sequence[ChainLink]]) -> list[list[Any]]:
    """Extents as the metadata carry them: [agent, stream, count, t_min, t_max, epochs]."""
    found = []
    for (agent, stream), links in sorted(chains.items()):
        if links:
            epochs: dict[str, int] = {}
            low, high = links[0].t_first, links[0].t_last
            for link in links:
                if link.seq >= epochs.get(link.epoch, 0):
                    epochs[link.epoch] = link.seq
                low = min(low, link.t_first)
                high = max(high, link.t_last)
            found.append([agent, stream, len(links), low, high, sorted(epochs.items())])
    return found


def write_links(
    file: BinaryIO, chains: Mapping[tuple[str, str], Sequence[ChainLink]], meta: Any
) -> None:
    """Write an index part: the links of each (agent, stream), and its metadata."""
    rows: list[tuple[Any, ...]] = []
    for (agent, stream), links in sorted(chains.items()):
        before: ChainLink | None = None
        for link in sorted(links, key=lambda item: (item.epoch, item.seq, item.identity)):
            follows = before is not None and (before.epoch, before.seq + 1, before.identity) == (
                link.epoch,
                link.seq,
                link.prev,
            )
            rows.append(
                (
                    agent,
                    stream,
                    link.epoch,
                    link.boot,
                    link.seq,
                    bytes.fromhex(link.identity),
                    None if follows else link.prev.encode(),
                    link.t_first,
                    link.t_last,
                    link.t,
                    link.mono,
                    TRUSTED * link.trusted | STOPS * link.stops,
                )
            )
            before = link
    columns = zip(*rows, strict=True) if rows else [()] * len(FIELDS)
    arrays = [pa.array(c, field.type) for c, field in zip(columns, FIELDS, strict=True)]
    write_tables(file, [pa.Table.from_arrays(arrays, schema=SCHEMA)], meta)


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
    return pa.concat_tables(tables).unify_dictionaries()


def identities(column: Any) -> Any:
    """Identities as rows of bytes."""
    held = column.combine_chunks()
    data = np.frombuffer(held.buffers()[1], np.uint8)
    first = held.offset * HASH_BYTES
    return data[first : first + len(held) * HASH_BYTES].reshape(-1, HASH_BYTES)


def decoded(column: Any) -> Any:
    """A column of names, no longer coded."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
