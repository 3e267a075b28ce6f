"""A disk that loses its power: what of a recorded run is left on it.

What was synced stays. Of every write since, each sector is dropped, kept, or torn in the middle,
independently of the others and of their order. A truncation since may or may not have happened.
Names behave as in a journalling file system: those made or removed since the last sync of the
folder come through in order, up to some point.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SECTOR = 512
FATES = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Chances of a sector to be kept; one is drawn for each cut."""
TORN = 0.2
"""Share of sectors torn in the middle."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on a file, as the database asked for it."""

    kind: str
    """create | write | truncate | sync | delete | done (a step was reported)."""
    file: str = ""
    """Name in the folder."""
    at: int = 0
    """Offset, size, or number of steps."""
    data: bytes = b""
    """What is written."""


@dataclass(slots=True)
class _File:
    durable: bytearray
    pending: list[Operation] = field(default_factory=list)


def _write(image: bytearray, at: int, data: bytes) -> None:
    if len(image) < at:
        image.extend(bytes(at - len(image)))
    image[at : at + len(data)] = data


def _resize(image: bytearray, size: int) -> None:
    del image[size:]
    image.extend(bytes(size - len(image)))


class Disk:
    """Follows the operations of a run; `cut` gives the files as they are found afterwards.

    `fates` counts what became of unsynced sectors, truncations and names of each file: (file,
    kept | torn | dropped | …).
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        base = {name: _File(bytearray(data)) for name, data in (files or {}).items()}
        self._named: dict[str, _File] = dict(base)
        self._now: dict[str, _File] = dict(base)
        self._renamings: list[tuple[str, _File | None]] = []
        self.reported = 0
        self.fates: Counter[tuple[str, str]] = Counter()

    def apply(self, operation: Operation) -> None:
        """Take in one operation."""
        kind, name = operation.kind, operation.file
        if kind == "done":
            self.reported = operation.at
        elif kind == "create":
            if name not in self._now:
                self._now[name] = _File(bytearray())
                self._renamings.append((name, self._now[name]))
        elif kind == "delete":
            if self._now.pop(name, None) is not None:
                self._renamings.append((name, None))
                if operation.at:
                    self._sync_names()
        elif kind == "sync":
            self._sync(name)
        else:
            self._now[name].pending.append(operation)

    def _sync(self, name: str) -> None:
        file = self._now[name]
        for operation in file.pending:
            if operation.kind == "write":
                _write(file.durable, operation.at, operation.data)
            else:
                _resize(file.durable, operation.at)
        file.pending = []
        if name.endswith(("-wal", "-journal")):  # SQLite syncs the folder with a new one of these
            self._sync_names()

    def _sync_names(self) -> None:
        for name, file in self._renamings:
            self._rename(self._named, name, file)
        self._renamings = []

    @staticmethod
    def _rename(names: dict[str, _File], name: str, file: _File | None) -> None:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file

    def cut(self, choice: random.Random) -> dict[str, bytes]:
        """The files after a power cut now. The run may be followed further afterwards."""
        names = dict(self._named)
        through = choice.randint(0, len(self._renamings))
        for place, (name, file) in enumerate(self._renamings):
            if place < through:
                self._rename(names, name, file)
            self.fates[name, "name kept" if place < through else "name dropped"] += 1
        keep = choice.choice(FATES)
        return {name: self._left(name, file, choice, keep) for name, file in names.items()}

    def _left(self, name: str, file: _File, choice: random.Random, keep: float) -> bytes:
        if not file.pending:
            return bytes(file.durable)
        image = bytearray(file.durable)
        for operation in file.pending:
            if operation.kind == "truncate":
                kept = choice.random() < keep
                if kept:
                    _resize(image, operation.at)
                self.fates[name, "truncation kept" if kept else "truncation dropped"] += 1
                continue
            for at, part in _sectors(operation):
                draw = choice.random()
                if draw < keep * (1 - TORN) or keep == 1:
                    _write(image, at, part)
                    fate = "kept"
                elif draw < keep:
                    _write(image, at, part[: choice.randrange(len(part))])
                    fate = "torn"
                else:
                    fate = "dropped"
                self.fates[name, fate] += 1
        return bytes(image)


def _sectors(operation: Operation) -> Iterable[tuple[int, bytes]]:
    start, end = operation.at, operation.at + len(operation.data)
    while start < end:
        stop = min((start // SECTOR + 1) * SECTOR, end)
        yield start, operation.data[start - operation.at : stop - operation.at]
        start = stop
