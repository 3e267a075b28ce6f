"""The pages in a real Chromium over a running demo plant."""

from __future__ import annotations

import pytest
from playwright.sync_api import TimeoutError as TooLate

from tests.dashboards.asking import settled, submit

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.broker]

CLIPPED = """() => [...document.querySelectorAll('td, dd, time, .bars span')]
  .filter(e => e.getClientRects().length && !e.closest('details:not([open])'))
  .filter(e => { const r = e.getBoundingClientRect(); return r.right > innerWidth + 1 || r.left < -1; })
  .map(e => e.innerText)"""
"""Values that stand outside the screen."""


def watched(context, url, faults):
    page = context.new_page()
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on(
        "request", lambda r: faults.append(r.url) if not r.url.startswith((url, "data:")) else None
    )
    return page


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_pages_are_whole_in_both_languages_schemes_and_sizes(
    plant, browser, language, scheme, width
):
    _, url = plant
    name = settled(plant)
    faults = []
    with browser(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        page = watched(context, url, faults)
        for path in ("", "batches", f"batches/{name}", "meters", "help"):
            page.goto(f"{url}{path}?lang={language}")
            wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, (path, wide)
            assert page.evaluate(CLIPPED) == [], path
            assert ("批次" in page.inner_text("body")) == (language == "zh")
    assert faults == []


def test_on_a_phone_each_value_stands_beside_its_label(plant, browser):
    _, url = plant
    with browser(viewport={"width": 375, "height": 800}) as context:
        page = context.new_page()
        for path, labels in (
            (
                "batches",
                {"partial footprint per unit (gate to gate) (k = 2)", "start – end", "scrap"},
            ),
            ("meters", {"certificate", "due", "last reading"}),
        ):
            page.goto(f"{url}{path}?lang=en")
            row = page.locator("table.stack > tbody > tr").first
            seen = row.locator("td").evaluate_all("all => all.map(td => td.dataset.label)")
            assert labels <= set(seen)
            drawn = row.locator("td").evaluate_all(
                "all => all.map(td => getComputedStyle(td, '::before').content.slice(1, -1))"
            )
            assert drawn == seen


def test_the_figure_follows_the_plant_without_reload(plant, browser):
    _, url = plant
    with browser() as context:
        page = context.new_page()
        page.goto(url)
        before = page.inner_text("#line-line-1 .age time")
        page.wait_for_function(
            "before => document.querySelector('#line-line-1 .age time').innerText !== before",
            arg=before,
            timeout=60_000,
        )


def test_the_age_runs_on_and_a_page_without_its_site_turns_stale(plant, browser):
    _, url = plant
    with browser() as context:
        page = context.new_page()
        page.goto(f"{url}?lang=en")
        card = page.locator("#line-line-1")
        assert card.locator(".ago").inner_text().endswith(" s ago")
        assert not card.locator(".stale-word").is_visible()
        page.route("**/fragments/**", lambda route: route.abort())
        card.locator(".stale-word").wait_for(state="visible", timeout=40_000)
        assert int(card.locator(".ago").inner_text().split()[0]) > 15
        page.unroute("**/fragments/**")
        card.locator(".stale-word").wait_for(state="hidden", timeout=20_000)


def test_what_is_typed_stays_while_figures_change(plant, browser):
    _, url = plant
    with browser() as context:
        page = context.new_page()
        page.goto(f"{url}?lang=en")
        card = page.locator("#line-line-1")
        field = card.locator("form[data-key^='end:'] input[name='good']")
        field.wait_for(timeout=30_000)
        field.fill("41")
        field.blur()
        key = card.locator("form").get_attribute("data-key")
        seen = card.locator(".age time").inner_text()
        page.wait_for_function(
            "seen => document.querySelector('#line-line-1 .age time').innerText !== seen",
            arg=seen,
            timeout=30_000,
        )
        if card.locator("form").get_attribute("data-key") == key:
            assert field.input_value() == "41"


def test_a_batch_is_started_on_its_card(plant, browser):
    demo, url = plant
    name = "by-hand"
    with browser() as context:
        page = context.new_page()
        form = page.locator("#line-line-1 form")
        for _ in range(8):
            page.goto(f"{url}?lang=en")
            form.locator("input[name='batch']:not([type='hidden'])").wait_for(timeout=30_000)
            form.locator("input[name='batch']").fill(name)
            try:  # the demo may have started a batch of its own meanwhile
                with page.expect_response("**/batches", timeout=5000) as answer:
                    form.locator("button").click()
            except TooLate:
                continue
            if answer.value.status == 200:
                break
        page.get_by_text(f"Batch {name} has started.").wait_for(timeout=5000)
        assert page.url == f"{url}?lang=en"
    assert demo.site.engine.results[name].batch.end is None
    with browser() as context:
        page = context.new_page()
        page.goto(f"{url}batches/{name}?lang=en")
        assert "provisional" in page.inner_text("main")
        assert "the end of the batch" in page.inner_text("main")
    fields = {"line": "line-1", "event": "end", "batch": name, "good": "9", "scrap": "1"}
    status, page = submit(f"{url}batches", fields, **{"HX-Request": "true"})
    assert (status, f"{name}" in page) == (200, True)
    assert demo.site.engine.results[name].batch.good == 9 * 10**6


REACHED = """() => { const e = document.activeElement;
  if (!e || e === document.body) return null;
  const ring = getComputedStyle(e);
  return { mark: e.outerHTML.slice(0, 120), ring: ring.outlineStyle !== 'none' }; }"""
ACTIONS = "a[href], button, input:not([type=hidden]), select, summary"


@pytest.mark.parametrize("path", ["", "batches", "meters", "help"])
def test_the_keyboard_reaches_every_action_and_shows_where_it_is(plant, browser, path):
    _, url = plant
    with browser() as context:
        page = context.new_page()
        page.route("**/fragments/**", lambda route: route.abort())  # a page that stands still
        page.route("**/events", lambda route: route.abort())
        page.goto(f"{url}{path}?lang=en")
        there = page.locator(ACTIONS).evaluate_all(
            "all => all.filter(e => e.getClientRects().length).map(e => e.outerHTML.slice(0, 120))"
        )
        reached = []
        for _ in range(len(there) + 5):
            page.keyboard.press("Tab")
            seen = page.evaluate(REACHED)
            if seen is None:
                break
            assert seen["ring"], seen
            reached.append(seen["mark"])
        assert set(there) <= set(reached)
