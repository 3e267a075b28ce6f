"""An instrument as an agent reads it: a profile, its address on the bus, the registers wanted."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Whom a sweep of one bus asks: an instrument that stays silent must not hold up the others.

    Those that answered come first. Of the silent ones at most one is asked in a sweep, last, and
    ever less often: for a dead instrument a bus waits its whole time-out, and then for silence.
    """

    def __init__(self, after: int = 3, longest: int = 64) -> None:
        self._after = after
        self._longest = longest
        self._failed: dict[str, int] = {}
        self._wait: dict[str, int] = {}

    def plan(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """(whom to ask, in this order; whom to leave out) in the next sweep."""
        ask = [name for name in names if name not in self._failed]
        silent = [name for name in names if name in self._failed]
        for name in silent:
            self._wait[name] -= 1
        due = sorted((n for n in silent if self._wait[n] <= 0), key=lambda n: self._wait[n])
        chosen = due[:1]
        return ask + chosen, [name for name in silent if name not in chosen]

    def answered(self, name: str) -> None:
        """It spoke: ask it in every sweep again."""
        self._failed.pop(name, None)
        self._wait.pop(name, None)

    def failed(self, name: str) -> None:
        """It did not answer: after a few times wait 8, 16 … `longest` sweeps."""
        failed = self._failed[name] = self._failed.get(name, 0) + 1
        doubled = 8 << min(failed - self._after, 16) if failed >= self._after else 1
        self._wait[name] = min(doubled, self._longest)
