"""The buses of a plant that one agent reads, out of the plant model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from device_profiles.loading import load_profile
from edge_agent.device_commands import open_source
from edge_agent.instrument import Instrument
from edge_agent.source import Source
from footprint.plant import PlantModel
from mrv.channel import Channel, ChannelTable
from mrv.errors import InputError

IDENTIFY_S = 10.0
"""Time in which instruments are asked who they are before the first reading, s."""


@dataclass(frozen=True, slots=True)
class PlantSources:
    """What an agent reads."""

    table: ChannelTable
    """Its channel table."""
    streams: dict[str, str]
    """Stream of each channel: the line, or the instrument where lines share it."""
    sources: tuple[Source, ...]
    """One for each bus."""


def stream_of(plant: PlantModel, instrument: str) -> str:
    """The stream of an instrument: its line, or its own where it serves several or none."""
    lines = {line for s in plant.sources if s.instrument == instrument for line in s.lines}
    return lines.pop() if len(lines) == 1 else instrument


def open_plant(plant: PlantModel, agent: str) -> PlantSources:
    """The buses of the instruments whose `agent` is this one.

    An instrument names its bus as `source: {url: tcp://host:port, unit: "1"}`; those with one url
    share it. Where the plant states a serial number and the profile says where the instrument
    carries it, it is asked, and the table says what it answered: another meter than the one stated
    becomes a finding. Raises InputError naming the instrument.
    """
    channels: list[Channel] = []
    streams: dict[str, str] = {}
    buses: dict[str, list[Instrument]] = {}
    for stated in plant.instruments:
        if stated.agent != agent:
            continue
        url = stated.source.get("url", "")
        if not url or not stated.profile:
            raise InputError(
                f"instrument {stated.id} has no source.url or no profile",
                field=f"instruments.{stated.id}.source",
                hint='write source: {url: tcp://192.0.2.7:502, unit: "1"}',
            )
        registers = tuple(register.id for register in stated.registers)
        item = Instrument(
            stated.id, load_profile(stated.profile), stated.source.get("unit", "1"), registers
        )
        buses.setdefault(url, []).append(item)
        for channel in item.channels(stated.serial, stated.ratio):
            channels.append(channel)
            streams[channel.name] = stream_of(plant, stated.id)
    if not channels:
        names = ", ".join(sorted({i.agent for i in plant.instruments if i.agent})) or "none"
        raise InputError(
            f"no instrument of the plant is read by {agent!r}",
            field="agent",
            hint=f"agents of the plant: {names}",
        )
    sources = tuple(open_source(url, items) for url, items in sorted(buses.items()))
    told = asyncio.run(_serials(sources))
    stated_serials = {i.id for i in plant.instruments if i.serial != i.id}
    rows = [
        replace(c, serial=told[c.instrument])
        if c.instrument in told and c.instrument in stated_serials
        else c
        for c in sorted(channels, key=lambda c: c.name)
    ]
    return PlantSources(ChannelTable(plant.site, agent, tuple(rows)), streams, sources)


async def _serials(sources: Sequence[Source]) -> dict[str, str]:
    """What the instruments say who they are; all buses at once, `IDENTIFY_S` for the whole."""

    async def ask(source: Source) -> None:
        async with source:
            told.update(await source.serials())

    told: dict[str, str] = {}
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*map(ask, sources)), IDENTIFY_S)
    return told
