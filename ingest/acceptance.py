"""What becomes of a message: journalled, or quarantined with its reason (design §3, hand-over).

Bytes are verified before anything is parsed. Validly signed is always journalled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ingest.entry import Draft, EntryKind
from ingest.envelope_reading import read_envelope
from mrv.channel import MAX_TABLE_BYTES, ChannelTable, parse_table
from mrv.envelope import MAX_BYTES, Envelope
from mrv.errors import MeterprintError
from mrv.verification.note import (
    BadSignature,
    Claim,
    MalformedNote,
    PublicKey,
    SignatureLine,
    UnknownSigner,
    claims,
    identity,
    open_note,
    opened,
    split,
    written,
)

ADDED = "lines that no enrolled key has signed, or not as they are written"
"""Beside a genuine signature: a copy somebody has added to. It would be kept in place of the real
note, as both have the identity of their text."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that proves nothing."""

    reason: str
    """Code: too_large | malformed | unknown_agent | revoked_key | bad_signature."""
    detail: str
    """What was seen."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message to be journalled and receipted."""

    draft: Draft
    """Its entry."""
    fault: str = ""
    """Why its header links nothing, "" = it can be read."""
    sent_as: str = ""
    """Identity its sender knows it by, where the journal keeps it under another one."""

    @property
    def receipted(self) -> str:
        """Identity to name in a receipt."""
        return self.sent_as or self.draft.identity


@dataclass(frozen=True, slots=True)
class Presented:
    """A message whose form is a signed note; whether its signatures hold is not known yet."""

    note: bytes
    """The whole note."""
    text: bytes
    """Its signed text."""
    lines: tuple[SignatureLine, ...]
    """Its signature lines."""
    claimed: list[Claim]
    """Those that name an enrolled key, with the key: all have to verify."""

    def signed(self) -> list[tuple[PublicKey, bytes, bytes]]:
        """(key, text, signature) to be verified."""
        return [(key, self.text, line.signature) for key, line in self.claimed]


def present(
    note: bytes,
    agent: str,
    keys_of: Callable[[str], Sequence[PublicKey]],
    size: int = 0,
    *,
    table: bool = False,
) -> Presented | Quarantined:
    """Look at the form of a message on the topic of `agent`; `size` bytes where it was cut short.

    Nothing but the signature lines is looked at. A `table` may be larger than an envelope.
    """
    if max(size, len(note)) > (MAX_TABLE_BYTES if table else MAX_BYTES):
        return Quarantined("too_large", f"{max(size, len(note))} bytes")
    try:
        text, lines = split(note)
    except MalformedNote as error:
        return Quarantined("malformed", str(error))
    keys = keys_of(agent)
    if not keys:
        return Quarantined("unknown_agent", agent)
    return Presented(note, text, lines, claims(lines, keys))


def decide(
    shown: Presented, holds: Sequence[bool], agent: str, site: str, *, table: bool = False
) -> Accepted | Quarantined:
    """Decide on a message; `holds` says whether each of its claims verifies.

    It came on the topic of `agent`; `table` on its birth topic.
    """
    note, text, lines = shown.note, shown.text, shown.lines
    try:
        found = opened(text, lines, shown.claimed, holds)
    except (BadSignature, UnknownSigner) as error:
        return Quarantined("bad_signature", str(error))
    if len(lines) != len(found.signers) or note[len(text) + 1 :] != written(lines):
        return Quarantined("bad_signature", ADDED)
    name = identity(text)
    try:
        spoken = _spoken(text, table=table)
    except MeterprintError as error:
        kind = EntryKind.TABLE if table else EntryKind.ENVELOPE
        return Accepted(Draft(kind, note, name), str(error))
    envelope = spoken if isinstance(spoken, Envelope) else None
    kind = EntryKind.TABLE if envelope is None else EntryKind.ENVELOPE
    if spoken.agent != agent:
        return _in_another_name(kind, note, name)
    if spoken.site != site:
        return Accepted(Draft(kind, note, name), "another site")
    return Accepted(Draft(kind, note, name, envelope=envelope))


def known_by_a_revoked_key(
    verdict: Quarantined, note: bytes, keys: Sequence[PublicKey]
) -> Quarantined:
    """The verdict on a message, by its name where one of these revoked `keys` has signed it."""
    if keys and verdict.reason in ("unknown_agent", "bad_signature"):
        with suppress(MeterprintError):
            signer = open_note(note, keys).signers[0]
            return Quarantined("revoked_key", f"signed by {signer.vkey}, which was revoked")
    return verdict


def judge(
    note: bytes,
    agent: str,
    site: str,
    keys_of: Callable[[str], Sequence[PublicKey]],
    *,
    table: bool = False,
    revoked_keys_of: Callable[[str], Sequence[PublicKey]] = lambda _: (),
) -> Accepted | Quarantined:
    """Decide on one message that came on the topic of `agent`; `table` on its birth topic."""
    verdict: Accepted | Quarantined | Presented = present(note, agent, keys_of, table=table)
    if isinstance(verdict, Presented):
        holds = [key.verify(text, signature) for key, text, signature in verdict.signed()]
        verdict = decide(verdict, holds, agent, site, table=table)
    if isinstance(verdict, Quarantined):
        return known_by_a_revoked_key(verdict, note, revoked_keys_of(agent))
    return verdict


def _spoken(text: bytes, *, table: bool) -> Envelope | ChannelTable:
    """What a signed text says. Raises MeterprintError where it is neither.

    The topic says what to expect and no more: an envelope somebody repeats on the birth topic is
    an envelope, or it would stand in the journal as a table in place of the real one.
    """
    try:
        return parse_table(text) if table else read_envelope(text)
    except MeterprintError:
        with suppress(MeterprintError):
            return read_envelope(text) if table else parse_table(text)
        raise


def _in_another_name(kind: EntryKind, note: bytes, name: str) -> Accepted:
    """What an agent signed in the name of another: kept beside the real one, never instead of it.

    The identity leaves the signature out, so the real one has the same; this one goes under the
    hash of the whole note.
    """
    own = hashlib.sha256(note).hexdigest()
    return Accepted(Draft(kind, note, own), "another agent", sent_as=name)
