"""Commands on instruments and certificates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterprint.output import (
    DEFAULT_STATE,
    JsonOption,
    StateOption,
    emit,
    parse_moment,
    table,
)
from mrv.errors import InputError
from mrv.fact import REGISTRY

if TYPE_CHECKING:
    from footprint.plant import Instrument
    from meterprint.site import Site

instrument = typer.Typer(help="Instruments. / 计量器具。", no_args_is_help=True)
certificate = typer.Typer(help="Certificates. / 证书。", no_args_is_help=True)


def _state_fact(
    site: Site,
    kind: str,
    subject: str,
    body: dict[str, Any],
    author: str,
    *,
    json: bool,
    **times: Any,
) -> None:
    """State a registry fact and print where it stands."""
    fact = site.facts.record(REGISTRY, kind, subject, body, author=author, **times)
    if json:
        emit({"chain": REGISTRY, "seq": fact.header.seq, "type": kind, "subject": subject})
    else:
        typer.echo(f"registry#{fact.header.seq} {kind} {subject}")


@contextmanager
def _opened(state: Path) -> Iterator[Site]:
    """The site with its facts understood."""
    from meterprint.site import open_site

    site = open_site(state)
    try:
        site.engine.settle()
        yield site
    finally:
        site.close()


def _known_instrument(site: Site, name: str) -> Instrument | None:
    """The instrument of that name; None where no plant is stated yet. Raises InputError."""
    plant = site.plant()
    if plant is None:
        return None
    found = plant.instrument(name)
    if found is None:
        known = ", ".join(sorted(i.id for i in plant.instruments))
        raise InputError(f"no instrument is called {name!r}", hint=f"instruments: {known}")
    return found


def _known_certificate(site: Site, number: str) -> None:
    known = {c.id for c in site.engine.engine.knowledge.all_certificates()}
    if number not in known:
        hint = f"certificates: {', '.join(sorted(known)) or 'none is recorded'}"
        raise InputError(f"no certificate has the number {number!r}", hint=hint)


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
    json: JsonOption = False,
) -> None:
    """State that a meter was replaced. / 换表。"""
    body: dict[str, Any] = {
        "closing": _registers(closing, "--closing"),
        "opening": _registers(opening, "--opening"),
        "serial": serial,
    }
    if set(body["closing"]) != set(body["opening"]):
        raise InputError(
            "each register has a closing and an opening reading",
            field="--opening",
            hint="name the same registers in --closing and --opening",
        )
    if ratio:
        body["ratio"] = _ratio(ratio)
    moment = parse_moment(at, "--at")
    with _opened(state) as site:
        known = _known_instrument(site, name)
        for register in body["closing"]:
            if known is not None and known.register(register) is None:
                names = ", ".join(r.id for r in known.registers)
                raise InputError(
                    f"{name} has no register {register!r}", field="--closing", hint=names
                )
        _state_fact(site, "instrument_exchanged", name, body, author, json=json, valid_from=moment)


def _ratio(text: str) -> str:
    from mrv.quantity import exact_number

    try:
        if exact_number(text) > 0:
            return text
    except ValueError:
        pass
    raise InputError(
        f"a positive number is expected, seen {text!r}", field="--ratio", hint="write 400/5 or 80"
    )


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
    json: JsonOption = False,
) -> None:
    """Record a certificate. / 登记证书。"""
    from device_profiles.yaml_tree import read_yaml
    from ingest.batch_events import moment
    from mrv.measurement.calibration import read_certificate

    source = read_yaml(file)
    if not isinstance(source.tree, dict) or not source.tree.get("id"):
        raise InputError("a certificate has an id", file=str(file), field="id")
    body = dict(source.tree)
    number = str(body.pop("id"))
    start, end = body.pop("valid_from", None), body.pop("valid_to", None)
    if start is None:
        raise InputError("a certificate holds from a moment", file=str(file), field="valid_from")
    with _opened(state) as site:
        try:
            first = moment(start if "T" in str(start) else f"{start}T00:00:00+00:00", "valid_from")
            last = None
            if end is not None:
                last = moment(end if "T" in str(end) else f"{end}T00:00:00+00:00", "valid_to")
                if last <= first:
                    raise InputError("a certificate ends after it begins", field="valid_to")
            read_certificate(number, body, first, last)
            try:
                _known_instrument(site, str(body.get("instrument", "")))
            except InputError as error:
                raise InputError(str(error.args[0]), field="instrument", hint=error.hint) from error
        except InputError as error:
            raise source.locate(error) from error
        times = {"valid_from": first, "valid_to": last}
        _state_fact(site, "certificate_recorded", number, body, author, json=json, **times)


@certificate.command("approve")
def approve(
    number: Annotated[str, typer.Argument(help="number of the certificate")],
    author: Annotated[str, typer.Option(help="who approves / 批准人")],
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Approve the use of a certificate. / 批准证书。"""
    with _opened(state) as site:
        _known_certificate(site, number)
        _state_fact(site, "certificate_approved", number, {"by": author}, author, json=json)


@certificate.command("revoke")
def revoke(
    number: Annotated[str, typer.Argument(help="number of the certificate")],
    at: Annotated[str, typer.Option("--at", help="ISO 8601 with zone")],
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Withdraw a certificate from a moment on. / 撤销证书。"""
    moment = parse_moment(at, "--at")
    with _opened(state) as site:
        _known_certificate(site, number)
        body = {"by": author}
        _state_fact(site, "certificate_revoked", number, body, author, json=json, valid_from=moment)


@certificate.command("list")
def list_certificates(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """List certificates with their state now. / 列出证书。"""
    import time

    from footprint.rows import iso

    with _opened(state) as site:
        found = site.engine.engine.knowledge.all_certificates()
    rows = [
        {
            "certificate": c.id,
            "kind": c.kind.value,
            "instrument": c.instrument,
            "serial": c.serial,
            "laboratory": c.laboratory,
            "valid_from": iso(c.valid_from),
            "valid_to": iso(c.valid_to),
            "approved": c.approved,
            "revoked_at": iso(c.revoked_at),
            "state": c.state_at(time.time_ns()).value,
        }
        for c in found
    ]
    if json:
        emit(rows)
    else:
        table(rows, ("certificate", "kind", "instrument", "valid_from", "valid_to", "state"))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(instrument, name="instrument")
    app.add_typer(certificate, name="certificate")
