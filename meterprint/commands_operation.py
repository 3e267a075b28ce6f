"""Commands of operation: backup, restore, upgrade, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from meterprint.output import DEFAULT_STATE, ConfigOption, JsonOption, Progress, StateOption, emit

TITLES = {"files": "files / 文件", "entries": "entries / 条目"}


def backup(
    target: Annotated[Path, typer.Argument(help="zip file to write / 备份文件")],
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Back up keys, journal and outboxes while they are in use. / 在线备份。"""
    from meterprint.backup import backup as run

    with Progress(TITLES).shown() as progress:
        report = run(state, target, lambda done, total: progress("files", done, total))
    if json:
        emit({**asdict(report), "path": str(target)})
        return
    typer.echo(f"{target}: {report.files} files, {report.entries} journal entries")
    for name in report.damaged:
        typer.echo(f"{name} is damaged and was taken as it is; its agent saves what can be read")
    typer.echo("It holds secret keys: keep it like them. / 其中含有私钥，请妥善保管。")


def restore(
    archive: Annotated[Path, typer.Argument(help="backup to restore / 备份文件")],
    root_key: Annotated[
        Path | None, typer.Option(help="root key, where it is kept offline / 离线根密钥")
    ] = None,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Restore a backup into a new state directory. / 恢复备份。"""
    from meterprint.backup import restore as run

    with Progress(TITLES).shown() as progress:
        report = run(archive, state, lambda done, total: progress("files", done, total), root_key)
    if json:
        emit({**asdict(report), "state": str(state)})
        return
    typer.echo(f"{state}: site {report.site}, {report.entries} journal entries, whole")
    typer.echo(f"The journal goes on as {report.origin}; agents send what it lacks.")


def upgrade(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """Bring a state directory of an earlier version up to date. / 升级状态目录。"""
    from meterprint.upgrade import upgrade_state

    with Progress(TITLES).shown() as progress:
        done = upgrade_state(state, lambda at, total: progress("entries", at, total))
    if json:
        emit({**asdict(done), "state": str(state)})
    elif done.kept:
        typer.echo(f"{state}: {done.entries} journal entries, root {done.root} as before")
        typer.echo(f"The old journal stays as {done.kept}; delete it when you are content.")
    else:
        typer.echo(f"{state}: nothing to do / 无需升级")


def doctor(
    config: ConfigOption = None, state: StateOption = DEFAULT_STATE, json: JsonOption = False
) -> None:
    """Say what could keep a site from working, and the remedy. / 运行环境体检。"""
    from meterprint.diagnosis import FAIL
    from meterprint.doctor import diagnose

    found = diagnose(state, config)
    if json:
        emit([asdict(one) for one in found])
    else:
        for one in found:
            typer.echo(f"{one.result:<5} {one.id:<10} {one.seen}")
            if one.remedy:
                typer.echo(f"{'':<16} → {one.remedy}")
    if any(one.result == FAIL for one in found):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(backup)
    app.command()(restore)
    app.command()(upgrade)
    app.command()(doctor)
