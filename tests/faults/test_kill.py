"""kill -9 of agent, broker, ingest and influxd: 0 lost, 0 double, the same footprint.

The oracle is the counter: every reading's value and time tell its number, and every envelope's
signature covers them.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from ingest.broker import find_mosquitto
from ingest.series_influx import InfluxStore
from meterprint.site import open_site
from mrv.series import SeriesKey
from scripts.influxd_builds import influxd_path
from tests.conftest import missing
from tests.faults.drilled_plant import Plant
from tests.faults.drilled_site import (
    BATCHES,
    expected,
    outcome,
    prepare,
    readings_in,
)
from tests.faults.figures import Progress, reached
from tests.faults.influx import DATABASE, Influxd
from tests.faults.processes import AGENT, CHANNEL, SITE, STEP_NS, STREAM, Role

KILLS = int(os.environ.get("METERPRINT_KILLS", "24"))
"""Kills in all, of the four in turn."""
TOTAL = int(os.environ.get("METERPRINT_KILL_READINGS", "20000"))
EACH = int(os.environ.get("METERPRINT_KILL_EACH", "40"))
"""Readings of one envelope."""


def storm(plant: Plant, kills: int, envelopes: int, choice: random.Random) -> Counter[str]:
    """Kill one of the four at a time, at random moments along the way; how often each."""
    done: Counter[str] = Counter()
    targets = ["agent", "broker", "ingest", *(["influxd"] if plant.influx else [])]
    moments = sorted(choice.randrange(envelopes * 19 // 20) for _ in range(kills))
    progress = Progress("kills", kills)
    for number, moment in enumerate(moments):
        while plant.held() < moment and not plant.done(0.005):
            continue
        if plant.done(choice.random() * 0.05):
            break
        target = targets[number % len(targets)]
        plant.kill(target)
        plant.start(target)
        done[target] += 1
        progress.at(number + 1)
    return done


def in_influx(influx: Influxd, total: int) -> Counter[tuple[str, int, int]]:
    """What is in InfluxDB."""
    store = InfluxStore(influx.url, DATABASE, SITE)
    key = SeriesKey(AGENT, STREAM, CHANNEL)
    seen: Counter[tuple[str, int, int]] = Counter()
    for start in range(0, total, 50_000):
        part = store.read(key, start * STEP_NS, min(start + 50_000, total) * STEP_NS)
        seen.update((CHANNEL, t, v) for t, v in zip(part.t, part.v, strict=True))
    assert list(store.keys()) == [key]
    beyond = store.read(key, total * STEP_NS, 2**62)
    assert len(beyond) == 0
    store.close()
    return seen


def calm_digests(folder: Path, total: int, each: int) -> dict[str, str]:
    """Digests of the run nobody disturbs."""
    state = folder / "calm"
    prepare(state, total)
    plant = Plant(folder, Role("agent", str(state), 0, total, each))
    try:
        plant.finish()
    finally:
        plant.stop()
    found = outcome(state)
    assert found.seen == expected(total)
    assert len(found.digests) == BATCHES
    return found.digests


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.influx
def test_kills_lose_nothing_double_nothing_and_change_no_figure(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    if not influxd_path().exists():
        missing("influxd")
    calm = calm_digests(tmp_path, TOTAL, EACH)
    state = tmp_path / "stormy"
    prepare(state, TOTAL)
    influx = Influxd(influxd_path(), tmp_path / "influx")
    started = time.monotonic()
    plant = Plant(tmp_path, Role("agent", str(state), 0, TOTAL, EACH), influx)
    try:
        kills = storm(plant, KILLS, TOTAL // EACH, random.Random(20261124))
        plant.finish()
        reached("seconds of kills", round(time.monotonic() - started))
        plant.stop()
        seen = outcome(state)
        projected = in_influx(influx, TOTAL)
    finally:
        plant.stop()
        influx.stop()
    assert kills.total() == KILLS
    assert len(kills) == 4
    assert seen.seen == expected(TOTAL)
    assert projected == seen.seen
    assert seen.digests == calm
    reached("kills", KILLS)
    reached("readings under kills", TOTAL)


def both_down(folder: Path, role: str, total: int) -> Counter[tuple[str, int, int]]:
    """Ingest is killed, the agent goes on publishing, then the broker is killed; what is held."""
    state = folder / "state"
    prepare(state, total)
    plant = Plant(folder, Role(role, str(state), 0, total, 20))
    try:
        while plant.held() < 10 and not plant.done(0.01):
            pass  # who frees by PUBACK may be done before ingest has begun
        plant.kill("ingest")
        seen = plant.held()
        while plant.cut() < seen + 30 and not plant.waits():
            if plant.done(0.01):
                break
        plant.kill("broker")
        plant.start("broker")
        plant.start("ingest")
        plant.finish()
        if role == "puback_agent":  # it has been told of no loss; let ingest take what there is
            quiet_since, last = time.monotonic(), -1
            while time.monotonic() - quiet_since < 3:
                if (now := plant.held()) != last:
                    quiet_since, last = time.monotonic(), now
                plant.done(0.05)
    finally:
        plant.stop()
    site = open_site(state)
    found = readings_in(site.journal)
    site.close()
    return found


@pytest.mark.slow
@pytest.mark.broker
def test_the_harness_finds_the_loss_of_an_agent_that_frees_its_outbox_by_puback(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    total = 10_000
    honest = both_down(tmp_path / "honest", "agent", total)
    assert honest == expected(total)
    careless = both_down(tmp_path / "careless", "puback_agent", total)
    lost = expected(total) - careless
    assert lost.total() >= 20  # at least an envelope
    assert careless - expected(total) == Counter()
