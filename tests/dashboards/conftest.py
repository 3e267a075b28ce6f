"""A demo plant that runs while the pages are looked at."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest

from footprint.batch import BatchState
from ingest.broker import find_mosquitto
from tests.conftest import missing


@pytest.fixture(scope="package")
def plant(tmp_path_factory):
    """A demo plant that runs until the tests are over; its address."""
    if find_mosquitto() is None:
        missing("mosquitto")
    from meterprint.demo.run import Demo
    from meterprint.pages import PageServer

    demo = Demo(tmp_path_factory.mktemp("demo"), 60, 1, time.monotonic())
    server = PageServer(demo.live, 0)
    thread = threading.Thread(target=lambda: asyncio.run(demo.run(None, lambda: None)))
    thread.start()
    version = 0
    while not any(r.state is BatchState.FINAL for r in demo.site.engine.results.values()):
        seen = demo.site.engine.changes.wait(version, 120)
        assert seen > version, "the demo plant stands still"
        version = seen
    yield demo, server.url
    demo.stop()
    thread.join()
    server.stop()
    demo.close()
    assert {b.residual for b in demo.site.engine.books()} == {0}
    demo.site.close()


@pytest.fixture
def browser(chromium):
    """A Chromium that asks nobody but the page's host; a context manager for its contexts."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as kit:
        started = kit.chromium.launch(
            executable_path=chromium,
            args=["--disable-background-networking", "--disable-component-update"],
        )

        @contextmanager
        def context(**options):
            opened = started.new_context(**options)
            try:
                yield opened
            finally:
                opened.close()

        yield context
        started.close()
