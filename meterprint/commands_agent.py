"""`meterprint agent`: the program of a gateway. It needs the extra `edge` only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterprint.output import DEFAULT_STATE, ConfigOption, StateOption
from mrv.errors import InputError

if TYPE_CHECKING:
    import ssl

    from meterprint.settings import Broker
    from mrv.verification.note import SecretKey


def agent(
    plant: Annotated[
        Path, typer.Argument(help="plant.yaml; instruments with `agent` and `source`")
    ],
    name: Annotated[str, typer.Option(help="this agent")],
    receipts: Annotated[str, typer.Option(help="the site's receipts key: `keys show --json`")] = "",
    broker: Annotated[
        str | None, typer.Option(help="host:port of the MQTT broker; 127.0.0.1:1883 if left out")
    ] = None,
    authority: Annotated[
        Path | None, typer.Option("--ca", help="the broker's authority: `broker ca` at the site")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="client certificate: `enrol-agent --certificate` there")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json, on standard error")] = None,
    config: ConfigOption = None,
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
    from meterprint.logs import configure_logs
    from meterprint.plant_file import load_plant
    from meterprint.settings import load_settings
    from mrv.verification.note import PublicKey

    place = broker_place(broker) if broker else (None, None)
    flags = {
        "broker.host": place[0],
        "broker.port": place[1],
        "broker.authority": authority,
        "broker.certificate": certificate,
        "log.format": log_format,
    }
    settings = load_settings(state, config, flags)
    configure_logs(settings.log.format, settings.log.level)
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
    where, tls = _broker(settings.broker, folder, key)
    outbox = Outbox(folder / "outbox.db")
    running = Agent(reading.table, reading.streams, key, outbox)
    publisher = Publisher(
        outbox,
        model.site,
        name,
        PublicKey.parse(receipts),
        where[1],
        where[0],
        settings.broker.user,
        settings.broker.password.get_secret_value(),
        tls=tls,
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


def broker_place(text: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises InputError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"host:port is expected, seen {text!r}", field="--broker")
    return host.strip("[]"), int(port)


def _broker(
    asked: Broker, folder: Path, key: SecretKey
) -> tuple[tuple[str, int], ssl.SSLContext | None]:
    """Where the broker is, and how to speak to it: in the clear to this machine only."""
    from ingest.broker_certificates import agent_files
    from ingest.broker_config import LOOPBACK

    place = asked.host or "127.0.0.1", asked.port
    if asked.authority and asked.certificate:
        return place, agent_files(folder, key, asked.authority, asked.certificate).context()
    if asked.authority or asked.certificate:
        raise InputError("--ca and --certificate go together", field="broker.certificate")
    if place[0] not in LOOPBACK:
        raise InputError(
            f"{place[0]} is another machine and no certificate is configured: anybody between "
            "could speak in this agent's name",
            field="broker.certificate",
            hint="at the site: `meterprint broker init`, `enrol-agent KEY --certificate FILE` and "
            "`broker ca`; here: --certificate FILE --ca FILE",
        )
    return place, None


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(agent)
