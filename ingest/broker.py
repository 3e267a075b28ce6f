"""Starts an MQTT broker on loopback: Mosquitto where it is installed, else the demo broker.

The broker is never trusted with storage: outbox and receipts make up for what it loses.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from ingest.broker_certificates import CLIENT, has_authority, tls_files
from ingest.broker_config import check_listener, configuration, write_doors
from ingest.broker_demo import DemoBroker
from ingest.broker_port import LOOPBACK, Broker, answers, free_port
from mrv.errors import MeterprintError

START_TRIES = 400
"""Times a starting broker is tried, each after waiting for its process for 25 ms."""


@dataclass(frozen=True, slots=True)
class Guard:
    """How a broker knows who speaks."""

    keys: Path
    """Folder with the certificates of `broker_certificates`."""
    site: str
    """Site whose topics it carries."""
    listen: str = LOOPBACK
    """Address it listens on."""


def find_mosquitto() -> str | None:
    """Path of the mosquitto program, None where it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """A Mosquitto of our own, with a generated configuration, stopped by its pid.

    Without a `guard` it listens on loopback and lets everybody in.
    """

    label = "mosquitto"
    username = ""
    password = ""

    def __init__(self, directory: Path, port: int = 0, guard: Guard | None = None) -> None:
        program = find_mosquitto()
        if program is None:
            raise MeterprintError(
                "mosquitto is not installed", hint="apt-get install mosquitto, or run make servers"
            )
        self._program = program
        self.port = port or free_port()
        listen = LOOPBACK if guard is None else guard.listen
        self.host = LOOPBACK
        self._listen = LOOPBACK if listen in ("0.0.0.0", "::") else listen  # noqa: S104 (compared)
        self.tls: ssl.SSLContext | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "mosquitto.conf"
        self.ingest_port = self.port
        doors = None
        if guard is not None:
            self.ingest_port = free_port()
            doors = write_doors(guard.keys, guard.site, directory, self.ingest_port)
            self.tls = tls_files(guard.keys, CLIENT).context()
        text = configuration(self.port, listen, directory, doors)
        if os.geteuid() == 0:  # else it drops to a user who cannot write into the directory
            text += "user root\n"
        self._config.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.start()

    @property
    def pid(self) -> int:
        """Process id. Raises MeterprintError where it is not running."""
        if self._process is None:
            raise MeterprintError("the broker is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it accepts connections. Raises MeterprintError."""
        if answers(self.port, self._listen):
            raise MeterprintError(
                f"port {self.port} on {self._listen} is taken: another broker or site runs",
                hint="end it, name another --broker-port (0 = any free one), or use it by --broker",
            )
        self._process = subprocess.Popen(  # noqa: S603
            [self._program, "-c", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(START_TRIES):
            if answers(self.port, self._listen) and answers(self.ingest_port):
                return
            try:
                code = self._process.wait(timeout=0.025)
            except subprocess.TimeoutExpired:
                continue
            raise MeterprintError(
                f"mosquitto ended with {code} at start",
                hint=f"is port {self.port} taken? see {self._config}",
            )
        self._process.kill()
        self._process.wait()
        raise MeterprintError(f"mosquitto does not answer on port {self.port}")

    def revive(self) -> bool:
        """Start it again where it has ended by itself; whether it had. Raises MeterprintError."""
        with self._lock:
            if self._process is None or self._process.poll() is None:
                return False
            self.start()
            return True

    def kill(self) -> None:
        """Kill -9: what it had not saved is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it; returns when it is gone."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_broker(directory: Path, port: int = 0, guard: Guard | None = None) -> Broker:
    """Mosquitto where it is installed, else the demo broker, which stays on loopback."""
    if find_mosquitto() is not None:
        return Mosquitto(directory, port, guard)
    if guard is not None:
        raise MeterprintError(
            "only Mosquitto can hold agents to their own topics, and it is not installed",
            hint="apt-get install mosquitto",
        )
    return DemoBroker(directory, port)


def guard_of(keys: Path, site: str, listen: str) -> Guard | None:
    """The guard a site has made certificates for; None = none. Raises InputError off loopback."""
    secured = has_authority(keys)
    check_listener(listen, secured=secured)
    return Guard(keys, site, listen) if secured else None
