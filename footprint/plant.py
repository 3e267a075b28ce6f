"""The plant model: what a plant is (design §5). It enters the journal as a fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from footprint.catalogue import DEFAULT_UNCERTAINTY_PCT, FactorRequest
from mrv.interval import NS_PER_S
from mrv.measurement.calibration import MpeRule

TIERS = ("A", "B", "C", "D")
"""Assurance tiers (design §3)."""


@dataclass(frozen=True, slots=True)
class LocalText:
    """A text in both languages."""

    zh: str
    """中文."""
    en: str
    """English."""


@dataclass(frozen=True, slots=True)
class Register:
    """A register of an instrument, as the plant states it."""

    id: str
    """Register id of the device profile."""
    kind: str
    """counter | amount | gauge."""
    unit: str
    """Unit of its value."""
    resolution: Fraction
    """Value of one count, in `unit`, > 0."""
    modulus: int
    """Counts at which it rolls over, 0 = never."""
    max_rate: int
    """Largest plausible counts per hour (nameplate), 0 = unknown."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A measuring instrument where it is installed."""

    id: str
    """Name in this plant."""
    name: LocalText
    """What people call it."""
    kind: str
    """electricity_meter, gas_meter, weigher …"""
    serial: str
    """Serial number."""
    profile: str
    """Device profile, "" = none."""
    point: str
    """Measuring point."""
    ratio: Fraction
    """Transformer ratio (CT × PT), > 0."""
    mpe: Fraction
    """Relative maximum permissible error of its class, dimensionless."""
    registers: tuple[Register, ...]
    """Its registers."""
    agent: str
    """Agent that reads it authoritatively, "" = whoever comes first by name."""
    source: Mapping[str, str]
    """How the agent reaches it: protocol, host, port, unit …"""

    def register(self, name: str) -> Register | None:
        """The register of that id, None where it has none."""
        return next((r for r in self.registers if r.id == name), None)


@dataclass(frozen=True, slots=True)
class Line:
    """A production line."""

    id: str
    """Name."""
    name: LocalText
    """What people call it."""


@dataclass(frozen=True, slots=True)
class EmissionSource:
    """One source of emissions inside (or knowingly outside) the boundary."""

    id: str
    """Name."""
    name: LocalText
    """What people call it."""
    lines: tuple[str, ...]
    """Lines it serves; more than one = shared."""
    instrument: str
    """Instrument that meters it, "" = not metered."""
    register: str
    """Its register."""
    factor: FactorRequest | None
    """Factor it asks for; None = not mapped yet, so the footprint is incomplete."""
    outside: LocalText | None
    """Why it lies outside the boundary; None = inside."""
    declared: str = ""
    """Unit in which somebody states its amount for each batch (a refrigerant, a purchased part);
    "" = it is not declared."""

    @property
    def shared(self) -> bool:
        """Whether several lines share it."""
        return len(self.lines) > 1


@dataclass(frozen=True, slots=True)
class Material:
    """One row of a bill of materials."""

    id: str
    """Name of the material."""
    quantity: Fraction
    """Amount taken for one declared unit of output, process scrap included, > 0."""
    unit: str
    """Unit of the amount."""
    factor: FactorRequest | None
    """Factor; None = not mapped, so the footprint is incomplete."""


@dataclass(frozen=True, slots=True)
class Product:
    """What a batch makes."""

    id: str
    """Name."""
    name: LocalText
    """What people call it."""
    unit: str
    """Declared unit."""
    mass_kg: Fraction
    """Mass of one declared unit, kg; 0 = unknown."""
    target: Fraction | None
    """Target, kgCO2e per declared unit."""
    materials: tuple[Material, ...]
    """Bill of materials; empty for gate to gate."""


@dataclass(frozen=True, slots=True)
class Balance:
    """A main meter and the meters below it."""

    id: str
    """Name."""
    main: str
    """`<instrument>.<register>`."""
    subs: tuple[str, ...]
    """`<instrument>.<register>` each."""
    window: int = 86_400 * NS_PER_S
    """Length of the windows it is drawn up over, ns: the plant day."""
    k: Fraction = Fraction(2)
    """A residual beyond k·u is a finding."""
    offset: int = 0
    """How far plant time runs ahead of UTC, ns: windows begin at whole multiples of plant time."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules that are choices; hashed into each result."""

    pool_window: int = 3600 * NS_PER_S
    """Window in which pools are shared, ns: the plant hour."""
    pool_offset: int = 0
    """How far plant time runs ahead of UTC, ns: windows begin at whole multiples of plant time."""
    changeover: int = 3600 * NS_PER_S
    """Longest time between batches of different products that is changeover, ns."""
    gap: int = 900 * NS_PER_S
    """A step longer than this is a gap, ns."""
    key: str = "good_count"
    """Allocation key: good_mass | good_count."""
    mpe_rule: MpeRule = MpeRule.RECTANGULAR
    """How an MPE becomes a standard uncertainty."""
    fill: str = "mean_rate"
    """What stands in for a dead register: mean_rate of the time it covered | none."""
    admissible: str = "ABCD"
    """Assurance tiers that may carry a footprint."""
    factor_uncertainty: tuple[tuple[str, Fraction], ...] = ()
    """Default 95 % half-width in per cent by category, over the built-in ones."""


@dataclass(frozen=True, slots=True)
class PlantModel:
    """A plant, from some moment on."""

    site: str
    """Name of the site."""
    name: LocalText
    """What people call it."""
    time_zone: str
    """IANA name; plant time in texts."""
    boundary: str
    """gate_to_gate | cradle_to_gate."""
    notes: tuple[LocalText, ...]
    """What must be said wherever a figure is shown."""
    policy: Policy
    """Rules that are choices."""
    instruments: tuple[Instrument, ...]
    """Instruments."""
    lines: tuple[Line, ...]
    """Lines."""
    sources: tuple[EmissionSource, ...]
    """Emission sources."""
    products: tuple[Product, ...]
    """Products."""
    balances: tuple[Balance, ...]
    """Balances."""
    _instruments: Mapping[str, Instrument] = field(init=False, repr=False, compare=False)
    _lines: Mapping[str, Line] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # of two of one name, which is a fault, the first stands
        found = {instrument.id: instrument for instrument in reversed(self.instruments)}
        object.__setattr__(self, "_instruments", found)
        object.__setattr__(self, "_lines", {line.id: line for line in reversed(self.lines)})

    def instrument(self, name: str) -> Instrument | None:
        """The instrument of that id."""
        return self._instruments.get(name)

    def line(self, name: str) -> Line | None:
        """The line of that id."""
        return self._lines.get(name)

    def product(self, name: str) -> Product | None:
        """The product of that id."""
        return next((p for p in self.products if p.id == name), None)


def default_uncertainty(policy: Policy) -> Mapping[str, Fraction]:
    """Default factor uncertainty by category, 95 % half-width in per cent."""
    return {**DEFAULT_UNCERTAINTY_PCT, **dict(policy.factor_uncertainty)}
