"""Watches a device for a while and runs the commissioning check on what it showed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from device_profiles.profile import Profile
from edge_agent.commissioning import PER_HOUR, Watched, check
from edge_agent.device_commands import open_profile, open_source
from edge_agent.instrument import Instrument
from edge_agent.source import Source
from mrv.channel import ChannelKind
from mrv.errors import InputError
from mrv.finding import Finding
from mrv.series import Sample


@dataclass(frozen=True, slots=True)
class Commissioning:
    """What `device commission` found."""

    counter: str
    """Register of the counter."""
    rate: str
    """Register of its power or flow."""
    readings: int
    """Good readings of the counter."""
    failed: int
    """Failed readings of either."""
    findings: tuple[Finding, ...]
    """Empty: both agree."""

    @property
    def ok(self) -> bool:
        """Whether counter and power agree."""
        return not self.findings


def pair(profile: Profile, counter: str = "", rate: str = "") -> tuple[str, str]:
    """The counter and the power or flow to compare it with; those not named are looked for.

    Raises InputError where the profile has no such pair.
    """
    counters = [r for r in profile.registers if r.kind is ChannelKind.COUNTER]
    rates = [r for r in profile.registers if r.kind is ChannelKind.GAUGE]
    for c in counters:
        for r in rates:
            if counter in ("", c.name) and rate in ("", r.name) and (r.unit, c.unit) in PER_HOUR:
                return c.name, r.name
    names = ", ".join(r.name for r in (*counters, *rates))
    raise InputError(
        f"{profile.id} has no counter with a power or flow beside it",
        field="register",
        hint=f"its registers: {names}; name them by --counter and --rate",
    )


async def watch(
    source: Source,
    sweeps: int,
    pause: Callable[[], Awaitable[None]],
    clock: Callable[[], int] = time.time_ns,
) -> tuple[dict[str, list[Sample]], int]:
    """Good samples of each register over `sweeps` sweeps, and the number of failed readings."""
    samples: dict[str, list[Sample]] = {}
    failed = 0
    async with source:
        for place in range(sweeps):
            if place:
                await pause()
            before = clock()
            readings = await source.sweep()
            at = (before + clock()) // 2
            for reading in readings:
                if reading.v is None:
                    failed += 1
                else:
                    name = reading.channel.partition(".")[2]
                    samples.setdefault(name, []).append(Sample(at, reading.v))
    return samples, failed


def judge(
    profile: Profile,
    names: tuple[str, str],
    samples: Mapping[str, Sequence[Sample]],
    failed: int,
    ratios: Mapping[str, Fraction],
) -> Commissioning:
    """The commissioning check on what was watched."""
    counter, rate = (
        Watched(samples.get(name, ()), register.resolution, register.unit, register.modulus)
        for name in names
        for register in (profile.register(name),)
    )
    findings = check(f"{profile.id}.{names[0]}", counter, rate, ratios)
    return Commissioning(*names, len(counter.samples), failed, findings)


def commission(
    name: str,
    url: str,
    unit: str = "1",
    *,
    counter: str = "",
    rate: str = "",
    seconds: float = 120,
    every: float = 1,
    ratios: Mapping[str, Fraction] | None = None,
) -> Commissioning:
    """Watch a device for `seconds`, a sweep `every` s, and compare its counter with its power.

    `ratios` names the installation's transformer ratios: {"ct": 40, "pt": 100}.
    """
    profile = open_profile(name)
    names = pair(profile, counter, rate)
    source = open_source(url, [Instrument("device", profile, unit, names)])
    sweeps = max(int(seconds / every) + 1, 2)
    samples, failed = asyncio.run(watch(source, sweeps, lambda: asyncio.sleep(every)))
    return judge(profile, names, samples, failed, ratios or {})
