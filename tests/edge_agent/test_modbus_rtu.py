"""RTU framing: late and faulty answers never become another register's value."""

from __future__ import annotations

import asyncio
import os
import random
import tty

import pytest

from edge_agent.instrument import Instrument
from edge_agent.load_curve import LoadCurve
from edge_agent.simulator import SimulatedInstrument
from edge_agent.simulator_modbus import ModbusSimulator
from edge_agent.source_modbus import Framing, ModbusLine, ModbusSource
from tests.edge_agent.modbus_bench import ADL, HOUR, T0, Clock, by_channel, curve

SWEEPS = int(os.environ.get("METERPRINT_RTU_SWEEPS", "8"))
"""Sweeps over six instruments on a faulty line."""


class LateGateway:
    """RTU frames over TCP; holds the first answer back until it is told that it is too late."""

    def __init__(self, inner_port: int) -> None:
        self.inner_port = inner_port
        self.too_late = asyncio.Event()

    async def serve(self, reader, writer) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.inner_port)
        while request := await reader.read(256):
            up_writer.write(request)
            answer = await up_reader.read(256)
            await self.too_late.wait()
            writer.write(answer)
        up_writer.close()
        writer.close()


def sweeps_through(gateway_of, drains: bool) -> list[list[int | None]]:
    start = {"energy_combined": 1_111, "energy_export": 2_222, "energy_import": 3_333}
    device = SimulatedInstrument(ADL, LoadCurve(1, 0, 0, T0), "1", start=start)

    class Source(ModbusSource):
        async def _drain(self) -> None:
            gateway.too_late.set()
            if drains:
                await super()._drain()

    async def run():
        nonlocal gateway
        async with ModbusSimulator([device], rtu=True) as simulator:
            gateway = gateway_of(simulator.port)
            server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
            line = ModbusLine(Framing.RTU_OVER_TCP, port=server.sockets[0].getsockname()[1])
            meters = [Instrument(f"m{n}", ADL, "1", (name,)) for n, name in enumerate(start)]
            async with Source("bus", line, meters, timeout=1.0) as source:
                seen = [[r.v for r in await source.sweep()] for _ in range(2)]
            server.close()
            return seen

    gateway = None
    return asyncio.run(run())


def test_a_late_answer_on_an_rtu_line_never_becomes_the_next_register():
    assert sweeps_through(LateGateway, drains=True) == [
        [None, 2_222, 3_333],
        [1_111, 2_222, 3_333],
    ]


def test_without_the_pause_after_a_timeout_the_late_answer_would_be_taken():
    first, _ = sweeps_through(LateGateway, drains=False)
    assert first[:2] == [None, 1_111]


class FaultyGateway:
    """Passes RTU frames on, but late, torn, twice, or with noise, as a seed says."""

    def __init__(self, inner_port: int, seed: int, timeout: float) -> None:
        self.inner_port = inner_port
        self.choice = random.Random(seed)
        self.timeout = timeout
        self.faults = 0

    async def serve(self, reader, writer) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.inner_port)
        while request := await reader.read(256):
            up_writer.write(request)
            answer = await up_reader.read(256)
            draw = self.choice.random()
            self.faults += draw < 0.3
            if draw < 0.1:
                await asyncio.sleep(self.timeout * self.choice.choice((1.2, 1.5, 2.5)))
                writer.write(answer)
            elif draw < 0.15:
                writer.write(answer[: self.choice.randrange(len(answer))])
            elif draw < 0.2:
                writer.write(answer + answer)
            elif draw < 0.25:
                writer.write(bytes(self.choice.randrange(256) for _ in range(9)) + answer)
            elif draw < 0.3:
                place = self.choice.randrange(len(answer))
                writer.write(answer[:place] + bytes([answer[place] ^ 0x10]) + answer[place + 1 :])
            else:
                writer.write(answer)
        up_writer.close()
        writer.close()


@pytest.mark.parametrize("seed", range(2))
def test_no_wrong_value_is_ever_good_on_a_faulty_rtu_line(seed):
    names = ("energy_combined", "energy_export", "energy_import")
    devices = [
        SimulatedInstrument(
            ADL,
            LoadCurve(1, 0, 0, T0),
            str(unit),
            start={name: 1_000_000 * unit + 111 * n for n, name in enumerate(names, 1)},
        )
        for unit in (1, 2)
    ]
    expected = {
        f"m{d.unit}{n}.{name}": d.start[name] for d in devices for n, name in enumerate(names)
    }

    async def run():
        timeout = 0.1
        good = failed = 0
        async with ModbusSimulator(devices, rtu=True) as simulator:
            gateway = FaultyGateway(simulator.port, seed, timeout)
            server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
            line = ModbusLine(Framing.RTU_OVER_TCP, port=server.sockets[0].getsockname()[1])
            meters = [
                Instrument(f"m{d.unit}{n}", ADL, d.unit, (name,))
                for d in devices
                for n, name in enumerate(names)
            ]
            async with ModbusSource("bus", line, meters, timeout=timeout) as source:
                for _ in range(SWEEPS):
                    for reading in await source.sweep():
                        if reading.v is None:
                            failed += 1
                        else:
                            good += 1
                            assert reading.v == expected[reading.channel], reading
            server.close()
        assert gateway.faults > SWEEPS // 2
        assert good > SWEEPS
        assert failed > 2

    asyncio.run(run())


def test_a_serial_port_carries_rtu_frames_for_several_units():
    async def run():
        clock = Clock(T0 + HOUR)
        devices = [SimulatedInstrument(ADL, curve(n), str(n)) for n in (3, 4)]
        master, slave = os.openpty()
        tty.setraw(master)
        async with ModbusSimulator(devices, rtu=True, now=clock) as simulator:
            reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
            loop = asyncio.get_running_loop()
            loop.add_reader(master, lambda: writer.write(os.read(master, 256)))

            async def back() -> None:
                while data := await reader.read(256):
                    os.write(master, data)

            pump = asyncio.create_task(back())
            line = ModbusLine(Framing.RTU, device=os.ttyname(slave))
            meters = [Instrument(f"m{d.unit}", ADL, d.unit) for d in devices]
            async with ModbusSource("bus", line, meters, now=clock) as source:
                seen = by_channel(await source.sweep())
            loop.remove_reader(master)
            writer.close()
            await pump
        os.close(master)
        os.close(slave)
        register = ADL.register("energy_import")
        for device in devices:
            reading = seen[f"m{device.unit}.energy_import"]
            assert reading.v == device.counts(register, clock.t)

    asyncio.run(run())
