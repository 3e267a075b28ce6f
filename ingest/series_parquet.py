"""The embedded series store: immutable Parquet segments with a manifest, and a tail in memory.

`flush` turns the tail into a segment; eight segments of a size are merged into one of the next, so
their number grows with the logarithm of the history (a log-structured merge tree, O'Neil 1996).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from footprint.held_series import HeldSeries
from ingest.link_block import merge_parts
from ingest.segment import Rows, Segment, footer_hash, merged, no_rows, render_segment
from mrv.envelope import Column, Envelope
from mrv.errors import MeterprintError
from mrv.series import Series, SeriesChunk, SeriesKey

MANIFEST = "manifest.json"
LOCK = "writer.lock"
FAN_IN = 8
"""Segments of one level that are merged into one of the next."""
TOP_LEVEL = 3
"""Segments of this level are merged no further: 51 million rows at 100,000 a flush."""
CACHE_BYTES = 96 * 2**20
"""Decoded row groups kept in memory, bytes."""


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A segment in the manifest."""

    file: str
    """Its file."""
    level: int
    """0 as flushed, n merged n times."""
    rows: int
    """Readings in it."""
    t_min: int
    """Earliest reading, ns UTC."""
    t_max: int
    """Latest reading, ns UTC."""
    sha256: str
    """Hash of the file, hex."""
    footer: str
    """Hash of its Parquet footer, hex; looked at whenever it is opened."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An index part in the manifest: what was learnt of the envelopes beside their readings."""

    file: str
    """Its file."""
    level: int
    """0 as flushed, n merged n times."""
    sha256: str
    """Hash of the file, hex."""


class Tail:
    """Readings not in a segment yet, by channel."""

    def __init__(self) -> None:
        self.channels: dict[SeriesKey, HeldSeries] = {}
        self.amounts: set[SeriesKey] = set()
        self.count = 0
        self.added: dict[SeriesKey, int] = {}
        """Columns taken in, by channel."""

    def add(self, key: SeriesKey, column: Column) -> None:
        """Take in a column."""
        held = self.channels.get(key)
        if held is None:
            held = self.channels[key] = HeldSeries()
        held.add(column)
        self.count += len(column.v)
        self.added[key] = self.added.get(key, 0) + 1
        if column.length or column.tag:
            self.amounts.add(key)

    def rows(self, key: SeriesKey, start: int, end: int) -> Rows:
        """Rows of a channel with start ≤ t < end."""
        held = self.channels.get(key)
        if held is None:
            return no_rows()
        return _as_rows(held.read(start, end, 0))

    def everything(self) -> dict[SeriesKey, Rows]:
        """All rows by channel, as they are: nothing may be added while they are used."""
        return {key: _whole(held) for key, held in self.channels.items()}


def _whole(held: HeldSeries) -> Rows:
    t, v, ok, extra = held.columns()
    times = np.frombuffer(t, np.int64)
    length = tag = None
    if extra:
        listed = [extra.get(moment, (0, "")) for moment in t]
        length = np.array([row[0] for row in listed], np.int64)
        tag = np.array([row[1] for row in listed], object)
        length, tag = length if length.any() else None, tag if any(tag) else None
    return Rows(times, np.frombuffer(v, np.int64), np.frombuffer(ok, np.int8), length, tag)


def _as_rows(series: Series) -> Rows:
    return Rows(
        np.array(series.t, np.int64),
        np.array(series.v, np.int64),
        np.array(series.ok, np.int8),
        np.array(series.length, np.int64) if any(series.length) else None,
        np.array(series.tag, object) if any(series.tag) else None,
    )


def synced(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole after a power cut, or not at all."""
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
    """Segments in a directory. One process writes; others see what the manifest says.

    Without `write` it does not even try to be the one that writes.

    `taken` is the number of journal entries whose readings are in segments. All methods may be
    called from any thread.
    """

    def __init__(self, directory: Path, *, write: bool = True) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._merging = threading.Lock()
        self._writer = _claim(directory / LOCK) if write else None
        self._tail = Tail()
        self._frozen: list[Tail] = []
        self._entries: list[SegmentEntry] = []
        self._index: list[IndexEntry] = []
        self._segments: dict[str, Segment] = {}
        self._groups: OrderedDict[tuple[str, int, bool], Rows] = OrderedDict()
        self._group_bytes = 0
        self._number = self._moves = 0
        self.taken = 0
        self.anchor = ""
        self._load()

    @property
    def writable(self) -> bool:
        """Whether this process may write segments: it was the first to open the directory."""
        return self._writer is not None

    def _load(self) -> None:
        path = self._directory / MANIFEST
        if path.exists():
            held = json.loads(path.read_text())
            if not isinstance(held, dict):  # an older layout: its segments are built anew
                held = {"segments": [], "index": [], "taken": 0, "anchor": "", "number": 0}
            self._entries = [SegmentEntry(**entry) for entry in held["segments"]]
            self._index = [IndexEntry(**entry) for entry in held["index"]]
            self.taken, self.anchor = int(held["taken"]), str(held["anchor"])
            self._number = int(held["number"])
        known = {name for name, _ in self._files()}
        for name in sorted(known):
            if not (self._directory / name).exists():
                raise MeterprintError(
                    f"segment {name} is missing in {self._directory}",
                    hint="run `meterprint rebuild`: segments are a view of the journal",
                )
        for part in self._index:
            if (
                hashlib.sha256((self._directory / part.file).read_bytes()).hexdigest()
                != part.sha256
            ):
                raise MeterprintError(f"{part.file} in {self._directory} is not what was written")
        for entry in self._entries:
            self._segments[entry.file] = self._segment(entry)
        if self.writable:
            for stray in (*self._directory.glob("segment-*"), *self._directory.glob("index-*")):
                if stray.name not in known:
                    stray.unlink(missing_ok=True)

    def _files(self) -> list[tuple[str, str]]:
        """Files with their hashes: segments, then index parts."""
        segments = [(entry.file, entry.sha256) for entry in self._entries]
        return [*segments, *((entry.file, entry.sha256) for entry in self._index)]

    def index_files(self) -> list[Path]:
        """Index parts, oldest first."""
        return [self._directory / entry.file for entry in self._index]

    @property
    def entries(self) -> Sequence[SegmentEntry]:
        """Segments as the manifest lists them."""
        return tuple(self._entries)

    @property
    def pending(self) -> int:
        """Readings in the tail."""
        return self._tail.count

    @property
    def tail_channels(self) -> int:
        """Channels that have readings in the tail."""
        return len(self._tail.channels)

    def append(self, chunks: Sequence[SeriesChunk]) -> None:
        """Take readings into the tail."""
        with self._lock:
            for chunk in chunks:
                self._tail.add(chunk.key, _column(chunk))

    def add(self, envelope: Envelope) -> None:
        """Take an envelope's readings into the tail."""
        with self._lock:
            for column in envelope.cols:
                self._tail.add(SeriesKey(envelope.agent, envelope.stream, column.ch), column)

    def _group(self, segment: Segment, group: int, amounts: bool) -> Rows:
        place = (segment.path.name, group, amounts)
        held = self._groups.get(place)
        if held is not None:
            self._groups.move_to_end(place)
            return held
        held = segment.decode(group, amounts=amounts)
        self._groups[place] = held
        self._group_bytes += len(held) * (17 if not amounts else 90)
        while self._group_bytes > CACHE_BYTES and len(self._groups) > 1:
            _, dropped = self._groups.popitem(last=False)
            self._group_bytes -= len(dropped) * (17 if dropped.length is None else 90)
        return held

    def _places(self, key: SeriesKey) -> list[tuple[Segment, Any]]:
        found = []
        for segment in self._segments.values():
            rows = segment.directory.get(key)
            if rows is not None:
                found.append((segment, rows))
        return sorted(found, key=lambda pair: pair[1].t_min)

    def mark(self, key: SeriesKey) -> tuple[int, int]:
        """Changes whenever readings of a channel come or move: what was read before may be old."""
        return self._moves, self._tail.added.get(key, 0)

    def rows(self, key: SeriesKey, start: int, end: int, *, amounts: bool = False) -> Rows:
        """Readings of a channel with start ≤ t < end, as arrays."""
        with self._lock:
            parts = []
            for segment, place in self._places(key):
                if place.t_max >= start and place.t_min < end:
                    parts.append(segment.rows(place, start, end, amounts=amounts))
            parts += [tail.rows(key, start, end) for tail in (*self._frozen, self._tail)]
            return merged(parts)

    def near(
        self, key: SeriesKey, start: int, end: int, margin: int, *, amounts: bool = False
    ) -> Rows:
        """Readings in [start, end) and up to `margin` good ones on either side."""
        with self._lock:
            inner = self.rows(key, start, end, amounts=amounts)
            if margin <= 0:
                return inner
            left = self._outward(key, start, margin, amounts=amounts, before=True)
            right = self._outward(key, end, margin, amounts=amounts, before=False)
            return merged([left, inner, right])

    def _outward(
        self, key: SeriesKey, moment: int, margin: int, *, amounts: bool, before: bool
    ) -> Rows:
        """Readings next to `moment` until `margin` good ones are there.

        Each place is looked at only as far as it can matter: what lies beyond the good readings
        found so far is left alone.
        """
        found = no_rows()
        bound: int | None = None
        places = self._places(key)
        if before:
            places.sort(key=lambda pair: -pair[1].t_max)
        for segment, place in places:
            if (place.t_min >= moment) if before else (place.t_max < moment):
                continue
            if bound is not None and (place.t_max < bound if before else place.t_min > bound):
                continue
            held = segment.outward(place, moment, margin, amounts=amounts, before=before)
            found, bound = _nearest(merged([found, held]), moment, margin, before=before)
        for tail in (*self._frozen, self._tail):
            series = tail.channels.get(key)
            if series is not None:
                held = _as_rows(series.read(moment, moment, margin))
                found, bound = _nearest(merged([found, held]), moment, margin, before=before)
        return found

    def read(self, key: SeriesKey, start: int, end: int) -> Series:
        """Readings with start ≤ t < end of segments and tail, as lists."""
        rows = self.rows(key, start, end, amounts=True)
        size = len(rows)
        return Series(
            rows.t.tolist(),
            rows.v.tolist(),
            rows.ok.tolist(),
            [0] * size if rows.length is None else rows.length.tolist(),
            [""] * size if rows.tag is None else rows.tag.tolist(),
        )

    def span(self, key: SeriesKey) -> tuple[int, int] | None:
        """Times of the first and last reading of a channel, ns; None where there is none."""
        with self._lock:
            spans = [(place.t_min, place.t_max) for _, place in self._places(key)]
            for tail in (*self._frozen, self._tail):
                held = tail.channels.get(key)
                span = held.span() if held is not None else None
                if span is not None:
                    spans.append(span)
        return (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else None

    def keys(self) -> Sequence[SeriesKey]:
        """Channels that have readings, sorted."""
        with self._lock:
            known = {key for tail in (*self._frozen, self._tail) for key in tail.channels}
            for segment in self._segments.values():
                known |= set(segment.directory)
        return sorted(known)

    def flush(
        self, taken: int | None = None, anchor: str = "", index: bytes | None = None
    ) -> Path | None:
        """Write the tail as one immutable segment: files, then manifest, each synced.

        `taken` journal entries are then in segments, the last one with identity `anchor`; `index`
        is what was learnt of their envelopes. Returns the index part's file. Raises
        MeterprintError where the disk refuses or another process writes here; then the tail
        stays as it was.
        """
        if not self.writable:
            if self._tail.count:
                raise MeterprintError(
                    f"another process writes {self._directory}",
                    hint="stop it, or let it take the readings in",
                )
            return None
        with self._lock:
            frozen, self._tail = self._tail, Tail()
            self._frozen.append(frozen)
            self._moves += 1
        try:
            path = self._flush(frozen, taken, anchor, index)
        except OSError as error:
            self._give_back(frozen)
            raise MeterprintError(
                f"{self._directory} refused a segment: {error}",
                hint="free disk space; the readings are in the journal",
            ) from error
        return path

    def _flush(
        self, frozen: Tail, taken: int | None, anchor: str, index: bytes | None
    ) -> Path | None:
        channels = frozen.everything()
        entries, parts, path = list(self._entries), list(self._index), None
        if any(len(rows) for rows in channels.values()):
            entries.append(self._write(channels, 0))
        if index is not None:
            parts.append(self._write_index(index, 0))
            path = self._directory / parts[-1].file
        with self._lock:
            if entries != self._entries or parts != self._index or taken not in (None, self.taken):
                if taken is not None:
                    self.taken, self.anchor = taken, anchor
                self._commit(entries, parts)
            self._frozen.remove(frozen)
        return path

    def _give_back(self, frozen: Tail) -> None:
        """The tail as it was before a flush that failed, with what came since."""
        with self._lock:
            since, self._tail = self._tail, frozen
            self._moves += 1
            self._frozen.remove(frozen)
            for key, rows in since.everything().items():
                self._tail.add(key, _column(SeriesChunk(key, _listed(rows))))

    def _write(self, channels: Mapping[SeriesKey, Rows], level: int) -> SegmentEntry:
        data = render_segment(channels)
        with self._lock:
            self._number += 1
            name = f"segment-{self._number:08d}.parquet"
        synced(self._directory / name, data)
        held = [rows for rows in channels.values() if len(rows)]
        return SegmentEntry(
            name,
            level,
            sum(len(rows) for rows in held),
            min(int(rows.t[0]) for rows in held),
            max(int(rows.t[-1]) for rows in held),
            hashlib.sha256(data).hexdigest(),
            footer_hash(self._directory / name),
        )

    def _write_index(self, data: bytes, level: int) -> IndexEntry:
        with self._lock:
            self._number += 1
            name = f"index-{self._number:08d}.parquet"
        synced(self._directory / name, data)
        return IndexEntry(name, level, hashlib.sha256(data).hexdigest())

    def _commit(self, entries: Sequence[SegmentEntry], index: Sequence[IndexEntry]) -> None:
        """Enter new lists into the manifest and open what is new."""
        listed = {
            "number": self._number,
            "taken": self.taken,
            "anchor": self.anchor,
            "segments": [asdict(entry) for entry in entries],
            "index": [asdict(entry) for entry in index],
        }
        synced(self._directory / MANIFEST, json.dumps(listed, indent=1).encode())
        self._entries, self._index = list(entries), list(index)
        known = {entry.file: entry for entry in entries}
        for name in set(known) - set(self._segments):
            self._segments[name] = self._segment(known[name])
        for name in set(self._segments) - set(known):
            self._segments.pop(name).close()

    def _segment(self, entry: SegmentEntry) -> Segment:
        return Segment(self._directory / entry.file, entry.footer, self._group)

    def compact(self) -> bool:
        """Merge segments of one level where there are enough of them; whether it did.

        Files that were merged go with the next start, so that readers of the old list can finish.
        """
        if not self.writable or not self._merging.acquire(blocking=False):
            return False
        try:
            with self._lock:
                ripe, parts = _ripe(self._entries), _ripe(self._index)
            if ripe:
                made = self._write(self._merge(ripe), ripe[0].level + 1)
                with self._lock:
                    self._commit(_instead(self._entries, ripe, made), self._index)
            if parts:
                data = merge_parts([self._directory / part.file for part in parts])
                entry = self._write_index(data, parts[0].level + 1)
                with self._lock:
                    self._commit(self._entries, _instead(self._index, parts, entry))
        finally:
            self._merging.release()
        return bool(ripe or parts)

    def _merge(self, ripe: Sequence[SegmentEntry]) -> dict[SeriesKey, Rows]:
        channels: dict[SeriesKey, list[Rows]] = {}
        for entry in ripe:
            segment = Segment(self._directory / entry.file, entry.footer, _uncached)
            for key, place in segment.directory.items():
                rows = segment.rows(place, place.t_min, place.t_max + 1, amounts=True)
                channels.setdefault(key, []).append(rows)
            segment.close()
        return {key: merged(parts) for key, parts in channels.items()}

    def verify(self) -> list[str]:
        """Segments whose bytes are not the ones entered; empty = whole."""
        return [
            name
            for name, sha256 in self._files()
            if hashlib.sha256((self._directory / name).read_bytes()).hexdigest() != sha256
        ]

    def clear(self) -> None:
        """Forget everything; the manifest goes first."""
        with self._lock:
            (self._directory / MANIFEST).unlink(missing_ok=True)
            for entry in self._entries:
                self._segments.pop(entry.file).close()
                (self._directory / entry.file).unlink(missing_ok=True)
            for part in self._index:
                (self._directory / part.file).unlink(missing_ok=True)
            self._entries, self._index, self._frozen, self._tail = [], [], [], Tail()
            self._groups.clear()
            self._group_bytes = self.taken = 0
            self._moves += 1
            self.anchor = ""

    def close(self) -> None:
        """Write what is in the tail, where this process may, and let go of the directory."""
        if self.writable:
            self.flush()
        with self._lock:
            for segment in self._segments.values():
                segment.close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None


Listed = TypeVar("Listed", SegmentEntry, IndexEntry)


def _ripe(entries: Sequence[Listed]) -> list[Listed]:
    """The oldest entries of a level that has enough to merge; empty where none has."""
    for level in range(TOP_LEVEL):
        alike = [entry for entry in entries if entry.level == level]
        if len(alike) >= FAN_IN:
            return alike[:FAN_IN]
    return []


def _instead(entries: Sequence[Listed], old: Sequence[Listed], new: Listed) -> list[Listed]:
    """The list with `new` in the place of the first of `old`."""
    gone = {entry.file for entry in old}
    found: list[Listed] = []
    for entry in entries:
        if entry.file not in gone:
            found.append(entry)
        elif new not in found:
            found.append(new)
    return found


def _claim(path: Path) -> TextIO | None:
    """The writer's lock of a directory, None where another process has it."""
    try:
        file = path.open("a")
    except OSError:
        return None  # a directory we may only read
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _uncached(segment: Segment, group: int, amounts: bool) -> Rows:
    return segment.decode(group, amounts=amounts)


def _nearest(rows: Rows, moment: int, margin: int, *, before: bool) -> tuple[Rows, int | None]:
    """The rows next to `moment` up to `margin` good ones, and how far that reaches if it does."""
    if before:
        stop = int(np.searchsorted(rows.t, moment))
        good = np.flatnonzero(rows.ok[:stop])
        if len(good) < margin:
            return rows.part(0, stop), None
        first = int(good[-margin])
        return rows.part(first, stop), int(rows.t[first])
    start = int(np.searchsorted(rows.t, moment))
    good = np.flatnonzero(rows.ok[start:])
    if len(good) < margin:
        return rows.part(start, len(rows)), None
    last = start + int(good[margin - 1])
    return rows.part(start, last + 1), int(rows.t[last])


def _listed(rows: Rows) -> Series:
    return Series(
        rows.t.tolist(),
        rows.v.tolist(),
        rows.ok.tolist(),
        () if rows.length is None else rows.length.tolist(),
        () if rows.tag is None else rows.tag.tolist(),
    )


def _column(chunk: SeriesChunk) -> Column:
    """The chunk as a column of an envelope, in the order of time."""
    series = chunk.series
    order = sorted(range(len(series)), key=lambda i: series.t[i])
    times = [int(series.t[i]) for i in order]
    return Column(
        chunk.key.channel,
        times[0] if times else 0,
        [b - a for a, b in zip([times[0], *times], times, strict=False)] if times else [],
        [int(series.v[i]) if series.ok[i] else None for i in order],
        [""] * len(order),
        length=[int(series.length[i]) for i in order] if series.length else (),
        tag=[series.tag[i] or None for i in order] if series.tag else (),
    )
