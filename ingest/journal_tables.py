"""Tables of the journal, version 2.

`entry` holds what is not in a cold file, and facts and tables always. Everything else can be
derived from the entries and is kept in the same transaction, so that opening, receipts,
checkpoints and proofs do not read the history.
"""

from __future__ import annotations

from typing import Any

SCHEMA_VERSION = 2
"""Version of the tables; an older one is upgraded by `meterprint upgrade`."""
PAGE_BYTES = 8192
"""Page of a new database: an envelope of 100 readings takes 3 to 5 kB, some go on a page."""
FINGERS = 8192
"""Entries whose identities are looked up together (`finger`)."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry(
  idx INTEGER PRIMARY KEY, kind INTEGER NOT NULL, leaf BLOB NOT NULL, identity BLOB NOT NULL,
  salt BLOB NOT NULL, body_salt BLOB, note BLOB NOT NULL, body BLOB);
CREATE TABLE IF NOT EXISTS origin(
  id INTEGER PRIMARY KEY, agent TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL,
  UNIQUE(agent, stream, epoch));
CREATE TABLE IF NOT EXISTS run(
  origin INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, identity BLOB NOT NULL,
  PRIMARY KEY(origin, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS envelope(
  origin INTEGER NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL,
  PRIMARY KEY(origin, seq, idx)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS apart(
  identity BLOB PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact(
  idx INTEGER PRIMARY KEY, chain TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS fact_place ON fact(chain, seq);
CREATE TABLE IF NOT EXISTS chain(
  name TEXT PRIMARY KEY, count INTEGER NOT NULL, identity BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS block(n INTEGER PRIMARY KEY, root BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS finger(n INTEGER PRIMARY KEY, marks BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS part(
  first INTEGER PRIMARY KEY, stop INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
  sha256 BLOB NOT NULL);
"""
"""The tables.

entry: what is in no cold file, and facts and tables always; short columns first, so that they are
read without following a long row over its pages. origin: an epoch of a stream; run: unbroken
numbers held of it; envelope: where each of them stands. apart: entries without a place in an
epoch (facts, tables, envelopes nobody can read). fact, chain: chains of facts and their heads.
block: root of each 256 leaves. finger: see `fingers`. part: a cold file.
"""


def make_tables(db: Any) -> None:
    """Make the tables that are missing, in a new database with its own page size."""
    if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    with db:
        for statement in SCHEMA.split(";\n"):
            db.execute(statement)


def tables_version(db: Any) -> int | None:
    """Version of the tables in a database, None where it has none."""
    if not db.execute("SELECT count(*) FROM sqlite_schema WHERE name='meta'").fetchone()[0]:
        return None
    row = db.execute("SELECT value FROM meta WHERE name='schema'").fetchone()
    return None if row is None else int(row[0])
