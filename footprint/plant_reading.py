"""Reads a plant from the tree that plant.yaml and its fact share; numbers are text there."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from footprint.catalogue import FactorRequest
from footprint.plant import (
    Balance,
    EmissionSource,
    Instrument,
    Line,
    LocalText,
    Material,
    PlantModel,
    Policy,
    Product,
    Register,
)
from footprint.plant_check import cross_check
from footprint.reader import InputErrors, Node
from mrv.errors import InputError
from mrv.interval import NS_PER_S
from mrv.measurement.calibration import MpeRule
from mrv.quantity import UnitError, unit


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
    kind = node.child("kind").choice(("counter", "amount", "gauge"), "counter")
    unit_node = node.child("unit")
    return Register(
        id=node.child("id").identifier(),
        kind=kind,
        unit=unit_node.text() if kind == "gauge" else _unit(unit_node),  # nothing is made of a V
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
    name = node.child("id").identifier()
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
    node.members(
        ("id", "name", "line", "lines", "instrument", "register", "factor", "outside", "declared")
    )
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
        declared="" if node.child("declared").value is None else _unit(node.child("declared")),
    )


def read_material(node: Node) -> Material:
    """A row of a bill of materials; `quantity` is what ends in the product.

    Of each amount taken, `scrap_percent` is lost, so taken = quantity / (1 − scrap).
    """
    node.members(("id", "quantity", "unit", "scrap_percent", "factor"))
    scrap = node.child("scrap_percent")
    lost = scrap.number("0") / 100
    if not 0 <= lost < 1:
        scrap.fault("0 or more and less than 100 is expected")
        lost = Fraction(0)
    return Material(
        node.child("id").text(),
        node.child("quantity").number(positive=True) / (1 - lost),
        _unit(node.child("unit")),
        _factor(node.child("factor")),
    )


def _product(node: Node) -> Product:
    node.members(("id", "name", "unit", "mass_kg", "target", "materials", "bill"))
    name = node.child("id").text()
    target = node.child("target")
    bill = node.child("bill")
    if bill.value is not None:
        bill.fault("the rows of the bill are expected here", "only plant.yaml names it")
    return Product(
        id=name,
        name=_local(node.child("name"), name),
        unit=_unit(node.child("unit")),
        mass_kg=node.child("mass_kg").number("0"),
        target=None if target.value is None else target.number(positive=True),
        materials=tuple(read_material(n) for n in node.child("materials").items()),
    )


def _policy(node: Node) -> Policy:
    if node.value is None:
        return Policy()
    node.members(
        (
            "pool_window_s",
            "pool_offset_s",
            "changeover_s",
            "gap_s",
            "key",
            "mpe_rule",
            "fill",
            "admissible_tiers",
            "factor_uncertainty_percent",
        )
    )
    defaults = node.child("factor_uncertainty_percent")
    table = defaults.value if isinstance(defaults.value, dict) else {}
    return Policy(
        pool_window=node.child("pool_window_s").integer(3600, low=1) * NS_PER_S,
        pool_offset=node.child("pool_offset_s").integer(0) * NS_PER_S,
        changeover=node.child("changeover_s").integer(3600) * NS_PER_S,
        gap=node.child("gap_s").integer(900) * NS_PER_S,
        key=node.child("key").choice(("good_count", "good_mass"), "good_count"),
        mpe_rule=MpeRule(node.child("mpe_rule").choice(tuple(MpeRule), MpeRule.RECTANGULAR)),
        fill=node.child("fill").choice(("mean_rate", "none"), "mean_rate"),
        admissible=node.child("admissible_tiers").text("ABCD"),
        factor_uncertainty=tuple(
            (name, defaults.child(name).number(positive=True)) for name in sorted(table)
        ),
    )


def _balance(node: Node) -> Balance:
    node.members(("id", "main", "subs", "window_s", "k", "offset_s"))
    return Balance(
        node.child("id").text(),
        node.child("main").text(),
        node.child("subs").texts(),
        node.child("window_s").integer(86_400, low=60) * NS_PER_S,
        node.child("k").number("2", positive=True),
        node.child("offset_s").integer(0) * NS_PER_S,
    )


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
            Line(n.child("id").identifier(), _local(n.child("name"), n.child("id").text("")))
            for n in node.child("lines").items()
        ),
        sources=tuple(_source(n) for n in node.child("sources").items()),
        products=tuple(_product(n) for n in node.child("products").items()),
        balances=tuple(_balance(n) for n in node.child("balances").items()),
    )
    cross_check(plant, faults)
    return plant, faults


def plant_from(tree: Any) -> PlantModel:
    """The plant in the body of a fact. Raises InputErrors with all that is wrong."""
    plant, faults = read_plant(tree)
    if faults:
        raise InputErrors(faults)
    return plant
