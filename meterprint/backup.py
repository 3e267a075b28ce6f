"""Backup of a state directory while it runs, and its restoration under a new origin.

A backup holds what cannot be made again: keys, journal, quarantine, accounts, settings and the
outboxes of agents that run here. Segments and other views are not in it; they come back from the
journal. Databases are copied first, then the cold files that the copied journal names: those never
change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw

from ingest.durable import sync_folder
from ingest.facts import FactWriter
from ingest.journal import Journal
from ingest.journal_file import COLD_FOLDER
from ingest.keyring import Keyring, existing_key, renew_origin
from meterprint.settings import FILE as SETTINGS
from meterprint.site import ACCOUNTS, AUTHOR, JOURNAL, MARKER, QUARANTINE, site_name
from meterprint.upgrade import upgrade_state
from mrv.errors import InputError
from mrv.fact import REGISTRY

MANIFEST = "backup.json"
"""First file of a backup: what is in it, with hashes."""
VERSION = 1
"""Layout of a backup."""
CHUNK = 1 << 20
"""Bytes read at a time."""
AGENTS = "agents"
"""Folder of the agents that run at the site."""
ASIDE = "-damaged-"
"""In the name of an outbox that was set aside: no database any more, perhaps the only copy."""

DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError, TypeError, AttributeError,
    NotImplementedError, RuntimeError, EOFError, OverflowError,
)  # fmt: skip
"""What a damaged archive raises where it is opened or read."""

Progress = Callable[[int, int], None]
"""Told how many files are done of how many."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was backed up or restored."""

    site: str
    """Name of the site."""
    files: int
    """Files in the archive."""
    entries: int
    """Entries of the journal."""
    root: str
    """Root of the journal as it was backed up, hex."""
    origin: str
    """Origin of the journal: of a restored one the new name."""
    damaged: tuple[str, ...] = ()
    """Outboxes of agents that are damaged; they were taken as they are."""


def _files(state: Path) -> Iterator[Path]:
    """Files that a backup holds, relative to the state directory."""
    wanted = [state / MARKER, *sorted((state / "keys").iterdir())]
    wanted += [state / name for name in (JOURNAL, QUARANTINE, ACCOUNTS, SETTINGS)]
    agents = state / AGENTS
    if agents.is_dir():
        kept = (p for p in agents.rglob("*") if p.suffix in (".db", ".key") or ASIDE in p.name)
        wanted += sorted(kept)
    yield from (path.relative_to(state) for path in wanted if path.is_file())


def _copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a database that is in use, without the pages it does not use.

    It is one read of one state: writers go on beside it and do not make it begin again. Raises
    InputError where the database is damaged.
    """
    origin: Any = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        origin.set_busy_timeout(10_000)
        origin.execute("VACUUM INTO ?", (str(target),))
    except apsw.Error as error:
        raise InputError(
            f"{source} cannot be copied: {error}", hint="run `meterprint journal check`"
        ) from error
    finally:
        origin.close()


def _copy(state: Path, name: Path, target: Path) -> bool:
    """Copy a file as it is now; False where it is a damaged outbox, copied byte by byte.

    Raises InputError where another database is damaged.
    """
    source = state / name
    if source.suffix == ".db" and ASIDE not in source.name:
        try:
            _copy_database(source, target)
        except InputError:
            if name.parts[0] != AGENTS:
                raise
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
            return False
    else:
        shutil.copyfile(source, target)
    return True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _journal_head(path: Path, site: str, keys: Path) -> tuple[int, str, str, list[Path]]:
    """Size, root and origin of a copied journal, and its cold files in the state directory."""
    journal = Journal(path, site, Keyring.open(keys, site, make=False).checkpoints)
    try:
        cold = [Path(COLD_FOLDER) / part.file for part in journal.parts()]
        return journal.size, journal.root().hex(), journal.origin, cold
    finally:
        journal.close()


def backup(state: Path, target: Path, progress: Progress = lambda *_: None) -> BackupReport:
    """Write a backup of `state` to `target`, a zip file; secret keys are in it.

    Raises InputError where there is no site, `target` exists, or a cold file is missing.
    """
    site = site_name(state)
    if site is None:
        raise InputError(f"{state} is no state directory", hint="name it by --state")
    if target.exists():
        raise InputError(f"{target} exists already", hint="choose another name")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is no folder", hint="make it, or choose another name")
    names = list(_files(state))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        held: list[tuple[Path, Path]] = []
        damaged: list[str] = []
        total = 2 * len(names)
        for place, name in enumerate(names):
            copy = Path(folder) / f"{place}{name.suffix}"
            if not _copy(state, name, copy):
                damaged.append(name.as_posix())
            held.append((name, copy))
            progress(place + 1, total)
        copied = next(source for name, source in held if name == Path(JOURNAL))
        size, root, origin, cold = _journal_head(copied, site, state / "keys")
        for name in cold:
            if not (state / name).is_file():
                raise InputError(
                    f"{state / name} is missing", hint="run `meterprint journal check`"
                )
            held.append((name, state / name))
        total = len(names) + len(held)
        about = {
            "v": VERSION,
            "site": site,
            "entries": size,
            "root": root,
            "origin": origin,
            "files": {name.as_posix(): _sha256(source) for name, source in held},
        }
        partial = Path(folder) / "archive.zip"
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(MANIFEST, json.dumps(about, indent=1))
            for place, (name, source) in enumerate(held):
                pressed = zipfile.ZIP_STORED if name.suffix == ".cold" else zipfile.ZIP_DEFLATED
                archive.write(source, name.as_posix(), pressed)
                progress(len(names) + place + 1, total)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(0o600)
        partial.rename(target)
    sync_folder(target.parent)
    return BackupReport(site, len(held), size, root, origin, tuple(damaged))


def _open(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    try:
        about = json.loads(archive.read(MANIFEST))
        files = about["files"]
        names = {name for name in archive.namelist() if name != MANIFEST}
        if about["v"] != VERSION or names != set(files) or "site" not in about:
            raise ValueError(f"version {about.get('v')!r}, {len(names)} of {len(files)} files")
    except DAMAGED as error:
        raise InputError(
            f"{path} is no whole backup: {error}", hint="use another backup of the site"
        ) from error
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
        raise InputError(f"{path} names files outside the state directory")
    return dict(about)


def _extract(archive: zipfile.ZipFile, path: Path, folder: Path, progress: Progress) -> None:
    files = _open(archive, path)["files"]
    for place, (name, stated) in enumerate(sorted(files.items())):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with archive.open(name) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
                file.flush()
                os.fsync(file.fileno())
        except DAMAGED as error:
            raise InputError(f"{name} in {path} is damaged: {error}", file=str(path)) from error
        target.chmod(0o600)
        if _sha256(target) != stated:
            raise InputError(f"{name} in {path} is not the file that was backed up")
        progress(place + 1, len(files))
    for touched in {folder, *((folder / name).parent for name in files)}:
        sync_folder(touched)


def restore(
    path: Path,
    state: Path,
    progress: Progress = lambda *_: None,
    root_key: Path | None = None,
) -> BackupReport:
    """Restore a backup into `state`, which must not exist; its journal gets a new origin.

    The journal is checked entry by entry. A fact quotes the origin, size and root it continues,
    and the old checkpoint key is revoked. `root_key` is the file of a root key that is kept
    offline. Raises InputError.
    """
    if state.exists() and (not state.is_dir() or any(state.iterdir())):
        raise InputError(f"{state} is not empty", hint="restore into a directory of its own")
    try:
        opened = zipfile.ZipFile(path)
    except (OSError, *DAMAGED) as error:
        raise InputError(f"{path} is no backup: {error}") from error
    state = state.absolute()
    folder = state.with_name(state.name + ".restoring")
    shutil.rmtree(folder, ignore_errors=True)
    with opened as archive:
        about = _open(archive, path)
        folder.mkdir(parents=True, mode=0o700)
        try:
            _extract(archive, path, folder, progress)
            site = str(about["site"])
            origin = _continue(folder, site, about, root_key)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    if state.exists():
        state.rmdir()
    folder.rename(state)
    sync_folder(state.parent)
    return BackupReport(
        site, len(about["files"]), int(about["entries"]), str(about["root"]), origin
    )


def _continue(folder: Path, site: str, about: dict[str, Any], root_key: Path | None) -> str:
    """Check the journal and go on with it under a new origin; its name."""
    upgraded = upgrade_state(folder)
    if upgraded.kept:
        Path(upgraded.kept).unlink()  # the backup still has it
    old_ring = Keyring.open(folder / "keys", site, make=False)
    journal = Journal(folder / JOURNAL, site, old_ring.checkpoints)
    try:
        faults = journal.verify()
        if journal.root().hex() != about["root"]:
            faults.append(f"the root is {journal.root().hex()}, expected {about['root']}")
        checkpoint = journal.checkpoint()
    finally:
        journal.close()
    if faults:
        raise InputError(f"the journal of the backup does not hold: {faults[0]}")
    if root_key is not None:
        lent = existing_key(root_key, f"{site}/root")
    elif old_ring.root_if_here is None:
        raise InputError(
            "the backup holds no root key, and a new origin has to be enrolled",
            field="--root-key",
            hint="name the file of the root key that is kept offline",
        )
    else:
        lent = old_ring.root
    old, new = renew_origin(folder / "keys", site)
    ring = replace(Keyring.open(folder / "keys", site, make=False), root_if_here=lent)
    journal = Journal(folder / JOURNAL, site, new)
    try:
        writer = FactWriter(journal, ring)
        writer.enrol("checkpoints", new.public, AUTHOR)
        writer.revoke(old.public, AUTHOR)
        body = {"checkpoint": checkpoint.decode(), "origin": old.name}
        writer.record(REGISTRY, "journal_restored", new.name, body, author=AUTHOR)
        journal.checkpoint()
    finally:
        journal.close()
    return new.name
