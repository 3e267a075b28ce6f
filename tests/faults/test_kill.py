"""kill -9 of agent, broker, ingest and influxd: 0 lost, 0 double, the same footprint.

The oracle is the counter: every reading's value and time tell its number, and every envelope's
signature covers them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import apsw
import pytest

from footprint.plant_reading import read_plant
from ingest.broker import Mosquitto, find_mosquitto
from ingest.entry import EntryKind
from ingest.journal import Journal
from ingest.keyring import load_or_make_key
from ingest.series_influx import InfluxStore
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from meterprint.views import cursor_file
from mrv.column import column_times
from mrv.envelope import parse
from mrv.series import SeriesKey
from mrv.verification.note import split
from scripts.influxd_builds import influxd_path
from tests.conftest import REPO, missing
from tests.faults.figures import Progress, reached
from tests.faults.influx import DATABASE, Influxd
from tests.faults.processes import AGENT, AHEAD, CHANNEL, SITE, STEP_NS, STREAM, Role, reading

KILLS = int(os.environ.get("METERPRINT_KILLS", "24"))
"""Kills in all, of the four in turn."""
TOTAL = int(os.environ.get("METERPRINT_KILL_READINGS", "20000"))
EACH = int(os.environ.get("METERPRINT_KILL_EACH", "40"))
"""Readings of one envelope."""
BATCHES = 10
POOL_WINDOW_NS = 60 * 10**9
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


def prepare(state: Path, total: int) -> None:
    """A site with a plant, an enrolled agent, and ten batches, their pools within the readings."""
    plant, faults = read_plant(PLANT)
    assert faults == []
    site = open_site(state, SITE)
    site.state_plant(PlantFile(state, plant, PLANT, (("x", (FACTOR,)),), ()), 0)
    key = load_or_make_key(state / "agents" / AGENT / "agent.key", AGENT)
    site.enrol_agent(key.public)
    span = (total * STEP_NS - POOL_WINDOW_NS) // BATCHES
    for number in range(BATCHES):
        base = {"line": "l", "batch": f"b{number}"}
        begin, end = number * span + span // 10, number * span + span * 9 // 10
        event = {**base, "id": f"s{number}", "event": "start", "product": "p", "t": str(begin)}
        site.events.take(event, "test")
        event = {**base, "id": f"e{number}", "event": "end", "good": "7", "t": str(end)}
        site.events.take(event, "test")
    site.close()


def rows(path: Path, query: str) -> int:
    """A count out of a database somebody else writes."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(10_000)
        return db.execute(query).fetchone()[0]
    finally:
        db.close()


class Plant:
    """Broker, ingest, agent and, where wanted, an influxd; each can be killed and goes on."""

    def __init__(
        self,
        folder: Path,
        role: Role,
        influx: Influxd | None = None,
        ingest_under: Sequence[str] = (),
    ) -> None:
        self._ingest_under = list(ingest_under)
        self.state = Path(role.state)
        self._role = role
        self._folder = folder
        self.broker = Mosquitto(folder / "broker")
        self.influx = influx
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("ingest", "agent"):
            self.start(name)

    def start(self, name: str) -> None:
        """Start an ingest or the agent."""
        if name == "broker":
            self.broker.start()
            return
        if name == "influxd":
            assert self.influx is not None
            self.influx.start(wait=False)
            return
        role = replace(self._role, port=self.broker.port)
        under = self._ingest_under if name == "ingest" else []
        if name == "ingest":
            role = replace(role, role="ingest", influx=self.influx.url if self.influx else "")
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*under, sys.executable, *role.arguments()],
                cwd=REPO,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill -9."""
        if name == "broker":
            self.broker.kill()
        elif name == "influxd":
            assert self.influx is not None
            self.influx.kill()
        else:
            self._end(self._running[name])

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """Kill a process and what traces it, which are a session of their own."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def done(self, pause: float) -> bool:
        """Whether the agent has a receipt for all it has, after waiting so many s at the most."""
        try:
            return self._running["agent"].wait(timeout=pause) == 0
        except subprocess.TimeoutExpired:
            return False

    def held(self) -> int:
        """Envelopes in the journal."""
        return rows(self.state / "journal.db", "SELECT count(*) FROM envelope")

    def cut(self) -> int:
        """Envelopes in the outbox."""
        query = "SELECT count(*) FROM message WHERE stream<>''"
        return rows(self.state / "agents" / AGENT / "outbox.db", query)

    def waits(self) -> bool:
        """Whether the agent has so many envelopes without a receipt that it cuts no more."""
        query = "SELECT count(*) FROM message WHERE receipted IS NULL"
        return rows(self.state / "agents" / AGENT / "outbox.db", query) > AHEAD

    def finish(self) -> None:
        """Wait for the agent, and for the projector to have caught up."""
        assert self._running["agent"].wait(timeout=600) == 0, self.log("agent")
        cursor = cursor_file(self.state, "influx")
        pause = threading.Event()
        entries = "SELECT count(*) FROM entry"
        for _ in range(6000 if self.influx else 0):
            size = rows(self.state / "journal.db", entries)
            if cursor.exists() and cursor.read_text().strip() == str(size):
                return
            assert self._running["ingest"].poll() is None, self.log("ingest")
            pause.wait(0.05)
        assert self.influx is None, f"the projector is behind: {self.log('ingest')}"

    def log(self, name: str, most: int = 2000) -> str:
        """The end of what a process said."""
        return (self._folder / f"{name}.log").read_text()[-most:]

    def stop(self) -> None:
        """End everything; influxd goes on, to be asked."""
        for process in self._running.values():
            self._end(process)
        self.broker.stop()


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has left in the journal."""

    seen: Counter[tuple[str, int, int]]
    """Readings (channel, time ns, value), with how often."""
    digests: dict[str, str]
    """Digest of each batch."""
    total: Fraction
    """Footprint of all batches together, kgCO2e."""


def readings_in(journal: Journal) -> Counter[tuple[str, int, int]]:
    """Readings (channel, time ns, value) of all envelopes, with how often each is there."""
    seen: Counter[tuple[str, int, int]] = Counter()
    for entry in journal.entries():
        if entry.kind is EntryKind.ENVELOPE:
            for column in parse(split(entry.note)[0]).cols:
                for t, v in zip(column_times(column), column.v, strict=True):
                    seen[column.ch, t, v or 0] += 1
    return seen


def outcome(state: Path) -> Outcome:
    """Readings and digests of a site; all its batches must be final."""
    site = open_site(state)
    seen = readings_in(site.journal)
    site.refresh()
    digests = {name: result.digest() for name, result in site.engine.results.items()}
    states = {result.state.value for result in site.engine.results.values()}
    total = sum((r.footprint for r in site.engine.results.values()), Fraction(0))
    assert states <= {"final", "final_estimated"}
    assert site.journal.verify() == []
    site.close()
    return Outcome(seen, digests, total)


def expected(total: int) -> Counter[tuple[str, int, int]]:
    """What the agent read."""
    return Counter((r.channel, r.t, r.v or 0) for r in map(reading, range(total)))


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
