"""One event stream a browser, however many tabs it has."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.broker]

NEWER = "before => document.querySelector('#line-line-1 .age time').innerText !== before"


def follows(page):
    """Whether the page's figures go on."""
    before = page.inner_text("#line-line-1 .age time")
    page.wait_for_function(NEWER, arg=before, timeout=30_000)
    return True


def test_eight_tabs_load_and_all_follow(plant, browser):
    _, url = plant
    with browser() as context:
        tabs = [context.new_page() for _ in range(8)]
        for tab in tabs:
            tab.goto(url, timeout=15_000)
        for tab in tabs[:6]:
            tab.close()
        assert all(follows(tab) for tab in tabs[6:])


def test_without_a_shared_worker_one_tab_holds_the_stream_and_another_inherits_it(plant, browser):
    _, url = plant
    with browser() as context:
        context.add_init_script("delete window.SharedWorker")
        streams = {}
        tabs = []
        for name in ("first", "second", "third"):
            tab = context.new_page()
            streams[name] = []
            tab.on(
                "request",
                lambda r, name=name: (
                    streams[name].append(r.url) if r.url.endswith("/events") else None
                ),
            )
            tab.goto(url)
            tabs.append(tab)
        tabs[0].wait_for_timeout(6000)
        holders = [name for name, seen in streams.items() if seen]
        assert len(holders) == 1, streams
        assert all(follows(tab) for tab in tabs)
        place = list(streams).index(holders[0])
        tabs[place].close()
        left = [tab for tab in tabs if not tab.is_closed()]
        left[0].wait_for_timeout(6000)
        heirs = [name for name, seen in streams.items() if seen and name != holders[0]]
        assert len(heirs) == 1, streams
        assert all(follows(tab) for tab in left)


def test_where_there_is_no_channel_a_page_still_polls(plant, browser):
    _, url = plant
    with browser() as context:
        context.add_init_script("delete window.SharedWorker; delete window.BroadcastChannel")
        page = context.new_page()
        page.goto(url)
        assert follows(page)
