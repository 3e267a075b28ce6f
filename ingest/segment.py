"""One segment: readings of many channels in an immutable Parquet file, sorted by channel and time.

Times and values are delta-coded, so a reading takes about four bytes. The file's own metadata say
which rows are whose, so one channel is read without the others.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrv.errors import MeterprintError
from mrv.series import SeriesKey

_FIELDS: Any = [
    pa.field("channel", pa.dictionary(pa.int32(), pa.string())),
    pa.field("agent", pa.dictionary(pa.int32(), pa.string())),
    pa.field("stream", pa.dictionary(pa.int32(), pa.string())),
    pa.field("t", pa.int64()),
    pa.field("v", pa.int64()),
    pa.field("ok", pa.int8()),
    pa.field("length", pa.int64()),
    pa.field("tag", pa.dictionary(pa.int32(), pa.string())),
]
SCHEMA = pa.schema(_FIELDS)
"""Columns of a segment, sorted by (channel, agent, stream, t)."""
DIRECTORY = b"meterprint.directory"
"""Metadata key of the list of channels with their rows."""
TIME_COLUMN = 3
"""Place of the times in SCHEMA."""
FAR = 2**63 - 1
"""Last ns of the time scale."""
ROW_GROUP = 65_536
"""Rows of a row group, about: what is decoded at once."""
_OPTIONS: Mapping[str, Any] = {
    "compression": {
        name: "NONE" if name in ("t", "v") else "ZSTD"
        for name in ("channel", "agent", "stream", "t", "v", "ok", "length", "tag")
    },
    "use_dictionary": ["channel", "agent", "stream", "ok", "length", "tag"],
    "column_encoding": {"t": "DELTA_BINARY_PACKED", "v": "DELTA_BINARY_PACKED"},
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Readings of one channel as int64 arrays, strictly increasing in time."""

    t: Any
    """Times, ns UTC."""
    v: Any
    """Register integers."""
    ok: Any
    """1 good, 0 failed; int8."""
    length: Any = None
    """Lengths of amounts, ns; None = all 0."""
    tag: Any = None
    """Tags of amounts as an object array; None = all ""."""

    def __len__(self) -> int:
        return len(self.t)

    def part(self, first: int, stop: int) -> Rows:
        """Rows [first, stop)."""
        length = None if self.length is None else self.length[first:stop]
        tag = None if self.tag is None else self.tag[first:stop]
        return Rows(self.t[first:stop], self.v[first:stop], self.ok[first:stop], length, tag)


def place_of(times: Any, moment: int) -> int:
    """Place of the first of rising int64 `times` at or after `moment`.

    A moment beyond 64 bits would make numpy compare as floats, which know no nanoseconds.
    """
    if moment > FAR:
        return len(times)
    return int(times.searchsorted(max(moment, -FAR)))


def no_rows() -> Rows:
    """Rows without any."""
    return Rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8))


def _tags(column: Any) -> Any:
    """Tags of a column as an object array; None where all are ""."""
    found = []
    for chunk in column.chunks:
        known = chunk.dictionary.to_pylist()
        codes = chunk.indices.to_numpy()
        if known not in ([""], []):
            found.append(np.array(known, object)[codes])
        else:
            found.append(np.full(len(codes), "", object))
    tags = np.concatenate(found) if len(found) != 1 else found[0]
    return tags if any(c.dictionary.to_pylist() != [""] for c in column.chunks) else None


def _filled(rows: Rows, *, tags: bool) -> Any:
    if tags:
        return np.full(len(rows), "", object) if rows.tag is None else rows.tag
    return np.zeros(len(rows), np.int64) if rows.length is None else rows.length


def merged(parts: Sequence[Rows]) -> Rows:
    """One channel's rows out of several places: by time, of twins the larger row stands."""
    held = [part for part in parts if len(part)]
    if not held:
        return no_rows()
    if len(held) == 1:
        return held[0]
    held.sort(key=lambda part: int(part.t[0]))
    t = np.concatenate([part.t for part in held])
    v = np.concatenate([part.v for part in held])
    ok = np.concatenate([part.ok for part in held])
    length = tag = None
    if any(part.length is not None for part in held):
        length = np.concatenate([_filled(part, tags=False) for part in held])
    if any(part.tag is not None for part in held):
        tag = np.concatenate([_filled(part, tags=True) for part in held])
    rows = Rows(t, v, ok, length, tag)
    if len(t) < 2 or bool(np.all(t[1:] > t[:-1])):
        return rows
    keys: list[Any] = [v, ok, t]
    if length is not None:
        keys.insert(0, length)
    if tag is not None:
        keys.insert(0, tag.astype(str))
    order = np.lexsort(keys)
    times = t[order]
    keep = order[np.append(times[1:] != times[:-1], True)]
    return Rows(
        t[keep],
        v[keep],
        ok[keep],
        None if length is None else length[keep],
        None if tag is None else tag[keep],
    )


def _coded(names: Sequence[str], counts: Sequence[int]) -> Any:
    known = sorted(set(names))
    place = {name: number for number, name in enumerate(known)}
    codes: Any = np.repeat(np.array([place[name] for name in names], np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(known, pa.string()))


def _lengths(parts: Sequence[Rows]) -> Any:
    if all(part.length is None for part in parts):
        return np.zeros(sum(len(part) for part in parts), np.int64)
    return np.concatenate([_filled(part, tags=False) for part in parts])


def _coded_tags(parts: Sequence[Rows]) -> Any:
    if all(part.tag is None for part in parts):
        rows = sum(len(part) for part in parts)
        codes: Any = np.zeros(rows, np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array([""], pa.string()))
    tags = np.concatenate([_filled(part, tags=True) for part in parts])
    return pa.array(tags, pa.string()).dictionary_encode()


def render_segment(channels: Mapping[SeriesKey, Rows]) -> bytes:
    """Bytes of a segment with at least one row."""
    keys = sorted((k for k, rows in channels.items() if len(rows)), key=_order)
    parts = [channels[key] for key in keys]
    counts = [len(part) for part in parts]
    columns = [
        _coded([k.channel for k in keys], counts),
        _coded([k.agent for k in keys], counts),
        _coded([k.stream for k in keys], counts),
        pa.array(np.concatenate([p.t for p in parts])),
        pa.array(np.concatenate([p.v for p in parts])),
        pa.array(np.concatenate([p.ok for p in parts]), pa.int8()),
        pa.array(_lengths(parts)),
        _coded_tags(parts),
    ]
    rows = [
        [*key, count, int(part.t[0]), int(part.t[-1])]
        for key, count, part in zip(keys, counts, parts, strict=True)
    ]
    schema = SCHEMA.with_metadata({DIRECTORY: json.dumps(rows, separators=(",", ":")).encode()})
    table = pa.Table.from_arrays(columns, schema=schema)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **_OPTIONS) as writer:
        first = 0
        for size in group_sizes(counts):
            writer.write_table(table.slice(first, size), row_group_size=size)
            first += size
    return bytes(sink.getvalue().to_pybytes())


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


def footer_hash(path: Path) -> str:
    """SHA-256 of a Parquet file's footer, hex; "" where it has none.

    Pages carry checksums of their own, the footer does not (Parquet format, "Checksumming").
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little") + 8
        if length > size:
            return ""
        file.seek(size - length)
        return hashlib.sha256(file.read()).hexdigest()


def _unreadable(path: Path, error: object) -> MeterprintError:
    return MeterprintError(
        f"segment {path.name} cannot be read: {error}",
        hint="run `meterprint rebuild`: segments are a view of the journal",
    )


def _order(key: SeriesKey) -> tuple[str, str, str]:
    return key.channel, key.agent, key.stream


@dataclass(frozen=True, slots=True)
class ChannelRows:
    """Where a channel lies in a segment."""

    first: int
    """First row."""
    stop: int
    """Row after the last."""
    t_min: int
    """Time of its first reading, ns."""
    t_max: int
    """Time of its last reading, ns."""


class Segment:
    """A segment on disk; its directory is read at first use, columns when they are asked for."""

    def __init__(self, path: Path, footer: str, cache: Callable[[Segment, int, bool], Any]) -> None:
        self.path = path
        self._footer = footer
        self._cache = cache
        self._file: Any = None
        self._directory: dict[SeriesKey, ChannelRows] | None = None
        self._starts: list[int] = []
        self._bounds: list[tuple[int, int]] = []

    def _open(self) -> Any:
        if self._file is None:
            if footer_hash(self.path) != self._footer:
                raise _unreadable(self.path, "its footer is not what was written")
            try:
                self._file = pq.ParquetFile(
                    self.path, memory_map=True, page_checksum_verification=True
                )
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(self.path, error) from error
            groups = self._file.metadata
            self._starts = [0]
            for number in range(groups.num_row_groups):
                group = groups.row_group(number)
                self._starts.append(self._starts[-1] + group.num_rows)
                times = group.column(TIME_COLUMN).statistics
                self._bounds.append((int(times.min), int(times.max)))
        return self._file

    @property
    def directory(self) -> Mapping[SeriesKey, ChannelRows]:
        """Channels with their rows."""
        if self._directory is None:
            found: dict[SeriesKey, ChannelRows] = {}
            first = 0
            listed = self._open().schema_arrow.metadata[DIRECTORY]
            for agent, stream, channel, count, low, high in json.loads(listed):
                key = SeriesKey(agent, stream, channel)
                found[key] = ChannelRows(first, first + count, low, high)
                first += count
            self._directory = found
        return self._directory

    def decode(self, group: int, *, amounts: bool) -> Rows:
        """All rows of a row group; lengths and tags only where `amounts` asks for them."""
        names = ["t", "v", "ok", *(["length", "tag"] if amounts else [])]
        try:
            table = self._open().read_row_group(group, columns=names, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error
        t, v, ok = (table[name].to_numpy() for name in ("t", "v", "ok"))
        if not amounts:
            return Rows(t, v, ok)
        length = table["length"].to_numpy()
        return Rows(t, v, ok, length if length.any() else None, _tags(table["tag"]))

    def _groups(self, place: ChannelRows) -> range:
        """Row groups that hold rows of a channel."""
        self._open()
        first = max(bisect_right(self._starts, place.first) - 1, 0)
        return range(first, bisect_left(self._starts, place.stop))

    def _inside(self, place: ChannelRows, group: int) -> bool:
        """Whether all rows of the group are the channel's, so that its times bound them."""
        return place.first <= self._starts[group] and self._starts[group + 1] <= place.stop

    def _part(self, place: ChannelRows, group: int, *, amounts: bool, keep: bool = True) -> Rows:
        start = self._starts[group]
        if keep or not self._inside(place, group):
            held: Rows = self._cache(self, group, amounts)
        else:
            held = self.decode(group, amounts=amounts)
        return held.part(max(place.first - start, 0), place.stop - start)

    def rows(
        self, place: ChannelRows, start: int, end: int, *, amounts: bool, keep: bool = True
    ) -> Rows:
        """Rows of a channel with start ≤ t < end.

        Not to `keep`: groups that are the channel's alone are not put into the cache, as whoever
        looks through a history once does not come back to them.
        """
        parts = []
        for group in self._groups(place):
            low, high = self._bounds[group]
            if self._inside(place, group) and (high < start or low >= end):
                continue
            held = self._part(place, group, amounts=amounts, keep=keep)
            parts.append(held.part(place_of(held.t, start), place_of(held.t, end)))
        return merged(parts)

    def outward(
        self, place: ChannelRows, moment: int, margin: int, *, amounts: bool, before: bool
    ) -> Rows:
        """Rows of a channel next to `moment`, as far as `margin` good ones reach."""
        parts: list[Rows] = []
        good = 0
        groups = self._groups(place)
        for group in reversed(groups) if before else groups:
            low, high = self._bounds[group]
            if self._inside(place, group) and (low >= moment if before else high < moment):
                continue
            held = self._part(place, group, amounts=amounts)
            cut = place_of(held.t, moment)
            held = held.part(0, cut) if before else held.part(cut, len(held))
            parts.append(held)
            good += int(np.count_nonzero(held.ok))
            if good >= margin:
                break
        return merged(parts)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
