"""InfluxDB as a series store: writes through influxdb-client, reads by InfluxQL.

`/api/v2/write` and `/query` work on 1.8, 2 and 3. Fields are floats only, so that no type can
conflict; integers are exact up to 2⁵³, the journal keeps all. Tags are site, agent, stream and
channel; epoch and batch never are. A reading is one point: keys are deterministic, and writing a
point again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import httpx
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from mrv.errors import MeterprintError
from mrv.series import Series, SeriesChunk, SeriesKey

MEASUREMENT = "reading"
BATCH = 5000
"""Lines of one write (InfluxDB's advice for 1.x and 2.x)."""
TRIES = 5
"""Attempts before a store that does not answer is given up for now."""


class InfluxError(MeterprintError):
    """InfluxDB does not accept or answer."""


def escape_tag(text: str) -> str:
    """A tag value in line protocol: comma, equals sign and space are escaped."""
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def lines(site: str, chunk: SeriesChunk) -> list[str]:
    """Line protocol of a chunk."""
    key, series = chunk.key, chunk.series
    tags = ",".join(
        f"{name}={escape_tag(value)}"
        for name, value in sorted(
            {
                "agent": key.agent,
                "channel": key.channel,
                "site": site,
                "stream": key.stream,
            }.items()
        )
    )
    found = []
    for i, t in enumerate(series.t):
        fields = f"ok={float(series.ok[i])!r},value={float(series.v[i])!r}"
        if series.length:
            fields += f",length={float(series.length[i])!r}"
        found.append(f"{MEASUREMENT},{tags} {fields} {int(t)}")
    return found


class InfluxStore:
    """One database of an InfluxDB."""

    def __init__(
        self,
        url: str,
        database: str,
        site: str,
        username: str = "",
        password: str = "",
        pause_s: float = 0.2,
    ) -> None:
        self._url = url.rstrip("/")
        self._database = database
        self._site = site
        self._pause = pause_s
        self._client = InfluxDBClient(url=url, token=f"{username}:{password}", org="-")
        self._write = self._client.write_api(write_options=SYNCHRONOUS)
        self._http = httpx.Client(timeout=30)

    @property
    def pending(self) -> int:
        """0: a write is durable when it is answered."""
        return 0

    def append(self, chunks: Sequence[SeriesChunk]) -> None:
        """Write readings; raises InfluxError where the server does not take them in the end.

        A twin at one time must keep the larger row, so what is there is read before it is
        written over.
        """
        batch: list[str] = []
        for chunk in chunks:
            batch += lines(self._site, self._without_smaller_twins(chunk))
        for start in range(0, len(batch), BATCH):
            self._send(batch[start : start + BATCH])

    def _without_smaller_twins(self, chunk: SeriesChunk) -> SeriesChunk:
        series = chunk.series
        if not len(series):
            return chunk
        there = self.read(chunk.key, min(series.t), max(series.t) + 1)
        held = {t: (there.ok[i], there.v[i]) for i, t in enumerate(there.t)}
        kept: dict[int, int] = {}
        for i, t in enumerate(series.t):
            row = (series.ok[i], series.v[i])
            if row >= held.get(t, row):
                held[t] = row
                kept[t] = i
        places = [kept[t] for t in sorted(kept)]
        return SeriesChunk(
            chunk.key,
            Series(
                [series.t[i] for i in places],
                [series.v[i] for i in places],
                [series.ok[i] for i in places],
                [series.length[i] for i in places] if series.length else (),
            ),
        )

    def _send(self, batch: list[str]) -> None:
        fault: Exception | None = None
        for attempt in range(TRIES):
            try:
                self._write.write(bucket=f"{self._database}/rp", record="\n".join(batch))
            except ApiException as error:
                fault = error
                if error.status in (400, 422) and len(batch) > 1:
                    middle = len(batch) // 2
                    self._send(batch[:middle])
                    self._send(batch[middle:])
                    return
                if error.status in (400, 401, 403, 422):
                    break
            except (HTTPError, OSError) as error:
                fault = error
            else:
                return
            time.sleep(self._pause * 2**attempt)
        raise InfluxError(
            f"{self._url} did not take {len(batch)} points: {str(fault)[:200]}",
            hint="nothing is lost: the journal keeps all, writing goes on from the cursor",
        ) from fault

    def _query(self, text: str) -> list[dict[str, Any]]:
        try:
            answer = self._http.post(
                f"{self._url}/query", data={"db": self._database, "q": text, "epoch": "ns"}
            )
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise InfluxError(f"{self._url} does not answer: {error}") from error
        results = answer.json().get("results", [])
        if results and "error" in results[0]:
            raise InfluxError(f"{self._url}: {results[0]['error']}")
        return [series for result in results for series in result.get("series", [])]

    def read(self, key: SeriesKey, start: int, end: int) -> Series:
        """Readings with start ≤ t < end."""
        where = " AND ".join(
            f"\"{name}\"='{_quoted(value)}'"
            for name, value in (
                ("agent", key.agent),
                ("stream", key.stream),
                ("channel", key.channel),
                ("site", self._site),
            )
        )
        text = (
            f'SELECT "value","ok","length" FROM {MEASUREMENT} WHERE {where} '  # noqa: S608
            f"AND time >= {int(start)} AND time < {int(end)}"
        )
        rows = [row for series in self._query(text) for row in series["values"]]
        return Series(
            [int(row[0]) for row in rows],
            [int(row[1]) for row in rows],
            [int(row[2]) for row in rows],
            [int(row[3] or 0) for row in rows],
            ["" for _ in rows],
        )

    def keys(self) -> Sequence[SeriesKey]:
        """Channels that have readings, sorted."""
        found = set()
        for series in self._query(f"SHOW SERIES FROM {MEASUREMENT}"):
            for (text,) in series["values"]:
                tags = dict(_split_tags(text))
                if tags.get("site") == self._site:
                    found.add(SeriesKey(tags["agent"], tags["stream"], tags["channel"]))
        return sorted(found)

    def flush(self) -> None:
        """Nothing to do: a write is durable when it is answered."""

    def clear(self) -> None:
        """Drop this site's readings."""
        self._query(f"DROP SERIES FROM {MEASUREMENT} WHERE \"site\"='{_quoted(self._site)}'")

    def close(self) -> None:
        """Close connections."""
        self._client.close()  # type: ignore[no-untyped-call]
        self._http.close()


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _split_tags(text: str) -> list[tuple[str, str]]:
    parts, current, escaped = [], "", False
    for char in text:
        if escaped:
            current += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            parts.append(current)
            current = ""
        else:
            current += char
    parts.append(current)
    return [(name, value) for name, _, value in (p.partition("=") for p in parts[1:])]
