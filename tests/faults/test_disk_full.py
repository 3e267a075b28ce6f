"""The disk of ingest is full: nothing is acknowledged, agents send again, and it recovers."""

from __future__ import annotations

import os
from collections import Counter

import apsw
import pytest

from ingest.broker import find_mosquitto
from ingest.quarantine import Quarantine, QuarantineError, Refused
from ingest.session import Session
from scripts.servers import find
from tests.conftest import missing
from tests.faults.figures import reached
from tests.faults.injection import why_not
from tests.faults.processes import Role
from tests.faults.test_kill import Plant, expected, outcome, prepare
from tests.faults.test_network import TOTAL, Rig

ENOSPC_CALLS = int(os.environ.get("METERPRINT_ENOSPC", "3"))
"""Writes in a row that a running ingest is refused."""


@pytest.mark.slow
@pytest.mark.broker
def test_a_full_disk_acknowledges_nothing_and_loses_nothing(tmp_path, monkeypatch):
    if find_mosquitto() is None:
        missing("mosquitto")
    acknowledged = Counter()
    real = Session.ack
    monkeypatch.setattr(
        Session, "ack", lambda self, *what: (acknowledged.update(["ack"]), real(self, *what))
    )
    rig = Rig(tmp_path, 3)
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
    before, held = acknowledged["ack"], rig.site.journal.size
    depth = rig.outbox.depth()
    assert size <= held < size + 60
    refused = rig.subscriber.refused
    while rig.subscriber.refused < refused + 2:  # it goes on trying
        rig.wait(0.05)
    assert acknowledged["ack"] == before
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
