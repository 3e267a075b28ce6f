"""Writing facts into the journal and reading them back."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from typing import Any

from ingest.entry import Draft, EntryKind
from ingest.journal import Journal
from ingest.keyring import Keyring
from mrv.errors import MeterprintError
from mrv.fact import (
    REGISTRY,
    SALT_BYTES,
    Fact,
    FactHeader,
    open_body,
    parse_header,
    render_body,
    render_header,
    salted_id,
)
from mrv.verification.audit import KEY_FACTS
from mrv.verification.note import PublicKey, SecretKey, identity, sign, split


class FactWriter:
    """States facts in the name of a site. Chains stay gapless: one writer at a time."""

    def __init__(self, journal: Journal, keyring: Keyring) -> None:
        self._journal = journal
        self._keyring = keyring
        self._lock = threading.Lock()

    def subject_salt(self, subject: str) -> bytes:
        """The salt of a subject: the same one each time, so that its id is the same."""
        return hmac.new(self._keyring.salt, subject.encode(), hashlib.sha256).digest()

    def record(
        self,
        chain: str,
        kind: str,
        subject: str,
        body: dict[str, Any],
        *,
        author: str,
        valid_from: int | None = None,
        valid_to: int | None = None,
        supersedes: int | None = None,
    ) -> Fact:
        """State a fact; returns it as the journal has it. Raises JournalError."""
        subject_salt = self.subject_salt(subject)
        data = render_body(subject, subject_salt, body)
        body_salt = os.urandom(SALT_BYTES)
        key = self._keyring.root if kind in KEY_FACTS else self._keyring.facts
        with self._lock:
            seq, prev = self._journal.chain_length(chain)
            header = FactHeader(
                site=self._keyring.site,
                chain=chain,
                type=kind,
                seq=seq,
                prev=prev,
                valid_from=valid_from,
                valid_to=valid_to,
                supersedes=supersedes,
                author=author,
                subject_id=salted_id(subject_salt, subject.encode()),
                body_id=salted_id(body_salt, data),
            )
            text = render_header(header)
            name = identity(text)
            draft = Draft(
                EntryKind.FACT,
                sign(text, key),
                name,
                header=header,
                body=data,
                body_salt=body_salt,
            )
            index, _ = self._journal.append([draft])[0]
        return Fact(header, name, subject, body, index)

    def found(self, author: str) -> None:
        """Enrol the site's own keys, where the registry does not have them yet.

        They are its first facts, entered one by one: a site that was killed meanwhile has some.
        """
        ring = self._keyring
        roles = ("root", "facts", "receipts", "checkpoints")
        for role in roles[self._journal.chain_length(REGISTRY)[0] :]:
            key: SecretKey = getattr(ring, role)
            self.enrol(role, key.public, author)

    def enrol(self, role: str, key: PublicKey, author: str) -> Fact:
        """Enrol a key for a role."""
        body = {"role": role, "name": key.name, "vkey": key.vkey}
        return self.record(REGISTRY, "key_enrolled", key.vkey, body, author=author)

    def revoke(self, key: PublicKey, author: str) -> Fact:
        """Strike a key out from now on; what it signed before stays signed."""
        body = {"name": key.name, "vkey": key.vkey}
        return self.record(REGISTRY, "key_revoked", key.vkey, body, author=author)


def read_fact(note: bytes, body: bytes | None, salt: bytes | None, index: int) -> Fact:
    """A fact from its journal entry. Raises MeterprintError where it does not hold together."""
    text, _ = split(note)
    header = parse_header(text)
    if body is None or salt is None:
        raise MeterprintError(f"the body of fact {header.chain}#{header.seq} is missing")
    subject, content = open_body(header, body, salt)
    return Fact(header, identity(text), subject, content, index)


def load_facts(journal: Journal, start: int = 0, stop: int | None = None) -> list[Fact]:
    """All facts of the journal, in the order of record."""
    return [
        read_fact(entry.note, entry.body, entry.body_salt, entry.index)
        for entry in journal.facts(start, stop)
    ]
