"""Brings a series store up to the journal, with a cursor of its own.

The hot path never waits for a store. The cursor moves only after the store has taken the readings,
so a store that was down catches up and one that was lost is rebuilt.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from ingest.entry import EntryKind
from ingest.journal import Journal
from ingest.series import SeriesStore, chunks_of
from mrv.envelope import parse
from mrv.errors import MeterprintError, WireError
from mrv.series import SeriesChunk
from mrv.verification.note import split

SEGMENT = 100_000
"""Readings a store gathers before they are made durable: a segment of a megabyte or two."""
BLOCK = 200
"""Journal entries of one step."""
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses after a store refused, the last one from then on."""

log = structlog.get_logger("projector")


class Projector:
    """One store and its place in the journal."""

    def __init__(
        self, journal: Journal, store: SeriesStore, cursor: Path, segment: int = SEGMENT
    ) -> None:
        self._journal = journal
        self._store = store
        self._path = cursor
        self._segment = segment
        self.cursor = int(json.loads(cursor.read_text())) if cursor.exists() else 0
        self._taken = self.cursor
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self) -> int:
        """Project the next entries; how many. Raises what the store raises; then nothing moved."""
        stop = min(self._taken + BLOCK, self._journal.size)
        done = stop - self._taken
        if done <= 0:
            return 0
        chunks, _ = _chunks(self._journal, self._taken, stop)
        self._store.append(chunks)
        self._taken = stop
        if not 0 < self._store.pending < self._segment:
            self.settle()
        return done

    def settle(self) -> None:
        """Make durable what the store has taken in, then move the cursor."""
        if self._taken == self.cursor:
            return
        self._store.flush()
        self.cursor = self._taken
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w") as file:
            file.write(f"{self.cursor}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)

    @property
    def lag(self) -> int:
        """Journal entries the store has not taken in yet."""
        return self._journal.size - self._taken

    def start(self) -> None:
        """Keep the store up to date from a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="projector", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that the journal has grown."""
        self._wake.set()

    def _work(self) -> None:
        refused = 0
        while not self._stopping.is_set():
            try:
                while self.step() and not self._stopping.is_set():
                    refused = 0
            except MeterprintError as error:
                pause = BACK_OFF_S[min(refused, len(BACK_OFF_S) - 1)]
                refused += 1
                log.warning("store_refused", error=str(error), again_in_s=pause)
                self._stopping.wait(pause)
                continue
            self._wake.wait()
            self._wake.clear()

    def stop(self) -> None:
        """End the thread; what the store has taken in is made durable."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
        try:
            self.settle()
        except MeterprintError as error:
            log.warning("store_refused", error=str(error))


def _chunks(journal: Journal, start: int, stop: int) -> tuple[list[SeriesChunk], int]:
    chunks: list[SeriesChunk] = []
    readings = 0
    for entry in journal.entries(start, stop):
        if entry.kind is not EntryKind.ENVELOPE:
            continue
        try:
            envelope = parse(split(entry.note)[0])
        except WireError:
            continue  # validly signed nonsense: the engine has a finding for it
        chunks += chunks_of(envelope)
        readings += envelope.readings
    return chunks, readings


def rebuild_store(
    journal: Journal, store: SeriesStore, progress: Callable[[int, int], None]
) -> int:
    """Clear a store and fill it from the journal; how many readings."""
    store.clear()
    total, size = 0, journal.size
    for start in range(0, size, BLOCK):
        chunks, readings = _chunks(journal, start, start + BLOCK)
        store.append(chunks)
        total += readings
        progress(min(start + BLOCK, size), size)
    store.flush()
    return total
