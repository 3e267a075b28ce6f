"""One server-sent-event stream a browser; one thread waits for changes, however many browsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

PING_S = 1.0
"""How often a stream says something, so that a lost one is noticed, s."""


class Changes:
    """Tells streams of each new version of the results."""

    def __init__(self, wait: Callable[[int, float], int]) -> None:
        self._wait = wait
        self._changed = asyncio.Condition()
        self.version = 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the results while the block runs."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()

    async def _follow(self) -> None:
        while True:
            now = await asyncio.to_thread(self._wait, self.version, PING_S)
            if now != self.version:
                async with self._changed:
                    self.version = now
                    self._changed.notify_all()

    async def newer(self, seen: int) -> int:
        """The version once it is another than `seen`, or after a while the same one."""
        try:
            async with asyncio.timeout(PING_S), self._changed:
                await self._changed.wait_for(lambda: self.version != seen)
        except TimeoutError:
            return seen
        return self.version


async def stream(changes: Changes, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
    """Events `change` with the version, and pings between, until the browser is gone."""
    seen = -1
    while not await gone():
        now = await changes.newer(seen)
        if now != seen:
            seen = now
            yield f"id: {now}\nevent: change\ndata: {now}\n\n"
        else:
            yield ": ping\n\n"
