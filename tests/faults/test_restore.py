"""Yesterday's backup of the journal comes back: what came since is asked for and comes again."""

from __future__ import annotations

import json
import threading
import zipfile

import pytest

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from footprint.verify import verify
from ingest.broker import find_mosquitto
from ingest.bundler import make_bundle
from ingest.facts import load_facts
from meterprint.backup import backup, restore
from meterprint.live import LiveSite
from meterprint.plant_file import load_plant
from meterprint.replay import load_example, replay
from meterprint.site import open_site
from mrv.envelope import Clock, ClockState
from mrv.errors import InputError
from mrv.series import SeriesKey
from mrv.verification.note import SecretKey
from tests.conftest import REPO, missing
from tests.faults.test_hostile import TABLE

S = 10**9
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")
PLANT = """
site: x
lines: [{id: l}]
products: [{id: p, unit: piece}]
instruments:
  - id: m
    registers: [{id: e, kind: counter, unit: kWh, resolution: 0.1}]
sources: [{id: e, line: l, instrument: m, register: e}]
"""


@pytest.fixture(scope="module")
def steel(tmp_path_factory):
    if find_mosquitto() is None:
        missing("mosquitto")
    state = tmp_path_factory.mktemp("steel") / "state"
    replay(load_example(REPO / "examples" / "steel_plant", None), state, lambda *_: None)
    archive = state.parent / "backup.zip"
    return state, archive, backup(state, archive)


@pytest.mark.slow
@pytest.mark.broker
def test_a_restored_site_gives_the_same_figures_under_a_new_origin(steel, tmp_path):
    state, archive, report = steel
    restored = restore(archive, tmp_path / "again")
    assert (restored.entries, restored.root) == (report.entries, report.root)
    assert restored.origin == f"{report.origin}-2"
    digests = []
    for place in (state, tmp_path / "again"):
        site = open_site(place)
        site.refresh()
        digests.append({name: r.digest() for name, r in site.engine.results.items()})
        assert site.journal.verify() == []
        if place != state:
            facts = [f for f in load_facts(site.journal) if f.header.type == "journal_restored"]
            assert [fact.body["origin"] for fact in facts] == [report.origin]
            name = next(iter(site.engine.results))
            data = make_bundle(site.journal, site.keyring, site.engine.engine, name)
            verdict = verify(data, site.keyring.root.public)
            assert verdict.ok, [c for c in verdict.checks if c.result != "pass"]
        site.close()
    assert digests[0] == digests[1]
    again = tmp_path / "third.zip"
    assert backup(tmp_path / "again", again).origin == restored.origin
    assert restore(again, tmp_path / "third").origin == f"{report.origin}-3"


@pytest.mark.slow
@pytest.mark.broker
def test_a_damaged_backup_is_refused_and_leaves_nothing(steel, tmp_path):
    _, archive, _ = steel
    with pytest.raises(InputError, match="exists"):
        backup(archive.parent / "state", archive)
    for fault in ("missing", "changed", "extra"):
        spoilt = tmp_path / f"{fault}.zip"
        with zipfile.ZipFile(archive) as source, zipfile.ZipFile(spoilt, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                if name == "quarantine.db" and fault == "missing":
                    continue
                if name == "journal.db" and fault == "changed":
                    data = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]
                target.writestr(name, data)
            if fault == "extra":
                target.writestr("../evil", b"x")
        with pytest.raises(InputError):
            restore(spoilt, tmp_path / "target")
        assert sorted(p.name for p in tmp_path.iterdir()) == [spoilt.name], fault
        spoilt.unlink()
    with pytest.raises(InputError, match="no backup"):
        restore(tmp_path / "nothing.zip", tmp_path / "target")


class Plant:
    """One agent that goes on while its site is lost and comes back."""

    def __init__(self, folder):
        self.key = SecretKey.generate("a")
        self.outbox = Outbox(folder / "outbox.db")
        self.agent = Agent(TABLE, {"m.e": "l", "air.e": "l"}, self.key, self.outbox, lambda: CLOCK)
        self.sent = 0

    def read(self, count):
        for _ in range(count):
            self.agent.add([RawReading("m.e", self.sent * S, 0, 7 * self.sent)])
            self.agent.flush()
            self.sent += 1


def deliver(plant, live, expected):
    """Publish until the site has `expected` readings."""
    site = live.site
    publisher = Publisher(
        plant.outbox,
        site.name,
        "a",
        site.keyring.receipts.public,
        live.broker.port,
        username=live.broker.username,
        password=live.broker.password,
    )
    plant.agent.publisher = publisher
    publisher.committed()
    pause = threading.Event()
    key = SeriesKey("a", "l", "m.e")
    for _ in range(1200):
        if site.engine.reading_count >= plant.sent and publisher.drained.is_set():
            break
        if plant.sent < expected + 40 and site.engine.reading_count < expected:
            plant.read(1)  # the plant goes on meanwhile, which is what shows the hole
        pause.wait(0.05)
    publisher.stop()
    return dict(zip(*_columns(site.engine.readings, key), strict=True))


def _columns(readings, key):
    series = readings.read(key, 0, 2**62, 0)
    return list(series.t), list(series.v)


@pytest.mark.slow
@pytest.mark.broker
def test_what_came_after_yesterdays_backup_is_asked_for_and_stands_once(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    (tmp_path / "plant.yaml").write_text(PLANT)
    plant = Plant(tmp_path)
    site = open_site(tmp_path / "state", "x")
    site.state_plant(load_plant(tmp_path / "plant.yaml"), 0)
    site.enrol_agent(plant.key.public)
    live = LiveSite(site)
    plant.read(50)
    deliver(plant, live, 50)
    yesterday = plant.sent
    backup(tmp_path / "state", tmp_path / "yesterday.zip")
    plant.read(50)
    deliver(plant, live, yesterday + 50)
    assert plant.outbox.depth() == 0
    live.close()
    site.close()

    restore(tmp_path / "yesterday.zip", tmp_path / "restored")
    site = open_site(tmp_path / "restored")
    held = site.engine.reading_count
    assert held < plant.sent
    live = LiveSite(site, patience=0.2)
    plant.read(1)
    values = deliver(plant, live, plant.sent)
    live.close()
    assert values == {n * S: 7 * n for n in range(plant.sent)}
    assert site.journal.runs("a", "l", plant.outbox.head("l").epoch)[0][:2] == (0, plant.sent - 1)
    assert json.loads((tmp_path / "restored" / "site.json").read_text())["site"] == "x"
    site.close()
