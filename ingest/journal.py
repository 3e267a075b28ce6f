"""The journal: one per site, append only, in SQLite (WAL, synchronous=FULL, group commit).

An entry is kept with its salt, its leaf hash and, for a fact, the body beside it. Entry numbers
run from 0 without a gap and are the record time. Old parts stand in cold files (`rotation`);
reading does not tell the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import apsw

from ingest.entry import Draft, Entry, EntryKind, JournalError, RegistryMoved
from ingest.fingers import Fingers
from ingest.journal_file import JournalFile
from ingest.journal_reading import EntryReader
from ingest.journal_rows import NewRows
from ingest.origins import Origins, Place
from ingest.runs import Run
from mrv.fact import REGISTRY
from mrv.verification.checkpoint import (
    ChainHead,
    Checkpoint,
    StreamHead,
    extension_lines,
    stream_list_hash,
)
from mrv.verification.merkle import (
    BlockTree,
    Frontier,
    Tree,
)
from mrv.verification.note import SecretKey, sign

__all__ = ["Draft", "Entry", "EntryKind", "Journal", "JournalError", "RegistryMoved"]


class Journal(JournalFile):
    """The journal of one site. One writer; all methods may be called from any thread."""

    def __init__(self, path: Path, site: str, key: SecretKey) -> None:
        super().__init__(path, site, key)
        self._reader = EntryReader(self._db, self._lock, self._cold, lambda: self.size)
        self._origins = Origins(self._db)
        self._fingers = Fingers(self._db, self._reader.identities)
        self._blocks = Tree()

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

    def append(
        self, drafts: Sequence[Draft], *, registry: int | None = None
    ) -> list[tuple[int, bool]]:
        """Commit drafts in one transaction; (index, whether it is new) of each.

        An identity the journal has already is not entered twice. Raises JournalError where the
        disk refuses, and RegistryMoved where the registry has not the `registry` facts by which
        the drafts were judged; then nothing of the group is kept.
        """
        with self._lock:
            before = self._frontier.to_bytes()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self.follow()
                before = self._frontier.to_bytes()
                if registry is not None and registry != self.chain_length(REGISTRY)[0]:
                    raise RegistryMoved(f"the registry of {self.path} has facts beyond {registry}")
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

    def facts_of(self, chain: str, start: int = 0) -> list[Entry]:
        """Entries of a fact chain from number `start` on, in their order."""
        return self._reader.facts_of(chain, start)

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
