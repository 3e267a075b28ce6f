"""Long lists are shown a page at a time, over pages and interface alike."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.asked import Asked
from bench.growth_bench import Shown
from bench.history import History
from dashboards.app import create_app
from dashboards.instrument_order import instrument_order
from dashboards.page import ROWS
from dashboards.pages import CARDS, FINDINGS
from dashboards.read_model import ReadModel
from footprint.batch import BatchState
from mrv.fact import REGISTRY

LINES = 60
YEAR_NS = 365 * 86_400 * 10**9


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    made = History(tmp_path_factory.mktemp("lists"), LINES, period=60)
    made.grow(LINES * 200)
    body = {"instrument": "own7", "kind": "verification", "mpe_percent": "1", "certificate": "c"}
    facts = made.site.facts
    facts.record(REGISTRY, "certificate_recorded", "c7", body, author="t", valid_from=0)
    facts.record(REGISTRY, "certificate_approved", "c7", {"by": "x"}, author="t")
    made.settle()
    yield made
    made.site.close()


@pytest.fixture(scope="module")
def read(history):
    return ReadModel(Shown(history), history.site.engine.changes.wait)


@pytest.fixture(scope="module")
def client(read):
    with Asked(create_app(read, lambda: "")) as made:
        yield made


def following(client, path):
    """All rows of a list, as its headers lead from one stretch to the next."""
    rows, seen = [], 0
    while path:
        answer = client.get(path)
        assert answer.status_code == 200
        rows += answer.json()
        seen += 1
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("Link", ""))
        path = link[1] if link else ""
    assert len(rows) == int(answer.headers["X-Total-Count"])
    return rows, seen


@pytest.mark.parametrize(
    ("path", "name", "count"),
    [("meters", "instrument", 2 * LINES), ("lines", "line", LINES), ("batches", "batch", None)],
)
def test_the_stretches_of_a_list_are_the_whole_list(client, history, path, name, count):
    count = len(history.site.engine.results) if count is None else count
    whole, one = following(client, f"/api/v1/{path}?count=10000")
    parts, many = following(client, f"/api/v1/{path}?count=7")
    assert one == 1
    assert many == -(-count // 7)
    assert [row[name] for row in parts] == [row[name] for row in whole]
    assert len({str(row[name]) for row in whole}) == count


def test_nobody_asks_for_more_than_a_list_gives(client):
    assert client.get("/api/v1/meters?count=10001").status_code == 422
    assert client.get("/api/v1/meters?start=-1").status_code == 422
    assert client.get("/api/v1/meters?start=100000").json() == []
    assert client.get("/meters?page=0").status_code == 422
    assert client.get("/meters?page=999").status_code == 200


@pytest.mark.parametrize("language", ["zh", "en"])
def test_pages_lead_through_all_instruments(client, language):
    shown, path = [], f"/meters?lang={language}"
    while path:
        text = client.get(path).text
        mine = re.findall(r'<tr id="((?:own|share)\d+)">', text)
        assert len(mine) <= ROWS
        shown += mine
        link = re.search(r'<a href="([^"]*)" rel="next">', text)
        path = link[1].replace("&amp;", "&") if link else ""
    assert len(shown) == len(set(shown)) == 2 * LINES


def test_an_instrument_is_found_and_stays_found_while_the_page_is_open(client):
    text = client.get("/meters?q=SHARE5").text
    found = re.findall(r'<tr id="((?:own|share)\d+)">', text)
    assert sorted(found) == sorted(["share5", *(f"share5{n}" for n in range(10))])
    part = re.search(r'data-fragment="(/fragments/health[^"]*)"', text)
    address = part[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(address).query)["q"] == ["SHARE5"]
    again = re.findall(r'<tr id="((?:own|share)\d+)">', client.get(address).text)
    assert again == found
    assert "share5" not in client.get("/meters?q=nothing-like-it").text


def test_lines_are_shown_some_at_a_time(client):
    first, last = client.get("/").text, client.get(f"/?page={-(-LINES // CARDS)}").text
    cards = [re.findall(r'data-line="([^"]+)"', text) for text in (first, last)]
    assert len(set(cards[0])) == CARDS
    assert set(cards[1]) == {f"l{n}" for n in range(LINES // CARDS * CARDS, LINES)}


def test_the_order_of_instruments_is_made_anew_when_a_certificate_ends(history):
    site = history.site
    plant, knowledge = site.plant(), site.engine.engine.knowledge
    now = time.time_ns()
    order = instrument_order(plant.instruments, knowledge, now)
    assert order.rows[-1].instrument.id == "own7"
    assert order.bad == 2 * LINES - 1
    assert order.holds(now + YEAR_NS)
    body = {"instrument": "own8", "kind": "verification", "mpe_percent": "1"}
    facts = site.facts
    end = now + YEAR_NS
    facts.record(
        REGISTRY, "certificate_recorded", "c8", body, author="t", valid_from=0, valid_to=end
    )
    facts.record(REGISTRY, "certificate_approved", "c8", {"by": "x"}, author="t")
    site.refresh()
    later = instrument_order(plant.instruments, site.engine.engine.knowledge, now)
    assert later.bad == 2 * LINES - 2
    assert later.holds(end - 1)
    assert not later.holds(end)
    assert instrument_order(plant.instruments, site.engine.engine.knowledge, end).bad == order.bad


def test_the_evidence_of_a_settled_batch_is_looked_up_until_it_may_be_another(
    tmp_path, monkeypatch
):
    made = History(tmp_path, 2, period=400)
    made.grow(2 * 2 * 8000)
    made.settle()
    engine = made.site.engine
    read = ReadModel(Shown(made), engine.changes.wait)
    name = next(n for n, state in engine.results.states.items() if state is BatchState.FINAL)
    looked = []
    needs = engine.needs
    monkeypatch.setattr(engine, "needs", lambda n: looked.append(n) or needs(n))
    first = read.evidence(name)
    assert first.runs == tuple(run.summary() for run in read.runs(name))
    assert first.envelopes == len(needs(name).links) > 0
    assert len(looked) == 2
    assert read.evidence(name) is first
    assert len(looked) == 2
    engine.results.put(name, engine.results[name])  # it was computed again
    again = read.evidence(name)
    assert (again.runs, len(looked)) == (first.runs, 3)
    begun = engine.readings.begun
    monkeypatch.setattr(engine.readings, "begun", lambda *asked: begun(*asked) + 1)
    read.evidence(name)  # an envelope came into its time
    assert len(looked) == 4
    monkeypatch.undo()
    made.site.close()


def test_rows_are_made_again_when_a_batch_is_computed_again(history, read, client):
    engine = history.site.engine
    name = read.newest(0, 1)[0]
    row = read.row(name)
    assert read.row(name) is row
    result = engine.results[name]
    changed = replace(result, batch=replace(result.batch, good=7 * 10**6))
    try:
        engine.results.put(name, changed)
        assert read.row(name)["quantity"] == "7"
        assert '<td class="n" data-label="good units">7</td>' in client.get("/batches?lang=en").text
    finally:
        engine.results.put(name, result)
    assert read.row(name) == row


def test_batches_are_listed_as_their_lines_have_them(history, read):
    timelines = history.site.engine.engine.knowledge.timelines.values()
    every = [b for t in timelines for b in t.ordered() if b.id in history.site.engine.results]
    wanted = [b.id for b in sorted(every, key=lambda b: (-b.start, b.id))]
    assert read.newest() == wanted
    assert read.newest(3, 4) == wanted[3:7]


def test_findings_stand_together_by_rule_and_have_pages(client, read):
    groups = {group.rule: group for group in read.site_findings(0, 3)}
    differs = groups["serial_differs"]
    assert (differs.count, len(differs.first)) == (2 * LINES, 3)
    text = client.get("/meters?lang=en").text
    assert text.count("<li><span") == sum(min(g.count, FINDINGS) for g in groups.values())
    assert 'href="/findings?rule=serial_differs"' in text
    shown = [client.get(f"/findings?rule=serial_differs&page={n}").text for n in (1, 2, 3)]
    rows = [re.findall(r'<li><span class="code">(\S+)', page) for page in shown]
    assert rows[1] == rows[2]  # there is no third page
    assert len(set(rows[0] + rows[1])) == len(rows[0]) + len(rows[1]) == 2 * LINES
    assert client.get("/findings?rule=none&lang=en").status_code == 200
    assert client.get("/findings").status_code == 422


def test_a_search_finds_by_certificate_and_names_an_instrument_first(client, read):
    order = read.instruments()
    assert [row.instrument.id for row in order.like("C7")] == ["own7"]
    assert order.like("own5")[0].instrument.id == "own5"
    assert len(order.like("own5")) == 11
