"""Signed notes as C2SP signed-note v1.0.0 defines them, with Ed25519 keys.

A note is text that ends in a newline, a blank line, and one or more lines
`— <key name> <base64(key id ‖ signature)>`. Bytes are verified before anything is parsed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from mrv.errors import EvidenceError

ED25519 = b"\x01"
"""Signature type byte of Ed25519 (C2SP signed-note, "Signature types")."""
MAX_NOTE_BYTES = 1_000_000
"""Longest note read; Go's sumdb/note has the same bound."""
MAX_SIGNATURES = 100
"""Most signature lines read; Go's sumdb/note has the same bound."""
_DASH = "— ".encode()


class NoteError(EvidenceError):
    """A note that cannot be trusted."""


class MalformedNote(NoteError):
    """The bytes are not a signed note."""


class BadSignature(NoteError):
    """A signature line of a known key does not verify."""


class UnknownSigner(NoteError):
    """No signature line is from a known key."""


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature line of a note."""

    name: str
    """Name of the key."""
    key_id: bytes
    """First 4 bytes of SHA-256(name ‖ newline ‖ type ‖ key)."""
    signature: bytes
    """The signature itself."""


def _valid_name(name: str) -> bool:
    return "+" not in name and name.split() == [name]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNote(f"not base64: {text[:24]!r}") from error


CONTROL = bytes(byte for byte in range(0x20) if byte != 0x0A)
"""Bytes no note holds: control characters but the newline (C2SP signed-note)."""


@lru_cache(maxsize=4096)
def _loaded(key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key)


@lru_cache(4096)
def _key_id(name: str, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + key).digest()[:4]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 verifier key with its name."""

    name: str
    """Name, without white space or plus."""
    key: bytes
    """32 bytes."""

    def __post_init__(self) -> None:
        if not _valid_name(self.name) or len(self.key) != 32:
            raise MalformedNote(f"not a verifier key: {self.name!r}, {len(self.key)} bytes")

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ newline ‖ type ‖ key) (C2SP signed-note)."""
        return _key_id(self.name, self.key)

    @property
    def vkey(self) -> str:
        """`name+hash+key`, the text form of a verifier key."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.key).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> PublicKey:
        """Read a vkey. Raises MalformedNote where it is not one or its hash is wrong."""
        parts = vkey.strip().split("+", 2)
        if len(parts) != 3:
            raise MalformedNote(f"a verifier key is name+hash+key, seen {vkey[:60]!r}")
        data = _base64(parts[2])
        if data[:1] != ED25519:
            raise MalformedNote(f"only Ed25519 keys are read, seen type {data[:1].hex() or '-'}")
        key = cls(parts[0], data[1:])
        if key.key_id.hex() != parts[1]:
            raise MalformedNote(f"the hash of the key {parts[0]!r} is {key.key_id.hex()}")
        return key

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's Ed25519 signature of `text` (RFC 8032)."""
        try:
            _loaded(self.key).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, repr=False)
class SecretKey:
    """An Ed25519 signing key with its name. Never printed."""

    name: str
    """Name, without white space or plus."""
    seed: bytes
    """32 bytes."""

    @classmethod
    def generate(cls, name: str) -> SecretKey:
        """Make a new key from the operating system's randomness."""
        return cls(name, os.urandom(32))

    @property
    def public(self) -> PublicKey:
        """The verifier key."""
        return PublicKey(self.name, _private(self.seed).public_key().public_bytes_raw())

    @property
    def skey(self) -> str:
        """`PRIVATE+KEY+name+hash+seed`, the text form Go's sumdb/note uses."""
        data = base64.b64encode(ED25519 + self.seed).decode()
        return f"PRIVATE+KEY+{self.name}+{self.public.key_id.hex()}+{data}"

    @classmethod
    def parse(cls, skey: str) -> SecretKey:
        """Read a secret key. Raises MalformedNote where it is not one."""
        parts = skey.strip().split("+", 4)
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
            raise MalformedNote("not a secret key: PRIVATE+KEY+name+hash+key is expected")
        data = _base64(parts[4])
        if data[:1] != ED25519 or len(data) != 33:
            raise MalformedNote("only Ed25519 secret keys are read")
        key = cls(parts[2], data[1:])
        if key.public.key_id.hex() != parts[3]:
            raise MalformedNote(f"the hash of the secret key {parts[2]!r} is wrong")
        return key

    def sign(self, text: bytes) -> bytes:
        """The Ed25519 signature of `text`, 64 bytes."""
        return _private(self.seed).sign(text)


@lru_cache(maxsize=64)
def _private(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def sign(text: bytes, *keys: SecretKey) -> bytes:
    """`text` as a note signed by `keys`. Raises MalformedNote without a final newline."""
    if not text.endswith(b"\n"):
        raise MalformedNote("the text of a note ends in a newline")
    lines = [SignatureLine(key.name, key.public.key_id, key.sign(text)) for key in keys]
    return text + b"\n" + written(lines)


def written(lines: Iterable[SignatureLine]) -> bytes:
    """Signature lines as they stand below the text of a note."""
    return "".join(
        f"— {line.name} {base64.b64encode(line.key_id + line.signature).decode()}\n"
        for line in lines
    ).encode()


def split(note: bytes) -> tuple[bytes, tuple[SignatureLine, ...]]:
    """Signed text (with its newline) and signature lines; nothing is verified here.

    Raises MalformedNote.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise MalformedNote(f"a note has at most {MAX_NOTE_BYTES} bytes, seen {len(note)}")
    place = note.rfind(b"\n\n")
    _check_encoding(note, place + 1)
    if len(note.translate(None, CONTROL)) != len(note):
        raise MalformedNote("a note holds no control character but the newline")
    if place < 0 or not note.endswith(b"\n"):
        raise MalformedNote("a note is text, a blank line and signature lines")
    text, tail = note[: place + 1], note[place + 2 :]
    lines = tail.split(b"\n")[:-1]
    if not lines or len(lines) > MAX_SIGNATURES:
        raise MalformedNote(f"a note has 1 to {MAX_SIGNATURES} signature lines, seen {len(lines)}")
    return text, tuple(_signature_line(line) for line in lines)


def _check_encoding(note: bytes, text: int) -> None:
    """Refuse what is not UTF-8; the first `text` bytes nearly always are ASCII, which is quick."""
    start = text if note[:text].isascii() else 0
    try:
        note[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedNote(f"not UTF-8 at byte {start + error.start}") from error


def _signature_line(line: bytes) -> SignatureLine:
    if not line.startswith(_DASH):
        raise MalformedNote(f"not a signature line: {line[:40]!r}")
    name, _, encoded = line[len(_DASH) :].decode().partition(" ")
    data = _base64(encoded)
    if not _valid_name(name) or len(data) < 5:
        raise MalformedNote(f"not a signature line: {line[:40]!r}")
    return SignatureLine(name, data[:4], data[4:])


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note with at least one verified signature."""

    text: bytes
    """The signed text with its newline."""
    signers: tuple[PublicKey, ...]
    """Known keys whose signature holds, in the order of the lines."""


Claim = tuple[PublicKey, SignatureLine]
"""A signature line with the known key it names."""


def claims(lines: Iterable[SignatureLine], keys: Iterable[PublicKey]) -> list[Claim]:
    """The lines that name a known key, the first one of each key: all of these have to verify."""
    known = {(key.name, key.key_id): key for key in keys}
    found = []
    for line in lines:
        key = known.pop((line.name, line.key_id), None)
        if key is not None:
            found.append((key, line))
    return found


def opened(
    text: bytes, lines: Iterable[SignatureLine], claimed: Iterable[Claim], holds: Iterable[bool]
) -> OpenedNote:
    """The note whose claims are `claimed`; `holds` says whether each verifies.

    Raises BadSignature where a known key's line does not verify, and UnknownSigner where no line
    is of a known key.
    """
    signers: list[PublicKey] = []
    for (key, line), verifies in zip(claimed, holds, strict=True):
        if not verifies:
            raise BadSignature(f"the signature of {line.name} does not verify")
        signers.append(key)
    if not signers:
        names = ", ".join(line.name for line in lines)
        raise UnknownSigner(
            f"no known key has signed: the note is signed by {names}",
            hint="enrol the key, or check which site the note comes from",
        )
    return OpenedNote(text, tuple(signers))


def open_note(note: bytes, keys: Iterable[PublicKey]) -> OpenedNote:
    """Verify a note against known keys; lines of unknown keys are passed over.

    Raises MalformedNote, BadSignature where a known key's line does not verify, and
    UnknownSigner where no line is of a known key.
    """
    text, lines = split(note)
    claimed = claims(lines, keys)
    return opened(text, lines, claimed, [key.verify(text, line.signature) for key, line in claimed])


def identity(text: bytes) -> str:
    """SHA-256 of the signed text without signature lines, hex."""
    return hashlib.sha256(text).hexdigest()
