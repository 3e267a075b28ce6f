"""Commands that run things: replay."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterprint.output import DEFAULT_STATE, JsonOption, Progress, StateOption, emit
from mrv.errors import InputError

if TYPE_CHECKING:
    from ingest.series_influx import InfluxStore
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
    port: Annotated[int, typer.Option(help="port of the broker, 0 = any free one")] = 0,
    speed: Annotated[
        float, typer.Option(help="seconds of the data a second, 0 = as fast as it goes", min=0)
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Drive tables through the whole path. / 用数据表驱动整条链路。"""
    from meterprint.replay import load_example
    from meterprint.replay import replay as run

    if bool(example) == (directory is not None):
        raise InputError("name a folder, or a shipped example by --example")
    folder = directory or EXAMPLES / example
    if not folder.is_dir():
        known = ", ".join(sorted(p.parent.name for p in EXAMPLES.glob("*/map.yaml")))
        raise InputError(f"there is no {folder}", hint=f"examples: {known}")
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
    speed: Annotated[int, typer.Option(help="how much faster loads run / 负荷加速比")] = 60,
    seed: Annotated[int, typer.Option(help="seed of the loads / 随机种子")] = 1,
    port: Annotated[int, typer.Option(help="port of the pages, 0 = any free one")] = 8480,
    state: StateOption = Path("state-demo"),
    json: JsonOption = False,
) -> None:
    """Run a plant in this process: instruments, agents, ingest, pages. / 运行演示工厂。"""
    from meterprint.demo.run import run_demo
    from meterprint.pages import links

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


def serve(
    plant: Annotated[Path | None, typer.Option(help="plant.yaml; states what is new in it")] = None,
    port: Annotated[int, typer.Option(help="port of the pages, 0 = any free one")] = 8480,
    broker_port: Annotated[int, typer.Option(help="port of the broker, 0 = any free one")] = 1883,
    host: Annotated[str, typer.Option(help="only loopback without authentication")] = "127.0.0.1",
    influx: Annotated[str, typer.Option(help="URL of an InfluxDB to keep up to date")] = "",
    database: Annotated[str, typer.Option(help="its database, with policy rp")] = "meterprint",
    bridge: Annotated[
        Path | None, typer.Option(help="bridges.yaml: foreign devices to take in / 外部设备映射")
    ] = None,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Ingest and show a plant until Ctrl-C. / 运行采集、计算与页面。"""
    import signal
    import threading

    from dashboards.app import check_bind
    from meterprint.bridges import bridges_of
    from meterprint.live import LiveSite
    from meterprint.pages import PageServer
    from meterprint.plant_file import load_plant
    from meterprint.site import open_site

    check_bind(host)
    file = load_plant(plant) if plant is not None else None
    site = open_site(state, file.plant.site if file is not None else "")
    try:
        if file is not None:
            site.state_plant(file, time.time_ns())
        site.refresh()
        bridges = bridges_of(site.plant(), file, bridge)
        store = _store(influx, database, site.name, state)
        live = LiveSite(site, broker_port, store, bridges=bridges)
        try:
            pages = PageServer(live, port, host)
            typer.echo(f"{pages.url}  {live.broker.label} on 127.0.0.1:{live.broker.port}")
            over = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: over.set())
            over.wait()
            pages.stop()
        finally:
            live.close()
    finally:
        site.close()


def enrol(
    vkey: Annotated[str, typer.Argument(help="the agent's public key, name+hash+key")],
    author: Annotated[str, typer.Option()] = "cli",
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Enrol an agent's key. / 登记采集端公钥。"""
    from meterprint.site import open_site
    from mrv.verification.note import PublicKey

    key = PublicKey.parse(vkey)
    site = open_site(state)
    try:
        site.enrol_agent(key, author)
    finally:
        site.close()
    typer.echo(f"enrolled {key.name}")


def _store(url: str, database: str, site: str, state: Path) -> InfluxStore | None:
    if not url:
        return None
    from ingest.series_influx import InfluxStore
    from meterprint.influx_settings import address_of
    from meterprint.views import open_park

    return InfluxStore.at(address_of(url, database), site, open_park(state))


def rebuild(
    state: StateOption = DEFAULT_STATE,
    influx: Annotated[str, typer.Option(help="URL of an InfluxDB to fill again")] = "",
    database: Annotated[str, typer.Option(help="its database, with policy rp")] = "meterprint",
    json: JsonOption = False,
) -> None:
    """Rebuild every view from the journal. / 由账本重建全部视图。"""
    import hashlib

    from ingest.projector import rebuild_store, write_cursor
    from meterprint.site import open_site
    from meterprint.views import INFLUX, cursor_file

    site = open_site(state)
    try:
        stored = {}
        store = _store(influx, database, site.name, state)
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
    app.command()(serve)
    app.command()(rebuild)
    app.command("enrol-agent")(enrol)
