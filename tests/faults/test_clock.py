"""A clock that is wrong at boot or set by an hour, through a real site: nothing lost, all told."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from footprint.plant_reading import read_plant
from footprint.verify import verify
from ingest.broker import find_mosquitto
from ingest.bundler import make_bundle
from ingest.entry import EntryKind
from meterprint.live import LiveSite
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.column import column_times
from mrv.envelope import Clock, ClockState, parse
from mrv.quantity import exact_number
from mrv.verification.note import SecretKey, split
from tests.conftest import missing
from tests.faults.drilled_site import FACTOR, PLANT
from tests.faults.processes import SITE

pytestmark = [pytest.mark.slow, pytest.mark.broker]
S = 10**9
HOUR = 3600 * S
TRUE = 1_700_000_000 * S
"""True time when the machine's monotonic clock showed 0."""
GOOD = Clock(ClockState.SYNCHRONISED, 5, "ntp")
DOUBTED = Clock(ClockState.INFORMATIVE, 1000, "system")
EVERY = 10 * S
READINGS = 700
NAMES = ("early", "struck", "late")
WRONG = {
    "boot": (range(12), -TRUE),
    "ahead": (range(300, 306), HOUR + 123_456_789),
    "back": (range(400, 406), -HOUR - 987_654_321),
}
"""Readings taken under a wrong clock, and how wrong it was."""


class Machine:
    """A gateway whose wall clock can be wrong; the kernel trusts it only when it is right."""

    def __init__(self, wrong):
        self.wrong = wrong
        self.mono = 0
        self.place = 0

    @property
    def error(self):
        return next((off for places, off in self.wrong.values() if self.place in places), 0)

    def now(self):
        return TRUE + self.mono + self.error

    def clock(self):
        return DOUBTED if self.error else GOOD

    def read(self):
        self.mono += EVERY
        reading = RawReading("m.energy", self.now(), self.mono, 3 * self.place)
        self.place += 1
        return reading


def run(folder, wrong):
    """(readings held by the journal, findings by rule, figures by batch) of one run."""
    plant, faults = read_plant(PLANT)
    assert faults == []
    site = open_site(folder / "state", SITE)
    site.state_plant(PlantFile(folder, plant, PLANT, (("x", (FACTOR,)),), ()), 0)
    live = LiveSite(site)
    key = SecretKey.generate("a")
    site.enrol_agent(key.public)
    row = Channel(
        "m.energy",
        ChannelKind.COUNTER,
        "m",
        "m",
        "energy",
        exact_number("0.01"),
        "kWh",
        exact_number("1"),
        "",
        AssuranceTier.AGENT_SIGNED,
    )
    machine = Machine(wrong)
    outbox = Outbox(folder / "outbox.db")
    agent = Agent(
        ChannelTable(SITE, "a", (row,)),
        {"m.energy": "l"},
        key,
        outbox,
        machine.clock,
        machine.now,
        lambda: machine.mono,
    )
    for place in range(READINGS):
        agent.add([machine.read()])
        if place % 10 == 7:
            agent.flush()
    agent.flush()
    broker = live.broker
    publisher = Publisher(
        outbox,
        SITE,
        "a",
        site.keyring.receipts.public,
        broker.port,
        username=broker.username,
        password=broker.password,
    )
    assert publisher.drained.wait(60)
    publisher.stop()
    outbox.close()
    for name, first, last in (("early", 30, 290), ("struck", 296, 320), ("late", 520, 640)):
        base = {"line": "l", "batch": name}
        start, end = TRUE + first * EVERY, TRUE + last * EVERY
        event = {**base, "id": f"s{name}", "event": "start", "product": "p", "t": str(start)}
        site.events.take(event, "test")
        event = {**base, "id": f"e{name}", "event": "end", "good": "7", "t": str(end)}
        site.events.take(event, "test")
    pause = threading.Event()
    for _ in range(600):
        if site.engine.reading_count >= READINGS:
            break
        pause.wait(0.05)
    live.close()
    site.refresh()
    held: Counter[tuple[int, int]] = Counter()
    for entry in site.journal.entries():
        if entry.kind is EntryKind.ENVELOPE:
            for column in parse(split(entry.note)[0]).cols:
                held.update(zip(column_times(column), column.v, strict=True))
    found: dict[str, list[dict[str, str]]] = {}
    for finding in site.engine.findings():
        found.setdefault(finding.rule, []).append(dict(finding.numbers))
    results = {name: site.engine.results[name] for name in NAMES}
    for name in NAMES:
        data = make_bundle(site.journal, site.keyring, site.engine.engine, name)
        verdict = verify(data, site.keyring.root.public)
        assert verdict.ok, (name, [c for c in verdict.checks if c.result != "pass"])
    site.engine.seal()
    site.close()
    assert digests_of(folder, rebuilt=False) == {n: r.digest() for n, r in results.items()}
    assert digests_of(folder, rebuilt=True) == {n: r.digest() for n, r in results.items()}
    return held, found, results


def digests_of(folder, *, rebuilt):
    """Digests after a new start, from what was sealed or from the journal alone."""
    site = open_site(folder / "state")
    if rebuilt:
        site.engine.rebuild()
    site.refresh()
    found = {}
    for name in NAMES:
        fresh = site.engine.engine.batch(name)
        assert fresh.digest() == site.engine.results[name].digest()
        found[name] = fresh.digest()
    site.close()
    return found


def test_a_wrong_clock_loses_nothing_is_told_with_true_times_and_holds_nothing_up(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    (tmp_path / "calm").mkdir()
    (tmp_path / "wrong").mkdir()
    calm, calm_found, calm_results = run(tmp_path / "calm", {})
    held, found, results = run(tmp_path / "wrong", WRONG)

    assert not {"clock_step", "clock_mended"} & set(calm_found)
    assert len(calm) == len(held) == READINGS
    assert set(held.values()) == {1}, "nothing stands twice"
    assert {v for _, v in held} == {v for _, v in calm}, "nothing is lost"
    signed = {v // 3: t for t, v in held}
    for places, off in WRONG.values():
        for place in places:
            assert signed[place] == TRUE + (place + 1) * EVERY + off, "the stamp stays as signed"

    assert len(found["clock_step"]) == 5
    told = {int(n["offset_ns"]): n for n in found["clock_mended"]}
    assert set(told) == {-off for _, off in WRONG.values()}
    for places, off in WRONG.values():
        numbers = told[-off]
        first = TRUE + (places[0] + 1) * EVERY if places[0] else TRUE  # the start of the agent
        assert int(numbers["true_from"]) == first
        assert int(numbers["true_to"]) == TRUE + (places[-1] + 1) * EVERY
        assert int(numbers["signed_from"]) == int(numbers["true_from"]) + off

    assert {r.state.value for r in results.values()} == {"final"}
    for name, result in results.items():
        assert result.digest() == calm_results[name].digest(), name
