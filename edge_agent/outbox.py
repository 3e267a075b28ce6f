"""The outbox: signed envelopes on disk until a receipt frees them (design §3, "Hand-over").

SQLite, WAL, synchronous=FULL. Bytes are committed here before they are first published and sent
again as they were until a signed receipt of the site names them. PUBACK frees nothing. They are
kept packed (`packing`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import structlog

from edge_agent.outbox_rescue import COLUMNS, readable, set_aside
from edge_agent.packing import packed, unpacked
from mrv.envelope import Head
from mrv.errors import MeterprintError
from mrv.receipt import Receipt
from mrv.strict_json import MAX_SAFE_INTEGER

SCHEMA = """
CREATE TABLE IF NOT EXISTS message(
  id INTEGER PRIMARY KEY, stream TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
  identity TEXT NOT NULL UNIQUE, note BLOB NOT NULL, cut INTEGER NOT NULL, receipted INTEGER);
CREATE INDEX IF NOT EXISTS message_place ON message(stream, epoch, seq);
CREATE INDEX IF NOT EXISTS message_open ON message(id) WHERE receipted IS NULL;
CREATE INDEX IF NOT EXISTS message_waiting ON message(stream, epoch, seq) WHERE receipted IS NULL;
CREATE INDEX IF NOT EXISTS message_done ON message(receipted) WHERE receipted IS NOT NULL;
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
PRUNE_AT_ONCE = 500
"""Messages deleted in one transaction, so that nothing waits long for the file."""
DAMAGE = (apsw.CorruptError, apsw.NotADBError, ValueError, TypeError, AttributeError)
"""What a changed file raises: pages that make no sense, a value of another kind than was written,
bytes that are no text."""
MAX_EPOCH, MAX_IDENTITY = 32, 64
"""Characters the members of an envelope's `after` may have (design §3)."""
_SELECT = "SELECT stream,epoch,seq,identity,note,cut,id FROM message "


log = structlog.get_logger("edge")


def _head_of(stream: Any, epoch: Any, seq: Any, identity: Any) -> Head:
    """A row of `head`. Raises TypeError or ValueError where no envelope could name it."""
    if [type(value) for value in (stream, epoch, seq, identity)] != [str, str, int, str]:
        raise TypeError(f"head of {stream!r}: {epoch!r}, {seq!r}, {identity!r}")
    plain = len(epoch) <= MAX_EPOCH and len(identity) <= MAX_IDENTITY and seq >= 0
    if not plain or seq > MAX_SAFE_INTEGER or not (epoch + identity).isprintable():
        raise ValueError(f"head of {stream!r}: {epoch!r}, {seq!r}, {identity!r}")
    return Head(epoch, seq, identity)


class OutboxError(MeterprintError):
    """The outbox cannot be opened or written."""


class OutboxDamaged(OutboxError):
    """The disk has changed it; `Outbox.rescue` saves what can be saved."""


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
        self.path = path
        self._lock = threading.RLock()
        self.rescues = 0
        """Times a damaged file was set aside."""
        self._db: Any = None
        self._depth = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OutboxDamaged:
            self.rescue()
        except OSError as error:
            raise OutboxError(
                f"cannot open {path}: {error}", hint="name a directory this user may write"
            ) from error

    def _open(self) -> None:
        """Raises OutboxError; OutboxDamaged where the tables are not ours, too."""
        with self._asked("to be opened", (*DAMAGE, apsw.SQLError)):
            self._db = apsw.Connection(str(self.path))
            self._db.set_busy_timeout(10_000)
            self._db.execute("PRAGMA journal_mode=WAL")  # each alone: one that answers ends a text
            self._db.execute("PRAGMA synchronous=FULL")
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            waiting = "SELECT count(*) FROM message INDEXED BY message_open WHERE receipted IS NULL"
            self._db.execute(_SELECT + "LIMIT 0")
            keys = self._db.execute("SELECT name FROM pragma_table_info('message') WHERE pk>0")
            if keys.fetchall() != [("id",)]:
                raise ValueError("its messages have no numbers")
            for row in self._db.execute("SELECT stream,epoch,seq,identity FROM head"):
                _head_of(*row)
            self._depth = int(self._db.execute(waiting).fetchone()[0])

    def rescue(self) -> int:
        """Set a damaged file aside and go on with what can be read of it; how many messages.

        Raises OutboxError where the disk refuses that too.
        """
        with self._lock:
            if self._db is not None:
                with suppress(apsw.Error):
                    self._db.close()
            try:
                aside = set_aside(self.path)
            except OSError as error:
                raise OutboxError(
                    f"{self.path} is damaged and cannot be set aside: {error}",
                    hint="look at the disk of the gateway, and at who may write there",
                ) from error
            self._open()
            kept = 0
            rows = readable(aside)
            while some := list(islice(rows, PRUNE_AT_ONCE)):
                with self._asked("what was saved") as opened, opened as db:
                    db.executemany(
                        f"INSERT OR IGNORE INTO message({COLUMNS}) VALUES(?,?,?,?,?,?,?,?)",
                        some,
                    )
                kept += len(some)
            with self._asked("what was saved") as opened, opened as db:
                db.execute(
                    "INSERT OR REPLACE INTO head SELECT stream, epoch, seq, identity FROM message "
                    "WHERE id IN (SELECT max(id) FROM message WHERE stream<>'' GROUP BY stream)"
                )
            self._depth = int(
                self._rows("SELECT count(*) FROM message WHERE receipted IS NULL")[0][0]
            )
            self.rescues += 1
        hint = "what could not be read shows at the site as a gap; keep the file, check the disk"
        log.error("outbox_damaged", set_aside=str(aside), saved=kept, hint=hint)
        return kept

    @contextmanager
    def _asked(self, what: str, damage: tuple[type[Exception], ...] = DAMAGE) -> Iterator[Any]:
        """The database, for one thread at a time.

        Raises OutboxError where the disk refuses, OutboxDamaged where it has changed something.
        """
        try:
            with self._lock:
                yield self._db
        except damage as error:
            raise OutboxDamaged(
                f"{self.path} is damaged: {error}", hint="look at the disk of the gateway"
            ) from error
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
        """Keep messages in one transaction. Raises OutboxError where the disk refuses.

        Where the file turns out to be damaged they go into a new one.
        """
        try:
            self._commit(messages)
        except OutboxDamaged:
            self.rescue()
            self._commit(messages)

    def _commit(self, messages: Sequence[Outgoing]) -> None:
        with self._asked(f"{len(messages)} messages") as opened:
            new = 0
            with opened as db:
                for m in messages:
                    db.execute(
                        "INSERT OR IGNORE INTO message"
                        "(stream,epoch,seq,identity,note,cut) VALUES(?,?,?,?,?,?)",
                        (m.stream, m.epoch, m.seq, m.identity, packed(m.note), m.cut),
                    )
                    new += db.changes()
                    if m.stream != TABLE_STREAM:
                        db.execute(
                            "INSERT OR REPLACE INTO head VALUES(?,?,?,?)",
                            (m.stream, m.epoch, m.seq, m.identity),
                        )
            self._depth += new

    def head(self, stream: str) -> Head | None:
        """The last envelope this outbox knows of a stream, None where it knows none."""
        rows = self._rows("SELECT stream,epoch,seq,identity FROM head WHERE stream=?", (stream,))
        return _head_of(*rows[0]) if rows else None

    def _messages(self, rest: str, values: tuple[object, ...]) -> list[Outgoing]:
        with self._asked("to be read"):
            return [
                Outgoing(stream, epoch, seq, identity, unpacked(kept), cut, row)
                for stream, epoch, seq, identity, kept, cut, row in self._rows(
                    _SELECT + rest, values
                )
            ]

    def pending(self, after: int = 0, limit: int = 200, until: int | None = None) -> list[Outgoing]:
        """Messages without a receipt with `after` < id (≤ `until`), oldest first."""
        return self._messages(
            "INDEXED BY message_open WHERE receipted IS NULL AND id>? AND id<=? "
            "ORDER BY id LIMIT ?",
            (after, 2**62 if until is None else until, limit),
        )

    def tables(self) -> list[Outgoing]:
        """Channel tables without a receipt, oldest first."""
        return self._messages(
            "INDEXED BY message_waiting WHERE receipted IS NULL AND stream=? AND epoch='' "
            "ORDER BY seq, id",
            (TABLE_STREAM,),
        )

    def newest(self) -> int:
        """The highest id given so far, 0 where there is none."""
        return int(self._rows("SELECT coalesce(max(id),0) FROM message")[0][0])

    def range(self, stream: str, epoch: str, first: int, last: int) -> list[Outgoing]:
        """Messages of an epoch by number, also receipted ones that are still kept."""
        return self._messages(
            "WHERE stream=? AND epoch=? AND seq BETWEEN ? AND ? ORDER BY seq",
            (stream, epoch, first, last),
        )

    def receipted(
        self, stream: str, epoch: str, first: int, last: int, limit: int
    ) -> list[Outgoing]:
        """Of `range`, the first `limit` that have a receipt and are still kept."""
        return self._messages(
            "WHERE receipted IS NOT NULL "
            "AND stream=? AND epoch=? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            (stream, epoch, first, last, limit),
        )

    def everything(self) -> Iterator[Outgoing]:
        """All messages still kept, receipted or not, oldest first."""
        last = 0
        while found := self._messages("WHERE id>? ORDER BY id LIMIT 500", (last,)):
            yield from found
            last = found[-1].id

    def release(self, receipt: Receipt, now: int) -> int:
        """Mark what a verified receipt names as received; how many were freed."""
        return len(self.free([receipt], now))

    def free(self, receipts: Sequence[Receipt], now: int) -> list[int]:
        """Mark what verified receipts name as received, in one transaction; ids that were freed.

        A range counts only where its last identity is the one this outbox sent: a receipt for
        somebody else's bytes of the same number frees nothing.
        """
        freed: list[int] = []
        with self._asked("a receipt") as opened:
            with opened as db:
                for receipt in receipts:
                    freed += self._free(db, receipt, now)
            self._depth -= len(freed)
        return freed

    @staticmethod
    def _free(db: Any, receipt: Receipt, now: int) -> list[int]:
        freed: list[int] = []
        for first, last, identity in receipt.ranges:
            row = db.execute(
                "SELECT 1 FROM message WHERE stream=? AND epoch=? AND seq=? AND identity=?",
                (receipt.stream, receipt.epoch, last, identity),
            ).fetchone()
            if row is not None:
                rows = db.execute(
                    "UPDATE message INDEXED BY message_waiting SET receipted=? "
                    "WHERE receipted IS NULL AND stream=? "
                    "AND epoch=? AND seq BETWEEN ? AND ? RETURNING id",
                    (now, receipt.stream, receipt.epoch, first, last),
                )
                freed += [id_ for (id_,) in rows.fetchall()]
        for identity in receipt.also:
            rows = db.execute(
                "UPDATE message SET receipted=? WHERE receipted IS NULL AND identity=? "
                "RETURNING id",
                (now, identity),
            )
            freed += [id_ for (id_,) in rows.fetchall()]
        return freed

    def depth(self) -> int:
        """Messages without a receipt; counted once at opening and kept up to date."""
        return self._depth

    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        with self._asked("to be measured") as db:
            size, pages, free = (
                int(db.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_size", "page_count", "freelist_count")
            )
        return size * (pages - free)

    def prune(self, now: int, keep_ns: int = KEEP_NS, keep_bytes: int = KEEP_BYTES) -> int:
        """Delete receipted messages older than the floor or, oldest first, beyond its bytes.

        Deletes a few hundred at a time, so that commits get their turn; returns how many.
        Messages without a receipt stay, whatever they take.
        """
        deleted = self._delete(now - keep_ns)
        while self.used_bytes() > keep_bytes:
            some = self._delete(2**62, once=True)
            deleted += some
            if not some:
                break
        return deleted

    def _delete(self, before: int, *, once: bool = False) -> int:
        """Delete what was receipted before `before` (ns UTC)."""
        deleted = 0
        while True:
            with self._asked("to be cleared") as opened, opened as db:
                db.execute(
                    "DELETE FROM message WHERE id IN (SELECT id FROM message "
                    "WHERE receipted<? ORDER BY receipted LIMIT ?)",
                    (before, PRUNE_AT_ONCE),
                )
                some = int(db.changes())
            deleted += some
            if once or some < PRUNE_AT_ONCE:
                return deleted

    def limit_pages(self, pages: int) -> None:
        """Cap the file's size, as a full disk would (for drills)."""
        self._db.execute(f"PRAGMA max_page_count={int(pages)}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
