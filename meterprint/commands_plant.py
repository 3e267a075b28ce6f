"""Commands on the plant file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterprint.output import JsonOption, emit, say_error
from mrv.errors import InputError


def check(
    file: Annotated[Path, typer.Argument(help="plant.yaml")],
    bridge: Annotated[
        Path | None, typer.Option(help="bridges.yaml to check against it / 外部设备映射")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a plant file, and a file of bridges. / 检查工厂描述文件。"""
    from footprint.reader import InputErrors
    from meterprint.bridges import bridges_of
    from meterprint.plant_file import check_plant

    plant, faults = check_plant(file)
    if plant is not None and bridge is not None:
        try:
            bridges_of(plant.plant, plant, bridge)
        except InputErrors as errors:
            faults = list(errors.errors)
        except InputError as error:
            faults = [error]
        plant = None if faults else plant
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
