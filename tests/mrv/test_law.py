"""The law of numbers: facts about registers, and laws that hold whatever the cuts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv.interval import NS_PER_MS
from mrv.measurement.activity import (
    STATE_RULES,
    LawParameters,
    amount_windows,
    counter_windows,
    findings_of,
)
from mrv.measurement.calibration import correction_ppm
from mrv.measurement.law import LONG_MS, MARGIN, MILLION, muldiv
from mrv.series import Series

S = 10**9
STATES = {rule: place for place, (rule, _) in enumerate(STATE_RULES)}


def series(values, step=S):
    t = [i * step for i in range(len(values))]
    return Series(t, [v or 0 for v in values], [0 if v is None else 1 for v in values])


def whole(values, **parameters):
    readings = series(values)
    return counter_windows(readings, [0, 10**15], LawParameters(**parameters))[0]


def test_a_failed_read_is_not_zero():
    assert whole([100, None, 110]).metered == 10 * MILLION


def test_a_dip_that_recovers_is_no_reset():
    window = whole([100, 0, 0, 105, 110])
    assert window.metered == 10 * MILLION
    assert window.counts[STATES["dip"]] == 2
    assert window.counts[STATES["reset"]] == 0


def test_a_spike_that_returns_adds_nothing():
    window = whole([100, 9_999_999, 101], max_rate=36_000)
    assert window.metered == 1 * MILLION
    assert window.counts[STATES["spike"]] == 1


def test_a_roll_over_counts_through_zero():
    window = whole([998, 2, 5], modulus=1000, max_rate=36_000)
    assert window.metered == 7 * MILLION
    assert window.counts[STATES["roll_over"]] == 1


def test_a_reset_counts_from_zero():
    window = whole([50_000, 4, 9, 12, 15], max_rate=36_000)
    assert window.metered == 15 * MILLION
    assert window.counts[STATES["reset"]] == 1


def test_an_impossible_step_is_withheld_and_said():
    window = whole([100, 900_000, 900_001, 900_002, 900_003], max_rate=36_000)
    assert window.metered == 3 * MILLION
    assert window.withheld == 899_900
    rules = {finding.rule for finding in findings_of(window, "m/r", 0)}
    assert "jump" in rules


def test_a_counter_running_back_adds_nothing_and_is_said():
    window = whole([900_000, 800_000, 800_001, 800_002, 800_003], max_rate=36_000)
    assert window.metered == 3 * MILLION
    assert window.counts[STATES["backward"]] == 1
    assert window.withheld == -100_000


@pytest.mark.parametrize(
    ("after", "state"),
    [(800_000, "backward"), (90_001, "backward"), (90_000, "reset"), (4, "reset")],
)
def test_without_a_nameplate_only_a_fall_to_a_tenth_is_a_reset(after, state):
    window = whole([900_000, after, after + 1, after + 2, after + 3])
    assert window.counts[STATES[state]] == 1
    assert window.metered == (3 + (after if state == "reset" else 0)) * MILLION
    assert window.withheld == (after - 900_000 if state == "backward" else 0)


def test_a_gap_is_counted_but_loses_nothing():
    readings = Series([0, 1000 * S], [0, 1000], [1, 1])
    first, second = counter_windows(readings, [0, 250 * S, 1000 * S], LawParameters(gap_ms=60_000))
    assert (first.corrected, second.corrected) == (250 * MILLION, 750 * MILLION)
    assert (first.gap, second.gap) == (250 * MILLION, 750 * MILLION)


def test_an_approved_curve_corrects_by_load():
    law = LawParameters(load=(1000, 3000), ppm=(1000, 3000))
    readings = Series([0, 3600 * S], [0, 2000], [1, 1])
    window = counter_windows(readings, [0, 3600 * S], law)[0]
    assert window.corrected == 2000 * (MILLION + 2000)
    assert window.weights == (1000 * MILLION, 1000 * MILLION)


def test_the_correction_is_minus_the_error_over_one_plus_the_error():
    assert correction_ppm(Fraction(0)) == 0
    assert correction_ppm(Fraction(1, 100)) == -9901
    assert correction_ppm(Fraction(-1, 100)) == 10101


@given(st.integers(0, 2**62), st.integers(0, 2**60), st.integers(1, 2**60))
def test_splitting_is_exact_at_any_size(amount, elapsed, length):
    elapsed = min(elapsed, length)
    assert muldiv(amount, elapsed, length) == amount * elapsed // length


def test_long_steps_are_split_exactly_too():
    length = LONG_MS * 10
    assert muldiv(10**18 - 1, length - 1, length) == (10**18 - 1) * (length - 1) // length


increments = st.lists(st.integers(0, 10_000), min_size=1, max_size=30)
gaps = st.lists(st.integers(1, 10_000_000_000), min_size=1, max_size=30)
cut_places = st.lists(st.integers(0, 400_000), max_size=12)


def rising(steps, waits):
    t, v = [0], [0]
    for step, wait in zip(steps, waits, strict=False):
        t.append(t[-1] + wait)
        v.append(v[-1] + step)
    return Series(t, v, [1] * len(t))


@given(increments, gaps, cut_places)
def test_windows_that_tile_time_tile_the_sum(steps, waits, places):
    readings = rising(steps, waits)
    end = readings.t[-1] // NS_PER_MS + 2
    cuts = sorted({-1, end, *(p for p in places if p < end)})
    law = LawParameters(load=(10, 100_000, 10**9), ppm=(150, -70, 30))
    windows = counter_windows(readings, [c * NS_PER_MS for c in cuts], law)
    one = counter_windows(readings, [-NS_PER_MS, end * NS_PER_MS], law)[0]
    assert sum(w.corrected for w in windows) == one.corrected
    assert sum(w.metered for w in windows) == one.metered == readings.v[-1] * MILLION


@given(increments, gaps, st.integers(0, 100_000), st.integers(1, 100_000))
def test_a_window_depends_on_its_readings_and_their_neighbours_only(steps, waits, start, length):
    readings = rising(steps, waits)
    left, right = start * NS_PER_MS, (start + length) * NS_PER_MS
    inside = [i for i, t in enumerate(readings.t) if left <= t < right]
    before = [i for i, t in enumerate(readings.t) if t < left][-MARGIN:]
    after = [i for i, t in enumerate(readings.t) if t >= right][:MARGIN]
    kept = [*before, *inside, *after]
    local = Series([readings.t[i] for i in kept], [readings.v[i] for i in kept], [1] * len(kept))
    law = LawParameters(gap_ms=3000)
    here = counter_windows(local, [left, right], law)[0]
    there = counter_windows(readings, [left, right], law)[0]
    assert here == there


amounts = st.lists(
    st.tuples(st.integers(0, 300_000), st.integers(0, 90_000), st.integers(0, 10**6)), max_size=20
)


@given(amounts, cut_places)
def test_amounts_are_split_without_loss(rows, places):
    rows = sorted(set(rows))
    readings = Series(
        [t * NS_PER_MS + i for i, (t, _, _) in enumerate(rows)],
        [v for _, _, v in rows],
        [1] * len(rows),
        [n * NS_PER_MS for _, n, _ in rows],
    )
    end = 500_000
    cuts = sorted({-1, end, *places})
    windows = amount_windows(readings, [c * NS_PER_MS for c in cuts], LawParameters())
    assert sum(w.metered for w in windows) == sum(v for _, _, v in rows) * MILLION


@pytest.mark.parametrize("cut", [0, 1, 999, 1000])
def test_a_cut_beside_a_reading_moves_nothing_across(cut):
    readings = Series([0, S], [0, 1000], [1, 1])
    cuts = [-NS_PER_MS, cut * NS_PER_MS, 2 * S]
    first, second = counter_windows(readings, cuts, LawParameters())
    assert first.corrected == cut * MILLION
    assert first.corrected + second.corrected == 1000 * MILLION
