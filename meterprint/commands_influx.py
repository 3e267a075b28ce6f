"""Commands for an InfluxDB: influx init, fill, status."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from meterprint.output import DEFAULT_STATE, JsonOption, StateOption, emit, parse_moment, table

influx = typer.Typer(
    help="Set up an InfluxDB and see how its view stands. / 配置 InfluxDB 并查看其视图状态。",
    no_args_is_help=True,
)
UrlOption = Annotated[
    str, typer.Option("--influx", help="its URL / 地址", envvar="METERPRINT_INFLUX_URL")
]
"""Where the server is."""
DatabaseOption = Annotated[str, typer.Option(help="its database / 数据库")]
"""Which database."""
DEFAULT_URL = "http://127.0.0.1:8086"
"""Where an InfluxDB listens that nobody configured."""


@influx.command()
def init(
    url: UrlOption = DEFAULT_URL,
    database: DatabaseOption = "meterprint",
    keep: Annotated[
        int | None,
        typer.Option(help="days readings are kept there, 0 = for ever / 读数保留天数", min=0),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make database, retention and down-sampling; twice changes nothing. / 建库、保留期与降采样。

    Credentials come from METERPRINT_INFLUX_USER, _PASSWORD, _TOKEN and _ORG; _PASSWORD_FILE and
    _TOKEN_FILE name files that hold them.
    """
    from ingest.influx_connection import InfluxConnection
    from ingest.influx_setup import prepare
    from meterprint.influx_settings import address_of

    server = InfluxConnection(address_of(url, database))
    try:
        done = [asdict(one) for one in prepare(server, keep)]
    finally:
        server.close()
    if json:
        emit(done)
    else:
        table(done, ("action", "kind", "name", "detail"))


@influx.command()
def fill(
    since: Annotated[str, typer.Option("--from", help="2026-11-22T00:00:00+08:00")],
    until: Annotated[str, typer.Option("--to", help="now where it is not given")] = "",
    url: UrlOption = DEFAULT_URL,
    database: DatabaseOption = "meterprint",
    json: JsonOption = False,
) -> None:
    """Compute down-sampled windows anew, after a backlog or a rebuild. / 重算降采样窗口。"""
    from ingest.influx_connection import InfluxConnection
    from ingest.influx_setup import fill as run
    from meterprint.influx_settings import address_of

    start = datetime.fromtimestamp(parse_moment(since, "--from") / 1e9, UTC)
    stop = datetime.fromtimestamp(parse_moment(until, "--to") / 1e9, UTC) if until else None
    server = InfluxConnection(address_of(url, database), timeout_s=600)
    try:
        days = run(server, start, stop or datetime.now(UTC))
    finally:
        server.close()
    if json:
        emit({"days": days})
    else:
        typer.echo(f"{days} days computed anew")


@influx.command()
def status(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """How far the view is, and points InfluxDB refused for good. / 视图进度与被拒数据点。"""
    from footprint.rows import iso
    from ingest.projector import read_cursor
    from meterprint.views import INFLUX, cursor_file, open_park

    size = _entries(state)
    cursor = read_cursor(cursor_file(state, INFLUX), size)
    park = open_park(state)
    points = [{**asdict(point), "at": iso(point.at)} for point in park.points]
    if json:
        emit(
            {
                "cursor": cursor,
                "entries": size,
                "lag": size - cursor,
                "parked": dict(park.counts),
                "points": points,
            }
        )
    else:
        typer.echo(f"{cursor} of {size} journal entries are in InfluxDB")
        for grade, count in sorted(park.counts.items()):
            typer.echo(f"parked, {grade}: {count}")
        table(points, ("at", "grade", "reason", "line"))
    if park.total:
        raise typer.Exit(1)


def _entries(state: Path) -> int:
    """Entries of a site's journal, without computing anything."""
    from meterprint.site import open_journal

    journal = open_journal(state)
    try:
        return journal.size
    finally:
        journal.close()


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(influx, name="influx")
