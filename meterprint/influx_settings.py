"""Who may use an InfluxDB: from the environment, secrets also from files. Nothing is printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ingest.influx_connection import InfluxAddress
from mrv.errors import InputError

PREFIX = "METERPRINT_INFLUX_"
"""Before USER, PASSWORD, TOKEN and ORG; PASSWORD_FILE and TOKEN_FILE name files."""


def _secret(name: str, environment: Mapping[str, str]) -> str:
    given = environment.get(PREFIX + name, "")
    path = environment.get(f"{PREFIX}{name}_FILE", "")
    if not path:
        return given
    if given:
        raise InputError(
            f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set", hint="keep the file, unset one"
        )
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the file that {PREFIX}{name}_FILE names: {error}",
            file=path,
            hint="it holds the secret alone and is readable by this user",
        ) from error


def address_of(
    url: str, database: str, environment: Mapping[str, str] = os.environ
) -> InfluxAddress:
    """Where InfluxDB is and the credentials of the environment. Raises InputError."""
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is no address of an InfluxDB", hint="write http://HOST:8086")
    if not database or any(c in database for c in "/\n\"'\\"):
        raise InputError(
            f"{database!r} cannot name a database", hint="letters, digits, - and _ will do"
        )
    return InfluxAddress(
        url=url,
        database=database,
        org=environment.get(PREFIX + "ORG", "") or "meterprint",
        username=environment.get(PREFIX + "USER", ""),
        password=_secret("PASSWORD", environment),
        token=_secret("TOKEN", environment),
    )
