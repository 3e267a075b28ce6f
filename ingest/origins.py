"""Epochs of streams in the journal: which envelopes are held, as unbroken runs.

A run is kept in the same transaction as its envelopes, so neither a receipt nor a checkpoint reads
the history of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingest.runs import Run, extend

Place = tuple[str, str, str]
"""(agent, stream, epoch)."""


@dataclass(slots=True)
class Origin:
    """One epoch of a stream."""

    id: int
    """Number of the epoch in the tables."""
    runs: list[Run]
    """Unbroken runs, by number."""
    stored: tuple[Run, ...]
    """Runs as they are in the tables."""

    def holds(self, seq: int) -> bool:
        """Whether an envelope of that number is held."""
        runs = self.runs
        if not runs or seq > runs[-1][1]:
            return False
        return any(first <= seq <= last for first, last, _ in runs)


class Origins:
    """The epochs of one journal; the caller holds the journal's lock."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._known: dict[Place, Origin] = {}
        self._touched: dict[Place, Origin] = {}

    def forget(self) -> None:
        """Drop what is known: the tables have changed, or a transaction came to nothing."""
        self._known.clear()
        self._touched.clear()

    def find(self, place: Place) -> Origin | None:
        """An epoch, None where no envelope of it is held."""
        known = self._known.get(place)
        if known is not None:
            return known
        row = self._db.execute(
            "SELECT id FROM origin WHERE agent=? AND stream=? AND epoch=?", place
        ).fetchone()
        if row is None:
            return None
        runs = tuple(
            (int(first), int(last), bytes(identity).hex())
            for first, last, identity in self._db.execute(
                "SELECT first, last, identity FROM run WHERE origin=? ORDER BY first", (row[0],)
            )
        )
        origin = self._known[place] = Origin(int(row[0]), list(runs), runs)
        return origin

    def make(self, place: Place) -> Origin:
        """An epoch, entered where it is new. Inside a transaction."""
        origin = self.find(place)
        if origin is None:
            self._db.execute("INSERT INTO origin(agent, stream, epoch) VALUES(?,?,?)", place)
            origin = self._known[place] = Origin(int(self._db.last_insert_rowid()), [], ())
        return origin

    def extend(self, place: Place, origin: Origin, seq: int, identity: str) -> None:
        """Enter a number into the runs of an epoch."""
        extend(origin.runs, seq, identity)
        self._touched[place] = origin

    def save(self) -> None:
        """Write the runs that have changed. Inside a transaction."""
        gone: list[tuple[int, int]] = []
        new: list[tuple[int, int, int, bytes]] = []
        for origin in self._touched.values():
            if len(origin.runs) == len(origin.stored) == 1:  # nearly always: it has grown
                run = origin.runs[0]
                if run != origin.stored[0]:
                    new.append((origin.id, run[0], run[1], bytes.fromhex(run[2])))
                    if run[0] != origin.stored[0][0]:
                        gone.append((origin.id, origin.stored[0][0]))
                    origin.stored = (run,)
                continue
            now, before = set(origin.runs), set(origin.stored)
            fresh = now - before
            starts = {first for first, _, _ in fresh}
            gone += [(origin.id, first) for first, _, _ in before - now if first not in starts]
            new += [(origin.id, f, t, bytes.fromhex(name)) for f, t, name in fresh]
            origin.stored = tuple(origin.runs)
        if gone:
            self._db.executemany("DELETE FROM run WHERE origin=? AND first=?", gone)
        self._db.executemany("INSERT OR REPLACE INTO run VALUES(?,?,?,?)", new)
        self._touched.clear()
