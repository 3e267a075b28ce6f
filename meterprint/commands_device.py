"""Commands on devices: profiles, a reading now, a simulation."""

from __future__ import annotations

from typing import Annotated

import typer

from meterprint.output import JsonOption, emit, table

ProfileArgument = Annotated[
    str, typer.Argument(metavar="PROFILE", help="profile of `device list`, or a YAML file")
]
"""A device profile."""

device = typer.Typer(help="Devices and their profiles. / 设备与设备档案。", no_args_is_help=True)


@device.command("list")
def list_profiles(json: JsonOption = False) -> None:
    """List the device profiles. / 列出设备档案。"""
    from dataclasses import asdict

    from edge_agent.device_commands import list_profiles as profiles

    rows = [{k: str(v) for k, v in asdict(p).items()} for p in profiles()]
    if json:
        emit(rows)
    else:
        table(rows, tuple(rows[0]) if rows else ())


@device.command("show")
def show(
    name: Annotated[
        str, typer.Argument(metavar="PROFILE", help="profile of `device list`, or a YAML file")
    ],
    json: JsonOption = False,
) -> None:
    """Show a profile: registers, resolution, source. / 查看设备档案。"""
    from device_profiles.profile import as_plain
    from edge_agent.device_commands import open_profile

    profile = open_profile(name)
    if json:
        emit({**as_plain(profile), "hash": profile.hash})
        return
    typer.echo(f"{profile.id}  {profile.maker} {profile.model}  hash {profile.hash[:16]}")
    rows = [
        {
            "register": r.name,
            "kind": r.kind.value,
            "unit": r.unit,
            "resolution": str(r.resolution),
            "modulus": str(r.modulus),
            "side": r.side,
        }
        for r in profile.registers
    ]
    table(rows, ("register", "kind", "unit", "resolution", "modulus", "side"))
    for caveat in profile.caveats:
        typer.echo(f"caveat: {caveat}")


@device.command("check")
def check(
    name: Annotated[
        str, typer.Argument(metavar="PROFILE", help="profile of `device list`, or a YAML file")
    ],
    json: JsonOption = False,
) -> None:
    """Check a profile against its golden frames. / 用标准报文核对档案。"""
    from edge_agent.device_commands import check_profile

    result = check_profile(name)
    if json:
        emit({"profile": name, "ok": result.ok, "golden": [str(g) for g in result.golden]})
    else:
        typer.echo(f"{name}: {'ok' if result.ok else 'FAIL'}, {len(result.golden)} golden frames")
    if not result.ok:
        raise typer.Exit(1)


@device.command("read")
def read(
    name: Annotated[
        str, typer.Argument(metavar="PROFILE", help="profile of `device list`, or a YAML file")
    ],
    url: Annotated[str, typer.Argument(help="tcp://host:port, serial:///dev/ttyS0?baud=9600")],
    unit: Annotated[str, typer.Option(help="unit id or address")] = "1",
    json: JsonOption = False,
) -> None:
    """Read a device once. / 读取一次设备。"""
    from dataclasses import asdict

    from edge_agent.device_commands import read_device

    rows = [{k: str(v) for k, v in asdict(v).items()} for v in read_device(name, url, unit)]
    if json:
        emit(rows)
    else:
        table(rows, tuple(rows[0]) if rows else ())


@device.command("commission")
def commission(
    name: Annotated[
        str, typer.Argument(metavar="PROFILE", help="profile of `device list`, or a YAML file")
    ],
    url: Annotated[str, typer.Argument(help="tcp://host:port, serial:///dev/ttyS0?baud=9600")],
    unit: Annotated[str, typer.Option(help="unit id or address")] = "1",
    counter: Annotated[str, typer.Option(help="register of the counter")] = "",
    rate: Annotated[str, typer.Option(help="register of its power or flow")] = "",
    seconds: Annotated[float, typer.Option(help="how long to watch / 观察时长")] = 120,
    every: Annotated[float, typer.Option(help="pause between readings, s", min=0.05)] = 1,
    ct: Annotated[str, typer.Option(help="ratio of the current transformer")] = "1",
    pt: Annotated[str, typer.Option(help="ratio of the voltage transformer")] = "1",
    json: JsonOption = False,
) -> None:
    """Compare a counter with its power: ×10, ×100, wrong side. / 投运核对：走字与功率是否相符。"""
    from edge_agent.commissioning_run import commission as run
    from mrv.errors import InputError
    from mrv.quantity import exact_number

    try:
        ratios = {"ct": exact_number(ct), "pt": exact_number(pt)}
    except ValueError as error:
        raise InputError(f"a ratio is a number: {error}", field="ct, pt") from error
    found = run(
        name, url, unit, counter=counter, rate=rate, seconds=seconds, every=every, ratios=ratios
    )
    rows = [{"rule": f.rule, "subject": f.subject, **dict(f.numbers)} for f in found.findings]
    if json:
        emit(
            {
                "ok": found.ok,
                "counter": found.counter,
                "rate": found.rate,
                "readings": found.readings,
                "failed": found.failed,
                "findings": rows,
            }
        )
    else:
        verdict = "agree / 相符" if found.ok else "see below / 见下"
        typer.echo(f"{found.counter} ~ {found.rate}: {verdict} ({found.readings} readings)")
        for row in rows:
            typer.echo("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if not found.ok:
        raise typer.Exit(1)


@device.command("simulate")
def simulate(
    name: Annotated[
        str, typer.Argument(metavar="PROFILE", help="profile of `device list`, or a YAML file")
    ],
    port: Annotated[int, typer.Option(help="0 = any free one")] = 0,
    unit: Annotated[str, typer.Option(help="unit id or address")] = "1",
) -> None:
    """Simulate a device that speaks its real protocol. / 模拟设备。"""
    import asyncio
    import contextlib

    from edge_agent.device_commands import default_instrument, serve_simulation

    async def run() -> None:
        def ready(host: str, bound: int) -> None:
            typer.echo(f"{name} on {host}:{bound}, Ctrl-C ends it")

        await serve_simulation([default_instrument(name, unit)], port, ready, asyncio.Event())

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(device, name="device")
