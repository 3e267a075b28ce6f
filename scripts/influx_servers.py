"""Starts a real influxd on loopback for tests and benches: 1.8.10 or 2.9.1, data in a folder."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingest.influx_connection import InfluxAddress
from scripts.influxd_builds import INFLUX2_VERSION, INFLUX_VERSION, influxd_path

USER, PASSWORD = "meterprint", "a password for tests"
TOKEN = "a-token-for-tests"
"""Of a server that lives as long as a test; not a secret."""
ORG = "meterprint"
VERSIONS = (INFLUX_VERSION, INFLUX2_VERSION)
PATIENCE = 600
"""Times a server is asked whether it is there, 50 ms apart."""


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Influxd:
    """One server process. `start` it, `kill` it, start it again: the data stays in its folder."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def major(self) -> int:
        """1 or 2."""
        return int(self.version.split(".")[0])

    def environment(self) -> dict[str, str]:
        """Environment that `meterprint influx init` and `serve --influx` read."""
        known = {"METERPRINT_INFLUX_USER": USER, "METERPRINT_INFLUX_PASSWORD": PASSWORD}
        if self.major == 2:
            known |= {"METERPRINT_INFLUX_TOKEN": TOKEN, "METERPRINT_INFLUX_ORG": ORG}
        return known

    def address(self, database: str = "meterprint") -> InfluxAddress:
        """Where it is and who may use it."""
        token = TOKEN if self.major == 2 else ""
        return InfluxAddress(
            self.url, database, org=ORG, username=USER, password=PASSWORD, token=token
        )

    def _command(self) -> list[str]:
        program, folder = str(influxd_path(self.version)), self.folder
        if self.major == 2:
            return [
                program,
                f"--bolt-path={folder}/bolt",
                f"--sqlite-path={folder}/sqlite",
                f"--engine-path={folder}/engine",
                f"--http-bind-address=127.0.0.1:{self.port}",
                "--reporting-disabled",
                "--log-level=error",
            ]
        config = folder / "influxdb.conf"  # without Flux: it takes seconds to start
        config.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nquery-log-enabled = false\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nauth-enabled = true\n'
            "log-enabled = false\n"
            '[logging]\nlevel = "error"\n'
        )
        return [program, "-config", str(config)]

    def start(self) -> None:
        """Start the process and wait until it answers. Raises RuntimeError where it ends."""
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(self._command(), stdout=output, stderr=output)
        for _ in range(PATIENCE):
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1).read()
            except (OSError, urllib.error.HTTPError):
                try:
                    code = self.process.wait(timeout=0.05)
                except subprocess.TimeoutExpired:
                    continue
                text = (self.folder / "output").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"influxd {self.version} ended with {code}: {text}") from None
            return
        raise RuntimeError(f"influxd {self.version} does not answer")

    def found(self) -> None:
        """Make the first user: a server without one takes nobody's word."""
        if self.major == 1:
            text = f"CREATE USER \"{USER}\" WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES"
            self._post("/query", {"q": text})
        else:
            words = {"username": USER, "password": PASSWORD, "org": ORG, "bucket": "first"}
            self._post("/api/v2/setup", {**words, "token": TOKEN})

    def _post(self, path: str, words: dict[str, str]) -> None:
        body = json.dumps(words) if path.startswith("/api") else urlencode(words)
        urllib.request.urlopen(f"{self.url}{path}", data=body.encode(), timeout=30).read()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None


@contextmanager
def influx_server(version: str, folder: Path) -> Iterator[Influxd]:
    """A running server with its first user, ended with the block."""
    server = Influxd(version, folder)
    server.start()
    try:
        server.found()
        yield server
    finally:
        server.stop()
