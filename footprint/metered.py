"""A source of the boundary with the meter that measures it."""

from __future__ import annotations

from dataclasses import dataclass

from footprint.metering import Meter
from footprint.plant import EmissionSource, Instrument, Register


@dataclass(frozen=True, slots=True)
class Metered:
    """A source with the meter that measures it."""

    source: EmissionSource
    """The source."""
    instrument: Instrument
    """The instrument."""
    register: Register
    """The register."""
    meter: Meter
    """Its activity over time."""

    @property
    def channel(self) -> str:
        """`<instrument>.<register>`."""
        return f"{self.instrument.id}.{self.register.id}"
