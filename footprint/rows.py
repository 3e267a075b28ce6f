"""Rows of the lists that commands and the HTTP interface give."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from footprint.batch import BatchResult
from footprint.exact import decimal_text, float_text
from footprint.plant import LocalText


def iso(moment: int | None) -> str | None:
    """ISO 8601 in UTC, milliseconds; None for None."""
    if moment is None:
        return None
    seconds, rest = divmod(moment, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest // 10**6:03d}Z"


def title(*, partial: bool) -> LocalText:
    """What the figure is called: gate to gate is never a whole footprint."""
    if partial:
        return LocalText("产品部分碳足迹（大门到大门）", "partial footprint, gate to gate")
    return LocalText("产品碳足迹（摇篮到大门）", "footprint, cradle to gate")


def notes_json(notes: Iterable[LocalText]) -> list[dict[str, str]]:
    """What must be said wherever a figure of the plant is shown."""
    return [{"zh": note.zh, "en": note.en} for note in notes]


def figure_row(result: BatchResult) -> dict[str, Any]:
    """The figure of a batch alone, as the event stream tells it."""
    u = result.components.u
    good = result.good
    return {
        "batch": result.batch.id,
        "line": result.batch.line,
        "product": result.batch.product,
        "state": result.state.value,
        "end": iso(result.batch.end),
        "quantity": decimal_text(good),
        "unit": result.unit,
        "footprint": decimal_text(result.footprint),
        "footprint_unit": "kgCO2e",
        "u": float_text(u),
        "per_unit": result.per_unit,
        "u_per_unit": float_text(u / float(good)) if good else None,
    }


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
        "partial": result.partial,
        "relative": result.relative,
        "start": iso(result.batch.start),
        "end": iso(result.batch.end),
        "quantity": figure["quantity"],
        "footprint": figure["footprint"],
        "footprint_unit": figure["footprint_unit"],
        "u": figure["u"],
        "per_unit": figure["per_unit"],
        "u_per_unit": figure["u_per_unit"],
    }
