"""The quarantine: a bounded store of messages that prove nothing, each with its reason."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from mrv.errors import MeterprintError

MAX_ROWS = 10_000
"""Most messages kept; older ones make room, all are counted."""
MAX_BYTES = 64_000_000
"""Most bytes kept of all of them."""
MAX_MESSAGE = 64 * 1024
"""Bytes kept of one message."""
AT_ONCE = 1000
"""Most messages removed by one statement."""


MOVE_AWAY = "move it away: it only keeps what was refused, and a new one is made"
"""What to do about a file that is damaged."""


class QuarantineError(MeterprintError):
    """The quarantine cannot be opened or written."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that proves nothing."""

    at: int
    """When it was refused, ns UTC."""
    agent: str
    """Agent of its topic."""
    topic: str
    """Its topic."""
    reason: str
    """Code of the reason."""
    detail: str
    """What was seen."""
    payload: bytes
    """The message."""


class Quarantine:
    """Messages refused, with agent, reason and moment; bounded in messages and in bytes."""

    def __init__(self, path: Path, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            self._db: Any = apsw.Connection(str(path))
            self._db.set_busy_timeout(10_000)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # what is in it is acknowledged
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS message(id INTEGER PRIMARY KEY, at INTEGER, "
                "agent TEXT, topic TEXT, reason TEXT, detail TEXT, size INTEGER, bytes BLOB)"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS tally(reason TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID"
            )
            self._rows, self._bytes = self._held()
        except apsw.Error as error:
            raise QuarantineError(
                f"cannot open {path}: {error}",
                hint=MOVE_AWAY,
            ) from error

    def _held(self) -> tuple[int, int]:
        row = self._db.execute(
            "SELECT count(*), coalesce(sum(length(bytes)),0) FROM message"
        ).fetchone()
        return int(row[0]), int(row[1])

    def add(self, messages: Sequence[Refused]) -> None:
        """Keep messages in one transaction; the oldest ones make room.

        Raises QuarantineError where the disk refuses; then none of them is kept.
        """
        with self._lock:
            rows, size = self._rows, self._bytes
            try:
                with self._db:
                    for m in messages[-self._max_rows :]:
                        kept = m.payload[:MAX_MESSAGE]
                        self._db.execute(
                            "INSERT INTO message(at,agent,topic,reason,detail,size,bytes) "
                            "VALUES(?,?,?,?,?,?,?)",
                            (
                                m.at,
                                m.agent,
                                m.topic,
                                m.reason,
                                m.detail[:500],
                                len(m.payload),
                                kept,
                            ),
                        )
                        self._rows += 1
                        self._bytes += len(kept)
                    for reason, count in Counter(m.reason for m in messages).items():
                        self._db.execute(
                            "INSERT INTO tally VALUES(?,?) "
                            "ON CONFLICT(reason) DO UPDATE SET n=n+excluded.n",
                            (reason, count),
                        )
                    self._make_room()
            except apsw.Error as error:
                self._rows, self._bytes = rows, size
                raise QuarantineError(
                    f"{self._path} refused {len(messages)} messages: {error}",
                    hint="free disk space; what proves nothing is not kept meanwhile",
                ) from error

    def _make_room(self) -> None:
        while self._rows > self._max_rows or self._bytes > self._max_bytes:
            excess = max(1, min(self._rows - self._max_rows, AT_ONCE))
            removed = self._db.execute(
                "DELETE FROM message WHERE id IN (SELECT id FROM message ORDER BY id LIMIT ?) "
                "RETURNING length(bytes)",
                (excess,),
            ).fetchall()
            if not removed:
                return
            self._rows -= len(removed)
            self._bytes -= sum(size for (size,) in removed)

    def counts(self) -> dict[str, int]:
        """How many were refused for each reason, dropped ones with them."""
        return dict(self._read("SELECT reason, n FROM tally ORDER BY reason"))

    def recent(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest messages, without their bytes."""
        names = ("at", "agent", "topic", "reason", "detail", "size")
        rows = self._read(
            f"SELECT {','.join(names)} FROM message ORDER BY id DESC LIMIT ?",  # noqa: S608
            (limit,),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def by_agent(self) -> Counter[str]:
        """How many messages are kept for each agent."""
        return Counter(dict(self._read("SELECT agent, count(*) FROM message GROUP BY agent")))

    def _read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Raises QuarantineError where the file is damaged."""
        try:
            with self._lock:
                rows: list[tuple[Any, ...]] = self._db.execute(sql, values).fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise QuarantineError(f"cannot read {self._path}: {error}", hint=MOVE_AWAY) from error
        return rows

    def close(self) -> None:
        """Close the file."""
        self._db.close()
