"""The site's keys on disk: made at first start, readable by the owner only, never in the repo."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ingest.durable import make_file, make_folder, read_file
from mrv.errors import MeterprintError
from mrv.verification.note import SecretKey

ROLES = ("root", "facts", "receipts", "checkpoints")
"""Keys a site has; the root enrols the others and may be kept offline afterwards."""


def load_or_make_key(path: Path, name: str, *, numbered: bool = False) -> SecretKey:
    """The secret key at `path`, made there if absent. Raises MeterprintError on another name.

    A `numbered` key's name may end in -2, -3 …: it has taken the place of an earlier one.
    """
    if path.exists():
        key = SecretKey.parse(read_file(path).decode())
        head, _, tail = key.name.rpartition("-")
        if key.name != name and not (numbered and head == name and tail.isdigit()):
            raise MeterprintError(
                f"{path} holds the key of {key.name}, not of {name}",
                hint="use the state directory of that site, or another one",
            )
        return key
    make_folder(path.parent, mode=0o700)
    key = SecretKey.generate(name)
    make_file(path, f"{key.skey}\n".encode())
    return key


@dataclass(frozen=True, slots=True)
class Keyring:
    """Secret keys of a site by role."""

    site: str
    """Name of the site."""
    root: SecretKey
    """Signs key enrolment and revocation."""
    facts: SecretKey
    """Signs all other facts."""
    receipts: SecretKey
    """Signs receipts."""
    checkpoints: SecretKey
    """Signs checkpoints; its name is the origin of the journal."""
    salt: bytes
    """Secret from which subject salts are derived, 32 bytes."""

    @classmethod
    def open(cls, directory: Path, site: str) -> Keyring:
        """Load the keys, making those that are missing."""
        names = {"checkpoints": f"{site}/journal"}
        keys = {
            role: load_or_make_key(
                directory / f"{role}.key",
                names.get(role, f"{site}/{role}"),
                numbered=role in names,
            )
            for role in ROLES
        }
        salt_path = directory / "salt"
        if not salt_path.exists():
            make_file(salt_path, os.urandom(32))
        return cls(site, **keys, salt=read_file(salt_path))


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
