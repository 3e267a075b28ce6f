"""Bringing the journal of an earlier version to the tables of this one.

The new database is made beside the old one, entry by entry with the salts it has, and verified;
then it takes the old one's name in one step and the old one stays under another. Until that step
nothing has changed, so an upgrade that was cut short is begun anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from ingest.entry import Draft, EntryKind, JournalError
from ingest.journal import Journal
from ingest.journal_tables import SCHEMA_VERSION, tables_version
from mrv.envelope import parse
from mrv.errors import MeterprintError
from mrv.fact import parse_header
from mrv.verification.merkle import Frontier
from mrv.verification.note import SecretKey, split

GROUP = 500
"""Entries of one transaction."""
OLDEST = 1
"""Version from which it is upgraded."""

Progress = Callable[[int, int], None]
"""Told how many entries are done of how many."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did."""

    before: int
    """Version of the tables that was found."""
    after: int
    """Version now."""
    entries: int
    """Entries of the journal."""
    root: str
    """Their root, hex: the same before and after."""
    kept: str
    """Where the old database stays, "" = nothing was to be done."""


def upgrade_journal(
    path: Path, site: str, key: SecretKey, progress: Progress = lambda *_: None
) -> Upgraded:
    """Upgrade the journal at `path`; one of this version stays as it is.

    Raises JournalError where it is in use, of an unknown version, or not what was entered; then
    the old one is untouched.
    """
    version = _version(path)
    if version == SCHEMA_VERSION:
        journal = Journal(path, site, key)
        try:
            return Upgraded(version, version, journal.size, journal.root().hex(), "")
        finally:
            journal.close()
    if version != OLDEST:
        raise JournalError(
            f"{path} has tables of version {version}, this program reads {OLDEST} and "
            f"{SCHEMA_VERSION}",
            hint="use the program that wrote it",
        )
    old: Any = _open_alone(path)
    try:
        return _upgrade(old, path, site, key, progress)
    except apsw.Error as error:
        raise JournalError(
            f"{path} cannot be upgraded: {error}", hint="restore a backup"
        ) from error
    finally:
        old.close()


def _version(path: Path) -> int | None:
    if not path.exists():
        raise JournalError(f"{path} does not exist")
    try:
        db: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return tables_version(db)
        finally:
            db.close()
    except (apsw.Error, ValueError, TypeError) as error:
        raise JournalError(f"{path} cannot be read: {error}", hint="restore a backup") from error


def _open_alone(path: Path) -> Any:
    """The old database, for this process alone."""
    db: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=DELETE")  # folds its log in: it becomes one file
        db.execute("BEGIN EXCLUSIVE")
    except apsw.BusyError as error:
        db.close()
        raise JournalError(f"{path} is in use", hint="stop the site, then upgrade") from error
    return db


def _upgrade(old: Any, path: Path, site: str, key: SecretKey, progress: Progress) -> Upgraded:
    stored = old.execute("SELECT value FROM meta WHERE name='frontier'").fetchone()
    frontier = Frontier.from_bytes(stored[0]) if stored else Frontier()
    known = old.execute("SELECT value FROM meta WHERE name='site'").fetchone()
    if known is None or known[0] != site:
        raise JournalError(f"{path} is not the journal of site {site}")
    new = path.with_name(path.name + ".upgrading")
    _remove(new)
    journal = Journal(new, site, key)
    try:
        group: list[Draft] = []
        for draft in _drafts(old):
            group.append(draft)
            if len(group) == GROUP:
                _enter(journal, group)
                progress(journal.size, frontier.size)
                group = []
        _enter(journal, group)
        faults = journal.verify()
        if journal.root() != frontier.root():
            faults.append(f"{journal.size} entries lead to another root than {frontier.size} did")
        if faults:
            raise JournalError(
                f"{path} is not what was entered: {faults[0]}", hint="restore a backup"
            )
        journal.checkpoint()
        journal.fold()
    except BaseException:
        journal.close()
        _remove(new)
        raise
    journal.close()
    progress(frontier.size, frontier.size)
    kept = path.with_name(f"{path.stem}-v{OLDEST}{path.suffix}")
    _swap(new, path, kept)
    root = frontier.root().hex()
    return Upgraded(OLDEST, SCHEMA_VERSION, frontier.size, root, str(kept))


def _drafts(old: Any) -> Iterator[Draft]:
    """Entries of a version 1 journal as drafts, with their salts."""
    rows = old.execute(
        "SELECT e.idx, e.kind, e.salt, e.note, e.identity, e.body, e.body_salt, v.seq "
        "FROM entry e LEFT JOIN envelope v USING(idx) ORDER BY e.idx"
    )
    for index, kind, salt, note, identity, body, body_salt, seq in rows:
        name = bytes(identity).hex()
        try:
            text = split(note)[0]
            if kind == EntryKind.FACT:
                header = parse_header(text)
                yield Draft(EntryKind.FACT, note, name, None, header, body, body_salt, salt)
            else:
                envelope = None if seq is None else parse(text)
                yield Draft(EntryKind(kind), note, name, envelope, salt=salt)
        except (MeterprintError, ValueError, TypeError) as error:
            raise JournalError(
                f"entry {index} is not what was entered: {error}", hint="restore a backup"
            ) from error


def _enter(journal: Journal, group: list[Draft]) -> None:
    start = journal.size
    for place, (index, new) in enumerate(journal.append(group)):
        if not new or index != start + place:
            raise JournalError(f"entry {start + place} stands twice", hint="restore a backup")


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)


def _swap(new: Path, path: Path, kept: Path) -> None:
    """Give the new database the name of the old one, which stays as `kept`."""
    if kept.exists() and not kept.samefile(path):
        raise JournalError(f"{kept} exists already", hint="move it away and upgrade again")
    if not kept.exists():
        with suppress(OSError):  # a file system without hard links
            os.link(path, kept)
    if not kept.exists():
        copy = kept.with_name(f"{kept.name}.copying")
        shutil.copy2(path, copy)
        _sync(copy)
        copy.replace(kept)
    _sync(path.parent)
    new.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
