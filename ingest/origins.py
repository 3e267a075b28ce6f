"""Epochs of streams in the journal: which envelopes are held, as unbroken runs.

A run is kept in the same transaction as its envelopes, so neither a receipt nor a checkpoint reads
the history of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ingest.runs import Run, extend, runs_around

Place = tuple[str, str, str]
"""(agent, stream, epoch)."""


MOST_KNOWN = 10_000
"""Epochs kept at hand: an agent that invents them must not fill the memory."""


@dataclass(slots=True)
class Origin:
    """One epoch of a stream."""

    id: int
    """Number of the epoch in the tables."""
    runs: list[Run]
    """Unbroken runs, by number."""
    changed: dict[int, Run | None] = field(default_factory=dict)
    """Runs that are not in the tables yet, by their first number; None = no longer one."""

    def holds(self, seq: int) -> bool:
        """Whether an envelope of that number is held."""
        runs = self.runs
        return bool(runs) and seq <= runs[-1][1] and bool(runs_around(runs, seq, seq))


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
        known = self._known.pop(place, None)
        if known is not None:
            self._known[place] = known  # the one asked for last goes last
            return known
        row = self._db.execute(
            "SELECT id FROM origin WHERE agent=? AND stream=? AND epoch=?", place
        ).fetchone()
        if row is None:
            return None
        runs = [
            (int(first), int(last), bytes(identity).hex())
            for first, last, identity in self._db.execute(
                "SELECT first, last, identity FROM run WHERE origin=? ORDER BY first", (row[0],)
            )
        ]
        return self._keep(place, Origin(int(row[0]), runs))

    def _keep(self, place: Place, origin: Origin) -> Origin:
        """Remember an epoch; those asked for longest ago make room, unless they are to be saved."""
        self._known[place] = origin
        while len(self._known) > MOST_KNOWN:
            oldest = next(iter(self._known))
            if oldest in self._touched:
                break
            del self._known[oldest]
        return origin

    def make(self, place: Place) -> Origin:
        """An epoch, entered where it is new. Inside a transaction."""
        origin = self.find(place)
        if origin is None:
            self._db.execute("INSERT INTO origin(agent, stream, epoch) VALUES(?,?,?)", place)
            origin = self._keep(place, Origin(int(self._db.last_insert_rowid()), []))
        return origin

    def extend(self, place: Place, origin: Origin, seq: int, identity: str) -> None:
        """Enter a number into the runs of an epoch."""
        runs, changed = origin.runs, origin.changed
        self._touched[place] = origin
        if runs and runs[-1][1] + 1 == seq:  # as nearly all come
            extend(runs, seq, identity)
            changed[runs[-1][0]] = runs[-1]
            return
        changed.update((run[0], None) for run in runs_around(runs, seq - 1, seq + 1))
        extend(runs, seq, identity)
        changed.update((run[0], run) for run in runs_around(runs, seq - 1, seq + 1))

    def save(self) -> None:
        """Write the runs that have changed. Inside a transaction."""
        gone: list[tuple[int, int]] = []
        new: list[tuple[int, int, int, bytes]] = []
        for origin in self._touched.values():
            for first, run in origin.changed.items():
                if run is None:
                    gone.append((origin.id, first))
                else:
                    new.append((origin.id, first, run[1], bytes.fromhex(run[2])))
            origin.changed = {}
        if gone:
            self._db.executemany("DELETE FROM run WHERE origin=? AND first=?", gone)
        self._db.executemany("INSERT OR REPLACE INTO run VALUES(?,?,?,?)", new)
        self._touched.clear()
