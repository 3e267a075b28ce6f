"""Commands that run things: replay, demo, rebuild."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterprint.output import (
    DEFAULT_STATE,
    ConfigOption,
    JsonOption,
    Progress,
    StateOption,
    emit,
)
from mrv.errors import InputError

if TYPE_CHECKING:
    from meterprint.demo.run import Demo

PROCESS_STARTED = time.monotonic()
"""When this process began, as near as Python can tell."""
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
"""Examples that ship with the source."""
TITLES = {
    "read": "read, sign / 读取、签名",
    "journal": "journal / 入账",
    "batches": "batches / 批次",
    "compute": "footprints / 足迹",
}


def replay(
    directory: Annotated[
        Path | None, typer.Argument(help="folder with plant.yaml and map.yaml")
    ] = None,
    example: Annotated[str, typer.Option(help="a shipped example / 随附示例")] = "",
    data: Annotated[Path | None, typer.Option(help="folder with the tables / 数据目录")] = None,
    state: StateOption = DEFAULT_STATE,
    port: Annotated[
        int, typer.Option(help="port of the broker, 0 = any free one", min=0, max=65535)
    ] = 0,
    speed: Annotated[
        float, typer.Option(help="seconds of the data a second, 0 = as fast as it goes", min=0)
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Drive tables through the whole path. / 用数据表驱动整条链路。"""
    from meterprint.logs import configure_logs
    from meterprint.replay import load_example
    from meterprint.replay import replay as run

    if bool(example) == (directory is not None):
        raise InputError("name a folder, or a shipped example by --example")
    folder = directory or EXAMPLES / example
    if not folder.is_dir():
        known = ", ".join(sorted(p.parent.name for p in EXAMPLES.glob("*/map.yaml")))
        raise InputError(f"there is no {folder}", hint=f"examples: {known}")
    configure_logs(level="warning")
    loaded = load_example(folder, data)
    with Progress(TITLES).shown() as progress:
        report = run(loaded, state, progress, port, speed)
    if json:
        emit(report)
        return
    for note in loaded.plant.plant.notes:
        typer.echo(f"{note.en}\n{note.zh}")
    typer.echo(
        f"{report['heats']} batches, {report['readings']} readings, "
        f"{report['journal']['entries']} journal entries in {report['seconds']} s"
    )
    for name, book in report["registers"].items():
        typer.echo(f"{name}: total {book['total']} {book['unit']}, residual {book['residual']}")
    for rule, count in report["findings"].items():
        typer.echo(f"finding {rule}: {count}")
    claim = report.get("claim")
    if claim:
        typer.echo(
            f"claim: {claim['agree']} of {claim['rows']} rows agree, claimed "
            f"{claim['claimed_t']} t, recomputed {claim['recomputed_t']} t, "
            f"{claim['zero_rows_with_use']} rows claim 0 while energy was used"
        )


def demo(
    seconds: Annotated[
        float | None, typer.Option("--for", help="end by itself after so many seconds")
    ] = None,
    speed: Annotated[int, typer.Option(help="how much faster loads run / 负荷加速比", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="seed of the loads / 随机种子")] = 1,
    port: Annotated[
        int, typer.Option(help="port of the pages, 0 = any free one", min=0, max=65535)
    ] = 8480,
    state: StateOption = Path("state-demo"),
    json: JsonOption = False,
) -> None:
    """Run a plant in this process: instruments, agents, ingest, pages. / 运行演示工厂。"""
    from meterprint.demo.run import run_demo
    from meterprint.logs import configure_logs
    from meterprint.pages import links

    configure_logs(level="warning")

    def ready(running: Demo, url: str) -> None:
        if not json:
            for line in links(running, url):
                typer.echo(line)

    report = run_demo(
        state,
        seconds=seconds,
        speed=speed,
        seed=seed,
        port=port,
        started=PROCESS_STARTED,
        ready=ready,
    )
    if json:
        emit(report)
        return
    for name, value in report.items():
        typer.echo(f"{name}: {value}")


def rebuild(
    state: StateOption = DEFAULT_STATE,
    influx: Annotated[str | None, typer.Option(help="URL of an InfluxDB to fill again")] = None,
    database: Annotated[str | None, typer.Option(help="its database, with policy rp")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Rebuild every view from the journal. / 由账本重建全部视图。"""
    import hashlib

    from ingest.projector import rebuild_store, write_cursor
    from meterprint.commands_serve import influx_store
    from meterprint.logs import configure_logs
    from meterprint.settings import load_settings
    from meterprint.site import open_site
    from meterprint.views import INFLUX, cursor_file

    settings = load_settings(state, config, {"influx.url": influx, "influx.database": database})
    configure_logs(settings.log.format, settings.log.level)
    site = open_site(state)
    try:
        stored = {}
        store = influx_store(settings.influx, site.name, state)
        with Progress({**TITLES, "segments": "segments / 分段"}).shown() as progress:
            site.engine.rebuild(lambda done, total: progress("segments", done, total))
            site.engine.seal()
            stored["segments"] = site.engine.reading_count
            if store is not None:
                cursor_file(state, INFLUX).unlink(missing_ok=True)  # cut short, it is not whole
                size = site.journal.size
                stored[INFLUX] = rebuild_store(
                    site.journal, store, lambda done, total: progress(INFLUX, done, total)
                )
                store.close()
                write_cursor(cursor_file(state, INFLUX), size)
        with Progress(TITLES).shown() as progress:
            site.refresh(lambda done, total: progress("compute", done, total))
        results = site.engine.results
        digests = "".join(f"{name} {results[name].digest()}\n" for name in sorted(results))
        report = {
            "entries": site.journal.size,
            "readings": site.engine.reading_count,
            "stored": stored,
            "batches": len(results),
            "digest": hashlib.sha256(digests.encode()).hexdigest(),
        }
    finally:
        site.close()
    if json:
        emit(report)
    else:
        for name, value in report.items():
            typer.echo(f"{name}: {value}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(replay)
    app.command()(demo)
    app.command()(rebuild)
