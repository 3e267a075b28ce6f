"""The disk of ingest is full: nothing is acknowledged, agents send again, and it recovers."""

from __future__ import annotations

import os
import threading
from collections import Counter

import apsw
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import ingest.subscriber as subscriber_module
from ingest.agent_session import AgentSession
from ingest.broker import find_mosquitto
from ingest.journal import JournalError
from ingest.projector import Projector
from ingest.quarantine import Quarantine, QuarantineError, Refused
from ingest.session import Session
from ingest.subscriber import Subscriber
from scripts.machine import find
from tests.conftest import missing
from tests.faults.direct import Direct
from tests.faults.drilled_plant import Plant
from tests.faults.drilled_site import expected, outcome, prepare
from tests.faults.figures import reached
from tests.faults.injection import why_not
from tests.faults.processes import AGENT, Role
from tests.faults.test_network import TOTAL, Rig

ENOSPC_CALLS = int(os.environ.get("METERPRINT_ENOSPC", "3"))
"""Writes in a row that a running ingest is refused."""


@pytest.mark.slow
@pytest.mark.broker
def test_a_full_disk_acknowledges_nothing_and_loses_nothing(tmp_path, monkeypatch):
    if find_mosquitto() is None:
        missing("mosquitto")
    acknowledged = Counter()
    for kind in (Session, AgentSession):

        def acknowledge(self, mids, *where, real=kind.acknowledge):
            acknowledged[self, threading.current_thread().name] += len(mids)
            real(self, mids, *where)

        monkeypatch.setattr(kind, "acknowledge", acknowledge)
    rig = Rig(tmp_path, 3)

    def by_worker() -> int:  # it alone acknowledges readings
        sessions = (rig.subscriber._door, *rig.subscriber._own)
        return sum(acknowledged[session, "ingest"] for session in sessions)

    rig.read(20)
    for _ in range(2000):
        if not rig.outbox.depth():
            break
        rig.wait(0.01)
    assert rig.outbox.depth() == 0
    size = rig.site.journal.size
    (pages,) = rig.site.journal._db.execute("PRAGMA page_count").fetchone()
    rig.site.journal.limit_pages(pages)
    grown = rig.site.journal._db.execute("PRAGMA freelist_count").fetchone()[0]
    assert grown == 0
    rig.read(60)
    for _ in range(2000):  # until one commit does not fit any more
        if rig.subscriber.refused:
            break
        rig.wait(0.01)
    assert rig.subscriber.refused > 0
    before, held = by_worker(), rig.site.journal.size
    depth = rig.outbox.depth()
    assert size <= held < size + 60
    refused = rig.subscriber.refused
    while rig.subscriber.refused < refused + 2:  # it goes on trying
        rig.wait(0.05)
    assert by_worker() == before > 0
    assert rig.outbox.depth() == depth > 0
    assert rig.site.journal.size == held
    rig.site.journal.limit_pages(2**30)
    found = rig.finish()
    assert found.seen == expected(TOTAL)


@pytest.mark.slow
@pytest.mark.broker
def test_an_ingest_that_is_refused_writes_while_it_runs_loses_nothing(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    if why := why_not():
        missing(why)
    total = 4000
    state = tmp_path / "state"
    prepare(state, total)
    watched = [state / f"journal.db{end}" for end in ("", "-wal")]
    inject = f"inject=pwrite64:error=ENOSPC:when=40..{39 + ENOSPC_CALLS}"
    options = ["-f", "-o", str(tmp_path / "strace"), "-e", "trace=pwrite64", "-e", inject]
    under = [
        str(find("strace")),
        *options,
        *(part for path in watched for part in ("-P", str(path))),
    ]
    plant = Plant(tmp_path, Role("agent", str(state), 0, total, 20), ingest_under=under)
    try:
        plant.finish()
    finally:
        plant.stop()
    refused = (tmp_path / "strace").read_text().count("ENOSPC")
    assert refused == ENOSPC_CALLS
    assert "journal_refused" in plant.log("ingest", 10**6)
    assert outcome(state).seen == expected(total)
    reached("writes refused to a running ingest", refused)


class Kept:
    """A store in memory that has taken in what it was given."""

    pending = 0

    def __init__(self):
        self.readings = 0

    def append(self, chunks):
        self.readings += sum(len(chunk.series) for chunk in chunks)

    def flush(self):
        pass


def test_a_projector_whose_cursor_cannot_be_written_goes_on_when_it_can(tmp_path):
    plant = Direct(tmp_path, 2000)
    plant.read(0, 200)
    plant.deliver()
    cursor = tmp_path / "cursor.json"
    in_the_way = tmp_path / "cursor.json.tmp"
    in_the_way.mkdir()  # refuses root as well, as a full disk does
    store = Kept()
    projector = Projector(plant.site.journal, store, cursor)
    projector.start()
    pause = threading.Event()
    for _ in range(1000):
        if projector.status.refusals:
            break
        pause.wait(0.01)
    assert projector.status.refusals > 0
    assert projector.cursor == 0
    assert not cursor.exists()
    in_the_way.rmdir()
    for _ in range(1000):
        if projector.cursor == plant.site.journal.size:
            break
        pause.wait(0.01)
    projector.stop()
    assert cursor.read_text() == f"{plant.site.journal.size}\n"
    assert store.readings == 200
    plant.close()


def test_a_quarantine_that_cannot_be_written_is_counted_and_holds_up_nobody(tmp_path):
    quarantine = Quarantine(tmp_path / "q.db", max_bytes=5000)
    row = Refused(1, "a", "t", "malformed", "x", b"y" * 1000)
    quarantine.add([row] * 3)
    quarantine._db.execute("PRAGMA max_page_count=1")
    with pytest.raises(QuarantineError, match="refused"):
        quarantine.add([row] * 400)
    assert quarantine.counts() == {"malformed": 3}
    quarantine._db.execute(f"PRAGMA max_page_count={2**30}")
    quarantine.add([row] * 400)
    assert quarantine.counts() == {"malformed": 403}
    assert len(quarantine.recent(1000)) == 5
    held = quarantine._db.execute("SELECT sum(length(bytes)) FROM message").fetchone()[0]
    assert held <= 5000
    quarantine.close()
    again = Quarantine(tmp_path / "q.db", max_bytes=5000)
    again.add([row])
    assert len(again.recent(1000)) == 5
    again.close()
    db = apsw.Connection(str(tmp_path / "q.db"))
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.slow
@pytest.mark.broker
def test_a_batch_event_the_disk_refuses_is_not_acknowledged_and_taken_in_the_end(
    tmp_path, mosquitto, monkeypatch
):
    monkeypatch.setattr(subscriber_module, "RETRY_S", 0.05)
    steps: list[str] = []
    taken = threading.Event()
    real = Session.acknowledge

    def ack(self, *what):
        if self is subscriber._door:
            steps.append("ack")
        real(self, *what)

    monkeypatch.setattr(Session, "acknowledge", ack)

    def event(agent, payload):
        steps.append("tried")
        if steps.count("tried") <= 3:
            raise JournalError("no space left")
        steps.append(f"{agent} {payload.decode()}")
        taken.set()

    plant = Direct(tmp_path, 2000)
    subscriber = Subscriber(plant.receiver, plant.site.name, mosquitto.port, on_event=event)
    assert subscriber.connected.wait(30)
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    client.publish(f"meterprint/1/{plant.site.name}/{AGENT}/batch-events", b"{}", qos=1)
    assert taken.wait(30)
    for _ in range(1000):
        if steps[-1] == "ack":
            break
        threading.Event().wait(0.01)
    client.disconnect()
    client.loop_stop()
    subscriber.stop()
    plant.close()
    own = [step for step in steps if step != "ack"]
    assert own == ["tried"] * 4 + [f"{AGENT} {{}}"]
    assert steps[-1] == "ack"
    assert "ack" not in steps[steps.index("tried") : -1]
