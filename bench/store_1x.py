"""A real influxd 1.8 for a bench, with a database for each run."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.broker import free_port
from ingest.series import SeriesStore
from scripts.influxd_builds import influxd_path

SITE = "bench"


class Store1x:
    """A running influxd and the database of the run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._runs = 0
        self._database = ""

    @property
    def credentials(self) -> tuple[str, str]:
        """(url, database)."""
        return self.url, self._database

    def begin(self) -> None:
        """An empty database for the next run; the one before is dropped."""
        if self._database:
            self.ask(f'DROP DATABASE "{self._database}"')
        self._runs += 1
        self._database = f"run{self._runs}"
        self.create(self._database)

    def create(self, database: str) -> None:
        """A database with the retention policy both sides write to."""
        self.ask(f'CREATE DATABASE "{database}" WITH DURATION INF NAME rp')

    def store(self, database: str = "") -> SeriesStore:
        """Our store over a database; "" = that of the run."""
        from ingest.series_influx import InfluxStore

        return InfluxStore(self.url, database or self._database, SITE)

    def count(self, database: str = "") -> int:
        """Points of a database; "" = that of the run."""
        series = self.ask("SELECT count(*) FROM reading", database or self._database)
        return max(series[0]["values"][0][1:]) if series else 0

    def ask(self, text: str, database: str = "") -> list[dict]:
        """Series in the answer to an InfluxQL query."""
        body = urllib.parse.urlencode({"q": text, "db": database, "epoch": "ms"}).encode()
        with urllib.request.urlopen(f"{self.url}/query", data=body, timeout=60) as answer:
            return json.loads(answer.read())["results"][0].get("series", [])


@contextmanager
def influxd_1x(folder: Path) -> Iterator[Store1x]:
    """A running influxd 1.8, ended with the block."""
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n'
        f'[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nquery-log-enabled = false\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
        '[logging]\nlevel = "error"\n'
    )
    process = subprocess.Popen(
        [str(influxd_path()), "-config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=1).read()
                break
            except OSError:
                try:
                    code = process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
                raise RuntimeError(f"influxd ended with {code}") from None
        yield Store1x(url)
    finally:
        process.terminate()
        process.wait(30)
