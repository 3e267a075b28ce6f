"""The plant model: what a plant is (design §5). It enters the journal as a fact.

`plant_from` reads the tree that `plant.yaml` and the fact's body share; numbers are text there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from footprint.catalogue import DEFAULT_UNCERTAINTY_PCT, FactorRequest
from footprint.reader import InputErrors, Node
from mrv.errors import InputError
from mrv.interval import NS_PER_S
from mrv.measurement.calibration import MpeRule
from mrv.quantity import UnitError, unit

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
    """Amount per declared unit of the product."""
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


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules that are choices; hashed into each result."""

    pool_window: int = 3600 * NS_PER_S
    """Window in which pools are shared, ns: the plant hour."""
    changeover: int = 3600 * NS_PER_S
    """Longest time between batches of different products that is changeover, ns."""
    gap: int = 900 * NS_PER_S
    """A step longer than this is a gap, ns."""
    key: str = "good_count"
    """Allocation key: good_mass | good_count."""
    mpe_rule: MpeRule = MpeRule.RECTANGULAR
    """How an MPE becomes a standard uncertainty."""
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

    def instrument(self, name: str) -> Instrument | None:
        """The instrument of that id."""
        return next((i for i in self.instruments if i.id == name), None)

    def line(self, name: str) -> Line | None:
        """The line of that id."""
        return next((line for line in self.lines if line.id == name), None)

    def product(self, name: str) -> Product | None:
        """The product of that id."""
        return next((p for p in self.products if p.id == name), None)


def _local(node: Node, fallback: str) -> LocalText:
    if isinstance(node.value, dict):
        node.members(("zh", "en"))
        return LocalText(node.child("zh").text(fallback), node.child("en").text(fallback))
    text = node.text(fallback)
    return LocalText(text, text)


def _unit(node: Node) -> str:
    symbol = node.text()
    try:
        unit(symbol)
    except UnitError as error:
        node.fault("a known unit is expected", error.hint)
    return symbol


def _register(node: Node) -> Register:
    node.members(("id", "kind", "unit", "resolution", "modulus", "max_per_hour"))
    resolution = node.child("resolution").number(positive=True)
    maximum = node.child("max_per_hour").number("0")
    return Register(
        id=node.child("id").text(),
        kind=node.child("kind").choice(("counter", "amount", "gauge"), "counter"),
        unit=_unit(node.child("unit")),
        resolution=resolution,
        modulus=node.child("modulus").integer(0),
        max_rate=int(maximum / resolution),
    )


_INSTRUMENT = (
    "id",
    "name",
    "kind",
    "serial",
    "profile",
    "point",
    "ratio",
    "mpe_percent",
    "registers",
    "agent",
    "source",
)


def _instrument(node: Node) -> Instrument:
    node.members(_INSTRUMENT)
    name = node.child("id").text()
    source = node.child("source")
    if source.value is not None and not isinstance(source.value, dict):
        source.fault("an object is expected")
    return Instrument(
        id=name,
        name=_local(node.child("name"), name),
        kind=node.child("kind").text("electricity_meter"),
        serial=node.child("serial").text(name),
        profile=node.child("profile").text(""),
        point=node.child("point").text(name),
        ratio=node.child("ratio").number("1", positive=True),
        mpe=node.child("mpe_percent").number("1") / 100,
        registers=tuple(_register(r) for r in node.child("registers").items()),
        agent=node.child("agent").text(""),
        source={str(k): str(v) for k, v in source.value.items()}
        if isinstance(source.value, dict)
        else {},
    )


def _factor(node: Node) -> FactorRequest | None:
    if node.value is None:
        return None
    node.members(("category", "region", "series", "id"))
    request = FactorRequest(
        node.child("category").text(""),
        node.child("region").text(""),
        node.child("series").text(""),
        node.child("id").text(""),
    )
    if not request.id and not request.category:
        node.fault("a category or an id is expected")
    return request


def _source(node: Node) -> EmissionSource:
    node.members(("id", "name", "line", "lines", "instrument", "register", "factor", "outside"))
    name = node.child("id").text()
    lines = node.child("lines").texts() or node.child("line").texts()
    if not lines:
        node.child("line").fault("a line is expected")
    outside = node.child("outside")
    return EmissionSource(
        id=name,
        name=_local(node.child("name"), name),
        lines=lines,
        instrument=node.child("instrument").text(""),
        register=node.child("register").text(""),
        factor=_factor(node.child("factor")),
        outside=None if outside.value is None else _local(outside, ""),
    )


def _product(node: Node) -> Product:
    node.members(("id", "name", "unit", "mass_kg", "target", "materials"))
    name = node.child("id").text()
    target = node.child("target")
    materials = []
    for row in node.child("materials").items():
        row.members(("id", "quantity", "unit", "factor"))
        materials.append(
            Material(
                row.child("id").text(),
                row.child("quantity").number(),
                _unit(row.child("unit")),
                _factor(row.child("factor")),
            )
        )
    return Product(
        id=name,
        name=_local(node.child("name"), name),
        unit=_unit(node.child("unit")),
        mass_kg=node.child("mass_kg").number("0"),
        target=None if target.value is None else target.number(positive=True),
        materials=tuple(materials),
    )


def _policy(node: Node) -> Policy:
    if node.value is None:
        return Policy()
    node.members(
        (
            "pool_window_s",
            "changeover_s",
            "gap_s",
            "key",
            "mpe_rule",
            "admissible_tiers",
            "factor_uncertainty_percent",
        )
    )
    defaults = node.child("factor_uncertainty_percent")
    table = defaults.value if isinstance(defaults.value, dict) else {}
    return Policy(
        pool_window=node.child("pool_window_s").integer(3600, low=1) * NS_PER_S,
        changeover=node.child("changeover_s").integer(3600) * NS_PER_S,
        gap=node.child("gap_s").integer(900) * NS_PER_S,
        key=node.child("key").choice(("good_count", "good_mass"), "good_count"),
        mpe_rule=MpeRule(node.child("mpe_rule").choice(tuple(MpeRule), MpeRule.RECTANGULAR)),
        admissible=node.child("admissible_tiers").text("ABCD"),
        factor_uncertainty=tuple(
            (name, defaults.child(name).number(positive=True)) for name in sorted(table)
        ),
    )


def _balance(node: Node) -> Balance:
    node.members(("id", "main", "subs"))
    return Balance(node.child("id").text(), node.child("main").text(), node.child("subs").texts())


_PLANT = (
    "site",
    "name",
    "time_zone",
    "boundary",
    "notes",
    "policy",
    "factors",
    "instruments",
    "lines",
    "sources",
    "products",
    "balances",
    "certificates",
)


def read_plant(tree: Any) -> tuple[PlantModel, list[InputError]]:
    """The plant in a tree and every fault found; the model is only good where there is none."""
    faults: list[InputError] = []
    node = Node(tree, "", faults)
    node.members(_PLANT)
    site = node.child("site").text()
    plant = PlantModel(
        site=site,
        name=_local(node.child("name"), site),
        time_zone=node.child("time_zone").text("UTC"),
        boundary=node.child("boundary").choice(("gate_to_gate", "cradle_to_gate"), "gate_to_gate"),
        notes=tuple(_local(n, "") for n in node.child("notes").items()),
        policy=_policy(node.child("policy")),
        instruments=tuple(_instrument(n) for n in node.child("instruments").items()),
        lines=tuple(
            Line(n.child("id").text(), _local(n.child("name"), n.child("id").text("")))
            for n in node.child("lines").items()
        ),
        sources=tuple(_source(n) for n in node.child("sources").items()),
        products=tuple(_product(n) for n in node.child("products").items()),
        balances=tuple(_balance(n) for n in node.child("balances").items()),
    )
    _cross_check(plant, faults)
    return plant, faults


def plant_from(tree: Any) -> PlantModel:
    """The plant in the body of a fact. Raises InputErrors with all that is wrong."""
    plant, faults = read_plant(tree)
    if faults:
        raise InputErrors(faults)
    return plant


def _unique(names: list[str], where: str, faults: list[InputError]) -> None:
    seen: set[str] = set()
    for place, name in enumerate(names):
        if name in seen:
            faults.append(InputError(f"{name!r} stands twice", field=f"{where}[{place}].id"))
        seen.add(name)


def _cross_check(plant: PlantModel, faults: list[InputError]) -> None:
    _unique([i.id for i in plant.instruments], "instruments", faults)
    _unique([line.id for line in plant.lines], "lines", faults)
    _unique([s.id for s in plant.sources], "sources", faults)
    _unique([p.id for p in plant.products], "products", faults)
    lines = {line.id for line in plant.lines}
    for place, source in enumerate(plant.sources):
        where = f"sources[{place}]"
        for name in source.lines:
            if name not in lines:
                faults.append(
                    InputError(
                        f"no line is called {name!r}",
                        field=f"{where}.line",
                        hint=f"lines: {', '.join(sorted(lines))}",
                    )
                )
        if not source.instrument:
            continue
        instrument = plant.instrument(source.instrument)
        if instrument is None:
            faults.append(
                InputError(
                    f"no instrument is called {source.instrument!r}",
                    field=f"{where}.instrument",
                    hint="list it under instruments",
                )
            )
        elif instrument.register(source.register) is None:
            known = ", ".join(r.id for r in instrument.registers)
            faults.append(
                InputError(
                    f"{instrument.id} has no register {source.register!r}",
                    field=f"{where}.register",
                    hint=f"registers: {known}",
                )
            )
    if plant.policy.key == "good_mass":
        for place, product in enumerate(plant.products):
            if product.mass_kg <= 0:
                faults.append(
                    InputError(
                        "allocation by good mass needs the mass of a unit",
                        field=f"products[{place}].mass_kg",
                    )
                )


def default_uncertainty(policy: Policy) -> Mapping[str, Fraction]:
    """Default factor uncertainty by category, 95 % half-width in per cent."""
    return {**DEFAULT_UNCERTAINTY_PCT, **dict(policy.factor_uncertainty)}
