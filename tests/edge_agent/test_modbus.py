from __future__ import annotations

import asyncio
import os
import random
import tty
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from device_profiles.loading import load_profile
from edge_agent.instrument import TIMEOUT, Instrument, Patience
from edge_agent.load_curve import UNIT, LoadCurve
from edge_agent.modbus_plan import plan
from edge_agent.simulator import Faults, Jump, SimulatedInstrument
from edge_agent.simulator_modbus import ModbusSimulator
from edge_agent.source import poll
from edge_agent.source_modbus import Framing, ModbusLine, ModbusSource, _Failed
from mrv.interval import NS_PER_S, Interval

T0 = 1_700_000_000 * NS_PER_S
HOUR = 3600 * NS_PER_S
SWEEPS = int(os.environ.get("METERPRINT_RTU_SWEEPS", "8"))
"""Sweeps over six instruments on a faulty line."""
SDM, ADL = load_profile("eastron/sdm630"), load_profile("acrel/adl400")
ADL2, GAS = load_profile("acrel/adl400_secondary"), load_profile("fuxin/gas_corrector")


class Clock:
    def __init__(self, t: int) -> None:
        self.t = t

    def __call__(self) -> int:
        return self.t


def curve(seed: int = 1) -> LoadCurve:
    return LoadCurve(seed, base=20_000, swing=5_000, origin=T0)


def by_channel(readings):
    return {r.channel: r for r in readings}


def test_four_meters_behind_one_gateway_read_what_the_simulator_shows():
    async def run():
        clock = Clock(T0 + HOUR + 7 * NS_PER_S)
        devices = [
            SimulatedInstrument(SDM, curve(1), "1", start={"energy_import": 5_000}),
            SimulatedInstrument(ADL, curve(2), "2", start={"energy_import": 123_456}),
            SimulatedInstrument(ADL2, curve(3), "3", ratio=40),
            SimulatedInstrument(GAS, curve(4), "4"),
        ]
        async with ModbusSimulator(devices, now=clock) as simulator:
            instruments = [Instrument(f"m{d.unit}", d.profile, d.unit) for d in devices]
            line = ModbusLine(port=simulator.port)
            async with ModbusSource("bus", line, instruments, now=clock) as source:
                seen = by_channel(await source.sweep())
                assert await source.identify(instruments[0]) == "1"
        for instrument, device in zip(instruments, devices, strict=True):
            for register in instrument.wanted():
                reading = seen[instrument.channel(register)]
                assert reading.v == device.counts(register, clock.t)
                assert reading.t == clock.t
                assert reading.quality == ""
        assert seen["m2.energy_import"].v > 123_456
        assert seen["m3.energy_import"].v * 40 // 10 == pytest.approx(
            devices[2].load.amount(clock.t) * 10, abs=8
        )

    asyncio.run(run())


def test_registers_travel_as_the_profile_says_seen_by_a_plain_client():
    async def run():
        device = SimulatedInstrument(GAS, curve(), "9", start={"volume_standard": 12431116})
        async with (
            ModbusSimulator([device], now=Clock(T0)) as simulator,
            AsyncModbusTcpClient("127.0.0.1", port=simulator.port) as client,
        ):
            answer = await client.read_holding_registers(0x12, count=3, device_id=9)
            assert answer.registers == [0x0000, 0x1243, 0x1116]

    asyncio.run(run())


def test_a_counter_rolls_over_at_its_modulus():
    device = SimulatedInstrument(GAS, curve(), start={"volume_standard": 10**12 - 1})
    register = GAS.register("volume_standard")
    assert device.counts(register, T0) == 10**12 - 1
    after = device.counts(register, T0 + HOUR)
    assert after == device.load.amount(T0 + HOUR) // register.resolution - 1


def test_a_silent_unit_is_a_failed_reading_and_its_neighbour_is_read():
    async def run():
        clock = Clock(T0)
        gap = Faults(silent=(Interval(T0, T0 + HOUR),))
        devices = [
            SimulatedInstrument(ADL, curve(1), "1", faults=gap),
            SimulatedInstrument(ADL, curve(2), "2"),
        ]
        async with ModbusSimulator(devices, now=clock) as simulator:
            both = [Instrument("a", ADL, "1", ("energy_import",)), Instrument("b", ADL, "2")]
            line = ModbusLine(port=simulator.port)
            async with ModbusSource("bus", line, both, timeout=0.1, now=clock) as source:
                for _ in range(6):
                    seen = by_channel(await source.sweep())
                    assert seen["a.energy_import"].v is None
                    assert seen["b.energy_import"].v is not None
                assert seen["a.energy_import"].quality == "silent"
                clock.t = T0 + HOUR
                for _ in range(8):
                    seen = by_channel(await source.sweep())
                assert seen["a.energy_import"].quality == ""

    asyncio.run(run())


def test_a_missing_server_is_a_reading_without_a_link_and_comes_back():
    async def run():
        device = SimulatedInstrument(ADL, curve(1), "1")
        async with ModbusSimulator([device]) as simulator:
            port = simulator.port
        meter = Instrument("a", ADL, "1", ("energy_import",))
        async with ModbusSource("bus", ModbusLine(port=port), [meter], timeout=0.5) as source:
            (reading,) = await source.sweep()
            assert (reading.v, reading.quality) == (None, "no_link")
            async with ModbusSimulator([device], port):
                (reading,) = await source.sweep()
                assert reading.quality == ""

    asyncio.run(run())


def test_a_block_over_a_hole_is_planned_again_where_the_device_refuses_it():
    async def run():
        device = SimulatedInstrument(ADL, curve(1), "1")
        shorter = replace(
            ADL, registers=tuple(r for r in ADL.registers if not r.name.startswith("current"))
        )
        async with ModbusSimulator([replace(device, profile=shorter)]) as simulator:
            meter = Instrument("a", ADL, "1", ("ct_ratio", "energy_import"))
            line = ModbusLine(port=simulator.port)
            hole = replace(meter.profile.register("pt_ratio"), name="below", addr=0x80)
            wide = replace(ADL, registers=(hole, *ADL.registers))
            meter = Instrument("a", wide, "1", ("below", "pt_ratio", "energy_import"))
            async with ModbusSource("bus", line, [meter]) as source:
                seen = by_channel(await source.sweep())
                assert seen["a.below"].quality == "refused"
                assert seen["a.pt_ratio"].quality == "refused"
                seen = by_channel(await source.sweep())
                assert seen["a.below"].quality == "refused"
                assert seen["a.pt_ratio"].v == 1
                assert seen["a.energy_import"].quality == ""

    asyncio.run(run())


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


def test_jumps_and_missing_values_are_served_as_such():
    async def run():
        clock = Clock(T0 + HOUR)
        faults = Faults(jumps=(Jump(T0, "energy_import", -500),), missing=("power",))
        sound = SimulatedInstrument(SDM, curve(), start={"energy_import": 10_000})
        device = replace(sound, faults=faults)
        meter = Instrument("a", SDM, "1", ("energy_import", "power"))
        async with (
            ModbusSimulator([device], now=clock) as simulator,
            ModbusSource("b", ModbusLine(port=simulator.port), [meter], now=clock) as source,
        ):
            seen = by_channel(await source.sweep())
        register = SDM.register("energy_import")
        assert seen["a.energy_import"].v == sound.counts(register, clock.t) - 500
        assert seen["a.power"].v is None
        assert seen["a.power"].quality == "nan"
        assert seen["a.power"].raw.hex() == "7fc00000"

    asyncio.run(run())


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=25, unique=True),
    st.integers(2, 60),
    st.integers(0, 20),
)
def test_a_plan_holds_every_register_once_within_the_limits(places, max_words, max_gap):
    base = ADL.register("energy_import")
    wanted = [replace(base, name=f"r{p}", addr=2 * p, fc=3 + p % 2) for p in places]
    blocks = plan(wanted, max_words, max_gap)
    assert sorted(r.name for b in blocks for r in b.registers) == sorted(r.name for r in wanted)
    for block in blocks:
        assert block.words <= max_words
        reach = block.addr
        for register in block.registers:
            assert register.fc == block.fc
            assert register.addr - reach <= max_gap
            assert block.addr <= register.addr
            assert register.addr + register.words <= block.addr + block.words
            reach = register.addr + register.words


def test_the_21_registers_of_an_sdm630_are_read_in_three_requests():
    wanted = Instrument("a", SDM).wanted()
    blocks = plan(wanted, SDM.limits.max_words, SDM.limits.max_gap)
    assert (len(wanted), len(blocks)) == (21, 3)


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


@given(st.integers(0, 50), st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_load_curve_is_the_integral_of_its_rate(seed, start, length):
    load = LoadCurve(seed, 1_000, 777, T0, slot=10**11)
    end = start + length
    cuts = [start, *range((start // 10**11 + 1) * 10**11, end, 10**11), end]
    summed = sum(load.rate(T0 + a) * (b - a) for a, b in pairwise(cuts))
    assert (load.amount(T0 + end) - load.amount(T0 + start)) * UNIT == summed


def test_a_steady_load_of_36_kw_is_36_kwh_after_an_hour():
    assert LoadCurve(1, 36_000, 0, T0).amount(T0 + HOUR) == 36
    assert LoadCurve(1, 36_000, 0, T0).amount(T0 - 1) == 0
