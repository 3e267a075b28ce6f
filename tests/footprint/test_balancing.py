"""Main meter against the meters below it, window by window."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import pytest

from footprint.balancing import balance_findings, balance_windows
from footprint.plant_reading import read_plant
from tests.footprint.test_engine import PLANT, S, World, steady, table_of

NAMES = ("main", "m", "air")


def plant_with(**balance):
    plant = copy.deepcopy(PLANT)
    register = {"id": "e", "kind": "counter", "unit": "kWh", "resolution": "0.1"}
    plant["instruments"].append({"id": "main", "mpe_percent": "1", "registers": [register]})
    stated = {"id": "site", "main": "main.e", "subs": ["m.e", "air.e"], "window_s": "200"}
    plant["balances"] = [{**stated, **balance}]
    return plant


def windows(main_rate=3, air_until=700, start=None, end=None):
    world = World(plant_with())
    world.tables = [("cfg", table_of("a", NAMES))]
    world.run("main", steady(0, 700, rate=main_rate))
    world.run("m", steady(0, 700))
    world.run("air", steady(0, air_until, rate=2))
    engine = world.engine()
    return balance_windows(engine, engine.knowledge.plants[-1][1], start, end)


def test_meters_that_agree_leave_nothing():
    found = windows()
    assert [(w.start // S, w.residual, w.result) for w in found] == [
        (0, 0, "pass"),
        (200, 0, "pass"),
        (400, 0, "pass"),
        (600, 0, "not_checkable"),
    ]
    assert balance_findings(found) == []


def test_the_residuals_uncertainty_is_that_of_all_meters():
    """1 % MPE each, rectangular, and q/√6 for each pair of register readings."""
    window = windows(main_rate=4)[0]
    assert window.residual == 20
    mpe = [0.01 * value / math.sqrt(3) for value in (80, 20, 40)]
    step = 0.1 / math.sqrt(6)
    assert window.components.u == pytest.approx(math.hypot(*mpe, step, step, step))
    assert window.result == "fail"
    (finding, *_) = balance_findings([window])
    assert finding.rule == "balance_residual"
    assert dict(finding.numbers)["residual"] == "20"


def test_a_small_difference_is_within_the_meters_uncertainty():
    plant = plant_with(k="2")
    world = World(plant)
    world.tables = [("cfg", table_of("a", NAMES))]
    world.run("main", [(t, 3 * t + 5) if t else (0, 0) for t, _ in steady(0, 700)])
    world.run("m", steady(0, 700))
    world.run("air", steady(0, 700, rate=2))
    engine = world.engine()
    window = balance_windows(engine, engine.knowledge.plants[-1][1])[0]
    assert window.residual == Fraction(1, 2)
    assert 0 < window.normalised < 2
    assert window.result == "pass"
    proposed = window.adjusted()
    assert math.fsum(s * x for s, x in zip((1, -1, -1), proposed.adjusted, strict=True)) == (
        pytest.approx(0, abs=1e-9)
    )


def test_a_meter_that_does_not_cover_the_window_leaves_it_unjudged():
    found = windows(air_until=350)
    assert [w.result for w in found] == ["pass", *["not_checkable"] * 3]
    assert found[1].missing == ("air.e",)
    assert found[1].to_json()["residual"] is None


def test_a_period_is_cut_to_whole_windows():
    found = windows(start=100 * S, end=650 * S)
    assert [(w.start // S, w.end // S) for w in found] == [(200, 400), (400, 600)]


def test_meters_of_one_certificate_share_what_cancels():
    world = World(plant_with())
    world.tables = [("cfg", table_of("a", NAMES))]
    world.run("main", steady(0, 700, rate=3))
    world.run("m", steady(0, 700))
    world.run("air", steady(0, 700, rate=2))
    point = {"load": "10", "error_percent": "0", "expanded_percent": "1", "k": "2"}
    body = {"kind": "calibration", "points": [point], "common_percent": "0.5"}
    for place, name in enumerate(NAMES):
        world.state(
            "registry", "certificate_recorded", f"c{place}", {**body, "instrument": name}, 0
        )
        world.state("registry", "certificate_approved", f"c{place}", {})
    engine = world.engine()
    window = balance_windows(engine, engine.knowledge.plants[-1][1])[0]
    step = 0.1 / math.sqrt(6)
    alone = math.hypot(*(0.005 * v for v in (60, 20, 40)), step, step, step)
    assert window.components.u == pytest.approx(alone)


@pytest.mark.parametrize(
    ("balance", "field"),
    [
        ({"subs": []}, "balances[0].subs"),
        ({"subs": ["m.e", "m.e"]}, "balances[0].subs[1]"),
        ({"subs": ["main.e"]}, "balances[0].subs[0]"),
        ({"k": "0"}, "balances[0].k"),
        ({"window_s": "1"}, "balances[0].window_s"),
    ],
)
def test_a_balance_that_cannot_be_drawn_up_is_named(balance, field):
    _, faults = read_plant(plant_with(**balance))
    assert field in {fault.field for fault in faults}
