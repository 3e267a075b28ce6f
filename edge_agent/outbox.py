"""The outbox: signed envelopes on disk until a receipt frees them (design §3, "Hand-over").

SQLite, WAL, synchronous=FULL. Bytes are committed here before they are first published and sent
again as they were until a signed receipt of the site names them. PUBACK frees nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from mrv.envelope import Head
from mrv.errors import MeterprintError
from mrv.receipt import Receipt

SCHEMA = """
CREATE TABLE IF NOT EXISTS message(
  id INTEGER PRIMARY KEY, stream TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
  identity TEXT NOT NULL UNIQUE, note BLOB NOT NULL, cut INTEGER NOT NULL, receipted INTEGER);
CREATE INDEX IF NOT EXISTS message_place ON message(stream, epoch, seq);
CREATE INDEX IF NOT EXISTS message_open ON message(id) WHERE receipted IS NULL;
CREATE TABLE IF NOT EXISTS head(
  stream TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, identity TEXT NOT NULL)
  WITHOUT ROWID;
"""
KEEP_NS = 7 * 86_400 * 10**9
"""Receipted envelopes are kept this long, ns."""
KEEP_BYTES = 2_000_000_000
"""… or until they take this much."""
TABLE_STREAM = ""
"""Stream under which channel tables are kept."""


class OutboxError(MeterprintError):
    """The outbox cannot be opened or written."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signed note on its way out."""

    stream: str
    """Stream; TABLE_STREAM for a channel table."""
    epoch: str
    """Epoch; "" for a table."""
    seq: int
    """Number in the epoch; 0 for a table."""
    identity: str
    """Identity of its signed text, hex."""
    note: bytes
    """The signed note."""
    cut: int
    """When it was cut, ns UTC."""
    id: int = 0
    """Row in the outbox; rising."""


class Outbox:
    """The outbox of one agent. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.RLock()
        try:
            self._db: Any = apsw.Connection(str(path))
            self._db.set_busy_timeout(10_000)
            self._db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
        except apsw.Error as error:
            raise OutboxError(f"cannot open {path}: {error}") from error

    @contextmanager
    def _asked(self, what: str) -> Iterator[Any]:
        """The database, for one thread at a time. Raises OutboxError where the disk refuses."""
        try:
            with self._lock:
                yield self._db
        except apsw.Error as error:
            raise OutboxError(
                f"{self.path} refused {what}: {error}",
                hint="free disk space on the gateway, and look at its disk",
            ) from error

    def _rows(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._asked("to be read") as db:
            rows: list[tuple[Any, ...]] = db.execute(sql, values).fetchall()
        return rows

    def commit(self, messages: Sequence[Outgoing]) -> None:
        """Keep messages in one transaction. Raises OutboxError where the disk refuses."""
        with self._asked(f"{len(messages)} messages") as db, db:
            for m in messages:
                db.execute(
                    "INSERT OR IGNORE INTO message"
                    "(stream,epoch,seq,identity,note,cut) VALUES(?,?,?,?,?,?)",
                    (m.stream, m.epoch, m.seq, m.identity, m.note, m.cut),
                )
                if m.stream != TABLE_STREAM:
                    db.execute(
                        "INSERT OR REPLACE INTO head VALUES(?,?,?,?)",
                        (m.stream, m.epoch, m.seq, m.identity),
                    )

    def head(self, stream: str) -> Head | None:
        """The last envelope this outbox knows of a stream, None where it knows none."""
        rows = self._rows("SELECT epoch, seq, identity FROM head WHERE stream=?", (stream,))
        return Head(*rows[0]) if rows else None

    def pending(self, after: int = 0, limit: int = 200, until: int | None = None) -> list[Outgoing]:
        """Messages without a receipt with `after` < id (≤ `until`), oldest first."""
        rows = self._rows(
            "SELECT stream,epoch,seq,identity,note,cut,id FROM message "
            "WHERE receipted IS NULL AND id>? AND id<=? ORDER BY id LIMIT ?",
            (after, 2**62 if until is None else until, limit),
        )
        return [Outgoing(*row) for row in rows]

    def range(self, stream: str, epoch: str, first: int, last: int) -> list[Outgoing]:
        """Messages of an epoch by number, also receipted ones that are still kept."""
        rows = self._rows(
            "SELECT stream,epoch,seq,identity,note,cut,id FROM message "
            "WHERE stream=? AND epoch=? AND seq BETWEEN ? AND ? ORDER BY seq",
            (stream, epoch, first, last),
        )
        return [Outgoing(*row) for row in rows]

    def everything(self) -> Iterator[Outgoing]:
        """All messages still kept, receipted or not, oldest first."""
        last = 0
        while True:
            rows = self._rows(
                "SELECT stream,epoch,seq,identity,note,cut,id FROM message "
                "WHERE id>? ORDER BY id LIMIT 500",
                (last,),
            )
            if not rows:
                return
            for row in rows:
                yield Outgoing(*row)
            last = rows[-1][6]

    def release(self, receipt: Receipt, now: int) -> int:
        """Mark what a verified receipt names as received; how many were freed.

        A range counts only where its last identity is the one this outbox sent: a receipt for
        somebody else's bytes of the same number frees nothing.
        """
        freed = 0
        with self._asked("a receipt") as db, db:
            for first, last, identity in receipt.ranges:
                row = db.execute(
                    "SELECT 1 FROM message WHERE stream=? AND epoch=? AND seq=? AND identity=?",
                    (receipt.stream, receipt.epoch, last, identity),
                ).fetchone()
                if row is not None:
                    db.execute(
                        "UPDATE message SET receipted=? WHERE receipted IS NULL AND stream=? "
                        "AND epoch=? AND seq BETWEEN ? AND ?",
                        (now, receipt.stream, receipt.epoch, first, last),
                    )
                    freed += db.changes()
            for identity in receipt.also:
                db.execute(
                    "UPDATE message SET receipted=? WHERE receipted IS NULL AND identity=?",
                    (now, identity),
                )
                freed += db.changes()
        return freed

    def depth(self) -> int:
        """Messages without a receipt."""
        return int(self._rows("SELECT count(*) FROM message WHERE receipted IS NULL")[0][0])

    def prune(self, now: int, keep_ns: int = KEEP_NS, keep_bytes: int = KEEP_BYTES) -> int:
        """Delete receipted messages older than the floor or beyond its bytes; how many."""
        with self._asked("to be cleared") as db, db:
            db.execute("DELETE FROM message WHERE receipted<?", (now - keep_ns,))
            deleted = int(db.changes())
            db.execute(
                "DELETE FROM message WHERE receipted IS NOT NULL AND id<=(SELECT max(id) FROM "
                "(SELECT id, sum(length(note)) OVER (ORDER BY id DESC) AS kept FROM message) "
                "WHERE kept>?)",
                (keep_bytes,),
            )
            return deleted + int(db.changes())

    def limit_pages(self, pages: int) -> None:
        """Cap the file's size, as a full disk would (for drills)."""
        self._db.execute(f"PRAGMA max_page_count={int(pages)}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
