from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.commissioning import Watched, check, counted
from edge_agent.load_curve import LoadCurve
from mrv.errors import InputError
from mrv.interval import NS_PER_S
from mrv.series import Sample

T0 = 1_700_000_000 * NS_PER_S
MINUTE = 60 * NS_PER_S
LOAD = LoadCurve(3, 40_000, 8_000, T0)
CT, PT = Fraction(40), Fraction(100)


def watched(
    factor: Fraction = Fraction(1), *, start: int = 0, modulus: int = 10**8, minutes: int = 30
):
    times = [T0 + n * MINUTE // 6 for n in range(6 * minutes + 1)]
    resolution = Fraction(1, 100)
    values = [(start + int(LOAD.amount(t) * factor / resolution)) % modulus for t in times]
    counter = Watched(
        [Sample(*p) for p in zip(times, values, strict=True)], resolution, "kWh", modulus
    )
    power = Watched([Sample(t, LOAD.rate(t)) for t in times], Fraction(1, 1000), "kW")
    return counter, power


def rules(findings) -> list[tuple[str, str]]:
    return [(f.rule, dict(f.numbers).get("mistake", "")) for f in findings]


def test_a_counter_that_agrees_with_its_power_has_no_finding():
    assert check("m", *watched(), {"ct": CT, "pt": PT}) == ()


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (Fraction(10), ("commissioning_scale", "x10")),
        (Fraction(1, 10), ("commissioning_scale", "x1/10")),
        (Fraction(1, 1000), ("commissioning_scale", "x1/1000")),
        (CT, ("commissioning_wrong_side", "xct")),
        (1 / CT, ("commissioning_wrong_side", "x1/ct")),
        (CT * PT, ("commissioning_wrong_side", "xct*pt")),
        (Fraction(3), ("commissioning_disagrees", "")),
    ],
)
def test_the_mistake_is_named(factor, expected):
    assert rules(check("m", *watched(factor, minutes=600), {"ct": CT, "pt": PT})) == [expected]


def test_a_factor_with_two_explanations_names_both():
    found = rules(check("m", *watched(Fraction(100)), {"ct": CT, "pt": PT}))
    assert found == [("commissioning_scale", "x100"), ("commissioning_wrong_side", "xpt")]


def test_a_roll_over_during_the_check_is_no_mistake():
    assert check("m", *watched(start=10**8 - 100)) == ()


def test_a_counter_that_stands_while_power_flows_is_named():
    counter, power = watched(Fraction(0))
    assert rules(check("m", counter, power)) == [("commissioning_stands_still", "")]


def test_a_counter_that_runs_while_the_power_reads_zero_is_named():
    counter, power = watched()
    still = Watched([Sample(s.t, 0) for s in power.samples], power.resolution, "kW")
    assert rules(check("m", counter, still)) == [("commissioning_no_power", "")]


def test_reversed_power_is_named():
    counter, power = watched()
    back = Watched([Sample(s.t, -s.v) for s in power.samples], power.resolution, "kW")
    assert rules(check("m", counter, back)) == [("commissioning_direction", "")]


def test_too_little_energy_gives_no_verdict():
    counter, power = watched(minutes=0)
    (finding,) = check("m", counter, power)
    assert finding.rule == "commissioning_undecided"


def test_units_that_do_not_belong_together_are_refused():
    counter, power = watched()
    with pytest.raises(InputError, match="m3"):
        check("m", Watched(counter.samples, counter.resolution, "m3"), power)


@given(st.integers(0, 10**8 - 1))
def test_where_the_counter_starts_does_not_matter(start):
    assert counted(watched(start=start, minutes=2)[0]) == pytest.approx(
        counted(watched(minutes=2)[0]), abs=0
    )
