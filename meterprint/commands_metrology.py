"""Commands that hold meters against one another: reconcile."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from meterprint.output import DEFAULT_STATE, JsonOption, StateOption, emit, parse_moment, table

COLUMNS = ("balance", "start", "end", "residual", "u", "normalised", "unit", "result", "missing")


def reconcile(
    start: Annotated[str, typer.Option("--from", help="ISO 8601 with zone / 起始")] = "",
    end: Annotated[str, typer.Option("--to", help="ISO 8601 with zone / 截止")] = "",
    balance: Annotated[str, typer.Option(help="only this balance / 仅此平衡")] = "",
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Hold main meters against the meters below them. / 总表与分表平衡核对。"""
    from footprint.balancing import balance_windows
    from footprint.rows import iso
    from meterprint.site import open_site
    from mrv.errors import InputError

    first = parse_moment(start, "--from") if start else None
    last = parse_moment(end, "--to") if end else None
    site = open_site(state)
    try:
        site.engine.settle()
        plant = site.plant()
        known = [b.id for b in plant.balances] if plant else []
        if balance and balance not in known:
            hint = f"balances: {', '.join(known) or 'none in the plant file'}"
            raise InputError(f"no balance is called {balance!r}", field="--balance", hint=hint)
        windows = balance_windows(site.engine.engine, plant, first, last) if plant else []
    finally:
        site.close()
    rows: list[dict[str, Any]] = [
        {**window.to_json(), "start": iso(window.start), "end": iso(window.end)}
        for window in windows
        if not balance or window.balance.id == balance
    ]
    if json:
        emit(rows)
    elif rows:
        table([{**row, "missing": ", ".join(row["missing"])} for row in rows], COLUMNS)
    else:
        typer.echo("no balance to draw up: name `balances` in the plant file / 无平衡可核对")
    if any(row["result"] == "fail" for row in rows):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(reconcile)
