r"""A cold file: a sealed part [first, stop) of the journal, compressed, never written again.

    MPCOLD1\n
    {"first":…,"site":…,"stop":…}\n
    blocks of 256 entries (`cold_codec`), one after the other
    per block: offset and length, 8 + 4 bytes, and the root of its 256 leaves, 32 bytes
    offset of that index, 8 bytes; MPCOLDE\n

Numbers are little-endian. Reading one entry unpacks one block.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.cold_codec import Stored, pack, unpack
from ingest.cold_sections import ColdDataError
from mrv.errors import MeterprintError
from mrv.verification.merkle import BLOCK, entry_leaf_data, leaf_hash, node_hash

MAGIC = b"MPCOLD1\n"
"""First bytes of a cold file."""
END = b"MPCOLDE\n"
"""Last bytes."""
CHECK_BYTES = 4
"""First bytes of a leaf hash that stand beside the entry, so that an altered one can be named."""
_ROW = struct.Struct("<QI32s")
_TAIL = struct.Struct("<Q8s")
CHUNK = 1 << 20
"""Bytes read at a time."""
HEAD = 4096
"""Bytes in which the header ends."""


class ColdFileError(MeterprintError):
    """A cold file that is missing, cut off or altered."""


@dataclass(frozen=True, slots=True)
class Written:
    """A cold file as it was written."""

    size: int
    """Its size, bytes."""
    sha256: bytes
    """Hash of all its bytes."""


def leaf_of(entry: Stored) -> bytes:
    """Leaf hash of an entry."""
    return leaf_hash(entry_leaf_data(entry.kind, entry.salt, entry.note))


def block_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the leaves of one block, a level at a time (RFC 6962 §2.1).

    Raises ColdFileError where there are not `BLOCK` of them.
    """
    if len(leaves) != BLOCK:
        raise ColdFileError(f"a block has {BLOCK} entries, seen {len(leaves)}")
    level = leaves
    while len(level) > 1:
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def write_cold(path: Path, site: str, first: int, blocks: Iterable[Sequence[Stored]]) -> Written:
    """Write whole blocks of entries from `first` on, and bring them to the disk."""
    digest = hashlib.sha256()
    at = 0
    rows: list[bytes] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:

        def put(data: bytes) -> None:
            nonlocal at
            file.write(data)
            digest.update(data)
            at += len(data)

        packed: list[bytes] = []
        for entries in blocks:
            leaves = [leaf_of(entry) for entry in entries]
            rows.append(block_root(leaves))
            packed.append(pack(entries, [leaf[:CHECK_BYTES] for leaf in leaves]))
        about = {"first": first, "site": site, "stop": first + BLOCK * len(packed)}
        put(MAGIC + json.dumps(about, separators=(",", ":"), sort_keys=True).encode() + b"\n")
        for place, data in enumerate(packed):
            rows[place] = _ROW.pack(at, len(data), rows[place])
            put(data)
        put(b"".join(rows) + _TAIL.pack(at, END))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return Written(at, digest.digest())


class ColdFile:
    """A cold file, open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._read_head(file.read(HEAD))
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL.size))
                at, end = _TAIL.unpack(file.read(_TAIL.size))
                count = (self.stop - self.first) // BLOCK
                if end != END or at + count * _ROW.size + _TAIL.size != size:
                    raise ColdFileError(f"{path} is cut off or altered at its end")
                file.seek(at)
                index = file.read(count * _ROW.size)
        except OSError as error:
            raise ColdFileError(f"{path} cannot be read: {error.strerror}") from error
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise ColdFileError(f"{path} is no cold file: {error}") from error
        self._index = list(_ROW.iter_unpack(index))

    def _read_head(self, data: bytes) -> None:
        magic, head, _ = data.split(b"\n", 2)
        about = json.loads(head)
        self.first, self.stop, self.site = int(about["first"]), int(about["stop"]), about["site"]
        whole = self.first % BLOCK == 0 == self.stop % BLOCK and 0 <= self.first < self.stop
        if magic + b"\n" != MAGIC or not whole:
            raise ColdFileError(f"{self.path} is no cold file of this version")

    def root(self, number: int) -> bytes:
        """Root of block `number` of the journal, as the file states it."""
        root: bytes = self._index[number - self.first // BLOCK][2]
        return root

    def block(self, number: int) -> tuple[list[Stored], list[bytes]]:
        """Entries of block `number` of the journal, and the first bytes of their leaf hashes.

        Raises ColdFileError, naming file and entries, where they cannot be unpacked. Whether they
        are what was entered is for the leaf hashes to say.
        """
        at, length, _ = self._index[number - self.first // BLOCK]
        try:
            with self.path.open("rb") as file:
                file.seek(at)
                data = file.read(length)
            if len(data) != length:
                raise ColdDataError("the block is cut off")
            entries, checks = unpack(data)
            if len(entries) != BLOCK:
                raise ColdDataError(f"{len(entries)} entries instead of {BLOCK}")
        except (ColdDataError, OSError, OverflowError, ValueError) as error:
            raise ColdFileError(
                f"entries {number * BLOCK} to {(number + 1) * BLOCK - 1} in {self.path} "
                f"cannot be read: {error}"
            ) from error
        return entries, checks


def file_hash(path: Path) -> bytes:
    """SHA-256 of a file. Raises ColdFileError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                digest.update(data)
    except OSError as error:
        raise ColdFileError(f"{path} cannot be read: {error.strerror}") from error
    return digest.digest()
