"""The watch over clocks never misses an envelope that changes what is mended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrv.reporting.clock_watch import ClockWatch
from mrv.reporting.mending import mendings
from tests.mrv.test_mending import HOUR, S, cuts, history, link


def told(links):
    return {m.link.identity: m.offset for m in mendings(links)}


@given(cuts, st.randoms(use_true_random=False))
def test_whatever_the_order_a_change_is_never_missed(rows, choice):
    links = history(rows)
    choice.shuffle(links)
    watch, known = ClockWatch(), []
    for one in links:
        before = told(known)
        known.append(one)
        looks = watch.saw(one)
        assert looks or told(known) == before
        boots = {m.link.boot for m in mendings(known)}
        assert boots <= watch.suspects()


@given(cuts, st.integers(0, 25), st.randoms(use_true_random=False))
def test_what_was_kept_of_two_parts_is_as_good_as_both(rows, cut, choice):
    links = history(rows)
    choice.shuffle(links)
    one, two = ClockWatch(), ClockWatch()
    for place, item in enumerate(links):
        (one if place < cut else two).saw(item)
    again, looked = ClockWatch(), False
    for watch in (one, two):
        for name, boot in watch.boots.items():
            looked = again.merge(name, boot.numbers()) or looked
    assert looked or not told(links)
    assert {m.link.boot for m in mendings(links)} <= again.suspects()


def test_a_day_of_a_sound_clock_never_asks_to_look():
    watch = ClockWatch()
    assert not any(watch.saw(link(n, n * S, trusted=n % 7 > 0)) for n in range(10_000))
    assert watch.suspects() == frozenset()


def test_after_the_anchor_nobody_looks_again():
    watch = ClockWatch()
    for n in range(5):
        watch.saw(link(n, n * S, HOUR))
    looks = [watch.saw(link(n, n * S, trusted=True)) for n in range(5, 5000)]
    assert looks[0]
    assert not any(looks[1:])
