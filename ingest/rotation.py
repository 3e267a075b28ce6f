"""Sealing old parts of the journal into cold files, beside a site that goes on working.

A part is written to a file of its own, brought to the disk, read back, and every leaf of it
recomputed; only then is it entered as sealed, and only after that are its envelopes deleted from
the database, a block at a time. Whenever the machine stops, the entries stand in the database, in
a verified file, or in both.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import structlog

from ingest.cold_store import Part
from ingest.durable import sync_folder
from ingest.entry import JournalError
from mrv.errors import MeterprintError
from mrv.verification.merkle import BLOCK

if TYPE_CHECKING:
    from ingest.cold_codec import Stored
    from ingest.journal import Journal

PART = 64 * BLOCK
"""Entries of a full part: 1.6 million readings at 100 an envelope, 6 to 8 MB."""
LOOK_S = 10.0
"""How often a running site looks whether a part can be sealed, s."""
SHARE = 2.0
"""A running site rests this many times as long as a block took, so that ingest goes first."""

log = structlog.get_logger("rotation")

Rest = Callable[[float], bool]
"""Told how long a block took, s; True = stop."""
Progress = Callable[[int, int], None]
"""Told how many blocks are done of how many."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How much of the journal stays in the database."""

    entries: int = 65_536
    """Newest entries that stay."""
    bytes: int = 1_000_000_000
    """Bytes the database may use; where envelopes are large, fewer entries stay."""

    def keep(self, used: int, entries: int) -> int:
        """How many of the newest entries stay, where `entries` in the database use `used` bytes."""
        if used <= self.bytes:
            return self.entries
        return min(self.entries, entries * self.bytes // used)


DEFAULT_POLICY = Policy()
"""6.5 million readings at 100 an envelope, some 300 MB."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What one rotation did."""

    parts: int
    """Parts sealed."""
    entries: int
    """Entries in them."""
    bytes_before: int
    """Size of their notes and salts, bytes."""
    bytes_after: int
    """Size of the cold files, bytes."""
    hot_start: int
    """First entry that is in no cold file now."""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One rotation at a time, in whatever process.

    Raises JournalError while there is another, and where the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "lock").open("w") as file:
            _lock(file, folder)
            yield
    except OSError as error:
        raise JournalError(
            f"{folder} cannot be written: {error}", hint="free disk space, and look at the disk"
        ) from error


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise JournalError(f"another program is sealing parts in {folder}") from error


def due(journal: Journal, keep: int, *, whole_parts: bool = True) -> list[tuple[int, int]]:
    """Parts [first, stop) that can be sealed where the newest `keep` entries stay."""
    unit = PART if whole_parts else BLOCK
    start = journal.hot_start
    stop = max(start, journal.size - keep) // unit * unit
    parts = []
    while start < stop:
        end = min(stop, (start // PART + 1) * PART)
        parts.append((start, end))
        start = end
    return parts


def rotate(
    journal: Journal,
    keep: int,
    *,
    whole_parts: bool = True,
    progress: Progress = lambda *_: None,
    rest: Rest = lambda _: False,
) -> Rotated:
    """Seal what lies before the newest `keep` entries.

    `whole_parts` seals full parts only; otherwise the last part may be smaller. Raises
    JournalError where an entry is not what was entered, a file cannot be written, or another
    program is at it; then nothing is deleted.
    """
    folder = journal.cold_folder
    with _alone(folder):
        known = journal.parts()
        if known:
            _drop(journal, known[-1], rest)  # where the last rotation was cut short
        _clear(folder, {part.file for part in known})
        parts = due(journal, keep, whole_parts=whole_parts)
        blocks = sum((stop - first) // BLOCK for first, stop in parts)
        before = after = entries = done = sealed = 0
        for first, stop in parts:
            taken = _Taken(journal, first, stop, rest, lambda n: progress(done + n, blocks))  # noqa: B023
            part = taken.seal()
            if part is None:
                break
            _drop(journal, part, rest)
            done += (stop - first) // BLOCK
            before, after = before + taken.bytes, after + part.size
            entries, sealed = entries + stop - first, sealed + 1
        return Rotated(sealed, entries, before, after, journal.hot_start)


def _clear(folder: Path, known: set[str]) -> None:
    """Remove files that a rotation left behind before it had sealed them."""
    for path in folder.iterdir():
        if path.suffix in (".cold", ".writing") and path.name not in known:
            path.unlink()


def _drop(journal: Journal, part: Part, rest: Rest) -> None:
    """Delete the envelopes of a sealed part from the database, a block in each transaction."""
    for number in range(part.first // BLOCK, part.stop // BLOCK):
        if journal.drop_block(number) and rest(0.0):
            return


class _Stopped(Exception):
    """The rotation was asked to stop."""


class _Taken:
    """A part on its way into a cold file."""

    def __init__(
        self, journal: Journal, first: int, stop: int, rest: Rest, told: Callable[[int], None]
    ) -> None:
        self._journal = journal
        self._first = first
        self._stop = stop
        self._rest = rest
        self._told = told
        self.bytes = 0

    def _blocks(self) -> Iterator[list[Stored]]:
        from time import perf_counter  # noqa: PLC0415

        from ingest.cold_codec import Stored  # noqa: PLC0415 (numpy, pyarrow)

        for number in range(self._first // BLOCK, self._stop // BLOCK):
            started = perf_counter()
            rows = self._journal.hot_block(number)
            if len(rows) != BLOCK:
                raise JournalError(
                    f"{len(rows)} of {BLOCK} entries from {number * BLOCK} can be read",
                    hint="run `meterprint journal check`",
                )
            entries = [Stored(kind, salt, note, name) for kind, salt, note, name, _ in rows]
            self.bytes += sum(len(e.note) + len(e.salt) for e in entries)
            yield entries
            self._told(number + 1 - self._first // BLOCK)
            if self._rest(perf_counter() - started):
                raise _Stopped

    def seal(self) -> Part | None:
        """Write, read back, enter as sealed; None where it was asked to stop."""
        from ingest.cold_file import write_cold  # noqa: PLC0415 (numpy, pyarrow)

        folder = self._journal.cold_folder
        name = f"{self._first:012d}-{self._stop:012d}.cold"
        writing = folder / f"{name}.writing"
        try:
            written = write_cold(writing, self._journal.site, self._first, self._blocks())
            self._read_back(writing, written.sha256)
            writing.rename(folder / name)
            sync_folder(folder)
        except _Stopped:
            writing.unlink(missing_ok=True)
            return None
        except (OSError, MeterprintError) as error:
            writing.unlink(missing_ok=True)
            raise JournalError(
                f"entries {self._first} to {self._stop - 1} stay in the database: {error}",
                hint=getattr(error, "hint", "") or f"look at the disk of {folder}",
            ) from error
        part = Part(self._first, self._stop, name, written.size, written.sha256)
        self._journal.seal(part)
        return part

    def _read_back(self, path: Path, sha256: bytes) -> None:
        """Compare the file on the disk with the database and the tree, entry by entry."""
        from ingest.cold_file import (  # noqa: PLC0415 (numpy, pyarrow)
            ColdFile,
            ColdFileError,
            block_root,
            file_hash,
            leaf_of,
        )

        if file_hash(path) != sha256:
            raise ColdFileError("the disk gives back other bytes than were written")
        file = ColdFile(path)
        for number in range(self._first // BLOCK, self._stop // BLOCK):
            entries, _ = file.block(number)
            leaves = [leaf_of(entry) for entry in entries]
            kept = self._journal.hot_leaves(number)
            for place, (mine, theirs) in enumerate(zip(leaves, kept, strict=True)):
                if mine != theirs:
                    raise ColdFileError(f"entry {number * BLOCK + place} is not what was entered")
            root = self._journal.block_root(number)
            if block_root(leaves) != root or file.root(number) != root:
                raise ColdFileError(f"the tree has another root for the block {number}")


class Rotator:
    """Seals parts of a running site's journal when they are due, from a thread of its own."""

    def __init__(self, journal: Journal, policy: Policy, look: float = LOOK_S) -> None:
        self._journal = journal
        self._policy = policy
        self._look = look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rotation", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _work(self) -> None:
        while not self._stopping.wait(self._look):
            try:
                journal = self._journal
                hot = journal.size - journal.hot_start
                keep = self._policy.keep(journal.bytes_in_use(), hot)
                if not due(journal, keep):
                    continue
                done = rotate(journal, keep, rest=self._rested)
            except MeterprintError as error:
                log.warning("rotation_refused", error=str(error), hint=error.hint)
                continue
            log.info("sealed", parts=done.parts, entries=done.entries, hot_start=done.hot_start)

    def _rested(self, seconds: float) -> bool:
        return self._stopping.wait(SHARE * seconds)

    def stop(self) -> None:
        """End; a part that is being written is begun anew at the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
