"""An instrument as an agent reads it: a profile, its address on the bus, the registers wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from device_profiles.profile import Profile, Register
from mrv.channel import AssuranceTier, Channel

TIMEOUT = "timeout"
NO_LINK = "no_link"
REFUSED = "refused"
MALFORMED = "malformed"
SILENT = "silent"
"""Quality flags of a failed read: no answer, no connection, the device said no, the answer was
not what was asked for, not asked because it has not answered for long."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument on a bus."""

    id: str
    """Instrument id of the plant."""
    profile: Profile
    """Its type."""
    unit: str = "1"
    """Modbus unit id, DL/T 645 address (12 digits); unused for MT-SICS."""
    registers: tuple[str, ...] = field(default=())
    """Registers to read; empty = all but the one that carries its identity."""

    def wanted(self) -> tuple[Register, ...]:
        """The registers read. Raises InputError for a name the profile does not have."""
        if self.registers:
            return tuple(self.profile.register(name) for name in self.registers)
        return tuple(r for r in self.profile.registers if r.name != self.profile.probe.register)

    def channel(self, register: Register) -> str:
        """Name of the channel a register feeds."""
        return f"{self.id}.{register.name}"

    def channels(self, serial: str = "", ratio: Fraction = Fraction(1)) -> tuple[Channel, ...]:
        """Its rows of the agent's channel table.

        `ratio` is the transformer ratio the agent was told; it stands only on secondary registers.
        """
        return tuple(
            Channel(
                name=self.channel(r),
                kind=r.kind,
                instrument=self.id,
                serial=serial,
                register=r.name,
                resolution=r.resolution,
                unit=r.unit,
                ratio=ratio if r.side == "secondary" else Fraction(1),
                profile=self.profile.hash,
                tier=AssuranceTier.AGENT_SIGNED,
                modulus=r.modulus,
            )
            for r in self.wanted()
        )


class Patience:
    """Which instruments of a bus a sweep asks: one that stays silent is asked less often."""

    def __init__(self, after: int = 3, every: int = 8) -> None:
        self._after = after
        self._every = every
        self._failed: dict[str, int] = {}

    def asks(self, instrument: str) -> bool:
        """Whether to ask it in this sweep; a sweep in which it is not asked counts as failed."""
        failed = self._failed.get(instrument, 0)
        ask = failed < self._after or (failed - self._after) % self._every == self._every - 1
        if not ask:
            self._failed[instrument] = failed + 1
        return ask

    def answered(self, instrument: str) -> None:
        """It spoke: ask it in every sweep again."""
        self._failed.pop(instrument, None)

    def failed(self, instrument: str) -> None:
        """It did not answer."""
        self._failed[instrument] = self._failed.get(instrument, 0) + 1
