"""Starts an MQTT broker on loopback: Mosquitto where it is installed, else the demo broker.

The broker is never trusted with storage: outbox and receipts make up for what it loses.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from mrv.errors import MeterprintError

LOOPBACK = "127.0.0.1"
"""The only address we listen on without authentication."""
QUEUED_MESSAGES = 1_000_000
"""Messages the broker keeps for one session that does not keep up; what it drops then is sent
again by its agent, as it has no receipt."""
QUEUED_BYTES = 256_000_000
"""Bytes it keeps for one session."""
START_TRIES = 400
"""Times a starting broker is tried, each after waiting for its process for 25 ms."""


class Broker(Protocol):
    """A running broker."""

    label: str
    """What it is: mosquitto, demo broker."""
    port: int
    """TCP port on loopback."""
    username: str
    """User to log in with, "" = none."""
    password: str
    """Password, "" = none."""

    def stop(self) -> None:
        """End it; returns when it is gone."""
        ...


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def find_mosquitto() -> str | None:
    """Path of the mosquitto program, None where it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def _answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


class Mosquitto:
    """A Mosquitto of our own, with a generated configuration, stopped by its pid."""

    label = "mosquitto"
    username = ""
    password = ""

    def __init__(self, directory: Path, port: int = 0) -> None:
        program = find_mosquitto()
        if program is None:
            raise MeterprintError(
                "mosquitto is not installed", hint="apt-get install mosquitto, or run make servers"
            )
        self._program = program
        self._directory = directory
        self.port = port or free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} {LOOPBACK}\n"
            "allow_anonymous true\n"
            "persistence true\n"
            f"persistence_location {directory.resolve()}/\n"
            "autosave_interval 60\n"
            f"max_queued_messages {QUEUED_MESSAGES}\n"
            f"max_queued_bytes {QUEUED_BYTES}\n"
            "max_inflight_messages 200\n"
            "max_packet_size 1000000\n"
            "persistent_client_expiration 30d\n"
            "log_dest none\n"
        )
        if os.geteuid() == 0:  # else it drops to a user who cannot write into the directory
            with self._config.open("a") as file:
                file.write("user root\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        """Process id. Raises MeterprintError where it is not running."""
        if self._process is None:
            raise MeterprintError("the broker is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it accepts connections. Raises MeterprintError."""
        self._process = subprocess.Popen(  # noqa: S603
            [self._program, "-c", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(START_TRIES):
            if _answers(self.port):
                return
            try:
                code = self._process.wait(timeout=0.025)
            except subprocess.TimeoutExpired:
                continue
            raise MeterprintError(
                f"mosquitto ended with {code} at start",
                hint=f"is port {self.port} taken? see {self._config}",
            )
        self.stop()
        raise MeterprintError(f"mosquitto does not answer on port {self.port}")

    def kill(self) -> None:
        """Kill -9: what it had not saved is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it; returns when it is gone."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class DemoBroker:
    """amqtt inside this process, for machines without Mosquitto.

    It loses messages in flight (amqtt issue 401) and is slow: good enough to look at, no more.
    """

    label = "demo broker"

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.port = port or free_port()
        self.username = "meterprint"
        self.password = secrets.token_hex(16)
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._fault: BaseException | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="demo-broker", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._fault is not None:
            raise MeterprintError(f"the demo broker does not start: {self._fault}")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        try:
            broker = await self._broker()
        except Exception as error:  # noqa: BLE001 (handed to the thread that waits)
            self._fault = error
            return
        finally:
            self._started.set()
        await self._stop.wait()
        await broker.shutdown()

    async def _broker(self) -> Any:
        from amqtt.broker import Broker as Amqtt  # noqa: PLC0415 (heavy, only without Mosquitto)
        from pwdlib import PasswordHash  # noqa: PLC0415

        password_file = self._directory / "users"
        password_file.write_text(
            f"{self.username}:{PasswordHash.recommended().hash(self.password)}\n"
        )
        password_file.chmod(0o600)
        broker = Amqtt(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{self.port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.FileAuthPlugin": {
                        "password_file": str(password_file)
                    }
                },
            }
        )
        await broker.start()
        return broker

    def stop(self) -> None:
        """End it; returns when it is gone."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)


def start_broker(directory: Path, port: int = 0) -> Broker:
    """Mosquitto where it is installed, else the demo broker."""
    if find_mosquitto() is not None:
        return Mosquitto(directory, port)
    return DemoBroker(directory, port)
