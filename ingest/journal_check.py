"""Whether the journal is what was entered: every entry, cold file and table, by recomputation.

What is found is a list of faults; each says which entries it concerns, where that can be told.
Nothing here trusts a table to say what another one holds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import apsw

from ingest.cold_store import ColdStore
from ingest.entry import EntryKind
from ingest.journal_check_tables import TableCheck
from ingest.journal_check_tree import Seen, TreeCheck
from ingest.journal_tables import make_tables
from mrv.errors import MeterprintError
from mrv.fact import parse_header, salted_id
from mrv.verification.checkpoint import parse_checkpoint
from mrv.verification.merkle import (
    BLOCK,
    HASH_BYTES,
    entry_leaf_data,
    leaf_hash,
)
from mrv.verification.note import PublicKey, identity, open_note, split

READING = (apsw.Error, UnicodeDecodeError, ValueError, TypeError)
"""What a damaged database raises when it is read."""
ROW = "SELECT idx, kind, leaf, identity, salt, body_salt, note, body FROM entry "
TABLES = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
NAMES = frozenset({"site", "schema", "frontier", "checkpoint"})
"""What `meta` may hold."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was entered."""

    what: str
    """What was seen."""
    first: int | None = None
    """First entry concerned, None where no entry can be named."""
    last: int | None = None
    """Last entry concerned."""
    file: str = ""
    """Cold file concerned, "" = the database."""

    def __str__(self) -> str:
        if self.first is None:
            where = self.file or "database"
        elif self.first == self.last:
            where = f"entry {self.first}"
        else:
            where = f"entries {self.first} to {self.last}"
        if self.first is not None and self.file:
            where += f" in {self.file}"
        return f"{where}: {self.what}"


class Stand(NamedTuple):
    """What the journal says of itself."""

    site: str
    """Its site."""
    size: int
    """Its entries."""
    root: bytes
    """Their root."""
    key: PublicKey
    """Key of its checkpoints."""


def check(
    db: Any,
    lock: threading.RLock,
    cold: ColdStore,
    stand: Stand,
    progress: Callable[[int, int], None],
) -> list[Fault]:
    """Everything that is not as it was entered, in the order in which it was met."""
    return _Check(db, lock, cold, stand).run(progress)


class _Check:
    """One check."""

    def __init__(self, db: Any, lock: threading.RLock, cold: ColdStore, stand: Stand) -> None:
        self._db = db
        self._lock = lock
        self._cold = cold
        self._stand = stand
        self._faults: list[Fault] = []
        self._sound = True
        self._tables = TableCheck(self._rows, stand.size, self._say)

    def _say(
        self, what: str, first: int | None = None, last: int | None = None, file: str = ""
    ) -> None:
        self._faults.append(Fault(what, first, first if last is None else last, file))

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock:
            rows: list[Any] = self._db.execute(sql, values).fetchall()
        return rows

    def run(self, progress: Callable[[int, int], None]) -> list[Fault]:
        """Look at everything."""
        self._structure()
        self._tree = TreeCheck(self._stand.root, self._meta(), self._say)
        self._files()
        self._tables.load()
        blocks = -(-self._stand.size // BLOCK)
        for number in range(blocks):
            self._block(number)
            progress(number + 1, blocks)
        if not self._tree.holds:
            self._say(f"the root of {self._stand.size} entries is not the kept one")
        extra = self._guarded("SELECT count(*) FROM entry WHERE idx>=?", (self._stand.size,))
        if extra and extra[0][0]:
            self._say(f"{extra[0][0]} entries stand beyond the tree")
        self._tables.finish()
        return self._faults

    def _guarded(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._rows(sql, values)
        except READING as error:
            self._say(f"cannot be read: {error}")
            return []

    def _structure(self) -> None:
        """The database's own examination of its pages and indices."""
        lines = self._guarded("PRAGMA integrity_check(20)")
        self._sound = bool(lines)
        for (line,) in lines:
            if line != "ok":
                self._sound = False
                self._say(" ".join(str(line).split()))
        fresh: Any = apsw.Connection(":memory:")
        make_tables(fresh)
        wanted = set(fresh.execute(TABLES).fetchall())
        fresh.close()
        for row in sorted(wanted ^ set(self._guarded(TABLES)), key=str):
            self._say(f"the definition of {row[1]} is not the one that was made")

    def _meta(self) -> tuple[int, bytes] | None:
        """Size and root of the signed checkpoint, None where there is none that holds."""
        rows = self._guarded("SELECT name, value FROM meta")
        for name in sorted({str(name) for name, _ in rows} - NAMES):
            self._say(f"meta holds {name!r}, which no program has written")
        note = dict(rows).get("checkpoint")
        if note is None:
            return None
        try:
            opened = open_note(note, (self._stand.key,))
            checkpoint = parse_checkpoint(opened.text)
        except (MeterprintError, *READING, AttributeError) as error:
            self._say(f"the kept checkpoint is altered: {error}")
            return None
        if checkpoint.size > self._stand.size:
            self._say(
                f"the kept checkpoint has {checkpoint.size} entries, the tree {self._stand.size}"
            )
        return checkpoint.size, checkpoint.root

    def _files(self) -> None:
        """Every cold file, against the hash that was noted when it was sealed."""
        from ingest.cold_file import ColdFileError, file_hash  # noqa: PLC0415 (numpy, pyarrow)

        stop = 0
        for part in self._cold.parts:
            if part.first != stop:
                self._say(f"no cold file holds entries {stop} to {part.first - 1}")
            stop = part.stop
            try:
                if file_hash(self._cold.folder / part.file) == part.sha256:
                    continue
                what = "the file is not the one that was sealed"
            except ColdFileError as error:
                what = str(error)
            self._say(what, part.first, part.stop - 1, part.file)

    def _block(self, number: int) -> None:
        first = number * BLOCK
        last = min(first + BLOCK, self._stand.size) - 1
        hot = self._hot(first, last)
        if first < self._cold.stop:
            seen = self._cold_block(number, hot)
        else:
            seen = {index: self._look(index, row) for index, row in hot.items()}
            for index in range(first, last + 1):
                if index not in hot:
                    self._say("is missing or cannot be read", index)
        full = last - first + 1 == BLOCK
        self._tree.take(first, last, seen, self._block_root(number) if full else None)
        for index in range(first, last + 1):
            found = seen.get(index)
            self._tables.take(index, None if found is None else (found.kind, found.note))

    def _hot(self, first: int, last: int) -> dict[int, tuple[Any, ...]]:
        """Rows of entries [first, last] that can be read; one by one where pages are damaged."""
        if self._sound:
            with suppress(*READING):  # then each row says so for itself
                rows = self._rows(f"{ROW} WHERE idx>=? AND idx<=?", (first, last))
                return {row[0]: row[1:] for row in rows}
        found = {}
        for index in range(first, last + 1):
            try:
                for row in self._rows(f"{ROW} WHERE idx=?", (index,)):
                    found[row[0]] = row[1:]
            except READING as error:
                self._say(f"cannot be read: {error}", index)
        for index, times in Counter(self._listed(first, last)).items():
            if times > 1 or index not in found:
                self._say(f"is listed {times} times, where it is not found by its number", index)
        return found

    def _listed(self, first: int, last: int) -> list[int]:
        """Numbers of entries [first, last] as a database that is damaged lists them."""
        try:
            sql = "SELECT idx FROM entry WHERE idx>=? AND idx<=?"
            return [row[0] for row in self._rows(sql, (first, last))]
        except READING:
            return []

    def _look(self, index: int, row: tuple[Any, ...]) -> Seen | None:
        """A row of the database, recomputed."""
        kind, leaf, name, salt, body_salt, note, body = row
        for value, length in ((leaf, HASH_BYTES), (name, HASH_BYTES), (salt, HASH_BYTES)):
            if not isinstance(value, bytes) or len(value) != length:
                self._say("is not what was entered: a hash is damaged", index)
                return None
        if not isinstance(note, bytes) or kind not in set(EntryKind):
            self._say("is not what was entered: its kind or its note is damaged", index)
            return None
        if note[: note.rfind(b"\n\n") + 1] and identity(_text(note)) != name.hex():
            self._say("its identity is not that of its text", index)
        if kind == EntryKind.FACT:
            self._body(index, note, body, body_salt)
        elif body is not None or body_salt is not None:
            self._say("has a body that no envelope has", index)
        return Seen(kind, salt, note, leaf_hash(entry_leaf_data(kind, salt, note)), leaf)

    def _body(self, index: int, note: bytes, body: object, salt: object) -> None:
        try:
            header = parse_header(split(note)[0])
        except MeterprintError as error:
            self._say(f"its header cannot be read: {error}", index)
            return
        if not isinstance(body, bytes) or not isinstance(salt, bytes):
            self._say("its body is missing or damaged", index)
        elif salted_id(salt, body) != header.body_id:
            self._say("its body is not the one its header names", index)

    def _cold_block(self, number: int, hot: dict[int, tuple[Any, ...]]) -> dict[int, Seen | None]:
        """A block of a cold file; copies of its facts in the database have to be the same."""
        from ingest.cold_file import ColdFile, ColdFileError, leaf_of  # noqa: PLC0415 (numpy)

        first = number * BLOCK
        part = next((p for p in self._cold.parts if p.first <= first < p.stop), None)
        if part is None:
            return {}
        try:
            entries, checks = ColdFile(self._cold.folder / part.file).block(number)
        except ColdFileError as error:
            self._say(str(error), first, first + BLOCK - 1, part.file)
            return {index: self._look(index, row) for index, row in hot.items()}
        seen: dict[int, Seen | None] = {}
        for index, (entry, mark) in enumerate(zip(entries, checks, strict=True), first):
            found = Seen(entry.kind, entry.salt, entry.note, leaf_of(entry), mark, part.file)
            seen[index] = found
            row = hot.get(index)
            copy = None if row is None else self._look(index, row)
            if copy is not None and (copy.leaf != found.leaf or copy.kept != found.leaf):
                self._say("the database holds another entry than its cold file", index)
            if row is None and entry.kind in (EntryKind.FACT, EntryKind.TABLE):
                self._say("a fact or table is missing in the database", index)
        return seen

    def _block_root(self, number: int) -> bytes | None:
        rows = self._guarded("SELECT root FROM block WHERE n=?", (number,))
        root = rows[0][0] if rows else None
        if isinstance(root, bytes) and len(root) == HASH_BYTES:
            return root
        self._say("the root of the block is missing", number * BLOCK, (number + 1) * BLOCK - 1)
        return None


def _text(note: bytes) -> bytes:
    return note[: note.rfind(b"\n\n") + 1]
