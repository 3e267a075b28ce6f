"""Rows of the HTTP interface that are also given as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Response

from dashboards.instrument_order import Supported
from dashboards.kept import Kept
from dashboards.shown import AgentRow, InstrumentRow
from footprint.exact import decimal_text
from footprint.rows import iso

CSV_TYPE = "text/csv; charset=utf-8"
"""Media type of the tables."""
METERS: Kept[dict[str, Any]] = Kept(2000)
"""What is the same of instruments from one reading to the next."""


def table(rows: Iterable[Mapping[str, Any]]) -> Response:
    """Rows as CSV; a column is there where any row has it."""
    found = list(rows)
    columns = list(dict.fromkeys(name for row in found for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(found)
    return Response(buffer.getvalue(), media_type=CSV_TYPE)


def meter_row(row: InstrumentRow) -> dict[str, Any]:
    """An instrument and whether it can be trusted."""
    fixed = METERS.get(row.instrument.id, (row.support,), None, lambda: _fixed(row.support))
    return {**fixed, "last_at": iso(row.last_at), "last_value": row.last_value}


def _fixed(support: Supported) -> dict[str, Any]:
    """What a reading does not change."""
    item = support.instrument
    return {
        "instrument": item.id,
        "kind": item.kind,
        "serial": item.serial,
        "point": item.point,
        "profile": item.profile,
        "ratio": decimal_text(item.ratio),
        "mpe_percent": decimal_text(item.mpe * 100),
        "agent": item.agent,
        "certificate": support.certificate,
        "certificate_state": support.state,
        "due": iso(support.due),
    }


def agent_row(row: AgentRow) -> dict[str, Any]:
    """An agent and its health."""
    return {
        "agent": row.name,
        "health": row.health.value,
        "online": None if row.state is None else row.state.online,
        "depth": row.depth,
        "behind_s": row.behind_s,
        "silent_s": row.silent_s,
        "fault": "" if row.state is None else row.state.fault,
        "envelopes": row.envelopes,
        "last_at": iso(row.last_at),
        "quarantined": row.quarantined,
    }
