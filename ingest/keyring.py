"""The site's keys on disk: made at first start, readable by the owner only, never in the repo."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ingest.durable import make_file, make_folder, read_file
from mrv.errors import InputError, MeterprintError
from mrv.verification.note import MalformedNote, SecretKey

ROLES = ("root", "facts", "receipts", "checkpoints")
"""Keys a site has; the root enrols the others and may be kept offline afterwards."""
SALT = 32
"""Bytes of the salt."""


def load_or_make_key(path: Path, name: str, *, numbered: bool = False) -> SecretKey:
    """The secret key at `path`, made there if absent.

    Raises MeterprintError where it is no key, or that of another name. A `numbered` key's name may
    end in -2, -3 …: it has taken the place of an earlier one.
    """
    if path.exists():
        return existing_key(path, name, numbered=numbered)
    make_folder(path.parent, mode=0o700)
    key = SecretKey.generate(name)
    make_file(path, f"{key.skey}\n".encode())
    return key


def existing_key(path: Path, name: str, *, numbered: bool = False) -> SecretKey:
    """The secret key of a name in a file. Raises MeterprintError."""
    try:
        key = SecretKey.parse(read_file(path).decode())
    except (UnicodeDecodeError, MalformedNote) as error:
        raise MeterprintError(
            f"{path} is no secret key: {error}", hint="restore it from a backup"
        ) from error
    head, _, tail = key.name.rpartition("-")
    if key.name != name and not (numbered and head == name and tail.isdigit()):
        raise MeterprintError(
            f"{path} holds the key of {key.name}, not of {name}",
            hint="use the state directory of that site, or another one",
        )
    return key


@dataclass(frozen=True, slots=True)
class Keyring:
    """Secret keys of a site by role."""

    site: str
    """Name of the site."""
    root_if_here: SecretKey | None
    """Signs key enrolment and revocation; None = it is kept offline."""
    facts: SecretKey
    """Signs all other facts."""
    receipts: SecretKey
    """Signs receipts."""
    checkpoints: SecretKey
    """Signs checkpoints; its name is the origin of the journal."""
    salt: bytes
    """Secret from which subject salts are derived, 32 bytes."""

    @property
    def root(self) -> SecretKey:
        """The root key. Raises InputError where it is kept offline."""
        if self.root_if_here is None:
            raise InputError(
                "the root key is not here: only it enrols and revokes keys",
                field="keys/root.key",
                hint="put root.key back for this command, and take it away again",
            )
        return self.root_if_here

    @classmethod
    def open(cls, directory: Path, site: str, *, make: bool = True) -> Keyring:
        """Load the keys. With `make` those that are missing are made: only for a new site.

        Without it all but the root must be there: a key made anew would sign what nobody believes.
        Raises MeterprintError.
        """

        def key(role: str, name: str, *, numbered: bool = False) -> SecretKey:
            path = _there(directory / f"{role}.key", make=make)
            return load_or_make_key(path, f"{site}/{name}", numbered=numbered)

        offline = not make and not (directory / "root.key").exists()
        root = None if offline else key("root", "root")
        facts, receipts = key("facts", "facts"), key("receipts", "receipts")
        checkpoints = key("checkpoints", "journal", numbered=True)
        salt_path = _there(directory / "salt", make=make)
        if not salt_path.exists():
            make_file(salt_path, os.urandom(SALT))
        salt = read_file(salt_path)
        if len(salt) != SALT:
            raise MeterprintError(
                f"{salt_path} has {len(salt)} bytes, expected {SALT}",
                hint="restore it from a backup",
            )
        return cls(site, root, facts, receipts, checkpoints, salt)


def _there(path: Path, *, make: bool) -> Path:
    if not make and not path.exists():
        raise MeterprintError(
            f"{path} is missing, and this site has signed with it",
            hint="restore it from a backup",
        )
    return path


def renew_origin(directory: Path, site: str) -> tuple[SecretKey, SecretKey]:
    """Give the journal a new origin: (old, new) checkpoint key; the old one's file is kept.

    A journal restored from a backup must not sign under the name of the one it was copied from:
    both could grow, and two checkpoints of one origin would contradict each other.
    """
    path = directory / "checkpoints.key"
    old = load_or_make_key(path, f"{site}/journal", numbered=True)
    _, _, tail = old.name.removeprefix(f"{site}/journal").rpartition("-")
    number = int(tail or "1")
    path.rename(directory / f"checkpoints-{number}.key")
    return old, load_or_make_key(path, f"{site}/journal-{number + 1}", numbered=True)
