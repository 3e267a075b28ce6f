"""What the tests of Modbus share: profiles, a clock that stands, load curves."""

from __future__ import annotations

from device_profiles.loading import load_profile
from edge_agent.load_curve import LoadCurve
from mrv.interval import NS_PER_S

T0 = 1_700_000_000 * NS_PER_S
HOUR = 3600 * NS_PER_S
SDM, ADL = load_profile("eastron/sdm630"), load_profile("acrel/adl400")
ADL2, GAS = load_profile("acrel/adl400_secondary"), load_profile("fuxin/gas_corrector")


class Clock:
    def __init__(self, t: int) -> None:
        self.t = t

    def __call__(self) -> int:
        return self.t


def curve(seed: int = 1) -> LoadCurve:
    return LoadCurve(seed, base=20_000, swing=5_000, origin=T0)


def by_channel(readings):
    return {r.channel: r for r in readings}
