"""The journal: one per site, append only, in SQLite (WAL, synchronous=FULL, group commit).

An entry is kept with its salt, its leaf hash and, for a fact, the body beside it. Entry numbers
run from 0 without a gap and are the record time. Old parts stand in cold files (`rotation`);
reading does not tell the difference.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from ingest.cold_store import ColdStore, Part
from ingest.entry import Draft, Entry, EntryKind, JournalError
from ingest.fingers import Fingers
from ingest.journal_check import Fault, Stand, check
from ingest.journal_reading import CHECK, EntryReader
from ingest.journal_rows import NewRows
from ingest.journal_tables import SCHEMA_VERSION, make_tables, tables_version
from ingest.origins import Origins, Place
from ingest.runs import Run
from mrv.verification.checkpoint import (
    ChainHead,
    Checkpoint,
    StreamHead,
    extension_lines,
    stream_list_hash,
)
from mrv.verification.merkle import (
    BLOCK,
    BlockTree,
    Frontier,
    Tree,
)
from mrv.verification.note import PublicKey, SecretKey, sign

__all__ = ["Draft", "Entry", "EntryKind", "Journal", "JournalError"]

COLD_FOLDER = "journal-cold"
"""Folder of the cold files, beside the database."""


class Journal:
    """The journal of one site. One writer; all methods may be called from any thread."""

    def __init__(self, path: Path, site: str, key: SecretKey) -> None:
        self.path = path
        self.site = site
        self._key = key
        self._lock = threading.RLock()
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
        self._reader = EntryReader(self._db, self._lock, self._cold, lambda: self.size)
        self._origins = Origins(self._db)
        self._fingers = Fingers(self._db, self._reader.identities)
        self._blocks = Tree()

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

    def index_of(self, identity: str) -> int | None:
        """Index of an entry, None where the journal does not have it."""
        name = bytes.fromhex(identity)
        with self._lock:
            row = self._db.execute("SELECT idx FROM apart WHERE identity=?", (name,)).fetchone()
            if row is not None:
                return int(row[0])
            for index in self._fingers.candidates(name, self.size):
                if next(self._reader.identities(index, index + 1)) == name:
                    return index
        return None

    def index_at(self, place: Place, seq: int, identity: str) -> int | None:
        """Index of an envelope by its place in its stream, None where it is not held.

        Faster than `index_of`: it reads one row.
        """
        name = bytes.fromhex(identity)
        with self._lock:
            origin = self._origins.find(place)
            return None if origin is None else self._held_at(origin.id, seq, name)

    def indexes(self, place: Place, first: int, last: int) -> dict[int, list[int]]:
        """Indexes of the envelopes of an epoch with numbers [first, last], by number.

        One search for all of them; a number has two where an agent equivocated.
        """
        with self._lock:
            origin = self._origins.find(place)
            if origin is None:
                return {}
            rows = self._db.execute(
                "SELECT seq, idx FROM envelope WHERE origin=? AND seq BETWEEN ? AND ?",
                (origin.id, first, last),
            ).fetchall()
        found: dict[int, list[int]] = {}
        for seq, index in rows:
            found.setdefault(int(seq), []).append(int(index))
        return found

    def next_to(self, place: Place, seq: int, *, after: bool) -> tuple[int, int] | None:
        """(number, index) of the nearest envelope after a number, or before it; None = none.

        Of twins at that number the one that was entered first.
        """
        beyond, order = (">", "") if after else ("<", " DESC")
        with self._lock:
            origin = self._origins.find(place)
            if origin is None:
                return None
            row = self._db.execute(
                f"SELECT seq, idx FROM envelope WHERE origin=? AND seq{beyond}? "  # noqa: S608
                f"ORDER BY seq{order}, idx LIMIT 1",
                (origin.id, seq),
            ).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def _held_at(self, origin: int, seq: int, identity: bytes) -> int | None:
        rows = self._db.execute(
            "SELECT idx FROM envelope WHERE origin=? AND seq=?", (origin, seq)
        ).fetchall()
        for (index,) in rows:
            if next(self._reader.identities(index, index + 1)) == identity:
                return int(index)
        return None

    def append(self, drafts: Sequence[Draft]) -> list[tuple[int, bool]]:
        """Commit drafts in one transaction; (index, whether it is new) of each.

        An identity the journal has already is not entered twice. Raises JournalError where the
        disk refuses; then nothing of the group is kept.
        """
        with self._lock:
            before = self._frontier.to_bytes()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self.follow()
                before = self._frontier.to_bytes()
                placed = self._place(drafts)
                self._db.execute("COMMIT")
            except BaseException as error:
                self._undo(before)
                if isinstance(error, apsw.Error):
                    raise JournalError(
                        f"{self.path} refused {len(drafts)} entries: {error}",
                        hint="free disk space; nothing is lost, agents send again",
                    ) from error
                raise
        return placed

    def _undo(self, before: bytes) -> None:
        """Back to where the group began, without asking a disk that may still refuse."""
        self._frontier = Frontier.from_bytes(before)
        self._forget()
        if self._db.in_transaction:
            with suppress(apsw.Error):  # the transaction ends even where this is refused
                self._db.execute("ROLLBACK")

    def _forget(self) -> None:
        self._origins.forget()
        self._fingers.forget()

    def _stored_frontier(self) -> Frontier:
        row = self._db.execute("SELECT value FROM meta WHERE name='frontier'").fetchone()
        return Frontier.from_bytes(row[0]) if row else Frontier()

    def follow(self) -> None:
        """Take in what another process has appended since (a command beside a server)."""
        with self._lock:
            stored = self._stored_frontier()
            if stored.size != self._frontier.size:
                self._frontier = stored
                self._forget()

    def _place(self, drafts: Sequence[Draft]) -> list[tuple[int, bool]]:
        """Enter the drafts that are new. Inside a transaction."""
        placed: list[tuple[int, bool]] = []
        group: dict[str, int] = {}
        rows = NewRows(self.size)
        for draft in drafts:
            known = group.get(draft.identity)
            if known is None:
                known = self._known(draft, rows)
            if known is None:
                index = group[draft.identity] = rows.add(draft, self._frontier)
                placed.append((index, True))
            else:
                placed.append((known, False))
        if rows.entries:
            self._fingers.add([row[3] for row in rows.entries], rows.start)
            self._origins.save()
            rows.write(self._db, self._frontier)
        return placed

    def _known(self, draft: Draft, rows: NewRows) -> int | None:
        """Index of a draft the journal has; else None, and its place is noted."""
        identity = bytes.fromhex(draft.identity)
        envelope = draft.envelope
        if envelope is None:
            found = self._db.execute(
                "SELECT idx FROM apart WHERE identity=?", (identity,)
            ).fetchone()
            if found is None:
                rows.apart.append((identity, rows.next))
            return None if found is None else int(found[0])
        place = (envelope.agent, envelope.stream, envelope.epoch)
        origin = self._origins.make(place)
        if origin.holds(envelope.seq):
            index = self._held_at(origin.id, envelope.seq, identity)
            if index is not None:
                return index
        self._origins.extend(place, origin, envelope.seq, draft.identity)
        rows.envelopes.append((origin.id, envelope.seq, rows.next))
        return None

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries [start, stop) in order, read in blocks.

        Raises JournalError where a cold file is missing or altered.
        """
        return self._reader.entries(start, stop)

    def entry(self, index: int) -> Entry:
        """One entry. Raises JournalError where there is none."""
        return self._reader.entry(index)

    def facts(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Facts among entries [start, stop) in order; neither envelopes nor cold files are read."""
        return self._reader.facts(start, stop)

    def facts_of(self, chain: str) -> list[Entry]:
        """Entries of a fact chain in the order of seq."""
        return self._reader.facts_of(chain)

    def chain_length(self, chain: str) -> tuple[int, str]:
        """Number of facts of a chain and the identity of the last one ("" = none)."""
        with self._lock:
            row = self._db.execute(
                "SELECT count, identity FROM chain WHERE name=?", (chain,)
            ).fetchone()
        return (0, "") if row is None else (int(row[0]), bytes(row[1]).hex())

    def chain_heads(self) -> list[ChainHead]:
        """Length and last identity of every fact chain."""
        with self._lock:
            rows = self._db.execute("SELECT name, count, identity FROM chain ORDER BY name")
            return [ChainHead(name, count, bytes(head).hex()) for name, count, head in rows]

    def stream_heads(self) -> list[StreamHead]:
        """Last envelope of each epoch of each stream."""
        with self._lock:
            # CROSS JOIN keeps the order: epochs first, then one look-up each.
            rows = self._db.execute(
                "SELECT o.agent, o.stream, o.epoch, v.seq, v.idx, r.identity FROM origin o "
                "CROSS JOIN run r ON r.origin=o.id "
                "AND r.first=(SELECT max(first) FROM run WHERE origin=o.id) "
                "CROSS JOIN envelope v ON v.origin=o.id AND v.seq=r.last"
            ).fetchall()
            twins = Counter((agent, stream, epoch) for agent, stream, epoch, *_ in rows)
            heads = []
            for agent, stream, epoch, seq, index, name in rows:
                alone = twins[agent, stream, epoch] == 1
                identity = name if alone else next(self._reader.identities(index, index + 1))
                heads.append(StreamHead(agent, stream, epoch, seq, bytes(identity).hex()))
        return sorted(heads)

    def held(self, agent: str, stream: str, epoch: str) -> list[tuple[int, str]]:
        """(seq, identity) of the envelopes of an epoch, in order; of twins the smaller one."""
        held: dict[int, str] = {}
        with self._lock:
            origin = self._origins.find((agent, stream, epoch))
            if origin is None:
                return []
            rows = self._db.execute(
                "SELECT seq, idx FROM envelope WHERE origin=? ORDER BY seq", (origin.id,)
            ).fetchall()
            for seq, index in rows:
                name = next(self._reader.identities(index, index + 1)).hex()
                held[seq] = min(name, held.get(seq, name))
        return list(held.items())

    def runs(self, agent: str, stream: str, epoch: str) -> tuple[Run, ...]:
        """Unbroken runs of an epoch: (first seq, last seq, identity of the last)."""
        with self._lock:
            origin = self._origins.find((agent, stream, epoch))
            return () if origin is None else tuple(origin.runs)

    def tree(self) -> Tree:
        """The tree as it is now, for proofs; leaves are read when one is asked for."""
        with self._lock:
            for (root,) in self._db.execute(
                "SELECT root FROM block WHERE n>=? ORDER BY n", (self._blocks.size,)
            ):
                self._blocks.append(root)
            return BlockTree(self.size, self._blocks, self._reader.leaves)

    def checkpoint(self) -> bytes:
        """A signed checkpoint of the journal as it is, kept as the latest one."""
        with self._lock:
            lines = extension_lines(self.chain_heads(), stream_list_hash(self.stream_heads()))
            note = sign(Checkpoint(self.origin, self.size, self.root(), lines).text(), self._key)
            try:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES('checkpoint',?)", (note,))
            except apsw.Error as error:
                raise JournalError(f"{self.path} refused a checkpoint: {error}") from error
        return note

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
        return check(self._db, self._lock, self._cold, stand, progress)

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
