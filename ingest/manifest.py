"""The list of a store's segments and index parts: what belongs to it, and since when."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO, TypeVar

from ingest.durable import replace_file
from mrv.errors import MeterprintError

MANIFEST = "manifest.json"
"""File of the list in the store's directory."""
FAN_IN = 8
"""Segments of one level that are merged into one of the next."""
TOP_LEVEL = 3
"""Segments of this level are merged no further: 51 million rows at 100,000 a flush."""


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A segment in the manifest."""

    file: str
    """Its file."""
    level: int
    """0 as flushed, n merged n times."""
    rows: int
    """Readings in it."""
    t_min: int
    """Earliest reading, ns UTC."""
    t_max: int
    """Latest reading, ns UTC."""
    sha256: str
    """Hash of the file, hex."""
    footer: str
    """Hash of its Parquet footer, hex; looked at whenever it is opened."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An index part in the manifest: what was learnt of the envelopes beside their readings."""

    file: str
    """Its file."""
    level: int
    """0 as flushed, n merged n times."""
    sha256: str
    """Hash of the file, hex."""
    footer: str = ""
    """Hash of its Parquet footer, hex; "" in a list written before it was kept."""


@dataclass(slots=True)
class Manifest:
    """What a store consists of."""

    number: int = 0
    """Number of the file written last."""
    taken: int = 0
    """Journal entries whose readings are in segments."""
    anchor: str = ""
    """Identity of the last of them, "" = none."""
    segments: list[SegmentEntry] = field(default_factory=list)
    """Segments, oldest first."""
    index: list[IndexEntry] = field(default_factory=list)
    """Index parts, oldest first."""

    def files(self) -> list[tuple[str, str]]:
        """Files with their hashes: segments, then index parts."""
        listed = [(entry.file, entry.sha256) for entry in self.segments]
        return [*listed, *((entry.file, entry.sha256) for entry in self.index)]

    def next_file(self, kind: str) -> str:
        """Name for a new file."""
        self.number += 1
        return f"{kind}-{self.number:08d}.parquet"

    def write(self, folder: Path) -> None:
        """Keep the list. Raises FileRefused."""
        replace_file(folder / MANIFEST, json.dumps(asdict(self), indent=1).encode(), mode=0o644)

    def altered(self, folder: Path) -> list[str]:
        """Files whose bytes are not the ones entered; empty = whole."""
        return [name for name, sha256 in self.files() if file_hash(folder / name) != sha256]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def footer_hash(path: Path) -> str:
    """SHA-256 of a Parquet file's footer, hex; "" where it has none.

    Pages carry checksums of their own, the footer does not (Parquet format, "Checksumming").
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little") + 8
        if length > size:
            return ""
        file.seek(size - length)
        return hashlib.sha256(file.read()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The list of a directory; an empty one where it has none, or one of an older layout.

    Raises MeterprintError where a file of it is missing or an index part is altered: segments are
    looked at when they are opened.
    """
    path = folder / MANIFEST
    try:
        held = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(held, dict) or not held:
            return Manifest()
        found = Manifest(
            int(held["number"]),
            int(held["taken"]),
            str(held["anchor"]),
            [SegmentEntry(**entry) for entry in held["segments"]],
            [IndexEntry(**entry) for entry in held["index"]],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MeterprintError(
            f"{path} cannot be read: {error}",
            hint="run `meterprint rebuild`: segments are a view of the journal",
        ) from error
    for name, _ in found.files():
        if not (folder / name).exists():
            raise MeterprintError(
                f"segment {name} is missing in {folder}",
                hint="run `meterprint rebuild`: segments are a view of the journal",
            )
    for part in found.index:
        path = folder / part.file
        footer = footer_hash(path) == part.footer
        if not (footer if part.footer else file_hash(path) == part.sha256):
            raise MeterprintError(f"{part.file} in {folder} is not what was written")
    return found


Listed = TypeVar("Listed", SegmentEntry, IndexEntry)


def ripe(entries: Sequence[Listed]) -> list[Listed]:
    """The oldest entries of a level that has enough to merge; empty where none has."""
    for level in range(TOP_LEVEL):
        alike = [entry for entry in entries if entry.level == level]
        if len(alike) >= FAN_IN:
            return alike[:FAN_IN]
    return []


def instead(entries: Sequence[Listed], old: Sequence[Listed], new: Listed) -> list[Listed]:
    """The list with `new` in the place of the first of `old`."""
    gone = {entry.file for entry in old}
    found: list[Listed] = []
    for entry in entries:
        if entry.file not in gone:
            found.append(entry)
        elif new not in found:
            found.append(new)
    return found


def claim(path: Path) -> TextIO | None:
    """The writer's lock of a directory, None where another process has it."""
    try:
        file = path.open("a")
    except OSError:
        return None  # a directory we may only read
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
