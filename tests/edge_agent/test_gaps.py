"""Gaps an agent states, and what the kernel says of its clock."""

from __future__ import annotations

from edge_agent.clock import kernel_clock, system_clock
from edge_agent.gaps import STATE_EVERY_NS, GapWatch
from edge_agent.source import RawReading

MINUTE = 60 * 10**9


def failing(minute, channel="m.e", v=None):
    return RawReading(channel, minute * MINUTE, 0, v, "" if v is not None else "timeout")


def test_a_register_that_fails_for_long_is_stated_and_again_until_it_answers():
    watch = GapWatch(["m.e"])
    stated = [event for n in range(50) for _, event in watch.watch([failing(n)])]
    assert [(e.t // MINUTE, e.end // MINUTE) for e in stated] == [(0, 15), (0, 30), (0, 45)]
    assert {(e.kind, e.channel, e.reason) for e in stated} == {("gap", "m.e", "timeout")}
    assert watch.watch([failing(50, v=7)]) == []
    assert watch.watch([failing(51), failing(60)]) == []
    assert watch.watch([failing(66)])[0][1].t == 51 * MINUTE


def test_a_short_failure_and_a_gauge_state_nothing():
    watch = GapWatch(["m.e"], STATE_EVERY_NS)
    assert watch.watch([failing(0), failing(14)]) == []
    assert watch.watch([failing(0, "m.power"), failing(99, "m.power")]) == []


def test_an_unsynchronised_kernel_clock_is_never_called_synchronised():
    known, clock = kernel_clock(), system_clock()
    assert clock.error_ms >= 0
    if known is not None and not known[0]:
        assert not clock.state.trusted or clock.source == "ntp"
