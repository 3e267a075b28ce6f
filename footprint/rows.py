"""Rows of the lists that commands and the HTTP interface give."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from footprint.batch import BatchResult


def iso(moment: int | None) -> str | None:
    """ISO 8601 in UTC, milliseconds; None for None."""
    if moment is None:
        return None
    seconds, rest = divmod(moment, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest // 10**6:03d}Z"


def batch_row(result: BatchResult) -> dict[str, Any]:
    """A batch in the words of `batch list --json`."""
    figure = result.to_json()
    return {
        "batch": figure["batch"],
        "product": figure["product"],
        "line": figure["line"],
        "state": figure["state"],
        "waits": figure["waits"],
        "incomplete": figure["incomplete"],
        "boundary": figure["boundary"],
        "partial": figure["boundary"] == "gate_to_gate",
        "start": iso(result.batch.start),
        "end": iso(result.batch.end),
        "quantity": figure["quantity"],
        "footprint": figure["footprint"],
        "footprint_unit": figure["footprint_unit"],
        "u": figure["u"],
        "per_unit": figure["per_unit"],
        "u_per_unit": figure["u_per_unit"],
    }
