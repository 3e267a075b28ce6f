"""Bills of materials and published process examples through the engine's own arithmetic."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest

from footprint.bill import read_bill
from footprint.plant_reading import read_plant
from mrv.quantity import Quantity, UnitError
from tests.footprint.test_engine import PLANT, S, World

HEAD = "material,quantity,unit,scrap_percent,category,region,series,factor\n"


def factor_row(name: str, value: str, unit: str) -> dict[str, str]:
    return {
        "id": name,
        "name": name,
        "category": "material",
        "region": "GLO",
        "valid_from": "",
        "valid_to": "",
        "value": value,
        "unit": unit,
        "gas_or_co2e": "CO2e",
        "gwp_basis": "AR6",
        "uncertainty_pct": "10",
        "source": "test",
        "source_year": "2025",
        "notes": "",
    }


def footprint_of(bill: str, rows, good="1", scrap="0"):
    """A batch of a product with that bill and nothing else inside its boundary."""
    materials, errors = read_bill(HEAD + bill, "bom.csv")
    assert not errors
    plant = copy.deepcopy(PLANT)
    plant["boundary"] = "cradle_to_gate"
    plant["sources"], plant["instruments"] = [], []
    plant["products"] = [{"id": "p", "unit": "piece", "mass_kg": "1", "materials": materials}]
    world = World(plant)
    world.state("registry", "factor_set", "bom", {"rows": rows})
    world.state("production/l", "batch_started", "b", {"product": "p"}, 100 * S)
    world.state("production/l", "batch_ended", "b", {"good": good, "scrap": scrap}, 200 * S)
    return world.engine().batch("b")


def test_one_bike_of_carbon_fibre():
    """F04: 2.5 kg of fibre at 26.6 kgCO2/kg are 66.5 for one bike, 6650 for a hundred."""
    fibre = [factor_row("fibre", "26.6", "kgCO2e/kg")]
    one = footprint_of("fibre,2.5,kg,,,,,fibre\n", fibre)
    assert one.footprint == Fraction("66.5")
    assert one.components.u == pytest.approx(66.5 * 0.05)
    hundred = footprint_of("fibre,2.5,kg,,,,,fibre\n", fibre, good="100")
    assert hundred.footprint == 6650
    assert hundred.per_unit == "66.5"


def test_a_mix_of_supplies():
    """F05: 40 % fossil at 10, 20 % nuclear at 5, 40 % hydro at 1 kg/kWh make 5.4."""
    rows = [
        factor_row("fossil", "10", "kgCO2e/kWh"),
        factor_row("nuclear", "5", "kgCO2e/kWh"),
        factor_row("hydro", "1", "kgCO2e/kWh"),
    ]
    bill = "a,0.4,kWh,,,,,fossil\nb,0.2,kWh,,,,,nuclear\nc,0.4,kWh,,,,,hydro\n"
    assert footprint_of(bill, rows).footprint == Fraction("5.4")


def test_sandwiches_scale_exactly_and_units_convert():
    """F06: five of 0.2 kg of bread; salt is 20 g/kg, so 4 g for one."""
    rows = [factor_row("flour", "1", "kgCO2e/kg"), factor_row("salt", "1", "kgCO2e/t")]
    result = footprint_of("flour,0.2,kg,,,,,flour\nsalt,4,g,,,,,salt\n", rows, good="5")
    amounts = {s.source: (s.corrected, s.unit) for s in result.sources}
    assert amounts["material:flour"] == (1, "kg")
    assert amounts["material:salt"] == (20, "g")
    assert result.footprint == 1 + Fraction(20, 10**6)


def test_the_derived_factor_of_electrofused_mullite():
    """F09: replacing sintering by electrofusion, to 1e-8 of the published figures."""
    kgce, gas_kgce = Fraction("0.1229"), Fraction("1.2143")
    electricity, gas = Fraction("0.5777"), Fraction("2.792671012566")
    sintering = Quantity(365 * Fraction("0.76") / kgce, "kWh")
    burnt = 365 * Fraction("0.24") / gas_kgce
    fusion = Quantity(165 / kgce, "kWh")
    by_power, by_gas = sintering.value * electricity / 1000, burnt * gas / 1000
    derived = Fraction("3.431355") - by_power - by_gas + fusion.value * electricity / 1000
    assert float(by_power) == pytest.approx(1.303937998, abs=1e-8)
    assert float(by_gas) == pytest.approx(0.201464202, abs=1e-8)
    assert float(fusion.value) == pytest.approx(1342.554923, abs=1e-6)
    assert float(derived) == pytest.approx(2.701546778, abs=1e-8)


def test_scrap_takes_material_too():
    fibre = [factor_row("fibre", "1", "kgCO2e/kg")]
    lost = footprint_of("fibre,2,kg,20,,,,fibre\n", fibre, good="4")
    assert lost.footprint == 10
    rejected = footprint_of("fibre,2,kg,,,,,fibre\n", fibre, good="4", scrap="1")
    assert rejected.footprint == 10
    assert rejected.per_unit == "2.5"


def test_a_material_without_a_factor_makes_the_footprint_incomplete_never_zero():
    fibre = [factor_row("fibre", "1", "kgCO2e/kg")]
    result = footprint_of("fibre,2,kg,,,,,fibre\nglue,1,kg,,,,,\n", fibre)
    assert result.incomplete == ("no_factor:glue",)
    assert result.footprint == 2


def test_a_material_in_the_wrong_kind_of_unit_is_incomplete_and_says_why():
    rows = [factor_row("fibre", "1", "kgCO2e/kg")]
    result = footprint_of("fibre,2,m3,,,,,fibre\n", rows)
    assert result.incomplete == ("unit:fibre",)
    assert "factor_unit" in {f.rule for f in result.findings}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("fibre,two,kg,,,,,f", "quantity"),
        ("fibre,-2,kg,,,,,f", "quantity"),
        ("fibre,,kg,,,,,f", "quantity"),
        ("fibre,2,kilo,,,,,f", "unit"),
        ("fibre,2,kg,100,,,,f", "scrap_percent"),
        (",2,kg,,,,,f", "material"),
        ("fibre,2,kg,,,CN,,", "factor"),
        ("good,2,kg,,,,,f", "material"),
        ("fibre,2,kg", ""),
        ("fibre,2,kg,,,,,f,9", ""),
    ],
)
def test_a_broken_row_of_a_bill_is_named_with_its_line(row, field):
    _, errors = read_bill(f"{HEAD}good,1,kg,,,,,f\n{row}\n", "bom.csv")
    assert [(e.file, e.line) for e in errors] == [("bom.csv", 3)]
    assert errors[0].field.startswith(field)


def test_an_unknown_or_missing_column_of_a_bill_is_named():
    _, errors = read_bill("material,qty,unit\nx,1,kg\n", "bom.csv")
    assert {e.line for e in errors} == {1}
    assert "quantity is missing" in str(errors[0])
    assert errors[1].field == "qty"


def test_unlike_things_do_not_add():
    assert Quantity(Fraction(1), "kWh") + Quantity(Fraction("3.6"), "MJ") == Quantity(
        Fraction(2), "kWh"
    )
    for other in ("m3", "kg", "Nm3"):
        with pytest.raises(UnitError):
            Quantity(Fraction(1), "kWh") + Quantity(Fraction(1), other)
    with pytest.raises(UnitError):
        Quantity(Fraction(1), "m3").to("Nm3")
    with pytest.raises(UnitError):
        Quantity(Fraction(1), "MWh_rel").to("MWh")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("balances", [{"id": "b", "main": "m.x", "subs": ["air.e"]}]), "balances[0].main"),
        (("balances", [{"id": "b", "main": "m.e", "subs": ["ari.e"]}]), "balances[0].subs[0]"),
        (("policy", {"admissible_tiers": "BE"}), "policy.admissible_tiers"),
        (("lines", [{"id": "l"}, {"id": "k"}, {"id": "a/b"}]), "lines[2].id"),
        (("lines", [{"id": "l"}, {"id": "k"}, {"id": "k"}]), "lines[2].id"),
        (("products", [{"id": "p", "unit": "piece", "bill": "x.csv"}]), "products[0].bill"),
    ],
)
def test_what_does_not_fit_in_a_plant_is_named(change, field):
    plant = copy.deepcopy(PLANT)
    plant[change[0]] = change[1]
    _, faults = read_plant(plant)
    assert [f.field for f in faults] == [field]
