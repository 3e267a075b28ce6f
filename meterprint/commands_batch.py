"""Commands on batches and footprints."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterprint.output import (
    DEFAULT_STATE,
    JsonOption,
    Progress,
    StateOption,
    emit,
    parse_moment,
    read_csv_text,
    say_error,
    table,
)
from mrv.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from footprint.batch import BatchResult
    from footprint.plant import LocalText

batch = typer.Typer(help="Batches. / 批次。", no_args_is_help=True)
BatchArgument = Annotated[str, typer.Argument(metavar="BATCH", help="name of the batch")]
LineOption = Annotated[str, typer.Option(help="line, as plant.yaml calls it / 产线")]
AtOption = Annotated[str, typer.Option("--at", help="ISO 8601 with zone; now if left out")]
EventIdOption = Annotated[str, typer.Option("--id", help="event id; the same one is one event")]
SupersedesOption = Annotated[
    int | None,
    typer.Option("--supersedes", help="number of the fact this corrects / 更正的事实序号"),
]
LIST = (
    "batch",
    "product",
    "state",
    "boundary",
    "start",
    "end",
    "quantity",
    "per_unit",
    "u_per_unit",
)


@batch.command("list")
def list_batches(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """List all batches with their footprints. / 列出批次及足迹。"""
    from footprint.rows import batch_row, title
    from meterprint.site import open_site

    site = open_site(state)
    try:
        with Progress({"compute": "footprints / 足迹"}).shown() as progress:
            site.refresh(lambda done, total: progress("compute", done, total))
        order = [b.id for b in site.engine.engine.batches()]
        rows = [batch_row(site.engine.results[name]) for name in order]
        plant = site.plant()
    finally:
        site.close()
    if json:
        emit(rows)
        return
    table(rows, LIST)
    if any(row["partial"] for row in rows):
        name = title(partial=True)
        typer.echo(f"per_unit: {name.en} / {name.zh}, kgCO2e")
    for note in plant.notes if plant else ():
        typer.echo(f"{note.en} / {note.zh}")


@batch.command("show")
def show_batch(
    name: BatchArgument,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Show one batch. / 查看批次。"""
    footprint(name, state=state, json=json)


def _event(state: Path, body: dict[str, Any], at: str, event_id: str, json: bool) -> None:
    from meterprint.site import open_site

    moment = parse_moment(at, "--at") if at else time.time_ns()
    body = {**body, "id": event_id or str(uuid.uuid4()), "t": str(moment)}
    site = open_site(state)
    try:
        fact, new = site.events.take(body, "cli")
    finally:
        site.close()
    answer = {"event": body["id"], "chain": fact.header.chain, "seq": fact.header.seq, "new": new}
    if json:
        emit(answer)
    else:
        typer.echo(f"{fact.header.chain}#{fact.header.seq} {'stated' if new else 'known already'}")


@batch.command("start")
def start_batch(
    name: BatchArgument,
    line: LineOption,
    product: Annotated[str, typer.Option(help="product, as plant.yaml calls it / 产品")],
    at: AtOption = "",
    event_id: EventIdOption = "",
    supersedes: SupersedesOption = None,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """State that a batch starts. / 批次开始。"""
    body = {
        "line": line,
        "batch": name,
        "product": product,
        "event": "start",
        "supersedes": supersedes,
    }
    _event(state, body, at, event_id, json)


@batch.command("end")
def end_batch(
    name: BatchArgument,
    line: LineOption,
    good: Annotated[str, typer.Option(help="good output / 良品数")],
    scrap: Annotated[str, typer.Option(help="scrap / 报废数")] = "0",
    at: AtOption = "",
    event_id: EventIdOption = "",
    supersedes: SupersedesOption = None,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """State that a batch ends. / 批次结束。"""
    body = {
        "line": line,
        "batch": name,
        "event": "end",
        "good": good,
        "scrap": scrap,
        "supersedes": supersedes,
    }
    _event(state, body, at, event_id, json)


@batch.command("declare")
def declare_amount(
    name: BatchArgument,
    line: LineOption,
    source: Annotated[str, typer.Option(help="emission source that is declared / 排放源")],
    quantity: Annotated[str, typer.Option(help="exact decimal / 数量")],
    unit: Annotated[str, typer.Option(help="unit / 单位")],
    u_percent: Annotated[
        str, typer.Option(help="95 % half-width of the amount, per cent / 相对不确定度")
    ] = "0",
    at: AtOption = "",
    event_id: EventIdOption = "",
    supersedes: SupersedesOption = None,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """State what a source that no meter sees gave to a batch. / 申报批次的未计量排放源用量。"""
    body = {
        "line": line,
        "batch": name,
        "event": "declare",
        "source": source,
        "quantity": quantity,
        "unit": unit,
        "u_percent": u_percent,
        "supersedes": supersedes,
    }
    _event(state, body, at, event_id, json)


@batch.command("import")
def import_batches(
    file: Annotated[Path, typer.Argument(help="CSV: id,line,batch,product,event,good,scrap,t …")],
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Import batch events. / 导入批次事件。"""
    from meterprint.site import open_site

    text = read_csv_text(file)
    site = open_site(state)
    try:
        taken, errors = site.events.take_csv(text, str(file), "cli")
    finally:
        site.close()
    if json:
        emit({"taken": taken, "errors": [str(e) for e in errors]})
    else:
        typer.echo(f"{taken} events")
        for fault in errors:
            say_error(fault)
    if errors:
        raise typer.Exit(1)


def footprint(
    name: Annotated[str, typer.Argument(metavar="BATCH", help="name of the batch")] = "",
    product: Annotated[str, typer.Option(help="product / 产品")] = "",
    start: Annotated[str, typer.Option("--from", help="ISO 8601 with zone")] = "",
    end: Annotated[str, typer.Option("--to", help="ISO 8601 with zone")] = "",
    state: StateOption = DEFAULT_STATE,
    also: Annotated[
        list[Path] | None,
        typer.Option("--and-state", help="state directory of a further site / 其他工厂"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Footprint of a batch, or of a product over a period and sites. / 批次或产品时段的足迹。"""
    from footprint.rows import notes_json

    if bool(name) == bool(product):
        raise InputError("name a batch, or a product with --from and --to")
    if name and also:
        raise InputError("a batch belongs to one site", field="--and-state")
    if name:
        value, notes = _of_batch(state, name)
    else:
        period = parse_moment(start, "--from"), parse_moment(end, "--to")
        if period[1] <= period[0]:
            raise InputError("the end lies before the start", field="--to")
        value, notes = _of_product([state, *(also or ())], product, *period)
    if json:
        emit({**value, "notes": notes_json(notes)})
    else:
        _show(value, notes)
    if product and not value["batches"]:
        raise typer.Exit(1)


def _of_batch(state: Path, name: str) -> tuple[dict[str, Any], list[LocalText]]:
    from meterprint.site import open_site

    site = open_site(state)
    try:
        site.engine.settle()
        result = site.engine.engine.batch(name)
        plant = site.plant()
    finally:
        site.close()
    if result is None:
        raise InputError(f"no batch is called {name!r}", hint="see `batch list`")
    value = {**result.to_json(), "digest": result.digest()}
    value |= {"partial": result.partial, "relative": result.relative}
    return value, list(plant.notes if plant else ())


def _of_product(
    states: Sequence[Path], product: str, start: int, end: int
) -> tuple[dict[str, Any], list[LocalText]]:
    from footprint.selection import selection
    from meterprint.site import open_site

    sites: dict[str, list[BatchResult]] = {}
    notes: list[LocalText] = []
    known: set[str] = set()
    for state in states:
        site = open_site(state)
        try:
            if site.name in sites:
                raise InputError(f"{state} is of site {site.name} again", field="--and-state")
            site.refresh()
            sites[site.name] = list(site.engine.results.values())
            plant = site.plant()
            known |= {
                p.id for _, then in site.engine.engine.knowledge.plants for p in then.products
            }
            notes += [note for note in (plant.notes if plant else ()) if note not in notes]
        finally:
            site.close()
    if product not in known:
        hint = f"products: {', '.join(sorted(known)) or 'none is stated'}"
        raise InputError(f"no product is called {product!r}", field="--product", hint=hint)
    return selection(sites, product, start, end).to_json(), notes


def _show(value: dict[str, Any], notes: Sequence[LocalText]) -> None:
    from footprint.rows import title

    name = title(partial=value["partial"])
    typer.echo(
        f"{name.en} / {name.zh}: {value['footprint']} kgCO2e, u = {value['u']} kgCO2e"
        + (" (relative units / 相对单位)" if value["relative"] else "")
    )
    typer.echo(f"per unit / 每单位: {value['per_unit']} kgCO2e, u = {value['u_per_unit']} kgCO2e")
    if value.get("state"):
        typer.echo(f"state / 状态: {value['state']} {', '.join(value['waits'])}")
    if value["incomplete"]:
        typer.echo(f"incomplete / 不完整: {', '.join(value['incomplete'])}")
    if value.get("provisional"):
        typer.echo(f"left out, provisional / 未计入（暂定）: {', '.join(value['provisional'])}")
    if "batches" in value and not value["batches"]:
        typer.echo("no settled batch of the product ends in that time / 该时段没有已定批次")
    for note in notes:
        typer.echo(f"{note.en} / {note.zh}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(batch, name="batch")
    app.command()(footprint)
