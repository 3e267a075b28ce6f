"""What commands print: JSON for machines, tables for people, errors with a remedy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mrv.errors import InputError, MeterprintError

StateOption = Annotated[
    Path, typer.Option("--state", help="state directory / 状态目录", envvar="METERPRINT_STATE")
]
"""Where a site keeps everything."""
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable / 机器可读")]
"""Print JSON."""
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="meterprint.toml; that of the state directory if left out / 配置文件"
    ),
]
"""How a process runs."""
DEFAULT_STATE = Path("state")
"""State directory where none is named."""


WIDE = 2000
"""Columns of a table that no terminal cuts to its own width: nothing is left out in a pipe."""


def emit(value: Any) -> None:
    """Print one JSON value."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def read_csv_text(file: Path) -> str:
    """Text of a CSV file, as spreadsheets write it too. Raises InputError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(file)) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", file=str(file), hint="save it as UTF-8") from error


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a table."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False)
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        cells = (row.get(c) for c in columns)
        drawn.add_row(*("" if c is None else str(c) for c in cells))
    wide = None if sys.stdout.isatty() else WIDE
    Console(width=wide).print(drawn)


def say_error(error: MeterprintError) -> None:
    """Print an error and its remedy to standard error."""
    errors = getattr(error, "errors", None) or [error]
    for one in errors:
        sys.stderr.write(f"error: {one}\n")
        if one.hint:
            sys.stderr.write(f"  hint: {one.hint}\n")


class Progress:
    """Progress of named stages on standard error: bars on a terminal, nothing elsewhere."""

    def __init__(self, titles: dict[str, str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._titles = titles
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say how far a stage is."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(self._titles.get(stage, stage), total=total)
        self._bars.update(self._tasks[stage], completed=done, total=max(total, 1))

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Draw the bars while the block runs."""
        with self._bars:
            yield self


def parse_moment(text: str, field: str) -> int:
    """Ns UTC from ISO 8601 with a zone. Raises InputError."""
    from ingest.batch_events import moment

    if not text:
        raise InputError("a time is expected", field=field, hint="write 2026-11-22T13:06:00+08:00")
    return moment(text, field)
