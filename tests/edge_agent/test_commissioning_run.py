"""A device watched while it is commissioned, over its real protocol, an hour in a moment."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from fractions import Fraction

import pytest

from device_profiles.loading import load_profile
from edge_agent.commissioning_run import judge, pair, watch
from edge_agent.device_commands import default_instrument, open_source, simulated
from edge_agent.instrument import Instrument
from mrv.errors import InputError


class Hurried:
    """A clock that is put forward by ten minutes at each pause."""

    def __init__(self):
        self.ahead = 0

    def now(self):
        return time.time_ns() + self.ahead

    async def pause(self):
        self.ahead += 600 * 10**9


def watched(name):
    clock = Hurried()

    async def run():
        async with simulated([default_instrument(name)], now=clock.now) as simulator:
            profile = load_profile(name)
            source = open_source(
                f"tcp://127.0.0.1:{simulator.port}", [Instrument("device", profile, "1")]
            )
            return profile, *await watch(source, 13, clock.pause, clock.now)

    return asyncio.run(run())


def test_a_counter_and_a_power_that_belong_together_agree():
    profile, samples, failed = watched("eastron/sdm630")
    found = judge(profile, pair(profile), samples, failed, {})
    assert (found.ok, found.readings, found.failed) == (True, 13, 0), found.findings


@pytest.mark.parametrize(
    ("factor", "ratios", "rule", "label"),
    [
        (Fraction(10), {}, "commissioning_scale", "x1/10"),
        (Fraction(1, 100), {}, "commissioning_scale", "x100"),
        (Fraction(40), {"ct": Fraction(40)}, "commissioning_wrong_side", "x1/ct"),
    ],
)
def test_a_wrong_scale_or_side_is_named(factor, ratios, rule, label):
    profile, samples, failed = watched("eastron/sdm630")
    names = pair(profile)
    registers = tuple(
        dataclasses.replace(r, resolution=r.resolution * factor) if r.name == names[1] else r
        for r in profile.registers
    )
    wrong = dataclasses.replace(profile, registers=registers)
    found = judge(wrong, names, samples, failed, ratios)
    assert (rule, label) in {(f.rule, dict(f.numbers).get("mistake")) for f in found.findings}


def test_a_device_without_a_power_beside_its_counter_is_told():
    with pytest.raises(InputError, match="no counter"):
        pair(load_profile("mettler_toledo/mt_sics"))
