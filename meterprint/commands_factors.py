"""Commands on emission factors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterprint.output import (
    DEFAULT_STATE,
    JsonOption,
    StateOption,
    emit,
    read_csv_text,
    say_error,
    table,
)
from mrv.fact import REGISTRY

factors = typer.Typer(help="Emission factors. / 排放因子。", no_args_is_help=True)


@factors.command("import")
def import_factors(
    file: Annotated[Path, typer.Argument(help="CSV of factors")],
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Import a factor set; nothing is taken where a row is bad. / 导入因子集。"""
    from footprint.factor import read_rows
    from meterprint.site import open_site

    text = read_csv_text(file)
    rows, errors = read_rows(text, str(file))
    if errors:
        for fault in errors:
            say_error(fault)
        raise typer.Exit(2)
    site = open_site(state)
    try:
        site.facts.record(REGISTRY, "factor_set", file.name, {"rows": rows}, author=author)
    finally:
        site.close()
    if json:
        emit({"set": file.name, "rows": len(rows)})
    else:
        typer.echo(f"{len(rows)} factors")


@factors.command("list")
def list_factors(
    state: StateOption = DEFAULT_STATE,
    category: Annotated[str, typer.Option(help="only this family, such as electricity_cfp")] = "",
    json: JsonOption = False,
) -> None:
    """List the factors in force. / 列出因子。"""
    from footprint.catalogue import Catalogue
    from footprint.exact import decimal_text
    from footprint.plant import default_uncertainty
    from footprint.rows import iso
    from meterprint.site import open_site

    site = open_site(state)
    try:
        plant, knowledge = site.plant(), site.engine.engine.knowledge
        catalogue = (
            Catalogue(knowledge.factors, default_uncertainty(plant.policy))
            if plant is not None
            else Catalogue(knowledge.factors)
        )
    finally:
        site.close()
    rows = [
        {
            "id": f.id,
            "name": f.name,
            "category": f.category,
            "region": f.region,
            "valid_from": iso(f.valid_from),
            "valid_to": iso(f.valid_to),
            "value": decimal_text(f.value),
            "unit": f.unit,
            "uncertainty_percent": decimal_text(catalogue.uncertainty(f)[0]),
            "uncertainty_default": catalogue.uncertainty(f)[1],
            "unverified": f.unverified,
            "source": f.source,
        }
        for f in catalogue.factors()
        if not category or f.category == category
    ]
    if json:
        emit(rows)
    else:
        columns = ("id", "category", "region", "value", "unit", "uncertainty_percent", "source")
        table(rows, columns)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(factors, name="factors")
