"""The loop of an agent: whatever ends it, what was read is in the outbox."""

from __future__ import annotations

import asyncio

import pytest

from edge_agent.agent import Agent
from edge_agent.loop import run_agent
from edge_agent.outbox import Outbox
from edge_agent.source import RawReading
from mrv.envelope import Clock, ClockState, parse
from mrv.verification.note import SecretKey, split
from tests.faults.test_hostile import TABLE

S = 10**9
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")


class Breaking:
    """A bus whose driver has a fault: three sweeps, then an error nobody expects."""

    name = "bus"

    def __init__(self):
        self.count = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def sweep(self):
        self.count += 1
        if self.count > 3:
            raise RuntimeError("a fault of the driver")
        return (RawReading("m.e", self.count * S, 0, self.count),)


def test_readings_are_kept_where_the_program_ends_by_a_fault_of_its_own(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    agent = Agent(TABLE, {"m.e": "l", "air.e": "l"}, SecretKey.generate("a"), outbox, lambda: CLOCK)

    async def run():
        await run_agent(agent, [Breaking()], asyncio.Event(), sweep_s=0.0, flush_s=60)

    with pytest.raises(ExceptionGroup) as seen:
        asyncio.run(run())
    assert seen.group_contains(RuntimeError, match="a fault of the driver")
    kept = [parse(split(m.note)[0]) for m in outbox.everything() if m.stream]
    assert [v for e in kept for c in e.cols for v in c.v] == [1, 2, 3]
    outbox.close()
