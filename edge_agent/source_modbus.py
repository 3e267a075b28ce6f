"""Modbus TCP, RTU and RTU over TCP: many instruments behind one line, one request at a time.

Without a transaction id (RTU framing) a late answer would be taken for the answer to the next
request. After a timeout the line is therefore left alone until it has been silent for the
slowest device's answer time, what comes meanwhile is thrown away, and a connection to a gateway is
given up, so that an answer that comes later still finds nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from device_profiles.decode import decode, decode_text
from edge_agent.byte_link import NEVER_SILENT
from edge_agent.instrument import (
    MALFORMED,
    NO_LINK,
    REFUSED,
    SILENT,
    TIMEOUT,
    Instrument,
    Patience,
)
from edge_agent.modbus_plan import Block, plan
from edge_agent.source import RawReading

_ILLEGAL_ADDRESS = 2


class Framing(StrEnum):
    """How requests travel."""

    TCP = "tcp"
    RTU = "rtu"
    RTU_OVER_TCP = "rtu-over-tcp"


@dataclass(frozen=True, slots=True)
class ModbusLine:
    """Where a Modbus bus is reached."""

    framing: Framing = Framing.TCP
    """TCP, RTU on a serial port, or RTU frames through a TCP gateway."""
    host: str = "127.0.0.1"
    """Host of the gateway; unused for RTU."""
    port: int = 502
    """TCP port; unused for RTU."""
    device: str = ""
    """Serial port, RTU only."""
    baudrate: int = 9600
    """Bits per second, RTU only."""
    parity: str = "N"
    """N, E or O, RTU only."""


class _Failed(Exception):
    """A request brought no words."""

    def __init__(self, quality: str, code: int = 0) -> None:
        super().__init__(quality)
        self.quality = quality
        self.code = code


class ModbusSource:
    """One Modbus bus with its instruments."""

    def __init__(
        self,
        name: str,
        line: ModbusLine,
        instruments: Sequence[Instrument],
        *,
        timeout: float | None = None,
        keep_raw: bool = False,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self._line = line
        self._named = {i.id: i for i in instruments}
        self._names = tuple(self._named)
        slowest = max((i.profile.limits.timeout_ms for i in instruments), default=1000) / 1000
        self._timeout = slowest if timeout is None else timeout
        self._keep_raw = keep_raw
        self._now = now
        self._lock = asyncio.Lock()
        self._patience = Patience()
        self._plans = {i.id: self._plan(i, i.profile.limits.max_gap) for i in instruments}
        self._heard = 0.0
        self._down = False
        self._talking = False
        self._client: AsyncModbusTcpClient | AsyncModbusSerialClient | None = None

    @staticmethod
    def _plan(instrument: Instrument, max_gap: int) -> tuple[Block, ...]:
        return plan(instrument.wanted(), instrument.profile.limits.max_words, max_gap)

    async def __aenter__(self) -> Self:
        self._client = self._open()
        await self._connected()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _hear(self, sending: bool, data: bytes) -> bytes:
        if not sending:
            self._heard = time.monotonic()
        return data

    def _open(self) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        line = self._line
        if line.framing is Framing.RTU:
            return AsyncModbusSerialClient(
                line.device,
                baudrate=line.baudrate,
                parity=line.parity,
                timeout=self._timeout,
                retries=0,
                reconnect_delay=0,
                trace_packet=self._hear,
            )
        framer = FramerType.SOCKET if line.framing is Framing.TCP else FramerType.RTU
        return AsyncModbusTcpClient(
            line.host,
            port=line.port,
            framer=framer,
            timeout=self._timeout,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._hear,
        )

    async def _connected(self) -> bool:
        client = self._client
        return client is not None and (client.connected or bool(await client.connect()))

    async def _drain(self) -> None:
        """Wait until the line is silent; where it never is, nothing may be asked on it yet."""
        if self._line.framing is Framing.TCP:
            return
        self._heard = begun = time.monotonic()
        self._talking = False
        while (left := self._heard + self._timeout - time.monotonic()) > 0:
            if time.monotonic() - begun > NEVER_SILENT * self._timeout:
                self._talking = True
                break
            await asyncio.sleep(left)
        if self._line.framing is Framing.RTU_OVER_TCP and self._client is not None:
            self._client.close()
            self._client = self._open()
            self._talking = False  # nobody hears what still comes on the old connection

    async def _request(self, unit: int, block: Block) -> bytes:
        if not await self._connected():
            self._down = True
            raise _Failed(NO_LINK)
        if self._talking:
            await self._drain()
        if self._talking:
            raise _Failed(TIMEOUT)
        client = self._client
        assert client is not None
        read = client.read_input_registers if block.fc == 4 else client.read_holding_registers
        try:
            answer = await read(block.addr, count=block.words, device_id=unit)
        except (ModbusException, OSError) as error:
            lost = not client.connected
            await self._drain()
            raise _Failed(NO_LINK if lost else TIMEOUT) from error
        if answer.isError():
            raise _Failed(REFUSED, answer.exception_code)
        if len(answer.registers) != block.words or answer.function_code != block.fc:
            await self._drain()
            raise _Failed(MALFORMED)
        return b"".join(word.to_bytes(2, "big") for word in answer.registers)

    async def sweep(self) -> tuple[RawReading, ...]:
        """One reading of each wanted register of each instrument, block by block."""
        readings: dict[str, list[RawReading]] = {}
        async with self._lock:
            ask, silent = self._patience.plan(self._names)
            for name in silent:
                instrument, at, mono = self._named[name], self._now(), time.monotonic_ns()
                blocks = self._plans[name]
                readings[name] = [
                    r for b in blocks for r in self._failure(instrument, b, at, mono, SILENT)
                ]
            self._down = False
            for name in ask:
                readings[name] = await self._read_instrument(self._named[name])
        return tuple(r for name in self._names for r in readings[name])

    async def _read_instrument(self, instrument: Instrument) -> list[RawReading]:
        readings: list[RawReading] = []
        dead = NO_LINK if self._down else ""
        for block in self._plans[instrument.id]:
            at, mono = self._now(), time.monotonic_ns()
            if dead:
                readings += self._failure(instrument, block, at, mono, dead)
                continue
            try:
                words = await self._request(int(instrument.unit), block)
            except _Failed as failed:
                readings += self._failure(instrument, block, at, mono, failed.quality)
                if failed.quality in (TIMEOUT, NO_LINK):
                    dead = failed.quality
                elif failed.code == _ILLEGAL_ADDRESS and len(block.registers) > 1:
                    self._plans[instrument.id] = self._plan(instrument, 0)
                continue
            readings += self._decoded(instrument, block, words, at, mono)
            if instrument.profile.limits.turnaround_ms and self._line.framing is Framing.RTU:
                await asyncio.sleep(instrument.profile.limits.turnaround_ms / 1000)
        if not dead:
            self._patience.answered(instrument.id)
        elif not self._down:  # also where the gateway hung up on this one
            self._patience.failed(instrument.id)
        return readings

    @staticmethod
    def _failure(
        instrument: Instrument, block: Block, at: int, mono: int, quality: str
    ) -> list[RawReading]:
        return [RawReading(instrument.channel(r), at, mono, None, quality) for r in block.registers]

    def _decoded(
        self, instrument: Instrument, block: Block, words: bytes, at: int, mono: int
    ) -> list[RawReading]:
        readings = []
        for register in block.registers:
            start = 2 * (register.addr - block.addr)
            raw = words[start : start + register.size]
            seen = decode(register, raw)
            kept = raw if self._keep_raw or seen.v is None else b""
            name = instrument.channel(register)
            readings.append(RawReading(name, at, mono, seen.v, seen.quality, kept))
        return readings

    async def identify(self, instrument: Instrument) -> str | None:
        """What the profile's identity register shows; None = no such register or no answer."""
        profile = instrument.profile
        if not profile.probe.register:
            return None
        register = profile.register(profile.probe.register)
        block = Block(register.fc, register.addr, register.words, (register,))
        async with self._lock:
            try:
                return decode_text(register, await self._request(int(instrument.unit), block))
            except _Failed:
                return None

    async def serials(self) -> dict[str, str]:
        """Serial numbers of the instruments that tell them."""
        told = {i.id: await self.identify(i) for i in self._named.values()}
        return {name: serial for name, serial in told.items() if serial}
