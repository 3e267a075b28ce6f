"""What nobody meters is declared, what nobody read is substituted: named, and unsure."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import pytest

from footprint.batch import BatchState
from footprint.plant_reading import read_plant
from tests.faults.drilled_site import FACTOR
from tests.footprint.test_engine import PLANT, S, World, steady


def with_refrigerant(**source):
    plant = copy.deepcopy(PLANT)
    plant["sources"].append(
        {"id": "r", "line": "l", "declared": "kg", "factor": {"id": "r"}, **source}
    )
    world = World(plant)
    world.run("m", steady(0, 600))
    world.run("air", steady(0, 600))
    row = {**FACTOR, "id": "r", "value": "1300", "unit": "kgCO2e/kg", "uncertainty_pct": "10"}
    world.state("registry", "factor_set", "r", {"rows": [row]})
    world.batch("b1", 100, 190)
    return world


def test_a_declared_source_is_waited_for_until_its_fact_is_there():
    world = with_refrigerant()
    assert world.engine().batch("b1").waits == ("declared:r",)
    body = {"source": "r", "quantity": "20", "unit": "g", "u_percent": "5"}
    world.state("production/l", "amount_declared", "b1", body, 195 * S)
    result = world.engine().batch("b1")
    assert result.state is BatchState.FINAL
    row = next(s for s in result.sources if s.source == "r")
    assert (row.corrected, row.unit, row.burden) == (Fraction(1, 50), "kg", 26)
    assert row.components["declared:r:b1"] == pytest.approx(26 * 0.05 / 2)
    assert row.components["factor:r"] == pytest.approx(26 * 0.10 / 2)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({"source": "r", "quantity": "lots", "unit": "kg"}, "declared_unreadable"),
        ({"source": "r", "quantity": "-1", "unit": "kg"}, "declared_unreadable"),
        ({"source": "r", "quantity": "1", "unit": "bottle"}, "declared_unreadable"),
        ({"source": "", "quantity": "1", "unit": "kg"}, "declared_unreadable"),
    ],
)
def test_a_declaration_nobody_can_read_closes_nothing(body, rule):
    world = with_refrigerant()
    world.state("production/l", "amount_declared", "b1", body, 195 * S)
    engine = world.engine()
    assert engine.batch("b1").waits == ("declared:r",)
    assert rule in {f.rule for f in engine.knowledge.all_findings()}


def test_a_declaration_in_another_kind_of_unit_is_incomplete_and_a_second_one_is_found():
    world = with_refrigerant()
    body = {"source": "r", "quantity": "1", "unit": "kWh"}
    world.state("production/l", "amount_declared", "b1", body, 195 * S)
    world.state("production/l", "amount_declared", "b1", body, 195 * S)
    engine = world.engine()
    assert engine.batch("b1").incomplete == ("unit:r",)
    assert "declared_twice" in {f.rule for f in engine.knowledge.all_findings()}


def test_a_source_is_metered_or_declared():
    plant = copy.deepcopy(PLANT)
    plant["sources"][0]["declared"] = "kg"
    plant["sources"][1]["declared"] = "kg"
    _, faults = read_plant(plant)
    assert [f.field for f in faults] == ["sources[0].declared", "sources[1].declared"]


def closed_by_a_fact(policy=None):
    """A meter that dies at 150 s in a batch of 100…190 s; a fact says nothing more will come."""
    plant = copy.deepcopy(PLANT)
    plant["policy"] |= policy or {}
    world = World(plant)
    world.run("m", steady(0, 150))
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    body = {"agent": "a", "stream": "m", "reason": "gateway stolen"}
    world.state("registry", "chain_closed", "a/m", body, 0, 900 * S)
    return world.engine().batch("b1")


def test_policy_fills_what_a_dead_meter_did_not_count_and_says_how_sure_it_is():
    result = closed_by_a_fact()
    assert result.state is BatchState.FINAL_ESTIMATED
    row = next(s for s in result.sources if s.source == "m")
    parts = {part.value: amount for part, amount in row.parts}
    assert parts == {"direct": 5, "substituted": 4}
    assert row.activity_components["fill:m.e:b1"] == pytest.approx(4 / math.sqrt(3))
    assert result.incomplete == ()


def test_a_policy_that_fills_nothing_leaves_the_figure_incomplete():
    result = closed_by_a_fact({"fill": "none"})
    assert result.state is BatchState.FINAL_ESTIMATED
    assert result.incomplete == ("not_filled:m",)


def test_a_meter_that_never_spoke_cannot_be_filled():
    world = World()
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    world.state("registry", "chain_closed", "a/m", {"agent": "a", "stream": "m"}, 0, 900 * S)
    result = world.engine().batch("b1")
    assert result.state is BatchState.FINAL_ESTIMATED
    assert result.incomplete == ("not_filled:m",)


def test_a_meter_that_came_late_or_died_before_is_filled_from_the_time_beside_it():
    for samples in (steady(300, 600), steady(0, 90)):
        world = World()
        world.run("m", samples)
        world.run("air", steady(0, 600))
        world.batch("b1", 100, 190)
        world.state("registry", "chain_closed", "a/m", {"agent": "a", "stream": "m"}, 0, 900 * S)
        row = next(s for s in world.engine().batch("b1").sources if s.source == "m")
        assert dict(row.parts)["substituted"] == 9


def test_a_fill_beside_a_calibration_curve_has_its_uncertainty_too():
    plant = copy.deepcopy(PLANT)
    world = World(plant)
    world.run("m", steady(0, 150))
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    points = [
        {"load": str(load), "error_percent": "1", "expanded_percent": "0.2"} for load in (10, 9000)
    ]
    body = {"kind": "calibration", "instrument": "m", "points": points}
    world.state("registry", "certificate_recorded", "C1", body, 0)
    world.state("registry", "certificate_approved", "C1", {})
    world.state("registry", "chain_closed", "a/m", {"agent": "a", "stream": "m"}, 0, 900 * S)
    row = next(s for s in world.engine().batch("b1").sources if s.source == "m")
    assert dict(row.parts)["substituted"] > 0
    assert {name.partition(":")[0] for name in row.activity_components} >= {"cal", "fill"}
