"""Instruments and gateways that do not answer: said, and delaying nobody else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

from edge_agent.instrument import TIMEOUT, Instrument, Patience
from edge_agent.simulator import Faults, SimulatedInstrument
from edge_agent.simulator_modbus import ModbusSimulator
from edge_agent.source import poll
from edge_agent.source_modbus import Framing, ModbusLine, ModbusSource, _Failed
from mrv.interval import Interval
from tests.edge_agent.modbus_bench import ADL, HOUR, T0, Clock, by_channel, curve


def test_a_server_that_hangs_after_it_took_the_connection_delays_nobody():
    """A real TCP server that never answers, beside one that does."""

    async def run():
        hung = asyncio.Event()

        async def swallow(reader, writer):
            while await reader.read(256):
                hung.set()
            writer.close()

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        seen, enough = [], asyncio.Event()

        def take(readings):
            seen.append(readings)
            if len(seen) >= 20:
                enough.set()

        async with ModbusSimulator([SimulatedInstrument(ADL, curve(1), "1")]) as good:
            meter = Instrument("a", ADL, "1", ("energy_import",))
            live = ModbusSource("live", ModbusLine(port=good.port), [meter])
            dead = ModbusSource("dead", ModbusLine(port=port), [meter], timeout=60)
            held: list[object] = []
            tasks = [
                asyncio.create_task(poll(live, take, 0.01, enough)),
                asyncio.create_task(poll(dead, held.append, 0.01, enough)),
            ]
            await asyncio.wait_for(hung.wait(), 20)
            await asyncio.wait_for(enough.wait(), 20)
            assert all(r.quality == "" for readings in seen for r in readings)
            assert held == []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        server.close()

    asyncio.run(run())


def test_a_dead_unit_behind_a_gateway_costs_its_neighbours_a_few_waits_in_a_hundred_sweeps():
    """The dead unit's time-out is taken as passed at once, so that no clock plays a part."""

    async def run():
        clock = Clock(T0 + HOUR)
        devices = [SimulatedInstrument(ADL, curve(n), str(n)) for n in range(1, 6)]
        meters = [Instrument(f"m{d.unit}", ADL, d.unit, ("energy_import",)) for d in devices]
        order: list[int] = []

        class Source(ModbusSource):
            async def _request(self, unit, block):
                order.append(unit)
                if unit == 3:
                    raise _Failed(TIMEOUT)
                return await super()._request(unit, block)

        async with ModbusSimulator(devices, rtu=True, now=clock) as simulator:
            line = ModbusLine(Framing.RTU_OVER_TCP, port=simulator.port)
            async with Source("bus", line, meters, timeout=30, now=clock) as source:
                for sweep in range(100):
                    order.clear()
                    seen = by_channel(await source.sweep())
                    assert seen.pop("m3.energy_import").v is None
                    assert {r.quality for r in seen.values()} == {""}
                    assert len(seen) == 4
                    if sweep and 3 in order:
                        assert order == [1, 2, 4, 5, 3], "the silent one is asked last"
                    waits.append(3 in order)

    waits: list[bool] = []
    asyncio.run(run())
    assert [n for n, waited in enumerate(waits) if waited] == [0, 1, 2, 10, 26, 58]


def test_a_gateway_that_is_away_costs_one_wait_a_sweep_not_one_an_instrument():
    async def run():
        async with ModbusSimulator([SimulatedInstrument(ADL, curve(1), "1")]) as gone:
            port = gone.port
        tried = 0

        class Source(ModbusSource):
            async def _connected(self) -> bool:
                nonlocal tried
                tried += 1
                return await super()._connected()

        meters = [Instrument(f"m{n}", ADL, str(n), ("energy_import",)) for n in range(1, 26)]
        async with Source("bus", ModbusLine(port=port), meters) as source:
            tried = 0
            seen = await source.sweep()
            assert {r.quality for r in seen} == {"no_link"}
            assert (len(seen), tried) == (25, 1)

    asyncio.run(run())


def test_a_dead_bus_does_not_delay_another():
    async def run():
        live = SimulatedInstrument(ADL, curve(1), "1")
        dead = replace(live, faults=Faults(silent=(Interval(0, 2 * T0),)))
        got = {"live": 0, "dead": 0}
        enough = asyncio.Event()

        def sink(name):
            def take(readings):
                got[name] += 1
                if got["live"] >= 5:
                    enough.set()

            return take

        async with ModbusSimulator([live]) as one, ModbusSimulator([dead]) as two:
            meter = Instrument("a", ADL, "1", ("energy_import",))
            buses = [
                ModbusSource("live", ModbusLine(port=one.port), [meter]),
                ModbusSource("dead", ModbusLine(port=two.port), [meter], timeout=30),
            ]
            tasks = [asyncio.create_task(poll(b, sink(b.name), 0.01, enough)) for b in buses]
            await asyncio.wait_for(enough.wait(), 20)
            assert got["dead"] == 0
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_patience_asks_a_silent_instrument_ever_less_often_but_for_ever():
    patience = Patience(after=3, longest=64)
    asked = []
    for sweep in range(1000):
        ask, left = patience.plan(["a"])
        assert sorted(ask + left) == ["a"]
        if ask:
            asked.append(sweep)
            patience.failed("a")
    assert asked[:7] == [0, 1, 2, 10, 26, 58, 122]
    assert {b - a for a, b in pairwise(asked[6:])} == {64}
    patience.answered("a")
    assert patience.plan(["a"]) == (["a"], [])


def test_of_many_silent_instruments_one_a_sweep_is_asked_and_last():
    patience = Patience()
    names = [f"m{n}" for n in range(10)]
    dead = set(names[2:7])
    for sweep in range(300):
        ask, left = patience.plan(names)
        if sweep:
            assert ask[:5] == ["m0", "m1", "m7", "m8", "m9"]
            assert len(ask) <= 6
        assert sorted(ask + left) == sorted(names)
        for name in ask:
            if name in dead:
                patience.failed(name)
            else:
                patience.answered(name)
