"""Who may start and end batches over MQTT: enrolled agents, and nobody whose key was revoked."""

from __future__ import annotations

import threading

import pytest

from ingest.broker import find_mosquitto
from ingest.facts import load_facts
from meterprint.live import LiveSite
from meterprint.metrics import metrics_text
from meterprint.pages import RunningSite
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from mrv.strict_json import dumps
from mrv.verification.note import SecretKey
from tests.conftest import missing
from tests.faults.test_restore import PLANT
from tests.ingest.test_bridge import Publisher


@pytest.mark.broker
def test_a_batch_event_counts_from_an_enrolled_agent_alone(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    (tmp_path / "plant.yaml").write_text(PLANT)
    site = open_site(tmp_path / "state", "x")
    site.state_plant(load_plant(tmp_path / "plant.yaml"), 0)
    gone, stays = SecretKey.generate("gone"), SecretKey.generate("stays")
    for key in (gone, stays):
        site.enrol_agent(key.public)
    live = LiveSite(site)
    publisher = Publisher(live.broker.port)

    def send(agent, number):
        body = {"id": str(number), "line": "l", "batch": f"b{number}", "product": "p"}
        event = dumps({**body, "event": "start", "t": str(number)})
        publisher.send((f"meterprint/1/x/{agent}/batch-events", event))

    def until(holds):
        pause = threading.Event()
        for _ in range(3000):
            if holds():
                return
            pause.wait(0.01)
        raise AssertionError(site.quarantine.counts())

    try:
        send("gone", 1)
        until(lambda: "1" in site.events._seen)
        send("stranger", 2)
        until(lambda: site.quarantine.counts().get("unknown_agent"))
        site.revoke_agent("gone")
        send("gone", 3)
        until(lambda: site.quarantine.counts().get("revoked_key"))
        send("stays", 4)
        until(lambda: "4" in site.events._seen)
    finally:
        live.close()
    facts = [fact for fact in load_facts(site.journal) if fact.header.type == "batch_started"]
    assert [(fact.header.author, fact.subject) for fact in facts] == [
        ("gone", "b1"),
        ("stays", "b4"),
    ]
    publisher.close()
    site.quarantine._db.execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory").fetchall()
    with (site.state / "quarantine.db").open("r+b") as file:
        file.seek(4096)  # pages and metrics go on without a quarantine that can be read
        file.write(b"\xa5" * 20_000)
    assert "meterprint_journal_entries" in metrics_text(live)
    assert RunningSite(live).quarantined() == {}
    site.close()
