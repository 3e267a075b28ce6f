"""What keeps a site from being up to date is said by /readyz, by the metrics and on every page."""

from __future__ import annotations

import json

import pytest

from dashboards.guard import Door
from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from ingest.broker import find_mosquitto
from ingest.keyring import load_or_make_key
from meterprint.live import LiveSite
from meterprint.pages import PageServer
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from mrv.envelope import Clock, ClockState
from tests.conftest import missing
from tests.faults.processes import AGENT, SITE, reading, table
from tests.meterprint.processes import MINIMAL, ask

pytestmark = [pytest.mark.slow, pytest.mark.broker]


@pytest.fixture
def site(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    plant = tmp_path / "plant.yaml"
    plant.write_text((MINIMAL % 1).replace("site: s", f"site: {SITE}"))
    made = open_site(tmp_path / "state", SITE)
    made.state_plant(load_plant(plant), 0)
    yield made
    made.close()


@pytest.fixture
def served(site):
    live = LiveSite(site)
    server = PageServer(live, 0, door=Door())
    yield live, server.url
    server.stop()
    live.close()


@pytest.fixture
def agent(site, served, tmp_path):
    """An agent that delivers, and its outbox."""
    live, _ = served
    folder = tmp_path / "gateway"
    key = load_or_make_key(folder / "agent.key", AGENT)
    site.enrol_agent(key.public)
    outbox = Outbox(folder / "outbox.db")
    clock = Clock(ClockState.SYNCHRONISED, 5, "test")
    made = Agent(table(), {"m.energy": "line"}, key, outbox, lambda: clock)
    receipts = site.keyring.receipts.public
    made.publisher = Publisher(outbox, SITE, AGENT, receipts, live.broker.port)
    yield made, outbox
    made.publisher.stop()
    outbox.close()


def wait_for(condition, publisher, tries=300):
    for _ in range(tries):
        if condition():
            return
        publisher.drained.wait(timeout=0.1)
        publisher._stopping.wait(0.05)
    raise AssertionError("it never comes")


EVENT = {"id": "1", "line": "l", "batch": "b", "product": "p", "event": "start"}
EVENT |= {"t": "2026-11-24T00:00:00Z"}


def test_while_the_disk_is_full_pages_answer_and_say_so_and_nothing_is_lost(site, served, agent):
    _, url = served
    sender, outbox = agent
    rows = [reading(number) for number in range(4000)]
    wait_for(lambda: ask(f"{url}readyz") == (200, "ok\n"), sender.publisher)
    site.journal.limit_pages(1)
    for start in range(0, 4000, 400):
        sender.add(rows[start : start + 400])
        sender.flush()
    wait_for(lambda: "journal_refuses" in ask(f"{url}readyz")[1], sender.publisher)
    assert ask(f"{url}readyz")[0] == 503
    taken, status, text = 0, 201, ""
    while status == 201 and taken < 500:  # what room the last page has
        body = {**EVENT, "id": f"e{taken}", "batch": f"b{taken}"}
        status, text = ask(f"{url}api/v1/batch-events", body)
        taken += status == 201
    assert (status, "error" in json.loads(text)) == (503, True)
    for path in ("", "batches", "meters", "help"):
        for language, words in (("en", "The journal cannot be written"), ("zh", "账本无法写入")):
            status, page = ask(f"{url}{path}?lang={language}")
            assert (status, words in page) == (200, True), path
    metrics = ask(f"{url}metrics")[1]
    assert "meterprint_ready 0.0" in metrics
    assert 'meterprint_trouble{code="journal_refuses"} 1.0' in metrics
    assert ask(f"{url}healthz") == (200, "ok\n")
    assert outbox.depth() > 0, "nothing that is not on disk is receipted"
    site.journal.limit_pages(2**30)
    wait_for(lambda: outbox.depth() == 0, sender.publisher)
    wait_for(lambda: ask(f"{url}readyz") == (200, "ok\n"), sender.publisher)
    assert "The journal cannot be written" not in ask(f"{url}?lang=en")[1]
    assert ask(f"{url}api/v1/batch-events", body)[0] == 201
    wait_for(lambda: site.engine.reading_count == 4000, sender.publisher)
    assert site.journal.verify() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_part_that_ends_by_a_fault_of_the_program_makes_the_site_unhealthy(site, served, agent):
    """A thread that died silently would leave figures behind for ever, and nobody told."""
    live, url = served
    sender, _ = agent
    wait_for(lambda: ask(f"{url}readyz") == (200, "ok\n"), sender.publisher)
    assert ask(f"{url}healthz") == (200, "ok\n")

    def fails(*_, **__):
        raise RuntimeError("a fault of the program")

    site.refresh = fails
    live.batch_event(EVENT, "test")
    wait_for(lambda: ask(f"{url}healthz")[0] == 503, sender.publisher)
    assert ask(f"{url}healthz")[1] == "part_ended: engine\n"
    assert ask(f"{url}readyz") == (503, "part_ended: engine\n")
    assert "A part of the program has ended" in ask(f"{url}?lang=en")[1]
    assert 'meterprint_trouble{code="part_ended"} 1.0' in ask(f"{url}metrics")[1]
