"""DL/T 645-2007 meters on one serial or TCP line, one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from device_profiles.decode import decode
from device_profiles.profile import Register
from edge_agent.byte_link import ByteLine, LinkedSource, LinkLostError
from edge_agent.dlt645_frame import (
    READ_ERROR,
    READ_OK,
    WAKE_UP,
    Frame,
    encode,
    identifier,
    read_request,
    take,
)
from edge_agent.instrument import (
    MALFORMED,
    NO_LINK,
    REFUSED,
    SILENT,
    TIMEOUT,
    Instrument,
    Patience,
)
from edge_agent.source import RawReading


class Dlt645Source(LinkedSource):
    """One line with its meters. An answer counts only from the meter and identifier asked for."""

    def __init__(
        self,
        name: str,
        line: ByteLine,
        instruments: Sequence[Instrument],
        *,
        timeout: float | None = None,
        keep_raw: bool = False,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(name, line)
        self._named = {i.id: i for i in instruments}
        self._names = tuple(self._named)
        slowest = max((i.profile.limits.timeout_ms for i in instruments), default=1000) / 1000
        self._timeout = slowest if timeout is None else timeout
        self._keep_raw = keep_raw
        self._now = now
        self._patience = Patience()

    async def sweep(self) -> tuple[RawReading, ...]:
        """One reading of each wanted register of each meter."""
        readings: dict[str, list[RawReading]] = {}
        async with self._lock:
            ask, silent = self._patience.plan(self._names)
            for name in silent:
                readings[name] = await self._read_instrument(self._named[name], SILENT)
            dead = ""
            for name in ask:
                readings[name] = await self._read_instrument(self._named[name], dead)
                dead = NO_LINK if readings[name][-1].quality == NO_LINK else ""
        return tuple(r for name in self._names for r in readings[name])

    async def serials(self) -> dict[str, str]:
        """None: a meter is called by its address, which is printed on it."""
        return {}

    async def _read_instrument(self, instrument: Instrument, dead: str) -> list[RawReading]:
        """`dead` says why it is not asked, "" = it is."""
        readings = []
        for register in instrument.wanted():
            at, mono = self._now(), time.monotonic_ns()
            value, quality, raw = None, dead, b""
            if not dead:
                value, quality, raw = await self._read(instrument.unit, register)
                dead = quality if quality in (TIMEOUT, NO_LINK) else ""
            readings.append(RawReading(instrument.channel(register), at, mono, value, quality, raw))
        if dead == TIMEOUT:
            self._patience.failed(instrument.id)
        elif not dead:
            self._patience.answered(instrument.id)
        return readings

    async def _read(self, address: str, register: Register) -> tuple[int | None, str, bytes]:
        try:
            answer = await self._exchange(read_request(address, register.addr))
        except LinkLostError:
            return None, NO_LINK, b""
        if answer is None:
            return None, TIMEOUT, b""
        if answer.control == READ_ERROR:
            return None, REFUSED, answer.data
        if len(answer.data) != 4 + register.size:
            return None, MALFORMED, answer.data
        seen = decode(register, answer.data[4:])
        kept = answer.data[4:] if self._keep_raw or seen.v is None else b""
        return seen.v, seen.quality, kept

    async def _exchange(self, request: Frame) -> Frame | None:
        await self._link.send(WAKE_UP + encode(request))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while (left := deadline - loop.time()) > 0 and await self._link.more(left):
            while (frame := take(self._link.buffer)) is not None:
                if self._answers(frame, request):
                    return frame
        await self._link.drain(self._timeout)
        return None

    @staticmethod
    def _answers(frame: Frame, request: Frame) -> bool:
        if frame.address != request.address:
            return False
        if frame.control == READ_ERROR:
            return True
        return (
            frame.control == READ_OK
            and len(frame.data) >= 4
            and identifier(frame.data) == identifier(request.data)
        )
