"""Simulated loads: a counter is the integral of its rate."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.load_curve import UNIT, LoadCurve
from tests.edge_agent.modbus_bench import HOUR, T0


@given(st.integers(0, 50), st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_load_curve_is_the_integral_of_its_rate(seed, start, length):
    load = LoadCurve(seed, 1_000, 777, T0, slot=10**11)
    end = start + length
    cuts = [start, *range((start // 10**11 + 1) * 10**11, end, 10**11), end]
    summed = sum(load.rate(T0 + a) * (b - a) for a, b in pairwise(cuts))
    assert (load.amount(T0 + end) - load.amount(T0 + start)) * UNIT == summed


def test_a_steady_load_of_36_kw_is_36_kwh_after_an_hour():
    assert LoadCurve(1, 36_000, 0, T0).amount(T0 + HOUR) == 36
    assert LoadCurve(1, 36_000, 0, T0).amount(T0 - 1) == 0
