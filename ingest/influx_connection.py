"""A connection to one database of an InfluxDB 1.8, 2 or 3: writes, InfluxQL, and what went wrong.

`/api/v2/write` (through influxdb-client) and `/query` work on all of them. The bucket of retention
policy P of database D is named `D/P`: 1.8 takes it so, and in 2 a bucket of that name is mapped to
D and P by itself.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import httpx
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService
from urllib3.exceptions import HTTPError

from ingest.series import StoreError

POLICY = "rp"
"""Retention policy of the readings, second half of the bucket's name in 2."""
TIMEOUT_S = 10.0
"""How long a request may take; a server that hangs is asked again later."""
LONGEST_WAIT_S = 300.0
"""Longest pause a server may ask for by Retry-After."""


class InfluxError(StoreError):
    """InfluxDB does not accept or answer."""


class RefusedLines(InfluxError):
    """Lines are at fault, not the server: the same lines will be refused again."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status}: {reason}")
        self.reason = reason
        found = re.search(r"\bdropped=(\d+)|\bdropped (\d+) points", reason)
        self.dropped = int(found[1] or found[2]) if found else 0
        """Points that were left out while the others were stored; 0 = not said."""


class Grade(StrEnum):
    """Kinds of reasons for which lines are refused."""

    TYPE = "field_type_conflict"
    RETENTION = "beyond_retention"
    PARSE = "unable_to_parse"
    LIMIT = "limit_exceeded"
    SIZE = "too_large"
    TWINS = "too_many_twins"
    OTHER = "other"

    @classmethod
    def of(cls, reason: str) -> Grade:
        """The kind of a server's text."""
        for words, grade in (
            ("field type conflict", cls.TYPE),
            ("beyond retention policy", cls.RETENTION),  # 1.8
            ("outside retention policy", cls.RETENTION),  # 2.9
            ("unable to parse", cls.PARSE),
            ("limit exceeded", cls.LIMIT),
            ("too large", cls.SIZE),
        ):
            if words in reason:
                return grade
        return cls.OTHER


@dataclass(frozen=True, slots=True)
class InfluxAddress:
    """Where the database is and who may use it. Secrets are never shown."""

    url: str
    """Address of the server."""
    database: str = "meterprint"
    """Database of 1.x, first half of a bucket's name in 2."""
    org: str = "meterprint"
    """Organisation of 2; 1.x has none."""
    username: str = field(default="", repr=False)
    """User of 1.x, "" = none."""
    password: str = field(default="", repr=False)
    """Password of the user."""
    token: str = field(default="", repr=False)
    """Token of 2 and 3, "" = none."""

    @property
    def bucket(self) -> str:
        """Bucket of the readings."""
        return f"{self.database}/{POLICY}"

    @property
    def authorization(self) -> Mapping[str, str]:
        """Header of a request, empty where there are no credentials."""
        if self.token:
            return {"Authorization": f"Token {self.token}"}
        if self.username:
            pair = f"{self.username}:{self.password}".encode()
            return {"Authorization": f"Basic {b64encode(pair).decode()}"}
        return {}


def asked_pause(text: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 §10.2.3), None where it has none to give."""
    if not text:
        return None
    if text.isascii() and text.strip().isdigit():
        return min(float(text), LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - now, 0.0), LONGEST_WAIT_S)


def quoted(text: str) -> str:
    """An InfluxQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def named(text: str) -> str:
    """An InfluxQL identifier."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class InfluxConnection:
    """One server, one database. Not for several threads at once."""

    def __init__(self, address: InfluxAddress, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self.url = address.url.rstrip("/")
        pair = f"{address.username}:{address.password}"
        self._client = InfluxDBClient(
            url=self.url,
            token=address.token or pair,
            auth_basic=not address.token,
            timeout=round(timeout_s * 1000),
        )
        self._writer = WriteService(self._client.api_client)  # type: ignore[no-untyped-call]
        self._org = address.org if address.token else "-"
        self.http = httpx.Client(
            base_url=self.url, timeout=timeout_s, headers=dict(address.authorization)
        )

    def write(self, lines: bytes) -> None:
        """Write lines; they are durable when this returns (the answer was 204).

        Raises RefusedLines where lines are at fault, InfluxError where the server is; then
        `again_in_s` is the pause it asks for.
        """
        try:
            _, status, _ = self._writer.post_write_with_http_info(  # type: ignore[no-untyped-call]
                self._org,
                self.address.bucket,
                lines,
                precision="ns",
                content_type="text/plain; charset=utf-8",
            )
        except ApiException as error:
            raise self._fault(error.status or 0, str(error.body or error.reason), error) from error
        except (HTTPError, OSError) as error:
            raise self._silent(error) from error
        if status != httpx.codes.NO_CONTENT:
            raise InfluxError(
                f"{self.url} answers {status} to a write, where an InfluxDB answers 204",
                hint="is there another server, or a proxy, at this address?",
            )

    def _fault(self, status: int, body: str, error: ApiException) -> InfluxError:
        reason = _message(body)
        if status in (400, 413, 422):
            return RefusedLines(status, reason if status != 413 else f"too large: {reason}")
        headers: Mapping[str, str] = error.headers or {}
        pause = asked_pause(headers.get("Retry-After"), time.time())
        hint = "nothing is lost: the journal keeps all, writing goes on from the cursor"
        if status == 404:
            hint = f"run `meterprint influx init --influx {self.url}`; {hint}"
        elif status in (401, 403):
            hint = "check METERPRINT_INFLUX_TOKEN, or METERPRINT_INFLUX_USER and _PASSWORD"
        return InfluxError(
            f"{self.url} answers {status} to a write: {reason}", hint=hint, again_in_s=pause
        )

    def _silent(self, error: Exception) -> InfluxError:
        return InfluxError(
            f"{self.url} does not answer: {str(error)[:200] or type(error).__name__}",
            hint="start InfluxDB; nothing is lost, writing goes on from the cursor",
        )

    def query(self, text: str, policy: str = "", statements: int = 1) -> list[list[dict[str, Any]]]:
        """Series of each of the InfluxQL statements in `text`, times in ns. Raises InfluxError."""
        results = self._ask(text, policy)
        if len(results) != statements:
            raise self._stranger(f"{len(results)} results of {statements} statements")
        return [self._series(result) for result in results]

    def run(self, text: str) -> None:
        """Have one InfluxQL statement done that answers nothing. Raises InfluxError."""
        for result in self._ask(text, ""):
            self._series(result)

    def _ask(self, text: str, policy: str) -> list[dict[str, Any]]:
        words = {"db": self.address.database, "rp": policy or POLICY}
        try:
            answer = self.http.post("/query", data={**words, "q": text, "epoch": "ns"})
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if answer.status_code != httpx.codes.OK:
            reason = _message(answer.text)
            raise InfluxError(
                f"{self.url} answers {answer.status_code} to a query: {reason}",
                hint="check the credentials, and `meterprint influx init`",
                again_in_s=asked_pause(answer.headers.get("Retry-After"), time.time()),
            )
        try:
            told = answer.json()
        except ValueError as error:
            raise self._stranger(answer.text) from error
        if isinstance(told, dict) and "error" in told:
            raise InfluxError(f"{self.url}: {told['error']}")
        results: Any = told.get("results", []) if isinstance(told, dict) else None
        if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
            raise self._stranger(answer.text)
        return results

    def _series(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        if "error" in result:
            raise InfluxError(
                f"{self.url}: {result['error']}",
                hint="run `meterprint influx init`: it makes databases, policies and mappings",
            )
        found = result.get("series", [])
        if not isinstance(found, list) or not all(map(_is_series, found)):
            raise self._stranger(str(found))
        if result.get("partial") or any(series.get("partial") for series in found):
            raise InfluxError(
                f"{self.url} cuts its answers short",
                hint="set max-row-limit = 0 in the [http] section of its configuration",
            )
        return found

    @contextmanager
    def understood(self) -> Iterator[None]:
        """What is made of an answer inside. Raises InfluxError where that cannot be done."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._stranger(f"{type(error).__name__}: {error}") from error

    def _stranger(self, text: str) -> InfluxError:
        return InfluxError(
            f"{self.url} does not answer as an InfluxDB does: {text[:100]!r}",
            hint="is there another server, or a proxy, at this address?",
        )

    def major(self) -> int:
        """Number of the server's line: 1, 2 or 3. Raises InfluxError."""
        try:
            answer = self.http.get("/ping")
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        version = answer.headers.get("X-Influxdb-Version", "")
        found = re.match(r"v?(\d+)\.", version)
        if found is None:
            raise InfluxError(f"{self.url} does not say that it is an InfluxDB: {version!r}")
        return int(found[1])

    def close(self) -> None:
        """Close connections."""
        self._client.close()  # type: ignore[no-untyped-call]
        self.http.close()


def _is_series(found: object) -> bool:
    if not isinstance(found, dict):
        return False
    rows, names = found.get("values", []), found.get("columns")
    if not isinstance(rows, list) or not isinstance(names, list):
        return False
    return all(isinstance(row, list) and len(row) == len(names) for row in rows)


def _message(body: str) -> str:
    found = re.search(r'"(?:error|message)"\s*:\s*"((?:[^"\\]|\\.)*)"', body)
    text = found[1].replace('\\"', '"') if found else body
    return text.strip()[:500]
