"""Windows of the two lanes, and patience where no receipt comes, by a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.lanes import (
    BACKLOG_MESSAGES,
    FIRST_BYTES,
    LIVE_MESSAGES,
    LONGEST_S,
    MOST_BYTES,
    PARKED_S,
    RESEND_S,
    SLOW_S,
    Lanes,
)


class Clock:
    t = 100.0

    def __call__(self) -> float:
        return self.t


def lanes():
    clock = Clock()
    return clock, Lanes(clock)


def test_a_full_backlog_leaves_room_for_live_and_the_other_way_round():
    _, made = lanes()
    row = 0
    while made.backlog_room():
        row += 1
        made.sent(row, 10_000, live=False)
    assert FIRST_BYTES <= 10_000 * row < FIRST_BYTES + 10_000
    while made.live_room():
        row += 1
        made.sent(row, 100, live=True)
    assert not made.backlog_room()
    made.freed([1])
    assert made.backlog_room()
    assert not made.live_room()


def test_quick_receipts_open_the_window_and_late_ones_close_it():
    clock, made = lanes()
    row = 0
    for _ in range(200):
        first = row
        while made.backlog_room():
            row += 1
            made.sent(row, 20_000, live=False)
        clock.t += 0.05
        made.freed(range(first + 1, row + 1))
    assert made.window == MOST_BYTES
    made.sent(row + 1, 20_000, live=False)
    made.sent(row + 2, 20_000, live=False)
    clock.t += SLOW_S + 0.1
    assert not made.backlog_room()
    made.freed([row + 1, row + 2])
    assert made.window == MOST_BYTES // 2


def test_a_thin_line_is_not_filled_for_long():
    """30 kB/s: what lies between the agent and the site stays below a few seconds."""
    clock, made = lanes()
    waiting: list[int] = []
    row, most, credit = 0, 0, 0.0
    for _ in range(4000):
        while made.backlog_room():
            row += 1
            made.sent(row, 10_000, live=False)
            waiting.append(row)
        most = max(most, len(waiting))
        clock.t += 0.05
        credit = min(credit + 30_000 * 0.05, 10_000)
        if waiting and credit >= 10_000:
            credit -= 10_000
            made.freed([waiting.pop(0)])
    assert most * 10_000 / 30_000 < 3
    assert row > 4000 * 0.05 * 3 * 0.8


def test_without_any_receipt_one_message_asks_ever_less_often():
    clock, made = lanes()
    for row in range(1, 300):
        made.sent(row, 10, live=row % 2 == 0)
    again = []
    for _ in range(3600 * 2):
        clock.t += 0.5
        again += [(clock.t, row) for row in made.again()]
    assert {row for _, row in again} == {1}
    assert len(again) <= 6 + 3600 / LONGEST_S
    made.freed([1])
    assert set(made.again()) == set(range(2, 52)), "a sign of life: what is late goes out again"


def test_a_message_nobody_takes_is_parked_and_in_nobodys_way():
    clock, made = lanes()
    made.sent(1, 64_000, live=False)
    made.sent(2, 10, live=True)
    seen, row = [], 10
    while clock.t < 200:
        clock.t += 0.5
        made.sent(row, 10, live=True)
        made.freed([row])
        seen += [r for r in made.again() if r == 1]
        row += 1
    assert PARKED_S < 100
    assert 4 <= len(seen) <= 7
    assert made.backlog_room()
    assert 1 in made
    made.freed([1, 2])
    assert len(made) == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.booleans()), max_size=200))
def test_counts_never_leak_whatever_happens(acts):
    clock, made = lanes()
    for act, row, live in acts:
        if act == 0 and row not in made:
            made.sent(row, 1000, live=live)
        elif act == 1:
            made.freed([row])
        elif act == 2:
            made.forget([row])
        elif act == 3:
            clock.t += row
        else:
            made.again()
    made.forget(range(41))
    assert len(made) == 0
    for row in range(LIVE_MESSAGES):
        assert made.live_room()
        made.sent(100 + row, 1, live=True)
    assert not made.live_room()
    for row in range(BACKLOG_MESSAGES):
        assert made.backlog_room()
        made.sent(1000 + row, 1, live=False)
    assert not made.backlog_room()
    assert RESEND_S < LONGEST_S
