"""The receiver: messages in, journal entries and signed receipts out. No MQTT in here.

`take` is given whatever has arrived; it verifies, commits once, and says what to answer. Nothing
is acknowledged before it is on disk.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog

from ingest.acceptance import (
    Accepted,
    Presented,
    Quarantined,
    decide,
    known_by_a_revoked_key,
    present,
)
from ingest.enrolled_keys import EnrolledKeys
from ingest.journal import Journal, RegistryMoved
from ingest.quarantine import Quarantine, QuarantineError, Refused
from ingest.runs import Run, runs_around
from ingest.signature_check import SignatureCheck
from mrv.receipt import Receipt, render_receipt
from mrv.verification.note import PublicKey, SecretKey, sign

COMMIT_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Bounds by which the time of transactions is told, s."""

log = structlog.get_logger("ingest")


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the broker delivered it."""

    agent: str
    """Agent of the topic."""
    kind: str
    """readings | birth."""
    topic: str
    """The whole topic."""
    payload: bytes
    """Bytes as sent; only the beginning where more came than is ever accepted."""
    size: int = 0
    """How many bytes were sent, where `payload` is only the beginning of them."""


@dataclass(frozen=True, slots=True)
class Committed:
    """An entry that is now on disk (or was already)."""

    index: int
    """Journal index."""
    new: bool
    """False for a duplicate."""
    accepted: Accepted
    """What it is."""
    message: Message
    """Where it came from."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Messages whose form is known; whether their signatures hold may still be found out."""

    messages: Sequence[Message]
    """What came."""
    shown: Sequence[Presented | Quarantined]
    """What each is by its form."""
    holds: Callable[[], Sequence[bool]]
    """Whether the signatures of all of them verify, one after the other; waits for it."""
    registry: int | None = None
    """Facts of the registry whose keys they were looked at with, None = not known."""


@dataclass(slots=True)
class Tally:
    """Counts since the start, for metrics."""

    received: int = 0
    """Messages."""
    accepted: int = 0
    """New journal entries."""
    duplicates: int = 0
    """Messages the journal had already."""
    readings: int = 0
    """Readings in new envelopes."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Messages refused, by reason."""
    not_kept: int = 0
    """Of those, messages the disk had no room for."""
    unlinked: int = 0
    """Validly signed messages whose header links nothing; the engine has a finding for each."""
    commits: int = 0
    """Transactions."""
    commit_seconds: float = 0.0
    """Time spent in them."""
    commit_buckets: list[int] = field(default_factory=lambda: [0] * len(COMMIT_BOUNDS_S))
    """How many took at most each of COMMIT_BOUNDS_S and longer than the one before."""

    def committed(self, seconds: float) -> None:
        """Count a transaction."""
        self.commits += 1
        self.commit_seconds += seconds
        place = bisect_left(COMMIT_BOUNDS_S, seconds)
        if place < len(self.commit_buckets):
            self.commit_buckets[place] += 1


class Receiver:
    """Verifies, journals, and makes receipts."""

    def __init__(
        self,
        journal: Journal,
        quarantine: Quarantine,
        key: SecretKey,
        keys_of: Callable[[str], Sequence[PublicKey]],
        revoked_keys_of: Callable[[str], Sequence[PublicKey]] = lambda _: (),
        enrolled: EnrolledKeys | None = None,
    ) -> None:
        """With `enrolled`, where the keys come from, no key is believed that was revoked since."""
        self._journal = journal
        self._quarantine = quarantine
        self._key = key
        self._keys_of = keys_of
        self._revoked_keys_of = revoked_keys_of
        self._enrolled = enrolled
        self.signatures = SignatureCheck()
        self.tally = Tally()

    def look(self, messages: Sequence[Message], beside: Executor | None = None) -> Looked:
        """Look at the form of messages, and verify their signatures together.

        `beside` verifies them while the caller does something else.
        """
        known = None if self._enrolled is None else self._enrolled.count
        shown = [
            present(m.payload, m.agent, self._keys_of, m.size, table=m.kind == "birth")
            for m in messages
        ]
        signed = [one for each in shown if isinstance(each, Presented) for one in each.signed()]
        if beside is None:
            found = self.signatures.hold(signed)
            return Looked(messages, shown, lambda: found, known)
        return Looked(messages, shown, beside.submit(self.signatures.hold, signed).result, known)

    def _judge(self, looked: Looked) -> list[Accepted | Quarantined]:
        """Decide on each message."""
        messages, shown, holds = looked.messages, looked.shown, looked.holds()
        verdicts: list[Accepted | Quarantined] = []
        place = 0
        for message, each in zip(messages, shown, strict=True):
            if isinstance(each, Quarantined):
                verdicts.append(each)
                continue
            mine = holds[place : place + len(each.claimed)]
            place += len(mine)
            table = message.kind == "birth"
            verdicts.append(decide(each, mine, message.agent, self._journal.site, table=table))
        return [
            known_by_a_revoked_key(verdict, m.payload, self._revoked_keys_of(m.agent))
            if isinstance(verdict, Quarantined)
            else verdict
            for m, verdict in zip(messages, verdicts, strict=True)
        ]

    def take(self, messages: Sequence[Message], looked: Looked | None = None) -> list[Committed]:
        """Commit what is validly signed and quarantine the rest; `looked` where that was done.

        A key counts until the fact that revokes it: where the registry has grown since messages
        were looked at, they are looked at again. Raises JournalError where the disk refuses: then
        nothing was taken and nothing may be acknowledged.
        """
        looked = looked or self.look(messages)
        while True:
            try:
                return self._commit(messages, looked)
            except RegistryMoved:
                if self._enrolled is None:
                    raise
                self._enrolled.learn(self._journal)
                looked = self.look(messages)

    def _commit(self, messages: Sequence[Message], looked: Looked) -> list[Committed]:
        verdicts = self._judge(looked)
        pairs = [(m, v) for m, v in zip(messages, verdicts, strict=True) if isinstance(v, Accepted)]
        started = time.perf_counter()
        drafts = [accepted.draft for _, accepted in pairs]
        placed = self._journal.append(drafts, registry=looked.registry) if drafts else []
        if pairs:
            self.tally.committed(time.perf_counter() - started)
        self.tally.received += len(messages)
        self._set_aside(
            [(m, v) for m, v in zip(messages, verdicts, strict=True) if isinstance(v, Quarantined)]
        )
        committed = []
        for (message, accepted), (index, new) in zip(pairs, placed, strict=True):
            committed.append(Committed(index, new, accepted, message))
            self.tally.accepted += new
            self.tally.duplicates += not new
            envelope = accepted.draft.envelope
            if new and envelope is not None:
                self.tally.readings += envelope.readings
            self.tally.unlinked += bool(accepted.fault)
        return committed

    def _set_aside(self, refused: Sequence[tuple[Message, Quarantined]]) -> None:
        """Count what proves nothing, and keep it where the disk allows."""
        if not refused:
            return
        self.tally.quarantined.update(verdict.reason for _, verdict in refused)
        now = time.time_ns()
        try:
            self._quarantine.add(
                [Refused(now, m.agent, m.topic, v.reason, v.detail, m.payload) for m, v in refused]
            )
        except QuarantineError as error:
            self.tally.not_kept += len(refused)
            log.warning("quarantine_refused", error=str(error), hint=error.hint)

    def receipts(self, committed: Sequence[Committed]) -> list[tuple[str, str, bytes]]:
        """(agent, stream, signed receipt) for what was committed; stream "" for `also` alone.

        Ranges are the runs around what was committed just now, so that a receipt stays short
        however many holes a chain has. What came again is named by its identity as well: an
        outbox restored from a backup does not know the envelope its run ends with.
        """
        places: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        also: dict[str, list[tuple[str, int]]] = {}
        for item in committed:
            envelope = item.accepted.draft.envelope
            if envelope is None or not item.new:
                named = also.setdefault(item.message.agent, [])
                named.append((item.accepted.receipted, item.index))
            if envelope is not None:
                place = (envelope.agent, envelope.stream, envelope.epoch)
                places.setdefault(place, []).append((envelope.seq, item.index))
        size = self._journal.size
        notes = []
        for (agent, stream, epoch), taken in places.items():
            first, last = min(taken)[0], max(taken)[0]
            runs = runs_around(self.runs(agent, stream, epoch), first, last)
            receipt = Receipt(
                self._journal.origin,
                agent,
                stream,
                epoch,
                tuple(runs),
                tuple(identity for identity, _ in also.pop(agent, ())),
                max(index for _, index in taken),
                size,
            )
            notes.append((agent, stream, sign(render_receipt(receipt), self._key)))
        for agent, extras in also.items():
            receipt = Receipt(
                self._journal.origin,
                agent,
                "",
                "",
                (),
                tuple(identity for identity, _ in extras),
                max(index for _, index in extras),
                size,
            )
            notes.append((agent, "", sign(render_receipt(receipt), self._key)))
        return notes

    def runs(self, agent: str, stream: str, epoch: str) -> tuple[Run, ...]:
        """Unbroken runs of an epoch the journal holds."""
        return self._journal.runs(agent, stream, epoch)
