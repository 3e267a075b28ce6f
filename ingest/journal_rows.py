"""What one group of drafts adds to the tables of the journal."""

from __future__ import annotations

import os
from typing import Any

from ingest.entry import Draft
from mrv.verification.merkle import BLOCK, HASH_BYTES, Frontier, entry_leaf_data, leaf_hash


class NewRows:
    """The rows of one group, written together."""

    def __init__(self, start: int) -> None:
        self.start = self.next = start
        self.entries: list[tuple[Any, ...]] = []
        self.envelopes: list[tuple[int, int, int]] = []
        self.apart: list[tuple[bytes, int]] = []
        self._facts: list[tuple[int, str, int]] = []
        self._blocks: list[tuple[int, bytes]] = []

    def add(self, draft: Draft, frontier: Frontier) -> int:
        """Take in a new draft; its index."""
        index = self.next
        salt = os.urandom(HASH_BYTES) if draft.salt is None else draft.salt
        leaf = leaf_hash(entry_leaf_data(draft.kind, salt, draft.note))
        name = bytes.fromhex(draft.identity)
        row = (index, int(draft.kind), leaf, name, salt, draft.body_salt, draft.note, draft.body)
        self.entries.append(row)
        if draft.header is not None:
            self._facts.append((index, draft.header.chain, draft.header.seq))
        block = frontier.append(leaf)
        if block is not None:
            self._blocks.append((index // BLOCK, block))
        self.next += 1
        return index

    def write(self, db: Any, frontier: Frontier) -> None:
        """Write all of it. Inside a transaction."""
        db.executemany("INSERT INTO entry VALUES(?,?,?,?,?,?,?,?)", self.entries)
        db.executemany("INSERT INTO envelope VALUES(?,?,?)", self.envelopes)
        if self.apart:
            db.executemany("INSERT INTO apart VALUES(?,?)", self.apart)
        for index, chain, seq in self._facts:
            db.execute("INSERT INTO fact VALUES(?,?,?)", (index, chain, seq))
            name = self.entries[index - self.start][3]
            db.execute("INSERT OR REPLACE INTO chain VALUES(?,?,?)", (chain, seq + 1, name))
        if self._blocks:
            db.executemany("INSERT INTO block VALUES(?,?)", self._blocks)
        db.execute("INSERT OR REPLACE INTO meta VALUES('frontier',?)", (frontier.to_bytes(),))
