"""Reads a Parquet file as a table of texts, exactly: what a CSV of the same data would say."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edge_agent.replay import Rows
from mrv.errors import InputError


def read_parquet(path: Path) -> Rows:
    """Rows with their numbers from 1; times in ISO 8601 (UTC where they have a zone), nulls "".

    Floats are written with the fewest digits that give the same float back. Raises InputError.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot be read: {error}", file=str(path), hint="name the data directory by --data"
        ) from error
    columns = {name: _texts(table[name]) for name in table.column_names}
    rows = zip(*columns.values(), strict=True)
    return [(n, dict(zip(columns, row, strict=True))) for n, row in enumerate(rows, start=1)]


def _texts(column: Any) -> list[str]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo is None else value.astimezone(dt.UTC)).isoformat()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)
