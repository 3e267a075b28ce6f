"""A real influxd that can be killed and started again on what it had on disk."""

from __future__ import annotations

import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from ingest.broker import free_port

DATABASE = "meterprint"


class Influxd:
    """One influxd 1.8.10 with a database and its retention policy, on a free loopback port."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        port, rpc = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._config = folder / "influxdb.conf"
        self._config.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc}"\n'
            f'[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nquery-log-enabled = false\n'
            f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
            '[logging]\nlevel = "error"\n[monitor]\nstore-enabled = false\n'
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        query = f"CREATE DATABASE {DATABASE} WITH DURATION INF NAME rp"
        body = urllib.parse.urlencode({"q": query}).encode()
        urllib.request.urlopen(f"{self.url}/query", data=body, timeout=30).read()

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait` until it answers."""
        self._process = subprocess.Popen(
            [str(self._program), "-config", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600 if wait else 0):
            try:
                urllib.request.urlopen(f"{self.url}/ping", timeout=1).read()
            except OSError:
                try:
                    code = self._process.wait(timeout=0.05)
                except subprocess.TimeoutExpired:
                    continue
                raise AssertionError(f"influxd ended with {code}") from None
            return
        assert not wait, "influxd does not answer"

    def kill(self) -> None:
        """Kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    stop = kill
