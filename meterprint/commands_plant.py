"""Commands on the plant file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterprint.output import JsonOption, emit, say_error


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
                "errors": [
                    {
                        "file": e.file,
                        "line": e.line,
                        "field": e.field,
                        "seen": str(e.args[0]),
                        "hint": e.hint,
                    }
                    for e in faults
                ],
            }
        )
    elif plant is not None:
        model = plant.plant
        unmapped = [s.id for s in model.sources if s.factor is None and s.outside is None]
        typer.echo(
            f"{model.site}: {len(model.lines)} lines, {len(model.instruments)} instruments, "
            f"{len(model.sources)} emission sources, {len(model.products)} products"
        )
        if unmapped:
            typer.echo(f"without a factor, so footprints are incomplete: {', '.join(unmapped)}")
    else:
        for fault in faults:
            say_error(fault)
    if plant is None:
        raise typer.Exit(2)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(check)
