"""Stamps of a clock that was wrong: what a later envelope of the same boot makes of them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mrv.reporting.completeness import (
    CLOCK_STEP_NS,
    ChainLink,
    Closure,
    StreamChain,
    clock_steps,
    new_starts,
)
from mrv.reporting.mending import clock_findings, mendings, runs

S = 10**9
HOUR = 3600 * S
TRUE = 1_700_000_000 * S
"""True time when the monotonic clock of boot "b" shows 0."""


def link(seq, mono, wrong=0, trusted=False, boot="b", true=TRUE):
    """An envelope cut at monotonic time `mono` by a clock that was wrong by `wrong` ns."""
    t = true + mono + wrong
    return ChainLink(
        "a", "s", "e", seq, f"{boot}{seq:063d}", "", t - S, t, trusted, t=t, mono=mono, boot=boot
    )


def offsets(links):
    return {m.link.seq: m.offset for m in mendings(links)}


def test_a_clock_that_stood_at_1970_until_the_network_came():
    wrong = -(TRUE)
    links = [link(n, n * S, wrong) for n in range(3)] + [link(3, 60 * S, trusted=True)]
    found = mendings(links)
    assert [m.offset for m in found] == [TRUE] * 3
    assert [m.link.t for m in found] == [0, S, 2 * S], "the signed stamps stay"
    assert {m.anchor.seq for m in found} == {3}


def test_an_hour_forward_and_back_again():
    links = [
        link(0, 0, trusted=True),
        link(1, S, HOUR),
        link(2, 2 * S, HOUR),
        link(3, 3 * S, -HOUR),
        link(4, 4 * S, trusted=True),
    ]
    assert offsets(links) == {1: -HOUR, 2: -HOUR, 3: HOUR}


def test_what_nobody_knows_is_not_mended():
    alone = [link(0, 0, HOUR), link(1, S, HOUR)]
    assert offsets(alone) == {}
    before = [link(0, 0, trusted=True), link(1, S, HOUR)]
    assert offsets(before) == {}, "an earlier envelope cannot know of a later setting"
    other_boot = [link(0, 0, HOUR), link(1, S, trusted=True, boot="c")]
    assert offsets(other_boot) == {}
    no_boot = [link(0, 0, HOUR, boot=""), link(1, S, trusted=True, boot="")]
    assert offsets(no_boot) == {}


def test_a_trusted_stamp_is_never_touched():
    steps = [link(0, 0, HOUR, trusted=True), link(1, S, trusted=True)]
    assert offsets(steps) == {}


def test_drift_within_a_second_is_no_mistake():
    links = [link(0, 0, CLOCK_STEP_NS), link(1, S, trusted=True)]
    assert offsets(links) == {}
    assert offsets([link(0, 0, CLOCK_STEP_NS + 1), links[1]]) == {0: -CLOCK_STEP_NS - 1}


cuts = st.lists(
    st.tuples(
        st.integers(1, 100 * S),
        st.sampled_from([0, 0, 0, HOUR, -HOUR, -TRUE // 2]),
        st.booleans(),
        st.sampled_from("bc"),
    ),
    max_size=25,
)


def history(rows):
    """Links of two boots; trusted ones tell the true time."""
    mono = {"b": 0, "c": 0}
    links = []
    for seq, (passed, wrong, trusted, boot) in enumerate(rows):
        mono[boot] += passed
        links.append(link(seq, mono[boot], 0 if trusted else wrong, trusted, boot))
    return links


@given(cuts, st.randoms(use_true_random=False))
def test_mended_stamps_are_the_true_ones_whatever_the_order_of_arrival(rows, choice):
    links = history(rows)
    found = mendings(links)
    for mending in found:
        assert mending.link.t + mending.offset == TRUE + mending.link.mono
    shuffled = [*links, *choice.sample(links, len(links) // 2)]
    choice.shuffle(shuffled)
    assert mendings(shuffled) == found


@given(cuts)
def test_every_wrong_stamp_with_a_trusted_one_after_it_is_mended(rows):
    links = history(rows)
    expected = {
        one.seq
        for one in links
        if one.t != TRUE + one.mono
        and any(x.trusted and x.boot == one.boot and x.mono >= one.mono for x in links)
    }
    assert set(offsets(links)) == expected


@given(cuts, st.integers(0, 25))
def test_what_comes_after_the_anchor_changes_nothing(rows, cut):
    links = history(rows)
    known = [one for one in links if one.seq < cut]
    later = offsets(links)
    for mending in mendings(known):
        assert later[mending.link.seq] == mending.offset


@given(cuts)
def test_what_is_mended_needs_no_mending(rows):
    links = history(rows)
    found = {m.link.identity: m for m in mendings(links)}
    mended = [
        one._replace(t=one.t + found[one.identity].offset) if one.identity in found else one
        for one in links
    ]
    assert mendings(mended) == []


def test_drift_of_a_crystal_stays_below_ten_seconds_a_day():
    """100 ppm over a day: the law is exact, the clock is not (module docstring)."""
    day = 86_400 * S
    wrong = link(0, 0, HOUR)
    anchor = link(1, day + day // 10_000, trusted=True)._replace(t=TRUE + day)
    (mending,) = mendings([wrong, anchor])
    assert abs(mending.link.t + mending.offset - TRUE) == day // 10_000 < 10 * S


def test_a_shuffled_day_of_a_real_size_is_quick_and_the_same():
    links = [link(n, n * S, HOUR if n < 40_000 else 0, n >= 40_000) for n in range(60_000)]
    random.Random(1).shuffle(links)
    found = mendings(links)
    assert len(found) == 40_000
    assert {m.offset for m in found} == {-HOUR}


def test_each_setting_of_a_wrong_clock_is_told_once_with_signed_and_true_times():
    links = [link(n, n * S, HOUR if n < 40 else -HOUR) for n in range(60)]
    links.append(link(60, 60 * S, trusted=True))
    first, second = clock_findings("a/s", mendings(links))
    told = dict(first.numbers)
    assert (first.rule, first.subject, told["envelopes"]) == ("clock_mended", "a/s", "40")
    assert told["offset_ns"] == str(-HOUR)
    assert told["signed_from"] == str(TRUE + HOUR - S)
    assert told["true_from"] == str(TRUE - S) == str(first.at)
    assert told["true_to"] == str(TRUE + 39 * S)
    assert told["known_by"] == links[-1].identity
    assert dict(second.numbers)["offset_ns"] == str(HOUR)


@given(cuts)
def test_runs_hold_every_mending_once_in_order(rows):
    found = mendings(history(rows))
    assert [m for run in runs(found) for m in run] == found


def test_a_step_is_seen_across_a_new_start_of_the_agent_in_one_boot():
    before = link(0, 0, HOUR)
    after = link(0, S, trusted=True)._replace(epoch="f", prev=before.identity, identity="f" * 64)
    assert clock_steps([after, before]) == [(after, -HOUR)]
    assert clock_steps([after._replace(boot="c"), before]) == []


def test_a_stream_that_begins_anew_is_told_whatever_came_first():
    links = [link(0, 0), link(0, S)._replace(epoch="f", identity="f" * 64)]
    links.append(link(1, 2 * S)._replace(epoch="f", identity="9" * 64, prev="f" * 64))
    chain = StreamChain()
    for one in reversed(links):
        chain.add(one)
    assert chain.new_starts() == new_starts(links) == [links[1]]
    assert new_starts(links[:1]) == []


def test_a_clock_nobody_vouched_for_holds_nothing_up_once_somebody_does_again():
    chain = StreamChain()
    links = [link(0, 0, trusted=True), link(1, 10 * S), link(2, 20 * S)]
    for before, one in zip([None, *links], links, strict=False):
        chain.add(one._replace(prev=before.identity if before else ""))
    end = TRUE + 10 * S
    assert chain.walk(TRUE - S, end)[0] is Closure.CLOCK
    chain.add(link(3, 30 * S, trusted=True)._replace(prev=links[2].identity))
    assert chain.closing(end).seq == 3
    assert chain.walk(TRUE - S, end)[0] is Closure.CLOSED
