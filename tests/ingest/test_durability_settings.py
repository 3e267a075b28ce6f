"""How durable each database is, as SQLite says and not as a default happens to be."""

from __future__ import annotations

import apsw
import pytest

from edge_agent.outbox import Outbox
from ingest.quarantine import Quarantine
from ingest.result_store import ResultStore
from tests.ingest.journals import open_journal

OFF, NORMAL, FULL = range(3)


def synchronous(opened):
    return opened._db.execute("PRAGMA synchronous").fetchone()[0]


@pytest.fixture
def careless():
    """New connections do not sync unless they are told to, as a library may be built."""

    def hook(connection):
        connection.execute("PRAGMA synchronous=OFF")

    apsw.connection_hooks.append(hook)
    yield
    apsw.connection_hooks.remove(hook)


@pytest.mark.usefixtures("careless")
def test_what_must_outlive_a_power_cut_is_synced_and_a_view_is_not(tmp_path):
    outbox, quarantine = Outbox(tmp_path / "outbox.db"), Quarantine(tmp_path / "quarantine.db")
    journal, _ = open_journal(tmp_path)
    results = ResultStore(tmp_path / "results.db")
    found = [synchronous(each) for each in (outbox, quarantine, journal, results)]
    assert found == [FULL, FULL, FULL, NORMAL]
    for each in (outbox, quarantine, journal, results):
        each.close()
