"""The key sheet of a bundle: allocation keys of batches whose events stay closed (design §3).

A share of a pool rests on the keys of all batches that ran in its windows. Their headers show when
they ran; their bodies say what was made and how much, which is nobody's business but the site's.
The sheet states, for each of them, the salted batch and the id of the body (as in the headers), the
key, where the name sorts (ties go by name) and which ones make the same product (a changeover lies
between two products). What it states is the site's word, signed with the manifest: *not checkable*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footprint.engine import Engine
from footprint.pools import key_of
from footprint.stated_batches import Batch
from mrv.errors import WireError
from mrv.fact import Fact, FactHeader
from mrv.strict_json import Record, loads

KEY_SHEET = "key-sheet.json"
"""File of the sheet; absent where nothing stays closed."""
SHEET_VERSION = 1
"""Version of the sheet."""
CLOSED = "\x01"
"""Begins the names that stand for closed batches; no real name holds it."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One closed batch."""

    line: str
    """Its line."""
    batch: str
    """Its salted id, hex, as in its headers."""
    body: str | None
    """Id of the body that states its end, hex; None = it still runs."""
    key: int | None
    """Its allocation key, ≥ 0; None = it still runs."""
    product: int
    """Products of one number are the same; 0 = that of the batch the bundle is of."""
    after: bool
    """Whether its name sorts after that of the batch the bundle is of."""


def key_rows(
    engine: Engine, own: Batch, closed: Iterable[Batch], ids: Mapping[str, tuple[str, str | None]]
) -> list[KeyRow]:
    """Rows of the closed batches in the order of their names.

    `ids` gives the salted id and the id of the end's body by name of the batch.
    """
    products = {own.product: 0}
    rows = []
    for batch in sorted(closed, key=lambda b: b.id):
        plant = engine.knowledge.plant_at(batch.start)
        number = products.setdefault(batch.product, len(products))
        salted, body = ids[batch.id]
        known = batch.end is not None and plant is not None
        key = key_of(batch, plant) if known and plant is not None else None
        rows.append(
            KeyRow(batch.line, salted, body if known else None, key, number, batch.id > own.id)
        )
    return rows


def one_key_rule(engine: Engine, batches: Sequence[Batch], start: int, end: int) -> bool:
    """Whether every plant model of the time forms keys alike, so that a batch has one key."""
    moments = [start, end, *(b.start for b in batches)]
    models = [m for at in moments if (m := engine.knowledge.plant_at(at)) is not None]
    rules = {
        (m.policy.key, tuple((p.id, p.mass_kg) for p in m.products if m.policy.key == "good_mass"))
        for m in models
    }
    return len(rules) <= 1


def sheet_json(rows: Sequence[KeyRow]) -> dict[str, Any]:
    """The sheet as the bundle holds it; keys as text, as they can be large."""
    return {
        "v": SHEET_VERSION,
        "rows": [
            {
                "line": row.line,
                "batch": row.batch,
                "body": row.body,
                "key": None if row.key is None else str(row.key),
                "product": row.product,
                "after": int(row.after),
            }
            for row in rows
        ],
    }


def read_sheet(data: bytes) -> list[KeyRow]:
    """The rows of a sheet. Raises WireError naming the member."""
    record = Record(loads(data.rstrip(b"\n")))
    if record.integer("v") != SHEET_VERSION:
        raise record.fault("v", f"version {SHEET_VERSION}")
    rows = [_row(row) for row in record.records("rows")]
    record.close()
    if len({row.batch for row in rows}) != len(rows):
        raise WireError("a batch stands twice in the key sheet", field="rows")
    return rows


def _row(record: Record) -> KeyRow:
    key = None
    if record.raw("key") is not None:
        text = record.text("key", limit=40)
        if not (text.isascii() and text.isdigit()):
            raise record.fault("key", "a decimal number")
        key = int(text)
    row = KeyRow(
        record.text("line", limit=128),
        record.text("batch", limit=64),
        record.optional_text("body", limit=64),
        key,
        record.integer("product", high=10**6),
        record.integer("after", high=1) == 1,
    )
    if (row.key is None) != (row.body is None):
        raise record.fault("body", "a body where there is a key, and none else")
    record.close()
    return row


@dataclass(frozen=True, slots=True)
class ClosedBatch:
    """A closed batch as a verifier knows it."""

    name: str
    """Name that stands for it and sorts where its own does."""
    product: str
    """Name that stands for its product."""
    row: KeyRow
    """Its row."""


def closed_batches(rows: Sequence[KeyRow], own: str, product: str) -> dict[str, ClosedBatch]:
    """The closed batches by salted id; `own` and `product` are those of the bundle's batch."""
    found = {}
    for place, row in enumerate(rows):
        name = f"{own if row.after else ''}{CLOSED}{place:08d}"
        made = product if row.product == 0 else f"{CLOSED}{row.product}"
        found[row.batch] = ClosedBatch(name, made, row)
    return found


def closed_fact(header: FactHeader, identity: str, closed: ClosedBatch) -> Fact:
    """A fact of a closed batch as far as its header and the sheet show it."""
    body = {"product": closed.product} if header.type == "batch_started" else {}
    return Fact(header, identity, closed.name, body)
