"""The lock of a journal's database: what SQLite raises under it becomes a JournalError."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

import apsw

from ingest.entry import JournalError

CHECK = "run `meterprint journal check`; restore a backup if it fails"
"""What to do about tables that contradict each other or cannot be read."""


class JournalLock:
    """One thread at a time; the same one may take it again.

    Raises JournalError where a page cannot be read or makes no sense, so that whoever waits for a
    store that refuses (views, rotation, engine) waits for the journal's disk as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.plain = threading.RLock()
        """The lock alone, for those who name each fault themselves."""

    def __enter__(self) -> None:
        self.plain.acquire()

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self.plain.release()
        if isinstance(error, (apsw.Error, UnicodeDecodeError)):
            raise JournalError(f"{self._path} cannot be read: {error}", hint=CHECK) from error
