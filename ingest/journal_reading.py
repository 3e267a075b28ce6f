"""Reading entries of the journal, from the database or from a cold file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ingest.cold_store import ColdStore
from ingest.entry import Entry, EntryKind, JournalError
from ingest.journal_lock import CHECK, JournalLock
from mrv.verification.merkle import BLOCK

READ = 1000
"""Entries read at a time."""
ENTRY = "SELECT idx, kind, salt, note, identity, body, body_salt FROM entry"
"""What an `Entry` is made of."""
FACT = ENTRY.replace("FROM entry", "FROM fact CROSS JOIN entry USING(idx)")
"""The same of facts; CROSS JOIN keeps the order: the facts first, then one look-up each."""


class EntryReader:
    """The entries of one journal, wherever they stand."""

    def __init__(
        self, db: Any, lock: JournalLock, cold: ColdStore, size: Callable[[], int]
    ) -> None:
        self._db = db
        self._lock = lock
        self._cold = cold
        self._size = size

    def _some(self, start: int, end: int) -> list[Entry]:
        """The first entries of [start, end), at least one."""
        with self._lock:
            if start >= self._cold.stop:
                stop = min(start + READ, end)
                rows = self._db.execute(f"{ENTRY} WHERE idx>=? AND idx<?", (start, stop)).fetchall()
                if len(rows) == stop - start:
                    return [_entry(*row) for row in rows]
                self._cold.reload()  # another process may have sealed a part
                if start >= self._cold.stop:
                    raise JournalError(
                        f"entries are missing between {start} and {stop - 1}", hint=CHECK
                    )
        number = start // BLOCK
        held = self._cold.block(number).entries
        stop = min(end, (number + 1) * BLOCK)
        bodies = {}
        if any(e.kind == EntryKind.FACT for e in held):
            with self._lock:
                rows = self._db.execute(f"{ENTRY} WHERE idx>=? AND idx<?", (start, stop)).fetchall()
            bodies = {row[0]: (row[5], row[6]) for row in rows}
        return [
            Entry(
                index,
                EntryKind(e.kind),
                e.salt,
                e.note,
                e.identity.hex(),
                *bodies.get(index, (None, None)),
            )
            for index, e in enumerate(held[start % BLOCK :][: stop - start], start)
        ]

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries [start, stop) in order, read in blocks.

        Raises JournalError where a cold file is missing or altered.
        """
        end = self._size() if stop is None else min(stop, self._size())
        while start < end:
            some = self._some(start, end)
            yield from some
            start += len(some)

    def entry(self, index: int) -> Entry:
        """One entry. Raises JournalError where there is none."""
        if not 0 <= index < self._size():
            raise JournalError(f"the journal has no entry {index}, it ends at {self._size()}")
        return self._some(index, index + 1)[0]

    def identities(self, start: int, stop: int) -> Iterator[bytes]:
        """Identities of entries [start, stop); the caller holds the lock."""
        while start < stop:
            if start < self._cold.stop:
                held = self._cold.block(start // BLOCK).entries
                some = [e.identity for e in held[start % BLOCK :][: stop - start]]
            else:
                rows = self._db.execute(
                    "SELECT identity FROM entry WHERE idx>=? AND idx<? ORDER BY idx", (start, stop)
                ).fetchall()
                some = [row[0] for row in rows]
                if len(some) != stop - start:
                    self._cold.reload()
                    if start >= self._cold.stop:
                        raise JournalError(
                            f"entries are missing between {start} and {stop - 1}", hint=CHECK
                        )
                    continue
            yield from some
            start += len(some)

    def facts(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Facts among entries [start, stop) in order; neither envelopes nor cold files are read."""
        end = self._size() if stop is None else min(stop, self._size())
        while start < end:
            with self._lock:
                rows = self._db.execute(
                    f"{FACT} WHERE fact.idx>=? AND fact.idx<? ORDER BY fact.idx LIMIT ?",
                    (start, end, READ),
                ).fetchall()
            yield from (_entry(*row) for row in rows)
            start = rows[-1][0] + 1 if len(rows) == READ else end

    def facts_of(self, chain: str, start: int) -> list[Entry]:
        """Entries of a fact chain from number `start` on, in their order."""
        with self._lock:
            rows = self._db.execute(
                f"{FACT} WHERE chain=? AND seq>=? ORDER BY seq", (chain, start)
            ).fetchall()
        return [_entry(*row) for row in rows]

    def leaves(self, number: int) -> list[bytes]:
        """Leaf hashes of a block, of the last one as many as there are."""
        with self._lock:
            if number * BLOCK >= self._cold.stop:
                rows = self._db.execute(
                    "SELECT leaf FROM entry WHERE idx>=? AND idx<? ORDER BY idx",
                    (number * BLOCK, (number + 1) * BLOCK),
                ).fetchall()
                if len(rows) >= min(BLOCK, self._size() - number * BLOCK):
                    return [row[0] for row in rows]
                self._cold.reload()
        return self._cold.block(number).leaves


def _entry(
    index: int,
    kind: int,
    salt: bytes,
    note: bytes,
    identity: bytes,
    body: bytes | None,
    body_salt: bytes | None,
) -> Entry:
    return Entry(index, EntryKind(kind), salt, note, identity.hex(), body, body_salt)
