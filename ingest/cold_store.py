"""The cold files of a journal: which parts there are, and their blocks at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.entry import JournalError
from ingest.journal_lock import JournalLock
from mrv.verification.merkle import BLOCK

if TYPE_CHECKING:
    from ingest.cold_codec import Stored
    from ingest.cold_file import ColdFile

KEPT_BLOCKS = 8
"""Unpacked blocks kept at hand, about a megabyte each."""
KEPT_FILES = 64
"""Files whose index is kept at hand."""
HINT = "run `meterprint journal check`; put the file back from a backup"
"""What to do about a file that is missing or altered."""


@dataclass(frozen=True, slots=True)
class Part:
    """A sealed part of the journal."""

    first: int
    """Its first entry."""
    stop: int
    """The entry after its last one."""
    file: str
    """Name of its file in the folder of cold files."""
    size: int
    """Size of the file, bytes."""
    sha256: bytes
    """Hash of the file."""


@dataclass(frozen=True, slots=True)
class ColdBlock:
    """An unpacked block."""

    entries: list[Stored]
    """Its entries."""
    leaves: list[bytes]
    """Their leaf hashes."""


class ColdStore:
    """Reads the cold files of one journal; blocks are unpacked without holding its lock."""

    def __init__(self, db: Any, lock: JournalLock, folder: Path) -> None:
        self._db = db
        self._lock = lock
        self.folder = folder
        self._parts: list[Part] = []
        self._files: dict[str, ColdFile] = {}
        self._blocks: dict[int, ColdBlock] = {}
        self.reload()

    def reload(self) -> None:
        """Look for parts that were sealed since, by this process or another one."""
        with self._lock:
            last = self._parts[-1].first if self._parts else -1
            rows = self._db.execute(
                "SELECT first, stop, file, size, sha256 FROM part WHERE first>? ORDER BY first",
                (last,),
            )
            for row in rows:
                kinds = (int, int, str, int, bytes)
                if not all(isinstance(v, k) for v, k in zip(row, kinds, strict=True)):
                    raise JournalError(
                        f"what is noted of the cold file from entry {row[0]} on is damaged",
                        hint="restore a backup",
                    )
                self._parts.append(Part(*row))

    @property
    def stop(self) -> int:
        """The first entry that is in no cold file."""
        return self._parts[-1].stop if self._parts else 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in order."""
        return tuple(self._parts)

    @property
    def size(self) -> int:
        """Size of all files, bytes."""
        return sum(part.size for part in self._parts)

    def _part(self, index: int) -> Part:
        low, high = 0, len(self._parts)
        while low < high:
            middle = (low + high) // 2
            if self._parts[middle].stop <= index:
                low = middle + 1
            else:
                high = middle
        if low == len(self._parts) or self._parts[low].first > index:
            raise JournalError(f"no cold file holds entry {index}", hint=HINT)
        return self._parts[low]

    def block(self, number: int) -> ColdBlock:
        """Entries of a block, compared with its root in the tree.

        Raises JournalError naming file and entries where they are not what was entered.
        """
        with self._lock:
            block = self._blocks.pop(number, None)
            if block is not None:
                self._blocks[number] = block
                return block
            part = self._part(number * BLOCK)
            row = self._db.execute("SELECT root FROM block WHERE n=?", (number,)).fetchone()
        block = self._unpack(part, number, b"" if row is None else row[0])
        with self._lock:
            self._blocks[number] = block
            if len(self._blocks) > KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        return block

    def _unpack(self, part: Part, number: int, root: bytes) -> ColdBlock:
        from ingest.cold_file import ColdFileError, block_root, leaf_of  # noqa: PLC0415 (numpy)

        try:
            entries = self._file(part).block(number)[0]
        except ColdFileError as error:
            raise JournalError(str(error), hint=HINT) from error
        leaves = [leaf_of(entry) for entry in entries]
        if block_root(leaves) != root:
            raise JournalError(
                f"entries {number * BLOCK} to {(number + 1) * BLOCK - 1} in "
                f"{self.folder / part.file} are not what was entered",
                hint=HINT,
            )
        return ColdBlock(entries, leaves)

    def _file(self, part: Part) -> ColdFile:
        from ingest.cold_file import ColdFile, ColdFileError  # noqa: PLC0415 (numpy)

        with self._lock:
            file = self._files.get(part.file)
        if file is None:
            file = ColdFile(self.folder / part.file)
            if (file.first, file.stop) != (part.first, part.stop):
                raise ColdFileError(f"{file.path} holds another part than its name says")
            with self._lock:
                while len(self._files) >= KEPT_FILES:
                    del self._files[next(iter(self._files))]
                self._files[part.file] = file
        return file
