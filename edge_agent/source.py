"""What every source of readings gives, whatever its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class RawReading:
    """One reading as the agent took it."""

    channel: str
    """`<instrument>.<register>`."""
    t: int
    """Start of the read (of an amount: of its interval), ns UTC."""
    mono: int
    """Monotonic clock at the read, ns."""
    v: int | None
    """Integer the register shows, in units of its resolution; None = failed."""
    quality: str = ""
    """Quality flag, "" = good."""
    raw: bytes = b""
    """Raw register bytes; empty where not kept."""
    length: int = 0
    """Amount: length of its interval, ns."""
    tag: str = ""
    """Amount: batch it was weighed for, "" = none."""


Sink = Callable[[tuple[RawReading, ...]], None]
"""Takes the readings of one sweep."""


class Source(Protocol):
    """One bus. Entering connects where it can, `sweep` reads every instrument on it once.

    A sweep never raises for a device or a line that fails: the reading says so (v None, quality).
    """

    @property
    def name(self) -> str:
        """What the bus is called in messages."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def sweep(self) -> tuple[RawReading, ...]:
        """Readings of all registers that are read on this bus, in a fixed order."""
        ...

    async def serials(self) -> dict[str, str]:
        """Serial numbers by instrument, of those whose profile says where to ask and that answer.

        Called between entering and leaving, like `sweep`.
        """
        ...


async def poll(source: Source, sink: Sink, every: float, stop: asyncio.Event) -> None:
    """Sweeps one bus every `every` seconds until `stop`; a slow sweep starts the next at once.

    Run one task a bus: then a slow or dead instrument delays only its own.
    """
    loop = asyncio.get_running_loop()
    async with source:
        due = loop.time()
        while not stop.is_set():
            sink(await source.sweep())
            due = max(due + every, loop.time())
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), due - loop.time())
