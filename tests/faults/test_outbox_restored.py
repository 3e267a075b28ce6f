"""An agent's outbox restored from yesterday's backup, or its disk replaced, through a real site."""

from __future__ import annotations

import shutil
import threading
from collections import Counter

import pytest

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from ingest.broker import find_mosquitto
from ingest.entry import EntryKind
from meterprint.live import LiveSite
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from mrv.column import column_times
from mrv.envelope import parse
from mrv.verification.note import SecretKey, split
from tests.conftest import missing
from tests.faults.test_hostile import TABLE
from tests.faults.test_restore import CLOCK, PLANT

S = 10**9
FRAUD = {"equivocation", "unreadable_entry", "unreadable_header", "second_channel"}

pytestmark = [pytest.mark.slow, pytest.mark.broker]


class Gateway:
    """An agent whose disk can be swapped; the instrument counts on."""

    def __init__(self, folder, live):
        self.folder = folder
        self.live = live
        self.key = SecretKey.generate("a")
        self.sent = 0
        live.site.enrol_agent(self.key.public)

    def start(self, outbox):
        self.outbox = Outbox(self.folder / outbox)
        self.agent = Agent(TABLE, {"m.e": "l", "air.e": "l"}, self.key, self.outbox, lambda: CLOCK)

    def read(self, count):
        for _ in range(count):
            self.agent.add([RawReading("m.e", self.sent * S, 0, 7 * self.sent)])
            self.agent.flush()
            self.sent += 1

    def deliver(self):
        broker = self.live.broker
        publisher = Publisher(
            self.outbox,
            self.live.site.name,
            "a",
            self.live.site.keyring.receipts.public,
            broker.port,
            username=broker.username,
            password=broker.password,
        )
        assert publisher.drained.wait(60)
        publisher.stop()

    def end(self):
        self.outbox.close()


@pytest.fixture
def gateway(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    (tmp_path / "plant.yaml").write_text(PLANT)
    site = open_site(tmp_path / "state", "x")
    site.state_plant(load_plant(tmp_path / "plant.yaml"), 0)
    live = LiveSite(site, patience=0.2)
    yield Gateway(tmp_path, live)
    live.close()
    site.close()


def outcome(gateway):
    """({(t, v): times held}, rules of the findings) once the engine has everything."""
    site = gateway.live.site
    held: Counter[tuple[int, int]] = Counter()
    for entry in site.journal.entries():
        if entry.kind is EntryKind.ENVELOPE:
            for column in parse(split(entry.note)[0]).cols:
                held.update(zip(column_times(column), column.v, strict=True))
    pause = threading.Event()
    for _ in range(600):
        if site.engine.reading_count >= sum(held.values()):
            break
        pause.wait(0.05)
    site.refresh()
    assert site.quarantine.counts() == {}
    return held, {finding.rule for finding in site.engine.findings()}


def test_yesterdays_outbox_comes_back_as_a_fork_and_nothing_stands_twice(gateway):
    gateway.start("outbox.db")
    gateway.read(20)
    gateway.deliver()
    gateway.read(5)  # these have no receipt yet in the backup
    gateway.end()
    shutil.copy(gateway.folder / "outbox.db", gateway.folder / "backup.db")
    gateway.start("outbox.db")
    gateway.read(10)
    gateway.deliver()
    gateway.end()
    gateway.start("backup.db")
    gateway.read(10)
    gateway.deliver()
    gateway.end()
    held, rules = outcome(gateway)
    assert held == Counter({(n * S, 7 * n): 1 for n in range(45)})
    assert "fork" in rules
    assert not rules & (FRAUD | {"new_chain"})


def test_a_replaced_disk_begins_a_new_chain_and_what_had_left_before_stands_once(gateway):
    gateway.start("outbox.db")
    gateway.read(20)
    gateway.deliver()
    gateway.read(7)  # lost with the disk
    gateway.end()
    (gateway.folder / "outbox.db").unlink()
    gateway.start("replaced.db")
    gateway.read(10)
    gateway.deliver()
    gateway.end()
    held, rules = outcome(gateway)
    expected = [*range(20), *range(27, 37)]
    assert held == Counter({(n * S, 7 * n): 1 for n in expected})
    assert "new_chain" in rules
    assert not rules & (FRAUD | {"fork"})
