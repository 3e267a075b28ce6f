"""Where an identity stands in the journal, without an index that every commit has to touch.

For each `FINGERS` entries one row holds the first bits of their identities, sorted, with the place
of each: 8 bytes an entry, written once. The newest entries are looked up in memory.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ingest.entry import JournalError
from ingest.journal_tables import FINGERS

PLACE_BITS = FINGERS.bit_length() - 1
"""Bits of a mark that say which entry it is of."""
PLACE_MASK = FINGERS - 1
"""Those bits."""
MARK_BYTES = 8
"""Bytes of a mark: the first 51 bits of the identity, and the place."""

Identities = Callable[[int, int], Iterable[bytes]]
"""Gives the identities of entries [start, stop)."""


def marks(identities: Sequence[bytes]) -> bytes:
    """The row of `FINGERS` identities."""
    numbers = array(
        "Q",
        sorted(
            int.from_bytes(identity[:MARK_BYTES], "big") & ~PLACE_MASK | place
            for place, identity in enumerate(identities)
        ),
    )
    return _little(numbers).tobytes()


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class Fingers:
    """Looks identities up; the caller holds the journal's lock."""

    def __init__(self, db: Any, identities: Identities) -> None:
        self._db = db
        self._identities = identities
        self._rows: list[array[int]] = []
        self._tail: dict[bytes, int] | None = None
        self._start = 0

    def forget(self) -> None:
        """Drop the newest entries: they may have changed. Rows never do."""
        self._tail = None

    def newest(self, size: int) -> dict[bytes, int]:
        """Identities of the entries that have no row yet, with their indices."""
        start = size - size % FINGERS
        if self._tail is None or self._start != start:
            found = enumerate(self._identities(start, size), start)
            self._tail, self._start = {identity: index for index, identity in found}, start
        return self._tail

    def add(self, identities: Sequence[bytes], size: int) -> None:
        """Take in entries that were appended to `size` entries. Inside a transaction."""
        whole = (size + len(identities)) // FINGERS - size // FINGERS
        if self._tail is None and not whole:
            return
        tail = self.newest(size)
        for identity in identities:
            tail[identity] = size
            size += 1
            if size % FINGERS == 0:
                row = marks(list(tail))
                self._db.execute("INSERT INTO finger VALUES(?,?)", (size // FINGERS - 1, row))
                tail = self._tail = {}
                self._start = size

    def candidates(self, identity: bytes, size: int) -> Iterator[int]:
        """Indices that may be of that identity, the newest first."""
        index = self.newest(size).get(identity)
        if index is not None:
            yield index
        low = int.from_bytes(identity[:MARK_BYTES], "big") & ~PLACE_MASK
        rows = self._load(size // FINGERS)
        for number in range(len(rows) - 1, -1, -1):
            row = rows[number]
            place = bisect_left(row, low)
            while place < len(row) and row[place] & ~PLACE_MASK == low:
                yield number * FINGERS + (row[place] & PLACE_MASK)
                place += 1

    def _load(self, count: int) -> list[array[int]]:
        if len(self._rows) < count:
            for (data,) in self._db.execute(
                "SELECT marks FROM finger WHERE n>=? ORDER BY n", (len(self._rows),)
            ):
                row = array("Q")
                if len(data) != FINGERS * MARK_BYTES:
                    raise JournalError(
                        f"the identities of entries from {len(self._rows) * FINGERS} are damaged",
                        hint="run `meterprint journal check`; restore a backup",
                    )
                row.frombytes(data)
                self._rows.append(_little(row))
        return self._rows
