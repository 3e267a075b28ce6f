"""One source, two speeds: the compiled law gives the same integers as the plain one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.kernels import compiled
from mrv.measurement.activity import PYTHON, LawParameters, amount_windows, counter_windows
from mrv.measurement.law import MAX_INCREMENT, MILLION
from mrv.series import Series

NS = 10**6
registers = st.one_of(
    st.integers(0, 10**6),
    st.integers(0, 2**62),
    st.sampled_from([0, 1, MAX_INCREMENT, MAX_INCREMENT + 1, 2**62]),
)
rows = st.lists(
    st.tuples(st.integers(0, 10**13), registers, st.booleans()),
    max_size=25,
    unique_by=lambda r: r[0],
)
parameters = st.builds(
    LawParameters,
    modulus=st.sampled_from([0, 1000, 10**8, 2**32, 10**12]),
    max_rate=st.sampled_from([0, 10, 10**6, 10**11]),
    gap_ms=st.sampled_from([0, 1, 60_000]),
    load=st.sampled_from([(), (100,), (10, 5000, 10**9)]),
    ppm=st.just(()),
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(rows, parameters, st.lists(st.integers(-5, 10**7 + 5), min_size=2, max_size=9, unique=True))
def test_compiled_and_plain_law_agree_to_the_last_integer(readings, law, places):
    ppm = tuple(range(-50, -50 + 40 * len(law.load), 40))
    law = LawParameters(law.modulus, law.max_rate, law.gap_ms, law.load, ppm)
    ordered = sorted(readings)
    series = Series(
        [t for t, _, _ in ordered], [v for _, v, _ in ordered], [int(ok) for _, _, ok in ordered]
    )
    cuts = [place * NS for place in sorted(places)]
    fast, plain = compiled(), PYTHON
    assert counter_windows(series, cuts, law, fast) == counter_windows(series, cuts, law, plain)
    lengths = [v % (10**9) for v in series.v]
    amounts = Series(series.t, series.v, series.ok, lengths)
    assert amount_windows(amounts, cuts, law, fast) == amount_windows(amounts, cuts, law, plain)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 5])
def test_sums_beyond_64_bits_are_left_to_the_plain_law(count):
    rising = [i * MAX_INCREMENT for i in range(count + 1)]
    series = Series([i * 10**9 for i in range(count + 1)], rising, [1] * (count + 1))
    law = LawParameters(load=(10,), ppm=(900,))
    found = counter_windows(series, [0, 10**12], law, compiled())
    assert found == counter_windows(series, [0, 10**12], law, PYTHON)
    assert found[0].metered == count * MAX_INCREMENT * MILLION
    amounts = Series(series.t, [MAX_INCREMENT] * (count + 1), series.ok, [10**9] * (count + 1))
    found = amount_windows(amounts, [0, 10**12], law, compiled())
    assert found == amount_windows(amounts, [0, 10**12], law, PYTHON)
    wild = Series([0, 1, 2], [-(2**63), 2**63 - 1, -(2**63)], [1, 1, 1])
    assert counter_windows(wild, [0, 10**12], law, compiled()) == counter_windows(
        wild, [0, 10**12], law, PYTHON
    )


@pytest.mark.slow
def test_a_curve_whose_points_lie_very_far_apart_is_left_to_the_plain_law():
    series = Series([0, 10**6, 2 * 10**6], [0, 10**7, 3 * 10**7], [1, 1, 1])
    law = LawParameters(load=(0, 2**53), ppm=(0, 500_000))
    found = counter_windows(series, [0, 10**12], law, compiled())
    assert found == counter_windows(series, [0, 10**12], law, PYTHON)
    assert found[0].corrected > found[0].metered


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([1, 10, 10**9, 10**13]), st.integers(1, 2**62))
def test_a_plausible_rate_bounds_what_the_compiled_law_takes_in(step, rate, largest):
    shown = [0, step, 2 * step, largest, 3 * step, largest // 2, 4 * step]
    series = Series([place * 10**9 for place in range(7)], shown, [1] * 7)
    law = LawParameters(max_rate=rate, modulus=2**32, load=(1, 100), ppm=(400_000, -90))
    found = counter_windows(series, [0, 10**10], law, compiled())
    assert found == counter_windows(series, [0, 10**10], law, PYTHON)


@pytest.mark.slow
def test_the_largest_step_a_month_long_is_split_alike():
    series = Series([0, 30 * 86_400 * 10**9], [0, MAX_INCREMENT], [1, 1])
    cuts = [0, 86_400 * 10**9 + NS, 30 * 86_400 * 10**9]
    law = LawParameters()
    fast = counter_windows(series, cuts, law, compiled())
    assert fast == counter_windows(series, cuts, law, PYTHON)
    assert sum(w.metered for w in fast) == MAX_INCREMENT * MILLION
