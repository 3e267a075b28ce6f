"""The embedded series store: immutable Parquet segments with a manifest, and a tail in memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mrv.errors import MeterprintError
from mrv.series import Series, SeriesChunk, SeriesKey

_FIELDS: Any = [
    pa.field("channel", pa.string()),
    pa.field("agent", pa.string()),
    pa.field("stream", pa.string()),
    pa.field("t", pa.int64()),
    pa.field("v", pa.int64()),
    pa.field("ok", pa.int8()),
    pa.field("length", pa.int64()),
    pa.field("tag", pa.string()),
]
SCHEMA = pa.schema(_FIELDS)
"""Columns of a segment, sorted by (channel, agent, stream, t)."""
MANIFEST = "manifest.json"
Row = tuple[int, int, int, str]


def _synced(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


class ParquetStore:
    """Segments in a directory. `flush` turns the tail into a segment and enters it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._tail: dict[SeriesKey, dict[int, Row]] = {}
        self._manifest: list[dict[str, Any]] = []
        path = directory / MANIFEST
        if path.exists():
            self._manifest = json.loads(path.read_text())
        for entry in self._manifest:
            if not (directory / entry["file"]).exists():
                raise MeterprintError(
                    f"segment {entry['file']} is missing in {directory}",
                    hint="run `meterprint rebuild --store`: segments are a view of the journal",
                )

    @property
    def pending(self) -> int:
        """Readings in the tail."""
        return sum(len(held) for held in self._tail.values())

    def append(self, chunks: Sequence[SeriesChunk]) -> None:
        """Take readings into the tail."""
        for chunk in chunks:
            series = chunk.series
            held = self._tail.setdefault(chunk.key, {})
            for i, t in enumerate(series.t):
                row = (
                    int(series.ok[i]),
                    int(series.v[i]),
                    int(series.length[i]) if series.length else 0,
                    series.tag[i] if series.tag else "",
                )
                held[t] = max(held.get(t, row), row)

    def read(self, key: SeriesKey, start: int, end: int) -> Series:
        """Readings with start ≤ t < end of segments and tail."""
        found: dict[int, Row] = {}
        for entry in self._manifest:
            if entry["t_min"] >= end or entry["t_max"] < start:
                continue
            table = pq.read_table(
                self._directory / entry["file"],
                filters=[
                    ("channel", "=", key.channel),
                    ("agent", "=", key.agent),
                    ("stream", "=", key.stream),
                    ("t", ">=", start),
                    ("t", "<", end),
                ],
            )
            columns = [table[name].to_pylist() for name in ("t", "ok", "v", "length", "tag")]
            for t, *rest in zip(*columns, strict=True):
                row: Row = (rest[0], rest[1], rest[2], rest[3])
                found[t] = max(found.get(t, row), row)
        for t, row in self._tail.get(key, {}).items():
            if start <= t < end:
                found[t] = max(found.get(t, row), row)
        ordered = sorted(found.items())
        return Series(
            [t for t, _ in ordered],
            [row[1] for _, row in ordered],
            [row[0] for _, row in ordered],
            [row[2] for _, row in ordered],
            [row[3] for _, row in ordered],
        )

    def keys(self) -> Sequence[SeriesKey]:
        """Channels that have readings, sorted."""
        known = set(self._tail)
        for entry in self._manifest:
            table = pq.read_table(
                self._directory / entry["file"], columns=["agent", "stream", "channel"]
            )
            groups = table.group_by(["agent", "stream", "channel"]).aggregate([])
            known |= {
                SeriesKey(row["agent"], row["stream"], row["channel"]) for row in groups.to_pylist()
            }
        return sorted(known)

    def flush(self) -> None:
        """Write the tail as one immutable segment: file, then manifest, each synced."""
        rows = [
            (key.channel, key.agent, key.stream, t, row[1], row[0], row[2], row[3])
            for key, held in self._tail.items()
            for t, row in held.items()
        ]
        if not rows:
            return
        rows.sort(key=lambda row: row[:4])
        columns = list(zip(*rows, strict=True))
        table = pa.table(
            {f.name: pa.array(c, f.type) for f, c in zip(SCHEMA, columns, strict=True)},
            schema=SCHEMA,
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=100_000)
        data = sink.getvalue().to_pybytes()
        name = f"segment-{len(self._manifest):06d}.parquet"
        _synced(self._directory / name, data)
        self._manifest.append(
            {
                "file": name,
                "rows": len(rows),
                "t_min": pc.min(table["t"]).as_py(),
                "t_max": pc.max(table["t"]).as_py(),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
        _synced(self._directory / MANIFEST, json.dumps(self._manifest, indent=1).encode())
        self._tail.clear()

    def verify(self) -> list[str]:
        """Segments whose bytes are not the ones entered; empty = whole."""
        return [
            str(entry["file"])
            for entry in self._manifest
            if hashlib.sha256((self._directory / entry["file"]).read_bytes()).hexdigest()
            != entry["sha256"]
        ]

    def clear(self) -> None:
        """Forget everything; the manifest goes first."""
        (self._directory / MANIFEST).unlink(missing_ok=True)
        for entry in self._manifest:
            (self._directory / entry["file"]).unlink(missing_ok=True)
        self._manifest = []
        self._tail.clear()

    def close(self) -> None:
        """Write what is in the tail."""
        self.flush()
