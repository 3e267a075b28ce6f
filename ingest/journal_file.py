"""The file of the journal: opening it, what it holds, and which parts stand in cold files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from ingest.cold_store import ColdStore, Part
from ingest.entry import EntryKind, JournalError
from ingest.journal_check import Fault, Stand, check
from ingest.journal_lock import CHECK, JournalLock
from ingest.journal_tables import SCHEMA_VERSION, make_tables, tables_version
from mrv.verification.merkle import BLOCK, Frontier
from mrv.verification.note import PublicKey, SecretKey

COLD_FOLDER = "journal-cold"
"""Folder of the cold files, beside the database."""


class JournalFile:
    """The database of a journal and its cold files.

    Raises JournalError where it is no journal of this site and layout, or its tree does not fit
    its entries.
    """

    def __init__(self, path: Path, site: str, key: SecretKey) -> None:
        self.path = path
        self.site = site
        self._key = key
        self._lock = JournalLock(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db: Any = apsw.Connection(str(path))
            self._db.set_busy_timeout(10_000)
            self._check_version()
            make_tables(self._db)
            self._check_site()
            self._frontier = self._load_frontier()
            self._cold = ColdStore(self._db, self._lock, path.with_name(COLD_FOLDER))
        except (apsw.Error, UnicodeDecodeError, ValueError, TypeError) as error:
            raise JournalError(f"cannot open {path}: {error}", hint=CHECK) from error

    def _check_version(self) -> None:
        version = tables_version(self._db)
        if version is not None and version != SCHEMA_VERSION:
            older = version < SCHEMA_VERSION
            raise JournalError(
                f"{self.path} has tables of version {version}, expected {SCHEMA_VERSION}",
                hint="stop the site and run `meterprint upgrade`"
                if older
                else "use the newer program that wrote it",
            )

    def _check_site(self) -> None:
        for name, value in (("site", self.site), ("schema", SCHEMA_VERSION)):
            row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
            if row is None:
                self._db.execute("INSERT INTO meta VALUES(?,?)", (name, value))
            elif row[0] != value:
                raise JournalError(
                    f"{self.path} has {name} {row[0]!r}, expected {value!r}",
                    hint="each site has its own state directory",
                )

    def _load_frontier(self) -> Frontier:
        frontier = self._stored_frontier()
        hot = self._db.execute("SELECT max(idx) FROM entry").fetchone()[0]
        cold = self._db.execute("SELECT max(stop) FROM part").fetchone()[0]
        count = max(0 if hot is None else int(hot) + 1, 0 if cold is None else int(cold))
        if count != frontier.size:
            raise JournalError(
                f"{self.path} has {count} entries and a tree of {frontier.size}", hint=CHECK
            )
        return frontier

    @property
    def origin(self) -> str:
        """Name of the journal in its checkpoints."""
        return self._key.name

    @property
    def public(self) -> PublicKey:
        """Key that its checkpoints are verified with."""
        return self._key.public

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._frontier.size

    @property
    def hot_start(self) -> int:
        """The first entry that is in no cold file."""
        return self._cold.stop

    def root(self) -> bytes:
        """RFC 6962 root of all entries."""
        with self._lock:
            return self._frontier.root()

    def _stored_frontier(self) -> Frontier:
        row = self._db.execute("SELECT value FROM meta WHERE name='frontier'").fetchone()
        return Frontier.from_bytes(row[0]) if row else Frontier()

    def bytes_on_disk(self) -> int:
        """Size of the database, its write-ahead log and the cold files, bytes."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        with self._lock:
            cold = self._cold.size
        return cold + sum(file.stat().st_size for file in files if file.exists())

    def bytes_in_use(self) -> int:
        """Bytes of the database that hold something; the rest is used again."""
        with self._lock:
            size, pages, free = (
                int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_size", "page_count", "freelist_count")
            )
        return size * (pages - free)

    def parts(self) -> tuple[Part, ...]:
        """Parts that stand in cold files, in order."""
        with self._lock:
            self._cold.reload()
            return self._cold.parts

    @property
    def cold_folder(self) -> Path:
        """Folder of the cold files."""
        return self._cold.folder

    def hot_block(self, number: int) -> list[tuple[int, bytes, bytes, bytes, bytes]]:
        """(kind, salt, note, identity, leaf) of a whole block that is not in a cold file yet."""
        with self._lock:
            rows: list[tuple[int, bytes, bytes, bytes, bytes]] = self._db.execute(
                "SELECT kind, salt, note, identity, leaf FROM entry WHERE idx>=? AND idx<? "
                "ORDER BY idx",
                (number * BLOCK, (number + 1) * BLOCK),
            ).fetchall()
        return rows

    def hot_leaves(self, number: int) -> list[bytes]:
        """Leaves of a whole block that is not in a cold file yet; no note is read for them."""
        with self._lock:
            rows = self._db.execute(
                "SELECT leaf FROM entry WHERE idx>=? AND idx<? ORDER BY idx",
                (number * BLOCK, (number + 1) * BLOCK),
            ).fetchall()
        return [bytes(leaf) for (leaf,) in rows]

    def block_root(self, number: int) -> bytes:
        """Root of the leaves of a whole block, as the tree has it."""
        with self._lock:
            row = self._db.execute("SELECT root FROM block WHERE n=?", (number,)).fetchone()
        if row is None:
            raise JournalError(f"the tree has no block {number}", hint=CHECK)
        return bytes(row[0])

    def seal(self, part: Part) -> None:
        """Say that a part stands in a cold file; its file is on the disk and was read back."""
        with self._lock:
            try:
                self._db.execute(
                    "INSERT INTO part VALUES(?,?,?,?,?)",
                    (part.first, part.stop, part.file, part.size, part.sha256),
                )
            except apsw.Error as error:
                raise JournalError(f"{self.path} refused to seal a part: {error}") from error
            self._cold.reload()

    def drop_block(self, number: int) -> int:
        """Delete the envelopes of a block that stands in a cold file; how many there were.

        Facts and tables stay: they are read at every start.
        """
        with self._lock:
            if (number + 1) * BLOCK > self._cold.stop:
                raise JournalError(f"block {number} stands in no cold file")
            try:
                self._db.execute(
                    "DELETE FROM entry WHERE idx>=? AND idx<? AND kind=?",
                    (number * BLOCK, (number + 1) * BLOCK, int(EntryKind.ENVELOPE)),
                )
            except apsw.Error as error:
                raise JournalError(f"{self.path} refused to give space back: {error}") from error
            return int(self._db.changes())

    def limit_pages(self, pages: int) -> None:
        """Cap the file's size, as a full disk would (for drills)."""
        self._db.execute(f"PRAGMA max_page_count={int(pages)}")

    def faults(self, progress: Callable[[int, int], None] = lambda *_: None) -> list[Fault]:
        """What is not as it was entered: entries, cold files, tree, and the tables beside them."""
        with self._lock:
            self._cold.reload()
            stand = Stand(self.site, self._frontier.size, self._frontier.root(), self._key.public)
        return check(self._db, self._lock.plain, self._cold, stand, progress)

    def verify(self) -> list[str]:
        """Faults found by recomputing every leaf, the root and the tables; empty = whole."""
        return [str(fault) for fault in self.faults()]

    def fold(self) -> None:
        """Fold the write-ahead log in and become one file, until the journal is opened again."""
        with self._lock:
            self._db.execute("PRAGMA journal_mode=DELETE")

    def close(self) -> None:
        """Close the file; the journal cannot be used afterwards."""
        with self._lock:
            self._db.close()
