"""A window is the same however much of the history is read with it, whatever the counter does."""

from __future__ import annotations

import itertools
import os
import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from footprint.authority import ALL_TIME, Authority
from footprint.metering import Meter
from mrv.channel import AssuranceTier
from mrv.interval import NS_PER_MS
from mrv.measurement.activity import LawParameters, counter_windows
from mrv.measurement.anchor import sure_after, sure_before
from mrv.series import Series
from tests.footprint.test_growing import KEY, REGISTER, Counter, S, reached, stretches_of

EXAMPLES = int(os.environ.get("METERPRINT_SURE", "80"))
SPEAKS = (Authority(0, ALL_TIME, KEY, AssuranceTier.AGENT_SIGNED),)


class TwoLevels(Counter):
    """Two counters that took each other's address: neither level ever recovers for good."""

    def next(self):
        self.at += self.choice.choice((7 * NS_PER_MS, S, S, 30 * S))
        self.shown += self.choice.choice((0, 1, 3))
        high = self.count % 2 if self.choice.random() < 0.8 else self.choice.randrange(2)
        return self.at, self.shown + 10**5 * high


def lived(seed, kind, turns):
    """A counter that has brought some readings, what makes a meter of it, and where they end."""
    choice = random.Random(seed)
    counter, parts = kind(choice), stretches_of(choice)
    for _ in range(turns):
        counter.take()

    def meter():
        return Meter(REGISTER, SPEAKS, parts, counter.readings)

    span = meter().span()
    assert span is not None
    return choice, counter, meter, (span[1] // NS_PER_MS + 2) * NS_PER_MS


def cuts_of(choice, end):
    """Cuts from 0 to the end, some beside each other."""
    places = {choice.randrange(0, end // NS_PER_MS) for _ in range(choice.randint(2, 9))}
    return [0, *(place * NS_PER_MS for place in sorted(places) if place), end]


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**48), st.sampled_from((Counter, TwoLevels)))
def test_windows_alone_are_those_of_the_whole_history(seed, kind):
    choice, _, meter, end = lived(seed, kind, 30)
    cuts = cuts_of(choice, end)
    whole = meter()._compute(KEY, cuts)
    for window, found in zip(itertools.pairwise(cuts), whole, strict=True):
        assert meter().windows(list(window)) == [found], (seed, window)
        assert meter()._compute(KEY, list(window)) == [found], (seed, window)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**48), st.sampled_from((Counter, TwoLevels)))
def test_late_readings_change_nothing_out_of_their_reach(seed, kind):
    choice, counter, meter, end = lived(seed, kind, 20)
    cuts = cuts_of(choice, end)
    before = meter().windows(cuts)
    counter.at = choice.randrange(0, end)
    rows = counter.take()
    if not rows:
        return
    first, last = rows[0][0], rows[-1][0]
    low, high = reached(counter, meter(), first, last)
    after = meter().windows(cuts)
    for window, old, new in zip(itertools.pairwise(cuts), before, after, strict=True):
        if window[1] <= low or window[0] > high:
            assert old == new, (seed, window, (low, high), rows)


def test_a_dip_beside_the_window_does_not_make_spikes_of_the_readings_after_it():
    """Four good readings beside a window were not enough: the first of them may be the dip."""
    t = [310, 320, 330, 340, 345, 358, 372, 378, 384, 389, 402, 462, 469, 470, 475]
    v = [0, 0, 0, 1, 9, 26, 61, 7, 104, 110, 116, 134, 145, 168, 170]
    law = LawParameters(max_rate=10_000, gap_ms=30_000)
    window = [461 * S, 468 * S]
    times = [moment * S for moment in t]
    whole = counter_windows(Series(times, v, [1] * len(t)), window, law)
    four = Series(times[7:], v[7:], [1] * (len(t) - 7))
    assert counter_windows(four, window, law) != whole
    assert not sure_before(four, window[0], law.max_rate)
    enough = Series(times[2:], v[2:], [1] * (len(t) - 2))
    assert sure_before(enough, window[0], law.max_rate)
    assert counter_windows(enough, window, law) == whole


@example(10, 0)
@given(st.integers(6, 40), st.integers(0, 10**6))
def test_an_ordinary_counter_is_sure_at_once(size, rate):
    series = Series([i * S for i in range(size)], list(range(size)), [1] * size)
    limit = 0 if rate < 3600 else rate
    assert sure_before(series, 5 * S, limit)
    assert sure_after(series, 0, limit) == (5 * S if size > 8 else None)
