"""The command that computes a history again and holds it against what is shown: recompute."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from meterprint.output import DEFAULT_STATE, JsonOption, Progress, StateOption, emit

TITLES = {
    "windows": "windows / 时间窗",
    "read": "envelopes / 信封",
    "compute": "batches / 批次",
}


def recompute(
    from_envelopes: Annotated[
        bool, typer.Option(help="start from signed envelopes, not from segments / 从信封重算")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="processes / 进程数")] = 2,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Compute every batch again and compare with what is shown. / 全部重算并与现有结果比对。"""
    import hashlib
    import time

    from footprint.engine import Engine
    from ingest.engine_shell import SEGMENTS, EngineShell
    from ingest.kernels import compiled
    from ingest.recompute import prime
    from meterprint.site import open_site

    site = open_site(state)
    started = time.monotonic()
    try:
        with Progress(TITLES).shown() as progress:
            site.refresh(lambda done, total: progress("compute", done, total))
            shown = site.engine.results
            if from_envelopes:
                whole = EngineShell(site.journal, compiled())
                whole.catch_up(lambda done, total: progress("read", done, total))
                engine = whole.engine_now()
            else:
                held = site.engine.engine
                engine = Engine(held.knowledge, held.readings, compiled())
                prime(engine, state / SEGMENTS, workers)
            names = [batch.id for batch in engine.batches()]
            digests = {}
            for place, name in enumerate(names):
                result = engine.batch(name)
                digests[name] = "" if result is None else result.digest()
                progress("compute", place + 1, len(names))
        different = sorted(n for n in {*digests, *shown} if digests.get(n, "") != shown.digest(n))
        listed = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
        report: dict[str, Any] = {
            "source": "envelopes" if from_envelopes else "segments",
            "batches": len(names),
            "readings": site.engine.reading_count,
            "different": different,
            "digest": hashlib.sha256(listed.encode()).hexdigest(),
            "seconds": round(time.monotonic() - started, 3),
        }
    finally:
        site.close()
    if json:
        emit(report)
    else:
        for name, value in report.items():
            typer.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    if different:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(recompute)
