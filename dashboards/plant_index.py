"""A plant model by name: what a page of a large plant looks up in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from footprint.plant import Instrument, Line, LocalText, PlantModel


@dataclass(frozen=True, slots=True)
class PlantIndex:
    """The parts of one plant model by their names."""

    plant: PlantModel | None
    """The plant; None = none is stated."""
    lines: Mapping[str, Line]
    """Lines by id, as they are stated."""
    instruments: Mapping[str, Instrument]
    """Instruments by id, as they are stated."""
    source_names: Mapping[str, LocalText]
    """Names of emission sources by id."""
    channels: Mapping[str, Sequence[str]]
    """Metered channels of the sources of each line."""


def index_plant(plant: PlantModel | None) -> PlantIndex:
    """The index of a plant."""
    if plant is None:
        return PlantIndex(None, {}, {}, {}, {})
    channels: dict[str, list[str]] = {}
    for source in plant.sources:
        for line in source.lines if source.instrument else ():
            channels.setdefault(line, []).append(f"{source.instrument}.{source.register}")
    return PlantIndex(
        plant,
        {line.id: line for line in plant.lines},
        {item.id: item for item in plant.instruments},
        {source.id: source.name for source in plant.sources},
        channels,
    )
