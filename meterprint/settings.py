"""How a process runs: flags, then environment, then `meterprint.toml`, then defaults.

`plant.yaml` says what the plant is; nothing in here does.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from footprint.reader import InputErrors
from mrv.errors import InputError

FILE = "meterprint.toml"
"""Name of the file in a state directory."""
PREFIX = "METERPRINT_"
"""A variable METERPRINT_WEB__PORT stands for the key `port` of the section `web`."""


def _listed(value: object) -> object:
    """A list, also where a variable of the environment gives it as text with commas."""
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Names, in the environment with commas between."""


class Section(BaseModel):
    """A section: unknown keys are faults."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Web(Section):
    """The pages and the HTTP interface."""

    host: str = Field(
        default="127.0.0.1",
        description="address to listen on; others than loopback need users and a certificate",
    )
    port: int = Field(default=8480, ge=0, le=65535, description="TCP port, 0 = any free one")
    certificate: Path | None = Field(default=None, description="TLS certificate chain, PEM")
    key: Path | None = Field(default=None, description="its secret key, PEM")
    behind_proxy: bool = Field(
        default=False, description="a reverse proxy speaks TLS; take plain HTTP from the network"
    )
    names: Names = Field(default=(), description="host names by which a proxy asks for the pages")
    public: bool = Field(
        default=False, description="let who is not logged in see batches and their figures"
    )


class Broker(Section):
    """The MQTT broker: one of our own, or another's."""

    listen: str = Field(
        default="127.0.0.1",
        description="address our own listens on; others than loopback need `broker init`",
    )
    port: int = Field(default=1883, ge=0, le=65535, description="its TCP port, 0 = any free one")
    host: str = Field(
        default="", description="host of a broker that runs already; empty = start our own"
    )
    authority: Path | None = Field(
        default=None, description="certificate of the authority that signed the broker's, PEM"
    )
    certificate: Path | None = Field(
        default=None, description="client certificate, PEM; of ingest or of the agent"
    )
    key: Path | None = Field(
        default=None, description="secret key of ingest's client certificate, PEM"
    )
    user: str = Field(default="", description="user name, where the broker asks for one")
    password: SecretStr = Field(default=SecretStr(""), description="password of that user")


class Influx(Section):
    """An InfluxDB that is kept up to date; its credentials come from the environment alone."""

    url: str = Field(default="", description="its URL; empty = none")
    database: str = Field(default="meterprint", description="its database, with policy rp")


class Log(Section):
    """What the process says of itself, on standard error."""

    format: Literal["text", "json"] = Field(
        default="text", description="text for people, json for machines"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is written"
    )


class Settings(Section):
    """All sections."""

    web: Web = Web()
    broker: Broker = Broker()
    influx: Influx = Influx()
    log: Log = Log()


def load_settings(
    state: Path,
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings of a process; `flags` are `section.key` → value, None = not given.

    Raises InputErrors with every fault: file and line, variable or flag, what was seen, what to do.
    """
    places: dict[tuple[str, str], tuple[str, int]] = {}
    tree: dict[str, dict[str, object]] = {}
    path = file or state / FILE
    if file is not None or path.exists():
        _from_file(path, tree, places)
    variables = os.environ if environment is None else environment
    for name, text in variables.items():
        section, _, key = name.removeprefix(PREFIX).lower().partition("__")
        if name.startswith(PREFIX) and key:
            tree.setdefault(section, {})[key] = text
            places[section, key] = (f"environment: {name}", 0)
    for name, value in (flags or {}).items():
        if value is not None:
            section, _, key = name.partition(".")
            tree.setdefault(section, {})[key] = value
            places[section, key] = (f"--{key}", 0)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise InputErrors([_fault(one, places, path) for one in error.errors()]) from error


def _from_file(
    path: Path, tree: dict[str, dict[str, object]], places: dict[tuple[str, str], tuple[str, int]]
) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputErrors([InputError(f"cannot be read: {error}", file=str(path))]) from error
    except tomllib.TOMLDecodeError as error:
        raise InputErrors(
            [InputError(f"is not TOML: {error}", file=str(path), hint="see docs/reference")]
        ) from error
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if bare.startswith("["):
            section = bare.strip("[] ")
            places.setdefault((section, ""), (str(path), number))
        elif "=" in bare and not bare.startswith("#"):
            places.setdefault((section, bare.partition("=")[0].strip(" \"'")), (str(path), number))
    for name, value in found.items():
        if not isinstance(value, dict):
            file, number = places.get(("", name), (str(path), 0))
            raise InputErrors(
                [
                    InputError(
                        "a section is expected",
                        file=file,
                        line=number,
                        field=name,
                        hint=f"sections: {', '.join(Settings.model_fields)}",
                    )
                ]
            )
        tree[name] = {
            key: tuple(item) if isinstance(item, list) else item for key, item in value.items()
        }


def _fault(one: Any, places: dict[tuple[str, str], tuple[str, int]], path: Path) -> InputError:
    parts = [str(part) for part in one["loc"]]
    section, key = parts[0], parts[1] if len(parts) > 1 else ""
    file, line = places.get((section, key)) or places.get((section, "")) or (str(path), 0)
    seen = one.get("input")
    text = f"{one['msg']}, seen {seen!r}"
    if one["type"] == "extra_forbidden":
        known = Settings.model_fields
        names = known if not key else _keys(section)
        text = "there is no such key" if key else "there is no such section"
        return InputError(
            text, file=file, line=line, field=".".join(parts), hint=f"known: {', '.join(names)}"
        )
    return InputError(text, file=file, line=line, field=".".join(parts), hint="see docs/reference")


def _keys(section: str) -> list[str]:
    annotation = Settings.model_fields[section].annotation
    return list(annotation.model_fields) if isinstance(annotation, type) else []


def key_table() -> list[tuple[str, str, str]]:
    """(key, default, meaning) of every setting, for the reference and its test."""
    rows = []
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, Section)
        for key, inner in model.model_fields.items():
            default = inner.default
            shown = "" if default is None or isinstance(default, SecretStr) else str(default)
            shown = "" if default == () else shown
            rows.append((f"{section}.{key}", shown, inner.description or ""))
    return rows
