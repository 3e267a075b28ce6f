"""What becomes of a message: journalled, or quarantined with its reason (design §3, hand-over).

Bytes are verified before anything is parsed. Validly signed is always journalled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ingest.entry import Draft, EntryKind
from mrv.channel import ChannelTable, parse_table
from mrv.envelope import MAX_BYTES, Envelope, parse
from mrv.errors import MeterprintError
from mrv.verification.note import (
    BadSignature,
    MalformedNote,
    PublicKey,
    UnknownSigner,
    identity,
    open_note,
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


def judge(
    note: bytes,
    agent: str,
    site: str,
    keys_of: Callable[[str], Sequence[PublicKey]],
    *,
    table: bool = False,
    revoked_keys_of: Callable[[str], Sequence[PublicKey]] = lambda _: (),
) -> Accepted | Quarantined:
    """Decide on a message that came on the topic of `agent`; `table` on its birth topic."""
    if len(note) > MAX_BYTES:
        return Quarantined("too_large", f"{len(note)} bytes")
    try:
        text, lines = split(note)
    except MalformedNote as error:
        return Quarantined("malformed", str(error))
    keys = keys_of(agent)
    try:
        opened = open_note(note, keys)
    except (BadSignature, UnknownSigner, MalformedNote) as error:
        if _signed_by(note, revoked_keys_of(agent)):
            return Quarantined("revoked_key", f"a key of {agent} that was revoked has signed it")
        if not keys:
            return Quarantined("unknown_agent", agent)
        return Quarantined("bad_signature", str(error))
    if len(lines) != len(opened.signers) or note[len(text) + 1 :] != written(lines):
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


def _signed_by(note: bytes, keys: Sequence[PublicKey]) -> bool:
    try:
        open_note(note, keys)
    except MeterprintError:
        return False
    return True


def _spoken(text: bytes, *, table: bool) -> Envelope | ChannelTable:
    """What a signed text says. Raises MeterprintError where it is neither.

    The topic says what to expect and no more: an envelope somebody repeats on the birth topic is
    an envelope, or it would stand in the journal as a table in place of the real one.
    """
    try:
        return parse_table(text) if table else parse(text)
    except MeterprintError:
        with suppress(MeterprintError):
            return parse(text) if table else parse_table(text)
        raise


def _in_another_name(kind: EntryKind, note: bytes, name: str) -> Accepted:
    """What an agent signed in the name of another: kept beside the real one, never instead of it.

    The identity leaves the signature out, so the real one has the same; this one goes under the
    hash of the whole note.
    """
    own = hashlib.sha256(note).hexdigest()
    return Accepted(Draft(kind, note, own), "another agent", sent_as=name)
