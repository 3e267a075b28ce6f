"""amqtt in this process: a broker for machines without Mosquitto, to look at the demo."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import threading
from pathlib import Path
from typing import Any

from ingest.broker_port import LOOPBACK, free_port
from mrv.errors import MeterprintError


class DemoBroker:
    """amqtt inside this process, for machines without Mosquitto.

    It loses messages in flight (amqtt issue 401) and is slow: good enough to look at, no more.
    """

    label = "demo broker"
    host = LOOPBACK
    tls: ssl.SSLContext | None = None

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.port = self.ingest_port = port or free_port()
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

    def revive(self) -> bool:
        """It ends only with this process."""
        return False
