"""The buses of a plant that one agent reads, out of the plant model."""

from __future__ import annotations

from dataclasses import dataclass

from device_profiles.loading import load_profile
from edge_agent.device_commands import open_source
from edge_agent.instrument import Instrument
from edge_agent.source import Source
from footprint.plant import PlantModel
from mrv.channel import Channel, ChannelTable
from mrv.errors import InputError


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
    share it. Raises InputError naming the instrument.
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
    table = ChannelTable(plant.site, agent, tuple(sorted(channels, key=lambda c: c.name)))
    sources = tuple(open_source(url, items) for url, items in sorted(buses.items()))
    return PlantSources(table, streams, sources)
