"""Results of batches on disk, so that a start does not compute the history again.

A view: whatever is in here follows from the journal and can be thrown away. One transaction holds
the results and the number of journal entries they rest on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import apsw
import msgspec

from footprint.batch import METHOD, BatchResult, BatchState
from ingest.batch_order import BatchOrder
from mrv.measurement.uncertainty import Components

LAYOUT = f"3/{METHOD}"
"""Layout of the tables and version of the method; another one is thrown away."""
HELD = 2000
"""Results kept in memory besides those not written yet; others are read again when asked for."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS result(
  name TEXT PRIMARY KEY, state TEXT NOT NULL, digest TEXT NOT NULL, mark TEXT NOT NULL,
  rules TEXT NOT NULL, body BLOB NOT NULL)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision(
  name TEXT NOT NULL, number INTEGER NOT NULL, idx INTEGER NOT NULL, digest TEXT NOT NULL,
  state TEXT NOT NULL, footprint TEXT NOT NULL, PRIMARY KEY(name, number)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Revision:
    """A figure that was issued for a batch, and when it became known."""

    index: int
    """Journal size at which it was computed."""
    digest: str
    """Digest of the result."""
    state: BatchState
    """State then."""
    footprint: str
    """kgCO2e per unit then, or of the batch where there is no good output."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What stored results rest on."""

    entries: int
    """Journal entries taken into account."""
    anchor: str
    """Identity of the last one, "" = none."""
    stale: frozenset[str] = frozenset()
    """Batches still provisional whose stored result is older than that."""


def _encode(value: Any) -> Any:
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Components):
        return dict(value)
    raise NotImplementedError(f"{type(value)} in a result")


def _decode(kind: type, value: Any) -> Any:
    if kind is Fraction:
        return Fraction(value)
    if kind is Components:
        return Components(value)
    raise NotImplementedError(f"{kind} in a result")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode)
_DECODER: Any = msgspec.msgpack.Decoder(BatchResult, dec_hook=_decode)


def _mark(result: BatchResult, digest: str) -> str:
    """What tells a result with its findings from another, hex."""
    return hashlib.sha256(repr((digest, result.batch, result.findings)).encode()).hexdigest()


class ResultStore(MutableMapping[str, BatchResult]):
    """Results by batch: read when asked for, written by `save`; so many stay in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._held: dict[str, BatchResult] = {}
        self._states: dict[str, BatchState] = {}
        self._digests: dict[str, str] = {}
        self.provisional: set[str] = set()
        """Batches whose figure still waits for something."""
        self.estimated: set[str] = set()
        """Batches in which policy stands in for what is missing."""
        self._marks: dict[str, str] = {}
        self._changed: set[str] = set()
        self._turn = threading.Lock()
        self.order = BatchOrder()
        """Batches that have a result, newest first."""
        self._count = itertools.count(1)
        self._stamps: dict[str, int] = {}
        self._floor = 0
        self.rules: Counter[str] = Counter()
        """Findings of all results, by rule."""
        self._revisions: dict[str, list[Revision]] = {}
        self._fresh: list[tuple[str, int]] = []
        self._db: Any = None
        self.basis = Basis(0, "")
        if path is not None:
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            self._connect(path)
        except apsw.Error:
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            self._connect(path)

    def _connect(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))
        self._db.set_busy_timeout(10_000)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # a view: what is lost is computed again
        for statement in SCHEMA.split(";\n"):
            self._db.execute(statement)
        known = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if known.get("layout") != LAYOUT:
            self._db.execute("DROP TABLE result; DROP TABLE revision; DELETE FROM meta")
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            return
        listed = self._db.execute("SELECT name, state, digest, mark, rules FROM result")
        for name, state, digest, mark, rules in listed:
            self.rules.update(json.loads(rules))
            self._states[name] = BatchState(state)
            self._digests[name], self._marks[name] = digest, mark
            self._sort_in(name, self._states[name])
        stale = json.loads(known["stale"]) if "stale" in known else self.provisional
        self.basis = Basis(int(known["entries"]), str(known["anchor"]), frozenset(stale))

    def __getitem__(self, name: str) -> BatchResult:
        held = self._held.get(name)
        if held is None:
            if name not in self._states:
                raise KeyError(name)
            row = self._db.execute("SELECT body FROM result WHERE name=?", (name,)).fetchone()
            if row is None:  # it was let go of meanwhile
                raise KeyError(name)
            read = _DECODER.decode(row[0])
            with self._turn:
                held = self._held.setdefault(name, read)
                self._let_go()
        return held

    def _let_go(self) -> None:
        """Keep no more in memory than is allowed, but what is not written yet."""
        if self._db is None or len(self._held) <= HELD:
            return
        spare = len(self._held) - HELD // 2
        for name in [name for name in self._held if name not in self._changed][:spare]:
            del self._held[name]

    def __setitem__(self, name: str, result: BatchResult) -> None:
        self.put(name, result)

    def put(self, name: str, result: BatchResult) -> bool:
        """Enter a result; whether it or its findings are other ones.

        Its digest is computed where somebody asks for it: of an open batch that is seldom.
        """
        try:
            return self._enter(name, result)
        finally:
            self.order.put(name, result.batch.start)
            self._stamps[name] = next(self._count)

    def _enter(self, name: str, result: BatchResult) -> bool:
        held = self._held.get(name)
        if held is not None:
            if held == result:
                return False
        elif name in self._marks and self._marks[name] == _mark(result, result.digest()):
            self._held[name] = result
            return False
        self._digests.pop(name, None)
        self.rules.subtract(self._rules_of(name))
        self.rules.update(finding.rule for finding in result.findings)
        with self._turn:
            self._changed.add(name)
            self._held[name] = result
        self._states[name] = result.state
        self._sort_in(name, result.state)
        return True

    def _sort_in(self, name: str, state: BatchState | None) -> None:
        """A batch is in another state now, None = it is none any more."""
        sorts = (
            (BatchState.PROVISIONAL, self.provisional),
            (BatchState.FINAL_ESTIMATED, self.estimated),
        )
        for kind, names in sorts:
            if state is kind:
                names.add(name)
            else:
                names.discard(name)

    def stamp(self, name: str) -> int:
        """A number that is another one whenever a batch was computed: for what is made of a result.

        Ask for it before the result: what is new meanwhile then counts as old, never the reverse.
        """
        return self._stamps.get(name, self._floor)

    def _rules_of(self, name: str) -> Counter[str]:
        """Findings of a result as it is, by rule."""
        held = self._held.get(name)
        if held is not None:
            return Counter(finding.rule for finding in held.findings)
        if name not in self._states:
            return Counter()
        row = self._db.execute("SELECT rules FROM result WHERE name=?", (name,)).fetchone()
        return Counter(json.loads(row[0]))

    def __delitem__(self, name: str) -> None:
        if name not in self._states:
            raise KeyError(name)
        self.rules.subtract(self._rules_of(name))
        del self._states[name]
        self._digests.pop(name, None)
        self._marks.pop(name, None)
        self._held.pop(name, None)
        self._sort_in(name, None)
        self._changed.add(name)
        self.order.drop(name)
        self._stamps[name] = next(self._count)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._states))

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, name: object) -> bool:
        return name in self._states

    @property
    def states(self) -> Mapping[str, BatchState]:
        """State of every batch, without reading its result."""
        return self._states

    def digest(self, name: str) -> str:
        """Digest of a batch's result, "" where there is none."""
        found = self._digests.get(name)
        if found is None:
            held = self._held.get(name)
            if held is None:
                return ""
            found = held.digest()
            if self._held.get(name) is held:
                self._digests[name] = found
        return found

    def revisions(self, name: str) -> Sequence[Revision]:
        """Figures issued for a batch, oldest first."""
        held = self._revisions.get(name)
        if held is None:
            rows = (
                ()
                if self._db is None
                else self._db.execute(
                    "SELECT idx, digest, state, footprint FROM revision "
                    "WHERE name=? ORDER BY number",
                    (name,),
                )
            )
            held = self._revisions[name] = [
                Revision(index, digest, BatchState(state), footprint)
                for index, digest, state, footprint in rows
            ]
        return held

    def revise(self, name: str, revision: Revision) -> None:
        """Note a figure, where it is another one than the last."""
        history = list(self.revisions(name))
        if not history or history[-1].digest != revision.digest:
            self._fresh.append((name, len(history)))
            self._revisions[name] = [*history, revision]

    def save(self, basis: Basis) -> None:
        """Write what changed; it then rests on `basis`.

        A disk that refuses costs nothing but the time to compute it again at the next start.
        """
        if self._db is None or (basis == self.basis and not self._changed):
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._write()
            for name, value in (
                ("layout", LAYOUT),
                ("entries", basis.entries),
                ("anchor", basis.anchor),
                ("stale", json.dumps(sorted(basis.stale))),
            ):
                self._db.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (name, value))
            self._db.execute("COMMIT")
        except apsw.Error:
            if self._db.in_transaction:
                with suppress(apsw.Error):  # the transaction ends even where this is refused
                    self._db.execute("ROLLBACK")
            return
        self.basis = basis
        with self._turn:
            self._changed.clear()
            self._let_go()
        self._fresh.clear()

    def _write(self) -> None:
        for name in self._changed:
            result = self._held.get(name)
            if result is None:
                self._db.execute("DELETE FROM result WHERE name=?", (name,))
            else:
                digest = self.digest(name)
                self._marks[name] = _mark(result, digest)
                self._db.execute(
                    "INSERT OR REPLACE INTO result VALUES(?,?,?,?,?,?)",
                    (
                        name,
                        result.state.value,
                        digest,
                        self._marks[name],
                        json.dumps(self._rules_of(name)),
                        _ENCODER.encode(result),
                    ),
                )
        for name, number in self._fresh:
            r = self._revisions[name][number]
            self._db.execute(
                "INSERT OR REPLACE INTO revision VALUES(?,?,?,?,?,?)",
                (name, number, r.index, r.digest, r.state.value, r.footprint),
            )

    def clear(self) -> None:
        """Forget everything."""
        self._held, self._states, self._digests, self._marks = {}, {}, {}, {}
        self.provisional.clear()
        self.estimated.clear()
        self.order.clear()
        self._stamps, self._floor = {}, next(self._count)
        self.rules.clear()
        self._revisions, self._changed, self._fresh = {}, set(), []
        self.basis = Basis(0, "")
        if self._db is not None:
            self._db.execute("DELETE FROM result; DELETE FROM revision; DELETE FROM meta")

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None
