"""The embedded series store: immutable Parquet segments with a manifest, and a tail in memory.

`flush` turns the tail into a segment; eight segments of a size are merged into one of the next, so
their number grows with the logarithm of the history (a log-structured merge tree, O'Neil 1996).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from ingest.durable import stream_file
from ingest.index_merge import merge_parts
from ingest.manifest import (
    MANIFEST,
    IndexEntry,
    SegmentEntry,
    claim,
    file_hash,
    footer_hash,
    instead,
    read_manifest,
    ripe,
)
from ingest.segment_block import Block
from ingest.segment_merge import merge_segments
from ingest.segment_rows import Rows, merged
from ingest.segment_set import SegmentSet, past_cache
from ingest.segment_tail import Tail, as_rows, column_of
from ingest.segment_writer import write_segment
from mrv.column import Column
from mrv.errors import MeterprintError
from mrv.series import Series, SeriesChunk, SeriesKey

LOCK = "writer.lock"
RETIRED_S = 600.0
"""A file that was merged into another is kept so long for those who read by the old list, s."""
WriteIndex = Callable[[BinaryIO], None]
"""Writes an index part into a file."""

__all__ = ["MANIFEST", "ParquetStore"]


class ParquetStore:
    """Segments in a directory. One process writes; others see what the manifest says.

    Without `write` it does not even try to be the one that writes. All methods may be called from
    any thread.
    """

    def __init__(self, directory: Path, *, write: bool = True) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._merging = threading.Lock()
        self._writer = claim(directory / LOCK) if write else None
        self._tail = Tail()
        self._frozen: list[Tail] = []
        self._moves = 0
        self._retired: list[tuple[float, str]] = []
        self._told: Callable[[Sequence[Path], Path], None] = lambda _old, _new: None
        self._manifest = read_manifest(directory)
        self._segments = SegmentSet(directory)
        self._segments.hold(self._manifest.segments)
        if self.writable:
            known = {name for name, _ in self._manifest.files()}
            for stray in (*directory.glob("segment-*"), *directory.glob("index-*")):
                if stray.name not in known:
                    stray.unlink(missing_ok=True)

    @property
    def writable(self) -> bool:
        """Whether this process may write segments: it was the first to open the directory."""
        return self._writer is not None

    @property
    def taken(self) -> int:
        """Journal entries whose readings are in segments."""
        return self._manifest.taken

    @property
    def anchor(self) -> str:
        """Identity of the last of them, "" = none."""
        return self._manifest.anchor

    def index_files(self) -> list[Path]:
        """Index parts, oldest first."""
        return [self._directory / entry.file for entry in self._manifest.index]

    def when_merged(self, told: Callable[[Sequence[Path], Path], None]) -> None:
        """Say to whom it is told that index parts were merged into another."""
        self._told = told

    @property
    def entries(self) -> Sequence[SegmentEntry]:
        """Segments as the manifest lists them."""
        return tuple(self._manifest.segments)

    @property
    def pending(self) -> int:
        """Readings in the tail."""
        return self._tail.count

    @property
    def tail_channels(self) -> int:
        """Channels that have readings in the tail."""
        return len(self._tail.known)

    def append(self, chunks: Sequence[SeriesChunk]) -> None:
        """Take readings into the tail."""
        with self._lock:
            for chunk in chunks:
                self._tail.add(chunk.key, column_of(chunk))

    def add(self, keys: Sequence[SeriesKey], columns: Sequence[Column]) -> None:
        """Take the columns of an envelope, one of each channel, into the tail."""
        with self._lock:
            for key, column in zip(keys, columns, strict=True):
                self._tail.add(key, column)

    def _tails(self) -> tuple[Tail, ...]:
        return (*self._frozen, self._tail)

    def mark(self, key: SeriesKey) -> tuple[int, int]:
        """Changes whenever readings of a channel come or move: what was read before may be old."""
        return self._moves, self._tail.added(key)

    def rows(
        self, key: SeriesKey, start: int, end: int, *, amounts: bool = False, keep: bool = True
    ) -> Rows:
        """Readings of a channel with start ≤ t < end, as arrays.

        Not to `keep`: what is read is not expected to be asked for again.
        """
        with self._lock:
            parts = self._segments.rows(key, start, end, amounts=amounts, keep=keep)
            return merged([*parts, *(tail.rows(key, start, end) for tail in self._tails())])

    def estimate(self, key: SeriesKey, start: int, end: int) -> int:
        """Sealed readings of a channel in [start, end), about; nothing is decoded for it."""
        with self._lock:
            return self._segments.estimate(key, start, end)

    def near(
        self,
        key: SeriesKey,
        start: int,
        end: int,
        margin: int,
        *,
        amounts: bool = False,
        keep: bool = True,
    ) -> Rows:
        """Readings in [start, end) and up to `margin` good ones on either side."""
        with self._lock:
            inner = self.rows(key, start, end, amounts=amounts, keep=keep)
            if margin <= 0:
                return inner
            sides = [
                self._segments.outward(
                    key,
                    moment,
                    margin,
                    self._beside(key, moment, margin),
                    amounts=amounts,
                    before=before,
                )
                for moment, before in ((start, True), (end, False))
            ]
            return merged([sides[0], inner, sides[1]])

    def _beside(self, key: SeriesKey, moment: int, margin: int) -> list[Rows]:
        held = [tail.series(key) for tail in self._tails()]
        return [as_rows(series.read(moment, moment, margin)) for series in held if series]

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

    def recent(self, key: SeriesKey, start: int, end: int, margin: int) -> Series | None:
        """As `near`, where the newest readings hold the whole answer; None where they may not."""
        with self._lock:
            held = self._tail.series(key)
            if held is None or any(tail.added(key) for tail in self._frozen):
                return None
            sealed = self._segments.span(key)
            return held.read_after(None if sealed is None else sealed[1], start, end, margin)

    def span(self, key: SeriesKey) -> tuple[int, int] | None:
        """Times of the first and last reading of a channel, ns; None where there is none."""
        with self._lock:
            found = self._segments.span(key)
            for tail in self._tails():
                held = tail.series(key)
                span = held.span() if held is not None else None
                if span is not None:
                    first, last = found or span
                    found = min(first, span[0]), max(last, span[1])
        return found

    def keys(self) -> Sequence[SeriesKey]:
        """Channels that have readings, sorted."""
        with self._lock:
            known = {key for tail in self._tails() for key in tail.known}
            return sorted(known | self._segments.keys())

    def flush(
        self, taken: int | None = None, anchor: str = "", index: WriteIndex | None = None
    ) -> Path | None:
        """Write the tail as one immutable segment: files, then manifest, each synced.

        `taken` journal entries are then in segments, the last one with identity `anchor`; `index`
        writes what was learnt of their envelopes. Returns the index part's file. Raises
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
        except (OSError, MeterprintError) as error:
            self._give_back(frozen)
            raise MeterprintError(
                f"{self._directory} refused a segment: {error}",
                hint="free disk space; the readings are in the journal",
            ) from error
        self._clear_retired()
        return path

    def _flush(
        self, frozen: Tail, taken: int | None, anchor: str, index: WriteIndex | None
    ) -> Path | None:
        entries = [self._write(frozen.blocks(), 0)] if frozen.count else []
        parts = [] if index is None else [self._write_index(index, 0)]
        with self._lock:
            held = self._manifest
            was = held.taken, held.anchor
            if entries or parts or taken not in (None, held.taken):
                if taken is not None:
                    held.taken, held.anchor = taken, anchor
                try:
                    self._commit([*held.segments, *entries], [*held.index, *parts])
                except MeterprintError:
                    held.taken, held.anchor = was
                    raise
            self._frozen.remove(frozen)
        return self._directory / parts[0].file if parts else None

    def _give_back(self, frozen: Tail) -> None:
        """The tail as it was before a flush that failed, with what came since."""
        with self._lock:
            since, self._tail = self._tail, frozen
            self._moves += 1
            self._frozen.remove(frozen)
            self._tail.append(since)

    def _write(self, blocks: Iterable[Block], level: int) -> SegmentEntry:
        with self._lock:
            name = self._manifest.next_file("segment")
        made = write_segment(self._directory / name, blocks)
        return SegmentEntry(
            name, level, made.rows, made.t_min, made.t_max, made.sha256, made.footer
        )

    def _write_index(self, write: WriteIndex, level: int) -> IndexEntry:
        with self._lock:
            name = self._manifest.next_file("index")
        path = self._directory / name
        stream_file(path, write, mode=0o644)
        return IndexEntry(name, level, file_hash(path), footer_hash(path))

    def _commit(self, entries: Sequence[SegmentEntry], index: Sequence[IndexEntry]) -> None:
        """Enter new lists into the manifest and open what is new. Raises FileRefused."""
        held = self._manifest
        was = held.segments, held.index
        held.segments, held.index = list(entries), list(index)
        try:
            held.write(self._directory)
        except MeterprintError:
            held.segments, held.index = was
            raise
        self._segments.hold(held.segments)

    def compact(self) -> bool:
        """Merge segments of one level where there are enough of them; whether it did.

        What was merged stays a while: others may read by the old list. Raises MeterprintError
        where the disk refuses.
        """
        if not self.writable or not self._merging.acquire(blocking=False):
            return False
        try:
            with self._lock:
                old, parts = ripe(self._manifest.segments), ripe(self._manifest.index)
            if old:
                self._merge(old)
            if parts:
                self._merge_index(parts)
        finally:
            self._merging.release()
        return bool(old or parts)

    def _merge(self, old: Sequence[SegmentEntry]) -> None:
        segments = past_cache(self._directory, old)
        try:
            made = self._write(merge_segments(segments), old[0].level + 1)
        finally:
            for segment in segments:
                segment.close()
        with self._lock:
            held = self._manifest
            self._commit(instead(held.segments, old, made), held.index)
            self._retire(old)

    def _merge_index(self, parts: Sequence[IndexEntry]) -> None:
        paths = [self._directory / part.file for part in parts]
        made = self._write_index(lambda file: merge_parts(file, paths), parts[0].level + 1)
        with self._lock:
            held = self._manifest
            self._commit(held.segments, instead(held.index, parts, made))
        self._told(paths, self._directory / made.file)
        with self._lock:
            self._retire(parts)

    def _retire(self, old: Sequence[SegmentEntry | IndexEntry]) -> None:
        now = time.monotonic()
        self._retired += [(now, entry.file) for entry in old]

    def _clear_retired(self) -> None:
        """Delete merged files nobody reads any more."""
        gone = time.monotonic() - RETIRED_S
        while self._retired and self._retired[0][0] < gone:
            (self._directory / self._retired.pop(0)[1]).unlink(missing_ok=True)

    def verify(self) -> list[str]:
        """Segments whose bytes are not the ones entered; empty = whole."""
        return self._manifest.altered(self._directory)

    def clear(self) -> None:
        """Forget everything; the manifest goes first."""
        with self._lock:
            (self._directory / MANIFEST).unlink(missing_ok=True)
            files = [name for name, _ in self._manifest.files()]
            self._segments.forget()
            for name in files:
                (self._directory / name).unlink(missing_ok=True)
            self._manifest = read_manifest(self._directory)
            self._frozen, self._tail = [], Tail()
            self._moves += 1

    def close(self) -> None:
        """Write what is in the tail, where this process may, and let go of the directory."""
        if self.writable:
            self.flush()
        with self._lock:
            self._segments.close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
