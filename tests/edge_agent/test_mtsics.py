from __future__ import annotations

import asyncio

import pytest

from device_profiles.loading import load_profile
from edge_agent.byte_link import ByteLine
from edge_agent.golden import decode_weight
from edge_agent.instrument import Instrument
from edge_agent.load_curve import WeighCycle
from edge_agent.mtsics_reply import parse_text
from edge_agent.simulator import Faults, SimulatedInstrument
from edge_agent.simulator_mtsics import MtSicsSimulator
from edge_agent.source_mtsics import LoadDetector, MtSicsSource
from mrv.interval import NS_PER_S, Interval

T0 = 1_700_000_000 * NS_PER_S
WEIGHER = load_profile("mettler_toledo/mt_sics")
CYCLE = WeighCycle(5, mean=25_000, spread=300, origin=T0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("S S      12.34 kg", (1234, "")),
        ("S S     -12.34 kg", (-1234, "")),
        ("S D      12.34 kg", (None, "dynamic")),
        ("S S      12.34 g", (None, "other_unit")),
        ("S S      12.345 kg", (None, "off_grid")),
        ("S S      1x.34 kg", (None, "not_decimal")),
        ("S +", (None, "overload")),
        ("S -", (None, "underload")),
        ("S I", (None, "busy")),
        ("ES", (None, "not_understood")),
        ("", (None, "not_understood")),
    ],
)
def test_a_reply_is_a_weight_or_says_why_not(line, expected):
    assert decode_weight(WEIGHER.register("weight"), line) == expected


def test_a_serial_number_is_read_between_its_quotes():
    assert parse_text('I4 A "0123456789"', "I4") == "0123456789"
    assert parse_text("ES", "I4") is None


def test_a_load_counts_once_and_only_after_the_weigher_was_empty():
    detector = LoadDetector(10)
    seen = [detector.see(v) for v in (500, 0, 500, 501, 5, 700, 700, 0, 0, 3)]
    assert seen == [False, False, True, False, False, True, False, False, False, False]


class Clock:
    t = T0

    def __call__(self) -> int:
        return self.t


def test_every_load_becomes_one_amount_with_its_batch():
    async def run():
        clock = Clock()
        device = SimulatedInstrument(WEIGHER, CYCLE, serial="B123")
        instrument = Instrument("w1", WEIGHER)
        seen = []
        async with MtSicsSimulator(device, now=clock) as simulator:
            line = ByteLine(port=simulator.port)
            batch = lambda: f"batch-{(clock.t - T0) // (20 * NS_PER_S)}"  # noqa: E731
            async with MtSicsSource("w", line, instrument, tag=batch, now=clock) as source:
                assert await source.identify() == "B123"
                while clock.t < T0 + 40 * NS_PER_S:
                    seen += await source.sweep()
                    clock.t += NS_PER_S
        assert [r.v for r in seen] == [CYCLE.mass(n) for n in range(4)]
        assert [r.tag for r in seen] == ["batch-0", "batch-0", "batch-1", "batch-1"]
        assert {r.channel for r in seen} == {"w1.weight"}
        assert seen[0].raw.startswith(b"S S ")

    asyncio.run(run())


def test_a_silent_weigher_is_said_once_and_the_next_load_is_weighed():
    async def run():
        clock = Clock()
        gap = Interval(T0 + 10 * NS_PER_S, T0 + 15 * NS_PER_S)
        device = SimulatedInstrument(WEIGHER, CYCLE, faults=Faults(silent=(gap,)))
        seen = []
        async with MtSicsSimulator(device, now=clock) as simulator:
            line = ByteLine(port=simulator.port)
            source = MtSicsSource("w", line, Instrument("w1", WEIGHER), timeout=0.1, now=clock)
            async with source:
                while clock.t < T0 + 20 * NS_PER_S:
                    seen += await source.sweep()
                    clock.t += NS_PER_S
        assert [(r.v, r.quality) for r in seen] == [
            (CYCLE.mass(0), ""),
            (None, "timeout"),
            (CYCLE.mass(1), ""),
        ]

    asyncio.run(run())
