"""An entry of the journal, on its way in and as it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from mrv.envelope import Envelope
from mrv.errors import MeterprintError
from mrv.fact import FactHeader


class JournalError(MeterprintError):
    """The journal cannot be opened, read or written."""


class EntryKind(IntEnum):
    """Type byte of a journal entry."""

    ENVELOPE = 1
    FACT = 2
    TABLE = 3


class RegistryMoved(JournalError):
    """The registry has facts that whoever judged these entries did not know; nothing was kept."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry on its way in."""

    kind: EntryKind
    """What it is."""
    note: bytes
    """The signed note, byte for byte as it came."""
    identity: str
    """SHA-256 of its signed text, hex."""
    envelope: Envelope | None = None
    """Parsed, where it is an envelope whose header can be read."""
    header: FactHeader | None = None
    """Parsed, where it is a fact."""
    body: bytes | None = None
    """Body of a fact."""
    body_salt: bytes | None = None
    """Salt of the body."""
    salt: bytes | None = None
    """Salt of its leaf where it has one already; None = one is drawn."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the journal."""

    index: int
    """Its number."""
    kind: EntryKind
    """What it is."""
    salt: bytes
    """Salt of its leaf."""
    note: bytes
    """The signed note."""
    identity: str
    """Identity, hex."""
    body: bytes | None
    """Body of a fact."""
    body_salt: bytes | None
    """Salt of the body."""
