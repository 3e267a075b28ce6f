"""kill -9 of agent, broker and ingest in turn: 0 lost, 0 double, the same footprint."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import apsw
import pytest

from footprint.plant_reading import read_plant
from ingest.broker import Mosquitto, find_mosquitto
from ingest.entry import EntryKind
from ingest.keyring import load_or_make_key
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from mrv.envelope import column_times, parse
from mrv.verification.note import split
from tests.conftest import REPO, missing
from tests.faults.processes import AGENT, SITE, readings

TOTAL = int(os.environ.get("METERPRINT_KILL_READINGS", "20000"))
KILLS = int(os.environ.get("METERPRINT_KILLS", "20"))
"""Kills of each of the three."""
PLANT = {
    "site": SITE,
    "policy": {"pool_window_s": "60", "gap_s": "60", "changeover_s": "30"},
    "lines": [{"id": "l"}],
    "products": [{"id": "p", "unit": "piece"}],
    "instruments": [
        {
            "id": "m",
            "registers": [{"id": "energy", "kind": "counter", "unit": "kWh", "resolution": "0.01"}],
        }
    ],
    "sources": [
        {"id": "e", "line": "l", "instrument": "m", "register": "energy", "factor": {"id": "f"}}
    ],
}
FACTOR = {
    "id": "f",
    "name": "f",
    "category": "x",
    "region": "",
    "valid_from": "",
    "valid_to": "",
    "value": "0.5",
    "unit": "kgCO2e/kWh",
    "gas_or_co2e": "CO2e",
    "gwp_basis": "",
    "uncertainty_pct": "5",
    "source": "",
    "source_year": "",
    "notes": "",
}


def prepare(state: Path) -> None:
    plant, faults = read_plant(PLANT)
    assert faults == []
    site = open_site(state, SITE)
    site.state_plant(PlantFile(state, plant, PLANT, (("x", (FACTOR,)),), ()), 0)
    key = load_or_make_key(state / "agents" / AGENT / "agent.key", AGENT)
    site.enrol_agent(key.public)
    for number in range(10):
        base = {"line": "l", "batch": f"b{number}"}
        start, end = (number * 180 + 30) * 10**9, (number * 180 + 170) * 10**9
        event = {**base, "id": f"s{number}", "event": "start", "product": "p", "t": str(start)}
        site.events.take(event, "test")
        event = {**base, "id": f"e{number}", "event": "end", "good": "7", "t": str(end)}
        site.events.take(event, "test")
    site.close()


def start(role: str, state: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.processes", role, str(state), str(port)]
    return subprocess.Popen([*command, str(TOTAL)], cwd=REPO)


def held(state: Path) -> int:
    db = apsw.Connection(str(state / "journal.db"), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(10_000)
    count = db.execute("SELECT count(*) FROM envelope").fetchone()[0]
    db.close()
    return count


def run(state: Path, folder: Path, kills: int) -> int:
    prepare(state)
    broker = Mosquitto(folder)
    ingest, agent = start("ingest", state, broker.port), start("agent", state, broker.port)
    choice = random.Random(20261124)
    envelopes = TOTAL // 20
    moments = sorted(choice.randrange(5, envelopes - 5) for _ in range(3 * kills))
    done = 0
    try:
        for number, moment in enumerate(moments):
            while held(state) < moment and agent.poll() is None:
                try:
                    agent.wait(timeout=0.01)
                except subprocess.TimeoutExpired:
                    continue
            if agent.poll() is not None:
                break
            target = ("agent", "broker", "ingest")[number % 3]
            if target == "broker":
                broker.kill()
                broker.start()
            elif target == "agent":
                agent.kill()
                agent.wait()
                agent = start("agent", state, broker.port)
            else:
                ingest.kill()
                ingest.wait()
                ingest = start("ingest", state, broker.port)
            done += 1
        assert agent.wait(timeout=300) == 0
    finally:
        for process in (agent, ingest):
            process.kill()
            process.wait()
        broker.stop()
    return done


def outcome(state: Path) -> tuple[Counter[tuple[str, int, int]], dict[str, str]]:
    site = open_site(state)
    seen: Counter[tuple[str, int, int]] = Counter()
    for entry in site.journal.entries():
        if entry.kind is EntryKind.ENVELOPE:
            for column in parse(split(entry.note)[0]).cols:
                for t, v in zip(column_times(column), column.v, strict=True):
                    seen[column.ch, t, v or 0] += 1
    site.refresh()
    digests = {name: result.digest() for name, result in site.engine.results.items()}
    states = {result.state.value for result in site.engine.results.values()}
    assert states <= {"final", "final_estimated"}
    assert site.journal.verify() == []
    site.close()
    return seen, digests


@pytest.mark.slow
@pytest.mark.broker
def test_kills_lose_nothing_double_nothing_and_change_no_figure(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    assert run(calm, tmp_path / "broker-calm", 0) == 0
    kills = run(stormy, tmp_path / "broker-stormy", KILLS)
    assert kills == 3 * KILLS
    expected = Counter((r.channel, r.t, r.v or 0) for r in readings(TOTAL))
    calm_seen, calm_digests = outcome(calm)
    stormy_seen, stormy_digests = outcome(stormy)
    assert calm_seen == expected
    assert stormy_seen == expected
    assert stormy_digests == calm_digests
    assert len(calm_digests) == 10
