"""Facts: what people and systems state (design §3, "Facts").

A fact is a signed header with salted hashes of its subject and body; the body lies beside it. The
headers of a chain can be shown to anyone, a body only to whom it concerns. Chains have no gap:
the `registry`, and one `production/<line>` per line.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from mrv.errors import EvidenceError, WireError
from mrv.strict_json import Record, canonical, dumps, loads

FACT_VERSION = 1
"""The version this module writes and reads."""
REGISTRY = "registry"
"""Name of the chain of keys, instruments, certificates, factors, policies and labels."""
SALT_BYTES = 32
"""Length of a salt, bytes."""


def production_chain(line: str) -> str:
    """Name of the chain of a line's batch events."""
    return f"production/{line}"


@dataclass(frozen=True, slots=True)
class FactHeader:
    """The part of a fact that is signed and can be shown."""

    site: str
    """Site."""
    chain: str
    """Chain it belongs to."""
    type: str
    """What is stated, snake case: batch_started, certificate_approved …"""
    seq: int
    """Place in the chain, from 0 without a gap."""
    prev: str
    """Identity of the header before; "" at seq 0."""
    valid_from: int | None
    """Moment from which it holds, ns UTC; None = always."""
    valid_to: int | None
    """Moment at which it ceases to hold, ns UTC; None = open."""
    supersedes: int | None
    """seq of the fact of this chain that it replaces; None = none."""
    author: str
    """Who states it: a person, a system, an event id."""
    subject_id: str
    """SHA-256(subject salt ‖ subject), hex: the same subject has the same id."""
    body_id: str
    """SHA-256(body salt ‖ body), hex."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact with its body, as the journal knows it."""

    header: FactHeader
    """The header."""
    identity: str
    """Identity of the header's signed text, hex."""
    subject: str
    """Subject in clear."""
    body: dict[str, Any]
    """What is stated."""
    index: int = -1
    """Journal index; −1 = not known here."""


def salted_id(salt: bytes, data: bytes) -> str:
    """SHA-256(salt ‖ data), hex."""
    return hashlib.sha256(salt + data).hexdigest()


def render_body(subject: str, subject_salt: bytes, body: dict[str, Any]) -> bytes:
    """The bytes whose salted hash is `body_id`: canonical JSON with subject and its salt."""
    return canonical({"subject": subject, "subject_salt": subject_salt.hex(), "body": body})


def open_body(header: FactHeader, data: bytes, salt: bytes) -> tuple[str, dict[str, Any]]:
    """Subject and body of a fact, checked against its header.

    Raises EvidenceError where the hashes differ, WireError where the body is not a record.
    """
    if salted_id(salt, data) != header.body_id:
        raise EvidenceError(
            f"the body of fact {header.chain}#{header.seq} is not the one its header names",
            hint="it was changed, or it belongs to another fact",
        )
    record = Record(loads(data))
    subject = record.text("subject", limit=512)
    try:
        subject_salt = bytes.fromhex(record.text("subject_salt", limit=128))
    except ValueError as error:
        raise record.fault("subject_salt", "a hex string") from error
    body = record.raw("body")
    if not isinstance(body, dict):
        raise record.fault("body", "an object")
    record.close()
    if salted_id(subject_salt, subject.encode()) != header.subject_id:
        raise EvidenceError(
            f"the subject of fact {header.chain}#{header.seq} is not the one its header names"
        )
    return subject, body


def _time(moment: int | None) -> str | None:
    return None if moment is None else str(moment)


def render_header(header: FactHeader) -> bytes:
    """The signed text of a header: one line of JSON and a newline."""
    return (
        dumps(
            {
                "v": FACT_VERSION,
                "site": header.site,
                "chain": header.chain,
                "type": header.type,
                "seq": header.seq,
                "prev": header.prev,
                "valid_from": _time(header.valid_from),
                "valid_to": _time(header.valid_to),
                "supersedes": header.supersedes,
                "author": header.author,
                "subject_id": header.subject_id,
                "body_id": header.body_id,
            }
        )
        + b"\n"
    )


def parse_header(text: bytes) -> FactHeader:
    """The header in a note's signed text. Raises WireError naming the member."""
    if not text.endswith(b"\n") or text.count(b"\n") != 1:
        raise WireError("a fact header is one line of JSON and a newline")
    record = Record(loads(text[:-1]))
    if record.integer("v") != FACT_VERSION:
        raise record.fault("v", f"fact version {FACT_VERSION}")
    header = FactHeader(
        site=record.text("site", limit=128),
        chain=record.text("chain", limit=160),
        type=record.text("type", limit=64),
        seq=record.integer("seq"),
        prev=record.text("prev", limit=64),
        valid_from=record.optional_nanoseconds("valid_from"),
        valid_to=record.optional_nanoseconds("valid_to"),
        supersedes=None if record.raw("supersedes") is None else record.integer("supersedes"),
        author=record.text("author", limit=256),
        subject_id=record.text("subject_id", limit=64),
        body_id=record.text("body_id", limit=64),
    )
    record.close()
    return header
