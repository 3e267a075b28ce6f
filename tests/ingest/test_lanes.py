"""Lanes: bounded, served in turn, and a full one holds up nobody but its own."""

from __future__ import annotations

import itertools
import threading

from hypothesis import given
from hypothesis import strategies as st

from ingest.lanes import ITEM_BYTES, Lanes

PUTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=40)


def drained(lanes, most=1000):
    return lanes.take(most, idle=0, share=0)


@given(PUTS, st.integers(1, 7))
def test_each_lane_keeps_its_order_and_none_is_served_twice_before_another(puts, most):
    lanes = Lanes()
    for place, (name, _) in enumerate(puts):
        lanes.put(name, (name, place), 1)
    taken = []
    while group := drained(lanes, most):
        taken += group
    assert sorted(place for _, place in taken) == list(range(len(puts)))
    left = {name: [p for p, (n, _) in enumerate(puts) if n == name] for name in "abc"}
    for name in "abc":
        assert [place for n, place in taken if n == name] == left[name]
    for at, (name, _) in enumerate(taken):
        since = next((i for i in range(at - 1, -1, -1) if taken[i][0] == name), None)
        if since is not None:
            between = {n for n, _ in taken[since + 1 : at]}
            later = {n for n, _ in taken[at:]} - {name}
            assert later <= between  # whoever still has something had a turn in between


@given(st.integers(1, 5), st.integers(1, 50))
def test_a_quiet_lane_is_served_in_the_first_round_whatever_the_others_hold(others, held):
    lanes = Lanes()
    for other in range(others):
        for _ in range(held):
            lanes.put(f"flood-{other}", "flood", 1)
    lanes.put("quiet", "quiet", 1)
    assert "quiet" in drained(lanes, others + 1)


def fill(lanes, name, count, size=1):
    """Put from a thread of its own; the thread."""
    thread = threading.Thread(
        target=lambda: [lanes.put(name, place, size) for place in range(count)], daemon=True
    )
    thread.start()
    return thread


def await_waiting(lanes, expected):
    pause = threading.Event()
    for _ in range(2000):
        if sum(lanes.waiting().values()) == expected:
            return
        pause.wait(0.005)
    raise AssertionError(f"{lanes.waiting()}, not {expected} in all")


def test_a_full_lane_holds_back_its_own_agent_and_no_other():
    lanes = Lanes(lane_messages=3)
    thread = fill(lanes, "flood", 10)
    await_waiting(lanes, 3)
    assert lanes.put("quiet", "q", 1)
    assert drained(lanes, 2) == [0, "q"]
    await_waiting(lanes, 3)
    taken = []
    while len(taken) < 9:
        taken += lanes.take(2, idle=5, share=0)
    thread.join(5)
    assert taken == list(range(1, 10))


def test_lanes_are_bounded_in_bytes_and_together_but_an_empty_one_lets_one_in():
    lanes = Lanes(lane_bytes=100, total_bytes=150 + 2 * ITEM_BYTES)
    first, second = fill(lanes, "a", 4, 40), fill(lanes, "b", 4, 40)
    await_waiting(lanes, 3)
    assert lanes.put("c", "huge", 1000)
    while sum(lanes.waiting().values()) or first.is_alive() or second.is_alive():
        lanes.take(1, idle=0.05, share=0)
    assert lanes.waiting() == {}


def test_closing_wakes_whoever_waits():
    lanes = Lanes(lane_messages=1)
    results = []
    assert lanes.put("a", 1, 1)
    waiter = threading.Thread(target=lambda: results.append(lanes.put("a", 2, 1)))
    waiter.start()
    lanes.close()
    waiter.join(5)
    assert results == [False]
    assert lanes.take(1, idle=60, share=60) is None


def test_many_names_do_not_make_room_without_end():
    """A stranger may give each message a name of its own: past the bound every put waits."""
    cost = 1000 + ITEM_BYTES
    lanes = Lanes(total_bytes=6 * cost, spare_bytes=4 * cost)
    names = itertools.count()
    thread = threading.Thread(
        target=lambda: [lanes.put(f"name-{next(names)}", "x", 1000) for _ in range(50)], daemon=True
    )
    thread.start()
    await_waiting(lanes, 10)
    assert not threading.Event().wait(0.05)
    assert len(lanes) == 10
    taken = []
    while len(taken) < 50:
        some = lanes.take(7, idle=5, share=0)
        assert some
        assert len(lanes) <= 10
        taken += some
    thread.join(5)
    assert not thread.is_alive()
