"""The loop of an agent: poll every bus, flush, publish, until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from edge_agent.agent import Agent
from edge_agent.outbox import KEEP_BYTES, KEEP_NS
from edge_agent.source import RawReading, Source, poll
from mrv.errors import MeterprintError

TIDY_S = 60.0
"""Pause between two looks at the retention floor, s."""


async def run_agent(
    agent: Agent,
    sources: Sequence[Source],
    stop: asyncio.Event,
    *,
    sweep_s: float = 1.0,
    flush_s: float = 1.0,
    keep_ns: int = KEEP_NS,
    keep_bytes: int = KEEP_BYTES,
) -> None:
    """Read all sources every `sweep_s` and cut envelopes every `flush_s` (0.02–10 s).

    One task a bus: a slow or dead instrument delays only its own. A full stream is flushed at
    once. Every minute receipted envelopes beyond the retention floor are deleted. Returns after
    `stop`, with everything read committed to the outbox, as it is where an error ends it. Raises
    MeterprintError where the publisher has ended.
    """
    full = asyncio.Event()

    def sink(readings: tuple[RawReading, ...]) -> None:
        if agent.add(readings):
            full.set()

    async def flush() -> None:
        while not stop.is_set():
            waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(full.wait())]
            _, pending = await asyncio.wait(
                waiting, timeout=flush_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in pending:
                task.cancel()
            full.clear()
            await asyncio.to_thread(agent.flush)
            if agent.publisher is not None:
                agent.publisher.check()

    async def tidy() -> None:
        while not stop.is_set():
            await asyncio.to_thread(agent.tidy, keep_ns, keep_bytes)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TIDY_S)

    work = [flush(), tidy(), *(poll(source, sink, sweep_s, stop) for source in sources)]
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except* MeterprintError as errors:
        raise errors.exceptions[0] from None
    finally:
        await asyncio.to_thread(agent.flush)
