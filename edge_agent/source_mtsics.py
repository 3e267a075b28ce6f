"""A weigher that speaks MT-SICS over TCP: each load put on it becomes one amount.

The weigher is asked for its present value (SI). A load counts once, when it lies stable above the
threshold; the next one counts only after the weigher has been below the threshold again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edge_agent.byte_link import ByteLine, LinkedSource, LinkLostError
from edge_agent.golden import decode_weight
from edge_agent.instrument import NO_LINK, TIMEOUT, Instrument
from edge_agent.mtsics_reply import DYNAMIC, parse_text
from edge_agent.source import RawReading


class LoadDetector:
    """Turns the weigher's present values into loads."""

    def __init__(self, threshold: int, *, armed: bool = False) -> None:
        self._threshold = threshold
        self._armed = armed

    def see(self, counts: int) -> bool:
        """Whether this stable value is a new load. Starts only after it saw the weigher empty."""
        if counts <= self._threshold:
            self._armed = True
            return False
        new, self._armed = self._armed, False
        return new


class MtSicsSource(LinkedSource):
    """One weigher. `tag` says which batch a load is weighed for, "" = none."""

    def __init__(
        self,
        name: str,
        line: ByteLine,
        instrument: Instrument,
        *,
        threshold: int = 10,
        tag: Callable[[], str] = str,
        timeout: float | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(name, line)
        self._instrument = instrument
        (self._register,) = instrument.wanted()
        limit = instrument.profile.limits.timeout_ms / 1000
        self._timeout = limit if timeout is None else timeout
        self._detector = LoadDetector(threshold)
        self._tag = tag
        self._now = now
        self._failed = ""

    async def sweep(self) -> tuple[RawReading, ...]:
        """The load that was put on since the last sweep, or nothing.

        A failure (no answer, overload, another unit …) is one reading without value when it
        begins, not one a sweep; a weigher in motion or busy is no failure.
        """
        at, mono = self._now(), time.monotonic_ns()
        async with self._lock:
            line, quality = await self._ask(self._register.command)
        raw = line.encode("latin-1")
        value = None
        if not quality:
            value, quality = decode_weight(self._register, line)
        if quality in (DYNAMIC, "busy"):
            return ()
        if quality:
            if quality == self._failed:
                return ()
            self._failed = quality
        else:
            self._failed = ""
            assert value is not None
            if not self._detector.see(value):
                return ()
        channel = self._instrument.channel(self._register)
        return (RawReading(channel, at, mono, value, quality, raw, 0, self._tag()),)

    async def _ask(self, command: str) -> tuple[str, str]:
        try:
            await self._link.send(command.encode("ascii") + b"\r\n")
            loop = asyncio.get_running_loop()
            deadline = loop.time() + self._timeout
            while (left := deadline - loop.time()) > 0 and await self._link.more(left):
                line, end, _ = bytes(self._link.buffer).partition(b"\r\n")
                if end:
                    return line.decode("latin-1"), ""
        except LinkLostError:
            return "", NO_LINK
        await self._link.drain(self._timeout)
        return "", TIMEOUT

    async def identify(self) -> str | None:
        """The weigher's serial number (I4), None where it does not say."""
        async with self._lock:
            line, quality = await self._ask("I4")
        return None if quality else parse_text(line, "I4")

    async def serials(self) -> dict[str, str]:
        """The weigher's serial number, where it says it."""
        serial = await self.identify()
        return {self._instrument.id: serial} if serial else {}
