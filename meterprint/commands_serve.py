"""`meterprint serve`: a site until it is told to stop; `enrol-agent` lets an agent in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterprint.output import DEFAULT_STATE, ConfigOption, JsonOption, StateOption, emit
from mrv.errors import InputError

if TYPE_CHECKING:
    from dashboards.guard import Door
    from ingest.broker_port import Broker as RunningBroker
    from ingest.series_influx import InfluxStore
    from meterprint.settings import Broker, Influx, Settings


def serve(
    plant: Annotated[Path | None, typer.Option(help="plant.yaml; states what is new in it")] = None,
    port: Annotated[int | None, typer.Option(help="port of the pages, 0 = any free one")] = None,
    broker_port: Annotated[
        int | None, typer.Option(help="port of our own broker, 0 = any free one")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="address of the pages; off loopback they need accounts")
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="host:port of a broker that runs already")
    ] = None,
    influx: Annotated[
        str | None, typer.Option(help="URL of an InfluxDB to keep up to date")
    ] = None,
    database: Annotated[str | None, typer.Option(help="its database, with policy rp")] = None,
    bridge: Annotated[
        Path | None, typer.Option(help="bridges.yaml: foreign devices to take in / 外部设备映射")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json, on standard error")] = None,
    config: ConfigOption = None,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Ingest and show a plant until Ctrl-C. / 运行采集、计算与页面。"""
    import signal
    import threading
    import time

    from dashboards.guard import check_bind
    from meterprint.bridges import bridges_of
    from meterprint.commands_agent import broker_place
    from meterprint.live import LiveSite
    from meterprint.logs import configure_logs
    from meterprint.pages import PageServer
    from meterprint.plant_file import load_plant
    from meterprint.settings import load_settings
    from meterprint.site import open_site

    where = broker_place(broker) if broker else (None, None)
    flags = {
        "web.host": host,
        "web.port": port,
        "broker.host": where[0],
        "broker.port": broker_port if where[1] is None else where[1],
        "influx.url": influx,
        "influx.database": database,
        "log.format": log_format,
    }
    settings = load_settings(state, config, flags)
    configure_logs(settings.log.format, settings.log.level)
    web = settings.web
    door = _door(settings, state)
    check_bind(
        web.host,
        accounts=door.accounts is not None,
        encrypted=web.certificate is not None or web.behind_proxy,
    )
    file = load_plant(plant) if plant is not None else None
    site = open_site(state, file.plant.site if file is not None else "")
    try:
        if file is not None:
            site.state_plant(file, time.time_ns())
        running = _broker(settings.broker, state, site.name)
        try:
            live = LiveSite(
                site,
                influx=influx_store(settings.influx, site.name, state),
                bridges=bridges_of(site.plant(), file, bridge),
                broker=running,
            )
        except BaseException:
            running.stop()
            raise
        try:
            pages = PageServer(
                live,
                web.port,
                web.host,
                door,
                web.certificate,
                web.key,
                behind_proxy=web.behind_proxy,
            )
            over = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: over.set())
            typer.echo(f"{pages.url}  {running.label} on {running.host}:{running.port}")
            over.wait()
            pages.stop()
        finally:
            live.close()
    finally:
        site.close()


def _door(settings: Settings, state: Path) -> Door:
    """Who may come in: the accounts of the state directory, where there are any."""
    from dashboards.accounts import Accounts
    from dashboards.guard import Door
    from meterprint.site import ACCOUNTS

    web = settings.web
    file = state / ACCOUNTS
    return Door(
        Accounts(file) if file.exists() else None,
        web.public,
        web.names,
        web.certificate is not None or web.behind_proxy,
    )


def _broker(asked: Broker, state: Path, site: str) -> RunningBroker:
    """The broker of the settings: another's, or our own, held to its certificates if it has any."""
    from ingest.broker import guard_of, start_broker
    from ingest.broker_certificates import CLIENT, TlsFiles, has_authority, tls_files
    from ingest.broker_port import LOOPBACK, OthersBroker

    keys = state / "keys"
    if not asked.host:
        return start_broker(state / "broker", asked.port, guard_of(keys, site, asked.listen))
    tls = None
    if asked.authority and asked.certificate and asked.key:
        tls = TlsFiles(asked.authority, asked.certificate, asked.key).context()
    elif asked.authority or asked.certificate or asked.key:
        raise InputError("authority, certificate and key go together", field="broker.certificate")
    elif has_authority(keys):
        tls = tls_files(keys, CLIENT).context()
    elif asked.host not in (LOOPBACK, "localhost", "::1"):
        raise InputError(
            f"{asked.host} is another machine and no certificate is configured: readings would "
            "cross the network in the clear",
            field="broker.authority",
            hint="name broker.authority, broker.certificate and broker.key, or `broker init`",
        )
    secret = asked.password.get_secret_value()
    return OthersBroker(asked.host, asked.port, tls, asked.user, secret)


def influx_store(asked: Influx, site: str, state: Path) -> InfluxStore | None:
    """The InfluxDB of the settings, its credentials from the environment; None = none."""
    if not asked.url:
        return None
    from ingest.series_influx import InfluxStore
    from meterprint.influx_settings import address_of
    from meterprint.views import OWED, open_park

    address = address_of(asked.url, asked.database)
    return InfluxStore.at(address, site, open_park(state), owed=state / OWED)


def enrol(
    vkey: Annotated[str, typer.Argument(help="the agent's public key, name+hash+key")],
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    certificate: Annotated[
        Path | None, typer.Option(help="write the agent's client certificate for the broker")
    ] = None,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Enrol an agent's key. / 登记采集端公钥。"""
    from ingest.broker_certificates import agent_certificate
    from meterprint.site import open_site
    from mrv.verification.note import PublicKey

    key = PublicKey.parse(vkey)
    site = open_site(state)
    try:
        made = None
        if certificate is not None:
            made = agent_certificate(state / "keys", site.name, key)
        site.enrol_agent(key, author)
    finally:
        site.close()
    if certificate is not None and made is not None:
        try:
            certificate.write_bytes(made)
        except OSError as error:
            raise InputError(
                f"cannot be written: {error.strerror}", file=str(certificate)
            ) from error
    typer.echo(f"enrolled {key.name}" + (f", {certificate}" if certificate else ""))


def revoke(
    name: Annotated[str, typer.Argument(help="name of the agent")],
    key: Annotated[str, typer.Option(help="only this key, name+hash+key / 仅此公钥")] = "",
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Take an agent's keys back; what it sends from now on is refused. / 吊销采集端公钥。"""
    from meterprint.site import open_site

    site = open_site(state)
    try:
        keys = site.revoke_agent(name, key, author)
    finally:
        site.close()
    if json:
        emit([{"agent": name, "vkey": gone.vkey} for gone in keys])
        return
    for gone in keys:
        typer.echo(f"revoked {gone.vkey}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(serve)
    app.command("enrol-agent")(enrol)
    app.command("revoke-agent")(revoke)
