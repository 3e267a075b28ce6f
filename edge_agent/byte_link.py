"""Bytes to and from one device line, over TCP or a serial port, opened again when it broke."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pymodbus.transport.serialtransport import create_serial_connection


@dataclass(frozen=True, slots=True)
class ByteLine:
    """Where a line is reached: a TCP port, or a serial port where `device` is named."""

    host: str = "127.0.0.1"
    """Host of the device or its converter."""
    port: int = 0
    """TCP port."""
    device: str = ""
    """Serial port, "" = TCP."""
    baudrate: int = 2400
    """Bits per second (2400 is the DL/T 645-2007 default)."""
    parity: str = "E"
    """N, E or O (E is the DL/T 645-2007 default)."""


NEVER_SILENT = 5
"""A line that talks on for so many times the silence that is waited for will not be silent."""


class _Inbox(asyncio.Protocol):
    """Keeps what has come and says when more has."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.came = asyncio.Event()
        self.open = True

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.came.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.open = False
        self.came.set()


class LinkLostError(ConnectionError):
    """The line is not there."""


class ByteLink:
    """One line. `send` opens it where needed; `buffer` holds what came and was not yet taken."""

    def __init__(self, line: ByteLine, connect_timeout: float = 3.0) -> None:
        self._line = line
        self._connect_timeout = connect_timeout
        self._transport: asyncio.Transport | None = None
        self._inbox = _Inbox()

    @property
    def buffer(self) -> bytearray:
        """What came; the reader deletes what it takes."""
        return self._inbox.buffer

    def close(self) -> None:
        """Give the line up; the next `send` opens it again."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def _open(self) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        self._inbox = _Inbox()
        inbox = self._inbox
        if self._line.device:
            transport, _ = await create_serial_connection(
                loop,
                lambda: inbox,
                self._line.device,
                baudrate=self._line.baudrate,
                bytesize=8,
                parity=self._line.parity,
                stopbits=1,
                timeout=0,
            )
            assert isinstance(transport, asyncio.Transport)
            return transport
        made, _ = await asyncio.wait_for(
            loop.create_connection(lambda: inbox, self._line.host, self._line.port),
            self._connect_timeout,
        )
        return made

    async def send(self, data: bytes) -> None:
        """Throw away what came unasked and send. Raises LinkLostError."""
        if self._transport is None or not self._inbox.open:
            self.close()
            try:
                self._transport = await self._open()
            except (OSError, TimeoutError) as error:
                raise LinkLostError(f"cannot open {self._line}") from error
        self.buffer.clear()
        self._transport.write(data)

    def _require_open(self) -> None:
        if not self._inbox.open:
            self.close()
            raise LinkLostError(f"{self._line} was closed by the other side")

    async def more(self, timeout: float) -> bool:  # noqa: ASYNC109 - a device's answer time
        """Wait for more bytes; False when none came in time. Raises LinkLostError."""
        self._require_open()
        self._inbox.came.clear()
        try:
            await asyncio.wait_for(self._inbox.came.wait(), timeout)
        except TimeoutError:
            return False
        self._require_open()
        return True

    async def drain(self, silence: float) -> None:
        """Throw away what comes until nothing has come for `silence` seconds.

        A line that is never silent is given up after some times as long; the next `send` opens it.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + NEVER_SILENT * silence
        try:
            while await self.more(silence):
                self.buffer.clear()
                if loop.time() > until:
                    self.close()
                    break
        except LinkLostError:
            self.close()
        self.buffer.clear()


class LinkedSource:
    """What sources that speak over one byte line have in common: leaving one closes the line."""

    def __init__(self, name: str, line: ByteLine) -> None:
        self.name = name
        self._link = ByteLink(line)
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._link.close()
