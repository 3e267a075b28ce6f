"""Commands on who may come in: accounts of the pages, certificates of the broker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterprint.output import DEFAULT_STATE, JsonOption, StateOption, emit, table
from mrv.errors import InputError

if TYPE_CHECKING:
    from dashboards.access import Role

user = typer.Typer(help="Accounts of the pages. / 页面账号。", no_args_is_help=True)
broker = typer.Typer(
    help="Certificates and configuration of the broker. / 代理的证书与配置。", no_args_is_help=True
)
RoleOption = Annotated[str, typer.Option(help="operator, metrologist, verifier or public / 角色")]
"""Role of an account."""


def _file(state: Path) -> Path:
    from meterprint.site import ACCOUNTS, MARKER

    if not (state / MARKER).exists():
        raise InputError(
            f"{state} is no state directory",
            hint="start with `meterprint serve --plant plant.yaml`, or name it by --state",
        )
    return state / ACCOUNTS


def _role(text: str) -> Role:
    from dashboards.access import Role

    try:
        return Role(text)
    except ValueError as error:
        raise InputError(
            f"no role is called {text!r}", field="--role", hint="roles: " + ", ".join(Role)
        ) from error


@user.command("set")
def set_user(
    name: Annotated[str, typer.Argument(help="name of the account")],
    role: RoleOption,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="read the password from standard input")
    ] = False,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Make an account, or give it another role or password. / 新建或修改账号。"""
    from dashboards.accounts import read_accounts, with_password, write_accounts

    file = _file(state)
    known = read_accounts(file)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    known[name] = with_password(name, _role(role), password)
    write_accounts(file, known)
    typer.echo(f"{name}: {role}")


@user.command("token")
def make_token(
    name: Annotated[str, typer.Argument(help="name of the account")],
    role: RoleOption,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Make an account for a program and print its token, once. / 生成程序令牌（只显示一次）。"""
    from dashboards.accounts import read_accounts, with_token, write_accounts

    file = _file(state)
    known = read_accounts(file)
    known[name], token = with_token(name, _role(role))
    write_accounts(file, known)
    if json:
        emit({"name": name, "role": role, "token": token})
    else:
        typer.echo(token)


@user.command("list")
def list_users(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """List accounts and their roles. / 列出账号。"""
    from dashboards.accounts import read_accounts

    kinds = {"scrypt": "password", "sha256": "token"}
    rows = [
        {"name": one.name, "role": one.role.value, "kind": kinds[one.kind]}
        for one in read_accounts(_file(state)).values()
    ]
    if json:
        emit(rows)
    else:
        table(rows, ("name", "role", "kind"))


@user.command("remove")
def remove_user(
    name: Annotated[str, typer.Argument(help="name of the account")],
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Remove an account; its sessions end at once. / 删除账号。"""
    from dashboards.accounts import read_accounts, write_accounts

    file = _file(state)
    known = read_accounts(file)
    if known.pop(name, None) is None:
        raise InputError(f"no account is called {name!r}", hint="see `meterprint user list`")
    write_accounts(file, known)
    typer.echo(f"{name} removed")


def _site(state: Path) -> str:
    import json

    from meterprint.site import MARKER

    _file(state)
    return str(json.loads((state / MARKER).read_text())["site"])


@broker.command("init")
def init_broker(
    name: Annotated[
        list[str] | None, typer.Option(help="host name or address by which agents reach it")
    ] = None,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Make the broker's authority and certificates; from then on it asks for them. / 生成证书。"""
    from ingest.broker_certificates import make_authority

    make_authority(state / "keys", _site(state), name or [])
    typer.echo("the broker speaks TLS from its next start and lets enrolled agents in only")
    typer.echo("next: meterprint enrol-agent KEY --certificate gateway.pem; meterprint broker ca")


@broker.command("ca")
def show_authority(state: StateOption = DEFAULT_STATE) -> None:
    """Print the authority's certificate, which agents trust. / 输出代理根证书。"""
    from ingest.broker_certificates import AUTHORITY

    file = state / "keys" / f"{AUTHORITY}.pem"
    if not file.exists():
        raise InputError("this site has no broker authority", hint="`meterprint broker init`")
    typer.echo(file.read_text(), nl=False)


@broker.command("config")
def show_config(
    port: Annotated[
        int, typer.Option(help="TCP port for agents; ingest takes the next one")
    ] = 8883,
    listen: Annotated[str, typer.Option(help="address to listen on")] = "0.0.0.0",  # noqa: S104 (refused without certificates)
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Write access list and print mosquitto.conf for a Mosquitto you run yourself. / 输出配置。"""
    from ingest.broker_certificates import has_authority
    from ingest.broker_config import configuration, write_doors

    site = _site(state)
    folder = state / "broker"
    doors = None
    if has_authority(state / "keys"):
        folder.mkdir(parents=True, exist_ok=True)
        doors = write_doors(state / "keys", site, folder, port + 1, listen)
    typer.echo(configuration(port, listen, folder, doors), nl=False)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(user, name="user")
    app.add_typer(broker, name="broker")
