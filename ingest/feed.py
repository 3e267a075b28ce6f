"""Takes stretches of the journal into a store: parsed once, mended where a clock was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from ingest.entry import Entry, EntryKind
from ingest.envelope_reading import read_envelope
from ingest.journal import Journal
from ingest.mender import Mended, Mender
from ingest.series import ForgetfulStore, SeriesStore, chunks_of
from mrv.envelope import Envelope
from mrv.errors import WireError
from mrv.series import SeriesChunk
from mrv.verification.note import split

MAX_OFFERED = 2000
"""Parsed envelopes kept for a view that lags; beyond that it parses them itself."""
MENDED_AT_ONCE = 100
"""Mended envelopes of one request."""


class Feed:
    """The way from the journal into one store.

    Only a store that can forget single readings is mended; another one shows them as signed.
    """

    def __init__(self, journal: Journal, store: SeriesStore) -> None:
        self._journal = journal
        self._store = store
        self._forgetful = store if isinstance(store, ForgetfulStore) else None
        self._mender = Mender(journal)
        self._offered: dict[int, Envelope] = {}

    def offer(self, index: int, envelope: Envelope) -> None:
        """An envelope that ingest has parsed already, to spare doing it again."""
        if len(self._offered) >= MAX_OFFERED:
            self._offered.clear()
        self._offered[index] = envelope

    def take(self, start: int, stop: int, done: Callable[[int], bool] | None = None) -> int:
        """Take entries [start, stop) in; how many readings. Raises what the store raises.

        `done` says which entries are in the store already; without it, those before `start`.
        """
        is_done = done or (lambda index: index < start)
        chunks: list[SeriesChunk] = []
        readings = 0
        for entry in self._journal.entries(start, stop):
            if entry.kind is not EntryKind.ENVELOPE:
                continue
            envelope = self._offered.pop(entry.index, None) or _readable(entry)
            if envelope is None:
                continue
            readings += envelope.readings
            found = self._mender.look(envelope, entry.identity, is_done)
            if not self._mend(found, envelope, chunks):
                chunks += chunks_of(envelope)
        self._store.append(chunks)
        return readings

    def _mend(
        self, found: Iterator[Mended], envelope: Envelope, waiting: list[SeriesChunk]
    ) -> bool:
        """Move what is found, after what waits; whether the envelope itself was among it."""
        if self._forgetful is None:
            return False
        itself = False
        while some := list(islice(found, MENDED_AT_ONCE)):
            itself = itself or any(one.envelope is envelope for one in some)
            self._store.append(waiting)
            waiting.clear()
            gone = [c for one in some for o in one.former for c in chunks_of(one.at(o))]
            self._forgetful.forget(gone)
            self._forgetful.append([c for one in some for c in chunks_of(one.at(one.offset))])
        return itself


def _readable(entry: Entry) -> Envelope | None:
    try:
        return read_envelope(split(entry.note)[0])
    except WireError:
        return None  # validly signed nonsense: the engine has a finding for it
