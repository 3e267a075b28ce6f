"""Commands on the plant file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterprint.output import JsonOption, emit, say_error
from mrv.errors import InputError


def check(
    file: Annotated[Path, typer.Argument(help="plant.yaml")], json: JsonOption = False
) -> None:
    """Check a plant file. / 检查工厂描述文件。"""
    from meterprint.plant_file import check_plant

    plant, faults = check_plant(file)
    if json:
        emit(
            {
                "ok": plant is not None,
                "errors": [_row(e) for e in faults],
                "warnings": [_row(e) for e in (plant.warnings if plant else ())],
            }
        )
    elif plant is not None:
        model = plant.plant
        typer.echo(
            f"{model.site}: {len(model.lines)} lines, {len(model.instruments)} instruments, "
            f"{len(model.sources)} emission sources, {len(model.products)} products"
        )
        for warning in plant.warnings:
            typer.echo(f"warning: {warning}")
    else:
        for fault in faults:
            say_error(fault)
    if plant is None:
        raise typer.Exit(2)


def _row(error: InputError) -> dict[str, str | int]:
    return {
        "file": error.file,
        "line": error.line,
        "field": error.field,
        "seen": str(error.args[0]),
        "hint": error.hint,
    }


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(check)
