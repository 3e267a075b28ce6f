"""The journal: one per site, append only, in SQLite (WAL, synchronous=FULL, group commit).

An entry is kept with its salt, its leaf hash and, for a fact, the body beside it. Entry numbers
run from 0 without a gap and are the record time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from ingest.entry import Draft, Entry, EntryKind
from ingest.runs import Run, extend
from mrv.errors import MeterprintError
from mrv.reporting.completeness import chain_link
from mrv.verification.checkpoint import (
    ChainHead,
    Checkpoint,
    StreamHead,
    extension_lines,
    stream_list_hash,
)
from mrv.verification.merkle import (
    HASH_BYTES,
    Frontier,
    Tree,
    entry_leaf_data,
    leaf_hash,
)
from mrv.verification.note import SecretKey, sign

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry(
  idx INTEGER PRIMARY KEY, kind INTEGER NOT NULL, salt BLOB NOT NULL, note BLOB NOT NULL,
  identity BLOB NOT NULL, leaf BLOB NOT NULL, body BLOB, body_salt BLOB);
CREATE UNIQUE INDEX IF NOT EXISTS entry_identity ON entry(identity);
CREATE TABLE IF NOT EXISTS envelope(
  idx INTEGER PRIMARY KEY, agent TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL,
  seq INTEGER NOT NULL, prev TEXT NOT NULL, t_first INTEGER NOT NULL, t_last INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS envelope_place ON envelope(agent, stream, epoch, seq);
CREATE TABLE IF NOT EXISTS fact(
  idx INTEGER PRIMARY KEY, chain TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS fact_place ON fact(chain, seq);
"""
SCHEMA_VERSION = 1
"""Version of the tables; another one is refused with a hint."""


class JournalError(MeterprintError):
    """The journal cannot be opened or written."""


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
            self._db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._check_site()
            self._frontier = self._load_frontier()
        except apsw.Error as error:
            raise JournalError(f"cannot open {path}: {error}") from error
        self._runs: dict[tuple[str, str, str], list[Run]] = {}

    def _check_site(self) -> None:
        for name, value in (("site", self.site), ("schema", SCHEMA_VERSION)):
            row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
            if row is None:
                self._db.execute("INSERT INTO meta VALUES(?,?)", (name, value))
            elif row[0] != value:
                raise JournalError(
                    f"{self.path} has {name} {row[0]!r}, expected {value!r}",
                    hint="each site and each version has its own state directory",
                )

    def _load_frontier(self) -> Frontier:
        frontier = self._stored_frontier()
        last = self._db.execute("SELECT max(idx) FROM entry").fetchone()[0]
        count = 0 if last is None else int(last) + 1
        if count != frontier.size:
            raise JournalError(
                f"{self.path} has {count} entries and a tree of {frontier.size}",
                hint="run `meterprint journal check`; restore a backup if it fails",
            )
        return frontier

    @property
    def origin(self) -> str:
        """Name of the journal in its checkpoints."""
        return self._key.name

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._frontier.size

    def root(self) -> bytes:
        """RFC 6962 root of all entries."""
        with self._lock:
            return self._frontier.root()

    def index_of(self, identity: str) -> int | None:
        """Index of an entry, None where the journal does not have it."""
        with self._lock:
            row = self._db.execute(
                "SELECT idx FROM entry WHERE identity=?", (bytes.fromhex(identity),)
            ).fetchone()
        return None if row is None else int(row[0])

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
                placed = [self._place(draft) for draft in drafts]
                self._db.execute(
                    "INSERT OR REPLACE INTO meta VALUES('frontier',?)",
                    (self._frontier.to_bytes(),),
                )
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
        self._runs.clear()
        if self._db.in_transaction:
            with suppress(apsw.Error):  # the transaction ends even where this is refused
                self._db.execute("ROLLBACK")

    def _stored_frontier(self) -> Frontier:
        row = self._db.execute("SELECT value FROM meta WHERE name='frontier'").fetchone()
        return Frontier.from_bytes(row[0]) if row else Frontier()

    def follow(self) -> None:
        """Take in what another process has appended since (a command beside a server)."""
        with self._lock:
            stored = self._stored_frontier()
            if stored.size != self._frontier.size:
                self._frontier = stored
                self._runs.clear()

    def _place(self, draft: Draft) -> tuple[int, bool]:
        identity = bytes.fromhex(draft.identity)
        known = self._db.execute("SELECT idx FROM entry WHERE identity=?", (identity,)).fetchone()
        if known is not None:
            return int(known[0]), False
        index = self._frontier.size
        salt = os.urandom(HASH_BYTES)
        leaf = leaf_hash(entry_leaf_data(draft.kind, salt, draft.note))
        self._db.execute(
            "INSERT INTO entry VALUES(?,?,?,?,?,?,?,?)",
            (
                index,
                int(draft.kind),
                salt,
                draft.note,
                identity,
                leaf,
                draft.body,
                draft.body_salt,
            ),
        )
        if draft.envelope is not None:
            link = chain_link(draft.envelope, draft.identity)
            runs = self._runs.get((link.agent, link.stream, link.epoch))
            if runs is not None:
                extend(runs, link.seq, draft.identity)
            self._db.execute(
                "INSERT INTO envelope VALUES(?,?,?,?,?,?,?,?)",
                (
                    index,
                    link.agent,
                    link.stream,
                    link.epoch,
                    link.seq,
                    link.prev,
                    link.t_first,
                    link.t_last,
                ),
            )
        if draft.header is not None:
            self._db.execute(
                "INSERT INTO fact VALUES(?,?,?)", (index, draft.header.chain, draft.header.seq)
            )
        self._frontier.append(leaf)
        return index, True

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries [start, stop) in order, read in blocks."""
        end = self.size if stop is None else min(stop, self.size)
        while start < end:
            block = min(start + 1000, end)
            with self._lock:
                rows = self._db.execute(
                    "SELECT idx, kind, salt, note, identity, body, body_salt FROM entry "
                    "WHERE idx>=? AND idx<? ORDER BY idx",
                    (start, block),
                ).fetchall()
            for idx, kind, salt, note, identity, body, body_salt in rows:
                yield Entry(
                    idx, EntryKind(kind), salt, note, bytes(identity).hex(), body, body_salt
                )
            start = block

    def entry(self, index: int) -> Entry:
        """One entry. Raises JournalError where there is none."""
        for entry in self.entries(index, index + 1):
            return entry
        raise JournalError(f"the journal has no entry {index}, it ends at {self.size}")

    def facts(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Facts among entries [start, stop) in order; envelopes are not read."""
        end = self.size if stop is None else min(stop, self.size)
        with self._lock:
            rows = self._db.execute(
                "SELECT idx FROM fact WHERE idx>=? AND idx<? ORDER BY idx", (start, end)
            ).fetchall()
        for row in rows:
            yield self.entry(row[0])

    def facts_of(self, chain: str) -> list[Entry]:
        """Entries of a fact chain in the order of seq."""
        with self._lock:
            rows = self._db.execute(
                "SELECT idx FROM fact WHERE chain=? ORDER BY seq", (chain,)
            ).fetchall()
        return [self.entry(row[0]) for row in rows]

    def chain_length(self, chain: str) -> tuple[int, str]:
        """Number of facts of a chain and the identity of the last one ("" = none)."""
        with self._lock:
            row = self._db.execute(
                "SELECT f.seq, e.identity FROM fact f JOIN entry e ON e.idx=f.idx "
                "WHERE f.chain=? ORDER BY f.seq DESC LIMIT 1",
                (chain,),
            ).fetchone()
        return (0, "") if row is None else (int(row[0]) + 1, bytes(row[1]).hex())

    def chain_heads(self) -> list[ChainHead]:
        """Length and last identity of every fact chain."""
        with self._lock:
            names = [row[0] for row in self._db.execute("SELECT DISTINCT chain FROM fact")]
            return [ChainHead(name, *self.chain_length(name)) for name in sorted(names)]

    def stream_heads(self) -> list[StreamHead]:
        """Last envelope of each epoch of each stream."""
        with self._lock:
            rows = self._db.execute(
                "SELECT v.agent, v.stream, v.epoch, v.seq, e.identity FROM envelope v "
                "JOIN entry e ON e.idx=v.idx JOIN (SELECT agent a, stream s, epoch p, max(seq) m "
                "FROM envelope GROUP BY agent, stream, epoch) ON v.agent=a AND v.stream=s "
                "AND v.epoch=p AND v.seq=m"
            ).fetchall()
        return sorted(StreamHead(a, s, p, q, bytes(i).hex()) for a, s, p, q, i in rows)

    def held(self, agent: str, stream: str, epoch: str) -> list[tuple[int, str]]:
        """(seq, identity) of the envelopes of an epoch, in order; of twins the smaller one."""
        with self._lock:
            rows = self._db.execute(
                "SELECT v.seq, min(e.identity) FROM envelope v JOIN entry e ON e.idx=v.idx "
                "WHERE v.agent=? AND v.stream=? AND v.epoch=? GROUP BY v.seq ORDER BY v.seq",
                (agent, stream, epoch),
            ).fetchall()
        return [(int(seq), bytes(identity).hex()) for seq, identity in rows]

    def runs(self, agent: str, stream: str, epoch: str) -> tuple[Run, ...]:
        """Unbroken runs of an epoch: (first seq, last seq, identity of the last)."""
        place = (agent, stream, epoch)
        with self._lock:
            known = self._runs.get(place)
            if known is None:
                known = self._runs[place] = []
                for seq, name in self.held(*place):
                    extend(known, seq, name)
            return tuple((first, last, name) for first, last, name in known)

    def tree(self) -> Tree:
        """The whole tree, for proofs; reads every leaf hash."""
        tree = Tree()
        with self._lock:
            for row in self._db.execute("SELECT leaf FROM entry ORDER BY idx"):
                tree.append(row[0])
        return tree

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
        """Size of the database and its write-ahead log, bytes."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def limit_pages(self, pages: int) -> None:
        """Cap the file's size, as a full disk would (for drills)."""
        self._db.execute(f"PRAGMA max_page_count={int(pages)}")

    def verify(self) -> list[str]:
        """Faults found by recomputing every leaf and the root; empty = whole."""
        faults = []
        frontier = Frontier()
        for entry in self.entries():
            leaf = leaf_hash(entry_leaf_data(entry.kind, entry.salt, entry.note))
            row = self._db.execute("SELECT leaf FROM entry WHERE idx=?", (entry.index,)).fetchone()
            if row[0] != leaf:
                faults.append(f"entry {entry.index} is not what was entered")
            frontier.append(leaf)
        if frontier.root() != self.root():
            faults.append(f"the root of {frontier.size} entries is not the kept one")
        return faults

    def close(self) -> None:
        """Close the file; the journal cannot be used afterwards."""
        with self._lock:
            self._db.close()
