"""Broker, ingest, agent and influxd as processes of a drill, each of which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import apsw

from ingest.broker import Mosquitto
from meterprint.views import cursor_file
from tests.conftest import REPO
from tests.faults.influx import Influxd
from tests.faults.processes import AGENT, AHEAD, Role


def rows(path: Path, query: str) -> int:
    """A count out of a database somebody else writes."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(10_000)
        return db.execute(query).fetchone()[0]
    finally:
        db.close()


class Plant:
    """Broker, ingest, agent and, where wanted, an influxd; each can be killed and goes on."""

    def __init__(
        self,
        folder: Path,
        role: Role,
        influx: Influxd | None = None,
        ingest_under: Sequence[str] = (),
    ) -> None:
        self._ingest_under = list(ingest_under)
        self.state = Path(role.state)
        self._role = role
        self._folder = folder
        self.broker = Mosquitto(folder / "broker")
        self.influx = influx
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("ingest", "agent"):
            self.start(name)

    def start(self, name: str) -> None:
        """Start an ingest or the agent."""
        if name == "broker":
            self.broker.start()
            return
        if name == "influxd":
            assert self.influx is not None
            self.influx.start(wait=False)
            return
        role = replace(self._role, port=self.broker.port)
        under = self._ingest_under if name == "ingest" else []
        if name == "ingest":
            role = replace(role, role="ingest", influx=self.influx.url if self.influx else "")
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*under, sys.executable, *role.arguments()],
                cwd=REPO,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill -9."""
        if name == "broker":
            self.broker.kill()
        elif name == "influxd":
            assert self.influx is not None
            self.influx.kill()
        else:
            self._end(self._running[name])

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """Kill a process and what traces it, which are a session of their own."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def done(self, pause: float) -> bool:
        """Whether the agent has a receipt for all it has, after waiting so many s at the most."""
        try:
            return self._running["agent"].wait(timeout=pause) == 0
        except subprocess.TimeoutExpired:
            return False

    def held(self) -> int:
        """Envelopes in the journal."""
        return rows(self.state / "journal.db", "SELECT count(*) FROM envelope")

    def cut(self) -> int:
        """Envelopes in the outbox."""
        query = "SELECT count(*) FROM message WHERE stream<>''"
        return rows(self.state / "agents" / AGENT / "outbox.db", query)

    def waits(self) -> bool:
        """Whether the agent has so many envelopes without a receipt that it cuts no more."""
        query = "SELECT count(*) FROM message WHERE receipted IS NULL"
        return rows(self.state / "agents" / AGENT / "outbox.db", query) > AHEAD

    def finish(self) -> None:
        """Wait for the agent, and for the projector to have caught up."""
        assert self._running["agent"].wait(timeout=600) == 0, self.log("agent")
        cursor = cursor_file(self.state, "influx")
        pause = threading.Event()
        entries = "SELECT count(*) FROM entry"
        for _ in range(6000 if self.influx else 0):
            size = rows(self.state / "journal.db", entries)
            if cursor.exists() and cursor.read_text().strip() == str(size):
                return
            assert self._running["ingest"].poll() is None, self.log("ingest")
            pause.wait(0.05)
        assert self.influx is None, f"the projector is behind: {self.log('ingest')}"

    def log(self, name: str, most: int = 2000) -> str:
        """The end of what a process said."""
        return (self._folder / f"{name}.log").read_text()[-most:]

    def stop(self) -> None:
        """End everything; influxd goes on, to be asked."""
        for process in self._running.values():
            self._end(process)
        self.broker.stop()
