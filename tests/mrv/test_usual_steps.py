"""Steps looked at many at a time: the same integers as one by one, whatever the blocks."""

from __future__ import annotations

from itertools import accumulate
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrv.measurement import law, usual_steps
from mrv.measurement.activity import LawParameters, counter_windows
from mrv.measurement.usual_steps import EXACT, MILLION, SPAN_NS, narrow
from mrv.series import Series

S = 10**9
waits = st.one_of(
    st.integers(1, 20 * S), st.sampled_from([1, 999_999, 10**6, 10 * S, 5000 * S, SPAN_NS])
)
increments = st.one_of(
    st.integers(0, 300), st.sampled_from([0, 0, -1, -900, 2 * 10**9, 2 * 10**9 + 1, 10**11])
)
steps = st.lists(st.tuples(waits, increments, st.integers(0, 15)), max_size=40)
curves = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 10**6), st.integers(0, 2**50)), st.integers(-(10**5), 10**5)
    ),
    max_size=5,
)
parameters = st.builds(
    LawParameters,
    modulus=st.sampled_from([0, 10**4, 10**8]),
    max_rate=st.sampled_from([0, 10, 10**6, 10**13]),
    gap_ms=st.sampled_from([0, 1, 60_000]),
)


def one_by_one(*_):
    """In the place of `narrow`: no curve is for blocks."""
    return False


@settings(max_examples=500, deadline=None)
@given(steps, parameters, curves, st.integers(1, 7), st.lists(st.integers(0, 600_000), min_size=2))
def test_blocks_give_what_one_by_one_gives(history, known, curve, block, places):
    t = list(accumulate((wait for wait, _, _ in history), initial=1_767_225_600 * S))
    v = list(accumulate((increment for _, increment, _ in history), initial=99_000))
    ok = [1] + [int(failed > 0) for _, _, failed in history]
    loads = sorted(load for load, _ in curve)
    ppm = tuple(correction for _, correction in curve)
    rules = LawParameters(known.modulus, known.max_rate, known.gap_ms, tuple(loads), ppm)
    cuts = sorted({t[0] // MILLION * MILLION + place * MILLION for place in places})
    series = Series(t, v, ok)
    with patch.object(law, "narrow", one_by_one):
        expected = counter_windows(series, cuts, rules)
    with patch.object(law, "BLOCK", block):
        assert counter_windows(series, cuts, rules) == expected
    assert counter_windows(series, cuts, rules) == expected


@pytest.mark.parametrize(
    ("load", "ppm", "fine"),
    [
        ((), (), True),
        ((5,), (9,), True),
        ((0, 100, 5000), (-(10**5), 0, 10**5), True),
        ((0, 0), (1, 2), False),
        ((7, 5), (1, 2), False),
        ((0, EXACT // MILLION), (1, 2), False),
        ((0, 1), (0, -EXACT), False),
    ],
)
def test_only_rising_curves_of_small_steps_are_for_blocks(load, ppm, fine):
    assert narrow(load, ppm) is fine


@given(st.integers(-EXACT + 1, EXACT - 1), st.integers(1, EXACT - 1))
def test_a_quotient_of_floats_has_the_floor_of_the_integers(dividend, divisor):
    assert usual_steps.math.floor(dividend / divisor) == dividend // divisor


@given(st.integers(1, EXACT - 1), st.integers(1, EXACT - 1))
def test_and_so_has_one_just_below_an_integer(quotient, divisor):
    dividend = quotient * divisor - 1
    if dividend < EXACT:
        assert usual_steps.math.floor(dividend / divisor) == quotient - 1
