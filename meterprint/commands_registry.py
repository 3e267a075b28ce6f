"""Commands on instruments, certificates and factors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from meterprint.output import (
    DEFAULT_STATE,
    JsonOption,
    StateOption,
    emit,
    parse_moment,
    say_error,
    table,
)
from mrv.errors import InputError
from mrv.fact import REGISTRY

instrument = typer.Typer(help="Instruments. / 计量器具。", no_args_is_help=True)
certificate = typer.Typer(help="Certificates. / 证书。", no_args_is_help=True)
factors = typer.Typer(help="Emission factors. / 排放因子。", no_args_is_help=True)


def _state_fact(
    state: Path, kind: str, subject: str, body: dict[str, Any], author: str, start: int | None
) -> None:
    from meterprint.site import open_site

    site = open_site(state)
    try:
        fact = site.facts.record(REGISTRY, kind, subject, body, author=author, valid_from=start)
    finally:
        site.close()
    typer.echo(f"registry#{fact.header.seq} {kind} {subject}")


def _registers(texts: list[str], option: str) -> dict[str, str]:
    registers = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not value.isdigit():
            raise InputError(
                f"register=counts is expected, seen {text!r}",
                field=option,
                hint="counts of the resolution, as the display shows without the point",
            )
        registers[name] = value
    return registers


@instrument.command("exchange")
def exchange(
    name: Annotated[str, typer.Argument(metavar="INSTRUMENT", help="instrument that is replaced")],
    at: Annotated[str, typer.Option("--at", help="ISO 8601 with zone")],
    closing: Annotated[list[str], typer.Option(help="register=counts of the old one / 止码")],
    opening: Annotated[list[str], typer.Option(help="register=counts of the new one / 起码")],
    serial: Annotated[str, typer.Option(help="serial of the new one / 新表编号")] = "",
    ratio: Annotated[str, typer.Option(help="new transformer ratio / 新变比")] = "",
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
) -> None:
    """State that a meter was replaced. / 换表。"""
    body: dict[str, Any] = {
        "closing": _registers(closing, "--closing"),
        "opening": _registers(opening, "--opening"),
        "serial": serial,
    }
    if ratio:
        body["ratio"] = ratio
    _state_fact(state, "instrument_exchanged", name, body, author, parse_moment(at, "--at"))


@instrument.command("list")
def list_instruments(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """List instruments with the state of their certificates. / 列出计量器具。"""
    import time

    from meterprint.site import open_site

    site = open_site(state)
    try:
        site.engine.settle()
        plant = site.plant()
        knowledge = site.engine.engine.knowledge
        rows = []
        for item in plant.instruments if plant else ():
            paper, status = knowledge.certificate_at(item.id, time.time_ns())
            rows.append(
                {
                    "instrument": item.id,
                    "kind": item.kind,
                    "serial": item.serial,
                    "certificate": paper.id if paper else "",
                    "certificate_state": status.value,
                }
            )
    finally:
        site.close()
    if json:
        emit(rows)
    else:
        table(rows, ("instrument", "kind", "serial", "certificate", "certificate_state"))


@certificate.command("record")
def record_certificate(
    file: Annotated[Path, typer.Argument(help="YAML with id, kind, instrument, points …")],
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Record a certificate. / 登记证书。"""
    from device_profiles.yaml_tree import read_yaml
    from ingest.batch_events import moment
    from meterprint.site import open_site
    from mrv.measurement.calibration import read_certificate

    source = read_yaml(file)
    if not isinstance(source.tree, dict) or not source.tree.get("id"):
        raise InputError("a certificate has an id", file=str(file), field="id")
    body = dict(source.tree)
    number = str(body.pop("id"))
    start, end = body.pop("valid_from", None), body.pop("valid_to", None)
    if start is None:
        raise InputError("a certificate holds from a moment", file=str(file), field="valid_from")
    first = moment(start if "T" in str(start) else f"{start}T00:00:00+00:00", "valid_from")
    last = None
    if end is not None:
        last = moment(end if "T" in str(end) else f"{end}T00:00:00+00:00", "valid_to")
    try:
        read_certificate(number, body, first, last)
    except InputError as error:
        raise source.locate(error) from error
    site = open_site(state)
    try:
        fact = site.facts.record(
            REGISTRY,
            "certificate_recorded",
            number,
            body,
            author=author,
            valid_from=first,
            valid_to=last,
        )
    finally:
        site.close()
    typer.echo(f"registry#{fact.header.seq} certificate_recorded {number}")


@certificate.command("approve")
def approve(
    number: Annotated[str, typer.Argument(help="number of the certificate")],
    author: Annotated[str, typer.Option(help="who approves / 批准人")],
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Approve the use of a certificate. / 批准证书。"""
    _state_fact(state, "certificate_approved", number, {"by": author}, author, None)


@certificate.command("revoke")
def revoke(
    number: Annotated[str, typer.Argument(help="number of the certificate")],
    at: Annotated[str, typer.Option("--at", help="ISO 8601 with zone")],
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Withdraw a certificate from a moment on. / 撤销证书。"""
    body = {"by": author}
    _state_fact(state, "certificate_revoked", number, body, author, parse_moment(at, "--at"))


@factors.command("import")
def import_factors(
    file: Annotated[Path, typer.Argument(help="CSV of factors")],
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Import a factor set; nothing is taken where a row is bad. / 导入因子集。"""
    from footprint.factor import read_rows
    from meterprint.site import open_site

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=str(file)) from error
    rows, errors = read_rows(text, str(file))
    if errors:
        for fault in errors:
            say_error(fault)
        raise typer.Exit(2)
    site = open_site(state)
    try:
        site.facts.record(REGISTRY, "factor_set", file.name, {"rows": rows}, author=author)
    finally:
        site.close()
    if json:
        emit({"set": file.name, "rows": len(rows)})
    else:
        typer.echo(f"{len(rows)} factors")


@factors.command("list")
def list_factors(
    state: StateOption = DEFAULT_STATE,
    category: Annotated[str, typer.Option(help="only this family, such as electricity_cfp")] = "",
    json: JsonOption = False,
) -> None:
    """List the factors in force. / 列出因子。"""
    from footprint.exact import decimal_text
    from meterprint.site import open_site

    site = open_site(state)
    try:
        site.engine.settle()
        plant = site.plant()
        found = site.engine.engine.knowledge.catalogue(plant).factors() if plant else []
    finally:
        site.close()
    rows = [
        {
            "id": f.id,
            "category": f.category,
            "region": f.region,
            "value": decimal_text(f.value),
            "unit": f.unit,
            "unverified": f.unverified,
            "source": f.source,
        }
        for f in found
        if not category or f.category == category
    ]
    if json:
        emit(rows)
    else:
        table(rows, ("id", "category", "region", "value", "unit", "source"))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(instrument, name="instrument")
    app.add_typer(certificate, name="certificate")
    app.add_typer(factors, name="factors")
