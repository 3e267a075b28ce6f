"""What becomes of a message: journalled, or quarantined with its reason (design §3, hand-over).

Bytes are verified before anything is parsed. Validly signed is always journalled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest.entry import Draft, EntryKind
from mrv.channel import parse_table
from mrv.envelope import MAX_BYTES, parse
from mrv.errors import MeterprintError
from mrv.verification.note import (
    BadSignature,
    MalformedNote,
    PublicKey,
    UnknownSigner,
    identity,
    open_note,
    split,
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that proves nothing."""

    reason: str
    """Code: too_large | malformed | unknown_agent | bad_signature."""
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
) -> Accepted | Quarantined:
    """Decide on a message that came on the topic of `agent`; `table` on its birth topic."""
    if len(note) > MAX_BYTES:
        return Quarantined("too_large", f"{len(note)} bytes")
    try:
        text, _ = split(note)
    except MalformedNote as error:
        return Quarantined("malformed", str(error))
    keys = keys_of(agent)
    if not keys:
        return Quarantined("unknown_agent", agent)
    try:
        open_note(note, keys)
    except BadSignature as error:
        return Quarantined("bad_signature", str(error))
    except (UnknownSigner, MalformedNote) as error:
        return Quarantined("bad_signature", str(error))
    name = identity(text)
    if table:
        try:
            parsed = parse_table(text)
        except MeterprintError as error:
            return Accepted(Draft(EntryKind.TABLE, note, name), str(error))
        if parsed.agent != agent:
            return _in_another_name(EntryKind.TABLE, note, name)
        fault = "" if parsed.site == site else "another site"
        return Accepted(Draft(EntryKind.TABLE, note, name), fault)
    try:
        envelope = parse(text)
    except MeterprintError as error:
        return Accepted(Draft(EntryKind.ENVELOPE, note, name), str(error))
    if envelope.agent != agent:
        return _in_another_name(EntryKind.ENVELOPE, note, name)
    if envelope.site != site:
        return Accepted(Draft(EntryKind.ENVELOPE, note, name), "another site")
    return Accepted(Draft(EntryKind.ENVELOPE, note, name, envelope=envelope))


def _in_another_name(kind: EntryKind, note: bytes, name: str) -> Accepted:
    """What an agent signed in the name of another: kept beside the real one, never instead of it.

    The identity leaves the signature out, so the real one has the same; this one goes under the
    hash of the whole note.
    """
    own = hashlib.sha256(note).hexdigest()
    return Accepted(Draft(kind, note, own), "another agent", sent_as=name)
