"""`meterprint agent`: the program of a gateway. It needs the extra `edge` only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterprint.output import DEFAULT_STATE, StateOption
from mrv.errors import InputError


def agent(
    plant: Annotated[
        Path, typer.Argument(help="plant.yaml; instruments with `agent` and `source`")
    ],
    name: Annotated[str, typer.Option(help="this agent")],
    receipts: Annotated[str, typer.Option(help="the site's receipts key: `keys show --json`")] = "",
    broker: Annotated[str, typer.Option(help="host:port of the MQTT broker")] = "127.0.0.1:1883",
    sweep: Annotated[float, typer.Option(help="s between two readings of a bus")] = 1.0,
    flush: Annotated[float, typer.Option(help="s between two envelopes, 0.02 to 10")] = 1.0,
    keep_days: Annotated[
        int, typer.Option(help="days that receipted envelopes are kept at least", min=0)
    ] = 7,
    keep_mb: Annotated[
        int, typer.Option(help="… or until the outbox takes so many MB", min=1)
    ] = 2000,
    show_key: Annotated[bool, typer.Option("--show-key", help="print the key to enrol")] = False,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Read instruments, sign, keep until receipted, publish. / 运行边缘采集端。"""
    import asyncio
    import signal

    from edge_agent.agent import Agent
    from edge_agent.loop import run_agent
    from edge_agent.outbox import Outbox
    from edge_agent.plant_sources import open_plant
    from edge_agent.publisher import Publisher
    from ingest.keyring import load_or_make_key
    from meterprint.plant_file import load_plant
    from mrv.verification.note import PublicKey

    folder = state / "agents" / name
    key = load_or_make_key(folder / "agent.key", name)
    if show_key:
        typer.echo(key.public.vkey)
        return
    if not receipts:
        raise InputError(
            "the site's receipts key is needed: only its receipts free the outbox",
            field="--receipts",
            hint="`meterprint keys show --json` at the site prints it",
        )
    if not 0.02 <= flush <= 10:
        raise InputError(f"0.02 to 10 s are possible, seen {flush}", field="--flush")
    model = load_plant(plant).plant
    reading = open_plant(model, name)
    host, _, port = broker.partition(":")
    if not port.isdigit():
        raise InputError(f"host:port is expected, seen {broker!r}", field="--broker")
    outbox = Outbox(folder / "outbox.db")
    running = Agent(reading.table, reading.streams, key, outbox)
    publisher = Publisher(
        outbox, model.site, name, PublicKey.parse(receipts), int(port), host or "127.0.0.1"
    )
    running.publisher = publisher
    typer.echo(f"{name}: {len(reading.sources)} buses, {len(reading.table.channels)} channels")

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run_agent(
            running,
            reading.sources,
            stop,
            sweep_s=sweep,
            flush_s=flush,
            keep_ns=keep_days * 86_400 * 10**9,
            keep_bytes=keep_mb * 10**6,
        )

    try:
        asyncio.run(run())
    finally:
        publisher.stop()
        outbox.close()


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(agent)
