"""Brings a series store up to the journal, with a cursor of its own.

The hot path never waits for a store. The cursor moves only after the store has taken the readings
and made them durable, so a store that was down catches up; one that was lost, or restored from a
backup, says how far it is and is filled again from there. Where it is far behind, the newest
entries take turns with the oldest: live data is seen at once, and the set is the same in the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from ingest.back_off import BackOff
from ingest.durable import replace_file
from ingest.feed import Feed
from ingest.journal import Journal
from ingest.series import MarkedStore, SeriesStore
from mrv.envelope import Envelope
from mrv.errors import MeterprintError

SEGMENT = 100_000
"""Readings a store gathers before they are made durable: a segment of a megabyte or two."""
BLOCK = 200
"""Journal entries of one step."""
FAR_BEHIND = 1000
"""Journal entries behind which the newest ones no longer wait for the oldest."""
MOST_LANES = 32
"""Stretches of the journal that may be done ahead of the cursor."""
GATHER_S = 0.05
"""How long entries gather before a few are written: one request for them all."""
STOP_S = 30.0
"""How long the end of the process waits for a store that is at work."""
MARK_EVERY_S = 5.0
"""How often a store is told how far it is, s: so much is projected again after each start."""
REBUILD_TRIES = 8
"""Refusals in a row after which a rebuild gives up."""

T = TypeVar("T")
log = structlog.get_logger("projector")


@dataclass(frozen=True, slots=True)
class ProjectorStatus:
    """How a view stands, for people and for metrics."""

    cursor: int
    """Journal entries that are durable in the store without a hole."""
    lag: int
    """Journal entries it has not taken in yet."""
    refusals: int
    """Times it refused since this process began."""
    refused_in_a_row: int
    """Times it refused since it took something; 0 = it works."""
    last_error: str
    """What it said last, "" = it never refused."""
    last_error_at: int
    """When, ns UTC; 0 = never."""
    again_in_s: float
    """Pause it is given after the last refusal, s; 0 = it works."""


class Projector:
    """One store and its place in the journal. `lanes` lets the newest entries go ahead."""

    def __init__(
        self,
        journal: Journal,
        store: SeriesStore,
        cursor: Path,
        segment: int = SEGMENT,
        *,
        lanes: bool = False,
        gather_s: float = 0.0,
        stop_s: float = STOP_S,
    ) -> None:
        self._journal = journal
        self._store = store
        self._path = cursor
        self._segment = segment
        self._lanes = lanes
        self._gather_s = gather_s
        self._stop_s = stop_s
        self.cursor = read_cursor(cursor, journal.size)
        self._taken = self.cursor
        self._ahead: list[tuple[int, int]] = []
        self._live_next = True
        self._feed = Feed(journal, store)
        self._marked = store if isinstance(store, MarkedStore) else None
        self._asked = False
        self._mark_due = 0.0
        self._back_off = BackOff()
        self._refusals = 0
        self._fault: tuple[str, int, float] = ("", 0, 0.0)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self) -> int:
        """Project the next entries; how many. Raises what the store raises; then nothing moved."""
        try:
            return self._step()
        except MeterprintError:
            self._asked = False  # it may be another store when it answers again
            raise

    def _step(self) -> int:
        self._ask()
        start, stop = self._next()
        if start < stop:
            self._feed.take(start, stop, self._is_done)
            self._done(start, stop)
        if not self._stopping.is_set() and not 0 < self._store.pending < self._segment:
            self.settle()
        return stop - start

    def _ask(self) -> None:
        """Go back to where the store says it is: it may be another one than before."""
        if self._asked or self._marked is None:
            return
        marked = self._marked.marked()
        if marked < self._taken or marked < self.cursor:
            log.info("store_behind", cursor=self.cursor, marked=marked)
            self._taken = self.cursor = marked
            self._ahead.clear()
        self._asked = True

    def _next(self) -> tuple[int, int]:
        """Entries to take now: the oldest, or the newest in turn where those are far ahead."""
        size = self._journal.size
        newest = self._ahead[-1][1] if self._ahead else self._taken
        if self._lanes and size - newest > FAR_BEHIND and len(self._ahead) < MOST_LANES:
            newest = size - BLOCK
            self._ahead.append((newest, newest))
        if self._ahead and newest < size and self._live_next:
            return newest, min(newest + BLOCK, size)
        limit = self._ahead[0][0] if self._ahead else size
        return self._taken, min(self._taken + BLOCK, limit)

    def _is_done(self, index: int) -> bool:
        return index < self._taken or any(start <= index < stop for start, stop in self._ahead)

    def _done(self, start: int, stop: int) -> None:
        if start == self._taken:
            self._taken = stop
            self._live_next = True
        else:
            self._ahead[-1] = (self._ahead[-1][0], stop)
            self._live_next = False
        while self._ahead and self._ahead[0][0] == self._taken:
            self._taken = self._ahead.pop(0)[1]

    def settle(self) -> None:
        """Make durable what the store has taken in, then move the cursor."""
        if self._taken == self.cursor:
            return
        self._store.flush()
        write_cursor(self._path, self._taken)
        self.cursor = self._taken
        due = time.monotonic() >= self._mark_due and not self._stopping.is_set()
        if self._marked is not None and due:
            self._marked.mark(self.cursor)
            self._mark_due = time.monotonic() + MARK_EVERY_S

    @property
    def lag(self) -> int:
        """Journal entries the store has not taken in yet."""
        ahead = sum(stop - start for start, stop in list(self._ahead))
        return self._journal.size - self._taken - ahead

    @property
    def status(self) -> ProjectorStatus:
        """How the view stands now."""
        text, at, pause = self._fault
        in_a_row = self._back_off.refusals
        return ProjectorStatus(
            self.cursor, self.lag, self._refusals, in_a_row, text, at, pause if in_a_row else 0.0
        )

    def start(self) -> None:
        """Keep the store up to date from a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="projector", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether its thread has ended though nobody stopped it."""
        alive = self._thread is None or self._thread.is_alive()
        return not (alive or self._stopping.is_set())

    def wake(self) -> None:
        """Say that the journal has grown."""
        self._wake.set()

    def offer(self, index: int, envelope: Envelope) -> None:
        """An envelope of the journal that ingest has parsed already, to spare doing it again."""
        self._feed.offer(index, envelope)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and self.step():
                    self._back_off.calm()
            except MeterprintError as error:
                self._stopping.wait(self._refused(error))
                continue
            self._wake.wait()
            self._wake.clear()
            if self._gather_s and self.lag < BLOCK:
                self._stopping.wait(self._gather_s)

    def _refused(self, error: MeterprintError) -> float:
        pause = self._back_off.pause(error)
        self._refusals += 1
        self._fault = (str(error), time.time_ns(), pause)
        if not self._stopping.is_set():
            log.warning("store_refused", error=str(error), hint=error.hint, again_in_s=pause)
        return pause

    def stop(self) -> None:
        """End the thread; what the store has taken in is made durable.

        A store that hangs is not waited for: its entries are projected at the next start.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=self._stop_s)
            if self._thread.is_alive():
                log.warning("store_hangs", lag=self.lag)
                return
        try:
            self.settle()
        except MeterprintError as error:
            log.warning("store_refused", error=str(error))


def read_cursor(path: Path, size: int) -> int:
    """A view's place in a journal of `size` entries; 0 where the file says nothing of use.

    Entries that are projected again change nothing, one that is passed over would be missing.
    """
    try:
        cursor = int(path.read_text())
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        log.warning("cursor_unreadable", file=str(path), error=str(error))
        return 0
    if 0 <= cursor <= size:
        return cursor
    log.warning("cursor_of_another_journal", file=str(path), cursor=cursor, entries=size)
    return 0


def write_cursor(path: Path, cursor: int) -> None:
    """Keep a view's place in the journal, synced. Raises FileRefused."""
    replace_file(path, f"{cursor}\n".encode(), mode=0o644)


def rebuild_store(
    journal: Journal,
    store: SeriesStore,
    progress: Callable[[int, int], None],
    wait: Callable[[float], object] = time.sleep,
) -> int:
    """Clear a store and fill it from the journal; how many readings.

    A store that refuses for a while is waited for; raises what it raised in the end.
    """
    back_off = BackOff()
    feed, total, size = Feed(journal, store), 0, journal.size

    def patiently(work: Callable[[], T]) -> T:
        while True:
            try:
                done = work()
            except MeterprintError as error:
                pause = back_off.pause(error)
                if back_off.refusals >= REBUILD_TRIES:
                    raise
                wait(pause)
            else:
                back_off.calm()
                return done

    patiently(store.clear)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        total += patiently(partial(feed.take, start, stop))
        progress(stop, size)
    patiently(store.flush)
    if isinstance(store, MarkedStore):
        patiently(partial(store.mark, size))
    return total
