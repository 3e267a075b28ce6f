"""One server-sent-event stream a browser: each change of the results as it comes.

The engine tells the web server's loop; each change is put into words once, however many streams
there are. A stream that was slow gets what it missed, as far as it is kept.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from dashboards.read_model import ReadModel
from footprint.rows import figure_row

PING_S = 1.0
"""How often a stream says something, so that a lost one is noticed, s."""
KEPT = 64
"""Changes kept for streams that are slow; beyond that they only hear the latest version."""
FIGURES = 50
"""Figures told of one change; a change of more batches says so, and pages ask for theirs."""


class Changes:
    """Tells streams of each new version of the results, with the figures that are other ones."""

    def __init__(self, read: ReadModel) -> None:
        self._read = read
        self._changed = asyncio.Condition()
        self._said: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self.version = 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the results while the block runs."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        unfollow = self._read.follow(lambda: loop.call_soon_threadsafe(came.set))
        came.set()
        task = asyncio.create_task(self._follow(came))
        try:
            yield
        finally:
            unfollow()
            task.cancel()

    async def _follow(self, came: asyncio.Event) -> None:
        while True:
            await came.wait()
            came.clear()
            seen, now = self.version, self._read.version
            if now == seen:
                continue
            text = _change(self._read, seen, now)
            async with self._changed:
                self._said.append((now, text))
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

    def since(self, seen: int) -> str:
        """What a stream that has seen a version is told."""
        missed = [text for version, text in self._said if version > seen]
        if seen < 0 or not missed or (len(missed) == KEPT and self._said[0][0] > seen + 1):
            return _version(self.version)
        return "".join(missed)


def _version(version: int) -> str:
    return f"id: {version}\nevent: change\ndata: {version}\n\n"


def _change(read: ReadModel, seen: int, now: int) -> str:
    """Events of a change: the figures of some batches, then the version."""
    rows = [figure_row(result) for result in read.changed_since(seen)[-FIGURES:]]
    figures = (f"event: footprint\ndata: {json.dumps(r, ensure_ascii=False)}\n\n" for r in rows)
    return "".join((*figures, _version(now)))


async def stream(changes: Changes, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
    """Events `footprint` and `change`, and pings between, until the browser is gone."""
    seen = -1
    while True:
        now = await changes.newer(seen)
        if now != seen:
            text = changes.since(seen)
            seen = now
            yield text
        elif await gone():
            return
        else:
            yield ": ping\n\n"
