"""What can be saved of an outbox whose disk has changed it.

The damaged file is set aside under another name and stays. What can be read of it and still is what
was signed goes into the new one; what cannot shows at the site as a gap in the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from edge_agent.packing import unpacked
from mrv.errors import MeterprintError
from mrv.verification.note import identity, split

COLUMNS = "id,stream,epoch,seq,identity,note,cut,receipted"
"""Columns of a kept message."""
_BY_ROW = COLUMNS.replace("id", "rowid", 1)
"""The same where the table's own text may be changed: its rows have their numbers all the same."""
SKIPPED = 2_000
"""Rows in a row that cannot be read after which a file is given up."""

Row = tuple[int, str, str, int, str, bytes, int, int | None]
"""A kept message, as `COLUMNS` says."""


def set_aside(path: Path) -> Path:
    """Move a database and its log out of the way; its new name. Raises OSError."""
    number = 1
    while (aside := path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        log = path.with_name(path.name + ending)
        if log.exists():
            log.rename(aside.with_name(aside.name + ending))
    return aside


def readable(path: Path) -> Iterator[Row]:
    """Messages of a damaged outbox that can be read and whose bytes are those that were signed."""
    try:
        database: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        database.execute("SELECT 1 FROM message LIMIT 1").fetchall()
    except (apsw.Error, ValueError):
        return
    last, missed = 0, 0
    try:
        while missed < SKIPPED:
            try:
                exact = "rowid=?" if missed else "rowid>?"
                found = database.execute(
                    f"SELECT {_BY_ROW} FROM message NOT INDEXED "  # noqa: S608
                    f"WHERE {exact} ORDER BY rowid LIMIT 1",
                    (last + missed,),
                ).fetchall()
            except (apsw.Error, ValueError):  # a page, or the text of a row, that is no more
                missed += 1
                continue
            if not found and not missed:
                return
            row: Row | None = found[0] if found else None
            if row is None or type(row[0]) is not int or row[0] <= last:  # pages out of order
                missed += 1
                continue
            last, missed = row[0], 0
            if _is_whole(row):
                yield row
    finally:
        database.close()


def _is_whole(row: Row) -> bool:
    """Whether the bytes of a row are those of its identity."""
    _, stream, epoch, seq, name, kept, cut, receipted = row
    kinds = (str, str, int, str, bytes, int)
    values = (stream, epoch, seq, name, kept, cut)
    if not all(type(v) is kind for v, kind in zip(values, kinds, strict=True)):
        return False
    if receipted is not None and type(receipted) is not int:
        return False
    try:
        return identity(split(unpacked(kept))[0]) == name
    except MeterprintError:
        return False
