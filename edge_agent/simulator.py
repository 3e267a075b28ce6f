"""A simulated instrument: what each register of a profile shows at a moment, faults included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from device_profiles.decode import encode
from device_profiles.profile import Profile, Register, RegisterType, Side
from edge_agent.load_curve import LoadCurve, WeighCycle
from mrv.channel import ChannelKind
from mrv.errors import InputError
from mrv.interval import Interval

_MAINS = Fraction(230)
_STEADY = {
    "V": _MAINS,
    "Hz": Fraction(50),
    "degC": Fraction(20),
    "kPa": Fraction(10132, 100),
    "1": Fraction(1),
}
_PHASES = ("_l1", "_l2", "_l3")
_RATE = {"W": Fraction(1), "kW": Fraction(1, 1000), "m3/h": Fraction(1, 1000)}


@dataclass(frozen=True, slots=True)
class Jump:
    """A register that shows something else from a moment on."""

    at: int
    """From when, ns UTC."""
    register: str
    """Which counter."""
    counts: int
    """Counts added to what it would show; negative runs it back."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with a simulated instrument."""

    silent: tuple[Interval, ...] = ()
    """Times at which it does not answer."""
    jumps: tuple[Jump, ...] = ()
    """Counters that jump."""
    missing: tuple[str, ...] = ()
    """Registers that show their sentinel (NaN)."""


@dataclass(frozen=True, slots=True)
class SimulatedInstrument:
    """One device on a simulated bus."""

    profile: Profile
    """Its type."""
    load: LoadCurve | WeighCycle
    """What it measures."""
    unit: str = "1"
    """Modbus unit id or DL/T 645 address."""
    serial: str = "1"
    """Serial number; digits where the profile carries it as a number."""
    start: Mapping[str, int] = field(default_factory=dict)
    """Counts its counters show at the load's origin; near the modulus it will roll over."""
    ratio: Fraction = Fraction(1)
    """Transformer ratio in front of it; secondary registers show the load divided by it."""
    faults: Faults = Faults()
    """What goes wrong."""

    def answers(self, t: int) -> bool:
        """Whether it answers at `t`."""
        return not any(t in interval for interval in self.faults.silent)

    def counts(self, register: Register, t: int) -> int | None:
        """What a register shows at `t`, counts of its resolution.

        Counters named `…_export…` stand still: the load flows in. Power and energy of a phase
        (`…_l1` to `…_l3`) are a third of the whole.
        """
        if register.name in self.faults.missing:
            return None
        if register.name == self.profile.probe.register and self.serial.isdigit():
            return int(self.serial)
        if isinstance(self.load, WeighCycle):
            return self.load.shown(t)[0]
        ratio = self.ratio if register.side is Side.SECONDARY else Fraction(1)
        if register.name.endswith(_PHASES) and register.unit in ("W", "kW", "kWh"):
            ratio *= 3
        if register.kind is ChannelKind.COUNTER:
            passed = Fraction(0) if "_export" in register.name else self.load.amount(t) / ratio
            shown = self.start.get(register.name, 0) + passed // register.resolution
            shown += sum(j.counts for j in self.faults.jumps if self._jumped(j, register, t))
            return shown % register.modulus
        return round(self._gauge(register, self.load.rate(t)) / ratio / register.resolution)

    @staticmethod
    def _jumped(jump: Jump, register: Register, t: int) -> bool:
        return jump.register == register.name and t >= jump.at

    def _gauge(self, register: Register, rate: int) -> Fraction:
        if register.unit in _RATE:
            return rate * _RATE[register.unit]
        if register.unit == "A":
            return Fraction(rate) / (3 * _MAINS)
        if register.unit in _STEADY:
            return _STEADY[register.unit]
        raise InputError(
            f"no simulated value for {register.name} in {register.unit}",
            field=register.name,
            hint="add the unit to the simulator's table",
        )

    def raw(self, register: Register, t: int) -> bytes:
        """The bytes a register shows at `t`, in the profile's encoding."""
        if register.type is RegisterType.STRING:
            return self.serial.encode("ascii").ljust(register.size, b"\0")
        return encode(register, self.counts(register, t))
