"""Modbus instruments read as their profiles say, in few requests."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from edge_agent.instrument import Instrument
from edge_agent.modbus_plan import plan
from edge_agent.simulator import Faults, Jump, SimulatedInstrument
from edge_agent.simulator_modbus import ModbusSimulator
from edge_agent.source_modbus import ModbusLine, ModbusSource
from mrv.interval import NS_PER_S, Interval
from tests.edge_agent.modbus_bench import ADL, ADL2, GAS, HOUR, SDM, T0, Clock, by_channel, curve


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
