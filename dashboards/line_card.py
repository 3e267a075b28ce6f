"""What the card of a line says: the latest batch with a figure per unit, and what runs now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dashboards import format as numbers
from dashboards.kept import Kept
from dashboards.page import Page
from dashboards.shown import LineNow
from footprint.exact import decimal_text, quotient_text

ELECTRIC = ("kWh", "MWh")
"""Units of electric energy."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a card says of the batch whose figure it shows."""

    figure: Markup
    """Name of the line and the figure."""
    facts: Markup
    """Energy, target, batch, state; empty where there is no figure yet."""
    target: str
    """Target per unit, "" = none."""


SETTLED: Kept[Settled] = Kept(1000)
"""Cards of lines, about two kilobytes each."""


def card(
    page: Page,
    now: LineNow,
    entered: Mapping[str, str] | None = None,
    said: str = "",
    fault: str = "",
) -> dict[str, Any]:
    """Values of a card; `entered` stands in its form again, `said` and `fault` answer it."""
    result = now.result
    running = result if result is not None and result.batch.end is None else None
    shown = now.settled
    return {
        "now": now,
        "settled": SETTLED.get(
            (page.language, now.line),
            (page.read, page.plant, shown),
            result is None,
            lambda: _settled(page, now),
        ),
        "trend": page.read.trend(now),
        "running": running,
        "form": _form(page, now.line, running.batch.id if running else "", entered, said, fault),
    }


def _settled(page: Page, now: LineNow) -> Settled:
    shown = now.settled
    energy = None
    if shown is not None and any(s.unit in ELECTRIC for s in shown.sources):
        energy = quotient_text(shown.energy(), shown.good)
    value, spread = numbers.short(
        shown.per_unit if shown else None, shown.u_per_unit if shown else None
    )
    unit = shown.unit if shown else "piece"
    target = now.product.target if now.product is not None else None
    values = {
        "line": now.line,
        "name": now.name,
        "empty": now.result is None,
        "shown": shown,
        "value": value,
        "spread": spread,
        "unit": numbers.carbon_unit(unit, page.language),
        "energy": None if energy is None else numbers.significant(energy, 3),
        "energy_unit": numbers.per_unit("kWh", unit, page.language),
        "target": "" if target is None else decimal_text(target),
    }
    return Settled(
        page.part("line_figure.html", **values),
        Markup() if shown is None else page.part("line_facts.html", **values),
        str(values["target"]),
    )


def _form(
    page: Page, line: str, running: str, entered: Mapping[str, str] | None, said: str, fault: str
) -> Markup:
    """The form of a card; an empty one is kept."""
    if not page.may("state"):
        return Markup()
    values: dict[str, Any] = {
        "line": line,
        "running": running,
        "products": page.plant.products if page.plant else (),
        "entered": dict(entered or {}),
        "said": said,
        "fault": fault,
    }
    if entered or said or fault:
        return page.part("line_form.html", **values)
    return page.kept("line_form.html", (line, running), None, None, **values)
