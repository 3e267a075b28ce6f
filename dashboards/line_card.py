"""What the card of a line says: the latest batch with a figure per unit, and what runs now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards import format as numbers
from dashboards.page import Page
from dashboards.read_model import LineNow
from footprint.exact import decimal_text, quotient_text

ELECTRIC = ("kWh", "MWh")
"""Units of electric energy."""


def card(
    page: Page,
    now: LineNow,
    entered: Mapping[str, str] | None = None,
    said: str = "",
    fault: str = "",
) -> dict[str, Any]:
    """Values of a card; `entered` stands in its form again, `said` and `fault` answer it."""
    shown = now.settled
    running = now.result
    energy = None
    if shown is not None and any(s.unit in ELECTRIC for s in shown.sources):
        energy = quotient_text(shown.energy(), shown.good)
    value, spread = numbers.short(
        shown.per_unit if shown else None, shown.u_per_unit if shown else None
    )
    unit = shown.unit if shown else "piece"
    target = now.product.target if now.product is not None else None
    return {
        "now": now,
        "shown": shown,
        "running": running if running is not None and running.batch.end is None else None,
        "value": value,
        "spread": spread,
        "unit": numbers.carbon_unit(unit, page.language),
        "energy": None if energy is None else numbers.significant(energy, 3),
        "energy_unit": numbers.per_unit("kWh", unit, page.language),
        "target": None if target is None else decimal_text(target),
        "products": page.plant.products if page.plant else (),
        "entered": dict(entered or {}),
        "said": said,
        "fault": fault,
    }
