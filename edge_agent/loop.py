"""The loop of an agent: poll every bus, flush, publish, until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edge_agent.agent import Agent
from edge_agent.source import RawReading, Source, poll


async def run_agent(
    agent: Agent,
    sources: Sequence[Source],
    stop: asyncio.Event,
    *,
    sweep_s: float = 1.0,
    flush_s: float = 1.0,
) -> None:
    """Read all sources every `sweep_s` and cut envelopes every `flush_s` (0.02–10 s).

    One task a bus: a slow or dead instrument delays only its own. A full stream is flushed at
    once. Returns after `stop`, with everything read committed to the outbox.
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

    await asyncio.gather(flush(), *(poll(source, sink, sweep_s, stop) for source in sources))
    await asyncio.to_thread(agent.flush)
