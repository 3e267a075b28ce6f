"""The demo's instruments: simulators that speak the real protocols, and their sources."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fractions import Fraction

from device_profiles.loading import load_profile
from edge_agent.byte_link import ByteLine
from edge_agent.device_commands import simulated
from edge_agent.instrument import Instrument
from edge_agent.load_curve import LoadCurve, WeighCycle
from edge_agent.simulator import Faults, SimulatedInstrument
from edge_agent.source import Source
from edge_agent.source_dlt645 import Dlt645Source
from edge_agent.source_modbus import ModbusLine, ModbusSource
from edge_agent.source_mtsics import MtSicsSource
from footprint.plant import PlantModel
from mrv.channel import Channel
from mrv.interval import NS_PER_S, Interval

STREAMS = {
    "press-1": "line-1",
    "oven-1": "line-1",
    "mixer-1": "line-1",
    "scale-1": "line-1",
    "press-2": "line-2",
    "oven-2": "line-2",
    "gas-2": "line-2",
    "scale-2": "line-2",
    "compressor": "compressor",
    "chiller": "chiller",
    "light": "light",
    "office": "office",
}
"""Stream of each instrument: one a line, one for each shared meter."""
WATTS = {
    "press-1": (40_000, 40_000),
    "oven-1": (30_000, 20_000),
    "mixer-1": (8_000, 8_000),
    "press-2": (45_000, 30_000),
    "oven-2": (25_000, 20_000),
    "compressor": (30_000, 25_000),
    "chiller": (20_000, 10_000),
    "light": (6_000, 0),
    "office": (4_000, 2_000),
}
"""Base and swing of each load, W."""
LITRES = (6_000, 4_000)
"""Base and swing of the gas load, L/h."""
ROLL_OVER = "oven-1"
ROLL_OVER_AFTER = 200
"""Instrument with a planted roll-over, and how many counts before it; one that counts in integers:
a 32-bit float shows no tenths so close to its end."""
SILENT = "oven-2"
"""Instrument with a planted gap."""
DL_ADDRESS = "000000000001"


@dataclass(frozen=True, slots=True)
class Floor:
    """The running plant floor."""

    sources: tuple[Source, ...]
    """One for each bus."""
    channels: tuple[Channel, ...]
    """What the buses deliver, of the main gateway."""
    office: Source
    """The bus of the second gateway, whose clock steps."""
    office_channels: tuple[Channel, ...]
    """What it delivers."""


def _simulate(
    plant: PlantModel, name: str, seed: int, speed: int, origin: int, silent: Interval | None = None
) -> SimulatedInstrument:
    stated = plant.instrument(name)
    assert stated is not None
    profile = load_profile(stated.profile)
    start: dict[str, int] = {}
    faults = Faults()
    if name == ROLL_OVER:
        modulus = stated.registers[0].modulus
        start = {stated.registers[0].id: modulus - ROLL_OVER_AFTER}
    if name == SILENT and silent is not None:
        faults = Faults(silent=(silent,))
    if name == "gas-2":
        base, swing = LITRES
    else:
        base, swing = WATTS[name]
    return SimulatedInstrument(
        profile,
        LoadCurve(seed, base * speed, swing * speed, origin),
        serial=stated.serial,
        start=start,
        ratio=stated.ratio,
        faults=faults,
    )


def _instrument(plant: PlantModel, name: str, unit: str) -> tuple[Instrument, tuple[Channel, ...]]:
    stated = plant.instrument(name)
    assert stated is not None
    registers = tuple(register.id for register in stated.registers)
    item = Instrument(name, load_profile(stated.profile), unit, registers)
    return item, item.channels(stated.serial, stated.ratio)


async def open_floor(
    stack: AsyncExitStack,
    plant: PlantModel,
    seed: int,
    speed: int,
    origin: int,
    tag: Callable[[str], str],
    office_clock: Callable[[], int],
    silent: Interval,
) -> Floor:
    """Start the simulators and make the sources that read them."""
    channels: list[Channel] = []
    sources: list[Source] = []

    async def modbus(name: str, members: tuple[str, ...]) -> ModbusSource:
        simulators, items = [], []
        for place, member in enumerate(members, start=1):
            made = _simulate(plant, member, seed + sum(map(ord, member)), speed, origin, silent)
            simulators.append(
                SimulatedInstrument(
                    made.profile,
                    made.load,
                    str(place),
                    "1",
                    made.start,
                    made.ratio,
                    made.faults,
                )
            )
            item, rows = _instrument(plant, member, str(place))
            items.append(item)
            channels.extend(rows)
        server = await stack.enter_async_context(simulated(simulators))
        return ModbusSource(name, ModbusLine(port=server.port), items, timeout=0.5)

    sources.append(await modbus("gateway-line-1", ("press-1", "oven-1")))
    sources.append(await modbus("gateway-line-2", ("press-2", "oven-2", "gas-2")))
    sources.append(await modbus("gateway-shared", ("compressor", "chiller", "light")))
    mixer = _simulate(plant, "mixer-1", seed, speed, origin)
    mixer = SimulatedInstrument(mixer.profile, mixer.load, DL_ADDRESS, "1", ratio=Fraction(40))
    server = await stack.enter_async_context(simulated([mixer]))
    item, rows = _instrument(plant, "mixer-1", DL_ADDRESS)
    channels.extend(rows)
    sources.append(Dlt645Source("mixer-bus", ByteLine(port=server.port), [item]))
    for name, mean in (("scale-1", 2500), ("scale-2", 4000)):
        profile = load_profile("mettler_toledo/mt_sics")
        cycle = WeighCycle(seed + mean, mean, 60, origin, 5 * NS_PER_S)
        weigher = await stack.enter_async_context(simulated([SimulatedInstrument(profile, cycle)]))
        item, rows = _instrument(plant, name, "1")
        channels.extend(rows)
        line = f"line-{name[-1]}"
        of_line = functools.partial(tag, line)
        sources.append(MtSicsSource(name, ByteLine(port=weigher.port), item, tag=of_line))
    main = tuple(channels)
    channels = []
    office_made = _simulate(plant, "office", seed, speed, origin)
    server = await stack.enter_async_context(simulated([office_made]))
    item, rows = _instrument(plant, "office", "1")
    office = ModbusSource(
        "office", ModbusLine(port=server.port), [item], timeout=0.5, now=office_clock
    )
    return Floor(tuple(sources), main, office, rows)
