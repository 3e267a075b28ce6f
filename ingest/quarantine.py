"""The quarantine: a bounded store of messages that prove nothing, each with its reason."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from ingest.journal import JournalError

MAX_ROWS = 10_000
"""Most messages kept; older ones make room, all are counted."""
MAX_MESSAGE = 64 * 1024
"""Bytes kept of one message."""


class Quarantine:
    """Messages refused, with agent, reason and moment."""

    def __init__(self, path: Path, max_rows: int = MAX_ROWS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db: Any = apsw.Connection(str(path))
        self._db.set_busy_timeout(10_000)
        self._db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS message(id INTEGER PRIMARY KEY, at INTEGER, agent TEXT, "
            "topic TEXT, reason TEXT, detail TEXT, size INTEGER, bytes BLOB)"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS tally(reason TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID"
        )
        self._max_rows = max_rows
        self._lock = threading.Lock()

    def add(
        self, at: int, agent: str, topic: str, reason: str, detail: str, message: bytes
    ) -> None:
        """Keep a message refused at `at` (ns UTC); the oldest one goes when it is full.

        Raises JournalError where the disk refuses.
        """
        with self._asked(), self._db:
            self._db.execute(
                "INSERT INTO message(at,agent,topic,reason,detail,size,bytes) "
                "VALUES(?,?,?,?,?,?,?)",
                (at, agent, topic, reason, detail[:500], len(message), message[:MAX_MESSAGE]),
            )
            self._db.execute(
                "INSERT INTO tally VALUES(?,1) ON CONFLICT(reason) DO UPDATE SET n=n+1", (reason,)
            )
            self._db.execute(
                "DELETE FROM message WHERE id<=(SELECT max(id) FROM message)-?", (self._max_rows,)
            )

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except apsw.Error as error:
            raise JournalError(
                f"the quarantine refused a message: {error}", hint="free disk space"
            ) from error

    def counts(self) -> dict[str, int]:
        """How many were refused for each reason, dropped ones with them."""
        with self._lock:
            rows = self._db.execute("SELECT reason, n FROM tally ORDER BY reason").fetchall()
        return dict(rows)

    def recent(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest messages, without their bytes."""
        names = ("at", "agent", "topic", "reason", "detail", "size")
        with self._lock:
            rows = self._db.execute(
                f"SELECT {','.join(names)} FROM message ORDER BY id DESC LIMIT ?",  # noqa: S608
                (limit,),
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def by_agent(self) -> Counter[str]:
        """How many messages are kept for each agent."""
        with self._lock:
            rows = self._db.execute("SELECT agent, count(*) FROM message GROUP BY agent").fetchall()
        return Counter(dict(rows))

    def close(self) -> None:
        """Close the file."""
        self._db.close()
