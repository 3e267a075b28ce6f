"""Whether the tables beside the entries say what the entries say."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apsw
import msgspec

from ingest.entry import EntryKind
from ingest.fingers import marks
from ingest.journal_tables import FINGERS
from mrv.errors import MeterprintError
from mrv.fact import parse_header
from mrv.verification.note import identity, split

Rows = Callable[..., list[Any]]
"""Reads rows of the database."""
Say = Callable[..., None]
"""Told a fault: what, first and last entry."""


class _Header(msgspec.Struct):
    """The place of an envelope, as its text has it."""

    agent: str
    stream: str
    epoch: str
    seq: int


_header = msgspec.json.Decoder(_Header)


class TableCheck:
    """Derives the tables from the entries, one after the other, and compares at the end."""

    def __init__(self, rows: Rows, size: int, say: Say) -> None:
        self._rows = rows
        self._size = size
        self._say = say
        self._origin = array("q", [-1]) * size
        self._seq = array("q", bytes(8 * size))
        self._origins: dict[int, tuple[str, str, str]] = {}
        self._apart: dict[bytes, int] = {}
        self._runs: list[tuple[int, int, int, bytes]] = []
        self._ends: dict[int, set[bytes]] = {}
        self._facts: dict[int, tuple[str, int]] = {}
        self._chains: dict[str, tuple[int, bytes]] = {}
        self._finger: list[bytes] = []
        self._broken = False

    def _read(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            rows = self._rows(sql, values)
        except (apsw.Error, UnicodeDecodeError, ValueError) as error:
            self._say(f"a table cannot be read: {error}")
            self._broken = True
            return
        yield from rows

    def load(self) -> None:
        """Read what is small, and the place of each envelope."""
        for number, *place in self._read("SELECT id, agent, stream, epoch FROM origin"):
            self._origins[number] = (place[0], place[1], place[2])
        for name, index in self._read("SELECT identity, idx FROM apart"):
            self._apart[name] = index
        for origin, seq, index in self._read("SELECT origin, seq, idx FROM envelope"):
            whole = isinstance(index, int) and isinstance(origin, int) and isinstance(seq, int)
            if not whole or not 0 <= index < self._size or self._origin[index] != -1:
                self._say(f"envelope {origin}#{seq} is said to be entry {index}")
            else:
                self._origin[index], self._seq[index] = origin, seq
        for row in self._read("SELECT origin, first, last, identity FROM run"):
            self._runs.append((row[0], row[1], row[2], row[3]))
        wanted = {(origin, last) for origin, _, last, _ in self._runs}
        if wanted:
            for index in range(self._size):
                if (self._origin[index], self._seq[index]) in wanted:
                    self._ends[index] = set()

    def take(self, index: int, entry: tuple[int, bytes] | None) -> None:
        """Take in an entry; None where it cannot be read."""
        if entry is None:
            self._finger.append(b"")
            self._fingers(index)
            return
        kind, note = entry
        text = note[: note.rfind(b"\n\n") + 1]
        name = bytes.fromhex(identity(text))
        self._finger.append(name)
        if index in self._ends:
            self._ends[index].add(name)
        if self._origin[index] >= 0:
            if kind != EntryKind.ENVELOPE or self._place(text) != (
                self._origins.get(self._origin[index]),
                self._seq[index],
            ):
                self._say("stands under another place than its header says", index)
        elif self._apart.pop(name, None) != index:
            self._say("is not found by its identity or its place", index)
        if kind == EntryKind.FACT:
            self._fact(index, note, name)
        self._fingers(index)

    @staticmethod
    def _place(text: bytes) -> tuple[tuple[str, str, str], int] | None:
        try:
            header = _header.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return (header.agent, header.stream, header.epoch), header.seq

    def _fact(self, index: int, note: bytes, name: bytes) -> None:
        try:
            header = parse_header(split(note)[0])
        except MeterprintError:
            return
        self._facts[index] = (header.chain, header.seq)
        if header.seq >= self._chains.get(header.chain, (0, b""))[0]:
            self._chains[header.chain] = (header.seq + 1, name)

    def _fingers(self, index: int) -> None:
        if (index + 1) % FINGERS:
            return
        number, names = index // FINGERS, self._finger
        self._finger = []
        if not all(names):
            return
        kept = list(self._read("SELECT marks FROM finger WHERE n=?", (number,)))
        if not kept or kept[0][0] != marks(names):
            self._say("their identities are not found", index + 1 - FINGERS, index)

    def finish(self) -> None:
        """Compare what was derived with what is kept."""
        for index in self._apart.values():
            self._say("an identity stands for an entry that has another one", index)
        kept = {
            index: (chain, seq)
            for index, chain, seq in self._read("SELECT idx, chain, seq FROM fact")
        }
        for index in sorted(set(kept) | set(self._facts), key=str):
            if kept.get(index) != self._facts.get(index):
                self._say("its place in a chain of facts is not the one its header says", index)
        chains = {
            name: (count, head)
            for name, count, head in self._read("SELECT name, count, identity FROM chain")
        }
        if chains != self._chains and not self._broken:
            self._say("the heads of the fact chains are not those of the facts")
        self._compare_runs()

    def _compare_runs(self) -> None:
        numbers: dict[int, set[int]] = {number: set() for number in self._origins}
        for index in range(self._size):
            if self._origin[index] >= 0:
                numbers.setdefault(self._origin[index], set()).add(self._seq[index])
        kept: dict[int, list[tuple[int, int]]] = {}
        for origin, first, last, _ in self._runs:
            kept.setdefault(origin, []).append((first, last))
        for origin in sorted(set(numbers) | set(kept), key=str):
            seqs = numbers.get(origin, set())
            if not seqs or kept.get(origin, []) != _runs(sorted(seqs)):
                where = self._origins.get(origin, ("?", "?", "?"))
                self._say(f"the runs of stream {'/'.join(map(str, where))} are not what is held")
        ends: dict[tuple[int, int], set[bytes]] = {}
        for index, names in self._ends.items():
            ends.setdefault((self._origin[index], self._seq[index]), set()).update(names)
        for origin, _, last, name in self._runs:
            found = ends.get((origin, last))
            if found and name not in found:
                self._say(f"the last envelope of run {origin}#{last} has another identity")


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
