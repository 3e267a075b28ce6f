"""Long lists are shown a page at a time, over pages and interface alike."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.asked import Asked
from bench.growth_bench import Shown
from bench.history import History
from dashboards.app import create_app
from dashboards.instrument_order import instrument_order
from dashboards.pages import CARDS, ROWS
from dashboards.read_model import ReadModel
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
