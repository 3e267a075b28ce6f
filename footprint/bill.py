"""A bill of materials from CSV: what one unit of a product takes."""

from __future__ import annotations

import csv
import io
from typing import Any

from footprint.plant_reading import read_material
from footprint.reader import Node
from mrv.errors import InputError

COLUMNS = ("material", "quantity", "unit")
"""Columns a bill must have."""
OPTIONAL = ("scrap_percent", "category", "region", "series", "factor")
"""Columns it may have: process scrap, and how the factor is asked for (`factor` is its id).

A supplier's own figure is a row of a factor file and is asked for by its id. A row that asks for
no factor is kept: it makes the footprint incomplete.
"""
_FIELDS = {"material": "id", "factor": "factor.id"}


def read_bill(text: str, file: str = "") -> tuple[list[dict[str, Any]], list[InputError]]:
    """Materials as the plant's tree holds them, and what is wrong, each error with its line."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    faults = [
        InputError(f"the column {name} is missing", file=file, line=1)
        for name in COLUMNS
        if name not in names
    ] + [
        InputError(
            "an unknown column",
            file=file,
            line=1,
            field=name,
            hint=f"known: {', '.join(COLUMNS + OPTIONAL)}",
        )
        for name in names
        if name not in COLUMNS + OPTIONAL
    ]
    if faults:
        return [], faults
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    try:
        for raw in reader:
            row, errors = _row(raw)
            if row["id"] in seen:
                errors.append(InputError(f"{row['id']!r} stands twice", field="material"))
            seen.add(row["id"])
            rows.append(row)
            faults += [
                InputError(
                    str(e.args[0]), file=file, line=reader.line_num, field=e.field, hint=e.hint
                )
                for e in errors
            ]
    except csv.Error as error:
        faults.append(InputError(f"is not CSV: {error}", file=file, line=reader.line_num))
    return rows, faults


def _row(raw: dict[Any, Any]) -> tuple[dict[str, Any], list[InputError]]:
    cells = {k: (v or "").strip() for k, v in raw.items() if isinstance(k, str)}
    request = {
        "category": cells.get("category", ""),
        "region": cells.get("region", ""),
        "series": cells.get("series", ""),
        "id": cells.get("factor", ""),
    }
    row: dict[str, Any] = {"id": cells["material"]}
    for name in ("quantity", "unit", "scrap_percent"):
        if cells.get(name):
            row[name] = cells[name]
    if any(request.values()):
        row["factor"] = {name: value for name, value in request.items() if value}
    errors: list[InputError] = []
    if None in raw or None in raw.values():
        how = "many" if None in raw else "few"
        errors.append(InputError(f"too {how} columns", hint="quote a text with a comma"))
    elif not row["id"]:
        errors.append(InputError("the name of the material is missing", field="material"))
    else:
        read_material(Node(row, "", errors))
    columns = {field: column for column, field in _FIELDS.items()}
    located = [
        InputError(str(e.args[0]), field=columns.get(e.field, e.field), hint=e.hint) for e in errors
    ]
    return row, located
