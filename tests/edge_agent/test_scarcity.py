"""A full disk at the agent: counters and amounts are kept, gauges thinned, and it says so."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from fractions import Fraction

import pytest

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.scarcity import GIVEN_UP, THINNED, Scarcity
from edge_agent.source import RawReading
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.column import column_times
from mrv.envelope import Clock, ClockState, parse
from mrv.verification.note import SecretKey, split

S = 10**9
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")
KINDS = {
    "m.energy": ChannelKind.COUNTER,
    "m.power": ChannelKind.GAUGE,
    "w.weight": ChannelKind.AMOUNT,
}


def made(folder, **more):
    channels = tuple(
        Channel(
            name,
            kind,
            name[0],
            "",
            name[2:],
            Fraction(1),
            "kWh",
            Fraction(1),
            "",
            AssuranceTier.AGENT_SIGNED,
        )
        for name, kind in sorted(KINDS.items())
    )
    table = ChannelTable("s", "a", channels)
    outbox = Outbox(folder / "outbox.db")
    streams = dict.fromkeys(KINDS, "l")
    return outbox, Agent(
        table, streams, SecretKey.generate("a"), outbox, lambda: CLOCK, now=lambda: S, **more
    )


class Told:
    """What the agent tells for its retained state."""

    def __init__(self):
        self.facts = {}

    def tell(self, **facts):
        self.facts.update(facts)

    def committed(self):
        self.facts["committed"] = True


def second(agent, n, weigh=False):
    rows = [RawReading("m.energy", n * S, 0, 3 * n), RawReading("m.power", n * S, 0, n)]
    if weigh:
        rows.append(RawReading("w.weight", n * S, 0, 50, tag=f"b{n}"))
    agent.add(rows)
    agent.flush()


def contents(outbox):
    """({channel: {t: v}}, events) of everything in the outbox; the chain must be whole."""
    values: dict[str, dict[int, int]] = {}
    events, prev = [], ""
    for message in outbox.everything():
        if not message.stream:
            continue
        envelope = parse(split(message.note)[0])
        assert envelope.prev == prev
        prev = message.identity
        events += envelope.ev
        for column in envelope.cols:
            held = values.setdefault(column.ch, {})
            held.update(zip(column_times(column), column.v, strict=True))
    return values, events


def test_while_the_disk_is_full_no_counter_and_no_amount_is_lost_and_gauges_are_thinned(tmp_path):
    outbox, agent = made(tmp_path)
    agent.publisher = told = Told()
    for n in range(10):
        second(agent, n)
    outbox.limit_pages(1)
    for n in range(10, 400):
        second(agent, n, weigh=n % 50 == 0)
    assert told.facts["storage"] == "full"
    assert told.facts["dropped"] == agent.dropped > 0
    outbox.limit_pages(1_000_000)
    for n in range(400, 410):
        second(agent, n)
    assert told.facts["storage"] is None
    values, events = contents(outbox)
    assert values["m.energy"] == {n * S: 3 * n for n in range(410)}
    assert sorted(values["w.weight"]) == [n * S for n in range(50, 400, 50)]
    powers = values["m.power"]
    assert len(powers) + agent.dropped == 410
    during = [t for t in powers if 20 * S < t < 400 * S]
    assert all(b - a >= 60 * S for a, b in itertools.pairwise(during))
    assert len(during) == 6
    (gap,) = [e for e in events if e.kind == "gap"]
    assert (gap.channel, gap.reason) == ("m.power", THINNED)
    missing = {n * S for n in range(410)} - set(powers)
    assert (gap.t, gap.end) == (min(missing), max(missing))
    outbox.close()


def test_beyond_what_memory_bounds_allow_a_counter_becomes_a_signed_gap(tmp_path):
    outbox, agent = made(tmp_path, memory_bytes=40_000)
    outbox.limit_pages(1)
    for n in range(1, 300):
        second(agent, n, weigh=n in (250, 299))
    assert agent._waiting < 80_000
    outbox.limit_pages(1_000_000)
    second(agent, 300)
    second(agent, 301)
    values, events = contents(outbox)
    gaps = {e.channel: e for e in events if e.kind == "gap"}
    gap = gaps["m.energy"]
    assert gap.reason == GIVEN_UP
    lost = {n * S for n in range(1, 302)} - set(values["m.energy"])
    assert lost == {n * S for n in range(gap.t // S, gap.end // S + 1)}
    assert 302 * S not in lost
    assert values["m.energy"][301 * S] == 903
    assert set(values["w.weight"]) == {250 * S, 299 * S}, "an amount is kept for longer"
    outbox.close()


def test_what_is_given_up_is_counted_and_stated_once():
    scarcity = Scarcity(KINDS, memory_bytes=100)
    power = [RawReading("m.power", t * S, 0, 1) for t in range(100)]
    kept = [r.t // S for r in power if scarcity.keeps(r, 0)]
    assert kept == [0, 60]
    assert not scarcity.keeps(RawReading("m.energy", 7 * S, 0, 1), 100)
    assert scarcity.keeps(RawReading("w.weight", 7 * S, 0, 1), 199)
    assert not scarcity.keeps(RawReading("w.weight", 7 * S, 0, 1, length=2 * S), 200)
    assert (scarcity.thinned, scarcity.given_up) == (98, 2)
    stated = {channel: (e.t, e.end) for channel, e in scarcity.over()}
    assert stated == {
        "m.power": (S, 99 * S),
        "m.energy": (7 * S, 7 * S + 1),
        "w.weight": (7 * S, 9 * S),
    }
    assert scarcity.over() == []


@pytest.fixture
def small(tmp_path):
    """A file system of six megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)],
            check=False,
            capture_output=True,
        ).returncode
    ):
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_file_system_that_is_really_full_loses_no_counter_reading(small):
    outbox, agent = made(small)
    ballast = small / "ballast"
    for n in range(20):
        second(agent, n)
    with pytest.raises(OSError, match="space"):
        fill(ballast)
    for n in range(20, 320):
        second(agent, n)
    assert agent.refused > 0
    ballast.unlink()
    second(agent, 320)
    assert agent.refused == 0
    values, events = contents(outbox)
    assert values["m.energy"] == {n * S: 3 * n for n in range(321)}
    assert {e.reason for e in events if e.kind == "gap"} == {THINNED}
    outbox.close()
